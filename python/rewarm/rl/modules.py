"""Networks as plain torch modules, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rewarm.errors import InvalidArgument
from rewarm.rl.networks import Network

LAYER_NORM_EPS = 1e-6


class Actor(nn.Module):
    """A Gaussian policy before its tanh.

    Args:
        body: Hidden layers.
        mean: Head of the mean.
        log_std: Head of the log standard deviation, or a vector ``[A]`` that does not depend on the state.
    """

    def __init__(self, body: nn.Sequential, mean: nn.Linear, log_std: nn.Linear | Tensor) -> None:
        super().__init__()
        self.body, self.mean = body, mean
        self.log_std: nn.Linear | nn.Parameter = log_std if isinstance(log_std, nn.Linear) else nn.Parameter(log_std)

    def forward(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation ``[N, A]`` for ``[N, O]``; the action is tanh(mean + exp(log_std) * noise)."""
        x = self.body(obs)
        mean: Tensor = self.mean(x)
        return mean, self.log_std(x) if isinstance(self.log_std, nn.Linear) else self.log_std.expand_as(mean)


class Critic(nn.Module):
    """One Q function."""

    def __init__(self, body: nn.Sequential, head: nn.Linear) -> None:
        super().__init__()
        self.body, self.head = body, head

    def forward(self, obs: Tensor, action: Tensor) -> Tensor:
        """Q values ``[N]`` for ``[N, O]`` and ``[N, A]``."""
        value: Tensor = self.head(self.body(torch.cat((obs, action), -1)))
        return value.squeeze(-1)


def actor(network: Network, seed: int) -> Actor:
    """Seed `seed` of an actor as a module with parameters of its own."""
    body = _body(network, seed, 0)
    weight, bias = network.head[0][seed, 0], network.head[1][seed, 0]
    if network.log_std is not None:
        return Actor(body, _linear(weight, bias), network.log_std[seed].clone())
    half = weight.shape[1] // 2
    return Actor(body, _linear(weight[:, :half], bias[:half]), _linear(weight[:, half:], bias[half:]))


def critics(network: Network, seed: int) -> nn.ModuleList:
    """Seed `seed` of an ensemble as E modules with parameters of their own."""
    weight, bias = network.head
    return nn.ModuleList(
        Critic(_body(network, seed, e), _linear(weight[seed, e].unsqueeze(-1), bias[seed, e].unsqueeze(-1)))
        for e in range(weight.shape[1])
    )


def sequence(given: Any, length: int, where: str) -> list[Any]:
    """A sequence of exactly `length` items."""
    if not isinstance(given, (Sequence, nn.ModuleList)) or len(given) != length:
        got = f"{len(given)}" if isinstance(given, (Sequence, nn.ModuleList)) else type(given).__name__
        raise InvalidArgument(f"{where}: expected a sequence of {length}, got {got}")
    return list(given)


def stacked(like: Network, members: Sequence[Sequence[nn.Module]], where: str) -> list[Tensor]:
    """The parameters of S lists of E modules, stacked in the order and shapes of ``like.tensors()``.

    Args:
        like: The network that they are for.
        members: The modules, ``[S][E]``.
        where: For the message.

    Raises:
        InvalidArgument: A module has other layers, other widths or another eps.
    """
    heads = 1 if like.log_std is not None or like.head[0].ndim == 3 else 2
    flat = [
        [_flat(like, module, heads, f"{where}[{s}][{e}]") for e, module in enumerate(seed)] for s, seed in enumerate(members)
    ]
    result: list[Tensor] = []
    for k, (name, mine) in enumerate(like.named_tensors()):
        tensor = torch.stack([torch.stack([module[k] for module in seed]) for seed in flat])
        if name == "log_std":
            tensor = tensor.squeeze(1)
        if tensor.shape != mine.shape:
            expected, got = list(mine.shape[-tensor[0, 0].ndim :]), list(tensor.shape[2:])
            raise InvalidArgument(f"{where}: {name}: expected {expected} (in, out), got {got}")
        result.append(tensor.to(mine))
    return result


def _flat(like: Network, module: nn.Module, heads: int, where: str) -> list[Tensor]:
    """The parameters of one module in the order of ``like.tensors()``, weights transposed to [in, out]."""
    found = [part for part in module.modules() if isinstance(part, (nn.Linear, nn.LayerNorm))]
    layer_norm = len(like.layers[0]) == 4
    one: list[type[nn.Module]] = [nn.Linear, nn.LayerNorm] if layer_norm else [nn.Linear]
    body = one * len(like.layers)
    rest = found[len(body) :]
    if [type(part) for part in found[: len(body)]] != body or len(rest) not in (1, heads):
        names = " ".join(type(part).__name__ for part in found)
        wanted = " ".join(kind.__name__ for kind in body)
        raise InvalidArgument(f"{where}: expected {wanted} and {heads} or 1 nn.Linear as head, got {names or 'no layers'}")
    tensors: list[Tensor] = []
    for part in found:
        if isinstance(part, nn.LayerNorm) and part.eps != LAYER_NORM_EPS:
            raise InvalidArgument(f"{where}: expected nn.LayerNorm with eps {LAYER_NORM_EPS:g}, got {part.eps:g}")
        if part.weight is None or part.bias is None:
            raise InvalidArgument(f"{where}: expected layers with weight and bias, got {part}")
        weight = part.weight.detach()
        tensors += [weight.T.contiguous() if isinstance(part, nn.Linear) else weight, part.bias.detach()]
    if len(rest) == 2:
        tensors[-4:] = [torch.cat((tensors[-4], tensors[-2]), -1), torch.cat((tensors[-3], tensors[-1]))]
    if like.head[0].ndim == 3:
        if tensors[-1].numel() != 1:
            raise InvalidArgument(f"{where}: expected a head with one output, got {tensors[-1].numel()}")
        tensors[-2:] = [tensors[-2].squeeze(-1), tensors[-1].squeeze(-1)]
    if like.log_std is not None:
        free = getattr(module, "log_std", None)
        if not isinstance(free, Tensor):
            raise InvalidArgument(f"{where}: expected a parameter 'log_std', got {type(free).__name__}")
        tensors.append(free.detach().flatten())
    return tensors


def _body(network: Network, seed: int, member: int) -> nn.Sequential:
    """The hidden layers of one member."""
    parts: list[nn.Module] = []
    for layer in network.layers:
        own = [tensor[seed, member] for tensor in layer]
        parts.append(_linear(own[0], own[1]))
        if len(own) == 4:
            norm = nn.LayerNorm(own[2].numel(), eps=LAYER_NORM_EPS, device=own[2].device, dtype=own[2].dtype)
            norm.weight, norm.bias = nn.Parameter(own[2].clone()), nn.Parameter(own[3].clone())
            parts.append(norm)
        parts.append(nn.ReLU())
    return nn.Sequential(*parts)


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """nn.Linear with a copy of a weight ``[in, out]`` and a bias ``[out]``."""
    linear = nn.Linear(weight.shape[0], weight.shape[1], device="meta")
    linear.weight = nn.Parameter(weight.T.clone(memory_format=torch.contiguous_format))
    linear.bias = nn.Parameter(bias.clone())
    return linear
