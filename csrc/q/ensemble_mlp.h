// Ensembles of networks, with an optional leading axis of seeds: every (seed, drawn critic) is a unit of its own, computed by
// one thread, so that no bit of it depends on what else runs.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "q/mlp.h"

namespace rewarm::q {

struct EnsembleInput {
  const float* x;           // [seeds][critics drawn][rows / repeat, x_width] by the two strides, 0 where shared
  int64_t x_seed_stride;    // elements
  int64_t x_critic_stride;  // elements
  int64_t x_width;
  const float* actions;  // [seeds][rows, action_width], null without
  int64_t action_width;
  int64_t repeat;  // rows for each row of x
  int64_t rows;
  const int64_t* index;  // [seeds, drawn], null: all critics in order
  int64_t drawn;
};

class EnsembleMlp {
 public:
  EnsembleMlp(const MlpShape& shape, int64_t seeds, int64_t critics);

  // Floats of the activations of all units, for forward to keep.
  int64_t kept_floats(const EnsembleInput& input) const;
  // q [seeds, drawn, rows, outputs]; kept: null or kept_floats.
  void forward(const Net& stack, const EnsembleInput& input, float* kept, float* q, int threads);
  // dq like q. gradient: stacks [seeds, critics, …], wholly written, or null. dx: [seeds, drawn, rows, dx_end - dx_begin] or
  // null. kept: of the forward; null: the activations are computed again.
  void backward(const Net& stack, const EnsembleInput& input, float* kept, const float* dq, const NetGradient* gradient,
                float* dx, int64_t dx_begin, int64_t dx_end, int threads);
  // The lowest q of all critics: q [seeds, critics, rows] -> q_min, critic [seeds, rows]. Ties: the lowest index; NaN wins.
  void lowest(const float* q, int64_t rows, float* q_min, int64_t* critic) const;
  // dq_min [seeds, rows] -> dx [seeds, rows, dx_end - dx_begin], through each row's critic only.
  void lowest_backward(const Net& stack, const EnsembleInput& input, const int64_t* critic, const float* dq_min, float* dx,
                       int64_t dx_begin, int64_t dx_end, int threads);

 private:
  MlpInput input_of(const EnsembleInput& input, int64_t seed, int64_t drawn) const;
  int64_t critic_of(const EnsembleInput& input, int64_t seed, int64_t drawn) const {
    return input.index != nullptr ? input.index[seed * input.drawn + drawn] : drawn;
  }
  void check(const EnsembleInput& input) const;
  void open(int threads);

  struct Slot {
    explicit Slot(const MlpShape& shape) : worker(shape) {}
    MlpWorker worker;
    Scratch kept, q, dx;
    std::vector<int64_t> rows;
  };

  MlpShape shape_;
  int64_t seeds_, critics_;
  std::vector<std::unique_ptr<Slot>> slots_;
};

// The activations from a row on.
Activations from_row(const Activations& kept, const MlpLayout& layout, const MlpShape& shape, int64_t row);

}  // namespace rewarm::q
