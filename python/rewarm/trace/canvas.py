"""Small inline SVG from matplotlib: colours become CSS variables, text stays text, ids carry the figure's name.

No pyplot: figures are made one by one and nothing stays registered.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from html import escape
from typing import Any

from rewarm.errors import BackendUnavailable

# Colours that no figure would otherwise use, each standing for what CSS decides in the light and in the dark.
INK, MUTED, GRID, PAPER = "#00fe01", "#00fe02", "#00fe03", "#00fe04"
SERIES = tuple(f"#00fd{index:02x}" for index in range(10))
WORDS = {INK: "currentColor", MUTED: "var(--muted)", GRID: "var(--grid)", PAPER: "var(--paper)"} | {
    token: f"var(--c{index})" for index, token in enumerate(SERIES)
}
# Inches of a figure that stands beside another; the page scales both.
HALF = (4.7, 2.9)
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)), (0, (8, 2)))
SVG_DASHES = ("", "6 2.5", "2 2", "6 2 2 2", "11 2.5")
_TOKEN = re.compile("|".join(WORDS))
_TAG = re.compile(r"<[^>]*>")
_LONG = re.compile(r"-?\d+\.\d{2,}")
_FONT = re.compile(r"font: (?:italic )?(?:bold )?([\d.]+)px [^;\"]*")
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "rewarm",
    "path.simplify": True,
    "font.size": 8.5,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 9,
    "axes.facecolor": "none",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "figure.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "lines.linewidth": 1.4,
    "patch.linewidth": 0.6,
}


def style() -> Any:
    """The context in which figures are made and saved."""
    try:
        import matplotlib
    except ImportError as error:
        raise BackendUnavailable(
            f'trace reports need matplotlib ({error}); install it with: pip install "rewarm[trace]"'
        ) from error
    return matplotlib.rc_context(STYLE)


def new(
    width: float = 7.2, height: float = 3.0, *, rows: int = 1, columns: int = 1, sharey: bool = False
) -> tuple[Any, list[Any]]:
    """A figure and its axes, row by row; sizes in inches, which the page scales."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=sharey)
    for ax in axes.flat:
        ax.grid(True)
    return figure, list(axes.flat)


def svg(figure: Any, name: str, alt: str) -> str:
    """The figure as an `<svg>` element for a page.

    Args:
        figure: A matplotlib figure made by `new`.
        name: Prefix of all ids in it; unique in the page.
        alt: What a reader who cannot see it should know.
    """
    target = io.StringIO()
    figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None, "Type": None, "Format": None})
    text = target.getvalue()
    text = text[text.index("<svg") :]
    box = re.search(r'viewBox="([^"]*)"', text)
    # The namespaces are those of HTML's own parser; spelled out they would only be addresses in the page.
    body = text[text.index(">") + 1 :].rsplit("</svg>", 1)[0]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.S)
    body = re.sub(r"<!--.*?-->", "", body, flags=re.S)
    body = body.replace("xlink:href", "href")
    body = re.sub(r'id="region:([^":]+)(?::[^"]*)?"', r'data-region="\1"', body)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = body.replace("url(#", f"url(#{name}-").replace('href="#', f'href="#{name}-')
    body = _TOKEN.sub(lambda match: WORDS[match.group()], body)
    body = _FONT.sub(r"font-size: \1px", body)
    # Tenths of a point are enough for coordinates; the text between the tags holds numbers that must stay as they are.
    body = _TAG.sub(
        lambda tag: _LONG.sub(lambda match: f"{float(match.group()):.1f}".rstrip("0").rstrip("."), tag.group()), body
    )
    body = re.sub(r"\s*\n\s*", "\n", body)
    viewbox = box.group(1) if box else "0 0 1 1"
    return f'<svg viewBox="{viewbox}" role="img" aria-label="{escape(alt)}"><title>{escape(alt)}</title>{body}</svg>'


def region_gid(region: str, part: str = "") -> str:
    """The id that lets the page's filter show and hide an element."""
    return f"region:{region}:{part}"


def dots(
    ax: Any,
    x: Iterable[float],
    y: Iterable[float],
    colour: str,
    *,
    size: float = 2.4,
    alpha: float = 0.55,
    gid: str | None = None,
) -> None:
    """Points as one path of round caps: a tenth of the bytes that a marker for each would take."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    points = [(a, b) for a, b in zip(x, y, strict=True) if a is not None and b is not None]
    if not points:
        return
    vertices = [point for point in points for _ in range(2)]
    codes = [Path.MOVETO, Path.LINETO] * len(points)
    patch = PathPatch(
        Path(vertices, codes), fill=False, edgecolor=colour, linewidth=size, capstyle="round", alpha=alpha, gid=gid
    )
    ax.add_patch(patch)
    ax.update_datalim(points)
    ax.autoscale_view()


def log_axis(ax: Any, *, x: bool = False, y: bool = False, ticks: int = 9) -> None:
    """Logarithmic axes whose ticks read 0.01, 1, 1000, 1e6; at most `ticks` of them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for wanted, name in ((x, "x"), (y, "y")):
        if wanted:
            getattr(ax, f"set_{name}scale")("log")
            axis = getattr(ax, f"{name}axis")
            low, high = getattr(ax, f"get_{name}lim")()
            # Less than two decades hold at most one power of ten.
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 100 * low else (1.0,), numticks=ticks))
            axis.set_major_formatter(FuncFormatter(tick))
            axis.set_minor_formatter(NullFormatter())


def tick(value: float, _: int = 0) -> str:
    """A power of ten as people write it."""
    if value == 0:
        return "0"
    return f"{value:g}" if 1e-4 <= abs(value) < 1e5 else f"{value:.0e}".replace("e+0", "e").replace("e-0", "e-")
