#include "q/draw.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace rewarm::q {
namespace {

constexpr int64_t kTile = 256;  // words made at a time, then turned into numbers by loops that the compiler can vectorise

// Calls take(words, skip, count, done) for tiles of whole blocks that cover the elements asked for; `skip` words come before
// them.
template <class Take>
void for_tiles(DrawAt at, int64_t first, int64_t n, Take take) {
  uint32_t words[kTile];
  for (int64_t done = 0; done < n;) {
    const int64_t element = first + done, skip = element & 3, count = std::min(n - done, kTile - skip);
    const int64_t blocks = (skip + count + 3) / 4;
    for (int64_t b = 0; b < blocks; ++b) {
      const Philox4 four = draw_block(at, static_cast<uint64_t>((element >> 2) + b));
      for (int i = 0; i < 4; ++i) words[4 * b + i] = four.x[i];
    }
    take(words, skip, count, done);
    done += count;
  }
}

}  // namespace

void draw_words(DrawAt at, int64_t first, int64_t n, uint32_t* out) {
  for_tiles(at, first, n, [out](const uint32_t* words, int64_t skip, int64_t count, int64_t done) {
    std::copy_n(words + skip, count, out + done);
  });
}

void draw_uniform(DrawAt at, int64_t first, int64_t n, float* out) {
  for_tiles(at, first, n, [out](const uint32_t* words, int64_t skip, int64_t count, int64_t done) {
    for (int64_t i = 0; i < count; ++i) out[done + i] = uniform_of(words[skip + i]);
  });
}

void draw_normal(DrawAt at, int64_t first, int64_t n, float* out) {
  for_tiles(at, first, n, [out](const uint32_t* words, int64_t skip, int64_t count, int64_t done) {
    float normals[kTile];
    for (int64_t i = 0; i < (skip + count + 1) / 2; ++i)
      normal_pair(words[2 * i], words[2 * i + 1], normals + 2 * i, normals + 2 * i + 1);
    std::copy_n(normals + skip, count, out + done);
  });
}

void draw_subset(DrawAt at, int64_t critics, int64_t subset, bool replacement, int64_t* out) {
  std::vector<uint32_t> words(static_cast<size_t>(subset));
  draw_words(at, 0, subset, words.data());
  if (replacement) {
    for (int64_t i = 0; i < subset; ++i) out[i] = index_of(words[static_cast<size_t>(i)], critics);
    return;
  }
  std::vector<int64_t> places(static_cast<size_t>(critics));
  std::iota(places.begin(), places.end(), int64_t{0});
  for (int64_t i = 0; i < subset; ++i) {
    const int64_t j = i + index_of(words[static_cast<size_t>(i)], critics - i);
    std::swap(places[static_cast<size_t>(i)], places[static_cast<size_t>(j)]);
    out[i] = places[static_cast<size_t>(i)];
  }
}

}  // namespace rewarm::q
