"""Spearman's rank correlation of the minutes' means (Fig. 12)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewarm.errors import BackendUnavailable
from rewarm.trace.load import COSTS, ColdStarts, all_days
from rewarm.trace.measured import Measured, clean

Array = NDArray[Any]
TOTAL, ALLOC, CODE, DEP, SCHED = COSTS
VARIABLES = (TOTAL, CODE, DEP, SCHED, ALLOC, "cold starts")


def minute_means(cold: ColdStarts) -> dict[str, Array]:
    """The mean of each cost over the cold starts of a minute and their number, over the minutes that have one.

    A missing layer counts with its 0 s. A minute without a cold start has no mean and is left out, of the count as well.
    """
    minute = (cold.time // 60).astype(np.int64)
    whole = ~np.isnan(np.stack([cold.costs[column] for column in COSTS])).any(0)
    places, index = np.unique(minute[whole], return_inverse=True)
    counts = np.bincount(index, minlength=len(places)).astype(float)
    means = {column: np.bincount(index, cold.costs[column][whole], minlength=len(places)) / counts for column in COSTS}
    return {**means, "cold starts": counts}


def spearman(cold: ColdStarts, out: Measured) -> None:
    """All pairs of the five means and the count."""
    try:
        from scipy import stats
    except ImportError as error:
        raise BackendUnavailable(f'Spearman needs scipy ({error}); install it with: pip install "rewarm[trace]"') from error
    region, complete = cold.region, all_days(cold.days)
    means = minute_means(cold)
    table = np.stack([means[name] for name in VARIABLES])
    n = table.shape[1]
    if n < 3:
        out.without("fig12", region, f"needs at least 3 minutes with a cold start, got {n}")
        return
    size = len(VARIABLES)
    rho, p = np.full((size, size), np.nan), np.full((size, size), np.nan)
    varies = [bool(np.ptp(row) > 0) for row in table]
    for i in range(size):
        for j in range(i + 1, size):
            # A constant has no ranks to correlate.
            if varies[i] and varies[j]:
                found = stats.spearmanr(table[i], table[j])
                rho[i, j], p[i, j] = float(found.statistic), float(found.pvalue)
            note = f"{n:,} minutes, p = {p[i, j]:.2g}" if varies[i] and varies[j] else "one of the two does not vary"
            out.add(
                "correlation", VARIABLES[i], "Spearman", region, rho[i, j], group=VARIABLES[j], complete=complete, note=note
            )
    out.draw(
        "fig12",
        region,
        {"rho": [[clean(x) for x in row] for row in rho], "p": [[clean(x) for x in row] for row in p], "minutes": n},
    )
