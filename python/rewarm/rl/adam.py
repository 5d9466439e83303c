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
        ahead: Scalars of the next steps, when somebody has computed them already (`rewarm.rl.update_graph` keeps them on the
            device, where a captured step finds new values at every replay); the steps are then counted there too.
    """

    exp_avg: list[Tensor]
    exp_avg_sq: list[Tensor]
    step: int = 0
    ahead: list[Scalars] | None = None

    @classmethod
    def zeros(cls, parameters: Sequence[Tensor]) -> Moments:
        """Moments of parameters that were never stepped."""
        return cls([torch.zeros_like(p) for p in parameters], [torch.zeros_like(p) for p in parameters])


#: Step size lr / (1 - beta1^t) and sqrt(1 - beta2^t), numbers or 0-d tensors.
Scalars = tuple["float | Tensor", "float | Tensor"]


def rate(lr: float | Schedule, step: int) -> float:
    """The learning rate for the step that follows `step` steps."""
    return lr(step) if isinstance(lr, Schedule) else lr


def scalars(lr: float | Schedule, step: int) -> tuple[float, float]:
    """What step number ``step + 1`` multiplies and divides with."""
    return rate(lr, step) / (1 - BETA1 ** (step + 1)), math.sqrt(1 - BETA2 ** (step + 1))


@torch.no_grad()
def adam_step(parameters: Sequence[Tensor], moments: Moments, gradients: Sequence[Tensor] | None, lr: float | Schedule) -> None:
    """One Adam step in place, betas (0.9, 0.999), eps 1e-8, no decay.

    Every operation is rounded for itself (no fused multiply-add), so an element's result does not depend on where it lies:
    seed s of a stack gets the bits that it would get alone. On a GPU one launch an operation serves all tensors.

    Args:
        parameters: Changed in place.
        moments: Changed in place, `step` included.
        gradients: One a parameter, or None for gradients of zero: the moments decay and the parameters move on by momentum.
        lr: Learning rate, or a Schedule of the number of steps taken before this one.
    """
    if moments.ahead is not None:
        step_size, root_correction = moments.ahead.pop(0)
    else:
        step_size, root_correction = scalars(lr, moments.step)
        moments.step += 1
        if parameters[0].is_cuda:  # as a captured step has them, so that both run the same kernels
            step_size, root_correction = (
                torch.full((), value, device=parameters[0].device) for value in (step_size, root_correction)
            )
    p, m, v = list(parameters), moments.exp_avg, moments.exp_avg_sq
    torch._foreach_mul_(m, BETA1)
    torch._foreach_mul_(v, BETA2)
    if gradients is not None:
        g = list(gradients)
        torch._foreach_add_(m, torch._foreach_mul(g, 1 - BETA1))
        squares = torch._foreach_mul(g, g)
        torch._foreach_mul_(squares, 1 - BETA2)
        torch._foreach_add_(v, squares)
    denominators = torch._foreach_sqrt(v)
    torch._foreach_div_(denominators, root_correction)
    torch._foreach_add_(denominators, EPS)
    steps = torch._foreach_mul(m, step_size)
    torch._foreach_div_(steps, denominators)
    torch._foreach_sub_(p, steps)


@torch.no_grad()
def polyak(targets: Sequence[Tensor], parameters: Sequence[Tensor], tau: float) -> None:
    """``target <- (1 - tau) target + tau parameter`` in place; tau = 0 and tau = 1 are the identity and a copy."""
    torch._foreach_mul_(list(targets), 1 - tau)
    torch._foreach_add_(list(targets), torch._foreach_mul(list(parameters), tau))
