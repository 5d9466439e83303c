"""Diagonal Gaussian policies, squashed or not, as the papers write them: the law for every other backend.

Imports torch and nothing of rewarm.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


def clipped_log_std(log_std: Tensor, std_min: float, std_max: float) -> Tensor:
    """The logarithm of clip(exp(log_std), std_min, std_max); no gradient where it clips."""
    std = log_std.exp()
    low, high = torch.full_like(std, std_min), torch.full_like(std, std_max)
    return torch.where(std < low, low.log(), torch.where(std > high, high.log(), log_std))


def beside(mean: Tensor, log_std: Tensor) -> Tensor:
    """`log_std` with the rank of `mean`, one for all rows where it has no axis B."""
    return log_std if log_std.ndim == mean.ndim else log_std.unsqueeze(-2)


def tanh_gaussian(
    mean: Tensor,
    log_std: Tensor,
    *,
    noise: Tensor,
    std_min: float = 1e-5,
    std_max: float = 10.0,
    squash: bool = True,
) -> tuple[Tensor, Tensor]:
    """See `rewarm.q.tanh_gaussian`; the noise is given."""
    log_sigma = clipped_log_std(beside(mean, log_std), std_min, std_max)
    if noise.ndim > mean.ndim:
        mean, log_sigma = mean.unsqueeze(-2), log_sigma.unsqueeze(-2)
    noise = noise.detach()
    u = mean + log_sigma.exp() * noise
    terms = -0.5 * noise.square() - log_sigma - _HALF_LOG_2PI
    if not squash:
        return u, terms.sum(-1)
    log_slope = 2.0 * (math.log(2.0) - u - softplus(-2.0 * u))  # ln(1 - tanh(u)^2)
    return torch.tanh(u), (terms - log_slope).sum(-1)


def gaussian_log_prob(
    action: Tensor,
    mean: Tensor,
    log_std: Tensor,
    *,
    std_min: float = 1e-5,
    std_max: float = 10.0,
) -> Tensor:
    """See `rewarm.q.gaussian_log_prob`."""
    log_sigma = clipped_log_std(beside(mean, log_std), std_min, std_max)
    z = (action - mean) / log_sigma.exp()
    return (-0.5 * z.square() - log_sigma - _HALF_LOG_2PI).sum(-1)
