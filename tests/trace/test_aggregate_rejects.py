"""What could not be read stays with the aggregate: through bytes, files, merges and engines, the same for any split."""

import pytest
import trace_files as files
from aggregate_cases import scan

from rewarm._native import core
from rewarm.trace import Aggregate, aggregate, read

QUESTION = {"by": "funcName", "values": ("deployCodeCost", "schedulingCost")}


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """Three days of two regions: fields and rows that cannot be read on the first and last lines of some files."""
    root = tmp_path_factory.mktemp("broken")
    for region in ("R1", "R2"):
        for day in range(3):
            rows = [files.cold_row(i, day) for i in range(40)]
            if (region, day) != ("R1", 1):
                rows[0] = files.cold_row(0, day, deployCodeCost="0,5" if day == 2 else "soon", schedulingCost=f"é{day}")
                rows[39] = files.cold_row(39, day, funcName=f"{region}-x")
            files.write(root / "cold_start" / region / f"day_{day:02d}.csv", files.COLD_HEADER, rows)
    return root


@pytest.mark.parametrize("policy", ["null", "skip"])
def test_they_are_those_of_read(broken, policy, tmp_path):
    found = aggregate(broken, on_error=policy, **QUESTION)
    columns = ["funcName", "deployCodeCost", "schedulingCost"]
    expected = read(broken, columns, on_error=policy).rejects
    assert list(found.rejects) == list(expected)
    assert found.rejected == found.rejects.count == expected.count >= 10
    assert {reject.text for reject in found.rejects} >= {"soon", "R2-x"} | ({"é0"} if policy == "null" else set())
    found.save(tmp_path / "x.agg")
    again = Aggregate.load(tmp_path / "x.agg")
    assert list(again.rejects) == list(expected)
    assert again.to_bytes() == found.to_bytes()


@pytest.mark.parametrize("policy", ["null", "skip"])
def test_any_split_keeps_the_same_ones(broken, policy):
    whole = aggregate(broken, on_error=policy, **QUESTION)
    assert aggregate(broken, on_error=policy, workers=5, **QUESTION).to_bytes() == whole.to_bytes()
    by_region = [aggregate(broken, region=region, on_error=policy, **QUESTION) for region in ("R2", "R1")]
    assert by_region[0].merge(by_region[1]).to_bytes() == whole.to_bytes()
    assert by_region[1].merge(by_region[0]).to_bytes() == whole.to_bytes()


def reject(region, file, line, column="time", text="x"):
    return (region, file, line, 10 * line, column, text, "a decimal number", "null")


def one(file, rejects, count=None, region="R1"):
    made = scan([], [], 0)
    made.set_files([(region, file, 0, 100)], len(rejects) if count is None else count, rejects)
    return made


def test_merges_keep_the_first_by_file_region_and_line_and_count_all():
    most = core.MOST_REJECTS
    a = one("b.csv", [reject("R1", "b.csv", line) for line in range(2, most)])
    b = one("b.csv", [reject("R2", "b.csv", 5), reject("R2", "b.csv", 5, "userID")], region="R2")
    c = one("a.csv", [reject("R1", "a.csv", 3)], 7)
    expected = [("a.csv", 3, "time"), *(("b.csv", line, "time") for line in range(2, most)), ("b.csv", 5, "time")]
    for order in ((a, b, c), (c, b, a), (b, c, a)):
        merged = order[0]
        for other in order[1:]:
            merged = core.TraceAggregate.merge([merged, other], threads=1)
        merged = core.TraceAggregate.from_bytes(merged.to_bytes())
        assert merged.rejected == most - 2 + 2 + 7
        assert [(file, line, column) for file, line, _, column, *_ in merged.rejects] == expected


def test_null_columns_and_bytes_that_are_no_text_come_back():
    made = one("a.csv", [reject(None, "a.csv", 2, None, "x\ufffd")])
    again = core.TraceAggregate.from_bytes(made.to_bytes())
    assert again.rejects == made.rejects == [("a.csv", 2, 20, None, "x\ufffd", "a decimal number", "null")]


def test_more_than_are_kept(tmp_path):
    rows = [files.cold_row(i, 0, deployCodeCost="soon") for i in range(6_000)]
    for region in ("R1", "R2"):
        files.write(tmp_path / region / "day_00.csv", files.COLD_HEADER, rows)
    whole = aggregate(tmp_path, on_error="null", **QUESTION)
    assert (whole.rejected, len(whole.rejects)) == (12_000, core.MOST_REJECTS)
    assert [r.line for r in whole.rejects] == [*range(2, 6_002), *range(2, 4_002)]
    parts = [aggregate(tmp_path, region=region, on_error="null", **QUESTION) for region in ("R1", "R2")]
    assert parts[1].merge(parts[0]).to_bytes() == whole.to_bytes()
