"""Packed files: what comes out is what went in, however it was cut; what is damaged ends in an error that says so."""

import builtins
import gzip
import io
import itertools
import random
import struct
import threading
import zipfile
import zlib

import pytest

from rewarm.errors import BackendUnavailable, TraceError
from rewarm.trace import decoder as decoders
from rewarm.trace.source import discover

zstandard = pytest.importorskip("zstandard")
pytest.importorskip("isal")

HEADER = b"funcID,cpu_request,runtime,triggerType-invocationType\n"


def text(rows=400, seed=1):
    rng = random.Random(seed)
    lines = [
        b"%d---%d---pool22-300-128,%d,Python3,APIG-S\n" % (rng.randrange(9999), rng.randrange(999), 100) for _ in range(rows)
    ]
    return HEADER + b"".join(lines)


def gzip_members(data, pieces=1):
    step = -(-len(data) // pieces)
    return b"".join(gzip.compress(data[i : i + step], mtime=0) for i in range(0, len(data), step))


def zstd_frames(data, pieces=1, checksum=True, size=True, level=3):
    step = -(-len(data) // pieces)
    packer = zstandard.ZstdCompressor(level=level, write_checksum=checksum, write_content_size=size)
    return b"".join(packer.compress(data[i : i + step]) for i in range(0, len(data), step))


def zipped(members, method=zipfile.ZIP_DEFLATED):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return packed.getvalue()


def one(tmp_path, packed, name):
    path = tmp_path / name
    path.write_bytes(packed)
    (source,) = discover(path).sources
    return source


def drain(source, n=1 << 20):
    with source.open() as decoder:
        return b"".join(iter(lambda: decoder.read(n), b""))


def steady(source, sizes):
    """Reads with the given sizes in turn; no chunk is longer than asked for, and none is empty before the end."""
    out = []
    with source.open() as decoder:
        for n in itertools.cycle(sizes):
            chunk = decoder.read(n)
            assert len(chunk) <= n
            if not chunk:
                assert decoder.read(n) == b""
                return b"".join(out)
            out.append(chunk)


SKIPPABLE = b"\x5a\x2a\x4d\x18" + struct.pack("<I", 5) + b"hello"
PACKED = {
    "gzip": lambda d: ("t.csv.gz", gzip_members(d)),
    "gzip in members": lambda d: ("t.csv.gz", gzip_members(d, 7)),
    "gzip of every byte": lambda d: ("t.csv.gz", gzip_members(d[:600], 600) + gzip_members(d[600:])),
    "gzip with an empty member": lambda d: ("t.csv.gz", gzip_members(d) + gzip.compress(b"")),
    "gzip with zeros after it": lambda d: ("t.csv.gz", gzip_members(d, 2) + bytes(1000)),
    "gzip by its first bytes": lambda d: ("t.csv", gzip_members(d)),
    "zstd": lambda d: ("t.csv.zst", zstd_frames(d)),
    "zstd in frames": lambda d: ("t.csv.zst", zstd_frames(d, 7)),
    "zstd without sums": lambda d: ("t.csv.zst", zstd_frames(d, 2, checksum=False, size=False)),
    "zstd with skippable frames": lambda d: ("t.csv.zst", SKIPPABLE + zstd_frames(d, 2) + SKIPPABLE),
    "zstd by its first bytes": lambda d: ("t.csv", zstd_frames(d)),
    "zip": lambda d: ("t.zip", zipped({"a/t.csv": d})),
    "zip stored": lambda d: ("t.zip", zipped({"t.csv": d}, zipfile.ZIP_STORED)),
    "zip behind other bytes": lambda d: ("t.zip", b"#!/bin/sh\n" + zipped({"t.csv": d})),
    "gzip in a zip": lambda d: ("t.zip", zipped({"t.csv.gz": gzip_members(d, 3)})),
    "zstd in a zip": lambda d: ("t.zip", zipped({"t.csv.zst": zstd_frames(d, 3)}, zipfile.ZIP_STORED)),
}


@pytest.mark.parametrize("kind", PACKED)
def test_out_comes_what_went_in(tmp_path, kind):
    data = text()
    name, packed = PACKED[kind](data)
    source = one(tmp_path, packed, name)
    assert source.header == tuple(HEADER.decode().strip().split(","))
    assert source.header_bytes == len(HEADER)
    for sizes in ([1], [7, 1, 100], [4096], [1 << 20]):
        assert steady(source, sizes) == data


@pytest.mark.parametrize("kind", ["gzip", "zstd", "zip"])
@pytest.mark.parametrize(
    "data", [HEADER + bytes(3_000_000), HEADER + random.Random(5).randbytes(700_000)], ids=["zeros", "noise"]
)
def test_long_files_through_small_reads(tmp_path, kind, data):
    name, packed = PACKED[kind](data)
    assert steady(one(tmp_path, packed, name), [65_536, 3, 200_000]) == data


def test_a_streamed_zip_and_zip64(tmp_path):
    """Written to a pipe: sizes stand behind the data and in the directory only. And with 64-bit fields throughout."""
    data = text()

    class Pipe(io.RawIOBase):
        def __init__(self):
            self.bytes = bytearray()

        def writable(self):
            return True

        def write(self, chunk):
            self.bytes += bytes(chunk)
            return len(chunk)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("t.csv", "w", force_zip64=True) as member:
        member.write(data)
    assert drain(one(tmp_path, bytes(pipe.bytes), "piped.zip")) == data
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("t.csv", "w", force_zip64=True) as member:
        member.write(data)
    assert drain(one(tmp_path, packed.getvalue(), "z64.zip")) == data


def read_or_error(path):
    """The bytes that were delivered, and the error."""
    out = []
    try:
        (source,) = discover(path).sources
        with source.open() as decoder:
            try:
                for chunk in iter(lambda: decoder.read(1000), b""):
                    out.append(chunk)
            except TraceError as error:
                with pytest.raises(TraceError) as again:
                    decoder.read(1)
                assert again.value is error
                assert error.byte == len(b"".join(out))
                raise
    except TraceError as error:
        return b"".join(out), error
    return b"".join(out), None


@pytest.mark.parametrize("kind", ["gzip", "gzip in members", "zstd", "zstd in frames", "zstd without sums", "gzip in a zip"])
def test_every_cut_is_an_error(tmp_path, kind):
    data = text(12)
    name, packed = PACKED[kind](data)
    # Between members and frames a file may end: it is whole, as far as anybody can tell.
    whole = {len(packed)}
    if kind == "gzip in members":
        whole |= {i for i in range(1, len(packed)) if packed[i : i + 3] == b"\x1f\x8b\x08"}
    if kind.startswith("zstd"):
        whole |= {i for i in range(1, len(packed)) if packed[i : i + 4] == b"\x28\xb5\x2f\xfd"}
    for cut in range(1, len(packed) + 1):
        path = tmp_path / name
        path.write_bytes(packed[:cut])
        out, error = read_or_error(path)
        assert data.startswith(out)
        assert (error is None) == (cut in whole), (cut, error)
        if error is not None:
            assert error.file is not None
            assert error.file.startswith(name)
            if kind != "gzip in a zip":
                assert "cut off" in str(error), (cut, str(error))


@pytest.mark.parametrize("kind", ["gzip", "zstd", "zip", "zip stored"])
def test_no_flipped_bit_is_delivered_in_silence(tmp_path, kind):
    data = text(12)
    name, packed = PACKED[kind](data)
    for position in range(len(packed)):
        flipped = bytearray(packed)
        flipped[position] ^= 1 << position % 8
        path = tmp_path / name
        path.write_bytes(bytes(flipped))
        out, error = read_or_error(path)
        # Some bits carry nothing: time stamps, host system, a member's own name.
        assert error is not None or out == data, position


def test_damage_says_what_was_delivered(tmp_path):
    data = text(50_000)
    packed = bytearray(gzip_members(data))
    packed[len(packed) // 2] ^= 0xFF
    packed[len(packed) // 2 + 40] ^= 0xFF
    path = tmp_path / "R1.csv.gz"
    path.write_bytes(bytes(packed))
    out, error = read_or_error(path)
    assert len(out) > 100_000
    assert str(error).startswith(f"R1.csv.gz (decoded byte {len(out)}): the gzip data are damaged (")
    assert f"the {len(out):,} bytes before it were delivered" in str(error)


def directory_entry(packed):
    return packed.index(b"PK\1\2")


def patched(packed, at, fmt, value):
    changed = bytearray(packed)
    struct.pack_into(fmt, changed, at, value)
    return bytes(changed)


def test_a_wrong_checksum_comes_after_all_bytes(tmp_path):
    data = text()
    packed = zipped({"t.csv": data})
    path = tmp_path / "t.zip"
    path.write_bytes(patched(packed, directory_entry(packed) + 16, "<I", zlib.crc32(data) ^ 1))
    out, error = read_or_error(path)
    assert out == data
    assert "CRC-32" in str(error)
    assert f"{zlib.crc32(data):08x}" in str(error)
    assert f"the {len(data):,} bytes before it were delivered" in str(error)
    for size in (len(data) - 1, len(data) + 1):
        path.write_bytes(patched(packed, directory_entry(packed) + 24, "<I", size))
        assert f"promises {size:,} decoded bytes" in str(read_or_error(path)[1])


@pytest.mark.parametrize(
    ("method", "name"), [(9, "Deflate64"), (12, "bzip2"), (14, "LZMA"), (93, "Zstandard"), (77, "method 77")]
)
def test_other_methods_are_named(tmp_path, method, name):
    packed = zipped({"R2/t.csv": text()})
    path = tmp_path / "t.zip"
    path.write_bytes(patched(packed, directory_entry(packed) + 10, "<H", method))
    with pytest.raises(
        TraceError, match=rf"t.zip!R2/t.csv: expected a member that is stored or packed with deflate, got {name}"
    ):
        discover(path)


def test_encrypted_members_are_refused(tmp_path):
    packed = zipped({"t.csv": text(), "secret.txt": b"x"})
    path = tmp_path / "t.zip"
    path.write_bytes(patched(packed, directory_entry(packed) + 8, "<H", 1))
    with pytest.raises(
        TraceError, match=r"t.zip!t.csv: expected a member without a password, got an encrypted one \(deflate\)"
    ):
        discover(path)


def test_a_cut_zip_has_no_directory(tmp_path):
    packed = zipped({"t.csv": text()})
    path = tmp_path / "t.zip"
    for cut in (1, 10, len(packed) // 2, len(packed) - 1):
        path.write_bytes(packed[:cut])
        with pytest.raises(TraceError, match="central directory, which stands at the end of the file, is missing or damaged"):
            discover(path)
    path.write_bytes(patched(packed, 0, "<I", 0))
    with pytest.raises(TraceError, match="local header"):
        discover(path)
    path.write_bytes(patched(packed, directory_entry(packed) + 20, "<I", 1 << 30))
    with pytest.raises(TraceError, match="cut off or damaged"):
        discover(path)


def test_what_is_no_gzip(tmp_path):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(text())
    with pytest.raises(TraceError, match="expected gzip's magic bytes, got b'funcID,c'"):
        discover(path)
    path.write_bytes(gzip_members(text()) + b"and more")
    assert "after member 1" in str(read_or_error(path)[1])
    path = tmp_path / "t.csv.zst"
    path.write_bytes(zstd_frames(text()) + b"and more")
    assert "zstd data are damaged" in str(read_or_error(path)[1])


@pytest.mark.parametrize("kind", ["gzip", "zstd", "zip"])
def test_threads_read_as_one(tmp_path, kind):
    data = text(30_000)
    name, packed = PACKED[kind](data)
    sources = [one(tmp_path, packed, name)] * 4
    out = [None] * 4

    def work(i):
        out[i] = drain(sources[i], 50_000)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert out == [data] * 4


@pytest.mark.parametrize(("kind", "package"), [("gzip", "isal"), ("zip", "isal"), ("zstd", "zstandard")])
def test_a_missing_package_is_named(tmp_path, monkeypatch, kind, package):
    name, packed = PACKED[kind](text())
    (tmp_path / name).write_bytes(packed)

    def missing(module, *args):
        raise ImportError(f"No module named {module!r}")

    monkeypatch.setattr(decoders.importlib, "import_module", missing)
    with pytest.raises(BackendUnavailable, match=rf'needs {package} .*pip install "rewarm\[trace\]"'):
        discover(tmp_path)


def test_a_decoder_gives_its_file_back(tmp_path):
    import os

    source = one(tmp_path, gzip_members(text()), "t.csv.gz")
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    for _ in range(5):
        drain(source)
        source.open()
    assert before is None or len(os.listdir("/proc/self/fd")) == before
    assert builtins.open is open
