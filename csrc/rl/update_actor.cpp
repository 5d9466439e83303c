// The actor's and the temperature's part of an update (Haarnoja et al. 2018, squashed Gaussian policies).
#include <algorithm>
#include <cmath>

#include "common/parallel_for.h"
#include "rl/update_parts.h"

namespace rewarm::rl {
namespace {

constexpr float kStdMin = 1e-5f, kStdMax = 10.0f;
constexpr int64_t kBlock = 64;  // rows that a thread samples at a time

}  // namespace

void Update::policy(const AgentTensors& agent, const float* obs, int64_t first, int64_t rows, int64_t stride, float* kept,
                    float* out, int threads) {
  actor_.forward(frozen(agent.actor.p),
                 {obs + first * shape_.obs, stride * shape_.obs, 0, shape_.obs, nullptr, 0, 1, rows, nullptr, 1}, kept, out,
                 threads);
}

// out [S, rows, O], noise [S by noise_stride][rows, repeat, A] -> action [S][rows by action_stride][repeat, A] and, unless
// null, log_prob [S][rows by action_stride / A][repeat].
void Update::sample(const AgentTensors& agent, const float* out, const float* noise, int64_t noise_stride, int64_t rows,
                    int64_t repeat, float* action, int64_t action_stride, float* log_prob, int threads) const {
  const int64_t act = shape_.act, outputs = shape_.actor.outputs, blocks = (rows + kBlock - 1) / kBlock;
  parallel_for(threads, shape_.seeds * blocks, [&](int, int64_t i) {
    const int64_t s = i / blocks, begin = i % blocks * kBlock, end = std::min(begin + kBlock, rows);
    for (int64_t row = begin; row < end; ++row) {
      const float* mean = out + (s * rows + row) * outputs;
      const float* log_std = shape_.free_log_std ? agent.log_std.p + s * act : mean + act;
      for (int64_t k = 0; k < repeat; ++k) {
        const float* eps = noise + s * noise_stride + (row * repeat + k) * act;
        float* to = action + (s * rows + row) * action_stride + k * act;
        float total = 0.0f;
        for (int64_t j = 0; j < act; ++j) {
          const Squashed one = squash(mean[j], log_std[j], eps[j]);
          to[j] = one.action;
          total += one.log_prob;
        }
        if (log_prob != nullptr) log_prob[(s * rows + row) * (action_stride / act) + k] = total;
      }
    }
  });
}

void Update::actor_gradient(const AgentTensors& agent, const Rows& rows, const Draws& draws, const Settings& settings,
                            float* info) {
  const int64_t seeds = shape_.seeds, n = rows.n, act = shape_.act, critics = shape_.critics, outputs = shape_.actor.outputs;
  const q::EnsembleInput states = {rows.obs, n * shape_.obs, 0, shape_.obs, nullptr, 0, 1, n, nullptr, 1};
  float* kept = kept_.floats(actor_.kept_floats(states));
  float* out = policy_.floats(seeds * n * outputs);
  policy(agent, rows.obs, 0, n, n, kept, out, settings.threads);
  float *action = action_.floats(seeds * n * act), *log_prob = log_prob_.floats(seeds * n);
  sample(agent, out, draws.actor_noise, n * act, n, 1, action, act, log_prob, settings.threads);

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

  // Of mean(alpha log pi - Q) with respect to the heads; noise is given, so u = mean + std noise.
  float* d_out = d_out_.floats(seeds * n * outputs);
  std::fill(log_std_gradient_.begin(), log_std_gradient_.end(), 0.0f);
  for (int64_t s = 0; s < seeds; ++s) {
    const auto alpha = static_cast<float>(softplus(agent.alpha.p[s]));
    const float per_row = 1.0f / static_cast<float>(n);
    double loss = 0.0;
    for (int64_t row = 0; row < n; ++row) {
      const int64_t r = s * n + row;
      loss += static_cast<double>(alpha) * log_prob[r] - q[r];
      float* d = d_out + r * outputs;
      for (int64_t j = 0; j < act; ++j) {
        const float a = action[r * act + j];
        const float du = per_row * (alpha * 2.0f * a - da[r * act + j] * (1.0f - a * a));
        const float log_std = shape_.free_log_std ? agent.log_std.p[s * act + j] : out[r * outputs + act + j];
        const float std = std::exp(log_std);
        const bool inside = !(std < kStdMin) && !(std > kStdMax);
        const float d_log_std = inside ? du * draws.actor_noise[r * act + j] * std - per_row * alpha : 0.0f;
        d[j] = du;
        if (shape_.free_log_std)
          log_std_gradient_[static_cast<size_t>(s * act + j)] += d_log_std;
        else
          d[act + j] = d_log_std;
      }
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
  float* out = policy_.floats(seeds * n * shape_.actor.outputs);
  policy(agent, rows.next_obs, 0, n, n, nullptr, out, settings.threads);
  float *action = action_.floats(seeds * n * k * act), *log_prob = log_prob_.floats(seeds * n * k);
  sample(agent, out, draws.alpha_noise, n * k * act, n, k, action, k * act, log_prob, settings.threads);
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
