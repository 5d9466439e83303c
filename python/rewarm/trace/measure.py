"""Computes every number of the report, region by region, from whatever tables are there."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewarm.trace import correlation, distributions, series, shares, sizes, users
from rewarm.trace.load import ColdStarts, Minutes, Trace, all_days
from rewarm.trace.measured import Measured
from rewarm.trace.request_day import request_day

Array = NDArray[Any]
PAPER_REGIONS = ("R1", "R2", "R3", "R4", "R5")
NEEDS_COLD = ("fig10a", "fig10b", "fig10c", "fig10d", "fig11", "fig12", "fig13")
NEEDS_RUNTIME = "needs the runtime table, which the release has for R2 only"
EXECUTION = {"runtimeCost": ("fig3b", "execution time"), "cpu_usage": ("fig3c", "cpu_usage")}


def measure(trace: Trace) -> Measured:
    """Everything that the tables of `trace` allow; what they do not allow is named in `Measured.absent`."""
    out = Measured()
    durations: dict[str, Array] = {}
    gaps: dict[str, Array] = {}
    whole: dict[str, bool] = {}
    patterns: dict[str, tuple[Array, bool]] = {}
    rows = 0
    for region in trace.regions:
        # One region's columns at a time: R1 alone has seven of the twelve million cold starts.
        cold = trace.cold_starts(region)
        if cold is None:
            for figure in NEEDS_COLD:
                out.without(figure, region, "needs the cold-start table")
        else:
            trace.say(f"{region}: cold starts")
            durations[region], gaps[region] = _cold(cold, out)
            whole[region] = all_days(cold.days)
            rows += len(cold.time)
        _listed(trace, region, cold, out)
        _minutes(trace, region, cold, patterns, out)
        _requests(trace, region, cold, out)
    if durations:
        trace.say("all regions pooled")
        complete = all(whole.get(region, False) for region in PAPER_REGIONS) and set(whole) == set(PAPER_REGIONS)
        note = "" if complete else f"pooled over {', '.join(durations)}"
        out.add("sizes", "cold starts", "count", "all", rows, complete=complete, note=note)
        distributions.pooled(durations, gaps, complete, out)
    if patterns:
        complete = set(patterns) == set(PAPER_REGIONS) and all(whole_days for _, whole_days in patterns.values())
        note = "" if complete else f"pooled over {', '.join(patterns)}"
        series.pooled_pattern([read for read, _ in patterns.values()], complete, note, out)
    return out


def _cold(cold: ColdStarts, out: Measured) -> tuple[Array, Array]:
    sizes.cold_start_sizes(cold, out)
    series.components(cold, out)
    correlation.spearman(cold, out)
    distributions.pool_classes(cold, out)
    if cold.functions.joined.any():
        shares.cold_start_shares(cold, out)
        distributions.breakdown(cold, out)
    else:
        for figure in ("fig15", "fig16"):
            out.without(figure, cold.region, NEEDS_RUNTIME)
    return distributions.durations(cold, out), distributions.arrivals(cold, out)


def _listed(trace: Trace, region: str, cold: ColdStarts | None, out: Measured) -> None:
    """Counts functions by the table that lists most of them."""
    listed = trace.runtime_functions(region)
    if listed is not None:
        sizes.function_sizes(region, listed, "the runtime table", True, out)
        shares.composition(region, listed, out)
        return
    for figure in ("fig8a", "fig8b", "fig8d", "fig9"):
        out.without(figure, region, NEEDS_RUNTIME)
    if not trace.has("minute", region, "requests") and cold is not None:
        sizes.function_sizes(region, cold.functions, "functions with a cold start", False, out)


def _minutes(
    trace: Trace, region: str, cold: ColdStarts | None, patterns: dict[str, tuple[Array, bool]], out: Measured
) -> None:
    requests = trace.minutes(region, "requests")
    if requests is None or not len(requests.value):
        for figure in ("fig1", "fig3a", "fig4b", "fig5", "fig6a", "fig6b", "fig14"):
            out.without(figure, region, "needs the minute table requests")
        if cold is not None:
            users.functions_of_users(region, cold.functions, out)
        else:
            out.without("fig4a", region, "needs the minute table requests or the cold-start table")
    else:
        trace.say(f"{region}: requests by minute")
        patterns[region] = _request_minutes(trace, region, requests, cold, out), all_days(requests.days)
    del requests
    pods = trace.minutes(region, "num_pods")
    if pods is None or not len(pods.value):
        for figure in ("fig7a", "fig8a", "fig8b", "fig8c"):
            out.without(figure, region, "needs the minute table num_pods")
    else:
        series.holiday(region, "fig7a", "pods", pods, "sum", out)
        if pods.functions.joined.any():
            shares.running_pods(region, pods, out)
    del pods
    for column, (figure, quantity) in EXECUTION.items():
        cells = trace.minutes(region, column, "avg")
        if cells is None or not len(cells.value):
            if column == "cpu_usage":
                out.without("fig7b", region, "needs the minute table cpu_usage_avg")
            if not trace.has("request", region):
                out.without(figure, region, f"needs the minute table {column}_avg or the request table")
            continue
        note = f"from the minute table {column}_avg"
        unit = "cores" if column == "cpu_usage" else "s"
        users.execution(region, figure, quantity, unit, cells.value, all_days(cells.days), note, out)
        if column == "cpu_usage":
            series.holiday(region, "fig7b", "cpu_usage", cells, "mean", out)


def _request_minutes(trace: Trace, region: str, requests: Minutes, cold: ColdStarts | None, out: Measured) -> Array:
    total = sizes.request_sizes(region, requests, out)
    if trace.runtime_functions(region) is None:
        sizes.function_sizes(region, requests.functions, "the columns of the minute table", all_days(requests.days), out)
    median = users.functions_and_users(region, requests, out)
    starts: dict[str, int] = {}
    if cold is not None:
        counts = np.bincount(cold.function, minlength=len(cold.functions.funcID))
        starts = dict(zip(cold.functions.funcID, counts.tolist(), strict=True))
        pods = len(np.unique(cold.pod[cold.pod >= 0]))
        out.draw("fig1", region, {"requests": total, "functions": len(requests.functions.funcID), "pods": pods})
    else:
        out.without("fig1", region, "needs the cold-start table for the number of pods")
    series.requests_per_minute(region, requests, out)
    read = series.daily_pattern(region, requests, median, starts, out)
    if cold is None:
        out.without("fig14", region, "needs the cold-start table")
    elif not cold.functions.joined.any():
        out.without("fig14", region, NEEDS_RUNTIME)
    else:
        shares.requests_against_cold_starts(cold, requests, out)
    return read


def _requests(trace: Trace, region: str, cold: ColdStarts | None, out: Measured) -> None:
    if not trace.has("request", region):
        for figure in ("fig17a", "fig17b"):
            out.without(figure, region, "needs the request table")
        return
    if cold is None:
        for figure in ("fig17a", "fig17b"):
            out.without(figure, region, "needs the cold-start table")
    need = {column: EXECUTION[column] for column in EXECUTION if not trace.has("minute", region, column, "avg")}
    request_day(trace, region, cold, out, need=need)
