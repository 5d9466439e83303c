// What every room shares at the Python border: the error translation and facts about the processor.
#include "bindings/bind.h"
#include "common/error.h"
#include "common/isa.h"

namespace py = pybind11;

namespace rewarm {
namespace {

const char* python_class(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kInvalidArgument: return "InvalidArgument";
    case ErrorKind::kPlanChanged: return "PlanChanged";
    case ErrorKind::kScheduleConflict: return "ScheduleConflict";
    case ErrorKind::kCapture: return "CaptureError";
    case ErrorKind::kDevice: return "DeviceError";
  }
  return "RewarmError";
}

}  // namespace

void bind_common(py::module_& m) {
  py::register_exception_translator([](std::exception_ptr p) {
    try {
      if (p) std::rethrow_exception(p);
    } catch (const Error& e) {
      const py::object cls = py::module_::import("rewarm.errors").attr(python_class(e.kind()));
      PyErr_SetString(cls.ptr(), e.what());
    }
  });
  m.def("isa", [] { return isa_name(active_isa()); });
  m.def("best_isa", [] { return isa_name(best_isa()); });
}

}  // namespace rewarm
