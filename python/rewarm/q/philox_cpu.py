"""The cpu backend of `philox` and `draw_subset`: csrc/q/draw.h."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from rewarm._native import core

_KINDS = {
    "uint32": (core.DRAW_WORDS, torch.uint32),
    "uniform": (core.DRAW_UNIFORM, torch.float32),
    "normal": (core.DRAW_NORMAL, torch.float32),
}


def philox(shape: Sequence[int], *, seed: Tensor, offset: Tensor, stream: int, kind: str = "uint32") -> Tensor:
    """See `rewarm.q.philox`."""
    number, dtype = _KINDS[kind]
    out = torch.empty((*seed.shape, *shape), dtype=dtype)
    core.philox(seed.data_ptr(), offset.data_ptr(), seed.numel(), stream, number, math.prod(shape), out.data_ptr())
    return out


def draw_subset(E: int, M: int, *, seed: Tensor, offset: Tensor, stream: int, replacement: bool) -> Tensor:
    """See `rewarm.q.draw_subset`."""
    out = torch.empty((*seed.shape, M), dtype=torch.int64)
    core.draw_subset(seed.data_ptr(), offset.data_ptr(), seed.numel(), stream, E, M, replacement, out.data_ptr())
    return out
