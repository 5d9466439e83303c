// y = r + gamma max_k (min_m q - alpha log pi), and y = r where the episode terminated: REDQ's minimum (arXiv 2101.05982),
// SAC's entropy (arXiv 1801.01290), CQL's max-backup (arXiv 2006.04779).
#pragma once

#include <cstdint>

#include "common/host_device.h"

namespace rewarm::q {

// NaN wins in both; std::min and the vector instructions would lose it on one side.
REWARM_HD float smaller(float a, float b) { return b < a || b != b ? b : a; }
REWARM_HD float larger(float a, float b) { return b > a || b != b ? b : a; }

REWARM_HD float td_target_of(float reward, bool terminated, float value, float gamma) {
  return terminated ? reward : reward + gamma * value;
}

struct TdTarget {
  int64_t seeds, critics, batch, samples;  // S, M, B, K; K is 1 without that axis
  const float* reward;                     // [S, B]
  const uint8_t* terminated;               // [S, B], 0 or 1
  const float* q_next;                     // [S, M, B, K]
  const float* log_prob;                   // [S, B, K], or null
  const float* alpha;                      // [S] with alpha_stride 1, one for all seeds with 0; null: no entropy term
  int64_t alpha_stride;
  float gamma;
  float* y;  // [S, B]
};
void td_target(const TdTarget& t);

}  // namespace rewarm::q
