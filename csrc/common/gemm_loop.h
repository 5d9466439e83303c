// The loops of gemm.h over the vectors of one instruction set. Included inside its namespace, behind its lanes_*.h.
constexpr int64_t kPanel = kTileLanes * Lanes::kWidth;
// A panel of so many rows stays in the first-level cache beside the rows of the left operand that meet it.
constexpr int64_t kDepth = 256;

template <int kRows, bool kPacked>
REWARM_V void multiply_tile(int64_t k, const float* a, int64_t lda, const float* b, const float* bias, bool add, float* c,
                            int64_t ldc) {
  Lanes sums[kRows][kTileLanes];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (int j = 0; j < kTileLanes; ++j) sums[r][j] = bias != nullptr ? load(bias + j * Lanes::kWidth) : broadcast(0.0f);
#pragma GCC unroll 4
  for (int64_t i = 0; i < k; ++i) {
    Lanes right[kTileLanes];
#pragma GCC unroll 8
    for (int j = 0; j < kTileLanes; ++j) right[j] = load(b + i * kPanel + j * Lanes::kWidth);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const Lanes left = broadcast(kPacked ? a[i * kTileRows + r] : a[r * lda + i]);
#pragma GCC unroll 8
      for (int j = 0; j < kTileLanes; ++j) sums[r][j] = multiply_add(left, right[j], sums[r][j]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (int j = 0; j < kTileLanes; ++j) {
      float* to = c + r * ldc + j * Lanes::kWidth;
      store(to, add ? load(to) + sums[r][j] : sums[r][j]);
    }
}

// The rows of a last tile that is not full.
template <int kRows, bool kPacked>
void multiply_last(int rows, int64_t k, const float* a, int64_t lda, const float* b, const float* bias, bool add, float* c,
                   int64_t ldc) {
  if constexpr (kRows > 0) {
    if (rows == kRows) return multiply_tile<kRows, kPacked>(k, a, lda, b, bias, add, c, ldc);
    multiply_last<kRows - 1, kPacked>(rows, k, a, lda, b, bias, add, c, ldc);
  }
}

// One panel of columns and a part of k.
template <bool kPacked>
void multiply_panel(int64_t m, int64_t k, int64_t whole_k, const float* a, int64_t lda, const float* b, const float* bias,
                    bool add, float* c, int64_t ldc) {
  int64_t row = 0;
  for (; row + kTileRows <= m; row += kTileRows)
    multiply_tile<kTileRows, kPacked>(k, a + (kPacked ? row * whole_k : row * lda), lda, b, bias, add, c + row * ldc, ldc);
  multiply_last<kTileRows - 1, kPacked>(static_cast<int>(m - row), k, a + (kPacked ? row * whole_k : row * lda), lda, b, bias,
                                        add, c + row * ldc, ldc);
}

template <bool kPacked>
void multiply_any(const Product& p) {
  for (int64_t begin = 0; begin == 0 || begin < p.k; begin += kDepth) {
    const int64_t depth = std::min(kDepth, p.k - begin);
    const bool first = begin == 0;
    const float* a = p.a + (kPacked ? begin * kTileRows : begin);
    for (int64_t column = 0; column < p.n; column += kPanel) {
      const float* b = p.b + (column * p.k + begin * kPanel);
      const float* bias = first && p.bias != nullptr ? p.bias + column : nullptr;
      const bool add = !first || (p.add && p.bias == nullptr);
      if (p.padded || column + kPanel <= p.n) {
        multiply_panel<kPacked>(p.m, depth, p.k, a, p.lda, b, bias, add, p.c + column, p.ldc);
        continue;
      }
      // The last columns go through a tile of their own: what lies behind them is not ours.
      const int64_t width = p.n - column;
      alignas(64) float tile[kTileRows * kPanel];
      for (int64_t row = 0; row < p.m; row += kTileRows) {
        const int64_t rows = std::min<int64_t>(kTileRows, p.m - row);
        float* c = p.c + row * p.ldc + column;
        if (add)
          for (int64_t r = 0; r < rows; ++r)
            memcpy(tile + r * kPanel, c + r * p.ldc, static_cast<size_t>(width) * sizeof(float));
        multiply_panel<kPacked>(rows, depth, p.k, a + (kPacked ? row * p.k : row * p.lda), p.lda, b, bias, add, tile, kPanel);
        for (int64_t r = 0; r < rows; ++r) memcpy(c + r * p.ldc, tile + r * kPanel, static_cast<size_t>(width) * sizeof(float));
      }
    }
  }
}

void multiply(const Product& p) { multiply_any<false>(p); }
void multiply_packed(const Product& p) { multiply_any<true>(p); }

void pack_right(const float* b, int64_t k, int64_t n, int64_t ldb, float* to) {
  for (int64_t column = 0; column < n; column += kPanel, to += k * kPanel) {
    const int64_t width = std::min(kPanel, n - column);
    for (int64_t i = 0; i < k; ++i) {
      const float* from = b + i * ldb + column;
      float* row = to + i * kPanel;
      if (width == kPanel) {
#pragma GCC unroll 8
        for (int j = 0; j < kTileLanes; ++j) store(row + j * Lanes::kWidth, load(from + j * Lanes::kWidth));
      } else {
        for (int64_t j = 0; j < kPanel; ++j) row[j] = j < width ? from[j] : 0.0f;
      }
    }
  }
}

void pack_right_transposed(const float* b, int64_t k, int64_t n, int64_t ldb, float* to) {
  for (int64_t column = 0; column < n; column += kPanel, to += k * kPanel) {
    for (int64_t j = 0; j < kPanel; j += kTurn) {
      const float* from = b + (column + j) * ldb;
      const bool whole = column + j + kTurn <= n;
      int64_t i = 0;
      if (whole)
        for (; i + kTurn <= k; i += kTurn) transpose(from + i, ldb, to + i * kPanel + j, kPanel);
      for (; i < k; ++i)
        for (int64_t t = 0; t < kTurn; ++t) to[i * kPanel + j + t] = column + j + t < n ? from[t * ldb + i] : 0.0f;
    }
  }
}

void pack_left_transposed(const float* a, int64_t k, int64_t m, int64_t lda, float* to) {
  for (int64_t row = 0; row < m; row += kTileRows, to += kTileRows * k) {
    const int64_t rows = std::min<int64_t>(kTileRows, m - row);
    if (rows == kTileRows) {
      for (int64_t i = 0; i < k; ++i) memcpy(to + i * kTileRows, a + i * lda + row, kTileRows * sizeof(float));
      continue;
    }
    for (int64_t i = 0; i < k; ++i)
      for (int64_t r = 0; r < kTileRows; ++r) to[i * kTileRows + r] = r < rows ? a[i * lda + row + r] : 0.0f;
  }
}

constexpr Gemm kGemm = {kTileRows, kPanel, multiply, multiply_packed, pack_right, pack_right_transposed, pack_left_transposed};
