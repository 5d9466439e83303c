"""Cumulative curves: by region, with fits, by runtime and by trigger (Fig. 3, 4, 10, 15, 16, 17)."""

from __future__ import annotations

from typing import Any

from rewarm.trace.canvas import DASHES, HALF, INK, MUTED, SERIES, SVG_DASHES, WORDS, log_axis, new, region_gid, svg
from rewarm.trace.load import COSTS
from rewarm.trace.panel import Drawing, Key, Panel, Points, by_region, group_keys, region_keys, region_style
from rewarm.trace.shares import TRIGGERS

RUNTIMES = ("Python3", "Java", "Node.js", "Python2", "Custom", "http", "Go1.x", "PHP7.3", "C#", "unknown runtime")
# Shown on a linear axis the small values of a time would all be one; the y axis is a share and stays linear.
AXES = {
    "fig3a": "requests on the median day",
    "fig3b": "seconds",
    "fig3c": "cores",
    "fig4a": "functions of a user",
    "fig4b": "requests of a user",
    "fig10a": "seconds",
    "fig10c": "seconds",
}
LAWS = (
    ("data", "measured", INK, "-", ""),
    ("maximum likelihood", "maximum likelihood", SERIES[1], DASHES[1], SVG_DASHES[1]),
    ("moments", "moments", SERIES[2], DASHES[2], SVG_DASHES[2]),
    ("the paper's curve", "as drawn in the paper", MUTED, DASHES[3], SVG_DASHES[3]),
)


def regions(name: str, points: Points) -> Drawing:
    """A curve a region."""
    figure, (ax,) = new(*HALF)
    for region, curve in points.items():
        colour, dash, _ = region_style(region)
        ax.plot(curve["x"], curve["y"], color=colour, linestyle=dash, gid=region_gid(region))
    _share_axis(ax, AXES[name])
    return [
        Panel("", svg(figure, name, f"Cumulative share over {AXES[name]}, a curve for each of {', '.join(points)}"))
    ], region_keys(list(points))


def fits(name: str, points: Points) -> Drawing:
    """The pooled curve with three laws."""
    figure, (ax,) = new(*HALF)
    keys = []
    for of, words, colour, dash, svg_dash in LAWS:
        if of in points:
            ax.plot(points[of]["x"], points[of]["y"], color=colour, linestyle=dash, linewidth=2.0 if of == "data" else 1.3)
            keys.append(Key(words, WORDS[colour], svg_dash))
    _share_axis(ax, "seconds")
    law = "LogNormal" if name == "fig10b" else "Weibull"
    return [Panel("", svg(figure, name, f"Cumulative share over seconds with {law} fits"))], keys


def groups(name: str, points: Points) -> Drawing:
    """Runtimes or trigger groups, one row of small axes a region: total and components, or the utility ratio alone."""
    names = TRIGGERS if name in ("fig16", "fig17b") else RUNTIMES
    utility = name.startswith("fig17")
    panels = []
    seen: set[str] = set()
    for region, of in by_region(points).items():
        columns = ("",) if utility else COSTS
        figure, axes = new(7.2, 3.0) if utility else new(7.2, 4.4, rows=2, columns=3, sharey=True)
        for ax, column in zip(axes, columns, strict=False):
            for index, group in enumerate((*names, "all")):
                curve = of.get(f"{column} {group}".strip())
                if curve is None or not curve["x"]:
                    continue
                seen.add(group)
                colour = INK if group == "all" else SERIES[index % 10]
                dash: Any = "-" if group == "all" else DASHES[index // 5 % 5]
                ax.plot(curve["x"], curve["y"], color=colour, linestyle=dash, linewidth=1.6 if group == "all" else 1.1)
            _share_axis(ax, "useful seconds for each second of cold start" if utility else "seconds", 9 if utility else 4)
            ax.set_title(column, loc="left")
        for ax in axes[len(columns) :]:
            ax.set_visible(False)
        for i, ax in enumerate(axes):
            if i % 3:
                ax.set_ylabel("")
        if utility:
            axes[0].axvline(1.0, color=MUTED, linewidth=0.8)
        what = "trigger group" if names is TRIGGERS else "runtime"
        panels.append(Panel(region, svg(figure, f"{name}-{region}", f"{region}: cumulative curves, one for each {what}")))
    keys = [key for key in group_keys(list(names)) if key.name in seen]
    return panels, [*keys, *([Key("all", WORDS[INK])] if "all" in seen else [])]


def _share_axis(ax: Any, label: str, ticks: int = 7) -> None:
    log_axis(ax, x=True, ticks=ticks)
    ax.set_xlabel(label)
    ax.set_ylabel("cumulative share")
    ax.set_ylim(0.0, 1.02)
