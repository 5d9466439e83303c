"""The runtime and trigger table, read by the slow and obvious way."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from rewarm.trace import csv_reference as csv
from rewarm.trace.csv_reference import Wrong

_PUBLISHED = {
    "funcID": csv.utf8,
    "cpu_request": csv.integer(32),
    "runtime": csv.utf8,
    "triggerType-invocationType": csv.utf8,
}
_FUNCTION = re.compile(r"([0-9]+)---([0-9]+)---(.+)", re.DOTALL)
_UNKNOWN = ({"unknown"}, {"unknown-unknown"}, {"unknown-A", "unknown-S"})


def trigger_group(text: str | None) -> str | None:
    """One of the paper's seven groups.

    A timer wins over everything; the three named ones only stand alone; the rest goes by whether all are asynchronous (A) or
    all are synchronous (S). Of the mixed rest, API gateways alone count as A and all others as S: the published counts, 129
    and 67, follow from that, but not only from that.
    """
    if text is None:
        return None
    tokens = set(text.split())
    if "TIMER-A" in tokens:
        return "TIMER-A"
    if tokens in ({"APIG-S"}, {"OBS-A"}, {"workflow-S"}):
        return tokens.pop()
    if tokens in _UNKNOWN or not tokens:
        return "unknown"
    ends = {token.rpartition("-")[2] for token in tokens}
    if ends == {"S"}:
        return "other S"
    if ends == {"A"}:
        return "other A"
    return "other A" if {token.rpartition("-")[0] for token in tokens} == {"APIG"} else "other S"


def read(data: bytes, columns: Sequence[str] | None = None, *, region: str = "R2") -> dict[str, list[Any]]:
    """Columns by name, published and derived ones; the release has this table for R2 only, so that is the region.

    Raises:
        Wrong: The first error in row order.
    """
    names, lines = csv.header(data)
    if any(name not in _PUBLISHED for name in names) or len(set(names)) < len(names):
        raise Wrong(1, 0, None, ",".join(names).encode(), f"columns of {', '.join(_PUBLISHED)}, each once")
    asked = [*(name for name in _PUBLISHED if name in names), "region"] if columns is None else list(columns)
    found: dict[str, list[Any]] = {name: [] for name in asked}
    for row in csv.rows(names, lines):
        if isinstance(row, Wrong):
            raise row
        value: dict[str, Any] = {name: row.value(name, _PUBLISHED[name]) for name in names}
        match = _FUNCTION.fullmatch(value.get("funcID") or "")
        pool = match.group(3) if match else None
        triggers = value.get("triggerType-invocationType")
        value["triggers"] = None if triggers is None else triggers.split()
        value["trigger_group"] = trigger_group(triggers)
        value["funcName"] = int(match.group(1)) if match else None
        value["userID"] = int(match.group(2)) if match else None
        value["poolName"] = pool
        value["cpu_limit"], value["memory_limit"] = csv.pool_limits(pool)
        value["size"] = csv.pool_size(pool)
        value["region"] = region
        for name in asked:
            found[name].append(value[name])
    return found
