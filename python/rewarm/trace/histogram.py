"""Counts in the aggregate's buckets: 64 an octave, a bucket being the float64's bits without the last 46."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
SHIFT = 46


@dataclass(frozen=True)
class Histogram:
    """Counts of non-negative values in neighbouring buckets, empty ones left out.

    Attributes:
        lower: Lower edges, ascending, in the values' unit.  # [n]
        upper: Upper edges; a value equal to one belongs to the next bucket.  # [n]
        counts: Values of each bucket, > 0.  # [n]
    """

    lower: Array
    upper: Array
    counts: Array

    @property
    def total(self) -> int:
        """All values counted."""
        return int(self.counts.sum())

    def cumulative(self, edges: Array) -> Array:
        """Share of the values below each of `edges`, which must be edges of buckets."""
        before = np.concatenate([[0], np.cumsum(self.counts)])
        share: Array = before[np.searchsorted(self.upper, edges, side="right")] / self.total
        return share


def histogram(values: Array, *, first: float = 0.0) -> Histogram:
    """Counts `values` in the buckets; all below `first` share one, [0, first).

    Args:
        values: Finite, >= 0.  # [n]
        first: Upper edge of the first bucket; 0 for none. Zero itself needs `first` > 0, because no bucket of a logarithmic
        scale holds it.
    """
    values = np.ascontiguousarray(values, np.float64)
    below = int(np.count_nonzero(values < first))
    bits, counts = np.unique((values[values >= first] if below else values).view(np.int64) >> SHIFT, return_counts=True)
    lower = (bits << SHIFT).view(np.float64)
    upper = ((bits + 1) << SHIFT).view(np.float64)
    if first > 0.0:
        lower = np.maximum(lower, first)
    if below:
        lower, upper = np.concatenate([[0.0], lower]), np.concatenate([[first], upper])
        counts = np.concatenate([[below], counts])
    return Histogram(lower, upper, counts)


def quantile(ordered: Array, q: float) -> float:
    """The value of 0-based rank floor(q (n - 1)) of sorted values: the lower quantile. NaN where there are none."""
    return float(ordered[int(np.floor(q * (len(ordered) - 1)))]) if len(ordered) else float("nan")
