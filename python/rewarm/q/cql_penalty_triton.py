"""The triton backend of `cql_penalty`: one launch forward, one back, over rows whose actions stream past.

float64 inside, rounded once: a row has tens of actions where the critics before it take millions of products. Backward
finds maximum and sum again, so that nothing is kept.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from rewarm.q.launch_triton import surroundings

#: Rows of a program, and most actions that it holds at once.
BLOCK_B, BLOCK_N = 16, 64
OPTIONS = {"num_warps": 4, "enable_fp_fusion": True}


@triton.jit
def sampled(
    q_ptr, log_density_ptr, mc, row, state, exists, n0, n_actions, first_bounded, shift,
    BOUNDED: tl.constexpr, WEIGHTED: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Of actions [n0, n0 + BLOCK_N) of the rows: q'', -inf past the last; whether q is its own; which exist; where they are."""
    n = n0 + tl.arange(0, BLOCK_N)
    real = exists[:, None] & (n < n_actions)[None, :]
    at = (row * n_actions)[:, None] + n[None, :]
    q = tl.load(q_ptr + at, mask=real, other=0.0).to(tl.float64)
    own = real
    if BOUNDED:
        own = (q >= mc[:, None]) | (q != q) | (n < first_bounded)[None, :]
        q = tl.where(own, q, mc[:, None])
    if WEIGHTED:
        q -= tl.load(log_density_ptr + (state * n_actions)[:, None] + n[None, :], mask=real, other=0.0).to(tl.float64)
    else:
        q -= shift
    return tl.where(real, q, float("-inf")), own, real, at


@triton.jit
def finite_base(most):
    """What is subtracted in an exponential: infinities are not, since inf - inf is NaN; the sum is 0 or infinite by itself."""
    return tl.where(tl.abs(most) == float("inf"), 0.0, most)


@triton.jit
def log_sum_exp(
    q_ptr, data, log_density_ptr, mc, row, state, exists, n_actions, first_bounded, shift, temperature,
    BOUNDED: tl.constexpr, WEIGHTED: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """For every row a base near the maximum of q'' / T, and the sum of exp(q'' / T - base), as the actions stream past.

    A maximum of the GPU leaves NaN out, but its exponential does not: the sum is NaN then.
    """
    most = tl.full(data.shape, float("-inf"), tl.float64)
    if not WEIGHTED:
        most = (data - shift) / temperature
    base = finite_base(most)
    total = tl.exp(most - base)
    for n0 in range(0, n_actions, BLOCK_N):
        q, _, _, _ = sampled(
            q_ptr, log_density_ptr, mc, row, state, exists, n0, n_actions, first_bounded, shift, BOUNDED, WEIGHTED, BLOCK_N
        )  # fmt: skip
        q = q / temperature
        most = tl.maximum(most, tl.max(tl.where(q != q, float("-inf"), q), axis=1))
        new_base = finite_base(most)
        total = total * tl.exp(base - new_base) + tl.sum(tl.exp(q - new_base[:, None]), axis=1)
        base = new_base
    return base, total


@triton.jit
def rows_here(data_ptr, mc_ptr, rows, n_drawn, BOUNDED: tl.constexpr, BLOCK_B: tl.constexpr):
    """The rows of this program: in [*S, M, B], in [*S, B], which exist; their q_data and returns."""
    place = tl.program_id(1).to(tl.int64)
    b = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)
    exists = b < rows
    row, state = place * rows + b, (place // n_drawn) * rows + b
    data = tl.load(data_ptr + row, mask=exists, other=0.0).to(tl.float64)
    mc = data
    if BOUNDED:
        mc = tl.load(mc_ptr + state, mask=exists, other=0.0).to(tl.float64)
    return row, state, exists, data, mc


@triton.jit(do_not_specialize=["rows", "n_drawn", "n_actions", "first_bounded", "temperature", "shift"])
def penalty_kernel(
    q_ptr,  # [*S, M, B, N]
    data_ptr,  # [*S, M, B]
    log_density_ptr,  # [*S, B, N]
    mc_ptr,  # [*S, B]
    diff_ptr,  # [*S, M, B]
    rows,
    n_drawn,
    n_actions,
    first_bounded,
    temperature,
    shift,
    BOUNDED: tl.constexpr,
    WEIGHTED: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """T logsumexp(q'' / T) - q_data."""
    row, state, exists, data, mc = rows_here(data_ptr, mc_ptr, rows, n_drawn, BOUNDED, BLOCK_B)
    zero = tl.zeros([], dtype=tl.float64)
    t, moved = zero + temperature, zero + shift
    base, total = log_sum_exp(
        q_ptr, data, log_density_ptr, mc, row, state, exists, n_actions, first_bounded, moved, t, BOUNDED, WEIGHTED, BLOCK_N
    )  # fmt: skip
    tl.store(diff_ptr + row, (t * (base + tl.log(total)) - data).to(tl.float32), mask=exists)


@triton.jit(do_not_specialize=["rows", "n_drawn", "n_actions", "first_bounded", "temperature", "shift"])
def penalty_backward_kernel(
    q_ptr,
    data_ptr,
    log_density_ptr,
    mc_ptr,
    gradient_ptr,  # [*S, M, B]
    dq_ptr,  # [*S, M, B, N]
    ddata_ptr,  # [*S, M, B]
    rows,
    n_drawn,
    n_actions,
    first_bounded,
    temperature,
    shift,
    BOUNDED: tl.constexpr,
    WEIGHTED: tl.constexpr,
    NEED_SAMPLED: tl.constexpr,
    NEED_DATA: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """The softmax of q'' / T, 0 where the bound stands for q; for q_data its own weight, if appended, less 1."""
    row, state, exists, data, mc = rows_here(data_ptr, mc_ptr, rows, n_drawn, BOUNDED, BLOCK_B)
    zero = tl.zeros([], dtype=tl.float64)
    t, moved = zero + temperature, zero + shift
    base, total = log_sum_exp(
        q_ptr, data, log_density_ptr, mc, row, state, exists, n_actions, first_bounded, moved, t, BOUNDED, WEIGHTED, BLOCK_N
    )  # fmt: skip
    g = tl.load(gradient_ptr + row, mask=exists, other=0.0).to(tl.float64)
    if NEED_SAMPLED:
        for n0 in range(0, n_actions, BLOCK_N):
            q, own, real, at = sampled(
                q_ptr, log_density_ptr, mc, row, state, exists, n0, n_actions, first_bounded, moved,
                BOUNDED, WEIGHTED, BLOCK_N,
            )  # fmt: skip
            weight = tl.exp(q / t - base[:, None]) / total[:, None]
            tl.store(dq_ptr + at, tl.where(own, g[:, None] * weight, 0.0).to(tl.float32), mask=real)
    if NEED_DATA:
        weight = tl.zeros(data.shape, dtype=tl.float64)
        if not WEIGHTED:
            weight = tl.exp((data - moved) / t - base) / total
        tl.store(ddata_ptr + row, (g * (weight - 1.0)).to(tl.float32), mask=exists)


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
        ctx.save_for_backward(q_sampled, q_data, log_density, mc_return)
        ctx.rest = first_bounded, temperature
        diff = torch.empty_like(q_data)
        launch(penalty_kernel, (q_sampled, q_data, log_density, mc_return), (diff,), *ctx.rest)
        return diff

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of q_sampled and q_data."""
        tensors = ctx.saved_tensors
        needs = ctx.needs_input_grad[:2]
        out = tuple(torch.empty_like(t) if need else None for t, need in zip(tensors[:2], needs, strict=True))
        launch(
            penalty_backward_kernel,
            tensors,
            (gradient.contiguous(), *out),
            *ctx.rest,
            NEED_SAMPLED=needs[0],
            NEED_DATA=needs[1],
        )
        return (*out, None, None, None, None)


def launch(
    kernel: Any,
    inputs: tuple[Tensor | None, ...],
    others: tuple[Tensor | None, ...],
    first_bounded: int,
    temperature: float,
    **constants: bool,
) -> None:
    """Launches one of the two kernels over blocks of rows and the critics of all seeds."""
    q_sampled, _, log_density, mc_return = inputs
    assert q_sampled is not None
    m, b, n = q_sampled.shape[-3:]
    seeds = q_sampled.shape[0] if q_sampled.ndim == 4 else 1
    with surroundings("cql_penalty", q_sampled.device):
        kernel[(triton.cdiv(b, BLOCK_B), seeds * m)](
            *inputs,
            *others,
            b,
            m,
            n,
            first_bounded,
            temperature,
            temperature * math.log(n + 1),
            BOUNDED=mc_return is not None,
            WEIGHTED=log_density is not None,
            BLOCK_B=BLOCK_B,
            BLOCK_N=min(triton.next_power_of_2(n), BLOCK_N),
            **constants,
            **OPTIONS,
        )


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
