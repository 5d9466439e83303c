"""The runtime and trigger table: the published values and counts, the grammar of funcIDs and pools, columns and filters."""

import csv
from collections import Counter

import pytest
from runtime_cases import HEADER, PUBLISHED_RUNTIMES, PUBLISHED_TRIGGERS, read, write

from rewarm import trace
from rewarm.errors import InvalidArgument, TraceError
from rewarm.trace import runtime_trigger as rt
from rewarm.trace.runtime_trigger_fields import TRIGGER_GROUPS, pool_limits, split_funcid, trigger_group
from rewarm.trace.runtime_trigger_table import DERIVED, PUBLISHED
from rewarm.trace.source import discover

PUBLISHED_GROUPS = {
    "TIMER-A": 1355,
    "APIG-S": 551,
    "unknown": 202,
    "other S": 129,
    "other A": 67,
    "OBS-A": 60,
    "workflow-S": 54,
}


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
    pa = pytest.importorskip("pyarrow")
    path = write(tmp_path, HEADER + "1---2---p-1-2,100,Java,APIG-S\n")
    (tmp_path / "R3").mkdir()
    elsewhere = write(tmp_path / "R3", HEADER + "1---2---p-1-2,100,Java,APIG-S\n")
    for where, options, regions, assumed in (
        (path, {}, ["R2"], "R2"),
        (path, {"region": "R4"}, ["R4"], None),
        (elsewhere, {}, ["R3"], None),
        ([path, elsewhere], {}, ["R3", "R2"], "R2"),  # one of two
    ):
        plain = read(where, **options)
        assert (plain.column("region"), plain.assumed) == (regions, assumed is not None)
        table = trace.read(where, **options)
        assert table.assumed_region == assumed
        assert (", taken to be of region R2)" in repr(table)) == (assumed is not None)
        with trace.batches(where, **options) as stream:
            assert stream.assumed_region == assumed
            (batch,) = map(pa.record_batch, stream)
        for schema in (pa.schema(table.schema), pa.table(table).schema, batch.schema):
            found = schema.metadata.get(b"rewarm.assumed_region")
            assert found == (None if assumed is None else assumed.encode())


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
