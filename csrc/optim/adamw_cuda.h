// The CUDA step of a plan: what it reads on the device, and the host side that launches it. Memory belongs to the caller.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <cstdint>
#include <vector>

#include "optim/plan.h"

namespace rewarm::optim {

// The argument of both kernels. Everything behind a pointer lies on the device, so that a captured launch stays current.
struct StepArguments {
  const TensorEntry* entries;     // [n_tensors]
  const Chunk* chunks;            // [n_chunks]
  const int64_t* gradients;       // [n_tensors] addresses, 0 = no gradient
  const GroupConfig* configs;     // [n_groups]
  const schedule::Segment* rows;  // [n_groups][kScheduledValues][kSegmentsPerSchedule]
  Control control;
  int64_t* t;               // [n_tensors] updates applied to each parameter; MomentStart [n_tensors] behind them
  double* partials;         // [n_chunks] sums of squares
  Scalars* folded;          // [n_tensors] for the update kernel
  Hyper* hypers;            // [n_groups] scratch of the last block
  uint32_t* ticket;         // [1] blocks that have arrived; 0 between launches
  int32_t* skip;            // [1] the norm kernel's verdict
  const float* loss_scale;  // [1] or null
  const float* found_inf;   // [1] or null: not 0 skips the update
  const int64_t* tokens;    // [1] or null: options.tokens
  int64_t n_tensors, n_chunks, n_groups;
  StepOptions options;
};

enum Upload : int { kUploadNothing = 0, kUploadGradients = 1, kUploadGroups = 2 };  // bits as in bindings/gather.h

// What changes from call to call.
struct CudaStepInput {
  bool advance;
  int64_t tokens;
  const int64_t* tokens_on_device;  // or null
  const float* loss_scale;          // or null
  const float* found_inf;           // or null
};

// Addresses that stay for the life of the plan.
struct CudaBuffers {
  char* workspace;                  // device, workspace_bytes(), 16-byte aligned; begins with image()
  char* staging;                    // pinned host memory, staging_bytes()
  int64_t* t;                       // device [n_tensors], MomentStart [n_tensors] behind them
  Control control;                  // device
  const schedule::Segment* rows;    // device
  const int64_t* host_gradients;    // [n_tensors]
  const GroupConfig* host_configs;  // [n_groups]
};

class AdamWCuda {
 public:
  // The current device must be `device`, here and in every call.
  AdamWCuda(Plan plan, const StepOptions& options, int device);
  ~AdamWCuda();
  AdamWCuda(const AdamWCuda&) = delete;
  AdamWCuda& operator=(const AdamWCuda&) = delete;

  int64_t workspace_bytes() const { return layout_.end; }
  int64_t staging_bytes() const { return kSlots * slot_bytes(); }
  // Entries and chunks as they lie at the start of the workspace; the caller copies them there once.
  const std::vector<char>& image() const { return image_; }
  void bind(const CudaBuffers& buffers);

  // Issues one update on `stream`: at most one copy, then one launch or two; orders itself after the step before.
  void step(cudaStream_t stream, int upload, const CudaStepInput& input);
  // The same for a stream that is being captured. `gradients`: a table of its own for this graph, filled here at once, so that
  // neither later steps nor other graphs change what it reads.
  void record(cudaStream_t stream, int64_t* gradients, int upload, const CudaStepInput& input);
  // Copies the tables on `stream`, after the last step.
  void upload(cudaStream_t stream, int what);
  // Lets `stream` wait for the last step, without the host waiting.
  void order_after_last(cudaStream_t stream);

  int64_t n_chunks() const { return static_cast<int64_t>(plan_.chunks.size()); }

 private:
  using Kernel = void (*)(StepArguments);
  // Copies that may be under way before the host waits for the oldest.
  static constexpr int kSlots = 32;
  // Byte offsets in the workspace; configs and gradients lie together, so that one copy serves both.
  struct Layout {
    int64_t entries, chunks, configs, gradients, partials, folded, hypers, ticket, skip, end;
  };

  int64_t slot_bytes() const { return layout_.partials - layout_.configs; }
  void issue(cudaStream_t stream, const int64_t* gradients, const CudaStepInput& input);
  char* stage(int slot, int what, int64_t* begin, int64_t* end);
  void copy_tables(cudaStream_t stream, int what);
  void mark(cudaStream_t stream);
  void choose_kernels(int device);

  Plan plan_;
  StepOptions options_;
  Layout layout_{};
  std::vector<char> image_;
  CudaBuffers buffers_{};
  StepArguments fixed_{};
  bool with_norm_ = false;
  Kernel update_ = nullptr;
  int64_t norm_blocks_ = 1, update_blocks_ = 1;

  std::array<cudaEvent_t, kSlots> staged_{};
  int64_t n_staged_ = 0;
  cudaEvent_t stepped_ = nullptr;
  cudaStream_t last_stream_ = nullptr;
  bool any_step_ = false;
  cudaStream_t beside_ = nullptr;  // for copies that must not become part of a capture
};

}  // namespace rewarm::optim
