// Units of an ensemble over the threads.
#include "q/ensemble_mlp.h"

#include <algorithm>
#include <string>

#include "common/error.h"
#include "common/parallel_for.h"

namespace rewarm::q {

Activations from_row(const Activations& kept, const MlpLayout& layout, const MlpShape& shape, int64_t row) {
  Activations moved = kept;
  for (int64_t l = 0; l < shape.n_layers; ++l) {
    Activations::Layer& layer = moved.layers[static_cast<size_t>(l)];
    layer.y += row * layout.stride(l + 1);
    if (layer.normalized != nullptr) layer.normalized += row * layout.stride(l + 1);
    layer.rstd += row;
  }
  return moved;
}

EnsembleMlp::EnsembleMlp(const MlpShape& shape, int64_t seeds, int64_t critics)
    : shape_(shape), seeds_(seeds), critics_(critics) {
  open(1);
}

void EnsembleMlp::open(int threads) {
  while (slots_.size() < static_cast<size_t>(threads)) slots_.push_back(std::make_unique<Slot>(shape_));
}

void EnsembleMlp::check(const EnsembleInput& input) const {
  if (input.index == nullptr) return;
  for (int64_t i = 0; i < seeds_ * input.drawn; ++i)
    if (input.index[i] < 0 || input.index[i] >= critics_)
      throw Error(ErrorKind::kIndex, "index[" + std::to_string(i / input.drawn) + ", " + std::to_string(i % input.drawn) +
                                         "]: expected a critic in [0, " + std::to_string(critics_) + "), got " +
                                         std::to_string(input.index[i]));
}

MlpInput EnsembleMlp::input_of(const EnsembleInput& input, int64_t seed, int64_t drawn) const {
  const float* actions = input.actions == nullptr ? nullptr : input.actions + seed * input.rows * input.action_width;
  return {input.x + seed * input.x_seed_stride + drawn * input.x_critic_stride, input.x_width, actions, input.action_width,
          input.repeat};
}

int64_t EnsembleMlp::kept_floats(const EnsembleInput& input) const {
  return seeds_ * input.drawn * slots_[0]->worker.layout().kept_floats(input.rows);
}

void EnsembleMlp::forward(const Net& stack, const EnsembleInput& input, float* kept, float* q, int threads) {
  check(input);
  open(threads);
  const int64_t units = seeds_ * input.drawn;
  // Few units are cut by rows; each part packs the parameters for itself.
  const int64_t parts =
      units >= threads ? 1 : std::min<int64_t>(threads, (input.rows + MlpWorker::kTile - 1) / MlpWorker::kTile);
  const int64_t part_rows =
      (input.rows / std::max<int64_t>(parts, 1) + MlpWorker::kTile - 1) / MlpWorker::kTile * MlpWorker::kTile;
  parallel_for(threads, units * parts, [&](int slot, int64_t i) {
    const int64_t unit = i / parts, begin = (i % parts) * part_rows;
    const int64_t end = i % parts == parts - 1 ? input.rows : std::min(begin + part_rows, input.rows);
    if (begin >= end) return;
    MlpWorker& worker = slots_[static_cast<size_t>(slot)]->worker;
    const int64_t seed = unit / input.drawn, drawn = unit % input.drawn;
    worker.load(stack.at(shape_, seed * critics_ + critic_of(input, seed, drawn)), false);
    Activations activations;
    if (kept != nullptr) {
      const MlpLayout& layout = worker.layout();
      activations = from_row(layout.lay_out(kept + unit * layout.kept_floats(input.rows), input.rows), layout, shape_, begin);
    }
    worker.forward(input_of(input, seed, drawn), begin, end - begin, kept != nullptr ? &activations : nullptr,
                   q + (unit * input.rows + begin) * shape_.outputs);
  });
}

void EnsembleMlp::backward(const Net& stack, const EnsembleInput& input, float* kept, const float* dq,
                           const NetGradient* gradient, float* dx, int64_t dx_begin, int64_t dx_end, int threads) {
  check(input);
  open(threads);
  const int64_t columns = dx_end - dx_begin;
  parallel_for(threads, seeds_ * critics_, [&](int number, int64_t i) {
    Slot& slot = *slots_[static_cast<size_t>(number)];
    MlpWorker& worker = slot.worker;
    const MlpLayout& layout = worker.layout();
    const int64_t seed = i / critics_, critic = i % critics_;
    worker.load(stack.at(shape_, i), true, dx_begin, dx_end);
    worker.begin_gradient();
    const NetGradient own = gradient != nullptr ? gradient->at(shape_, i) : NetGradient{};
    bool any = false;
    for (int64_t drawn = 0; drawn < input.drawn; ++drawn) {
      if (critic_of(input, seed, drawn) != critic) continue;
      const int64_t unit = seed * input.drawn + drawn;
      const MlpInput from = input_of(input, seed, drawn);
      for (int64_t row = 0; row < input.rows; row += MlpWorker::kChunk) {
        const int64_t rows = std::min(MlpWorker::kChunk, input.rows - row);
        Activations activations;
        if (kept != nullptr) {
          activations = from_row(layout.lay_out(kept + unit * layout.kept_floats(input.rows), input.rows), layout, shape_, row);
        } else {
          activations = layout.lay_out(slot.kept.floats(layout.kept_floats(rows)), rows);
          worker.forward(from, row, rows, &activations, slot.q.floats(rows * shape_.outputs));
        }
        worker.backward(from, row, rows, activations, dq + (unit * input.rows + row) * shape_.outputs,
                        gradient != nullptr ? &own : nullptr,
                        dx != nullptr ? dx + (unit * input.rows + row) * columns : nullptr);
        any = true;
      }
    }
    if (gradient == nullptr) return;
    if (!any) worker.clear_weights(own);
    worker.finish_gradient(own);
  });
}

void EnsembleMlp::lowest(const float* q, int64_t rows, float* q_min, int64_t* critic) const {
  for (int64_t seed = 0; seed < seeds_; ++seed) {
    for (int64_t row = 0; row < rows; ++row) {
      const float* of = q + seed * critics_ * rows + row;
      float best = of[0];
      int64_t which = 0;
      for (int64_t e = 1; e < critics_; ++e) {
        const float value = of[e * rows];
        if (value < best || (value != value && best == best)) {
          best = value;
          which = e;
        }
      }
      q_min[seed * rows + row] = best;
      critic[seed * rows + row] = which;
    }
  }
}

void EnsembleMlp::lowest_backward(const Net& stack, const EnsembleInput& input, const int64_t* critic, const float* dq_min,
                                  float* dx, int64_t dx_begin, int64_t dx_end, int threads) {
  open(threads);
  const int64_t columns = dx_end - dx_begin;
  parallel_for(threads, seeds_ * critics_, [&](int number, int64_t i) {
    Slot& slot = *slots_[static_cast<size_t>(number)];
    MlpWorker& worker = slot.worker;
    const MlpLayout& layout = worker.layout();
    const int64_t seed = i / critics_, e = i % critics_;
    slot.rows.clear();
    for (int64_t row = 0; row < input.rows; ++row)
      if (critic[seed * input.rows + row] == e) slot.rows.push_back(row);
    if (slot.rows.empty()) return;
    worker.load(stack.at(shape_, i), true, dx_begin, dx_end);
    MlpInput from = input_of(input, seed, e);
    from.rows = slot.rows.data();
    const int64_t all = static_cast<int64_t>(slot.rows.size());
    for (int64_t begin = 0; begin < all; begin += MlpWorker::kChunk) {
      const int64_t rows = std::min(MlpWorker::kChunk, all - begin);
      const Activations activations = layout.lay_out(slot.kept.floats(layout.kept_floats(rows)), rows);
      float* q = slot.q.floats(2 * rows);
      float* dq = q + rows;
      float* d = slot.dx.floats(rows * columns);
      worker.forward(from, begin, rows, &activations, q);
      for (int64_t r = 0; r < rows; ++r) dq[r] = dq_min[seed * input.rows + slot.rows[static_cast<size_t>(begin + r)]];
      worker.backward(from, begin, rows, activations, dq, nullptr, d);
      for (int64_t r = 0; r < rows; ++r)
        std::copy_n(d + r * columns, columns, dx + (seed * input.rows + slot.rows[static_cast<size_t>(begin + r)]) * columns);
    }
  });
}

}  // namespace rewarm::q
