"""The Triton twin of csrc/schedule/schedule.h: the same table, the same formulas, float64 throughout.

Triton cannot include the header, so this is the one place where schedule math is written twice;
tests/schedule/test_schedule_triton.py pins it to the header and to schedule_reference.py. What differs is rounding:
Triton has no pow, so powers are exp2(p log2(x)), and on a GPU cos, exp2 and log2 are those of CUDA's libdevice.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np
import torch
import triton
import triton.language as tl

from rewarm.errors import InvalidArgument
from rewarm.schedule.schedule import Schedule

# Words of 8 bytes a segment, and the kinds that have a formula; everything else is constant. As in schedule.h.
_WORDS = tl.constexpr(8)
_LINEAR = tl.constexpr(1)
_COSINE = tl.constexpr(2)
_LEGACY_COSINE = tl.constexpr(3)
_INVERSE_SQRT = tl.constexpr(4)
_ONE_MINUS_SQRT = tl.constexpr(5)
_POLYNOMIAL = tl.constexpr(6)
_EXPONENTIAL = tl.constexpr(7)
_POWER = tl.constexpr(8)
_TABLE = tl.constexpr(9)
_HARMONIC = tl.constexpr(10)
_HALVING = tl.constexpr(11)
_COSINE_TAIL = tl.constexpr(12)
_PI = tl.constexpr(3.14159265358979323846)


@triton.jit
def table_value(knots_i64_ptr, knots_f64_ptr, first, count, x):
    """Value `x` counts after the start of a table whose `count` knots begin at index `first`; 0 < x < the last knot."""
    low = tl.full((), 0, tl.int64)
    high = count - 1
    while high - low > 1:
        middle = low + (high - low) // 2
        passed = tl.load(knots_i64_ptr + 2 * (first + middle)) <= x
        low = tl.where(passed, middle, low)
        high = tl.where(passed, high, middle)
    at = tl.load(knots_i64_ptr + 2 * (first + low))
    a = tl.load(knots_f64_ptr + 2 * (first + low) + 1)
    b = tl.load(knots_f64_ptr + 2 * (first + high) + 1)
    return a + (b - a) * ((x - at).to(tl.float64) / (tl.load(knots_i64_ptr + 2 * (first + high)) - at).to(tl.float64))


@triton.jit
def segment_value(segments_i64_ptr, segments_f64_ptr, word, knots_i64_ptr, knots_f64_ptr, t):
    """Value at the int64 counter `t` of the segment whose record begins at `word`."""
    kind = tl.load(segments_i64_ptr + word)
    x = t - tl.load(segments_i64_ptr + word + 1)  # exact: int64
    length = tl.load(segments_i64_ptr + word + 2)
    a = tl.load(segments_f64_ptr + word + 3)
    b = tl.load(segments_f64_ptr + word + 4)
    power = tl.load(segments_f64_ptr + word + 5)
    lo = tl.load(segments_f64_ptr + word + 6)
    offset = tl.load(segments_i64_ptr + word + 7)

    r = tl.full((), 1.0, tl.float64)
    if x < length:
        r = tl.maximum(x, 0).to(tl.float64) / length.to(tl.float64)

    value = a
    if kind == _LEGACY_COSINE:
        value = 0.5 * a * (1.0 + tl.cos((r * power) * _PI))
    elif kind == _POWER:
        passed = offset.to(tl.float64) + tl.where(length >= 0, tl.minimum(x, length), x).to(tl.float64)
        if passed > b:
            value = a * tl.exp2(power * tl.log2(passed / b))
    elif kind == _COSINE_TAIL:
        if r >= 1.0:
            value = b
        elif x + offset > 0:
            value = b + (a - b) * (0.5 * (1.0 + tl.cos(((x + offset).to(tl.float64) / (length + offset).to(tl.float64)) * _PI)))
    elif r >= 1.0:
        if kind != 0:
            value = b
    elif r > 0.0:
        if kind == _LINEAR:
            value = a + (b - a) * r
        elif kind == _COSINE:
            value = b + (a - b) * (0.5 * (1.0 + tl.cos(r * _PI)))
        elif kind == _INVERSE_SQRT:
            value = a + (b - a) * ((1.0 / tl.sqrt(1.0 + power * r) - 1.0) / (1.0 / tl.sqrt(1.0 + power) - 1.0))
        elif kind == _ONE_MINUS_SQRT:
            value = b + (a - b) * (1.0 - tl.sqrt(r))
        elif kind == _POLYNOMIAL:
            value = b + (a - b) * tl.exp2(power * tl.log2(1.0 - r))
        elif kind == _EXPONENTIAL:
            value = a * tl.exp2(r * tl.log2(b / a))
        elif kind == _TABLE:
            value = table_value(knots_i64_ptr, knots_f64_ptr, offset, power.to(tl.int64), x)
        elif kind == _HARMONIC:
            value = 1.0 / ((1.0 - r) / a + r / b)
        elif kind == _HALVING:
            value = b + (a - b) * (2.0 * tl.exp2(-r) - 1.0)
    return tl.where(value < lo, lo, value)


@triton.jit
def value_at(segments_i64_ptr, segments_f64_ptr, row_offset_in_words, count, knots_i64_ptr, knots_f64_ptr, t):
    """Value of a schedule at the counter `t`: the twin of ``value_at`` in schedule.h.

    Args:
        segments_i64_ptr: The packed segments [count, 8] seen as int64.
        segments_f64_ptr: The same memory seen as float64.
        row_offset_in_words: Index of the schedule's first word behind both pointers.
        count: Number of segments, >= 1.
        knots_i64_ptr: The knots that tables index, [n, 2] seen as int64; any pointer where no segment is a table.
        knots_f64_ptr: The same memory seen as float64.
        t: int64 scalar, updates applied or tokens consumed.

    Returns:
        A float64 scalar.
    """
    first = tl.cast(row_offset_in_words, tl.int64)
    word = first
    for i in range(1, count):
        candidate = first + i * _WORDS
        word = tl.where(tl.load(segments_i64_ptr + candidate + 1) <= t, candidate, word)
    return segment_value(segments_i64_ptr, segments_f64_ptr, word, knots_i64_ptr, knots_f64_ptr, t)


@triton.jit
def values_kernel(segments_i64_ptr, segments_f64_ptr, count, knots_i64_ptr, knots_f64_ptr, steps_ptr, values_ptr):
    """One program a counter: ``values[i] = f(steps[i])``."""
    i = tl.program_id(0)
    t = tl.load(steps_ptr + i)
    tl.store(values_ptr + i, value_at(segments_i64_ptr, segments_f64_ptr, 0, count, knots_i64_ptr, knots_f64_ptr, t))


def values(schedule: Schedule, steps: torch.Tensor) -> torch.Tensor:
    """``schedule.values`` computed by Triton, for tests and `rewarm env`.

    Args:
        schedule: Any Schedule.
        steps: int64 tensor of counters >= 0, shape [n], on a GPU (or on the CPU under ``TRITON_INTERPRET=1``).

    Returns:
        float64 tensor, shape [n], on the device of `steps`.

    Raises:
        InvalidArgument: `steps` has another dtype or shape.
    """
    if steps.dtype != torch.int64 or steps.dim() != 1:
        raise InvalidArgument(f"steps: expected int64 of shape [n], got {steps.dtype} of shape {list(steps.shape)}")
    table = torch.from_numpy(schedule.pack().view("<i8")).to(steps.device)
    points = schedule.pack_knots().view("<i8")
    knots = torch.from_numpy(points if points.size else np.zeros(2, np.int64)).to(steps.device)
    result = torch.full(steps.shape, float("nan"), dtype=torch.float64, device=steps.device)
    if steps.numel():
        values_kernel[(steps.numel(),)](
            table,
            table.view(torch.float64),
            len(schedule.segments),
            knots,
            knots.view(torch.float64),
            steps.contiguous(),
            result,
            enable_fp_fusion=False,
        )
    return result
