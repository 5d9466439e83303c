"""Buffers from data sets: arrays, Minari episodes, HDF5 files in D4RL's layout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from rewarm.errors import InvalidArgument
from rewarm.rl.replay_arguments import as_array, as_bools, as_floats, checked_number, shown

if TYPE_CHECKING:
    from rewarm.rl.replay import ReplayBuffer

    Buffer = TypeVar("Buffer", bound=ReplayBuffer)

_READ_AT_ONCE = 1 << 25  # bytes of observations


def from_arrays(
    cls: type[Buffer],
    obs: Any,
    action: Any,
    reward: Any,
    next_obs: Any | None,
    terminated: Any,
    truncated: Any,
    *,
    capacity: int | None,
    clip_action: float | None,
    **buffer: Any,
) -> Buffer:
    """ReplayBuffer.from_arrays."""
    at = "ReplayBuffer.from_arrays: "
    observed, acted = as_floats(f"{at}obs", obs), as_floats(f"{at}action", action)
    if observed.ndim not in (2, 3) or acted.ndim != observed.ndim or observed.shape[-2] == 0:
        raise InvalidArgument(
            f"{at}obs, action: expected [N, width] each, or [S, N, width], with N >= 1, got {shown(observed.shape)} and "
            f"{shown(acted.shape)}"
        )
    done, cut = as_bools(f"{at}terminated", terminated), as_bools(f"{at}truncated", truncated)
    for name, flags in (("terminated", done), ("truncated", cut)):
        if flags.shape != observed.shape[:-1]:
            raise InvalidArgument(
                f"{at}{name}: expected {shown(observed.shape[:-1])} as obs has rows, got {shown(flags.shape)}"
            )
    valid, cut = episode_ends(done, cut, successors=next_obs is not None)
    if next_obs is None:
        next_obs = np.concatenate([observed[..., 1:, :], observed[..., -1:, :]], axis=-2)
        next_obs = np.where(done[..., None], observed, next_obs)
    made = cls(capacity or observed.shape[-2], observed.shape[-1], acted.shape[-1], **buffer)
    made.add(observed, clipped(at, acted, clip_action), reward, next_obs, done, cut, valid, order="steps")
    return made


def episode_ends(
    terminated: NDArray[np.bool_], truncated: NDArray[np.bool_], *, successors: bool
) -> tuple[NDArray[np.bool_] | None, NDArray[np.bool_]]:
    """(valid, truncated) of rows [..., T] that follow one another in time, whose last is the last of the data.

    Without successors a row that is cut off without having terminated has no next observation: it goes, and the row before it
    is the one that is cut off.
    """
    last_open = truncated.copy()
    last_open[..., -1] |= ~terminated[..., -1]
    if successors:
        return None, last_open
    unknown = last_open & ~terminated
    cut = np.zeros_like(unknown)
    cut[..., :-1] = unknown[..., 1:] & ~unknown[..., :-1] & ~terminated[..., :-1]
    return ~unknown, cut | (truncated & terminated)


def clipped(at: str, action: NDArray[np.float32], limit: float | None) -> NDArray[np.float32]:
    """Actions within +-limit; NaN stays and is refused later, with its place."""
    if limit is None:
        return action
    if checked_number(f"{at}clip_action", limit) <= 0.0:
        raise InvalidArgument(f"{at}clip_action: expected a number > 0 or None, got {limit!r}")
    return np.clip(action, np.float32(-limit), np.float32(limit))


# ---- Minari --------------------------------------------------------------------------------------------------------------


def from_minari(
    cls: type[Buffer],
    dataset: Any,
    *,
    obs_keys: Sequence[str] | None,
    capacity: int | None,
    clip_action: float | None,
    **buffer: Any,
) -> Buffer:
    """ReplayBuffer.from_minari."""
    at = "ReplayBuffer.from_minari: "
    episodes: Iterable[Any] = dataset
    if hasattr(dataset, "iterate_episodes"):
        capacity = capacity or int(dataset.total_steps)
        episodes = dataset.iterate_episodes()
    elif capacity is None:
        episodes = list(episodes)
        capacity = sum(len(as_array(at, episode.rewards)) for episode in episodes)
    made: Buffer | None = None
    for i, episode in enumerate(episodes):
        where = f"{at}episode {getattr(episode, 'id', i)}: "
        observed = _observations(where, episode.observations, obs_keys)
        acted = as_floats(f"{where}actions", episode.actions)
        done, cut = (as_bools(f"{where}{k}", getattr(episode, k)) for k in ("terminations", "truncations"))
        rewards = as_floats(f"{where}rewards", episode.rewards)
        steps = rewards.shape[0] if rewards.ndim == 1 else -1
        shapes = {"actions": acted.shape[:1], "terminations": done.shape, "truncations": cut.shape}
        if steps < 1 or acted.ndim != 2 or observed.shape[0] != steps + 1 or any(s != (steps,) for s in shapes.values()):
            found = {"observations": observed.shape, "rewards": rewards.shape, **shapes, "actions": acted.shape}
            raise InvalidArgument(
                f"{where}expected observations [T + 1, obs_dim], actions [T, act_dim] and rewards, terminations, truncations "
                f"[T] with T >= 1, got " + ", ".join(f"{name} {shown(shape)}" for name, shape in found.items())
            )
        if made is None:
            made = cls(capacity or 1, observed.shape[1], acted.shape[1], shared=True, **buffer)
        _, cut = episode_ends(done, cut, successors=True)
        with _placed(where):
            made.add(observed[:-1], clipped(at, acted, clip_action), rewards, observed[1:], done, cut, order="steps")
    if made is None:
        raise InvalidArgument(f"{at}dataset: expected at least one episode, got none")
    return made


def _observations(where: str, observations: Any, keys: Sequence[str] | None) -> NDArray[np.float32]:
    if isinstance(observations, Mapping):
        if keys is None or not keys or set(keys) - set(observations):
            raise InvalidArgument(
                f"{where}obs_keys: expected some of {sorted(observations)}, in the order to join them, got {keys!r}"
            )
        parts = [as_floats(f"{where}observations[{key!r}]", observations[key]) for key in keys]
        flat = [part.reshape(part.shape[0], -1) for part in parts]
        return np.ascontiguousarray(np.concatenate(flat, axis=1))
    if keys is not None:
        raise InvalidArgument(f"{where}obs_keys: only for dict observations, got {list(keys)} and an array")
    array = as_floats(f"{where}observations", observations)
    if array.ndim != 2:
        raise InvalidArgument(f"{where}observations: expected [T + 1, obs_dim], got {shown(array.shape)}")
    return array


class _placed:
    """Puts where the rows came from in front of what `add` says about them."""

    def __init__(self, where: str) -> None:
        self.where = where

    def __enter__(self) -> None: ...

    def __exit__(self, _: Any, error: BaseException | None, __: Any) -> None:
        if isinstance(error, InvalidArgument):
            raise InvalidArgument(self.where + str(error)) from None


# ---- HDF5 ----------------------------------------------------------------------------------------------------------------


def from_hdf5(
    cls: type[Buffer], path: str | PathLike[str], *, capacity: int | None, clip_action: float | None, **buffer: Any
) -> Buffer:
    """ReplayBuffer.from_hdf5."""
    import h5py

    at = f"ReplayBuffer.from_hdf5: {path}: "
    with h5py.File(path, "r") as file:
        found = _data_sets(at, file)
        steps = found["observations"].shape[0]
        done, cut = (_flags(f"{at}{name}", found[name]) for name in ("terminals", "timeouts"))
        following = found.get("next_observations")
        valid, cut = episode_ends(done, cut, successors=following is not None)
        widths = found["observations"].shape[1], found["actions"].shape[1]
        made = cls(capacity or steps, *widths, shared=True, **buffer)
        for begin, end in _pieces(steps, widths[0]):
            # One row more: without next_observations it is the last one's next observation.
            read = as_floats(f"{at}observations", found["observations"][begin : min(end + 1, steps)])
            observed = read[: end - begin]
            if following is not None:
                after = as_floats(f"{at}next_observations", following[begin:end])
            else:
                shifted = read[1:] if end < steps else np.concatenate([read[1:], read[-1:]])
                after = np.where(done[begin:end, None], observed, shifted)
            acted = clipped(at, as_floats(f"{at}actions", found["actions"][begin:end]), clip_action)
            kept = None if valid is None else valid[begin:end]
            with _placed(f"{at}rows from {begin} on: "):
                made.add(
                    observed, acted, found["rewards"][begin:end], after, done[begin:end], cut[begin:end], kept, order="steps"
                )
    return made


def _data_sets(at: str, file: Any) -> dict[str, Any]:
    needed, optional = ("observations", "actions", "rewards", "terminals", "timeouts"), ("next_observations",)
    found = {name: file[name] for name in (*needed, *optional) if name in file}
    missing = [name for name in needed if name not in found]
    if missing:
        raise InvalidArgument(
            f"{at}expected data sets {', '.join(needed)}; missing: {', '.join(missing)}; there are {sorted(file)}"
        )
    steps = found["observations"].shape[0] if found["observations"].ndim == 2 else 0
    for name, data in found.items():
        wide = name in ("observations", "actions", "next_observations")
        if steps < 1 or data.ndim != 1 + wide or data.shape[0] != steps:
            raise InvalidArgument(
                f"{at}{name}: expected [{steps or 'T'}{', width' if wide else ''}] with T >= 1 rows, as observations has, got "
                f"{shown(data.shape)}"
            )
    following = found.get("next_observations")
    if following is not None and following.shape != found["observations"].shape:
        raise InvalidArgument(
            f"{at}next_observations: expected {shown(found['observations'].shape)} as observations, got "
            f"{shown(following.shape)}"
        )
    return found


def _flags(where: str, data: Any) -> NDArray[np.bool_]:
    """Bools, or the integers 0 and 1 that some files hold instead."""
    values = np.asarray(data[:])
    if values.dtype.kind in "iu" and bool(np.isin(values, (0, 1)).all()):
        return values.astype(np.bool_)
    return as_bools(where, values)


def _pieces(steps: int, width: int) -> Iterator[tuple[int, int]]:
    rows = max(1, _READ_AT_ONCE // (4 * width))
    for begin in range(0, steps, rows):
        yield begin, min(begin + rows, steps)
