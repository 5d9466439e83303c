"""Group-by as one would write it on paper: whole numbers and sorted lists, no rewarm."""

from __future__ import annotations

import math
from fractions import Fraction

UNIT = 2**60


def fixed(x):
    """round(x * 2**60), ties to even, as a whole number."""
    return round(Fraction(x) * UNIT)


def groups(rows):
    """{key: (rows, [per value: ascending list of what is not null])} of rows (key tuple, value tuple)."""
    found = {}
    for key, values in rows:
        group = found.setdefault(key, (0, [[] for _ in values]))
        for known, x in zip(group[1], values, strict=True):
            if x is not None and x == x:
                known.append(x)
        found[key] = (group[0] + 1, group[1])
    for _, columns in found.values():
        for known in columns:
            known.sort()
    return found


def key_order(key):
    """Ascending, nulls last; text by its bytes."""
    return tuple((part is None, part.encode() if isinstance(part, str) else part or 0) for part in key)


def total(values):
    """The exact sum in units of 2**-60."""
    return sum(fixed(x) for x in values)


def mean(values):
    """The exact sum over the count, rounded once."""
    return float(Fraction(total(values), UNIT * len(values)))


def quantile(values, q):
    """The value at the 0-based rank floor(q (n - 1)) of an ascending list."""
    return values[math.floor(q * (len(values) - 1))]
