"""The single pieces a schedule is joined from.

In the formulas r runs from 0 to 1 over the piece, a is ``from_value`` and b is ``to_value``. Shapes follow Hägele et
al. 2024 (arXiv 2405.18392), Ibrahim et al. 2024 (arXiv 2403.08763) and, for the legacy cosine, the code of Gupta et al.
2023 (arXiv 2308.04014).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rewarm.errors import InvalidArgument
from rewarm.schedule.schedule import Schedule
from rewarm.schedule.segment import Segment, checked_knots, checked_number, checked_units


def _one(kind: str, units: str, length: int | None, a: float, b: float | None = None, **rest: Any) -> Schedule:
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


def power(
    max_lr: float,
    length: int | None = None,
    *,
    exponent: float,
    until: float | None = None,
    coefficient: float | None = None,
    offset: int = 0,
    units: str = "steps",
) -> Schedule:
    """A power of the counter with a ceiling: f = min(P, c n^q) with n = t + offset, also written P min(1, (n / u)^q).

    Exactly one of u and c is given: c is P u^-q. With q = -0.5 this is the inverse square root of Vaswani et al. 2017
    (arXiv 1706.03762, section 5.3). Source: the power scheduler, Shen et al. 2024, arXiv 2408.13359.

    Args:
        max_lr: P, the ceiling, >= 0 (> 0 with `coefficient`).
        length: Counts of the piece; None (default) has no end, and nothing can be joined behind it.
        exponent: q, < 0.
        until: u, the count up to which the ceiling holds, offset included; > 0.
        coefficient: c, > 0.
        offset: Counts that passed before the piece, such as a warm-up; a whole number >= 0, default 0.
        units: "steps" (default) or "tokens".

    Returns:
        A Schedule of one segment.

    Raises:
        InvalidArgument: An argument is not accepted, or the ceiling and the coefficient meet outside float64.
    """
    if (until is None) == (coefficient is None):
        raise InvalidArgument("power: expected exactly one of until and coefficient")
    if coefficient is None:
        return _one("power", units, length, max_lr, power=exponent, until=until, offset=offset)
    ceiling = _one("power", units, length, max_lr, power=exponent, until=1.0, offset=offset).segments[0]
    coefficient = checked_number("power: coefficient", coefficient, accepts="a finite number > 0", positive=True)
    peak = checked_number("power: max_lr", max_lr, accepts="a finite number > 0 with coefficient", positive=True)
    try:
        until = (peak / coefficient) ** (1.0 / (ceiling.power or -1.0))
    except (OverflowError, ZeroDivisionError):
        until = 0.0
    accepts = f"(max_lr / coefficient)^(1 / exponent) to be a float64 > 0, with {peak!r} / {coefficient!r} and {exponent!r}"
    return _one(
        "power",
        units,
        length,
        peak,
        power=exponent,
        offset=offset,
        until=checked_number("power", until, accepts=accepts, positive=True),
    )


def table(knots: Sequence[tuple[int, float]], *, units: str = "steps") -> Schedule:
    """Straight lines between given points.

    Args:
        knots: Pairs (at, value), from 2 to 4,096: `at` a whole number that starts at 0 and rises strictly, the value >= 0.
            An array of shape [n, 2] is fine. The last value is held.
        units: "steps" (default) or "tokens".

    Returns:
        A Schedule of one segment, as long as its last knot.

    Raises:
        InvalidArgument: An argument is not accepted; the message names the knot.
    """
    return _one("table", units, 0, 0.0, knots=checked_knots("table", knots))


def harmonic(from_value: float, to_value: float, length: int, *, units: str = "steps") -> Schedule:
    """One over a straight line: f = 1 / ((1 - r) / a + r / b). The decay of WSD in lingua.

    Source: Wen et al. 2024, arXiv 2410.05192, as implemented in facebookresearch/lingua.

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
    return _one("harmonic", units, length, from_value, to_value)


def halving(from_value: float, to_value: float, length: int, *, units: str = "steps") -> Schedule:
    """Half a life, stretched to arrive: f = b + (a - b) (2 * 0.5^r - 1). What Megatron-LM's WSD decay calls exponential.

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
    return _one("halving", units, length, from_value, to_value)


def cosine_tail(max_lr: float, to_value: float, length: int, *, offset: int, units: str = "steps") -> Schedule:
    """The rest of half a cosine: f = b + (P - b) (1 + cos(pi (t + s) / (length + s))) / 2.

    A warm-up that overlaps the cosine (timm's default) leaves such a rest; `cosine` is the case s = 0.

    Args:
        max_lr: P, the value `offset` counts before the start, >= 0.
        to_value: b, the value at `length` and afterwards, >= 0.
        length: Counts from the start to b, a whole number >= 0.
        offset: s, the counts of the half cosine that had passed before the start, a whole number >= 0.
        units: "steps" (default) or "tokens".

    Returns:
        A Schedule of one segment.

    Raises:
        InvalidArgument: An argument is not accepted.
    """
    return _one("cosine_tail", units, length, max_lr, to_value, offset=offset)
