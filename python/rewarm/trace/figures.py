"""Draws the figures of the report from the points that were measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rewarm.trace import canvas, figures_curves, figures_shares, figures_time
from rewarm.trace.captions import FIGURES, Figure
from rewarm.trace.measured import Measured
from rewarm.trace.panel import Drawing, Key, Panel, Points

Matrix = dict[tuple[str, str, str], str]
DRAWERS: dict[str, Callable[[str, Points], Drawing]] = {
    "fig1": figures_shares.bubbles,
    **dict.fromkeys(figures_curves.AXES, figures_curves.regions),
    **dict.fromkeys(("fig10b", "fig10d"), figures_curves.fits),
    **dict.fromkeys(("fig15", "fig16", "fig17a", "fig17b"), figures_curves.groups),
    "fig5": figures_time.requests,
    **dict.fromkeys(("fig6a", "fig6b"), figures_time.peaks),
    **dict.fromkeys(("fig7a", "fig7b"), figures_time.holiday),
    **dict.fromkeys(("fig8a", "fig8b", "fig8c"), figures_time.running),
    "fig8d": figures_shares.shares,
    "fig9": figures_shares.triggers,
    "fig11": figures_time.components,
    "fig13": lambda _, points: figures_shares.violins(points),
    "fig14": figures_shares.starts,
}


@dataclass(frozen=True)
class Drawn:
    """A figure with its drawings and legend, and why regions are missing from it."""

    figure: Figure
    panels: list[Panel]
    legend: list[Key]
    reason: str


def draw(measured: Measured, published: Matrix, say: Callable[[str], None] = lambda _: None) -> list[Drawn]:
    """All figures, in the paper's order.

    Args:
        measured: Numbers and points.
        published: (region, variable, variable) -> the paper's Spearman as written, for Fig. 12.
        say: Told what is being drawn.
    """
    drawn = []
    with canvas.style():
        for figure in FIGURES:
            points = measured.series.get(figure.id, {})
            panels: list[Panel] = []
            legend: list[Key] = []
            if points:
                say(f"drawing {figure.number}")
            if points and figure.id == "fig12":
                panels = [figures_shares.heatmap(region, of, published) for region, of in points.items()]
            elif points:
                panels, legend = DRAWERS[figure.id](figure.id, points)
            drawn.append(Drawn(figure, panels, legend, _why(measured.absent.get(figure.id, {}), bool(panels))))
    return drawn


def _why(reasons: dict[str, str], some: bool) -> str:
    by_reason: dict[str, list[str]] = {}
    for region, reason in reasons.items():
        by_reason.setdefault(reason, []).append(region)
    words = "; ".join(f"{', '.join(regions)}: {reason}" for reason, regions in by_reason.items())
    return words or ("" if some else "nothing to draw")
