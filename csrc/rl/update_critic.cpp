// The critics' part of an update: targets, TD loss, the conservative penalty, Adam, Polyak.
#include <algorithm>
#include <cmath>

#include "common/parallel_for.h"
#include "rl/update_parts.h"

namespace rewarm::rl {
namespace {

// The lower one; NaN wins.
float lower(float a, float b) { return b < a || b != b ? b : a; }
float higher(float a, float b) { return b > a || b != b ? b : a; }

}  // namespace

void Update::targets(const AgentTensors& agent, const Rows& rows, const Draws& draws, int64_t u, int64_t minibatches,
                     const Settings& settings) {
  const int64_t seeds = shape_.seeds, batch = rows.n / minibatches, k = shape_.backup_actions, act = shape_.act,
                drawn = shape_.subset;
  float* out = policy_.floats(seeds * batch * shape_.actor.outputs);
  policy(agent, rows.next_obs, u * batch, batch, rows.n, nullptr, out, settings.threads);
  float* action = action_.floats(seeds * batch * k * act);
  float* log_prob = settings.backup_entropy ? log_prob_.floats(seeds * batch * k) : nullptr;
  sample(agent, out, draws.target_noise + u * batch * k * act, minibatches * batch * k * act, batch, k, action, k * act,
         log_prob, settings.threads);

  float* q = q_next_.floats(seeds * drawn * batch * k);
  std::vector<int64_t> subset(static_cast<size_t>(seeds * drawn));
  for (int64_t s = 0; s < seeds; ++s)
    std::copy_n(draws.target_subset + (s * minibatches + u) * drawn, drawn, subset.data() + s * drawn);
  critics_.forward(frozen(agent.targets),
                   {rows.next_obs + u * batch * shape_.obs, rows.n * shape_.obs, 0, shape_.obs, action, act, k, batch * k,
                    subset.data(), drawn},
                   nullptr, q, settings.threads);

  float* y = y_.floats(seeds * batch);
  const auto gamma = static_cast<float>(settings.gamma);
  for (int64_t s = 0; s < seeds; ++s) {
    const auto alpha = static_cast<float>(softplus(agent.alpha.p[s]));
    for (int64_t b = 0; b < batch; ++b) {
      float best = 0.0f;
      for (int64_t a = 0; a < k; ++a) {
        const int64_t row = b * k + a;
        float least = q[s * drawn * batch * k + row];
        for (int64_t m = 1; m < drawn; ++m) least = lower(least, q[(s * drawn + m) * batch * k + row]);
        if (log_prob != nullptr) least = least - alpha * log_prob[s * batch * k + row];
        best = a == 0 ? least : higher(best, least);
      }
      const int64_t row = s * rows.n + u * batch + b;
      y[s * batch + b] = rows.terminated[row] != 0 ? rows.reward[row] : rows.reward[row] + gamma * best;
    }
  }
}

void Update::sampled_rows(const AgentTensors& agent, const Rows& rows, const Draws& draws, const Settings& settings,
                          const Penalty& penalty) {
  // A state's actions side by side: uniform, at s, at s', then the one of the data.
  const int64_t seeds = shape_.seeds, batch = rows.n, n = penalty.actions, act = shape_.act, all = 3 * n + 1;
  float* actions = sampled_.floats(seeds * batch * all * act);
  float* density = density_.floats(seeds * batch * all);
  float* out = policy_.floats(seeds * batch * shape_.actor.outputs);
  for (const bool next : {false, true}) {
    policy(agent, next ? rows.next_obs : rows.obs, 0, batch, batch, nullptr, out, settings.threads);
    const int64_t first = next ? 2 * n : n;
    sample(agent, out, next ? draws.next_noise : draws.current_noise, batch * n * act, batch, n, actions + first * act,
           all * act, density + first, settings.threads);
  }
  const auto uniform_density = static_cast<float>(static_cast<double>(act) * std::log(0.5));
  for (int64_t row = 0; row < seeds * batch; ++row) {
    std::copy_n(draws.uniform + row * n * act, n * act, actions + row * all * act);
    std::copy_n(rows.action + row * act, act, actions + (row * all + 3 * n) * act);
    std::fill_n(density + row * all, n, uniform_density);
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
        const double scale =
            static_cast<double>(times) * weight_[static_cast<size_t>(s)] / static_cast<double>(shape_.subset * batch);
        for (int64_t b = 0; b < count; ++b) {
          const int64_t row = s * batch + begin + b;
          const float mc = penalty->calibrated ? rows.mc_return[row] : 0.0f;
          const float* density = penalty->importance_sampling ? density_.floats(0) + row * all : nullptr;
          sums[2] +=
              static_cast<double>(times) * conservative(*penalty, q + b * all, density, mc, scale, dq + b * all, slot.terms);
        }
      }
      worker.backward(input, begin * of_state, chunk, kept, dq, &gradient, nullptr);
    }
    worker.finish_gradient(gradient, false);
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

// One state's diff = T logsumexp(q'/T) - q(s, a); q [3 n + 1], the data's last. Adds scale times its gradient to dq's last and
// writes it to the others.
double conservative(const Penalty& penalty, const float* q, const float* density, float mc_return, double scale, float* dq,
                    std::vector<double>& terms) {
  const int64_t n = penalty.actions, sampled = 3 * n;
  const int64_t summed = density != nullptr ? sampled : sampled + 1;
  const int64_t first_bound = penalty.calibrated ? (penalty.bound_random ? 0 : n) : sampled;
  terms.resize(static_cast<size_t>(2 * summed));
  double *value = terms.data(), *passes = value + summed;
  const double t = penalty.temperature;
  const double count = density != nullptr ? 0.0 : t * std::log(static_cast<double>(summed));
  double most = -INFINITY;
  for (int64_t j = 0; j < summed; ++j) {
    const bool raised = j >= first_bound && j < sampled && q[j] < mc_return;
    passes[j] = raised ? 0.0 : 1.0;
    value[j] =
        (static_cast<double>(raised ? mc_return : q[j]) - (density != nullptr ? static_cast<double>(density[j]) : count)) / t;
    most = std::max(most, value[j]);
  }
  if (!std::isfinite(most)) most = 0.0;
  double sum = 0.0;
  for (int64_t j = 0; j < summed; ++j) sum += value[j] = std::exp(value[j] - most);
  for (int64_t j = 0; j < sampled; ++j) dq[j] = static_cast<float>(scale * passes[j] * value[j] / sum);
  dq[sampled] += static_cast<float>(scale * ((summed > sampled ? value[sampled] / sum : 0.0) - 1.0));
  return t * (most + std::log(sum)) - static_cast<double>(q[sampled]);
}

void Update::step_critics_without_gradient(const AgentTensors& agent, const Settings& settings, int64_t turn) {
  const AdamScalars scalars = adam_scalars(settings.critic.rates[turn], settings.critic.taken + turn + 1);
  parallel_for(settings.threads, shape_.seeds * shape_.critics, [&](int, int64_t i) {
    adam_network(adam_, shape_.critic, at(shape_.critic, agent.critics, i), nullptr, nullptr, scalars, 0.0);
  });
}

}  // namespace rewarm::rl
