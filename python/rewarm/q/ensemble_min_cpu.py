"""The lowest Q of an ensemble in C++, with a backward through each row's critic alone: csrc/q/ensemble_mlp.cpp."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rewarm.q.ensemble_mlp_cpu import Call, Layers, addresses, parameters


class EnsembleMin(torch.autograd.Function):
    """(q_min, critic) of checked inputs; parameters get no gradient."""

    @staticmethod
    def forward(ctx: Any, call: Call, x: Tensor, actions: Tensor, flat: list[Tensor | None]) -> tuple[Tensor, Tensor]:
        """Keeps nothing but who was lowest: the rows of a critic are computed again in the backward."""
        threads = torch.get_num_threads()
        q = torch.empty(call.seeds, call.drawn, call.rows)
        call.handle.forward(
            addresses(flat),
            x.data_ptr(),
            *call.x_strides,
            actions.data_ptr(),
            call.action_width,
            1,
            call.rows,
            0,
            call.drawn,
            0,
            q.data_ptr(),
            threads,
        )
        q_min = torch.empty(actions.shape[:-1])
        critic = torch.empty(actions.shape[:-1], dtype=torch.int64)
        call.handle.lowest(q.data_ptr(), call.rows, q_min.data_ptr(), critic.data_ptr())
        ctx.call, ctx.flat = call, flat
        ctx.save_for_backward(x, actions, critic)
        ctx.mark_non_differentiable(critic)
        return q_min, critic

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, dq: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x and actions."""
        call: Call = ctx.call
        x, actions, critic = ctx.saved_tensors
        x_wanted, actions_wanted = ctx.needs_input_grad[1:3]
        begin = 0 if x_wanted else x.shape[-1]
        end = x.shape[-1] + (call.action_width if actions_wanted else 0)
        dx = torch.empty(call.seeds, call.rows, end - begin)
        dq = dq.contiguous()
        call.handle.lowest_backward(
            addresses(ctx.flat),
            x.data_ptr(),
            *call.x_strides,
            actions.data_ptr(),
            call.action_width,
            call.rows,
            critic.data_ptr(),
            dq.data_ptr(),
            dx.data_ptr(),
            begin,
            end,
            torch.get_num_threads(),
        )
        x_gradient = None
        if x_wanted:
            of_x = dx[..., : x.shape[-1]]
            if call.x_strides[1]:  # each critic has a batch of its own
                chosen = torch.nn.functional.one_hot(critic.view(call.seeds, call.rows), call.drawn).mT.unsqueeze(-1).bool()
                x_gradient = torch.where(chosen, of_x.unsqueeze(1), 0.0).reshape(x.shape)
            else:
                x_gradient = of_x.reshape(x.shape)
        actions_gradient = dx[..., x.shape[-1] - begin :].reshape(actions.shape) if actions_wanted else None
        return None, x_gradient, actions_gradient, None


def ensemble_min(
    x: Tensor, layers: Layers, head: Sequence[Tensor], *, actions: Tensor, eps: float = 1e-6, precision: str = "fp32"
) -> tuple[Tensor, Tensor]:
    """See `rewarm.q.ensemble_min`; its arguments were checked there."""
    call = Call.of(x, layers, head, actions, None, eps)
    flat = [None if t is None else t.detach() for t in parameters(layers, head)]
    q_min, critic = EnsembleMin.apply(call, x, actions, flat)  # type: ignore[no-untyped-call]
    return q_min, critic
