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


def read(data: bytes, *, folder: str, region: str | None = None) -> tuple[dict[str, list[Any]], list[str]]:
    """One row for every cell that holds something, in the file's order, and the names of all functions.

    Raises:
        Wrong: The first error in row order, or a column that is not a funcID.
    """
    names, lines = csv.header(data)
    functions = [name for name in names if name not in ("day", "time")]
    strangers = [name for name in functions if not _FUNCTION.fullmatch(name)]
    if "time" not in names or strangers or len(set(names)) < len(names):
        raise Wrong(1, 0, None, ",".join(names).encode(), "columns day, time and funcIDs (X---Y---Z), each once")
    metric, stat = metric_and_stat(folder)
    read_time = csv.integer(32)
    found: dict[str, list[Any]] = {name: [] for name in ("region", "metric", "stat", "funcID", "time", "value")}
    for row in csv.rows(names, lines):
        if isinstance(row, Wrong):
            raise row
        time = row.value("time", read_time)
        for name in functions:
            value = row.value(name, csv.float64)
            if value is not None:
                cell = {"region": region, "metric": metric, "stat": stat, "funcID": name, "time": time, "value": value}
                for column, content in cell.items():
                    found[column].append(content)
    return found, functions
