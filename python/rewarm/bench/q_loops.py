"""The update as torch users write it, once for every peer: what differs is how a critic ensemble is evaluated and stepped."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rewarm.bench.q_setting import Setting, Start, draw
from rewarm.rl.draws import Draws
from rewarm.rl.rows import Rows

LN_EPS, STD_MIN, STD_MAX = 1e-6, 1e-5, 10.0
BETAS, ADAM_EPS = (0.9, 0.999), 1e-8
_HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


def squashed(head: Tensor, log_std: Tensor | None, noise: Tensor) -> tuple[Tensor, Tensor]:
    """K actions a row and their log probabilities, from the actor's head.

    Args:
        head: [S,N,A], or [S,N,2A] with log stds in the second half.
        log_std: [S,A], where the head does not give it.
        noise: [S,N,K,A].

    Returns:
        Actions [S,N,K,A] in (-1,1), log probabilities [S,N,K].
    """
    if log_std is None:
        mean, log_std = head.chunk(2, -1)
        log_std = log_std.unsqueeze(-2)
    else:
        mean, log_std = head, log_std[:, None, None]
    std = log_std.exp().clamp(STD_MIN, STD_MAX)
    before = mean.unsqueeze(-2) + std * noise
    squash = 2 * (math.log(2.0) - before - F.softplus(-2 * before))
    log_prob = (-0.5 * noise * noise - std.log() - _HALF_LOG_TWO_PI - squash).sum(-1)
    return torch.tanh(before), log_prob


def with_actions(obs: Tensor, actions: Tensor) -> Tensor:
    """States [S,N,O] beside K actions each [S,N,K,A], as rows [S,N*K,O+A]."""
    s, n, k, a = actions.shape
    return torch.cat([obs.unsqueeze(2).expand(s, n, k, obs.shape[-1]), actions], -1).reshape(s, n * k, obs.shape[-1] + a)


def backup(setting: Setting, reward: Tensor, terminated: Tensor, q_next: Tensor) -> Tensor:
    """TD target [S,B] from q_next [S,M,B*K]: least of the critics, best of the actions."""
    least = q_next.amin(1).view(-1, setting.batch, setting.backup_actions)
    best: Tensor = least.amax(-1).masked_fill(terminated, 0.0)
    return reward + setting.gamma * best


def penalty(setting: Setting, q_sampled: Tensor, q_data: Tensor, log_probs: Tensor, mc_return: Tensor) -> Tensor:
    """Cal-QL's term of the loss, of every seed [S].

    Args:
        setting: For n and the weight.
        q_sampled: [S,M,B,3n]: uniform actions, then those of the policy at s and at s'.
        q_data: [S,M,B].
        log_probs: [S,B,2n] of the policy's actions.
        mc_return: [S,B], which Q of the policy's actions is raised to.
    """
    n = setting.sampled_actions
    uniform = q_sampled[..., :n]
    policy = torch.maximum(q_sampled[..., n:], mc_return[:, None, :, None])
    corrected = torch.cat([uniform - setting.act * math.log(0.5), policy - log_probs[:, None]], -1)
    return setting.cql_weight * (corrected.logsumexp(-1) - q_data).mean((1, 2))


def _nothing_yet() -> None:
    raise AssertionError("begin() comes before run()")


class Loop:
    """One variant with parameters and optimizers of its own.

    Args:
        setting: What all variants share.
        device: Where.
        dtype: Of parameters and arithmetic.

    Attributes:
        name: As printed.
        ours: Whether rewarm is measured.
        captured: Whether a CUDA graph is replayed.
        run: One timed update, draws included, once `begin` was called.
        facts: Further fields of its results.
    """

    name = ""
    ours = False
    captured = False
    repeats = 1

    def __init__(self, setting: Setting, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self.setting, self.device, self.dtype = setting, device, dtype
        self.run: Callable[[], None] = _nothing_yet
        self.facts: dict[str, Any] = {"seeds": setting.seeds}

    def start(self, at: Start) -> None:
        """Takes parameters and the state of Adam."""
        raise NotImplementedError

    def update(self, rows: Rows, draws: Draws) -> None:
        """One update with given draws."""
        raise NotImplementedError

    def state(self) -> dict[str, list[Tensor]]:
        """Parameters of critic, target, actor and log_alpha, in the shapes of `Start`."""
        raise NotImplementedError

    def begin(self, rows: Rows) -> None:
        """Makes `run`: an update of `rows` with new draws."""

        def run() -> None:
            self.update(rows, draw(self.setting, self.device, self.dtype))

        self.run = run

    def prepare(self) -> None:
        """Nothing has to be renewed between updates."""


class TorchLoop(Loop):
    """Autograd and `torch.optim.Adam`; a subclass says what a network is.

    Attributes:
        draws_first: Whether only the drawn critics are evaluated in target and penalty; else all, of which they are taken.
        watch: Keep in `margin` how near the update came to a point where its gradient jumps.
    """

    draws_first = False
    watch = False
    margin = math.inf

    def q(self, x: Tensor, *, target: bool = False, index: Tensor | None = None) -> Tensor:
        """Values [S,E,N] of rows x [S,N,D], or [S,M,N] of the critics index [S,M]."""
        raise NotImplementedError

    def head(self, obs: Tensor) -> tuple[Tensor, Tensor | None]:
        """The actor's output [S,N,·] and its free log std [S,A], if that is how it is."""
        raise NotImplementedError

    def load(self, at: Start) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Makes the networks and returns the parameters of critics, targets and actor."""
        raise NotImplementedError

    def start(self, at: Start) -> None:
        """Takes parameters and the state of Adam."""
        at = at.to(self.dtype)
        self.critic, self.target, self.actor = self.load(at)
        self.log_alpha = at.log_alpha.clone().requires_grad_(True)
        self.optimizers = [
            self._adam(params, lr, at)
            for params, lr in zip((self.critic, self.actor, [self.log_alpha]), at.lr, strict=True)
        ]  # fmt: skip

    def _adam(self, params: list[Tensor], lr: float, at: Start) -> torch.optim.Adam:
        captured = self.device.type == "cuda"
        made = torch.optim.Adam(params, lr, BETAS, ADAM_EPS, fused=True, capturable=captured)
        for p in params:
            step = torch.full((), float(at.steps), device=p.device)
            square = torch.full_like(p, at.square, requires_grad=False)
            made.state[p] = {"step": step, "exp_avg": torch.zeros_like(square), "exp_avg_sq": square}
        return made

    def drawn(self, x: Tensor, index: Tensor, *, target: bool) -> Tensor:
        """Values [S,M,N] of the drawn critics."""
        if self.draws_first:
            return self.q(x, target=target, index=index)
        q = self.q(x, target=target)
        return q.gather(1, index.unsqueeze(-1).expand(*index.shape, q.shape[-1]))

    def sample(self, obs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Actions and log probabilities as `squashed` returns them."""
        return squashed(*self.head(obs), noise)

    def td_target(self, rows: Rows, noise: Tensor, index: Tensor) -> Tensor:
        """TD target [S,B] of one minibatch."""
        with torch.no_grad():
            actions, _ = self.sample(rows.next_obs, noise)
            q_next = self.drawn(with_actions(rows.next_obs, actions), index, target=True)
            return backup(self.setting, rows.reward, rows.terminated, q_next)

    def minibatch(self, rows: Rows, noise: Tensor, index: Tensor) -> None:
        """One step of the critics, then Polyak."""
        y = self.td_target(rows, noise, index)
        q = self.q(torch.cat([rows.obs, rows.action], -1))
        self.backward(0, ((q - y.unsqueeze(1)) ** 2).mean((1, 2)).sum())
        self.optimizers[0].step()
        self.polyak()

    def polyak(self) -> None:
        """Moves the targets."""
        with torch.no_grad():
            torch._foreach_lerp_(self.target, self.critic, self.setting.tau)

    def backward(self, network: int, loss: Tensor) -> None:
        """New gradients for critics (0), actor (1) or temperature (2), and for no other network."""
        self.optimizers[network].zero_grad(set_to_none=True)
        torch.autograd.backward(loss, inputs=(self.critic, self.actor, [self.log_alpha])[network])

    def actor_backward(self, rows: Rows, draws: Draws) -> None:
        """Gradients of actor and temperature at the present parameters, on all rows."""
        actions, log_prob = self.sample(rows.obs, draws.actor_noise.unsqueeze(2))
        q = self.q(torch.cat([rows.obs, actions[:, :, 0]], -1))
        if self.watch:
            two = q.detach().topk(2, dim=1, largest=False).values
            self.margin = min(self.margin, float((two[:, 1] - two[:, 0]).min()))
        alpha = F.softplus(self.log_alpha.detach())
        loss = (alpha[:, None] * log_prob[:, :, 0] - q.amin(1)).mean(1).sum()
        self.backward(1, loss)
        with torch.no_grad():
            _, log_prob = self.sample(rows.next_obs, draws.alpha_noise)
            entropy = -log_prob.mean((1, 2))
        self.backward(2, (F.softplus(self.log_alpha) * (entropy + self.setting.act)).sum())

    def update(self, rows: Rows, draws: Draws) -> None:
        """One update: critics minibatch by minibatch, then actor and temperature; or the Cal-QL step."""
        if self.setting.offline:
            self.offline(rows, draws)
            return
        for u, part in enumerate(minibatches(rows, self.setting)):
            self.minibatch(part, draws.target_noise[:, u], draws.target_subset[:, u])
        self.actor_backward(rows, draws)
        for optimizer in self.optimizers[1:]:
            optimizer.step()

    def offline(self, rows: Rows, draws: Draws) -> None:
        """A Cal-QL step: all gradients at the same parameters, then the steps, then Polyak."""
        self.backward(0, self.cal_ql_loss(rows, draws))
        self.actor_backward(rows, draws)
        for optimizer in self.optimizers:
            optimizer.step()
        self.polyak()

    def cal_ql_loss(self, rows: Rows, draws: Draws) -> Tensor:
        """TD loss of all critics and penalty of the drawn ones, summed over the seeds."""
        s, uniform = self.setting, draws.uniform
        assert uniform is not None and draws.current_noise is not None and draws.next_noise is not None
        assert draws.cql_subset is not None and rows.mc_return is not None
        y = self.td_target(rows, draws.target_noise[:, 0], draws.target_subset[:, 0])
        with torch.no_grad():
            current, current_log_prob = self.sample(rows.obs, draws.current_noise)
            following, following_log_prob = self.sample(rows.next_obs, draws.next_noise)
            log_probs = torch.cat([current_log_prob, following_log_prob], -1)
        sampled = [uniform, current, following]
        many = 3 * s.sampled_actions
        if self.draws_first:
            q_all = self.q(torch.cat([rows.obs, rows.action], -1))
            q = self.q(with_actions(rows.obs, torch.cat(sampled, 2)), index=draws.cql_subset)
            q = q.view(s.seeds, -1, s.batch, many)
        else:  # everything in one pass, the data's action last
            q = self.q(with_actions(rows.obs, torch.cat([*sampled, rows.action.unsqueeze(2)], 2)))
            q = q.view(s.seeds, -1, s.batch, many + 1)
            q, q_all = q[..., :many], q[..., many]
            q = q.gather(1, draws.cql_subset[:, :, None, None].expand(-1, -1, s.batch, many))
        q_data = q_all.gather(1, draws.cql_subset.unsqueeze(-1).expand(-1, -1, s.batch))
        if self.watch:
            distance = q.detach()[..., s.sampled_actions :] - rows.mc_return[:, None, :, None]
            self.margin = min(self.margin, float(distance.abs().min()))
        td = ((q_all - y.unsqueeze(1)) ** 2).mean((1, 2))
        return (td + penalty(s, q, q_data, log_probs, rows.mc_return)).sum()


def minibatches(rows: Rows, setting: Setting) -> Iterable[Rows]:
    """The rows of every critic minibatch."""
    for u in range(setting.minibatches):
        part = slice(u * setting.batch, (u + 1) * setting.batch)
        yield Rows(**{name: tensor[:, part] for name, tensor in vars(rows).items()})
