"""The Triton twin of csrc/optim/adamw.h: the update of one element, and the scalars folded once per tensor and step.

Triton cannot include the header, so its lines stand here a second time: fused multiply-adds where the header has them,
division and root correctly rounded (a plain `/` or `tl.sqrt` of float32 is approximate on NVIDIA GPUs, which the
interpreter hides). What differs is beta^t in float64, exp2(t log2 beta) for want of a pow.
tests/optim/test_adamw_triton.py compares it with the C++ step and with adamw_reference.py.
"""

# mypy: ignore-errors

from __future__ import annotations

import triton
import triton.language as tl

from rewarm.schedule.schedule_triton import value_at

# Words of a GroupConfig, of the counters and of one schedule's row: as in csrc/optim/plan.h.
_CONFIG_WORDS = tl.constexpr(27)
_LR, _WEIGHT_DECAY, _BETA1, _BETA2, _EPS, _MAX_GRAD_NORM, _EMA_DECAY = (tl.constexpr(which) for which in range(7))
_VALUES = tl.constexpr(7)
_SEGMENTS, _IN_TOKENS, _LR_SCALE = tl.constexpr(7), tl.constexpr(14), tl.constexpr(21)
_DECOUPLED, _MAXIMIZE, _OVERRIDE = tl.constexpr(22), tl.constexpr(23), tl.constexpr(24)
_LR_ADDRESS, _LR_IS_DOUBLE = tl.constexpr(25), tl.constexpr(26)
_UPDATES, _TOKENS, _ORIGINS = tl.constexpr(0), tl.constexpr(1), tl.constexpr(10)
_ROW_WORDS, _KNOT_WORDS = tl.constexpr(64 * 8), tl.constexpr(4096 * 2)
_LAST_LR, _LR_AREA, _ANNEALING_AREA, _ANNEALING, _AREA_LR = (tl.constexpr(word) for word in range(5))

_MAX_FLOAT64 = tl.constexpr(1.7976931348623157e308)
_MAX_FLOAT32 = tl.constexpr(3.4028234663852886e38)


@triton.jit
def element(p, g, m, v, scalars):
    """``adamw_element`` of csrc/optim/adamw.h: new theta, m and v; `scalars` are those of `folded`."""
    grad_scale, l2, beta1, one_minus_beta1, beta2, one_minus_beta2, step, eps, decay = scalars
    g = g * grad_scale
    g = tl.where(l2 != 0.0, tl.fma(l2, p, g), g)
    cancels = beta1 < 0.5
    m = tl.fma(tl.where(cancels, -beta1, one_minus_beta1), g - m, tl.where(cancels, g, m))
    short = tl.fma(beta2, v, one_minus_beta2 * g * g)
    long = tl.fma(one_minus_beta2, tl.fma(g, g, 0.0 - tl.where(v < _MAX_FLOAT32, v, _MAX_FLOAT32)), v)
    v = tl.where(beta2 < 0.5, short, long)
    direction = tl.div_rn(m, tl.sqrt_rn(v) + eps)
    finite_p = tl.where(p < _MAX_FLOAT32, p, _MAX_FLOAT32)
    finite_p = tl.where(finite_p > -_MAX_FLOAT32, finite_p, -_MAX_FLOAT32)
    return p - tl.fma(step, direction, decay * finite_p), m, v


@triton.jit
def bfloat16_by_bits(x):
    """float32 to bfloat16, ties to even, NaN kept: `.to(tl.bfloat16)` as on a GPU; the interpreter's own truncates."""
    bits = x.to(tl.uint32, bitcast=True)
    nearest = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    kept = tl.where((bits & 0x7FFFFFFF) > 0x7F800000, (bits >> 16) | 0x40, nearest)
    return kept.to(tl.uint16).to(tl.bfloat16, bitcast=True)


@triton.jit
def stored(x, DTYPE: tl.constexpr, BY_BITS: tl.constexpr):
    """The float32 `x` in a storage format, to nearest, ties to even."""
    y = x.to(DTYPE)
    if BY_BITS:  # noqa: SIM102  (constants are tested one by one)
        if DTYPE == tl.bfloat16:  # noqa: SIM300
            y = bfloat16_by_bits(x)
    return y


@triton.jit
def scheduled(configs_i64, rows_i64, rows_f64, counters, group, count, plain, WHICH: tl.constexpr):
    """``scheduled`` of plan.h where the value has `count` > 0 segments, else `plain`."""
    value = plain
    if count > 0:
        in_tokens = tl.load(configs_i64 + group * _CONFIG_WORDS + _IN_TOKENS + WHICH) != 0
        origin = tl.load(counters + _ORIGINS + _VALUES * group + WHICH)
        now = tl.load(counters + tl.where(in_tokens, _TOKENS, _UPDATES)) - origin
        row = (_VALUES * group + WHICH) * _ROW_WORDS
        # The knots of all tables lie in front of the rows: knots_of in plan.h.
        value = value_at(rows_i64, rows_f64, row, count, rows_i64 - _KNOT_WORDS, rows_f64 - _KNOT_WORDS, now)
    return value


@triton.jit
def value_now(configs_i64, configs_f64, rows_i64, rows_f64, counters, group, WHICH: tl.constexpr):
    """``value_now`` of plan.h: any value but lr, for the update about to be applied."""
    word = group * _CONFIG_WORDS
    count = tl.load(configs_i64 + word + _SEGMENTS + WHICH)
    plain = tl.load(configs_f64 + word + WHICH)
    return scheduled(configs_i64, rows_i64, rows_f64, counters, group, count, plain, WHICH)


@triton.jit
def limit_now(configs_i64, rows_i64, rows_f64, counters, plain):
    """``norm_limit`` of advance.h: the limit of the norm, which stands with group 0."""
    count = tl.load(configs_i64 + _SEGMENTS + _MAX_GRAD_NORM)
    group = tl.full((), 0, tl.int64)
    return scheduled(configs_i64, rows_i64, rows_f64, counters, group, count, plain, _MAX_GRAD_NORM)


@triton.jit
def lr_now(configs_i64, configs_f64, rows_i64, rows_f64, counters, group):
    """The learning rate of a group for the update about to be applied, as ``hyper_now`` of plan.h."""
    word = group * _CONFIG_WORDS
    lr = tl.load(configs_f64 + word + _LR)
    address = tl.load(configs_i64 + word + _LR_ADDRESS)
    if address != 0:
        if tl.load(configs_i64 + word + _LR_IS_DOUBLE) != 0:
            lr = tl.load(address.to(tl.pointer_type(tl.float64)))
        else:
            lr = tl.load(address.to(tl.pointer_type(tl.float32))).to(tl.float64)
    count = tl.load(configs_i64 + word + _SEGMENTS)
    count = tl.where(tl.load(configs_i64 + word + _OVERRIDE) != 0, 0, count)
    lr = scheduled(configs_i64, rows_i64, rows_f64, counters, group, count, lr, _LR)
    return lr * tl.load(configs_f64 + word + _LR_SCALE)


@triton.jit
def next_t(t, step):
    """This update's count of a parameter; a step that was written from outside (a checkpoint loaded in place) wins."""
    t = tl.where(step == t.to(tl.float32), t, tl.floor(step.to(tl.float64) + 0.5).to(tl.int64))
    return t + 1


@triton.jit
def power(beta, t):
    """beta^t in float64 for beta in [0, 1) and t >= 1; Triton has no pow."""
    positive = beta > 0.0
    return tl.where(positive, tl.exp2(t.to(tl.float64) * tl.log2(tl.where(positive, beta, 1.0))), 0.0)


@triton.jit
def start_of(starts_i64, starts_f64, tensor, t):
    """``start_of`` of csrc/optim/adamw.h: updates since the moments began, what they missed then, and whether v begins now."""
    word = 4 * tensor
    since = tl.load(starts_i64 + word)
    valid = t > since
    steps = tl.where(valid, t - since, t)
    missing_m = tl.where(valid, tl.load(starts_f64 + word + 1), 1.0)
    missing_v = tl.where(valid, tl.load(starts_f64 + word + 2), 1.0)
    v_is_gradient = valid & (steps == 1) & (tl.load(starts_i64 + word + 3) != 0)
    return steps, missing_m, missing_v, v_is_gradient


@triton.jit
def folded(configs_i64, configs_f64, rows_i64, rows_f64, counters, group, start, grad_factor):
    """``hyper_now`` and ``fold``: what `element` needs of one tensor, rounded once to float32."""
    word = group * _CONFIG_WORDS
    lr = lr_now(configs_i64, configs_f64, rows_i64, rows_f64, counters, group)
    weight_decay = value_now(configs_i64, configs_f64, rows_i64, rows_f64, counters, group, _WEIGHT_DECAY)
    beta1 = value_now(configs_i64, configs_f64, rows_i64, rows_f64, counters, group, _BETA1)
    beta2 = value_now(configs_i64, configs_f64, rows_i64, rows_f64, counters, group, _BETA2)
    eps = value_now(configs_i64, configs_f64, rows_i64, rows_f64, counters, group, _EPS)
    steps, missing_m, missing_v, v_is_gradient = start
    first = 1.0 - missing_m * power(beta1, steps)
    second_root = tl.sqrt(1.0 - missing_v * power(beta2, steps))  # float64: correctly rounded
    beta2 = tl.where(v_is_gradient, 0.0, beta2)
    decoupled = tl.load(configs_i64 + word + _DECOUPLED) != 0
    maximize = tl.load(configs_i64 + word + _MAXIMIZE) != 0
    return (
        tl.where(maximize, -grad_factor, grad_factor).to(tl.float32),
        tl.where(decoupled, 0.0, weight_decay).to(tl.float32),
        beta1.to(tl.float32),
        (1.0 - beta1).to(tl.float32),
        beta2.to(tl.float32),
        (1.0 - beta2).to(tl.float32),
        (lr * second_root / first).to(tl.float32),
        (eps * second_root).to(tl.float32),
        tl.where(decoupled, lr * weight_decay, 0.0).to(tl.float32),
    )


@triton.jit
def ema_scalars(configs_i64, configs_f64, rows_i64, rows_f64, counters, group):
    """The decay of a group's moving average and what is left to 1, rounded once to float32."""
    decay = value_now(configs_i64, configs_f64, rows_i64, rows_f64, counters, group, _EMA_DECAY)
    return decay.to(tl.float32), (1.0 - decay).to(tl.float32)


@triton.jit
def blended(ema, theta, decay, weight):
    """``blend_vector`` of csrc/optim/extras_loop.h: the moving average after theta."""
    ahead = theta - ema
    moved = tl.where(weight > 0.5, tl.fma(0.0 - decay, ahead, theta), tl.fma(weight, ahead, ema))
    return tl.where(weight == 0.0, ema, moved)


@triton.jit
def is_finite(x):
    """Whether a float64 is neither infinite nor NaN."""
    return tl.abs(x) <= _MAX_FLOAT64


@triton.jit
def watch_value(x, moments, counts, decay, deviations, after):
    """``watch_value`` of csrc/optim/advance.h, by one program; returns the values seen, this one included."""
    seen = tl.load(counts)
    mean, variance = tl.load(moments), tl.load(moments + 1)
    finite = is_finite(x)
    spike = (finite == 0) | ((seen >= after) & (x > mean + deviations * tl.sqrt(variance)))
    tl.store(counts + 1, tl.load(counts + 1) + spike.to(tl.int64))
    tl.store(counts + 2, spike.to(tl.int64))
    if finite:
        even, forgetting = 1.0 / (seen + 1).to(tl.float64), 1.0 - decay
        weight = tl.where(even > forgetting, even, forgetting)
        off = x - mean
        tl.store(counts, seen + 1)
        tl.store(moments, mean + weight * off)
        tl.store(moments + 1, (1.0 - weight) * (variance + weight * off * off))
    return seen + finite.to(tl.int64)


@triton.jit
def record_lr(group_scalars, lr, annealing_decay, advance):
    """``record_lr`` of csrc/optim/advance.h: the applied rate of a group and its areas."""
    tl.store(group_scalars + _LAST_LR, lr)
    if advance != 0:
        before = tl.load(group_scalars + _AREA_LR)
        fall = tl.where(is_finite(before), before - lr, 0.0)
        annealing = tl.fma(annealing_decay, tl.load(group_scalars + _ANNEALING), fall)
        tl.store(group_scalars + _ANNEALING, annealing)
        tl.store(group_scalars + _ANNEALING_AREA, tl.load(group_scalars + _ANNEALING_AREA) + annealing)
        tl.store(group_scalars + _LR_AREA, tl.load(group_scalars + _LR_AREA) + lr)
        tl.store(group_scalars + _AREA_LR, lr)
