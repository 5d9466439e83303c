"""A packed file is unpacked by a thread of its own where a processor is left: same rows, same errors, nothing left over."""

import contextlib
import gzip
import io
import os
import time
import zipfile

import pyarrow as pa
import pytest
from reader_files import block_bytes, columns_of, rows_of, text_of

from rewarm.errors import TraceError
from rewarm.trace import reader

zstandard = pytest.importorskip("zstandard")
pytest.importorskip("isal")
LINUX = hasattr(os, "sched_setaffinity") and os.path.isdir("/proc/self/task")
pytestmark = pytest.mark.skipif(
    not LINUX or len(os.sched_getaffinity(0)) < 2, reason="needs two processors, and to be confined to one"
)


@contextlib.contextmanager
def one_processor():
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def thread_count():
    return len(os.listdir("/proc/self/task"))


def threads_fall_to(count):
    until = time.monotonic() + 5
    while thread_count() > count and time.monotonic() < until:
        time.sleep(0.01)
    return thread_count() == count


def zipped(data):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("f.csv", data)
    return packed.getvalue()


PACKED = {
    "f.csv.gz": lambda data: gzip.compress(data[: len(data) // 2], 1) + gzip.compress(data[len(data) // 2 :], 1),
    "f.csv.zst": lambda data: zstandard.ZstdCompressor().compress(data),
    "f.zip": zipped,
}


@pytest.fixture(scope="module")
def text():
    """3 MB: several chunks of 256 KiB beyond those that are read ahead."""
    names = columns_of("request")
    block = text_of(names, rows_of("request", 1500, 1)).split(b"\n", 1)
    return block[0] + b"\n" + block[1] * 10


def read_both(path, **arguments):
    """With a thread that reads ahead, and without."""
    ahead = reader.read(path, threads=1, **arguments)
    with one_processor():
        return ahead, reader.read(path, threads=1, **arguments)


@pytest.mark.parametrize("name", PACKED)
def test_the_same_rows(tmp_path, text, name):
    (tmp_path / name).write_bytes(PACKED[name](text))
    (tmp_path / "plain.csv").write_bytes(text)
    plain = pa.table(reader.read(tmp_path / "plain.csv"))
    for found in read_both(tmp_path / name):
        assert pa.table(found).equals(plain)


@pytest.mark.parametrize("name", PACKED)
def test_the_same_error(tmp_path, text, name):
    packed = PACKED[name](text)
    if name == "f.zip":  # all is delivered, then the sum is wrong
        at = packed.index(b"PK\1\2") + 16
        packed = packed[:at] + bytes([packed[at] ^ 1]) + packed[at + 1 :]
    else:
        packed = packed[: 2 * len(packed) // 3]
    (tmp_path / name).write_bytes(packed)
    errors = []
    for alone in (contextlib.nullcontext(), one_processor()):
        with alone, pytest.raises(TraceError) as error:
            reader.read(tmp_path / name, threads=1)
        errors.append((str(error.value), error.value.byte))
    assert errors[0] == errors[1]
    assert "of it were delivered before" in errors[0][0]


def test_a_thread_only_where_a_processor_is_left(tmp_path, text):
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text, 1))
    before = thread_count()
    with block_bytes(1 << 18):
        for confined, extra in ((contextlib.nullcontext, 2), (one_processor, 1)):
            with confined(), reader.batches(tmp_path / "a.csv.gz", threads=1) as batches:
                next(batches)
                assert thread_count() == before + extra
            assert thread_count() == before
        # Files enough for all processors: their parsers unpack.
        cpus = len(os.sched_getaffinity(0))
        for i in range(2 * cpus):
            (tmp_path / f"many{i}.csv.gz").write_bytes(gzip.compress(text, 1))
        with reader.batches(tmp_path / "many*.csv.gz", threads=cpus) as batches:
            next(batches)
            assert thread_count() == before + cpus


def test_nothing_is_left_when_the_reader_is_dropped(tmp_path, text):
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text, 1))
    before = thread_count()
    with block_bytes(1 << 18):
        batches = reader.batches(tmp_path / "a.csv.gz", threads=1)
        next(batches)
        del batches
    assert threads_fall_to(before)
