"""The weight of advantage-weighted regression: the law for every other backend. Imports torch and nothing of rewarm."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def awr_weight(q: Tensor, v: Tensor, beta: float = 3.0, max_weight: float = 100.0) -> Tensor:
    """See `rewarm.q.awr_weight`."""
    return torch.exp(beta * (q - v)).clamp(max=max_weight)  # NaN stays in clamp
