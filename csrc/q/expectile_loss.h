// w (q - v)^2 with w = expectile where q > v, 1 - expectile elsewhere: IQL's value loss (arXiv 2110.06169).
#pragma once

#include <cstdint>

#include "common/host_device.h"

namespace rewarm::q {

REWARM_HD float expectile_weight(float q, float v, float expectile, float rest) { return q > v ? expectile : rest; }

// q and v [s, n]; `rest` is 1 - expectile, rounded once. The mean over n of each of the s rows, summed in float64 in order.
void expectile_loss(const float* q, const float* v, float expectile, float rest, int64_t s, int64_t n, float* loss);  // [s, n]
void expectile_loss_mean(const float* q, const float* v, float expectile, float rest, int64_t s, int64_t n,
                         float* loss);  // [s]

// of_q = g 2 w (q - v), [s, n]; g is [s, n], or [s] of the means with `mean`. The gradient of v is its negative.
void expectile_loss_backward(const float* q, const float* v, float expectile, float rest, int64_t s, int64_t n, const float* g,
                             bool mean, float* of_q);

}  // namespace rewarm::q
