"""Parameters of S stacked actors and critic ensembles as plain tensors, and how they start.

Every tensor has a leading axis S: one complete agent a seed. What seed s starts from depends on its number alone, so a stack
of seeds begins exactly where the single runs begin.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rewarm.q import philox

INITS = ("orthogonal", "xavier_uniform")
LOG_STDS = ("state", "free")
#: Philox stream of initial parameters, behind those of the updates; weight k of network j is drawn at j * MAX_TENSORS + k.
INIT = 11
MAX_TENSORS = 1 << 16


@dataclass
class Network:
    """S·E multilayer perceptrons of one shape: Linear -> LayerNorm -> ReLU for every hidden layer, then a linear head.

    Attributes:
        layers: One tuple a hidden layer: weight ``[S, E, in, out]``, bias ``[S, E, out]`` and, with LayerNorm, its weight and
            bias ``[S, E, out]``.
        head: weight ``[S, E, H]`` and bias ``[S, E]`` of a critic, or ``[S, E, H, O]`` and ``[S, E, O]``.
        log_std: ``[S, A]``, the actor's log standard deviation where it does not depend on the state.
    """

    layers: list[tuple[Tensor, ...]]
    head: tuple[Tensor, Tensor]
    log_std: Tensor | None = None

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor with its name, in the one order that moments, checkpoints and the compiled update share."""
        for i, layer in enumerate(self.layers):
            for name, tensor in zip(("weight", "bias", "ln_weight", "ln_bias"), layer, strict=False):
                yield f"layers.{i}.{name}", tensor
        yield "head.weight", self.head[0]
        yield "head.bias", self.head[1]
        if self.log_std is not None:
            yield "log_std", self.log_std

    def tensors(self) -> list[Tensor]:
        """Every tensor, in the order of `named_tensors`."""
        return [tensor for _, tensor in self.named_tensors()]

    def replaced(self, tensors: Sequence[Tensor]) -> Network:
        """A network of this shape made of other tensors, given in the order of `tensors`."""
        rest = iter(tensors)
        layers = [tuple(next(rest) for _ in layer) for layer in self.layers]
        head = (next(rest), next(rest))
        return Network(layers, head, None if self.log_std is None else next(rest))

    def clone(self) -> Network:
        """A copy with memory of its own."""
        return self.replaced([tensor.clone() for tensor in self.tensors()])

    def leaves(self) -> Network:
        """The same memory as leaves of a new graph, so that gradients are asked for without marking the storage itself."""
        return self.replaced([tensor.detach().requires_grad_() for tensor in self.tensors()])

    def to(self, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> Network:
        """A copy in another dtype or on another device."""
        return self.replaced([tensor.to(device=device, dtype=dtype, copy=True) for tensor in self.tensors()])

    @property
    def n_parameters(self) -> int:
        """Parameters of one seed."""
        return sum(tensor[0].numel() for tensor in self.tensors())


def make_network(
    seed: Tensor,
    *,
    number: int,
    members: int,
    inputs: int,
    hidden: Sequence[int],
    outputs: int | None,
    layer_norm: bool,
    heads: int = 1,
    free_log_std: int = 0,
    init: str = "orthogonal",
    init_scale: float = math.sqrt(2),
    last_hidden_scale: float = 1e-2,
) -> Network:
    """A freshly initialised `Network`: weights drawn from Philox, biases 0, LayerNorm 1 and 0.

    Args:
        seed: int64 ``[S]``, one Philox key a seed; its device is where the parameters live. They are drawn on the CPU, so that
            every device starts from the same numbers.
        number: Which of an agent's networks this is, so that no two begin alike.
        members: Networks a seed, E (1 for an actor).
        inputs: Width of the input.
        hidden: Widths of the hidden layers, at least one.
        outputs: Width of the head, None for a critic's scalar head without that axis.
        layer_norm: Whether every hidden layer is followed by a LayerNorm.
        heads: Side by side heads, each drawn for itself (mean and log standard deviation: 2), `outputs` wide together.
        free_log_std: Width of the state-independent log standard deviation, which starts at 0; 0 for none.
        init: "orthogonal" (gain = scale), or "xavier_uniform" (variance = scale · 2 / (in + out), scale 1 but in the last
            hidden layer).
        init_scale: Scale of every layer and head of an orthogonal network but the last hidden one.
        last_hidden_scale: Scale of the last hidden layer. The reference code shrinks this one, not the head (wsrl
            ``kernel_scale_final``).

    Returns:
        The network, contiguous float32.
    """
    keys, device, seeds = seed.cpu(), seed.device, len(seed)
    sizes = [inputs, *hidden]
    common = init_scale if init == "orthogonal" else 1.0
    scales = [common] * (len(hidden) - 1) + [last_hidden_scale] + [common] * heads
    columns = [*hidden, *[1 if outputs is None else outputs // heads] * heads]
    rows = [*sizes[:-1], *[sizes[-1]] * heads]
    draw = _orthogonal if init == "orthogonal" else _xavier_uniform
    weights = [
        draw((members, i, o), keys, MAX_TENSORS * number + k, scale).to(device)
        for k, (i, o, scale) in enumerate(zip(rows, columns, scales, strict=True))
    ]
    layers: list[tuple[Tensor, ...]] = []
    for weight in weights[: len(hidden)]:
        flat = (seeds, members, weight.shape[-1])
        layer = (weight, torch.zeros(flat, device=device))
        layers.append((*layer, torch.ones(flat, device=device), torch.zeros(flat, device=device)) if layer_norm else layer)
    head_weight = torch.cat(weights[len(hidden) :], dim=-1)
    if outputs is None:
        head_weight = head_weight.squeeze(-1)
    head_bias = torch.zeros(head_weight.shape[:2] + head_weight.shape[3:], device=device)
    log_std = torch.zeros(seeds, free_log_std, device=device) if free_log_std else None
    return Network(layers, (head_weight.contiguous(), head_bias), log_std)


def _orthogonal(shape: tuple[int, ...], keys: Tensor, offset: int, gain: float) -> Tensor:
    """Matrices ``[S, *shape]``, uniform among those with orthonormal rows or columns (Saxe et al. 2014), times a gain."""
    normal = philox(shape, seed=keys, offset=torch.full_like(keys, offset), stream=INIT, kind="normal")
    # Matrix by matrix: LAPACK's last bits depend on how memory is aligned, which in a stack differs from seed to seed.
    drawn = [_orthonormal(matrix) * gain for matrix in normal.flatten(0, -3).unbind(0)]
    return torch.stack(drawn).view_as(normal)


def _orthonormal(normal: Tensor) -> Tensor:
    """Orthonormal rows or columns, whichever are fewer, out of standard normal entries."""
    wide = normal.shape[0] < normal.shape[1]
    q, r = torch.linalg.qr((normal.T if wide else normal).clone(memory_format=torch.contiguous_format))
    q *= r.diagonal().sign()  # without the signs of r, q would not be uniform
    orthonormal: Tensor = q.T if wide else q
    return orthonormal


def _xavier_uniform(shape: tuple[int, ...], keys: Tensor, offset: int, scale: float) -> Tensor:
    """Matrices ``[S, *shape]``, uniform with variance 2 scale / (in + out) (Glorot & Bengio 2010)."""
    uniform = philox(shape, seed=keys, offset=torch.full_like(keys, offset), stream=INIT, kind="uniform")
    return (uniform * 2 - 1) * math.sqrt(6.0 * scale / (shape[-2] + shape[-1]))
