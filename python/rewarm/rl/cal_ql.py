"""CalQL and CQL: conservative Q-learning from a fixed data set, whose agents start well online.

Kumar et al. 2020 (CQL, arXiv 2006.04779), Nakamoto et al. 2023 (Cal-QL, arXiv 2303.05479), in the form of zhouzypaul/wsrl.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from rewarm.errors import InvalidArgument
from rewarm.rl import update as composition
from rewarm.rl.adam import Moments
from rewarm.rl.agent import EnsembleSAC, inverse_softplus
from rewarm.rl.arguments import count, flag, learning_rate, number
from rewarm.rl.draws import Draws, check_offline_draws, draw_offline
from rewarm.rl.rows import Rows, sample_mixed
from rewarm.rl.update import Info, Penalty
from rewarm.rl.update_cpu import Sampled
from rewarm.schedule import Schedule


@dataclass(frozen=True)
class Lagrange:
    """A CQL weight that is learned: softplus of a parameter that rises while the penalty's diff is above a gap.

    Args:
        gap: The diff that is aimed at.
        init: Weight at the start, > 0.
        lr: Learning rate of its Adam, or a Schedule.
    """

    gap: float = 0.8
    init: float = 1.0
    lr: float | Schedule = 3e-4


class CalQL(EnsembleSAC):
    """`EnsembleSAC` with an offline step: TD loss and a penalty on Q values of actions that the data do not contain.

    The penalty of a drawn critic is ``T logsumexp(Q/T) - Q(s, a)`` over 3n actions at s: n uniform, n from pi(s), n from
    pi(s'). Calibrated, the policy's values are first raised to the Monte-Carlo return of the data, so that Q is not pushed
    below what the behaviour achieved. ``update_offline`` takes the gradients of critics, actor, temperature and weight from
    the same parameters, then steps each once. ``update`` is that of `EnsembleSAC`: no penalty, which is what WSRL does
    online; for Cal-QL online call ``update_offline`` on the mixed data.

    Differences from the reference code, none of which changes the loss for given draws: only the M drawn critics see the 3n
    actions; Q(s, a) is computed once; the learned weight reuses the critics' diff instead of computing it again with fresh
    actions. ``adam_semantics`` makes no difference offline, where every network has a gradient.

    Args:
        obs_dim, act_dim: See `EnsembleSAC`.
        calibrated: False makes it CQL; True needs rows with ``mc_return`` (``ReplayBuffer(mc_returns=True)``).
        n_actions: n.
        cql_weight: A number >= 0 (antmaze learns it; 5 kitchen and locomotion, 1 adroit), or a `Lagrange` (or a mapping of its
            fields).
        importance_sampling: Subtract the log density of each action; False appends Q(s, a) and subtracts T log(3n + 1).
        cql_temperature: T > 0.
        bound_random: Whether the uniform actions' values are raised to the return as well.
        backup_actions: K; the offline target takes the best of 10 next actions by default.
        **sac: All other arguments of `EnsembleSAC`.

    Raises:
        InvalidArgument: An argument is not accepted.
    """

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        *,
        calibrated: bool = True,
        n_actions: int = 10,
        cql_weight: float | Lagrange | Mapping[str, Any] = 5.0,
        importance_sampling: bool = True,
        cql_temperature: float = 1.0,
        bound_random: bool = False,
        backup_actions: int = 10,
        **sac: Any,
    ) -> None:
        super().__init__(obs_dim, act_dim, backup_actions=backup_actions, **sac)
        at = f"{type(self).__name__}: "
        weight = Lagrange(**cql_weight) if isinstance(cql_weight, Mapping) else cql_weight
        shared: dict[str, Any] = {
            "calibrated": flag(at + "calibrated", calibrated),
            "n_actions": count(at + "n_actions", n_actions),
            "importance_sampling": flag(at + "importance_sampling", importance_sampling),
            "bound_random": flag(at + "bound_random", bound_random),
        }
        temperature = number(at + "cql_temperature", cql_temperature, above=0)
        if isinstance(weight, Lagrange):
            gap = number(at + "cql_weight.gap", weight.gap)
            init = number(at + "cql_weight.init", weight.init, above=0)
            lr = learning_rate(at + "cql_weight.lr", weight.lr)
            self.penalty = Penalty(**shared, temperature=temperature, weight=None, gap=gap, lr=lr)
            self.learner.lagrange_param = torch.full_like(self.learner.alpha_param, inverse_softplus(init))
            self.learner.lagrange_moments = Moments.zeros([self.learner.lagrange_param])
            shared["cql_weight"] = {"gap": gap, "init": init, "lr": lr}
        else:
            fixed = number(at + "cql_weight", weight, low=0)
            self.penalty = Penalty(**shared, temperature=temperature, weight=fixed)
            shared["cql_weight"] = fixed
        self.config |= shared | {"cql_temperature": temperature}

    def update_offline(self, buffer: Any, *, batch: int = 256, offline: Any = None, offline_ratio: float = 0.0) -> Info:
        """One step on rows drawn from a buffer.

        Args:
            buffer: A `ReplayBuffer`, with Monte-Carlo returns where the penalty is calibrated.
            batch: Rows, B.
            offline: A second buffer, for Cal-QL online.
            offline_ratio: Its share of the rows, see `EnsembleSAC.update`.

        Returns:
            critic_loss, td_loss, cql_diff, cql_weight, q, q_target, actor_loss, alpha, alpha_loss, entropy: float32 ``[S]``
            on the device, nothing waits for it.

        Raises:
            InvalidArgument: An argument is out of range, the buffer cannot give that many rows, or has no returns.
        """
        at = f"{type(self).__name__}.update_offline: "
        count(at + "batch", batch)
        ratio = number(at + "offline_ratio", offline_ratio, low=0, high=1)
        sampled = self._sampled(buffer, batch, offline, ratio, at)
        if sampled is not None and (buffer.config.mc_returns or not self.penalty.calibrated):
            return self._chained(sampled, None)
        rows = self._rows(sample_mixed(buffer, offline, ratio, 1, batch, self.offset, at), at)
        return self._offline_step(rows, None, at)

    def update_offline_batch(self, batch: Any, noise: Draws | None = None) -> Info:
        """One offline step on given rows and, if wanted, given draws.

        Args:
            batch: ``[S, B, ...]`` as in `EnsembleSAC.update_batch`, with ``mc_return`` where the penalty is calibrated.
            noise: All draws, as `rewarm.rl.draws.draw_offline` makes them; None draws them as `update_offline` does.

        Returns:
            As `update_offline`.

        Raises:
            InvalidArgument: Shapes do not fit, or there are no returns.
            UnsupportedTensor: Dtypes or devices do not fit.
        """
        at = f"{type(self).__name__}.update_offline_batch: "
        return self._offline_step(self._rows(batch, at), noise, at)

    def _offline_step(self, rows: Rows, draws: Draws | None, at: str) -> Info:
        if self.penalty.calibrated and rows.mc_return is None:
            raise InvalidArgument(f"{at}batch.mc_return: expected Monte-Carlo returns, got None; CQL is calibrated=False")
        shape = self._shape(rows.reward.shape[1])
        n_actions = self.penalty.n_actions
        if draws is not None:
            check_offline_draws(draws, at, seeds=len(self.seeds), shape=shape, n_actions=n_actions, device=self.device)
        if self._chain() is not None:
            return self._chained(rows, draws)
        if draws is not None:
            info = composition.offline_step(self.learner, rows, draws, self.settings, self.penalty)
        else:

            def step(rows: Rows) -> Info:
                own = draw_offline(self.seed, self.offset, shape, n_actions=n_actions, backend=self.backend)
                return composition.offline_step(self.learner, rows, own, self.settings, self.penalty)

            return self._replayed("offline", step, rows, 1, (1, 1, 1 if self.penalty.weight is None else None))
        self.offset += 1
        return info

    def _chained(self, rows: Rows | Sampled, draws: Draws | None) -> Info:
        """The step in C++."""
        chain = self._chain()
        assert chain is not None
        info = chain.offline_step(rows, draws, seed=self.seed, offset=self.offset)
        self.offset += 1
        return info

    def _penalty(self) -> Penalty:
        return self.penalty
