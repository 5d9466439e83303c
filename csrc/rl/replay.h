// A ring of transitions as contiguous records: one random row costs one run of cache lines, not one per field. Rows are drawn
// by Philox stream 0 (q/draw.h) of a seed, so a seed of a stack draws what it would draw alone.
//
// With Monte-Carlo returns an episode waits outside the ring until it has ended; what lies in the ring can always be drawn, and
// rows of one episode lie together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <shared_mutex>
#include <vector>

namespace rewarm::rl {

// Bytes of one record: obs [obs_dim], action [act_dim], reward, next_obs [obs_dim], mc_return as float32, then terminated,
// truncated and failed (every reward of the episode was the negative one of a sparse task) as bytes.
struct RecordLayout {
  RecordLayout(int64_t obs_dim, int64_t act_dim);

  int64_t obs_dim, act_dim;
  int64_t action, reward, next_obs, mc_return, terminated, truncated, failed;  // where they begin; obs begins at 0
  int64_t bytes;                                                               // of the whole, a multiple of 16
};

struct ReplayConfig {
  int64_t capacity;             // rows of one block, 1 .. kMaxCapacity
  std::vector<uint64_t> seeds;  // one key a seed
  bool shared;                  // one block, read by all seeds; otherwise one a seed
  bool mc_returns;
  double gamma;                                 // [0, 1]; below 1 with a sparse_negative_reward
  std::optional<float> sparse_negative_reward;  // as it is added

  int64_t n_seeds() const { return static_cast<int64_t>(seeds.size()); }
  int64_t n_blocks() const { return shared ? 1 : n_seeds(); }
};

constexpr int64_t kMaxCapacity = int64_t{1} << 32;  // what one 32-bit word can address
constexpr double kLargestReward = 1e28;             // kMaxCapacity of them, added up, still fit in a float32

// Rows to be added, all fields contiguous over [n_blocks, n].
struct NewRows {
  const float* obs;           // [n_blocks, n, obs_dim]
  const float* action;        // [n_blocks, n, act_dim]
  const float* reward;        // [n_blocks, n]
  const float* next_obs;      // [n_blocks, n, obs_dim]
  const uint8_t* terminated;  // [n_blocks, n]
  const uint8_t* truncated;   // [n_blocks, n]
  const uint8_t* valid;       // [n_blocks, n], or null: all
  int64_t n;
  bool environments;  // row i belongs to the episode of environment i; otherwise the rows follow one another in one episode
};

// Where drawn rows are written. A null field is left out; a stride of 0 stands for rows that follow one another.
struct RowArrays {
  float* obs = nullptr;                                            // [n, obs_dim]
  float* action = nullptr;                                         // [n, act_dim]
  float* reward = nullptr;                                         // [n]
  float* next_obs = nullptr;                                       // [n, obs_dim]
  uint8_t* terminated = nullptr;                                   // [n]
  uint8_t* truncated = nullptr;                                    // [n]
  float* mc_return = nullptr;                                      // [n]
  int64_t obs_stride = 0, action_stride = 0, next_obs_stride = 0;  // floats from one row to the next

  // The same arrays from row `rows` on.
  RowArrays from(int64_t rows, const RecordLayout& layout) const;
};

// An episode that has not ended.
struct PendingEpisode {
  int64_t block, environment, rows;
};

// Safe to call from several threads. Every call that throws leaves all as it was.
class Replay {
 public:
  // storage: [n_blocks, capacity] records; state: [3, n_blocks] = cursor (the next place to write), size (drawable rows), rows
  // ever written. Both stay the caller's and outlive this.
  Replay(const ReplayConfig& config, int64_t obs_dim, int64_t act_dim, std::byte* storage, int64_t* state);

  const ReplayConfig& config() const { return config_; }
  const RecordLayout& layout() const { return layout_; }
  int64_t size(int64_t seed) const;  // rows that this seed can draw
  int64_t smallest_size() const;     // over the seeds

  void add(const NewRows& rows);

  // Rewards are stored as added and leave as float(scale * reward + bias), from which the returns are made; they are made anew.
  void set_rewards(double scale, double bias);

  // Elements first .. first + n - 1 of the draw at (seeds[seed], offset), with replacement. `offset` counts critic minibatches.
  void sample_rows(int64_t seed, uint64_t offset, int64_t n, const RowArrays& out, int64_t first = 0) const;
  // The rows at places index [n] of the ring that this seed reads.
  void gather_rows(int64_t seed, const int64_t* index, int64_t n, const RowArrays& out) const;

  std::vector<PendingEpisode> pending() const;
  void copy_pending(std::byte* records) const;  // those of pending(), one after another
  void restore_pending(const std::vector<PendingEpisode>& episodes, const std::byte* records);

 private:
  struct Episode {
    std::vector<std::byte> records;
    int64_t rows = 0;
  };

  int64_t block_of(int64_t seed) const { return config_.shared ? 0 : seed; }
  int64_t& cursor(int64_t block) const { return state_[block]; }
  int64_t& size_of(int64_t block) const { return state_[config_.n_blocks() + block]; }
  int64_t& written(int64_t block) const { return state_[2 * config_.n_blocks() + block]; }
  std::byte* record(int64_t block, int64_t place) const {
    return storage_ + (block * config_.capacity + place) * layout_.bytes;
  }
  float drawn_reward(float reward) const { return static_cast<float>(scale_ * static_cast<double>(reward) + bias_); }

  void check_values(const NewRows& rows) const;
  void make_room(const NewRows& rows);
  void pack(const NewRows& rows, int64_t row, std::byte* record) const;
  std::byte* next_place(int64_t block);
  void finish(int64_t block, Episode* episode);
  double return_from(std::byte* record, double return_after) const;
  double failed_return() const;
  void remake_returns(int64_t block);
  template <class Place>
  void copy_rows(const std::byte* block, int64_t n, const RowArrays& out, const Place& place) const;

  ReplayConfig config_;
  RecordLayout layout_;
  std::byte* storage_;
  int64_t* state_;
  double scale_ = 1.0, bias_ = 0.0;
  std::vector<std::vector<Episode>> episodes_;  // [n_blocks][environments seen]
  mutable std::shared_mutex mutex_;
};

}  // namespace rewarm::rl
