"""One update as a composition of the `rewarm.q` ops: the obvious spelling, on any backend, that the compiled chain is held to.

Ball et al. 2023 (RLPD, arXiv 2302.02948) and Zhou et al. 2024 (WSRL, arXiv 2412.07762) for the online update, Kumar et al. 2020
(CQL, arXiv 2006.04779) and Nakamoto et al. 2023 (Cal-QL, arXiv 2303.05479) for the offline step. Everything here changes the
`Learner` that it is given in place, and nothing else; randomness comes in as `Draws`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from rewarm.q import cql_penalty, ensemble_min, ensemble_mlp, tanh_gaussian, td_target
from rewarm.rl.adam import Moments, adam_step, polyak
from rewarm.rl.draws import Draws
from rewarm.rl.networks import Network
from rewarm.rl.rows import Rows
from rewarm.schedule import Schedule

LAYER_NORM_EPS = 1e-6
ADAM_SEMANTICS = ("standard", "wsrl")
ACTOR_QS = ("min", "mean")


@dataclass
class Learner:
    """All that an update changes: S agents' parameters and Adam moments.

    Attributes:
        actor: E = 1, head of 2A (mean columns, then log std) or A with a free `log_std`.
        critics: E critics over ``cat(obs, action)``.
        targets: Their Polyak averages.
        alpha_param: ``[S]``; the temperature is alpha = softplus(alpha_param).
        lagrange_param: ``[S]``; softplus of it is the CQL weight where that is learned, else None.
        actor_moments, critic_moments, alpha_moments, lagrange_moments: Adam's state of each.
    """

    actor: Network
    critics: Network
    targets: Network
    alpha_param: Tensor
    actor_moments: Moments
    critic_moments: Moments
    alpha_moments: Moments
    lagrange_param: Tensor | None = None
    lagrange_moments: Moments | None = None


@dataclass(frozen=True)
class Settings:
    """What an update is told; names and defaults as in `EnsembleSAC`, ``target_entropy`` resolved to a number."""

    target_entropy: float
    gamma: float = 0.99
    tau: float = 0.005
    critic_lr: float | Schedule = 3e-4
    actor_lr: float | Schedule = 1e-4
    alpha_lr: float | Schedule = 1e-4
    backup_entropy: bool = False
    actor_q: str = "min"
    adam_semantics: str = "standard"
    precision: str = "fp32"
    backend: str | None = None


@dataclass(frozen=True)
class Penalty:
    """The CQL part of an offline step, named as in `CalQL`; `weight` None: softplus(lagrange_param), with `gap` and `lr`."""

    calibrated: bool = True
    n_actions: int = 10
    weight: float | None = 5.0
    gap: float = 0.8
    lr: float | Schedule = 3e-4
    importance_sampling: bool = True
    temperature: float = 1.0
    bound_random: bool = False


Info = dict[str, Tensor]


def update(learner: Learner, rows: Rows, draws: Draws, settings: Settings) -> Info:
    """U critic minibatches in order, then actor and temperature once on all rows.

    Args:
        learner: Changed in place.
        rows: ``[S, U·B, ...]``; minibatch u is rows ``u·B`` to ``(u+1)·B``.
        draws: U and B are read off ``draws.target_noise``.
        settings: See `Settings`.

    Returns:
        ``[S]`` tensors on the device, no sync: critic_loss, q (mean over critics and rows), q_target, each the mean over
        the U minibatches; actor_loss, alpha (as used), alpha_loss, entropy.
    """
    utd, batch = draws.target_noise.shape[1:3]
    steps = [
        critic_step(
            learner,
            rows.minibatch(u, batch),
            draws.target_noise[:, u].contiguous(),
            draws.target_subset[:, u].contiguous(),
            settings,
        )
        for u in range(utd)
    ]
    info = {name: torch.stack([step[name] for step in steps]).sum(0) / utd for name in steps[0]}
    return info | actor_step(learner, rows, draws.actor_noise, draws.alpha_noise, settings)


def critic_step(learner: Learner, rows: Rows, noise: Tensor, subset: Tensor, settings: Settings) -> Info:
    """One critic minibatch: target, TD loss, Adam on the critics, Polyak.

    With ``adam_semantics="wsrl"`` actor and temperature are stepped too, with gradients of zero, as the reference code does:
    they move on by momentum before the next minibatch's target is computed.

    Args:
        learner: Changed in place.
        rows: ``[S, B, ...]``.
        noise: ``[S, B, K, A]``, for the next actions.
        subset: int64 ``[S, M]``, the critics of the target.
        settings: See `Settings`.

    Returns:
        critic_loss, q, q_target, each ``[S]``.
    """
    y = _targets(learner, rows, noise, subset, settings)
    critics = learner.critics.leaves()
    q = _q(critics, rows.obs, rows.action, settings)
    loss = (q - y.unsqueeze(1)).square()
    gradients = torch.autograd.grad(loss.mean((1, 2)).sum(), critics.tensors())
    adam_step(learner.critics.tensors(), learner.critic_moments, gradients, settings.critic_lr)
    if settings.adam_semantics == "wsrl":
        adam_step(learner.actor.tensors(), learner.actor_moments, None, settings.actor_lr)
        adam_step([learner.alpha_param], learner.alpha_moments, None, settings.alpha_lr)
    polyak(learner.targets.tensors(), learner.critics.tensors(), settings.tau)
    return {"critic_loss": _seed_mean(loss), "q": _seed_mean(q), "q_target": _seed_mean(y)}


def actor_step(learner: Learner, rows: Rows, actor_noise: Tensor, alpha_noise: Tensor, settings: Settings) -> Info:
    """Actor and temperature, both gradients from the parameters as they are before; no Polyak.

    With ``adam_semantics="wsrl"`` the critics are stepped too, with gradients of zero.

    Args:
        learner: Changed in place.
        rows: ``[S, N, ...]``; only obs and next_obs are read.
        actor_noise: ``[S, N, A]``, for actions at obs.
        alpha_noise: ``[S, N, K, A]``, for actions at next_obs, whose mean entropy moves the temperature.
        settings: See `Settings`.

    Returns:
        actor_loss, alpha (before the step), alpha_loss, entropy, each ``[S]``.
    """
    actor_gradients, info = _actor_gradients(learner, rows, actor_noise, settings)
    alpha_gradient, more = _alpha_gradient(learner, rows, alpha_noise, settings)
    adam_step(learner.actor.tensors(), learner.actor_moments, actor_gradients, settings.actor_lr)
    adam_step([learner.alpha_param], learner.alpha_moments, [alpha_gradient], settings.alpha_lr)
    if settings.adam_semantics == "wsrl":
        adam_step(learner.critics.tensors(), learner.critic_moments, None, settings.critic_lr)
    return info | more


def offline_step(learner: Learner, rows: Rows, draws: Draws, settings: Settings, penalty: Penalty) -> Info:
    """One offline CQL or Cal-QL step: all gradients from the same parameters, then one Adam step of each network, then Polyak.

    The penalty's 3n actions are evaluated by the M drawn critics alone; the reference code evaluates all E and keeps M, which
    is the same loss for the same draws. Where the weight is learned, its gradient takes the diff of the critics' own loss;
    the reference code computes it again with fresh actions and a third subset, which has the same expectation.

    Args:
        learner: Changed in place.
        rows: ``[S, B, ...]`` with mc_return where the penalty is calibrated.
        draws: From `draw_offline`.
        settings: See `Settings`; adam_semantics makes no difference, every network has its gradient.
        penalty: See `Penalty`.

    Returns:
        ``[S]`` each: critic_loss (TD and weighted penalty), td_loss, cql_diff (before the gap), cql_weight, q, q_target,
        actor_loss, alpha, alpha_loss, entropy.
    """
    y = _targets(learner, rows, draws.target_noise[:, 0].contiguous(), draws.target_subset[:, 0].contiguous(), settings)
    actions, log_density = _penalty_actions(learner, rows, draws, settings)
    assert draws.cql_subset is not None
    critics = learner.critics.leaves()
    q = _q(critics, rows.obs, rows.action, settings)
    q_sampled = _values(critics, rows.obs, settings, actions=actions, index=draws.cql_subset)
    diff = cql_penalty(
        q_sampled,
        torch.take_along_dim(q, draws.cql_subset.unsqueeze(-1), 1),
        log_density=log_density if penalty.importance_sampling else None,
        mc_return=rows.mc_return if penalty.calibrated else None,
        n_random=penalty.n_actions,
        bound_random=penalty.bound_random,
        temperature=penalty.temperature,
        backend=settings.backend,
    )
    td = (q - y.unsqueeze(1)).square()
    learned = learner.lagrange_param
    weight = torch.full_like(learner.alpha_param, penalty.weight) if penalty.weight is not None else None
    if weight is None:
        assert learned is not None
        weight = _each(softplus, learned)
    gap = 0.0 if penalty.weight is not None else penalty.gap
    loss = td.mean((1, 2)) + weight * (diff - gap).mean((1, 2))
    critic_gradients = torch.autograd.grad(loss.sum(), critics.tensors())
    actor_gradients, actor_info = _actor_gradients(learner, rows, draws.actor_noise, settings)
    alpha_gradient, alpha_info = _alpha_gradient(learner, rows, draws.alpha_noise, settings)
    cql_diff = _seed_mean(diff)

    adam_step(learner.critics.tensors(), learner.critic_moments, critic_gradients, settings.critic_lr)
    adam_step(learner.actor.tensors(), learner.actor_moments, actor_gradients, settings.actor_lr)
    adam_step([learner.alpha_param], learner.alpha_moments, [alpha_gradient], settings.alpha_lr)
    if penalty.weight is None:
        assert learned is not None and learner.lagrange_moments is not None
        # The weight rises while the diff is above the gap: minimised is -softplus(lagrange_param) * (diff - gap).
        adam_step([learned], learner.lagrange_moments, [-_each(torch.sigmoid, learned) * (cql_diff - gap)], penalty.lr)
    polyak(learner.targets.tensors(), learner.critics.tensors(), settings.tau)
    td_loss = _seed_mean(td)
    info = {
        "critic_loss": td_loss + weight * (cql_diff - gap),
        "td_loss": td_loss,
        "cql_diff": cql_diff,
        "cql_weight": weight,
        "q": _seed_mean(q),
        "q_target": _seed_mean(y),
    }
    return info | actor_info | alpha_info


def policy(actor: Network, obs: Tensor, *, precision: str = "fp32", backend: str | None = None) -> tuple[Tensor, Tensor]:
    """Mean and log standard deviation of the actor's Gaussian before the tanh.

    Args:
        actor: Head of 2A, or of A with a free log_std.
        obs: ``[S, N, O]``.
        precision: See `rewarm.q.ensemble_mlp`.
        backend: See `rewarm.q.ensemble_mlp`.

    Returns:
        mean ``[S, N, A]``; log_std ``[S, N, A]``, or ``[S, A]`` where it is free.
    """
    out = ensemble_mlp(obs, actor.layers, actor.head, eps=LAYER_NORM_EPS, precision=precision, backend=backend).squeeze(1)
    if actor.log_std is not None:
        return out, actor.log_std
    mean, log_std = out.chunk(2, -1)
    return mean.contiguous(), log_std.contiguous()


def _values(
    critics: Network, x: Tensor, settings: Settings, *, actions: Tensor | None = None, index: Tensor | None = None
) -> Tensor:
    """`ensemble_mlp` of critics with the settings of the update."""
    return ensemble_mlp(
        x,
        critics.layers,
        critics.head,
        actions=actions,
        index=index,
        eps=LAYER_NORM_EPS,
        precision=settings.precision,
        backend=settings.backend,
    )


def _q(critics: Network, obs: Tensor, action: Tensor, settings: Settings) -> Tensor:
    """Every critic's value of given actions, ``[S, E, B]``."""
    return _values(critics, torch.cat((obs, action), -1), settings)


def _sample(actor: Network, obs: Tensor, noise: Tensor, settings: Settings) -> tuple[Tensor, Tensor]:
    """Actions and their log density for given noise, ``[S, N, (K,) A]`` and ``[S, N(, K)]``."""
    mean, log_std = policy(actor, obs, precision=settings.precision, backend=settings.backend)
    return tanh_gaussian(mean, log_std, noise=noise, backend=settings.backend)


@torch.no_grad()
def _targets(learner: Learner, rows: Rows, noise: Tensor, subset: Tensor, settings: Settings) -> Tensor:
    """The bootstrapped targets ``[S, B]`` of the drawn critics alone, the best of K actions."""
    action, log_prob = _sample(learner.actor, rows.next_obs, noise, settings)
    q_next = _values(learner.targets, rows.next_obs, settings, actions=action, index=subset)
    entropy = {"log_prob": log_prob, "alpha": _each(softplus, learner.alpha_param)} if settings.backup_entropy else {}
    return td_target(rows.reward, rows.terminated, q_next, gamma=settings.gamma, backend=settings.backend, **entropy)


@torch.no_grad()
def _penalty_actions(learner: Learner, rows: Rows, draws: Draws, settings: Settings) -> tuple[Tensor, Tensor]:
    """The 3n actions of the penalty, uniform, at s, at s' (``[S, B, 3n, A]``), and the log density of each ``[S, B, 3n]``."""
    assert draws.uniform is not None and draws.current_noise is not None and draws.next_noise is not None
    current, log_current = _sample(learner.actor, rows.obs, draws.current_noise, settings)
    following, log_following = _sample(learner.actor, rows.next_obs, draws.next_noise, settings)
    log_uniform = torch.full_like(log_current, draws.uniform.shape[-1] * math.log(0.5))
    actions = torch.cat((draws.uniform, current, following), 2)
    return actions, torch.cat((log_uniform, log_current, log_following), 2)


def _actor_gradients(learner: Learner, rows: Rows, noise: Tensor, settings: Settings) -> tuple[tuple[Tensor, ...], Info]:
    """Gradients of mean(alpha log pi - Q) in the order of ``actor.tensors()``; Q is the minimum or the mean of all critics."""
    actor, critics = learner.actor.leaves(), learner.critics
    alpha = _each(softplus, learner.alpha_param)
    action, log_prob = _sample(actor, rows.obs, noise, settings)
    if settings.actor_q == "min":
        q, _ = ensemble_min(
            rows.obs,
            critics.layers,
            critics.head,
            actions=action,
            eps=LAYER_NORM_EPS,
            precision=settings.precision,
            backend=settings.backend,
        )
    else:
        q = _q(critics, rows.obs, action, settings).mean(1)
    loss = alpha.unsqueeze(-1) * log_prob - q
    gradients = torch.autograd.grad(loss.mean(-1).sum(), actor.tensors())
    return gradients, {"actor_loss": _seed_mean(loss), "alpha": alpha}


@torch.no_grad()
def _alpha_gradient(learner: Learner, rows: Rows, noise: Tensor, settings: Settings) -> tuple[Tensor, Info]:
    """Gradient ``[S]`` of softplus(alpha_param) (H - H_target), H the mean entropy of fresh actions at the *next* states."""
    _, log_prob = _sample(learner.actor, rows.next_obs, noise, settings)
    entropy = -_seed_mean(log_prob)
    excess = entropy - settings.target_entropy
    loss = _each(softplus, learner.alpha_param) * excess
    return _each(torch.sigmoid, learner.alpha_param) * excess, {"alpha_loss": loss, "entropy": entropy}


def _seed_mean(values: Tensor) -> Tensor:
    """The mean of each seed's values ``[S, ...] -> [S]``, summed seed by seed so that its bits do not depend on S."""
    return torch.stack([seed.mean() for seed in values.detach().unbind(0)])


def _each(function: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    """An elementwise function of ``[S]`` numbers, one at a time: torch's vector and scalar code may differ in the last bit."""
    return torch.stack([function(value) for value in values.detach().unbind(0)])
