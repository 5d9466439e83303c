"""The cpu backend of `cql_penalty`: csrc/q/cql_penalty.h. Backward computes the weights again, so that nothing is kept."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rewarm import _native

core: Any = _native.core  # mypy cannot count the arguments behind a star


def address(t: Tensor | None) -> int:
    """Of the first element, or 0."""
    return 0 if t is None else t.data_ptr()


def common(q_sampled: Tensor, *others: Tensor | None) -> Any:
    """The arguments that forward and backward begin with: S, M, B, N and addresses."""
    m, b, n = q_sampled.shape[-3:]
    return q_sampled.shape[0] if q_sampled.ndim == 4 else 1, m, b, n, *map(address, (q_sampled, *others))


class CqlPenalty(torch.autograd.Function):
    """Forward and hand-written backward."""

    @staticmethod
    def forward(
        ctx: Any,
        q_sampled: Tensor,
        q_data: Tensor,
        log_density: Tensor | None,
        mc_return: Tensor | None,
        first_bounded: int,
        temperature: float,
    ) -> Tensor:
        """The penalty [*S, M, B]."""
        tensors = q_sampled, q_data, log_density, mc_return
        diff = torch.empty_like(q_data)
        core.cql_penalty(*common(*tensors), first_bounded=first_bounded, temperature=temperature, diff=diff.data_ptr())
        ctx.save_for_backward(*tensors)
        ctx.rest = first_bounded, temperature
        return diff

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None, None]:
        """Gradients of q_sampled and q_data."""
        tensors = ctx.saved_tensors
        gradient = gradient.contiguous()
        of_sampled, of_data = (
            torch.empty_like(t) if need else None for t, need in zip(tensors[:2], ctx.needs_input_grad[:2], strict=True)
        )
        first_bounded, temperature = ctx.rest
        core.cql_penalty_backward(
            *common(*tensors),
            first_bounded=first_bounded,
            temperature=temperature,
            g=gradient.data_ptr(),
            of_sampled=address(of_sampled),
            of_data=address(of_data),
        )
        return of_sampled, of_data, None, None, None, None


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
    return CqlPenalty.apply(  # type: ignore[no-any-return, no-untyped-call]
        q_sampled, q_data, log_density, mc_return, 0 if bound_random else n_random, temperature
    )
