"""Errors say file, line, byte, column, what stands there and what is accepted; rejects are exact."""

import gzip
import pickle
import subprocess
import sys
import threading
import time

import pytest
from reader_files import block_bytes, columns_of, read_bytes, rows_of, table_columns, text_of

from rewarm._native import core
from rewarm.errors import TraceError
from rewarm.trace import batches, read

GOOD = "0,1.5,1,2,3,{id},2.0,0.5,0.25,0.0,1.25,pool22-300-128-0000000001".format(id="ab" * 32)


def cold(*rows, end="\n"):
    return (end.join([",".join(columns_of("cold_start")), *rows]) + end).encode()


def replaced(column, text):
    fields = GOOD.split(",")
    fields[columns_of("cold_start").index(column)] = text
    return ",".join(fields)


def raised(folder, data, **arguments):
    with pytest.raises(TraceError) as caught:
        read_bytes(folder, data, "day_12.csv", **arguments)
    return caught.value


@pytest.mark.parametrize(
    ("column", "text", "expected"),
    [
        ("podAllocationCost", "0.03x", "a finite decimal number"),
        ("podAllocationCost", "1e999", "a finite decimal number"),
        ("time", "inf", "a finite decimal number"),
        ("clusterName", "1.5", "a whole number of 16 bits"),
        ("clusterName", "40000", "a whole number of 16 bits"),
        ("funcName", "2147483648", "a whole number of 32 bits"),
        ("requestID", "abc", '64 hexadecimal digits; other ids: ids="text"'),
        ("requestID", "0g" * 32, '64 hexadecimal digits; other ids: ids="text"'),
        ("podID", "pool22-300-128-123", 'a pool name, "-" and 10 digits'),
        ("podID", "-0123456789", 'a pool name, "-" and 10 digits'),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_bad_field_is_located(tmp_path, column, text, expected, end):
    row = replaced(column, text)
    data = cold(GOOD, GOOD, row, GOOD, end=end)
    before = row.split(",")[: columns_of("cold_start").index(column)]
    byte = data.index(row.encode()) + sum(len(field) + 1 for field in before)
    error = raised(tmp_path, data)
    assert (error.file, error.line, error.byte, error.column) == ("day_12.csv", 4, byte, column)
    assert (error.text, error.expected) == (text[:80], expected)
    assert str(error) == f'day_12.csv:4 (byte {byte}), column {column}: expected {expected}, got "{text[:80]}"'
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) and again.__dict__ == error.__dict__


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("1,2,3", "12 fields, got 3"),
        (GOOD + ",", "12 fields, got 13"),
        ('"0,1.5', "a closing quote before the end of the line"),
        ('"0"1,2', "a comma or the end of the line after a closing quote"),
        ("7" * 40_000, "a row of less than 32768 bytes"),
    ],
)
def test_a_bad_row_is_located(tmp_path, row, expected):
    data = cold(GOOD, "", row, GOOD)
    error = raised(tmp_path, data)
    assert (error.line, error.byte, error.column) == (4, data.index(("\n" + row).encode()) + 1, None)
    assert (error.text, error.expected) == (row[:80], expected)
    for policy in ("null", "skip"):
        table = read_bytes(tmp_path, data, "day_12.csv", on_error=policy)
        assert len(table) == 2 and table.rejects.count == 1
        reject = table.rejects[0]
        assert (reject.line, reject.column, reject.action, reject.expected) == (4, None, "row skipped", expected)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_longest_row(tmp_path, end):
    """A sub-block is 32 KiB: a row with its line feed must fit, wherever it begins."""
    longest = 32_767 - (end == "\r\n")
    digits = longest - len(replaced("requestID", ""))
    row = replaced("requestID", "x" * digits)
    for before in (0, 1, 300):
        table = read_bytes(tmp_path, cold(*[GOOD] * before, row, GOOD, end=end), ids="text")
        assert table.to_numpy()["requestID"][before] == "x" * digits
        data = cold(*[GOOD] * before, row + "1", GOOD, end=end)
        error = raised(tmp_path, data, ids="text")
        byte = data.index(row.encode())
        assert str(error) == (
            f'day_12.csv:{before + 2} (byte {byte}): expected a row of less than 32768 bytes, got "{row[:80]}"'
        )
        assert len(read_bytes(tmp_path, data, ids="text", on_error="skip")) == before + 1


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_first_error_in_row_order_is_raised(tmp_path, threads):
    rows = [GOOD] * 3000
    rows[1700] = replaced("schedulingCost", "late")
    rows[900] = replaced("podID", "early")
    rows[2999] = "1"
    with block_bytes(5000):
        for _ in range(5):
            error = raised(tmp_path, cold(*rows), threads=threads)
            assert (error.line, error.column, error.text) == (902, "podID", "early")


def test_of_one_row_the_leftmost_field_is_told_and_filters_look_first(tmp_path):
    row = replaced("totalCost_cold_start", "x").replace("0,1.5,1,2", "0,1.5,y,2")
    assert raised(tmp_path, cold(row)).column == "clusterName"
    row = replaced("day", "x").replace("x,1.5", "x,z")
    assert raised(tmp_path, cold(row), time=(0, 1)).column == "time"


def test_what_is_not_asked_for_is_not_looked_at(tmp_path):
    data = cold(GOOD, replaced("podID", "bad"), replaced("time", "bad"))
    assert table_columns(read_bytes(tmp_path, data, columns=["funcName"]))["funcName"] == [2, 2, 2]


@pytest.mark.parametrize("threads", [1, 3])
def test_rejects_are_kept_up_to_a_limit_and_counted_exactly(tmp_path, threads):
    rows = [GOOD, replaced("time", "a"), replaced("podID", "b"), "1,2"] * 4000
    with block_bytes(50_000):
        null = read_bytes(tmp_path, cold(*rows), on_error="null", threads=threads)
        skip = read_bytes(tmp_path, cold(*rows), on_error="skip", threads=threads)
    assert (len(null), len(skip)) == (12_000, 4000)
    for table in (null, skip):
        assert table.rejects.count == 12_000 and len(table.rejects) == core.MOST_REJECTS == 10_000
        lines = [2 + at for at in range(len(rows)) if at % 4][:10_000]
        assert [reject.line for reject in table.rejects] == lines
    assert [r.action for r in null.rejects][:3] == ["null", "null", "row skipped"]
    assert {r.action for r in skip.rejects} == {"row skipped"}
    pa = pytest.importorskip("pyarrow")
    listed = pa.table(null.rejects)
    assert listed.column_names == ["file", "line", "byte", "column", "text", "expected", "action"]
    assert listed.num_rows == 10_000 and listed["column"].to_pylist()[:3] == ["time", "podID", None]


def test_headers(tmp_path):
    data = cold(GOOD)
    error = raised(tmp_path, data.replace(b"deployCodeCost", b"deployCosts"))
    assert error.line == 1 and error.column == "deployCosts"
    assert 'has no column "deployCosts"' in str(error) and 'unknown_columns="ignore"' in str(error)
    error = raised(
        tmp_path, data.replace(b"deployCodeCost", b"deployCosts"), unknown_columns="ignore", columns=["deployCodeCost"]
    )
    assert 'the file has no column "deployCodeCost"' in str(error)
    assert "twice" in str(raised(tmp_path, data.replace(b"deployCodeCost", b"time")))


def test_files_that_vanish_or_shrink(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(cold(*[GOOD] * 20_000))
    with batches(path, threads=1) as stream:
        path.write_bytes(cold(GOOD))
        with pytest.raises(TraceError, match=r"a\.csv: ends at byte \d+ but had \d+ bytes .* it changed while it was read"):
            list(stream)
    path.write_bytes(cold(GOOD))
    with batches(path) as stream:
        path.unlink()
        with pytest.raises(TraceError, match=r"a\.csv: cannot be opened: No such file"):
            list(stream)


def test_a_damaged_archive_says_how_many_rows_came_before(tmp_path):
    packed = bytearray(gzip.compress(text_of(columns_of("cold_start"), rows_of("cold_start", 3000, 1))))
    packed[-6] ^= 1  # the checksum
    path = tmp_path / "a.csv.gz"
    path.write_bytes(packed)
    with block_bytes(100_000), batches(path) as stream:
        rows = 0
        with pytest.raises(TraceError, match=r"\(\d+ rows of it were delivered before\)") as caught:
            for batch in stream:
                rows += len(batch)
    assert f"({rows} rows of it" in str(caught.value) and rows > 0


def test_threads_of_python_run_while_a_table_is_read(tmp_path):
    """The GIL is free: a counting thread gets on during a read that lasts longer than its switch interval."""
    path = tmp_path / "a.csv"
    path.write_bytes(cold(*[GOOD] * 200_000))
    counted, stop = [0], threading.Event()

    def count():
        while not stop.is_set():
            counted[0] += 1
            time.sleep(0.0002)

    thread = threading.Thread(target=count)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(60)  # nobody is asked to give the GIL away: only a release lets the other thread run
    try:
        thread.start()
        before = counted[0]
        assert len(read(path, threads=1)) == 200_000
        during = counted[0] - before
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        thread.join()
    assert during > 3


def test_ctrl_c_ends_a_read(tmp_path):
    """A fifo would never end: here the reader waits for a decoder that never gives anything."""
    code = """
import _thread, threading, time
from rewarm.trace.reader import open_reader
class Stuck:
    def read(self, n):
        time.sleep(0.05)
        return b"1,1.5,1,1,1," + b"ab" * 32 + b",1,1,1,1,1,pool22-300-128-0000000001\\n"
    def close(self): pass
    def open(self): return Stuck()
names = tuple("day time clusterName funcName userID requestID totalCost_cold_start podAllocationCost deployCodeCost "
              "deployDependencyCost schedulingCost podID".split())
class Source(Stuck):
    table, name, path, region, size, header, header_bytes = "cold_start", "x", "x", None, 1, names, 0
    crlf, compression = False, "gzip"
reader = open_reader([Source()], recycle=False, threads=2)
threading.Timer(0.5, _thread.interrupt_main).start()
start = time.monotonic()
try:
    reader.read_all(progress=None)
except KeyboardInterrupt:
    print("interrupted")
reader.stop()
print(time.monotonic() - start < 20)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.stdout == "interrupted\nTrue\n", run.stderr


def test_a_python_error_in_a_decoder_comes_out_as_it_is():
    class Source:
        table, name, path, region, size, header, header_bytes = "cold_start", "x", "x", None, 1, ("time",), 0
        crlf, compression = False, "gzip"

        def open(self):
            raise ZeroDivisionError("in the decoder")

    from rewarm.trace import reader

    with pytest.raises(ZeroDivisionError, match="in the decoder"):
        reader.open_reader([Source()], recycle=False, threads=2).read_all(progress=None)
