"""Triton kernels of Gaussian policies (SAC, arXiv 1801.01290, appendix C): float64 inside, each result rounded once.

An update has tens of thousands of these elements where the networks around them take millions of products, so that float64
costs little, and exp, log, sine and cosine of float32 are approximate on NVIDIA GPUs.
"""

# mypy: ignore-errors

from __future__ import annotations

import triton
import triton.language as tl

from rewarm.q.philox_triton import normal_at


@triton.jit
def sigma_of(
    log_std, STD_MIN: tl.constexpr, STD_MAX: tl.constexpr, LOG_MIN: tl.constexpr, LOG_MAX: tl.constexpr
):  # fmt: skip
    """Computes sigma = clip(e^l, min, max), its logarithm, and whether it was clipped; NaN stays."""
    sigma = tl.exp(log_std)
    low, high = sigma < STD_MIN, sigma > STD_MAX
    log_sigma = tl.where(low, LOG_MIN, tl.where(high, LOG_MAX, log_std))
    return tl.where(low, STD_MIN, tl.where(high, STD_MAX, sigma)), log_sigma, low | high


@triton.jit
def squashed(u):
    """Computes tanh u, its slope 1 - tanh^2 u and the logarithm of that, none of which cancels for large |u|: t = e^(-2|u|)."""
    size = tl.abs(u)
    t = tl.exp(-2.0 * size)
    far = (1.0 - t) / (1.0 + t)
    square = u * u
    near = size * (1.0 - square * (1.0 / 3.0 - square * (2.0 / 15.0)))  # 1 - t cancels here; the next term is below 1e-19
    action = tl.where(size < 1e-3, near, far)
    log_slope = 2.0 * (0.6931471805599453 - size - tl.log(1.0 + t))
    return tl.where(u < 0.0, -action, action), 4.0 * t / ((1.0 + t) * (1.0 + t)), log_slope


@triton.jit
def policy_at(mean_ptr, log_std_ptr, state, seed, j, real, A: tl.constexpr, SHARED_STD: tl.constexpr):
    """Mean and log_std of rows `state` of [*S, B], columns `j`, in float64."""
    at = (state * A)[:, None] + j[None, :]
    mean = tl.load(mean_ptr + at, mask=real, other=0.0).to(tl.float64)
    if SHARED_STD:
        at = (state * 0 + seed * A)[:, None] + j[None, :]
    return mean, tl.load(log_std_ptr + at, mask=real, other=0.0).to(tl.float64)


@triton.jit(do_not_specialize=["rows", "samples", "stream"])
def sample_kernel(
    mean_ptr,  # [*S, B, A]
    log_std_ptr,  # [*S, B, A], or [*S, A] with SHARED_STD
    noise_ptr,  # [*S, B, K, A]; written with DRAW
    seed_ptr,  # [] or [S] int64, with DRAW
    offset_ptr,  # likewise
    action_ptr,  # [*S, B, K, A]
    log_prob_ptr,  # [*S, B, K]
    rows,  # B K
    samples,  # K
    stream,
    A: tl.constexpr,
    PADDED: tl.constexpr,
    SHARED_STD: tl.constexpr,
    SQUASH: tl.constexpr,
    DRAW: tl.constexpr,
    STD_MIN: tl.constexpr,
    STD_MAX: tl.constexpr,
    LOG_MIN: tl.constexpr,
    LOG_MAX: tl.constexpr,
    BLOCK_B: tl.constexpr,
):
    """Actions and their log probability for a block of the B K actions of one seed."""
    seed = tl.program_id(1).to(tl.int64)
    i = tl.program_id(0).to(tl.int64) * BLOCK_B + tl.arange(0, BLOCK_B)
    j = tl.arange(0, PADDED)
    exists = i < rows
    real = exists[:, None] & (j < A)[None, :]
    mean, log_std = policy_at(mean_ptr, log_std_ptr, (seed * rows + i) // samples, seed, j, real, A, SHARED_STD)
    at = ((seed * rows + i) * A)[:, None] + j[None, :]
    if DRAW:
        drawn = normal_at(seed_ptr, offset_ptr, seed, stream, (i * A)[:, None] + j[None, :]).to(tl.float32)
        tl.store(noise_ptr + at, drawn, mask=real)
        noise = drawn.to(tl.float64)
    else:
        noise = tl.load(noise_ptr + at, mask=real, other=0.0).to(tl.float64)
    sigma, log_sigma, _ = sigma_of(log_std, STD_MIN, STD_MAX, LOG_MIN, LOG_MAX)
    action = mean + sigma * noise
    terms = -0.5 * noise * noise - log_sigma - 0.9189385332046727
    if SQUASH:
        action, _, log_slope = squashed(action)
        terms -= log_slope
    tl.store(action_ptr + at, action.to(tl.float32), mask=real)
    log_prob = tl.sum(tl.where(real, terms, 0.0), axis=1)
    tl.store(log_prob_ptr + seed * rows + i, log_prob.to(tl.float32), mask=exists)


@triton.jit
def put_policy_gradients(
    of_mean_ptr, of_log_std_ptr, of_mean, of_log_std, state, seed, j, real,
    A: tl.constexpr, SHARED_STD: tl.constexpr, NEED_MEAN: tl.constexpr, NEED_LOG_STD: tl.constexpr,
):  # fmt: skip
    """Stores gradients of rows; of a log_std that rows share, the sum over this program's, in float64."""
    at = (state * A)[:, None] + j[None, :]
    if NEED_MEAN:
        tl.store(of_mean_ptr + at, of_mean.to(tl.float32), mask=real)
    if NEED_LOG_STD:
        if SHARED_STD:
            sums = of_log_std_ptr + (seed * tl.num_programs(0) + tl.program_id(0)) * A + j
            tl.store(sums, tl.sum(tl.where(real, of_log_std, 0.0), axis=0), mask=j < A)
        else:
            tl.store(of_log_std_ptr + at, of_log_std.to(tl.float32), mask=real)


@triton.jit(do_not_specialize=["batch", "samples"])
def sample_backward_kernel(
    mean_ptr,
    log_std_ptr,
    noise_ptr,
    of_action_ptr,  # [*S, B, K, A]
    of_log_prob_ptr,  # [*S, B, K]
    of_mean_ptr,  # [*S, B, A]
    of_log_std_ptr,  # [*S, B, A]; with SHARED_STD [*S, programs, A] float64
    batch,  # B
    samples,  # K
    A: tl.constexpr,
    PADDED: tl.constexpr,
    SHARED_STD: tl.constexpr,
    SQUASH: tl.constexpr,
    STD_MIN: tl.constexpr,
    STD_MAX: tl.constexpr,
    LOG_MIN: tl.constexpr,
    LOG_MAX: tl.constexpr,
    OF_ACTION: tl.constexpr,
    OF_LOG_PROB: tl.constexpr,
    NEED_MEAN: tl.constexpr,
    NEED_LOG_STD: tl.constexpr,
    BLOCK_B: tl.constexpr,
):
    """With du = da (1 - a^2) + 2 a dlog_pi: d(mean) = du, d(log_std) = du sigma eps - dlog_pi, summed over K in order."""
    seed = tl.program_id(1).to(tl.int64)
    b = tl.program_id(0).to(tl.int64) * BLOCK_B + tl.arange(0, BLOCK_B)
    j = tl.arange(0, PADDED)
    real = (b < batch)[:, None] & (j < A)[None, :]
    state = seed * batch + b
    mean, log_std = policy_at(mean_ptr, log_std_ptr, state, seed, j, real, A, SHARED_STD)
    sigma, _, clipped = sigma_of(log_std, STD_MIN, STD_MAX, LOG_MIN, LOG_MAX)
    of_mean = tl.zeros([BLOCK_B, PADDED], dtype=tl.float64)
    of_log_std = tl.zeros([BLOCK_B, PADDED], dtype=tl.float64)
    for k in range(samples):
        row = state * samples + k
        at = (row * A)[:, None] + j[None, :]
        noise = tl.load(noise_ptr + at, mask=real, other=0.0).to(tl.float64)
        du = tl.zeros([BLOCK_B, PADDED], dtype=tl.float64)
        if OF_ACTION:
            du += tl.load(of_action_ptr + at, mask=real, other=0.0).to(tl.float64)
        of_log_sigma = du * 0.0
        if SQUASH:
            action, slope, _ = squashed(mean + sigma * noise)
            du *= slope
        if OF_LOG_PROB:
            g = tl.load(of_log_prob_ptr + row, mask=b < batch, other=0.0).to(tl.float64)[:, None]
            if SQUASH:
                du += 2.0 * action * g
            of_log_sigma -= g
        of_mean += du
        of_log_std += tl.where(clipped, 0.0, du * sigma * noise + of_log_sigma)
    put_policy_gradients(
        of_mean_ptr, of_log_std_ptr, of_mean, of_log_std, state, seed, j, real, A, SHARED_STD, NEED_MEAN, NEED_LOG_STD
    )  # fmt: skip


@triton.jit(do_not_specialize=["batch"])
def log_prob_kernel(
    action_ptr,  # [*S, B, A]
    mean_ptr,
    log_std_ptr,
    log_prob_ptr,  # [*S, B]
    of_log_prob_ptr,  # [*S, B], with BACKWARD
    of_mean_ptr,  # [*S, B, A]
    of_log_std_ptr,  # [*S, B, A]; with SHARED_STD [*S, programs, A] float64
    batch,
    A: tl.constexpr,
    PADDED: tl.constexpr,
    SHARED_STD: tl.constexpr,
    STD_MIN: tl.constexpr,
    STD_MAX: tl.constexpr,
    LOG_MIN: tl.constexpr,
    LOG_MAX: tl.constexpr,
    BACKWARD: tl.constexpr,
    NEED_MEAN: tl.constexpr,
    NEED_LOG_STD: tl.constexpr,
    BLOCK_B: tl.constexpr,
):
    """Log probability of given actions; or, with BACKWARD, d(mean) = g z / sigma and d(log_std) = g (z^2 - 1)."""
    seed = tl.program_id(1).to(tl.int64)
    b = tl.program_id(0).to(tl.int64) * BLOCK_B + tl.arange(0, BLOCK_B)
    j = tl.arange(0, PADDED)
    real = (b < batch)[:, None] & (j < A)[None, :]
    state = seed * batch + b
    mean, log_std = policy_at(mean_ptr, log_std_ptr, state, seed, j, real, A, SHARED_STD)
    sigma, log_sigma, clipped = sigma_of(log_std, STD_MIN, STD_MAX, LOG_MIN, LOG_MAX)
    action = tl.load(action_ptr + (state * A)[:, None] + j[None, :], mask=real, other=0.0).to(tl.float64)
    z = (action - mean) / sigma
    if BACKWARD:
        g = tl.load(of_log_prob_ptr + state, mask=b < batch, other=0.0).to(tl.float64)[:, None]
        of_log_std = tl.where(clipped, 0.0, g * (z * z - 1.0))
        put_policy_gradients(
            of_mean_ptr, of_log_std_ptr, g * z / sigma, of_log_std, state, seed, j, real,
            A, SHARED_STD, NEED_MEAN, NEED_LOG_STD,
        )  # fmt: skip
    else:
        terms = -0.5 * z * z - log_sigma - 0.9189385332046727
        log_prob = tl.sum(tl.where(real, terms, 0.0), axis=1)
        tl.store(log_prob_ptr + state, log_prob.to(tl.float32), mask=b < batch)
