"""Runtime tables in the form in which other tables join them: read by the engine where no row is odd.

Every join waits for them, and `functions` makes objects of thousands of rows that nobody looks at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rewarm._native import core
from rewarm.trace.runtime_trigger import check_header, read_functions
from rewarm.trace.runtime_trigger_fields import parse_field, trigger_group
from rewarm.trace.runtime_trigger_reading import content
from rewarm.trace.source import RUNTIME_REGION, Source, discover


def join_of(path: Any) -> core.TraceFunctions:
    """The engine's join table of the runtime tables under a path.

    Raises:
        TraceError: As `rewarm.trace.runtime_trigger.functions`.
    """
    return join_sources(discover(path, table="runtime").sources)


def join_sources(sources: Sequence[Source]) -> core.TraceFunctions:
    """The engine's join table of these runtime tables.

    Raises:
        TraceError: As `rewarm.trace.runtime_trigger.read_functions`.
    """
    table = core.TraceFunctions([])
    for source in sources:
        check_header(source, (), "raise")
        region = source.region or RUNTIME_REGION
        if not table.add_plain(region, content(source), source.header_bytes, list(source.header), _word_of):
            # Something is odd: the slow way knows what to make of it, or where it stands and what is accepted.
            rows = read_functions(sources).lookup()
            return core.TraceFunctions([(region, function, *values) for (region, function), values in rows.items()])
    return table


def _word_of(column: str, text: str) -> tuple[bool, str | None]:
    """Whether a field is accepted, and what the join says where it stands."""
    if text in ("", "NaN", "null"):
        return True, None
    value, expected = parse_field(column, text)
    if expected is not None or column == "cpu_request":
        return expected is None, None
    return True, trigger_group(text) if column == "triggerType-invocationType" else value
