"""One pass over the files of a table on this machine's threads: what both engines of `aggregate` are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rewarm._native import core
from rewarm.errors import InvalidArgument
from rewarm.trace.aggregate_spec import Spec
from rewarm.trace.options import read_options
from rewarm.trace.source import Source

#: Text a batch: its columns stay in the second-level cache between the reader and the groups.
BLOCK_BYTES = 256 << 10


def scan(
    sources: Sequence[Source],
    spec: Spec,
    settings: dict[str, Any],
    *,
    max_groups: int,
    workers: int | None,
    progress: Callable[[int, int], None] | None = None,
) -> Any:
    """The native aggregate of these sources, or of the ranges that they name.

    Args:
        sources: Of `spec.table`.
        spec: The question.
        settings: Further arguments of `options.read_options`.
        max_groups: More groups than this are an error.
        workers: Threads; None: all processors that this process may use.
        progress: Called with bytes and rows.
    """
    if spec.table not in ("cold_start", "request"):
        raise InvalidArgument(f"aggregate: table: expected cold_start or request, got {spec.table!r}")
    # A count of rows needs a column too: the region costs nothing to read.
    columns = list(dict.fromkeys((*spec.by, *spec.values))) or ["region"]
    options = read_options(sources, table=spec.table, columns=columns, threads=workers, block_bytes=BLOCK_BYTES, **settings)
    aggregate, _ = core.trace_scan(
        sources=sources,
        options=options,
        by=list(spec.by),
        values=list(spec.values),
        histograms=bool(spec.quantiles),
        max_groups=max_groups,
        text=spec.text(),
        progress=progress,
    )
    return aggregate
