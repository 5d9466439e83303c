// Shapes and stacks of networks as Python gives them.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <string>
#include <vector>

#include "bindings/address.h"
#include "common/error.h"
#include "q/mlp.h"

namespace rewarm {

// widths: [n_layers + 1], layer_norm: [n_layers].
inline q::MlpShape mlp_shape(const std::vector<int64_t>& widths, const std::vector<bool>& layer_norm, int64_t outputs,
                             double eps) {
  const auto n = static_cast<int64_t>(layer_norm.size());
  if (n < 1 || n > q::kMaxLayers || widths.size() != layer_norm.size() + 1)
    throw Error(ErrorKind::kInvalidArgument,
                "layers: expected 1 to " + std::to_string(q::kMaxLayers) + ", got " + std::to_string(n));
  q::MlpShape shape{n, {}, {}, outputs, static_cast<float>(eps)};
  std::copy(widths.begin(), widths.end(), shape.widths.begin());
  std::copy(layer_norm.begin(), layer_norm.end(), shape.layer_norm.begin());
  return shape;
}

// addresses: weight, bias, ln_weight, ln_bias of each layer, then the head's weight and bias; 0 = none.
template <class T>
q::NetTensors<T> mlp_tensors(const q::MlpShape& shape, const std::vector<int64_t>& addresses) {
  if (addresses.size() != static_cast<size_t>(4 * shape.n_layers + 2))
    throw Error(ErrorKind::kInvalidArgument, "tensors: expected " + std::to_string(4 * shape.n_layers + 2) +
                                                 " addresses, got " + std::to_string(addresses.size()));
  q::NetTensors<T> net{};
  const int64_t* a = addresses.data();
  for (int64_t l = 0; l < shape.n_layers; ++l, a += 4)
    net.layers[static_cast<size_t>(l)] = {at<T>(a[0]), at<T>(a[1]), at<T>(a[2]), at<T>(a[3])};
  net.head_weight = at<T>(a[0]);
  net.head_bias = at<T>(a[1]);
  return net;
}

}  // namespace rewarm
