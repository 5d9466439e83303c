// Chunk functions in AVX2, FMA and F16C.
#include <immintrin.h>

#include "optim/kernels.h"

namespace rewarm::optim {
namespace avx2 {

#include "optim/simd_avx2.h"

#include "optim/adamw_loop.h"

#include "optim/extras_loop.h"

}  // namespace avx2

const Kernels kAvx2Kernels = {avx2::pick_update, avx2::pick_sum_squares, avx2::pick_blend, avx2::pick_squared_change};

}  // namespace rewarm::optim
