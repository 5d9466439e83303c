// Turns rewarm::Error into the classes of rewarm.errors, once in each of our extension modules.
#pragma once

#include <pybind11/pybind11.h>

#include "common/error.h"

namespace rewarm {

inline const char* python_class(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kInvalidArgument: return "InvalidArgument";
    case ErrorKind::kPlanChanged: return "PlanChanged";
    case ErrorKind::kScheduleConflict: return "ScheduleConflict";
    case ErrorKind::kCapture: return "CaptureError";
    case ErrorKind::kDevice: return "DeviceError";
    case ErrorKind::kTrace: return "TraceError";
    case ErrorKind::kIndex: return "IndexOutOfRange";
  }
  return "RewarmError";
}

// Local to the module that calls it: _core and _cuda hold a type of their own each.
inline void translate_errors() {
  pybind11::register_local_exception_translator([](std::exception_ptr p) {
    try {
      if (p) std::rethrow_exception(p);
    } catch (const Error& e) {
      const pybind11::object cls = pybind11::module_::import("rewarm.errors").attr(python_class(e.kind()));
      PyErr_SetString(cls.ptr(), e.what());
    }
  });
}

}  // namespace rewarm
