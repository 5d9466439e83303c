"""Compressed bytes become text: gzip and ZIP members through ISA-L, zstd through libzstd.

Whatever a cut or a flipped bit does, the end is a TraceError that says how much was delivered, never a short file.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType, TracebackType
from typing import Any, Protocol

from rewarm.errors import BackendUnavailable, TraceError
from rewarm.trace.archive import Member, check_readable, data_span

#: Packed bytes a read: at the usual ratio of 2 to 5 about what one call of the reader takes.
_CHUNK = 256 << 10

_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class Reads(Protocol):
    """Where a decoder takes its packed bytes from."""

    def read(self, n: int) -> bytes:
        """At most n bytes, none at the end."""

    def close(self) -> None:
        """Gives the file back."""


class FileSpan:
    """Bytes [begin, end) of a file, from front to back."""

    def __init__(self, path: str, name: str, member: Member | None = None) -> None:
        self._name, self._fd = name, -1
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self._at, self._end = data_span(self._fd, member, name) if member else (0, os.fstat(self._fd).st_size)
        except OSError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: OSError) -> TraceError:
        return TraceError(f"{self._name}: cannot be read: {error.strerror or error}", file=self._name)

    def read(self, n: int) -> bytes:
        """At most n bytes, none at the end."""
        try:
            got = os.pread(self._fd, min(n, self._end - self._at), self._at)
        except OSError as error:
            raise self._unreadable(error) from error
        self._at += len(got)
        return got

    def close(self) -> None:
        """Gives the file back; a second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.close()


class Decoder:
    """Decoded bytes of one file or archive member, from front to back. Any thread may read, one at a time.

    Args:
        name: As errors shall call it.
        packed: Where the packed bytes come from.
    """

    #: What errors call the packed form.
    kind = "stored"

    def __init__(self, name: str, packed: Reads) -> None:
        self.name = name
        self._packed = packed
        self._delivered = 0
        self._ended = False
        self._error: TraceError | None = None

    def read(self, n: int) -> bytes:
        """At most n decoded bytes; ``b""`` at the end and only there.

        Raises:
            TraceError: The packed bytes are damaged or cut off; the same again on every later call.
        """
        if self._error is not None:
            raise self._error
        if self._ended or n <= 0:
            return b""
        try:
            out = self._decode(n)
            self._check(out)
        except TraceError as error:
            self._error = error
            self.close()
            raise
        self._delivered += len(out)
        if not out:
            self._ended = True
            self.close()
        return out

    def _decode(self, n: int) -> bytes:
        return self._packed.read(n)

    def _check(self, out: bytes) -> None:
        """Looks at what is about to be delivered, at the end (nothing) too."""

    def _damaged(self, what: str) -> TraceError:
        at = self._delivered
        before = f"the {at:,} bytes before it were delivered" if at else "nothing was delivered"
        return TraceError(f"{self.name} (decoded byte {at}): {what}; {before}", file=self.name, byte=at)

    def _cut_off(self) -> TraceError:
        return self._damaged(f"the {self.kind} data end too early: the file was cut off")

    def _corrupt(self, error: Exception) -> TraceError:
        return self._damaged(f"the {self.kind} data are damaged ({error})")

    def close(self) -> None:
        """Gives the file back; `read` must not follow."""
        self._packed.close()

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self.close()


class _Inflate:
    """One deflate stream behind zlib's interface: feeds itself, so that its caller sees decoded bytes only."""

    def __init__(self, isal_zlib: ModuleType, window_bits: int) -> None:
        self.error: type[Exception] = isal_zlib.error
        self._stream: Any = isal_zlib.decompressobj(window_bits)
        self.pending = b""

    @property
    def ended(self) -> bool:
        return bool(self._stream.eof)

    def decode(self, packed: Reads, n: int) -> bytes | None:
        """At most n bytes; ``b""`` at the stream's end, None where the packed bytes ran out before it."""
        while not self._stream.eof:
            fed = self.pending or packed.read(_CHUNK)
            # Also with nothing left to feed: the stream may hold decoded bytes back that did not fit into n.
            out: bytes = self._stream.decompress(fed, n)
            self.pending = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
            if out:
                return out
            if not fed and not self._stream.eof:
                return None
        return b""


class GzipDecoder(Decoder):
    """gzip, member after member; zero bytes between and after them are padding."""

    kind = "gzip"

    def __init__(self, name: str, packed: Reads) -> None:
        super().__init__(name, packed)
        self._isal_zlib = _need("isal.isal_zlib", "isal", name)
        self._member: _Inflate | None = None
        self._members = 0
        self._left = b""

    def _decode(self, n: int) -> bytes:
        while True:
            if self._member is None and not self._next_member():
                return b""
            assert self._member is not None
            try:
                out = self._member.decode(self._packed, n)
            except self._member.error as error:
                raise self._corrupt(error) from error
            if out is None:
                raise self._cut_off()
            if out:
                return out
            self._left, self._member = self._member.pending, None

    def _next_member(self) -> bool:
        if self._members:
            self._left = self._left.lstrip(b"\0")
        while len(self._left) < len(_GZIP_MAGIC):
            more = self._packed.read(_CHUNK)
            if not more:
                if self._left or not self._members:
                    raise self._cut_off()
                return False
            self._left += more
            if self._members:
                self._left = self._left.lstrip(b"\0")
        if not self._left.startswith(_GZIP_MAGIC):
            where = f"after member {self._members} " if self._members else ""
            raise self._damaged(f"expected gzip's magic bytes {where}, got {self._left[:8]!r}".replace(" ,", ","))
        self._members += 1
        self._member = _Inflate(self._isal_zlib, 31)
        self._member.pending = self._left
        return True


class MemberDecoder(Decoder):
    """A ZIP member, stored or deflated; length and CRC-32 are checked at its end."""

    def __init__(self, name: str, packed: Reads, member: Member) -> None:
        super().__init__(name, packed)
        isal_zlib = _need("isal.isal_zlib", "isal", name)
        self._directory = member
        self.kind = member.compression
        self._crc32 = isal_zlib.crc32
        self._crc = 0
        self._inflate = _Inflate(isal_zlib, -15) if member.compression == "deflate" else None

    def _decode(self, n: int) -> bytes:
        if self._inflate is None:
            return self._packed.read(n)
        try:
            out = self._inflate.decode(self._packed, n)
        except self._inflate.error as error:
            raise self._corrupt(error) from error
        if out is None:
            raise self._cut_off()
        return out

    def _check(self, out: bytes) -> None:
        expected = self._directory
        if out:
            self._crc = self._crc32(out, self._crc)
            if self._delivered + len(out) > expected.size:
                raise self._damaged(f"the archive's directory promises {expected.size:,} decoded bytes, but there are more")
        elif self._delivered != expected.size:
            raise self._damaged(f"the archive's directory promises {expected.size:,} decoded bytes, but there are no more")
        elif self._crc != expected.crc:
            raise self._damaged(
                f"the CRC-32 of the decoded bytes is {self._crc:08x} where the archive's directory says {expected.crc:08x}: "
                "any of them may be wrong"
            )


class ZstdDecoder(Decoder):
    """zstd, frame after frame."""

    kind = "zstd"

    def __init__(self, name: str, packed: Reads) -> None:
        super().__init__(name, packed)
        zstandard = _need("zstandard", "zstandard", name)
        self._zstd_error: type[Exception] = zstandard.ZstdError
        self._frames = FrameWatch(packed)
        self._stream: Any = zstandard.ZstdDecompressor().stream_reader(
            self._frames, read_size=_CHUNK, read_across_frames=True, closefd=False
        )

    def _decode(self, n: int) -> bytes:
        try:
            out: bytes = self._stream.read(n)
        except self._zstd_error as error:
            raise self._corrupt(error) from error
        # The stream ends in the same way at a frame's end and in the middle of one.
        if not out and not self._frames.whole:
            raise self._cut_off()
        return out


class FrameWatch:
    """Passes zstd bytes on and follows their frames and blocks (RFC 8878, 3.1), to know whether the end is one.

    Only lengths are followed; whatever is wrong with the contents, libzstd says.
    """

    def __init__(self, packed: Reads) -> None:
        self._packed = packed
        self._skip = 0  # bytes of a block, a checksum or a skippable frame still to come
        self._need = 4  # bytes of the next header
        self._header = b""
        self._state = "magic"
        self._checksum = False
        self.any = False

    @property
    def whole(self) -> bool:
        """Whether all bytes so far are whole frames, at least one."""
        return self.any and self._state == "magic" and not self._skip and not self._header

    def read(self, n: int) -> bytes:
        """At most n bytes, none at the end."""
        got = self._packed.read(n)
        at = 0
        while at < len(got) and self._state != "foreign":
            if self._skip:
                step = min(self._skip, len(got) - at)
                self._skip -= step
            else:
                step = min(self._need - len(self._header), len(got) - at)
                self._header += got[at : at + step]
                if len(self._header) == self._need:
                    self._take(self._header)
            at += step
        return got

    def _expect(self, state: str, need: int) -> None:
        self._state, self._need, self._header = state, need, b""

    def _take(self, header: bytes) -> None:
        self.any = True
        if self._state == "magic":
            if header == _ZSTD_MAGIC:
                self._expect("descriptor", 1)
            elif header[1:] == _SKIPPABLE and header[0] & 0xF0 == 0x50:
                self._expect("skippable", 4)
            else:
                self._state = "foreign"
        elif self._state == "skippable":
            self._expect("magic", 4)
            self._skip = int.from_bytes(header, "little")
        elif self._state == "descriptor":
            (flags,) = header
            self._checksum = bool(flags & 4)
            single = flags >> 5 & 1
            self._expect("block", 3)
            self._skip = (1 - single) + (0, 1, 2, 4)[flags & 3] + ((single, 2, 4, 8)[flags >> 6])
        else:
            block = int.from_bytes(header, "little")
            last, kind, size = block & 1, block >> 1 & 3, block >> 3
            self._expect(*(("magic", 4) if last else ("block", 3)))
            self._skip = (1 if kind == 1 else size) + (4 if last and self._checksum else 0)


_SKIPPABLE = b"\x2a\x4d\x18"


def sniff(head: bytes) -> str | None:
    """Compression by a file's first four bytes: "gzip", "zstd", "zip" or None."""
    if head.startswith(_GZIP_MAGIC):
        return "gzip"
    if head == _ZSTD_MAGIC or (head[1:] == _SKIPPABLE and head[0] & 0xF0 == 0x50):
        return "zstd"
    return "zip" if head in (b"PK\3\4", b"PK\5\6") else None


def compression_of(name: str) -> str | None:
    """Compression by a file's ending."""
    return {".gz": "gzip", ".zst": "zstd"}.get(os.path.splitext(name)[1].lower())


def open_decoder(path: str, name: str, compression: str, member: Member | None) -> Decoder:
    """Opens a file or archive member for decoding; a packed file within an archive is unpacked twice.

    Raises:
        TraceError: It cannot be read, or is packed or encrypted in a way that is not read here.
        BackendUnavailable: isal or zstandard is not installed.
    """
    if member is None:
        return _stream(name, FileSpan(path, name), compression)
    check_readable(member, name)
    packed = MemberDecoder(name, FileSpan(path, name, member), member)
    inner = compression_of(member.name)
    return packed if inner is None else _stream(name, packed, inner)


def _stream(name: str, packed: Reads, compression: str) -> Decoder:
    return GzipDecoder(name, packed) if compression == "gzip" else ZstdDecoder(name, packed)


def _need(module: str, package: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise BackendUnavailable(
            f'{name}: reading it needs {package} ({error}); install it with: pip install "rewarm[trace]"'
        ) from error
