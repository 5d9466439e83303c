"""Q values of an ensemble of MLPs in one call: linear, LayerNorm and ReLU fused, only the drawn critics, seeds as an axis."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rewarm.errors import BackendUnavailable, InvalidArgument
from rewarm.q.arguments import (
    PRECISIONS,
    Sizes,
    check_floats,
    check_index_range,
    check_integers,
    check_tensor,
    number,
    one_of,
)
from rewarm.q.backend import choose, device_of, function

__all__ = ["ensemble_mlp"]

Layers = Sequence[Sequence[Tensor]]
_LAYER = ("weight", "bias", "ln_weight", "ln_bias")


def named_parameters(layers: Layers, head: Sequence[Tensor]) -> list[tuple[str, Tensor]]:
    """Every parameter with the name that messages use."""
    named = [(f"layers[{i}].{_LAYER[j]}", t) for i, layer in enumerate(layers) for j, t in enumerate(layer)]
    return [*named, ("head.weight", head[0]), ("head.bias", head[1])]


def check_ensemble(
    op: str,
    backend: str,
    x: Tensor,
    layers: Layers,
    head: Sequence[Tensor],
    actions: Tensor | None,
    index: Tensor | None,
    precision: str,
    *,
    scalar_head: bool = False,
) -> None:
    """Refuses, by name, what no backend takes; the sizes of all tensors agree afterwards."""
    if not isinstance(layers, (list, tuple)) or not layers:
        raise InvalidArgument(
            f"{op}: layers: expected a list of at least one (weight, bias[, ln_weight, ln_bias]), got {layers!r:.80}"
        )
    for i, layer in enumerate(layers):
        if not isinstance(layer, (list, tuple)) or len(layer) not in (2, 4):
            found = f"{len(layer)} entries" if isinstance(layer, (list, tuple)) else type(layer).__name__
            raise InvalidArgument(
                f"{op}: layers[{i}]: expected (weight, bias) or (weight, bias, ln_weight, ln_bias), got {found}"
            )
    if not isinstance(head, (list, tuple)) or len(head) != 2:
        raise InvalidArgument(f"{op}: head: expected (weight, bias), got {type(head).__name__}")
    check_floats(op, backend, [("x", x), ("actions", actions), *named_parameters(layers, head)], shared_by_seeds="x")

    check_tensor(op, "layers[0].weight", layers[0][0])
    s = "S " if layers[0][0].ndim == 4 else ""
    sizes = Sizes(op)
    sizes.bind("layers[0].weight", layers[0][0], f"{s}E D H0")
    for i, layer in enumerate(layers):
        if i:
            sizes.bind(f"layers[{i}].weight", layer[0], f"{s}E H{i - 1} H{i}")
        for j in range(1, len(layer)):
            sizes.bind(f"layers[{i}].{_LAYER[j]}", layer[j], f"{s}E H{i}")
    last = f"H{len(layers) - 1}"
    if scalar_head:
        sizes.bind("head.weight", head[0], f"{s}E {last}")
        sizes.bind("head.bias", head[1], f"{s}E")
    else:
        outputs = sizes.bind("head.weight", head[0], f"{s}E {last}", f"{s}E {last} O").endswith("O")
        sizes.bind("head.bias", head[1], f"{s}E O" if outputs else f"{s}E")

    critics = "E"
    if index is not None:
        check_integers(op, "index", index, x.device)
        sizes.bind("index", index, f"{s}M")
        critics = "M"
    width = sizes.known.pop("D")
    sizes.bind("x", x, f"{s}B D", f"{s}{critics} B D")
    if actions is not None:
        sizes.bind("actions", actions, *([f"{s}B A"] if scalar_head else [f"{s}B A", f"{s}B N A"]))
    given = sizes.known["D"] + sizes.known.get("A", 0)
    if given != width:
        parts = f"{sizes.known['D']} of x" + (f" and {sizes.known['A']} of actions" if actions is not None else "")
        raise InvalidArgument(f"{op}: x: layers[0].weight takes {width} inputs, got {parts}")
    one_of(op, "precision", precision, PRECISIONS)
    if backend == "cpu" and precision != "fp32":
        raise BackendUnavailable(
            f"{op}: precision {precision!r} is not computed by the cpu backend, only 'fp32'; backend='reference' emulates it"
        )


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
    backend: str | None = None,
) -> Tensor:
    """Evaluates E MLPs on a batch, for S seeds at once, or only the critics that `index` draws.

    Every hidden layer is z = x W + b, n = (z - mean z) / sqrt(var z + eps), x <- relu(gamma n + beta) (Ba et al. 2016, arXiv
    1607.06450; the critics of Ball et al. 2023, arXiv 2302.02948, and Zhou et al. 2024, arXiv 2412.07762); then q = x w + b.
    The derivative of relu at 0 is 0, and NaN passes through it. Gradients flow to x, actions, layers and head.

    ``*S`` is an optional leading seeds axis, present when ``layers[0][0]`` has four axes. Seeds never mix.

    Args:
        x: [*S, B, D], shared by the critics, or [*S, E, B, D]. One batch for all seeds: ``x.expand(S, ...)`` (stride 0).
        layers: One (weight [*S, E, in, out], bias, ln_weight, ln_bias [*S, E, out]) a hidden layer, or (weight, bias) for a
            layer without LayerNorm.
        head: (weight [*S, E, H], bias [*S, E]), or (weight [*S, E, H, O], bias [*S, E, O]).
        actions: [*S, B, A]: the input is cat(x, actions). [*S, B, N, A]: each row of x meets its N actions, and is not copied.
        index: int64 [*S, M], the critics to evaluate; M then takes the place of E in x and in the result. One critic may come
            twice; its gradients add up in index order.
        eps: Added to the variance, > 0.
        precision: What the inputs of matrix products are rounded to: "fp32", "tf32" or "bf16" ("fp32" alone on cpu).
            LayerNorm, head and all sums are float32.
        recompute: Keep no activations for the backward, which computes them again tile by tile.
        backend: "reference" (also float64), "cpu", "triton", or None: cpu for CPU tensors, triton for GPU tensors.

    Returns:
        [*S, E, B]; [*S, E, B, O] with the wide head; axis N follows B when each row has N actions.

    Raises:
        InvalidArgument: Sizes that do not agree, named; an empty axis; a precision or eps that is not accepted.
        UnsupportedTensor: A dtype, device or layout that the backend does not take.
        IndexOutOfRange: (an IndexError) `index` names no critic, on a CPU. On a GPU its q is NaN, so that nothing waits.
        BackendUnavailable: The named backend or precision cannot be used here.
    """
    op = "ensemble_mlp"
    eps = number(op, "eps", eps, low=0.0, open_low=True)
    if torch.compiler.is_compiling():
        from rewarm.q import registration

        return registration.call_mlp(x, layers, head, actions, index, eps, precision, bool(recompute), backend)
    name = choose(op, device_of(op, "x", x), backend)
    check_ensemble(op, name, x, layers, head, actions, index, precision)
    if index is not None:
        check_index_range(op, index, layers[0][0].shape[-3])
    q: Tensor = function(op, name)(
        x, layers, head, actions=actions, index=index, eps=eps, precision=precision, recompute=bool(recompute)
    )
    return q
