"""How the stand-in's files are spelled and written: columns to text, oddities on request, temporary names, compression."""

from __future__ import annotations

import contextlib
import gzip
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from rewarm._native import core
from rewarm.errors import BackendUnavailable, InvalidArgument

#: What `generate(oddities=...)` takes, and what each one does.
ODDITIES: Mapping[str, str] = {
    "exponents": "cold-start costs below 1e-3 are spelled 9.31E-4, as request files always are",
    "python_exponents": "numbers below 1e-4 are spelled 9.3e-05, as pandas writes them",
    "plain_decimals": "request files spell small numbers without an exponent",
    "int_vs_float": "clusterName, funcName and userID are spelled 1018.0, requestBodySize 979",
    "nan": "missing request fields are NaN instead of empty",
    "quoted": "quotes around every header and value",
    "crlf": "lines end in CRLF",
    "bom": "files begin with a UTF-8 byte order mark",
    "no_final_newline": "the last line does not end",
    "index_column": "a leading column without a name counts the rows",
    "column_order": "columns in alphabetic order",
    "short_ids": "requestIDs of 32 hex digits",
    "unsorted": "rows within a file are shuffled piece by piece",
    "missing_days": "days 5 and 17 are missing",
    "day_hole": "no cold starts in hours 3 to 7 of day 2",
    "spark_success": "a _SUCCESS file and an empty part beside the request parts",
    "zip": "one ZIP archive a region",
    "gzip": "every file is gzip-compressed",
    "zstd": "every file is zstd-compressed",
}
_COMPRESSIONS = ("zip", "gzip", "zstd")
_SPELLINGS = ("exponents", "python_exponents")

#: One column: its name and the tuple that `_core.format_rows` takes.
TextColumn = tuple[str, tuple[Any, ...]]


class Cancelled(Exception):
    """Ends a worker whose results nobody waits for any more; never leaves this room."""


def checked_oddities(oddities: Sequence[str]) -> frozenset[str]:
    """The oddities as a set; unknown ones and those that exclude one another are refused."""
    if isinstance(oddities, str):
        oddities = (oddities,)
    unknown = sorted(set(oddities) - set(ODDITIES))
    if unknown:
        raise InvalidArgument(
            f"generate: oddities: unknown {', '.join(map(repr, unknown))}; accepted are {', '.join(ODDITIES)}"
        )
    for exclusive in (_COMPRESSIONS, _SPELLINGS, ("python_exponents", "plain_decimals")):
        both = [name for name in exclusive if name in oddities]
        if len(both) > 1:
            raise InvalidArgument(f"generate: oddities: {' and '.join(both)} exclude one another")
    return frozenset(oddities)


@dataclass(frozen=True)
class Style:
    """How one file is spelled.

    Attributes:
        small: Spelling of decimals: "decimal", "java" or "python".
        oddities: Checked names of `ODDITIES`.
    """

    small: str
    oddities: frozenset[str]

    def number(self, name: str, values: Any, scale: int, missing: Any = None) -> TextColumn:
        """A decimal held as whole units of 10^-scale."""
        return name, (self.small, missing, values, scale, 1)

    def integer(self, name: str, values: Any) -> TextColumn:
        """A whole number; as 1018.0 with the oddity "int_vs_float"."""
        if "int_vs_float" in self.oddities:
            return name, ("decimal", None, values, 0, 1)
        return name, ("integer", None, values)

    def size(self, name: str, values: Any, missing: Any) -> TextColumn:
        """A whole number that the release spells as a float, 2.0; as 2 with the oddity "int_vs_float"."""
        return name, ("decimal", missing, values, 0, 0 if "int_vs_float" in self.oddities else 1)

    def ids(self, name: str, values: Any) -> TextColumn:
        """Hex digits."""
        if "short_ids" in self.oddities:
            values = np.ascontiguousarray(values[:, :16])
        return name, ("hex", None, values)

    def header(self, names: Sequence[str], *, index: bool = True) -> bytes:
        """The header line, with what stands before it."""
        words = sorted(names) if "column_order" in self.oddities and index else list(names)
        if "quoted" in self.oddities:
            words = [f'"{word}"' for word in words]
        if "index_column" in self.oddities and index:
            words.insert(0, "")
        end = "\r\n" if "crlf" in self.oddities else "\n"
        return ("\ufeff" if "bom" in self.oddities else "").encode() + (",".join(words) + end).encode()

    def rows(self, columns: list[TextColumn], n: int, first: int) -> bytes:
        """Lines of n rows, the first of which is row `first` of its file."""
        if "column_order" in self.oddities:
            columns = sorted(columns, key=lambda column: column[0])
        return core.format_rows(
            [column for _, column in columns],
            n,
            quoted="quoted" in self.oddities,
            crlf="crlf" in self.oddities,
            first_index=first if "index_column" in self.oddities else -1,
            missing="NaN" if "nan" in self.oddities else "",
        )


@dataclass(frozen=True)
class PlannedFile:
    """A file to be written.

    Attributes:
        path: Relative to the output folder, without a compression's suffix.
        rows: Expected, for progress.
        size: Bytes expected, for the check of free space.
        chunks: Makes its bytes and, beside each piece, the rows in it.
    """

    path: str
    rows: int
    size: int
    chunks: Callable[[], Iterator[tuple[bytes, int]]]


class _Sink(Protocol):
    def write(self, data: bytes, /) -> int: ...


def suffix(oddities: frozenset[str]) -> str:
    """What compression appends to a file's name."""
    return ".gz" if "gzip" in oddities else ".zst" if "zstd" in oddities else ""


@contextlib.contextmanager
def written(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that appears under its name only when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    try:
        with open(temporary, "wb") as file:
            yield file
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _text(planned: PlannedFile, style: frozenset[str], told: Callable[[int], None]) -> Iterator[bytes]:
    """The file's bytes; the last line end is held back where none is wanted."""
    held = b""
    for piece, rows in planned.chunks():
        told(rows)
        if "no_final_newline" in style:
            piece = held + piece
            keep = len(piece.rstrip(b"\r\n"))
            piece, held = piece[:keep], piece[keep:]
        yield piece


@contextlib.contextmanager
def _compressed(file: IO[bytes], oddities: frozenset[str]) -> Iterator[_Sink]:
    if "gzip" in oddities:
        with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0) as packed:
            yield packed
    elif "zstd" in oddities:
        try:
            import zstandard
        except ImportError as error:
            raise BackendUnavailable(
                f"generate: oddity 'zstd' needs zstandard (pip install 'rewarm[trace]'): {error}"
            ) from error
        with zstandard.ZstdCompressor(level=3).stream_writer(file, closefd=False) as packed:
            yield packed
    else:
        yield file


def write_file(out: Path, planned: PlannedFile, oddities: frozenset[str], told: Callable[[int], None]) -> None:
    """Writes one file, compressed where the oddities say so."""
    with written(out / (planned.path + suffix(oddities))) as file, _compressed(file, oddities) as sink:
        for piece in _text(planned, oddities, told):
            sink.write(piece)


def write_archive(
    path: Path, members: list[tuple[str, PlannedFile]], oddities: frozenset[str], told: Callable[[int], None]
) -> None:
    """Writes one ZIP archive; members in the given order, all with the same time stamp so that the bytes are reproducible."""
    with written(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, planned in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(info, "w", force_zip64=planned.size > 1 << 30) as member:
                for piece in _text(planned, oddities, told):
                    member.write(piece)
