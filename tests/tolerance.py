"""Bounds that are derived, not chosen: unit roundoff of the arithmetic, number of roundings, magnitude of the terms."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: Unit roundoff: half the distance of 1 to the next number.
ROUNDOFF = {torch.float64: 2.0**-53, torch.float32: 2.0**-24, torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}
#: Half the distance of two subnormal numbers: the rounding error that does not shrink with the value.
SUBNORMAL = {torch.float64: 2.0**-1075, torch.float32: 2.0**-150, torch.float16: 2.0**-25, torch.bfloat16: 2.0**-134}


def rounded(value: Tensor, dtype: torch.dtype) -> Tensor:
    """Error of storing a float64 value in `dtype` once, rounding to nearest."""
    return ROUNDOFF[dtype] * value.abs() + SUBNORMAL[dtype]


@dataclass
class StepBounds:
    """Largest |error| of one AdamW step that is computed in float32 and stored in the given dtypes."""

    p: Tensor
    m: Tensor
    v: Tensor


def one_step(
    p: Tensor,
    g: Tensor,
    m: Tensor,
    v: Tensor,
    new: tuple[Tensor, Tensor, Tensor],
    *,
    t: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled_weight_decay: bool,
    dtype: torch.dtype,
    state_dtype: torch.dtype,
    second: Tensor | None = None,
) -> StepBounds:
    """Bounds for the arrangement in csrc/optim/adamw.h, first order in u = 2^-24; all tensors float64.

    Args:
        g: The gradient as it enters the moments (scaled, signed, with L2 decay added).
        new: The exact new p, m, v.
        second: The second moment under the root, when it is not the new v (AMSGrad).
        p, m, v, t, lr, beta1, beta2, eps, weight_decay, decoupled_weight_decay, dtype, state_dtype: The step.
    """
    u = ROUNDOFF[torch.float32]
    tiny = 4 * SUBNORMAL[torch.float32]
    new_p, new_m, new_v = new
    root = new_v if second is None else second
    # g: the scaling and, for L2, one fused multiply-add with a rounded coefficient.
    g_error = (1 if decoupled_weight_decay else 3) * u * (g.abs() + (0 if decoupled_weight_decay else weight_decay) * p.abs())
    # m: the difference, its coefficient, the sum.
    m_error = u * (2 * (1 - beta1) * (g - m).abs() + new_m.abs()) + (1 - beta1) * g_error + tiny
    if beta1 < 0.5:
        m_error = u * (2 * beta1 * (g - m).abs() + new_m.abs()) + 2 * g_error + tiny
    # v: every term is positive, so this is relative: square and difference 3, coefficient 1, sum 1, and twice g's.
    v_error = 6 * u * new_v + 2 * (1 - beta2) * g.abs() * g_error + tiny
    # theta: root 1, sum 1, eps 1, quotient 1, step coefficient 1 and its product 1; decay and its product 2; difference 1.
    c1, c2 = 1 - beta1**t, (1 - beta2**t) ** 0.5
    denominator = root.sqrt() + eps * c2
    scale = lr * c2 / c1 / denominator
    step = scale * new_m
    decay = lr * weight_decay * p if decoupled_weight_decay else torch.zeros_like(p)
    relative_root = torch.where(root > 0, v_error / root.clamp_min(torch.finfo(torch.float64).tiny), torch.zeros_like(root)) / 2
    p_error = scale * m_error + step.abs() * (7 * u + relative_root) + 3 * u * decay.abs() + u * new_p.abs() + tiny
    return StepBounds(
        p=p_error + (0 if dtype is torch.float32 else rounded(new_p, dtype) * (1 + u)),
        m=m_error + (0 if state_dtype is torch.float32 else rounded(new_m, state_dtype) * (1 + u)),
        v=v_error + (0 if state_dtype is torch.float32 else rounded(new_v, state_dtype) * (1 + u)),
    )
