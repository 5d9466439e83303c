// min(exp(beta (q - v)), max_weight): the weight of advantage-weighted regression (arXiv 1910.00177).
#pragma once

#include <cstdint>

#include "common/host_device.h"
#include "q/elementary.h"

namespace rewarm::q {

REWARM_HD float awr_weight_of(float q, float v, float beta, float max_weight) {
  const float w = exponential(beta * (q - v)).value;
  return w > max_weight ? max_weight : w;  // NaN stays
}

void awr_weight(const float* q, const float* v, float beta, float max_weight, int64_t n, float* weight);  // each [n]

}  // namespace rewarm::q
