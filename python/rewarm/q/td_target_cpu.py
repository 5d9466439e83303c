"""The cpu backend of `td_target`: csrc/q/td_target.h."""

from __future__ import annotations

import torch
from torch import Tensor

from rewarm._native import core


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
    y = torch.empty_like(reward)
    has_seeds = reward.ndim == 2
    core.td_target(
        reward.shape[0] if has_seeds else 1,
        q_next.shape[has_seeds],
        reward.shape[-1],
        q_next.shape[-1] if q_next.ndim == 3 + has_seeds else 1,
        reward.data_ptr(),
        terminated.data_ptr(),
        q_next.data_ptr(),
        0 if log_prob is None else log_prob.data_ptr(),
        0 if alpha is None else alpha.data_ptr(),
        0 if alpha is None else alpha.ndim,
        float(gamma),
        y.data_ptr(),
    )
    return y
