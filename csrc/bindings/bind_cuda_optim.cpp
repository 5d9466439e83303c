// Python face of the CUDA optimizer step. Python owns all memory and hands over addresses; the plan keeps references to it.
#include <pybind11/stl.h>

#include "bindings/bind_cuda.h"
#include "bindings/plan_entries.h"
#include "common/launch.cuh"
#include "optim/adamw_cuda.h"

namespace py = pybind11;

namespace rewarm {
namespace {

using Stream = uintptr_t;

cudaStream_t stream_of(Stream stream) { return reinterpret_cast<cudaStream_t>(stream); }

class AdamWCudaPlan {
 public:
  AdamWCudaPlan(const Int64Array& entries, int64_t n_groups, int device, double max_grad_norm, bool skip_nonfinite,
                bool stochastic_rounding, uint64_t seed, bool count_skipped_tokens, bool zero_gradients, bool observe,
                double annealing_decay, double decay, double deviations, int64_t after)
      : cuda_(make_plan(entries, n_groups),
              {max_grad_norm >= 0.0,
               max_grad_norm,
               skip_nonfinite,
               zero_gradients,
               observe,
               {annealing_decay, decay, deviations, after},
               true,
               0,
               stochastic_rounding,
               seed,
               count_skipped_tokens},
              device) {}

  py::array_t<int64_t> image() const {
    const auto& bytes = cuda_.image();
    return py::array_t<int64_t>(static_cast<py::ssize_t>(bytes.size() / 8), reinterpret_cast<const int64_t*>(bytes.data()));
  }

  void bind(int64_t workspace, int64_t staging, int64_t t, int64_t counters, int64_t scalars, int64_t rows,
            int64_t host_gradients, int64_t host_configs, const py::object& keep) {
    keep_ = keep;
    cuda_.bind({at<char>(workspace),
                at<char>(staging),
                at<int64_t>(t),
                {at<int64_t>(counters), at<double>(scalars)},
                at<const schedule::Segment>(rows),
                at<const int64_t>(host_gradients),
                at<const optim::GroupConfig>(host_configs)});
  }

  void step(Stream stream, int upload, bool advance, int64_t tokens, int64_t tokens_address, int64_t grad_scale,
            int64_t found_inf) {
    const py::gil_scoped_release release;
    cuda_.step(stream_of(stream), upload, input(advance, tokens, tokens_address, grad_scale, found_inf));
  }

  void record(Stream stream, int64_t gradients, int upload, bool advance, int64_t tokens, int64_t tokens_address,
              int64_t grad_scale, int64_t found_inf) {
    const py::gil_scoped_release release;
    cuda_.record(stream_of(stream), at<int64_t>(gradients), upload,
                 input(advance, tokens, tokens_address, grad_scale, found_inf));
  }

  void upload(Stream stream, int what) { cuda_.upload(stream_of(stream), what); }
  void order_after_last(Stream stream) { cuda_.order_after_last(stream_of(stream)); }

  int64_t workspace_words() const { return cuda_.workspace_bytes() / 8; }
  int64_t staging_words() const { return cuda_.staging_bytes() / 8; }
  int64_t n_chunks() const { return cuda_.n_chunks(); }

 private:
  static optim::CudaStepInput input(bool advance, int64_t tokens, int64_t tokens_address, int64_t grad_scale,
                                    int64_t found_inf) {
    return {advance, tokens, at<const int64_t>(tokens_address), at<const float>(grad_scale), at<const float>(found_inf)};
  }

  py::object keep_;  // before cuda_, so that it is released after the copies have ended
  optim::AdamWCuda cuda_;
};

}  // namespace

void bind_cuda_optim(py::module_& m) {
  m.attr("UPLOAD_GRADIENTS") = static_cast<int>(optim::kUploadGradients);
  m.attr("UPLOAD_GROUPS") = static_cast<int>(optim::kUploadGroups);
  py::class_<AdamWCudaPlan>(m, "AdamWCudaPlan")
      .def(py::init<const Int64Array&, int64_t, int, double, bool, bool, uint64_t, bool, bool, bool, double, double, double,
                    int64_t>(),
           py::arg("entries"), py::arg("n_groups"), py::arg("device"), py::arg("max_grad_norm"), py::arg("skip_nonfinite"),
           py::arg("stochastic_rounding"), py::arg("seed"), py::arg("count_skipped_tokens"), py::arg("zero_gradients"),
           py::arg("observe"), py::arg("annealing_decay"), py::arg("decay"), py::arg("deviations"), py::arg("after"))
      .def("bind", &AdamWCudaPlan::bind, py::arg("workspace"), py::arg("staging"), py::arg("t"), py::arg("counters"),
           py::arg("scalars"), py::arg("rows"), py::arg("host_gradients"), py::arg("host_configs"), py::arg("keep"))
      .def("step", &AdamWCudaPlan::step, py::arg("stream"), py::arg("upload"), py::arg("advance"), py::arg("tokens"),
           py::arg("tokens_address"), py::arg("grad_scale"), py::arg("found_inf"))
      .def("record", &AdamWCudaPlan::record, py::arg("stream"), py::arg("gradients"), py::arg("upload"), py::arg("advance"),
           py::arg("tokens"), py::arg("tokens_address"), py::arg("grad_scale"), py::arg("found_inf"))
      .def("upload", &AdamWCudaPlan::upload, py::arg("stream"), py::arg("what"))
      .def("order_after_last", &AdamWCudaPlan::order_after_last, py::arg("stream"))
      .def_property_readonly("image", &AdamWCudaPlan::image)
      .def_property_readonly("workspace_words", &AdamWCudaPlan::workspace_words)
      .def_property_readonly("staging_words", &AdamWCudaPlan::staging_words)
      .def_property_readonly("n_chunks", &AdamWCudaPlan::n_chunks);
}

}  // namespace rewarm
