// Chunk functions in AVX-512 (F, BW, VL, DQ).
#include <immintrin.h>

#include "optim/kernels.h"

namespace rewarm::optim {
namespace avx512 {

#include "optim/simd_avx512.h"

#include "optim/adamw_loop.h"

#include "optim/extras_loop.h"

}  // namespace avx512

const Kernels kAvx512Kernels = {avx512::pick_update, avx512::pick_sum_squares, avx512::pick_blend, avx512::pick_squared_change};

}  // namespace rewarm::optim
