// The order of an update's turns.
#include "rl/update.h"

#include <algorithm>
#include <cmath>

#include "common/isa.h"
#include "rl/update_parts.h"

namespace rewarm::rl {

#if defined(REWARM_EMULATED)
extern const AdamKernels kEmulatedAdam;  // the AVX-512 ones for any processor, slow: where REWARM_EMULATE=avx512 asks for it
#endif

const AdamKernels& adam_kernels() {
#if defined(REWARM_EMULATED)
  if (emulated()) return kEmulatedAdam;
#endif
#if defined(REWARM_X86)
  if (active_isa() >= Isa::kAvx512) return kAvx512Adam;
  if (active_isa() == Isa::kAvx2) return kAvx2Adam;
#endif
  return kBaselineAdam;
}

AdamScalars adam_scalars(double lr, int64_t t) {
  const auto steps = static_cast<double>(t);
  return {static_cast<float>(lr / (1.0 - std::pow(kBeta1, steps))),
          static_cast<float>(std::sqrt(1.0 - std::pow(kBeta2, steps)))};
}

Update::Update(const AgentShape& shape)
    : shape_(shape),
      adam_(adam_kernels()),
      actor_(shape.actor, shape.seeds, 1),
      critics_(shape.critic, shape.seeds, shape.critics) {
  alpha_gradient_.resize(static_cast<size_t>(shape.seeds));
  log_std_gradient_.resize(static_cast<size_t>(shape.seeds * shape.act));
  weight_.resize(static_cast<size_t>(shape.seeds));
}

Update::~Update() = default;

void Update::update(const AgentTensors& agent, const Rows& rows, const Draws& draws, int64_t minibatches,
                    const Settings& settings, float* info) {
  const int64_t batch = rows.n / minibatches;
  std::fill_n(info, kInfo * shape_.seeds, 0.0f);
  for (int64_t u = 0; u < minibatches; ++u) {
    targets(agent, rows, draws, u, minibatches, settings);
    critic_turn(agent, rows, u * batch, batch, draws, settings, nullptr, u, info);
    if (!settings.wsrl_adam) continue;
    // The reference code's optimizers step every network at every minibatch: these move by momentum before the next target.
    step_actor(agent, false, settings, u);
    step_alpha(agent, false, settings, u);
  }
  for (const Info of : {kCriticLoss, kQ, kTarget})
    for (int64_t s = 0; s < shape_.seeds; ++s) info[of * shape_.seeds + s] /= static_cast<float>(minibatches);
  actor_gradient(agent, rows, draws, settings, info);
  alpha_gradient(agent, rows, draws, settings, info);
  const int64_t last = settings.wsrl_adam ? minibatches : 0;
  step_actor(agent, true, settings, last);
  step_alpha(agent, true, settings, last);
  if (settings.wsrl_adam) step_critics_without_gradient(agent, settings, minibatches);
}

void Update::offline(const AgentTensors& agent, const Rows& rows, const Draws& draws, const Settings& settings,
                     const Penalty& penalty, float* info) {
  const int64_t seeds = shape_.seeds;
  std::fill_n(info, kInfo * seeds, 0.0f);
  for (int64_t s = 0; s < seeds; ++s)
    weight_[static_cast<size_t>(s)] =
        penalty.learned ? static_cast<float>(softplus(agent.lagrange.p[s])) : static_cast<float>(penalty.weight);
  targets(agent, rows, draws, 0, 1, settings);
  sampled_rows(agent, rows, draws, settings, penalty);
  // Before the critics move: their Adam steps follow their gradients at once.
  actor_gradient(agent, rows, draws, settings, info);
  alpha_gradient(agent, rows, draws, settings, info);
  critic_turn(agent, rows, 0, rows.n, draws, settings, &penalty, 0, info);
  step_actor(agent, true, settings, 0);
  step_alpha(agent, true, settings, 0);
  const double gap = penalty.learned ? penalty.gap : 0.0;
  for (int64_t s = 0; s < seeds; ++s) {
    const float excess = info[kDiff * seeds + s] - static_cast<float>(gap), weight = weight_[static_cast<size_t>(s)];
    info[kTdLoss * seeds + s] = info[kCriticLoss * seeds + s];
    info[kCriticLoss * seeds + s] += weight * excess;
    info[kWeight * seeds + s] = weight;
    if (!penalty.learned) continue;
    // The weight rises while the diff is above the gap.
    const float g = static_cast<float>(-sigmoid(agent.lagrange.p[s])) * excess;
    const AdamRun run = {1, agent.lagrange.p + s, &g, agent.lagrange.m + s, agent.lagrange.v + s, nullptr};
    adam_.step(run, adam_scalars(settings.lagrange.rates[0], settings.lagrange.taken + 1), 0.0);
  }
}

}  // namespace rewarm::rl
