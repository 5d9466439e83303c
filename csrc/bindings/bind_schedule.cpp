// Python face of schedule/schedule.h: evaluates packed segments at one or many counters.
#include <pybind11/numpy.h>

#include "bindings/bind.h"
#include "common/error.h"
#include "schedule/schedule.h"

namespace py = pybind11;

namespace rewarm {
namespace {

using schedule::Segment;

struct Packed {
  const Segment* segments;
  int64_t count;
};

Packed unpack(const py::buffer_info& info) {
  const int64_t bytes = static_cast<int64_t>(info.size) * static_cast<int64_t>(info.itemsize);
  if (bytes == 0 || bytes % static_cast<int64_t>(sizeof(Segment)) != 0)
    throw Error(ErrorKind::kInvalidArgument,
                "segments: expected a non-empty contiguous array of 64-byte segments, got " + std::to_string(bytes) + " bytes");
  return {static_cast<const Segment*>(info.ptr), bytes / static_cast<int64_t>(sizeof(Segment))};
}

double schedule_value(const py::buffer& segments, int64_t step) {
  const py::buffer_info info = segments.request();
  const Packed p = unpack(info);
  return schedule::value_at(p.segments, p.count, step);
}

py::array_t<double> schedule_values(const py::buffer& segments, const py::array_t<int64_t, py::array::c_style>& steps) {
  const py::buffer_info info = segments.request();
  const Packed p = unpack(info);
  py::array_t<double> out(steps.size());
  const int64_t* t = steps.data();
  double* v = out.mutable_data();
  const int64_t n = steps.size();
  {
    py::gil_scoped_release release;
    for (int64_t i = 0; i < n; ++i) v[i] = schedule::value_at(p.segments, p.count, t[i]);
  }
  return out;
}

}  // namespace

void bind_schedule(py::module_& m) {
  m.def("schedule_value", &schedule_value, py::arg("segments"), py::arg("step"));
  m.def("schedule_values", &schedule_values, py::arg("segments"), py::arg("steps"));
}

}  // namespace rewarm
