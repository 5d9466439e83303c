// The loops of mlp_kernels.h over the vectors of one instruction set. Included inside its namespace, behind gemm_loop.h.
constexpr int64_t kLane = Lanes::kWidth;

// Ones in the columns that count.
struct Tail {
  int64_t whole;  // columns in vectors that count wholly
  Lanes mask;     // of the vector behind them
  explicit Tail(int64_t width) : whole(width / kLane * kLane), mask(broadcast(0.0f)) {
    alignas(64) float ones[kLane];
    for (int64_t i = 0; i < kLane; ++i) ones[i] = i < width - whole ? 1.0f : 0.0f;
    mask = load(ones);
  }
};

// kRows rows side by side: what one waits for (sums across a vector, root, quotient), the others fill. Each row's operations
// and their order are the same for any kRows.
template <int kRows>
REWARM_V void norm_relu_side_by_side(int64_t width, int64_t stride, const Tail& tail, const float* ln_weight,
                                     const float* ln_bias, float eps, float* z, float* y, float* rstd) {
  const bool has_tail = tail.whole < width;
  const float per_width = 1.0f / static_cast<float>(width);
  Lanes mean[kRows], scale[kRows], sums[kRows];
  for (int r = 0; r < kRows; ++r) sums[r] = broadcast(0.0f);
  for (int64_t i = 0; i < width; i += kLane)
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) sums[r] = sums[r] + load(z + r * stride + i);
  for (int r = 0; r < kRows; ++r) {
    mean[r] = broadcast(sum(sums[r]) * per_width);
    sums[r] = broadcast(0.0f);
  }
  for (int64_t i = 0; i < tail.whole; i += kLane)
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const Lanes d = load(z + r * stride + i) - mean[r];
      sums[r] = multiply_add(d, d, sums[r]);
    }
  for (int r = 0; r < kRows; ++r) {
    if (has_tail) {
      const Lanes d = (load(z + r * stride + tail.whole) - mean[r]) * tail.mask;
      sums[r] = multiply_add(d, d, sums[r]);
    }
    const float one_over = 1.0f / std::sqrt(sum(sums[r]) * per_width + eps);
    if (rstd != nullptr) rstd[r] = one_over;
    scale[r] = broadcast(one_over);
  }
  for (int64_t i = 0; i < tail.whole; i += kLane) {
    const Lanes weight = load(ln_weight + i), bias = load(ln_bias + i);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const Lanes n = (load(z + r * stride + i) - mean[r]) * scale[r];
      store(z + r * stride + i, n);
      store(y + r * stride + i, relu(multiply_add(n, weight, bias)));
    }
  }
  for (int r = 0; r < kRows; ++r) {
    int64_t i = tail.whole;
    if (has_tail) {
      const Lanes n = (load(z + r * stride + i) - mean[r]) * scale[r] * tail.mask;
      store(z + r * stride + i, n);
      store(y + r * stride + i, relu(multiply_add(n, load(ln_weight + i), load(ln_bias + i))));
      i += kLane;
    }
    for (; i < stride; i += kLane) store(y + r * stride + i, broadcast(0.0f));
  }
}

void norm_relu(int64_t rows, int64_t width, int64_t stride, const float* ln_weight, const float* ln_bias, float eps, float* z,
               float* y, float* rstd) {
  const Tail tail(width);
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4)
    norm_relu_side_by_side<4>(width, stride, tail, ln_weight, ln_bias, eps, z + r * stride, y + r * stride,
                              rstd != nullptr ? rstd + r : nullptr);
  for (; r < rows; ++r)
    norm_relu_side_by_side<1>(width, stride, tail, ln_weight, ln_bias, eps, z + r * stride, y + r * stride,
                              rstd != nullptr ? rstd + r : nullptr);
}

void relu_rows(int64_t rows, int64_t width, int64_t stride, float* y) {
  for (int64_t r = 0; r < rows; ++r, y += stride)
    for (int64_t i = 0; i < width; i += kLane) store(y + i, relu(load(y + i)));
}

void norm_relu_backward(int64_t rows, int64_t width, int64_t stride, const float* ln_weight, const float* normalized,
                        const float* y, const float* rstd, const float* dy, int64_t dy_stride, float* dz, float* d_ln_weight,
                        float* d_ln_bias, float* d_bias) {
  const float per_width = 1.0f / static_cast<float>(width);
  for (int64_t r = 0; r < rows; ++r, normalized += stride, y += stride, dy += dy_stride, dz += stride) {
    Lanes s = broadcast(0.0f), sn = s;
    for (int64_t i = 0; i < width; i += kLane) {
      const Lanes n = load(normalized + i);
      const Lanes g = where_positive(load(dy + i), load(y + i));
      store(d_ln_bias + i, load(d_ln_bias + i) + g);
      store(d_ln_weight + i, multiply_add(g, n, load(d_ln_weight + i)));
      const Lanes v = g * load(ln_weight + i);
      store(dz + i, v);
      s = s + v;
      sn = multiply_add(v, n, sn);
    }
    const Lanes mean = broadcast(sum(s) * per_width), mean_n = broadcast(0.0f - sum(sn) * per_width),
                scale = broadcast(rstd[r]);
    const int64_t whole = width / kLane * kLane;
    int64_t i = 0;
    for (; i < whole; i += kLane) {
      const Lanes d = multiply_add(load(normalized + i), mean_n, load(dz + i) - mean) * scale;
      store(dz + i, d);
      store(d_bias + i, load(d_bias + i) + d);
    }
    if (whole < width) {
      const Lanes d = multiply_add(load(normalized + i), mean_n, load(dz + i) - mean) * scale * Tail(width).mask;
      store(dz + i, d);
      store(d_bias + i, load(d_bias + i) + d);
      i += kLane;
    }
    for (; i < stride; i += kLane) store(dz + i, broadcast(0.0f));
  }
}

void relu_backward(int64_t rows, int64_t width, int64_t stride, const float* y, const float* dy, int64_t dy_stride, float* dz,
                   float* d_bias) {
  for (int64_t r = 0; r < rows; ++r, y += stride, dy += dy_stride, dz += stride) {
    int64_t i = 0;
    for (; i < width; i += kLane) {
      const Lanes g = where_positive(load(dy + i), load(y + i));
      store(dz + i, g);
      store(d_bias + i, load(d_bias + i) + g);
    }
    for (; i < stride; i += kLane) store(dz + i, broadcast(0.0f));
  }
}

void head(int64_t rows, int64_t width, int64_t stride, const float* y, const float* weight, float bias, float* q) {
  for (int64_t r = 0; r < rows; ++r, y += stride) {
    Lanes s0 = broadcast(0.0f), s1 = s0;
    int64_t i = 0;
    for (; i + 2 * kLane <= width; i += 2 * kLane) {
      s0 = multiply_add(load(y + i), load(weight + i), s0);
      s1 = multiply_add(load(y + i + kLane), load(weight + i + kLane), s1);
    }
    for (; i < width; i += kLane) s0 = multiply_add(load(y + i), load(weight + i), s0);
    q[r] = sum(s0 + s1) + bias;
  }
}

void head_backward(int64_t rows, int64_t width, int64_t stride, const float* y, const float* weight, const float* dq, float* dy,
                   int64_t dy_stride, float* d_weight) {
  for (int64_t r = 0; r < rows; ++r, y += stride, dy += dy_stride) {
    const Lanes d = broadcast(dq[r]);
    for (int64_t i = 0; i < width; i += kLane) store(dy + i, d * load(weight + i));
    if (d_weight == nullptr) continue;
    for (int64_t i = 0; i < width; i += kLane) store(d_weight + i, multiply_add(d, load(y + i), load(d_weight + i)));
  }
}
