"""ZIP archives, read in place: which members there are and where their bytes lie.

zipfile reads the central directory; the data are decoded in decoder.py.
"""

from __future__ import annotations

import os
import struct
import zipfile
from dataclasses import dataclass

from rewarm.errors import TraceError

#: Compression methods by number (APPNOTE 4.4.5), for the errors; the first two are read.
_METHODS = {
    0: "stored",
    8: "deflate",
    1: "Shrink",
    6: "Implode",
    9: "Deflate64",
    12: "bzip2",
    14: "LZMA",
    93: "Zstandard",
    95: "XZ",
    98: "PPMd",
}
_READ = ("stored", "deflate")
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")


@dataclass(frozen=True)
class Member:
    """One file of an archive, as the central directory describes it.

    Attributes:
        name: Path within the archive.
        compression: Name of the method; "stored" and "deflate" are read.
        encrypted: Whether a password stands before it.
        offset: Of its local header in the archive.
        compressed_size: Bytes in the archive.
        size: Bytes once decoded.
        crc: CRC-32 of the decoded bytes.
    """

    name: str
    compression: str
    encrypted: bool
    offset: int
    compressed_size: int
    size: int
    crc: int


def list_members(path: str, name: str) -> list[Member]:
    """The files of an archive, in the order of its directory.

    Raises:
        TraceError: The central directory is missing or damaged, or names a member twice.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except OSError as error:
        raise TraceError(f"{name}: cannot be read: {error.strerror or error}", file=name) from error
    # zipfile lets struct.error, NotImplementedError and UnicodeDecodeError through on some damaged directories.
    except Exception as error:
        raise TraceError(
            f"{name}: expected a ZIP archive, but its central directory, which stands at the end of the file, is missing or "
            f"damaged ({error}): was the download cut off?",
            file=name,
            expected="a whole ZIP archive",
        ) from error
    members: dict[str, Member] = {}
    for info in infos:
        if info.is_dir():
            continue
        if info.filename in members:
            raise TraceError(f"{name}: holds two members named {info.filename!r}", file=name)
        members[info.filename] = Member(
            info.filename,
            _METHODS.get(info.compress_type, f"method {info.compress_type}"),
            bool(info.flag_bits & 1),
            info.header_offset,
            info.compress_size,
            info.file_size,
            info.CRC,
        )
    return list(members.values())


def check_readable(member: Member, name: str) -> None:
    """Refuses a member that is encrypted or packed by a method other than deflate, by a TraceError that names it."""
    if member.encrypted:
        raise TraceError(
            f"{name}: expected a member without a password, got an encrypted one ({member.compression})",
            file=name,
            expected="an unencrypted member",
        )
    if member.compression not in _READ:
        raise TraceError(
            f"{name}: expected a member that is stored or packed with deflate, got {member.compression}",
            file=name,
            expected="stored or deflate",
        )


def data_span(fd: int, member: Member, name: str) -> tuple[int, int]:
    """Begin and end of a member's packed bytes in the archive.

    The local header is read for the length of its name and extra field only: its sizes may be zero (streamed archives), the
    central directory's are not.
    """
    head = os.pread(fd, _LOCAL_HEADER.size, member.offset)
    if len(head) < _LOCAL_HEADER.size or head[:4] != b"PK\3\4":
        raise TraceError(
            f"{name}: expected the member's local header at byte {member.offset} of the archive, got {head[:4]!r}: the archive "
            "is damaged or was changed meanwhile",
            file=name,
            byte=0,
        )
    fields = _LOCAL_HEADER.unpack(head)
    begin = member.offset + _LOCAL_HEADER.size + fields[-2] + fields[-1]
    end = begin + member.compressed_size
    size = os.fstat(fd).st_size
    if end > size:
        raise TraceError(
            f"{name}: the member needs bytes {begin} to {end} of an archive of {size}: the archive is cut off or damaged",
            file=name,
            byte=0,
        )
    return begin, end
