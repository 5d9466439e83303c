"""How tables of a trace look to a person, and as JSON. Works on anything that speaks Arrow."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

from rich import box
from rich.table import Table

from rewarm.errors import BackendUnavailable
from rewarm.trace.rejects import Rejects

#: Groups and rejects that are printed; the rest is counted.
MOST_GROUPS, MOST_REJECTS = 40, 10
#: Hexadecimal digits of an id that are printed.
_ID_DIGITS = 12


def pyarrow() -> Any:
    """The module, or what to install."""
    try:
        import pyarrow
    except ImportError as error:
        raise BackendUnavailable('this command needs pyarrow: pip install "rewarm[trace]"') from error
    return pyarrow


def first_rows(batches: Iterator[Any], rows: int, schema: Any) -> Any:
    """The first rows of some ``pyarrow.RecordBatch`` as a table; takes no batch more than it needs."""
    pa = pyarrow()
    parts: list[Any] = []
    missing = rows
    while missing > 0 and (batch := next(batches, None)) is not None:
        parts.append(batch.slice(0, missing))
        missing -= parts[-1].num_rows
    return pa.Table.from_batches(parts, schema=pa.schema(schema))


def _as_table(table: Any) -> Any:
    pa = pyarrow()
    return table if isinstance(table, pa.Table) else pa.table(table)


def plain(value: Any) -> Any:
    """A value as JSON holds it: ids as hexadecimal digits, what is no number as None."""
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def records(table: Any) -> list[dict[str, Any]]:
    """One dict a row."""
    return [{name: plain(value) for name, value in row.items()} for row in _as_table(table).to_pylist()]


json_rows = records


def cell(value: Any) -> str:
    """A value as a person reads it; nothing for null."""
    if value is None:
        return ""
    if isinstance(value, (bytes, bytearray)):
        text = value.hex()
        return text if len(text) <= _ID_DIGITS + 1 else text[:_ID_DIGITS] + "…"
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(value)
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value))
    return str(value)


def rows_table(rows: Any, width: int) -> Table:
    """Rows below one another where the terminal is wide enough, else beside one another: one line a column."""
    names = rows.column_names
    units = [(field.metadata or {}).get(b"unit", b"").decode() for field in rows.schema]
    columns = [[cell(value) for value in rows.column(i).to_pylist()] for i in range(len(names))]
    titles = [f"{name}\n{unit}" if unit else name for name, unit in zip(names, units, strict=True)]
    widths = [max(map(len, [*title.split("\n"), *texts])) for title, texts in zip(titles, columns, strict=True)]
    numeric = [not isinstance(_first(rows.column(i).to_pylist()), (str, bytes, list)) for i in range(len(names))]
    kind = (rows.schema.metadata or {}).get(b"rewarm.table", b"").decode()
    title = f"{kind}: the first {rows.num_rows} rows" if rows.num_rows else f"{kind}: no rows"
    made = Table(title=title.lstrip(": "), title_justify="left", box=box.SIMPLE_HEAD)
    if sum(widths) + 2 * len(widths) + 2 <= width:
        for name, number in zip(titles, numeric, strict=True):
            made.add_column(name, justify="right" if number else "left", no_wrap=True)
        for row in zip(*columns, strict=True):
            made.add_row(*row)
        return made
    made.add_column("column", no_wrap=True)
    made.add_column("unit", no_wrap=True)
    room = width - max(map(len, names)) - max(4, *map(len, units)) - 6
    shown = 0
    while shown < rows.num_rows:
        room -= max(5, *(len(texts[shown]) for texts in columns)) + 2
        if room < 0 and shown > 0:
            break
        made.add_column(f"row {shown + 1}", justify="right", overflow="fold")
        shown += 1
    for name, unit, texts in zip(names, units, columns, strict=True):
        made.add_row(name, unit, *texts[:shown])
    if shown < rows.num_rows:
        made.caption = f"{rows.num_rows - shown} more rows do not fit; --columns shows fewer columns, --json all"
    return made


def _first(values: Sequence[Any]) -> Any:
    return next((value for value in values if value is not None), None)


def reject_lines(rejects: Rejects) -> list[str]:
    """What could not be read, one line each, as ``file:line (byte n), column c: expected …, got …: action``."""
    lines = [
        f"{r.file}:{r.line} (byte {r.byte}), {f'column {r.column}' if r.column is not None else 'the whole row'}: "
        f'expected {r.expected}, got "{r.text}": {r.action}'
        for r in itertools.islice(rejects, MOST_REJECTS)
    ]
    if rejects.count > len(lines):
        lines.append(f"… and {rejects.count - len(lines):,} more")
    return lines


def check_table(found: Sequence[dict[str, Any]]) -> Table:
    """One line a check."""
    made = Table(title="checks", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("table", "region", "check"):
        made.add_column(name, no_wrap=True)
    for name in ("rows", "violations", "worst"):
        made.add_column(name, justify="right", no_wrap=True)
    made.add_column("where", overflow="fold")
    for r in found:
        bad = bool(r["violations"]) and not r["check"].startswith("note")
        where = "" if r["file"] is None else r["file"] + ("" if r["line"] is None else f":{r['line']}")
        worst = "" if r["worst"] is None else f"{r['worst']:.6g}"
        numbers = [f"{r['rows']:,}", "" if r["violations"] is None else f"{r['violations']:,}", worst]
        made.add_row(r["table"], r["region"] or "", r["check"], *numbers, where, style="bold red" if bad else None)
    return made


def aggregate_table(found: Any) -> Table:
    """The first groups."""
    table = _as_table(found)
    made = Table(title=f"{table.num_rows:,} groups", title_justify="left", box=box.SIMPLE_HEAD)
    for name in table.column_names:
        made.add_column(name, justify="right", overflow="fold")  # a name cut short does not say which statistic it is
    for row in table.slice(0, MOST_GROUPS).to_pylist():
        made.add_row(*(f"{v:.6g}" if isinstance(v, float) else cell(v) for v in row.values()))
    if table.num_rows > MOST_GROUPS:
        made.caption = f"{table.num_rows - MOST_GROUPS:,} more; -o saves all, --json writes all"
    return made
