// Python face of the ensembles: one handle a shape; tensors are addresses, checked and kept alive by the caller.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <mutex>
#include <optional>

#include "bindings/bind.h"
#include "bindings/mlp_face.h"
#include "q/ensemble_mlp.h"

namespace py = pybind11;

namespace rewarm {
namespace {

class EnsembleMlp {
 public:
  EnsembleMlp(const std::vector<int64_t>& widths, const std::vector<bool>& layer_norm, int64_t outputs, double eps,
              int64_t seeds, int64_t critics)
      : shape_(mlp_shape(widths, layer_norm, outputs, eps)), ensemble_(shape_, seeds, critics) {}

  int64_t kept_floats(int64_t rows, int64_t drawn) const {
    q::EnsembleInput input{};
    input.rows = rows;
    input.drawn = drawn;
    return ensemble_.kept_floats(input);
  }

  void forward(const std::vector<int64_t>& tensors, int64_t x, int64_t x_seed_stride, int64_t x_critic_stride, int64_t actions,
               int64_t action_width, int64_t repeat, int64_t rows, int64_t index, int64_t drawn, int64_t kept, int64_t q,
               int threads) {
    const q::EnsembleInput input =
        input_of(x, x_seed_stride, x_critic_stride, actions, action_width, repeat, rows, index, drawn);
    const q::Net net = mlp_tensors<const float>(shape_, tensors);
    py::gil_scoped_release release;
    const std::lock_guard<std::mutex> lock(mutex_);
    ensemble_.forward(net, input, at<float>(kept), at<float>(q), threads);
  }

  void backward(const std::vector<int64_t>& tensors, int64_t x, int64_t x_seed_stride, int64_t x_critic_stride, int64_t actions,
                int64_t action_width, int64_t repeat, int64_t rows, int64_t index, int64_t drawn, int64_t kept, int64_t dq,
                const std::optional<std::vector<int64_t>>& gradients, int64_t dx, int64_t dx_begin, int64_t dx_end,
                int threads) {
    const q::EnsembleInput input =
        input_of(x, x_seed_stride, x_critic_stride, actions, action_width, repeat, rows, index, drawn);
    const q::Net net = mlp_tensors<const float>(shape_, tensors);
    q::NetGradient gradient{};
    if (gradients) gradient = mlp_tensors<float>(shape_, *gradients);
    py::gil_scoped_release release;
    const std::lock_guard<std::mutex> lock(mutex_);
    ensemble_.backward(net, input, at<float>(kept), at<const float>(dq), gradients ? &gradient : nullptr, at<float>(dx),
                       dx_begin, dx_end, threads);
  }

  void lowest(int64_t q, int64_t rows, int64_t q_min, int64_t critic) {
    py::gil_scoped_release release;
    ensemble_.lowest(at<const float>(q), rows, at<float>(q_min), at<int64_t>(critic));
  }

  void lowest_backward(const std::vector<int64_t>& tensors, int64_t x, int64_t x_seed_stride, int64_t x_critic_stride,
                       int64_t actions, int64_t action_width, int64_t rows, int64_t critic, int64_t dq_min, int64_t dx,
                       int64_t dx_begin, int64_t dx_end, int threads) {
    const q::EnsembleInput input = input_of(x, x_seed_stride, x_critic_stride, actions, action_width, 1, rows, 0, 1);
    const q::Net net = mlp_tensors<const float>(shape_, tensors);
    py::gil_scoped_release release;
    const std::lock_guard<std::mutex> lock(mutex_);
    ensemble_.lowest_backward(net, input, at<const int64_t>(critic), at<const float>(dq_min), at<float>(dx), dx_begin, dx_end,
                              threads);
  }

 private:
  q::EnsembleInput input_of(int64_t x, int64_t x_seed_stride, int64_t x_critic_stride, int64_t actions, int64_t action_width,
                            int64_t repeat, int64_t rows, int64_t index, int64_t drawn) const {
    return {at<const float>(x),       x_seed_stride, x_critic_stride, shape_.inputs() - action_width,
            at<const float>(actions), action_width,  repeat,          rows,
            at<const int64_t>(index), drawn};
  }

  q::MlpShape shape_;
  q::EnsembleMlp ensemble_;
  std::mutex mutex_;  // its scratch serves one call at a time
};

}  // namespace

void bind_q_mlp(py::module_& m) {
  py::class_<EnsembleMlp>(m, "EnsembleMlp")
      .def(py::init<const std::vector<int64_t>&, const std::vector<bool>&, int64_t, double, int64_t, int64_t>(),
           py::arg("widths"), py::arg("layer_norm"), py::arg("outputs"), py::arg("eps"), py::arg("seeds"), py::arg("critics"))
      .def("kept_floats", &EnsembleMlp::kept_floats, py::arg("rows"), py::arg("drawn"))
      .def("forward", &EnsembleMlp::forward, py::arg("tensors"), py::arg("x"), py::arg("x_seed_stride"),
           py::arg("x_critic_stride"), py::arg("actions"), py::arg("action_width"), py::arg("repeat"), py::arg("rows"),
           py::arg("index"), py::arg("drawn"), py::arg("kept"), py::arg("q"), py::arg("threads"))
      .def("backward", &EnsembleMlp::backward, py::arg("tensors"), py::arg("x"), py::arg("x_seed_stride"),
           py::arg("x_critic_stride"), py::arg("actions"), py::arg("action_width"), py::arg("repeat"), py::arg("rows"),
           py::arg("index"), py::arg("drawn"), py::arg("kept"), py::arg("dq"), py::arg("gradients"), py::arg("dx"),
           py::arg("dx_begin"), py::arg("dx_end"), py::arg("threads"))
      .def("lowest", &EnsembleMlp::lowest, py::arg("q"), py::arg("rows"), py::arg("q_min"), py::arg("critic"))
      .def("lowest_backward", &EnsembleMlp::lowest_backward, py::arg("tensors"), py::arg("x"), py::arg("x_seed_stride"),
           py::arg("x_critic_stride"), py::arg("actions"), py::arg("action_width"), py::arg("rows"), py::arg("critic"),
           py::arg("dq_min"), py::arg("dx"), py::arg("dx_begin"), py::arg("dx_end"), py::arg("threads"));
}

}  // namespace rewarm
