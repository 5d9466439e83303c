"""Whether a trace is what it should be: identities, ranges, order, clusters of pods, gaps. One pass, bounded memory."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from rewarm.trace.check_findings import Finding
from rewarm.trace.check_group import Group
from rewarm.trace.listing import PathArgument
from rewarm.trace.one_source import one_source, record_batches
from rewarm.trace.progress import Progress
from rewarm.trace.shown import pyarrow
from rewarm.trace.source import discover

_COLUMNS = {"check": "string", "table": "string", "region": "string", "rows": "int64", "violations": "int64"}
_COLUMNS |= {"worst": "float64", "file": "string", "line": "int64"}


def check(
    path: PathArgument,
    *,
    table: str | None = None,
    region: str | Sequence[str] | None = None,
    time: tuple[float | None, float | None] | None = None,
    unknown_columns: str = "raise",
    threads: int | None = None,
    progress: bool = False,
) -> Any:
    """Checks every table under a path, one result for each rule, table and region.

    A check whose name begins with ``note`` counts what is normal in the release, such as requestIDs that come again; all
    others are rules. A field that cannot be read is a violation of the first rule and null for all others. Rules on columns
    that no file has are left out. Of what is followed key by key (requestIDs, pods) up to 8 M different ones are counted
    exactly and larger tables by an evenly drawn share, which the name of the check then says.

    Args:
        path: As in `read`; files of several tables may lie together.
        table: Only this one.
        region: Only these.
        time: Only these seconds.
        unknown_columns: "raise" or "ignore".
        threads: Default: one for every processor that may be used.
        progress: Whether to show how far the work is, on standard error.

    Returns:
        A ``pyarrow.Table`` with the columns check, table, region, rows, violations, worst, file and line: worst is the
        measure of the row that broke the rule most, and file and line are where it stands.

    Raises:
        TraceError: A file that cannot be read at all.
    """
    pa = pyarrow()
    found = discover(path, table=table, region=region, mixed=True)
    findings: list[Finding] = []
    done_bytes = done_rows = 0
    with contextlib.ExitStack() as stack:
        shown = stack.enter_context(Progress("check", sum(s.size for s in found.sources))) if progress else None
        for kind, name in sorted({(s.table, s.region or "") for s in found.sources}):
            group = Group(kind, name or None, time)
            for source in found.sources:
                if (source.table, source.region or "") != (kind, name):
                    continue
                with one_source(source, time=time, unknown_columns=unknown_columns, threads=threads, on_error="null") as stream:
                    for rows in group.file(source, record_batches(stream)):
                        done_rows += rows
                        if shown is not None:
                            shown(done_bytes + stream.progress[0], done_rows)
                    group.rejects(source, stream.rejects)
                done_bytes += source.size
            findings += group.findings()
    schema = pa.schema([(name, getattr(pa, kind)()) for name, kind in _COLUMNS.items()])
    return pa.Table.from_pylist([finding.as_record() for finding in findings], schema=schema)
