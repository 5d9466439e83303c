// u = mean + sigma eps, a = tanh u and its log probability (SAC, arXiv 1801.01290, appendix C), with the reparametrised
// gradient; the same without the squashing, and the log probability of given actions.
#pragma once

#include <cmath>
#include <cstdint>

#include "common/host_device.h"
#include "q/elementary.h"

namespace rewarm::q {

constexpr float kHalfLog2Pi = 0.918938533f;
constexpr float kLn2 = 0.693147181f;

// sigma = clip(e^l, std_min, std_max) and its logarithm, which is l itself where nothing was clipped.
struct Sigma {
  float value, log;
  bool clipped;
};

struct SigmaBounds {
  float min, max, log_min, log_max;
};

inline SigmaBounds sigma_bounds(double std_min, double std_max) {
  return {static_cast<float>(std_min), static_cast<float>(std_max), static_cast<float>(std::log(std_min)),
          static_cast<float>(std::log(std_max))};
}

REWARM_HD Sigma sigma_of(float log_std, const SigmaBounds& bounds) {
  const float sigma = exponential(log_std).value;
  const bool low = sigma<bounds.min, high = sigma> bounds.max;
  return {low ? bounds.min : high ? bounds.max : sigma, low ? bounds.log_min : high ? bounds.log_max : log_std, low || high};
}

// With t = e^(-2|u|): tanh|u| = (1 - t) / (1 + t), 1 - tanh^2 u = 4 t / (1 + t)^2 and its logarithm 2 (ln 2 - |u| - ln(1 + t)),
// none of which cancels for large |u|, where 1 - tanh^2 u formed from tanh u has no digits left.
struct Squashed {
  float action, slope, log_slope;
};

REWARM_HD Squashed squash(float u) {
  const float size = u < 0.0f ? -u : u;
  const Exponential e = exponential(-2.0f * size);
  const float sum = 1.0f + e.value, a = -e.minus_one / sum;
  return {u < 0.0f ? -a : a, 4.0f * e.value / (sum * sum), 2.0f * ((kLn2 - size) - log_one_plus(e.value))};
}

struct TanhGaussian {
  int64_t seeds, batch, samples, actions;  // S, B, K, A; K is 1 without that axis
  const float* mean;                       // [S, B, A]
  const float* log_std;                    // [S, B, A], or [S, A] with shared_std
  bool shared_std;
  const float* noise;  // [S, B, K, A]
  SigmaBounds bounds;
  bool squashed;
};

// action [S, B, K, A] and log_prob [S, B, K]; log_prob may be null. Sums over A are taken in float64, in order.
void tanh_gaussian(const TanhGaussian& g, float* action, float* log_prob);

// of_action [S, B, K, A] and of_log_prob [S, B, K] come in, either may be null for zero; of_mean [S, B, A] and of_log_std (the
// shape of log_std) go out, either may be null where it is not wanted. Sums over K and B are taken in float64, in order.
void tanh_gaussian_backward(const TanhGaussian& g, const float* of_action, const float* of_log_prob, float* of_mean,
                            float* of_log_std);

struct GaussianLogProb {
  int64_t seeds, batch, actions;  // S, B, A
  const float* action;            // [S, B, A]
  const float* mean;              // [S, B, A]
  const float* log_std;           // [S, B, A], or [S, A] with shared_std
  bool shared_std;
  SigmaBounds bounds;
};

void gaussian_log_prob(const GaussianLogProb& g, float* log_prob);  // [S, B]

// of_log_prob [S, B] comes in; of_mean and of_log_std go out, either may be null. The gradient of action is -of_mean.
void gaussian_log_prob_backward(const GaussianLogProb& g, const float* of_log_prob, float* of_mean, float* of_log_std);

}  // namespace rewarm::q
