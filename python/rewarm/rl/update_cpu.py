"""The update of `rewarm.rl.update` as one call into C++ (csrc/rl/update.cpp): the same loss and steps, no Python inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from rewarm._native import core
from rewarm.q.ensemble_mlp_cpu import addresses, parameters
from rewarm.rl.adam import Moments, rate
from rewarm.rl.draws import Draws
from rewarm.rl.networks import Network
from rewarm.rl.rows import Rows
from rewarm.rl.update import LAYER_NORM_EPS, Info, Learner, Penalty, Settings
from rewarm.schedule import Schedule

#: What C++ reports, row by row; those of an offline step last.
REPORTED = ("critic_loss", "q", "q_target", "actor_loss", "alpha", "alpha_loss", "entropy", "td_loss", "cql_diff", "cql_weight")
ONLINE = 7


@dataclass(frozen=True)
class Sampled:
    """Rows that C++ draws for itself: n of each seed, from the buffer behind `replay`, at the offset of the call."""

    replay: core.Replay
    n: int


class Chain:
    """The compiled update of one `Learner`, float32 on a CPU.

    It writes into the learner's own tensors, wherever they are by then, and counts the Adam steps in its moments. Draws that
    are not given are made in C++ from the same counters, with the same bits as those of `rewarm.rl.draws`.

    Args:
        learner: Changed in place by every call.
        settings: See `rewarm.rl.update.Settings`; its backend and precision are not read.
        subset: M.
        replacement: How subsets are drawn.
        backup_actions: K.
        penalty: Of `offline_step`; None where there is none.
    """

    def __init__(
        self,
        learner: Learner,
        settings: Settings,
        *,
        subset: int,
        replacement: bool,
        backup_actions: int,
        penalty: Penalty | None = None,
    ) -> None:
        self.learner, self.settings, self.penalty = learner, settings, penalty
        actor, critics = learner.actor, learner.critics
        seeds, members = critics.head[1].shape
        self.seeds = int(seeds)
        self.native = core.AgentUpdate(
            critic_widths=_widths(critics),
            critic_norm=[len(layer) == 4 for layer in critics.layers],
            actor_widths=_widths(actor),
            actor_norm=[len(layer) == 4 for layer in actor.layers],
            actor_outputs=actor.head[0].shape[-1],
            eps=LAYER_NORM_EPS,
            seeds=self.seeds,
            critics=int(members),
            subset=subset,
            replacement=replacement,
            backup_actions=backup_actions,
            free_log_std=actor.log_std is not None,
        )
        self._known: list[list[int]] = []

    def update(
        self,
        rows: Rows | Sampled,
        draws: Draws | None = None,
        *,
        seed: Tensor | None = None,
        offset: Tensor | None = None,
        utd: int = 0,
    ) -> Info:
        """`rewarm.rl.update.update`, with `draws` or with those at `seed` and `offset` (int64 ``[S]``), `utd` minibatches."""
        self._meet()
        own, settings = self.learner, self.settings
        utd = utd if draws is None else draws.target_noise.shape[1]
        turns = utd + 1 if settings.adam_semantics == "wsrl" else 1
        counts = {
            "critic": (settings.critic_lr, own.critic_moments, max(utd, turns)),
            "actor": (settings.actor_lr, own.actor_moments, turns),
            "alpha": (settings.alpha_lr, own.alpha_moments, turns),
        }
        info = torch.zeros(len(REPORTED), self.seeds)
        self.native.update(
            **_rows_of(rows),
            draws=_draw_addresses(draws),
            seeds=0 if seed is None else seed.data_ptr(),
            offsets=0 if offset is None else offset.data_ptr(),
            minibatches=utd,
            rates=[_rates(lr, moments, n) for lr, moments, n in counts.values()],
            taken=[moments.step for _, moments, _ in counts.values()],
            info=info.data_ptr(),
            threads=torch.get_num_threads(),
        )
        for _, moments, n in counts.values():
            moments.step += n
        return dict(zip(REPORTED[:ONLINE], info, strict=False))

    def offline_step(
        self, rows: Rows | Sampled, draws: Draws | None = None, *, seed: Tensor | None = None, offset: Tensor | None = None
    ) -> Info:
        """`rewarm.rl.update.offline_step`, with `draws` or with those at `seed` and `offset`."""
        self._meet()
        own, settings, penalty = self.learner, self.settings, self.penalty
        assert penalty is not None
        counts: list[tuple[float | Schedule, Moments]] = [
            (settings.critic_lr, own.critic_moments),
            (settings.actor_lr, own.actor_moments),
            (settings.alpha_lr, own.alpha_moments),
        ]
        if own.lagrange_moments is not None and penalty.weight is None:
            counts.append((penalty.lr, own.lagrange_moments))
        info = torch.zeros(len(REPORTED), self.seeds)
        self.native.offline(
            **_rows_of(rows),
            draws=_draw_addresses(draws),
            seeds=0 if seed is None else seed.data_ptr(),
            offsets=0 if offset is None else offset.data_ptr(),
            rates=[_rates(lr, moments, 1) for lr, moments in counts],
            taken=[moments.step for _, moments in counts],
            info=info.data_ptr(),
            threads=torch.get_num_threads(),
        )
        for _, moments in counts:
            moments.step += 1
        return dict(zip(REPORTED, info, strict=True))

    def _meet(self) -> None:
        """Tells C++ where the tensors are, when that changed."""
        own, settings, penalty = self.learner, self.settings, self.penalty
        actor, critics = own.actor, own.critics
        moments = (own.actor_moments, own.critic_moments)
        nets = [(actor, moments[0]), (critics, moments[1])]
        found = [_addresses(one) for net, of in nets for one in (net, net.replaced(of.exp_avg), net.replaced(of.exp_avg_sq))]
        found.append(_addresses(own.targets))
        if actor.log_std is None:
            found.append([0, 0, 0])
        else:
            found.append([actor.log_std.data_ptr(), moments[0].exp_avg[-1].data_ptr(), moments[0].exp_avg_sq[-1].data_ptr()])
        found.append(_vector(own.alpha_param, own.alpha_moments))
        found.append(_vector(own.lagrange_param, own.lagrange_moments))
        if found != self._known:
            self.native.set_agent(*found)
            self._known = found
        self.native.set_settings(
            gamma=settings.gamma,
            tau=settings.tau,
            target_entropy=settings.target_entropy,
            backup_entropy=settings.backup_entropy,
            actor_mean=settings.actor_q == "mean",
            wsrl_adam=settings.adam_semantics == "wsrl",
        )
        if penalty is not None:
            self.native.set_penalty(
                calibrated=penalty.calibrated,
                importance_sampling=penalty.importance_sampling,
                bound_random=penalty.bound_random,
                actions=penalty.n_actions,
                learned=penalty.weight is None,
                weight=penalty.weight or 0.0,
                gap=penalty.gap,
                temperature=penalty.temperature,
            )


def _widths(net: Network) -> list[int]:
    return [net.layers[0][0].shape[-2], *(layer[0].shape[-1] for layer in net.layers)]


def _addresses(net: Network) -> list[int]:
    return addresses(parameters(net.layers, net.head))


def _vector(parameter: Tensor | None, moments: Moments | None) -> list[int]:
    if parameter is None or moments is None:
        return [0, 0, 0]
    return [parameter.data_ptr(), moments.exp_avg[0].data_ptr(), moments.exp_avg_sq[0].data_ptr()]


def _rates(lr: float | Schedule, moments: Moments, n: int) -> list[float]:
    return [rate(lr, moments.step + i) for i in range(n)]


def _rows_of(rows: Rows | Sampled) -> dict[str, Any]:
    """How the call is told of its rows."""
    if isinstance(rows, Sampled):
        return {"n": rows.n, "rows": [], "replay": rows.replay}
    order: Sequence[Tensor | None] = (rows.obs, rows.action, rows.reward, rows.next_obs, rows.terminated, rows.mc_return)
    return {"n": rows.reward.shape[1], "rows": addresses(order), "replay": None}


def _draw_addresses(draws: Draws | None) -> list[int]:
    return [] if draws is None else addresses([getattr(draws, field.name) for field in fields(Draws)])
