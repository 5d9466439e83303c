// Portable chunk functions: one element at a time, vectorised by the compiler where it can. ARM runs these.
#include "optim/kernels.h"

namespace rewarm::optim {
namespace baseline {

enum class Order { kSame };
template <class P, class M>
constexpr Order order_of() {
  return Order::kSame;
}

constexpr bool kTryFinite = false;  // a way out of the loop would keep the compiler from vectorising it

using Vec = struct Float1 {
  static constexpr int kWidth = 1;
  float x;
  explicit Float1(float value) : x(value) {}
};

inline Vec operator+(Vec a, Vec b) { return Vec(a.x + b.x); }
inline Vec operator-(Vec a, Vec b) { return Vec(a.x - b.x); }
inline Vec operator*(Vec a, Vec b) { return Vec(a.x * b.x); }
inline Vec operator/(Vec a, Vec b) { return Vec(a.x / b.x); }
inline Vec fused_multiply_add(Vec a, Vec b, Vec c) { return Vec(optim::fused_multiply_add(a.x, b.x, c.x)); }
inline Vec square_root(Vec a) { return Vec(optim::square_root(a.x)); }
inline Vec fused_multiply_subtract(Vec a, Vec b, Vec c) { return Vec(optim::fused_multiply_subtract(a.x, b.x, c.x)); }
inline Vec finite(Vec a) { return Vec(optim::finite(a.x)); }
inline Vec larger_or_nan(Vec a, Vec b) { return Vec(optim::larger_or_nan(a.x, b.x)); }
inline bool any_nan(Vec a) { return a.x != a.x; }
inline bool any_not_finite(Vec a) { return any_nan(a - a); }
template <Order, class T>
inline Vec load(const T* x) {
  return Vec(to_float(*x));
}
template <Order, bool kClean, class T>
inline void store(T* out, Vec a) {
  *out = from_float<T>(a.x);
}
template <Order, bool kClean>
inline void store_stochastic(Bfloat16* out, Vec a, const uint16_t* random) {
  *out = round_stochastic(a.x, *random);
}

struct Words {
  static constexpr int kLanes = 1;
  uint32_t x = 0;
  Words() = default;
  explicit Words(uint32_t value) : x(value) {}
  static Words count_from(uint32_t first) { return Words(first); }
};
constexpr int kRandomSets = 2;

inline Words operator^(Words a, Words b) { return Words(a.x ^ b.x); }
inline void multiply(Words a, uint32_t factor, Words* high, Words* low) {
  const uint64_t product = static_cast<uint64_t>(a.x) * factor;
  *high = Words(static_cast<uint32_t>(product >> 32));
  *low = Words(static_cast<uint32_t>(product));
}
inline void store_blocks(uint16_t* out, Words a, Words b, Words c, Words d) {
  const uint32_t words[4] = {a.x, b.x, c.x, d.x};
  for (int i = 0; i < 4; ++i) {
    out[2 * i] = static_cast<uint16_t>(words[i]);
    out[2 * i + 1] = static_cast<uint16_t>(words[i] >> 16);
  }
}

struct Sum {
  double lane[32] = {};
  template <class T>
  void add_squares(const T* g) {
    for (int j = 0; j < 32; ++j) {
      const double x = static_cast<double>(to_float(g[j]));
      lane[j] += x * x;
    }
  }
  double total() {
    for (int width = 16; width > 0; width /= 2)
      for (int j = 0; j < width; ++j) lane[j] += lane[j + width];
    return lane[0];
  }
};

#include "optim/adamw_loop.h"

#include "optim/extras_loop.h"

}  // namespace baseline

const Kernels kBaselineKernels = {baseline::pick_update, baseline::pick_sum_squares, baseline::pick_blend,
                                  baseline::pick_squared_change};

}  // namespace rewarm::optim
