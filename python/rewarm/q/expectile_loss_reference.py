"""The asymmetric square of IQL: the law for every other backend. Imports torch and nothing of rewarm."""

from __future__ import annotations

import torch
from torch import Tensor


def expectile_loss(q: Tensor, v: Tensor, expectile: float = 0.7, *, reduction: str = "mean") -> Tensor:
    """See `rewarm.q.expectile_loss`."""
    weight = torch.where(q > v, expectile, 1.0 - expectile)
    loss = weight * (q - v).square()
    return loss.mean(-1) if reduction == "mean" else loss
