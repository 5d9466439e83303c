// The critics' part of an update: targets, TD loss, the conservative penalty, Adam, Polyak.
#include <algorithm>
#include <cmath>

#include "common/parallel_for.h"
#include "q/cql_penalty.h"
#include "q/td_target.h"
#include "rl/update_parts.h"

namespace rewarm::rl {
void Update::targets(const AgentTensors& agent, const Rows& rows, const Draws& draws, int64_t u, int64_t minibatches,
                     const Settings& settings) {
  const int64_t seeds = shape_.seeds, batch = rows.n / minibatches, k = shape_.backup_actions, act = shape_.act,
                drawn = shape_.subset;
  const Policy next = policy(agent, rows.next_obs, u * batch, batch, rows.n, nullptr, settings.threads);
  float* action = action_.floats(seeds * batch * k * act);
  float* log_prob = settings.backup_entropy ? log_prob_.floats(seeds * batch * k) : nullptr;
  sample(next, draws.target_noise + u * batch * k * act, minibatches * batch * k * act, k, action, log_prob, settings.threads);

  float* q = q_next_.floats(seeds * drawn * batch * k);
  std::vector<int64_t> subset(static_cast<size_t>(seeds * drawn));
  for (int64_t s = 0; s < seeds; ++s)
    std::copy_n(draws.target_subset + (s * minibatches + u) * drawn, drawn, subset.data() + s * drawn);
  critics_.forward(frozen(agent.targets),
                   {rows.next_obs + u * batch * shape_.obs, rows.n * shape_.obs, 0, shape_.obs, action, act, k, batch * k,
                    subset.data(), drawn},
                   nullptr, q, settings.threads);

  float* y = y_.floats(seeds * batch);
  for (int64_t s = 0; s < seeds; ++s) {
    const int64_t row = s * rows.n + u * batch;
    const auto alpha = static_cast<float>(softplus(agent.alpha.p[s]));
    q::td_target({1, drawn, batch, k, rows.reward + row, rows.terminated + row, q + s * drawn * batch * k,
                  log_prob != nullptr ? log_prob + s * batch * k : nullptr, log_prob != nullptr ? &alpha : nullptr, 0,
                  static_cast<float>(settings.gamma), y + s * batch});
  }
}

void Update::sampled_rows(const AgentTensors& agent, const Rows& rows, const Draws& draws, const Settings& settings,
                          const Penalty& penalty) {
  // A state's actions side by side: uniform, at s, at s', then the one of the data.
  const int64_t seeds = shape_.seeds, batch = rows.n, n = penalty.actions, act = shape_.act, all = 3 * n + 1;
  float* actions = sampled_.floats(seeds * batch * all * act);
  float* density = density_.floats(seeds * batch * 3 * n);
  float* drawn = action_.floats(seeds * batch * n * act);
  float* log_prob = log_prob_.floats(seeds * batch * n);
  for (const bool next : {false, true}) {
    const Policy own = policy(agent, next ? rows.next_obs : rows.obs, 0, batch, batch, nullptr, settings.threads);
    sample(own, next ? draws.next_noise : draws.current_noise, batch * n * act, n, drawn, log_prob, settings.threads);
    const int64_t first = next ? 2 * n : n;
    for (int64_t row = 0; row < seeds * batch; ++row) {
      std::copy_n(drawn + row * n * act, n * act, actions + (row * all + first) * act);
      std::copy_n(log_prob + row * n, n, density + row * 3 * n + first);
    }
  }
  const auto uniform_density = static_cast<float>(static_cast<double>(act) * std::log(0.5));
  for (int64_t row = 0; row < seeds * batch; ++row) {
    std::copy_n(draws.uniform + row * n * act, n * act, actions + row * all * act);
    std::copy_n(rows.action + row * act, act, actions + (row * all + 3 * n) * act);
    std::fill_n(density + row * 3 * n, n, uniform_density);
  }
}

void Update::critic_turn(const AgentTensors& agent, const Rows& rows, int64_t first, int64_t batch, const Draws& draws,
                         const Settings& settings, const Penalty* penalty, int64_t turn, float* info) {
  const int64_t seeds = shape_.seeds, critics = shape_.critics, act = shape_.act;
  const int64_t all = penalty != nullptr ? 3 * penalty->actions + 1 : 1;
  const int64_t most_rows = std::max(q::MlpWorker::kChunk, all);
  while (slots_.size() < static_cast<size_t>(settings.threads)) slots_.push_back(nullptr);
  for (auto& slot : slots_)
    if (slot == nullptr || slot->most_rows < most_rows) slot = std::make_unique<Critic>(shape_.critic, most_rows);
  const AdamScalars scalars = adam_scalars(settings.critic.rates[turn], settings.critic.taken + turn + 1);
  const float* y = y_.floats(seeds * batch);
  const float td_scale = 2.0f / static_cast<float>(critics * batch);
  sums_.assign(static_cast<size_t>(seeds * critics * 3), 0.0);

  parallel_for(settings.threads, seeds * critics, [&](int number, int64_t i) {
    Critic& slot = *slots_[static_cast<size_t>(number)];
    q::MlpWorker& worker = slot.worker;
    const int64_t s = i / critics, e = i % critics;
    int64_t times = 0;  // drawn for the penalty
    if (penalty != nullptr)
      times = std::count(draws.cql_subset + s * shape_.subset, draws.cql_subset + (s + 1) * shape_.subset, e);
    const Trained own = at(shape_.critic, agent.critics, i);
    const Stack gradient = lay_out(shape_.critic, own.p, 1, slot.gradient.floats(parameters(shape_.critic, own.p)));
    worker.load(frozen(own.p), true);
    worker.begin_gradient();
    const int64_t of_state = times > 0 ? all : 1;  // rows of a state; the data's action is the last of them
    const int64_t row0 = s * rows.n + first;
    const q::MlpInput input = {rows.obs + row0 * shape_.obs, shape_.obs,
                               times > 0 ? sampled_.floats(0) + s * batch * all * act : rows.action + row0 * act, act,
                               of_state};
    const int64_t states = std::max<int64_t>(1, q::MlpWorker::kChunk / of_state);
    double* sums = sums_.data() + i * 3;
    for (int64_t begin = 0; begin < batch; begin += states) {
      const int64_t count = std::min(states, batch - begin), chunk = count * of_state;
      const q::Activations kept = worker.layout().lay_out(slot.kept.floats(worker.layout().kept_floats(most_rows)), chunk);
      float *q = slot.q.floats(most_rows), *dq = slot.dq.floats(most_rows);
      worker.forward(input, begin * of_state, chunk, &kept, q);
      for (int64_t b = 0; b < count; ++b) {
        const int64_t data = b * of_state + of_state - 1;
        const float error = q[data] - y[s * batch + begin + b];
        sums[0] += static_cast<double>(error) * error;
        sums[1] += q[data];
        dq[data] = td_scale * error;
      }
      if (times > 0) {
        const float scale =
            static_cast<float>(times) * weight_[static_cast<size_t>(s)] / static_cast<float>(shape_.subset * batch);
        sums[2] += static_cast<double>(times) * conserve(slot, *penalty, rows, s * batch + begin, count, scale, q, dq);
      }
      worker.backward(input, begin * of_state, chunk, kept, dq, &gradient, nullptr);
    }
    worker.finish_gradient(gradient);
    const Stack target = agent.targets.at(shape_.critic, i);
    adam_network(adam_, shape_.critic, own, &gradient, &target, scalars, settings.tau);
  });

  for (int64_t s = 0; s < seeds; ++s) {
    double total[3] = {0.0, 0.0, 0.0}, y_sum = 0.0;
    for (int64_t e = 0; e < critics; ++e)
      for (int j = 0; j < 3; ++j) total[j] += sums_[static_cast<size_t>((s * critics + e) * 3 + j)];
    for (int64_t b = 0; b < batch; ++b) y_sum += y[s * batch + b];
    const auto values = static_cast<double>(critics * batch);
    info[kCriticLoss * seeds + s] += static_cast<float>(total[0] / values);
    info[kQ * seeds + s] += static_cast<float>(total[1] / values);
    info[kTarget * seeds + s] += static_cast<float>(y_sum / static_cast<double>(batch));
    info[kDiff * seeds + s] += static_cast<float>(total[2] / static_cast<double>(shape_.subset * batch));
  }
}

// The penalty of `count` states from row `row` on: q, dq [count][3 n + 1], the data's action last. Writes scale times its
// gradient into dq, added where the data's action stands; returns the sum of the diffs.
double Update::conserve(Critic& slot, const Penalty& penalty, const Rows& rows, int64_t row, int64_t count, float scale,
                        const float* q, float* dq) {
  const int64_t sampled = 3 * penalty.actions, all = sampled + 1;
  float* of_sampled = slot.penalty.floats(count * (2 * sampled + 4));
  float *q_sampled = of_sampled + count * sampled, *q_data = q_sampled + count * sampled;
  float *of_data = q_data + count, *diff = of_data + count, *one = diff + count;
  for (int64_t b = 0; b < count; ++b) {
    std::copy_n(q + b * all, sampled, q_sampled + b * sampled);
    q_data[b] = q[b * all + sampled];
    one[b] = scale;
  }
  const q::CqlPenalty p = {1,
                           1,
                           count,
                           sampled,
                           q_sampled,
                           q_data,
                           penalty.importance_sampling ? density_.floats(0) + row * sampled : nullptr,
                           penalty.calibrated ? rows.mc_return + row : nullptr,
                           penalty.bound_random ? 0 : penalty.actions,
                           static_cast<float>(penalty.temperature)};
  q::cql_penalty(p, diff);
  q::cql_penalty_backward(p, one, of_sampled, of_data);
  double total = 0.0;
  for (int64_t b = 0; b < count; ++b) {
    total += diff[b];
    std::copy_n(of_sampled + b * sampled, sampled, dq + b * all);
    dq[b * all + sampled] += of_data[b];
  }
  return total;
}

void Update::step_critics_without_gradient(const AgentTensors& agent, const Settings& settings, int64_t turn) {
  const AdamScalars scalars = adam_scalars(settings.critic.rates[turn], settings.critic.taken + turn + 1);
  parallel_for(settings.threads, shape_.seeds * shape_.critics, [&](int, int64_t i) {
    adam_network(adam_, shape_.critic, at(shape_.critic, agent.critics, i), nullptr, nullptr, scalars, 0.0);
  });
}

}  // namespace rewarm::rl
