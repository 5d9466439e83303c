"""One pass over the request table, which the release has for day 30: rows, extremes, pods, means by minute."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewarm.trace.lifetimes import END, LAST_DAY, Pods, utility
from rewarm.trace.load import ColdStarts, Trace, floats, integers, pod_key
from rewarm.trace.measured import Measured
from rewarm.trace.users import execution

Array = NDArray[Any]
MINUTE_BITS = 17
POD_BITS = 49
WAIT = 1_000_000


class Numbering:
    """Numbers int64 keys 0, 1, 2, … in the order in which they are first seen."""

    def __init__(self) -> None:
        self.codes: dict[int, int] = {}

    def of(self, keys: Array) -> Array:
        """The number of each key."""
        unique, index = np.unique(keys, return_inverse=True)
        codes = np.array([self.codes.setdefault(key, len(self.codes)) for key in unique.tolist()], np.int64)
        numbers: Array = codes[index]
        return numbers


class Distinct:
    """The distinct int64 values of many batches."""

    def __init__(self) -> None:
        self._held = np.zeros(0, np.int64)
        self._waiting: list[Array] = []
        self._rows = 0

    def see(self, values: Array) -> None:
        """Takes a batch."""
        self._waiting.append(np.unique(values))
        self._rows += len(self._waiting[-1])
        # A merge sorts all that is held, so it waits until as much again has come in.
        if self._rows > max(WAIT, len(self._held)):
            self.values()

    def values(self) -> Array:
        """All of them, sorted."""
        self._held = np.unique(np.concatenate([self._held, *self._waiting]))
        self._waiting, self._rows = [], 0
        return self._held


class MinuteMeans:
    """Means over the rows of each key, added up batch by batch; rows may come in any order."""

    def __init__(self) -> None:
        self._held: tuple[Array, Array, Array] = (np.zeros(0, np.int64), np.zeros(0), np.zeros(0))
        self._waiting: list[tuple[Array, Array, Array]] = []
        self._rows = 0

    def see(self, key: Array, value: Array) -> None:
        """Takes a batch; NaN values do not count."""
        good = ~np.isnan(value)
        if not good.any():
            return
        keys, index = np.unique(key[good], return_inverse=True)
        self._waiting.append((keys, np.bincount(index, value[good]), np.bincount(index).astype(float)))
        self._rows += len(keys)
        if self._rows > max(WAIT, len(self._held[0])):
            self._merge()

    def _merge(self) -> None:
        parts = [self._held, *self._waiting]
        self._waiting, self._rows = [], 0
        keys, index = np.unique(np.concatenate([part[0] for part in parts]), return_inverse=True)
        total, rows = (np.bincount(index, np.concatenate([part[i] for part in parts]), minlength=len(keys)) for i in (1, 2))
        self._held = keys, total, rows

    def means(self) -> Array:
        """One mean for every key."""
        self._merge()
        means: Array = self._held[1] / self._held[2]
        return means


def request_day(trace: Trace, region: str, cold: ColdStarts | None, out: Measured, *, need: dict[str, tuple[str, str]]) -> None:
    """Streams a region's requests once and adds what they say.

    Args:
        trace: Where they are.
        region: Region.
        cold: Its cold starts, for the pods of day 30; None leaves the utility ratio out.
        out: Takes the numbers.
        need: Column -> (figure, quantity) that must come from here because its minute table is missing.
    """
    pods, functions, pairs = Pods.of(cold), Numbering(), Distinct()
    means = {column: MinuteMeans() for column in need}
    rows, low, high = 0, np.inf, -np.inf
    hours: set[int] = set()
    columns = ["time_worker", "totalCost_worker", "funcName", "userID", "poolName", "pod_serial", *need]
    for batch in trace.batches("request", region, columns):
        time, total = floats(batch["time_worker"]), floats(batch["totalCost_worker"])
        pool = trace.pools.codes(batch["poolName"])
        pod = pod_key(pool, integers(batch["pod_serial"]))
        function = functions.of(integers(batch["funcName"]) << 39 | integers(batch["userID"]) << 15 | (pool & 0x7FFF))
        rows += len(time)
        if not np.isnan(total).all():
            low, high = min(low, float(np.nanmin(total))), max(high, float(np.nanmax(total)))
        stamped = ~np.isnan(time)
        hours |= set(np.unique(time[stamped] // 3600).astype(int).tolist())
        pods.see(pod, time - total, time)
        pairs.see((function << POD_BITS | pod)[pod >= 0])
        place = function << MINUTE_BITS | np.where(stamped, time // 60, 0).astype(np.int64)
        for column, gathered in means.items():
            gathered.see(place[stamped], floats(batch[column])[stamped])
    of_day_30 = set(range(LAST_DAY * 24, int(END) // 3600))
    complete = hours >= of_day_30
    note = "" if complete else f"{len(hours & of_day_30)} of the 24 hours of day 30 have a request"
    _sizes(region, rows, low, high, pairs.values() >> POD_BITS, complete, note, out)
    for column, (figure, quantity) in need.items():
        values = means[column].means()
        execution(
            region, figure, quantity, "cores" if column == "cpu_usage" else "s", values, False, f"{column} of day 30 only", out
        )
    if cold is not None and len(pods.key):
        utility(pods, cold, complete, out)
    elif cold is not None:
        out.without("utility", region, "needs cold starts on day 30, the day of the request table")


def _sizes(
    region: str, rows: int, low: float, high: float, function_of_pod: Array, complete: bool, note: str, out: Measured
) -> None:
    out.add("sizes", "request rows, day 30", "count", region, rows, complete=complete, note=note)
    if rows and np.isfinite(low):
        for statistic, value in (("min", low), ("max", high)):
            out.add("sizes", "totalCost_worker, day 30", statistic, region, value, unit="s", complete=complete, note=note)
    _, pods = np.unique(function_of_pod, return_counts=True)
    out.add("sizes", "functions with requests on day 30", "count", region, len(pods), complete=complete, note=note)
    if not len(pods):
        return
    quantity = "pods per function, day 30"
    out.add("sizes", quantity, "mean", region, pods.mean(), complete=complete, note=note)
    # The notebook's number is pandas' describe(), whose deviation divides by n - 1.
    out.add("sizes", quantity, "sd", region, pods.std(ddof=1) if len(pods) > 1 else np.nan, complete=complete, note=note)
    out.add("sizes", quantity, "min", region, pods.min(), complete=complete, note=note)
    out.add_quantiles("sizes", quantity, region, np.sort(pods), (25, 50, 75), complete=complete, note=note)
    out.add("sizes", quantity, "max", region, pods.max(), complete=complete, note=note)
