"""Ensembles to test with, their forward and backward with error bounds, and the backends that are here."""

from __future__ import annotations

import torch
from rounding import Rounded
from torch import Tensor

from rewarm import _dispatch
from rewarm.q.backend import is_written


def backends(module: str) -> list[tuple[str, str]]:
    """(backend, device) of every compiled spelling that can run; Triton's interpreter has test files of its own."""
    here = [("cpu", "cpu")] if is_written(module, "cpu") else []
    if torch.cuda.is_available() and is_written(module, "triton") and not _dispatch.unavailable("triton", "cuda"):
        here.append(("triton", "cuda"))
    return here


def named(backends):
    return [f"{b}-{d}" if b != d else b for b, d in backends]


def ensemble(s, e, d, hidden, outputs=None, norm=True, device="cpu", dtype=torch.float32):
    """Random layers and head; s None: no seeds axis. Scaled so that activations stay near 1."""
    lead = (e,) if s is None else (s, e)

    def draw(*shape, scale=1.0):
        return (torch.randn(*lead, *shape) * scale).to(device=device, dtype=dtype)

    layers, width = [], d
    for h in hidden:
        layer = [draw(width, h, scale=width**-0.5), draw(h, scale=0.3)]
        if norm:
            layer += [1.0 + draw(h, scale=0.2), draw(h, scale=0.3)]
        layers.append(tuple(layer))
        width = h
    tail = () if outputs is None else (outputs,)
    return layers, (draw(width, *tail, scale=width**-0.5), draw(*tail))


def flat(layers, head):
    return [*(p for layer in layers for p in layer), *head]


def moved(layers, head, make):
    """The same structure with `make` applied to every tensor."""
    return [tuple(make(p) for p in layer) for layer in layers], tuple(make(p) for p in head)


def rows_of(x: Tensor, actions: Tensor | None, axis: int) -> Tensor:
    """What the first layer is given: [*S, 1 or E, rows, D]."""
    if x.ndim == 2 + axis:
        x = x.unsqueeze(axis)
    if actions is None:
        return x
    if actions.ndim == 3 + axis:
        x = x.repeat_interleave(actions.shape[-2], dim=-2)
        actions = actions.flatten(-3, -2)
    return torch.cat([x, actions.unsqueeze(axis).expand(*x.shape[:-1], -1)], dim=-1)


class Walk:
    """Forward and backward of one ensemble as the docstring writes them, every value with its bound; all inputs float64."""

    def __init__(self, rows: Tensor, layers, head, eps: float) -> None:
        self.layers = [tuple(Rounded.exact(p) for p in layer) for layer in layers]
        self.head = tuple(Rounded.exact(p) for p in head)
        self.scalar = head[0].ndim == layers[0][0].ndim - 1
        self.inputs, self.norms, self.pre = [Rounded.exact(rows)], [], []
        for weight, bias, *norm in self.layers:
            y = self.inputs[-1] @ weight + bias.unsqueeze(-2)
            if norm:
                centred = y - y.mean()
                rstd = ((centred * centred).mean() + Rounded.constant(eps)).rsqrt()
                n = centred * rstd
                self.norms.append((n, rstd))
                y = n * norm[0].unsqueeze(-2) + norm[1].unsqueeze(-2)
            else:
                self.norms.append(None)
            self.pre.append(y)
            self.inputs.append(y.where(y.v > 0))
        weight, bias = self.head
        if self.scalar:
            q = self.inputs[-1] @ weight.unsqueeze(-1)
            self.q = q[..., 0] + bias.unsqueeze(-1)
        else:
            self.q = self.inputs[-1] @ weight + bias.unsqueeze(-2)

    def backward(self, g: Tensor) -> tuple[Rounded, list[Rounded]]:
        """Gradients of the rows that each critic read, and of the parameters in the order of `flat`."""
        out = Rounded.exact(g)
        if self.scalar:
            out = out.unsqueeze(-1)
            w = self.head[0].unsqueeze(-1)
            head = [(self.inputs[-1].mT @ out)[..., 0], out[..., 0].sum(-1)]
        else:
            w = self.head[0]
            head = [self.inputs[-1].mT @ out, out.sum(-2)]
        d, gradients = out @ w.mT, []
        for (weight, _, *norm), kept, pre, x in zip(
            self.layers[::-1], self.norms[::-1], self.pre[::-1], self.inputs[-2::-1], strict=True
        ):
            d = d.where(pre.v > 0)
            of_norm = []
            if kept is not None:
                n, rstd = kept
                of_norm = [(d * n).sum(-2), d.sum(-2)]
                v = d * norm[0].unsqueeze(-2)
                d = rstd * ((v - v.mean()) - n * (v * n).mean())
            gradients = [x.mT @ d, d.sum(-2), *of_norm, *gradients]
            d = d @ weight.mT
        return d, [*gradients, *head]


def clear_of_kinks(make, layers, head, eps: float, *, shared: bool = False, least: float = 1e-3):
    """x, actions and their Walk such that every |pre-activation| exceeds `least` and its bound: no mask depends on rounding.

    Args:
        make: Draws x and actions; rows that come too near a kink are drawn again.
        layers: float64, as the head.
        head: float64.
        eps: Of LayerNorm.
        shared: One batch for all seeds: `make` draws it without the seeds axis, x comes back expanded.
        least: The distance to keep.
    """
    axis = layers[0][0].ndim - 3
    seeds = layers[0][0].shape[0]
    x, actions = make()
    for _ in range(200):
        shown = x.expand(seeds, *x.shape) if shared else x
        walk = Walk(rows_of(shown, actions, axis).double(), layers, head, eps)
        near = torch.stack([(y.v.abs() <= torch.maximum(y.e, torch.tensor(least))).any(-1).any(axis) for y in walk.pre]).any(0)
        near = near.unflatten(-1, (x.shape[-2], -1)).any(-1)  # [*S, B]
        if not near.any():
            return shown, actions, walk
        new_x, new_actions = make()
        of_x = near.any(0) if shared else near
        x = torch.where((of_x if x.ndim == of_x.ndim + 1 else of_x.unsqueeze(-2)).unsqueeze(-1), new_x, x)
        if actions is not None:
            near = near.reshape(*near.shape, *[1] * (actions.ndim - near.ndim))
            actions = torch.where(near, new_actions, actions)
    raise AssertionError("no inputs away from the kinks of relu were found")
