"""`aggregate` on minute tables, and on tables that find their runtimes beside them, against plain Python over `read`'s rows."""

import math

import pyarrow as pa
import pytest
import tiny_trace
from aggregate_reference import groups, key_order, quantile, total

from rewarm.errors import InvalidArgument, TraceError
from rewarm.trace import FileRange, aggregate, read

FUNCTIONS = (
    *("1---1---pool22-300-128", "2---1---pool22-300-128", "3---4---pool24-600-512"),
    *("5---x---custom.image.gpu-25800-32768", "6---4---odd-pool", "7---4---pool24-600-512"),
)
#: What is known of them; the same function is another one in another region, and not all are there.
RUNTIMES = {
    ("R1", FUNCTIONS[0]): ("Python3", "TIMER-A"),
    ("R1", FUNCTIONS[1]): ("Java", None),
    ("R2", FUNCTIONS[0]): ("http", "APIG-S"),
    ("R2", FUNCTIONS[2]): ("Java", "unknown"),
    ("R3", FUNCTIONS[2]): ("Go1.x", "OBS-A"),
}


def minute_lines(region, metric, day):
    """A day of 1440 minutes, of which a few have a value."""
    seed = int(region[1:]) * 1000 + len(metric) * 10 + day
    for minute in range(1440):
        cells = []
        for f in range(len(FUNCTIONS)):
            mixed = (minute * 7919 + f * 104729 + seed * 31) % 997
            cells.append(f"{mixed / 8}" if mixed % 11 == 0 else "")
        yield f"{day},{day * 86400 + minute * 60}," + ",".join(cells)


@pytest.fixture(scope="module")
def minutes(tmp_path_factory):
    root = tmp_path_factory.mktemp("minute")
    for region in ("R1", "R2"):
        for metric in ("requests", "runtimeCost_avg", "runtimeCost_std"):
            for day in (0, 2):
                folder = root / region / metric
                folder.mkdir(parents=True, exist_ok=True)
                header = "day,time," + ",".join(FUNCTIONS)
                (folder / f"day_{day:02d}.csv").write_text("\n".join([header, *minute_lines(region, metric, day), ""]))
    return root


def rows_of(root, **filters):
    """What `read` gives, with the keys of time."""
    rows = pa.table(read(root, **filters)).to_pylist()
    for row in rows:
        row |= {name: math.floor(row["time"] / unit) for name, unit in (("day", 86400), ("hour", 3600), ("minute", 60))}
        row["hour_of_day"] = row["hour"] % 24
        name, user, row["poolName"] = row["funcID"].split("---", 2)
        row["funcName"], row["userID"] = int(name), int(user) if user.isdigit() else None
        limits = row["poolName"].split("-")[-2:]
        sized = all(limit.isdigit() for limit in limits)
        row["cpu_limit"], row["memory_limit"] = map(int, limits) if sized else (None, None)
        row["size"] = "-".join(limits) if sized else None
        row["pool_class"] = ("small" if limits == ["300", "128"] else "large") if sized else None
        row["runtime"], row["trigger_group"] = RUNTIMES.get((row["region"], row["funcID"]), (None, None))
    return rows


def check(found, rows, by, value, q=0.5):
    expected = groups((tuple(row[k] for k in by), (row[value],)) for row in rows)
    keys = sorted(expected, key=key_order)
    table = pa.table(found).to_pydict()
    assert [tuple(table[k][g] for k in by) for g in range(len(found))] == keys
    lists = [expected[key][1][0] for key in keys]
    assert table["rows"] == [expected[key][0] for key in keys]
    assert table[f"{value}_count"] == [len(x) for x in lists]
    assert table[f"{value}_sum"] == [total(x) / 2**60 for x in lists]
    assert table[f"{value}_max"] == [x[-1] for x in lists]
    for got, x in zip(table[f"{value}_p50"], lists, strict=True):
        assert abs(got - quantile(x, q)) <= abs(quantile(x, q)) / 128


MINUTE_KEYS = [
    (),
    ("region", "metric", "stat"),
    ("metric", "hour", "region"),
    ("stat", "day", "hour_of_day"),
    ("region", "funcID"),
    ("minute",),
    ("funcName", "userID"),
    ("userID", "poolName", "metric"),
    ("size", "cpu_limit", "memory_limit", "pool_class", "hour_of_day"),
    ("runtime",),
    ("trigger_group", "runtime", "stat", "region"),
]


@pytest.mark.parametrize("by", MINUTE_KEYS, ids=lambda by: "-".join(by) or "none")
@pytest.mark.parametrize("workers", [1, 3])
def test_minutes(minutes, by, workers):
    rows = rows_of(minutes)
    assert len(rows) > 2000
    found = aggregate(minutes, by, "value", 0.5, workers=workers, runtime=RUNTIMES)
    check(found, rows, found.by, "value")
    assert (found.table, found.rejected) == ("minute", 0)
    assert len(found.files) == 12
    name = "R1/requests/day_00.csv"
    assert found.files[0] == FileRange("R1", name, 0, (minutes / name).stat().st_size)


def test_filters_of_minutes(minutes):
    for filters in (
        {"metric": "runtimeCost"},
        {"metric": "runtimeCost", "stat": "avg", "region": "R2"},
        {"funcID": FUNCTIONS[1], "time": (3600, 86400 * 2 + 60)},
    ):
        rows = rows_of(minutes, **filters)
        assert 0 < len(rows) < len(rows_of(minutes))
        check(aggregate(minutes, ("region", "stat"), "value", 0.5, **filters), rows, ("region", "stat"), "value")


def test_minutes_of_any_split_are_the_same(minutes):
    question = {"by": ("metric", "stat", "hour"), "values": "value", "quantiles": (0.5, 0.9)}
    whole = aggregate(minutes, **question, workers=1)
    assert aggregate(minutes, **question, workers=5).to_bytes() == whole.to_bytes()
    by_metric = [aggregate(minutes, metric=metric, **question) for metric in ("runtimeCost", "requests")]
    assert by_metric[0].merge(by_metric[1]).to_bytes() == whole.to_bytes()
    by_region = [aggregate(minutes, region=region, **question) for region in ("R2", "R1")]
    assert by_region[0].merge(by_region[1]).to_bytes() == whole.to_bytes()


def test_bad_minutes(minutes, tmp_path):
    folder = tmp_path / "R1" / "requests"
    folder.mkdir(parents=True)
    header = "day,time," + ",".join(FUNCTIONS[:3])
    (folder / "day_00.csv").write_text(f"{header}\n0,0,1.5,,x\n0,60,,2.5,\n")
    with pytest.raises(TraceError) as caught:
        aggregate(tmp_path, "region", "value")
    assert (caught.value.line, caught.value.text) == (2, "x")
    skipped = aggregate(tmp_path, "region", "value", on_error="skip")
    assert pa.table(skipped)["value_sum"].to_pylist() == [4.0]
    assert [(r.line, r.column, r.action) for r in skipped.rejects] == [(2, FUNCTIONS[2], "row skipped")]
    (folder / "day_00.csv").write_text(f"{header}\n0,0,1e300,,\n")
    with pytest.raises(TraceError, match=r"day_00\.csv.* column value: expected a number below 2\*\*62"):
        aggregate(tmp_path, "region", "value")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"by": "clusterName"}, "by: of the minute table expected region, metric, stat, funcID, funcName, userID, poolName"),
        ({"by": "clusterName"}, "got 'clusterName': it has no clusters"),
        ({"by": "requestID"}, "by: expected keys among region, clusterName"),
        ({"by": "runtime"}, "by: runtime and trigger_group need runtime=, the path of the runtime tables"),
        ({"values": "userID"}, "values: of the minute table expected value, time; got 'userID'"),
        ({"values": "funcID"}, "values: of the minute table expected value, time; got 'funcID'"),
        ({"clusterName": 1}, "the minute table has no clusters"),
    ],
)
def test_what_minutes_do_not_have(minutes, arguments, message):
    with pytest.raises(InvalidArgument) as caught:
        aggregate(minutes, **arguments)
    assert message in str(caught.value)


def test_runtimes_beside_the_trace(tmp_path):
    tiny_trace.write(tmp_path, tables=("cold_start", "runtime"))
    question = {"table": "cold_start", "by": ("region", "runtime", "trigger_group"), "values": "totalCost_cold_start"}
    found = aggregate(tmp_path, **question)
    runtimes = set(pa.table(found)["runtime"].to_pylist())
    assert runtimes >= {kind[1] for kind in tiny_trace.KINDS}
    (table,) = [path for path in tmp_path.rglob("*.csv") if "runtime" in path.read_text().splitlines()[0].split(",")]
    assert aggregate(tmp_path, runtime=table, **question).to_bytes() == found.to_bytes()


def test_runtimes_beside_minutes(tmp_path):
    """The runtime table's path tells no region: its functions are those of R2, and R5's are not found."""
    tiny_trace.write(tmp_path, tables=("minute", "runtime"), days=(0, 3))
    question = {"table": "minute", "metric": "requests", "by": ("region", "runtime", "trigger_group"), "values": "value"}
    table = pa.table(aggregate(tmp_path, **question)).to_pydict()
    keys = list(zip(table["region"], table["runtime"], table["trigger_group"], strict=True))
    assert keys == [("R2", "Custom", "OBS-A"), ("R2", "Python3", "TIMER-A"), ("R2", "http", "TIMER-A"), ("R5", None, None)]
    # A value a minute, an hour and a midnight of two days.
    assert table["rows"] == [2, 2880, 48, 2930]
    assert table["value_sum"] == [10.0, 2.0 * (720 * 2 + 360 * 3 + 360 * 4), 48.0, 2.0 * 3960 + 58.0]


def test_a_runtime_table_is_part_of_the_question_about_minutes(minutes):
    a, b = (aggregate(minutes, "runtime", metric="requests", runtime=table) for table in (RUNTIMES, {}))
    assert pa.table(b)["runtime"].to_pylist() == [None]
    with pytest.raises(InvalidArgument, match="answers to one question: runtime"):
        a.merge(b)


def test_metric_is_of_minutes_only(tmp_path):
    tiny_trace.write(tmp_path, tables=("cold_start",))
    with pytest.raises(InvalidArgument, match="metric and stat filter the minute tables, not the cold_start table"):
        aggregate(tmp_path, "region", metric="requests")
