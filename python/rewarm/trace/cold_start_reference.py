"""The cold-start table, read by the slow and obvious way: one file in memory, one row after the other.

`read` is the law for `rewarm.trace.read`; `request_reference` uses it with the columns of the request table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from rewarm.trace import csv_reference as csv
from rewarm.trace.csv_reference import Row, Wrong

Value = Any
#: (region, funcID) -> (runtime, trigger group).
Runtimes = Mapping[tuple[str | None, str], tuple[str | None, str | None]]

INT16, INT32, INT64 = csv.integer(16), csv.integer(32), csv.integer(64)

#: The published columns in their order, and what their fields hold.
PUBLISHED: dict[str, Callable[[bytes], Value]] = {
    "day": INT16,
    "time": csv.float64,
    "clusterName": INT16,
    "funcName": INT32,
    "userID": INT32,
    "requestID": csv.utf8,
    "totalCost_cold_start": csv.float64,
    "podAllocationCost": csv.float64,
    "deployCodeCost": csv.float64,
    "deployDependencyCost": csv.float64,
    "schedulingCost": csv.float64,
    "podID": csv.utf8,
}

#: Columns that are made of published ones. `pod` stands for podID read as poolName and serial, `time` for the row's time.
_FROM_POD = ("poolName", "pod_serial", "cpu_limit", "memory_limit", "size", "pool_class")
_FROM_TIME = {"day": (86400, 16), "hour": (3600, 32), "minute": (60, 32), "hour_of_day": (3600, 32)}
_FROM_FUNCTION = ("funcID", "runtime", "trigger_group")


def default_columns(published: Collection[str], ids: str) -> list[str]:
    """What ``columns=None`` means: the published columns in the published order, podID taken apart unless ids are text."""
    found: list[str] = []
    for name in published:
        found += ["poolName", "pod_serial"] if name == "podID" and ids == "binary" else [name]
    return [*found, "region"]


def read(
    data: bytes,
    columns: Sequence[str] | None = None,
    *,
    region: str | None = None,
    ids: str = "binary",
    id_digits: int | None = None,
    on_error: str = "raise",
    unknown_columns: str = "raise",
    time: tuple[float | None, float | None] | None = None,
    clusterName: Collection[int] | None = None,
    funcID: Collection[str] | None = None,
    runtime: Runtimes | None = None,
    rejects: list[dict[str, Value]] | None = None,
    published: Mapping[str, Callable[[bytes], Value]] = PUBLISHED,
    time_column: str = "time",
) -> dict[str, list[Value]]:
    """Columns by name: numbers, text, ids as bytes (text under ``ids="text"``), None for null.

    Only what is asked for is looked at. In a row the columns of the filters come first, the others from left to right.

    Args:
        data: The decoded file.
        columns: Published or derived names; None means `default_columns` of what the file has.
        region: Of every row.
        ids: "binary" or "text".
        id_digits: Fixed by an earlier file of the same read; None: the first row decides, and 64 where it has no such id.
        on_error: "raise", "null" or "skip".
        unknown_columns: "raise" or "ignore".
        time: Seconds, half open; None is open. A null never passes a filter.
        clusterName: Clusters to keep.
        funcID: Functions to keep.
        runtime: What the columns runtime and trigger_group join.
        rejects: Filled with what ``null`` and ``skip`` refused.
        published: The columns of the table.
        time_column: The row's time.

    Raises:
        Wrong: The first error in row order, or a header that is not of this table.
    """
    names, lines = csv.header(data)
    unknown = [name for name in names if name not in published]
    if (unknown and unknown_columns == "raise") or len(set(names)) < len(names):
        raise Wrong(1, 0, None, ",".join(names).encode(), f"columns of {', '.join(published)}, each once")
    asked = default_columns([name for name in published if name in names], ids) if columns is None else list(columns)
    digits = id_digits or _digits_of_first_row(names, lines)
    readers = dict(published)
    if ids == "binary":
        readers["requestID"] = csv.hex_id(digits)
        readers["podID"] = csv.pod
    elif any(name in (*_FROM_POD, *_FROM_FUNCTION) for name in asked) or funcID is not None:
        readers["podID"] = csv.pod  # a derived column needs the grammar, and so the text has it
    filters = [c for c, used in ((time_column, time), ("clusterName", clusterName)) if used is not None]
    filters += [name for name in names if funcID is not None and name in ("funcName", "userID", "podID")]
    needed = [name for name in names if name in _needed(asked, published, time_column)]

    found: dict[str, list[Value]] = {name: [] for name in asked}
    for row in csv.rows(names, lines):
        try:
            if isinstance(row, Wrong):
                raise row
            values = {name: _value(row, name, readers, on_error, rejects) for name in dict.fromkeys(filters)}
            if not _passes(values, time_column, time, clusterName, funcID):
                continue
            for name in needed:
                if name not in values:
                    values[name] = _value(row, name, readers, on_error, rejects)
            derived = {}
            for name in asked:
                try:
                    derived[name] = _derived(name, row, values, region, published, time_column, runtime)
                except Wrong as wrong:
                    if on_error != "null":
                        raise
                    _reject(rejects, wrong, "null")
                    derived[name] = None
        except Wrong as wrong:
            if on_error == "raise":
                raise
            _reject(rejects, wrong, "row skipped")
            continue
        for name in asked:
            found[name].append(derived[name])
    return found


def _digits_of_first_row(names: Sequence[str], lines: Sequence[csv.Line]) -> int:
    first = next(csv.rows(names, lines[:1]), None)
    if isinstance(first, Row) and "requestID" in first.named:
        text = first.named["requestID"].text
        if len(text) == 32 and all(chr(c) in "0123456789abcdefABCDEF" for c in text):
            return 32
    return 64


def _needed(asked: Sequence[str], published: Mapping[str, Value], time_column: str) -> set[str]:
    needed: set[str] = set()
    for name in asked:
        if name in published:
            needed.add(name)
        elif name in _FROM_POD:
            needed.add("podID")
        elif name in _FROM_TIME:
            needed.add(time_column)
        elif name in _FROM_FUNCTION:
            needed |= {"funcName", "userID", "podID"}
        elif name != "region":
            raise ValueError(f"no column {name!r}")
    return needed


def _value(
    row: Row, name: str, readers: Mapping[str, Callable[[bytes], Value]], on_error: str, rejects: list[dict[str, Value]] | None
) -> Value:
    try:
        return row.value(name, readers[name])
    except Wrong as wrong:
        if on_error != "null":
            raise
        _reject(rejects, wrong, "null")
        return None


def _reject(rejects: list[dict[str, Value]] | None, wrong: Wrong, action: str) -> None:
    if rejects is not None:
        fields = ("line", "byte", "column", "text", "expected")
        rejects.append({name: getattr(wrong, name) for name in fields} | {"action": action})


def _passes(
    values: Mapping[str, Value],
    time_column: str,
    time: tuple[float | None, float | None] | None,
    clusters: Collection[int] | None,
    functions: Collection[str] | None,
) -> bool:
    if time is not None:
        start, stop = time
        at = values[time_column]
        if at is None or (start is not None and at < start) or (stop is not None and at >= stop):
            return False
    if clusters is not None and values["clusterName"] not in clusters:
        return False
    return functions is None or _function(values) in functions


def _function(values: Mapping[str, Value]) -> str | None:
    pod = values["podID"]
    return csv.func_id(values["funcName"], values["userID"], pod[0] if pod is not None else None)


def _derived(
    name: str,
    row: Row,
    values: Mapping[str, Value],
    region: str | None,
    published: Mapping[str, Value],
    time_column: str,
    runtime: Runtimes | None,
) -> Value:
    if name == "region":
        return region
    if name == "podID":
        return None if values[name] is None else csv.utf8(row.named["podID"].text)
    if name in published:
        return values[name]
    if name in _FROM_TIME:
        return _unit(name, row, values[time_column], time_column)
    pool, serial = (None, None) if values["podID"] is None else values["podID"]
    made: dict[str, Callable[[], Value]] = {
        "poolName": lambda: pool,
        "pod_serial": lambda: serial,
        "cpu_limit": lambda: csv.pool_limits(pool)[0],
        "memory_limit": lambda: csv.pool_limits(pool)[1],
        "size": lambda: csv.pool_size(pool),
        "pool_class": lambda: csv.pool_class(pool),
        "funcID": lambda: _function(values),
        "runtime": lambda: _joined(values, region, runtime)[0],
        "trigger_group": lambda: _joined(values, region, runtime)[1],
    }
    return made[name]()


def _joined(values: Mapping[str, Value], region: str | None, runtime: Runtimes | None) -> tuple[str | None, str | None]:
    # Functions are numbered per region: a funcID alone names nothing.
    return (runtime or {}).get((region, _function(values) or ""), (None, None))


def _unit(name: str, row: Row, at: float | None, time_column: str) -> int | None:
    if at is None:
        return None
    seconds, bits = _FROM_TIME[name]
    count = math.floor(at / seconds)
    if not -(2 ** (bits - 1)) <= count < 2 ** (bits - 1):
        field = row.named[time_column]
        raise Wrong(row.line.number, field.byte, time_column, field.text, f"a time whose {name} fits {bits} bits")
    return count % 24 if name == "hour_of_day" else count
