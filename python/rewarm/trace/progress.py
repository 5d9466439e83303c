"""How far a long read has come: rows/s, GB/s and the time left; a live line on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, TextIO

#: Seconds between two lines of a log, and between two refreshes of a terminal.
LOG_INTERVAL, TERMINAL_INTERVAL = 10.0, 0.2


def duration(seconds: float) -> str:
    """``7 s``, ``2 min 05 s``, ``1 h 10 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def count(number: float) -> str:
    """Three digits and k, M or G."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= 0.9995 * size:
            value = number / size
            return f"{value:.{max(0, 3 - len(str(int(value + 0.5))))}f} {unit}"
    return str(round(number))


class Progress:
    """Shows a job that says, as often as it likes, how many bytes and rows are done.

    Call it with totals, not with differences: it is what ``read(progress=...)`` takes. Bytes are those on the disk, so that
    the share done is right for compressed files too.

    Args:
        what: First word of every line.
        total: Bytes in all, or rows under `by_rows`; None shows no time left.
        by_rows: The share done is that of the rows; bytes are not shown.
        stream: Default: standard error, so that results can be piped.
        interval: Seconds between two lines; default: `LOG_INTERVAL`, or `TERMINAL_INTERVAL` on a terminal.
    """

    def __init__(
        self,
        what: str,
        total: int | None = None,
        *,
        by_rows: bool = False,
        stream: TextIO | None = None,
        interval: float | None = None,
    ) -> None:
        self.what, self.total, self.by_rows = what, total, by_rows
        self.bytes = self.rows = 0
        self._stream = sys.stderr if stream is None else stream
        self._live = self._live_line() if self._stream.isatty() else None
        self._interval = (TERMINAL_INTERVAL if self._live else LOG_INTERVAL) if interval is None else interval
        self._started = self._shown = time.perf_counter()

    def _live_line(self) -> Any:
        from rich.console import Console
        from rich.live import Live

        console = Console(file=self._stream, highlight=False, markup=False)
        return Live("", console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Progress:
        """Starts the clock."""
        self._started = self._shown = time.perf_counter()
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Clears the live line; a log that has seen lines gets a last one."""
        if self._live is not None:
            self._live.stop()
        elif self._shown > self._started and error is None:
            self._stream.write(self.line(time.perf_counter(), done=True) + "\n")

    def __call__(self, done_bytes: int, rows: int) -> None:
        """Notes the totals, and shows them when it is time to."""
        self.bytes, self.rows = done_bytes, rows
        now = time.perf_counter()
        if now - self._shown < self._interval:
            return
        self._shown = now
        if self._live is not None:
            self._live.update(self.line(now), refresh=True)
        else:
            self._stream.write(self.line(now) + "\n")
            self._stream.flush()

    def line(self, now: float, done: bool = False) -> str:
        """``check: 38 %, 12.3 M rows, 4.10 M rows/s, 0.61 GB/s, 2 min 05 s left``."""
        seconds = max(now - self._started, 1e-9)
        reached = self.rows if self.by_rows else self.bytes
        parts = []
        if self.total and not done:
            parts.append(f"{min(reached / self.total, 1.0):.0%}".replace("%", " %"))
        parts += [f"{count(self.rows)} rows", f"{count(self.rows / seconds)} rows/s"]
        if not self.by_rows:
            parts.append(f"{self.bytes / seconds / 1e9:.2f} GB/s")
        if done:
            parts.append(duration(seconds))
        elif self.total and reached:
            left = seconds * (self.total - reached) / reached
            parts.append(f"{duration(max(left, 0.0))} left")
        return f"{self.what}: {', '.join(parts)}"
