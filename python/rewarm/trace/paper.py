"""The published numbers of Joosen et al. (EuroSys 2025), and whether a measured one agrees.

The numbers themselves stand in paper_numbers.py. A published number is kept as it was written, because its digits say how much
it claims.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Literal

from rewarm.trace import paper_numbers

Verdict = Literal["agree", "differ", "ambiguous", "partial"]
Key = tuple[str, str, str, str, str]

# kind -> (absolute, relative) distance that still agrees. Counts are exact. A reading is a count from the coordinates of a
# curve in the paper's figures, which can be trusted that far.
TOLERANCE: dict[str, tuple[float, float]] = {
    "count": (0.0, 0.0),
    "share": (0.005, 0.0),
    "quantile": (0.0, 0.03),
    "mean": (0.0, 0.03),
    "fit": (0.0, 0.05),
    "spearman": (0.05, 0.0),
    "reading": (0.0, 0.02),
    # The mean that marks a peak is over an hour, and the figure is read to a tenth of one.
    "hour": (0.5, 0.0),
    "below": (0.0, 0.0),
    "above": (0.0, 0.0),
}
KIND_WORDS: dict[str, str] = {
    "count": "exact",
    "share": "± 0.005",
    "quantile": "± 3 %",
    "mean": "± 3 %",
    "fit": "± 5 %",
    "spearman": "± 0.05",
    "reading": "± 2 %",
    "hour": "± 0.5 h",
    "below": "less",
    "above": "more",
}
#: Quantities whose definition the paper leaves open: each statistic is one way to read it, all are compared with its number.
OPEN = ("hour of the daily peak", "peak-to-trough ratio")


@dataclass(frozen=True)
class Published:
    """One number of the paper.

    Attributes:
        section: Section of the report that measures it.
        quantity: What is measured, in the data's own words where it has them.
        group: Runtime, trigger group, size or pool class; "all" where the number is over everything.
        statistic: count, mean, p50, share, …
        region: R1 … R5, or "all" for the five pooled.
        text: The number as written, so that its last digit is known.
        kind: A key of `TOLERANCE`.
        source: Section, table or figure of the paper, or the authors' notebook or README.
    """

    section: str
    quantity: str
    group: str
    statistic: str
    region: str
    text: str
    kind: str
    source: str

    @property
    def key(self) -> Key:
        """What a measured number must be called to be compared with this one."""
        return self.section, self.quantity, self.group, self.statistic, self.region

    @property
    def value(self) -> float:
        """The number."""
        return float(self.text)

    @property
    def tolerance(self) -> float:
        """Largest distance that agrees: that of the kind, or half of the last written digit where that is more."""
        absolute, relative = TOLERANCE[self.kind]
        return max(absolute, relative * abs(self.value), last_digit(self.text) / 2)


def last_digit(text: str) -> float:
    """The worth of the last digit of a decimal number: 0.01 for "2.35", 1e5 for "2.1e6", 1 for "236"."""
    mantissa, _, exponent = text.lower().partition("e")
    return float(10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2])))


def agreement(value: float, published: Published, *, complete: bool = True) -> Verdict:
    """Whether a measured value agrees with the published one.

    Args:
        value: The measured number.
        published: What the paper says.
        complete: Whether the value was computed from all that the paper had: the whole region, days 0 to 30.

    Returns:
        "partial" unless complete; else "agree" where it is `near`, else "differ".
    """
    if not complete:
        return "partial"
    return "agree" if near(value, published) else "differ"


def near(value: float, published: Published) -> bool:
    """Whether a value is within `Published.tolerance`, or on the named side of a bound; NaN never is."""
    if published.kind in ("below", "above"):
        return value < published.value if published.kind == "below" else value > published.value
    distance = abs(value - published.value)
    if published.kind == "hour":  # around the clock
        distance = min(distance, 24.0 - distance)
    # A decimal difference that should be exactly the tolerance may come out a rounding above it.
    slack = 4.0 * math.ulp(max(abs(value), abs(published.value))) if math.isfinite(value) else 0.0
    return distance <= published.tolerance + slack


@functools.cache
def published() -> dict[Key, Published]:
    """All published numbers by their key."""
    found: dict[Key, Published] = {}
    for row in paper_numbers.rows():
        number = Published(*row)
        if number.kind not in TOLERANCE or number.key in found:
            raise ValueError(f"paper_numbers: a kind that does not exist or a number given twice: {number}")
        float(number.text)
        found[number.key] = number
    return found
