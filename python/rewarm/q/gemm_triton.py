"""What the Triton kernels of the ensemble share: a product at a given precision, relu, and where a program stands.

Only the inputs of a product are rounded; sums are float32 (docs/ensemble_mlp.md).
"""

# mypy: ignore-errors

from __future__ import annotations

import triton
import triton.language as tl

#: Values of PRECISION in the kernels: how `product` treats its inputs.
PRECISIONS = {"fp32": "ieee", "tf32": "tf32", "bf16": "bf16"}


@triton.jit
def nearest_by_bits(x, DROPPED: tl.constexpr):
    """float32 `x` with its low DROPPED bits rounded away, ties to even, NaN and infinity kept."""
    bits = x.to(tl.uint32, bitcast=True)
    half: tl.constexpr = (1 << (DROPPED - 1)) - 1
    nearest = ((bits + half + ((bits >> DROPPED) & 1)) >> DROPPED) << DROPPED
    kept = tl.where((bits & 0x7FFFFFFF) >= 0x7F800000, bits, nearest)
    return kept.to(tl.float32, bitcast=True)


@triton.jit
def product(a, b, acc, PRECISION: tl.constexpr, EMULATE: tl.constexpr):
    """``acc + a @ b``: [rows, k] @ [k, columns], inputs rounded to PRECISION, sums float32.

    The tensor cores of NVIDIA GPUs cut the last 13 bits of tf32 inputs off; bfloat16 is rounded to nearest. The interpreter
    multiplies float32 whatever the precision, and cannot multiply bfloat16: EMULATE rounds both to nearest, by bits.
    """
    if PRECISION == "bf16":
        if EMULATE:
            acc = tl.dot(nearest_by_bits(a, 16), nearest_by_bits(b, 16), acc, input_precision="ieee")
        else:
            acc = tl.dot(a.to(tl.bfloat16), b.to(tl.bfloat16), acc)
    elif PRECISION == "tf32":
        if EMULATE:
            acc = tl.dot(nearest_by_bits(a, 13), nearest_by_bits(b, 13), acc, input_precision="ieee")
        else:
            acc = tl.dot(a, b, acc, input_precision="tf32")
    else:
        acc = tl.dot(a, b, acc, input_precision="ieee")
    return acc


@triton.jit
def relu(y):
    """max(y, 0); NaN stays NaN, which a plain maximum of the GPU would turn into 0."""
    return tl.where(y <= 0.0, 0.0, y)


@triton.jit
def critic_of(index_ptr, place, n_drawn, n_critics, INDEXED: tl.constexpr):
    """Which critic of all seeds stands at `place` = seed * n_drawn + m, and whether its index exists.

    An index out of range reads critic 0, so that no load goes astray; the caller turns what comes of it into NaN.
    """
    seed = place // n_drawn
    if INDEXED:
        e = tl.load(index_ptr + place)
        known = (e >= 0) & (e < n_critics)
        e = tl.where(known, e, 0)
    else:
        e = place % n_drawn
        known = e >= 0
    return seed * n_critics + e, known


@triton.jit
def rows_of(rows_ptr, counts_ptr, place, n_drawn, tile, first, n_rows, all_rows, BLOCK_R: tl.constexpr, GROUPED: tl.constexpr):
    """The rows of a tile: their numbers, their places in the buffers of activations, and which of them exist.

    A plain launch works on rows [first, first + n_rows) of every critic. A grouped one works, for every critic, on the rows
    that `group_kernel` listed: a row is in one list of its seed only, so its place in the buffers needs no critic.
    """
    i = tile * BLOCK_R + tl.arange(0, BLOCK_R)
    if GROUPED:
        seed = place // n_drawn
        exists = i < tl.load(counts_ptr + place)
        row = tl.load(rows_ptr + place * all_rows + i, mask=exists, other=0).to(tl.int64)
        slot = seed * all_rows + row
    else:
        exists = i < n_rows
        row = (first + i).to(tl.int64)
        slot = place * n_rows + i
    return row, slot, exists
