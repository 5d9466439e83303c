// The loop of adam_kernels.h over the vectors of one instruction set. Included inside its namespace, behind its lanes_*.h.
template <bool kGradient, bool kTarget>
void adam_run(const AdamRun& run, const AdamScalars& s, double tau) {
  const Lanes beta1 = broadcast(static_cast<float>(kBeta1)), beta2 = broadcast(static_cast<float>(kBeta2));
  const Lanes one_minus_beta1 = broadcast(static_cast<float>(1.0 - kBeta1)),
              one_minus_beta2 = broadcast(static_cast<float>(1.0 - kBeta2));
  const Lanes step_size = broadcast(s.step_size), root_correction = broadcast(s.root_correction);
  const Lanes eps = broadcast(static_cast<float>(kAdamEps));
  const Lanes near = broadcast(static_cast<float>(tau)), far = broadcast(static_cast<float>(1.0 - tau));
  const auto step = [&](float* p, const float* g, float* m, float* v, float* target) {
    Lanes new_m = load(m) * beta1, new_v = load(v) * beta2;
    if constexpr (kGradient) {
      const Lanes gradient = load(g);
      new_m = new_m + gradient * one_minus_beta1;
      new_v = new_v + gradient * gradient * one_minus_beta2;
    }
    store(m, new_m);
    store(v, new_v);
    const Lanes new_p = load(p) - (new_m * step_size) / (square_root(new_v) / root_correction + eps);
    store(p, new_p);
    if constexpr (kTarget) store(target, load(target) * far + new_p * near);
  };
  int64_t i = 0;
  for (; i + Lanes::kWidth <= run.n; i += Lanes::kWidth)
    step(run.p + i, kGradient ? run.g + i : nullptr, run.m + i, run.v + i, kTarget ? run.target + i : nullptr);
  if (i == run.n) return;
  // What is left goes through a vector of its own.
  alignas(64) float rest[5][Lanes::kWidth] = {};
  const auto bytes = static_cast<size_t>(run.n - i) * sizeof(float);
  memcpy(rest[0], run.p + i, bytes);
  if (kGradient) memcpy(rest[1], run.g + i, bytes);
  memcpy(rest[2], run.m + i, bytes);
  memcpy(rest[3], run.v + i, bytes);
  if (kTarget) memcpy(rest[4], run.target + i, bytes);
  step(rest[0], rest[1], rest[2], rest[3], rest[4]);
  memcpy(run.p + i, rest[0], bytes);
  memcpy(run.m + i, rest[2], bytes);
  memcpy(run.v + i, rest[3], bytes);
  if (kTarget) memcpy(run.target + i, rest[4], bytes);
}

void adam_step(const AdamRun& run, const AdamScalars& scalars, double tau) {
  if (run.target == nullptr)
    run.g != nullptr ? adam_run<true, false>(run, scalars, tau) : adam_run<false, false>(run, scalars, tau);
  else
    run.g != nullptr ? adam_run<true, true>(run, scalars, tau) : adam_run<false, true>(run, scalars, tau);
}
