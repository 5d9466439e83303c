"""`read` keeps all rows of a table, `batches` gives them piece by piece in bounded memory.

The tables of the 2025 release are described in its README (``README_data_release_2025.md``) and in Joosen et al., "Serverless
Cold Starts and Where to Find Them", EuroSys 2025, section 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rewarm import __version__
from rewarm._native import core
from rewarm.errors import InvalidArgument
from rewarm.trace.listing import PathArgument
from rewarm.trace.minute import minute_reader
from rewarm.trace.options import RuntimeArgument, read_options
from rewarm.trace.rejects import Rejects
from rewarm.trace.runtime_trigger import functions_reader
from rewarm.trace.source import Found, Source, discover
from rewarm.trace.table import Batches, Files, Table


def _found(
    path: PathArgument,
    table: str | None,
    region: str | Sequence[str] | None,
    metric: str | Sequence[str] | None,
    stat: str | Sequence[str] | None,
) -> Found:
    found = discover(path, table=table, region=region, metric=metric, stat=stat)
    kind = found.sources[0].table
    if kind != "minute" and (metric is not None or stat is not None):
        raise InvalidArgument(f"metric and stat filter the minute tables, not the {kind} table")
    return found


def _files(found: Found) -> Files:
    return Files([source.name for source in found.sources], found.ignored)


def open_reader(
    sources: Sequence[Source],
    columns: Sequence[str] | None = None,
    *,
    recycle: bool,
    threads: int | None = None,
    **options: Any,
) -> Any:
    """What reads the rows of these files, all of one table.

    Args:
        sources: In row order.
        columns: As in `read`.
        recycle: Whether batches are let go: their memory is used again.
        threads: As in `read`.
        options: The other arguments of `read` that are about rows.
    """
    kind = sources[0].table
    if kind == "minute":
        return minute_reader(sources, columns, threads=threads, **options)
    if kind == "runtime":
        return functions_reader(sources, columns, **options)
    settings = read_options(sources, table=kind, columns=columns, threads=threads, **options)
    return core.TraceReader(sources=sources, options=settings, recycle=recycle, version=__version__)


def read(
    path: PathArgument,
    columns: Sequence[str] | None = None,
    *,
    table: str | None = None,
    region: str | Sequence[str] | None = None,
    time: tuple[float | None, float | None] | None = None,
    clusterName: int | Sequence[int] | None = None,
    funcID: str | Sequence[str] | None = None,
    metric: str | Sequence[str] | None = None,
    stat: str | Sequence[str] | None = None,
    ids: str = "binary",
    runtime: RuntimeArgument | None = None,
    on_error: str = "raise",
    unknown_columns: str = "raise",
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Table:
    """Reads one table of the trace into memory, exactly: floats are the bits of Python's ``float()``.

    Rows stand in the order of relative path (bytewise), archive member, row, whatever the number of threads. Only the columns
    asked for are interpreted: a bad field elsewhere is not looked at. Nulls are empty fields, ``""``, ``NaN`` and ``null``.

    Args:
        path: A file, a folder, a glob, a ZIP archive (read in place) or a list of them; plain, ``.gz`` or ``.zst``.
        columns: Names, in the order wanted. Default: all published columns that the files have, podID taken apart into
            ``poolName`` and ``pod_serial``, and ``region``. Times and costs are in seconds (``time``, ``time_worker`` and
            ``time_frontend`` since the trace began), ``cpu_usage`` in cores, ``memory_usage`` in MB, ``requestBodySize`` in
            bytes. By name also: ``podID``, ``funcID``, ``cpu_limit`` (millicores), ``memory_limit`` (MB), ``size``
            ("300-128"), ``pool_class`` (small: at most 400 millicores and 256 MB), ``day``, ``hour``, ``minute`` (whole ones
            since the trace began), ``hour_of_day``, and with `runtime` also ``runtime`` and ``trigger_group``.
        table: "cold_start", "request", "runtime" or "minute"; default: as the headers say.
        region: Keep these regions (R1, R2, ...); one region also names files whose path tells none.
        time: (start, stop) in seconds since the trace began, half open, None = open. A request's time is ``time_worker``, the
            stamp of its completion.
        clusterName: Keep these clusters.
        funcID: Keep these functions, ``funcName---userID---poolName``.
        metric: Keep these metrics of the minute tables.
        stat: Keep these stats of the minute tables.
        ids: "binary": requestID as 32 (or 16) bytes. "text": requestID and podID as published.
        runtime: Runtime tables to join on (region, funcID): a path, or a mapping to (runtime, trigger group).
        on_error: "raise"; "null": a bad field becomes null; "skip": its row is left out. A row with too few or too many fields
            is left out under both. What was refused is listed in ``rejects``.
        unknown_columns: "raise" or "ignore" columns that the release does not have, such as an unnamed index.
        threads: How many parse. Default: one for every processor that may be used. Where fewer parse than there are processors,
            a packed file is unpacked by one more thread beside the one that parses it, also with ``threads=1``; a process that
            may use one processor only (``os.sched_setaffinity``, ``taskset``) has no such thread.
        progress: Called about twenty times a second, from this thread, with the bytes and rows read so far.

    Returns:
        A `Table`.

    Raises:
        TraceError: A file cannot be read as what it claims to be; the first such place in row order under "raise".
        InvalidArgument: An argument that is not accepted.
    """
    found = _found(path, table, region, metric, stat)
    reader = open_reader(
        found.sources,
        columns,
        recycle=False,
        time=time,
        clusterName=clusterName,
        funcID=funcID,
        ids=ids,
        runtime=runtime,
        on_error=on_error,
        unknown_columns=unknown_columns,
        threads=threads,
    )
    holder = reader.read_all(progress=progress)
    files = _files(found)
    count, rows = reader.rejects()
    functions = list(reader.functions) if found.sources[0].table == "minute" else None
    rejects = Rejects(((files.read[row[0]], *row[1:]) for row in rows), count)
    return Table(holder, files, rejects, functions, getattr(reader, "assumed_region", None))


def batches(
    path: PathArgument,
    columns: Sequence[str] | None = None,
    *,
    table: str | None = None,
    region: str | Sequence[str] | None = None,
    time: tuple[float | None, float | None] | None = None,
    clusterName: int | Sequence[int] | None = None,
    funcID: str | Sequence[str] | None = None,
    metric: str | Sequence[str] | None = None,
    stat: str | Sequence[str] | None = None,
    ids: str = "binary",
    runtime: RuntimeArgument | None = None,
    on_error: str = "raise",
    unknown_columns: str = "raise",
    threads: int | None = None,
) -> Batches:
    """Reads one table of the trace piece by piece, in memory that does not grow with the files.

    A batch is what 8 MiB of text hold, cut at the same places whatever the number of threads. Rows, columns and values are
    those of `read`.

    Args:
        path: As in `read`.
        columns: As in `read`.
        table: As in `read`.
        region: As in `read`.
        time: As in `read`, in seconds.
        clusterName: As in `read`.
        funcID: As in `read`.
        metric: As in `read`.
        stat: As in `read`.
        ids: As in `read`.
        runtime: As in `read`.
        on_error: As in `read`; under "raise" the error comes after the batches before it.
        unknown_columns: As in `read`.
        threads: As in `read`.

    Returns:
        `Batches`, an iterator and context manager that is also an Arrow stream.

    Raises:
        TraceError: Here for what headers tell, from the iterator for what rows tell.
        InvalidArgument: An argument that is not accepted.
    """
    found = _found(path, table, region, metric, stat)
    reader = open_reader(
        found.sources,
        columns,
        recycle=True,
        time=time,
        clusterName=clusterName,
        funcID=funcID,
        ids=ids,
        runtime=runtime,
        on_error=on_error,
        unknown_columns=unknown_columns,
        threads=threads,
    )
    return Batches(reader, _files(found))
