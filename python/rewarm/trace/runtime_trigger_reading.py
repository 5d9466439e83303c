"""Reads one file of the runtime and trigger table: at once where no row is odd, else row by row.

Every join waits for it, so files without oddities are cut by one regular expression, and what repeats from row to row is
looked at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

from rewarm._native import core
from rewarm.errors import TraceError
from rewarm.trace.rejects import Reject
from rewarm.trace.runtime_trigger_fields import parse_field
from rewarm.trace.runtime_trigger_table import PUBLISHED, Function, Functions
from rewarm.trace.source import RUNTIME_REGION, Source

_SHOWN_BYTES = 80


class Stated:
    """The runtime that was stated for each function, and where first."""

    def __init__(self) -> None:
        self.runtimes: dict[tuple[str, str], str | None] = {}
        self.rows: list[tuple[str, Sequence[tuple[str, str]], Sequence[int]]] = []  # file, functions, their lines

    def place(self, function: tuple[str, str]) -> str:
        """For an error, so it may take its time."""
        for file, functions, lines in self.rows:
            if function in functions:
                return f"{file}:{lines[functions.index(function)]}"
        raise KeyError(function)


def read_source(
    source: Source,
    result: Functions,
    *,
    on_error: str,
    wanted: frozenset[str] | None,
    stated: Stated,
) -> None:
    """Adds a file's rows and rejects to `result`.

    Args:
        source: A file of the runtime table, its header checked.
        result: What is added to.
        on_error: "raise", "null" or "skip".
        wanted: The functions to keep; None for all.
        stated: The runtimes that the files before stated; this file's are added.

    Raises:
        TraceError: The file cannot be opened or unpacked, or the first field or row that cannot be read under "raise".
    """
    data = content(source)
    if not read_plain(source, data, result, wanted, stated):
        RowByRow(source, data, result, on_error, wanted, stated).run()


def content(source: Source) -> bytes:
    """The whole file, decompressed."""
    try:
        if source.compression is None:
            with open(source.path, "rb") as opened:
                return opened.read()
        with source.open() as decoder:
            return b"".join(iter(lambda: decoder.read(1 << 20), b""))
    except OSError as error:
        raise TraceError(f"{source.name}: cannot be read: {error.strerror or error}", file=source.name) from error


#: A field of a row without oddities. Of texts, which ones are accepted is asked once for each.
_PLAIN = dict.fromkeys(PUBLISHED, r'([^,"\r\n]*)') | {"funcID": r'([0-9]{1,9}---[0-9]{1,9}---[^,"\r\n]+)'}


def read_plain(
    source: Source,
    data: bytes,
    result: Functions,
    wanted: frozenset[str] | None,
    stated: Stated,
) -> bool:
    """Reads a file in which no row is odd. False, and nothing is read: `RowByRow` has to find out what is."""
    if "funcID" not in source.header:
        return False
    try:
        text = data[source.header_bytes :].decode()
    except UnicodeDecodeError:
        return False
    pattern = ",".join(_PLAIN.get(name, r'[^,"\r\n]*') for name in source.header)
    names = [name for name in source.header if name in PUBLISHED]
    rows = re.findall(rf"^{pattern}\r?$", text, re.MULTILINE)
    if not rows or len(rows) != text.count("\n") + (not text.endswith("\n")):
        return False
    cells: dict[str, Sequence[Any]] = dict(zip(names, zip(*rows, strict=True) if len(names) > 1 else (rows,), strict=True))
    for name in names:
        if name == "funcID":
            continue
        known = {}
        for value in set(cells[name]):
            parsed, expected = (None, None) if value in ("", "NaN", "null") else parse_field(name, value)
            if expected is not None:
                return False
            known[value] = parsed
        cells[name] = [known[value] for value in cells[name]]
    region = source.region or RUNTIME_REGION
    keys = list(zip(repeat(region), cells["funcID"]))
    if "runtime" in cells:
        own = dict(zip(keys, cells["runtime"], strict=True))
        if any(own[key] != runtime for key, runtime in zip(keys, cells["runtime"], strict=True)) or any(
            stated.runtimes[key] != own[key] for key in own.keys() & stated.runtimes.keys()
        ):
            return False
        stated.runtimes |= own
        stated.rows.append((source.name, keys, range(2, len(keys) + 2)))
    found: Iterable[Function] = map(Function._make, zip(repeat(region), *(cells.get(name, repeat(None)) for name in PUBLISHED)))
    result.rows += found if wanted is None else (row for row in found if row.funcID in wanted)
    return True


@dataclass
class RowByRow:
    """Reads a file row by row, for rows with quotes and for the place of what cannot be read."""

    source: Source
    data: bytes
    result: Functions
    on_error: str
    wanted: frozenset[str] | None
    stated: Stated
    line: int = 0
    skip: bool = False
    functions: list[tuple[str, str]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)

    def run(self) -> None:
        """Adds the rows and rejects to the result, the stated runtimes to those of the files before."""
        self.stated.rows.append((self.source.name, self.functions, self.lines))
        region = self.source.region or RUNTIME_REGION
        column_of = {name: c for c, name in enumerate(self.source.header) if name in PUBLISHED}
        for line, byte, row in _rows(self.data, self.source.header_bytes):
            self.line = line
            fields = _split(row)
            if isinstance(fields, str) or len(fields) != len(self.source.header):
                got = fields if isinstance(fields, str) else f"{len(fields)} fields"
                self._reject(byte, None, row, f"{len(self.source.header)} fields, got {got}", "row skipped")
                continue
            self.skip = False
            values: dict[str, Any] = {}
            for name, c in column_of.items():
                text, offset = fields[c]
                values[name] = self._field(name, text, byte + offset)
            if not self.skip and "runtime" in values and values.get("funcID") is not None:
                self._same_runtime(region, values, byte + fields[column_of["runtime"]][1])
            if self.skip or (self.wanted is not None and values.get("funcID") not in self.wanted):
                continue
            self.result.rows.append(Function(region, *(values.get(name) for name in PUBLISHED)))

    def _field(self, name: str, raw: bytes, byte: int) -> Any:
        if raw in (b"", b'""', b"NaN", b"null"):
            return None
        if raw.startswith(b'"'):
            raw = raw[1:-1].replace(b'""', b'"')
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            self._bad(byte, name, raw, "UTF-8 text")
            return None
        value, expected = parse_field(name, text)
        if expected is not None:
            self._bad(byte, name, raw, expected)
        return value

    def _same_runtime(self, region: str, values: dict[str, Any], byte: int) -> None:
        key = region, values["funcID"]
        if key not in self.stated.runtimes:
            self.stated.runtimes[key] = values["runtime"]
            self.functions.append(key)
            self.lines.append(self.line)
            return
        first = self.stated.runtimes[key]
        if first != values["runtime"]:
            text = (values["runtime"] or "").encode()
            values["runtime"] = None
            where = self.stated.place(key)
            self._bad(byte, "runtime", text, f'the runtime "{first or ""}" that {where} gives {key[1]}')

    def _bad(self, byte: int, column: str, text: bytes, expected: str) -> None:
        self.skip = self.skip or self.on_error == "skip"
        self._reject(byte, column, text, expected, "row skipped" if self.on_error == "skip" else "null")

    def _reject(self, byte: int, column: str | None, text: bytes, expected: str, action: str) -> None:
        shown = text[:_SHOWN_BYTES].decode(errors="replace")
        if self.on_error == "raise":
            name = self.source.name
            place = f"{name}:{self.line} (byte {byte})" + (f", column {column}" if column else "")
            got = "" if ", got " in expected else f', got "{shown}"'
            raise TraceError(
                f"{place}: expected {expected}{got}",
                file=name,
                line=self.line,
                byte=byte,
                column=column,
                text=shown,
                expected=expected,
            )
        self.result.rejected += 1
        if len(self.result.rejects) < core.MOST_REJECTS:
            self.result.rejects.append(Reject(self.source.name, self.line, byte, column, shown, expected, action))


def _rows(text: bytes, header_bytes: int) -> Iterator[tuple[int, int, bytes]]:
    """Line number, byte and text of every row; blank lines are none."""
    byte = header_bytes
    for number, line in enumerate(text[byte:].split(b"\n"), start=2):
        row = line.removesuffix(b"\r")
        if row:
            yield number, byte, row
        byte += len(line) + 1


def _split(row: bytes) -> list[tuple[bytes, int]] | str:
    """The fields of a row, quotes kept, with their offsets; what is wrong with its quotes, if something is."""
    fields = []
    at = 0
    while True:
        end = at
        if row[at : at + 1] == b'"':
            end = at + 1
            while True:
                close = row.find(b'"', end)
                if close < 0:
                    return "a quote that is not closed before the end of the line"
                end = close + 1
                if row[end : end + 1] != b'"':
                    break
                end += 1
            if end < len(row) and row[end : end + 1] != b",":
                return "more text after a closing quote"
        else:
            end = row.find(b",", at)
            end = len(row) if end < 0 else end
        fields.append((row[at:end], at))
        if end >= len(row):
            return fields
        at = end + 1
