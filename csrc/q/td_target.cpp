#include "q/td_target.h"

#include <algorithm>

namespace rewarm::q {
namespace {

constexpr int64_t kTile = 256;  // values of (b, k) at a time, in L1 beside one tile of each critic

// values [n]: the minimum over critics of q [critics, stride] from its first element on, less the weighted log_prob [n].
void soft_minimum(const float* q, int64_t critics, int64_t stride, const float* log_prob, float alpha, int64_t n,
                  float* values) {
  std::copy_n(q, n, values);
  for (int64_t m = 1; m < critics; ++m)
    for (int64_t i = 0; i < n; ++i) values[i] = smaller(values[i], q[m * stride + i]);
  if (log_prob)
    for (int64_t i = 0; i < n; ++i) values[i] -= alpha * log_prob[i];
}

}  // namespace

void td_target(const TdTarget& t) {
  float values[kTile];
  const int64_t row = t.batch * t.samples;
  for (int64_t s = 0; s < t.seeds; ++s) {
    const float* q = t.q_next + s * t.critics * row;
    const float* log_prob = t.log_prob && t.alpha ? t.log_prob + s * row : nullptr;
    const float alpha = t.alpha ? t.alpha[s * t.alpha_stride] : 0.0f;
    float best = 0.0f;
    for (int64_t i = 0; i < row; i += kTile) {
      const int64_t n = std::min(kTile, row - i);
      soft_minimum(q + i, t.critics, row, log_prob ? log_prob + i : nullptr, alpha, n, values);
      for (int64_t j = 0; j < n; ++j) {  // a row of K may reach into the next tile
        const int64_t b = (i + j) / t.samples, k = (i + j) - b * t.samples;
        best = k == 0 ? values[j] : larger(best, values[j]);
        if (k == t.samples - 1) {
          const int64_t at = s * t.batch + b;
          t.y[at] = td_target_of(t.reward[at], t.terminated[at] != 0, best, t.gamma);
        }
      }
    }
  }
}

}  // namespace rewarm::q
