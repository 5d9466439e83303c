"""The triton backend of `ensemble_mlp`: one launch forward, two back (docs/ensemble_mlp.md).

Forward keeps n and 1 / std of every layer. Backward walks down the layers over the same row tiles and leaves dz of every
layer, then sums all parameter gradients over rows, in a fixed order and without atomics. Nothing here waits for the GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rewarm.q.ensemble_mlp_kernels_triton import backward_kernel, forward_kernel
from rewarm.q.ensemble_shape_triton import EnsembleShape
from rewarm.q.ensemble_weights_triton import weight_gradients_kernel
from rewarm.q.launch_triton import surroundings

Layers = Sequence[Sequence[Tensor]]
Head = Sequence[Tensor]


@dataclass(frozen=True)
class Rows:
    """Lists of rows by critic, of `group_kernel`: the grouped launches of `ensemble_min`."""

    rows: Tensor  # [*S, E, B] int32
    counts: Tensor  # [*S, E] int32


@dataclass(frozen=True)
class Ensemble:
    """The arguments of one call, sorted as the kernels take them."""

    shape: EnsembleShape
    x: Tensor
    x_seed: int
    x_critic: int
    actions: Tensor | None
    actions_seed: int
    index: Tensor | None
    parameters: tuple[Tensor, ...]

    def layers(self, which: int) -> tuple[Tensor, ...]:
        """Weights (0), biases (1), gammas (2) or betas (3) of the layers."""
        return self.parameters[which:-2:4]

    def sizes(self, first: int, n_rows: int) -> dict[str, int]:
        """Counts that every kernel takes."""
        shape = self.shape
        return {
            "first": first,
            "n_rows": n_rows,
            "all_rows": shape.rows,
            "n_drawn": shape.drawn,
            "n_critics": shape.critics,
        }

    def inputs(self) -> dict[str, Any]:
        """x, actions and index."""
        return {
            "x_ptr": self.x,
            "x_seed": self.x_seed,
            "x_critic": self.x_critic,
            "actions_ptr": self.x if self.actions is None else self.actions,
            "actions_seed": self.actions_seed,
            "index_ptr": self.index,
            "repeats": self.shape.repeats,
        }


def flat(layers: Layers, head: Head) -> tuple[tuple[Tensor, ...], tuple[bool, ...]]:
    """Four tensors a layer, then the head's two; and which layers have LayerNorm. Without it the bias stands in for both."""
    norms = tuple(len(layer) == 4 for layer in layers)
    tensors: list[Tensor] = []
    for layer in layers:
        tensors += [*layer, layer[1], layer[1]][:4]
    return (*tensors, *head), norms


def sorted_arguments(
    x: Tensor,
    actions: Tensor | None,
    index: Tensor | None,
    parameters: tuple[Tensor, ...],
    norms: tuple[bool, ...],
    eps: float,
    precision: str,
) -> Ensemble:
    """Reads the sizes off the tensors; `parameters` and `norms` as `flat` returns them."""
    weights, head_weight = parameters[:-2:4], parameters[-2]
    has_seeds = weights[0].ndim == 4
    critics = weights[0].shape[-3]
    repeats = actions.shape[-2] if actions is not None and actions.ndim == 3 + has_seeds else 1
    shape = EnsembleShape(
        seeds=weights[0].shape[0] if has_seeds else 1,
        drawn=critics if index is None else index.shape[-1],
        critics=critics,
        rows=x.shape[-2] * repeats,
        repeats=repeats,
        observation=x.shape[-1],
        action=0 if actions is None else actions.shape[-1],
        widths=tuple(w.shape[-1] for w in weights),
        norms=norms,
        outputs=0 if head_weight.ndim == 2 + has_seeds else head_weight.shape[-1],
        eps=float(eps),
        precision=precision,
        indexed=index is not None,
    )
    own_x = x.ndim == 3 + has_seeds
    x = _dense_rows(x, int(has_seeds))
    if actions is not None:
        actions = _dense_rows(actions, int(has_seeds))
    return Ensemble(
        shape=shape,
        x=x,
        x_seed=x.stride(0) if has_seeds else 0,
        x_critic=x.stride(-3) if own_x else 0,
        actions=actions,
        actions_seed=actions.stride(0) if actions is not None and has_seeds else 0,
        index=None if index is None else index.contiguous(),
        parameters=tuple(p.contiguous() for p in parameters),
    )


def _dense_rows(tensor: Tensor, leading: int) -> Tensor:
    """`tensor`, copied unless what lies behind the seeds axis is contiguous: seeds may share one block (x.expand)."""
    if leading and tensor.shape[0] and tensor[0].is_contiguous():
        return tensor
    return tensor.contiguous()


@dataclass(frozen=True)
class Kept:
    """What forward leaves for backward, for the rows of one launch."""

    normalised: tuple[Tensor, ...]
    rstds: tuple[Tensor, ...]


def run_forward(
    e: Ensemble, q: Tensor | None, *, keep: bool, first: int = 0, n_rows: int | None = None, grouped: Rows | None = None
) -> Kept:
    """Launches `forward_kernel` over rows [first, first + n_rows), or over the rows that `grouped` lists.

    Args:
        e: The call.
        q: Where q goes, for all rows; None computes activations alone.
        keep: Keep all that backward needs. Otherwise the buffers hold a layer until the next one has read it.
        first: First row.
        n_rows: How many; None = all.
        grouped: Lists of rows by critic.
    """
    shape = e.shape
    n_rows = shape.rows if n_rows is None else n_rows
    slots = shape.seeds * n_rows * (1 if grouped else shape.drawn)
    new = e.x.new_empty
    if keep:
        normalised = tuple(new(slots, width) for width in shape.widths)
        rstds = tuple(new(slots if norm else 0) for norm in shape.norms)
    else:
        # Two buffers by turns. Their rows are as far apart as the widest layer's: programs do not wait for one another.
        turns = tuple(new(slots, max(shape.widths)) for _ in shape.widths[:2])
        normalised = tuple(turns[i % 2] for i in range(len(shape.widths)))
        rstds = tuple(turns[0] for _ in shape.widths)
    places = shape.seeds * shape.drawn
    if places and n_rows:
        with surroundings("ensemble_mlp", e.x.device):
            forward_kernel[(shape.tiles(n_rows), places)](
                **e.inputs(),
                **e.sizes(first, n_rows),
                rows_ptr=grouped and grouped.rows,
                counts_ptr=grouped and grouped.counts,
                weights=e.layers(0),
                biases=e.layers(1),
                gammas=e.layers(2),
                betas=e.layers(3),
                head_weight=e.parameters[-2],
                head_bias=e.parameters[-1],
                normalised=normalised,
                rstds=rstds,
                q_ptr=q,
                **shape.forward_constants(keep=keep, with_q=q is not None, grouped=grouped is not None),
                **shape.row_options,
            )
    return Kept(normalised, rstds)


@dataclass(frozen=True)
class InputGradients:
    """Where the gradients of the inputs go: one row for every draw and row of actions; None = not needed."""

    x: Tensor | None
    actions: Tensor | None

    @classmethod
    def of(cls, e: Ensemble, needs_x: bool, needs_actions: bool, places: int) -> InputGradients:
        """Fresh memory for what is needed."""
        rows = places * e.shape.rows
        return cls(
            e.x.new_empty(rows, e.shape.observation) if needs_x else None,
            e.x.new_empty(rows, e.shape.action) if needs_actions else None,
        )


def run_backward(
    e: Ensemble,
    kept: Kept,
    dq: Tensor,
    inputs: InputGradients,
    *,
    parameters: tuple[Tensor, ...] | None = None,
    first: int = 0,
    n_rows: int | None = None,
    grouped: Rows | None = None,
) -> None:
    """Launches `backward_kernel`, and `weight_gradients_kernel` where `parameters` says where their gradients go.

    Args:
        e: The call.
        kept: What `run_forward` kept, of the same rows.
        dq: The gradient of q, of all rows; with `grouped`, of the minimum.
        inputs: Where the gradients of the inputs go.
        parameters: Where those of the parameters go, as `Ensemble.parameters`; a launch with first > 0 adds to them.
        first: First row.
        n_rows: How many; None = all.
        grouped: Lists of rows by critic.
    """
    shape = e.shape
    n_rows = shape.rows if n_rows is None else n_rows
    n_tiles, places = shape.tiles(n_rows), shape.seeds * shape.drawn
    new = e.x.new_empty
    weights = parameters is not None
    dz = tuple(torch.empty_like(n) for n in kept.normalised)
    partials = new(places * n_tiles * shape.sum_offsets[-1]) if weights else None
    shared: dict[str, Any] = e.sizes(first, n_rows) | {
        "n_tiles": n_tiles,
        "index_ptr": e.index,
        "dq_ptr": dq,
        "dz_ptrs": dz,
        "partials": partials,
    }
    with surroundings("ensemble_mlp", e.x.device):
        if places and n_rows:
            backward_kernel[(n_tiles, places)](
                **shared,
                rows_ptr=grouped and grouped.rows,
                counts_ptr=grouped and grouped.counts,
                weights=e.layers(0),
                gammas=e.layers(2),
                betas=e.layers(3),
                head_weight=e.parameters[-2],
                normalised=kept.normalised,
                rstds=kept.rstds,
                dx_ptr=inputs.x,
                dactions_ptr=inputs.actions,
                **shape.backward_constants(
                    weights=weights,
                    x=inputs.x is not None,
                    actions=inputs.actions is not None,
                    grouped=grouped is not None,
                    x_by_critic=e.x_critic != 0,
                ),
                **shape.row_options,
            )
        if parameters is not None and shape.seeds:
            weight_gradients_kernel[(shape.weight_starts[-1], shape.seeds * shape.critics)](
                **(shared | e.inputs()),
                inputs=kept.normalised[:1] + kept.normalised,
                gammas=e.layers(2)[:1] + e.layers(2),
                betas=e.layers(3)[:1] + e.layers(3),
                d_weights=parameters[:-2:4],
                d_biases=parameters[1:-2:4],
                d_gammas=parameters[2:-2:4],
                d_betas=parameters[3:-2:4],
                d_head_weight=parameters[-2],
                d_head_bias=parameters[-1],
                accumulate=int(first > 0),
                **shape.weight_constants(),
                **shape.weight_options,
            )


class EnsembleMlp(torch.autograd.Function):
    """`ensemble_mlp` on flat arguments, with its backward; not differentiable twice."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        actions: Tensor | None,
        index: Tensor | None,
        norms: tuple[bool, ...],
        eps: float,
        precision: str,
        recompute: bool,
        *parameters: Tensor,
    ) -> Tensor:
        """q; keeps activations unless `recompute`."""
        e = sorted_arguments(x, actions, index, parameters, norms, eps, precision)
        q = new_q(e, x, actions)
        kept = run_forward(e, q, keep=not recompute)
        ctx.options = norms, eps, precision, recompute
        activations = () if recompute else (*kept.normalised, *kept.rstds)
        ctx.save_for_backward(x, actions, index, *parameters, *activations)
        return q

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dq: Tensor) -> tuple[Any, ...]:
        """Gradients of what needs one."""
        norms, eps, precision, recompute = ctx.options
        x, actions, index, *saved = ctx.saved_tensors
        n_parameters, n_layers = 4 * len(norms) + 2, len(norms)
        e = sorted_arguments(x, actions, index, tuple(saved[:n_parameters]), norms, eps, precision)
        shape, dq = e.shape, dq.contiguous()
        needs_x, needs_actions = ctx.needs_input_grad[:2]
        needed = ctx.needs_input_grad[-n_parameters:]
        parameters = tuple(torch.empty_like(p) for p in e.parameters) if any(needed) else None
        inputs = InputGradients.of(e, needs_x, needs_actions, shape.seeds * shape.drawn)
        if recompute:
            for first in range(0, max(shape.rows, 1), shape.chunk_rows):
                n_rows = min(shape.chunk_rows, shape.rows - first)
                kept = run_forward(e, None, keep=True, first=first, n_rows=n_rows)
                run_backward(e, kept, dq, inputs, parameters=parameters, first=first, n_rows=n_rows)
        else:
            activations = tuple(saved[n_parameters:])
            kept = Kept(activations[:n_layers], activations[n_layers:])
            run_backward(e, kept, dq, inputs, parameters=parameters)
        dx = _of_input(inputs.x, x, (shape.seeds, shape.drawn, -1, shape.repeats, shape.observation), e.x_critic == 0)
        # Of a layer without LayerNorm, gamma and beta stand for nothing.
        real = [kind < 2 or norm for norm in norms for kind in range(4)] + [True, True]
        gradients: list[Tensor | None] = [None] * n_parameters
        if parameters is not None:
            gradients = [p if n and r else None for p, n, r in zip(parameters, needed, real, strict=True)]
        dactions = None
        if actions is not None:
            dactions = _of_input(inputs.actions, actions, (shape.seeds, shape.drawn, shape.rows, 1, shape.action), True)
        return (dx, dactions, *[None] * 5, *gradients)


def new_q(e: Ensemble, x: Tensor, actions: Tensor | None) -> Tensor:
    """Memory for q: [*S, M, B], [*S, M, B, N], either with the outputs of the head last."""
    shape = e.shape
    has_seeds = e.parameters[0].ndim == 4
    size = [shape.drawn, x.shape[-2]]
    if has_seeds:
        size.insert(0, shape.seeds)
    if actions is not None and actions.ndim == 3 + has_seeds:
        size.append(shape.repeats)
    if shape.outputs:
        size.append(shape.outputs)
    return x.new_empty(size)


def _of_input(rows: Tensor | None, like: Tensor, size: tuple[int, ...], sum_draws: bool) -> Tensor | None:
    """The gradient of an input from that of every draw and row: sums over what shared it. Of one draw, a view."""
    if rows is None:
        return None
    rows = rows.view(size)
    if rows.shape[3] > 1:
        rows = rows.sum(3, keepdim=True)
    if sum_draws and rows.shape[1] != 1:
        rows = rows.sum(1, keepdim=True)
    return rows.reshape(like.shape)


def ensemble_mlp(
    x: Tensor,
    layers: Layers,
    head: Head,
    *,
    actions: Tensor | None = None,
    index: Tensor | None = None,
    eps: float = 1e-6,
    precision: str = "fp32",
    recompute: bool = False,
) -> Tensor:
    """The public `ensemble_mlp` on checked arguments; an index out of range gives NaN, without a look from the host.

    Raises:
        InvalidArgument: A hidden layer of more than 1024 units.
        BackendUnavailable: CPU tensors outside Triton's interpreter.
    """
    parameters, norms = flat(layers, head)
    tensors = (x, *parameters) if actions is None else (x, actions, *parameters)
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        return EnsembleMlp.apply(  # type: ignore[no-any-return, no-untyped-call]
            x, actions, index, norms, eps, precision, recompute, *parameters
        )
    e = sorted_arguments(x, actions, index, parameters, norms, eps, precision)
    q = new_q(e, x, actions)
    run_forward(e, q, keep=False)
    return q
