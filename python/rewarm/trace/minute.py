"""The per-function minute tables: one wide file a day, metric and stat, more than nine fields in ten empty.

They become long: one row for each field that is not empty, in the file's row and then column order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rewarm import __version__
from rewarm._native import core
from rewarm.errors import InvalidArgument
from rewarm.trace.options import BLOCK_BYTES, column_list, listed, one_of, regions_of, thread_count, time_range
from rewarm.trace.source import Source

#: The columns, in order. ``time`` is in seconds since the trace began.
COLUMNS = ("region", "metric", "stat", "funcID", "time", "value")


def minute_reader(
    sources: Sequence[Source],
    columns: Sequence[str] | None = None,
    *,
    time: tuple[float | None, float | None] | None = None,
    funcID: str | Sequence[str] | None = None,
    on_error: str = "raise",
    unknown_columns: str = "raise",
    threads: int | None = None,
    block_bytes: int = BLOCK_BYTES,
    clusterName: int | Sequence[int] | None = None,
    ids: str = "binary",
    runtime: Any = None,
) -> Any:
    """The engine's reader of minute tables: batches by ``next()``, or all rows by ``read_all(progress)``.

    Its ``functions`` are those that some file has a column for, in the order of their first appearance; under `funcID` those
    of them that are kept.

    Args:
        sources: Files of the minute table, in row order.
        columns: Of `COLUMNS`; default all.
        time: (start, stop) in seconds, half open.
        funcID: Keep these functions.
        on_error: "raise"; "null": a bad field becomes a row with a null; "skip": it is left out. A line with too few or too
            many fields is left out under both.
        unknown_columns: "raise" or "ignore" columns that are neither day nor time nor a funcID.
        threads: Default: one for every processor that may be used.
        block_bytes: Text a batch.
        clusterName: Refused: these tables have no clusters.
        ids: Without a meaning here: there are no ids.
        runtime: Refused: these tables are not joined.

    Raises:
        TraceError: A header that is not a minute table's.
        InvalidArgument: An argument that is not accepted.
    """
    if clusterName is not None:
        raise InvalidArgument("clusterName: the minute table has no clusters")
    if runtime is not None:
        raise InvalidArgument("runtime: the minute table is not joined with the runtime table")
    one_of("ids", ids, ("binary", "text"))
    begin, end = time_range(time)
    return core.TraceMinuteReader(
        sources=sources,
        columns=column_list(columns) or list(COLUMNS),
        regions=regions_of(sources),
        functions=listed("funcID", funcID, (str,)) or [],
        time_begin=begin,
        time_end=end,
        on_error=one_of("on_error", on_error, ("raise", "null", "skip")),
        ignore_unknown=one_of("unknown_columns", unknown_columns, ("raise", "ignore")) == "ignore",
        threads=thread_count(threads),
        block_bytes=block_bytes,
        version=__version__,
    )
