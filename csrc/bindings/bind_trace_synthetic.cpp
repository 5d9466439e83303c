#include "bindings/bind.h"

namespace py = pybind11;

namespace rewarm {

void bind_trace_synthetic(py::module_& m) { (void)m; }

}  // namespace rewarm
