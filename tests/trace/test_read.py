"""read(data) == reference(data): every value, null, reject and error, for any spelling, block size and number of threads."""

import inspect
import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reader_files import POOLS, REFERENCES, block_bytes, columns_of, read_bytes, rows_of, table_columns, text_of

from rewarm.errors import InvalidArgument, TraceError
from rewarm.trace import aggregate, batches, csv_reference, read

KINDS = ["cold_start", "request"]
#: Fields that are nulls, numbers of other spellings, or wrong.
ODD = (
    "",
    '""',
    "NaN",
    "null",
    "nan",
    "inf",
    "-0.0",
    "1e5",
    "9.31E-4",
    "1e400",
    "-1e-400",
    "+1",
    "1_0",
    " 1",
    "1 ",
    "0x1",
    ".5",
    "5.",
)
ODD += (
    "1018.0",
    "1018.5",
    "99999",
    "2147483648",
    "-7",
    "12a",
    "a,b",
    '"1.5"',
    '"a""b"',
    "é",
    "pool22-300-128-123",
    "0123456789abcdef" * 2,
)
ODD += ("0123456789ABCDEF" * 4, '"' + "0123456789abcdef" * 4 + '"', '"pool-1-2-0123456789"', "-0123456789", "x" * 90)


def same(found, expected):
    assert list(found) == list(expected)
    for name in expected:
        assert len(found[name]) == len(expected[name]), name
        for row, (a, b) in enumerate(zip(found[name], expected[name], strict=True)):
            assert type(a) is type(b) and a == b, (name, row, a, b)
            if isinstance(a, float):  # -0.0 == 0.0
                assert np.float64(a).tobytes() == np.float64(b).tobytes(), (name, row, a, b)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ids", ["binary", "text"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_table_is_what_the_reference_reads(tmp_path, kind, ids, end):
    data = text_of(columns_of(kind), rows_of(kind, 700, 1), end)
    table = read_bytes(tmp_path, data, table=kind, ids=ids)
    same(table_columns(table), REFERENCES[kind].read(data, ids=ids))
    assert table.num_rows == len(table) == 700 and table.rejects.count == 0


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 97, 1000, 40_000])
def test_blocks_and_threads_do_not_show(tmp_path, threads, size):
    data = text_of(columns_of("request"), rows_of("request", 300, 2), last=False)
    with block_bytes(size):
        table = read_bytes(tmp_path, data, threads=threads)
    same(table_columns(table), REFERENCES["request"].read(data))


def test_sub_blocks_of_the_engine_do_not_show(tmp_path):
    """Thousands of rows: several sub-blocks of 32 KiB and several reads of the file, rows of odd shape among them."""
    rows = rows_of("cold_start", 4000, 3, holes=0.01)
    for at in (0, 5, 150, 2000, 3999):
        rows[at] = [f'"{text}"' for text in rows[at]]
    data = text_of(columns_of("cold_start"), rows)
    same(table_columns(read_bytes(tmp_path, data)), REFERENCES["cold_start"].read(data))


def any_file(draw, kind):
    """A header in any order and subset, rows with fields of all kinds, and lines of all shapes."""
    names = draw(st.permutations(columns_of(kind)))[: draw(st.integers(2, len(columns_of(kind))))]
    index = draw(st.booleans())
    rng = random.Random(draw(st.integers(0, 2**32)))
    rows = rows_of(kind, draw(st.integers(0, 12)), rng.random(), names, draw(st.sampled_from((32, 64))))
    for row in rows:
        if rng.random() < 0.25:
            row[rng.randrange(len(row))] = rng.choice(ODD)
    lines = [",".join(([str(at)] if index else []) + row) for at, row in enumerate(rows)]
    for _ in range(draw(st.integers(0, 2))):
        lines.insert(rng.randrange(len(lines) + 1), rng.choice(("", "1,2", '"open,1', '"a"b,2', ",".join(["1"] * 40))))
    head = ",".join((['""'] if index else []) + [f'"{n}"' if rng.random() < 0.2 else n for n in names])
    ends = [rng.choice(("\n", "\r\n")) if draw(st.booleans()) else "\n" for _ in range(len(lines) + 1)]
    text = "".join(line + end for line, end in zip([head, *lines], ends, strict=True))
    if lines and draw(st.booleans()):
        text = text.rstrip("\r\n")
    return names, (b"\xef\xbb\xbf" if draw(st.booleans()) else b"") + text.encode()


DERIVED = (
    "poolName",
    "pod_serial",
    "cpu_limit",
    "memory_limit",
    "size",
    "pool_class",
    "hour",
    "minute",
    "hour_of_day",
    "region",
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_file_under_any_policy(tmp_path, data):
    kind = data.draw(st.sampled_from(KINDS))
    names, text = any_file(data.draw, kind)
    columns = None
    time = "time" if kind == "cold_start" else "time_worker"
    if data.draw(st.booleans()):
        possible = list(names)
        if "podID" in names:
            possible += DERIVED[:6]
            if {"funcName", "userID"} <= set(names):
                possible.append("funcID")
        if time in names:
            possible += ["hour", "minute", "hour_of_day"] + (["day"] if kind == "request" else [])
        columns = data.draw(st.lists(st.sampled_from([*possible, "region"]), min_size=1, unique=True))
    arguments = {
        "on_error": data.draw(st.sampled_from(("raise", "null", "skip"))),
        "ids": data.draw(st.sampled_from(("binary", "text"))),
        "unknown_columns": "ignore",
    }
    if time in names and data.draw(st.booleans()):
        arguments["time"] = (data.draw(st.sampled_from((None, 0.5))), data.draw(st.sampled_from((None, 100.0, 2600000.0))))
    if "clusterName" in names and data.draw(st.booleans()):
        arguments["clusterName"] = [1, 2, 3]
    rejects = []
    try:
        expected = REFERENCES[kind].read(text, columns, rejects=rejects, **arguments)
    except csv_reference.Wrong as wrong:
        expected = wrong
    path = tmp_path / "f.csv"
    path.write_bytes(text)
    with block_bytes(data.draw(st.sampled_from((1, 60, 300, 1 << 23)))):
        threads = data.draw(st.integers(1, 3))
        try:
            found = read(path, columns, table=kind, threads=threads, **arguments)
        except TraceError as error:
            assert isinstance(expected, csv_reference.Wrong), error
            places = (error.line, error.byte, error.column, error.text, error.expected)
            assert places == (expected.line, expected.byte, expected.column, expected.text, expected.expected)
            assert error.file == "f.csv" and str(error).startswith(f"f.csv:{error.line} (byte {error.byte})")
            return
    assert not isinstance(expected, csv_reference.Wrong), expected
    same(table_columns(found), expected)
    assert found.rejects.count == len(rejects)
    for got, wanted in zip(found.rejects, rejects, strict=True):
        assert got._asdict() == {"file": "f.csv", **wanted}


def test_every_prefix_parses_or_raises_at_the_right_byte(tmp_path):
    data = text_of(columns_of("cold_start"), rows_of("cold_start", 3, 5, holes=0.0))
    header = data.index(b"\n") + 1
    for stop in range(header, len(data) + 1):
        text = data[:stop]
        try:
            expected = REFERENCES["cold_start"].read(text)
        except csv_reference.Wrong as wrong:
            with pytest.raises(TraceError) as caught:
                read_bytes(tmp_path, text)
            assert (caught.value.line, caught.value.byte, caught.value.column) == (wrong.line, wrong.byte, wrong.column)
        else:
            same(table_columns(read_bytes(tmp_path, text)), expected)


def test_rows_stand_in_the_order_of_files(tmp_path):
    for name, seed in (("R2/b.csv", 1), ("R1/z.csv", 2), ("R1/a.csv", 3)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text_of(columns_of("cold_start"), rows_of("cold_start", 50, seed)))
    expected = {}
    for name, region in (("R1/a.csv", "R1"), ("R1/z.csv", "R1"), ("R2/b.csv", "R2")):
        for column, values in REFERENCES["cold_start"].read((tmp_path / name).read_bytes(), region=region).items():
            expected.setdefault(column, []).extend(values)
    for threads in (1, 3):
        with block_bytes(500):
            table = read(tmp_path, threads=threads)
        same(table_columns(table), expected)
    assert table.files.read == ["R1/a.csv", "R1/z.csv", "R2/b.csv"]
    assert set(table_columns(read(tmp_path, ["region"], region="R2"))["region"]) == {"R2"}


def test_functions_filter_and_join_by_region(tmp_path):
    data = text_of(columns_of("cold_start"), rows_of("cold_start", 400, 8, holes=0.02))
    whole = REFERENCES["cold_start"].read(data, ["funcID"])["funcID"]
    wanted = sorted({f for f in whole if f})[:20]
    runtime = {
        (region, f): (f"{region} {f[:2]}", None if f[0] == "1" else "TIMER-A") for f in wanted for region in ("R1", "R2")
    }
    columns = ["runtime", "funcID", "trigger_group", "region"]
    (tmp_path / "R1").mkdir()
    table = read_bytes(tmp_path / "R1", data, columns=columns, funcID=wanted, runtime=runtime)
    same(table_columns(table), REFERENCES["cold_start"].read(data, columns, region="R1", funcID=wanted, runtime=runtime))
    assert table.num_rows == sum(f in wanted for f in whole) >= 20
    table = read_bytes(tmp_path / "R1", data, columns=columns, runtime=runtime)
    same(table_columns(table), REFERENCES["cold_start"].read(data, columns, region="R1", runtime=runtime))


def test_the_first_row_of_the_whole_read_fixes_the_ids(tmp_path):
    (tmp_path / "a.csv").write_bytes(text_of(columns_of("cold_start"), []))
    (tmp_path / "b.csv").write_bytes(
        b"\xef\xbb\xbf" + text_of(columns_of("cold_start"), rows_of("cold_start", 3, 1, digits=32, holes=0))
    )
    assert read(tmp_path).to_numpy()["requestID"].shape == (3, 16)
    (tmp_path / "c.csv").write_bytes(text_of(columns_of("cold_start"), rows_of("cold_start", 1, 2, holes=0)))
    with pytest.raises(TraceError, match=r'c\.csv:2 .* requestID: expected 32 hexadecimal digits; other ids: ids="text"'):
        read(tmp_path)
    assert len(read(tmp_path, ids="text")) == 4


def test_to_numpy_has_one_array_a_column(tmp_path):
    rows = rows_of("request", 200, 4)
    data = text_of(columns_of("request"), rows)
    arrays = read_bytes(tmp_path, data).to_numpy()
    expected = REFERENCES["request"].read(data)
    for name, values in expected.items():
        array = arrays[name]
        if name == "requestID":
            assert array.dtype == np.uint8 and array.shape == (200, 32)
            assert [bytes(a) for a in array] == [v or bytes(32) for v in values]
        elif array.dtype == object:
            assert list(array) == values
        else:
            assert [None if x != x else x for x in array.tolist()] == values
    assert arrays["clusterName"].dtype == np.float64  # it has nulls
    full = read_bytes(tmp_path, text_of(columns_of("request"), rows_of("request", 5, 4, holes=0))).to_numpy()
    assert full["clusterName"].dtype == np.int16 and full["requestBodySize"].dtype == np.int64
    with pytest.raises(TypeError, match="several columns"):
        np.asarray(read_bytes(tmp_path, data))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"columns": "time"}, "columns: expected a list"),
        ({"columns": []}, "at least one column"),
        ({"columns": ["time", "time"]}, "asked for twice"),
        ({"columns": ["time_worker"]}, 'the cold_start table has no column "time_worker"; accepted: day, time'),
        ({"columns": ["runtime"]}, "given by runtime="),
        ({"on_error": "ignore"}, "on_error: expected 'raise' or 'null' or 'skip', got 'ignore'"),
        ({"ids": "hex"}, "ids: expected"),
        ({"threads": 0}, "threads: expected"),
        ({"time": 5}, "time: expected"),
        ({"clusterName": 70000}, "16 bits"),
        ({"clusterName": "1"}, "clusterName: expected int"),
        ({"funcID": []}, "funcID: an empty list"),
        ({"metric": "requests"}, "minute tables"),
    ],
)
def test_arguments_are_checked(tmp_path, arguments, message):
    with pytest.raises(InvalidArgument, match=message):
        read_bytes(tmp_path, text_of(columns_of("cold_start"), rows_of("cold_start", 2, 1)), **arguments)


def test_the_ways_to_read_have_the_same_arguments():
    """`read`, `batches` and `aggregate` spell theirs out; where one gets another default or name, the others must too."""
    wanted, streamed, added = (inspect.signature(way).parameters for way in (read, batches, aggregate))
    assert [parameter for name, parameter in wanted.items() if name != "progress"] == list(streamed.values())
    shared = [name for name in added if name in wanted]
    assert len(shared) == 12 and [added[name] for name in shared] == [wanted[name] for name in shared]


def test_pools_of_all_names_are_found_again(tmp_path):
    """Longer than 16 bytes, shorter than 8, with hyphens and points, and more of them than the first cache holds."""
    pools = [
        *POOLS,
        "a",
        "ab-1-2",
        *(f"{'x' * (n % 40)}{n}-{n}-{2 * n}" for n in range(600)),
        "x-2147483647-1",
        "x-2147483648-1",
    ]
    rng = random.Random(1)
    names = [rng.choice(pools) for _ in range(3000)]
    data = text_of(["time", "podID"], [["1.5", f"{p}-0000000001"] for p in names])
    columns = ["podID", "poolName", "cpu_limit", "memory_limit", "size", "pool_class"]
    for threads in (1, 3):
        with block_bytes(4000):
            found = table_columns(read_bytes(tmp_path, data, table="cold_start", columns=columns, threads=threads))
        same(found, REFERENCES["cold_start"].read(data, columns))
    assert found["poolName"] == names
