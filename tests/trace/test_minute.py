"""The minute tables against the reference and the published values; chunks, threads, filters, errors with their place."""

import gzip
import random

import numpy as np
import pytest

from rewarm import trace
from rewarm._native import core
from rewarm.errors import InvalidArgument, TraceError
from rewarm.trace import minute_reference
from rewarm.trace.minute import COLUMNS, minute_reader
from rewarm.trace.source import discover

FUNCTIONS = ["400---418---pool22-300-128", "1531---418---pool22-300-128", "944---173---custom.image.gpu-25800-32768"]


def write(folder, text, name="day_00.csv", metric="requests", region="R2"):
    path = folder / "quantiles" / region / metric / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def head(functions=FUNCTIONS, ending="\n"):
    return ",".join(["day", "time", *functions]) + ending


def rows_of(path, block_bytes=None, threads=1, columns=None, **options):
    options |= {} if block_bytes is None else {"block_bytes": block_bytes}
    reader = minute_reader(discover(path).sources, columns, threads=threads, **options)
    table = trace.table.Table(reader.read_all(None), trace.table.Files([], []), trace.Rejects([], 0))
    arrays = table.to_numpy()
    return list(zip(*(arrays[name].tolist() for name in table.schema.names), strict=True)), reader


def reference(data, folder="requests", region="R2"):
    found, functions = minute_reference.read(data, folder=folder, region=region)
    return list(zip(*(found[name] for name in COLUMNS), strict=True)), functions


def random_file(seed, functions, rows, filled, ending="\n"):
    rng = random.Random(seed)
    spell = ["{:.1f}", "{:.6f}", "{:.0f}", "{!r}", "{:.17g}", "{:e}"]
    lines = [head(functions, "")]
    for r in range(rows):
        cells = [spell[rng.randrange(6)].format(rng.lognormvariate(0, 6)) if rng.random() < filled else "" for _ in functions]
        lines.append(",".join([str(r // 1440), str(60 * r), *cells]))
    return ending.join([*lines, ""]).encode()


def names(count):
    return [f"{i}---{i % 7}---pool22-300-128" for i in range(count)]


def test_the_published_first_rows(tmp_path):
    functions = [*FUNCTIONS[:2], "343---1077---pool22-300-128", "343---192---pool22-300-128", "343---974---pool22-300-128"]
    functions += ["343---952---pool22-300-128", "343---107---pool22-300-128", "1263---582---pool23-400-256"]
    write(tmp_path, head(functions) + "0,0,1.0,,,2.0,,,,\n0,60,,,,,,,,3.0\n")
    table = trace.read(tmp_path)
    assert table.functions == functions
    arrays = table.to_numpy()
    assert arrays["funcID"].tolist() == [functions[0], functions[3], functions[7]]
    assert arrays["time"].tolist() == [0, 0, 60]
    assert arrays["value"].tolist() == [1.0, 2.0, 3.0]
    assert arrays["metric"].tolist() == ["requests"] * 3
    assert arrays["stat"].tolist() == [None] * 3
    assert arrays["region"].tolist() == ["R2"] * 3


@pytest.mark.parametrize(
    ("folder", "metric", "stat"),
    [
        ("requests", "requests", None),
        ("num_cold_starts", "num_cold_starts", None),
        ("totalCost_cold_start_avg", "totalCost_cold_start", "avg"),
        ("cpu_usage_quantile_095", "cpu_usage", "quantile_095"),
        ("memory_usage_std", "memory_usage", "std"),
        ("something_quantile_5", "something_quantile_5", None),
    ],
)
def test_the_folder_says_metric_and_stat(tmp_path, folder, metric, stat):
    write(tmp_path, head() + "0,0,1,,\n", metric=folder)
    assert rows_of(tmp_path)[0] == [("R2", metric, stat, FUNCTIONS[0], 0, 1.0)]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("filled", [0, 0.02, 0.5, 1])
@pytest.mark.parametrize("count", [1, 2, 31, 61, 62, 63, 64, 65, 130, 1009])
def test_equals_the_reference(tmp_path, count, filled, ending):
    data = random_file(count, names(count), 40, filled, ending)
    for cut in (len(data), len(data) - len(ending)):  # with and without a last line's end
        path = write(tmp_path, data[:cut])
        found, functions = reference(data[:cut])
        rows, reader = rows_of(path)
        assert rows == found
        assert reader.functions == functions == names(count)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("block_bytes", [1, 7, 64, 1000, 4096])
def test_any_cut_gives_the_same_rows(tmp_path, block_bytes, threads):
    data = random_file(3, names(40), 60, 0.1)
    for day in range(4):
        write(tmp_path, data, f"day_0{day}.csv")
    found = reference(data)[0] * 4
    assert rows_of(tmp_path, block_bytes, threads)[0] == found
    write(tmp_path, gzip.compress(data), "day_00.csv.gz").parent.joinpath("day_00.csv").unlink()
    assert rows_of(tmp_path, block_bytes, threads)[0] == found


def test_rows_longer_than_the_readers_window(tmp_path):
    """A row of Region 4 has 7,570 fields; the reader holds a part of it at a time."""
    data = random_file(4, names(60_000), 4, 0.9)
    assert len(data) / 5 > 400_000
    path = write(tmp_path, data)
    assert rows_of(path)[0] == reference(data)[0]
    assert rows_of(path, 100_000, 2)[0] == reference(data)[0]


def test_every_prefix_reads_as_the_reference_says(tmp_path):
    data = random_file(5, names(5), 6, 0.5)
    start = data.index(b"\n") + 1
    for end in range(start, len(data)):
        path = write(tmp_path, data[:end])
        try:
            found = reference(data[:end])[0]
        except minute_reference.Wrong as wrong:
            with pytest.raises(TraceError) as caught:
                rows_of(path)
            assert caught.value.line == wrong.line, end
        else:
            assert rows_of(path)[0] == found, end


def test_spellings_of_nothing_and_of_quotes(tmp_path):
    text = head() + '0,0,"",NaN,null\n"0","60","1.5",2,"3"\n\n0,120,,,\n,180.0,-0.0,,1E2\n'
    path = write(tmp_path, text)
    rows, _ = rows_of(path, columns=["funcID", "time", "value"])
    assert rows == [
        (FUNCTIONS[0], 60, 1.5),
        (FUNCTIONS[1], 60, 2.0),
        (FUNCTIONS[2], 60, 3.0),
        (FUNCTIONS[0], 180, -0.0),
        (FUNCTIONS[2], 180, 100.0),
    ]
    assert np.signbit(rows[3][2])
    for block in (1, 5):
        assert rows_of(path, block, columns=["funcID", "time", "value"])[0] == rows


def test_columns_in_another_order_and_an_index(tmp_path):
    text = f",{FUNCTIONS[1]},time,day,{FUNCTIONS[0]}\n0,5,60,0,\n1,,120,0,7\n"
    path = write(tmp_path, text)
    with pytest.raises(TraceError, match="unknown_columns"):
        rows_of(path)
    rows, reader = rows_of(path, unknown_columns="ignore", columns=["value", "time", "funcID"])
    assert rows == [(5.0, 60, FUNCTIONS[1]), (7.0, 120, FUNCTIONS[0])]
    assert reader.functions == [FUNCTIONS[1], FUNCTIONS[0]]
    assert rows_of(path, unknown_columns="ignore", columns=["value"], time=(100, None))[0] == [(7.0,)]


def test_filters(tmp_path):
    for region in ("R1", "R2"):
        for metric in ("requests", "cpu_usage_avg", "cpu_usage_std"):
            write(tmp_path, random_file(region + metric, names(20), 30, 0.3), metric=metric, region=region)
    everything = list(zip(*(a.tolist() for a in trace.read(tmp_path).to_numpy().values()), strict=True))

    def read(**options):
        return list(zip(*(a.tolist() for a in trace.read(tmp_path, **options).to_numpy().values()), strict=True))

    assert read(region="R1") == [row for row in everything if row[0] == "R1"]
    assert read(metric="cpu_usage") == [row for row in everything if row[1] == "cpu_usage"]
    assert read(metric="cpu_usage", stat="avg", region=["R2"]) == [
        row for row in everything if row[:3] == ("R2", "cpu_usage", "avg")
    ]
    assert read(time=(120, 300)) == [row for row in everything if 120 <= row[4] < 300]
    assert read(time=(None, 60)) == [row for row in everything if row[4] < 60]
    wanted = names(20)[3:5]
    assert read(funcID=wanted) == [row for row in everything if row[3] in wanted]
    assert trace.read(tmp_path, funcID=wanted).functions == wanted
    for options in ({"clusterName": 1}, {"columns": ["podID"]}, {"runtime": {}}, {"on_error": "log"}):
        with pytest.raises(InvalidArgument):
            read(**options)
    with pytest.raises(TraceError, match="no file is of"):
        read(metric="num_pods")


BAD = [
    ("0,60,1,x,", FUNCTIONS[1], 7, "x"),
    ("0,60,1,inf,", FUNCTIONS[1], 7, "inf"),
    ("0,60,1,+1,", FUNCTIONS[1], 7, "+1"),
    ("0,60,1, 1,", FUNCTIONS[1], 7, " 1"),
    ("0,60,1,1e400,", FUNCTIONS[1], 7, "1e400"),
    ("0,60,1,1.,", FUNCTIONS[1], 7, "1."),
    ('0,60,1,"a",', FUNCTIONS[1], 7, '"a"'),
    ("0,60,1,," + "9" * 70 + "x", FUNCTIONS[2], 8, "9" * 70 + "x"),
    ("0,1.5,1,2,", "time", 2, "1.5"),
    ("0,x,1,2,", "time", 2, "x"),
    ("d,60,1,2,", "day", 0, "d"),
    ("0,60,1,2", None, 0, "0,60,1,2"),
    ("0,60,1,2,,", None, 0, "0,60,1,2,,"),
    ('0,60,"1,2,', None, 0, '0,60,"1,2,'),
    ('0,60,"1"2,3,', None, 0, '0,60,"1"2,3,'),
]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("block_bytes", [None, 1, 16])
@pytest.mark.parametrize(("row", "column", "offset", "shown"), BAD)
def test_errors_have_a_place(tmp_path, row, column, offset, shown, block_bytes, ending):
    good = ["0,0,1.5,,", "", "0,0,,2.5,"]
    after = ["0,120,,,3.5", ""]
    data = ending.join([head(ending=""), *good, row, *after]).encode()
    path = write(tmp_path, data)
    byte = data.index(row.encode()) + offset
    for threads in (1, 2):
        with pytest.raises(TraceError) as caught:
            rows_of(path, block_bytes, threads)
        error = caught.value
        assert (error.file, error.line, error.byte, error.column, error.text) == (path.name, 5, byte, column, shown)
        assert str(error).startswith(f"{path.name}:5 (byte {byte})")

    around = [(FUNCTIONS[0], 0, 1.5), (FUNCTIONS[1], 0, 2.5), (FUNCTIONS[2], 120, 3.5)]
    for on_error in ("null", "skip"):
        rows, reader = rows_of(path, block_bytes, 2, ["funcID", "time", "value"], on_error=on_error)
        count, rejects = reader.rejects()
        action = "null" if on_error == "null" and column else "row skipped"
        assert count == 1
        assert [(r[1], r[2], r[3], r[4], r[6]) for r in rejects] == [(5, byte, column, shown, action)]
        kept = [values for values in rows if values not in around]
        assert [values for values in rows if values in around] == around
        if column is None or (on_error == "skip" and column in ("day", "time")):
            assert kept == []
        elif column == "time":
            assert [(f, v) for f, _, v in kept] == [(FUNCTIONS[0], 1.0), (FUNCTIONS[1], 2.0)]
            assert all(np.isnan(time) for _, time, _ in kept)
        elif column == "day":
            assert kept == [(FUNCTIONS[0], 60, 1.0), (FUNCTIONS[1], 60, 2.0)]
        else:
            nulls = [values for values in kept if np.isnan(values[2])]
            assert [values for values in kept if not np.isnan(values[2])] == [(FUNCTIONS[0], 60, 1.0)]
            assert [f for f, _, _ in nulls] == ([column] if on_error == "null" else [])


def test_the_first_error_is_the_first_in_row_order(tmp_path):
    good = "0,0,1,,\n"
    for day in range(3):
        write(tmp_path, head() + good * 2000 + ("0,0,bad,,\n" if day else "") + good * 2000, f"day_0{day}.csv")
    for threads in (1, 2, 5):
        for block_bytes in (64, 1000, None):
            with pytest.raises(TraceError, match=r"^quantiles/R2/requests/day_01\.csv:2002 "):
                rows_of(tmp_path, block_bytes, threads)


def test_batches_come_before_the_error(tmp_path):
    write(tmp_path, head() + "0,0,1,,\n" * 10)
    write(tmp_path, head() + "0,0,1,,\n" * 5 + "0,0,x,,\n", "day_01.csv")
    with trace.batches(tmp_path) as batches:
        assert next(batches).num_rows == 10
        with pytest.raises(TraceError, match=r"day_01\.csv:7 "):
            next(batches)


def test_rejects_are_counted_exactly(tmp_path):
    write(tmp_path, head() + "0,0,x,y,z\n" * 5000)
    table = trace.read(tmp_path, on_error="skip", threads=2)
    assert table.num_rows == 0
    assert table.rejects.count == 15_000
    assert len(table.rejects) == 10_000
    assert [r.line for r in table.rejects][:4] == [2, 2, 2, 3]


def test_through_arrow(tmp_path):
    pa = pytest.importorskip("pyarrow")
    write(tmp_path, random_file(9, names(50), 100, 0.1))
    table = trace.read(tmp_path)
    arrow = pa.table(table)
    assert arrow.schema.field("funcID").type == pa.dictionary(pa.int32(), pa.string())
    assert arrow.schema.field("time").type == pa.int32()
    assert arrow.schema.metadata[b"rewarm.table"] == b"minute"
    assert arrow["funcID"].to_pylist() == table.to_numpy()["funcID"].tolist()
    assert arrow["stat"].to_pylist() == [None] * table.num_rows
    streamed = pa.table(trace.batches(tmp_path))
    assert streamed.equals(arrow)


def test_a_cut_archive_says_what_was_delivered(tmp_path):
    packed = gzip.compress(random_file(10, names(100), 400, 0.5))
    write(tmp_path, packed[: len(packed) // 2], "day_00.csv.gz")
    with pytest.raises(TraceError, match=r"day_00.csv.gz \(decoded byte \d+\): .* cut off; the [\d,]+ bytes before"):
        trace.read(tmp_path)


def test_nothing_but_a_header(tmp_path):
    for text in (head(), head().strip()):
        path = write(tmp_path, text)
        rows, reader = rows_of(path)
        assert rows == []
        assert reader.functions == FUNCTIONS


def test_the_instruction_sets_agree(tmp_path):
    """Run again with REWARM_ISA=baseline in a process of its own: the level is chosen once."""
    import os
    import subprocess
    import sys

    data = random_file(11, names(333), 60, 0.2)
    path = write(tmp_path, data)
    code = (
        "import sys, hashlib; from rewarm import trace; from rewarm._native import core\n"
        "t = trace.read(sys.argv[1]).to_numpy()\n"
        "rows = t['value'].tobytes() + t['time'].tobytes() + ','.join(t['funcID']).encode()\n"
        "print(core.trace_minute_isa(), hashlib.sha256(rows).hexdigest())"
    )
    seen = {}
    for isa in ("baseline", ""):
        environment = os.environ | {"REWARM_ISA": isa}
        out = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True, env=environment
        )
        level, digest = out.stdout.split()
        seen[level] = digest
    assert "portable" in seen
    assert len(set(seen.values())) == 1
    assert core.trace_minute_isa() in seen
