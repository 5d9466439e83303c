"""Bubbles, bars, tiles, violins and the scatter of functions (Fig. 1, 8d-f, 9, 12, 13, 14)."""

from __future__ import annotations

from typing import Any

from rewarm.trace.canvas import INK, MUTED, SERIES, WORDS, dots, log_axis, new, region_gid, svg, tick
from rewarm.trace.correlation import VARIABLES
from rewarm.trace.load import COSTS
from rewarm.trace.panel import Drawing, Key, Panel, Points, by_region, group_keys, region_keys, region_style
from rewarm.trace.shares import GROUPS, TRIGGERS

SHORT = {
    "totalCost_cold_start": "total",
    "podAllocationCost": "alloc",
    "deployCodeCost": "code",
    "deployDependencyCost": "dep",
    "schedulingCost": "sched",
    "cold starts": "count",
}
STATISTICS = ("pods", "cold starts", "functions")


def bubbles(name: str, points: Points) -> Drawing:
    """Requests over functions, area by pods."""
    figure, (ax,) = new()
    most = max(of["pods"] for of in points.values())
    for region, of in points.items():
        colour = region_style(region)[0]
        area = 40 + 1400 * of["pods"] / most
        ax.scatter([of["functions"]], [of["requests"]], s=area, color=colour, alpha=0.45, linewidth=0, gid=region_gid(region))
        label = ax.annotate(
            f"{region}  {of['pods']:,} pods", (of["functions"], of["requests"]), ha="center", va="center", fontsize=8
        )
        label.set_gid(region_gid(region, "label"))
    log_axis(ax, x=True, y=True)
    ax.margins(0.25)
    ax.set_xlabel("functions")
    ax.set_ylabel("requests")
    alt = "; ".join(
        f"{region}: {of['functions']:,} functions, {tick(of['requests'])} requests, {of['pods']:,} pods"
        for region, of in points.items()
    )
    return [Panel("", svg(figure, name, alt))], region_keys(list(points))


def shares(name: str, points: Points) -> Drawing:
    """Shares of pods, cold starts and functions as stacked bars, by trigger, runtime and size."""
    panels, keys = [], []
    for region, of in by_region(points).items():
        figure, axes = new(7.2, 2.0, columns=3)
        for ax, (by, names) in zip(axes, GROUPS.items(), strict=True):
            shown = [statistic for statistic in STATISTICS if f"{by} {statistic}" in of]
            left = [0.0] * len(shown)
            for index, group in enumerate(names):
                widths = [of[f"{by} {statistic}"][group] or 0.0 for statistic in shown]
                bars = ax.barh(range(len(shown)), widths, left=left, color=SERIES[index], height=0.7)
                for bar, statistic, width in zip(bars, shown, widths, strict=True):
                    bar.set_gid(f"share-{by}-{statistic}-{group}".replace(" ", "_"))
                    if width > 0.11:
                        ax.text(
                            bar.get_x() + width / 2,
                            bar.get_y() + 0.35,
                            f"{width:.2f}"[1:],
                            ha="center",
                            va="center",
                            fontsize=7.5,
                        )
                left = [a + b for a, b in zip(left, widths, strict=True)]
            ax.set_yticks(range(len(shown)), shown)
            ax.set_xlim(0, 1)
            ax.invert_yaxis()
            ax.grid(False)
            ax.set_title(f"by {by}", loc="left")
        panels.append(
            Panel(region, svg(figure, f"{name}-{region}", f"{region}: shares of pods, cold starts and functions by group"))
        )
    for by, names in GROUPS.items():
        keys += [Key(f"{by}: {key.name}", key.colour) for key in group_keys(list(names), dashed=False)]
    return panels, keys


def triggers(name: str, points: Points) -> Drawing:
    """Trigger mix of each runtime as stacked bars."""
    panels = []
    for region, of in points.items():
        runtimes = list(of["runtimes"])
        figure, (ax,) = new(7.2, 0.7 + 0.26 * len(runtimes))
        left = [0.0] * len(runtimes)
        for index, _ in enumerate(of["triggers"]):
            widths = [of["runtimes"][runtime][index] for runtime in runtimes]
            ax.barh(range(len(runtimes)), widths, left=left, color=SERIES[index], height=0.72)
            for row, width in enumerate(widths):
                if width > 0.05:
                    ax.text(left[row] + width / 2, row, f"{width:.2f}".lstrip("0"), ha="center", va="center", fontsize=7.5)
            left = [a + b for a, b in zip(left, widths, strict=True)]
        ax.set_yticks(range(len(runtimes)), runtimes)
        ax.set_xlim(0, 1)
        ax.invert_yaxis()
        ax.grid(False)
        ax.set_xlabel("share of the runtime's functions")
        panels.append(
            Panel(
                region,
                svg(figure, f"{name}-{region}", f"{region}: share of trigger groups among the functions of each runtime"),
            )
        )
    return panels, group_keys(list(TRIGGERS), dashed=False)


def heatmap(region: str, of: Points, published: dict[tuple[str, str, str], str]) -> Panel:
    """The upper triangle of Spearman's matrix; strength by opacity, sign by colour."""
    from matplotlib.patches import Rectangle

    size = len(VARIABLES)
    figure, (ax,) = new(3.5, 2.9)
    for i in range(size - 1):
        for j in range(i + 1, size):
            rho, p = of["rho"][i][j], of["p"][i][j]
            colour = MUTED if rho is None else SERIES[0] if rho >= 0 else SERIES[3]
            strength = 0.04 if rho is None else 0.06 + 0.7 * abs(rho)
            ax.add_patch(Rectangle((j - 1, i), 0.96, 0.96, facecolor=colour, alpha=strength, linewidth=0))
            mark = "·" if p is not None and p < 0.05 else ""
            ax.text(j - 0.52, i + 0.4, "–" if rho is None else f"{rho:.2f}{mark}", ha="center", va="center", fontsize=8)
            paper = published.get((region, VARIABLES[i], VARIABLES[j]))
            if paper is not None:
                ax.text(j - 0.52, i + 0.76, f"{float(paper):.1f}", ha="center", va="center", fontsize=6, color=MUTED)
    ax.set_xlim(0, size - 1)
    ax.set_ylim(size - 1, 0)
    ax.set_xticks([j + 0.48 for j in range(size - 1)], [SHORT[name] for name in VARIABLES[1:]], fontsize=7)
    ax.set_yticks([i + 0.48 for i in range(size - 1)], [SHORT[name] for name in VARIABLES[:-1]], fontsize=7)
    ax.xaxis.tick_top()
    ax.grid(False)
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.set_title(f"{region}  ({of['minutes']:,} minutes)", loc="left", fontsize=8)
    return Panel(
        region,
        svg(figure, f"fig12-{region}", f"{region}: Spearman correlation of minute means of cold-start components and count"),
    )


def violins(points: Points) -> Drawing:
    """Half violins: small pools to the left, large ones to the right of each column's middle."""
    panels = []
    for region, of in by_region(points).items():
        figure, (ax,) = new(7.2, 2.6)
        for place, column in enumerate(COSTS):
            for side, pool_class, colour in ((-1, "small", SERIES[0]), (1, "large", SERIES[1])):
                shape = of.get(f"{column} {pool_class}")
                if shape is not None:
                    _half_violin(ax, place + 0.03 * side, side, shape, colour)
        log_axis(ax, y=True)
        ax.set_xticks(range(len(COSTS)), COSTS, fontsize=7.5)
        ax.set_ylabel("seconds")
        ax.set_xlim(-0.6, len(COSTS) - 0.4)
        panels.append(
            Panel(
                region,
                svg(figure, f"fig13-{region}", f"{region}: distribution of cold-start components in small and large pools"),
            )
        )
    return panels, [Key("small", WORDS[SERIES[0]]), Key("large", WORDS[SERIES[1]])]


def _half_violin(ax: Any, middle: float, side: int, shape: Points, colour: str) -> None:
    if shape["x"]:
        outer = [middle + side * 0.4 * density for density in shape["density"]]
        ax.fill_betweenx(shape["x"], [middle] * len(outer), outer, color=colour, alpha=0.45, linewidth=0)
    quartiles = [value for value in shape["quartiles"] if value]
    if len(quartiles) == 3:
        at = middle + side * 0.05
        ax.plot([at, at], [quartiles[0], quartiles[2]], color=INK, linewidth=1.0)
        ax.plot([at], [quartiles[1]], "o", color=INK, markersize=3)


def starts(name: str, points: Points) -> Drawing:
    """Cold starts over requests, one point a function, by trigger group."""
    panels = []
    names = [*TRIGGERS, "no runtime row"]
    for region, of in by_region(points).items():
        figure, (ax,) = new(7.2, 3.8)
        most = max((max(group["y"], default=1.0) for group in of.values()), default=1.0)
        ax.plot([1, most], [1, most], color=MUTED, linewidth=0.8)
        for index, group in enumerate(names):
            if group in of:
                dots(ax, of[group]["x"], of[group]["y"], SERIES[index], size=2.8)
        log_axis(ax, x=True, y=True)
        ax.set_xlabel("requests")
        ax.set_ylabel("cold starts")
        count = sum(len(group["x"]) for group in of.values())
        panels.append(
            Panel(
                region,
                svg(figure, f"{name}-{region}", f"{region}: cold starts over requests of {count} functions, by trigger group"),
            )
        )
    return panels, [key for key in group_keys(names, dashed=False) if any(key.name in of for of in by_region(points).values())]
