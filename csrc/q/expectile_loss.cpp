#include "q/expectile_loss.h"

namespace rewarm::q {

void expectile_loss(const float* q, const float* v, float expectile, float rest, int64_t s, int64_t n, float* loss) {
  for (int64_t i = 0; i < s * n; ++i) {
    const float d = q[i] - v[i];
    loss[i] = expectile_weight(q[i], v[i], expectile, rest) * (d * d);
  }
}

void expectile_loss_mean(const float* q, const float* v, float expectile, float rest, int64_t s, int64_t n, float* loss) {
  for (int64_t row = 0; row < s; ++row) {
    double sum = 0.0;
    for (int64_t i = row * n; i < (row + 1) * n; ++i) {
      const double d = static_cast<double>(q[i]) - static_cast<double>(v[i]);
      sum += static_cast<double>(expectile_weight(q[i], v[i], expectile, rest)) * (d * d);
    }
    loss[row] = static_cast<float>(sum / static_cast<double>(n));
  }
}

void expectile_loss_backward(const float* q, const float* v, float expectile, float rest, int64_t s, int64_t n, const float* g,
                             bool mean, float* of_q) {
  for (int64_t row = 0; row < s; ++row) {
    const float shared = mean ? g[row] / static_cast<float>(n) : 0.0f;
    for (int64_t i = row * n; i < (row + 1) * n; ++i) {
      const float w = expectile_weight(q[i], v[i], expectile, rest);
      of_q[i] = (mean ? shared : g[i]) * (2.0f * w * (q[i] - v[i]));
    }
  }
}

}  // namespace rewarm::q
