"""The triton backend of `philox` and `draw_subset`: Philox4x32-10 (Salmon et al. 2011) addressed as csrc/q/draw.h has it.

Words, uniforms and indices have the same bits as everywhere. Normals are computed in float64 and rounded once, so they are
nearer to the exact ones than the header's, and differ from those in their last bits.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from rewarm.errors import InvalidArgument
from rewarm.q.launch_triton import surroundings

#: Most critics of a draw without replacement: one warp holds their places.
MAX_CRITICS = 4096
#: Blocks of four words that a program draws.
BLOCK = 256
KINDS = {"uint32": 0, "uniform": 1, "normal": 2}
_DTYPES = {"uint32": torch.uint32, "uniform": torch.float32, "normal": torch.float32}


@triton.jit
def words_of(seed_ptr, offset_ptr, which, stream, block):
    """The four words of `block` (int64) of the draw of seed number `which`."""
    offset = tl.load(offset_ptr + which)
    low: tl.constexpr = 0xFFFFFFFF
    zero = block * 0
    return tl.philox(
        tl.load(seed_ptr + which),
        (block & low).to(tl.uint32),
        ((block >> 32) & low).to(tl.uint32),
        ((zero + offset) & low).to(tl.uint32),
        ((zero + stream) | ((offset >> 32) << 8)).to(tl.uint32),
    )


@triton.jit
def uniform_of(word):
    """(w >> 8) 2^-24 in float64: exact."""
    return (word >> 8).to(tl.float64) * 5.9604644775390625e-08


@triton.jit
def normal_pair(first, second):
    """Box and Muller 1958, in float64; u1 lies in (0, 1]."""
    r = tl.sqrt(-2.0 * tl.log(uniform_of(first) + 5.9604644775390625e-08))
    angle = 6.283185307179586 * uniform_of(second)
    return r * tl.cos(angle), r * tl.sin(angle)


@triton.jit
def normal_at(seed_ptr, offset_ptr, which, stream, element):
    """The normal number `element` of a draw, in float64; each thread draws the whole block of its element."""
    a, b, c, d = words_of(seed_ptr, offset_ptr, which, stream, element >> 2)
    late = (element & 2) != 0
    cosine, sine = normal_pair(tl.where(late, c, a), tl.where(late, d, b))
    return tl.where((element & 1) != 0, sine, cosine)


@triton.jit(do_not_specialize=["stream", "count"])
def draw_kernel(
    seed_ptr,  # [] or [S] int64
    offset_ptr,  # the same
    out_ptr,  # [*S, count] uint32 or float32
    stream,
    count,
    KIND: tl.constexpr,  # a value of KINDS
    BLOCK: tl.constexpr,
):
    """Words, uniforms or normals of BLOCK blocks of one seed."""
    which = tl.program_id(1).to(tl.int64)
    block = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    a, b, c, d = words_of(seed_ptr, offset_ptr, which, stream, block)
    if KIND == 1:
        a, b, c, d = uniform_of(a), uniform_of(b), uniform_of(c), uniform_of(d)
    elif KIND == 2:
        a, b = normal_pair(a, b)
        c, d = normal_pair(c, d)
    first = 4 * block
    out = out_ptr + which * count + first
    put_word(out, a, first < count, KIND)
    put_word(out + 1, b, first + 1 < count, KIND)
    put_word(out + 2, c, first + 2 < count, KIND)
    put_word(out + 3, d, first + 3 < count, KIND)


@triton.jit
def put_word(out, value, exists, KIND: tl.constexpr):
    """Stores a word as it is, a number as float32."""
    if KIND > 0:
        value = value.to(tl.float32)
    tl.store(out, value, mask=exists)


@triton.jit(do_not_specialize=["stream", "n_drawn", "n_critics"])
def subset_kernel(
    seed_ptr,  # [] or [S] int64
    offset_ptr,  # the same
    out_ptr,  # [*S, n_drawn] int64
    stream,
    n_drawn,
    n_critics,
    REPLACEMENT: tl.constexpr,
    PADDED: tl.constexpr,  # a power of two, of n_critics without replacement
):
    """One seed's subset, by one program: the shuffle is sequential, and its places stay in registers."""
    which = tl.program_id(0).to(tl.int64)
    places = tl.arange(0, PADDED)
    held = places
    for i in range(n_drawn):
        at = tl.zeros([1], dtype=tl.int64) + i
        a, b, c, d = words_of(seed_ptr, offset_ptr, which, stream, at >> 2)
        low, high = tl.where((at & 1) != 0, b, a), tl.where((at & 1) != 0, d, c)
        word = tl.sum(tl.where((at & 2) != 0, high, low).to(tl.int64), axis=0)
        if REPLACEMENT:
            chosen = (word * n_critics) >> 32
        else:
            j = i + ((word * (n_critics - i)) >> 32)
            chosen = tl.sum(tl.where(places == j, held, 0), axis=0).to(tl.int64)
            here = tl.sum(tl.where(places == i, held, 0), axis=0)
            held = tl.where(places == j, here, held)
        tl.store(out_ptr + which * n_drawn + i, chosen)


def philox(shape: Sequence[int], *, seed: Tensor, offset: Tensor, stream: int, kind: str = "uint32") -> Tensor:
    """See `rewarm.q.philox`."""
    out = torch.empty((*seed.shape, *shape), dtype=_DTYPES[kind], device=seed.device)
    count = math.prod(shape)
    grid = (triton.cdiv(triton.cdiv(count, 4), BLOCK), seed.numel())
    with surroundings("philox", seed.device):
        draw_kernel[grid](seed, offset, out, stream, count, KIND=KINDS[kind], BLOCK=BLOCK, num_warps=4, enable_fp_fusion=True)
    return out


def draw_subset(E: int, M: int, *, seed: Tensor, offset: Tensor, stream: int, replacement: bool) -> Tensor:
    """See `rewarm.q.draw_subset`.

    Raises:
        InvalidArgument: More than 4096 critics without replacement.
    """
    if E > MAX_CRITICS and not replacement:
        raise InvalidArgument(f"draw_subset: E: backend 'triton' shuffles up to {MAX_CRITICS} critics, got {E}")
    out = torch.empty((*seed.shape, M), dtype=torch.int64, device=seed.device)
    padded = 1 if replacement else triton.next_power_of_2(E)
    with surroundings("draw_subset", seed.device):
        subset_kernel[(seed.numel(),)](
            seed, offset, out, stream, M, E, REPLACEMENT=replacement, PADDED=padded, num_warps=1, enable_fp_fusion=True
        )
    return out
