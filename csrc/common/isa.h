// Which instruction set the CPU kernels run with: chosen once at run time, forced by
// REWARM_ISA=baseline|avx2|avx512|avx512_bf16.
#pragma once

#include <cstdlib>
#include <cstring>
#include <string>

#include "common/error.h"

#if defined(REWARM_X86)
#include <cpuid.h>
#endif

namespace rewarm {

enum class Isa { kBaseline = 0, kAvx2 = 1, kAvx512 = 2, kAvx512Bf16 = 3 };

inline const char* isa_name(Isa isa) {
  constexpr const char* kNames[] = {"baseline", "avx2", "avx512", "avx512_bf16"};
  return kNames[static_cast<int>(isa)];
}

#if defined(REWARM_X86)
// By CPUID itself: clang before 18 does not know the name "f16c" in __builtin_cpu_supports.
inline bool supports_f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & (1U << 29)) != 0;
}
#endif

// The best level that this build holds and this processor runs.
inline Isa best_isa() {
#if defined(REWARM_X86)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && supports_f16c();
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  if (avx2 && avx512) return __builtin_cpu_supports("avx512bf16") ? Isa::kAvx512Bf16 : Isa::kAvx512;
  if (avx2) return Isa::kAvx2;
#endif
  return Isa::kBaseline;
}

// REWARM_ISA may lower the level, never raise it past what the processor runs.
inline Isa choose_isa() {
  const char* forced = std::getenv("REWARM_ISA");
  const Isa best = best_isa();
  if (forced == nullptr || *forced == '\0') return best;
  for (Isa isa : {Isa::kBaseline, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16}) {
    if (std::strcmp(forced, isa_name(isa)) != 0) continue;
    if (isa > best)
      throw Error(ErrorKind::kInvalidArgument,
                  std::string("REWARM_ISA=") + forced + ": this processor and build run at most " + isa_name(best));
    return isa;
  }
  throw Error(ErrorKind::kInvalidArgument,
              std::string("REWARM_ISA: expected baseline, avx2, avx512 or avx512_bf16, got \"") + forced + "\"");
}

inline Isa active_isa() {
  static const Isa isa = choose_isa();
  return isa;
}

#if defined(REWARM_EMULATED)
// Whether the tests want AVX-512 under emulation.
inline bool emulated() {
  const char* asked = std::getenv("REWARM_EMULATE");
  return asked != nullptr && std::strcmp(asked, "avx512") == 0;
}
#endif

}  // namespace rewarm
