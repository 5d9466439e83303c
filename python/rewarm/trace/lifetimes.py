"""Useful lifetimes of pods against the cold starts that they cost (Fig. 17)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewarm.trace.histogram import quantile
from rewarm.trace.load import DAY, ColdStarts
from rewarm.trace.measured import Measured, curve

Array = NDArray[Any]
LAST_DAY = 30
KEEP_ALIVE = 60.0
END = 31 * DAY


@dataclass
class Pods:
    """First start and last completion of the pods whose cold start lies on day 30.

    Attributes:
        key: Sorted `pod_key`s.  # [n]
        cost: totalCost_cold_start of the pod's first cold start of the day.  # [n]
        function: Index into the cold starts' functions.  # [n]
        first: Smallest start of a request, inf before one was seen.  # [n]
        last: Largest completion, -inf before one was seen.  # [n]
    """

    key: Array
    cost: Array
    function: Array
    first: Array
    last: Array

    @staticmethod
    def of(cold: ColdStarts | None) -> Pods:
        """The pods to look for."""
        if cold is None:
            none = np.zeros(0)
            return Pods(none.astype(np.int64), none, none.astype(np.int32), none, none)
        begin, end = np.searchsorted(cold.time, (LAST_DAY * DAY, END))
        rows = np.arange(begin, end)[cold.pod[begin:end] >= 0]
        # unique returns the first of equal keys, and rows are sorted by time.
        key, place = np.unique(cold.pod[rows], return_index=True)
        rows = rows[place]
        n = len(key)
        return Pods(key, cold.costs["totalCost_cold_start"][rows], cold.function[rows], np.full(n, np.inf), np.full(n, -np.inf))

    def see(self, key: Array, start: Array, completion: Array) -> None:
        """Takes the requests of a batch; NaN times belong to no pod."""
        if not len(self.key):
            return
        place = np.minimum(np.searchsorted(self.key, key), len(self.key) - 1)
        good = (self.key[place] == key) & ~np.isnan(start) & ~np.isnan(completion)
        np.minimum.at(self.first, place[good], start[good])
        np.maximum.at(self.last, place[good], completion[good])


def utility(pods: Pods, cold: ColdStarts, complete: bool, out: Measured) -> None:
    """The useful lifetime of each pod over its cold-start time (Fig. 17).

    The useful lifetime ends with the last completion, because the 60 s of keep-alive that follow are not useful; a pod whose
    last completion lies in the last 60 s of the data may have lived on and is left out.
    """
    region = cold.region
    served = np.isfinite(pods.last)
    censored = served & (pods.last > END - KEEP_ALIVE)
    good = served & ~censored & (pods.cost > 0)
    for quantity, count in (
        ("pods with a cold start on day 30", len(pods.key)),
        ("of them without a request in the table", int(np.count_nonzero(~served))),
        ("of them censored by the end of the data", int(np.count_nonzero(censored))),
        ("of them in the ratio", int(np.count_nonzero(good))),
    ):
        out.add("utility", quantity, "count", region, count, complete=complete)
    ratio = (pods.last[good] - pods.first[good]) / pods.cost[good]
    function = pods.function[good]
    # The paper's curves are over 31 days; requests exist for one.
    note = "day 30 only, the paper has 31 days"
    _ratio(region, "all", ratio, ("fig17a", "fig17b"), note, out)
    for figure, word, labels in (("fig17a", "runtime", cold.functions.runtime), ("fig17b", "trigger", cold.functions.trigger)):
        for name in sorted({label for label in labels if label is not None}):
            of_group = ratio[labels[function] == name]
            if len(of_group):
                _ratio(region, f"unknown {word}" if name == "unknown" else name, of_group, (figure,), note, out)


def _ratio(region: str, group: str, values: Array, figures: tuple[str, ...], note: str, out: Measured) -> None:
    values = np.sort(values)
    out.add("utility", "pod utility ratio", "pods", region, len(values), group=group, complete=False, note=note)
    if not len(values):
        return
    for limit in (1, 10, 100):
        share = float(np.searchsorted(values, limit, side="right") / len(values))
        out.add("utility", "pod utility ratio", f"share <= {limit}", region, share, group=group, complete=False, note=note)
    out.add("utility", "pod utility ratio", "p50", region, quantile(values, 0.5), group=group, complete=False, note=note)
    for figure in figures:
        out.draw(figure, f"{region} {group}", curve(values, floor=1e-2))
