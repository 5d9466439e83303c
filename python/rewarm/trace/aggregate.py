"""Group, count and add up the rows of a table in one pass, exactly: the same rows give the same bits, however they were split.

Sums are whole numbers of 2⁻⁶⁰ and quantiles come from histograms with 64 bins an octave, so that neither depends on files,
threads, engines or merges. A quantile is within 0.782 % of the value at the 0-based rank floor(q (n − 1)).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewarm import __version__
from rewarm._native import core
from rewarm.errors import InvalidArgument, TraceError
from rewarm.trace.aggregate_scan import scan
from rewarm.trace.aggregate_spec import Spec, checked_by, checked_quantiles, checked_values, quantile_name
from rewarm.trace.listing import PathArgument
from rewarm.trace.options import RuntimeArgument, join_table, listed, one_of, thread_count, time_range
from rewarm.trace.rejects import Rejects
from rewarm.trace.schema import Schema
from rewarm.trace.source import discover
from rewarm.trace.whole_file import whole_file

__all__ = ["Aggregate", "FileRange", "aggregate"]

#: Group numbers are 32 bits wide.
MOST_GROUPS = 2**32 - 2


class FileRange(NamedTuple):
    """A file, or a range of it, whose rows an aggregate holds.

    Attributes:
        region: None where the path told none.
        file: Relative path, with ``!member`` behind an archive.
        begin: First byte.
        end: Behind the last byte; -1 for a compressed file, which is read whole.
    """

    region: str | None
    file: str
    begin: int
    end: int


class Aggregate:
    """The groups of an `aggregate`, sorted by their keys with nulls last; immutable.

    As Arrow (``pyarrow.table(a)``, ``polars.DataFrame(a)``, ...) it has the key columns, ``rows``, and for each value column v
    ``v_count`` (of what is not null), ``v_sum``, ``v_mean``, ``v_min``, ``v_max`` and a column for each quantile, ``v_p50``,
    ``v_p99_9``. Where a group holds no value of v, ``v_sum`` is 0 and the others are null.

    Aggregates of one question over different files or ranges add up by `merge`, which gives the same bits as one scan of all.
    """

    __slots__ = ("_core", "_spec")

    def __init__(self, native: Any) -> None:
        self._core = native
        self._spec = Spec.from_text(native.text)

    @property
    def table(self) -> str:
        """The table that was read: "cold_start", "request" or "minute"."""
        return self._spec.table

    @property
    def by(self) -> tuple[str, ...]:
        """The key columns."""
        return self._spec.by

    @property
    def values(self) -> tuple[str, ...]:
        """The value columns."""
        return self._spec.values

    @property
    def quantiles(self) -> tuple[float, ...]:
        """The quantiles that have a column."""
        return self._spec.quantiles

    @property
    def filters(self) -> dict[str, Any]:
        """What rows had to fulfil and how they were read."""
        return dict(self._spec.filters)

    @property
    def schema(self) -> Schema:
        """Names, types and units of the columns."""
        return Schema(self._core.fields(self._spec.suffixes), self.__arrow_c_schema__)

    @property
    def num_rows(self) -> int:
        """The number of groups."""
        return int(self._core.groups)

    @property
    def rejected(self) -> int:
        """How many fields and rows could not be read under ``on_error="null"`` or ``"skip"``."""
        return int(self._core.rejected)

    @property
    def rejects(self) -> Rejects:
        """What could not be read: the count, `rejected`, and the first 10,000 by file, region, line.

        They are part of the aggregate: of its bytes, of `merge` and of every engine. Two splits of the same files keep the
        same ones.
        """
        return Rejects(self._core.rejects, self.rejected)

    @property
    def files(self) -> list[FileRange]:
        """What was read, neighbouring ranges of a file joined."""
        return [FileRange(*entry) for entry in self._core.files]

    def quantile(self, value: str, q: float) -> NDArray[np.float64]:
        """Another quantile of a value column.

        Args:
            value: A column of `values`.
            q: From 0 to 1.

        Returns:
            One number for each group, in their order; NaN where a group holds no value.

        Raises:
            InvalidArgument: `value` is none of the value columns, `q` is out of range, or the aggregate was made without
                quantiles and so kept no histograms.
        """
        if value not in self.values:
            columns = ", ".join(self.values) or "none"
            raise InvalidArgument(f"Aggregate.quantile: value: expected one of {columns}, got {value!r}")
        (checked,) = checked_quantiles(q, self.values)
        if not self.quantiles:
            raise InvalidArgument("Aggregate.quantile: no histograms were kept; name at least one quantile when you aggregate")
        found: NDArray[np.float64] = self._core.quantile(self.values.index(value), checked)
        return found

    def to_numpy(self) -> dict[str, NDArray[Any]]:
        """The columns by name; whole numbers with nulls become float64 with NaN, text becomes object."""
        found: dict[str, NDArray[Any]] = {}
        for name, column, nulls, words in self._core.columns(self._spec.suffixes, thread_count(None)):
            if words is not None:
                text = np.array([*words, None], dtype=object)
                found[name] = text[column if nulls is None else np.where(nulls, len(words), column)]
            elif nulls is not None:
                found[name] = np.where(nulls, np.nan, column.astype(np.float64))
            else:
                found[name] = column
        return found

    def merge(self, *others: Aggregate) -> Aggregate:
        """This aggregate and others as one: what one scan of all their files gives, bit for bit.

        Raises:
            InvalidArgument: Another is the answer to another question, or holds a range of a file that is in here already: its
                rows would count twice.
        """
        for other in others:
            if not isinstance(other, Aggregate):
                raise InvalidArgument(f"Aggregate.merge: expected aggregates, got {type(other).__name__}")
            if other._spec != self._spec:
                difference = _difference(self._spec, other._spec)
                raise InvalidArgument(f"Aggregate.merge: expected answers to one question: {difference}")
        merged = core.TraceAggregate.merge([self._core, *(other._core for other in others)], thread_count(None))
        return Aggregate(merged)

    def to_bytes(self) -> bytes:
        """All of it, histograms and rejects included; equal aggregates give equal bytes on every machine."""
        data: bytes = self._core.to_bytes()
        return data

    @classmethod
    def from_bytes(cls, data: bytes) -> Aggregate:
        """What `to_bytes` wrote.

        Raises:
            InvalidArgument: The bytes are cut off, damaged, of another version, or no aggregate.
        """
        return cls(core.TraceAggregate.from_bytes(bytes(data)))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes `to_bytes` to a file, under another name until all of it is on disk: see `whole_file`."""
        with whole_file(Path(path)) as temporary:
            temporary.write_bytes(self.to_bytes())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Aggregate:
        """What `save` wrote.

        Raises:
            InvalidArgument: As `from_bytes`, with the file's name.
        """
        with open(path, "rb") as opened:
            data = opened.read()
        try:
            return cls.from_bytes(data)
        except InvalidArgument as error:
            raise InvalidArgument(f"{os.fspath(path)}: {error}") from error

    def __arrow_c_schema__(self) -> object:
        """The Arrow schema, as a PyCapsule."""
        return self._core.arrow_schema(self.table, __version__, self._spec.suffixes)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """One record batch of all groups, as a PyCapsule; may be asked for again. No other schema is given than ours."""
        return self._core.arrow_stream(self.table, __version__, self._spec.suffixes, thread_count(None))

    def __len__(self) -> int:
        return self.num_rows

    def __reduce__(self) -> tuple[Callable[[bytes], Aggregate], tuple[bytes]]:
        return Aggregate.from_bytes, (self.to_bytes(),)

    def __repr__(self) -> str:
        quantiles = f", {', '.join(map(quantile_name, self.quantiles))}" if self.quantiles else ""
        return (
            f"Aggregate({self.num_rows} group{'s' * (self.num_rows != 1)} of {self.table} by ({', '.join(self.by)}); "
            f"values ({', '.join(self.values)}){quantiles}; {len(self.files)} file{'s' * (len(self.files) != 1)}, "
            f"{self.rejected} rejected)"
        )


def _difference(a: Spec, b: Spec) -> str:
    for name in ("table", "by", "values", "quantiles"):
        if getattr(a, name) != getattr(b, name):
            return f"{name} {getattr(a, name)!r} and {getattr(b, name)!r}"
    mine, theirs = dict(a.filters), dict(b.filters)
    name = next(name for name in sorted({*mine, *theirs}) if mine.get(name) != theirs.get(name))
    return f"{name} {mine.get(name)!r} and {theirs.get(name)!r}"


def aggregate(
    path: PathArgument,
    by: str | Iterable[str] = (),
    values: str | Iterable[str] = (),
    quantiles: float | Iterable[float] = (),
    *,
    table: str | None = None,
    region: str | Sequence[str] | None = None,
    time: tuple[float | None, float | None] | None = None,
    clusterName: int | Sequence[int] | None = None,
    funcID: str | Sequence[str] | None = None,
    metric: str | Sequence[str] | None = None,
    stat: str | Sequence[str] | None = None,
    runtime: RuntimeArgument | None = None,
    on_error: str = "raise",
    unknown_columns: str = "raise",
    engine: str = "threads",
    workers: int | None = None,
    max_groups: int = 10_000_000,
    progress: Callable[[int, int], None] | None = None,
) -> Aggregate:
    """Counts, sums, means, extremes and quantiles for every group of rows, in one pass and memory for the groups only.

    Exact for any number of threads, any engine and any split into files: sums are added as whole numbers of 2⁻⁶⁰ and rounded
    once. A quantile q is the middle of the bin (64 an octave) of the value at the 0-based rank floor(q (n − 1)), within the
    group's minimum and maximum: at most 1/128 = 0.782 % from that value.

    Args:
        path: As in `read`.
        by: Keys: region, clusterName, funcName, userID, funcID, poolName, cpu_limit, memory_limit, size, pool_class, runtime,
            trigger_group, day, hour, minute, hour_of_day. Null is a key like any other. `funcID` without `region` adds
            `region`: functions are numbered per region. The time of a request is ``time_worker``. Minute tables also have
            metric and stat, and no clusterName. None: one group.
        values: Columns of numbers; of minute tables ``value``, each field that is not empty.
        quantiles: From 0 to 1; those that get a column. Naming at least one keeps histograms for `Aggregate.quantile`.
        table: As in `read`.
        region: As in `read`.
        time: As in `read`, in seconds.
        clusterName: As in `read`.
        funcID: As in `read`.
        metric: As in `read`.
        stat: As in `read`.
        runtime: As in `read`, for the keys ``runtime`` and ``trigger_group``. None: the runtime tables under `path`.
        on_error: As in `read`; `Aggregate.rejects` says what was refused.
        unknown_columns: As in `read`.
        engine: "threads" of this process, or "ray" (``pip install "rewarm[ray]"``): tasks of 64 MB of files on a Ray cluster
            that sees the same paths.
        workers: Threads or tasks at a time; default: all processors that may be used.
        max_groups: More groups than this are an error instead of a full memory.
        progress: Called about twenty times a second, from this thread, with the bytes and rows read so far.

    Returns:
        An `Aggregate`.

    Raises:
        TraceError: A file cannot be read as what it claims to be; the first such place in row order under "raise". A value of
            2**62 or more in size is one too: its sum would not be exact.
        InvalidArgument: An argument that is not accepted, or more than `max_groups` groups.
    """
    one_of("engine", engine, ("threads", "ray"))
    if isinstance(max_groups, bool) or not isinstance(max_groups, int) or not 1 <= max_groups <= MOST_GROUPS:
        raise InvalidArgument(f"max_groups: expected a whole number from 1 to {MOST_GROUPS}, got {max_groups!r}")
    keys, columns = checked_by(by), checked_values(values)
    wanted = checked_quantiles(quantiles, columns)
    sources = discover(path, table=table, region=region, metric=metric, stat=stat).sources
    kind = sources[0].table
    if kind != "minute" and (metric is not None or stat is not None):
        raise InvalidArgument(f"metric and stat filter the minute tables, not the {kind} table")
    joined = _functions(path, runtime) if "runtime" in keys or "trigger_group" in keys else None
    settings = {
        "time": time,
        "clusterName": clusterName,
        "funcID": funcID,
        "runtime": joined,
        "on_error": on_error,
        "unknown_columns": unknown_columns,
    }
    # Not among them: what chooses files. An aggregate says which ones it holds.
    filters = {
        "time": list(time_range(time)),
        "clusterName": _sorted(listed("clusterName", clusterName, (int,))),
        "funcID": _sorted(listed("funcID", funcID, (str,))),
        "runtime": None if joined is None else joined.fingerprint(),
        "on_error": on_error,
    }
    spec = Spec(kind, keys, columns, wanted, tuple(sorted(filters.items())))
    if engine == "ray":
        from rewarm.trace.ray import scan_on_ray

        return Aggregate(scan_on_ray(sources, spec, settings, max_groups=max_groups, workers=workers, progress=progress))
    return Aggregate(scan(sources, spec, settings, max_groups=max_groups, workers=workers, progress=progress))


def _functions(path: PathArgument, runtime: RuntimeArgument | None) -> core.TraceFunctions:
    given = join_table(runtime)
    if given is not None:
        return given
    from rewarm.trace.runtime_trigger_join import join_sources

    try:
        beside = discover(path, table="runtime").sources
    except TraceError as error:
        raise InvalidArgument(
            "aggregate: by: runtime and trigger_group need runtime=, the path of the runtime tables; none lie under "
            f"{os.fspath(path) if isinstance(path, str | os.PathLike) else 'the paths given'}"
        ) from error
    return join_sources(beside)


def _sorted(given: list[Any] | None) -> list[Any] | None:
    return None if given is None else sorted(set(given))
