"""The runtime and trigger table: the published values and counts, the grammar of funcIDs and pools, errors with their place."""

import csv
import gzip
import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewarm import trace
from rewarm.errors import InvalidArgument, TraceError
from rewarm.trace import runtime_trigger as rt
from rewarm.trace.header import parse_header
from rewarm.trace.runtime_trigger_fields import TRIGGER_GROUPS, pool_limits, split_funcid, trigger_group
from rewarm.trace.runtime_trigger_reading import RowByRow, Stated, read_plain
from rewarm.trace.runtime_trigger_table import DERIVED, PUBLISHED, Functions
from rewarm.trace.source import Source, discover

HEADER = "funcID,cpu_request,runtime,triggerType-invocationType\n"

# The published number of functions by triggerType-invocationType (2,418 in all).
PUBLISHED_TRIGGERS = {
    "TIMER-A": 1018,
    "APIG-S": 551,
    "APIG-S TIMER-A": 312,
    "unknown-S": 123,
    "unknown": 74,
    "unknown-unknown": 68,
    "unknown-A unknown-S": 60,
    "OBS-A": 60,
    "workflow-S": 54,
    "unknown-A": 19,
    "APIG-S TIMER-A workflow-S": 16,
    "LTS-A": 14,
    "CTS-A": 10,
    "APIG-A": 9,
    "SMN-A": 8,
    "KAFKA-S": 3,
    "DIS-A": 3,
    "SMN-A TIMER-A": 3,
    "APIG-A APIG-S": 2,
    "DIS-A OBS-A SMN-A TIMER-A": 2,
    "TIMER-A workflow-S": 2,
    "APIG-A OBS-A": 1,
    "APIG-S OBS-A": 1,
    "APIG-S workflow-S": 1,
    "DIS-A SMN-A": 1,
    "DIS-A SMN-A TIMER-A": 1,
    "DIS-A workflow-S": 1,
    "OBS-A TIMER-A": 1,
}
PUBLISHED_GROUPS = {
    "TIMER-A": 1355,
    "APIG-S": 551,
    "unknown": 202,
    "other S": 129,
    "other A": 67,
    "OBS-A": 60,
    "workflow-S": 54,
}
PUBLISHED_RUNTIMES = {
    "Python3": 1493,
    "Java": 450,
    "Node.js": 159,
    "Python2": 93,
    "http": 72,
    "Custom": 57,
    "PHP7.3": 38,
    "unknown": 31,
    "Go1.x": 21,
    "C#": 4,
}


def write(folder, text, name="df_funcID_runtime_triggerType.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(path, region=None, **options):
    return rt.read_functions(discover(path, table="runtime", region=region).sources, **options)


@pytest.fixture
def published(tmp_path):
    """2,418 rows with the published marginal counts."""
    triggers = [text for text, count in PUBLISHED_TRIGGERS.items() for _ in range(count)]
    runtimes = [text for text, count in PUBLISHED_RUNTIMES.items() for _ in range(count)]
    assert len(triggers) == len(runtimes) == 2418
    pools = ["pool22-300-128", "custom-1000-1024", "custom.image.gpu-25800-32768"]
    rows = [
        f"{i}---{i % 1144}---{pools[i % 3]},{100 + i % 2},{r},{t}\n"
        for i, (r, t) in enumerate(zip(runtimes, triggers, strict=True))
    ]
    folder = tmp_path / "cold_start_dataset" / "runtime_triggerType"
    folder.mkdir(parents=True)
    return write(folder, HEADER + "".join(rows))


def test_the_seven_groups_have_the_published_counts(published):
    table = read(published)
    assert len(table.rows) == 2418
    assert Counter(table.column("trigger_group")) == PUBLISHED_GROUPS
    assert set(TRIGGER_GROUPS) == set(PUBLISHED_GROUPS)
    assert Counter(table.column("runtime")) == PUBLISHED_RUNTIMES


def test_every_column_equals_the_csv_module(published):
    table = read(published)
    with open(published, newline="") as opened:
        rows = list(csv.DictReader(opened))
    for name in ("funcID", "runtime", "triggerType-invocationType"):
        assert table.column(name) == [row[name] for row in rows]
    assert table.column("cpu_request") == [int(row["cpu_request"]) for row in rows]
    assert table.column("triggers") == [row["triggerType-invocationType"].split(" ") for row in rows]
    assert table.column("funcName") == [int(row["funcID"].split("---")[0]) for row in rows]
    assert table.column("userID") == [int(row["funcID"].split("---")[1]) for row in rows]
    assert table.column("poolName") == [row["funcID"].split("---")[2] for row in rows]


@pytest.mark.parametrize("order", [[3, 0, 2, 1], [2, 0], [0]])
def test_columns_may_stand_in_any_order_and_be_any_subset(tmp_path, order):
    fields = ["400---418---pool22-300-128", "100", "Python3", "workflow-S"]
    names = HEADER.strip().split(",")
    text = ",".join(names[i] for i in order) + "\n" + ",".join(fields[i] for i in order) + "\n"
    write(tmp_path, text)
    if 2 not in order:  # funcID alone does not say which table it is
        with pytest.raises(TraceError, match="table="):
            discover(tmp_path)
    table = rt.read_functions(discover(tmp_path, table="runtime").sources)
    assert table.present == tuple(names[i] for i in sorted(order))
    (row,) = table.rows
    for i, value in enumerate([fields[0], 100, fields[2], fields[3]]):
        assert row[1 + i] == (value if i in order else None)


def test_the_published_sample_rows(tmp_path):
    text = HEADER + (
        "400---418---pool22-300-128,100,Python3,workflow-S\n"
        "1531---418---pool22-300-128,100,Node.js,workflow-S\n"
        "343---1077---pool22-300-128,100,Java,workflow-S\n"
        "565---486---pool30-1800-2048,1000,http,APIG-S\n"
        "1060---777---pool23-400-256,125,Python3,unknown-unknown\n"
    )
    table = read(write(tmp_path, text))
    assert table.column("size") == ["300-128", "300-128", "300-128", "1800-2048", "400-256"]
    assert table.column("trigger_group") == ["workflow-S", "workflow-S", "workflow-S", "APIG-S", "unknown"]
    assert table.column("cpu_request") == [100, 100, 100, 1000, 125]


@pytest.mark.parametrize(
    ("text", "parts", "limits"),
    [
        ("400---418---pool22-300-128", (400, 418, "pool22-300-128"), (300, 128)),
        ("944---173---custom.image.gpu-25800-32768", (944, 173, "custom.image.gpu-25800-32768"), (25800, 32768)),
        ("1249---849---custom-300-128", (1249, 849, "custom-300-128"), (300, 128)),
        ("1---2---a-b-c-400-256", (1, 2, "a-b-c-400-256"), (400, 256)),
        ("1---2---a---b-400-256", (1, 2, "a---b-400-256"), (400, 256)),
        ("1---2---custom", (1, 2, "custom"), (None, None)),
        ("1---2---300-128", (1, 2, "300-128"), (None, None)),
    ],
)
def test_funcid_grammar(text, parts, limits):
    assert split_funcid(text) == parts
    assert pool_limits(parts[2]) == limits


@pytest.mark.parametrize(
    "text",
    ["", "1--2--p-1-2", "1---2", "1---2---", "a---2---p", "1---b---p", "1.0---2---p", "-1---2---p", "4294967296---1---p"],
)
def test_what_is_no_funcid(text):
    assert split_funcid(text) is None


@pytest.mark.parametrize(
    "text", ["", "TIMER", "TIMER-A ", "TIMER-A  APIG-S", "TIMER-B", "-A", "unknown APIG-S", "A-S-A", "TIMER-A,APIG-S"]
)
def test_what_is_no_list_of_triggers(text):
    with pytest.raises(TraceError, match="space-separated"):
        trigger_group(text)


def test_the_lookup_is_by_region_and_function(tmp_path):
    for region, runtime in [("R1", "Java"), ("R2", "Go1.x")]:
        (tmp_path / region).mkdir()
        write(tmp_path / region, HEADER + f"1---2---p-1-2,100,{runtime},APIG-S TIMER-A\n1---3---p-1-2,100,,\n")
    assert rt.functions(tmp_path) == {
        ("R1", "1---2---p-1-2"): ("Java", "TIMER-A"),
        ("R1", "1---3---p-1-2"): (None, None),
        ("R2", "1---2---p-1-2"): ("Go1.x", "TIMER-A"),
        ("R2", "1---3---p-1-2"): (None, None),
    }
    assert set(rt.functions(tmp_path, region="R1")) == {("R1", "1---2---p-1-2"), ("R1", "1---3---p-1-2")}


def test_region_two_is_assumed_and_recorded(tmp_path):
    path = write(tmp_path, HEADER + "1---2---p-1-2,100,Java,APIG-S\n")
    assert read(path).column("region") == ["R2"]
    assert read(path).assumed
    named = read(path, region="R4")
    assert named.column("region") == ["R4"]
    assert not named.assumed


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("packed", [True, False])
def test_spellings(tmp_path, ending, last, packed):
    lines = [
        '\ufefffuncID,"cpu_request",runtime,triggerType-invocationType',
        '"1---2---p-1-2",100.0,"C#",""',
        "",
        'null,NaN,"say ""hi"", Go",APIG-S',
    ]
    text = ending.join(lines) + (ending if last else "")
    data = gzip.compress(text.encode()) if packed else text
    table = read(write(tmp_path, data, "t.csv.gz" if packed else "t.csv"))
    assert table.rows == [
        ("R2", "1---2---p-1-2", 100, "C#", None),
        ("R2", None, None, 'say "hi", Go', "APIG-S"),
    ]


BAD = [
    ("1---2---p-1-2,1.5,Java,APIG-S", "cpu_request", 14, "1.5"),
    ("1---2---p-1-2,+1,Java,APIG-S", "cpu_request", 14, "+1"),
    ("1---2---p-1-2, 1,Java,APIG-S", "cpu_request", 14, " 1"),
    ("1---2---p-1-2,1_0,Java,APIG-S", "cpu_request", 14, "1_0"),
    ("1---2---p-1-2,5000000000,Java,APIG-S", "cpu_request", 14, "5000000000"),
    ("1--2--p-1-2,100,Java,APIG-S", "funcID", 0, "1--2--p-1-2"),
    ("1---2---p-1-2,100,Java,APIG", "triggerType-invocationType", 23, "APIG"),
    ("1---2---p-1-2,100,Java", None, 0, "1---2---p-1-2,100,Java"),
    ("1---2---p-1-2,100,Java,APIG-S,", None, 0, "1---2---p-1-2,100,Java,APIG-S,"),
    ('1---2---p-1-2,100,"Java,APIG-S', None, 0, '1---2---p-1-2,100,"Java,APIG-S'),
    ('1---2---p-1-2,100,"Java"x,APIG-S', None, 0, '1---2---p-1-2,100,"Java"x,APIG-S'),
]


@pytest.mark.parametrize(("row", "column", "offset", "shown"), BAD)
@pytest.mark.parametrize("on_error", ["raise", "null", "skip"])
def test_errors_have_a_place(tmp_path, row, column, offset, shown, on_error):
    good = "9---9---p-1-2,100,Java,APIG-S\n"
    path = write(tmp_path, HEADER + good + row + "\n" + good.replace("9---9", "8---8"))
    byte = len(HEADER) + len(good) + offset
    if on_error == "raise":
        with pytest.raises(TraceError) as caught:
            read(path)
        error = caught.value
        assert (error.file, error.line, error.byte, error.column, error.text) == (path.name, 3, byte, column, shown)
        assert f"{path.name}:3 (byte {byte})" in str(error)
        return
    table = read(path, on_error=on_error)
    action = "null" if on_error == "null" and column else "row skipped"
    assert [(r.file, r.line, r.byte, r.column, r.text, r.action) for r in table.rejects] == [
        (path.name, 3, byte, column, shown, action)
    ]
    assert table.rejected == 1
    assert len(table.rows) == (3 if action == "null" else 2)
    if action == "null":
        assert table.column(column)[1] is None


def test_two_runtimes_of_one_function(tmp_path):
    row = "1---2---p-1-2,100,{},APIG-S\n"
    path = write(tmp_path, HEADER + row.format("Java") + row.format("Java"))
    assert len(read(path).rows) == 2
    path = write(tmp_path, HEADER + row.format("Java") + row.format("Go1.x"))
    with pytest.raises(
        TraceError,
        match=r':3 \(byte \d+\), column runtime: expected the runtime "Java" that .*:2 gives 1---2---p-1-2, got "Go1.x"',
    ):
        rt.functions(path)
    assert read(path, on_error="null").column("runtime") == ["Java", None]
    assert read(path, on_error="skip").column("runtime") == ["Java"]


POOLS = ["pool22-300-128", "custom-1000-1024", "custom.image.gpu-25800-32768", "a---b-400-256", "custom", "é-1-2"]
NULLS = ["", "NaN", "null"]
CELLS = {
    "cpu_request": st.sampled_from([*NULLS, "0", "100", "-7", "25800.0", "2147483647", "-2147483648"]),
    "triggerType-invocationType": st.sampled_from([*NULLS, *PUBLISHED_TRIGGERS]),
    "owner": st.text(st.characters(codec="utf-8", exclude_characters=',"\r\n'), max_size=4),
}


@st.composite
def plain_files(draw, one_runtime=True):
    """A file without oddities, and the runtimes of its functions: one each, as the plain way asks, or a new one every row."""
    number = st.integers(0, 999_999_999)
    functions = draw(st.lists(st.builds("{}---{}---{}".format, number, number, st.sampled_from(POOLS)), min_size=1, max_size=5))
    runtime = st.sampled_from([*NULLS, *PUBLISHED_RUNTIMES])
    runtimes = {function: draw(runtime) for function in functions}
    others = draw(st.lists(st.sampled_from(["runtime", *CELLS]), unique=True))
    header = draw(st.permutations(["funcID", *others]))
    lines = [",".join(header)]
    for function in draw(st.lists(st.sampled_from(functions), min_size=1, max_size=12)):
        own = {"funcID": function, "runtime": runtimes[function] if one_runtime else draw(runtime)}
        lines.append(",".join(own[name] if name in own else draw(CELLS[name]) for name in header))
    ending = draw(st.sampled_from(["\n", "\r\n"]))
    return ending.join(lines) + draw(st.sampled_from([ending, ""])), {
        ("R2", function): None if text in NULLS else text for function, text in runtimes.items()
    }


def both_ways(text, wanted=None, before=None):
    """Whether the plain way reads the text; rows and stated places by it and row by row (its error, if it raises one)."""
    data = text.encode()
    header = parse_header(data.splitlines(keepends=True)[0], "t.csv")
    source = Source("t.csv", "t.csv", None, None, "runtime", None, len(data), header.columns, header.nbytes, header.crlf)
    accepted, outcomes = False, []
    for plain in (True, False):
        result, seen = Functions(), Stated()
        if before:
            seen.runtimes |= before
            seen.rows.append(("before.csv", list(before), range(2, len(before) + 2)))
        try:
            if plain:
                accepted = read_plain(source, data, result, wanted, seen)
            else:
                RowByRow(source, data, result, "raise", wanted, seen).run()
        except TraceError as error:
            outcomes.append(str(error))
        else:
            places = {key: (runtime, seen.place(key)) for key, runtime in seen.runtimes.items()}
            outcomes.append((result.rows, places, result.rejects, result.rejected))
    return accepted, *outcomes


@given(st.data())
def test_the_plain_way_reads_what_row_by_row_does(data):
    """Also behind a file that stated the same runtimes."""
    text, runtimes = data.draw(plain_files())
    wanted = data.draw(st.none() | st.frozensets(st.sampled_from([function for _, function in runtimes])))
    before = {key: runtime for key, runtime in runtimes.items() if data.draw(st.booleans())}
    accepted, plain, by_row = both_ways(text, wanted, before)
    assert accepted
    assert plain == by_row
    assert wanted is not None or len(plain[0]) == text.rstrip("\r\n").count("\n")


@given(st.data())
def test_the_plain_way_reads_an_odd_file_as_row_by_row_does_or_not_at_all(data):
    """One place is overwritten, and a function may have two runtimes, in the file or in one before."""
    text, runtimes = data.draw(plain_files(one_runtime=data.draw(st.booleans())))
    at = data.draw(st.integers(text.index("\n") + 1, len(text)))
    odd = data.draw(st.sampled_from([*',"\r\n\t\x0b\0\u2028 -.0A', "", '""', "\n\n", "---", "NaN"]))
    text = text[:at] + odd + text[at + data.draw(st.integers(0, 2)) :]
    before = {
        key: data.draw(st.sampled_from([runtime, "Java", None]))
        for key, runtime in runtimes.items()
        if data.draw(st.booleans())
    }
    accepted, plain, by_row = both_ways(text, before=before)
    if accepted:
        assert plain == by_row
    else:
        assert plain[0] == []
        assert {key: runtime for key, (runtime, _) in plain[1].items()} == before


def test_both_ways_read_every_list_of_triggers_and_pool():
    cases = list(enumerate(itertools.product(POOLS, [*PUBLISHED_TRIGGERS, *NULLS])))
    accepted, plain, by_row = both_ways(HEADER + "".join(f"{i}---2---{pool},100,Java,{text}\n" for i, (pool, text) in cases))
    assert accepted
    assert plain == by_row
    assert plain[0] == [("R2", f"{i}---2---{pool}", 100, "Java", None if text in NULLS else text) for i, (pool, text) in cases]


def test_unknown_and_missing_columns(tmp_path):
    path = write(tmp_path, ",funcID,runtime,owner\n0,1---2---p-1-2,Java,me\n")
    with pytest.raises(TraceError, match=r":1: expected columns of the runtime table .*unknown_columns"):
        read(path)
    table = read(path, unknown_columns="ignore", columns=["runtime", "region", "size"])
    assert table.rows == [("R2", "1---2---p-1-2", None, "Java", None)]
    with pytest.raises(TraceError, match="no column cpu_request"):
        read(path, unknown_columns="ignore", columns=["cpu_request"])
    with pytest.raises(TraceError, match="no column triggerType-invocationType, which trigger_group needs"):
        read(path, unknown_columns="ignore", columns=["trigger_group"])
    with pytest.raises(InvalidArgument, match="columns: the runtime table has"):
        read(path, unknown_columns="ignore", columns=["colour"])
    with pytest.raises(InvalidArgument, match="on_error"):
        read(path, on_error="log")


def test_filter_by_function(published):
    names = read(published).column("funcID")[10:13]
    assert read(published, funcID=names).column("funcID") == names
    assert read(published, funcID=["none"]).rows == []


def test_through_read_and_arrow(published):
    pa = pytest.importorskip("pyarrow")
    table = trace.read(published)
    assert table.schema.names == [*PUBLISHED, "region"]
    arrow = pa.table(table)
    assert arrow.schema.types == [
        pa.string(),
        pa.int32(),
        pa.dictionary(pa.int32(), pa.string()),
        pa.string(),
        arrow.schema.types[2],
    ]
    assert arrow.schema.field("cpu_request").metadata == {b"unit": b"millicores"}
    plain = read(published)
    names = [*PUBLISHED, *DERIVED, "region"]
    everything = trace.read(published, columns=names)
    arrow, arrays = pa.table(everything), everything.to_numpy()
    assert arrow.schema.field("triggers").type == pa.list_(pa.string())
    assert arrow.schema.field("funcName").type == pa.int32()
    for name in names:
        assert arrow[name].to_pylist() == plain.column(name)
        assert arrays[name].tolist() == plain.column(name)
    with trace.batches(published, columns=["triggers"]) as batches:
        (batch,) = batches
    assert pa.record_batch(batch).column(0).to_pylist() == plain.column("triggers")


def test_through_read_with_nulls_and_rejects(tmp_path):
    pa = pytest.importorskip("pyarrow")
    write(tmp_path, HEADER + "1---2---p,,,\n,x,Java,APIG-S\n1---2---p-1-2\n")
    table = trace.read(tmp_path, columns=["cpu_limit", "cpu_request", "runtime", "triggers"], on_error="null")
    assert pa.table(table).to_pylist() == [
        {"cpu_limit": None, "cpu_request": None, "runtime": None, "triggers": None},
        {"cpu_limit": None, "cpu_request": None, "runtime": "Java", "triggers": ["APIG-S"]},
    ]
    assert [(r.line, r.column, r.action) for r in table.rejects] == [(3, "cpu_request", "null"), (4, None, "row skipped")]
    for options in ({"time": (0, 1)}, {"clusterName": 1}, {"metric": "requests"}, {"columns": ["podID"]}):
        with pytest.raises(InvalidArgument):
            trace.read(tmp_path, on_error="null", **options)
    path = write(tmp_path, HEADER, "empty.csv")
    assert pa.table(trace.read(path)).num_rows == 0
    assert list(trace.batches(path)) == []


@pytest.mark.parametrize("digits", ["2147483648", "9" * 5000, "-2147483649"])
def test_numbers_past_32_bits_are_located(tmp_path, digits):
    path = tmp_path / "runtime.csv"
    path.write_text(f"{HEADER}1---2---pool22-300-128,{digits},Java,APIG-S\n")
    with pytest.raises(TraceError, match="whole number of millicores") as caught:
        trace.read(path)
    assert (caught.value.line, caught.value.column) == (2, "cpu_request")
    assert split_funcid(f"{digits}---2---pool22-300-128") is None
    assert pool_limits(f"pool22-{digits.lstrip('-')}-128").cpu_limit is None


@pytest.mark.parametrize(
    ("digits", "value"), [("2147483647", 2**31 - 1), ("0" * 5000 + "12", 12), ("-2147483648", -(2**31)), ("-0", 0)]
)
def test_numbers_of_32_bits_are_read(tmp_path, digits, value):
    path = tmp_path / "runtime.csv"
    path.write_text(f"{HEADER}1---2---pool22-300-128,{digits},Java,APIG-S\n")
    assert trace.read(path).to_numpy()["cpu_request"].tolist() == [value]
