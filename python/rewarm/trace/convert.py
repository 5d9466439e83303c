"""Traces as Parquet: one file for every input file, rows in the same order."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from rewarm.errors import InvalidArgument
from rewarm.trace.listing import PathArgument
from rewarm.trace.one_source import one_source, record_batches
from rewarm.trace.progress import Progress
from rewarm.trace.rejects import Rejects
from rewarm.trace.shown import pyarrow
from rewarm.trace.source import Source, discover
from rewarm.trace.whole_file import whole_file

_TIME = {"cold_start": "time", "request": "time_worker", "minute": "time"}
#: Rows of a Parquet row group: enough that the columns of one are worth a read of their own, few enough to hold.
_ROW_GROUP = 1 << 19


def convert(
    path: PathArgument, out: str | os.PathLike[str], *, table: str | None = None, region: str | Sequence[str] | None = None
) -> list[Path]:
    """Writes one Parquet file (zstd) for every input file or archive member, order kept.

    ``cold_start/R1.zip!R1/day_00.csv`` becomes ``OUT/cold_start/R1.zip/R1/day_00.parquet``. A file appears under its name
    only when it is whole. Rows are claimed to be sorted by their time, in the file's own metadata, only where a first pass
    over that column found them so.

    Args:
        path: As in `read`; files of several tables may lie together.
        out: A folder, made when it is missing; for a single input also a name that ends in ``.parquet``.
        table: Only this one.
        region: Only these.

    Returns:
        The files written, in the order of the input.

    Raises:
        TraceError: An input that cannot be read; files that were already written stay.
        InvalidArgument: Two inputs that would get the same name.
    """
    return convert_all(path, out, table=table, region=region)[0]


def convert_all(
    path: PathArgument,
    out: str | os.PathLike[str],
    *,
    table: str | None = None,
    region: str | Sequence[str] | None = None,
    progress: bool = False,
    **options: Any,
) -> tuple[list[Path], list[Rejects]]:
    """`convert` with the options of `read`; also returns the rejects of every file that has some."""
    found = discover(path, table=table, region=region, mixed=True)
    targets = _targets(found.sources, Path(out))
    rejects: list[Rejects] = []
    rows = done_bytes = 0
    with contextlib.ExitStack() as stack:
        shown = stack.enter_context(Progress("convert", sum(s.size for s in found.sources))) if progress else None

        def tick(more: int) -> None:
            nonlocal rows
            rows += more
            if shown is not None:
                shown(done_bytes, rows)

        for source, target in zip(found.sources, targets, strict=True):
            target.parent.mkdir(parents=True, exist_ok=True)
            found_wrong = _write(source, target, options, tick)
            if found_wrong.count:
                rejects.append(found_wrong)
            done_bytes += source.size
            tick(0)
    return targets, rejects


def _targets(sources: Sequence[Source], out: Path) -> list[Path]:
    if len(sources) == 1 and out.suffix == ".parquet" and not out.is_dir():
        return [out]
    if out.exists() and not out.is_dir():
        raise InvalidArgument(f"{out}: expected a folder for {len(sources)} files, it is a file")
    targets = [out.joinpath(*_parts(source.name)) for source in sources]
    first: dict[Path, Source] = {}
    for source, target in zip(sources, targets, strict=True):
        other = first.setdefault(target, source)
        if other is not source:
            raise InvalidArgument(f"{other.name} and {source.name} would both become {target}")
    return targets


def _parts(name: str) -> list[str]:
    """``a/R1.zip!R1/day_00.csv`` -> a, R1.zip, R1, day_00.parquet; nothing of it leads out of the folder."""
    parts = [part for part in PurePosixPath(name.replace("!", "/")).parts if part not in ("/", "..")]
    for ending in (".gz", ".zst", ".csv"):
        parts[-1] = parts[-1].removesuffix(ending)
    return [*parts[:-1], f"{parts[-1]}.parquet"]


def _write(source: Source, target: Path, options: dict[str, Any], tick: Callable[[int], None]) -> Rejects:
    """Writes one file; `tick` hears of the rows. Returns what could not be read."""
    pa = pyarrow()
    pq = importlib.import_module("pyarrow.parquet")
    with one_source(source, **options) as stream:
        schema = pa.schema(stream.schema)
        at = schema.get_field_index(_TIME.get(source.table, ""))
        sorting = [pq.SortingColumn(at)] if at >= 0 and _is_sorted(source, schema.field(at).name, options) else None
        with (
            whole_file(target) as temporary,
            pq.ParquetWriter(temporary, schema, compression="zstd", sorting_columns=sorting) as writer,
        ):
            waiting: list[Any] = []
            for batch in record_batches(stream):
                waiting.append(batch)
                tick(batch.num_rows)
                if sum(b.num_rows for b in waiting) >= _ROW_GROUP:
                    writer.write_table(pa.Table.from_batches(waiting, schema=schema).unify_dictionaries())
                    waiting = []
            if waiting:
                writer.write_table(pa.Table.from_batches(waiting, schema=schema).unify_dictionaries())
        found: Rejects = stream.rejects
        return found


def _is_sorted(source: Source, column: str, options: dict[str, Any]) -> bool:
    """Whether the column never falls and is never null: the claim of a Parquet file is about every row."""
    last = -np.inf
    with one_source(source, **(options | {"columns": [column]})) as stream:
        for batch in record_batches(stream):
            values = batch.column(0)
            if values.null_count:
                return False
            array = values.to_numpy()
            if len(array) and (array[0] < last or (np.diff(array) < 0).any()):
                return False
            last = array[-1] if len(array) else last
    return True
