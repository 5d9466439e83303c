"""The batches of one file of any table, for `check` and `convert`, which take a release apart file by file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rewarm.trace.reader import open_reader
from rewarm.trace.shown import pyarrow
from rewarm.trace.source import Source
from rewarm.trace.table import Batches, Files


def one_source(source: Source, columns: Sequence[str] | None = None, **options: Any) -> Batches:
    """Opens one file or archive member.

    Args:
        source: As `discover` found it.
        columns: As in `read`.
        options: Those of `read` that are about rows; None is left out, and so is what means nothing for the table.
    """
    meaningless = {"runtime": ("time", "ids"), "minute": ("ids",)}.get(source.table, ())
    given = {name: value for name, value in options.items() if value is not None and name not in meaningless}
    return Batches(open_reader([source], columns, recycle=True, **given), Files([source.name], []))


def record_batches(batches: Batches) -> Iterator[Any]:
    """Every batch as ``pyarrow.RecordBatch``. The Arrow stream of all of them would turn a `TraceError` into text."""
    pa = pyarrow()
    for batch in batches:
        yield from pa.RecordBatchReader.from_stream(batch)
