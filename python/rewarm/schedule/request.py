"""One request for another framework's curve: its checked arguments, and the pieces that such curves are made of."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from rewarm.errors import InvalidArgument
from rewarm.schedule.arguments import fraction
from rewarm.schedule.pieces import (
    constant,
    cosine,
    halving,
    linear,
    one_minus_sqrt,
    power,
)
from rewarm.schedule.schedule import MAX_SEGMENTS, Schedule
from rewarm.schedule.segment import checked_count

#: What frameworks themselves call some kinds and shapes, beside the names used here.
ALIASES = {
    "warmup_stable_decay": "wsd",
    "WSD": "wsd",
    "inverse-square-root": "inverse_sqrt",
    "inv_sqrt": "inverse_sqrt",
    "poly": "polynomial",
    "1-sqrt": "one_minus_sqrt",
    "sqrt": "one_minus_sqrt",
    "minus_sqrt": "one_minus_sqrt",
}


@dataclass(frozen=True)
class Options:
    """What a framework's schedule may need beside peak, minimum, warm-up and total; None is that framework's default."""

    decay_steps: int | None = None
    decay_frac: float | None = None
    shape: str | None = None
    power: float | None = None
    num_cycles: int | None = None
    timescale: int | None = None
    transition_steps: int | None = None
    decay_rate: float | None = None


@dataclass(frozen=True)
class Request:
    """The checked arguments of one `match`, and the pieces in its units."""

    name: str
    peak: float
    low: float
    warmup: int
    total: int
    units: str
    options: Options = field(default_factory=Options)

    @property
    def decay(self) -> int:
        """Counts from the end of the warm-up to the total."""
        return self.total - self.warmup

    @property
    def horizon(self) -> int:
        """As far as the curve is reproduced: a fifth past the end."""
        return self.total + -(-self.total // 5)

    def hold(self, value: float, length: int | None = None) -> Schedule:
        """A constant."""
        return constant(value, length, units=self.units)

    def line(self, a: float, b: float, length: int) -> Schedule:
        """A straight line."""
        return linear(a, b, length, units=self.units)

    def up(self, start: float = 0.0) -> Schedule:
        """The warm-up along k / W."""
        return self.line(start, self.peak, self.warmup)

    def fall(self, shape: str, length: int, low: float | None = None) -> Schedule:
        """From the peak to the minimum, then held."""
        pieces = {"linear": linear, "cosine": cosine, "one_minus_sqrt": one_minus_sqrt, "halving": halving}
        return pieces[shape](self.peak, self.low if low is None else low, length, units=self.units)

    def wave(self, half: int, until: int) -> list[Schedule]:
        """Half cosines of `half` counts, down and up in turn, for at least `until` counts: a cosine nobody stopped."""
        n = -(-until // half)
        if n > MAX_SEGMENTS - 4:
            raise InvalidArgument(
                f"{self.name}: warmup_steps: expected fewer, got {self.warmup} of {self.total}: this cosine goes on after "
                f"its end and would turn {n} times up to {self.horizon}; a schedule has {MAX_SEGMENTS} segments"
            )
        ends = (self.peak, self.low)
        return [cosine(ends[i % 2], ends[(i + 1) % 2], half, units=self.units) for i in range(n)]

    def falling_on(self, shape: str, length: int, until: int) -> list[Schedule]:
        """A line or a 1-sqrt that reaches the minimum after `length` and goes on down: to 0, which is held, or to `until`."""
        depth = (
            (self.peak / (self.peak - self.low)) ** (2 if shape == "one_minus_sqrt" else 1)
            if self.peak > self.low
            else math.inf
        )
        reach = until if depth == math.inf else min(until, math.floor(length * depth))
        if reach <= length:
            pieces = [self.fall(shape, length)]
        else:
            r = reach / length
            end = self.peak - (self.peak - self.low) * (math.sqrt(r) if shape == "one_minus_sqrt" else r)
            pieces = [self.fall(shape, reach, max(end, 0.0))]
        end = pieces[0](reach)
        if reach >= until or end == 0.0:
            return pieces
        # The value at the end of a piece belongs to one count of its own; behind it the formula is below 0.
        return [*pieces, self.hold(end, 1), self.hold(0.0)]

    def stable_and_decay(self) -> tuple[int, int]:
        """Lengths of the stable and the decay phase from `decay_steps` or `decay_frac`."""
        given = self.options.decay_steps
        if given is None:
            part = 0.1 if self.options.decay_frac is None else fraction(f"{self.name}: decay_frac", self.options.decay_frac)
            given = round(self.total * part)
        steps = checked_count(f"{self.name}: decay_steps", given)
        if not 0 < steps <= self.decay:
            raise InvalidArgument(
                f"{self.name}: decay_steps: expected a whole number in [1, {self.decay}] (total_steps less warmup_steps), "
                f"got {steps}"
            )
        return self.decay - steps, steps

    def shape(self, default: str, *accepted: str) -> str:
        """The option `shape`, in our words."""
        given = default if self.options.shape is None else self.options.shape
        name = ALIASES.get(given, given)
        if name not in accepted:
            raise InvalidArgument(f"{self.name}: shape: expected one of {', '.join(accepted)}, got {given!r}")
        return name

    def inverse_sqrt(self, until: int, length: int | None = None) -> Schedule:
        """P sqrt(until / n) for n = k and k >= W."""
        return power(self.peak, length, exponent=-0.5, until=until, offset=self.warmup, units=self.units)
