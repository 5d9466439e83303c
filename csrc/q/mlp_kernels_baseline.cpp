// The networks' kernels for any processor.
#include "q/mlp_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace rewarm::q {
namespace baseline {

#include "common/lanes_baseline.h"

#include "common/gemm_loop.h"

#include "q/mlp_loop.h"

}  // namespace baseline

const MlpKernels kBaselineMlp = {
    &baseline::kGemm,        baseline::norm_relu, baseline::relu_rows,    baseline::norm_relu_backward,
    baseline::relu_backward, baseline::head,      baseline::head_backward};

}  // namespace rewarm::q
