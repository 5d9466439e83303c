// Python face of the optimizer: one handle per plan that gathers, steps on the CPU, and lends its tables to other backends.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>

#include "bindings/bind.h"
#include "bindings/gather.h"
#include "bindings/plan_entries.h"
#include "optim/adamw_cpu.h"
#include "optim/advance.h"

namespace py = pybind11;

namespace rewarm {
namespace {

using optim::ScheduledValue;

class AdamWPlan {
 public:
  AdamWPlan(const py::type& tensor_type, const py::list& params, const py::list& states, const py::list& groups,
            const Int64Array& entries, int64_t host_counters, int64_t host_rows)
      : gather_(params, states, groups, tensor_type), cpu_(make_plan(entries, static_cast<int64_t>(groups.size()))) {
    const auto e = entries.unchecked<2>();
    for (py::ssize_t i = 0; i < e.shape(0); ++i) gather_.params.at(static_cast<size_t>(e(i, kParam))).entry = i;
    gather_.gradients.assign(static_cast<size_t>(e.shape(0)), 0);
    gather_.counters = at<const int64_t>(host_counters);
    gather_.rows = at<const schedule::Segment>(host_rows);
  }

  void set_schedule(int64_t group, int64_t which, int64_t count, bool in_tokens) {
    gather_.set_schedule(group, static_cast<ScheduledValue>(which), count, in_tokens);
  }
  void expect(int64_t group, int64_t which, const py::object& value) {
    gather_.expect(group, static_cast<ScheduledValue>(which), value);
  }
  py::object published(int64_t group, int64_t which) const {
    const py::object value = gather_.published(group, static_cast<ScheduledValue>(which));
    return value ? value : py::none();
  }

  int refresh(const py::object& gradients) { return gather_.refresh(gradients); }
  void publish() { gather_.publish(); }
  void zero_grad() { gather_.zero_grad(); }

  // One update on the CPU. Returns the flags of refresh; nothing happened when one from kNoGradient on is set.
  int step_cpu(const py::object& gradients, int64_t t, int64_t counters, int64_t scalars, double max_grad_norm,
               bool skip_nonfinite, int64_t tokens, bool stochastic_rounding, uint64_t seed, bool count_skipped_tokens,
               double loss_scale, int threads, const std::optional<double>& sum_of_squares) {
    const int flags = gather_.refresh(gradients);
    if (flags >= kNoGradient) return flags;
    gather_.publish();
    const optim::CpuStepInput input = {gather_.gradients.data(),
                                       at<int64_t>(t),
                                       gather_.configs.data(),
                                       gather_.rows,
                                       {at<int64_t>(counters), at<double>(scalars)},
                                       {max_grad_norm >= 0.0, max_grad_norm, skip_nonfinite, zero_gradients_, observe_, watch_,
                                        !gather_.hold, tokens, stochastic_rounding, seed, count_skipped_tokens},
                                       loss_scale,
                                       threads,
                                       sum_of_squares ? &*sum_of_squares : nullptr};
    py::gil_scoped_release release;
    cpu_.step(input);
    return flags;
  }

  // Sums of squares, by class, of the gradients that refresh found last: [n_classes].
  std::vector<double> sum_squares_cpu(const py::array_t<int32_t, py::array::c_style>& classes, int64_t n_classes, int threads) {
    if (classes.size() != static_cast<py::ssize_t>(gather_.gradients.size()))
      throw Error(ErrorKind::kInvalidArgument, "sum_squares_cpu: expected a class for each of " +
                                                   std::to_string(gather_.gradients.size()) + " tensors, got " +
                                                   std::to_string(classes.size()));
    std::vector<double> sums(static_cast<size_t>(n_classes));
    const int32_t* of = classes.data();
    py::gil_scoped_release release;
    cpu_.sum_squares(gather_.gradients.data(), of, n_classes, sums.data(), threads);
    return sums;
  }

  // What rides along with every step.
  void set_extras(bool zero_gradients, bool observe, double annealing_decay, double decay, double deviations, int64_t after) {
    zero_gradients_ = zero_gradients;
    observe_ = observe;
    watch_ = {annealing_decay, decay, deviations, after};
  }

  Gather gather_;
  optim::AdamWCpu cpu_;
  bool zero_gradients_ = false, observe_ = false;
  optim::Watch watch_{};
};

// One more value of a statistic on the CPU; see watch_value in optim/advance.h.
void watch_value(double value, int64_t moments, int64_t counts, double decay, double deviations, int64_t after) {
  optim::watch_value(value, at<double>(moments), at<int64_t>(counts), {0.0, decay, deviations, after});
}

}  // namespace

void bind_optim(py::module_& m) {
  m.attr("CHUNK_ELEMENTS") = optim::kChunkElements;
  m.attr("SEGMENTS_PER_SCHEDULE") = optim::kSegmentsPerSchedule;
  m.attr("ENTRY_COLUMNS") = static_cast<int>(kEntryColumns);
  m.attr("GROUP_CONFIG_WORDS") = static_cast<int>(sizeof(optim::GroupConfig) / 8);
  m.attr("START_WORDS") = static_cast<int>(optim::kStartWords);
  m.attr("FIRST_ORIGIN") = static_cast<int>(optim::kOrigins);
  m.attr("SCHEDULED_VALUES") = static_cast<int>(optim::kScheduledValues);
  m.attr("FIRST_GROUP_SCALAR") = static_cast<int>(optim::kGroups);
  m.attr("GROUP_SCALARS") = static_cast<int>(optim::kGroupScalars);
  m.def("watch_value", &watch_value, py::arg("value"), py::arg("moments"), py::arg("counts"), py::arg("decay"),
        py::arg("deviations"), py::arg("after"));
  py::class_<AdamWPlan>(m, "AdamWPlan")
      .def(py::init<const py::type&, const py::list&, const py::list&, const py::list&, const Int64Array&, int64_t, int64_t>(),
           py::arg("tensor_type"), py::arg("params"), py::arg("states"), py::arg("groups"), py::arg("entries"),
           py::arg("host_counters"), py::arg("host_rows"))
      .def("set_schedule", &AdamWPlan::set_schedule, py::arg("group"), py::arg("which"), py::arg("count"), py::arg("in_tokens"))
      .def("expect", &AdamWPlan::expect, py::arg("group"), py::arg("which"), py::arg("value"))
      .def("published", &AdamWPlan::published, py::arg("group"), py::arg("which"))
      .def("refresh", &AdamWPlan::refresh, py::arg("gradients"))
      .def("publish", &AdamWPlan::publish)
      .def("zero_grad", &AdamWPlan::zero_grad)
      .def("set_extras", &AdamWPlan::set_extras, py::arg("zero_gradients"), py::arg("observe"), py::arg("annealing_decay"),
           py::arg("decay"), py::arg("deviations"), py::arg("after"))
      .def("step_cpu", &AdamWPlan::step_cpu, py::arg("gradients"), py::arg("t"), py::arg("counters"), py::arg("scalars"),
           py::arg("max_grad_norm"), py::arg("skip_nonfinite"), py::arg("tokens"), py::arg("stochastic_rounding"),
           py::arg("seed"), py::arg("count_skipped_tokens"), py::arg("loss_scale"), py::arg("threads"),
           py::arg("sum_of_squares"))
      .def("sum_squares_cpu", &AdamWPlan::sum_squares_cpu, py::arg("classes"), py::arg("n_classes"), py::arg("threads"))
      .def_property_readonly("hold", [](const AdamWPlan& p) { return p.gather_.hold; })
      .def_property_readonly("all_present", [](const AdamWPlan& p) { return p.gather_.all_present; })
      .def_property_readonly("n_chunks", [](const AdamWPlan& p) { return p.cpu_.plan().chunks.size(); })
      // The tables as they lie in memory, for upload by other backends; views are valid while the plan lives.
      .def_property_readonly("gradients",
                             [](py::object self) {
                               auto& v = self.cast<AdamWPlan&>().gather_.gradients;
                               return py::array_t<int64_t>(static_cast<py::ssize_t>(v.size()), v.data(), self);
                             })
      .def_property_readonly("configs",
                             [](py::object self) {
                               auto& v = self.cast<AdamWPlan&>().gather_.configs;
                               constexpr py::ssize_t words = sizeof(optim::GroupConfig) / 8;
                               return py::array_t<int64_t>({static_cast<py::ssize_t>(v.size()), words},
                                                           reinterpret_cast<const int64_t*>(v.data()), self);
                             })
      .def_property_readonly("chunks", [](py::object self) {
        const auto& v = self.cast<AdamWPlan&>().cpu_.plan().chunks;
        return py::array_t<int64_t>({static_cast<py::ssize_t>(v.size()), static_cast<py::ssize_t>(2)},
                                    reinterpret_cast<const int64_t*>(v.data()), self);
      });
}

}  // namespace rewarm
