// The AdamW update of one element, and the scalars folded once per tensor and step: for host, device and SIMD vectors.
//
// Loshchilov and Hutter 2019 (arXiv 1711.05101), algorithm 2, in the arrangement below:
//   m <- m + (1 - beta1) (g - m)            v <- v + (1 - beta2) (g^2 - v)
//   theta <- theta - [ lr sqrt(1 - beta2^t) / (1 - beta1^t) * m / (sqrt(v) + eps sqrt(1 - beta2^t)) + lr wd theta ]
// which is torch.optim.AdamW with both bias corrections folded into two scalars, and the weight decay subtracted together with
// the step, so that theta is rounded once. The Triton twin is python/rewarm/optim/adamw_math_triton.py.
#pragma once

#include <cmath>
#include <cstdint>

#include "common/host_device.h"

namespace rewarm::optim {

// What a group asks of one step, in float64.
struct Hyper {
  double lr, weight_decay, beta1, beta2, eps, ema_decay;
  bool decoupled;  // AdamW; false = Adam, weight decay added to the gradient
  bool maximize;
};

// What the element loop needs, rounded once to float32.
struct Scalars {
  float grad_scale;  // clip coefficient over the loss scale, negative to maximize
  float l2;          // weight decay added to the gradient (0 for AdamW)
  float beta1, one_minus_beta1;
  float beta2, one_minus_beta2;
  float step;   // lr sqrt(1 - beta2^t) / (1 - beta1^t)
  float eps;    // eps sqrt(1 - beta2^t)
  float decay;  // lr wd (0 for Adam)
  float ema_decay, one_minus_ema_decay;
};

// Where the moments of one parameter began. {0, 1, 1, 0} is Adam from its start, and gives Adam's bits; a re-warming that
// resets or decays moments writes another, a step never does. 32 bytes of plain data, an exchange format.
//
// A moving average that began with weight w in place of 0 has weight 1 - (1 - w) beta^k after k updates: that is what its
// correction divides by. docs/resume.md has the derivation.
struct MomentStart {
  int64_t since;            // t at which it was written
  double missing_m;         // 1 - the weight of m then
  double missing_v;         // 1 - the weight of v then
  int64_t v_from_gradient;  // 1: the next update sets v to its squared gradient (Kalra and Barkeshli 2024, arXiv 2406.09405)
};
static_assert(sizeof(MomentStart) == 32, "MomentStart is an exchange format");

REWARM_HD bool operator==(const MomentStart& a, const MomentStart& b) {
  return a.since == b.since && a.missing_m == b.missing_m && a.missing_v == b.missing_v &&
         a.v_from_gradient == b.v_from_gradient;
}

// The start that update t counts from: a t that was written from outside (next_t) and lies before it came with other moments.
REWARM_HD MomentStart start_of(const MomentStart& s, int64_t t) { return t > s.since ? s : MomentStart{0, 1.0, 1.0, 0}; }

struct BiasCorrection {
  double first;        // 1 - missing_m beta1^(t - since)
  double second_root;  // sqrt(1 - missing_v beta2^(t - since))
  bool v_is_gradient;  // this update sets v to its squared gradient
};

REWARM_HD BiasCorrection bias_correction(double beta1, double beta2, int64_t t, const MomentStart& s) {
  const double steps = static_cast<double>(t - s.since);
  return {1.0 - s.missing_m * pow(beta1, steps), sqrt(1.0 - s.missing_v * pow(beta2, steps)),
          s.v_from_gradient != 0 && t - s.since == 1};
}

// grad_factor = clip coefficient / loss scale.
REWARM_HD Scalars fold(const Hyper& h, const BiasCorrection& c, double grad_factor) {
  Scalars s;
  s.grad_scale = static_cast<float>(h.maximize ? -grad_factor : grad_factor);
  s.l2 = h.decoupled ? 0.0f : static_cast<float>(h.weight_decay);
  s.beta1 = static_cast<float>(h.beta1);
  s.one_minus_beta1 = static_cast<float>(1.0 - h.beta1);
  const double beta2 = c.v_is_gradient ? 0.0 : h.beta2;
  s.beta2 = static_cast<float>(beta2);
  s.one_minus_beta2 = static_cast<float>(1.0 - beta2);
  s.step = static_cast<float>(h.lr * c.second_root / c.first);
  s.eps = static_cast<float>(h.eps * c.second_root);
  s.decay = h.decoupled ? static_cast<float>(h.lr * h.weight_decay) : 0.0f;
  s.ema_decay = static_cast<float>(h.ema_decay);
  s.one_minus_ema_decay = static_cast<float>(1.0 - h.ema_decay);
  return s;
}

// Scalar overloads of the vector operations; SIMD types bring their own (optim/simd_*.h). fma rounds once.
REWARM_HD float fused_multiply_add(float a, float b, float c) { return fmaf(a, b, c); }
REWARM_HD float square_root(float a) { return sqrtf(a); }
REWARM_HD float fused_multiply_subtract(float a, float b, float c) { return fmaf(a, b, -c); }
REWARM_HD float larger_or_nan(float a, float b) { return (a > b || a != a) ? a : b; }
// The largest finite number in place of an infinity, with its sign. What becomes of NaN does not matter.
REWARM_HD float finite(float a) {
  constexpr float kMaxFloat = 3.402823466e+38f;
  const float below = a < kMaxFloat ? a : kMaxFloat;
  return below > -kMaxFloat ? below : -kMaxFloat;
}

// What adamw_element may take for granted.
enum class Form {
  kAny,
  kCommon,  // no L2 term, and averages so slow that their differences do not cancel: spares loops the branches
  kFinite,  // kCommon, and theta and v are finite; where they are not, theta comes out as NaN: the caller then takes kCommon
};
REWARM_HD bool is_common(const Scalars& s) { return s.l2 == 0.0f && s.beta1 >= 0.5f && s.beta2 >= 0.5f; }
// Whether kFinite keeps its promise: an infinite theta less a decay of its own sign is NaN, with the other sign it is not.
REWARM_HD bool is_common_with_decay(const Scalars& s) { return is_common(s) && s.decay >= 0.0f; }

// One element (or one vector of elements); returns the new theta. `finite` only matters beyond the finite range: an infinite v
// stays infinite and an infinite theta stays what it is, as in torch, where inf - inf would make NaN. Below 0.5 a beta takes
// the form that does not cancel (torch's lerp does the same). A theta that is not NaN comes with moments that are not.
template <bool kAmsgrad, Form kForm, class V>
REWARM_HD V adamw_element(const Scalars& s, V p, V g, V& m, V& v, V& vmax) {
  constexpr bool kCommon = kForm != Form::kAny;
  const V bounded_v = kForm == Form::kFinite ? v : finite(v), bounded_p = kForm == Form::kFinite ? p : finite(p);
  g = g * V(s.grad_scale);
  if (!kCommon && s.l2 != 0.0f) g = fused_multiply_add(V(s.l2), p, g);
  if (!kCommon && s.beta1 < 0.5f) {
    m = fused_multiply_add(V(-s.beta1), g - m, g);
  } else {
    m = fused_multiply_add(V(s.one_minus_beta1), g - m, m);
  }
  if (!kCommon && s.beta2 < 0.5f) {
    v = fused_multiply_add(V(s.beta2), v, V(s.one_minus_beta2) * g * g);
  } else {
    v = fused_multiply_add(V(s.one_minus_beta2), fused_multiply_subtract(g, g, bounded_v), v);
  }
  V second = v;
  if (kAmsgrad) second = vmax = larger_or_nan(vmax, v);
  const V direction = m / (square_root(second) + V(s.eps));
  return p - fused_multiply_add(V(s.step), direction, V(s.decay) * bounded_p);
}

}  // namespace rewarm::optim
