"""An ensemble of MLPs as one batched matmul a layer, in the dtype of its inputs: the law for every other backend.

Linear -> LayerNorm (Ba, Kiros and Hinton 2016, arXiv 1607.06450) -> ReLU in every hidden layer, then a linear head. Imports
torch and nothing of rewarm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Layer = tuple[Tensor, ...]


def rounded(t: Tensor, precision: str) -> Tensor:
    """`t` with the mantissa that a tensor core reads: 10 bits for tf32 (nearest even), 7 for bf16, all for fp32."""
    if precision == "fp32":
        return t
    if precision == "bf16":
        return t.to(torch.bfloat16).to(t.dtype)
    bits = t.float().view(torch.int32)
    bits = (bits + (0xFFF + (bits >> 13 & 1))) & ~0x1FFF
    return torch.where(t.isfinite(), bits.view(torch.float32).to(t.dtype), t)


class RoundedMatmul(torch.autograd.Function):
    """A product whose inputs are rounded, also in the two products of its backward; sums are not."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, precision: str) -> Tensor:
        """Rounded a @ rounded b."""
        ctx.save_for_backward(a, b)
        ctx.precision = precision
        return rounded(a, precision) @ rounded(b, precision)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        """Gradients of a and b; a leading axis that was broadcast is summed."""
        a, b = (rounded(t, ctx.precision) for t in ctx.saved_tensors)
        g = rounded(gradients[0], ctx.precision)
        return (g @ b.mT).sum_to_size(a.shape), (a.mT @ g).sum_to_size(b.shape), None


def matmul(a: Tensor, b: Tensor, precision: str) -> Tensor:
    """The product a b with inputs rounded to `precision`."""
    if precision == "fp32":
        return a @ b
    return RoundedMatmul.apply(a, b, precision)  # type: ignore[no-any-return, no-untyped-call]


def taken(parameter: Tensor, index: Tensor | None, axis: int) -> Tensor:
    """The drawn critics' part of a parameter with critics on `axis`; an index outside takes the nearest critic's."""
    if index is None:
        return parameter
    index = index.clamp(0, parameter.shape[axis] - 1)
    if axis == 0:
        return parameter[index]
    seeds = torch.arange(parameter.shape[0], device=index.device).unsqueeze(1)
    return parameter[seeds, index]


def layer_norm(z: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """(z - mean) / sqrt(var + eps) * weight + bias over the last axis, with the biased variance."""
    centred = z - z.mean(-1, keepdim=True)
    n = centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + eps)
    return n * weight + bias


def ensemble_mlp(
    x: Tensor,
    layers: Sequence[Layer],
    head: Layer,
    *,
    actions: Tensor | None = None,
    index: Tensor | None = None,
    eps: float = 1e-6,
    precision: str = "fp32",
    recompute: bool = False,
) -> Tensor:
    """See `rewarm.q.ensemble_mlp`; `recompute` changes no value and is ignored. An index outside gives NaN."""
    axis = layers[0][0].ndim - 3  # of the critics: 1 behind a seeds axis
    batch = x.shape[-2]
    repeats = 0
    if x.ndim == 2 + axis:
        x = x.unsqueeze(axis)  # [*S, 1, B, D], shared by the critics
    if actions is not None:
        if actions.ndim == 3 + axis:
            repeats = actions.shape[-2]
            x = x.repeat_interleave(repeats, dim=-2)
            actions = actions.flatten(-3, -2)
        x = torch.cat([x, actions.unsqueeze(axis).expand(*x.shape[:-1], -1)], dim=-1)
    for layer in layers:
        weight, bias, *norm = (taken(p, index, axis) for p in layer)
        x = matmul(x, weight, precision) + bias.unsqueeze(-2)
        if norm:
            x = layer_norm(x, norm[0].unsqueeze(-2), norm[1].unsqueeze(-2), eps)
        x = torch.relu(x)
    weight, bias = (taken(p, index, axis) for p in head)
    if weight.ndim == 2 + axis:
        q = (x @ weight.unsqueeze(-1)).squeeze(-1) + bias.unsqueeze(-1)
        rows = q.ndim - 1  # the axis of the rows
    else:
        q = x @ weight + bias.unsqueeze(-2)
        rows = q.ndim - 2
    if index is not None:
        inside = (index >= 0) & (index < layers[0][0].shape[axis])
        q = torch.where(inside.reshape(*index.shape, *[1] * (q.ndim - index.ndim)), q, torch.nan)
    if not repeats:
        return q
    return q.reshape(*q.shape[:rows], batch, repeats, *q.shape[rows + 1 :])
