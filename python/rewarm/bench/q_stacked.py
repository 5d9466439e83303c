"""Critics as stacked tensors: `baddbmm` over seeds and critics at once, eager or under `torch.compile`."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rewarm.bench.q_loops import (
    ADAM_EPS,
    BETAS,
    LN_EPS,
    TorchLoop,
    backup,
    minibatches,
    squashed,
    with_actions,
)
from rewarm.bench.q_setting import Setting, Start
from rewarm.bench.workload import LeftOut
from rewarm.rl.draws import Draws
from rewarm.rl.rows import Rows

#: Seconds that compiling may take.
COMPILE_LIMIT = 300.0


def forward(tensors: Sequence[Tensor], x: Tensor) -> Tensor:
    """Output [G,N,O] of G networks on rows x [G,N,D]; weights are [G,in,out], everything else [G,1,out]."""
    *layers, weight, bias = tensors
    for i in range(0, len(layers), 4):
        w, b, norm_weight, norm_bias = layers[i : i + 4]
        x = F.layer_norm(torch.baddbmm(b, x, w), w.shape[-1:], eps=LN_EPS)
        x = F.relu(torch.addcmul(norm_bias, x, norm_weight))
    return torch.baddbmm(bias, x, weight)


def values(tensors: Sequence[Tensor], x: Tensor, index: Tensor | None = None) -> Tensor:
    """Values [S,E,N] of rows x [S,N,D] shared by the critics of a seed, or [S,M,N] of the critics index [S,M]."""
    seeds, n, d = x.shape
    if index is not None:
        critics = tensors[0].shape[0] // seeds
        at = (index + critics * torch.arange(seeds, device=x.device)[:, None]).flatten() if seeds > 1 else index[0]
        tensors = [t.index_select(0, at) for t in tensors]
    each = tensors[0].shape[0] // seeds
    shared = x.unsqueeze(1).expand(seeds, each, n, d).reshape(seeds * each, n, d)
    return forward(tensors, shared).view(seeds, each, n)


class Bmm(TorchLoop):
    """All critics in the target, then those that were drawn; in Cal-QL all in one pass over all actions."""

    name = "torch bmm"

    def load(self, at: Start) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Seeds and critics on one axis."""
        critic, target = ([_flat(t, head=i >= len(ts) - 2) for i, t in enumerate(ts)] for ts in (at.critic, at.target))
        self.free = self.setting.log_std == "free"
        actor = [_flat(t, head=False) for t in (at.actor[:-1] if self.free else at.actor)]
        if self.free:
            actor.append(at.actor[-1].clone())
        for t in (*critic, *actor):
            t.requires_grad_(True)
        return critic, target, actor

    def q(self, x: Tensor, *, target: bool = False, index: Tensor | None = None) -> Tensor:
        """One batched product a layer."""
        return values(self.target if target else self.critic, x, index)

    def head(self, obs: Tensor) -> tuple[Tensor, Tensor | None]:
        """One batched product a layer over the seeds."""
        return self._head(self.actor, obs)

    def _head(self, actor: Sequence[Tensor], obs: Tensor) -> tuple[Tensor, Tensor | None]:
        return (forward(actor[:-1], obs), actor[-1]) if self.free else (forward(actor, obs), None)

    def state(self) -> dict[str, list[Tensor]]:
        """In the shapes of `Start`."""
        s = self.setting

        def shaped(tensors: Sequence[Tensor], nets: int, head: bool) -> list[Tensor]:
            found = [t.detach().view(s.seeds, nets, *t.shape[1:]) for t in tensors]
            found = [t if i % 4 == 0 else t.squeeze(2) for i, t in enumerate(found)]
            if head:
                found[-2:] = [t.squeeze(-1) for t in found[-2:]]
            return found

        actor = shaped(self.actor[:-1] if self.free else self.actor, 1, head=False)
        return {
            "critic": shaped(self.critic, s.critics, head=True),
            "target": shaped(self.target, s.critics, head=True),
            "actor": [*actor, self.actor[-1].detach()] if self.free else actor,
            "log_alpha": [self.log_alpha.detach()],
        }


def _flat(tensor: Tensor, head: bool) -> Tensor:
    """[S,E,…] with one axis for both; vectors get an axis for the rows, a critic's head one for its output."""
    flat = tensor.flatten(0, 1)
    if head:
        flat = flat.unsqueeze(-1)
    return (flat if flat.ndim == 3 else flat.unsqueeze(1)).clone()


class BmmSubset(Bmm):
    """Only the drawn critics in target and penalty."""

    name = "torch bmm, subset"
    draws_first = True


class Compiled(BmmSubset):
    """As the eager one with the subset, but a minibatch's step is one compiled function and the actor's another.

    Adam is written out, so that the compiler fuses it; the draws are outside. The first call compiles: its seconds are a
    fact of their own, measured with an empty cache.
    """

    name = "torch compile, subset"

    def __init__(self, setting: Setting, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(setting, device, dtype)
        self.held: list[Tensor] = []
        self.compiled_minibatch: Callable[..., None]
        self.compiled_actor: Callable[..., None]

    def start(self, at: Start) -> None:
        """Takes parameters and makes moments; a second start writes into what was compiled."""
        at = at.to(self.dtype)
        critic, target, actor = self.load(at)
        params = [*critic, *target, *actor, at.log_alpha.clone()]
        averages = [torch.zeros_like(p) for p in params]
        squares = [torch.full_like(p, at.square) for p in params]
        # Not 0-d: torch 2.13 compiled for a CPU loses an update in place of a 0-d float64 tensor.
        rates = [torch.full((1,), lr, device=self.device, dtype=torch.float64) for lr in at.lr]
        steps = [torch.full_like(lr, at.steps) for lr in rates]
        new = [t.detach() for t in (*params, *averages, *squares, *rates, *steps)]
        if self.held:
            for mine, given in zip(self.held, new, strict=True):
                mine.copy_(given)
            return
        self.held = new
        c, t, a = (slice(0, len(critic)), slice(len(critic), len(critic) + len(target)), slice(-len(actor) - 1, -1))
        held_params, held_averages, held_squares = (new[i * len(params) : (i + 1) * len(params)] for i in range(3))
        self.critic, self.target, self.actor, self.log_alpha = (*(held_params[of] for of in (c, t, a)), held_params[-1])
        self.moments = [
            (held_averages[of], held_squares[of], rate, step)
            for of, rate, step in zip((c, a, slice(-1, None)), new[-6:-3], new[-3:], strict=True)
        ]
        self.compiled_minibatch = torch.compile(self._minibatch, fullgraph=True, dynamic=False)
        self.compiled_actor = torch.compile(self._actor_step, fullgraph=True, dynamic=False)

    def minibatch(self, rows: Rows, noise: Tensor, index: Tensor) -> None:
        """The compiled step."""
        self.compiled_minibatch(*vars(rows).values(), noise, index)

    def update(self, rows: Rows, draws: Draws) -> None:
        """Compiles when it is called for the first time."""
        if "first_call_s" in self.facts:
            self._update(rows, draws)
            return
        begin = time.perf_counter()
        with _empty_cache(), limit(COMPILE_LIMIT):
            try:
                self._update(rows, draws)
            except (RuntimeError, TimeoutError) as error:  # what the compiler raises inside is wrapped in the former
                first_line = str(error).strip().partition("\n")[0]
                raise LeftOut(f"torch.compile: {type(error).__name__}: {first_line}") from error
            if self.device.type == "cuda":
                torch.cuda.synchronize()
        self.facts["first_call_s"] = time.perf_counter() - begin

    def _update(self, rows: Rows, draws: Draws) -> None:
        for u, part in enumerate(minibatches(rows, self.setting)):
            self.minibatch(part, draws.target_noise[:, u], draws.target_subset[:, u])
        self.compiled_actor(rows.obs, rows.next_obs, draws.actor_noise, draws.alpha_noise)

    def _minibatch(
        self,
        obs: Tensor,
        action: Tensor,
        reward: Tensor,
        next_obs: Tensor,
        terminated: Tensor,
        mc_return: Tensor,
        noise: Tensor,
        index: Tensor,
    ) -> None:
        actions, _ = squashed(*self._head(self.actor, next_obs), noise)
        y = backup(self.setting, reward, terminated, values(self.target, with_actions(next_obs, actions), index))

        def loss(critic: list[Tensor]) -> Tensor:
            q = values(critic, torch.cat([obs, action], -1))
            return ((q - y.unsqueeze(1)) ** 2).mean((1, 2)).sum()

        self._adam_step(self.critic, torch.func.grad(loss)(self.critic), *self.moments[0])
        for t, p in zip(self.target, self.critic, strict=True):
            t.lerp_(p, self.setting.tau)

    def _actor_step(self, obs: Tensor, next_obs: Tensor, actor_noise: Tensor, alpha_noise: Tensor) -> None:
        def loss(actor: list[Tensor]) -> Tensor:
            actions, log_prob = squashed(*self._head(actor, obs), actor_noise.unsqueeze(2))
            q = values(self.critic, torch.cat([obs, actions[:, :, 0]], -1))
            return (F.softplus(self.log_alpha)[:, None] * log_prob[:, :, 0] - q.amin(1)).mean(1).sum()

        of_actor = torch.func.grad(loss)(self.actor)
        _, log_prob = squashed(*self._head(self.actor, next_obs), alpha_noise)
        of_alpha = torch.sigmoid(self.log_alpha) * (self.setting.act - log_prob.mean((1, 2)))
        self._adam_step(self.actor, of_actor, *self.moments[1])
        self._adam_step([self.log_alpha], [of_alpha], *self.moments[2])

    def _adam_step(
        self,
        params: Sequence[Tensor],
        gradients: Sequence[Tensor],
        averages: Sequence[Tensor],
        squares: Sequence[Tensor],
        lr: Tensor,
        step: Tensor,
    ) -> None:
        step.add_(1)
        scale = lr / (1 - BETAS[0] ** step)
        correction = (1 - BETAS[1] ** step).sqrt()
        scale, correction = scale.to(params[0].dtype), correction.to(params[0].dtype)
        for p, g, m, v in zip(params, gradients, averages, squares, strict=True):
            m.lerp_(g, 1 - BETAS[0])
            v.mul_(BETAS[1]).addcmul_(g, g, value=1 - BETAS[1])
            p.sub_(scale * m / (v.sqrt() / correction + ADAM_EPS))


@contextmanager
def _empty_cache() -> Iterator[None]:
    """A cache of compiled code that begins empty and is gone afterwards."""
    before = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    with tempfile.TemporaryDirectory(prefix="rewarm-bench-", ignore_cleanup_errors=True) as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ["TORCHINDUCTOR_CACHE_DIR"]
            else:
                os.environ["TORCHINDUCTOR_CACHE_DIR"] = before


@contextmanager
def limit(seconds: float) -> Iterator[None]:
    """Raises TimeoutError inside after so many seconds, where this thread can be told so by a signal."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"not done within {seconds:.0f} s")

    before: Any = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
