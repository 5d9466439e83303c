"""The slow obvious schedule, float64 and standard library only: the law that schedule.h and its Triton twin obey.

It reads the plain data of ``Schedule.to_dict()``, so it also bears witness to packing and layout.
"""

from __future__ import annotations

import itertools
import math
from typing import Any


def value(schedule: dict[str, Any], t: int) -> float:
    """The value of a schedule when `t` updates were applied, or `t` tokens consumed.

    Args:
        schedule: What ``Schedule.to_dict()`` returns; only ``schedule["segments"]`` is read.
        t: Counter, >= 0.

    Returns:
        The value; after the end, the last one.
    """
    start = 0
    pieces = schedule["segments"]
    for piece in pieces[:-1]:
        length = piece["knots"][-1][0] if piece["kind"] == "table" else piece["length"]
        if t < start + length:
            return piece_value(piece, t - start)
        start += length
    return piece_value(pieces[-1], t - start)


def piece_value(piece: dict[str, Any], x: int) -> float:
    """The value of one piece `x` counts after its own start, clamped from below by ``piece["lo"]``."""
    unclamped = shape_value(piece, x)
    return unclamped if piece["lo"] is None else max(unclamped, piece["lo"])


def shape_value(piece: dict[str, Any], x: int) -> float:
    """The formula of the piece's kind, with r = x / length running from 0 to 1."""
    kind = piece["kind"]
    if kind == "table":
        return table_value(piece["knots"], x)
    a = piece["from"]
    if kind == "constant":
        return float(a)

    if kind == "power":
        passed = piece["offset"] + (x if piece["length"] is None else min(x, piece["length"]))
        return float(a if passed <= piece["until"] else a * (passed / piece["until"]) ** piece["exponent"])

    r = x / piece["length"] if x < piece["length"] else 1.0
    if kind == "legacy_cosine":
        return float(a / 2 * (1 + math.cos(math.pi * (r * piece["power"]))))

    b = piece["to"]
    if kind == "cosine_tail" and r < 1.0:
        travelled = (x + piece["offset"]) / (piece["length"] + piece["offset"])
        return float(b + (a - b) * ((1 + math.cos(math.pi * travelled)) / 2))
    if r == 0.0:
        return float(a)
    if r == 1.0:
        return float(b)
    if kind == "harmonic":
        return float(1 / ((1 - r) / a + r / b))
    if kind == "halving":
        return float(b + (a - b) * (2 * 0.5**r - 1))
    if kind == "linear":
        return float(a + (b - a) * r)
    if kind == "cosine":
        return float(b + (a - b) * ((1 + math.cos(math.pi * r)) / 2))
    if kind == "inverse_sqrt":
        tau = piece["power"]
        return float(a + (b - a) * ((1 / math.sqrt(1 + tau * r) - 1) / (1 / math.sqrt(1 + tau) - 1)))
    if kind == "one_minus_sqrt":
        return float(b + (a - b) * (1 - math.sqrt(r)))
    if kind == "polynomial":
        return float(b + (a - b) * (1 - r) ** piece["power"])
    if kind == "exponential":
        return float(a * (b / a) ** r)
    raise ValueError(f"kind: expected one of the kinds of schedule.h, got {kind!r}")


def table_value(knots: list[list[float]], x: int) -> float:
    """Straight lines between knots [at, value], the last value held."""
    for (at, value), (next_at, next_value) in itertools.pairwise(knots):
        if x < next_at:
            return float(value + (next_value - value) * ((x - at) / (next_at - at)))
    return float(knots[-1][1])
