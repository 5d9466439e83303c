"""Lines, fields and values of the trace's CSV files, slow and obvious: what the readers in C++ are compared with.

Imports nothing else of rewarm. Everything is said about bytes, because a place in a file is a number of bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

_NUMBER = re.compile(rb"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_INTEGER = re.compile(rb"(-?[0-9]+)(\.0+)?")
_HEX = re.compile(rb"[0-9a-fA-F]+")
_POD = re.compile(rb"(.+)-([0-9]{10})", re.DOTALL)
_POOL = re.compile(r"(?:.*-)?([0-9]+)-([0-9]+)", re.DOTALL)

#: Fields that mean "not known", quoted or not.
NULLS = (b"", b"NaN", b"null")


class Wrong(ValueError):
    """What a reader must refuse: the fields of a reject."""

    def __init__(self, line: int, byte: int, column: str | None, text: bytes, expected: str) -> None:
        super().__init__(f"line {line} (byte {byte}), column {column}: expected {expected}, got {text[:80]!r}")
        self.line, self.byte, self.column, self.expected = line, byte, column, expected
        self.text = text[:80].decode("utf-8", "replace")


class BadValue(ValueError):
    """A field that is not what its column holds; the message says what is accepted."""


@dataclass(frozen=True)
class Field:
    """One field: its text without quotes, and where it begins, the opening quote included."""

    text: bytes
    byte: int


@dataclass(frozen=True)
class Line:
    """One line without its end, counted from 1."""

    number: int
    byte: int
    text: bytes


def lines(data: bytes) -> Iterator[Line]:
    r"""Cuts at ``\n``; one ``\r`` before it, or at the end of the file, belongs to the line end. Blank lines are no rows."""
    start = 3 if data.startswith(b"\xef\xbb\xbf") else 0
    number = 0
    while start < len(data):
        number += 1
        end = data.find(b"\n", start)
        stop = len(data) if end < 0 else end
        text = data[start:stop].removesuffix(b"\r")
        if text:
            yield Line(number, start, text)
        start = stop + 1


def fields(line: Line) -> list[Field]:
    """Cuts at commas outside of quotes.

    A field that begins with a quote ends with one, and two quotes inside are one. A quote elsewhere is a character like others.
    """
    found: list[Field] = []
    text, at = line.text, 0
    while True:
        begin = at
        if text[at : at + 1] == b'"':
            value = b""
            at += 1
            while True:
                close = text.find(b'"', at)
                if close < 0:
                    raise Wrong(line.number, line.byte, None, text, "a closing quote before the end of the line")
                value += text[at:close]
                at = close + 1
                if text[at : at + 1] != b'"':
                    break
                value += b'"'
                at += 1
            if text[at : at + 1] not in (b"", b","):
                raise Wrong(line.number, line.byte, None, text, "a comma or the end of the line after a closing quote")
        else:
            comma = text.find(b",", at)
            at = len(text) if comma < 0 else comma
            value = text[begin:at]
        found.append(Field(value, line.byte + begin))
        if at >= len(text):
            return found
        at += 1


def header(data: bytes) -> tuple[list[str], list[Line]]:
    """Column names and the lines of the rows."""
    every = list(lines(data))
    if not every:
        raise Wrong(1, 0, None, data, "a header line")
    return [field.text.decode() for field in fields(every[0])], every[1:]


# ---- values --------------------------------------------------------------------------------------------------------------


def float64(text: bytes) -> float:
    """``[-]digits[.digits][e|E[±]digits]``, the nearest float64."""
    if not _NUMBER.fullmatch(text) or float(text) in (float("inf"), float("-inf")):
        raise BadValue("a finite decimal number")
    return float(text)


def integer(bits: int) -> Callable[[bytes], int]:
    """``[-]digits`` with nothing but zeros after a point, within a signed integer of so many bits."""

    def read(text: bytes) -> int:
        match = _INTEGER.fullmatch(text)
        if not match or not -(2 ** (bits - 1)) <= int(match.group(1)) < 2 ** (bits - 1):
            raise BadValue(f"a whole number of {bits} bits")
        return int(match.group(1))

    return read


def hex_id(digits: int) -> Callable[[bytes], bytes]:
    """So many hexadecimal digits, as bytes."""

    def read(text: bytes) -> bytes:
        if len(text) != digits or not _HEX.fullmatch(text):
            raise BadValue(f'{digits} hexadecimal digits; other ids: ids="text"')
        return bytes.fromhex(text.decode())

    return read


def utf8(text: bytes) -> str:
    """Text as it stands."""
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        raise BadValue("UTF-8 text") from None


def pod(text: bytes) -> tuple[str, int]:
    """``podID`` as ``poolName`` and ``pod_serial``: the serial is the last ten digits, whatever hyphens the pool's name has."""
    match = _POD.fullmatch(text)
    if not match:
        raise BadValue('a pool name, "-" and 10 digits')
    return utf8(match.group(1)), int(match.group(2))


def pool_limits(pool: str | None) -> tuple[int | None, int | None]:
    """Millicores and MB: the last two tokens of a pool's name; None where these are no numbers of 31 bits."""
    match = _POOL.fullmatch(pool or "")
    if not match or max(int(match.group(1)), int(match.group(2))) >= 2**31:
        return None, None
    return int(match.group(1)), int(match.group(2))


def pool_size(pool: str | None) -> str | None:
    """``"300-128"``."""
    cpu, memory = pool_limits(pool)
    return None if cpu is None else f"{cpu}-{memory}"


def pool_class(pool: str | None) -> str | None:
    """Small: at most 400 millicores and at most 256 MB."""
    cpu, memory = pool_limits(pool)
    if cpu is None or memory is None:
        return None
    return "small" if cpu <= 400 and memory <= 256 else "large"


def func_id(func_name: int | None, user_id: int | None, pool: str | None) -> str | None:
    """``funcName---userID---poolName``; None where a part is not known."""
    if func_name is None or user_id is None or pool is None:
        return None
    return f"{func_name}---{user_id}---{pool}"


# ---- rows ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """The fields of one line by column name."""

    line: Line
    named: dict[str, Field]

    def value(self, column: str, read: Callable[[bytes], Any]) -> Any:
        """What `read` makes of the field; None where it says that nothing is known."""
        field = self.named[column]
        if field.text in NULLS:
            return None
        try:
            return read(field.text)
        except BadValue as error:
            raise Wrong(self.line.number, field.byte, column, field.text, str(error)) from None


def rows(names: Sequence[str], lines_of_rows: Sequence[Line]) -> Iterator[Row | Wrong]:
    """Every row, or why it is none: a ragged row is refused as a whole and under every policy."""
    for line in lines_of_rows:
        try:
            found = fields(line)
        except Wrong as wrong:
            yield wrong
            continue
        if len(found) != len(names):
            yield Wrong(line.number, line.byte, None, line.text, f"{len(names)} fields, got {len(found)}")
        else:
            yield Row(line, dict(zip(names, found, strict=True)))
