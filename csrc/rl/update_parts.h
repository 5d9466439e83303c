// What the parts of an update share.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "rl/update.h"

namespace rewarm::rl {

inline double sigmoid(double x) { return x >= 0.0 ? 1.0 / (1.0 + std::exp(-x)) : std::exp(x) / (1.0 + std::exp(x)); }
inline double softplus(double x) { return x > 20.0 ? x : std::log1p(std::exp(x)); }

inline q::Net frozen(const Stack& stack) {
  q::Net net{};
  for (size_t l = 0; l < stack.layers.size(); ++l) {
    const Stack::Layer& layer = stack.layers[l];
    net.layers[l] = {layer.weight, layer.bias, layer.ln_weight, layer.ln_bias};
  }
  net.head_weight = stack.head_weight;
  net.head_bias = stack.head_bias;
  return net;
}

// One network's Adam step, and Polyak average where there is a target.
inline void adam_network(const AdamKernels& adam, const q::MlpShape& shape, const Trained& net, const Stack* gradient,
                         const Stack* target, const AdamScalars& scalars, double tau) {
  std::array<float*, 4 * q::kMaxLayers + 2> g{}, m{}, v{}, t{};
  const auto list = [&shape](const Stack& stack, auto& to) {
    size_t i = 0;
    q::for_each_tensor(shape, stack, [&](float* p, int64_t) { to[i++] = p; });
  };
  if (gradient != nullptr) list(*gradient, g);
  if (target != nullptr) list(*target, t);
  list(net.m, m);
  list(net.v, v);
  size_t i = 0;
  q::for_each_tensor(shape, net.p, [&](float* p, int64_t n) {
    adam.step({n, p, g[i], m[i], v[i], t[i]}, scalars, tau);
    ++i;
  });
}

inline Trained at(const q::MlpShape& shape, const Trained& stack, int64_t i) {
  return {stack.p.at(shape, i), stack.m.at(shape, i), stack.v.at(shape, i)};
}

// A network's gradient in `memory`, laid out like `like`.
inline int64_t parameters(const q::MlpShape& shape, const Stack& like) {
  int64_t n = 0;
  q::for_each_tensor(shape, like, [&n](float*, int64_t size) { n += size; });
  return n;
}
inline Stack lay_out(const q::MlpShape& shape, const Stack& like, int64_t copies, float* memory) {
  Stack net{};
  const auto take = [&memory, copies](int64_t n) {
    float* p = memory;
    memory += copies * n;
    return p;
  };
  for (int64_t l = 0; l < shape.n_layers; ++l) {
    const auto i = static_cast<size_t>(l);
    const int64_t in = shape.widths[i], out = shape.widths[i + 1];
    const bool norm = like.layers[i].ln_weight != nullptr;
    net.layers[i] = {take(in * out), take(out), norm ? take(out) : nullptr, norm ? take(out) : nullptr};
  }
  net.head_weight = take(shape.last() * shape.outputs);
  net.head_bias = take(shape.outputs);
  return net;
}

// The scratch of one thread in a critic's turn.
struct Update::Critic {
  Critic(const q::MlpShape& shape, int64_t most_rows) : most_rows(most_rows), worker(shape, most_rows) {}
  int64_t most_rows;
  q::MlpWorker worker;
  Scratch kept, q, dq, gradient, penalty;
};

}  // namespace rewarm::rl
