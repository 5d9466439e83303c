"""The smallest Q value of an ensemble for every row, and which critic gave it: the law for every other backend.

Imports torch and nothing of rewarm but the reference that it takes the minimum of.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rewarm.q.ensemble_mlp_reference import Layer, ensemble_mlp


def smallest(q: Tensor) -> tuple[Tensor, Tensor]:
    """Values [*S, B] and critics int64 [*S, B] of the minimum over axis -2 of q [*S, E, B]: first NaN, else lowest index."""
    best = q[..., 0, :]
    critic = torch.zeros(best.shape, dtype=torch.int64, device=q.device)
    for e in range(1, q.shape[-2]):
        candidate = q[..., e, :]
        better = (candidate < best) | (candidate.isnan() & ~best.isnan())
        best = torch.where(better, candidate, best)
        critic = torch.where(better, e, critic)
    return best, critic


def ensemble_min(
    x: Tensor,
    layers: Sequence[Layer],
    head: Layer,
    *,
    actions: Tensor,
    eps: float = 1e-6,
    precision: str = "fp32",
) -> tuple[Tensor, Tensor]:
    """See `rewarm.q.ensemble_min`."""
    frozen = [tuple(p.detach() for p in layer) for layer in layers]
    still = tuple(p.detach() for p in head)
    return smallest(ensemble_mlp(x, frozen, still, actions=actions, eps=eps, precision=precision))
