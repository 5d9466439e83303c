"""All randomness of an update in one object, drawn from Philox before the update begins.

An update is a pure function of parameters, rows and draws: whoever holds the draws repeats it bit for bit, on any backend,
or draws the same numbers inside a kernel. The streams are those of `rewarm.q.philox`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rewarm.errors import InvalidArgument, UnsupportedTensor
from rewarm.q import draw_subset, philox

TARGET_ACTION, ACTOR, ALPHA, TARGET_SUBSET, UNIFORM, CURRENT, NEXT, CQL_SUBSET, ACT, DROPOUT = range(1, 11)


@dataclass
class Draws:
    """What one update draws: S seeds, U critic minibatches of B rows, A action components, K backup actions, M of E critics.

    Attributes:
        target_noise: ``[S, U, B, K, A]``, standard normal, for the next actions in the targets.
        target_subset: int64 ``[S, U, M]``, the critics whose minimum is the target.
        actor_noise: ``[S, U·B, A]``, for the actions that the actor's loss evaluates.
        alpha_noise: ``[S, U·B, K, A]``, for the entropy that moves the temperature.
        uniform: ``[S, B, n, A]`` in [-1, 1), the uniform actions of the CQL penalty; None online, as all that follow.
        current_noise: ``[S, B, n, A]``, for the penalty's actions at s.
        next_noise: ``[S, B, n, A]``, for the penalty's actions at s'.
        cql_subset: int64 ``[S, M]``, the critics that the penalty is taken of.
    """

    target_noise: Tensor
    target_subset: Tensor
    actor_noise: Tensor
    alpha_noise: Tensor
    uniform: Tensor | None = None
    current_noise: Tensor | None = None
    next_noise: Tensor | None = None
    cql_subset: Tensor | None = None


@dataclass(frozen=True)
class Shape:
    """The sizes that decide how much an update draws; `replacement` is how subsets of critics are drawn."""

    batch: int
    act_dim: int
    critics: int
    subset: int
    replacement: bool
    backup_actions: int


def draw_update(seed: Tensor, offset: Tensor, shape: Shape, *, utd: int, backend: str | None = None) -> Draws:
    """The draws of one high-UTD update.

    Args:
        seed: int64 ``[S]``, one Philox key a seed.
        offset: int64 ``[S]``, critic minibatches done so far. Minibatch u draws at ``offset + u``; actor and temperature,
            whose turn comes after the critics, at ``offset + utd``.
        shape: The sizes.
        utd: Critic minibatches, U.
        backend: See `rewarm.q.philox`.

    Returns:
        The draws, on the device of `seed`.
    """
    b, a, k = shape.batch, shape.act_dim, shape.backup_actions
    at = [offset + u for u in range(utd + 1)]
    return Draws(
        target_noise=torch.stack([_normal((b, k, a), seed, at[u], TARGET_ACTION, backend) for u in range(utd)], 1),
        target_subset=torch.stack([_subset(shape, seed, at[u], TARGET_SUBSET, backend) for u in range(utd)], 1),
        actor_noise=_normal((utd * b, a), seed, at[utd], ACTOR, backend),
        alpha_noise=_normal((utd * b, k, a), seed, at[utd], ALPHA, backend),
    )


def draw_offline(seed: Tensor, offset: Tensor, shape: Shape, *, n_actions: int, backend: str | None = None) -> Draws:
    """The draws of one offline step, all at `offset`: as `draw_update` with one minibatch, and those of the CQL penalty.

    Args:
        seed: int64 ``[S]``.
        offset: int64 ``[S]``, critic minibatches done so far.
        shape: The sizes.
        n_actions: Actions a state of each of the three kinds, n.
        backend: See `rewarm.q.philox`.

    Returns:
        The draws. Subsets of target and penalty are independent.
    """
    b, a, k = shape.batch, shape.act_dim, shape.backup_actions
    wide = (b, n_actions, a)
    return Draws(
        target_noise=_normal((b, k, a), seed, offset, TARGET_ACTION, backend).unsqueeze(1),
        target_subset=_subset(shape, seed, offset, TARGET_SUBSET, backend).unsqueeze(1),
        actor_noise=_normal((b, a), seed, offset, ACTOR, backend),
        alpha_noise=_normal((b, k, a), seed, offset, ALPHA, backend),
        uniform=philox(wide, seed=seed, offset=offset, stream=UNIFORM, kind="uniform", backend=backend) * 2 - 1,
        current_noise=_normal(wide, seed, offset, CURRENT, backend),
        next_noise=_normal(wide, seed, offset, NEXT, backend),
        cql_subset=_subset(shape, seed, offset, CQL_SUBSET, backend),
    )


def _normal(sizes: tuple[int, ...], seed: Tensor, offset: Tensor, stream: int, backend: str | None) -> Tensor:
    """Standard normals ``[S, *sizes]``."""
    return philox(sizes, seed=seed, offset=offset, stream=stream, kind="normal", backend=backend)


def _subset(shape: Shape, seed: Tensor, offset: Tensor, stream: int, backend: str | None) -> Tensor:
    """The drawn critics, int64 ``[S, M]``."""
    return draw_subset(
        shape.critics,
        shape.subset,
        seed=seed,
        offset=offset,
        stream=stream,
        replacement=shape.replacement,
        backend=backend,
    )


def check_draws(draws: Draws, where: str, *, seeds: int, rows: int, shape: Shape, device: torch.device) -> None:
    """Refuses draws of an update that do not fit its rows; whatever U they were made for, ``U·B`` must be `rows`.

    Raises:
        InvalidArgument: A tensor's shape does not fit.
        UnsupportedTensor: A dtype or device does not fit.
    """
    first = draws.target_noise
    utd = first.shape[1] if first.ndim == 5 else 0
    if not utd or rows % utd:
        raise InvalidArgument(
            f"{where}target_noise: expected [S, U, B, K, A] with U a divisor of {rows} rows, got {list(first.shape)}"
        )
    b, a, k = rows // utd, shape.act_dim, shape.backup_actions
    expected = {
        "target_noise": [seeds, utd, b, k, a],
        "target_subset": [seeds, utd, shape.subset],
        "actor_noise": [seeds, rows, a],
        "alpha_noise": [seeds, rows, k, a],
    }
    _check_shapes(draws, expected, where, device)


def check_offline_draws(draws: Draws, where: str, *, seeds: int, shape: Shape, n_actions: int, device: torch.device) -> None:
    """Refuses draws of an offline step that do not fit its rows, as `check_draws` does."""
    check_draws(draws, where, seeds=seeds, rows=shape.batch, shape=shape, device=device)
    if draws.target_noise.shape[1] != 1:
        raise InvalidArgument(f"{where}target_noise: expected one minibatch offline, got {draws.target_noise.shape[1]}")
    wide = [seeds, shape.batch, n_actions, shape.act_dim]
    expected = {"uniform": wide, "current_noise": wide, "next_noise": wide, "cql_subset": [seeds, shape.subset]}
    _check_shapes(draws, expected, where, device)


def _check_shapes(draws: Draws, expected: dict[str, list[int]], where: str, device: torch.device) -> None:
    for name, wanted in expected.items():
        tensor = getattr(draws, name)
        if not isinstance(tensor, Tensor) or list(tensor.shape) != wanted:
            got = list(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
            raise InvalidArgument(f"{where}{name}: expected {wanted}, got {got}")
        dtype = torch.int64 if name.endswith("subset") else torch.float32
        if tensor.dtype != dtype or tensor.device != device:
            raise UnsupportedTensor(f"{where}{name}: expected {dtype} on {device}, got {tensor.dtype} on {tensor.device}")
