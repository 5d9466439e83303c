"""Adam on a list of tensors, written out: Kingma & Ba 2015 (arXiv 1412.6980), with the bias correction of torch.optim.Adam."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rewarm.schedule import Schedule

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


@dataclass
class Moments:
    """Adam's state of one network.

    Attributes:
        exp_avg: First moments, one tensor a parameter, of its shape.
        exp_avg_sq: Second moments likewise.
        step: Steps taken, zero-gradient steps included; also the counter that a learning-rate Schedule is evaluated at.
    """

    exp_avg: list[Tensor]
    exp_avg_sq: list[Tensor]
    step: int = 0

    @classmethod
    def zeros(cls, parameters: Sequence[Tensor]) -> Moments:
        """Moments of parameters that were never stepped."""
        return cls([torch.zeros_like(p) for p in parameters], [torch.zeros_like(p) for p in parameters])


def rate(lr: float | Schedule, step: int) -> float:
    """The learning rate for the step that follows `step` steps."""
    return lr(step) if isinstance(lr, Schedule) else lr


@torch.no_grad()
def adam_step(parameters: Sequence[Tensor], moments: Moments, gradients: Sequence[Tensor] | None, lr: float | Schedule) -> None:
    """One Adam step in place, betas (0.9, 0.999), eps 1e-8, no decay.

    Every operation is rounded for itself (no fused multiply-add), so an element's result does not depend on where it lies:
    seed s of a stack gets the bits that it would get alone.

    Args:
        parameters: Changed in place.
        moments: Changed in place, `step` included.
        gradients: One a parameter, or None for gradients of zero: the moments decay and the parameters move on by momentum.
        lr: Learning rate, or a Schedule of the number of steps taken before this one.
    """
    applied = rate(lr, moments.step)
    moments.step += 1
    step_size = applied / (1 - BETA1**moments.step)
    root_correction = math.sqrt(1 - BETA2**moments.step)
    for i, parameter in enumerate(parameters):
        m, v = moments.exp_avg[i], moments.exp_avg_sq[i]
        m.mul_(BETA1)
        v.mul_(BETA2)
        if gradients is not None:
            m.add_(gradients[i] * (1 - BETA1))
            v.add_(gradients[i] * gradients[i] * (1 - BETA2))
        parameter.sub_((m * step_size).div_(v.sqrt().div_(root_correction).add_(EPS)))


@torch.no_grad()
def polyak(targets: Sequence[Tensor], parameters: Sequence[Tensor], tau: float) -> None:
    """``target <- (1 - tau) target + tau parameter`` in place; tau = 0 and tau = 1 are the identity and a copy."""
    for target, parameter in zip(targets, parameters, strict=True):
        target.mul_(1 - tau).add_(parameter * tau)
