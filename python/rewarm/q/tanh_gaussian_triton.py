"""The triton backend of `tanh_gaussian` and `gaussian_log_prob`: one launch forward, one back.

A log_std that all rows share costs two small launches more in the backward: its sum over programs, and rounding it.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from rewarm.q.launch_triton import surroundings
from rewarm.q.tanh_gaussian_kernels_triton import log_prob_kernel, sample_backward_kernel, sample_kernel

#: Elements of a program: rows of a block times the padded number of actions.
ELEMENTS = 512
OPTIONS = {"num_warps": 4, "enable_fp_fusion": True}


def constants(mean: Tensor, log_std: Tensor, std_min: float, std_max: float) -> dict[str, Any]:
    """What all kernels are compiled with."""
    padded = triton.next_power_of_2(mean.shape[-1])
    return {
        "A": mean.shape[-1],
        "PADDED": padded,
        "SHARED_STD": log_std.ndim < mean.ndim,
        "STD_MIN": std_min,
        "STD_MAX": std_max,
        "LOG_MIN": math.log(std_min),
        "LOG_MAX": math.log(std_max),
        "BLOCK_B": max(ELEMENTS // padded, 1),
    }


def sizes(mean: Tensor) -> tuple[int, int]:
    """S and B."""
    return mean.shape[0] if mean.ndim == 3 else 1, mean.shape[-2]


class PolicyGradients:
    """Memory for the gradients of mean and log_std, and what becomes of it."""

    def __init__(self, mean: Tensor, log_std: Tensor, needs_mean: bool, needs_log_std: bool, block_b: int) -> None:
        seeds, batch = sizes(mean)
        self.log_std = log_std
        self.programs = triton.cdiv(batch, block_b)
        self.grid = (self.programs, seeds)
        self.shared = log_std.ndim < mean.ndim
        self.of_mean = torch.empty_like(mean) if needs_mean else None
        self.sums = None
        if needs_log_std:
            size = (seeds, self.programs, mean.shape[-1])
            self.sums = mean.new_empty(size, dtype=torch.float64) if self.shared else torch.empty_like(log_std)

    def arguments(self) -> dict[str, Any]:
        """As the kernels take them."""
        return {
            "of_mean_ptr": self.of_mean,
            "of_log_std_ptr": self.sums,
            "NEED_MEAN": self.of_mean is not None,
            "NEED_LOG_STD": self.sums is not None,
        }

    @property
    def of_log_std(self) -> Tensor | None:
        """The gradient of log_std, once the kernel ran."""
        if self.sums is None or not self.shared:
            return self.sums
        return self.sums.sum(1).to(torch.float32).view(self.log_std.shape)


class TanhGaussian(torch.autograd.Function):
    """Forward and hand-written backward."""

    @staticmethod
    def forward(
        ctx: Any,
        mean: Tensor,
        log_std: Tensor,
        noise: Tensor | None,
        drawn: tuple[Tensor, Tensor, int, int | None] | None,
        std_min: float,
        std_max: float,
        squash: bool,
    ) -> tuple[Tensor, Tensor]:
        """Action and log_prob."""
        ctx.set_materialize_grads(False)
        seeds, batch = sizes(mean)
        seed, offset, stream, samples = drawn or (None, None, 0, None)
        if noise is None:
            size = mean.shape if samples is None else (*mean.shape[:-1], samples, mean.shape[-1])
            noise = mean.new_empty(size)
        samples = noise.shape[-2] if noise.ndim > mean.ndim else 1
        action, log_prob = torch.empty_like(noise), noise.new_empty(noise.shape[:-1])
        fixed = constants(mean, log_std, std_min, std_max)
        rows = batch * samples
        with surroundings("tanh_gaussian", mean.device):
            sample_kernel[(triton.cdiv(rows, fixed["BLOCK_B"]), seeds)](
                mean,
                log_std,
                noise,
                seed,
                offset,
                action,
                log_prob,
                rows,
                samples,
                stream,
                SQUASH=squash,
                DRAW=drawn is not None,
                **fixed,
                **OPTIONS,
            )
        ctx.save_for_backward(mean, log_std, noise)
        ctx.rest = std_min, std_max, squash, samples
        return action, log_prob

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_action: Tensor | None, of_log_prob: Tensor | None) -> tuple[Tensor | None, ...]:
        """Gradients of mean and log_std."""
        mean, log_std, noise = ctx.saved_tensors
        std_min, std_max, squash, samples = ctx.rest
        fixed = constants(mean, log_std, std_min, std_max)
        needs_mean, needs_log_std, *_ = ctx.needs_input_grad
        out = PolicyGradients(mean, log_std, needs_mean, needs_log_std, fixed["BLOCK_B"])
        with surroundings("tanh_gaussian", mean.device):
            sample_backward_kernel[out.grid](
                mean,
                log_std,
                noise,
                None if of_action is None else of_action.contiguous(),
                None if of_log_prob is None else of_log_prob.contiguous(),
                batch=mean.shape[-2],
                samples=samples,
                SQUASH=squash,
                OF_ACTION=of_action is not None,
                OF_LOG_PROB=of_log_prob is not None,
                **out.arguments(),
                **fixed,
                **OPTIONS,
            )
        return out.of_mean, out.of_log_std, None, None, None, None, None


class GaussianLogProb(torch.autograd.Function):
    """Forward and hand-written backward."""

    @staticmethod
    def forward(ctx: Any, action: Tensor, mean: Tensor, log_std: Tensor, std_min: float, std_max: float) -> Tensor:
        """The log probability [*S, B]."""
        ctx.save_for_backward(action, mean, log_std)
        ctx.rest = std_min, std_max
        log_prob = mean.new_empty(mean.shape[:-1])
        fixed = constants(mean, log_std, std_min, std_max)
        nothing = PolicyGradients(mean, log_std, False, False, fixed["BLOCK_B"])
        GaussianLogProb.launch(nothing, action, mean, log_std, log_prob, None, fixed)
        return log_prob

    @staticmethod
    def launch(
        out: PolicyGradients,
        action: Tensor,
        mean: Tensor,
        log_std: Tensor,
        log_prob: Tensor | None,
        of_log_prob: Tensor | None,
        fixed: dict[str, Any],
    ) -> None:
        """Forward where `log_prob` says where it goes, else backward."""
        with surroundings("gaussian_log_prob", mean.device):
            log_prob_kernel[out.grid](
                action,
                mean,
                log_std,
                log_prob,
                of_log_prob,
                batch=mean.shape[-2],
                BACKWARD=log_prob is None,
                **out.arguments(),
                **fixed,
                **OPTIONS,
            )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_log_prob: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of action, mean and log_std."""
        action, mean, log_std = ctx.saved_tensors
        of_action, needs_mean, needs_log_std = ctx.needs_input_grad[:3]
        fixed = constants(mean, log_std, *ctx.rest)
        out = PolicyGradients(mean, log_std, of_action or needs_mean, needs_log_std, fixed["BLOCK_B"])
        GaussianLogProb.launch(out, action, mean, log_std, None, of_log_prob.contiguous(), fixed)
        negative = -out.of_mean if of_action and out.of_mean is not None else None
        return negative, out.of_mean if needs_mean else None, out.of_log_std, None, None


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
    """See `rewarm.q.tanh_gaussian`; where noise is drawn, by the same launch."""
    drawn = None if noise is not None else (seed, offset, stream, samples)
    action, log_prob = TanhGaussian.apply(mean, log_std, noise, drawn, std_min, std_max, squash)  # type: ignore[no-untyped-call]
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
