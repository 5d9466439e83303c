"""The arguments that `read`, `batches` and `aggregate` share: checked once, then handed to the engine."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from rewarm._native import core
from rewarm.errors import InvalidArgument
from rewarm.trace.listing import PathArgument
from rewarm.trace.source import Source

#: Text a batch, whatever the number of threads: batches are the same on every machine.
BLOCK_BYTES = 8 << 20

#: (region, funcID) → (runtime, trigger group), or where runtime tables lie.
RuntimeArgument: TypeAlias = "Mapping[tuple[str | None, str], tuple[str | None, str | None]] | PathArgument"

_ON_ERROR = ("raise", "null", "skip")


def listed(name: str, value: Any, kinds: tuple[type, ...]) -> list[Any] | None:
    """One value or several as a list; None stays None: no filter."""
    if value is None:
        return None
    several = isinstance(value, Iterable) and not isinstance(value, (str, bytes))
    values = list(value) if several else [value]
    if not values:
        raise InvalidArgument(f"{name}: an empty list keeps nothing; None keeps everything")
    for one in values:
        if not isinstance(one, kinds) or isinstance(one, bool):
            raise InvalidArgument(f"{name}: expected {' or '.join(k.__name__ for k in kinds)}, or a list of them, got {one!r}")
    return values


def column_list(columns: Sequence[str] | None) -> list[str] | None:
    """Names of columns, None for the default ones."""
    if columns is None:
        return None
    if isinstance(columns, str) or not all(isinstance(name, str) for name in columns):
        raise InvalidArgument(f"columns: expected a list of column names, got {columns!r}")
    if not columns:
        raise InvalidArgument("columns: expected at least one column; None reads the default ones")
    return list(columns)


def thread_count(threads: int | None) -> int:
    """How many threads work; None: one for every processor that this process may use."""
    if threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise InvalidArgument(f"threads: expected a whole number from 1, got {threads!r}")
    return threads


def time_range(time: tuple[float | None, float | None] | None) -> tuple[float | None, float | None]:
    """Begin and end in seconds; None = open."""
    if time is None:
        return None, None
    try:
        start, stop = (None if bound is None else float(bound) for bound in time)
    except (TypeError, ValueError):
        raise InvalidArgument(f"time: expected (start, stop) in seconds, None for an open end, got {time!r}") from None
    for bound in (start, stop):
        if bound is not None and bound != bound:
            raise InvalidArgument(f"time: expected seconds or None, got {time!r}")
    # Open at both ends it is a filter still: a row without a time does not pass.
    return (float("-inf") if start is None and stop is None else start), stop


def one_of(name: str, value: str, accepted: tuple[str, ...]) -> str:
    """The value, if it is one of those accepted."""
    if value not in accepted:
        raise InvalidArgument(f"{name}: expected {' or '.join(map(repr, accepted))}, got {value!r}")
    return value


def join_table(runtime: RuntimeArgument | core.TraceFunctions | None) -> core.TraceFunctions | None:
    """The runtime tables as the engine joins them."""
    if runtime is None or isinstance(runtime, core.TraceFunctions):
        return runtime
    if isinstance(runtime, Mapping):
        return core.TraceFunctions([(region, function, *values) for (region, function), values in runtime.items()])
    from rewarm.trace.runtime_trigger_join import join_of

    return join_of(runtime)


def regions_of(sources: Iterable[Source]) -> list[str]:
    """The regions' dictionary."""
    return sorted({source.region for source in sources if source.region is not None})


def read_options(
    sources: Sequence[Source],
    *,
    table: str,
    columns: Sequence[str] | None,
    time: tuple[float | None, float | None] | None = None,
    clusterName: int | Sequence[int] | None = None,
    funcID: str | Sequence[str] | None = None,
    ids: str = "binary",
    runtime: RuntimeArgument | core.TraceFunctions | None = None,
    on_error: str = "raise",
    unknown_columns: str = "raise",
    threads: int | None = None,
    block_bytes: int | None = None,
    unit_bytes: int = 0,
) -> Any:
    """The engine's options for the cold-start or request table; InvalidArgument says what is accepted."""
    clusters = listed("clusterName", clusterName, (int,))
    for cluster in clusters or ():
        if not -(2**15) <= cluster < 2**15:
            raise InvalidArgument(f"clusterName: expected a whole number of 16 bits, got {cluster}")
    begin, end = time_range(time)
    return core.TraceOptions(
        table=table,
        columns=column_list(columns) or [],
        text_ids=one_of("ids", ids, ("binary", "text")) == "text",
        ignore_unknown=one_of("unknown_columns", unknown_columns, ("raise", "ignore")) == "ignore",
        on_error=one_of("on_error", on_error, _ON_ERROR),
        threads=thread_count(threads),
        block_bytes=BLOCK_BYTES if block_bytes is None else block_bytes,
        unit_bytes=unit_bytes,
        id_bytes=0,
        time_begin=begin,
        time_end=end,
        clusters=clusters or [],
        functions=listed("funcID", funcID, (str,)) or [],
        runtime=join_table(runtime),
        regions=regions_of(sources),
    )
