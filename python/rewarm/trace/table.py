"""What a read gives: a `Table` of all rows, or `Batches` of them piece by piece, each as Arrow lays it out."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from rewarm.errors import InvalidArgument, TraceError
from rewarm.trace.rejects import Rejects
from rewarm.trace.schema import Schema


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
        assumed_region: Of a runtime table of which the path of a file told no region: the one it was taken for, "R2". None
            otherwise. The Arrow schema has it as ``rewarm.assumed_region``.
    """

    def __init__(
        self,
        holder: Any,
        files: Files,
        rejects: Rejects,
        functions: list[str] | None = None,
        assumed_region: str | None = None,
    ) -> None:
        self._holder = holder
        self.schema = Schema(holder.fields, holder.schema_capsule)
        self.files = files
        self.rejects = rejects
        self.functions = functions
        self.assumed_region = assumed_region

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
        assumed = "" if self.assumed_region is None else f", taken to be of region {self.assumed_region}"
        return f"Table({self.num_rows} rows, {len(self.files.read)} files{assumed})\n{self.schema!r}"


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
        assumed_region: As `Table.assumed_region`.
    """

    def __init__(self, holder: Any, files: Files) -> None:
        self._holder = holder
        self._streamed = False
        self._error: TraceError | None = None
        self.assumed_region: str | None = getattr(holder, "assumed_region", None)
        self.schema = Schema(holder.fields, holder.schema_capsule)
        self.files = files

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        if self._streamed:
            raise InvalidArgument("batches: the rows were given away as an Arrow stream, which can be done once")
        try:
            holder = self._holder.next()
        except TraceError as error:
            self._error = error
            raise
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
    def error(self) -> TraceError | None:
        """The error that ended the reading, with its place; None as long as there is none.

        An Arrow stream can pass on text only. Whoever pulled it gets an error of their own with the whole of that text
        (pyarrow: ``ArrowInvalid``, polars: ``ComputeError``), and finds here what it was made of.
        """
        if self._error is None:
            try:
                self._holder.raise_failure()
            except TraceError as error:
                self._error = error
        return self._error

    @property
    def progress(self) -> tuple[int, int]:
        """Bytes of the files and rows that are read so far."""
        done_bytes, rows, _ = self._holder.counters()
        return done_bytes, rows

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """The remaining rows as an Arrow stream, once. Its batches are memory of their own, as those of the iterator.

        A `TraceError` in the middle reaches the consumer as text; `error` has it whole.
        """
        if self._streamed:
            raise InvalidArgument("batches: the rows were given away as an Arrow stream, which can be done once")
        self._streamed = True
        return self._holder.stream_capsule()

    def __arrow_c_schema__(self) -> Any:
        """The columns as Arrow sees them."""
        return self._holder.schema_capsule()
