// Products of small dense float32 matrices on one thread. The right operand is packed into panels once and used for many rows.
//
// Every element of a product is a sum of chains of multiply-adds, each over kDepth values of k in rising order: it depends
// neither on its neighbours nor on how the work was cut, so critics, seeds and threads may be added without changing a bit.
#pragma once

#include <cstdint>

namespace rewarm {

// c [m, n] = first + a · b, where `first` is the bias, or what c held, or 0.
struct Product {
  int64_t m, n, k;
  const float* a;     // [m, k] with stride lda; or, packed, panels of tile rows: [m / tile rows][k][tile rows]
  int64_t lda;        // of packed: unused
  const float* b;     // packed: [n / panel][k][panel], zeros behind column n
  const float* bias;  // [n rounded up to a panel]; null: see `add`
  float* c;           // [m, ldc]; every row holds n rounded up to a panel, unless n is its width
  int64_t ldc;
  bool add;     // to what c holds; only without a bias
  bool padded;  // the columns behind n may be written
};

struct Gemm {
  int64_t tile_rows;  // of a packed left operand
  int64_t panel;      // columns of a packed right operand
  void (*multiply)(const Product&);
  void (*multiply_packed)(const Product&);  // its left operand is packed
  // b [k, n] with stride ldb -> panels
  void (*pack_right)(const float* b, int64_t k, int64_t n, int64_t ldb, float* to);
  // the transpose of b [n, k] with stride ldb -> panels of a [k, n] matrix
  void (*pack_right_transposed)(const float* b, int64_t k, int64_t n, int64_t ldb, float* to);
  // the transpose of a [k, m] with stride lda -> packed left operand of an [m, k] matrix
  void (*pack_left_transposed)(const float* a, int64_t k, int64_t m, int64_t lda, float* to);

  int64_t panels(int64_t n) const { return (n + panel - 1) / panel; }
  int64_t padded(int64_t n) const { return panels(n) * panel; }
  int64_t right_size(int64_t k, int64_t n) const { return k * padded(n); }
  int64_t left_size(int64_t k, int64_t m) const { return (m + tile_rows - 1) / tile_rows * tile_rows * k; }
};

}  // namespace rewarm
