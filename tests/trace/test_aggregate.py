"""`aggregate` on files, against plain Python over the same rows and against dataframe engines."""

import math
import os
import pickle
import stat
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from aggregate_reference import groups, key_order, mean, quantile, total

from rewarm.errors import InvalidArgument, TraceError
from rewarm.trace import Aggregate, FileRange, aggregate
from rewarm.trace.aggregate_spec import quantile_name

HEADER = (
    "day,time,clusterName,funcName,userID,requestID,totalCost_cold_start,podAllocationCost,deployCodeCost,"
    "deployDependencyCost,schedulingCost,podID"
)
POOLS = ("pool22-300-128", "pool24-600-512", "custom.image.gpu-25800-32768")
RUNTIMES = ("Python3", "Node.js", "unknown")


def cold_rows(region, day, n):
    """Rows as dicts of what the file says; None is an empty field."""
    r = np.random.default_rng([int(region[1:]), day, 7])
    rows = []
    for _ in range(n):
        function = int(r.integers(0, 9))
        rows.append(
            {
                "region": region,
                "day": day,
                "time": round(day * 86400 + float(r.uniform(0, 86400)), 3),
                "clusterName": int(r.integers(1, 4)),
                "funcName": None if r.random() < 0.05 else function,
                "userID": function % 4,
                "totalCost_cold_start": None if r.random() < 0.1 else round(float(np.exp(r.normal(-1, 2))), 6),
                "podAllocationCost": float(r.choice([0.0, 0.001, 31.25])),
                "pool": POOLS[function % 3],
            }
        )
    return rows


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as out:
        out.write(HEADER + "\n")
        for i, row in enumerate(rows):
            cells = [row["day"], row["time"], row["clusterName"], row["funcName"], row["userID"], f"{i:064x}"]
            cells += [row["totalCost_cold_start"], row["podAllocationCost"], "0.5", "0.25", "0.125"]
            out.write(",".join("" if cell is None else str(cell) for cell in cells) + f",{row['pool']}-{i:010d}\n")


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    """A folder of three regions and two days, its rows, and the runtimes of its functions."""
    root = tmp_path_factory.mktemp("trace")
    rows = []
    for region in ("R1", "R2", "R10"):
        for day in (0, 3):
            own = cold_rows(region, day, 700)
            write(root / region / f"day_{day:02d}.csv", own)
            rows += own
    functions = {
        (region, f"{f}---{f % 4}---{POOLS[f % 3]}"): (RUNTIMES[(f + len(region)) % 3], "TIMER-A" if f % 2 else None)
        for region in ("R1", "R2")
        for f in range(8)
    }
    return root, rows, functions


def derived(row, functions):
    """The columns that are made of others."""
    cpu, memory = map(int, row["pool"].rsplit("-", 2)[1:])
    known = row["funcName"] is not None
    function = f"{row['funcName']}---{row['userID']}---{row['pool']}" if known else None
    runtime, trigger = functions.get((row["region"], function), (None, None))
    return {
        **row,
        "poolName": row["pool"],
        "cpu_limit": cpu,
        "memory_limit": memory,
        "size": f"{cpu}-{memory}",
        "pool_class": "small" if cpu <= 400 and memory <= 256 else "large",
        "hour": math.floor(row["time"] / 3600),
        "minute": math.floor(row["time"] / 60),
        "hour_of_day": math.floor(row["time"] / 3600) % 24,
        "funcID": function,
        "runtime": runtime,
        "trigger_group": trigger,
    }


def check(found, rows, by, values, quantiles=()):
    """Keys, counts, sums, means and extremes exactly; quantiles within a 128th."""
    expected = groups((tuple(row[k] for k in by), tuple(row[v] for v in values)) for row in rows)
    table = pa.table(found).to_pydict()
    keys = sorted(expected, key=key_order)
    assert [tuple(table[k][g] for k in by) for g in range(len(found))] == keys
    assert table["rows"] == [expected[key][0] for key in keys]
    for v, name in enumerate(values):
        lists = [expected[key][1][v] for key in keys]
        assert table[f"{name}_count"] == [len(x) for x in lists]
        assert table[f"{name}_sum"] == [total(x) / 2**60 for x in lists]
        assert table[f"{name}_mean"] == [mean(x) if x else None for x in lists]
        assert table[f"{name}_min"] == [x[0] if x else None for x in lists]
        assert table[f"{name}_max"] == [x[-1] if x else None for x in lists]
        for q in quantiles:
            for got, x in zip(table[f"{name}_{quantile_name(q)}"], lists, strict=True):
                assert (got is None) if not x else abs(got - quantile(x, q)) <= abs(quantile(x, q)) / 128


KEY_SETS = [
    (),
    ("region",),
    ("funcName", "userID"),
    ("region", "runtime", "hour"),
    ("clusterName", "day", "hour_of_day"),
    ("poolName", "cpu_limit", "memory_limit", "size", "pool_class"),
    ("region", "funcID", "trigger_group"),
    ("minute", "region"),
]


@pytest.mark.parametrize("by", KEY_SETS, ids=lambda by: "-".join(by) or "none")
@pytest.mark.parametrize("workers", [1, 3])
def test_equals_plain_python(trace, by, workers):
    root, rows, functions = trace
    values, quantiles = ("totalCost_cold_start", "podAllocationCost", "userID"), (0.0, 0.5, 0.99, 1.0)
    found = aggregate(root, by, values, quantiles, runtime=functions, workers=workers)
    check(found, [derived(row, functions) for row in rows], by, values, quantiles)
    assert found.files == sorted(
        FileRange(r, f"{r}/day_{d:02d}.csv", 0, os.path.getsize(root / r / f"day_{d:02d}.csv"))
        for r in ("R1", "R2", "R10")
        for d in (0, 3)
    )
    assert found.rejected == 0


@pytest.mark.parametrize(("block", "unit"), [(1, 0), (700, 0), (700, 5000), (5000, 700)])
def test_any_cut_gives_the_same_bits(trace, monkeypatch, block, unit):
    """Text a batch, and text that a thread takes at once."""
    root, _, functions = trace
    question = (root, ("region", "runtime", "hour"), "totalCost_cold_start", 0.5)
    whole = aggregate(*question, runtime=functions)
    monkeypatch.setattr("rewarm.trace.aggregate_scan.BLOCK_BYTES", block)
    monkeypatch.setattr("rewarm.trace.aggregate_scan.UNIT_BYTES", unit)
    assert aggregate(*question, runtime=functions, workers=3).to_bytes() == whole.to_bytes()


def test_filters(trace):
    root, rows, functions = trace
    found = aggregate(root, "region", "time", region=["R1", "R10"], time=(86400, None), clusterName=[2, 3])
    kept = [r for r in rows if r["region"] != "R2" and r["time"] >= 86400 and r["clusterName"] in (2, 3)]
    check(found, kept, ("region",), ("time",))
    one = "4---0---pool24-600-512"
    found = aggregate(root, "region", "time", funcID=one)
    check(found, [r for r in rows if derived(r, functions)["funcID"] == one], ("region",), ("time",))


def test_funcid_brings_its_region(trace):
    root, rows, functions = trace
    found = aggregate(root, ("hour_of_day", "funcID"), "time")
    assert found.by == ("hour_of_day", "region", "funcID")
    check(found, [derived(row, functions) for row in rows], found.by, ("time",))


def test_the_hours_of_all_files_merge_to_the_whole(trace):
    root, _, functions = trace
    question = {"by": ("region", "runtime", "hour"), "values": "totalCost_cold_start", "quantiles": 0.5, "runtime": functions}
    whole = aggregate(root, **question)
    # From the root, so that names are the same.
    parts = [aggregate(root, region=region, **question) for region in ("R10", "R1", "R2")]
    assert parts[0].merge(*parts[1:]).to_bytes() == whole.to_bytes()
    assert parts[2].merge(parts[1]).merge(Aggregate.from_bytes(parts[0].to_bytes())).to_bytes() == whole.to_bytes()


def test_surface(trace, tmp_path):
    root, _, _ = trace
    found = aggregate(root, ("region", "day"), "totalCost_cold_start", (0.5, 0.999))
    values = ["count", "sum", "mean", "min", "max", "p50", "p99_9"]
    names = ["region", "day", "rows", *(f"totalCost_cold_start_{what}" for what in values)]
    schema = pa.schema(found)
    assert schema.names == found.schema.names == names
    assert schema.field("region").type == pa.dictionary(pa.int32(), pa.utf8())
    assert [str(schema.field(n).type) for n in names[1:4]] == ["int16", "int64", "int64"]
    assert {str(schema.field(n).type) for n in names[4:]} == {"double"}
    assert pa.table(found) == pa.table(found)
    assert (len(found), found.num_rows, found.by, found.values) == (6, 6, ("region", "day"), ("totalCost_cold_start",))
    assert (found.table, found.quantiles) == ("cold_start", (0.5, 0.999))
    assert repr(found) == (
        "Aggregate(6 groups of cold_start by (region, day); values (totalCost_cold_start), p50, p99_9; 6 files, 0 rejected)"
    )
    arrays = found.to_numpy()
    assert list(arrays) == names and arrays["region"].tolist() == ["R1", "R1", "R10", "R10", "R2", "R2"]
    assert found.quantile("totalCost_cold_start", 0.5).tolist() == arrays["totalCost_cold_start_p50"].tolist()
    assert pickle.loads(pickle.dumps(found)).to_bytes() == found.to_bytes()


def test_save_and_load(trace, tmp_path, monkeypatch):
    root, _, _ = trace
    found = aggregate(root, "region", "time", 0.5)
    path = tmp_path / "a.agg"
    found.save(path)
    assert Aggregate.load(path).to_bytes() == found.to_bytes() == path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) & 0o044 == 0o044 & ~_umask()
    assert os.listdir(tmp_path) == ["a.agg"]
    path.write_bytes(found.to_bytes()[:-5])
    with pytest.raises(InvalidArgument, match=r"a\.agg: aggregate: from_bytes: cut off"):
        Aggregate.load(path)

    def fail(_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        found.save(tmp_path / "b.agg")
    assert os.listdir(tmp_path) == ["a.agg"]


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_quantile_names():
    names = {0.5: "p50", 0.99: "p99", 0.999: "p99_9", 0: "p0", 1: "p100", 0.001: "p0_1", 1e-7: "p0_00001", 0.07: "p7"}
    assert {q: quantile_name(float(q)) for q in names} == names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"by": "podID"}, "by: expected keys among region, clusterName"),
        ({"by": "funcname"}, "got 'funcname'"),
        ({"by": ("day", "day")}, "by: 'day' stands there twice"),
        ({"by": 3}, "not iterable"),
        ({"by": "runtime"}, "by: runtime and trigger_group need runtime=, the path of the runtime tables; none lie under /"),
        ({"by": "metric"}, "metric"),
        ({"values": "requestID"}, "requestID holds text or ids"),
        ({"values": "poolName"}, "poolName holds text or ids"),
        ({"values": "totalCost"}, "totalCost_cold_start"),
        ({"values": "time", "quantiles": 1.5}, "quantiles: expected numbers from 0 to 1, got 1.5"),
        ({"values": "time", "quantiles": [math.nan]}, "got nan"),
        ({"values": "time", "quantiles": [0.5, 0.5]}, "0.5 stands there twice"),
        ({"quantiles": 0.5}, "values= is empty"),
        ({"max_groups": 0}, "max_groups: expected a whole number from 1"),
        ({"by": "minute", "max_groups": 5}, "more than max_groups=5"),
        ({"engine": "dask"}, "engine: expected 'threads' or 'ray', got 'dask'"),
        ({"workers": 0}, "expected a whole number from 1, got 0"),
        ({"on_error": "ignore"}, "on_error"),
    ],
)
def test_bad_arguments(trace, arguments, message):
    with pytest.raises((InvalidArgument, TypeError)) as caught:
        aggregate(trace[0], **arguments)
    assert message in str(caught.value)


def test_bad_uses_of_an_aggregate(trace):
    root, _, _ = trace
    plain = aggregate(root, "region", "time")
    with pytest.raises(InvalidArgument, match="no histograms were kept"):
        plain.quantile("time", 0.5)
    with pytest.raises(InvalidArgument, match="value: expected one of time, got 'day'"):
        plain.quantile("day", 0.5)
    with pytest.raises(InvalidArgument, match="the same rows would count twice: R1 R1/day_00"):
        plain.merge(plain)
    with pytest.raises(InvalidArgument, match=r"answers to one question: by \('region',\) and \('day',\)"):
        plain.merge(aggregate(root, "day", "time"))
    with pytest.raises(InvalidArgument, match="answers to one question: clusterName None and \\[1\\]"):
        plain.merge(aggregate(root, "region", "time", clusterName=1))
    with pytest.raises(InvalidArgument, match="expected aggregates, got dict"):
        plain.merge({})


def test_another_runtime_table_is_another_question(trace):
    root, _, functions = trace
    other = {**functions, ("R1", "1---1---pool24-600-512"): ("Java", None)}
    a = aggregate(root, "runtime", region="R1", runtime=functions)
    b = aggregate(root, "runtime", region="R2", runtime=other)
    with pytest.raises(InvalidArgument, match="answers to one question: runtime"):
        a.merge(b)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_errors(trace, tmp_path, workers):
    rows = cold_rows("R1", 0, 400)
    for day in (0, 1):
        write(tmp_path / "R1" / f"day_{day:02d}.csv", rows)
    path = tmp_path / "R1" / "day_00.csv"
    lines = path.read_text().splitlines(keepends=True)
    lines[300] = lines[300].replace(",0.5,0.25", ",0.5x,0.25")
    path.write_text("".join(lines))
    with pytest.raises(TraceError) as caught:
        aggregate(tmp_path, "region", "deployCodeCost", workers=workers)
    assert (caught.value.file, caught.value.line, caught.value.column) == ("R1/day_00.csv", 301, "deployCodeCost")
    null = aggregate(tmp_path, "region", "deployCodeCost", on_error="null", workers=workers).to_numpy()
    assert (null["rows"].tolist(), null["deployCodeCost_count"].tolist()) == ([800], [799])
    skipped = aggregate(tmp_path, "region", "deployCodeCost", on_error="skip", workers=workers)
    assert (skipped.to_numpy()["rows"].tolist(), skipped.rejected) == ([799], 1)
    place = ("R1/day_00.csv", 301, "deployCodeCost", "0.5x", "row skipped")
    assert [(r.file, r.line, r.column, r.text, r.action) for r in skipped.rejects] == [place]
    assert skipped.rejects.count == 1
    again = pickle.loads(pickle.dumps(skipped)).rejects
    assert (again.count, list(again)) == (1, list(skipped.rejects))


def test_a_value_too_large_is_named(tmp_path):
    rows = cold_rows("R1", 0, 50)
    rows[33]["totalCost_cold_start"] = 1e300
    write(tmp_path / "R1" / "day_00.csv", rows)
    with pytest.raises(
        TraceError, match=r"R1/day_00\.csv.* column totalCost_cold_start: expected a number below 2\*\*62"
    ) as caught:
        aggregate(tmp_path, "region", "totalCost_cold_start")
    assert (caught.value.file, caught.value.column, caught.value.text) == ("R1/day_00.csv", "totalCost_cold_start", "1e+300")


def test_polars_agrees(trace):
    """Counts and extremes equal; the lower quantile within 1 %; sums to the rounding of their additions."""
    root, _, _ = trace
    found = pl.DataFrame(aggregate(root, ("funcName", "userID"), "totalCost_cold_start", (0.5, 0.99)))
    v = pl.col("totalCost_cold_start")
    peer = (
        pl.scan_csv(root / "*" / "*.csv")
        .group_by("funcName", "userID")
        .agg(
            rows=pl.len(),
            count=v.count(),
            sum=v.sum(),
            min=v.min(),
            max=v.max(),
            p50=v.quantile(0.5, interpolation="lower"),
            p99=v.quantile(0.99, interpolation="lower"),
        )
        .sort("funcName", "userID", nulls_last=True)
        .collect()
    )
    assert found["funcName"].to_list() == peer["funcName"].to_list()
    assert found["rows"].to_list() == peer["rows"].to_list()
    for what in ("count", "min", "max"):
        assert found[f"totalCost_cold_start_{what}"].to_list() == peer[what].to_list()
    n = peer["count"].to_numpy()
    difference = np.abs(found["totalCost_cold_start_sum"].to_numpy() - peer["sum"].to_numpy())
    assert (difference <= n * 2.0**-53 * peer["sum"].to_numpy()).all()
    for what in ("p50", "p99"):
        np.testing.assert_allclose(found[f"totalCost_cold_start_{what}"].to_numpy(), peer[what].to_numpy(), rtol=0.01)


def test_duckdb_agrees(trace):
    """duckdb's quantile_disc takes rank ceil(q n) - 1, which is another row of a small group: q is chosen to mean our rank."""
    root, _, _ = trace
    found = aggregate(root, ("clusterName", "day"), "totalCost_cold_start", (0.5, 0.99))
    peer = duckdb.sql(
        f"""SELECT clusterName, day, count(*) n, count(totalCost_cold_start) k, min(totalCost_cold_start) low,
        max(totalCost_cold_start) high, list_sort(list(totalCost_cold_start) FILTER (totalCost_cold_start IS NOT NULL)) v
        FROM read_csv('{Path(root)}/*/*.csv') GROUP BY ALL ORDER BY ALL"""
    ).fetchall()
    mine = found.to_numpy()
    assert [tuple(row[:2]) for row in peer] == list(zip(mine["clusterName"].tolist(), mine["day"].tolist(), strict=True))
    for i, name in enumerate(("rows", *(f"totalCost_cold_start_{what}" for what in ("count", "min", "max"))), start=2):
        assert mine[name].tolist() == [row[i] for row in peer]
    for q, name in ((0.5, "p50"), (0.99, "p99")):
        for got, row in zip(mine[f"totalCost_cold_start_{name}"], peer, strict=True):
            rank = math.floor(q * (row[3] - 1))
            exact = duckdb.sql(
                f"SELECT quantile_disc(v, {(rank + 0.5) / row[3]}) FROM (SELECT unnest({row[6]})::DOUBLE v)"
            ).fetchall()[0][0]
            assert exact == row[6][rank]
            assert abs(got - exact) <= 0.01 * exact
