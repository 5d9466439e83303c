"""Ensembles of MLPs in C++: csrc/q/ensemble_mlp.cpp, forward and a backward written by hand."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rewarm._native import core

Layers = Sequence[Sequence[Tensor]]


@functools.lru_cache(maxsize=64)
def native(
    widths: tuple[int, ...], layer_norm: tuple[bool, ...], outputs: int, eps: float, seeds: int, critics: int
) -> core.EnsembleMlp:
    """The handle of one shape; it owns scratch memory and is used by one thread at a time."""
    return core.EnsembleMlp(list(widths), list(layer_norm), outputs, eps, seeds, critics)


def parameters(layers: Layers, head: Sequence[Tensor]) -> list[Tensor | None]:
    """Four tensors a layer (None without LayerNorm), then the head's two: the order of the addresses."""
    flat: list[Tensor | None] = []
    for layer in layers:
        flat += [*layer, *[None] * (4 - len(layer))]
    return [*flat, *head]


def addresses(tensors: Sequence[Tensor | None]) -> list[int]:
    """0 for None."""
    return [0 if t is None else t.data_ptr() for t in tensors]


@dataclass(frozen=True)
class Call:
    """The sizes of one call.

    Attributes:
        handle: See `native`.
        seeds: 1 without a seeds axis.
        drawn: Critics evaluated.
        outputs: Of the head, 1 for a head without that axis.
        rows: Rows for each critic, actions counted.
        repeat: Rows for each row of x.
        x_strides: Elements from seed to seed and from critic to critic, 0 where shared.
        action_width: 0 without actions.
    """

    handle: core.EnsembleMlp
    seeds: int
    drawn: int
    outputs: int
    rows: int
    repeat: int
    x_strides: tuple[int, int]
    action_width: int

    @classmethod
    def of(
        cls, x: Tensor, layers: Layers, head: Sequence[Tensor], actions: Tensor | None, index: Tensor | None, eps: float
    ) -> Call:
        """Reads the sizes off arguments that were checked."""
        weight = layers[0][0]
        axis = weight.ndim - 3  # of the critics
        seeds, critics = weight.shape[0] if axis else 1, weight.shape[axis]
        drawn = critics if index is None else index.shape[-1]
        widths = (weight.shape[-2], *(layer[0].shape[-1] for layer in layers))
        outputs = head[0].shape[-1] if head[0].ndim == weight.ndim else 1
        handle = native(widths, tuple(len(layer) == 4 for layer in layers), outputs, eps, seeds, critics)
        repeat = actions.shape[-2] if actions is not None and actions.ndim == 3 + axis else 1
        per_critic = x.ndim == 3 + axis
        x_strides = (x.stride(0) if axis else 0, x.stride(axis) if per_critic else 0)
        action_width = 0 if actions is None else actions.shape[-1]
        return cls(handle, seeds, drawn, outputs, x.shape[-2] * repeat, repeat, x_strides, action_width)


class EnsembleMlp(torch.autograd.Function):
    """q [S, M, rows, O] of flat inputs."""

    @staticmethod
    def forward(
        ctx: Any, call: Call, recompute: bool, x: Tensor, actions: Tensor | None, index: Tensor | None, *flat: Tensor | None
    ) -> Tensor:
        """Keeps the activations when a backward may come and `recompute` does not forbid it."""
        wanted = any(ctx.needs_input_grad)
        q = torch.empty(call.seeds, call.drawn, call.rows, call.outputs)
        kept = torch.empty(call.handle.kept_floats(call.rows, call.drawn)) if wanted and not recompute else None
        call.handle.forward(
            addresses(flat),
            x.data_ptr(),
            *call.x_strides,
            0 if actions is None else actions.data_ptr(),
            call.action_width,
            call.repeat,
            call.rows,
            0 if index is None else index.data_ptr(),
            call.drawn,
            0 if kept is None else kept.data_ptr(),
            q.data_ptr(),
            torch.get_num_threads(),
        )
        ctx.call, ctx.kept = call, kept
        ctx.save_for_backward(x, actions, index, *flat)
        return q

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, dq: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, actions and parameters, each only where it is wanted."""
        call: Call = ctx.call
        x, actions, index, *flat = ctx.saved_tensors
        x_wanted, actions_wanted = ctx.needs_input_grad[2:4]
        parameters_wanted = any(ctx.needs_input_grad[5:])
        gradients = [None if t is None else torch.empty_like(t) for t in flat] if parameters_wanted else None
        begin = 0 if x_wanted else x.shape[-1]
        end = x.shape[-1] + (call.action_width if actions_wanted else 0)
        dx = torch.empty(call.seeds, call.drawn, call.rows, end - begin) if x_wanted or actions_wanted else None
        dq = dq.contiguous()
        call.handle.backward(
            addresses(flat),
            x.data_ptr(),
            *call.x_strides,
            0 if actions is None else actions.data_ptr(),
            call.action_width,
            call.repeat,
            call.rows,
            0 if index is None else index.data_ptr(),
            call.drawn,
            0 if ctx.kept is None else ctx.kept.data_ptr(),
            dq.data_ptr(),
            None if gradients is None else addresses(gradients),
            0 if dx is None else dx.data_ptr(),
            begin if dx is not None else 0,
            end if dx is not None else 0,
            torch.get_num_threads(),
        )
        x_gradient = actions_gradient = None
        if x_wanted:
            assert dx is not None
            of_x = dx[..., : x.shape[-1]].unflatten(2, (-1, call.repeat)).sum(3)  # type: ignore[no-untyped-call]
            x_gradient = of_x.reshape(x.shape) if call.x_strides[1] else in_order(of_x).reshape(x.shape)
        if actions_wanted:
            assert dx is not None
            actions_gradient = in_order(dx[..., x.shape[-1] - begin :]).reshape(actions.shape)
        return (None, None, x_gradient, actions_gradient, None, *(gradients or [None] * len(flat)))


def in_order(of_critics: Tensor) -> Tensor:
    """The sum over axis 1, from the first critic to the last, so that no bit depends on how many seeds there are."""
    total = of_critics[:, 0].clone()
    for i in range(1, of_critics.shape[1]):
        total += of_critics[:, i]
    return total


def ensemble_mlp(
    x: Tensor,
    layers: Layers,
    head: Sequence[Tensor],
    *,
    actions: Tensor | None = None,
    index: Tensor | None = None,
    eps: float = 1e-6,
    precision: str = "fp32",
    recompute: bool = False,
) -> Tensor:
    """See `rewarm.q.ensemble_mlp`; its arguments were checked there."""
    call = Call.of(x, layers, head, actions, index, eps)
    q: Tensor = EnsembleMlp.apply(call, recompute, x, actions, index, *parameters(layers, head))  # type: ignore[no-untyped-call]
    seeds = () if layers[0][0].ndim == 3 else (call.seeds,)
    rows = (call.rows,) if actions is None or actions.ndim == x_rank(layers) else (-1, call.repeat)
    outputs = q.shape[-1:] if head[0].ndim == layers[0][0].ndim else ()
    shape = (*seeds, call.drawn, *rows, *outputs)
    return q.view(shape)


def x_rank(layers: Layers) -> int:
    """Axes of an x that the critics share."""
    return layers[0][0].ndim - 1
