"""The first line of a trace file: its column names, and which of the four tables they mean."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from rewarm.errors import TraceError

#: The four tables of the 2025 release.
TABLES = ("cold_start", "request", "runtime", "minute")

_COLD_START = frozenset(
    ("totalCost_cold_start", "podAllocationCost", "deployCodeCost", "deployDependencyCost", "schedulingCost")
)
_REQUEST = frozenset(("totalCost_worker", "runtimeCost", "time_worker", "totalCost_frontend"))
_RUNTIME = frozenset(("funcID", "runtime"))
_MINUTE = frozenset(("day", "time"))
#: Every published column name: a first line that holds one of them is a header.
_PUBLISHED = (
    _COLD_START
    | _REQUEST
    | _RUNTIME
    | _MINUTE
    | frozenset(("clusterName", "funcName", "userID", "requestID", "podID", "cpu_request", "triggerType-invocationType"))
    | frozenset(("time_frontend", "workerCost", "frontendCost", "busCost", "readBodyCost", "writeRspCost"))
    | frozenset(("cpu_usage", "memory_usage", "requestBodySize"))
)
_NUMBER = re.compile(r"-?\d+(\.\d*)?([eE][+-]?\d+)?")
#: What pandas writes over an index without a name, and what it calls that column once it has read it.
_INDEX_NAMES = ("", "Unnamed: 0")

#: What a file whose first line is a row of data lacks.
A_HEADER = "a header of column names"

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
#: The widest published header, 7,570 functions of Region 4, has about 220 KB.
_LONGEST_HEADER = 16 << 20
_FIRST_READ = 64 << 10


@dataclass(frozen=True)
class Header:
    """Column names and where the data begin.

    Attributes:
        columns: Names, unquoted.
        nbytes: Up to and with the line's end, byte order mark included.
        crlf: Whether the line ended in CRLF.
        table: That the names mean, None where they leave it open.
    """

    columns: tuple[str, ...]
    nbytes: int
    crlf: bool
    table: str | None


def first_line(read: Callable[[int], bytes], name: str) -> bytes:
    """Everything up to and with the first line feed; all there is when there is none; empty for an empty file."""
    head = b""
    while True:
        more = read(max(_FIRST_READ, len(head)))
        end = more.find(b"\n")
        if end >= 0:
            return head + more[: end + 1]
        head += more
        if not more:
            return head
        if len(head) > _LONGEST_HEADER:
            raise TraceError(
                f"{name}:1: expected a header line, got {len(head):,} bytes without a line feed", file=name, line=1, byte=0
            )


def parse_header(line: bytes, name: str) -> Header:
    """Splits a header line, which may begin with a byte order mark, be quoted and end in LF, CRLF or nothing.

    Raises:
        TraceError: It is not UTF-8, is blank, leaves a quote open, or names a column twice; or it is a row of data, which
            `expected` = A_HEADER tells apart.
    """

    def fail(what: str, byte: int = 0, text: str | None = None) -> NoReturn:
        raise TraceError(
            f"{name}:1 (byte {byte}): expected a header of column names, got {what}", file=name, line=1, byte=byte, text=text
        )

    if line[:2] in (b"\xff\xfe", b"\xfe\xff"):
        fail("UTF-16 text; UTF-8 is accepted")
    mark = len(_BYTE_ORDER_MARK) if line.startswith(_BYTE_ORDER_MARK) else 0
    body = line[mark:].removesuffix(b"\n")
    crlf = body.endswith(b"\r")
    body = body.removesuffix(b"\r")
    if b"\r" in body:
        fail("a lone carriage return; lines end in LF or CRLF", mark + body.index(b"\r"))
    if b"\0" in body:
        fail("a zero byte: this is not text", mark + body.index(b"\0"))
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        fail(f"bytes that are not UTF-8: {body[error.start : error.start + 8]!r}", mark + error.start)
    if not text.strip():
        fail("a blank line")
    try:
        (columns,) = csv.reader([text], strict=True)
    except (csv.Error, ValueError) as error:
        fail(f"a quote that is not closed or stands inside a name ({error})", mark, text[:80])
    if _is_data(columns):
        raise TraceError(
            f"{name}:1 (byte 0): expected {A_HEADER}, got a row of data, {text[:80]!r}: this part was written without "
            'a header; write it again with .option("header", True)',
            file=name,
            line=1,
            byte=0,
            text=text[:80],
            expected=A_HEADER,
        )
    seen: set[str] = set()
    for column in columns:
        if column in seen:
            fail(f"the column {column!r} twice", mark, column)
        seen.add(column)
    return Header(tuple(columns), len(line), crlf, detect_table(tuple(columns)))


def detect_table(columns: tuple[str, ...]) -> str | None:
    """The table that a header belongs to; None where its names fit none of the four, or two."""
    names = frozenset(columns)
    cold_start, request = bool(names & _COLD_START), bool(names & _REQUEST)
    if cold_start or request:
        return None if cold_start and request else ("cold_start" if cold_start else "request")
    if names >= _RUNTIME:
        return "runtime"
    if names >= _MINUTE:
        others = [c for i, c in enumerate(columns) if c not in _MINUTE and not (i == 0 and c in _INDEX_NAMES)]
        if others and all(map(_is_funcid, others)):
            return "minute"
    return None


def _is_funcid(column: str) -> bool:
    parts = column.split("---", 2)
    return len(parts) == 3 and all(parts)


def _is_data(columns: list[str]) -> bool:
    """Whether a "header" is in truth a row of data: no published name, no funcID, and a number among its fields."""
    if any(c in _PUBLISHED for c in columns):
        return False
    return len(columns) > 1 and any(_NUMBER.fullmatch(c) for c in columns)
