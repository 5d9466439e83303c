"""Files that are whole or absent, whatever interrupts the writing."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A name beside `path` to write under; renamed to `path` at the end, removed after an error or Ctrl-C.

    A killed process leaves its hidden ``.<name>.<8 hex digits>.part`` behind, never half a file under the final name. The next
    one that writes the same `path` removes it: whoever writes holds a lock on it, and locks die with their process. (On file
    systems without ``flock`` nothing is removed.)
    """
    temporary, held = _begin(path)
    try:
        _remove_leftovers(path, temporary)
        yield temporary
        with open(temporary, "rb") as written:  # a rename that outlives its data would be half a file after a power cut
            os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
        os.close(held)


def _begin(path: Path) -> tuple[Path, int]:
    """An empty file with a lock on it, and the descriptor that holds the lock."""
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        try:
            held = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except OSError as error:
            error.filename = os.fspath(path)  # what the caller asked for
            raise
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # taken for a leftover before it had its lock
            os.close(held)
            continue
        except OSError:
            return temporary, held
        if os.fstat(held).st_nlink:
            return temporary, held
        os.close(held)


def _remove_leftovers(path: Path, own: Path) -> None:
    leftover = re.compile(re.escape(f".{path.name}.") + r"[0-9a-f]{8}\.part")
    for name in os.listdir(path.parent):
        if name == own.name or not leftover.fullmatch(name):
            continue
        with contextlib.suppress(OSError):  # locked by its writer, another's, or gone
            held = os.open(path.with_name(name), os.O_RDWR)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(path.with_name(name))
            finally:
                os.close(held)
