// Adam and Polyak for any processor.
#include "rl/adam_kernels.h"

#include <cmath>
#include <cstring>

namespace rewarm::rl {
namespace baseline {

#include "common/lanes_baseline.h"

#include "rl/adam_loop.h"

}  // namespace baseline

const AdamKernels kBaselineAdam = {baseline::adam_step};

}  // namespace rewarm::rl
