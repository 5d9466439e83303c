// The networks' kernels in AVX-512.
#include "q/mlp_kernels.h"

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>

namespace rewarm::q {
namespace avx512 {

#include "common/lanes_avx512.h"

#include "common/gemm_loop.h"

#include "q/mlp_loop.h"

}  // namespace avx512

const MlpKernels kAvx512Mlp = {&avx512::kGemm,        avx512::norm_relu, avx512::relu_rows,    avx512::norm_relu_backward,
                               avx512::relu_backward, avx512::head,      avx512::head_backward};

}  // namespace rewarm::q
