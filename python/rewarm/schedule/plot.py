"""Pictures of schedules, with matplotlib (imported where it is used) and in plain text."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewarm.errors import BackendUnavailable, InvalidArgument
from rewarm.schedule.schedule import Schedule
from rewarm.schedule.segment import MAX_COUNT, checked_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".svg", ".png", ".pdf")


def default_stop(schedule: Schedule) -> int:
    """The last counter worth showing: a tenth past the end, or as much again where a schedule has no end."""
    last = schedule.segments[-1]
    stop = 2 * last.start if last.stop is None else last.stop + last.stop // 10
    return min(max(10, stop), MAX_COUNT)


def sample(schedule: Schedule, stop: int, points: int) -> list[int]:
    """About `points` counters spread over [0, stop], with both sides of every joint among them."""
    counts = {stop * i // (points - 1) for i in range(points)}
    for segment in schedule.segments[1:]:
        counts |= {segment.start - 1, segment.start}
    end = schedule.length
    counts |= {end - 1, end} if end else set()
    return sorted(count for count in counts if 0 <= count <= stop)


def text_chart(schedule: Schedule, stop: int, *, top: float, width: int, height: int, blocks: str) -> list[str]:
    """The schedule over [0, stop] as lines of text, `top` above and 0 below.

    Args:
        schedule: What to draw.
        stop: Last counter, drawn in the last column.
        top: Value at the upper edge; 0 for a schedule that is 0 everywhere.
        width: Columns, >= 2.
        height: Lines, >= 1.
        blocks: Characters from empty to full, for example " #" or the eighth blocks of Unicode.

    Returns:
        `height` lines of `width` characters.
    """
    values = schedule.values([stop * i // (width - 1) for i in range(width)]).tolist()
    full = len(blocks) - 1
    levels = [round(value / (top or 1.0) * height * full) for value in values]
    rows = range(height - 1, -1, -1)
    return ["".join(blocks[min(max(level - row * full, 0), full)] for level in levels) for row in rows]


def draw(
    schedule: Schedule,
    path: str | os.PathLike[str] | None,
    *,
    stop: int | None,
    points: int,
    ax: Axes | None,
    label: str | None,
) -> Axes:
    """What `Schedule.plot` does; its docstring says how."""
    points = checked_count("Schedule.plot: points", points)
    if points < 2:
        raise InvalidArgument(f"Schedule.plot: points: expected a whole number >= 2, got {points}")
    stop = default_stop(schedule) if stop is None else checked_count("Schedule.plot: stop", stop)
    target = None if path is None else _checked_path(path)
    if ax is None:
        ax = _new_axes()
    counts = sample(schedule, stop, points)
    ax.plot(counts, schedule.values(counts), label=label)
    ax.set_xlabel("updates applied" if schedule.units == "steps" else "tokens consumed")
    ax.set_ylabel("learning rate")
    ax.set_ylim(bottom=0.0)
    if label is not None:
        ax.legend()
    if target is not None:
        figure: Any = ax.figure
        _save(figure, target)
    return ax


def _checked_path(path: str | os.PathLike[str]) -> Path:
    target = Path(path)
    if target.suffix.lower() not in SUFFIXES:
        accepted = ", ".join(SUFFIXES)
        raise InvalidArgument(f"Schedule.plot: path: expected a name ending in {accepted}, got {str(target)!r}")
    if not target.parent.is_dir():
        raise InvalidArgument(f"Schedule.plot: path: expected an existing folder, got {str(target.parent)!r}")
    return target


def _new_axes() -> Axes:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise BackendUnavailable(
            f'Schedule.plot needs matplotlib ({error}); install it with: pip install "rewarm[plot]"'
        ) from error
    # A Figure of its own, not pyplot's: no window system is asked for and nothing stays registered.
    figure = Figure(figsize=(7.0, 3.2), layout="constrained")
    axes: Axes = figure.add_subplot()
    axes.grid(alpha=0.3)
    return axes


def _save(figure: Figure, target: Path) -> None:
    """Write beside the target and rename, so that a failure leaves no torn file."""
    import matplotlib

    suffix = target.suffix.lower()
    fresh = target.with_name(f".{target.stem}.{os.getpid()}{suffix}")
    try:
        # Without a date and with a fixed salt the same schedule gives the same SVG.
        with matplotlib.rc_context({"svg.hashsalt": "rewarm"}):
            figure.savefig(fresh, format=suffix[1:], dpi=150, metadata={"Date": None} if suffix == ".svg" else None)
        os.replace(fresh, target)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
