"""EnsembleSAC: soft actor-critic with an ensemble of LayerNorm critics at a high update-to-data ratio.

Haarnoja et al. 2018 (SAC, arXiv 1812.05905), Chen et al. 2021 (REDQ, arXiv 2101.05982), Ball et al. 2023 (RLPD, arXiv
2302.02948), in the form that Zhou et al. 2024 (WSRL, arXiv 2412.07762) use online.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rewarm.errors import InvalidArgument
from rewarm.q import tanh_gaussian
from rewarm.rl import modules
from rewarm.rl import update as composition
from rewarm.rl.adam import Moments
from rewarm.rl.arguments import count, flag, learning_rate, number, one_of, widths
from rewarm.rl.base import Agent, Part, network_part
from rewarm.rl.draws import ACT, Draws, Shape, check_draws, draw_update
from rewarm.rl.networks import LOG_STDS, make_network
from rewarm.rl.replay import ReplayBuffer
from rewarm.rl.rows import Rows, as_rows, sample_mixed
from rewarm.rl.update import ACTOR_QS, ADAM_SEMANTICS, Info, Learner, Penalty, Settings
from rewarm.rl.update_cpu import Chain, Sampled
from rewarm.rl.update_graph import GraphedUpdate, Turns
from rewarm.schedule import Schedule


class EnsembleSAC(Agent):
    """Soft actor-critic, E critics of which M are drawn for each target, U critic minibatches an environment step, S seeds.

    One `update`: U critic minibatches in order, each with its target, TD loss, Adam step and Polyak average; then the actor
    and the temperature once, on all U·B rows, both from the same parameters. The target is
    ``r + gamma (1 - terminated) max_k min_{m in M} Q_target_m(s', a_k)``, the actor's loss ``mean(alpha log pi - Q)``, the
    temperature's ``alpha (H - H_target)`` with alpha = softplus of its parameter and H the entropy at the *next* states.

    Where the reference code (zhouzypaul/wsrl) differs from what one expects, this class does what one expects, and the code's
    way has a name: ``adam_semantics="wsrl"`` (its optimizers step every network at every minibatch, with gradients of zero
    where it has none, so the actor moves on by momentum between its updates and a Schedule of its rate counts these steps
    too), ``subset_replacement=True`` (its two drawn critics are the same one with probability 1/E). As there, and not as in
    REDQ and RLPD, the actor maximises the minimum over all critics (``actor_q="min"``), the target carries no entropy
    (``backup_entropy=False``), the last *hidden* layer starts small, not the head. Only the drawn critics are evaluated in a
    target: the same numbers as drawing last.

    On the ``cpu`` backend seed s of a stack is bit for bit the single run with that seed, and an update is one call into C++.
    On a GPU an update whose draws are not given is captured as a CUDA graph when its shape of rows is first met, and replayed;
    set ``agent.capture = False`` to run it op by op.

    Args:
        obs_dim: Width of an observation, O.
        act_dim: Width of an action, A; actions lie in [-1, 1].
        critics: E.
        subset: M, critics whose minimum is the target.
        subset_replacement: Whether they are drawn with replacement.
        hidden: Widths of the critics' hidden layers.
        actor_hidden: Widths of the actor's; None for those of the critics.
        layer_norm: LayerNorm (eps 1e-6) after every hidden layer of actor and critics.
        log_std: "state": a second head of the actor; "free": one vector. The standard deviation is clipped to [1e-5, 10].
        init_scale: Gain of the orthogonal initialisation.
        last_hidden_scale: Gain of the last hidden layer.
        gamma: Discount, in [0, 1].
        tau: Polyak step, in [0, 1], after every critic minibatch.
        critic_lr, actor_lr, alpha_lr: A number, or a Schedule of the Adam steps that network has taken.
        init_alpha: Temperature at the start, > 0.
        target_entropy: None for -A.
        backup_entropy: Whether targets carry ``-alpha log pi``.
        backup_actions: K, next actions a target takes the best of (10 in the paper's AntMaze).
        actor_q: "min" or "mean" over all E critics.
        adam_semantics: "standard" or "wsrl".
        seeds: One agent for each, whole numbers in [0, 2**63).
        device: Where it lives.
        backend: None (by device), "cpu", "triton", or "reference" (plain torch, slow and obvious).
        precision: "fp32", "tf32" or "bf16" inputs of the matrix products; the cpu backend has fp32.

    Raises:
        InvalidArgument: An argument is not accepted.
        BackendUnavailable: The named backend cannot run here.
    """

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        *,
        critics: int = 10,
        subset: int = 2,
        subset_replacement: bool = False,
        hidden: Sequence[int] = (256, 256),
        actor_hidden: Sequence[int] | None = None,
        layer_norm: bool = True,
        log_std: str = "state",
        init_scale: float = 2**0.5,
        last_hidden_scale: float = 1e-2,
        gamma: float = 0.99,
        tau: float = 0.005,
        critic_lr: float | Schedule = 3e-4,
        actor_lr: float | Schedule = 1e-4,
        alpha_lr: float | Schedule = 1e-4,
        init_alpha: float = 1.0,
        target_entropy: float | None = None,
        backup_entropy: bool = False,
        backup_actions: int = 1,
        actor_q: str = "min",
        adam_semantics: str = "standard",
        seeds: Sequence[int] = (0,),
        device: str | torch.device = "cpu",
        backend: str | None = None,
        precision: str = "fp32",
    ) -> None:
        super().__init__(obs_dim, act_dim, seeds=seeds, device=device, backend=backend, precision=precision)
        at = f"{type(self).__name__}: "
        self.critics, self.subset = count(at + "critics", critics), count(at + "subset", subset)
        if not flag(at + "subset_replacement", subset_replacement) and self.subset > self.critics:
            raise InvalidArgument(f"{at}subset: expected at most critics = {critics} without replacement, got {subset}")
        self.hidden = widths(at + "hidden", hidden)
        self.actor_hidden = self.hidden if actor_hidden is None else widths(at + "actor_hidden", actor_hidden)
        self.layer_norm = flag(at + "layer_norm", layer_norm)
        self.log_std = one_of(at + "log_std", log_std, LOG_STDS)
        self.backup_actions = count(at + "backup_actions", backup_actions)
        self.subset_replacement = subset_replacement
        self.settings = Settings(
            target_entropy=-float(self.act_dim) if target_entropy is None else number(at + "target_entropy", target_entropy),
            gamma=number(at + "gamma", gamma, low=0, high=1),
            tau=number(at + "tau", tau, low=0, high=1),
            critic_lr=learning_rate(at + "critic_lr", critic_lr),
            actor_lr=learning_rate(at + "actor_lr", actor_lr),
            alpha_lr=learning_rate(at + "alpha_lr", alpha_lr),
            backup_entropy=flag(at + "backup_entropy", backup_entropy),
            actor_q=one_of(at + "actor_q", actor_q, ACTOR_QS),
            adam_semantics=one_of(at + "adam_semantics", adam_semantics, ADAM_SEMANTICS),
            precision=precision,
            backend=self.backend,
        )
        own = self.settings
        self.config = {
            "obs_dim": self.obs_dim,
            "act_dim": self.act_dim,
            "critics": self.critics,
            "subset": self.subset,
            "subset_replacement": subset_replacement,
            "hidden": self.hidden,
            "actor_hidden": self.actor_hidden,
            "layer_norm": layer_norm,
            "log_std": log_std,
            "init_scale": number(at + "init_scale", init_scale, above=0),
            "last_hidden_scale": number(at + "last_hidden_scale", last_hidden_scale, above=0),
            "gamma": own.gamma,
            "tau": own.tau,
            "critic_lr": own.critic_lr,
            "actor_lr": own.actor_lr,
            "alpha_lr": own.alpha_lr,
            "init_alpha": number(at + "init_alpha", init_alpha, above=0),
            "target_entropy": own.target_entropy,
            "backup_entropy": backup_entropy,
            "backup_actions": self.backup_actions,
            "actor_q": actor_q,
            "adam_semantics": adam_semantics,
            "seeds": self.seeds,
            "precision": precision,
        }
        self.learner = self._new_learner()
        self._compiled: Chain | None = None
        self._graphs: dict[str, GraphedUpdate] = {}
        self.capture = True

    def _new_learner(self) -> Learner:
        """Parameters as they start, drawn by the seeds' numbers alone."""
        config = self.config
        shared = {name: config[name] for name in ("layer_norm", "init_scale", "last_hidden_scale")}
        free = self.log_std == "free"
        actor = make_network(
            self.seed,
            number=0,
            members=1,
            inputs=self.obs_dim,
            hidden=self.actor_hidden,
            outputs=self.act_dim if free else 2 * self.act_dim,
            heads=1 if free else 2,
            free_log_std=self.act_dim if free else 0,
            **shared,
        )
        inputs = self.obs_dim + self.act_dim
        critics = make_network(
            self.seed, number=1, members=self.critics, inputs=inputs, hidden=self.hidden, outputs=None, **shared
        )
        alpha = torch.full((len(self.seeds),), inverse_softplus(config["init_alpha"]), device=self.device)
        return Learner(
            actor=actor,
            critics=critics,
            targets=critics.clone(),
            alpha_param=alpha,
            actor_moments=Moments.zeros(actor.tensors()),
            critic_moments=Moments.zeros(critics.tensors()),
            alpha_moments=Moments.zeros([alpha]),
        )

    @property
    def alpha(self) -> Tensor:
        """The temperature, float32 ``[S]``."""
        return nn.functional.softplus(self.learner.alpha_param)

    def update(
        self, buffer: Any, *, utd: int = 4, batch: int = 256, offline: Any = None, offline_ratio: float = 0.0
    ) -> Info | None:
        """One high-UTD update on rows drawn from a buffer.

        Args:
            buffer: A `ReplayBuffer` of S seeds, or anything with its ``sample(n, offset=, first=)``.
            utd: Critic minibatches, U.
            batch: Rows a critic minibatch, B; actor and temperature see all U·B. (The paper counts U·B: 1,024 = 4 · 256.)
            offline: A second buffer to mix in, as RLPD does.
            offline_ratio: Share of every critic minibatch that comes from `offline`, in [0, 1]; times `batch` it must be whole.

        Returns:
            critic_loss, q, q_target (means over the U minibatches), actor_loss, alpha, alpha_loss, entropy: float32 ``[S]`` on
            the device, nothing waits for it. (`WSRL` returns None while it warms up.)

        Raises:
            InvalidArgument: An argument is out of range, or the buffer cannot give that many rows.
        """
        at = f"{type(self).__name__}.update: "
        count(at + "utd", utd)
        count(at + "batch", batch)
        ratio = number(at + "offline_ratio", offline_ratio, low=0, high=1)
        if (sampled := self._sampled(buffer, utd * batch, offline, ratio, at)) is not None:
            return self._step(sampled, None, utd)
        rows = sample_mixed(buffer, offline, ratio, utd, batch, self.offset, at)
        return self._step(self._rows(rows, at), None, utd)

    def update_batch(self, batch: Any, noise: Draws | None = None, *, utd: int = 4) -> Info:
        """One high-UTD update on given rows and, if wanted, given draws: a pure function of parameters, rows and draws.

        Args:
            batch: ``[S, U·B, ...]``, a `Rows`, a mapping or an object with obs, action, reward, next_obs, terminated (bool);
                minibatch u is rows ``u·B`` to ``(u+1)·B``.
            noise: All draws; None draws them as `update` does.
            utd: U, where `noise` is None.

        Returns:
            As `update`.

        Raises:
            InvalidArgument: Shapes do not fit.
            UnsupportedTensor: Dtypes or devices do not fit.
        """
        at = f"{type(self).__name__}.update_batch: "
        rows = self._rows(batch, at)
        n = rows.reward.shape[1]
        if noise is None:
            if n % count(at + "utd", utd):
                raise InvalidArgument(f"{at}utd: expected a divisor of the batch's {n} rows, got {utd}")
        else:
            check_draws(noise, at, seeds=len(self.seeds), rows=n, shape=self._shape(n), device=self.device)
            utd = noise.target_noise.shape[1]
        return self._step(rows, noise, utd)

    def _step(self, rows: Rows | Sampled, draws: Draws | None, utd: int) -> Info:
        """The update itself, on checked rows and draws; without draws those at the offset."""
        chain = self._chain()
        if chain is not None:
            info = chain.update(rows, draws, seed=self.seed, offset=self.offset, utd=utd)
            self.offset += utd
            return info
        assert isinstance(rows, Rows)
        if draws is not None:
            info = composition.update(self.learner, rows, draws, self.settings)
        else:
            shape = self._shape(rows.reward.shape[1] // utd)

            def step(rows: Rows) -> Info:
                own = draw_update(self.seed, self.offset, shape, utd=utd, backend=self.backend)
                return composition.update(self.learner, rows, own, self.settings)

            again = self.settings.adam_semantics == "wsrl"  # one more Adam step of everything, without a gradient
            info = self._replayed(f"update, utd {utd}", step, rows, utd, (utd + again, utd + 1 if again else 1, None))
            return info
        self.offset += utd
        return info

    def _replayed(
        self, kind: str, step: Callable[[Rows], Info], rows: Rows, advance: int, counts: tuple[int, int, int | None]
    ) -> Info:
        """`step` on rows: on a GPU as one graph, captured at its first call for this shape of rows; elsewhere called.

        `counts`: Adam steps in it of the critics, of actor and temperature, and of the CQL weight's parameter.
        """
        if self.device.type != "cuda" or not self.capture:
            info = step(rows)
            self.offset += advance
            return info
        graph = self._graphs.get(kind)
        if graph is None or not graph.fits(self.learner, rows):
            own, settings = self.learner, self.settings
            turns: list[Turns] = [
                (own.critic_moments, settings.critic_lr, counts[0]),
                (own.actor_moments, settings.actor_lr, counts[1]),
                (own.alpha_moments, settings.alpha_lr, counts[1]),
            ]
            penalty = self._penalty()
            if counts[2] and penalty is not None and own.lagrange_moments is not None:
                turns.append((own.lagrange_moments, penalty.lr, counts[2]))
            graph = self._graphs[kind] = GraphedUpdate(own, turns, step, rows, self.offset, advance)
        return graph(rows)

    def _sampled(self, buffer: Any, n: int, offline: Any, ratio: float, at: str) -> Sampled | None:
        """The rows as the compiled update draws them itself, where it can: one buffer of this agent's kind on the CPU."""
        if offline is not None or ratio or not isinstance(buffer, ReplayBuffer) or self._chain() is None:
            return None
        config = buffer.config
        shapes = (config.obs_dim, config.act_dim, len(config.seeds))
        if buffer.device.type != "cpu" or shapes != (self.obs_dim, self.act_dim, len(self.seeds)):
            return None
        return Sampled(buffer.native, buffer.check_sample(n))

    def _chain(self) -> Chain | None:
        """The compiled update of an agent on a CPU with no other backend named; None: the composition of the ops."""
        if self.device.type != "cpu" or self.backend not in (None, "cpu"):
            return None
        if self._compiled is None or self._compiled.learner is not self.learner:
            self._compiled = Chain(
                self.learner,
                self.settings,
                subset=self.subset,
                replacement=self.subset_replacement,
                backup_actions=self.backup_actions,
                penalty=self._penalty(),
            )
        return self._compiled

    def _penalty(self) -> Penalty | None:
        """The conservative penalty of an agent that has one."""
        return None

    def __getstate__(self) -> dict[str, Any]:
        """Copies find the compiled update for themselves: it is bound to the addresses of these tensors."""
        return self.__dict__ | {"_compiled": None, "_graphs": {}}

    def _rows(self, batch: Any, at: str) -> Rows:
        return as_rows(
            batch, where=at[:-2], seeds=len(self.seeds), obs_dim=self.obs_dim, act_dim=self.act_dim, device=self.device
        )

    def _shape(self, batch: int) -> Shape:
        return Shape(batch, self.act_dim, self.critics, self.subset, self.subset_replacement, self.backup_actions)

    def _action(self, obs: Tensor, draw: int | None) -> Tensor:
        mean, log_std = composition.policy(self.learner.actor, obs, precision=self.precision, backend=self.backend)
        if draw is None:
            action = torch.tanh(mean)
        else:
            at = torch.full_like(self.seed, draw)
            action, _ = tanh_gaussian(mean, log_std, seed=self.seed, offset=at, stream=ACT, backend=self.backend)
        inside = 1 - 2**-24  # the largest float32 below 1: tanh rounds to 1 long before infinity
        return action.clamp(-inside, inside)

    def _parts(self) -> dict[str, Part]:
        own = self.learner
        parts = {
            "actor": network_part(own.actor, own.actor_moments),
            "critics": network_part(own.critics, own.critic_moments),
            "targets": network_part(own.targets),
            "alpha": Part({"param": own.alpha_param}, own.alpha_moments),
        }
        if own.lagrange_param is not None:
            parts["lagrange"] = Part({"param": own.lagrange_param}, own.lagrange_moments)
        return parts

    def export_modules(self) -> list[tuple[modules.Actor, nn.ModuleList, nn.ModuleList]]:
        """Plain torch modules with copies of the parameters, for use without rewarm's ops.

        Returns:
            For every seed (actor, critics, target critics): ``actor(obs)`` gives mean and log standard deviation before the
            tanh, ``critics[e](obs, action)`` gives ``[N]``. Built of nn.Linear, nn.LayerNorm (eps 1e-6) and nn.ReLU.
        """
        own = self.learner
        return [
            (modules.actor(own.actor, s), modules.critics(own.critics, s), modules.critics(own.targets, s))
            for s in range(len(self.seeds))
        ]

    def load_modules(self, actor: Any, critics: Any, target_critics: Any = None, alpha: Any = None) -> None:
        """Take over the parameters of torch modules; moments and their step counts start at zero again.

        Args:
            actor: A module whose nn.Linear and nn.LayerNorm, in the order they were registered, are the actor's hidden layers
                and then its head: one of 2A rows, two of A (mean, log std), or one of A beside a parameter ``log_std``
                ``[A]``. With more than one seed, a sequence of S modules.
            critics: A sequence of E such modules with a head of one row, over ``cat(obs, action)``; with more than one seed, a
                sequence of S of them.
            target_critics: Likewise; None copies `critics`.
            alpha: Temperature > 0, or one a seed; None keeps it.

        Raises:
            InvalidArgument: A module does not fit; nothing was changed.
        """
        at, own, seeds = f"{type(self).__name__}.load_modules: ", self.learner, len(self.seeds)
        actors = [actor] if seeds == 1 and isinstance(actor, nn.Module) else modules.sequence(actor, seeds, at + "actor")
        given = {"critics": critics, "target_critics": critics if target_critics is None else target_critics}
        alphas = [] if alpha is None else [alpha] * seeds if isinstance(alpha, (int, float)) else list(alpha)
        if alpha is not None and len(alphas) != seeds:
            raise InvalidArgument(f"{at}alpha: expected one number or {seeds}, got {len(alphas)}")
        params = [inverse_softplus(number(f"{at}alpha", float(value), above=0)) for value in alphas]
        new_actor = modules.stacked(own.actor, [[one] for one in actors], at + "actor")
        stacks = {}
        for name, value in given.items():
            nested = seeds > 1 or (len(value) == 1 and isinstance(value[0], (Sequence, nn.ModuleList)))
            per_seed = modules.sequence(value, seeds, at + name) if nested else [value]
            members = [modules.sequence(one, self.critics, at + name) for one in per_seed]
            stacks[name] = modules.stacked(own.critics, members, at + name)

        for network, tensors in (
            (own.actor, new_actor),
            (own.critics, stacks["critics"]),
            (own.targets, stacks["target_critics"]),
        ):
            for mine, theirs in zip(network.tensors(), tensors, strict=True):
                mine.copy_(theirs)
        if params:
            own.alpha_param.copy_(torch.tensor(params))
        for part in self._parts().values():
            if part.moments is not None:
                for tensor in part.moments.exp_avg + part.moments.exp_avg_sq:
                    tensor.zero_()
                part.moments.step = 0


def inverse_softplus(value: float) -> float:
    """The x with softplus(x) = value."""
    return value + math.log(-math.expm1(-value))
