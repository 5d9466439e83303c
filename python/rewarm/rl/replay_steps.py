"""From the steps of a Gymnasium vector environment to rows of a ReplayBuffer: no reset rows, true last observations."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewarm.errors import InvalidArgument


class VectorSteps:
    """Turns what a vector environment returns into the arguments of `ReplayBuffer.add`, in each of Gymnasium's autoreset modes.

    ::

        steps = VectorSteps(envs)
        steps.reset(envs.reset(seed=0)[0])
        while ...:
            action = agent.act(steps.obs)
            buffer.add(**steps.rows(action, *envs.step(action)))

    Next-step autoreset (the default of Gymnasium 1.0 and later): the step after an episode's end ignores its action and returns
    the new episode's first observation; its row is marked ``valid=False``. Same-step autoreset: the step that ends an episode
    returns the new one's first observation, and the last one in ``infos["final_obs"]``; that becomes next_obs. Disabled: call
    `reset` with the observations after resetting the environments that ended.

    Args:
        envs: A ``gymnasium.vector.VectorEnv``, whose metadata tell the mode (none: next-step).

    Attributes:
        obs: The present observations ``[N, ...]``, what the next action is for.
    """

    def __init__(self, envs: Any) -> None:
        mode = (envs.metadata or {}).get("autoreset_mode", "NextStep")
        self.mode = str(getattr(mode, "value", mode))
        if self.mode not in ("NextStep", "SameStep", "Disabled"):
            raise InvalidArgument(
                f"VectorSteps: envs: expected autoreset mode NextStep, SameStep or Disabled, got {self.mode!r}"
            )
        self.n = int(envs.num_envs)
        self.obs: NDArray[Any] | None = None
        self._resetting = np.zeros(self.n, dtype=np.bool_)

    def reset(self, obs: Any) -> None:
        """Begins, or begins anew, at these observations ``[N, ...]``."""
        self.obs = self._copied("reset: obs", obs)
        self._resetting[:] = False

    def rows(
        self, action: Any, obs: Any, reward: Any, terminated: Any, truncated: Any, infos: dict[str, Any]
    ) -> dict[str, Any]:
        """The arguments for `ReplayBuffer.add` of one step: ``[N, ...]`` each.

        With N seeds row i goes to seed i; with one block they are N environments of it.

        Args:
            action: What was given to ``envs.step``.
            obs: What it returned, as are the other four.
            reward: .
            terminated: .
            truncated: .
            infos: .

        Raises:
            InvalidArgument: `reset` was not called, or an episode ended without its last observation in `infos`.
        """
        if self.obs is None:
            raise InvalidArgument("VectorSteps: rows: expected reset(obs) with the first observations before")
        before, after = self.obs, self._copied("rows: obs", obs)
        ended = np.logical_or(terminated, truncated)
        valid = ~self._resetting
        next_obs = after
        if self.mode == "SameStep" and ended.any():
            next_obs = after.copy()
            last = infos.get("final_obs")
            for i in np.flatnonzero(ended):
                if last is None or last[i] is None:
                    raise InvalidArgument(f"VectorSteps: rows: infos: expected final_obs[{i}], since environment {i} ended")
                next_obs[i] = last[i]
        elif self.mode == "NextStep":
            self._resetting = ended & valid
        self.obs = after
        return {
            "obs": before,
            "action": np.array(action),
            "reward": reward,
            "next_obs": next_obs,
            "terminated": np.asarray(terminated),
            "truncated": np.asarray(truncated),
            "valid": valid,
            "order": "environments",
        }

    def _copied(self, where: str, obs: Any) -> NDArray[Any]:
        """Environments may write the next observations over these."""
        array = np.array(obs)
        if array.dtype == np.object_ or array.ndim != 2 or array.shape[0] != self.n:
            raise InvalidArgument(
                f"VectorSteps: {where}: expected a numeric array [{self.n}, obs_dim], got {array.dtype} of {list(array.shape)} "
                "(flatten dict observations first, with gymnasium.wrappers.vector.FlattenObservation)"
            )
        return array
