"""The single pieces a schedule is joined from.

In the formulas r runs from 0 to 1 over the piece, a is ``from_value`` and b is ``to_value``. Shapes follow Hägele et
al. 2024 (arXiv 2405.18392), Ibrahim et al. 2024 (arXiv 2403.08763) and, for the legacy cosine, the code of Gupta et al.
2023 (arXiv 2308.04014).
"""

from __future__ import annotations

from rewarm.schedule.schedule import Schedule
from rewarm.schedule.segment import Segment, checked_number, checked_units


def _one(kind: str, units: str, length: int | None, a: float, b: float | None = None, **rest: float) -> Schedule:
    checked_units(kind, units)
    return Schedule((Segment(kind, 0, length, a, b, **rest),), units=units)


def constant(value: float, length: int | None = None, *, units: str = "steps") -> Schedule:
    """A constant: f(t) = a.

    Args:
        value: a, >= 0.
        length: Counts it lasts; None (default) has no end, and nothing can be joined behind it.
        units: "steps" (default) or "tokens".

    Returns:
        A Schedule of one segment.

    Raises:
        InvalidArgument: An argument is not accepted.
    """
    return _one("constant", units, length, value)


def linear(from_value: float, to_value: float, length: int, *, units: str = "steps") -> Schedule:
    """A straight line, warm-up or decay: f = a + (b - a) r.

    Args:
        from_value: a, the value at the start, >= 0.
        to_value: b, the value at `length` and afterwards, >= 0.
        length: Counts from a to b, a whole number >= 0 (1e9 is accepted).
        units: "steps" (default) or "tokens".

    Returns:
        A Schedule of one segment.

    Raises:
        InvalidArgument: An argument is not accepted.
    """
    return _one("linear", units, length, from_value, to_value)


def cosine(from_value: float, to_value: float, length: int, *, units: str = "steps") -> Schedule:
    """Half a cosine: f = b + (a - b) (1 + cos(pi r)) / 2.

    Args:
        from_value: a, the value at the start, >= 0.
        to_value: b, the value at `length` and afterwards, >= 0.
        length: Counts from a to b, a whole number >= 0.
        units: "steps" (default) or "tokens".

    Returns:
        A Schedule of one segment.

    Raises:
        InvalidArgument: An argument is not accepted.
    """
    return _one("cosine", units, length, from_value, to_value)


def legacy_cosine(max_lr: float, min_lr: float, length: int, *, fraction: float = 1.0, units: str = "steps") -> Schedule:
    """GPT-NeoX's cosine of 2023, a half cosine to zero cut off at the minimum: f = max(m, P/2 (1 + cos(pi r q))).

    The text of Gupta et al. 2023 (arXiv 2308.04014) has a cosine that arrives at its minimum; GPT-NeoX's code of that
    date aimed at zero and was clamped. `cosine` is the modern form.

    Args:
        max_lr: P, the value at the start, >= 0.
        min_lr: m, the clamp from below, >= 0.
        length: Counts of the piece, a whole number >= 0.
        fraction: q, the part of the half cosine that the piece travels, in (0, 1]; default 1.
        units: "steps" (default) or "tokens".

    Returns:
        A Schedule of one segment.

    Raises:
        InvalidArgument: An argument is not accepted.
    """
    lo = checked_number("legacy_cosine: min_lr", min_lr)
    return _one("legacy_cosine", units, length, max_lr, power=fraction, lo=lo)


def inverse_sqrt(from_value: float, to_value: float, length: int, *, tau: float = 10.0, units: str = "steps") -> Schedule:
    """The inverse-square-root cooldown: f = a + (b - a) g(r) / g(1) with g(u) = 1 / sqrt(1 + tau u) - 1.

    Source: Ibrahim et al. 2024, arXiv 2403.08763, infinite schedules; the authors' tau is 10.

    Args:
        from_value: a, the value at the start, >= 0.
        to_value: b, the value at `length` and afterwards, >= 0.
        length: Counts from a to b, a whole number >= 0.
        tau: Steepness at the start, >= 0.01 (below that it is a straight line); default 10.
        units: "steps" (default) or "tokens".

    Returns:
        A Schedule of one segment.

    Raises:
        InvalidArgument: An argument is not accepted.
    """
    return _one("inverse_sqrt", units, length, from_value, to_value, power=tau)


def one_minus_sqrt(from_value: float, to_value: float, length: int, *, units: str = "steps") -> Schedule:
    """The 1-sqrt cooldown: f = b + (a - b) (1 - sqrt(r)).

    Source: Hägele et al. 2024, arXiv 2405.18392.

    Args:
        from_value: a, the value at the start, >= 0.
        to_value: b, the value at `length` and afterwards, >= 0.
        length: Counts from a to b, a whole number >= 0.
        units: "steps" (default) or "tokens".

    Returns:
        A Schedule of one segment.

    Raises:
        InvalidArgument: An argument is not accepted.
    """
    return _one("one_minus_sqrt", units, length, from_value, to_value)


def polynomial(from_value: float, to_value: float, length: int, *, power: float, units: str = "steps") -> Schedule:
    """A power of the remaining fraction: f = b + (a - b) (1 - r)^p.

    Args:
        from_value: a, the value at the start, >= 0.
        to_value: b, the value at `length` and afterwards, >= 0.
        length: Counts from a to b, a whole number >= 0.
        power: p > 0; 1 is `linear` up to rounding.
        units: "steps" (default) or "tokens".

    Returns:
        A Schedule of one segment.

    Raises:
        InvalidArgument: An argument is not accepted.
    """
    return _one("polynomial", units, length, from_value, to_value, power=power)


def exponential(from_value: float, to_value: float, length: int, *, units: str = "steps") -> Schedule:
    """A constant factor per count: f = a (b / a)^r. The annealing of infinite schedules.

    Source: Ibrahim et al. 2024, arXiv 2403.08763; also the decay of MiniCPM, arXiv 2404.06395.

    Args:
        from_value: a, the value at the start, > 0.
        to_value: b, the value at `length` and afterwards, > 0.
        length: Counts from a to b, a whole number >= 0.
        units: "steps" (default) or "tokens".

    Returns:
        A Schedule of one segment.

    Raises:
        InvalidArgument: An argument is not accepted.
    """
    return _one("exponential", units, length, from_value, to_value)
