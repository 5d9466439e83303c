#include "q/cql_penalty.h"

#include <cmath>
#include <vector>

#include "q/elementary.h"
#include "q/td_target.h"

namespace rewarm::q {
namespace {

// One row's softmax: the exponentials of its columns, their sum, and the logsumexp.
class Row {
 public:
  explicit Row(const CqlPenalty& p)
      : p_(p),
        columns_(p.samples + (p.log_density ? 0 : 1)),
        correction_(static_cast<float>(p.temperature * std::log(static_cast<double>(p.samples + 1)))),
        exponentials_(static_cast<size_t>(columns_)) {}

  // The row of critic (s, m) and batch entry b, by its place in [S, M, B] and in [S, B].
  void read(int64_t at, int64_t row) {
    const int64_t n = p_.samples;
    const float* q = p_.q_sampled + at * n;
    float* z = exponentials_.data();
    const float t = p_.temperature;
    const int64_t bounded_from = p_.mc_return ? p_.first_bounded : n;
    for (int64_t i = 0; i < n; ++i) z[i] = q[i];
    if (p_.mc_return) {
      const float bound = p_.mc_return[row];
      for (int64_t i = bounded_from; i < n; ++i) z[i] = is_bounded(q[i], bound) ? bound : q[i];
    }
    if (p_.log_density) {
      const float* density = p_.log_density + row * n;
      for (int64_t i = 0; i < n; ++i) z[i] = (z[i] - density[i]) / t;
    } else {
      z[n] = p_.q_data[at];
      for (int64_t i = 0; i <= n; ++i) z[i] = (z[i] - correction_) / t;
    }
    float most = z[0];
    for (int64_t i = 1; i < columns_; ++i) most = larger(most, z[i]);
    const float shift = std::isinf(most) ? 0.0f : most;  // inf - inf would make NaN of an infinite result
    for (int64_t i = 0; i < columns_; ++i) z[i] = exponential(z[i] - shift).value;
    sum_ = 0.0;
    for (int64_t i = 0; i < columns_; ++i) sum_ += static_cast<double>(z[i]);
    logsumexp_ = static_cast<double>(shift) + std::log(sum_);
  }

  double logsumexp() const { return logsumexp_; }
  float weight(int64_t i) const {
    return static_cast<float>(static_cast<double>(exponentials_[static_cast<size_t>(i)]) / sum_);
  }

 private:
  const CqlPenalty& p_;
  int64_t columns_;
  float correction_;
  std::vector<float> exponentials_;
  double sum_ = 0.0, logsumexp_ = 0.0;
};

// Calls visit(at, row) for every critic and batch entry: their places in [S, M, B] and [S, B].
template <class Visit>
void for_rows(const CqlPenalty& p, Visit visit) {
  for (int64_t s = 0; s < p.seeds; ++s)
    for (int64_t m = 0; m < p.critics; ++m)
      for (int64_t b = 0; b < p.batch; ++b) visit((s * p.critics + m) * p.batch + b, s * p.batch + b);
}

}  // namespace

void cql_penalty(const CqlPenalty& p, float* diff) {
  Row one(p);
  for_rows(p, [&](int64_t at, int64_t row) {
    one.read(at, row);
    diff[at] = static_cast<float>(static_cast<double>(p.temperature) * one.logsumexp() - static_cast<double>(p.q_data[at]));
  });
}

void cql_penalty_backward(const CqlPenalty& p, const float* g, float* of_sampled, float* of_data) {
  Row one(p);
  const int64_t n = p.samples;
  for_rows(p, [&](int64_t at, int64_t row) {
    one.read(at, row);
    if (of_sampled) {
      for (int64_t i = 0; i < n; ++i) {
        const bool replaced = p.mc_return && i >= p.first_bounded && is_bounded(p.q_sampled[at * n + i], p.mc_return[row]);
        of_sampled[at * n + i] = replaced ? 0.0f : g[at] * one.weight(i);
      }
    }
    if (of_data) of_data[at] = p.log_density ? -g[at] : g[at] * (one.weight(n) - 1.0f);
  });
}

}  // namespace rewarm::q
