"""The schedules of papers, and other frameworks' curves, under the names by which people look for them."""

from rewarm.schedule.frameworks import FRAMEWORKS
from rewarm.schedule.match import match
from rewarm.schedule.open_ended import path_switch, power, singh2025, wsd_s
from rewarm.schedule.papers import (
    GUPTA2023_DECAY_FRAC,
    d2z,
    gupta2023,
    ibrahim2024_cosine,
    ibrahim2024_infinite,
    parmar2024,
)
from rewarm.schedule.ready_made import infinite, linear_to_zero, warmup_cosine, wsd

__all__ = [
    "FRAMEWORKS",
    "GUPTA2023_DECAY_FRAC",
    "d2z",
    "gupta2023",
    "ibrahim2024_cosine",
    "ibrahim2024_infinite",
    "infinite",
    "linear_to_zero",
    "match",
    "parmar2024",
    "path_switch",
    "power",
    "singh2025",
    "warmup_cosine",
    "wsd",
    "wsd_s",
]
