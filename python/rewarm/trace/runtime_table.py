"""The runtime table as `Table` and `Batches` hold it: a few thousand rows of plain Python, given to Arrow by pyarrow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rewarm import __version__
from rewarm.errors import BackendUnavailable, InvalidArgument
from rewarm.trace.options import column_list, listed, one_of
from rewarm.trace.runtime_trigger import UNITS, Functions, read_functions
from rewarm.trace.source import Source

_WORDS = "dictionary<int32, utf8>"
_TYPES = dict.fromkeys(("cpu_request", "cpu_limit", "memory_limit", "funcName", "userID"), "int32")
_TYPES |= dict.fromkeys(("runtime", "trigger_group", "poolName", "size", "region"), _WORDS)
_TYPES |= {"triggers": "list<utf8>"}


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise BackendUnavailable('the runtime table as Arrow needs pyarrow: pip install "rewarm[trace]"') from error
    return pyarrow


class RuntimeReader:
    """Reader, table and only batch at once, as `rewarm._core.TraceReader`, ``TraceTable`` and ``TraceBatch`` are.

    Args:
        sources: Files of the runtime table, in row order.
        columns: Published or derived names; default: the published ones that all files have, and ``region``.
        funcID: Keep these functions.
        on_error: "raise", "null" or "skip".
        unknown_columns: "raise" or "ignore".
        options: Other arguments of `read`, refused where they would have to mean something.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        columns: Sequence[str] | None = None,
        *,
        funcID: str | Sequence[str] | None = None,
        on_error: str = "raise",
        unknown_columns: str = "raise",
        **options: Any,
    ) -> None:
        for name in ("time", "clusterName", "runtime"):
            if options.get(name) is not None:
                raise InvalidArgument(f"{name}: the runtime table has no such column to filter by or join")
        names = column_list(columns)
        if names is not None and len(set(names)) < len(names):
            raise InvalidArgument(f"columns: a name is asked for twice in {names}")
        self._size = sum(source.size for source in sources)
        self._rows: Functions = read_functions(
            sources,
            columns=names,
            funcID=listed("funcID", funcID, (str,)),
            on_error=on_error,
            unknown_columns=one_of("unknown_columns", unknown_columns, ("raise", "ignore")),
        )
        self._names = names or [*self._rows.present, "region"]
        self._given = False
        self.num_rows = len(self._rows.rows)
        self.fields = [(name, _TYPES.get(name, "utf8"), UNITS.get(name, "")) for name in self._names]

    def column(self, index: int) -> Any:
        """As ``TraceTable.column``: (codes, words) of a dictionary, an array of numbers, a list of everything else."""
        name, kind, _ = self.fields[index]
        values = self._rows.column(name)
        if kind == "int32":
            if None in values:
                return np.array([np.nan if value is None else value for value in values], np.float64)
            return np.array(values, np.int32)
        if kind != _WORDS:
            return values
        codes = {word: code for code, word in enumerate(dict.fromkeys(v for v in values if v is not None))}
        return np.array([-1 if value is None else codes[value] for value in values], np.int32), list(codes)

    def _arrow(self) -> Any:
        pa = _pyarrow()
        types = {
            "utf8": pa.string(),
            "int32": pa.int32(),
            _WORDS: pa.dictionary(pa.int32(), pa.string()),
            "list<utf8>": pa.list_(pa.string()),
        }
        metadata = {"rewarm.table": "runtime", "rewarm.version": __version__}
        schema = pa.schema([pa.field(n, types[t], metadata={"unit": u} if u else None) for n, t, u in self.fields], metadata)
        return pa.table([pa.array(self._rows.column(name), types[kind]) for name, kind, _ in self.fields], schema=schema)

    def schema_capsule(self) -> Any:
        """The columns."""
        return self._arrow().schema.__arrow_c_schema__()

    def stream_capsule(self) -> Any:
        """All rows."""
        return self._arrow().__arrow_c_stream__()

    def array_capsule(self) -> Any:
        """All rows as one array."""
        return self._arrow().combine_chunks().to_struct_array().combine_chunks().__arrow_c_array__()[1]

    def next(self) -> RuntimeReader | None:
        """The only batch, then None."""
        if self._given or self.num_rows == 0:
            return None
        self._given = True
        return self

    def read_all(self, progress: Callable[[int, int], None] | None) -> RuntimeReader:
        """The table."""
        if progress is not None:
            progress(self._size, self.num_rows)
        return self

    def stop(self) -> None:
        """There is no next batch."""
        self._given = True

    def counters(self) -> tuple[int, int, int]:
        """Bytes, rows and files read."""
        return self._size, self.num_rows, len(self._rows.files)

    def rejects(self) -> tuple[int, list[tuple[Any, ...]]]:
        """How many, and the first of them with the index of their file."""
        rows: list[tuple[Any, ...]] = [
            (self._rows.files.index(r.file), r.line, r.byte, r.column, r.text, r.expected, r.action) for r in self._rows.rejects
        ]
        return self._rows.rejected, rows
