// Adam and Polyak in AVX-512.
#include "rl/adam_kernels.h"

#include <immintrin.h>

#include <cmath>
#include <cstring>

namespace rewarm::rl {
namespace avx512 {

#include "common/lanes_avx512.h"

#include "rl/adam_loop.h"

}  // namespace avx512

const AdamKernels kAvx512Adam = {avx512::adam_step};

}  // namespace rewarm::rl
