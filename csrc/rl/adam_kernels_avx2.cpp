// Adam and Polyak in AVX2.
#include "rl/adam_kernels.h"

#include <immintrin.h>

#include <cmath>
#include <cstring>

namespace rewarm::rl {
namespace avx2 {

#include "common/lanes_avx2.h"

#include "rl/adam_loop.h"

}  // namespace avx2

const AdamKernels kAvx2Adam = {avx2::adam_step};

}  // namespace rewarm::rl
