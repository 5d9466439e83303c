#include "q/awr_weight.h"

namespace rewarm::q {

void awr_weight(const float* q, const float* v, float beta, float max_weight, int64_t n, float* weight) {
  for (int64_t i = 0; i < n; ++i) weight[i] = awr_weight_of(q[i], v[i], beta, max_weight);
}

}  // namespace rewarm::q
