"""Curves over time: requests, peaks and troughs, the holiday, running pods, components (Fig. 5, 6, 7, 8a-c, 11)."""

from __future__ import annotations

import math

from rewarm.trace.canvas import HALF, INK, MUTED, SERIES, WORDS, dots, log_axis, new, region_gid, svg
from rewarm.trace.load import COSTS
from rewarm.trace.panel import Drawing, Key, Panel, Points, by_region, group_keys, region_keys, region_style
from rewarm.trace.series import HOLIDAY
from rewarm.trace.shares import GROUPS

TOTAL, ALLOC, CODE, DEP, SCHED = COSTS
STACK = (ALLOC, CODE, DEP, SCHED)
HOURS = 31 * 24


def requests(name: str, points: Points) -> Drawing:
    """Normalised requests per minute, a row a region."""
    panels = []
    for region, of in points.items():
        figure, (ax,) = new(7.2, 1.5)
        colour, _, _ = region_style(region)
        ax.plot(of["hour"], of["y"], color=colour)
        ax.plot(of["peak_hour"], of["peak_y"], "v", color=INK, markersize=4)
        ax.set_ylim(0.0, 1.12)
        ax.set_xlim(0, 72)
        ax.set_xticks(range(0, 73, 12))
        ax.set_xlabel(f"hours since the start of day {of['first_day']}")
        ax.set_ylabel("over its largest")
        peaks = ", ".join(f"{hour % 24:.1f} h" for hour in of["peak_hour"])
        panels.append(
            Panel(
                region,
                svg(figure, f"{name}-{region}", f"{region}: requests per minute over three days, daily peaks at {peaks}"),
            )
        )
    return panels, []


def peaks(name: str, points: Points) -> Drawing:
    """Peak-to-trough ratios, one point a function."""
    if not any(of["x"] for of in points.values()):
        return [], []
    figure, (ax,) = new(*HALF)
    for region, of in points.items():
        dots(ax, of["x"], of["y"], region_style(region)[0], gid=region_gid(region))
    log_axis(ax, x=True, y=True)
    ax.set_xlabel("requests on the median day" if name == "fig6a" else "cold starts in all days")
    ax.set_ylabel("peak over trough")
    count = sum(len(of["x"]) for of in points.values())
    return [Panel("", svg(figure, name, f"Peak-to-trough ratio of {count} functions"))], region_keys(list(points))


def holiday(name: str, points: Points) -> Drawing:
    """Daily means around the holiday."""
    figure, (ax,) = new(*HALF)
    ax.axvspan(13.5, 21.5, color=MUTED, alpha=0.12, linewidth=0)
    for region, of in points.items():
        colour, dash, _ = region_style(region)
        ax.plot(of["day"], _gaps(of["y"]), color=colour, linestyle=dash, marker="o", markersize=2.5, gid=region_gid(region))
    ax.set_ylim(bottom=0.0)
    ax.set_xticks(list(HOLIDAY)[::3])
    ax.set_xlabel("day")
    ax.set_ylabel("over the largest day")
    what = "Running pods" if name == "fig7a" else "CPU"
    return [Panel("", svg(figure, name, f"{what} of each day from 10 to 25, over the largest"))], region_keys(list(points))


def running(name: str, points: Points) -> Drawing:
    """Mean running pods of each hour by group."""
    by = dict(zip(("fig8a", "fig8b", "fig8c"), GROUPS, strict=True))[name]
    names = list(GROUPS[by])
    panels = []
    for region, of in by_region(points).items():
        figure, (ax,) = new()
        for index, group in enumerate(names):
            if group in of:
                ax.plot([hour / 24 for hour in range(len(of[group]))], _gaps(of[group]), color=SERIES[index], linewidth=1.0)
        ax.set_xlabel("day")
        ax.set_ylabel("running pods")
        ax.set_xlim(0, 31)
        ax.set_ylim(bottom=0.0)
        panels.append(Panel(region, svg(figure, f"{name}-{region}", f"{region}: mean running pods of each hour by {by}")))
    return panels, group_keys(names, dashed=False)


def components(name: str, points: Points) -> Drawing:
    """Stacked hourly means of the components, and the count of cold starts."""
    panels = []
    days = [hour / 24 for hour in range(HOURS)]
    for region, of in points.items():
        figure, (ax,) = new(7.2, 2.4)
        stacked = [_gaps(of["means"][column], 0.0) for column in STACK]
        ax.stackplot(days, stacked, colors=[SERIES[i] for i in (3, 0, 2, 1)], alpha=0.8, linewidth=0)
        ax.set_xlim(0, 31)
        ax.set_ylim(bottom=0.0)
        ax.set_xlabel("day")
        ax.set_ylabel("mean seconds")
        right = ax.twinx()
        right.spines["right"].set_visible(True)
        right.plot(days, _gaps(of["count"]), color=INK, linewidth=0.8)
        right.set_ylim(bottom=0.0)
        right.set_ylabel("cold starts per hour")
        alt = f"{region}: mean of the four components of a cold start in each hour, stacked, and cold starts per hour"
        panels.append(Panel(region, svg(figure, f"{name}-{region}", alt)))
    keys = [Key(column, WORDS[SERIES[i]]) for column, i in zip(STACK, (3, 0, 2, 1), strict=True)]
    return panels, [*keys, Key("cold starts per hour", WORDS[INK])]


def _gaps(values: list[float | None], instead: float = math.nan) -> list[float]:
    return [instead if value is None else value for value in values]
