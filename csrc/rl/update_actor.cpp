// The actor's and the temperature's part of an update (Haarnoja et al. 2018, squashed Gaussian policies).
#include <algorithm>
#include <cmath>

#include "common/parallel_for.h"
#include "rl/update_parts.h"

namespace rewarm::rl {
namespace {

constexpr double kStdMin = 1e-5, kStdMax = 10.0;  // wsrl's, and the defaults of rewarm.q.tanh_gaussian
constexpr int64_t kBlock = 64;                    // rows that a thread samples at a time

}  // namespace

// Of rows [first, first + rows) of obs [S, stride, O].
Update::Policy Update::policy(const AgentTensors& agent, const float* obs, int64_t first, int64_t rows, int64_t stride,
                              float* kept, int threads) {
  const int64_t act = shape_.act, all = shape_.seeds * rows;
  float* out = policy_.floats(all * shape_.actor.outputs);
  actor_.forward(frozen(agent.actor.p),
                 {obs + first * shape_.obs, stride * shape_.obs, 0, shape_.obs, nullptr, 0, 1, rows, nullptr, 1}, kept, out,
                 threads);
  if (shape_.free_log_std) return {rows, out, agent.log_std.p};
  float *mean = mean_.floats(all * act), *log_std = log_std_.floats(all * act);
  for (int64_t row = 0; row < all; ++row) {
    std::copy_n(out + row * 2 * act, act, mean + row * act);
    std::copy_n(out + row * 2 * act + act, act, log_std + row * act);
  }
  return {rows, mean, log_std};
}

// Rows [first, first + rows) of one seed; noise [rows, repeat, A].
q::TanhGaussian Update::gaussian(const Policy& policy, int64_t seed, int64_t first, int64_t rows, int64_t repeat,
                                 const float* noise) const {
  const int64_t at = (seed * policy.rows + first) * shape_.act;
  const float* log_std = policy.log_std + (shape_.free_log_std ? seed * shape_.act : at);
  return {
      1,   rows, repeat, shape_.act, policy.mean + at, log_std, shape_.free_log_std, noise, q::sigma_bounds(kStdMin, kStdMax),
      true};
}

// noise [S by noise_stride][rows, repeat, A] -> action [S, rows, repeat, A] and, unless null, log_prob [S, rows, repeat].
void Update::sample(const Policy& policy, const float* noise, int64_t noise_stride, int64_t repeat, float* action,
                    float* log_prob, int threads) const {
  const int64_t blocks = (policy.rows + kBlock - 1) / kBlock;
  parallel_for(threads, shape_.seeds * blocks, [&](int, int64_t i) {
    const int64_t s = i / blocks, first = i % blocks * kBlock, rows = std::min(kBlock, policy.rows - first);
    const int64_t at = (s * policy.rows + first) * repeat;
    q::tanh_gaussian(gaussian(policy, s, first, rows, repeat, noise + s * noise_stride + first * repeat * shape_.act),
                     action + at * shape_.act, log_prob != nullptr ? log_prob + at : nullptr);
  });
}

void Update::actor_gradient(const AgentTensors& agent, const Rows& rows, const Draws& draws, const Settings& settings,
                            float* info) {
  const int64_t seeds = shape_.seeds, n = rows.n, act = shape_.act, critics = shape_.critics, outputs = shape_.actor.outputs;
  const q::EnsembleInput states = {rows.obs, n * shape_.obs, 0, shape_.obs, nullptr, 0, 1, n, nullptr, 1};
  float* kept = kept_.floats(actor_.kept_floats(states));
  const Policy own = policy(agent, rows.obs, 0, n, n, kept, settings.threads);
  float *action = action_.floats(seeds * n * act), *log_prob = log_prob_.floats(seeds * n);
  sample(own, draws.actor_noise, n * act, 1, action, log_prob, settings.threads);

  // Q of the sampled actions and its gradient there.
  const q::Net net = frozen(agent.critics.p);
  const q::EnsembleInput pairs = {rows.obs, n * shape_.obs, 0, shape_.obs, action, act, 1, n, nullptr, critics};
  float* q_all = q_next_.floats(seeds * critics * n);
  critics_.forward(net, pairs, nullptr, q_all, settings.threads);
  float *q = q_.floats(2 * seeds * critics * n), *dq = q + seeds * critics * n;
  float* da;  // [S, n, A]
  if (settings.actor_mean) {
    std::fill_n(dq, seeds * critics * n, 1.0f / static_cast<float>(critics));
    float* each = dx_.floats(seeds * (critics + 1) * n * act);
    critics_.backward(net, pairs, nullptr, dq, nullptr, each, shape_.obs, shape_.obs + act, settings.threads);
    da = each + seeds * critics * n * act;
    for (int64_t s = 0; s < seeds; ++s) {
      for (int64_t j = 0; j < n * act; ++j) {
        float total = 0.0f;
        for (int64_t e = 0; e < critics; ++e) total += each[(s * critics + e) * n * act + j];
        da[s * n * act + j] = total;
      }
      for (int64_t row = 0; row < n; ++row) {
        float total = 0.0f;
        for (int64_t e = 0; e < critics; ++e) total += q_all[(s * critics + e) * n + row];
        q[s * n + row] = total / static_cast<float>(critics);
      }
    }
  } else {
    lowest_.resize(static_cast<size_t>(seeds * n));
    critics_.lowest(q_all, n, q, lowest_.data());
    std::fill_n(dq, seeds * n, 1.0f);
    da = dx_.floats(seeds * n * act);
    critics_.lowest_backward(net, pairs, lowest_.data(), dq, da, shape_.obs, shape_.obs + act, settings.threads);
  }

  // Of mean(alpha log pi - Q): first with respect to actions and log densities, then to the heads.
  float* d_out = d_out_.floats(seeds * n * (outputs + 2 * act + 1));
  float *d_mean = d_out + seeds * n * outputs, *d_log_std = d_mean + n * act, *d_log_prob = d_log_std + n * act;
  const float per_row = 1.0f / static_cast<float>(n);
  for (int64_t s = 0; s < seeds; ++s) {
    const auto alpha = static_cast<float>(softplus(agent.alpha.p[s]));
    double loss = 0.0;
    for (int64_t r = s * n; r < (s + 1) * n; ++r) loss += static_cast<double>(alpha) * log_prob[r] - q[r];
    for (int64_t j = s * n * act; j < (s + 1) * n * act; ++j) da[j] = -per_row * da[j];
    std::fill_n(d_log_prob, n, alpha * per_row);
    float* vector = log_std_gradient_.data() + s * act;
    q::tanh_gaussian_backward(gaussian(own, s, 0, n, 1, draws.actor_noise + s * n * act), da + s * n * act, d_log_prob, d_mean,
                              shape_.free_log_std ? vector : d_log_std);
    for (int64_t row = 0; row < n; ++row) {
      float* d = d_out + (s * n + row) * outputs;
      std::copy_n(d_mean + row * act, act, d);
      if (!shape_.free_log_std) std::copy_n(d_log_std + row * act, act, d + act);
    }
    info[kActorLoss * seeds + s] = static_cast<float>(loss / static_cast<double>(n));
    info[kAlpha * seeds + s] = alpha;
  }
  float* memory = actor_gradient_.floats(seeds * parameters(shape_.actor, agent.actor.p));
  const Stack gradient = lay_out(shape_.actor, agent.actor.p, seeds, memory);
  actor_.backward(frozen(agent.actor.p), states, kept, d_out, &gradient, nullptr, 0, 0, settings.threads);
}

void Update::alpha_gradient(const AgentTensors& agent, const Rows& rows, const Draws& draws, const Settings& settings,
                            float* info) {
  const int64_t seeds = shape_.seeds, n = rows.n, k = shape_.backup_actions, act = shape_.act;
  const Policy next = policy(agent, rows.next_obs, 0, n, n, nullptr, settings.threads);
  float *action = action_.floats(seeds * n * k * act), *log_prob = log_prob_.floats(seeds * n * k);
  sample(next, draws.alpha_noise, n * k * act, k, action, log_prob, settings.threads);
  for (int64_t s = 0; s < seeds; ++s) {
    double total = 0.0;
    for (int64_t i = 0; i < n * k; ++i) total += log_prob[s * n * k + i];
    const auto entropy = static_cast<float>(-total / static_cast<double>(n * k));
    const float excess = entropy - static_cast<float>(settings.target_entropy);
    alpha_gradient_[static_cast<size_t>(s)] = static_cast<float>(sigmoid(agent.alpha.p[s])) * excess;
    info[kAlphaLoss * seeds + s] = static_cast<float>(softplus(agent.alpha.p[s])) * excess;
    info[kEntropy * seeds + s] = entropy;
  }
}

void Update::step_actor(const AgentTensors& agent, bool gradient, const Settings& settings, int64_t turn) {
  const AdamScalars scalars = adam_scalars(settings.actor.rates[turn], settings.actor.taken + turn + 1);
  const Stack all = gradient ? lay_out(shape_.actor, agent.actor.p, shape_.seeds, actor_gradient_.floats(0)) : Stack{};
  for (int64_t s = 0; s < shape_.seeds; ++s) {
    const Stack own = gradient ? all.at(shape_.actor, s) : Stack{};
    adam_network(adam_, shape_.actor, at(shape_.actor, agent.actor, s), gradient ? &own : nullptr, nullptr, scalars, 0.0);
  }
  if (!shape_.free_log_std) return;
  const AdamRun run = {shape_.seeds * shape_.act, agent.log_std.p, gradient ? log_std_gradient_.data() : nullptr,
                       agent.log_std.m,           agent.log_std.v, nullptr};
  adam_.step(run, scalars, 0.0);
}

void Update::step_alpha(const AgentTensors& agent, bool gradient, const Settings& settings, int64_t turn) {
  const AdamScalars scalars = adam_scalars(settings.alpha.rates[turn], settings.alpha.taken + turn + 1);
  const AdamRun run = {shape_.seeds,  agent.alpha.p, gradient ? alpha_gradient_.data() : nullptr,
                       agent.alpha.m, agent.alpha.v, nullptr};
  adam_.step(run, scalars, 0.0);
}

}  // namespace rewarm::rl
