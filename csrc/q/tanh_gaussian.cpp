#include "q/tanh_gaussian.h"

#include <algorithm>
#include <vector>

namespace rewarm::q {
namespace {

// Sigmas of the rows [first, first + n) of one seed; computed once where all rows share them.
class Sigmas {
 public:
  Sigmas(const float* log_std, bool shared, const SigmaBounds& bounds, int64_t actions, int64_t rows)
      : log_std_(log_std), shared_(shared), bounds_(bounds), actions_(actions) {
    const auto n = static_cast<size_t>((shared ? 1 : rows) * actions);
    value_.resize(n), log_.resize(n), clipped_.resize(n);
    if (shared) fill(log_std, actions);
  }

  void read(int64_t first, int64_t n) {
    if (!shared_) fill(log_std_ + first * actions_, n * actions_);
  }

  // Of row i of those read: each [A].
  const float* value(int64_t i) const { return value_.data() + place(i); }
  const float* log(int64_t i) const { return log_.data() + place(i); }
  const uint8_t* clipped(int64_t i) const { return clipped_.data() + place(i); }

 private:
  int64_t place(int64_t i) const { return shared_ ? 0 : i * actions_; }
  void fill(const float* log_std, int64_t n) {
    float *value = value_.data(), *log = log_.data();
    uint8_t* clipped = clipped_.data();
    for (int64_t i = 0; i < n; ++i) {
      const Sigma s = sigma_of(log_std[i], bounds_);
      value[i] = s.value;
      log[i] = s.log;
      clipped[i] = s.clipped;
    }
  }

  const float* log_std_;
  bool shared_;
  SigmaBounds bounds_;
  int64_t actions_;
  std::vector<float> value_, log_;
  std::vector<uint8_t> clipped_;
};

// Rows of one seed, enough of them at a time that the loops over their K A elements are worth being vectors.
constexpr int64_t kTileElements = 512;

int64_t rows_per_tile(const TanhGaussian& g) {
  return std::min(g.batch, std::max<int64_t>(1, kTileElements / (g.samples * g.actions)));
}

// u of rows [first, first + n) of seed s: [n, K, A].
void means_plus_noise(const TanhGaussian& g, const Sigmas& sigmas, int64_t s, int64_t first, int64_t n, float* u) {
  const int64_t k_a = g.samples * g.actions;
  const float* noise = g.noise + (s * g.batch + first) * k_a;
  for (int64_t i = 0; i < n; ++i) {
    const float *mean = g.mean + (s * g.batch + first + i) * g.actions, *sigma = sigmas.value(i);
    for (int64_t k = 0; k < g.samples; ++k)
      for (int64_t j = 0; j < g.actions; ++j) {
        const int64_t at = i * k_a + k * g.actions + j;
        u[at] = mean[j] + sigma[j] * noise[at];
      }
  }
}

}  // namespace

void tanh_gaussian(const TanhGaussian& g, float* action, float* log_prob) {
  const int64_t tile = rows_per_tile(g), k_a = g.samples * g.actions;
  std::vector<float> u_of(static_cast<size_t>(tile * k_a)), slope_of(static_cast<size_t>(tile * k_a));
  float *u = u_of.data(), *log_slope = slope_of.data();
  for (int64_t s = 0; s < g.seeds; ++s) {
    Sigmas sigmas(g.log_std + s * (g.shared_std ? g.actions : g.batch * g.actions), g.shared_std, g.bounds, g.actions, tile);
    for (int64_t first = 0; first < g.batch; first += tile) {
      const int64_t n = std::min(tile, g.batch - first), row0 = s * g.batch + first;
      sigmas.read(first, n);
      means_plus_noise(g, sigmas, s, first, n, u);
      float* a = action + row0 * k_a;
      if (g.squashed) {
        for (int64_t i = 0; i < n * k_a; ++i) {
          const Squashed q = squash(u[i]);
          a[i] = q.action;
          log_slope[i] = q.log_slope;
        }
      } else {
        std::copy_n(u, n * k_a, a);
        std::fill_n(log_slope, n * k_a, 0.0f);
      }
      if (!log_prob) continue;
      const float* noise = g.noise + row0 * k_a;
      for (int64_t i = 0; i < n; ++i) {
        const float* log_sigma = sigmas.log(i);
        for (int64_t k = 0; k < g.samples; ++k) {
          double sum = 0.0;
          for (int64_t j = 0; j < g.actions; ++j) {
            const int64_t at = i * k_a + k * g.actions + j;
            sum += static_cast<double>((-0.5f * (noise[at] * noise[at]) - log_sigma[j]) - (kHalfLog2Pi + log_slope[at]));
          }
          log_prob[(row0 + i) * g.samples + k] = static_cast<float>(sum);
        }
      }
    }
  }
}

void tanh_gaussian_backward(const TanhGaussian& g, const float* of_action, const float* of_log_prob, float* of_mean,
                            float* of_log_std) {
  const int64_t tile = rows_per_tile(g), k_a = g.samples * g.actions, actions = g.actions;
  std::vector<float> u_of(static_cast<size_t>(tile * k_a)), a_of(u_of.size()), slope_of(u_of.size());
  std::vector<double> shared(static_cast<size_t>(actions));
  float *u = u_of.data(), *a = a_of.data(), *slope = slope_of.data();
  for (int64_t s = 0; s < g.seeds; ++s) {
    Sigmas sigmas(g.log_std + s * (g.shared_std ? actions : g.batch * actions), g.shared_std, g.bounds, actions, tile);
    std::fill(shared.begin(), shared.end(), 0.0);
    for (int64_t first = 0; first < g.batch; first += tile) {
      const int64_t n = std::min(tile, g.batch - first), row0 = s * g.batch + first;
      sigmas.read(first, n);
      if (g.squashed) {
        means_plus_noise(g, sigmas, s, first, n, u);
        for (int64_t i = 0; i < n * k_a; ++i) {
          const Squashed q = squash(u[i]);
          a[i] = q.action;
          slope[i] = q.slope;
        }
      } else {  // da/du = 1, and log pi does not see u
        std::fill_n(a, n * k_a, 0.0f);
        std::fill_n(slope, n * k_a, 1.0f);
      }
      for (int64_t i = 0; i < n; ++i)
        for (int64_t j = 0; j < actions; ++j) {
          double of_u = 0.0, of_log_sigma = 0.0;
          for (int64_t k = 0; k < g.samples; ++k) {
            const int64_t here = i * k_a + k * actions + j, at = row0 * k_a + here;
            const float of_p = of_log_prob ? of_log_prob[(row0 + i) * g.samples + k] : 0.0f;
            const float one = (of_action ? of_action[at] * slope[here] : 0.0f) + of_p * (2.0f * a[here]);
            of_u += static_cast<double>(one);
            of_log_sigma += static_cast<double>(one * (g.noise[at] * sigmas.value(i)[j])) - static_cast<double>(of_p);
          }
          if (of_mean) of_mean[(row0 + i) * actions + j] = static_cast<float>(of_u);
          if (sigmas.clipped(i)[j]) of_log_sigma = 0.0;
          if (g.shared_std) shared[static_cast<size_t>(j)] += of_log_sigma;
          if (of_log_std && !g.shared_std) of_log_std[(row0 + i) * actions + j] = static_cast<float>(of_log_sigma);
        }
    }
    if (of_log_std && g.shared_std)
      for (int64_t j = 0; j < actions; ++j) of_log_std[s * actions + j] = static_cast<float>(shared[static_cast<size_t>(j)]);
  }
}

void gaussian_log_prob(const GaussianLogProb& g, float* log_prob) {
  for (int64_t s = 0; s < g.seeds; ++s) {
    Sigmas sigmas(g.log_std + s * (g.shared_std ? g.actions : g.batch * g.actions), g.shared_std, g.bounds, g.actions, 1);
    for (int64_t b = 0; b < g.batch; ++b) {
      sigmas.read(b, 1);
      const int64_t row = (s * g.batch + b) * g.actions;
      double sum = 0.0;
      for (int64_t j = 0; j < g.actions; ++j) {
        const float z = (g.action[row + j] - g.mean[row + j]) / sigmas.value(0)[j];
        sum += static_cast<double>((-0.5f * (z * z) - sigmas.log(0)[j]) - kHalfLog2Pi);
      }
      log_prob[s * g.batch + b] = static_cast<float>(sum);
    }
  }
}

void gaussian_log_prob_backward(const GaussianLogProb& g, const float* of_log_prob, float* of_mean, float* of_log_std) {
  std::vector<double> shared(static_cast<size_t>(g.actions));
  for (int64_t s = 0; s < g.seeds; ++s) {
    Sigmas sigmas(g.log_std + s * (g.shared_std ? g.actions : g.batch * g.actions), g.shared_std, g.bounds, g.actions, 1);
    std::fill(shared.begin(), shared.end(), 0.0);
    for (int64_t b = 0; b < g.batch; ++b) {
      sigmas.read(b, 1);
      const int64_t row = (s * g.batch + b) * g.actions;
      const float of_p = of_log_prob[s * g.batch + b];
      for (int64_t j = 0; j < g.actions; ++j) {
        const float sigma = sigmas.value(0)[j], z = (g.action[row + j] - g.mean[row + j]) / sigma;
        if (of_mean) of_mean[row + j] = of_p * (z / sigma);
        const float of_log_sigma = sigmas.clipped(0)[j] ? 0.0f : of_p * (z * z - 1.0f);
        if (g.shared_std) shared[static_cast<size_t>(j)] += static_cast<double>(of_log_sigma);
        if (of_log_std && !g.shared_std) of_log_std[row + j] = of_log_sigma;
      }
    }
    if (of_log_std && g.shared_std)
      for (int64_t j = 0; j < g.actions; ++j)
        of_log_std[s * g.actions + j] = static_cast<float>(shared[static_cast<size_t>(j)]);
  }
}

}  // namespace rewarm::q
