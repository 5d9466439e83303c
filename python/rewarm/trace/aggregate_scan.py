"""One pass over the files of a table on this machine's threads: what both engines of `aggregate` are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rewarm._native import core
from rewarm.errors import InvalidArgument
from rewarm.trace.aggregate_spec import Spec
from rewarm.trace.minute import COLUMNS, minute_reader
from rewarm.trace.options import read_options, thread_count
from rewarm.trace.source import Source

#: Text a batch: its columns stay in the second-level cache between the reader and the groups.
BLOCK_BYTES = 256 << 10
#: Text that a thread takes at once: each piece begins and ends within a row, which costs a look at its neighbours.
UNIT_BYTES = 1 << 20
#: Of many small files the whole of each: an hour of one region is in one file, and so in the groups of one thread alone.
FILE_BYTES = 8 << 20
#: So many files a thread are many: no thread waits long for another's last one.
MANY_FILES = 16

#: The same of minute tables, nine tenths of which are commas.
MINUTE_BLOCK_BYTES = 1 << 20

#: Keys that are made of a minute table's time.
_OF_TIME = ("day", "hour", "minute", "hour_of_day")
#: Those that are made of its functions, the last two through the runtime table of their region.
_OF_FUNCTION = ("funcName", "userID", "poolName", "cpu_limit", "memory_limit", "size", "pool_class")
_JOINED = ("runtime", "trigger_group")
_MINUTE_KEYS = ("region", "metric", "stat", "funcID", *_OF_FUNCTION, *_JOINED, *_OF_TIME)
_MINUTE_VALUES = ("value", "time")
#: The minute table's columns that a key is made of, where it is none of them.
_MADE_OF: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_OF_TIME, ("time",)),
    **dict.fromkeys(_OF_FUNCTION, ("funcID",)),
    **dict.fromkeys(_JOINED, ("region", "funcID")),
}


def scan(
    sources: Sequence[Source],
    spec: Spec,
    settings: dict[str, Any],
    *,
    max_groups: int,
    workers: int | None,
    progress: Callable[[int, int], None] | None = None,
) -> Any:
    """The native aggregate of these sources, or of the ranges that they name.

    Args:
        sources: Of `spec.table`.
        spec: The question.
        settings: Further arguments of `options.read_options` or `minute.minute_reader`.
        max_groups: More groups than this are an error.
        workers: Threads; None: all processors that this process may use.
        progress: Called with bytes and rows.

    Raises:
        InvalidArgument: A key or value that the table does not have.
    """
    if spec.table == "minute":
        return _scan_minutes(sources, spec, settings, max_groups, workers, progress)
    if spec.table not in ("cold_start", "request"):
        raise InvalidArgument(f"aggregate: table: expected cold_start, request or minute, got {spec.table!r}")
    # A count of rows needs a column too: the region costs nothing to read.
    columns = list(dict.fromkeys((*spec.by, *spec.values))) or ["region"]
    options = read_options(
        sources,
        table=spec.table,
        columns=columns,
        threads=workers,
        block_bytes=BLOCK_BYTES,
        unit_bytes=_unit_bytes(sources, workers),
        **settings,
    )
    return core.trace_scan(
        sources=sources,
        options=options,
        by=list(spec.by),
        values=list(spec.values),
        histograms=bool(spec.quantiles),
        max_groups=max_groups,
        text=spec.text(),
        progress=progress,
    )


def _unit_bytes(sources: Sequence[Source], workers: int | None) -> int:
    """Text that a thread takes at once."""
    small = sum(source.size for source in sources) <= FILE_BYTES * len(sources)
    return FILE_BYTES if small and len(sources) >= MANY_FILES * thread_count(workers) else UNIT_BYTES


def _scan_minutes(
    sources: Sequence[Source],
    spec: Spec,
    settings: dict[str, Any],
    max_groups: int,
    workers: int | None,
    progress: Callable[[int, int], None] | None,
) -> Any:
    for argument, names, accepted in (("by", spec.by, _MINUTE_KEYS), ("values", spec.values, _MINUTE_VALUES)):
        for name in names:
            if name not in accepted:
                why = ": it has no clusters" if name == "clusterName" else ""
                raise InvalidArgument(
                    f"aggregate: {argument}: of the minute table expected {', '.join(accepted)}; got {name!r}{why}"
                )
    needed = {made for name in (*spec.by, *spec.values) for made in _MADE_OF.get(name, (name,))} or {"region"}
    reader = minute_reader(
        sources,
        [name for name in COLUMNS if name in needed],
        threads=workers,
        block_bytes=MINUTE_BLOCK_BYTES,
        **{**settings, "runtime": None},
    )
    return core.trace_scan_minutes(
        reader=reader,
        by=list(spec.by),
        values=list(spec.values),
        histograms=bool(spec.quantiles),
        max_groups=max_groups,
        text=spec.text(),
        runtime=settings["runtime"],
        workers=thread_count(workers),
        progress=progress,
    )
