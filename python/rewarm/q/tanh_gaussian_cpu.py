"""The cpu backend of `tanh_gaussian` and `gaussian_log_prob`: csrc/q/tanh_gaussian.h. Nothing but the inputs is kept."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rewarm import _native
from rewarm.q.philox_cpu import philox

core: Any = _native.core  # mypy cannot count the arguments behind a star


def wanted(ctx: Any, which: int, tensor: Tensor) -> Tensor | None:
    """Memory for the gradient of input `which`, where it is asked for."""
    return torch.empty_like(tensor) if ctx.needs_input_grad[which] else None


def address(t: Tensor | None) -> int:
    """Of the first element, or 0."""
    return 0 if t is None else t.data_ptr()


class TanhGaussian(torch.autograd.Function):
    """Forward and hand-written backward."""

    @staticmethod
    def forward(
        ctx: Any, mean: Tensor, log_std: Tensor, noise: Tensor, std_min: float, std_max: float, squash: bool
    ) -> tuple[Tensor, Tensor]:
        """Action and log_prob."""
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(mean, log_std, noise)
        ctx.rest = std_min, std_max, squash
        action, log_prob = torch.empty_like(noise), torch.empty(noise.shape[:-1])
        core.tanh_gaussian(
            *TanhGaussian.policy(ctx, mean, log_std, noise), action=action.data_ptr(), log_prob=log_prob.data_ptr()
        )
        return action, log_prob

    @staticmethod
    def policy(ctx: Any, mean: Tensor, log_std: Tensor, noise: Tensor) -> Any:
        """The arguments that forward and backward share."""
        b, a = mean.shape[-2:]
        return (
            mean.shape[0] if mean.ndim == 3 else 1,
            b,
            noise.shape[-2] if noise.ndim > mean.ndim else 1,
            a,
            mean.data_ptr(),
            log_std.data_ptr(),
            log_std.ndim < mean.ndim,
            noise.data_ptr(),
            *ctx.rest,
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_action: Tensor | None, of_log_prob: Tensor | None) -> tuple[Tensor | None, ...]:
        """Gradients of mean and log_std."""
        mean, log_std, noise = ctx.saved_tensors
        of_mean, of_log_std = wanted(ctx, 0, mean), wanted(ctx, 1, log_std)
        of_action = None if of_action is None else of_action.contiguous()
        of_log_prob = None if of_log_prob is None else of_log_prob.contiguous()
        core.tanh_gaussian_backward(
            *TanhGaussian.policy(ctx, mean, log_std, noise),
            of_action=address(of_action),
            of_log_prob=address(of_log_prob),
            of_mean=address(of_mean),
            of_log_std=address(of_log_std),
        )
        return of_mean, of_log_std, None, None, None, None


class GaussianLogProb(torch.autograd.Function):
    """Forward and hand-written backward."""

    @staticmethod
    def forward(ctx: Any, action: Tensor, mean: Tensor, log_std: Tensor, std_min: float, std_max: float) -> Tensor:
        """The log probability [*S, B]."""
        ctx.save_for_backward(action, mean, log_std)
        ctx.rest = std_min, std_max
        log_prob = torch.empty(mean.shape[:-1])
        core.gaussian_log_prob(*GaussianLogProb.policy(ctx, action, mean, log_std), log_prob=log_prob.data_ptr())
        return log_prob

    @staticmethod
    def policy(ctx: Any, action: Tensor, mean: Tensor, log_std: Tensor) -> Any:
        """The arguments that forward and backward share."""
        b, a = mean.shape[-2:]
        addresses = action.data_ptr(), mean.data_ptr(), log_std.data_ptr()
        return mean.shape[0] if mean.ndim == 3 else 1, b, a, *addresses, log_std.ndim < mean.ndim, *ctx.rest

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_log_prob: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of action, mean and log_std."""
        action, mean, log_std = ctx.saved_tensors
        of_action = ctx.needs_input_grad[0]
        of_mean = torch.empty_like(mean) if of_action or ctx.needs_input_grad[1] else None
        of_log_std = wanted(ctx, 2, log_std)
        core.gaussian_log_prob_backward(
            *GaussianLogProb.policy(ctx, action, mean, log_std),
            of_log_prob=of_log_prob.contiguous().data_ptr(),
            of_mean=address(of_mean),
            of_log_std=address(of_log_std),
        )
        negative = -of_mean if of_action and of_mean is not None else None
        return negative, of_mean if ctx.needs_input_grad[1] else None, of_log_std, None, None


def tanh_gaussian(
    mean: Tensor,
    log_std: Tensor,
    *,
    noise: Tensor | None = None,
    seed: Tensor | None = None,
    offset: Tensor | None = None,
    stream: int = 2,
    samples: int | None = None,
    std_min: float = 1e-5,
    std_max: float = 10.0,
    squash: bool = True,
) -> tuple[Tensor, Tensor]:
    """See `rewarm.q.tanh_gaussian`."""
    if noise is None:
        assert seed is not None and offset is not None
        b, a = mean.shape[-2:]
        shape = (b, a) if samples is None else (b, samples, a)
        noise = philox(shape, seed=seed, offset=offset, stream=stream, kind="normal")
    action, log_prob = TanhGaussian.apply(mean, log_std, noise, std_min, std_max, squash)  # type: ignore[no-untyped-call]
    return action, log_prob


def gaussian_log_prob(
    action: Tensor,
    mean: Tensor,
    log_std: Tensor,
    *,
    std_min: float = 1e-5,
    std_max: float = 10.0,
) -> Tensor:
    """See `rewarm.q.gaussian_log_prob`."""
    return GaussianLogProb.apply(action, mean, log_std, std_min, std_max)  # type: ignore[no-any-return, no-untyped-call]
