"""``rewarm bench --only trace``: what it writes, what it refuses to time, and that torch is not needed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytest.importorskip("pyarrow")

from click.testing import CliRunner

from rewarm import cli
from rewarm.bench import table, trace, trace_cases, trace_files
from rewarm.errors import RewarmError
from rewarm.trace import check

SMALL = trace.Table("trace_group", "group", "rewarm", ("floor: read()",), ("pyarrow", "duckdb"), "request.csv")


@pytest.fixture
def report(tmp_path, monkeypatch):
    monkeypatch.setattr(trace, "TABLES", (SMALL,))
    path = tmp_path / "trace.json"
    options = ["--only", "trace", "--threads", "1", "--rounds", "2", "--megabytes", "0.2", "--json", str(path)]
    result = CliRunner().invoke(cli.rewarm, ["bench", *options])
    assert result.exit_code == 0, result.output
    return path, json.loads(path.read_text()), result.output


def test_a_small_run(report, capsys):
    path, found, printed = report
    assert "trace_group" in printed
    ours = next(r for r in found["results"] if r["variant"] == "rewarm")
    for r in found["results"]:
        assert (r["workload"], r["threads"], r["runs"], r["ours"]) == ("trace_group", 1, 2, "rewarm")
        assert 0 < r["min_s"] <= r["median_s"] <= r["max_s"]
        assert r["ratio_to_ours"] == r["median_s"] / ours["median_s"]
        assert r["bytes"] == pytest.approx(0.2e6, rel=0.05)
        assert r["peak_over_import_bytes"] >= 0
    assert {r["variant"] for r in found["results"]} >= {"rewarm", "pyarrow", "floor: read()"}
    assert {"versions", "hardware", "isa", "commit", "command", "pinned_cpus", "megabytes"} <= set(found["header"])
    assert table.main([str(path)]) == 0
    markdown = capsys.readouterr().out
    assert "| trace_group | " in markdown
    assert "× pyarrow" in markdown


def test_cases_by_name():
    chosen = [t.name for t in trace._chosen(trace.Options(cases=("hourly", "group")))]
    assert chosen == ["trace_group", "trace_hourly"]
    result = CliRunner().invoke(cli.rewarm, ["bench", "--cases", "hours"])
    assert result.exit_code == 1
    assert "--cases: expected some of request, batches, group, hourly, exponents, gz, got 'hours'" in result.output
    result = CliRunner().invoke(cli.rewarm, ["bench", "--only", "adamw", "--cases", "hourly"])
    assert "--cases: they are of trace, which --only adamw leaves out" in result.output


def test_torch_is_not_needed():
    code = (
        "import sys\n"
        "for m in ('torch', 'triton', 'pandas', 'polars'): sys.modules[m] = None\n"
        "from rewarm.bench import cli, hardware, table, trace, trace_child\n"
        "print(hardware.header(None, [])['device'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "cpu"


def test_every_table_has_its_cases():
    from rewarm.bench import trace_peers  # noqa: F401 - registers its cases

    shown = {(t.suite, case) for t in trace.TABLES for case in t.cases}
    assert shown == set(trace_cases.CASES)


GROUP = [7, 8, 100, 0.5, 2.0, 10.0, 4]
HOUR = ["R1", "Java", 3, 101, 1.0, 4.0]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"rows": 2, "time": "a"}, {"rows": 3, "time": "a"}),
        ({"rows": 2, "time": "a"}, {"rows": 2, "time": "b"}),
        ([GROUP], [GROUP, GROUP]),
        ([GROUP], [[7, 8, 100, 0.5 * (1 + 1e-9), 2.0, 10.0, 4]]),
        ([GROUP], [[7, 8, 100, 0.5, 2.0, 10.0, 3]]),
        ([HOUR], [["R1", "Java", 3, 100, 1.0, 4.0]]),
        ([HOUR], [["R1", "Java", 3, 101, 1.02, 4.0]]),
    ],
)
def test_what_differs_is_not_timed(ours, theirs):
    with pytest.raises(RewarmError, match="trace: here"):
        trace.compare("here", ours, theirs)
    trace.compare("here", ours, ours)


def test_ranks_that_mean_another_row_are_not_compared():
    trace.compare("here", [["R1", None, 3, 3, 1.0, 2.0]], [["R1", float("nan"), 3, 3, 1.005, 3.0]])


def test_the_files_are_spelled_as_the_release(tmp_path):
    trace_files.write_requests(tmp_path / "plain.csv", 0.3)
    trace_files.write_requests(tmp_path / "exponents.csv", 0.3, spelling="exponents")
    trace_files.write_cold_starts(tmp_path, 0.3)
    found = check(tmp_path).to_pylist()
    assert {r["table"] for r in found} == {"cold_start", "request", "runtime"}
    broken = [r for r in found if r["violations"] and not r["check"].startswith("note")]
    # Pods get clusters at random here: nothing that is measured looks at both.
    assert {r["check"] for r in broken} <= {"one cluster for each pod"}
    text = (tmp_path / "exponents.csv").read_text()
    assert "E-4," in text and ".0\n" in text
    assert len(list((tmp_path / "cold_start").rglob("*.csv"))) == 155


@pytest.mark.parametrize("value", [9.31e-4, 9.3e-5, 1e-6, 0.00109, 2.0, 1e-3, 1.23456e-4, 0.0, 5e-324])
def test_java_s_spelling_is_the_same_number(value):
    assert float(trace_files.java(value)) == value
    assert ("E" in trace_files.java(value)) == (0 < value < 1e-3)
