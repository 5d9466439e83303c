"""Schedules as data: pure functions of an int64 counter of steps or tokens. Needs numpy only.

``docs/schedule.md`` has the formulas and the conventions at the edges.
"""

from rewarm.schedule import presets
from rewarm.schedule.difference import Difference, diff
from rewarm.schedule.pieces import (
    constant,
    cosine,
    cosine_tail,
    exponential,
    halving,
    harmonic,
    inverse_sqrt,
    legacy_cosine,
    linear,
    one_minus_sqrt,
    polynomial,
    power,
    table,
)
from rewarm.schedule.ready_made import infinite, linear_to_zero, warmup_cosine, wsd
from rewarm.schedule.schedule import MAX_SEGMENTS, Schedule, join
from rewarm.schedule.segment import KNOT_DTYPE, MAX_KNOTS, SEGMENT_DTYPE, Segment

__all__ = [
    "KNOT_DTYPE",
    "MAX_KNOTS",
    "MAX_SEGMENTS",
    "SEGMENT_DTYPE",
    "Difference",
    "Schedule",
    "Segment",
    "constant",
    "cosine",
    "cosine_tail",
    "diff",
    "exponential",
    "halving",
    "harmonic",
    "infinite",
    "inverse_sqrt",
    "join",
    "legacy_cosine",
    "linear",
    "linear_to_zero",
    "one_minus_sqrt",
    "polynomial",
    "power",
    "presets",
    "table",
    "warmup_cosine",
    "wsd",
]
