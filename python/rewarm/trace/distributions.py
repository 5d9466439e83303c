"""Cold-start times and the gaps between cold starts, by region, pool class, runtime and trigger (Fig. 10, 13, 15, 16)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewarm.errors import InvalidArgument
from rewarm.trace.fit import Family, Fit, ks_distance, maximum_likelihood, moments
from rewarm.trace.histogram import histogram
from rewarm.trace.load import COSTS, DAY, ColdStarts, all_days
from rewarm.trace.measured import Measured, curve, ordered, rounded

Array = NDArray[Any]
TOTAL, ALLOC, CODE, DEP, SCHED = COSTS
GAP = "inter-arrival time"
CURVES: dict[str, tuple[float, float]] = {"LogNormal": (0.261, 1.363), "Weibull": (0.430, 0.440)}
DISTRIBUTION = (1, 5, 10, 25, 50, 75, 90, 95, 99)


def gaps(time: Array) -> tuple[Array, int]:
    """(seconds between neighbours of sorted times, how many were dropped because a whole day without a row lies between them).

    Times are rounded to microseconds first: the difference of two stamps with three decimals is otherwise a hair off its own.
    """
    micros = np.rint(time * 1e6).astype(np.int64)
    day = micros // int(DAY * 1e6)
    near = np.diff(day) <= 1
    return np.diff(micros)[near] / 1e6, int(np.count_nonzero(~near))


def durations(cold: ColdStarts, out: Measured) -> Array:
    """Quantiles and the curve of a region's cold-start times; returns them sorted."""
    region, complete = cold.region, all_days(cold.days)
    values = ordered(cold.costs[TOTAL])
    out.add_quantiles("distributions", TOTAL, region, values, DISTRIBUTION, unit="s", complete=complete)
    over = np.mean(values > 10.0) if len(values) else np.nan
    out.add("distributions", TOTAL, "share > 10 s", region, float(over), complete=complete)
    out.draw("fig10a", region, curve(values))
    return values


def arrivals(cold: ColdStarts, out: Measured) -> Array:
    """Quantiles and the curve of the gaps between a region's cold starts; returns them sorted."""
    region, complete = cold.region, all_days(cold.days)
    values, dropped = gaps(cold.time)
    values = np.sort(values)
    out.add_quantiles("distributions", GAP, region, values, DISTRIBUTION, unit="s", complete=complete)
    out.add("distributions", GAP, "mean", region, float(values.mean()) if len(values) else np.nan, unit="s", complete=complete)
    ties = float(np.mean(values == 0.0)) if len(values) else np.nan
    out.add(
        "distributions", GAP, "share = 0", region, ties, complete=complete, note="equal stamps: the release has three decimals"
    )
    if dropped:
        out.remark("distributions", f"{region}: {dropped:,} gaps that span a day without any cold start are dropped.")
    out.draw("fig10c", region, curve(values, floor=1e-3))
    return values


def pooled(durations_of: dict[str, Array], gaps_of: dict[str, Array], complete: bool, out: Measured) -> None:
    """All regions together, with the fits."""
    for figure, quantity, parts, family, first in (
        ("fig10b", TOTAL, durations_of, "LogNormal", 0.0),
        ("fig10d", GAP, gaps_of, "Weibull", 1e-3),
    ):
        values = np.sort(np.concatenate(list(parts.values()))) if parts else np.zeros(0)
        out.add_quantiles("distributions", quantity, "all", values, DISTRIBUTION, unit="s", complete=complete)
        out.draw(figure, "data", curve(values, floor=first))
        if family == "LogNormal":
            # A LogNormal has no zero; none occurs in a duration that was measured.
            zeros = int(np.count_nonzero(values <= 0.0))
            values = values[zeros:]
            if zeros:
                out.remark("distributions", f"{zeros:,} cold-start times that are not > 0 are left out of the fit.")
        _fits(family, quantity, values, first, complete, figure, out)  # type: ignore[arg-type]


def _fits(family: Family, quantity: str, values: Array, first: float, complete: bool, figure: str, out: Measured) -> None:
    name = f"{family} of {quantity}"
    counts = histogram(values, first=first)
    laws: dict[str, Fit] = {"the paper's curve": Fit(family, *CURVES[family])}
    try:
        laws["maximum likelihood"] = maximum_likelihood(family, counts)
        laws["moments"] = moments(family, float(values.mean()), float(values.std()))
    except InvalidArgument as error:
        out.remark("distributions", f"{name}: {error}")
    for method, law in laws.items():
        if method != "the paper's curve":
            for parameter, value in law.parameters.items():
                out.add("distributions", name, parameter, "all", value, group=method, complete=complete)
            out.add("distributions", name, "mean", "all", law.mean, group=method, unit="s", complete=complete)
            out.add("distributions", name, "sd", "all", law.sd, group=method, unit="s", complete=complete)
        if len(values):
            distance, uncertainty = ks_distance(law, counts)
            note = f"largest bucket holds {uncertainty:.4f} of the values: the distance may be larger by as much"
            out.add("distributions", name, "KS", "all", distance, group=method, complete=complete, note=note)
        if len(values) and values[-1] > 0:
            x = np.geomspace(max(float(values[0]), 1e-3), float(values[-1]), 120)
            out.draw(figure, method, {"x": rounded(x), "y": rounded(law.cdf(x))})


def pool_classes(cold: ColdStarts, out: Measured) -> None:
    """Small against large pools: quartiles and the shape over log seconds of the total and the four components."""
    region, complete = cold.region, all_days(cold.days)
    # Labels are compared once a function, not once a row.
    rows_of = {name: (cold.functions.pool_class == name)[cold.function] for name in ("small", "large")}
    for column in COSTS:
        for pool_class, rows in rows_of.items():
            values = ordered(cold.costs[column][rows])
            note = ""
            if column == DEP:
                values, note = values[values > 0.0], "zeros left out: no layer"
            out.add_quantiles(
                "pools", column, region, values, (25, 50, 75), group=pool_class, unit="s", complete=complete, note=note
            )
            out.draw("fig13", f"{region} {column} {pool_class}", _violin(values))


def _violin(values: Array, bins: int = 48) -> dict[str, Any]:
    positive = values[values > 0.0]
    if len(positive) < 2 or positive[0] == positive[-1]:
        return {"x": [], "density": [], "quartiles": rounded(positive[:1].repeat(3)), "n": len(values)}
    edges = np.geomspace(positive[0], positive[-1], bins + 1)
    counts = np.histogram(positive, edges)[0].astype(float)
    # Three neighbours smooth what is left of the millisecond grid.
    smooth = np.convolve(np.pad(counts, 1, mode="edge"), np.ones(3) / 3, mode="valid")
    quartiles = [positive[int(q * (len(positive) - 1))] for q in (0.25, 0.5, 0.75)]
    return {
        "x": rounded(np.sqrt(edges[:-1] * edges[1:])),
        "density": rounded(smooth / smooth.max()),
        "quartiles": rounded(quartiles),
        "n": len(values),
    }


def breakdown(cold: ColdStarts, out: Measured) -> None:
    """Total and components by runtime and by trigger group."""
    region, complete = cold.region, all_days(cold.days)
    runtime = np.array([f"{r} runtime" if r == "unknown" else r for r in cold.functions.runtime], object)
    trigger = np.array([f"{t} trigger" if t == "unknown" else t for t in cold.functions.trigger], object)
    for figure, labels in (("fig15", runtime), ("fig16", trigger)):
        for group in _names(labels):
            _components_of(cold, group, (labels == group)[cold.function], figure, complete, out)
    everything = np.ones(len(cold.time), bool)
    _components_of(cold, "all", everything, "fig15", complete, out)
    for column in COSTS:
        out.draw("fig16", f"{region} {column} all", out.series["fig15"][f"{region} {column} all"])


def _names(labels: Iterable[Any]) -> list[str]:
    return sorted({label for label in labels if label is not None})


def _components_of(cold: ColdStarts, group: str, rows: Array, figure: str, complete: bool, out: Measured) -> None:
    region = cold.region
    if group != "all":
        out.add("breakdown", "cold starts", "count", region, int(np.count_nonzero(rows)), group=group, complete=complete)
    for column in COSTS:
        values = ordered(cold.costs[column][rows])
        quantity, note = column, ""
        if column == DEP:
            values, quantity, note = values[values > 0.0], f"{DEP} > 0", "zeros left out: no layer"
        percents = (10, 25, 50, 75, 90, 95, 99)
        out.add_quantiles("breakdown", quantity, region, values, percents, group=group, unit="s", complete=complete, note=note)
        if column == ALLOC and len(values):
            for limit, words in ((1e-3, "1 ms"), (0.1, "100 ms"), (5.0, "5 s")):
                share = float(np.searchsorted(values, limit, side="right") / len(values))
                out.add("breakdown", ALLOC, f"share <= {words}", region, share, group=group, complete=complete)
        out.draw(figure, f"{region} {column} {group}", curve(values))
