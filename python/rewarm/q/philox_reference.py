"""Philox4x32-10 draws as the paper writes the generator, in torch's int64 arithmetic: the law for every other backend.

Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3". Imports torch and nothing of rewarm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_LOW = 0xFFFFFFFF


def philox4x32_10(counter: list[Tensor], key: list[Tensor]) -> list[Tensor]:
    """Four 32-bit words for each counter of four words and key of two; all int64 tensors that broadcast."""
    c, k = list(counter), list(key)
    for _ in range(10):
        # A product of two 32-bit words wraps in int64, which leaves all 64 bits right.
        left, right = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        c = [
            (right >> 32 & _LOW) ^ c[1] ^ k[0],
            right & _LOW,
            (left >> 32 & _LOW) ^ c[3] ^ k[1],
            left & _LOW,
        ]
        k = [k[0] + 0x9E3779B9 & _LOW, k[1] + 0xBB67AE85 & _LOW]
    return c


def words(count: int, seed: Tensor, offset: Tensor, stream: int) -> Tensor:
    """The first `count` words of a draw, int64 in [0, 2^32): [count], or [S, count] for seeds [S]."""
    seed, offset = seed.unsqueeze(-1), offset.unsqueeze(-1)
    block = torch.arange((count + 3) // 4, device=seed.device)
    counter = [
        block & _LOW,
        block >> 32,
        offset & _LOW,
        stream | (offset >> 32 & 0xFFFFFF) << 8,
    ]
    four = philox4x32_10(counter, [seed & _LOW, seed >> 32 & _LOW])
    return torch.stack([w + torch.zeros_like(four[0]) for w in four], dim=-1).flatten(-2)[..., :count]


def uniforms(w: Tensor) -> Tensor:
    """(w >> 8) 2^-24 in float64, exact in float32."""
    return (w >> 8).double() * 2.0**-24


def normals(w: Tensor) -> Tensor:
    """Box and Muller's pairs of the words (w0, w1), (w2, w3) of each block, in float64; the count of words is even."""
    pairs = (w >> 8).double().reshape(*w.shape[:-1], -1, 2)
    r = torch.sqrt(-2.0 * torch.log((pairs[..., 0] + 1.0) * 2.0**-24))
    angle = 2.0 * math.pi * 2.0**-24 * pairs[..., 1]
    return torch.stack([r * torch.cos(angle), r * torch.sin(angle)], dim=-1).flatten(-2)


def draw(
    shape: Sequence[int], seed: Tensor, offset: Tensor, stream: int, kind: str, dtype: torch.dtype = torch.float32
) -> Tensor:
    """A draw of `shape`, with seeds first where there are several; numbers are rounded once to `dtype`."""
    count = math.prod(shape)
    if kind == "normal":
        out = normals(words(count + count % 2, seed, offset, stream))[..., :count].to(dtype)
    elif kind == "uniform":
        out = uniforms(words(count, seed, offset, stream)).to(dtype)
    else:
        out = words(count, seed, offset, stream).to(torch.uint32)
    return out.reshape(*seed.shape, *shape)


def philox(shape: Sequence[int], *, seed: Tensor, offset: Tensor, stream: int, kind: str = "uint32") -> Tensor:
    """See `rewarm.q.philox`."""
    return draw(shape, seed, offset, stream, kind)


def draw_subset(E: int, M: int, *, seed: Tensor, offset: Tensor, stream: int, replacement: bool) -> Tensor:
    """See `rewarm.q.draw_subset`."""
    w = words(M, seed, offset, stream)
    if replacement:
        return w * E >> 32
    places = torch.arange(E, device=seed.device).expand(*seed.shape, E).clone()
    for i in range(M):  # the first M places of a Fisher-Yates shuffle
        j = i + (w[..., i] * (E - i) >> 32).unsqueeze(-1)
        here, there = places[..., i : i + 1].clone(), places.gather(-1, j)
        places.scatter_(-1, j, here)
        places[..., i : i + 1] = there
    return places[..., :M].contiguous()
