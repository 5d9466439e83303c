"""Targets of the critics as the papers write them: the law for every other backend. Imports torch and nothing of rewarm."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def td_target(
    reward: Tensor,
    terminated: Tensor,
    q_next: Tensor,
    *,
    gamma: float | Tensor = 0.99,
    log_prob: Tensor | None = None,
    alpha: Tensor | None = None,
) -> Tensor:
    """See `rewarm.q.td_target`."""
    axis = reward.ndim - 1  # of the critics: 1 behind a seeds axis
    value = q_next.amin(axis)  # [*S, B] or [*S, B, K]; NaN wins in amin and amax
    if log_prob is not None and alpha is not None:
        weight = alpha.reshape(*alpha.shape, *[1] * (log_prob.ndim - alpha.ndim))
        value = value - weight * log_prob
    if value.ndim > reward.ndim:
        value = value.amax(-1)
    return torch.where(terminated, reward, reward + gamma * value)
