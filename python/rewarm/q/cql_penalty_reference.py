"""The conservative penalty as the papers write it: the law for every other backend. Imports torch and nothing of rewarm."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def bounded(q: Tensor, mc_return: Tensor) -> Tensor:
    """max(q, mc_return); at a tie the gradient is q's, and NaN of either stays."""
    return torch.where((q >= mc_return) | q.isnan(), q, mc_return)


def cql_penalty(
    q_sampled: Tensor,
    q_data: Tensor,
    *,
    log_density: Tensor | None = None,
    mc_return: Tensor | None = None,
    n_random: int = 0,
    bound_random: bool = False,
    temperature: float = 1.0,
) -> Tensor:
    """See `rewarm.q.cql_penalty`."""
    axis = q_data.ndim - 2  # of the critics: 1 behind a seeds axis
    q = q_sampled
    if mc_return is not None:
        lower = mc_return.detach().unsqueeze(axis).unsqueeze(-1)  # [*S, 1, B, 1]
        first = 0 if bound_random else n_random
        q = torch.cat([q[..., :first], bounded(q[..., first:], lower)], dim=-1)
    if log_density is not None:
        q = q - log_density.detach().unsqueeze(axis)
    else:
        q = torch.cat([q, q_data.unsqueeze(-1)], dim=-1)
        q = q - temperature * math.log(q.shape[-1])
    return temperature * torch.logsumexp(q / temperature, dim=-1) - q_data
