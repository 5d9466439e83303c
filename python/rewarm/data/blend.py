"""Which dataset a position of a blended stream reads, and which of its samples: integers only, no state to replay.

A Blend counts samples over all ranks. Rank r of W takes one sample in each step, and after q steps of a stage with
the old share p/d it has taken floor(q p/d + r/W) old ones. Each rank so keeps the share to within one sample in any
window, and because the sum over r of floor(x + r/W) is floor(W x) (Hermite's identity) so do all ranks together. What
has been read after n samples therefore depends on n alone, and a run goes on exactly with another number of ranks.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple, cast

from rewarm.errors import InvalidArgument


class Stage(NamedTuple):
    """A share of old samples from one position on.

    Attributes:
        start: Samples of all ranks before it.
        ratio: Old samples over all samples, 0 to 1.
        old_before: Old samples among those `start`.
    """

    start: int
    ratio: Fraction
    old_before: int


class Place(NamedTuple):
    """What one position reads: `before` samples of that dataset were read before it, over all ranks."""

    is_old: bool
    before: int


def exact_ratio(ratio: object, name: str = "ratio") -> Fraction:
    """The share as a fraction: a float means the decimal number that it prints as, so 0.05 is one in twenty.

    Raises:
        InvalidArgument: Not a number in [0, 1].
    """
    try:
        value = Fraction(repr(ratio)) if isinstance(ratio, float) else Fraction(cast(Fraction, ratio))
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        value = Fraction(-1)
    if isinstance(ratio, bool) or not 0 <= value <= 1:
        raise InvalidArgument(f"{name} is {ratio!r}; the share of old samples, a number from 0 to 1, is accepted")
    return value


def old_reads(stage: Stage, samples: int) -> int:
    """Old samples among the first `samples` of all ranks, for a whole number of steps inside the stage."""
    return stage.old_before + (samples - stage.start) * stage.ratio.numerator // stage.ratio.denominator


class Blend:
    """Stages in order; the first starts at 0. Grows by `then`, and answers `place` without looking at other positions."""

    def __init__(self, ratio: Fraction) -> None:
        self.stages = [Stage(0, ratio, 0)]

    def then(self, start: int, ratio: Fraction) -> None:
        """Another share from `start` samples on (over all ranks); not before the last stage's start.

        Raises:
            InvalidArgument: `start` lies before the start of the last stage.
        """
        last = self.stages[-1]
        if start < last.start:
            raise InvalidArgument(f"a stage from sample {start:,} on was asked for; the last one starts at {last.start:,}")
        self.stages.append(Stage(start, ratio, old_reads(last, start)))

    def stage_at(self, samples: int) -> Stage:
        """The stage that holds after `samples` samples; of several with one start the last."""
        return next(stage for stage in reversed(self.stages) if stage.start <= samples)

    def reads(self, samples: int) -> tuple[int, int]:
        """(new, old) samples that all ranks together have read after `samples` of them, a whole number of steps."""
        old = old_reads(self.stage_at(samples), samples)
        return samples - old, old

    def place(self, step: int, rank: int, world_size: int) -> Place:
        """What `rank` of `world_size` reads in its step number `step`."""
        samples = step * world_size
        stage = self.stage_at(samples)
        p, d = stage.ratio.numerator, stage.ratio.denominator
        now = (samples - stage.start) * p  # old samples of a rank so far, in units of 1/(d W)
        after = now + world_size * p

        def taken(ranks: int, amount: int) -> int:
            """Sum over the first `ranks` ranks r of floor(amount / (d W) + r / W)."""
            whole, rest = divmod(amount, d * world_size)
            return ranks * whole + max(0, ranks - world_size + rest // d)

        before = taken(rank, after) - taken(rank, now)  # old samples of lower ranks in this very step
        is_old = taken(rank + 1, after) - taken(rank + 1, now) > before
        old = old_reads(stage, samples) + before
        return Place(is_old, old if is_old else samples + rank - old)
