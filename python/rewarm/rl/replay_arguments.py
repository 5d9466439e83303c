"""What ReplayBuffer accepts, and the words with which it refuses. Rows come out as float32 and bool of [blocks, n, ...]."""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rewarm._native import core
from rewarm.errors import InvalidArgument

#: An offset shares a counter word of the generator with its stream.
MAX_OFFSET = 2**56


def checked_count(where: str, value: object, low: int, high: int | None = None) -> int:
    """An int in [low, high], or InvalidArgument."""
    accepts = f"an int >= {low}" if high is None else f"an int in {low} .. {high}"
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise InvalidArgument(f"{where}: expected {accepts}, got {value!r}") from None
    if number < low or (high is not None and number > high):
        raise InvalidArgument(f"{where}: expected {accepts}, got {number}")
    return number


def checked_number(where: str, value: object) -> float:
    """A finite float, or InvalidArgument."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(float(value)):
        raise InvalidArgument(f"{where}: expected a finite number, got {value!r}")
    return float(value)


def checked_flag(where: str, value: object) -> bool:
    """A bool, or InvalidArgument."""
    if not isinstance(value, bool):
        raise InvalidArgument(f"{where}: expected True or False, got {value!r}")
    return value


@dataclass(frozen=True)
class ReplayConfig:
    """The checked arguments of a buffer that do not change."""

    capacity: int
    obs_dim: int
    act_dim: int
    seeds: tuple[int, ...]
    shared: bool
    mc_returns: bool
    gamma: float | None
    sparse_negative_reward: float | None

    @property
    def blocks(self) -> int:
        """Rings in the storage: one a seed, or one for all."""
        return 1 if self.shared else len(self.seeds)


def checked_config(
    capacity: object,
    obs_dim: object,
    act_dim: object,
    seeds: object,
    shared: object,
    mc_returns: object,
    gamma: object,
    sparse_negative_reward: object,
) -> ReplayConfig:
    """The arguments of ReplayBuffer, or InvalidArgument that names the wrong one."""
    at = "ReplayBuffer: "
    if isinstance(seeds, (str, bytes)) or not isinstance(seeds, Sequence) or not seeds:
        raise InvalidArgument(f"{at}seeds: expected a sequence of at least one int, got {seeds!r}")
    keys = tuple(checked_count(f"{at}seeds[{i}]", seed, 0, 2**63 - 1) for i, seed in enumerate(seeds))
    with_returns = checked_flag(f"{at}mc_returns", mc_returns)
    if not with_returns:
        for name, value in (("gamma", gamma), ("sparse_negative_reward", sparse_negative_reward)):
            if value is not None:
                raise InvalidArgument(f"{at}{name}: only a buffer with mc_returns=True uses it, got {value!r}")
        discount = None
    elif gamma is None:
        raise InvalidArgument(f"{at}gamma: expected a number in [0, 1] with mc_returns=True, got None")
    else:
        discount = checked_number(f"{at}gamma", gamma)
        if not 0.0 <= discount <= 1.0:
            raise InvalidArgument(f"{at}gamma: expected a number in [0, 1], got {gamma!r}")
    negative = None
    if sparse_negative_reward is not None:
        negative = float(np.float32(checked_number(f"{at}sparse_negative_reward", sparse_negative_reward)))
        if discount == 1.0:
            raise InvalidArgument(
                f"{at}gamma: expected less than 1 with sparse_negative_reward (r / (1 - gamma)), got {gamma!r}"
            )
    return ReplayConfig(
        checked_count(f"{at}capacity", capacity, 1, core.MAX_REPLAY_CAPACITY),
        checked_count(f"{at}obs_dim", obs_dim, 1),
        checked_count(f"{at}act_dim", act_dim, 1),
        keys,
        checked_flag(f"{at}shared", shared),
        with_returns,
        discount,
        negative,
    )


def as_array(where: str, value: object) -> NDArray[Any]:
    """Any array, tensor (also on a GPU) or nested sequence of numbers as numpy."""
    if isinstance(value, torch.Tensor):
        host = value.detach().cpu()
        return host.float().numpy() if host.dtype in (torch.bfloat16, torch.float16) else host.numpy()
    try:
        return np.asarray(value)
    except ValueError as error:  # rows of different lengths
        raise InvalidArgument(f"{where}: expected an array of numbers: {error}") from None


def as_floats(where: str, value: object) -> NDArray[np.float32]:
    """Contiguous float32 of numbers; what a float32 cannot hold becomes inf and is refused, with its place, by `add`."""
    array = as_array(where, value)
    if array.dtype.kind not in "fiu":
        raise InvalidArgument(f"{where}: expected floating-point or integer numbers, got {array.dtype}")
    with np.errstate(over="ignore"):
        return np.require(array, dtype=np.float32, requirements="C")


def as_bools(where: str, value: object) -> NDArray[np.bool_]:
    """Contiguous bools; numbers are refused, so that no probability or mask with the other meaning slips in."""
    array = as_array(where, value)
    if array.dtype != np.bool_:
        raise InvalidArgument(f"{where}: expected bool (True where it holds), got {array.dtype}")
    return np.require(array, requirements="C")


@dataclass(frozen=True)
class NewRows:
    """Checked rows, each field contiguous over [blocks, n]."""

    obs: NDArray[np.float32]
    action: NDArray[np.float32]
    reward: NDArray[np.float32]
    next_obs: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    valid: NDArray[np.bool_] | None
    n: int
    placed: bool  # whether the blocks had an axis of their own


def shown(shape: Sequence[object]) -> str:
    """A shape in brackets."""
    return "[" + ", ".join(map(str, shape)) + "]"


def checked_rows(
    config: ReplayConfig,
    obs: object,
    action: object,
    reward: object,
    next_obs: object,
    terminated: object,
    truncated: object,
    valid: object,
) -> NewRows:
    """The arguments of ReplayBuffer.add; values are checked in C++, which knows their place."""
    at = "ReplayBuffer.add: "
    blocks = config.blocks
    first = as_floats(f"{at}obs", obs)
    lead = first.shape[:-1]
    # Where there is one block its axis may be left out: a lone row, or the rows of one environment or several.
    fits = (len(lead) in (1, 2) and lead[0] == blocks) or (blocks == 1 and len(lead) < 2)
    if first.ndim == 0 or not fits or first.shape[-1] != config.obs_dim:
        accepted: list[list[object]] = [[blocks, config.obs_dim], [blocks, "N", config.obs_dim]]
        if blocks == 1:
            accepted = [[config.obs_dim], ["N", config.obs_dim], [1, "N", config.obs_dim]]
        what = "one block" if blocks == 1 else f"{blocks} seeds"
        raise InvalidArgument(
            f"{at}obs: expected shape {' or '.join(shown(shape) for shape in accepted)} ({what}, obs_dim {config.obs_dim}), "
            f"got {shown(first.shape)}"
        )

    def placed(name: str, array: NDArray[Any], *width: int) -> NDArray[Any]:
        if array.shape != (*lead, *width):
            raise InvalidArgument(
                f"{at}{name}: expected shape {shown([*lead, *width])} as obs is {shown(first.shape)}, got {shown(array.shape)}"
            )
        return array

    return NewRows(
        first,
        placed("action", as_floats(f"{at}action", action), config.act_dim),
        placed("reward", as_floats(f"{at}reward", reward)),
        placed("next_obs", as_floats(f"{at}next_obs", next_obs), config.obs_dim),
        placed("terminated", as_bools(f"{at}terminated", terminated)),
        placed("truncated", as_bools(f"{at}truncated", truncated)),
        None if valid is None else placed("valid", as_bools(f"{at}valid", valid)),
        n=math.prod(lead) // blocks,
        placed=len(lead) == 2,
    )


def checked_order(config: ReplayConfig, order: object, rows: NewRows) -> bool:
    """Whether each of a block's rows belongs to an environment of its own."""
    if order not in (None, "steps", "environments"):
        raise InvalidArgument(f"ReplayBuffer.add: order: expected 'steps', 'environments' or None, got {order!r}")
    if order is None and config.mc_returns and rows.n > 1 and not rows.placed:
        raise InvalidArgument(
            f"ReplayBuffer.add: order: with mc_returns, say what the {rows.n} rows are: 'steps' (one after the other in time) "
            "or 'environments' (one step of as many environments)"
        )
    return order == "environments"


def checked_offset(config: ReplayConfig, offset: object, device: torch.device) -> torch.Tensor:
    """Offsets as int64 [S] on `device`; the values of one that lies on another device than the CPU are trusted."""
    n = len(config.seeds)
    if isinstance(offset, torch.Tensor):
        if offset.dtype != torch.int64 or offset.shape not in ((), (n,)):
            raise InvalidArgument(
                f"ReplayBuffer.sample: offset: expected an int, or an int64 tensor of shape [] or [{n}], got "
                f"{offset.dtype} of shape {shown(offset.shape)}"
            )
        offsets = offset.detach().expand(n)
    else:
        offsets = torch.full((n,), checked_count("ReplayBuffer.sample: offset", offset, 0, MAX_OFFSET - 1))
    if offsets.device.type == "cpu" and not all(0 <= value < MAX_OFFSET for value in offsets.tolist()):
        raise InvalidArgument(f"ReplayBuffer.sample: offset: expected 0 .. 2**56 - 1, got {offsets.tolist()}")
    return offsets.to(device).contiguous()
