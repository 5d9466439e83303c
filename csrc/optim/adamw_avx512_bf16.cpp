// Chunk functions in AVX-512 with the bf16 conversion instruction, which makes bfloat16 stores three times as cheap.
#include <immintrin.h>

#include "optim/kernels.h"

namespace rewarm::optim {
namespace avx512_bf16 {

#include "optim/simd_avx512.h"

#include "optim/adamw_loop.h"

}  // namespace avx512_bf16

const Kernels kAvx512Bf16Kernels = {avx512_bf16::pick_update, avx512_bf16::pick_sum_squares};

}  // namespace rewarm::optim
