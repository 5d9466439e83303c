"""Pods, cold starts and functions by trigger, runtime and size (Fig. 8, 9), requests against cold starts (Fig. 14)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewarm.trace.histogram import quantile
from rewarm.trace.load import DAYS, LARGE_SIZES, ColdStarts, Functions, Minutes, all_days
from rewarm.trace.measured import Measured, clean, rounded

Array = NDArray[Any]
TRIGGERS = ("TIMER-A", "APIG-S", "OBS-A", "workflow-S", "other A", "other S", "unknown trigger")
RUNTIMES = ("Python3", "Java", "Node.js", "Python2", "Custom", "http", "other runtime")
SIZES = (*LARGE_SIZES, "other size")
GROUPS = {"trigger": TRIGGERS, "runtime": RUNTIMES, "size": SIZES}
# Days of the dataset that the load of R2 shows to be Saturdays and Sundays, make-up working days and the holiday left out.
WEEKENDS = (1, 2, 8, 9, 29, 30)
OFF = (*range(14, 22), *WEEKENDS)
BANDS = (0, 31, 744, 4464, 22_320, 44_640, 446_400, 4_464_000)


def composition(region: str, functions: Functions, out: Measured) -> None:
    """Functions by runtime, trigger and size, and the triggers of each runtime; the runtime table is always complete."""
    for quantity, labels in (("functions by runtime", functions.runtime), ("functions by trigger", functions.trigger)):
        names, counts = np.unique(labels.astype(str), return_counts=True)
        for name, count in zip(names.tolist(), counts.tolist(), strict=True):
            out.add("running", quantity, "count", region, count, group=name)
    trigger = functions.groups("trigger")
    matrix = {}
    for runtime in sorted(set(functions.runtime.tolist())):
        of = functions.runtime == runtime
        row = [float(np.mean(trigger[of] == name)) for name in TRIGGERS]
        matrix[runtime] = rounded(row)
        for name, share in zip(TRIGGERS, row, strict=True):
            out.add("running", "triggers of a runtime", name.removesuffix(" trigger"), region, share, group=runtime)
    out.draw("fig9", region, {"triggers": list(TRIGGERS), "runtimes": matrix})
    for by, names_of in GROUPS.items():
        labels = functions.groups(by)
        _shares(region, by, "functions", {name: float(np.sum(labels == name)) for name in names_of}, True, out)


def cold_start_shares(cold: ColdStarts, out: Measured) -> None:
    """Cold starts by trigger, runtime and size; those without a runtime row are in none of the first two."""
    counts = np.bincount(cold.function, minlength=len(cold.functions.funcID))
    for by, names in GROUPS.items():
        labels = cold.functions.groups(by)
        _shares(
            cold.region,
            by,
            "cold starts",
            {name: float(counts[labels == name].sum()) for name in names},
            all_days(cold.days),
            out,
        )


def running_pods(region: str, pods: Minutes, out: Measured) -> None:
    """Mean running pods of each hour, by trigger, runtime and size (Fig. 8a-c), and their shares (Fig. 8d)."""
    complete = all_days(pods.days)
    hour = pods.minute // 60
    present = np.repeat(np.isin(np.arange(DAYS), list(pods.days)), 24)
    everything = np.bincount(hour, pods.value, minlength=DAYS * 24) / 60
    seen = everything[present]
    for statistic, value in (("mean", seen.mean()), ("min", seen.min()), ("max", seen.max())):
        out.add("running", "running pods per hour", statistic, region, value, complete=complete)
    daily = everything.reshape(DAYS, 24).mean(1)
    for quantity, days in (
        ("running pods, weekdays", [day for day in range(DAYS) if day not in OFF and day in pods.days]),
        ("running pods, weekends", [day for day in WEEKENDS if day in pods.days]),
    ):
        note = "days of the week are inferred from the load of R2; the holiday, days 14-21, is in neither"
        if days:
            out.add("running", quantity, "mean", region, daily[days].mean(), complete=complete, note=note)
    for letter, (by, names) in zip("abc", GROUPS.items(), strict=True):
        labels = pods.functions.groups(by)
        totals = {}
        for name in names:
            rows = (labels == name)[pods.function]
            of_group = np.bincount(hour[rows], pods.value[rows], minlength=DAYS * 24) / 60
            totals[name] = float(of_group.sum())
            shown = [clean(value, 5) if there else None for value, there in zip(of_group, present, strict=True)]
            out.draw(f"fig8{letter}", f"{region} {name}", shown)
        _shares(region, by, "pods", totals, complete, out)


def _shares(region: str, by: str, statistic: str, totals: dict[str, float], complete: bool, out: Measured) -> None:
    whole = sum(totals.values())
    if not whole:
        return
    for name, value in totals.items():
        out.add("running", "share", statistic, region, value / whole, group=name, complete=complete)
    out.draw("fig8d", f"{region} {by} {statistic}", {name: clean(value / whole) for name, value in totals.items()})


def requests_against_cold_starts(cold: ColdStarts, requests: Minutes, out: Measured) -> None:
    """Requests and cold starts of every function that had a cold start (Fig. 14)."""
    region, complete = cold.region, all_days(cold.days) and all_days(requests.days)
    totals = np.bincount(requests.function, requests.value, minlength=len(requests.functions.funcID))
    of = dict(zip(requests.functions.funcID, totals.tolist(), strict=True))
    starts = np.bincount(cold.function, minlength=len(cold.functions.funcID)).astype(float)
    asked = np.array([of.get(name, 0.0) for name in cold.functions.funcID])
    without = int(np.count_nonzero(asked == 0))
    if without:
        out.remark(
            "starts",
            f"{region}: {without:,} functions have a cold start but no request in the minute table; they are in no ratio.",
        )
    out.add("starts", "functions with a cold start", "count", region, len(starts), complete=complete)
    with np.errstate(divide="ignore"):
        ratio = np.where(asked > 0, starts / asked, np.nan)
    _ratios(region, "all", ratio, complete, out)
    out.add("starts", "cold starts over requests", "share > 0.8", region, _share(ratio > 0.8, ratio), complete=complete)
    for name, values, tops in (("cold starts", starts, (1, 10, 50, 100, 240)), ("requests", totals, (1, 3, 10))):
        biggest = np.sort(values)[::-1]
        for top in tops:
            group = f"top {top} function{'s' * (top > 1)}"
            out.add(
                "starts",
                f"share of {name}",
                "share",
                region,
                biggest[:top].sum() / biggest.sum(),
                group=group,
                complete=complete,
            )
    trigger = cold.functions.groups("trigger")
    for name in TRIGGERS:
        rows = trigger == name
        if not rows.any():
            continue
        for quantity, statistic, value in (
            ("functions", "count", int(rows.sum())),
            ("requests", "count", asked[rows].sum()),
            ("cold starts", "count", starts[rows].sum()),
            ("requests of a function", "p50", quantile(np.sort(asked[rows]), 0.5)),
            ("cold starts of a function", "p50", quantile(np.sort(starts[rows]), 0.5)),
        ):
            out.add("starts", quantity, statistic, region, value, group=name, complete=complete)
        _ratios(region, name, ratio[rows], complete, out)
    for label in (*TRIGGERS, None):
        rows = (trigger == label) & (asked > 0)
        if rows.any():
            out.draw("fig14", f"{region} {label or 'no runtime row'}", {"x": rounded(asked[rows]), "y": rounded(starts[rows])})
    _bands(region, asked, starts, ratio, complete, out)


def _share(condition: Array, ratio: Array) -> float:
    good = ~np.isnan(ratio)
    return float(np.mean(condition[good])) if good.any() else float("nan")


def _ratios(region: str, group: str, ratio: Array, complete: bool, out: Measured) -> None:
    share = _share(ratio > 0.95, ratio)
    out.add("starts", "cold starts over requests", "share > 0.95", region, share, group=group, complete=complete)


def _bands(region: str, asked: Array, starts: Array, ratio: Array, complete: bool, out: Measured) -> None:
    for low, high in zip(BANDS, [*BANDS[1:], np.inf], strict=True):
        rows = (asked > low) & (asked <= high)
        group = f"requests >{low}" if np.isinf(high) else f"requests <={high}" if not low else f"requests {low + 1}-{high}"
        out.add("starts", "functions", "count", region, int(rows.sum()), group=group, complete=complete)
        out.add(
            "starts", "share of cold starts", "share", region, starts[rows].sum() / starts.sum(), group=group, complete=complete
        )
        out.add(
            "starts",
            "share of requests",
            "share",
            region,
            asked[rows].sum() / max(asked.sum(), 1),
            group=group,
            complete=complete,
        )
        middle = quantile(np.sort(ratio[rows]), 0.5)
        out.add("starts", "cold starts over requests", "p50", region, middle, group=group, complete=complete)
