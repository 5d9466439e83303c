"""The minute series of every function, wide in the file and long in the table, read by the slow and obvious way."""

from __future__ import annotations

import re
from typing import Any

from rewarm.trace import csv_reference as csv
from rewarm.trace.csv_reference import Wrong

_FOLDER = re.compile(r"(.+)_(avg|std|quantile_[0-9]{3})")
_FUNCTION = re.compile(r".+?---.+?---.+", re.DOTALL)


def metric_and_stat(folder: str) -> tuple[str, str | None]:
    """What a folder's name says: one suffix is the statistic, and the counts have none."""
    match = _FOLDER.fullmatch(folder)
    return (match.group(1), match.group(2)) if match else (folder, None)


def read(
    data: bytes,
    *,
    folder: str,
    region: str | None = None,
    on_error: str = "raise",
    rejects: list[dict[str, Any]] | None = None,
) -> tuple[dict[str, list[Any]], list[str]]:
    """One row for every cell that holds something, in the file's order, and the names of all functions.

    Args:
        data: The decoded file.
        folder: Says metric and statistic.
        region: Of every row.
        on_error: "raise"; "null" for a value that cannot be read; "skip": a bad value leaves out its own row, a bad day or
            time all rows of the line.
        rejects: Filled with what ``null`` and ``skip`` refused.

    Raises:
        Wrong: The first error in row order, or a column that is not a funcID.
    """
    names, lines = csv.header(data)
    functions = [name for name in names if name not in ("day", "time")]
    strangers = [name for name in functions if not _FUNCTION.fullmatch(name)]
    if "time" not in names or strangers or len(set(names)) < len(names):
        raise Wrong(1, 0, None, ",".join(names).encode(), "columns day, time and funcIDs (X---Y---Z), each once")
    metric, stat = metric_and_stat(folder)
    # What each column is read with; day and time alike.
    reads = {name: csv.integer(32) if name in ("day", "time") else csv.float64 for name in names}
    found: dict[str, list[Any]] = {name: [] for name in ("region", "metric", "stat", "funcID", "time", "value")}

    def refuse(wrong: Wrong, action: str) -> None:
        if on_error == "raise":
            raise wrong
        if rejects is not None:
            rejects.append({"line": wrong.line, "byte": wrong.byte, "column": wrong.column, "action": action})

    for row in csv.rows(names, lines):
        if isinstance(row, Wrong):
            refuse(row, "row skipped")
            continue
        time = None
        keep = True
        cells: list[tuple[str, float | None]] = []
        for name in names:
            try:
                value = row.value(name, reads[name])
            except Wrong as wrong:
                refuse(wrong, "null" if on_error == "null" else "row skipped")
                is_value = name not in ("day", "time")
                if on_error == "null" and is_value:
                    cells.append((name, None))
                keep = keep and (on_error == "null" or is_value)
                continue
            if name == "time":
                time = value
            elif name != "day" and value is not None:
                cells.append((name, value))
        for name, value in cells if keep else []:
            cell = {"region": region, "metric": metric, "stat": stat, "funcID": name, "time": time, "value": value}
            for column, content in cell.items():
                found[column].append(content)
    return found, functions
