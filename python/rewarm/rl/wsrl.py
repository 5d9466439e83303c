"""WSRL: warm-start reinforcement learning, which keeps no offline data. Zhou et al. 2024 (arXiv 2412.07762)."""

from __future__ import annotations

import os
from typing import Any

import torch

from rewarm.errors import InvalidArgument, StateDictMismatch
from rewarm.rl import checkpoint
from rewarm.rl.agent import EnsembleSAC
from rewarm.rl.arguments import count
from rewarm.rl.base import _parameters
from rewarm.rl.update import Info


class WSRL(EnsembleSAC):
    """`EnsembleSAC` that starts from an offline agent and first fills an empty buffer with that agent's own rollouts.

    The three phases: an offline agent (`CalQL`) is trained and saved; `from_offline` takes all of it over; for ``warmup_steps``
    environment steps the frozen policy acts, by *sampled* actions, while `update` does nothing and returns None; then plain
    high-UTD SAC on what was collected online. No offline data are kept.

    Args:
        obs_dim, act_dim: See `EnsembleSAC`.
        warmup_steps: Rows in the buffer before the first gradient step, >= 0 (paper: 5,000, which count as environment steps).
        **sac: All other arguments of `EnsembleSAC`.

    Raises:
        InvalidArgument: An argument is not accepted.
    """

    def __init__(self, obs_dim: int, act_dim: int, *, warmup_steps: int = 5000, **sac: Any) -> None:
        super().__init__(obs_dim, act_dim, **sac)
        self.warmup_steps = count(f"{type(self).__name__}: warmup_steps", warmup_steps, at_least=0)
        self.config |= {"warmup_steps": self.warmup_steps}

    @classmethod
    def from_offline(
        cls,
        path: str | os.PathLike[str],
        warmup_steps: int = 5000,
        *,
        device: str | torch.device = "cpu",
        backend: str | None = None,
        **override: Any,
    ) -> WSRL:
        """The online agent that continues an offline one.

        Takes over actor, critics, target critics and temperature with all Adam moments and step counts, and the counters of the
        draws, as the reference code restores the whole checkpoint. What belongs to the penalty has no place online and is
        dropped: its weight, the Lagrange parameter and its moments, and ``backup_actions``, which is 1 online unless it is
        given here (10 in the paper's AntMaze).

        Args:
            path: A file of ``CalQL.save`` or ``EnsembleSAC.save``.
            warmup_steps: See the class.
            device: Where to train on.
            backend: See `EnsembleSAC`.
            **override: Arguments of `EnsembleSAC` that differ online (learning rates, Schedules, adam_semantics, seeds, ...).
                Such as change a shape are refused.

        Returns:
            The agent.

        Raises:
            StateDictMismatch: The file holds no such agent, or its shapes do not fit an override.
            InvalidArgument: An override is not accepted.
        """
        name, config, state = checkpoint.read(path)
        at = f"{cls.__name__}.from_offline: "
        accepted = _parameters(cls)
        foreign = sorted(set(override) - accepted)
        if foreign:
            raise InvalidArgument(f"{at}no argument named {', '.join(foreign)}")
        if name not in ("CalQL", "EnsembleSAC", "WSRL"):
            raise StateDictMismatch(f"{at}{os.fspath(path)}: expected a CalQL or EnsembleSAC, got a {name}")
        kept = {key: value for key, value in config.items() if key in accepted}
        if name == "CalQL":
            kept.pop("backup_actions")
        agent = cls(**(kept | {"warmup_steps": warmup_steps, "device": device, "backend": backend} | override))
        agent.load_state_dict({key: value for key, value in state.items() if not key.startswith("lagrange.")})
        return agent

    def update(
        self, buffer: Any, *, utd: int = 4, batch: int = 256, offline: Any = None, offline_ratio: float = 0.0
    ) -> Info | None:
        """As `EnsembleSAC.update`; None, nothing changed, until the buffer holds max(warmup_steps, utd·batch) rows a seed."""
        if len(buffer) < max(self.warmup_steps, utd * batch):
            return None
        return super().update(buffer, utd=utd, batch=batch, offline=offline, offline_ratio=offline_ratio)
