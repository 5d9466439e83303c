// What may ride along with the update of a tile, while it is in the first-level cache: the moving average of the parameter, and
// the squares of its change. Written once over a SIMD vector type; included after adamw_loop.h in the same namespace.

// ema <- ema + (1 - decay) (theta - ema); above a weight of a half in the form that does not cancel, so that 1 copies exactly.
template <Order kOrder, class P>
inline __attribute__((always_inline)) void blend_vector(float* ema, const P* p, float decay, float weight) {
  const Vec old = load<kOrder>(ema), theta = load<kOrder>(p), ahead = theta - old;
  store<kOrder, false>(
      ema, weight > 0.5f ? fused_multiply_add(Vec(-decay), ahead, theta) : fused_multiply_add(Vec(weight), ahead, old));
}

template <class P>
void blend(float* ema, const void* theta, int64_t n, float decay, float weight) {
  constexpr Order kOrder = order_of<P, float>();
  constexpr int kW = Vec::kWidth;
  const P* p = static_cast<const P*>(theta);
  int64_t i = 0;
  for (; i + kW <= n; i += kW) blend_vector<kOrder>(ema + i, p + i, decay, weight);
  if (i < n) {
    P pb[kW] = {};
    float eb[kW] = {};
    for (int64_t j = 0; i + j < n; ++j) pb[j] = p[i + j], eb[j] = ema[i + j];
    blend_vector<kOrder>(eb, pb, decay, weight);
    for (int64_t j = 0; i + j < n; ++j) ema[i + j] = eb[j];
  }
}

// Sum of (after - before)^2: the differences in float32, their squares as in sum_squares.
template <class P>
double squared_change(const void* before, const void* after, int64_t n) {
  constexpr Order kOrder = order_of<P, float>();
  const P* a = static_cast<const P*>(before);
  const P* b = static_cast<const P*>(after);
  Sum sum;
  for (int64_t i = 0; i < n; i += 32) {
    P ab[32] = {}, bb[32] = {};
    const bool whole = i + 32 <= n;
    for (int64_t j = 0; !whole && i + j < n; ++j) ab[j] = a[i + j], bb[j] = b[i + j];
    float change[32];
    for (int j = 0; j < 32; j += Vec::kWidth)
      store<kOrder, false>(change + j, load<kOrder>((whole ? b + i : bb) + j) - load<kOrder>((whole ? a + i : ab) + j));
    sum.add_squares(change);
  }
  return sum.total();
}

inline BlendFunction pick_blend(Dtype p) {
  return p == Dtype::kFloat32 ? blend<float> : p == Dtype::kBfloat16 ? blend<Bfloat16> : blend<Float16>;
}

inline ChangeFunction pick_squared_change(Dtype p) {
  return p == Dtype::kFloat32    ? squared_change<float>
         : p == Dtype::kBfloat16 ? squared_change<Bfloat16>
                                 : squared_change<Float16>;
}
