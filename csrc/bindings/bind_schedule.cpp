// Python face of schedule/schedule.h: evaluates packed segments at one or many counters.
#include <pybind11/numpy.h>

#include "bindings/bind.h"
#include "common/error.h"
#include "schedule/schedule.h"

namespace py = pybind11;

namespace rewarm {
namespace {

using schedule::Knot;
using schedule::Segment;

// The two tables of a schedule, held as buffers for as long as they are read.
struct Packed {
  py::buffer_info rows, points;
  const Segment* segments = nullptr;
  int64_t count = 0;
  const Knot* knots = nullptr;
};

int64_t bytes_of(const py::buffer_info& info) { return static_cast<int64_t>(info.size) * static_cast<int64_t>(info.itemsize); }

// knots: None for a schedule without tables, which spares most calls the second buffer.
Packed unpack(const py::buffer& segments, const py::object& knots) {
  Packed p;
  p.rows = segments.request();
  const int64_t bytes = bytes_of(p.rows);
  if (bytes == 0 || bytes % static_cast<int64_t>(sizeof(Segment)) != 0)
    throw Error(ErrorKind::kInvalidArgument,
                "segments: expected a non-empty contiguous array of 64-byte segments, got " + std::to_string(bytes) + " bytes");
  p.segments = static_cast<const Segment*>(p.rows.ptr);
  p.count = bytes / static_cast<int64_t>(sizeof(Segment));
  int64_t n_knots = 0;
  if (!knots.is_none()) {
    p.points = knots.cast<py::buffer>().request();
    p.knots = static_cast<const Knot*>(p.points.ptr);
    n_knots = bytes_of(p.points) / static_cast<int64_t>(sizeof(Knot));
  }
  for (int64_t i = 0; i < p.count; ++i) {
    const Segment& s = p.segments[i];
    const double left = static_cast<double>(n_knots) - static_cast<double>(s.offset);
    if (s.kind == schedule::kTable && !(s.offset >= 0 && s.power >= 2.0 && s.power <= left))
      throw Error(ErrorKind::kInvalidArgument, "segments: segment " + std::to_string(i) + ": expected a table within the " +
                                                   std::to_string(n_knots) + " knots given");
  }
  return p;
}

double schedule_value(const py::buffer& segments, const py::object& knots, int64_t step) {
  const Packed p = unpack(segments, knots);
  return schedule::value_at(p.segments, p.count, p.knots, step);
}

py::array_t<double> schedule_values(const py::buffer& segments, const py::object& knots,
                                    const py::array_t<int64_t, py::array::c_style>& steps) {
  const Packed p = unpack(segments, knots);
  py::array_t<double> out(steps.size());
  const int64_t* t = steps.data();
  double* v = out.mutable_data();
  const int64_t n = steps.size();
  {
    py::gil_scoped_release release;
    for (int64_t i = 0; i < n; ++i) v[i] = schedule::value_at(p.segments, p.count, p.knots, t[i]);
  }
  return out;
}

}  // namespace

void bind_schedule(py::module_& m) {
  m.def("schedule_value", &schedule_value, py::arg("segments"), py::arg("knots").none(true), py::arg("step"));
  m.def("schedule_values", &schedule_values, py::arg("segments"), py::arg("knots").none(true), py::arg("steps"));
  m.attr("MAX_SEGMENTS") = schedule::kMaxSegments;
  m.attr("MAX_KNOTS") = schedule::kMaxKnots;
}

}  // namespace rewarm
