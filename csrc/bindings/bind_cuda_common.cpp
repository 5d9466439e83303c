// What every GPU room shares at the Python border: errors, and facts about driver, runtime and devices.
#include <cuda_runtime_api.h>

#include <string>
#include <utility>

#include "bindings/bind_cuda.h"
#include "bindings/translate.h"
#include "common/launch.cuh"

namespace py = pybind11;

namespace rewarm {
namespace {

// 13000 -> "13.0"; 0, which the runtime answers without a driver, -> "none".
std::string version_text(int version) {
  if (version == 0) return "none";
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::string driver_version() {
  int version = 0;
  cudaDriverGetVersion(&version);
  return version_text(version);
}

std::string runtime_version() {
  int version = 0;
  cudaRuntimeGetVersion(&version);
  return version_text(version);
}

// Every failure counts as no device: whoever asks wants to know why, not to be stopped.
std::pair<int, std::string> device_count() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess && count > 0) return {count, ""};
  std::string reason = status == cudaSuccess ? "the driver shows no device" : cudaGetErrorString(status);
  cudaGetLastError();
  return {0, reason + " (CUDA error " + std::to_string(static_cast<int>(status)) +
                 "; newest CUDA of the driver: " + driver_version() + ", of this build: " + runtime_version() + ")"};
}

py::dict device_properties(int device) {
  cudaDeviceProp p;
  cuda::check(cudaGetDeviceProperties(&p, device), "reading the properties of a device");
  py::dict d;
  d["name"] = std::string(p.name);
  d["compute_capability"] = std::to_string(p.major) + "." + std::to_string(p.minor);
  d["multiprocessors"] = p.multiProcessorCount;
  d["memory_bytes"] = p.totalGlobalMem;
  d["l2_bytes"] = p.l2CacheSize;
  d["threads_per_multiprocessor"] = p.maxThreadsPerMultiProcessor;
  d["registers_per_multiprocessor"] = p.regsPerMultiprocessor;
  return d;
}

}  // namespace

void bind_cuda_common(py::module_& m) {
  translate_errors();
  m.def("device_count", &device_count);
  m.def("driver_version", &driver_version);
  m.def("runtime_version", &runtime_version);
  m.def("device_properties", &device_properties, py::arg("device"));
  m.def(
      "is_capturing", [](uintptr_t stream) { return cuda::is_capturing(reinterpret_cast<cudaStream_t>(stream)); },
      py::arg("stream"));
}

}  // namespace rewarm
