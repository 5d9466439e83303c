"""Files, folders, globs and archives become a flat list of candidates.

It stands in the order that every reader keeps: relative path bytewise, then archive member.
"""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from rewarm.errors import InvalidArgument, TraceError
from rewarm.trace.archive import Member, list_members
from rewarm.trace.decoder import compression_of, sniff

PathArgument: TypeAlias = "str | os.PathLike[str] | list[str | os.PathLike[str]] | tuple[str | os.PathLike[str], ...]"

_PACKED = (".gz", ".zst")
_HEAD_BYTES = 2048
#: Spark's own numbering, ``part-00000-<uuid>.c000``, is no ending.
_SPARK_PART = re.compile(r"\.c\d+", re.IGNORECASE)


@dataclass(frozen=True)
class Candidate:
    """A file or member that may hold a table.

    Attributes:
        name: Relative path, "!member" behind an archive.
        path: On disk.
        member: Its archive's entry, None for a file.
        compression: By the file's ending, else by its first bytes; a member's method.
        named: Whether the caller named it, or it ends in .csv: then it must hold a table, otherwise it may.
        size: Bytes on disk.
        order: Sorts candidates.
        line: The first line of a plain file, where the first few KB hold all of it.
    """

    name: str
    path: str
    member: Member | None
    compression: str | None
    named: bool
    size: int
    order: tuple[bytes, bytes]
    line: bytes | None = None


@dataclass
class Listing:
    """Candidates in order, and the names that were passed over."""

    candidates: list[Candidate] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Root:
    base: str  # names are relative to it, or to what all roots share
    path: str
    folder: bool
    named: bool


def list_candidates(path: PathArgument) -> Listing:
    """All candidates under a path, a glob or a list of them, each once.

    Raises:
        TraceError: A path that does not exist, a glob without a match, an unreadable folder, a damaged archive.
    """
    roots = [root for one in _each(path) for root in _roots(one)]
    base = os.path.commonpath([root.base for root in roots])
    found = Listing()
    seen: set[tuple[str, str]] = set()
    folders: set[tuple[int, int]] = set()
    for root in roots:
        files = _walk(root.path, base, folders, found.ignored) if root.folder else [root.path]
        for file in files:
            for candidate in _candidates(file, relative(file, base), root.named and not root.folder, found.ignored):
                key = candidate.path, candidate.member.name if candidate.member else ""
                if key not in seen:
                    seen.add(key)
                    found.candidates.append(candidate)
    found.candidates.sort(key=lambda candidate: candidate.order)
    _refuse_twins(found.candidates)
    found.ignored = sorted(set(found.ignored))
    return found


def _refuse_twins(candidates: list[Candidate]) -> None:
    """An archive beside what was unpacked from it would count every row twice."""
    plain: dict[str, str] = {}
    for candidate in candidates:
        for name in _plain_names(candidate):
            other = plain.setdefault(name, candidate.name)
            if other != candidate.name:
                raise TraceError(
                    f"{candidate.name}: expected one of it and {other}, got both: they look like the same file, packed and "
                    "unpacked, and its rows would be read twice; name one of them",
                    file=candidate.name,
                )


def _plain_names(candidate: Candidate) -> list[str]:
    """Where the candidate would lie if it were unpacked: beside its archive or in a folder named after it."""
    if candidate.member is None:
        return [_unpacked(candidate.path)]
    folder = os.path.dirname(candidate.path)
    stem = os.path.splitext(candidate.path)[0]
    return [_unpacked(os.path.join(where, candidate.member.name)) for where in (folder, stem)]


def _unpacked(name: str) -> str:
    stem, ending = os.path.splitext(name)
    return stem if ending.lower() in _PACKED else name


def show(path: PathArgument) -> str:
    """The path as errors name it."""
    return ", ".join(map(_printable, _each(path)))


def _each(path: PathArgument) -> list[str]:
    names = []
    for one in path if isinstance(path, (list, tuple)) else [path]:
        name = os.fspath(one) if isinstance(one, (str, os.PathLike)) else one
        if not isinstance(name, str):
            raise InvalidArgument(f"path: expected str, os.PathLike[str] or a list of them, got {name!r}")
        names.append(name)
    if not names:
        raise InvalidArgument("path: expected at least one path, got an empty list")
    return names


def _roots(path: str) -> list[_Root]:
    absolute = os.path.abspath(path)
    if os.path.isdir(path):
        return [_Root(absolute, absolute, True, True)]
    if os.path.lexists(path):
        return [_Root(os.path.dirname(absolute), absolute, False, True)]
    if not glob.has_magic(path):
        raise TraceError(f"{_printable(path)}: there is no such file or folder", file=_printable(path))
    fixed = absolute.split(os.sep)
    while glob.has_magic(os.sep.join(fixed)):
        fixed.pop()
    base = os.sep.join(fixed) or os.sep
    matches = sorted(map(os.path.abspath, glob.glob(path, recursive=True)), key=os.fsencode)
    if not matches:
        raise TraceError(f"{_printable(path)}: no file matches this pattern", file=_printable(path))
    # `**` yields a folder and what lies in it: the folder alone would do, and its files are taken once either way.
    return [_Root(base, match, os.path.isdir(match), False) for match in matches]


def _passed_over(name: str) -> bool:
    return name.startswith(("_", ".")) or name == "__MACOSX"


def _walk(folder: str, base: str, seen: set[tuple[int, int]], ignored: list[str]) -> Iterator[str]:
    """Files under a folder; links are followed, but no folder is entered twice."""
    try:
        about = os.stat(folder)
        if (about.st_dev, about.st_ino) in seen:
            return
        seen.add((about.st_dev, about.st_ino))
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        name = relative(folder, base)
        raise TraceError(f"{name}: the folder cannot be read: {error.strerror or error}", file=name) from error
    for entry in entries:
        if _passed_over(entry.name):
            ignored.append(relative(entry.path, base) + ("/" if entry.is_dir() else ""))
        elif entry.is_dir():
            yield from _walk(entry.path, base, seen, ignored)
        else:
            yield entry.path


def _ending(name: str) -> str:
    """What the name ends in below a packed ending: ".csv", ".zip", "" for none, ..."""
    stem, ending = os.path.splitext(name)
    if ending.lower() in _PACKED:
        stem, ending = os.path.splitext(stem)
    return "" if _SPARK_PART.fullmatch(ending) else ending.lower()


def _candidates(path: str, name: str, named: bool, ignored: list[str]) -> Iterator[Candidate]:
    file = os.path.basename(path)
    ending = _ending(file)
    # A glob chose this file, a folder holds it, or the caller named it; only the last makes us look into foreign endings.
    if not named and (_passed_over(file) or ending not in (".csv", ".zip", "")):
        ignored.append(name)
        return
    try:
        about = os.stat(path)
        if not stat.S_ISREG(about.st_mode):
            if named:
                raise TraceError(f"{name}: expected a regular file or a folder, got a device, pipe or socket", file=name)
            ignored.append(name)
            return
        if about.st_size == 0:
            if named:
                raise TraceError(f"{name}: the file is empty", file=name)
            ignored.append(name)
            return
        head = _head(path)
    except OSError as error:
        raise TraceError(f"{name}: cannot be read: {error.strerror or error}", file=name) from error
    kind = sniff(head[:4])
    key = os.fsencode(name)
    if kind != "zip" and ending != ".zip":
        packed = compression_of(path) or kind
        line = head[: head.find(b"\n") + 1] if packed is None else b""
        certain = named or ending == ".csv"
        yield Candidate(_printable(name), path, None, packed, certain, about.st_size, (key, b""), line or None)
        return
    for member in list_members(path, _printable(name)):
        full = f"{_printable(name)}!{_printable(member.name)}"
        ending = _ending(member.name)
        if any(map(_passed_over, member.name.split("/"))) or ending not in (".csv", ".zip", "") or not member.size:
            ignored.append(full)
            continue
        if ending == ".zip":
            raise TraceError(f"{full}: an archive within an archive is not read; unpack the outer one", file=full)
        order = key, member.name.encode(errors="surrogateescape")
        yield Candidate(full, path, member, member.compression, ending == ".csv", member.compressed_size, order)


def _head(path: str) -> bytes:
    """The first bytes, enough for the header of most tables: a file is opened once, of thousands of small ones."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, _HEAD_BYTES)
    finally:
        os.close(descriptor)


def relative(path: str, base: str) -> str:
    """The path below `base`."""
    if base == os.sep:
        return path
    return path[len(base) + 1 :] if path.startswith(base + os.sep) else os.path.relpath(path, base)


def _printable(name: str) -> str:
    """A file name may hold bytes that are not UTF-8; a message and an Arrow string must not."""
    return os.fsencode(name).decode(errors="replace")


def names_upwards(candidate: Candidate) -> Iterable[str]:
    """Names that may tell a region or metric: member folders from the innermost, the archive's stem, parent folders upwards."""
    if candidate.member is not None:
        yield from reversed(candidate.member.name.split("/")[:-1])
        yield os.path.splitext(os.path.basename(candidate.path))[0]
    folder = os.path.dirname(candidate.path)
    while folder not in ("", os.sep):
        folder, name = os.path.split(folder)
        yield name
