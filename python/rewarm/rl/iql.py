"""IQL: implicit Q-learning, as the baseline that WSRL is compared with. Kostrikov et al. 2021 (arXiv 2110.06169)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import layer_norm as apply_layer_norm

from rewarm.q import awr_weight, ensemble_mlp, expectile_loss, gaussian_log_prob, philox, tanh_gaussian, td_target
from rewarm.rl.adam import Moments, adam_step, polyak
from rewarm.rl.arguments import count, flag, learning_rate, number, one_of, widths
from rewarm.rl.base import Agent, Part, network_part
from rewarm.rl.draws import ACT, DROPOUT
from rewarm.rl.networks import INITS, LOG_STDS, Network, make_network
from rewarm.rl.rows import Rows, as_rows, sample_mixed
from rewarm.rl.update import LAYER_NORM_EPS, Info, _seed_mean, policy
from rewarm.schedule import Schedule


class IQL(Agent):
    """Implicit Q-learning: expectile regression of V, TD of Q towards V, advantage-weighted regression of the actor.

    ``V: mean w (q - v)^2`` with q the minimum of the target critics and w = expectile where q > v, else 1 - expectile; ``Q:
    mean (r + gamma (1 - terminated) V(s') - Q)^2`` with V as it is before the step; ``actor: -mean min(exp(beta (q - v)),
    max_weight) log pi(a | s)``, pi a Gaussian that is not squashed. All gradients come from the same parameters; then each
    network is stepped once, then the target critics. The same step serves offline and online. Plain torch around the ops, one
    gradient step a call: a baseline to compare with, not built for speed.

    Args:
        obs_dim, act_dim: Widths of an observation and an action.
        critics: E, all of which enter the minimum.
        hidden: Widths of the hidden layers of the critics and V.
        actor_hidden: Widths of the actor's; None for the same.
        layer_norm: LayerNorm after every hidden layer.
        init: "xavier_uniform" or "orthogonal".
        last_hidden_scale: Scale of the actor's last hidden layer (for xavier_uniform that of the variance, as in jax); critics
            and V have none.
        log_std: "free": one vector; "state": a second head.
        dropout: Rate between the Linear and the rest of the actor's hidden layers while it trains, in [0, 1).
        expectile: In (0, 1).
        beta: Inverse temperature of the weights, >= 0.
        max_weight: Their cap, > 0.
        gamma, tau: Discount and Polyak step.
        critic_lr, value_lr, actor_lr: Numbers, or Schedules of the steps taken.
        seeds, device, backend: See `EnsembleSAC`.

    Raises:
        InvalidArgument: An argument is not accepted.
        BackendUnavailable: The named backend cannot run here.
    """

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        *,
        critics: int = 2,
        hidden: Sequence[int] = (256, 256),
        actor_hidden: Sequence[int] | None = None,
        layer_norm: bool = False,
        init: str = "xavier_uniform",
        last_hidden_scale: float = 1e-2,
        log_std: str = "free",
        dropout: float = 0.0,
        expectile: float = 0.7,
        beta: float = 3.0,
        max_weight: float = 100.0,
        gamma: float = 0.99,
        tau: float = 0.005,
        critic_lr: float | Schedule = 3e-4,
        value_lr: float | Schedule = 3e-4,
        actor_lr: float | Schedule = 3e-4,
        seeds: Sequence[int] = (0,),
        device: str | torch.device = "cpu",
        backend: str | None = None,
    ) -> None:
        super().__init__(obs_dim, act_dim, seeds=seeds, device=device, backend=backend, precision="fp32")
        hidden = widths("IQL: hidden", hidden)
        own_hidden = hidden if actor_hidden is None else widths("IQL: actor_hidden", actor_hidden)
        self.dropout = number("IQL: dropout", dropout, low=0, high=1 - 2**-24)
        self.expectile = number("IQL: expectile", expectile, above=0, high=1 - 2**-24)
        self.beta = number("IQL: beta", beta, low=0)
        self.max_weight = number("IQL: max_weight", max_weight, above=0)
        self.gamma, self.tau = number("IQL: gamma", gamma, low=0, high=1), number("IQL: tau", tau, low=0, high=1)
        self.critic_lr = learning_rate("IQL: critic_lr", critic_lr)
        self.value_lr = learning_rate("IQL: value_lr", value_lr)
        self.actor_lr = learning_rate("IQL: actor_lr", actor_lr)
        self.config = {
            "obs_dim": self.obs_dim,
            "act_dim": self.act_dim,
            "critics": count("IQL: critics", critics),
            "hidden": hidden,
            "actor_hidden": own_hidden,
            "layer_norm": flag("IQL: layer_norm", layer_norm),
            "init": one_of("IQL: init", init, INITS),
            "last_hidden_scale": number("IQL: last_hidden_scale", last_hidden_scale, above=0),
            "log_std": one_of("IQL: log_std", log_std, LOG_STDS),
            "dropout": self.dropout,
            "expectile": self.expectile,
            "beta": self.beta,
            "max_weight": self.max_weight,
            "gamma": self.gamma,
            "tau": self.tau,
            "critic_lr": self.critic_lr,
            "value_lr": self.value_lr,
            "actor_lr": self.actor_lr,
            "seeds": self.seeds,
        }
        shared: dict[str, Any] = {"layer_norm": layer_norm, "init": init}
        # No small last hidden layer where init has the usual scale: 1 for xavier_uniform, sqrt(2) for orthogonal.
        plain = shared | {"hidden": hidden, "outputs": None, "last_hidden_scale": 1.0 if init == "xavier_uniform" else 2**0.5}
        free = log_std == "free"
        self.actor = make_network(
            self.seed,
            number=0,
            members=1,
            inputs=obs_dim,
            hidden=own_hidden,
            outputs=act_dim if free else 2 * act_dim,
            heads=1 if free else 2,
            free_log_std=act_dim if free else 0,
            last_hidden_scale=last_hidden_scale,
            **shared,
        )
        self.critics = make_network(self.seed, number=1, members=self.config["critics"], inputs=obs_dim + act_dim, **plain)
        self.value = make_network(self.seed, number=2, members=1, inputs=obs_dim, **plain)
        self.targets = self.critics.clone()
        self.actor_moments = Moments.zeros(self.actor.tensors())
        self.critic_moments = Moments.zeros(self.critics.tensors())
        self.value_moments = Moments.zeros(self.value.tensors())

    def update(self, buffer: Any, *, batch: int = 256, offline: Any = None, offline_ratio: float = 0.0) -> Info:
        """One step of every network on rows drawn from a buffer, offline or online.

        Args:
            buffer: A `ReplayBuffer` of S seeds.
            batch: Rows, B.
            offline: A second buffer to mix in.
            offline_ratio: Its share of the rows, see `EnsembleSAC.update`.

        Returns:
            value_loss, critic_loss, actor_loss, v, q (of the target critics), weight (mean): float32 ``[S]`` on the device.

        Raises:
            InvalidArgument: An argument is out of range, or the buffer cannot give that many rows.
        """
        ratio = number("IQL.update: offline_ratio", offline_ratio, low=0, high=1)
        rows = sample_mixed(buffer, offline, ratio, 1, count("IQL.update: batch", batch), self.offset, "IQL.update: ")
        return self.update_batch(rows)

    def update_batch(self, batch: Any) -> Info:
        """One step on given rows ``[S, B, ...]``; see `update` and `EnsembleSAC.update_batch`."""
        rows = as_rows(
            batch,
            where="IQL.update_batch",
            seeds=len(self.seeds),
            obs_dim=self.obs_dim,
            act_dim=self.act_dim,
            device=self.device,
        )
        info = self._step(rows)
        self.offset += 1
        return info

    def _step(self, rows: Rows) -> Info:
        x = torch.cat((rows.obs, rows.action), -1)
        with torch.no_grad():
            q_min = self._forward(self.targets, x).amin(1)
            v_next = self._forward(self.value, rows.next_obs)
            y = td_target(rows.reward, rows.terminated, v_next, gamma=self.gamma, backend=self.backend)
        value, critics, actor = self.value.leaves(), self.critics.leaves(), self.actor.leaves()
        v = self._forward(value, rows.obs).squeeze(1)
        value_loss = expectile_loss(q_min, v, self.expectile, reduction="none", backend=self.backend)
        value_gradients = torch.autograd.grad(value_loss.mean(-1).sum(), value.tensors())
        td = (self._forward(critics, x) - y.unsqueeze(1)).square()
        critic_gradients = torch.autograd.grad(td.mean((1, 2)).sum(), critics.tensors())
        weight = awr_weight(q_min, v.detach(), self.beta, self.max_weight, backend=self.backend)
        mean, log_std = self._policy(actor, rows.obs)
        actor_loss = -weight * gaussian_log_prob(rows.action, mean, log_std, backend=self.backend)
        actor_gradients = torch.autograd.grad(actor_loss.mean(-1).sum(), actor.tensors())

        adam_step(self.value.tensors(), self.value_moments, value_gradients, self.value_lr)
        adam_step(self.critics.tensors(), self.critic_moments, critic_gradients, self.critic_lr)
        adam_step(self.actor.tensors(), self.actor_moments, actor_gradients, self.actor_lr)
        polyak(self.targets.tensors(), self.critics.tensors(), self.tau)
        values = {"value_loss": value_loss, "critic_loss": td, "actor_loss": actor_loss, "v": v, "q": q_min, "weight": weight}
        return {name: _seed_mean(value) for name, value in values.items()}

    def _forward(self, network: Network, x: Tensor) -> Tensor:
        return ensemble_mlp(x, network.layers, network.head, eps=LAYER_NORM_EPS, backend=self.backend)

    def _policy(self, actor: Network, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log std while training: with dropout in plain torch, else as the policy acts."""
        if not self.dropout:
            return policy(actor, obs, backend=self.backend)
        shape = (obs.shape[1], sum(layer[1].shape[-1] for layer in actor.layers))
        uniform = philox(shape, seed=self.seed, offset=self.offset, stream=DROPOUT, kind="uniform", backend=self.backend)
        keeps = torch.split(uniform >= self.dropout, [layer[1].shape[-1] for layer in actor.layers], -1)
        x = obs
        for layer, keep in zip(actor.layers, keeps, strict=True):
            x = torch.baddbmm(layer[1], x, layer[0].squeeze(1)) * keep / (1 - self.dropout)
            if len(layer) == 4:
                x = apply_layer_norm(x, x.shape[-1:], eps=LAYER_NORM_EPS) * layer[2] + layer[3]
            x = torch.relu(x)
        out = torch.baddbmm(actor.head[1], x, actor.head[0].squeeze(1))
        if actor.log_std is not None:
            return out, actor.log_std
        mean, log_std = out.chunk(2, -1)
        return mean.contiguous(), log_std.contiguous()

    def _action(self, obs: Tensor, draw: int | None) -> Tensor:
        mean, log_std = policy(self.actor, obs, backend=self.backend)
        if draw is not None:
            at = torch.full_like(self.seed, draw)
            mean, _ = tanh_gaussian(mean, log_std, seed=self.seed, offset=at, stream=ACT, squash=False, backend=self.backend)
        return mean.clamp(-1, 1)

    def _parts(self) -> dict[str, Part]:
        return {
            "actor": network_part(self.actor, self.actor_moments),
            "critics": network_part(self.critics, self.critic_moments),
            "targets": network_part(self.targets),
            "value": network_part(self.value, self.value_moments),
        }
