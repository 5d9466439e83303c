"""The rows of a batch as named tensors, whichever buffer or mapping they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from rewarm.errors import InvalidArgument, UnsupportedTensor


@dataclass
class Rows:
    """N transitions a seed, contiguous, on the agent's device.

    Attributes:
        obs: float32 ``[S, N, O]``.
        action: float32 ``[S, N, A]`` in [-1, 1].
        reward: float32 ``[S, N]``, scaled and shifted already.
        next_obs: float32 ``[S, N, O]``, the true final observation where an episode ended.
        terminated: bool ``[S, N]``; truncation is not in here, it never cuts the bootstrap.
        mc_return: float32 ``[S, N]``, Monte-Carlo returns, for Cal-QL; may be None elsewhere.
    """

    obs: Tensor
    action: Tensor
    reward: Tensor
    next_obs: Tensor
    terminated: Tensor
    mc_return: Tensor | None = None

    def minibatch(self, u: int, batch: int) -> Rows:
        """Rows ``u·batch`` to ``(u+1)·batch`` of every seed."""
        part = slice(u * batch, (u + 1) * batch)
        return Rows(*(None if t is None else t[:, part].contiguous() for t in self._tensors()))  # type: ignore[arg-type]

    def copy(self) -> Rows:
        """The same rows in memory of their own."""
        return Rows(*(None if t is None else t.clone() for t in self._tensors()))  # type: ignore[arg-type]

    def copy_from(self, other: Rows) -> None:
        """Takes over the values of rows of the same shapes."""
        for mine, theirs in zip(self._tensors(), other._tensors(), strict=True):
            if mine is not None:
                assert theirs is not None
                mine.copy_(theirs)

    def _tensors(self) -> list[Tensor | None]:
        return [getattr(self, f.name) for f in fields(Rows)]


def as_rows(
    batch: Any, *, where: str, seeds: int, obs_dim: int, act_dim: int, device: torch.device, dtype: torch.dtype = torch.float32
) -> Rows:
    """Checks a batch (a mapping, or an object with these attributes) once and returns it as `Rows`.

    Args:
        batch: Holds obs, action, reward, next_obs, terminated and, optionally, mc_return as `Rows` describes; more is ignored.
        where: The caller, for the message.
        seeds: S of the agent.
        obs_dim: Its O.
        act_dim: Its A.
        device: Its device.
        dtype: Of every tensor but `terminated`.

    Raises:
        InvalidArgument: A tensor is missing, or its shape does not fit.
        UnsupportedTensor: A dtype, device or layout does not fit; `terminated` must be bool (a float mask is refused, because
            nobody can tell ``terminated`` from ``1 - terminated``).
    """
    found: dict[str, Any] = {
        f.name: batch.get(f.name) if isinstance(batch, Mapping) else getattr(batch, f.name, None) for f in fields(Rows)
    }
    reward = found["reward"]
    if not isinstance(reward, Tensor) or reward.ndim != 2 or reward.shape[0] != seeds or reward.shape[1] == 0:
        shape = list(reward.shape) if isinstance(reward, Tensor) else type(reward).__name__
        raise InvalidArgument(f"{where}: batch.reward: expected a tensor [{seeds}, N] with N >= 1, got {shape}")
    n = reward.shape[1]
    widths = {"obs": [obs_dim], "next_obs": [obs_dim], "action": [act_dim]}
    for name, tensor in found.items():
        if tensor is None and name == "mc_return":
            continue
        expected = [seeds, n, *widths.get(name, [])]
        if not isinstance(tensor, Tensor) or list(tensor.shape) != expected:
            shape = list(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
            raise InvalidArgument(f"{where}: batch.{name}: expected a tensor {expected}, got {shape}")
        wanted = torch.bool if name == "terminated" else dtype
        if tensor.dtype != wanted or tensor.device != device:
            got = f"{tensor.dtype} on {tensor.device}"
            raise UnsupportedTensor(f"{where}: batch.{name}: expected {wanted} on {device}, got {got}")
    return Rows(**{name: None if t is None else t.contiguous() for name, t in found.items()})  # type: ignore[arg-type]


def sample_mixed(buffer: Any, offline: Any, ratio: float, utd: int, batch: int, offset: Tensor, where: str) -> Any:
    """The rows of one update: U minibatches, each with its own share of both buffers, its online rows first.

    Args:
        buffer: Has ``sample(n, offset=, first=)`` as `ReplayBuffer`.
        offline: Likewise, or None.
        ratio: Share of each minibatch that comes from `offline`.
        utd: U.
        batch: B.
        offset: int64 ``[S]``, where the draw stands.
        where: For the message.

    Returns:
        What ``buffer.sample`` returns, or `Rows` where two were mixed.

    Raises:
        InvalidArgument: The share is not a whole number of rows, or there is no second buffer to take it from.
    """
    if offline is None:
        if ratio:
            raise InvalidArgument(f"{where}offline_ratio: expected 0 without an offline buffer, got {ratio}")
        return buffer.sample(utd * batch, offset=offset)
    second = round(ratio * batch)
    if abs(ratio * batch - second) > 1e-6:
        raise InvalidArgument(
            f"{where}offline_ratio: expected a whole number of {batch} rows, got {ratio} = {ratio * batch} rows"
        )
    if second == 0:
        return buffer.sample(utd * batch, offset=offset)
    # Two stretches of one draw: two buffers of the same seeds do not draw the same places.
    other = offline.sample(utd * second, offset=offset, first=utd * (batch - second))
    if second == batch:
        return other
    own = buffer.sample(utd * (batch - second), offset=offset)
    mixed: dict[str, Tensor | None] = {}
    for field in fields(Rows):
        parts = [part for part in (getattr(rows, field.name, None) for rows in (own, other)) if part is not None]
        folded = [part.unflatten(1, (utd, -1)) for part in parts]
        mixed[field.name] = torch.cat(folded, 2).flatten(1, 2) if len(parts) == 2 else None
    return Rows(**mixed)  # type: ignore[arg-type]
