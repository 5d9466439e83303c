// One update of S stacked agents as one chain: Zhou et al. 2024 (WSRL, arXiv 2412.07762) and Ball et al. 2023 (RLPD) online,
// Kumar et al. 2020 (CQL) and Nakamoto et al. 2023 (Cal-QL) offline. A critic's forward, backward, Adam step and Polyak average
// follow one another while its numbers are hot.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "q/ensemble_mlp.h"
#include "q/tanh_gaussian.h"
#include "rl/adam_kernels.h"

namespace rewarm::rl {

struct AgentShape {
  q::MlpShape critic, actor;
  int64_t seeds, critics, subset;
  int64_t obs, act;
  int64_t backup_actions;
  bool free_log_std;  // [S, A] beside the actor, instead of the second half of its head
};

using Stack = q::NetTensors<float>;

// A network and Adam's state of it; each a stack [S, E, …].
struct Trained {
  Stack p, m, v;
};
// A vector of each seed [S, n] likewise.
struct TrainedVector {
  float *p, *m, *v;
};

struct AgentTensors {
  Trained actor, critics;
  Stack targets;
  TrainedVector log_std;   // [S, A], null unless free
  TrainedVector alpha;     // [S]; the temperature is its softplus
  TrainedVector lagrange;  // [S], null where the CQL weight is fixed
};

// n rows of each seed.
struct Rows {
  int64_t n;
  const float* obs;           // [S, n, O]
  const float* action;        // [S, n, A]
  const float* reward;        // [S, n]
  const float* next_obs;      // [S, n, O]
  const uint8_t* terminated;  // [S, n]
  const float* mc_return;     // [S, n], null online
};

// U minibatches of B rows, U · B = n; K backup actions, M of E critics drawn.
struct Draws {
  const float* target_noise;     // [S, U, B, K, A]
  const int64_t* target_subset;  // [S, U, M]
  const float* actor_noise;      // [S, n, A]
  const float* alpha_noise;      // [S, n, K, A]
  const float* uniform;          // [S, B, actions, A] in [-1, 1); this and what follows: null online
  const float* current_noise;    // [S, B, actions, A]
  const float* next_noise;       // [S, B, actions, A]
  const int64_t* cql_subset;     // [S, M]
};

// Learning rates in the order of a network's Adam steps, and how many it took before.
struct Turns {
  const double* rates;
  int64_t taken;
};

struct Settings {
  double gamma, tau, target_entropy;
  bool backup_entropy;
  bool actor_mean;  // the actor's Q is the mean of the critics, else their minimum
  bool wsrl_adam;   // every Adam steps on every turn, with gradients of 0 where there is none
  int threads;
  Turns critic, actor, alpha, lagrange;
};

struct Penalty {
  bool calibrated, importance_sampling, bound_random;
  int64_t actions;  // of each of the three kinds
  bool learned;
  double weight, gap, temperature;
};

// Names of the numbers that an update reports; [kInfo][S].
enum Info { kCriticLoss, kQ, kTarget, kActorLoss, kAlpha, kAlphaLoss, kEntropy, kTdLoss, kDiff, kWeight, kInfo };

class Update {
 public:
  explicit Update(const AgentShape& shape);
  ~Update();

  // U critic minibatches in order, then actor and temperature once. info: [kInfo, S].
  void update(const AgentTensors& agent, const Rows& rows, const Draws& draws, int64_t minibatches, const Settings& settings,
              float* info);
  // All gradients from the same parameters, then each network's step, then Polyak.
  void offline(const AgentTensors& agent, const Rows& rows, const Draws& draws, const Settings& settings,
               const Penalty& penalty, float* info);

 private:
  struct Critic;  // what one critic's turn works on

  // Where the actor's heads lie for some rows: mean [S, rows, A], log_std likewise or [S, A].
  struct Policy {
    int64_t rows;
    const float *mean, *log_std;
  };
  Policy policy(const AgentTensors& agent, const float* obs, int64_t first, int64_t rows, int64_t stride, float* kept,
                int threads);
  q::TanhGaussian gaussian(const Policy& policy, int64_t seed, int64_t first, int64_t rows, int64_t repeat,
                           const float* noise) const;
  void sample(const Policy& policy, const float* noise, int64_t noise_stride, int64_t repeat, float* action, float* log_prob,
              int threads) const;
  void targets(const AgentTensors& agent, const Rows& rows, const Draws& draws, int64_t u, int64_t minibatches,
               const Settings& settings);
  void critic_turn(const AgentTensors& agent, const Rows& rows, int64_t first, int64_t batch, const Draws& draws,
                   const Settings& settings, const Penalty* penalty, int64_t turn, float* info);
  double conserve(Critic& slot, const Penalty& penalty, const Rows& rows, int64_t row, int64_t count, float scale,
                  const float* q, float* dq);
  void sampled_rows(const AgentTensors& agent, const Rows& rows, const Draws& draws, const Settings& settings,
                    const Penalty& penalty);
  void actor_gradient(const AgentTensors& agent, const Rows& rows, const Draws& draws, const Settings& settings, float* info);
  void alpha_gradient(const AgentTensors& agent, const Rows& rows, const Draws& draws, const Settings& settings, float* info);
  void step_actor(const AgentTensors& agent, bool gradient, const Settings& settings, int64_t turn);
  void step_alpha(const AgentTensors& agent, bool gradient, const Settings& settings, int64_t turn);
  void step_critics_without_gradient(const AgentTensors& agent, const Settings& settings, int64_t turn);

  AgentShape shape_;
  const AdamKernels& adam_;
  q::EnsembleMlp actor_, critics_;
  std::vector<std::unique_ptr<Critic>> slots_;
  Scratch policy_, mean_, log_std_, action_, log_prob_, q_next_, y_, kept_, q_, dx_, d_out_, actor_gradient_, sampled_,
      density_;
  std::vector<float> alpha_gradient_, log_std_gradient_, weight_;
  std::vector<double> sums_;
  std::vector<int64_t> lowest_;
};

}  // namespace rewarm::rl
