"""The triton backend of `ensemble_min`: two launches forward, two back, the latter for the critic of the minimum alone.

Forward evaluates all critics and keeps nothing but, for every critic, the list of the rows whose minimum it gave. Backward
walks through those lists: every row is computed again for its one critic, so that forward and back together are E + 2 passes
over the rows where the usual way makes 2 E (in multiples of a forward, and of a backward without weight gradients).
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from rewarm.q.ensemble_mlp_triton import (
    Ensemble,
    Head,
    InputGradients,
    Layers,
    Rows,
    flat,
    run_backward,
    run_forward,
    sorted_arguments,
)
from rewarm.q.launch_triton import surroundings

#: Rows that a program of `group_kernel` sorts at once.
BLOCK = 1024


@triton.jit(do_not_specialize=["n_rows", "n_critics"])
def group_kernel(
    q_ptr,  # [S, E, B]
    q_min_ptr,  # [S, B]
    critic_ptr,  # [S, B] int64
    rows_ptr,  # [S, E, B] int32: of every critic, the rows whose minimum it gave, in their order
    counts_ptr,  # [S, E] int32: how many they are
    n_rows,
    n_critics,
    BLOCK: tl.constexpr,
):
    """The minimum over critics and the list of one critic: NaN wins, then the smallest value, then the lowest index."""
    place = tl.program_id(0).to(tl.int64)
    seed, e = place // n_critics, place % n_critics
    listed = tl.zeros([], dtype=tl.int32)
    for r0 in range(0, n_rows, BLOCK):
        row = r0 + tl.arange(0, BLOCK)
        exists = row < n_rows
        values = q_ptr + seed * n_critics * n_rows + row
        best = tl.load(values, mask=exists, other=0.0)
        critic = tl.zeros([BLOCK], dtype=tl.int64)
        for other in range(1, n_critics):
            q = tl.load(values + other * n_rows, mask=exists, other=0.0)
            better = (q < best) | ((q != q) & (best == best))
            best = tl.where(better, q, best)
            critic = tl.where(better, other, critic)
        if e == 0:
            tl.store(q_min_ptr + seed * n_rows + row, best, mask=exists)
            tl.store(critic_ptr + seed * n_rows + row, critic, mask=exists)
        mine = exists & (critic == e)
        order = tl.cumsum(mine.to(tl.int32), axis=0)
        tl.store(rows_ptr + place * n_rows + listed + order - 1, row, mask=mine)
        listed += tl.sum(mine.to(tl.int32), axis=0)
    tl.store(counts_ptr + place, listed)


def forward(e: Ensemble, x: Tensor) -> tuple[Tensor, Tensor, Rows]:
    """q_min and critic, shaped [*S, B], and the lists."""
    shape = e.shape
    lead = e.parameters[0].shape[:-3]
    q = x.new_empty(shape.seeds, shape.critics, shape.rows)
    run_forward(e, q, keep=False)
    q_min = x.new_empty(*lead, shape.rows)
    critic = torch.empty_like(q_min, dtype=torch.int64)
    lists = Rows(
        torch.empty_like(q, dtype=torch.int32),
        torch.empty(shape.seeds, shape.critics, dtype=torch.int32, device=x.device),
    )
    with surroundings("ensemble_min", x.device):
        group_kernel[(shape.seeds * shape.critics,)](
            q, q_min, critic, lists.rows, lists.counts, shape.rows, shape.critics, BLOCK=BLOCK, num_warps=4
        )
    return q_min, critic, lists


class EnsembleMin(torch.autograd.Function):
    """`ensemble_min` on flat arguments, with its backward; not differentiable twice."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        actions: Tensor,
        norms: tuple[bool, ...],
        eps: float,
        precision: str,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """q_min and critic."""
        e = sorted_arguments(x, actions, None, parameters, norms, eps, precision)
        q_min, critic, lists = forward(e, x)
        ctx.options = norms, eps, precision
        ctx.save_for_backward(x, actions, lists.rows, lists.counts, *parameters)
        ctx.mark_non_differentiable(critic)
        return q_min, critic

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dq: Tensor, _of_critic: Tensor) -> tuple[Any, ...]:
        """Gradients of x and actions."""
        x, actions, rows, counts, *parameters = ctx.saved_tensors
        e = sorted_arguments(x, actions, None, tuple(parameters), *ctx.options)
        lists, shape = Rows(rows, counts), e.shape
        needs_x, needs_actions, *_ = ctx.needs_input_grad
        inputs = InputGradients.of(e, needs_x, needs_actions, shape.seeds)
        if inputs.x is not None and e.x_critic:
            # Every critic has an x of its own: those that did not give the minimum of a row get nothing from it.
            inputs = InputGradients(torch.zeros_like(e.x), inputs.actions)
        kept = run_forward(e, None, keep=True, grouped=lists)
        run_backward(e, kept, dq.contiguous(), inputs, grouped=lists)
        dx = None if inputs.x is None else inputs.x.view(x.shape)
        dactions = None if inputs.actions is None else inputs.actions.view(actions.shape)
        return (dx, dactions, *[None] * (3 + len(parameters)))


def ensemble_min(
    x: Tensor,
    layers: Layers,
    head: Head,
    *,
    actions: Tensor,
    eps: float = 1e-6,
    precision: str = "fp32",
) -> tuple[Tensor, Tensor]:
    """See `rewarm.q.ensemble_min`.

    Raises:
        InvalidArgument: A hidden layer of more than 1024 units.
        BackendUnavailable: CPU tensors outside Triton's interpreter.
    """
    parameters, norms = flat(layers, head)
    parameters = tuple(p.detach() for p in parameters)
    q_min, critic = EnsembleMin.apply(x, actions, norms, eps, precision, *parameters)  # type: ignore[no-untyped-call]
    return q_min, critic
