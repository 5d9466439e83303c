// Calls into the CUDA runtime: errors with a place, launches, and what is allowed while a graph is captured.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <string>

#include "common/error.h"

namespace rewarm::cuda {

inline void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // reported here; the next call starts clean
  throw Error(ErrorKind::kDevice, std::string(what) + ": " + cudaGetErrorString(status) + " (" + cudaGetErrorName(status) +
                                      ", CUDA error " + std::to_string(static_cast<int>(status)) + ")");
}

inline bool is_capturing(cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  check(cudaStreamIsCapturing(stream, &status), "asking whether the stream is being captured");
  return status != cudaStreamCaptureStatusNone;
}

// Lets this thread wait and copy on streams of its own while a graph is captured elsewhere, which the usual capture mode
// answers by invalidating the capture.
class OutsideCapture {
 public:
  OutsideCapture() : mode_(cudaStreamCaptureModeRelaxed) { cudaThreadExchangeStreamCaptureMode(&mode_); }
  ~OutsideCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  OutsideCapture(const OutsideCapture&) = delete;
  OutsideCapture& operator=(const OutsideCapture&) = delete;

 private:
  cudaStreamCaptureMode mode_;
};

template <class Arguments>
void launch(void (*kernel)(Arguments), int64_t blocks, int threads, cudaStream_t stream, Arguments arguments,
            const char* what) {
  void* list[] = {&arguments};
  check(cudaLaunchKernel(reinterpret_cast<const void*>(kernel), dim3(static_cast<unsigned>(blocks)),
                         dim3(static_cast<unsigned>(threads)), list, 0, stream),
        what);
}

// Blocks of `kernel` that run at the same time on the current device.
template <class Arguments>
int64_t resident_blocks(void (*kernel)(Arguments), int threads, int device) {
  int per_processor = 0, processors = 0;
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per_processor, reinterpret_cast<const void*>(kernel), threads, 0),
        "loading a kernel (is this GPU's architecture among those that rewarm was compiled for? see `rewarm env`)");
  check(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device), "reading the number of multiprocessors");
  return static_cast<int64_t>(per_processor) * processors;
}

}  // namespace rewarm::cuda
