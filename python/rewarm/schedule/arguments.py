"""Checks on the arguments of ready-made schedules; every message begins with the name of the schedule."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from rewarm.errors import InvalidArgument
from rewarm.schedule.segment import MAX_COUNT, checked_count, checked_number


def fraction_of(total: int, frac: float | Fraction) -> int:
    """`frac` of `total`, exact before it is rounded to the nearest count."""
    return min(round(total * Fraction(frac)), MAX_COUNT)


def counts(name: str, **given: int) -> tuple[int, ...]:
    """The counts, each checked under its own name."""
    return tuple(checked_count(f"{name}: {key}", value) for key, value in given.items())


def falling(name: str, **rates: float) -> tuple[float, float]:
    """Two rates, the first at least as large as the second."""
    (high_name, high), (low_name, low) = ((key, checked_number(f"{name}: {key}", v)) for key, v in rates.items())
    if low > high:
        raise InvalidArgument(f"{name}: {low_name}: expected a number in [0, {high_name}={high:.6g}], got {low:.6g}")
    return high, low


def fraction(where: str, value: float, *, above: float = 0.0) -> float:
    """A number in [0, 1], or in (above, 1] when `above` is not 0."""
    number = checked_number(where, value)
    if number > 1.0 or number < above:
        raise InvalidArgument(f"{where}: expected a number in [{above:g}, 1], got {value!r}")
    return number


def one_of(where: str, value: str, accepted: Iterable[str]) -> str:
    """`value` when it is among those accepted."""
    names = tuple(accepted)
    if value not in names:
        raise InvalidArgument(f"{where}: expected one of {', '.join(names)}, got {value!r}")
    return value
