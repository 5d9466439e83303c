"""batches == read, in bounded memory: buffers are used again only when nobody holds them, and threads do not show."""

import gc
import subprocess
import sys

import pytest
from reader_files import block_bytes, columns_of, rows_of, table_columns, text_of

from rewarm.errors import InvalidArgument, TraceError
from rewarm.trace import batches, read

pa = pytest.importorskip("pyarrow")


@pytest.fixture
def folder(tmp_path):
    for day in range(3):
        (tmp_path / f"day_{day:02d}.csv").write_bytes(
            text_of(columns_of("cold_start"), rows_of("cold_start", 1500, day), last=day != 1)
        )
    return tmp_path


def cuts(path, **arguments):
    with batches(path, **arguments) as stream:
        return [len(batch) for batch in stream]


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_batches_are_the_table_whatever_the_threads(folder, threads):
    whole = table_columns(read(folder, threads=1))
    with block_bytes(20_000):
        with batches(folder, threads=threads) as stream:
            parts = [table_columns(batch) for batch in stream]
        assert cuts(folder, threads=threads) == cuts(folder, threads=1)
    assert len(parts) > 30
    assert {name: [v for part in parts for v in part[name]] for name in whole} == whole


def test_compressed_files_are_cut_at_the_same_places(folder):
    import gzip

    plain = folder / "day_00.csv"
    packed = folder / "x.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    with block_bytes(20_000):
        assert cuts(plain) == cuts(packed)
    assert table_columns(read(plain)) == table_columns(read(packed))


def test_exports_outlive_batches_and_readers(folder):
    """Every batch is kept as an export, among them single columns, while later ones are read; none changes."""
    whole = pa.table(read(folder, threads=1))
    kept, columns = [], []
    with block_bytes(20_000):
        stream = batches(folder, threads=3)
        for batch in stream:
            kept.append(pa.record_batch(batch))
            columns.append(pa.record_batch(batch).column("requestID"))
        stream.close()
    del stream, batch
    gc.collect()
    assert pa.Table.from_batches(kept).cast(whole.schema).to_pylist() == whole.to_pylist()
    del kept
    gc.collect()
    assert pa.chunked_array(columns).to_pylist() == whole["requestID"].to_pylist()


def test_buffers_are_used_again(folder):
    with block_bytes(20_000), batches(folder, ["time"], threads=1) as stream:
        seen = [pa.record_batch(batch).column(0).buffers()[1].address for batch in stream]
    assert len(seen) > 30 and len(set(seen)) <= 6


def test_a_stream_is_given_once(folder):
    stream = batches(folder)
    first = pa.RecordBatchReader.from_stream(stream).read_all()
    assert first.num_rows == 4500
    with pytest.raises(InvalidArgument, match="once"):
        pa.RecordBatchReader.from_stream(stream)
    with pytest.raises(InvalidArgument, match="once"):
        next(stream)


def test_an_error_comes_after_the_batches_before_it(folder):
    path = folder / "day_01.csv"
    lines = path.read_bytes().split(b"\n")
    lines[700] = b"oops"
    path.write_bytes(b"\n".join(lines))
    for threads in (1, 3):
        with block_bytes(20_000), batches(folder, threads=threads) as stream:
            rows = 0
            with pytest.raises(TraceError) as caught:
                for batch in stream:
                    rows += len(batch)
            assert (caught.value.file, caught.value.line) == ("day_01.csv", 701)
            assert 1500 < rows <= 1500 + 699
        with (
            block_bytes(20_000),
            batches(folder, threads=threads) as stream,
            pytest.raises(pa.ArrowInvalid, match=r"day_01\.csv:701"),
        ):
            pa.RecordBatchReader.from_stream(stream).read_all()


@pytest.mark.parametrize("consumer", ["pyarrow", "polars"])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_stream_passes_on_the_whole_text_and_keeps_the_error(folder, consumer, threads):
    """The consumer's error has file, line, byte, column, text and what is accepted; `Batches.error` has them as fields."""
    polars = pytest.importorskip("polars")
    path = folder / "day_01.csv"
    lines = path.read_bytes().split(b"\n")
    fields = lines[700].split(b",")
    byte = sum(len(line) + 1 for line in lines[:700]) + len(b",".join(fields[:2])) + 1
    fields[2] = b"three\xff\0\xe9 more"
    lines[700] = b",".join(fields)
    path.write_bytes(b"\n".join(lines))
    place = ("day_01.csv", 701, byte, "clusterName", "three\ufffd\0\ufffd more", "a whole number of 16 bits")
    text = f'{place[0]}:{place[1]} (byte {place[2]}), column {place[3]}: expected {place[5]}, got "'
    with block_bytes(20_000):
        stream = batches(folder, threads=threads)
        assert stream.error is None
        if consumer == "pyarrow":
            with pytest.raises(pa.ArrowInvalid) as caught:
                pa.RecordBatchReader.from_stream(stream).read_all()
        else:
            with pytest.raises(polars.exceptions.PolarsError) as caught:
                polars.DataFrame(stream)
    assert f'{text}three\ufffd\ufffd\ufffd more"' in str(caught.value)
    error = stream.error
    assert (error.file, error.line, error.byte, error.column, error.text, error.expected) == place
    assert str(error) == f'{text}three\ufffd\ufffd\ufffd more"'
    assert stream.error is error


def test_a_stream_of_minutes_keeps_its_error_too(tmp_path):
    files = tmp_path / "R1" / "requests"
    files.mkdir(parents=True)
    (files / "day_00.csv").write_text("day,time,1---2---pool22-300-128\n0,0,1.0\n0,60,x\n")
    stream = batches(tmp_path)
    with pytest.raises(pa.ArrowInvalid, match=r"R1/requests/day_00\.csv:3 \(byte \d+\), column 1---2---pool22-300-128: "):
        pa.RecordBatchReader.from_stream(stream).read_all()
    assert (stream.error.line, stream.error.text) == (3, "x")


def test_an_iterator_keeps_its_error(folder):
    (folder / "day_02.csv").write_bytes((folder / "day_02.csv").read_bytes() + b"oops\n")
    stream = batches(folder)
    with pytest.raises(TraceError) as caught:
        for _ in stream:
            assert stream.error is None
    assert stream.error is caught.value
    with batches(folder / "day_00.csv") as whole:
        assert sum(map(len, whole)) == 1500 and whole.error is None


def test_leaving_early_ends_the_threads(folder):
    with block_bytes(2000), batches(folder, threads=3) as stream:
        assert len(next(stream)) > 0
    assert list(stream) == []
    with block_bytes(2000):
        held = next(batches(folder, threads=3))  # the reader is gone, its batch is not
    assert held.to_numpy()["poolName"][0] is None or isinstance(held.to_numpy()["poolName"][0], str)


def test_rejects_grow_with_what_was_delivered(folder):
    path = folder / "day_00.csv"
    lines = path.read_bytes().split(b"\n")
    lines[5] = lines[1200] = b"oops"
    path.write_bytes(b"\n".join(lines))
    with block_bytes(20_000), batches(path, on_error="skip", threads=2) as stream:
        next(stream)
        next(stream)
        assert [r.line for r in stream.rejects] == [6]
        assert sum(1 for _ in stream) > 3
        assert [r.line for r in stream.rejects] == [6, 1201] and stream.rejects.count == 2


def test_memory_does_not_grow_with_the_file(tmp_path):
    """Two threads and 60 MB of text: at most 64 MB over what the imports take (this is the promise at any size)."""
    rows = text_of(columns_of("request"), rows_of("request", 2000, 1, holes=0.02))
    head, _, body = rows.partition(b"\n")
    path = tmp_path / "f.csv"
    with open(path, "wb") as out:
        out.write(head + b"\n")
        while out.tell() < 60_000_000:
            out.write(body)
    code = (
        "import resource, sys; from rewarm.trace import batches\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        "assert sum(len(b) for b in batches(sys.argv[1], threads=2)) > 200_000\n"
        "print(peak() - before)"
    )
    run = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 64 * 1024
