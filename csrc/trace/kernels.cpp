// The choice of the trace's kernels. Its levels are not those of common/isa.h one for one: compressing bytes needs VBMI2, which
// the first AVX-512 processors lack; they read with AVX2.
#include "trace/kernels.h"

#include <cstring>

#include "common/isa.h"

namespace rewarm::trace {
namespace {

bool runs_avx2() {
#if defined(REWARM_X86)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
         __builtin_cpu_supports("popcnt");
#else
  return false;
#endif
}

bool runs_avx512() {
#if defined(REWARM_X86)
  return runs_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vbmi") &&
         __builtin_cpu_supports("avx512vbmi2");
#else
  return false;
#endif
}

const Kernels& choose() {
#if defined(REWARM_X86)
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
#if defined(REWARM_X86)
  if (std::strcmp(name, kAvx2Kernels.name) == 0 && runs_avx2()) return &kAvx2Kernels;
  if (std::strcmp(name, kAvx512Kernels.name) == 0 && runs_avx512()) return &kAvx512Kernels;
#endif
#if defined(REWARM_SIMDE)
  if (std::strcmp(name, kEmulatedKernels.name) == 0 && runs_avx2()) return &kEmulatedKernels;
#endif
  return nullptr;
}

}  // namespace rewarm::trace
