"""The cpu backend of `awr_weight`: csrc/q/awr_weight.h."""

from __future__ import annotations

import torch
from torch import Tensor

from rewarm._native import core


def awr_weight(q: Tensor, v: Tensor, beta: float = 3.0, max_weight: float = 100.0) -> Tensor:
    """See `rewarm.q.awr_weight`."""
    weight = torch.empty_like(q)
    core.awr_weight(q.data_ptr(), v.data_ptr(), beta, max_weight, q.numel(), weight.data_ptr())
    return weight
