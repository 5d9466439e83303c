// Four floats for any processor: loops that the compiler turns into what the target has. Included once, inside a namespace of
// its own, before gemm_loop.h.
#define REWARM_V inline __attribute__((always_inline))

typedef float FourFloats __attribute__((vector_size(16)));

struct Lanes {
  static constexpr int kWidth = 4;
  FourFloats v;
};
// A tile of a product: rows, and registers a row.
constexpr int kTileRows = 4, kTileLanes = 2;

REWARM_V Lanes load(const float* p) {
  Lanes x;
  memcpy(&x.v, p, sizeof(x.v));
  return x;
}
REWARM_V void store(float* p, Lanes x) { memcpy(p, &x.v, sizeof(x.v)); }
REWARM_V Lanes broadcast(float x) { return {FourFloats{x, x, x, x}}; }
REWARM_V Lanes operator+(Lanes x, Lanes y) { return {x.v + y.v}; }
REWARM_V Lanes operator-(Lanes x, Lanes y) { return {x.v - y.v}; }
REWARM_V Lanes operator*(Lanes x, Lanes y) { return {x.v * y.v}; }
REWARM_V Lanes operator/(Lanes x, Lanes y) { return {x.v / y.v}; }
REWARM_V Lanes square_root(Lanes x) {
  for (int i = 0; i < Lanes::kWidth; ++i) x.v[i] = std::sqrt(x.v[i]);
  return x;
}
REWARM_V Lanes multiply_add(Lanes x, Lanes y, Lanes z) { return {x.v * y.v + z.v}; }
REWARM_V Lanes relu(Lanes x) {
  for (int i = 0; i < Lanes::kWidth; ++i) x.v[i] = x.v[i] < 0.0f ? 0.0f : x.v[i];
  return x;
}
// x where y > 0 or y is NaN, else 0.
REWARM_V Lanes where_positive(Lanes x, Lanes y) {
  for (int i = 0; i < Lanes::kWidth; ++i) x.v[i] = y.v[i] <= 0.0f ? 0.0f : x.v[i];
  return x;
}
REWARM_V float sum(Lanes x) { return (x.v[0] + x.v[2]) + (x.v[1] + x.v[3]); }

constexpr int kTurn = 4;
// to[j][i] = from[i][j]
REWARM_V void transpose(const float* from, int64_t from_stride, float* to, int64_t to_stride) {
  for (int i = 0; i < kTurn; ++i)
    for (int j = 0; j < kTurn; ++j) to[j * to_stride + i] = from[i * from_stride + j];
}
