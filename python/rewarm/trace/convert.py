"""Traces as Parquet: one file for every input file, rows in the same order."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rewarm.errors import BackendUnavailable, InvalidArgument
from rewarm.trace.listing import PathArgument
from rewarm.trace.progress import Progress
from rewarm.trace.source import Source, discover
from rewarm.trace.whole_file import whole_file

_TIME = {"cold_start": "time", "request": "time_worker", "minute": "time"}


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
) -> tuple[list[Path], list[Any]]:
    """`convert` with the options of `read`; also returns the rejects of every file that has some."""
    _parquet()
    found = discover(path, table=table, region=region, mixed=True)
    targets = _targets(found.sources, Path(out))
    rejects = []
    done_bytes = done_rows = 0
    with contextlib.ExitStack() as stack:
        shown = stack.enter_context(Progress("convert", sum(s.size for s in found.sources))) if progress else None
        for source, target in zip(found.sources, targets, strict=True):
            target.parent.mkdir(parents=True, exist_ok=True)
            for rows in _write(source, target, options, rejects):
                done_rows += rows
                if shown is not None:
                    shown(done_bytes, done_rows)
            done_bytes += source.size
    return targets, rejects
