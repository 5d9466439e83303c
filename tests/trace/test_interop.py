"""Tables go into pyarrow, polars, pandas and duckdb as they are, and rewarm.trace needs none of them."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import trace_files as files

from rewarm import trace
from rewarm.trace import cold_start_reference, request_reference


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return files.write_requests(tmp_path_factory.mktemp("trace"))


@pytest.fixture(scope="module")
def expected(path):
    return request_reference.read(path.read_bytes(), region="R1")


@pytest.mark.parametrize("how", ["table", "batches"])
def test_pyarrow(path, expected, how):
    pa = pytest.importorskip("pyarrow")
    stream = trace.read(path) if how == "table" else trace.batches(path)
    table = pa.RecordBatchReader.from_stream(stream).read_all()
    table.validate(full=True)
    assert table.to_pydict() == expected
    assert table.schema.field("cpu_usage").metadata == {b"unit": b"cores"}
    if how == "table":
        assert pa.table(stream).equals(table)  # as often as one likes


def test_polars(path, expected):
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(trace.read(path, ids="text"))
    text = request_reference.read(path.read_bytes(), region="R1", ids="text")
    assert {name: frame[name].to_list() for name in frame.columns} == text
    assert frame.schema["region"] in (polars.Categorical, polars.Enum) or frame["region"].dtype == polars.Categorical


def test_pandas(path, expected):
    pandas = pytest.importorskip("pandas")
    if not hasattr(pandas.DataFrame, "from_arrow"):
        pytest.skip("pandas before 3 has no from_arrow")
    frame = pandas.DataFrame.from_arrow(trace.read(path))
    assert list(frame.columns) == list(expected)
    for name in ("time_worker", "runtimeCost", "cpu_usage"):
        assert frame[name].tolist() == expected[name]
    assert [None if pandas.isna(x) else x for x in frame["requestBodySize"]] == expected["requestBodySize"]
    assert frame["poolName"].astype(str).tolist() == expected["poolName"]


def test_duckdb(path, expected):
    duckdb = pytest.importorskip("duckdb")
    table = trace.read(path)
    with duckdb.connect() as connection:
        relation = connection.from_arrow(_pyarrow_of(table))
        rows = relation.aggregate("poolName, count(*) AS n, max(totalCost_worker) AS most", "poolName").fetchall()
    for pool, count, most in rows:
        costs = [c for c, p in zip(expected["totalCost_worker"], expected["poolName"], strict=True) if p == pool]
        assert (count, most) == (len(costs), max(costs))
    assert {pool for pool, _, _ in rows} == set(expected["poolName"])


def _pyarrow_of(table):
    pa = pytest.importorskip("pyarrow")
    return pa.RecordBatchReader.from_stream(table)


def test_numpy(path, expected):
    found = trace.read(path).to_numpy()
    assert found["time_worker"].tolist() == expected["time_worker"]
    assert found["requestID"].dtype == np.uint8
    assert [bytes(row) for row in found["requestID"]] == expected["requestID"]
    assert [None if np.isnan(x) else x for x in found["requestBodySize"]] == expected["requestBodySize"]
    assert found["poolName"].tolist() == expected["poolName"]
    with pytest.raises(TypeError, match="to_numpy"):
        np.asarray(trace.read(path))


def test_import_needs_no_library():
    heavy = ("torch", "pandas", "pyarrow", "triton", "scipy", "matplotlib", "polars", "duckdb", "jinja2", "ray")
    code = f"import sys, rewarm.trace; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_reading_needs_no_pyarrow(path):
    code = (
        "import sys\n"
        "for m in ('pyarrow', 'pandas', 'torch', 'polars'): sys.modules[m] = None\n"
        "from rewarm import trace\n"
        f"t = trace.read({str(path)!r})\n"
        "print(t.num_rows, sum(b.num_rows for b in trace.batches(sys.argv[1])), len(t.to_numpy()))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["500", "500", "20"]


def test_the_reference_and_the_reader_agree_on_cold_starts(tmp_path):
    pa = pytest.importorskip("pyarrow")
    folder = files.write_cold_start(tmp_path, days=2)
    found = pa.table(trace.read(folder)).to_pydict()
    parts = [cold_start_reference.read(p.read_bytes(), region="R1") for p in sorted(folder.rglob("*.csv"))]
    assert found == {name: [v for part in parts for v in part[name]] for name in parts[0]}
