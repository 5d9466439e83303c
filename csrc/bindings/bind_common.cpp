// What every room shares at the Python border: the error translation and facts about the processor.
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "bindings/bind.h"
#include "bindings/translate.h"
#include "common/isa.h"

namespace py = pybind11;

namespace rewarm {
namespace {

// Asks for 2 MiB pages under a large array that nobody has written yet. Only advice: where the system has none, nothing
// changes.
void advise_huge_pages(uintptr_t address, size_t bytes) {
#if defined(__linux__)
  constexpr uintptr_t kHuge = uintptr_t{1} << 21;
  const uintptr_t begin = (address + kHuge - 1) / kHuge * kHuge, end = (address + bytes) / kHuge * kHuge;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
  (void)address, (void)bytes;
#endif
}

}  // namespace

void bind_common(py::module_& m) {
  translate_errors();
  m.def("advise_huge_pages", &advise_huge_pages, py::arg("address"), py::arg("bytes"));
  m.def("isa", [] { return isa_name(active_isa()); });
  m.def("best_isa", [] { return isa_name(best_isa()); });
}

}  // namespace rewarm
