"""The cpu backend of `expectile_loss`: csrc/q/expectile_loss.h."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rewarm._native import core


class ExpectileLoss(torch.autograd.Function):
    """Forward and hand-written backward."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, v: Tensor, expectile: float, mean: bool) -> Tensor:
        """[*S] with `mean`, else the shape of q."""
        n = q.shape[-1]
        s = q.numel() // n
        loss = torch.empty(q.shape[:-1] if mean else q.shape)
        core.expectile_loss(q.data_ptr(), v.data_ptr(), expectile, s, n, mean, loss.data_ptr())
        ctx.save_for_backward(q, v)
        ctx.call = expectile, s, n, mean
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        """Gradients of q and v."""
        q, v = ctx.saved_tensors
        expectile, s, n, mean = ctx.call
        gradient = gradient.contiguous()
        of_q = torch.empty_like(q)
        core.expectile_loss_backward(q.data_ptr(), v.data_ptr(), expectile, s, n, gradient.data_ptr(), mean, of_q.data_ptr())
        return of_q if ctx.needs_input_grad[0] else None, -of_q if ctx.needs_input_grad[1] else None, None, None


def expectile_loss(q: Tensor, v: Tensor, expectile: float = 0.7, *, reduction: str = "mean") -> Tensor:
    """See `rewarm.q.expectile_loss`."""
    return ExpectileLoss.apply(q, v, expectile, reduction == "mean")  # type: ignore[no-any-return, no-untyped-call]
