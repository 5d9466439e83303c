"""The stand-in's minute series: bytes that depend on the seed only, and counts that are the cold-start table's rows."""

import collections

import numpy as np
import pytest
from synthetic_made import ROOT, columns, digests

from rewarm.trace.synthetic import generate
from rewarm.trace.synthetic_cold_start import ColdStarts
from rewarm.trace.synthetic_minute import MinuteTables
from rewarm.trace.synthetic_regions import REGION_TABLE


def test_minute_bytes_do_not_depend_on_threads_or_days(tmp_path):
    generate(tmp_path / "a", region="R3", days=3, scale=0.1, tables="minute", threads=1)
    generate(tmp_path / "b", region="R3", days=2, scale=0.1, tables="minute", threads=3)
    first, second = digests(tmp_path / "a"), digests(tmp_path / "b")
    assert len(second) == 10
    assert second.items() <= first.items()


def test_minute_series_count_the_cold_starts(tmp_path):
    generate(tmp_path, region="R3", days=2, scale=1.0, tables=("cold_start", "minute"))
    cold = columns(tmp_path, "cold_start/R3/day_01.csv")
    pools = [pod.rsplit("-", 1)[0] for pod in cold["podID"].tolist()]
    names = [f"{f}---{u}---{p}" for f, u, p in zip(cold["funcName"].tolist(), cold["userID"].tolist(), pools, strict=True)]
    wanted = collections.Counter(zip((cold["time"] // 60 * 60).astype(int).tolist(), names, strict=True))
    tables = {}
    for metric in ("requests", "num_pods", "num_cold_starts", "runtimeCost_avg", "cpu_usage_avg"):
        text = (tmp_path / ROOT / "quantiles/R3" / metric / "day_01.csv").read_text()
        header, *lines = text.splitlines()
        assert len(lines) == 1440
        functions = header.split(",")[2:]
        cells = {}
        for line in lines:
            day, second, *fields = line.split(",")
            assert day == "1"
            assert len(fields) == len(functions) == REGION_TABLE["R3"].functions
            cells |= {(int(second), name): float(field) for name, field in zip(functions, fields, strict=True) if field}
        tables[metric] = cells
    assert tables["num_cold_starts"] == wanted
    requests = tables["requests"]
    assert all(requests[cell] >= count for cell, count in wanted.items())
    assert set(requests) == set(tables["runtimeCost_avg"]) == set(tables["cpu_usage_avg"])
    assert set(requests) <= set(tables["num_pods"])
    assert min(requests.values()) >= 1.0


def test_a_keep_alive_of_a_minute_brings_the_cold_starts_back():
    """Region 2 at scale 1: a function starts cold where the minute before had no request (figure 14's bands).

    A minute table shows no two requests at once, so functions that always have a warm pod, above 44,640 requests in 31 days,
    are left out: all their cold starts are those of a second pod. Six days.
    """
    cold = ColdStarts("R2", 0, 1.0)
    tables, f, days = MinuteTables(cold), cold.functions, (4, 5, 6, 15, 16, 17)
    n = len(f)
    simulated, asked, rows = np.zeros(n), np.zeros(n), 0
    for day in days:
        cells, values = tables._day(day)["requests"]
        grid = np.zeros((1441, n), bool)
        grid[1:].flat[cells] = True
        # What ran before midnight is not looked at: one more cold start a function and day at most.
        simulated += (grid[1:] & ~grid[:-1]).sum(0)
        asked += np.bincount(cells % n, values, n)
        rows += cold.day_rows(day)
    timer = (f.period >= 120) & (asked > 0)
    assert (simulated[timer] == asked[timer]).all()
    minute = f.requests == 44_640.0
    assert minute.sum() == 7
    assert (simulated[minute] <= len(days)).all()  # none but the first of a day, which has no minute before it here
    shares = []
    for low, high, share in (
        (0, 31, 0.003), (31, 744, 0.034), (744, 4_464, 0.138), (4_464, 22_320, 0.378), (22_320, 44_640, 0.053)
    ):  # fmt: skip
        band = (f.requests > low) & (f.requests <= high)
        shares.append(simulated[band].sum() / rows)
        assert shares[-1] == pytest.approx(share, abs=0.05), (low, high)
    assert 1 / 1.3 < sum(shares) / 0.606 < 1.3
