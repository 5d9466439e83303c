"""The stand-in's minute series: bytes that depend on the seed only, and counts that are the cold-start table's rows."""

import collections

from synthetic_made import ROOT, columns, digests

from rewarm.trace.synthetic import generate
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
