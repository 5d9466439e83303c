"""Cold starts and requests over time: days, hours, components, the daily pattern and the holiday (Fig. 5, 6, 7, 11)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewarm.trace.histogram import quantile
from rewarm.trace.load import COSTS, DAY, DAYS, ColdStarts, Minutes, all_days
from rewarm.trace.measured import Measured, clean, ordered, rounded
from rewarm.trace.paper_numbers import PEAK_READINGS, RATIO_READINGS

Array = NDArray[Any]
HOURS = DAYS * 24
MINUTES_A_DAY = 1440
WINDOW = 61
HOLIDAY = range(10, 26)
SHOWN_DAYS = 3
#: Requests on the median day from which a function counts among the paper's largest workloads, whose number is not given.
LARGE_WORKLOAD = 1_000_000


def components(cold: ColdStarts, out: Measured) -> None:
    """Cold starts per day and hour, and the mean of each component per hour (Fig. 11)."""
    region, complete = cold.region, all_days(cold.days)
    hour = np.minimum((cold.time // 3600).astype(np.int64), HOURS - 1)
    per_hour = np.bincount(hour, minlength=HOURS)
    per_day = per_hour.reshape(DAYS, 24).sum(1)
    for day in sorted(cold.days & set(range(DAYS))):
        # A day that is there is all there: each lies in a file of its own.
        out.add("components", "cold starts", "count", region, per_day[day], group=f"day {day}")
    present = np.repeat(np.isin(np.arange(DAYS), list(cold.days)), 24)
    counts = per_hour[present]
    for statistic, value in (("min", counts.min()), ("mean", counts.mean()), ("max", counts.max())):
        out.add("components", "cold starts per hour", statistic, region, value, complete=complete)
    means = {}
    for column in COSTS:
        values = cold.costs[column]
        good = ~np.isnan(values)
        sums = np.bincount(hour[good], values[good], minlength=HOURS)
        rows = np.bincount(hour[good], minlength=HOURS)
        with np.errstate(invalid="ignore"):
            means[column] = rounded(sums / rows, 4)
        mean = float(values[good].mean()) if good.any() else np.nan
        out.add("components", column, "mean", region, mean, unit="s", complete=complete)
    out.draw(
        "fig11",
        region,
        {"means": means, "count": [int(n) if there else None for n, there in zip(per_hour, present, strict=True)]},
    )
    if region == "R1" and 28 in cold.days:
        _day_28(cold, out)


def _day_28(cold: ColdStarts, out: Measured) -> None:
    """The one day of R1 whose quantiles are public as a whole."""
    begin, end = np.searchsorted(cold.time, (28 * DAY, 29 * DAY))
    out.add("components", "cold starts", "count", "R1", end - begin, group="day 28, file")
    for column in COSTS:
        values = ordered(cold.costs[column][begin:end])
        if not len(values):
            continue
        group = "day 28, file"
        out.add("components", column, "min", "R1", values[0], group=group, unit="s")
        out.add_quantiles("components", column, "R1", values, (10, 25, 50, 75, 90, 95, 99), group=group, unit="s")
        out.add("components", column, "max", "R1", values[-1], group=group, unit="s")
        out.add("components", column, "mean", "R1", values.mean(), group=group, unit="s")


def by_function(cells: Minutes) -> Iterator[tuple[int, Array, Array]]:
    """(function, minutes, values) of every function that has a cell, minutes ascending."""
    # Cells come by file, row, column: a stable sort by function leaves each function's minutes in order.
    order = np.argsort(cells.function, kind="stable")
    function = cells.function[order]
    starts = np.flatnonzero(np.concatenate([[True], np.diff(function) != 0])) if len(function) else np.zeros(0, np.int64)
    for begin, end in zip(starts, [*starts[1:], len(function)], strict=True):
        rows = order[begin:end]
        yield int(function[begin]), cells.minute[rows], cells.value[rows]


def centred_mean(values: Array, window: int = WINDOW) -> Array:
    """Means over `window` neighbours, only where all of them exist: window - 1 fewer than there are values."""
    if len(values) < window:
        return np.zeros(0)
    # Counts are whole numbers far below 2^53, so the running sum is exact.
    total = np.concatenate([[0.0], np.cumsum(values)])
    means: Array = (total[window:] - total[:-window]) / window
    return means


def runs(days: set[int]) -> list[tuple[int, int]]:
    """Stretches of days without a hole: (first, last + 1)."""
    found: list[tuple[int, int]] = []
    for day in sorted(days):
        if found and found[-1][1] == day:
            found[-1] = found[-1][0], day + 1
        else:
            found.append((day, day + 1))
    return found


def peak_to_trough(minute: Array, value: Array, stretches: list[tuple[int, int]]) -> tuple[float, float, float]:
    """Largest over smallest 61-minute centred mean, read in the ways of `RATIO_READINGS`; NaN where no ratio exists.

    The whole series, where a smallest mean of 0 has no ratio; the same with means of 0 left out; and the mean day, the
    periodic pattern as such, around the clock.
    """
    dense = np.zeros(DAYS * MINUTES_A_DAY)
    dense[minute] = value
    means = [centred_mean(dense[first * MINUTES_A_DAY : last * MINUTES_A_DAY]) for first, last in stretches]
    every = np.concatenate(means) if means else np.zeros(0)
    day = dense.reshape(DAYS, MINUTES_A_DAY)[[day for first, last in stretches for day in range(first, last)]].sum(0)
    half = WINDOW // 2
    clock = centred_mean(np.concatenate([day[-half:], day, day[:half]]))
    return _ratio(every), _ratio(every[every > 0.0]), _ratio(clock)


def _ratio(means: Array) -> float:
    return float(means.max() / means.min()) if len(means) and means.min() > 0.0 else float("nan")


def daily_pattern(region: str, requests: Minutes, per_day: Array, cold_starts: dict[str, int], out: Measured) -> Array:
    """Peak-to-trough ratio of every function (Fig. 6).

    Args:
        region: Region.
        requests: Its minute table.
        per_day: Requests of the median day  # [functions]
        cold_starts: Of each funcID.
        out: Takes the numbers.

    Returns:
        Requests of the median day and the ratios in the order of `RATIO_READINGS`, for functions of at least 1440 requests a
        day  # [functions, 1 + readings]
    """
    stretches = runs(requests.days)
    points, slow, empty = [], 0, 0
    read: list[tuple[float, ...]] = []
    for function, minute, value in by_function(requests):
        if not per_day[function] >= MINUTES_A_DAY:
            slow += 1
            continue
        read.append((per_day[function], *peak_to_trough(minute, value, stretches)))
        ratio = read[-1][1]
        if np.isnan(ratio):
            empty += 1
            continue
        points.append((per_day[function], cold_starts.get(requests.functions.funcID[function], 0), ratio))
    complete = all_days(requests.days)
    ratios = np.sort(np.array([ratio for _, _, ratio in points]))
    note = f"undefined for {slow} functions below 1440 requests a day and {empty} whose smallest mean is 0"
    out.add("load", "peak-to-trough", "functions", region, len(points), complete=complete, note=note)
    if points:
        for name, shown in (("min", ratios[0]), ("p50", quantile(ratios, 0.5)), ("max", ratios[-1])):
            out.add("load", "peak-to-trough", name, region, shown, complete=complete, note=note)
    out.draw("fig6a", region, {"x": rounded([p[0] for p in points]), "y": rounded([p[2] for p in points])})
    seen = [p for p in points if p[1] > 0]
    out.draw("fig6b", region, {"x": rounded([p[1] for p in seen]), "y": rounded([p[2] for p in seen])})
    return np.array(read).reshape(-1, 1 + len(RATIO_READINGS))


def pooled_pattern(read: list[Array], complete: bool, note: str, out: Measured) -> None:
    """What the paper says of the ratios of all regions, under each way to read them; see `daily_pattern` for `read`."""
    every = np.concatenate(read)
    for k, reading in enumerate(RATIO_READINGS, 1):
        defined = every[~np.isnan(every[:, k])]
        large = defined[defined[:, 0] >= LARGE_WORKLOAD, k]
        for group, values, last in (
            ("smallest", defined[:, k], 0),
            ("largest", defined[:, k], -1),
            ("largest workloads", large, -1),
        ):
            ratio = float(np.sort(values)[last]) if len(values) else np.nan
            of = f"{len(values)} functions" + (f" of at least {LARGE_WORKLOAD:,} requests a day" if values is large else "")
            words = "; ".join(word for word in (of, note) if word)
            out.add("load", "peak-to-trough ratio", reading, "all", ratio, group=group, complete=complete, note=words)


def requests_per_minute(region: str, requests: Minutes, out: Measured) -> None:
    """The first three days on end: 61-minute means over their largest, and the largest of each day (Fig. 5)."""
    first = next((first for first, last in runs(requests.days) if last - first >= SHOWN_DAYS), None)
    if first is None:
        out.without("fig5", region, f"needs {SHOWN_DAYS} days on end of the minute table requests")
        return
    per_minute = np.bincount(requests.minute, requests.value, minlength=DAYS * MINUTES_A_DAY)
    for reading, (begin, window) in zip(PEAK_READINGS, ((0, WINDOW), (0, 3 * WINDOW - 2), (0, 1), (8, WINDOW)), strict=True):
        if set(range(begin, begin + SHOWN_DAYS)) <= requests.days:
            _, _, peaks = _peaks(per_minute, begin, window)
            for word, (hour, _) in zip(("first day", "second day", "third day"), peaks, strict=True):
                unit = "h of the dataset's clock"
                out.add("load", "hour of the daily peak", reading, region, hour % 24.0, group=word, unit=unit)
    place, means, peaks = _peaks(per_minute, first, WINDOW)
    top = means.max()
    every = slice(None, None, 5)
    out.draw(
        "fig5",
        region,
        {
            "first_day": first,
            "hour": rounded(place[every] / 60),
            "y": rounded(means[every] / top, 4) if top else [],
            "peak_hour": rounded([hour for hour, _ in peaks]),
            "peak_y": rounded([y / top if top else np.nan for _, y in peaks]),
        },
    )


def _peaks(per_minute: Array, first: int, window: int) -> tuple[Array, Array, list[tuple[float, float]]]:
    """Minutes and centred means of three days, and (hour since their start, mean) of the largest on each."""
    means = centred_mean(per_minute[first * MINUTES_A_DAY : (first + SHOWN_DAYS) * MINUTES_A_DAY], window)
    place = np.arange(window // 2, window // 2 + len(means))
    peaks = []
    for day in range(SHOWN_DAYS):
        inside = np.flatnonzero(place // MINUTES_A_DAY == day)
        at = inside[np.argmax(means[inside])]
        peaks.append((float(place[at]) / 60.0, float(means[at])))
    return place, means, peaks


def holiday(region: str, figure: str, quantity: str, cells: Minutes, how: str, out: Measured) -> None:
    """Daily means around the holiday, days 10 to 25, over the largest of them (Fig. 7).

    Args:
        region: Region.
        figure: "fig7a" or "fig7b".
        quantity: What the numbers are called.
        cells: The minute table.
        how: "sum" for pods (sum over functions, mean over the day's minutes), "mean" over the cells for CPU.
        out: Takes the numbers.
    """
    day = cells.minute // MINUTES_A_DAY
    sums = np.bincount(day, cells.value, minlength=DAYS)
    rows = np.bincount(day, minlength=DAYS) if how == "mean" else np.full(DAYS, MINUTES_A_DAY)
    with np.errstate(invalid="ignore"):
        daily = sums / rows
    window = [day for day in HOLIDAY if day in cells.days]
    if not window:
        out.without(figure, region, "needs days 10 to 25")
        return
    top = max(daily[day] for day in window)
    complete = set(HOLIDAY) <= cells.days
    for one in window:
        out.add(
            "load",
            f"{quantity}, share of the largest day",
            "mean",
            region,
            daily[one] / top,
            group=f"day {one}",
            complete=complete,
        )
    out.draw(figure, region, {"day": list(window), "y": [clean(daily[day] / top) for day in window]})
