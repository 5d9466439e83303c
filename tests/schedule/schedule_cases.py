"""Schedules of every kind in steps and tokens, the counters worth probing, and how far two evaluations may differ."""

import math
import sys

from rewarm.schedule import (
    Schedule,
    constant,
    cosine,
    cosine_tail,
    exponential,
    halving,
    harmonic,
    infinite,
    inverse_sqrt,
    join,
    legacy_cosine,
    linear,
    linear_to_zero,
    one_minus_sqrt,
    polynomial,
    power,
    presets,
    table,
    warmup_cosine,
    wsd,
)

TRILLION = 10**12


def _cases(units: str, n: int) -> dict[str, Schedule]:
    """Every kind and every ready-made schedule with lengths that are multiples of `n`."""
    u = {"units": units}
    cases = {
        "constant": constant(0.1, **u),
        "constant_then": join(constant(0.1, n, **u), constant(0.2, 3 * n, **u)),
        "linear_up": linear(0.0, 3e-4, n, **u),
        "linear_down": linear(3e-4, 7e-5, n, **u),
        "cosine": cosine(3e-4, 3e-5, 7 * n, **u),
        "cosine_up": cosine(3e-5, 3e-4, 7 * n, **u),
        "legacy_cosine": legacy_cosine(3e-4, 3e-5, 7 * n, **u),
        "legacy_cosine_part": legacy_cosine(3e-4, 0.0, 7 * n, fraction=0.37, **u),
        "inverse_sqrt": inverse_sqrt(3e-4, 3e-5, 7 * n, **u),
        "inverse_sqrt_flat": inverse_sqrt(3e-4, 3e-5, 7 * n, tau=0.01, **u),
        "one_minus_sqrt": one_minus_sqrt(3e-4, 3e-5, 7 * n, **u),
        "polynomial": polynomial(3e-4, 3e-5, 7 * n, power=2.5, **u),
        "polynomial_root": polynomial(3e-5, 3e-4, 7 * n, power=0.25, **u),
        "exponential": exponential(1.65e-4, 3e-5, 7 * n, **u),
        "exponential_up": exponential(1e-9, 1.0, 7 * n, **u),
        "exponential_flat": exponential(1e-3, 1e-3, 7 * n, **u),
        "power": power(3e-4, exponent=-0.51, until=2 * n, **u),
        "power_ends": join(linear(0.0, 3e-4, n, **u), power(3e-4, 9 * n, exponent=-0.5, until=n, offset=n, **u)),
        "power_rule": power(3e-4, 9 * n, exponent=-1.7, coefficient=0.5 * 3e-4 * (3.0 * n) ** 1.7, **u),
        "table": table([(0, 0.0), (n, 3e-4), (3 * n, 1e-4), (3 * n + 1, 2e-4), (7 * n, 2e-5)], **u),
        "tables": join(table([(0, 0.1), (n, 0.2)], **u), constant(0.3, n, **u), table([(0, 0.3), (1, 0.4), (n, 0.0)], **u)),
        "table_long": table([(i * n, (i * 7 % 11) / 11) for i in range(18)], **u),
        "harmonic": harmonic(3e-4, 3e-5, 7 * n, **u),
        "halving": halving(3e-4, 3e-5, 7 * n, **u),
        "cosine_tail": cosine_tail(3e-4, 3e-5, 7 * n, offset=3 * n + 1, **u),
        "cosine_tail_all": cosine_tail(3e-4, 3e-5, 7 * n, offset=0, **u),
        "length_1": join(linear(0.0, 1.0, 1, **u), cosine(1.0, 0.1, 1, **u), exponential(0.1, 0.01, 1, **u)),
        "length_0_last": join(linear(0.0, 1.0, n, **u), cosine(1.0, 0.1, 0, **u)),
        "warmup_cosine": warmup_cosine(3e-4, 3e-5, n, 99 * n, **u),
        "no_warmup": warmup_cosine(3e-4, 3e-5, 0, 99 * n, **u),
        "linear_to_zero": linear_to_zero(3e-4, n, 9 * n, **u),
        "infinite_open": infinite(3e-4, 1.65e-4, 3e-5, n, 60 * n, **u),
        "gupta2023_clamped": presets.gupta2023(3e-4, 100 * n, **u),
        "gupta2023_modern": presets.gupta2023(3e-4, 100 * n, form="modern", **u),
        "floored": warmup_cosine(3e-4, 0.0, n, 99 * n, **u).floor(1e-5),
        "scaled": warmup_cosine(3e-4, 3e-5, n, 99 * n, **u).scale(0.3),
    }
    for shape in ("one_minus_sqrt", "linear", "cosine", "inverse_sqrt", "exponential"):
        cases[f"wsd_{shape}"] = wsd(1e-3, 1e-5, n, 5 * n, 2 * n, shape=shape, **u)
    for shape in ("cosine", "linear", "inverse_sqrt"):
        cases[f"infinite_{shape}"] = infinite(3e-4, 1.65e-4, 3e-5, n, 60 * n, 25 * n, 14 * n, cooldown_shape=shape, **u)
    return cases


# 101 is odd and no power of two, so r is seldom exact; tokens end beyond 15e12.
CASES = {f"{name}-steps": case for name, case in _cases("steps", 101).items()}
CASES |= {f"{name}-tokens": case for name, case in _cases("tokens", 151 * TRILLION // 1000).items()}

# Made of +, -, *, / and sqrt only, which IEEE 754 rounds one way: every spelling must give the same bits.
SAME_BITS = {"constant", "linear", "one_minus_sqrt", "inverse_sqrt", "table", "harmonic"}


def probes(schedule: Schedule) -> list[int]:
    """0, 1, every joint and the end -1/0/+1, points inside every segment, and far past the end."""
    counts = {0, 1, 2, 2**62, 2**63 - 1}
    for segment in schedule.segments:
        stop = segment.start + 1000 if segment.stop is None else segment.stop
        counts |= {count + d for count in (segment.start, stop) for d in (-1, 0, 1)}
        counts |= {segment.start + (stop - segment.start) * i // 13 for i in range(13)}
        counts |= {segment.start + at + d for at, _ in segment.knots or () for d in (-1, 0, 1)}
        if segment.until is not None:
            counts |= {segment.start + int(segment.until) - segment.offset + d for d in (-1, 0, 1, 2)}
    return sorted(count for count in counts if 0 <= count < 2**63)


def bound(schedule: Schedule) -> float:
    """How far two float64 evaluations may lie apart.

    Eight roundings at the size of the largest end value cover the direct formulas. An exponential adds the error of its
    exponent, log2(b / a) times one rounding of a result no larger than the larger end; g(r) / g(1) divides differences
    from 1 by g(1), about tau / 2, and so adds 4 / tau roundings. Knots lie between the largest and the smallest.
    """
    roundings = 8.0
    for segment in schedule.segments:
        if segment.kind == "exponential":
            roundings = max(roundings, 8.0 + abs(math.log2(segment.to_value / segment.from_value)))
        if segment.kind == "inverse_sqrt":
            roundings = max(roundings, 8.0 + 4.0 / segment.power)
        if segment.kind == "power":
            # Likewise: the exponent is q log2(n / until), and n is below 2**64.
            roundings = max(roundings, 8.0 + abs(segment.power) * max(0.0, 64.0 - math.log2(segment.until)))
    largest = max(max(s.from_value, s.to_value, *[v for _, v in s.knots or ()]) for s in schedule.segments)
    return roundings * sys.float_info.epsilon * largest


def same_bits(schedule: Schedule) -> bool:
    """Whether all spellings of this schedule must agree to the bit."""
    return {segment.kind for segment in schedule.segments} <= SAME_BITS
