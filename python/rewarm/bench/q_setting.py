"""What the Q workloads share: sizes, work in FLOPs, and the parameters, rows and draws that every variant is given."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from rewarm.rl.draws import Draws
from rewarm.rl.rows import Rows


@dataclass(frozen=True)
class Setting:
    """One update: networks, batch, and how often.

    Attributes:
        name: Of the set, as ``--sets`` takes it.
        obs, act: Dimensions O and A.
        hidden, actor_hidden: Widths of the critics and of the actor.
        log_std: "state": the actor's head gives it; "free": one vector.
        backup_actions: K actions a next state, of which the target takes the best.
        offline: A Cal-QL step, one minibatch with the penalty, instead of an online update of `utd` minibatches.
        seeds: S agents at once.
        critics, subset, batch, utd: E, M, B (of one critic minibatch), U.
        sampled_actions: n of the Cal-QL penalty, which has 3n actions a state.
        gamma, tau, cql_weight: As in the paper's code.
    """

    name: str
    obs: int
    act: int
    hidden: tuple[int, ...]
    actor_hidden: tuple[int, ...]
    log_std: str = "state"
    backup_actions: int = 1
    offline: bool = False
    seeds: int = 1
    critics: int = 10
    subset: int = 2
    batch: int = 256
    utd: int = 4
    sampled_actions: int = 10
    gamma: float = 0.99
    tau: float = 0.005
    cql_weight: float = 5.0

    @property
    def minibatches(self) -> int:
        """Critic minibatches of one update."""
        return 1 if self.offline else self.utd

    @property
    def rows(self) -> int:
        """Rows of one update and seed."""
        return self.minibatches * self.batch

    @property
    def critic_widths(self) -> tuple[int, ...]:
        """Input and hidden widths of a critic."""
        return (self.obs + self.act, *self.hidden)

    @property
    def actor_widths(self) -> tuple[int, ...]:
        """Input and hidden widths of the actor."""
        return (self.obs, *self.actor_hidden)

    @property
    def actor_outputs(self) -> int:
        """Columns of the actor's head: means, and log stds if they depend on the state."""
        return 2 * self.act if self.log_std == "state" else self.act

    @property
    def parameters(self) -> int:
        """Of the critics of one seed."""
        layers = sum(i * o + 3 * o for i, o in itertools.pairwise(self.critic_widths))
        return self.critics * (layers + self.hidden[-1] + 1)

    def small(self, **changes: object) -> Setting:
        """The same with some fields changed."""
        return replace(self, **changes)  # type: ignore[arg-type]


#: The sets. 2x256 is WSRL's locomotion size with AntMaze's dimensions; AntMaze, Kitchen (3x512), Cal-QL as its code has them.
SETS = {
    s.name: s
    for s in (
        Setting("q_64x2", 29, 8, (64, 64), (64, 64)),
        Setting("q_2x256", 29, 8, (256,) * 2, (256,) * 2),
        Setting("q_antmaze", 29, 8, (256,) * 4, (256,) * 2, log_std="free", backup_actions=10),
        Setting("q_calql", 29, 8, (256,) * 4, (256,) * 2, log_std="free", backup_actions=10, offline=True),
        Setting("q_3x512", 60, 9, (512,) * 3, (512,) * 3),
    )
}


def _macs(widths: Sequence[int], outputs: int) -> int:
    """Multiply-adds of one row through one network."""
    return sum(i * o for i, o in itertools.pairwise(widths)) + widths[-1] * outputs


def flops(s: Setting, *, least: bool = True) -> int:
    """Floating-point operations of the matrix products of one update, two a multiply-add; elementwise work is not counted.

    With C and A for the multiply-adds of one row through a critic and the actor, and c1, a1 for their first layers:

    - target, each minibatch: the actor once a next state, B·A; the critics at K actions a state, M·B·K·C for the drawn ones.
    - critic loss: forward C, weight gradients C, input gradients C - c1, since nothing needs those of the first layer:
      E·B·(3C - c1).
    - actor on its N rows: forward, weight and input gradients 3A - a1; all critics forward, E·C; back to the action C once a
      row, since only the critic with the least value has a gradient.
    - temperature: the actor once a next state, A.
    - Cal-QL: the penalty is 3n actions a state for the drawn critics, with their gradients: M·B·3n·(3C - c1); Q(s, a) is
      that of the critic loss. Everything is taken at the old parameters, so that one forward of the actor a state and one a
      next state serve target, penalty, actor and temperature.

    Args:
        s: The setting; all its seeds are counted.
        least: Otherwise what is counted evaluates all E critics in target and penalty, and goes back through all of them from
            the actor's loss, as the papers' code does.
    """
    critic, actor = _macs(s.critic_widths, 1), _macs(s.actor_widths, s.actor_outputs)
    first_critic, first_actor = s.critic_widths[0] * s.critic_widths[1], s.actor_widths[0] * s.actor_widths[1]
    evaluated = s.subset if least else s.critics
    back = 1 if least else s.critics
    n, b = s.rows, s.batch
    target = evaluated * b * s.backup_actions * critic
    with_gradient = 3 * critic - first_critic
    minibatch = target + s.critics * b * with_gradient
    of_critics_in_actor_step = n * (s.critics + back) * critic
    if s.offline:
        penalty = evaluated * b * 3 * s.sampled_actions * with_gradient
        total = minibatch + penalty + n * (3 * actor - first_actor) + n * actor + of_critics_in_actor_step
    else:
        total = s.utd * (b * actor + minibatch) + n * (3 * actor - first_actor) + of_critics_in_actor_step + n * actor
    return 2 * s.seeds * total


@dataclass(frozen=True)
class Start:
    """Where a run begins.

    Tensors have the seeds first: of a layer the weight [S,E,in,out], the bias, LayerNorm's weight and its bias [S,E,out]; then
    the head [S,E,H] (critics) or [S,E,H,O] (actor, E = 1) and its bias; the actor's free log std [S,A] last.

    Attributes:
        critic, target, actor: Flat lists of such tensors.
        log_alpha: [S], lambda of the temperature softplus(lambda).
        square: Value of every second moment of Adam; first moments are 0.
        steps: Adam steps that are taken to have been made.
        lr: Learning rate of critics, actor and temperature.
    """

    critic: list[Tensor]
    target: list[Tensor]
    actor: list[Tensor]
    log_alpha: Tensor
    square: float
    steps: int
    lr: tuple[float, float, float]

    def to(self, dtype: torch.dtype) -> Start:
        """The same in another dtype."""
        critic, target, actor = ([t.to(dtype) for t in tensors] for tensors in (self.critic, self.target, self.actor))
        return Start(critic, target, actor, self.log_alpha.to(dtype), self.square, self.steps, self.lr)


Struct = TypeVar("Struct", Rows, Draws)


def moved(given: Struct, to: torch.dtype | torch.device) -> Struct:
    """The same rows or draws in another dtype (whole numbers and masks stay what they are), or on another device."""
    tensors = {name: t for name, t in vars(given).items() if t is not None}
    if isinstance(to, torch.dtype):
        tensors = {name: t for name, t in tensors.items() if t.is_floating_point()}
    return replace(given, **{name: t.to(to) for name, t in tensors.items()})


def draw(
    s: Setting, device: torch.device, dtype: torch.dtype = torch.float32, generator: torch.Generator | None = None
) -> Draws:
    """What torch's generator of the device draws, in a few calls for the whole update; a CUDA graph can hold them."""
    u, n = s.minibatches, s.sampled_actions

    def normal(*shape: int) -> Tensor:
        return torch.randn(s.seeds, *shape, s.act, dtype=dtype, device=device, generator=generator)

    def subset(*shape: int) -> Tensor:
        every = torch.rand(s.seeds, *shape, s.critics, device=device, generator=generator)
        return every.topk(s.subset, dim=-1).indices

    online = Draws(normal(u, s.batch, s.backup_actions), subset(u), normal(s.rows), normal(s.rows, s.backup_actions))
    if not s.offline:
        return online
    uniform = torch.rand(s.seeds, s.batch, n, s.act, dtype=dtype, device=device, generator=generator) * 2 - 1
    return replace(
        online, uniform=uniform, current_noise=normal(s.batch, n), next_noise=normal(s.batch, n), cql_subset=subset()
    )


def network(generator: torch.Generator, seeds: int, nets: int, widths: Sequence[int], outputs: int) -> list[Tensor]:
    """Random tensors of one network, on the CPU; outputs = 0 is a critic's head without an axis for them."""

    def normal(*shape: int, scale: float, mean: float = 0.0) -> Tensor:
        return mean + scale * torch.randn(seeds, nets, *shape, generator=generator)

    made = []
    for i, o in itertools.pairwise(widths):
        made += [normal(i, o, scale=math.sqrt(2 / i)), normal(o, scale=0.1)]
        made += [normal(o, scale=0.1, mean=1.0), normal(o, scale=0.1)]
    if outputs:
        return [*made, normal(widths[-1], outputs, scale=math.sqrt(2 / widths[-1])), normal(outputs, scale=0.1)]
    head = normal(widths[-1], scale=math.sqrt(2 / widths[-1]))
    # Units are positive: a head that sums to 0 gives critics like levels, so that the least of them changes from row to row.
    return [*made, head - head.mean(-1, keepdim=True), normal(scale=0.1)]


def start(s: Setting, device: torch.device, *, checked: bool, seed: int = 7) -> Start:
    """Parameters, with fresh Adam states for timing or with filled ones for a check.

    A fresh Adam moves every parameter by lr times the sign of its gradient, so that a gradient of nearly nothing decides by
    its rounding: no two implementations agree. A check therefore begins in the middle of a run, where the step is a smooth
    function of the gradient, and with rates at which parameters move by far more than their rounding.
    """
    generator = torch.Generator().manual_seed(seed)
    critic = network(generator, s.seeds, s.critics, s.critic_widths, 0)
    # Not the critics themselves, or a target that was computed with them would go unseen.
    target = [t + 0.05 * torch.randn(t.shape, generator=generator) for t in critic]
    actor = network(generator, s.seeds, 1, s.actor_widths, s.actor_outputs)
    if s.log_std == "free":
        actor.append(0.3 * torch.randn(s.seeds, s.act, generator=generator))
    log_alpha = torch.linspace(-0.5, 0.5, s.seeds) if s.seeds > 1 else torch.zeros(1)
    critic, target, actor = ([t.to(device) for t in tensors] for tensors in (critic, target, actor))
    square, steps, lr = (CHECKED_SQUARE, CHECKED_STEPS, CHECKED_LR) if checked else (0.0, 0, (3e-4, 1e-4, 1e-4))
    return Start(critic, target, actor, log_alpha.to(device), square, steps, lr)


#: Of a check. The second moment is that of gradients of 1e-3, the size that these losses give.
CHECKED_SQUARE, CHECKED_STEPS, CHECKED_LR = 1e-6, 10, (1e-2, 1e-2, 1e-2)


def rows(s: Setting, device: torch.device, seed: int = 8) -> Rows:
    """One batch of rows, one in twenty of them the last of an episode."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(s.seeds, s.rows, *shape, generator=generator).to(device)

    terminated = torch.rand(s.seeds, s.rows, generator=generator).to(device) < 0.05
    return Rows(normal(s.obs), torch.tanh(normal(s.act)), normal(), normal(s.obs), terminated, normal())
