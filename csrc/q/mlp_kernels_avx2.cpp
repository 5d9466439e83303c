// The networks' kernels in AVX2 and FMA.
#include "q/mlp_kernels.h"

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>

namespace rewarm::q {
namespace avx2 {

#include "common/lanes_avx2.h"

#include "common/gemm_loop.h"

#include "q/mlp_loop.h"

}  // namespace avx2

const MlpKernels kAvx2Mlp = {&avx2::kGemm,        avx2::norm_relu, avx2::relu_rows,    avx2::norm_relu_backward,
                             avx2::relu_backward, avx2::head,      avx2::head_backward};

}  // namespace rewarm::q
