#include "rl/replay.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <mutex>
#include <string>

#include "common/error.h"
#include "q/draw.h"

namespace rewarm::rl {
namespace {

constexpr int64_t kFloat = sizeof(float);
constexpr int64_t kLine = 64;  // bytes of a cache line
constexpr int64_t kDrawnAtOnce = 256;

[[noreturn]] void refuse(const std::string& message) { throw Error(ErrorKind::kInvalidArgument, "ReplayBuffer." + message); }

std::string number(double value) {
  char text[32];
  snprintf(text, sizeof text, "%.9g", value);
  return text;
}

float load(const std::byte* from) {
  float value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

void store(std::byte* to, float value) { std::memcpy(to, &value, sizeof value); }

// Rows are short: a call of memcpy for each field costs more than the bytes.
inline void copy_floats(float* to, const std::byte* from, int64_t n) {
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) std::memcpy(to + i, from + i * kFloat, 4 * kFloat);
  for (; i < n; ++i) std::memcpy(to + i, from + i * kFloat, kFloat);
}

inline void prefetch(const std::byte* record, int64_t bytes) {
  for (int64_t at = 0; at < bytes; at += kLine) __builtin_prefetch(record + at, 0, 0);
  __builtin_prefetch(record + bytes - 1, 0, 0);  // records begin anywhere in a line
}

// The first of `n` values that is not finite, or n. Only inf and NaN times zero are not zero: one test for the whole row.
int64_t first_not_finite(const float* values, int64_t n) {
  float zero = 0.0f;
  for (int64_t i = 0; i < n; ++i) zero += values[i] * 0.0f;
  if (zero == 0.0f) return n;
  return std::find_if(values, values + n, [](float v) { return !std::isfinite(v); }) - values;
}

}  // namespace

RecordLayout::RecordLayout(int64_t obs, int64_t act)
    : obs_dim(obs),
      act_dim(act),
      action(kFloat * obs),
      reward(action + kFloat * act),
      next_obs(reward + kFloat),
      mc_return(next_obs + kFloat * obs),
      terminated(mc_return + kFloat),
      truncated(terminated + 1),
      failed(terminated + 2),
      bytes((failed + 16) / 16 * 16) {}

RowArrays RowArrays::from(int64_t rows, const RecordLayout& layout) const {
  RowArrays moved = *this;
  const auto skip = [rows](auto*& field, int64_t width) {
    if (field != nullptr) field += rows * width;
  };
  skip(moved.obs, obs_stride != 0 ? obs_stride : layout.obs_dim);
  skip(moved.action, action_stride != 0 ? action_stride : layout.act_dim);
  skip(moved.reward, 1);
  skip(moved.next_obs, next_obs_stride != 0 ? next_obs_stride : layout.obs_dim);
  skip(moved.terminated, 1);
  skip(moved.truncated, 1);
  skip(moved.mc_return, 1);
  return moved;
}

Replay::Replay(const ReplayConfig& config, int64_t obs_dim, int64_t act_dim, std::byte* storage, int64_t* state)
    : config_(config),
      layout_(obs_dim, act_dim),
      storage_(storage),
      state_(state),
      episodes_(static_cast<size_t>(config.n_blocks())) {
  if (config.capacity < 1 || config.capacity > kMaxCapacity)
    refuse("capacity: expected 1 .. " + std::to_string(kMaxCapacity) + " rows, got " + std::to_string(config.capacity));
  if (config.seeds.empty()) refuse("seeds: expected at least one");
  if (obs_dim < 1 || act_dim < 1) refuse("obs_dim, act_dim: expected at least 1 each");
}

int64_t Replay::size(int64_t seed) const {
  std::shared_lock lock(mutex_);
  return size_of(block_of(seed));
}

int64_t Replay::smallest_size() const {
  std::shared_lock lock(mutex_);
  return *std::min_element(&size_of(0), &size_of(0) + config_.n_blocks());
}

// ---- adding ------------------------------------------------------------------------------------------------------------

void Replay::add(const NewRows& rows) {
  std::unique_lock lock(mutex_);
  check_values(rows);
  if (config_.mc_returns) make_room(rows);
  for (int64_t block = 0; block < config_.n_blocks(); ++block)
    for (int64_t i = 0; i < rows.n; ++i) {
      const int64_t row = block * rows.n + i;
      if (rows.valid != nullptr && rows.valid[row] == 0) continue;
      if (!config_.mc_returns) {
        pack(rows, row, next_place(block));
        continue;
      }
      Episode& episode = episodes_[static_cast<size_t>(block)][static_cast<size_t>(rows.environments ? i : 0)];
      episode.records.resize(episode.records.size() + static_cast<size_t>(layout_.bytes));
      pack(rows, row, episode.records.data() + episode.rows++ * layout_.bytes);
      if (rows.terminated[row] != 0 || rows.truncated[row] != 0) finish(block, &episode);
    }
}

void Replay::check_values(const NewRows& rows) const {
  struct Field {
    const char* name;
    const float* values;
    int64_t width;
  };
  const Field fields[] = {{"obs", rows.obs, layout_.obs_dim},
                          {"action", rows.action, layout_.act_dim},
                          {"reward", rows.reward, 1},
                          {"next_obs", rows.next_obs, layout_.obs_dim}};
  const auto place = [&](const char* name, int64_t row) {
    return std::string("add: ") + name + " of block " + std::to_string(row / rows.n) + ", row " + std::to_string(row % rows.n);
  };
  for (int64_t row = 0; row < config_.n_blocks() * rows.n; ++row) {
    if (rows.valid != nullptr && rows.valid[row] == 0) continue;
    for (const Field& field : fields) {
      const float* values = field.values + row * field.width;
      const int64_t i = first_not_finite(values, field.width);
      if (i < field.width)
        refuse(place(field.name, row) + (field.width > 1 ? ", element " + std::to_string(i) : std::string()) +
               ": expected a finite number that fits in float32, got " + number(static_cast<double>(values[i])));
    }
    const double drawn = scale_ * static_cast<double>(rows.reward[row]) + bias_;
    if (!(std::fabs(drawn) <= kLargestReward))
      refuse(place("reward", row) + ": expected scale * reward + bias within +-" + number(kLargestReward) + ", got " +
             number(static_cast<double>(rows.reward[row])) + " at scale " + number(scale_) + ", bias " + number(bias_));
  }
}

// Refuses episodes that the ring cannot hold, and reserves the memory, so that nothing can fail half-way.
void Replay::make_room(const NewRows& rows) {
  const int64_t environments = rows.environments ? rows.n : std::min<int64_t>(rows.n, 1);
  std::vector<int64_t> longest(static_cast<size_t>(config_.n_blocks() * environments));
  for (int64_t block = 0; block < config_.n_blocks(); ++block) {
    std::vector<Episode>& episodes = episodes_[static_cast<size_t>(block)];
    for (int64_t e = 0; e < environments; ++e) {
      int64_t length = e < static_cast<int64_t>(episodes.size()) ? episodes[static_cast<size_t>(e)].rows : 0;
      int64_t& most = longest[static_cast<size_t>(block * environments + e)];
      const int64_t begin = rows.environments ? e : 0, end = rows.environments ? e + 1 : rows.n;
      for (int64_t row = block * rows.n + begin; row < block * rows.n + end; ++row) {
        if (rows.valid != nullptr && rows.valid[row] == 0) continue;
        most = std::max(most, ++length);
        if (length > config_.capacity)
          refuse("add: block " + std::to_string(block) + ", row " + std::to_string(row % rows.n) +
                 ": the episode has more rows than capacity " + std::to_string(config_.capacity) +
                 ": expected terminated or truncated before, since a row is drawable only after its episode ended");
        if (rows.terminated[row] != 0 || rows.truncated[row] != 0) length = 0;
      }
    }
  }
  for (int64_t block = 0; block < config_.n_blocks(); ++block) {
    std::vector<Episode>& episodes = episodes_[static_cast<size_t>(block)];
    if (static_cast<int64_t>(episodes.size()) < environments) episodes.resize(static_cast<size_t>(environments));
    for (int64_t e = 0; e < environments; ++e) {
      std::vector<std::byte>& records = episodes[static_cast<size_t>(e)].records;
      const size_t bytes = static_cast<size_t>(longest[static_cast<size_t>(block * environments + e)] * layout_.bytes);
      if (bytes > records.capacity()) records.reserve(std::max(bytes, 2 * records.capacity()));
    }
  }
}

void Replay::pack(const NewRows& rows, int64_t row, std::byte* record) const {
  const int64_t obs = layout_.obs_dim, act = layout_.act_dim;
  std::memcpy(record, rows.obs + row * obs, static_cast<size_t>(kFloat * obs));
  std::memcpy(record + layout_.action, rows.action + row * act, static_cast<size_t>(kFloat * act));
  store(record + layout_.reward, rows.reward[row]);
  std::memcpy(record + layout_.next_obs, rows.next_obs + row * obs, static_cast<size_t>(kFloat * obs));
  std::memset(record + layout_.mc_return, 0, static_cast<size_t>(layout_.bytes - layout_.mc_return));
  record[layout_.terminated] = std::byte{rows.terminated[row] != 0};
  record[layout_.truncated] = std::byte{rows.truncated[row] != 0};
}

// Takes the place of the oldest record, once the ring is full.
std::byte* Replay::next_place(int64_t block) {
  std::byte* place = record(block, cursor(block));
  cursor(block) = cursor(block) + 1 == config_.capacity ? 0 : cursor(block) + 1;
  size_of(block) = std::min(size_of(block) + 1, config_.capacity);
  ++written(block);
  return place;
}

// ---- returns -----------------------------------------------------------------------------------------------------------

// Gives a record its return and returns it unrounded. Sums are float64, so a return carries one rounding to float32.
double Replay::return_from(std::byte* record, double return_after) const {
  const bool failed = config_.sparse_negative_reward.has_value() && record[layout_.failed] != std::byte{0};
  const double value = failed ? failed_return()
                              : static_cast<double>(drawn_reward(load(record + layout_.reward))) + config_.gamma * return_after;
  store(record + layout_.mc_return, static_cast<float>(value));
  return value;
}

// The return of a sparse task's negative reward for ever: what an episode that never succeeded is worth.
double Replay::failed_return() const {
  return static_cast<double>(drawn_reward(*config_.sparse_negative_reward)) / (1.0 - config_.gamma);
}

void Replay::finish(int64_t block, Episode* episode) {
  std::byte* const begin = episode->records.data();
  bool failed = config_.sparse_negative_reward.has_value();
  for (int64_t i = 0; failed && i < episode->rows; ++i)
    failed = load(begin + i * layout_.bytes + layout_.reward) == *config_.sparse_negative_reward;
  double value = 0.0;
  for (int64_t i = episode->rows - 1; i >= 0; --i) {
    std::byte* const at = begin + i * layout_.bytes;
    at[layout_.failed] = std::byte{failed};
    value = return_from(at, value);
  }
  for (int64_t i = 0; i < episode->rows; ++i)
    std::memcpy(next_place(block), begin + i * layout_.bytes, static_cast<size_t>(layout_.bytes));
  episode->records.clear();
  episode->rows = 0;
}

void Replay::set_rewards(double scale, double bias) {
  std::unique_lock lock(mutex_);
  const auto check = [&](const std::byte* at, const std::string& place) {
    const float reward = load(at + layout_.reward);
    if (!(std::fabs(scale * static_cast<double>(reward) + bias) <= kLargestReward))
      refuse("set_rewards: scale " + number(scale) + ", bias " + number(bias) + ": expected scale * reward + bias within +-" +
             number(kLargestReward) + ", but the reward of " + place + " is " + number(static_cast<double>(reward)));
  };
  for (int64_t block = 0; block < config_.n_blocks(); ++block) {
    for (int64_t place = 0; place < size_of(block); ++place)
      check(record(block, place), "block " + std::to_string(block) + ", place " + std::to_string(place));
    for (const Episode& episode : episodes_[static_cast<size_t>(block)])
      for (int64_t i = 0; i < episode.rows; ++i)
        check(episode.records.data() + i * layout_.bytes,
              "block " + std::to_string(block) + ", pending row " + std::to_string(i));
  }
  scale_ = scale;
  bias_ = bias;
  if (!config_.mc_returns) return;
  for (int64_t block = 0; block < config_.n_blocks(); ++block) remake_returns(block);
}

// From the newest row back; the ring ends with the end of an episode.
void Replay::remake_returns(int64_t block) {
  double value = 0.0;
  int64_t place = cursor(block);
  for (int64_t i = 0; i < size_of(block); ++i) {
    place = (place == 0 ? config_.capacity : place) - 1;
    std::byte* const at = record(block, place);
    const bool ended = at[layout_.terminated] != std::byte{0} || at[layout_.truncated] != std::byte{0};
    value = return_from(at, ended ? 0.0 : value);
  }
}

// ---- drawing -----------------------------------------------------------------------------------------------------------

template <class Place>
void Replay::copy_rows(const std::byte* block, int64_t n, const RowArrays& out, const Place& place) const {
  const RecordLayout& at = layout_;
  const int64_t obs_stride = out.obs_stride != 0 ? out.obs_stride : at.obs_dim;
  const int64_t action_stride = out.action_stride != 0 ? out.action_stride : at.act_dim;
  const int64_t next_stride = out.next_obs_stride != 0 ? out.next_obs_stride : at.obs_dim;
  // A row's lines are asked for this many rows ahead: enough to hide memory, few enough for the core's fill buffers.
  const int64_t ahead = std::clamp<int64_t>(kLine * 32 / at.bytes, 2, 16);
  for (int64_t i = 0; i < std::min(ahead, n); ++i) prefetch(block + place(i) * at.bytes, at.bytes);
  for (int64_t i = 0; i < n; ++i) {
    if (i + ahead < n) prefetch(block + place(i + ahead) * at.bytes, at.bytes);
    const std::byte* const record = block + place(i) * at.bytes;
    if (out.obs != nullptr) copy_floats(out.obs + i * obs_stride, record, at.obs_dim);
    if (out.action != nullptr) copy_floats(out.action + i * action_stride, record + at.action, at.act_dim);
    if (out.reward != nullptr) out.reward[i] = drawn_reward(load(record + at.reward));
    if (out.next_obs != nullptr) copy_floats(out.next_obs + i * next_stride, record + at.next_obs, at.obs_dim);
    if (out.mc_return != nullptr) out.mc_return[i] = load(record + at.mc_return);
    if (out.terminated != nullptr) out.terminated[i] = static_cast<uint8_t>(record[at.terminated]);
    if (out.truncated != nullptr) out.truncated[i] = static_cast<uint8_t>(record[at.truncated]);
  }
}

void Replay::sample_rows(int64_t seed, uint64_t offset, int64_t n, const RowArrays& out, int64_t first) const {
  std::shared_lock lock(mutex_);
  const int64_t block = block_of(seed), size = size_of(block);
  if (size == 0)
    refuse("sample: block " + std::to_string(block) + " holds no drawable row" +
           (config_.mc_returns ? ": with mc_returns a row is drawable after its episode ended" : ""));
  if (n < 0 || n > size)
    refuse("sample: n: expected 0 .. " + std::to_string(size) + ", the drawable rows of block " + std::to_string(block) +
           ", got " + std::to_string(n));
  if (offset >= q::kMaxOffset) refuse("sample: offset: expected less than 2**56, got " + std::to_string(offset));
  uint32_t words[kDrawnAtOnce];
  for (int64_t done = 0; done < n; done += kDrawnAtOnce) {
    const int64_t count = std::min(kDrawnAtOnce, n - done);
    q::draw_words({config_.seeds[static_cast<size_t>(seed)], offset, q::kReplay}, first + done, count, words);
    copy_rows(record(block, 0), count, out.from(done, layout_), [&](int64_t i) { return q::index_of(words[i], size); });
  }
}

void Replay::gather_rows(int64_t seed, const int64_t* index, int64_t n, const RowArrays& out) const {
  std::shared_lock lock(mutex_);
  const int64_t block = block_of(seed), size = size_of(block);
  for (int64_t i = 0; i < n; ++i)
    if (index[i] < 0 || index[i] >= size)
      refuse("gather: index of seed " + std::to_string(seed) + ", element " + std::to_string(i) + ": expected 0 .. " +
             std::to_string(size - 1) + " (" + std::to_string(size) + " drawable rows), got " + std::to_string(index[i]));
  copy_rows(record(block, 0), n, out, [&](int64_t i) { return index[i]; });
}

// ---- episodes that have not ended --------------------------------------------------------------------------------------

std::vector<PendingEpisode> Replay::pending() const {
  std::shared_lock lock(mutex_);
  std::vector<PendingEpisode> found;
  for (size_t block = 0; block < episodes_.size(); ++block)
    for (size_t e = 0; e < episodes_[block].size(); ++e)
      if (episodes_[block][e].rows > 0)
        found.push_back({static_cast<int64_t>(block), static_cast<int64_t>(e), episodes_[block][e].rows});
  return found;
}

void Replay::copy_pending(std::byte* records) const {
  std::shared_lock lock(mutex_);
  for (const std::vector<Episode>& episodes : episodes_)
    for (const Episode& episode : episodes) records = std::copy(episode.records.begin(), episode.records.end(), records);
}

void Replay::restore_pending(const std::vector<PendingEpisode>& episodes, const std::byte* records) {
  std::vector<std::vector<Episode>> restored(static_cast<size_t>(config_.n_blocks()));
  for (const PendingEpisode& e : episodes) {
    if (e.block < 0 || e.block >= config_.n_blocks() || e.environment < 0 || e.environment >= kMaxCapacity || e.rows < 1 ||
        e.rows > config_.capacity)
      refuse("restore: pending: expected block 0 .. " + std::to_string(config_.n_blocks() - 1) +
             ", environment >= 0 and 1 .. " + std::to_string(config_.capacity) + " rows, got " + std::to_string(e.block) +
             ", " + std::to_string(e.environment) + ", " + std::to_string(e.rows));
    std::vector<Episode>& of_block = restored[static_cast<size_t>(e.block)];
    if (static_cast<int64_t>(of_block.size()) <= e.environment) of_block.resize(static_cast<size_t>(e.environment + 1));
    Episode& episode = of_block[static_cast<size_t>(e.environment)];
    episode.records.assign(records, records + e.rows * layout_.bytes);
    episode.rows = e.rows;
    records += e.rows * layout_.bytes;
  }
  std::unique_lock lock(mutex_);
  episodes_ = std::move(restored);
}

}  // namespace rewarm::rl
