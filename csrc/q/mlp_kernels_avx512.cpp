// The networks' kernels in AVX-512.
#include "q/mlp_kernels.h"

#if defined(REWARM_SIMDE)  // the same source under emulation, for any processor
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/fma.h>
#define REWARM_LEVEL emulated
#define REWARM_TABLE kEmulatedMlp
#else
#include <immintrin.h>
#define REWARM_LEVEL avx512
#define REWARM_TABLE kAvx512Mlp
#endif

#include <algorithm>
#include <cmath>
#include <cstring>

namespace rewarm::q {
namespace REWARM_LEVEL {

#include "common/lanes_avx512.h"

#include "common/gemm_loop.h"

#include "q/mlp_loop.h"

}  // namespace REWARM_LEVEL

extern const MlpKernels REWARM_TABLE;
const MlpKernels REWARM_TABLE = {
    &REWARM_LEVEL::kGemm,        REWARM_LEVEL::norm_relu, REWARM_LEVEL::relu_rows,    REWARM_LEVEL::norm_relu_backward,
    REWARM_LEVEL::relu_backward, REWARM_LEVEL::head,      REWARM_LEVEL::head_backward};

}  // namespace rewarm::q
