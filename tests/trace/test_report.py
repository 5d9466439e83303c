"""The report as a whole: through our own readers to numbers, verdicts, JSON and the page."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import tiny_trace

from rewarm.errors import InvalidArgument, TraceError
from rewarm.trace import paper, report
from rewarm.trace.captions import FIGURES, SECTIONS
from rewarm.trace.paper import OPEN, Published, agreement, published
from rewarm.trace.report import settle_open


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(results, page, json file) of the tiny trace with all tables."""
    folder = tmp_path_factory.mktemp("report")
    path = tiny_trace.write(folder / "trace")
    results = report(path, folder / "report.html", json=folder / "report.json")
    return results, (folder / "report.html").read_text(encoding="utf-8"), folder / "report.json"


def value(results, quantity, statistic, group="all", region="R2", section=None):
    found = [
        n["value"]
        for n in results["numbers"]
        if (n["quantity"], n["statistic"], n["group"], n["region"]) == (quantity, statistic, group, region)
        and section in (None, n["section"])
    ]
    assert len(found) == 1, f"{quantity} {statistic} {group} {region}: {len(found)} numbers"
    return found[0]


def test_numbers_of_the_tiny_trace(made):
    results = made[0]
    assert value(results, "cold starts", "count") == 6 * 12
    assert value(results, "cold starts", "count", region="all") == 2 * 6 * 12
    assert value(results, "pods", "count") == 72
    assert value(results, "functions", "count") == 3
    assert value(results, "cold starts without a runtime row", "count") == 0
    assert value(results, "totalCost_cold_start", "share > 10 s") == pytest.approx(2 / 12)
    # 11 gaps of two hours on each of 6 days, and two hours again from day 0 to 1, 1 to 2, 10 to 11; 2-10 and 11-30 are dropped.
    assert value(results, "inter-arrival time", "p50") == 7200.0
    assert value(results, "inter-arrival time", "mean") == 7200.0
    assert any("2 gaps that span a day" in note for note in results["notes"]["distributions"])
    assert value(results, "cold starts", "count", "Python3") == 24
    assert value(results, "cold starts", "count", "OBS-A", section="breakdown") == 24
    assert value(results, "cold starts", "count", "TIMER-A", section="breakdown") == 48
    assert value(results, "request rows, day 30", "count") == 36
    assert value(results, "pods per function, day 30", "mean") == 4.0
    # A pod serves from +1.0 s to +21.5 s: 20.5 s over 1, 2, … 12 s; the sorted middle is 20.5 / 7.
    assert value(results, "pod utility ratio", "p50") == pytest.approx(20.5 / 7)
    assert value(results, "of them in the ratio", "count") == 12
    # Day by day the first function has 360 * (2 + 3 + 4 + 2) requests, the second 24, the third 5; lower median of three.
    assert value(results, "requests per day", "p50") == 24.0
    assert value(results, "requests", "count") == 6 * (3960 + 24 + 5)
    assert value(results, "peak-to-trough", "max") == 2.0
    assert value(results, "execution time", "p99") == 0.4


def test_every_published_number_is_measured_or_named(made):
    results = made[0]
    key = ("section", "quantity", "group", "statistic", "region")
    measured = [tuple(n[part] for part in key) for n in results["numbers"]]
    assert len(measured) == len(set(measured))
    compared = {k for k, n in zip(measured, results["numbers"], strict=True) if n["published"] is not None}
    missing = {tuple(n[part] for part in key) for n in results["not_measured"]}
    assert compared | missing == set(published())
    assert not compared & missing
    assert all(n["reason"] for n in results["not_measured"])
    summary = results["summary"]
    assert (
        summary["agree"] + summary["differ"] + summary["ambiguous"] + summary["partial"] + summary["not_measured"]
        == summary["published"]
    )


def test_six_of_31_days_are_partial(made):
    results = made[0]
    complete = [
        n
        for n in results["numbers"]
        if n["section"] in ("distributions", "pools", "correlation", "breakdown") and n["complete"]
    ]
    assert complete == []
    assert {n["verdict"] for n in results["numbers"] if n["section"] == "distributions" and n["published"] is not None} == {
        "partial"
    }
    # The runtime table has no days.
    assert value(results, "functions by runtime", "count", "http") == 1
    assert [n["verdict"] for n in results["numbers"] if (n["quantity"], n["group"]) == ("functions by runtime", "http")] == [
        "differ"
    ]


def test_json_file_block_and_dict_are_the_same(made):
    results, page, file = made
    assert json.loads(file.read_text()) == json.loads(json.dumps(results))
    block = re.search(r'<script type="application/json" id="rewarm-data">(.*?)</script>', page, re.S).group(1)
    assert json.loads(block) == json.loads(file.read_text())


def test_page_is_self_contained(made):
    page = made[1]
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)|<link(?! rel=\"icon\" href=\"data:,\")|<script src|<img", page)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids)), "an id stands twice"
    for target in set(re.findall(r'(?:href="#|url\(#)([^")]+)', page)):
        assert target in ids
    for section in SECTIONS:
        assert f'<section id="{section}">' in page
    for figure in FIGURES:
        assert f'id="{figure.id}"' in page
    assert "#00fe0" not in page
    assert "#00fd0" not in page


def test_missing_tables_leave_their_sections_out_and_say_so(tmp_path):
    path = tiny_trace.write(tmp_path / "trace", tables=("cold_start",), regions=("R5",))
    results = report(path, tmp_path / "r.html")
    assert set(results["series"]) == {"fig4a", "fig10a", "fig10b", "fig10c", "fig10d", "fig11", "fig12", "fig13"}
    assert results["absent"]["fig15"]["R5"].startswith("needs the runtime table")
    assert results["absent"]["fig3a"]["R5"] == "needs the minute table requests"
    page = (tmp_path / "r.html").read_text()
    assert "is not drawn. R5: needs the minute table requests" in page


@pytest.mark.parametrize("table", ["request", "minute"])
def test_without_cold_starts(tmp_path, table):
    path = tiny_trace.write(tmp_path / "trace", tables=(table,), regions=("R1",))
    results = report(path, tmp_path / "r.html")
    assert results["summary"]["partial"] + results["summary"]["differ"] + results["summary"]["agree"] > 0
    assert results["absent"]["fig11"]["R1"] == "needs the cold-start table"


def test_region_filters_and_names(tmp_path):
    path = tiny_trace.write(tmp_path / "trace", tables=("cold_start",))
    assert list(report(path, tmp_path / "r.html", region="R5")["regions"]) == ["R5"]
    lone = tmp_path / "day_00.csv"
    lone.write_text("\n".join([tiny_trace.COLD, *(tiny_trace.cold_row("R3", 0, i) for i in range(12)), ""]))
    assert list(report(lone, tmp_path / "r.html")["regions"]) == ["unnamed region"]
    assert list(report(lone, tmp_path / "r.html", region="R3")["regions"]) == ["R3"]


def test_runtime_table_from_elsewhere(tmp_path):
    path = tiny_trace.write(tmp_path / "trace", tables=("cold_start",), regions=("R2",))
    other = tiny_trace.write(tmp_path / "other", tables=("runtime",), regions=())
    results = report(path, tmp_path / "r.html", runtime=other)
    assert value(results, "cold starts", "count", "http") == 24


def test_generated_data_is_called_synthetic(tmp_path):
    path = tiny_trace.write(tmp_path / "trace", tables=("cold_start",), regions=("R5",))
    (tmp_path / "trace" / "_rewarm_synthetic.json").write_text("{}")
    assert report(path, tmp_path / "r.html")["synthetic"] is True
    page = (tmp_path / "r.html").read_text()
    assert "Synthetic data." in page
    assert "<h2>Synthetic: the stand-in against" in page


def test_errors(tmp_path):
    path = tiny_trace.write(tmp_path / "trace", tables=("runtime",), regions=())
    with pytest.raises(InvalidArgument, match="got a runtime table alone"):
        report(path, tmp_path / "r.html")
    with pytest.raises(InvalidArgument, match="out: expected an existing folder"):
        report(path, tmp_path / "nowhere" / "r.html")
    with pytest.raises(InvalidArgument, match="json: expected the name of a file"):
        report(path, tmp_path / "r.html", json=tmp_path)
    with pytest.raises(TraceError):
        report(tmp_path / "none", tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_a_bad_field_leaves_the_old_page(tmp_path):
    path = tiny_trace.write(tmp_path / "trace", tables=("cold_start",), regions=("R5",), days=(0,))
    out = tmp_path / "r.html"
    out.write_text("old")
    (day,) = (tmp_path / "trace").rglob("day_00.csv")
    day.write_text(day.read_text().replace("2.000000", "2.0x"))
    with pytest.raises(TraceError, match="totalCost_cold_start"):
        report(path, out)
    assert out.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_killing_it_leaves_no_half_page(tmp_path):
    path = tiny_trace.write(tmp_path / "trace", tables=("cold_start",))
    out = tmp_path / "r.html"
    program = (
        "import os, sys, time\n"
        "from rewarm.trace import report\n"
        "real = os.replace\n"
        "def slow(a, b):\n    print('written', flush=True)\n    time.sleep(60)\n    real(a, b)\n"
        "os.replace = slow\n"
        "report(sys.argv[1], sys.argv[2])\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program, path, str(out)], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "written\n"
        child.send_signal(signal.SIGKILL)
        child.wait(30)
    finally:
        child.kill()
        child.stdout.close()
        child.wait()
    assert not out.exists()


def number(text, kind):
    return Published("s", "q", "all", "x", "R1", text, kind, "here")


@pytest.mark.parametrize(
    ("text", "kind", "agrees", "differs"),
    [
        ("2072823", "count", 2072823, 2072824),
        (".161", "share", 0.166, 0.1661),
        ("2.155", "quantile", 2.155 * 1.0299, 2.155 * 1.0301),
        (".297", "fit", 0.297 * 1.0499, 0.297 * 1.0501),
        ("-.1", "spearman", -0.15, -0.151),
        ("7.109e6", "reading", 7.109e6 * 1.0199, 7.109e6 * 1.0201),
        # Half of the last written digit, where that is more than the tolerance of the kind.
        ("1.2e-4", "quantile", 1.25e-4, 1.251e-4),
        ("3.9e10", "reading", 3.95e10, 3.98e10),
        ("0", "quantile", 0.5, 0.51),
        # Hours go around the clock; bounds are strict.
        ("0.2", "hour", 23.71, 23.69),
        ("2", "below", 1.99, 2.0),
        ("1000", "above", 1000.1, 1000.0),
    ],
)
def test_agreement(text, kind, agrees, differs):
    assert agreement(agrees, number(text, kind)) == "agree"
    assert agreement(differs, number(text, kind)) == "differ"
    assert agreement(agrees, number(text, kind), complete=False) == "partial"
    assert agreement(float("nan"), number(text, kind)) == "differ"


def test_readings_that_do_not_say_the_same_are_ambiguous():
    def read(statistic, verdict, group="first day"):
        return {"quantity": OPEN[0], "group": group, "region": "R1", "statistic": statistic, "verdict": verdict}

    numbers = [read("a", "agree"), read("b", "differ"), read("c", "partial"), read("a", "differ", "second day")]
    settle_open(numbers)
    assert [number["verdict"] for number in numbers] == ["ambiguous", "ambiguous", "partial", "differ"]


def test_last_digit():
    assert [paper.last_digit(text) for text in ("2.35", "2.1e6", "236", ".0161", "1.2e-4")] == pytest.approx(
        [0.01, 1e5, 1, 1e-4, 1e-5]
    )


def test_published_numbers_hang_together():
    numbers = published()
    runtimes = [n for n in numbers.values() if (n.section, n.quantity, n.statistic) == ("breakdown", "cold starts", "count")]
    assert sum(n.value for n in runtimes) == 2_072_823
    assert sum(n.value for n in numbers.values() if n.quantity == "functions by runtime") == 2418
    assert sum(n.value for n in numbers.values() if n.quantity == "functions by trigger") == 2418
    days = [n for n in numbers.values() if n.section == "components" and n.quantity == "cold starts" and "file" not in n.group]
    assert len(days) == 5 * 31
    assert sum(n.value for n in days) == pytest.approx(11_913_857, rel=1e-3)
    assert len([n for n in numbers.values() if n.section == "correlation"]) == 5 * 15


def test_progress_is_told(tmp_path):
    path = tiny_trace.write(tmp_path / "trace", tables=("cold_start",), regions=("R5",), days=(0,))
    told = []
    report(path, tmp_path / "r.html", progress=told.append)
    assert told[0] == "R5: reading cold_start"
    assert told[-1] == "writing"


def test_import_needs_no_torch_pandas_or_matplotlib():
    heavy = ("torch", "pandas", "matplotlib", "scipy", "pyarrow", "jinja2")
    program = f"import sys, rewarm.trace.report; print([m for m in {heavy} if m in sys.modules])"
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "[]"
    print(f"import: {time.perf_counter() - started:.2f} s")
