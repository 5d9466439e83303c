"""What a figure hands to the page: drawings, and a legend that the page sets itself so that its region filter reaches it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rewarm.trace.canvas import DASHES, SERIES, SVG_DASHES, WORDS

Points = dict[str, Any]


@dataclass(frozen=True)
class Key:
    """An entry of a legend.

    Attributes:
        name: Its words.
        colour: A CSS colour.
        dash: SVG stroke-dasharray, empty for a solid line.
        region: The region it belongs to, where it does.
    """

    name: str
    colour: str
    dash: str = ""
    region: str = ""


@dataclass(frozen=True)
class Panel:
    """One drawing; `region` is empty where it shows several."""

    region: str
    svg: str


Drawing = tuple[list[Panel], list[Key]]


def region_style(region: str) -> tuple[str, Any, str]:
    """(colour, matplotlib dash, SVG dash) of a region: the same in every figure."""
    index = int(region[1:]) - 1 if region[1:].isdigit() else 5
    return SERIES[index % 10], DASHES[index % 5], SVG_DASHES[index % 5]


def region_keys(regions: list[str]) -> list[Key]:
    """The legend of figures with a curve a region."""
    return [Key(r, WORDS[region_style(r)[0]], region_style(r)[2], r) for r in regions]


def group_keys(names: list[str], *, dashed: bool = True) -> list[Key]:
    """The legend of figures with a curve a group."""
    return [Key(name, WORDS[SERIES[i % 10]], SVG_DASHES[i // 5 % 5] if dashed else "") for i, name in enumerate(names)]


def by_region(points: Points) -> dict[str, Points]:
    """Points called "R2 the rest" by their region, then the rest."""
    found: dict[str, Points] = {}
    for name, of in points.items():
        region, _, rest = name.partition(" ") if not name.startswith("unnamed region") else ("unnamed region", "", name[15:])
        found.setdefault(region, {})[rest] = of
    return found
