// What every room shares at the Python border: the error translation and facts about the processor.
#include "bindings/bind.h"
#include "bindings/translate.h"
#include "common/isa.h"

namespace py = pybind11;

namespace rewarm {

void bind_common(py::module_& m) {
  translate_errors();
  m.def("isa", [] { return isa_name(active_isa()); });
  m.def("best_isa", [] { return isa_name(best_isa()); });
}

}  // namespace rewarm
