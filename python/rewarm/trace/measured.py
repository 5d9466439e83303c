"""What a report has found: numbers, the points of its figures, and why something could not be measured."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewarm.trace.histogram import quantile

Array = NDArray[Any]
CURVE_POINTS = 160


@dataclass(frozen=True)
class Number:
    """One measured number; its first five fields are the key under which the paper's number is found.

    Attributes:
        section: Section of the report.
        quantity: What is measured.
        group: Runtime, trigger group, size, pool class, day; "all" for no group.
        statistic: count, mean, p50, share, …
        region: R1 … R5; "all" for all regions pooled.
        value: The number; NaN where nothing was there to measure.
        unit: s, cores, …; empty for counts and shares.
        complete: Whether all that the paper had went into it.
        note: Why it is not complete, or what was counted apart.
    """

    section: str
    quantity: str
    group: str
    statistic: str
    region: str
    value: float
    unit: str
    complete: bool
    note: str


@dataclass
class Measured:
    """Collects numbers, figure points and reasons.

    Attributes:
        numbers: In the order in which they were measured.
        series: Figure id -> what it draws, by region or group; plain lists and numbers.
        absent: Section or figure id -> region -> why it could not be measured.
        notes: Section -> remarks with counts: what was dropped or counted apart.
    """

    numbers: list[Number] = field(default_factory=list)
    series: dict[str, dict[str, Any]] = field(default_factory=dict)
    absent: dict[str, dict[str, str]] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)

    def add(
        self,
        section: str,
        quantity: str,
        statistic: str,
        region: str,
        value: float,
        *,
        group: str = "all",
        unit: str = "",
        complete: bool = True,
        note: str = "",
    ) -> None:
        """Adds one number."""
        self.numbers.append(Number(section, quantity, group, statistic, region, float(value), unit, complete, note))

    def add_quantiles(
        self,
        section: str,
        quantity: str,
        region: str,
        ordered: Array,
        percents: Iterable[float],
        *,
        group: str = "all",
        unit: str = "",
        complete: bool = True,
        note: str = "",
    ) -> None:
        """Adds lower quantiles of sorted values as p5, p50 and so on."""
        for percent in percents:
            value = quantile(ordered, percent / 100)
            self.add(section, quantity, f"p{percent:g}", region, value, group=group, unit=unit, complete=complete, note=note)

    def draw(self, figure: str, name: str, points: Any) -> None:
        """Adds what a figure shows for one region or group."""
        self.series.setdefault(figure, {})[name] = points

    def without(self, figure: str, region: str, reason: str) -> None:
        """Says why a figure or section has nothing for a region."""
        self.absent.setdefault(figure, {})[region] = reason

    def remark(self, section: str, text: str) -> None:
        """Adds a remark under a section."""
        self.notes.setdefault(section, []).append(text)


def curve(ordered: Array, *, floor: float = 0.0, points: int = CURVE_POINTS) -> dict[str, list[float]]:
    """The empirical distribution function of sorted values at up to `points` places spread evenly over log x.

    Args:
        ordered: Sorted, finite.
        floor: Where the drawn axis begins; smaller values count, but have no place of their own. 0 = the smallest value > 0.
        points: Places.

    Returns:
        {"x": places, "y": share of the values <= x}.
    """
    positive = ordered[np.searchsorted(ordered, 0.0, side="right") :]
    if not len(positive):
        return {"x": [], "y": []}
    low, high = max(float(positive[0]), floor), float(positive[-1])
    places = np.geomspace(low, high, points) if high > low else np.array([low])
    # The last place must not fall below the largest value by a rounding, or the curve would not reach 1.
    places[-1] = max(high, low)
    share = np.searchsorted(ordered, places, side="right") / len(ordered)
    keep = np.concatenate([[True], np.diff(share) > 0])
    # A flat stretch needs both of its ends.
    keep[:-1] |= keep[1:]
    keep[-1] = True
    return {"x": rounded(places[keep]), "y": rounded(share[keep])}


def rounded(values: Any, digits: int = 6) -> list[float]:
    """As Python floats with `digits` significant digits, NaN as None: what a figure can show."""
    return [clean(value, digits) for value in np.asarray(values, np.float64).ravel()]


def clean(value: float, digits: int = 6) -> Any:
    """One number with `digits` significant digits; None for NaN and infinity, which JSON does not have."""
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None


def ordered(values: Array) -> Array:
    """Sorted, without NaN."""
    return np.sort(values[~np.isnan(values)])
