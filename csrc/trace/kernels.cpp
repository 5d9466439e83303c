// The choice of the trace's kernels. Its levels are not those of common/isa.h one for one: compressing bytes needs VBMI2, which
// the first AVX-512 processors lack; they read with AVX2.
#include "trace/kernels.h"

#include <cstring>

#include "common/isa.h"

namespace rewarm::trace {
namespace {

const Kernels& choose() {
#if defined(REWARM_TRACE_SIMD)
  const Isa allowed = active_isa();
  if (allowed >= Isa::kAvx512 && runs_avx512()) return kAvx512Kernels;
  if (allowed >= Isa::kAvx2 && runs_avx2()) return kAvx2Kernels;
#endif
  return kPortableKernels;
}

}  // namespace

const Kernels& kernels() {
  static const Kernels& chosen = choose();
  return chosen;
}

const Kernels* find_kernels(const char* name) {
  if (std::strcmp(name, kPortableKernels.name) == 0) return &kPortableKernels;
#if defined(REWARM_TRACE_SIMD)
  if (std::strcmp(name, kAvx2Kernels.name) == 0 && runs_avx2()) return &kAvx2Kernels;
  if (std::strcmp(name, kAvx512Kernels.name) == 0 && runs_avx512()) return &kAvx512Kernels;
#endif
  return nullptr;
}

}  // namespace rewarm::trace
