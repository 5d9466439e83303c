"""The batches of one file of any table, for `check` and `convert`, which take a release apart file by file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rewarm import __version__
from rewarm._native import core
from rewarm.trace.options import read_options
from rewarm.trace.rejects import Rejects
from rewarm.trace.runtime_trigger import PUBLISHED, read_functions
from rewarm.trace.shown import pyarrow
from rewarm.trace.source import Source
from rewarm.trace.table import Batches, Files

#: Rows of the runtime table in one batch.
_ROWS = 65536


class RuntimeBatches:
    """The runtime table as `Batches` are used here: a context manager and iterator with rejects."""

    def __init__(self, source: Source, columns: Sequence[str] | None, **options: Any) -> None:
        pa = pyarrow()
        found = read_functions([source], columns=columns, **options)
        asked = list(columns) if columns is not None else [*(name for name in PUBLISHED if name in found.present), "region"]
        types = {"cpu_request": pa.int32(), "runtime": pa.dictionary(pa.int32(), pa.string())}
        types |= {"region": pa.dictionary(pa.int32(), pa.string()), "triggers": pa.list_(pa.string())}
        types |= {name: pa.int32() for name in ("funcName", "userID", "cpu_limit", "memory_limit")}
        arrays = {name: pa.array(found.column(name), types.get(name, pa.string())) for name in asked}
        self._table = pa.table(arrays).replace_schema_metadata({"rewarm.table": "runtime", "rewarm.version": __version__})
        self.schema = self._table.schema
        self.rejects = Rejects(
            ((r.file, r.line, r.byte, r.column, r.text, r.expected, r.action) for r in found.rejects), found.rejected
        )
        self.progress = (source.size, self._table.num_rows)

    def __enter__(self) -> RuntimeBatches:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing is held."""

    def __iter__(self) -> Iterator[Any]:
        """The rows as ``pyarrow.RecordBatch``."""
        return iter(self._table.to_batches(_ROWS))


def one_source(source: Source, columns: Sequence[str] | None = None, **options: Any) -> Any:
    """Opens one file or archive member.

    Args:
        source: As `discover` found it.
        columns: As in `read`.
        options: Those of `read` that mean something for the table; the others are left out.

    Returns:
        A context manager and iterator with ``schema``, ``rejects`` and ``progress``. Iterate rather than stream: an Arrow
        stream would turn a `TraceError` into text.
    """
    options = {name: value for name, value in options.items() if value is not None}
    if source.table == "runtime":
        kept = {name: options[name] for name in ("on_error", "unknown_columns") if name in options}
        return RuntimeBatches(source, columns, **kept)
    if source.table == "minute":
        return _minute()(source, columns, **{name: value for name, value in options.items() if name != "ids"})
    settings = read_options([source], table=source.table, columns=columns, **options)
    reader = core.TraceReader(sources=[source], options=settings, recycle=True, version=__version__)
    return Batches(reader, Files([source.name], []))


def _minute() -> Callable[..., Any]:
    raise NotImplementedError
