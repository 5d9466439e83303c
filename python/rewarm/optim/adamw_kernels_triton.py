"""The two Triton kernels of the AdamW step, over the same plan tables as csrc/optim.

One program works on one chunk. What spans chunks (the sum of the partial norms, the counters) is done by the program
that finishes last, in an order that no grid changes.
"""

# mypy: ignore-errors
# ruff: noqa: SIM102  (a test of a constant stands alone, so that formats a plan does not hold are not compiled)

from __future__ import annotations

import triton
import triton.language as tl

from rewarm.optim.adamw_math_triton import (
    blended,
    element,
    ema_scalars,
    folded,
    is_finite,
    limit_now,
    lr_now,
    next_t,
    record_lr,
    start_of,
    stored,
    watch_value,
)

# Words of an entry, of the counters and of the scalars: as in csrc/optim/plan.h and csrc/bindings/bind_optim.cpp.
_ENTRY_WORDS = tl.constexpr(11)
_P, _M, _V, _STEP = tl.constexpr(1), tl.constexpr(2), tl.constexpr(3), tl.constexpr(5)
_NUMEL, _GROUP, _DTYPE, _STATE_DTYPE, _EMA = (tl.constexpr(column) for column in range(6, 11))
_UPDATES, _TOKENS, _SKIPPED, _CLIPPED, _NORMS = (tl.constexpr(word) for word in range(5))
_NORM, _CLIP_COEF, _CLIP_RATE, _UPDATE_RMS, _NORM_MEAN = (tl.constexpr(word) for word in range(5))
_GROUPS, _GROUP_SCALARS = tl.constexpr(8), tl.constexpr(5)
# Words of `watch`: how statistics forget and what they call a spike, as Watch in plan.h.
_ANNEALING_DECAY, _DECAY, _DEVIATIONS, _AFTER = (tl.constexpr(word) for word in range(4))
# Words of `control`: programs done of either kernel (0 between launches), and the norm's verdict.
_NORMS_DONE, _UPDATES_DONE, _SKIP = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)
CONTROL_WORDS = 3

_MAX_FLOAT64 = tl.constexpr(1.7976931348623157e308)


@triton.jit
def vector_end(addresses, count):
    """Elements of a chunk that go through 16-byte accesses, by the or of its addresses; the rest goes one by one."""
    return tl.multiple_of(tl.where((addresses & 15) == 0, count // 16 * 16, 0), 16)


@triton.jit
def squares(g_ptr, offsets, end, total):
    """`total` plus the squares of the gradient, elementwise in float64: the square of a float32 is exact there."""
    g = tl.load(g_ptr + offsets, mask=offsets < end, other=0.0).to(tl.float64)
    return tl.fma(g, g, total)


@triton.jit
def sum_squares(address, begin, count, DTYPE: tl.constexpr, BLOCK: tl.constexpr):
    """Sum of squares of `count` gradient elements from `begin`, float64, in an order fixed by BLOCK."""
    aligned_end = vector_end(address, count)
    lanes = tl.arange(0, BLOCK)
    in_vectors = tl.zeros([BLOCK], dtype=tl.float64)
    # The hint must sit on a pointer of its own: the second loop reads the same memory without it.
    g_ptr = tl.multiple_of(address.to(tl.pointer_type(DTYPE)) + begin, 16)
    for i in range(0, aligned_end, BLOCK):
        in_vectors = squares(g_ptr, i + lanes, aligned_end, in_vectors)
    one_by_one = tl.zeros([BLOCK], dtype=tl.float64)
    g_ptr = address.to(tl.pointer_type(DTYPE)) + begin
    for i in range(aligned_end, count, BLOCK):
        one_by_one = squares(g_ptr, i + lanes, count, one_by_one)
    return tl.sum(in_vectors) + tl.sum(one_by_one)


@triton.jit
def update_span(
    p_ptr, g_ptr, m_ptr, v_ptr, e_ptr, offsets, end, scalars, ema, squares,
    P: tl.constexpr, M: tl.constexpr, BY_BITS: tl.constexpr,
    EMA: tl.constexpr, ZERO: tl.constexpr, OBSERVE: tl.constexpr,
):  # fmt: skip
    """Reads, updates and writes the elements at `offsets` < `end`; returns `squares` plus those of their changes."""
    inside = offsets < end
    p = tl.load(p_ptr + offsets, mask=inside, other=0.0).to(tl.float32)
    g = tl.load(g_ptr + offsets, mask=inside, other=0.0).to(tl.float32)
    m = tl.load(m_ptr + offsets, mask=inside, other=0.0).to(tl.float32)
    v = tl.load(v_ptr + offsets, mask=inside, other=0.0).to(tl.float32)
    before = p
    p, m, v = element(p, g, m, v, scalars)
    new_p = stored(p, P, BY_BITS)
    tl.store(p_ptr + offsets, new_p, mask=inside)
    tl.store(m_ptr + offsets, stored(m, M, BY_BITS), mask=inside)
    tl.store(v_ptr + offsets, stored(v, M, BY_BITS), mask=inside)
    if OBSERVE:
        change = tl.where(inside, new_p.to(tl.float32) - before, 0.0).to(tl.float64)
        squares = tl.fma(change, change, squares)
    if EMA:
        present, decay, weight = ema
        follows = offsets < end * present
        old = tl.load(e_ptr + offsets, mask=follows, other=0.0)
        tl.store(e_ptr + offsets, blended(old, new_p.to(tl.float32), decay, weight), mask=follows)
    if ZERO:
        tl.store(g_ptr + offsets, tl.zeros_like(new_p), mask=inside)
    return squares


@triton.jit
def update_chunk(
    p, g, m, v, e, begin, count, scalars, ema, P: tl.constexpr, M: tl.constexpr, BLOCK: tl.constexpr, BY_BITS: tl.constexpr,
    EMA: tl.constexpr, ZERO: tl.constexpr, OBSERVE: tl.constexpr,
):  # fmt: skip
    """Updates `count` elements from `begin` of the tensor whose memory begins at the addresses p, g, m, v and e (its average).

    Returns the sum of the squared changes with OBSERVE, else 0.
    """
    aligned_end = vector_end(p | g | m | v | e, count)
    lanes = tl.arange(0, BLOCK)
    squares = tl.zeros([BLOCK if OBSERVE else 1], dtype=tl.float64)
    p_ptr = tl.multiple_of(p.to(tl.pointer_type(P)) + begin, 16)
    g_ptr = tl.multiple_of(g.to(tl.pointer_type(P)) + begin, 16)
    m_ptr = tl.multiple_of(m.to(tl.pointer_type(M)) + begin, 16)
    v_ptr = tl.multiple_of(v.to(tl.pointer_type(M)) + begin, 16)
    e_ptr = tl.multiple_of(e.to(tl.pointer_type(tl.float32)) + begin, 16)
    for i in range(0, aligned_end, BLOCK):
        squares = update_span(
            p_ptr, g_ptr, m_ptr, v_ptr, e_ptr, i + lanes, aligned_end, scalars, ema, squares,
            P, M, BY_BITS, EMA, ZERO, OBSERVE,
        )  # fmt: skip
    p_ptr = p.to(tl.pointer_type(P)) + begin
    g_ptr = g.to(tl.pointer_type(P)) + begin
    m_ptr = m.to(tl.pointer_type(M)) + begin
    v_ptr = v.to(tl.pointer_type(M)) + begin
    e_ptr = e.to(tl.pointer_type(tl.float32)) + begin
    for i in range(aligned_end, count, BLOCK):
        squares = update_span(
            p_ptr, g_ptr, m_ptr, v_ptr, e_ptr, i + lanes, count, scalars, ema, squares,
            P, M, BY_BITS, EMA, ZERO, OBSERVE,
        )  # fmt: skip
    return tl.sum(squares)


@triton.jit
def zero_chunk(g, begin, count, P: tl.constexpr, BLOCK: tl.constexpr):
    """Writes zeros over a chunk of a gradient, for an update that is skipped."""
    g_ptr = g.to(tl.pointer_type(P)) + begin
    for i in range(0, count, BLOCK):
        offsets = i + tl.arange(0, BLOCK)
        tl.store(g_ptr + offsets, tl.zeros([BLOCK], dtype=P), mask=offsets < count)


@triton.jit
def is_last(done_ptr):
    """Whether every other program of this launch has called this before; what they wrote is then visible."""
    tl.debug_barrier()  # no thread of this program may still be reading what the last one writes
    last = tl.atomic_add(done_ptr, 1, sem="acq_rel", scope="gpu") == tl.num_programs(0) - 1
    if last:
        tl.store(done_ptr, 0)
    return last


@triton.jit
def finish_norm(
    partials_ptr, n_chunks, factor, limit, found_inf, scalars_f64, counters_ptr, watch_ptr, control_ptr,
    CLIP: tl.constexpr, SKIP_NONFINITE: tl.constexpr, TABLE_BLOCK: tl.constexpr,
):  # fmt: skip
    """Norm, clip coefficient and verdict from the partial sums, as ``finish_norm`` of csrc/optim/adamw.cpp."""
    total = tl.zeros([TABLE_BLOCK], dtype=tl.float64)
    for i in range(0, n_chunks, TABLE_BLOCK):
        k = i + tl.arange(0, TABLE_BLOCK)
        # Past the first-level cache: other programs wrote these.
        total += tl.load(partials_ptr + k, mask=k < n_chunks, other=0.0, cache_modifier=".cg")
    norm = tl.sqrt(tl.sum(total)) * factor
    coefficient = tl.full((), 1.0, tl.float64)
    if CLIP:
        ratio = limit / (norm + 1e-6)
        coefficient = tl.where(ratio < 1.0, ratio, 1.0)
    skip = norm != norm
    if SKIP_NONFINITE:
        skip = (tl.abs(norm) <= _MAX_FLOAT64) == 0
        coefficient = tl.where(skip, 0.0, coefficient)
    else:
        coefficient = tl.where(skip, norm, coefficient)  # NaN reaches every parameter, as torch's clip does
        skip = skip & (norm == norm)
    if found_inf == 0.0:
        tl.store(scalars_f64 + _NORM, norm)
        tl.store(scalars_f64 + _CLIP_COEF, coefficient)
        decay, deviations = tl.load(watch_ptr + _DECAY), tl.load(watch_ptr + _DEVIATIONS)
        after = tl.load(watch_ptr + _AFTER).to(tl.int64)
        norms = watch_value(norm, scalars_f64 + _NORM_MEAN, counters_ptr + _NORMS, decay, deviations, after)
        if is_finite(norm):
            clipped = tl.load(counters_ptr + _CLIPPED) + (coefficient < 1.0).to(tl.int64)
            tl.store(counters_ptr + _CLIPPED, clipped)
            tl.store(scalars_f64 + _CLIP_RATE, clipped.to(tl.float64) / norms.to(tl.float64))
    tl.store(control_ptr + _SKIP, skip.to(tl.int32))


@triton.jit(do_not_specialize=["n_chunks"])
def norm_kernel(
    entries_ptr,  # [n_tensors, 11] int64: the plan's table
    chunks_ptr,  # [n_chunks, 2] int64: first element; tensor and count as two int32
    gradients_ptr,  # [n_tensors] int64: addresses, 0 = none
    partials_ptr,  # [n_chunks] float64
    limit_ptr,  # [1] float64: max_grad_norm, where no schedule drives it
    configs_i64,  # [n_groups, 27]: GroupConfig, seen as int64
    rows_i64,  # [n_groups, 7, 64, 8]: the segments of every schedule, seen as int64
    rows_f64,  # the same memory, seen as float64
    counters_ptr,  # [10 + 7 n_groups] int64: updates, tokens, skipped, ..., origins
    scalars_f64,  # [8 + 5 n_groups] float64: norm, clip coefficient, ..., then those of every group
    watch_ptr,  # [4] float64: Watch of plan.h
    control_ptr,  # [CONTROL_WORDS] int32
    grad_scale_ptr,  # [1] float32
    found_inf_ptr,  # [1] float32
    n_chunks,
    DTYPES: tl.constexpr,  # bit d is set when some parameter has dtype d
    CLIP: tl.constexpr,
    SKIP_NONFINITE: tl.constexpr,
    BLOCK: tl.constexpr,
    TABLE_BLOCK: tl.constexpr,
):
    """The first launch: a partial sum a program; from all of them norm, clip coefficient and whether to skip."""
    i = tl.program_id(0)
    if i < n_chunks:
        begin = tl.load(chunks_ptr + 2 * i)
        packed = tl.load(chunks_ptr + 2 * i + 1)
        tensor = packed.to(tl.int32).to(tl.int64)
        count = (packed >> 32).to(tl.int32)
        dtype = tl.load(entries_ptr + tensor * _ENTRY_WORDS + _DTYPE)
        g = tl.load(gradients_ptr + tensor)
        partial = tl.full((), 0.0, tl.float64)
        if g != 0:
            if DTYPES & 1:
                if dtype == 0:
                    partial = sum_squares(g, begin, count, tl.float32, BLOCK)
            if DTYPES & 2:
                if dtype == 1:
                    partial = sum_squares(g, begin, count, tl.bfloat16, BLOCK)
            if DTYPES & 4:
                if dtype == 2:
                    partial = sum_squares(g, begin, count, tl.float16, BLOCK)
        tl.store(partials_ptr + i, partial)
    if is_last(control_ptr + _NORMS_DONE):
        factor = 1.0 / tl.load(grad_scale_ptr).to(tl.float64)
        found_inf = tl.load(found_inf_ptr)
        limit = tl.load(limit_ptr)
        if CLIP:
            limit = limit_now(configs_i64, rows_i64, rows_f64, counters_ptr, limit)
        finish_norm(
            partials_ptr, n_chunks, factor, limit, found_inf, scalars_f64, counters_ptr, watch_ptr, control_ptr,
            CLIP, SKIP_NONFINITE, TABLE_BLOCK,
        )  # fmt: skip


@triton.jit
def advance_counts(entries_ptr, gradients_ptr, t_ptr, n_tensors, TABLE_BLOCK: tl.constexpr):
    """Counts this update for every parameter with a gradient, in the plan and in torch's state["step"]."""
    for i in range(0, n_tensors, TABLE_BLOCK):
        k = i + tl.arange(0, TABLE_BLOCK).to(tl.int64)
        stepped = tl.load(gradients_ptr + k, mask=k < n_tensors, other=0) != 0
        step_address = tl.load(entries_ptr + k * _ENTRY_WORDS + _STEP, mask=stepped, other=0)
        step_ptr = step_address.to(tl.pointer_type(tl.float32))
        t = next_t(tl.load(t_ptr + k, mask=stepped, other=0), tl.load(step_ptr, mask=stepped, other=0.0))
        tl.store(t_ptr + k, t, mask=stepped)
        tl.store(step_ptr, t.to(tl.float32), mask=stepped)


@triton.jit
def finish_observation(entries_ptr, gradients_ptr, changes_ptr, scalars_f64, n_tensors, n_chunks, TABLE_BLOCK: tl.constexpr):
    """The root of the mean of the squared changes, over all elements that have a gradient."""
    total = tl.zeros([TABLE_BLOCK], dtype=tl.float64)
    for i in range(0, n_chunks, TABLE_BLOCK):
        k = i + tl.arange(0, TABLE_BLOCK)
        total += tl.load(changes_ptr + k, mask=k < n_chunks, other=0.0, cache_modifier=".cg")
    elements = tl.zeros([TABLE_BLOCK], dtype=tl.int64)
    for i in range(0, n_tensors, TABLE_BLOCK):
        k = i + tl.arange(0, TABLE_BLOCK).to(tl.int64)
        stepped = tl.load(gradients_ptr + k, mask=k < n_tensors, other=0) != 0
        elements += tl.load(entries_ptr + k * _ENTRY_WORDS + _NUMEL, mask=stepped, other=0)
    count = tl.sum(elements)
    mean = tl.sum(total) / tl.where(count == 0, 1, count).to(tl.float64)
    tl.store(scalars_f64 + _UPDATE_RMS, tl.sqrt(mean))


@triton.jit(do_not_specialize=["tokens", "advance", "n_chunks", "n_tensors", "n_groups"])
def update_kernel(
    entries_ptr,  # [n_tensors, 11] int64: the plan's table
    chunks_ptr,  # [n_chunks, 2] int64: first element; tensor and count as two int32
    gradients_ptr,  # [n_tensors] int64: addresses, 0 = none
    configs_i64,  # [n_groups, 27]: GroupConfig, seen as int64
    configs_f64,  # the same memory, seen as float64
    rows_i64,  # [n_groups, 7, 64, 8]: the segments of every schedule, seen as int64
    rows_f64,  # the same memory, seen as float64
    counters_ptr,  # [10 + 7 n_groups] int64: updates, tokens, skipped, ..., origins
    scalars_f64,  # [8 + 5 n_groups] float64: norm, clip coefficient, ..., then those of every group
    changes_ptr,  # [n_chunks] float64: squared changes, with OBSERVE
    t_ptr,  # [n_tensors] int64: updates of every parameter
    starts_i64,  # [n_tensors, 4]: MomentStart, seen as int64
    starts_f64,  # the same memory, seen as float64
    watch_ptr,  # [4] float64: Watch of plan.h
    control_ptr,  # [CONTROL_WORDS] int32
    grad_scale_ptr,  # [1] float32
    found_inf_ptr,  # [1] float32
    tokens_ptr,  # [1] int64: tokens of this update that only the device knows
    tokens,  # those that the host knows
    advance,  # 0 holds the update counter of the schedules
    n_chunks,
    n_tensors,
    n_groups,
    COMBINATIONS: tl.constexpr,  # bit 3 d + s is set when some parameter has dtype d and moments of dtype s
    WITH_NORM: tl.constexpr,
    COUNT_SKIPPED: tl.constexpr,
    BLOCK: tl.constexpr,
    TABLE_BLOCK: tl.constexpr,
    BY_BITS: tl.constexpr,
    EMA: tl.constexpr,  # some parameter has a moving average
    ZERO: tl.constexpr,  # present gradients become zero
    OBSERVE: tl.constexpr,  # read the size of the update
):
    """The second launch, or the only one: schedules, bias corrections, update; the last program counts."""
    i = tl.program_id(0)
    factor = 1.0 / tl.load(grad_scale_ptr).to(tl.float64)
    skip = tl.load(found_inf_ptr) != 0.0
    if WITH_NORM:
        factor = factor * tl.load(scalars_f64 + _CLIP_COEF)
        skip = skip | (tl.load(control_ptr + _SKIP) != 0)
    if skip == 0:
        for shown in range(i, n_groups, tl.num_programs(0)):
            lr = lr_now(configs_i64, configs_f64, rows_i64, rows_f64, counters_ptr, shown)
            annealing_decay = tl.load(watch_ptr + _ANNEALING_DECAY)
            record_lr(scalars_f64 + _GROUPS + _GROUP_SCALARS * shown, lr, annealing_decay, advance)
        if i < n_chunks:
            begin = tl.load(chunks_ptr + 2 * i)
            packed = tl.load(chunks_ptr + 2 * i + 1)
            tensor = packed.to(tl.int32).to(tl.int64)
            count = (packed >> 32).to(tl.int32)
            g = tl.load(gradients_ptr + tensor)
            squares = tl.full((), 0.0, tl.float64)
            if g != 0:
                entry = entries_ptr + tensor * _ENTRY_WORDS
                p = tl.load(entry + _P)
                m = tl.load(entry + _M)
                v = tl.load(entry + _V)
                step = tl.load(tl.load(entry + _STEP).to(tl.pointer_type(tl.float32)))
                t = next_t(tl.load(t_ptr + tensor), step)
                group = tl.load(entry + _GROUP)
                start = start_of(starts_i64, starts_f64, tensor, t)
                scalars = folded(configs_i64, configs_f64, rows_i64, rows_f64, counters_ptr, group, start, factor)
                e, ema = p, (0, 0.0, 0.0)
                if EMA:
                    e = tl.load(entry + _EMA)
                    decay, weight = ema_scalars(configs_i64, configs_f64, rows_i64, rows_f64, counters_ptr, group)
                    ema = ((e != 0).to(tl.int32), decay, weight)
                combination = 3 * tl.load(entry + _DTYPE) + tl.load(entry + _STATE_DTYPE)
                if COMBINATIONS & 1:
                    if combination == 0:
                        squares = update_chunk(
                            p, g, m, v, e, begin, count, scalars, ema,
                            tl.float32, tl.float32, BLOCK, BY_BITS, EMA, ZERO, OBSERVE,
                        )  # fmt: skip
                if COMBINATIONS & 8:
                    if combination == 3:
                        squares = update_chunk(
                            p, g, m, v, e, begin, count, scalars, ema,
                            tl.bfloat16, tl.float32, BLOCK, BY_BITS, EMA, ZERO, OBSERVE,
                        )  # fmt: skip
                if COMBINATIONS & 16:
                    if combination == 4:
                        squares = update_chunk(
                            p, g, m, v, e, begin, count, scalars, ema,
                            tl.bfloat16, tl.bfloat16, BLOCK, BY_BITS, EMA, ZERO, OBSERVE,
                        )  # fmt: skip
                if COMBINATIONS & 64:
                    if combination == 6:
                        squares = update_chunk(
                            p, g, m, v, e, begin, count, scalars, ema,
                            tl.float16, tl.float32, BLOCK, BY_BITS, EMA, ZERO, OBSERVE,
                        )  # fmt: skip
            if OBSERVE:
                tl.store(changes_ptr + i, squares)
    elif ZERO:
        if i < n_chunks:
            begin = tl.load(chunks_ptr + 2 * i)
            packed = tl.load(chunks_ptr + 2 * i + 1)
            tensor = packed.to(tl.int32).to(tl.int64)
            g = tl.load(gradients_ptr + tensor)
            if g != 0:
                if tl.load(entries_ptr + tensor * _ENTRY_WORDS + _DTYPE) == 0:
                    zero_chunk(g, begin, (packed >> 32).to(tl.int32), tl.float32, BLOCK)
                else:
                    zero_chunk(g, begin, (packed >> 32).to(tl.int32), tl.uint16, BLOCK)
    if is_last(control_ptr + _UPDATES_DONE):
        consumed = tl.load(tokens_ptr) + tokens
        if skip:
            tl.store(counters_ptr + _SKIPPED, tl.load(counters_ptr + _SKIPPED) + 1)
            if COUNT_SKIPPED:
                tl.store(counters_ptr + _TOKENS, tl.load(counters_ptr + _TOKENS) + consumed)
        else:
            tl.store(counters_ptr + _UPDATES, tl.load(counters_ptr + _UPDATES) + advance)
            tl.store(counters_ptr + _TOKENS, tl.load(counters_ptr + _TOKENS) + consumed)
            advance_counts(entries_ptr, gradients_ptr, t_ptr, n_tensors, TABLE_BLOCK)
            if OBSERVE:
                finish_observation(entries_ptr, gradients_ptr, changes_ptr, scalars_f64, n_tensors, n_chunks, TABLE_BLOCK)
