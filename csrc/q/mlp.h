// One network of the ensembles, on one thread: Linear -> LayerNorm -> ReLU, repeated, then a linear head (Zhou et al. 2024,
// appendix; wsrl's MLP with layer norm, eps 1e-6). Forward, and a backward written by hand.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "common/aligned.h"
#include "q/mlp_kernels.h"

namespace rewarm::q {

constexpr int64_t kMaxLayers = 16;

struct MlpShape {
  int64_t n_layers;
  std::array<int64_t, kMaxLayers + 1> widths;  // inputs, then the outputs of each layer
  std::array<bool, kMaxLayers> layer_norm;
  int64_t outputs;  // of the head
  float eps;

  int64_t inputs() const { return widths[0]; }
  int64_t last() const { return widths[static_cast<size_t>(n_layers)]; }
};

// Addresses of one network's tensors, or of a stack of them: `at` moves to one.
template <class T>
struct NetTensors {
  struct Layer {
    T* weight;     // [in, out]
    T* bias;       // [out]
    T* ln_weight;  // [out], null without layer norm
    T* ln_bias;    // [out]
  };
  std::array<Layer, kMaxLayers> layers;
  T* head_weight;  // [last, outputs]
  T* head_bias;    // [outputs]

  NetTensors at(const MlpShape& shape, int64_t i) const {
    NetTensors net = *this;
    const auto move = [i](T*& p, int64_t size) {
      if (p != nullptr) p += i * size;
    };
    for (int64_t l = 0; l < shape.n_layers; ++l) {
      Layer& layer = net.layers[static_cast<size_t>(l)];
      const int64_t in = shape.widths[static_cast<size_t>(l)], out = shape.widths[static_cast<size_t>(l) + 1];
      move(layer.weight, in * out);
      move(layer.bias, out);
      move(layer.ln_weight, out);
      move(layer.ln_bias, out);
    }
    move(net.head_weight, shape.last() * shape.outputs);
    move(net.head_bias, shape.outputs);
    return net;
  }
};

// The tensors in the order of their names (each layer's four, the head's two): calls visit(address, size), null ones left out.
template <class T, class Visit>
void for_each_tensor(const MlpShape& shape, const NetTensors<T>& net, const Visit& visit) {
  for (int64_t l = 0; l < shape.n_layers; ++l) {
    const auto& layer = net.layers[static_cast<size_t>(l)];
    const int64_t in = shape.widths[static_cast<size_t>(l)], out = shape.widths[static_cast<size_t>(l) + 1];
    visit(layer.weight, in * out);
    visit(layer.bias, out);
    if (layer.ln_weight != nullptr) visit(layer.ln_weight, out);
    if (layer.ln_bias != nullptr) visit(layer.ln_bias, out);
  }
  visit(net.head_weight, shape.last() * shape.outputs);
  visit(net.head_bias, shape.outputs);
}
using Net = NetTensors<const float>;
using NetGradient = NetTensors<float>;  // null: not wanted

// The input of row r: x[r / repeat], then actions[r]. With `rows`, row r stands for row rows[r].
struct MlpInput {
  const float* x;  // [rows / repeat, x_width]
  int64_t x_width;
  const float* actions;  // [rows, action_width], null without
  int64_t action_width;
  int64_t repeat = 1;
  const int64_t* rows = nullptr;
};

// What a backward needs of a forward, for each layer: [rows, stride] each, and [rows].
struct Activations {
  struct Layer {
    float* y;
    float* normalized;  // null without layer norm
    float* rstd;
  };
  std::array<Layer, kMaxLayers> layers;
};

// Sizes and strides of padded buffers.
class MlpLayout {
 public:
  MlpLayout(const MlpShape& shape, const Gemm& gemm);
  int64_t stride(int64_t layer) const { return strides_[static_cast<size_t>(layer)]; }  // of y behind layer - 1; of x for 0
  int64_t head_stride() const { return head_stride_; }
  int64_t kept_floats(int64_t rows) const;  // of the activations of so many rows
  Activations lay_out(float* memory, int64_t rows) const;

 private:
  MlpShape shape_;
  std::array<int64_t, kMaxLayers + 1> strides_{};
  int64_t head_stride_;
};

// One thread's packed copy of a network and its scratch. Order of calls: load, then forward and backward of any rows;
// begin_gradient before the first backward that adds up gradients, finish_gradient behind the last.
class MlpWorker {
 public:
  // most_rows: of one backward.
  explicit MlpWorker(const MlpShape& shape, int64_t most_rows = kChunk);

  const MlpLayout& layout() const { return layout_; }
  const MlpShape& shape() const { return shape_; }

  // Packs the parameters; those of `backward` too, with the gradient of input columns [dx_begin, dx_end).
  void load(const Net& net, bool backward, int64_t dx_begin = 0, int64_t dx_end = 0);

  // q [rows, outputs] of rows [first, first + rows) of the input; kept: activations whose row 0 is `first`, or null.
  void forward(const MlpInput& input, int64_t first, int64_t rows, const Activations* kept, float* q);

  void begin_gradient();
  // dq [rows, outputs] -> gradients of parameters (added to those of the backwards before since begin_gradient; `gradient`
  // null: none) and of the input columns, dx [rows, dx_end - dx_begin] (null: none).
  void backward(const MlpInput& input, int64_t first, int64_t rows, const Activations& kept, const float* dq,
                const NetGradient* gradient, float* dx);
  // Writes what the backwards did not: gradients of biases, layer norms and a head with one output.
  void finish_gradient(const NetGradient& gradient);
  // Zeros the gradients of weights that no backward has written.
  void clear_weights(const NetGradient& gradient) const;

  static constexpr int64_t kTile = 48;    // rows that go through all layers together
  static constexpr int64_t kChunk = 256;  // rows of a backward; a product for the gradient of a weight adds over so many

 private:
  struct Packed {
    float* weight;             // right operand of the forward
    float* weight_transposed;  // right operand of dy · weight^T
    float *bias, *ln_weight, *ln_bias;
    float *d_bias, *d_ln_weight, *d_ln_bias;  // of the rows of one backward
  };
  void assemble(const MlpInput& input, int64_t first, int64_t rows, float* to) const;
  void head_forward(int64_t rows, const float* y, float* q);
  void head_gradient(int64_t rows, const float* y, const float* dq, const NetGradient* gradient);
  void add_sums();
  void weight_gradient(int64_t layer, int64_t rows, const float* in, int64_t in_stride, int64_t in_width, float* weight,
                       bool add);

  MlpShape shape_;
  int64_t most_rows_;
  const MlpKernels& kernels_;
  const Gemm& gemm_;
  MlpLayout layout_;
  Net net_{};
  std::array<Packed, kMaxLayers + 1> packed_{};  // the head last
  int64_t dx_begin_ = 0, dx_end_ = 0;
  float* dx_weight_ = nullptr;
  bool fresh_ = true;
  int64_t n_sums_ = 0;
  Scratch parameters_, sums_, totals_, tile_, input_, gradients_, left_, right_;
};

}  // namespace rewarm::q
