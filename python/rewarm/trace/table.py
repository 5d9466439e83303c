"""Tables and batches of the trace: `read` keeps all rows, `batches` gives them piece by piece in bounded memory.

The tables of the 2025 release are described in its README (``README_data_release_2025.md``) and in Joosen et al., "Serverless
Cold Starts and Where to Find Them", EuroSys 2025, section 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from rewarm import __version__
from rewarm._native import core
from rewarm.errors import InvalidArgument
from rewarm.trace.listing import PathArgument
from rewarm.trace.minute import minute_reader
from rewarm.trace.options import RuntimeArgument, read_options
from rewarm.trace.rejects import Rejects
from rewarm.trace.runtime_trigger import functions_reader
from rewarm.trace.schema import Schema
from rewarm.trace.source import Found, Source, discover


class Files(NamedTuple):
    """Where a table came from.

    Attributes:
        read: Names of the files in row order, archive members behind ``!``.
        ignored: Names that were passed over: hidden and underscored ones, empty parts, files of other kinds.
    """

    read: list[str]
    ignored: list[str]


def _to_numpy(holder: Any, schema: Schema) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    for index, field in enumerate(schema):
        values = holder.column(index)
        if field.type.startswith("dictionary"):
            codes, words = values
            arrays[field.name] = np.array([*words, None], dtype=object)[codes]
        elif isinstance(values, list):
            array = np.empty(len(values), dtype=object)
            for row, value in enumerate(values):
                array[row] = value
            arrays[field.name] = array
        else:
            arrays[field.name] = values
    return arrays


def _no_array() -> NoReturn:
    raise TypeError("a trace table is several columns, not one array: use to_numpy(), or an Arrow library")


class Table:
    """All rows of a read, in memory, as Arrow lays them out.

    ``pyarrow.table(table)``, ``polars.DataFrame(table)``, ``pandas.DataFrame.from_arrow(table)`` and ``duckdb.from_arrow`` take
    it as it is, as often as one likes; pyarrow without a copy.

    Attributes:
        schema: Names, types and units of the columns.
        files: What was read and what was passed over.
        functions: Of a minute table, every function that its files have a column for, also where it is empty; None otherwise.
        rejects: What ``on_error="null"`` or ``"skip"`` refused.
    """

    def __init__(self, holder: Any, files: Files, rejects: Rejects, functions: list[str] | None = None) -> None:
        self._holder = holder
        self.schema = Schema(holder.fields, holder.schema_capsule)
        self.files = files
        self.rejects = rejects
        self.functions = functions

    @property
    def num_rows(self) -> int:
        """Rows."""
        return int(self._holder.num_rows)

    def __len__(self) -> int:
        return self.num_rows

    def to_numpy(self) -> dict[str, NDArray[Any]]:
        """One array a column, copied.

        Integers with nulls become float64 with NaN; dictionaries and text become arrays of ``str`` or None; binary ids become
        ``uint8[rows, width]``, zeros where they are null (numpy's ``S`` type would drop trailing zero bytes).
        """
        return _to_numpy(self._holder, self.schema)

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """The rows as an Arrow stream; may be asked for again. A requested schema is not cast to."""
        return self._holder.stream_capsule()

    def __arrow_c_schema__(self) -> Any:
        """The columns as Arrow sees them."""
        return self._holder.schema_capsule()

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refused: `to_numpy` says which column."""
        _no_array()

    def __repr__(self) -> str:
        return f"Table({self.num_rows} rows, {len(self.files.read)} files)\n{self.schema!r}"


class Batch:
    """Some consecutive rows of one file. Its memory is used again once it and all that was made of it are gone.

    Attributes:
        schema: Names, types and units of the columns.
    """

    def __init__(self, holder: Any, schema: Schema) -> None:
        self._holder = holder
        self.schema = schema

    @property
    def num_rows(self) -> int:
        """Rows."""
        return int(self._holder.num_rows)

    def __len__(self) -> int:
        return self.num_rows

    def to_numpy(self) -> dict[str, NDArray[Any]]:
        """One array a column, copied; as `Table.to_numpy`."""
        return _to_numpy(self._holder, self.schema)

    def __arrow_c_array__(self, requested_schema: Any = None) -> tuple[Any, Any]:
        """The rows as an Arrow struct array; holds the memory as long as the consumer does."""
        return self._holder.schema_capsule(), self._holder.array_capsule()

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """The rows as an Arrow stream of one batch."""
        return self._holder.stream_capsule()

    def __arrow_c_schema__(self) -> Any:
        """The columns as Arrow sees them."""
        return self._holder.schema_capsule()

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refused: `to_numpy` says which column."""
        _no_array()


class Batches:
    """The rows of a read, batch by batch, in row order: an iterator and a context manager.

    Threads read a few batches ahead and wait for the consumer, so memory stays bounded whatever the size of the files. Leaving
    the ``with`` block, or `close`, ends them.

    Attributes:
        schema: Names, types and units of the columns.
        files: What is read and what was passed over.
    """

    def __init__(self, holder: Any, files: Files) -> None:
        self._holder = holder
        self._streamed = False
        self.schema = Schema(holder.fields, holder.schema_capsule)
        self.files = files

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        if self._streamed:
            raise InvalidArgument("batches: the rows were given away as an Arrow stream, which can be done once")
        holder = self._holder.next()
        if holder is None:
            raise StopIteration
        return Batch(holder, self.schema)

    def __enter__(self) -> Batches:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the reading; there are no more batches then."""
        self._holder.stop()

    @property
    def rejects(self) -> Rejects:
        """What was refused in the files and blocks that are delivered; complete when the last batch is."""
        count, rows = self._holder.rejects()
        return Rejects(((self.files.read[row[0]], *row[1:]) for row in rows), count)

    @property
    def progress(self) -> tuple[int, int]:
        """Bytes of the files and rows that are read so far."""
        done_bytes, rows, _ = self._holder.counters()
        return done_bytes, rows

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """The remaining rows as an Arrow stream, once. Its batches are memory of their own, as those of the iterator."""
        if self._streamed:
            raise InvalidArgument("batches: the rows were given away as an Arrow stream, which can be done once")
        self._streamed = True
        return self._holder.stream_capsule()

    def __arrow_c_schema__(self) -> Any:
        """The columns as Arrow sees them."""
        return self._holder.schema_capsule()


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
    return Table(holder, files, Rejects(((files.read[row[0]], *row[1:]) for row in rows), count), functions)


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
