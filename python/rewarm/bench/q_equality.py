"""Before a Q update is timed: every variant moves the parameters as a list of modules does in float64.

Errors are relative to how far a tensor of one network moved, in the Euclidean norm. Two things make them:

- Rounding. A matrix product over K terms is off by r = sqrt(K) u normwise in float32 (u = 2**-24), by 2**-11 with TF32
  inputs. Through L layers forward and back that is d = (2L + 2) r, of every minibatch and of the actor's step after them; a
  factor 4 stands for what cancels: q - y, sums over rows with both signs.
- Kinks. A pre-activation, which LayerNorm gives unit size, is off by d as well; its unit is nearer than d to the kink of ReLU
  with probability 2 d / sqrt(2 pi), and then one of two results has its row's gradient and the other has not: both are right.
  Such a unit is one of about B h / 2 that a gradient of this network is the sum of. Their number is Poisson; what it reaches
  once in 10**8 runs is allowed, one of them with four times the root mean square of all, and none where fewer than one in
  10**4 runs is expected.

Kinks are rare: over all critics, the median is free of them, and is held to the rounding alone (the actor, and a penalty of a
few drawn critics, only in float64, where no kink is expected). What a step decides by a least
value (which critic the actor follows) or a greater one (Q or the return) is no matter of rounding, because inputs are chosen
for which those are further apart than d.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rewarm.bench.q_loops import Loop
from rewarm.bench.q_modules import ModuleList
from rewarm.bench.q_setting import Setting, Start, draw, moved, rows, start
from rewarm.bench.timing import nothing
from rewarm.errors import RewarmError
from rewarm.rl.draws import Draws
from rewarm.rl.rows import Rows

State = dict[str, list[Tensor]]
_UNIT = {"fp64": 2.0**-53, "fp32": 2.0**-24, "tf32": 2.0**-24}


class Case:
    """Parameters, rows and draws of one check, and where the float64 reference ends.

    Args:
        setting: What is checked.
        device: Where.
        tick: Called between updates.
    """

    def __init__(self, setting: Setting, device: torch.device, tick: Callable[[], None] = nothing) -> None:
        self.setting, self.tick = setting, tick
        self.start: Start = start(setting, device, checked=True)
        for seed in range(8, 40):
            tick()
            reference = ModuleList(setting, device, torch.float64)
            reference.watch = True
            self.rows: Rows = rows(setting, device, seed)
            draws = draw(setting, torch.device("cpu"), generator=torch.Generator().manual_seed(seed))
            self.draws: Draws = moved(draws, device)
            self.wanted = self.finish(reference)
            if reference.margin > distance(setting, "fp32"):
                return
        raise RewarmError(f"{setting.name}: none of 32 batches is clear of ties")

    def finish(self, loop: Loop) -> State:
        """The parameters of `loop` after one update."""
        self.tick()
        loop.start(self.start)
        loop.update(moved(self.rows, loop.dtype), moved(self.draws, loop.dtype))
        return loop.state()

    def check(self, loop: Loop, precision: str) -> float:
        """The largest error of `loop` over its bound.

        Args:
            loop: Any variant; it is started anew.
            precision: "fp64", "fp32" or "tf32": of its arithmetic.

        Raises:
            RewarmError: An error past its bound, with the place and the size.
        """
        worst, got = 0.0, self.finish(loop)
        for network, wanted in self.wanted.items():
            before = [self.start.log_alpha] if network == "log_alpha" else getattr(self.start, network)
            for index, (mine, right, old) in enumerate(zip(got[network], wanted, before, strict=True)):
                place = f"{self.setting.name}: {network}, tensor {index}: {loop.name}, {precision}, against float64"
                worst = max(worst, compare(place, mine, right, old, self.setting, network, precision))
        return worst


def compare(place: str, got: Tensor, wanted: Tensor, before: Tensor, setting: Setting, network: str, precision: str) -> float:
    """The error over its bound of one tensor [S,E,…] (or [S], [S,A]), or an error that says where."""
    axes = 2 if network in ("critic", "target") else 1
    each, expected, old = (t.double().reshape(math.prod(t.shape[:axes]), -1) for t in (got, wanted, before))
    # Parameters are stored rounded, at every step.
    stored = 2 * (setting.minibatches + 1) * _UNIT[precision] * expected.norm(dim=1)
    off = ((each - expected).norm(dim=1) - stored).clamp_min(0.0) / (expected - old).norm(dim=1).clamp_min(1e-300)
    if not bool(torch.isfinite(each).all()):
        raise RewarmError(f"{place}: not finite")
    rounding = rounding_bound(setting, precision)
    kinks = rounding + kink_bound(setting, network, precision)
    found = [(float(off.max()), kinks, "at most")]
    if network in ("critic", "target") and len(off) > 2:
        found.append((float(off.median()), rounding, "in the median at most"))
    for value, bound, words in found:
        if not value <= bound:
            raise RewarmError(f"{place}: expected it to move {words} {bound:.2g} of its way apart, got {value:.2g}")
    return max(value / bound for value, bound, _ in found)


def distance(setting: Setting, precision: str) -> float:
    """The distance d of this module's docstring."""
    widest = max(*setting.critic_widths, *setting.actor_widths)
    product = 2.0**-11 if precision == "tf32" else math.sqrt(widest) * _UNIT[precision]
    return 2 * (max(len(setting.hidden), len(setting.actor_hidden)) + 1) * product


def rounding_bound(setting: Setting, precision: str) -> float:
    """What rounding may make, of the way that a tensor moved."""
    return 4 * (setting.minibatches + 1) * distance(setting, precision)


def kink_bound(setting: Setting, network: str, precision: str) -> float:
    """What kinks may make, of the way that a tensor of one network moved."""
    if network == "log_alpha":  # no gradient passes a unit on its way there
        return 0.0
    hidden = setting.actor_hidden if network == "actor" else setting.hidden
    d = distance(setting, precision)
    # A row of a penalty has many actions, which share the weight that one row has.
    n = setting.rows if network == "actor" else setting.batch
    expected = 2 * d / math.sqrt(2 * math.pi) * n * sum(hidden)
    many = expected + 6 * math.sqrt(expected) + 6 + (4**2 - 1) if expected > 1e-4 else 0.0
    bound = math.sqrt(many / (n * min(hidden) / 2))
    if precision == "tf32":
        # Ties are within this rounding: about E / 4 standard deviations part the two least of E values on average.
        bound += math.sqrt(setting.critics / 2 * d)
    return bound


def check_all(
    setting: Setting, device: torch.device, loops: Sequence[Loop], exact: Sequence[Loop], precision: str,
    tick: Callable[[], None] = nothing,
) -> float:  # fmt: skip
    """Checks the loops that will be timed, and their float64 twins; the largest error over its bound.

    Raises:
        RewarmError: A loop that does something else.
    """
    case = Case(setting, device, tick)
    worst = [case.check(loop, "fp64") for loop in exact] + [case.check(loop, precision) for loop in loops]
    return max(worst)
