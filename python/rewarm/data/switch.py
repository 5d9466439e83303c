"""When a blend changes: at the update whose learning rate has fallen below a level (Parmar et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from rewarm.data.blend import exact_ratio
from rewarm.errors import InvalidArgument
from rewarm.schedule import Schedule

# Monotone between their ends, so that the first counter below a level is found by halving.
_MONOTONE = frozenset(
    ("constant", "linear", "cosine", "legacy_cosine", "inverse_sqrt", "one_minus_sqrt", "polynomial", "exponential")
)
_FAR = 2**62  # where an open end is given up


@dataclass(frozen=True)
class LrSwitch:
    """A change of the blend; made by `when_lr_below`.

    Attributes:
        level: The learning rate that has to be crossed downwards.
        ratio: Share of old samples from then on.
        at: Samples of all ranks before the change, None when `observe` finds it.
    """

    level: float
    ratio: Fraction
    at: int | None

    def to_list(self) -> list[Any]:
        """As plain data for a checkpoint."""
        return [self.level, str(self.ratio), self.at]


def when_lr_below(
    level: float,
    ratio: float | Fraction,
    *,
    schedule: Schedule | None = None,
    samples_per_update: int | None = None,
    tokens_per_sample: int | None = None,
) -> LrSwitch:
    """Another share of old samples from the first update on whose learning rate has fallen below a level.

    Fallen means that the rate was at the level or above it earlier: a warm-up that starts below does not count. With a
    `schedule` the position is worked out here, so the switch holds in DataLoader workers and is the same after any
    resume. Without one, `observe(lr)` of the mixture has to be called once an update, which needs the samples to be
    drawn in the training process.

    Args:
        level: Learning rate, above 0. Parmar et al. 2024 (arXiv 2407.07263) take a fifth of the peak of the continued run.
        ratio: Share of old samples afterwards, 0 to 1.
        schedule: Of the learning rate.
        samples_per_update: Samples of all ranks in one update; required with a schedule.
        tokens_per_sample: Required with a schedule in units of tokens.

    Returns:
        What `ReplayMixture` and `ReplaySampler` take as `switch`.

    Raises:
        InvalidArgument: A level, ratio or count that is not accepted, or a schedule that never falls below the level.
    """
    if isinstance(level, bool) or not isinstance(level, (int, float)) or not 0 < level < float("inf"):
        raise InvalidArgument(f"when_lr_below: level is {level!r}; a learning rate above 0 is accepted")
    share = exact_ratio(ratio, "when_lr_below: ratio")
    if schedule is None:
        if samples_per_update is not None or tokens_per_sample is not None:
            raise InvalidArgument(
                "when_lr_below: samples_per_update and tokens_per_sample belong to a schedule, none was given"
            )
        return LrSwitch(float(level), share, None)
    counts = {"samples_per_update": samples_per_update}
    if schedule.units == "tokens":
        counts["tokens_per_sample"] = tokens_per_sample
    elif tokens_per_sample is not None:
        raise InvalidArgument("when_lr_below: tokens_per_sample belongs to a schedule in tokens, this one counts steps")
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InvalidArgument(
                f"when_lr_below: {name} is {value!r}; with this schedule a whole number of at least 1 is accepted"
            )
    assert samples_per_update is not None
    counter = first_below(schedule, float(level))
    a_sample = tokens_per_sample or 1
    an_update = samples_per_update * a_sample if schedule.units == "tokens" else 1  # what the counter advances by
    update = -(-counter // an_update)
    return LrSwitch(float(level), share, update * samples_per_update)


def first_below(schedule: Schedule, level: float) -> int:
    """The first counter whose value is below `level` after one that was not.

    Raises:
        InvalidArgument: There is none, or a piece of the schedule is not monotone.
    """
    was_above = False
    for segment in schedule.segments:
        if segment.kind not in _MONOTONE:
            raise InvalidArgument(
                f"when_lr_below: a schedule with a {segment.kind!r} piece is not searched; "
                "leave schedule out and call observe(lr)"
            )
        # The last piece holds its end value, which is reached at its end and not before.
        is_last = segment is schedule.segments[-1]
        first, last = segment.start, _FAR if segment.stop is None else segment.stop if is_last else segment.stop - 1
        if was_above and schedule(first) < level:
            return first
        was_above = was_above or schedule(first) >= level
        if was_above and schedule(last) < level:
            while last - first > 1:  # schedule(first) >= level > schedule(last)
                middle = (first + last) // 2
                first, last = (middle, last) if schedule(middle) >= level else (first, middle)
            return last
        was_above = was_above or schedule(last) >= level
    raise InvalidArgument(f"when_lr_below: the schedule never falls below {level:g}; its last value is {schedule(last):g}")
