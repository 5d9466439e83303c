// Python face of an update as one chain: one handle a learner; tensors are addresses, checked and kept alive by the caller.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <mutex>
#include <string>
#include <vector>

#include "bindings/bind.h"
#include "bindings/mlp_face.h"
#include "q/draw.h"
#include "rl/replay.h"
#include "rl/update.h"

namespace py = pybind11;

namespace rewarm {
namespace {

using Addresses = std::vector<int64_t>;

class AgentUpdate {
 public:
  AgentUpdate(const std::vector<int64_t>& critic_widths, const std::vector<bool>& critic_norm,
              const std::vector<int64_t>& actor_widths, const std::vector<bool>& actor_norm, int64_t actor_outputs, double eps,
              int64_t seeds, int64_t critics, int64_t subset, bool replacement, int64_t backup_actions, bool free_log_std)
      : shape_{mlp_shape(critic_widths, critic_norm, 1, eps),
               mlp_shape(actor_widths, actor_norm, actor_outputs, eps),
               seeds,
               critics,
               subset,
               actor_widths.at(0),
               critic_widths.at(0) - actor_widths.at(0),
               backup_actions,
               free_log_std},
        replacement_(replacement),
        update_(shape_) {}

  // Each list: tensors as in mlp_tensors; vectors: address of the parameter and of its two moments, 0 = none.
  void set_agent(const Addresses& actor, const Addresses& actor_m, const Addresses& actor_v, const Addresses& critics,
                 const Addresses& critics_m, const Addresses& critics_v, const Addresses& targets, const Addresses& log_std,
                 const Addresses& alpha, const Addresses& lagrange) {
    const auto vector = [](const Addresses& a) {
      return rl::TrainedVector{at<float>(a.at(0)), at<float>(a.at(1)), at<float>(a.at(2))};
    };
    const auto stack = [](const q::MlpShape& shape, const Addresses& a) { return mlp_tensors<float>(shape, a); };
    agent_ = {{stack(shape_.actor, actor), stack(shape_.actor, actor_m), stack(shape_.actor, actor_v)},
              {stack(shape_.critic, critics), stack(shape_.critic, critics_m), stack(shape_.critic, critics_v)},
              stack(shape_.critic, targets),
              vector(log_std),
              vector(alpha),
              vector(lagrange)};
  }

  // How a step moves; what differs from call to call stays out.
  void set_settings(double gamma, double tau, double target_entropy, bool backup_entropy, bool actor_mean, bool wsrl_adam) {
    settings_.gamma = gamma;
    settings_.tau = tau;
    settings_.target_entropy = target_entropy;
    settings_.backup_entropy = backup_entropy;
    settings_.actor_mean = actor_mean;
    settings_.wsrl_adam = wsrl_adam;
  }
  void set_penalty(bool calibrated, bool importance_sampling, bool bound_random, int64_t actions, bool learned, double weight,
                   double gap, double temperature) {
    penalty_ = {calibrated, importance_sampling, bound_random, actions, learned, weight, gap, temperature};
  }

  // rows: addresses of obs, action, reward, next_obs, terminated, mc_return, or empty: drawn from `replay` at `offsets`. draws:
  // addresses of all eight, or empty: drawn from the seeds at `offsets`, both int64 [S]. rates: learning rates of critics,
  // actor, temperature in the order of their steps; taken: steps before. info: [INFO, S].
  void update(int64_t n, const Addresses& rows, const Addresses& draws, int64_t seeds, int64_t offsets, int64_t minibatches,
              const std::vector<std::vector<double>>& rates, const std::vector<int64_t>& taken, int64_t info, int threads,
              const rl::Replay* replay) {
    run(n, rows, draws, seeds, offsets, minibatches, rates, taken, info, threads, replay, nullptr);
  }
  // As update with one minibatch; rates and taken of the weight's parameter last.
  void offline(int64_t n, const Addresses& rows, const Addresses& draws, int64_t seeds, int64_t offsets,
               const std::vector<std::vector<double>>& rates, const std::vector<int64_t>& taken, int64_t info, int threads,
               const rl::Replay* replay) {
    run(n, rows, draws, seeds, offsets, 1, rates, taken, info, threads, replay, &penalty_);
  }

 private:
  void run(int64_t n, const Addresses& rows, const Addresses& draws, int64_t seeds, int64_t offsets, int64_t minibatches,
           const std::vector<std::vector<double>>& rates, const std::vector<int64_t>& taken, int64_t info, int threads,
           const rl::Replay* replay, const rl::Penalty* penalty) {
    rl::Rows given{};
    if (replay == nullptr)
      given = {n,
               at<const float>(rows.at(0)),
               at<const float>(rows.at(1)),
               at<const float>(rows.at(2)),
               at<const float>(rows.at(3)),
               at<const uint8_t>(rows.at(4)),
               at<const float>(rows.at(5))};
    py::gil_scoped_release release;
    const std::lock_guard<std::mutex> lock(mutex_);
    if (replay != nullptr) given = sample(*replay, at<const uint64_t>(offsets), n);
    rl::Settings settings = settings_;
    settings.threads = threads;
    rl::Turns* turns[] = {&settings.critic, &settings.actor, &settings.alpha, &settings.lagrange};
    for (size_t i = 0; i < rates.size(); ++i) *turns[i] = {rates[i].data(), taken.at(i)};
    const rl::Draws drawn =
        draws.empty() ? draw(n, at<const uint64_t>(seeds), at<const uint64_t>(offsets), minibatches, penalty)
                      : rl::Draws{at<const float>(draws.at(0)), at<const int64_t>(draws.at(1)), at<const float>(draws.at(2)),
                                  at<const float>(draws.at(3)), at<const float>(draws.at(4)),   at<const float>(draws.at(5)),
                                  at<const float>(draws.at(6)), at<const int64_t>(draws.at(7))};
    if (penalty == nullptr)
      update_.update(agent_, given, drawn, minibatches, settings, at<float>(info));
    else
      update_.offline(agent_, given, drawn, settings, *penalty, at<float>(info));
  }

  // n rows of each seed from a buffer of this agent's shapes and seeds.
  rl::Rows sample(const rl::Replay& replay, const uint64_t* offsets, int64_t n) {
    const int64_t s = shape_.seeds, o = shape_.obs, a = shape_.act;
    float* obs = rows_.floats(s * n * (2 * o + a + 2));
    float *next_obs = obs + s * n * o, *action = next_obs + s * n * o, *reward = action + s * n * a,
          *mc_return = reward + s * n;
    ends_.resize(static_cast<size_t>(s * n));
    for (int64_t i = 0; i < s; ++i) {
      rl::RowArrays out;
      out.obs = obs + i * n * o;
      out.action = action + i * n * a;
      out.reward = reward + i * n;
      out.next_obs = next_obs + i * n * o;
      out.terminated = ends_.data() + i * n;
      out.mc_return = replay.config().mc_returns ? mc_return + i * n : nullptr;
      replay.sample_rows(i, offsets[i], n, out);
    }
    return {n, obs, action, reward, next_obs, ends_.data(), replay.config().mc_returns ? mc_return : nullptr};
  }

  // The draws of an update (online: actor and temperature behind the minibatches) or of an offline step.
  rl::Draws draw(int64_t n, const uint64_t* seed, const uint64_t* offset, int64_t minibatches, const rl::Penalty* penalty) {
    const int64_t s = shape_.seeds, a = shape_.act, k = shape_.backup_actions, m = shape_.subset, batch = n / minibatches;
    const int64_t wide = penalty != nullptr ? batch * penalty->actions * a : 0;
    float* floats = floats_.floats(s * (2 * n * k * a + n * a + 3 * wide));
    subsets_.resize(static_cast<size_t>(s * m * (minibatches + 1)));
    const auto take = [&floats, s](int64_t size) {
      float* p = floats;
      floats += s * size;
      return p;
    };
    float *target = take(n * k * a), *actor = take(n * a), *alpha = take(n * k * a);
    float *uniform = take(wide), *current = take(wide), *next = take(wide);
    int64_t *subset = subsets_.data(), *cql_subset = subset + s * m * minibatches;
    for (int64_t i = 0; i < s; ++i) {
      for (int64_t u = 0; u < minibatches; ++u) {
        const uint64_t now = offset[i] + static_cast<uint64_t>(u);
        q::draw_normal({seed[i], now, q::kTargetAction}, 0, batch * k * a, target + (i * minibatches + u) * batch * k * a);
        q::draw_subset({seed[i], now, q::kTargetSubset}, shape_.critics, m, replacement_, subset + (i * minibatches + u) * m);
      }
      const uint64_t after = offset[i] + (penalty == nullptr ? static_cast<uint64_t>(minibatches) : 0);
      q::draw_normal({seed[i], after, q::kActor}, 0, n * a, actor + i * n * a);
      q::draw_normal({seed[i], after, q::kAlpha}, 0, n * k * a, alpha + i * n * k * a);
      if (penalty == nullptr) continue;
      q::draw_uniform({seed[i], after, q::kCqlUniform}, 0, wide, uniform + i * wide);
      for (int64_t j = i * wide; j < (i + 1) * wide; ++j) uniform[j] = uniform[j] * 2.0f - 1.0f;
      q::draw_normal({seed[i], after, q::kCqlCurrent}, 0, wide, current + i * wide);
      q::draw_normal({seed[i], after, q::kCqlNext}, 0, wide, next + i * wide);
      q::draw_subset({seed[i], after, q::kCqlSubset}, shape_.critics, m, replacement_, cql_subset + i * m);
    }
    return {target, subset, actor, alpha, uniform, current, next, cql_subset};
  }

  rl::AgentShape shape_;
  bool replacement_;
  rl::AgentTensors agent_{};
  rl::Settings settings_{};
  rl::Penalty penalty_{};
  rl::Update update_;
  Scratch floats_, rows_;
  std::vector<uint8_t> ends_;
  std::vector<int64_t> subsets_;
  std::mutex mutex_;  // its scratch serves one call at a time
};

}  // namespace

void bind_rl_update(py::module_& m) {
  m.attr("INFO") = static_cast<int>(rl::kInfo);
  py::class_<AgentUpdate>(m, "AgentUpdate")
      .def(py::init<const std::vector<int64_t>&, const std::vector<bool>&, const std::vector<int64_t>&,
                    const std::vector<bool>&, int64_t, double, int64_t, int64_t, int64_t, bool, int64_t, bool>(),
           py::arg("critic_widths"), py::arg("critic_norm"), py::arg("actor_widths"), py::arg("actor_norm"),
           py::arg("actor_outputs"), py::arg("eps"), py::arg("seeds"), py::arg("critics"), py::arg("subset"),
           py::arg("replacement"), py::arg("backup_actions"), py::arg("free_log_std"))
      .def("set_agent", &AgentUpdate::set_agent, py::arg("actor"), py::arg("actor_m"), py::arg("actor_v"), py::arg("critics"),
           py::arg("critics_m"), py::arg("critics_v"), py::arg("targets"), py::arg("log_std"), py::arg("alpha"),
           py::arg("lagrange"))
      .def("set_settings", &AgentUpdate::set_settings, py::arg("gamma"), py::arg("tau"), py::arg("target_entropy"),
           py::arg("backup_entropy"), py::arg("actor_mean"), py::arg("wsrl_adam"))
      .def("set_penalty", &AgentUpdate::set_penalty, py::arg("calibrated"), py::arg("importance_sampling"),
           py::arg("bound_random"), py::arg("actions"), py::arg("learned"), py::arg("weight"), py::arg("gap"),
           py::arg("temperature"))
      .def("update", &AgentUpdate::update, py::arg("n"), py::arg("rows"), py::arg("draws"), py::arg("seeds"),
           py::arg("offsets"), py::arg("minibatches"), py::arg("rates"), py::arg("taken"), py::arg("info"), py::arg("threads"),
           py::arg("replay").none(true))
      .def("offline", &AgentUpdate::offline, py::arg("n"), py::arg("rows"), py::arg("draws"), py::arg("seeds"),
           py::arg("offsets"), py::arg("rates"), py::arg("taken"), py::arg("info"), py::arg("threads"),
           py::arg("replay").none(true));
}

}  // namespace rewarm
