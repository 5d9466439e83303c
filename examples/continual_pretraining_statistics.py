"""Paired differences over seeds: Student's t, Holm's correction, equivalence. All arms of a seed read the same tokens."""

import math
from dataclasses import dataclass

LEVEL = 0.95  # of every one-sided bound; two-sided intervals shown have 90 %, so that their ends are these bounds


@dataclass
class Row:
    """One paired difference: its mean over seeds, 90 % interval, one-sided p-value of mean <= threshold, and its seeds."""

    label: str
    mean: float
    low: float
    high: float
    p: float
    threshold: float
    seeds: list[float]
    p_holm: float | None = None

    def __str__(self) -> str:
        return f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


def paired(label: str, differences: list[float], threshold: float = 0.0) -> Row:
    """Student's t on differences within seeds, against a threshold; needs two seeds.

    Seeds without any spread are taken at their word: the bounds fall on the mean.
    """
    from scipy import stats

    n = len(differences)
    mean = math.fsum(differences) / n
    error = math.sqrt(math.fsum((d - mean) ** 2 for d in differences) / (n - 1) / n)
    reach = float(stats.t.ppf(LEVEL, n - 1)) * error
    p = float(stats.t.sf((mean - threshold) / error, n - 1)) if error else float(mean <= threshold)
    return Row(label, mean, mean - reach, mean + reach, p, threshold, differences)


def holm(rows: list[Row]) -> None:
    """Fills in p-values corrected for the number of rows (Holm 1979)."""
    running = 0.0
    for rank, row in enumerate(sorted(rows, key=lambda row: row.p)):
        running = max(running, min(1.0, (len(rows) - rank) * row.p))
        row.p_holm = running


def equivalent(row: Row, margin: float) -> bool:
    """Two one-sided tests (Schuirmann 1987): the 90 % interval lies inside +-margin."""
    return -margin < row.low and row.high < margin


def judged(rows: list[Row]) -> str:
    """Of a conjunction: accepted when every row is above its threshold, rejected when some row is surely below."""
    if all((row.p if row.p_holm is None else row.p_holm) < 1 - LEVEL for row in rows):
        return "accepted"
    return "rejected" if any(row.high < row.threshold for row in rows) else "open"
