"""The runtime and trigger table: which runtime a function has, and what triggers it.

2,418 rows of one region: read in plain Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rewarm.errors import InvalidArgument, TraceError
from rewarm.trace.options import column_list, listed, one_of, thread_count
from rewarm.trace.runtime_trigger_reading import Stated, read_source
from rewarm.trace.runtime_trigger_table import COLUMNS, DERIVED, PUBLISHED, Functions
from rewarm.trace.source import RUNTIME_REGION, Source, discover


def functions(path: Any, *, region: str | Sequence[str] | None = None) -> dict[tuple[str, str], tuple[str | None, str | None]]:
    """(region, funcID) → (runtime, trigger group) of the runtime tables under a path.

    A table whose path tells no region is Region 2's, the only one that was published.

    Raises:
        TraceError: There is no runtime table, or one cannot be read.
    """
    return read_functions(discover(path, table="runtime", region=region).sources).lookup()


def read_functions(
    sources: Iterable[Source],
    *,
    columns: Sequence[str] | None = None,
    funcID: Sequence[str] | None = None,
    on_error: str = "raise",
    unknown_columns: str = "raise",
) -> Functions:
    """Reads runtime tables.

    Args:
        sources: Files of the runtime table.
        columns: What will be asked for, to say early what the files lack.
        funcID: Keep these functions only.
        on_error: "raise", "null" (a bad field becomes null) or "skip" (its row is left out). A row with too few or too many
            fields is left out under both.
        unknown_columns: "raise" or "ignore".

    Raises:
        TraceError: A column is missing or unknown, or a field or row cannot be read under "raise": the first in row order. A
            function that two rows give two runtimes is such a field.
    """
    if on_error not in ("raise", "null", "skip"):
        raise InvalidArgument(f'on_error: expected "raise", "null" or "skip", got {on_error!r}')
    sources = list(sources)
    result = Functions(files=[source.name for source in sources], nbytes=sum(source.size for source in sources))
    wanted = None if funcID is None else frozenset(funcID)
    present = set(PUBLISHED)
    stated = Stated()
    for source in sources:
        check_header(source, columns or (), unknown_columns)
        present &= set(source.header)
        result.assumed = result.assumed or source.region is None
        read_source(source, result, on_error=on_error, wanted=wanted, stated=stated)
    result.present = tuple(name for name in PUBLISHED if name in present)
    return result


#: The published columns that a column is made of.
_NEEDS = {name: "triggerType-invocationType" if name.startswith("trigger") else "funcID" for name in DERIVED}


def check_header(source: Source, columns: Sequence[str], unknown_columns: str) -> None:
    """Raises where the file has a column that is not known, or lacks one that is asked for."""
    where = f"{source.name}:1"
    for name in source.header:
        if name not in PUBLISHED and unknown_columns != "ignore":
            raise TraceError(
                f"{where}: expected columns of the runtime table ({', '.join(PUBLISHED)}), got {name!r}; "
                'unknown_columns="ignore" passes over it',
                file=source.name,
                line=1,
                column=name,
                text=name,
            )
    for name in columns:
        if name not in COLUMNS:
            raise InvalidArgument(f"columns: the runtime table has {', '.join(COLUMNS)}; got {name!r}")
        needed = _NEEDS.get(name, name)
        if needed != "region" and needed not in source.header:
            raise TraceError(
                f"{where}: the file has no column {needed}, which {name} needs", file=source.name, line=1, column=needed
            )


class FunctionsReader:
    """Runtime tables behind the face of the engine's readers: all rows in one batch."""

    def __init__(self, found: Functions, columns: Sequence[str] | None) -> None:
        self._found = found
        self._table = found.to_holder(columns)
        self._left = True
        self.fields = self._table.fields
        self.schema_capsule = self._table.schema_capsule
        self.stream_capsule = self._table.stream_capsule
        self.assumed_region = RUNTIME_REGION if found.assumed else None

    def next(self) -> Any:
        """The batch, then None."""
        left, self._left = self._left and self._table.num_rows > 0, False
        return self._table if left else None

    def read_all(self, progress: Callable[[int, int], None] | None) -> Any:
        """The table."""
        if progress is not None:
            progress(*self.counters()[:2])
        return self._table

    def raise_failure(self) -> None:
        """Nothing: what cannot be read was raised when the tables were opened."""

    def stop(self) -> None:
        """Ends `next`."""
        self._left = False

    def counters(self) -> tuple[int, int, int]:
        """Bytes, rows and files that are read."""
        return self._found.nbytes, len(self._found.rows), len(self._found.files)

    def rejects(self) -> tuple[int, list[tuple[Any, ...]]]:
        """How many there were, and those that are kept, with the file's index."""
        index = {name: i for i, name in enumerate(self._found.files)}
        return self._found.rejected, [(index[reject.file], *reject[1:]) for reject in self._found.rejects]


def functions_reader(
    sources: Sequence[Source],
    columns: Sequence[str] | None = None,
    *,
    time: Any = None,
    funcID: str | Sequence[str] | None = None,
    on_error: str = "raise",
    unknown_columns: str = "raise",
    threads: int | None = None,
    clusterName: Any = None,
    ids: str = "binary",
    runtime: Any = None,
) -> FunctionsReader:
    """Runtime tables as `read` and `batches` take them; the arguments are theirs.

    Raises:
        TraceError: See `read_functions`.
        InvalidArgument: An argument that is not accepted: the table has no time, no clusters, and is not joined with itself.
    """
    for name, value in (("time", time), ("clusterName", clusterName), ("runtime", runtime)):
        if value is not None:
            raise InvalidArgument(f"{name}: the runtime table is not read by it")
    one_of("ids", ids, ("binary", "text"))
    one_of("unknown_columns", unknown_columns, ("raise", "ignore"))
    thread_count(threads)
    names = column_list(columns)
    found = read_functions(
        sources,
        columns=names,
        funcID=listed("funcID", funcID, (str,)),
        on_error=on_error,
        unknown_columns=unknown_columns,
    )
    return FunctionsReader(found, names)
