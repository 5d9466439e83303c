// Adam and Polyak in AVX-512.
#include "rl/adam_kernels.h"

#if defined(REWARM_SIMDE)  // the same source under emulation, for any processor
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/fma.h>
#define REWARM_LEVEL emulated
#define REWARM_TABLE kEmulatedAdam
#else
#include <immintrin.h>
#define REWARM_LEVEL avx512
#define REWARM_TABLE kAvx512Adam
#endif

#include <cmath>
#include <cstring>

namespace rewarm::rl {
namespace REWARM_LEVEL {

#include "common/lanes_avx512.h"

#include "rl/adam_loop.h"

}  // namespace REWARM_LEVEL

extern const AdamKernels REWARM_TABLE;
const AdamKernels REWARM_TABLE = {REWARM_LEVEL::adam_step};

}  // namespace rewarm::rl
