"""The stand-in: reproducible bytes, the release's spelling, identities on every row, and the published numbers behind it."""

import collections
import gzip
import hashlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewarm._native import core
from rewarm.errors import InvalidArgument
from rewarm.trace.synthetic import MARKER, generate
from rewarm.trace.synthetic_cold_start import ColdStarts, published_day_counts
from rewarm.trace.synthetic_files import ODDITIES
from rewarm.trace.synthetic_regions import REGION_TABLE, RUNTIME_FUNCTIONS
from rewarm.trace.synthetic_request import Requests

ROOT = "datasets/cold_start_dataset"
COSTS = ("podAllocationCost", "deployCodeCost", "deployDependencyCost", "schedulingCost")


def digests(folder):
    """File name -> hash, the marker left out."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file() and path.name != MARKER
    }


def read(folder, pattern):
    """All files of a pattern, in order, as one Arrow table."""
    return pa.concat_tables([pyarrow.csv.read_csv(path) for path in sorted(Path(folder).glob(f"{ROOT}/{pattern}"))])


def columns(folder, pattern):
    """The same as numpy arrays."""
    table = read(folder, pattern)
    return {name: table[name].to_numpy() for name in table.column_names}


# ---- bytes ------------------------------------------------------------------------------------------------------------------


def test_bytes_depend_on_the_seed_only(tmp_path):
    small = {"scale": 0.002, "tables": ("cold_start", "request", "runtime"), "seed": 3}
    generate(tmp_path / "a", region=("R2", "R5"), threads=1, **small)
    generate(tmp_path / "b", region=("R2", "R5"), threads=4, **small)
    generate(tmp_path / "alone", region="R5", **small)
    generate(tmp_path / "other", region="R5", **{**small, "seed": 4})
    first = digests(tmp_path / "a")
    assert first == digests(tmp_path / "b")
    alone = digests(tmp_path / "alone")
    assert alone == {name: value for name, value in first.items() if "/R5/" in name or "/runtime_triggerType/" in name}
    other = digests(tmp_path / "other")
    assert len(other) == len(alone)
    assert not set(other.values()) & set(alone.values())


def test_minute_bytes_do_not_depend_on_threads_or_days(tmp_path):
    generate(tmp_path / "a", region="R3", days=3, scale=0.1, tables="minute", threads=1)
    generate(tmp_path / "b", region="R3", days=2, scale=0.1, tables="minute", threads=3)
    first, second = digests(tmp_path / "a"), digests(tmp_path / "b")
    assert len(second) == 10
    assert second.items() <= first.items()


# ---- spelling ---------------------------------------------------------------------------------------------------------------

POD = r"(pool\d\d|custom|custom\.image\.gpu)-\d+-\d+-\d{10}"
JAVA = r"(0\.0|0\.(00|0|)[1-9]\d*|[1-9]\d*\.\d+|[1-9]\.\d+E-\d)"
COLD_START_SPELLING = {
    "day": r"\d{1,2}",
    "time": r"\d+\.\d{1,3}",
    "clusterName": r"[1-4]",
    "funcName": r"\d+",
    "userID": r"\d+",
    "requestID": r"[0-9a-f]{64}",
    "totalCost_cold_start": r"\d+\.\d{1,6}",
    "podAllocationCost": r"\d+\.\d{1,9}",
    "deployCodeCost": r"\d+\.\d{1,3}",
    "deployDependencyCost": r"\d+\.\d{1,3}",
    "schedulingCost": r"\d+\.\d{1,9}",
    "podID": POD,
}
REQUEST_SPELLING = {
    "time_worker": r"2\d{6}\.\d{1,3}",
    "time_frontend": r"(2\d{6}\.\d{1,3})?",
    "requestID": r"[0-9a-f]{64}",
    "clusterName": r"[1-4]",
    "funcName": r"\d+",
    "podID": POD,
    "userID": r"\d+",
    "totalCost_worker": JAVA,
    "workerCost": JAVA,
    "runtimeCost": JAVA,
    "totalCost_frontend": f"({JAVA})?",
    "frontendCost": f"({JAVA})?",
    "busCost": f"({JAVA})?",
    "readBodyCost": f"({JAVA})?",
    "writeRspCost": f"({JAVA})?",
    "cpu_usage": JAVA,
    "memory_usage": JAVA,
    "requestBodySize": r"(\d+\.0)?",
}


@pytest.mark.parametrize(
    ("pattern", "spelling"),
    [("cold_start/R2/day_*.csv", COLD_START_SPELLING), ("per_request/R2/part-*.csv", REQUEST_SPELLING)],
    ids=["cold_start", "request"],
)
def test_spelling_of_every_column(small, pattern, spelling):
    checks = [(name, re.compile(expression)) for name, expression in spelling.items()]
    paths = sorted(small.glob(f"{ROOT}/{pattern}"))
    assert paths
    for path in paths:
        text = path.read_text()
        assert text.endswith("\n")
        assert "\r" not in text
        header, *lines = text.splitlines()
        assert header == ",".join(spelling)
        assert len(lines) > 1
        for line in lines[:500]:
            fields = line.split(",")
            assert len(fields) == len(checks)
            for field, (name, expression) in zip(fields, checks, strict=True):
                assert expression.fullmatch(field), (name, field)


def test_small_costs_of_requests_are_in_javas_spelling(small):
    text = "".join(path.read_text() for path in small.glob(f"{ROOT}/per_request/R2/*.csv"))
    assert re.search(r",[1-9]\.\d+E-[456],", text)
    assert not re.search(r",0\.000\d*[1-9]", text)


def test_layout_and_marker(small):
    names = {str(path.relative_to(small / ROOT)) for path in small.rglob("*.csv")}
    assert {f"cold_start/R2/day_{day:02d}.csv" for day in range(31)} <= names
    assert "runtime_triggerType/df_funcID_runtime_triggerType.csv" in names
    parts = sorted(name for name in names if name.startswith("per_request"))
    uuid = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    for nth, name in enumerate(parts):
        assert re.fullmatch(rf"per_request/R2/part-{nth:05d}-{uuid}-c000\.csv", name)
    marker = json.loads((small / MARKER).read_text())
    assert marker["synthetic"] is True
    assert marker["complete"] is True
    assert marker["seed"] == 1
    assert sorted(f"{ROOT}/{name}" for name in names) == marker["files"]


@given(st.integers(0, 10**15 - 1), st.integers(0, 12))
def test_numbers_read_back_and_follow_their_language(value, scale):
    def spelled(spelling):
        column = (spelling, None, np.array([value], np.int64), scale, 1)
        return core.format_rows([column], 1).decode().rstrip("\n")

    exact = float(f"{value}e-{scale}")
    assert float(spelled("decimal")) == float(spelled("java")) == exact
    if 1e-4 <= exact < 1e15 or exact == 0.0:
        assert "e" not in spelled("python")
    if exact < 1e15:
        assert spelled("python") == repr(exact)
    # Double.toString: plain digits in [1e-3, 1e7), else one digit, a point, digits, E and the exponent.
    assert ("E" in spelled("java")) == (not 1e-3 <= exact < 1e7 and exact != 0.0)
    assert re.fullmatch(r"\d+\.\d+|[1-9]\.\d+E-?[1-9]\d*", spelled("java"))


def test_integers_words_ids_and_missing_values():
    ids = np.frombuffer(bytes(range(32)) * 2, np.uint8).reshape(2, 32)
    text = core.format_rows(
        [
            ("integer", None, np.array([0, -(2**63)], np.int64)),
            ("decimal", np.array([False, True]), np.array([1018, 1], np.int64), 0, 1),
            ("float64", None, np.array([1e22, 0.1 + 0.2])),
            ("hex", None, ids),
            ("word", None, np.array([1, 0], np.int32), ["a", "bc"]),
            ("pod", None, np.array([0, 0], np.int32), ["pool22-300-128"], np.array([7, 1234567890], np.int64)),
        ],
        2,
        quoted=True,
        crlf=True,
        first_index=9,
        missing="NaN",
    )
    hexes = bytes(range(32)).hex()
    assert text.decode() == (
        f'9,"0","1018.0","1e+22","{hexes}","bc","pool22-300-128-0000000007"\r\n'
        f'10,"-9223372036854775808","NaN","0.30000000000000004","{hexes}","a","pool22-300-128-1234567890"\r\n'
    )


def test_minutes_leave_empty_what_did_not_happen():
    text = core.format_minutes(
        1, 86_400, 4, np.array([0, 2, 2, 3]), np.array([0, 3, 1], np.int32), np.array([1.0, 2.5, 3.0])
    ).decode()
    assert text == "1,86400,1.0,,,2.5\n1,86460,,,,\n1,86520,,3.0,,\n"


def test_the_formatter_refuses_what_does_not_fit():
    with pytest.raises(InvalidArgument, match="code 2 has no word"):
        core.format_rows([("word", None, np.array([2], np.int32), ["a", "b"])], 1)
    with pytest.raises(InvalidArgument, match="expected 2 elements, got 1"):
        core.format_rows([("integer", None, np.array([2], np.int64))], 2)
    with pytest.raises(InvalidArgument, match="must ascend"):
        core.format_minutes(0, 0, 4, np.array([0, 2]), np.array([1, 1], np.int32), np.array([1.0, 2.0]))


# ---- requests and minutes ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    generate(folder, region="R2", scale=0.002, seed=1, tables=("cold_start", "request", "runtime"))
    return folder


def test_request_identities_on_every_row(small):
    c = columns(small, "per_request/R2/*.csv")
    assert len(c["time_worker"]) == pytest.approx(0.002 * REGION_TABLE["R2"].request_rows, rel=1e-3)
    assert (np.diff(c["time_worker"]) >= 0).all()
    assert c["time_worker"].min() >= 2_592_000
    assert c["time_worker"].max() < 2_678_400
    assert np.abs(c["totalCost_worker"] - c["workerCost"] - c["runtimeCost"]).max() < 1e-6
    frontend = (
        "time_frontend",
        "totalCost_frontend",
        "frontendCost",
        "busCost",
        "readBodyCost",
        "writeRspCost",
        "requestBodySize",
    )
    missing = np.isnan(c["totalCost_frontend"])
    for name in frontend:
        assert (np.isnan(c[name]) == missing).all()
    assert 0.02 < missing.mean() < 0.06
    hop = (
        c["totalCost_frontend"]
        - c["totalCost_worker"]
        - c["frontendCost"]
        - c["busCost"]
        - c["readBodyCost"]
        - c["writeRspCost"]
    )
    assert hop[~missing].min() > 0.000269
    assert hop[~missing].max() < 0.000321


def test_cold_started_pods_serve_the_request_that_started_them(small):
    cold = columns(small, "cold_start/R2/day_30.csv")
    c = columns(small, "per_request/R2/*.csv")
    wanted = dict(zip(cold["requestID"].tolist(), zip(cold["podID"], cold["clusterName"], strict=True), strict=True))
    place = {request: i for i, request in enumerate(c["requestID"].tolist())}
    served = [request for request in wanted if request in place]
    # Those that are missing complete after the day.
    assert len(served) > 0.9 * len(wanted)
    for request in served:
        i = place[request]
        assert wanted[request] == (c["podID"][i], c["clusterName"][i]) or list(cold["requestID"]).count(request) > 1
    # Every pod lives in one cluster, and a pod's requests come after its cold start.
    clusters = collections.defaultdict(set)
    for pod, cluster in zip(c["podID"].tolist(), c["clusterName"].tolist(), strict=True):
        clusters[pod].add(cluster)
    assert all(len(each) == 1 for each in clusters.values())
    started = dict(zip(cold["podID"].tolist(), (cold["time"] + cold["totalCost_cold_start"]).tolist(), strict=True))
    begins = c["time_worker"] - c["totalCost_worker"]
    mine = [i for i, pod in enumerate(c["podID"].tolist()) if pod in started]
    assert len(mine) >= len(served)
    # time_worker is cut to whole milliseconds
    assert min(begins[i] - started[c["podID"][i]] for i in mine) > -0.0011


def test_minute_series_count_the_cold_starts(tmp_path):
    generate(tmp_path, region="R5", days=2, scale=1.0, tables=("cold_start", "minute"))
    cold = columns(tmp_path, "cold_start/R5/day_01.csv")
    pools = [pod.rsplit("-", 1)[0] for pod in cold["podID"].tolist()]
    names = [f"{f}---{u}---{p}" for f, u, p in zip(cold["funcName"].tolist(), cold["userID"].tolist(), pools, strict=True)]
    wanted = collections.Counter(zip((cold["time"] // 60 * 60).astype(int).tolist(), names, strict=True))
    tables = {}
    for metric in ("requests", "num_pods", "num_cold_starts", "runtimeCost_avg", "cpu_usage_avg"):
        text = (tmp_path / ROOT / "quantiles/R5" / metric / "day_01.csv").read_text()
        header, *lines = text.splitlines()
        assert len(lines) == 1440
        functions = header.split(",")[2:]
        cells = {}
        for line in lines:
            day, second, *fields = line.split(",")
            assert day == "1"
            assert len(fields) == len(functions) == REGION_TABLE["R5"].functions
            cells |= {(int(second), name): float(field) for name, field in zip(functions, fields, strict=True) if field}
        tables[metric] = cells
    assert tables["num_cold_starts"] == wanted
    requests = tables["requests"]
    assert all(requests[cell] >= count for cell, count in wanted.items())
    assert set(requests) == set(tables["runtimeCost_avg"]) == set(tables["cpu_usage_avg"])
    assert set(requests) <= set(tables["num_pods"])
    assert min(requests.values()) >= 1.0


# ---- region 2 at scale 1 against what is published ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def region2(tmp_path_factory):
    """Cold starts of region 2 at scale 1 with the runtime and trigger group of every row."""
    folder = tmp_path_factory.mktemp("region2")
    generate(folder, region="R2", tables=("cold_start", "runtime"))
    table = read(folder, "cold_start/R2/*.csv")
    c = {name: table[name].to_numpy() for name in table.column_names if name not in ("requestID", "podID")}
    c |= {"requestID": table["requestID"].combine_chunks(), "podID": table["podID"].combine_chunks()}  # 2 million str are slow
    runtime = columns(folder, "runtime_triggerType/*.csv")
    for path in folder.rglob("*.csv"):
        path.unlink()
    pool = pa.compute.utf8_slice_codeunits(c["podID"], 0, -11).dictionary_encode()
    c["pool"], pools = pool.indices.to_numpy(), pool.dictionary.to_pylist()
    index = {name: code for code, name in enumerate(pools)}
    keys, places = {}, runtime["funcID"].tolist()
    for place, name in enumerate(places):
        f, u, p = name.split("---")
        if p in index:
            keys[(int(f) * 10_000 + int(u)) * 100 + index[p]] = place
    key = (c["funcName"] * 10_000 + c["userID"]) * 100 + c["pool"]
    unique, inverse = np.unique(key, return_inverse=True)
    c["function"] = np.array([keys[k] for k in unique.tolist()])[inverse]  # a KeyError is an unmatched row
    c["pools"] = pools
    return c, runtime


def group_of(triggers):
    """The paper's seven groups."""
    words = triggers.split(" ")
    if "TIMER-A" in words:
        return "TIMER-A"
    if triggers in ("APIG-S", "OBS-A", "workflow-S"):
        return triggers
    if triggers in ("unknown", "unknown-unknown", "unknown-A unknown-S"):
        return "unknown"
    if {word.split("-")[0] for word in words} == {"APIG"}:
        return "other A"
    return "other A" if all(word.endswith("-A") for word in words) else "other S"


def test_region2_rows_identities_and_order(region2):
    c, _ = region2
    assert len(c["time"]) == 2_072_823
    assert np.abs(c["totalCost_cold_start"] - sum(c[name] for name in COSTS)).max() < 1e-9
    assert min(c[name].min() for name in COSTS) >= 0.0
    assert (np.diff(c["time"]) >= 0).all()
    assert (c["time"] // 86_400 == c["day"]).all()
    for name in ("deployCodeCost", "deployDependencyCost"):
        assert np.abs(c[name] * 1000 - np.rint(c[name] * 1000)).max() < 1e-7  # a 1 ms grid
    assert len(c["podID"].unique()) == len(c["podID"])
    repeated = len(c["time"]) - len(c["requestID"].unique())
    assert 0 < repeated < 0.05 * len(c["time"])  # one request may cause several cold starts


def test_region2_days_and_hours(region2):
    c, _ = region2
    published = np.array(REGION_TABLE["R2"].cold_starts)
    counts = np.bincount(c["day"])
    # The curve's sum is 117 above the notebook's exact total, which is kept: five rows a day at most.
    assert np.abs(counts - published).max() <= 5
    assert counts.sum() == 2_072_823
    hours = np.bincount((c["time"] % 86_400 // 3600).astype(int)) / len(c["time"]) * 24
    # An hour of 31 days holds about 86,000 rows in bursts: 3 % is three standard deviations of its count.
    assert np.abs(hours / (np.array(REGION_TABLE["R2"].hours) / np.mean(REGION_TABLE["R2"].hours)) - 1).max() < 0.03


def test_region2_runtime_table(region2):
    _, runtime = region2
    assert len(runtime["funcID"]) == len(set(runtime["funcID"])) == 2418
    parts = [name.split("---") for name in runtime["funcID"]]
    assert [len({part[i] for part in parts}) for i in range(3)] == [2148, 1144, 27]
    assert collections.Counter(runtime["runtime"]) == {
        "Python3": 1493, "Java": 450, "Node.js": 159, "Python2": 93, "http": 72, "Custom": 57, "PHP7.3": 38, "unknown": 31,
        "Go1.x": 21, "C#": 4,
    }  # fmt: skip
    assert collections.Counter(runtime["triggerType-invocationType"]) == {
        "TIMER-A": 1018, "APIG-S": 551, "APIG-S TIMER-A": 312, "unknown-S": 123, "unknown": 74, "unknown-unknown": 68,
        "unknown-A unknown-S": 60, "OBS-A": 60, "workflow-S": 54, "unknown-A": 19, "APIG-S TIMER-A workflow-S": 16, "LTS-A": 14,
        "CTS-A": 10, "APIG-A": 9, "SMN-A": 8, "KAFKA-S": 3, "DIS-A": 3, "SMN-A TIMER-A": 3, "APIG-A APIG-S": 2,
        "DIS-A OBS-A SMN-A TIMER-A": 2, "TIMER-A workflow-S": 2, "APIG-A OBS-A": 1, "APIG-S OBS-A": 1, "APIG-S workflow-S": 1,
        "DIS-A SMN-A": 1, "DIS-A SMN-A TIMER-A": 1, "DIS-A workflow-S": 1, "OBS-A TIMER-A": 1,
    }  # fmt: skip
    groups = collections.Counter(map(group_of, runtime["triggerType-invocationType"]))
    assert groups == {
        "TIMER-A": 1355, "APIG-S": 551, "unknown": 202, "other S": 129, "other A": 67, "OBS-A": 60, "workflow-S": 54,
    }  # fmt: skip
    cpu = {300: 100, 400: 125, 600: 300, 1000: 500, 1800: 1000, 3400: 2000, 6600: 4000, 25800: 12900}
    for name, request in zip(runtime["funcID"], runtime["cpu_request"], strict=True):
        assert cpu.get(int(name.split("-")[-2]), request) == request
    assert any(name.split("---")[2].startswith("custom.image.gpu-25800-32768") for name in runtime["funcID"])


def test_region2_cold_starts_by_runtime_are_exact(region2):
    c, runtime = region2
    assert collections.Counter(runtime["runtime"][c["function"]].tolist()) == {
        "Python3": 1_190_731, "Node.js": 287_253, "Custom": 186_452, "Java": 165_695, "Python2": 165_673, "Go1.x": 30_045,
        "PHP7.3": 25_591, "http": 18_167, "C#": 3_105, "unknown": 111,
    }  # fmt: skip


def test_region2_shares_of_triggers_and_sizes(region2):
    c, runtime = region2
    groups = np.array([group_of(word) for word in runtime["triggerType-invocationType"]])[c["function"]]
    # Figure 8 is read to .001; the largest functions are drawn in bursts and capped, so the fit to all margins is not exact.
    for name, share in zip(
        ("APIG-S", "OBS-A", "TIMER-A", "other A", "other S", "unknown", "workflow-S"),
        (0.089, 0.161, 0.311, 0.068, 0.035, 0.141, 0.196),
        strict=True,
    ):
        assert (groups == name).mean() == pytest.approx(share, abs=0.005), name
    size = np.array(["-".join(pool.split("-")[-2:]) for pool in c["pools"]])[c["pool"]]
    for name, share in (("300-128", 0.669), ("400-256", 0.063), ("600-512", 0.101), ("1000-1024", 0.112)):
        assert (size == name).mean() == pytest.approx(share, abs=0.005), name


# Figure 15, read from the paper's vectors: seconds at .10 .25 .50 .75 .90 (and .95 for the total, .99 for the components).
TOTAL = {
    "C#": ".573 .627 .733 .812 .867", "Custom": "10.3 10.87 10.96 11.1 14.6", "Go1.x": ".517 .576 .625 .708 .852",
    "Java": ".206 .535 .742 1.05 1.52", "Node.js": ".172 .718 1.183 1.37 1.86", "PHP7.3": ".324 .358 .388 .456 .573",
    "Python2": ".298 .399 .502 .716 .863", "Python3": ".230 .462 .704 1.54 2.18", "http": ".271 10.6 10.73 10.8 11.3",
}  # fmt: skip
CODE = {
    "Custom": ".001 .001 .002 .002 .003", "Go1.x": ".473 .519 .567 .635 .761", "Java": ".031 .050 .122 .313 .506",
    "Node.js": ".023 .044 .091 .236 .680", "PHP7.3": ".002 .031 .049 .092 .193", "Python2": ".002 .004 .032 .058 .133",
    "Python3": ".021 .033 .050 .102 .203", "C#": ".001 .001 .005 .006 .008",
}  # fmt: skip
SCHEDULING = {
    "C#": ".569 .625 .726 .804 .859", "Custom": ".142 .699 .753 .849 3.95", "Go1.x": ".026 .039 .046 .063 .096",
    "Java": ".082 .097 .135 .193 .383", "Node.js": ".089 .132 1.00 1.17 1.28", "PHP7.3": ".287 .308 .330 .360 .415",
    "Python2": ".256 .332 .454 .628 .747", "Python3": ".088 .197 .433 .731 .967", "http": ".255 .471 .533 .584 1.03",
}  # fmt: skip
DEPENDENCY = {
    "Java": ".323 .365 .437 .566 .706", "Node.js": ".039 .073 .134 .174 .207", "Python2": ".014 .016 .021 .039 .091",
    "Python3": ".120 .328 1.10 1.22 1.41", "http": ".106 .128 .164 .708 .940",
}  # fmt: skip
# Share of pods found within 1 ms, 100 ms and 5 s.
STAGES = {
    "Custom": ".007 .007 .007", "http": ".203 .206 .206", "Go1.x": "1 1 1", "PHP7.3": "1 1 1", "C#": ".969 .984 .985",
    "Node.js": ".981 .996 .998", "Python2": ".872 .983 .986", "Java": ".242 .917 .975", "Python3": ".371 .963 .990",
}  # fmt: skip
GROUP_STAGES = {
    "APIG-S": ".452 .866 .893", "OBS-A": ".146 .408 .434", "TIMER-A": ".567 .987 .997", "other A": ".786 .960 .977",
    "other S": ".646 .989 .990", "workflow-S": ".230 .961 .998",
}  # fmt: skip
AT = np.array([0.10, 0.25, 0.50, 0.75, 0.90])


def published(text):
    return np.array([float(word) for word in text.split()])


def sampling_error(values, at):
    """Three standard errors of the quantiles, relative, from the spread of the values around them."""
    n = len(values)
    reach = 3.0 * np.sqrt(at * (1 - at) / n)
    low, high = np.quantile(values, np.clip(at - reach, 0, 1)), np.quantile(values, np.clip(at + reach, 0, 1))
    middle = np.maximum(np.quantile(values, at), 1e-12)
    return np.maximum(high - middle, middle - low) / middle


@pytest.mark.parametrize(
    ("column", "table", "grid", "calibration"),
    [
        # The curves are sampled as published. What is left is the grid and, where groups of triggers differ within a runtime,
        # that their mixture is only about normal (the figures themselves are read to 1 %).
        ("deployCodeCost", CODE, 0.0005, 0.02),
        ("schedulingCost", SCHEDULING, 0.0, 0.06),
        ("deployDependencyCost", DEPENDENCY, 0.0005, 0.05),
    ],
    ids=["code", "scheduling", "dependency"],
)
def test_region2_components_by_runtime(region2, column, table, grid, calibration):
    c, runtime = region2
    kinds = runtime["runtime"][c["function"]]
    for name, text in table.items():
        values = c[column][kinds == name]
        if column == "deployDependencyCost":
            values = values[values > 0]
        wanted = published(text)
        error = np.abs(np.quantile(values, AT) / wanted - 1)
        assert (error <= calibration + grid / wanted + sampling_error(values, AT)).all(), (name, error)


# Only the components' curves are published, not how they go together: the fitted couplings leave these quantiles of the sum
# off by more than 10 %. Measured / published at seed 0.
TOTAL_OFF = {
    ("C#", 0.90): 1.14,
    ("Java", 0.10): 1.30,
    ("Java", 0.90): 1.20,
    ("Node.js", 0.10): 1.51,
    ("Node.js", 0.25): 0.72,
    ("http", 0.10): 1.63,
}


@pytest.mark.parametrize("name", TOTAL)
def test_region2_total_by_runtime(region2, name):
    c, runtime = region2
    values = c["totalCost_cold_start"][runtime["runtime"][c["function"]] == name]
    ratio = np.quantile(values, AT) / published(TOTAL[name])
    noise = sampling_error(values, AT)
    for at, have, error in zip(AT.tolist(), ratio.tolist(), noise.tolist(), strict=True):
        off = TOTAL_OFF.get((name, at), 1.0)
        assert abs(have / off - 1) <= (0.10 if off == 1.0 else 0.03) + error, (name, at, have)
        assert off == 1.0 or abs(have - 1) > 0.10, (name, at, have, "is no longer off")


def test_region2_stages_of_the_pod_search(region2):
    c, runtime = region2
    kinds = runtime["runtime"][c["function"]]
    groups = np.array([group_of(word) for word in runtime["triggerType-invocationType"]])[c["function"]]
    for label, table in ((kinds, STAGES), (groups, GROUP_STAGES)):
        for name, text in table.items():
            values = c["podAllocationCost"][label == name]
            have = [(values <= limit).mean() for limit in (1e-3, 0.1, 5.0)]
            assert np.abs(have - published(text)).max() < 0.02, (name, have)


def test_region2_gaps_between_cold_starts(region2):
    c, _ = region2
    gaps = np.diff(c["time"])
    # Below 10 ms the 1 ms stamps show; above, figure 10c within 10 %: the load of the day spreads the gaps of a fitted process.
    assert (
        np.abs(np.quantile(gaps, [0.25, 0.5, 0.75, 0.9, 0.95, 0.99]) / published(".103 .699 1.83 3.40 4.81 7.86") - 1).max()
        < 0.1
    )
    assert gaps.mean() == pytest.approx(31 * 86_400 / 2_072_823, rel=1e-3)


# Figure 17: share of pods whose useful lifetime is at most 1, 10 and 100 cold-start times.
UTILITY_RATIO = {
    "Custom": ".152 .614 .894", "Java": ".103 .717 .891", "Node.js": ".363 .852 .967", "Python2": ".137 .589 .798",
    "Python3": ".144 .558 .788",
}  # fmt: skip


def test_useful_lifetimes_of_the_pods_of_day_30():
    cold = ColdStarts("R2", 0, 1.0)
    served = Requests(cold)._pod_requests()
    pods = len(served.function)
    begin = served.time_ms - served.worker_us / 1000
    first, last = np.full(pods, np.inf), np.full(pods, -np.inf)
    np.minimum.at(first, served.pod, begin)
    np.maximum.at(last, served.pod, served.time_ms)
    total_ms = np.concatenate([block.total_us for block in cold.blocks(30)]) / 1000
    whole = np.isfinite(last) & (last < (2_678_400 - 60) * 1000)
    assert whole.mean() > 0.99
    ratio = (last - first)[whole] / total_ms[whole]
    runtime = np.array(list(RUNTIME_FUNCTIONS))[cold.functions.runtime[served.function[whole]]]
    for name, text in UTILITY_RATIO.items():
        values = ratio[runtime == name]
        error = 3 * np.sqrt(published(text) * (1 - published(text)) / len(values))
        have = np.array([(values <= limit).mean() for limit in (1, 10, 100)])
        assert (np.abs(have - published(text)) <= 0.01 + error).all(), (name, have)
    # No pod waits longer than the keep-alive, or it would be gone.
    order = np.lexsort((served.time_ms, served.pod))
    idle = begin[order][1:] - served.time_ms[order][:-1]
    assert idle[np.diff(served.pod[order]) == 0].max() < 60_000


# ---- the other regions -----------------------------------------------------------------------------------------------------

# Figures 10a and 10c: seconds at .25 .50 .75 .90.
REGION_TOTAL = {
    "R1": ".915 2.155 3.776 8.01",
    "R3": ".0268 .103 .278 .430",
    "R4": ".290 .900 1.71 2.69",
    "R5": ".218 .448 .638 1.58",
}
REGION_GAPS = {
    "R1": ".0068 .109 .487 1.06",
    "R3": "1.92 5.07 7.97 23.0",
    "R4": ".0195 .636 2.11 4.96",
    "R5": ".834 2.07 4.66 7.82",
}


@pytest.mark.parametrize("region", REGION_TOTAL)
def test_durations_and_gaps_of_the_other_regions(region):
    """Fitted within 10 %; the gaps of some days are compared at the load of the whole month."""
    cold = ColdStarts(region, 0, 1.0)
    days = range(1, 31, 7)
    blocks = [list(cold.blocks(day)) for day in days]
    total = np.concatenate([b.total_us for day in blocks for b in day]) / 1e6
    at = [0.25, 0.5, 0.75, 0.9]
    assert np.abs(np.quantile(total, at) / published(REGION_TOTAL[region]) - 1).max() < 0.10
    gaps = np.concatenate([np.diff(np.concatenate([b.time_ms for b in day])) for day in blocks]) / 1e3
    busier = len(total) / len(days) / (cold.rows / 31)
    limit = np.where(published(REGION_GAPS[region]) < 0.02, 0.2, 0.1)  # stamps of 1 ms against gaps of 7 and 20 ms
    assert (np.abs(np.quantile(gaps, at) * busier / published(REGION_GAPS[region]) - 1) < limit).all()


# ---- oddities, refusals, interruption ----------------------------------------------------------------------------------------


def oddity(tmp_path, *names, **more):
    options = {"region": "R5", "scale": 0.003, "tables": ("cold_start", "request"), **more}
    generate(tmp_path, oddities=names, **options)
    return tmp_path / ROOT


def lines(path):
    return path.read_bytes().split(b"\n")


def first_part(root):
    return next(iter(sorted(root.glob("per_request/R5/part-*"))))


ODDITY_CHECKS = {
    "exponents": lambda root: b"E-4," in (root / "cold_start/R5/day_00.csv").read_bytes(),
    "python_exponents": lambda root: re.search(rb",[1-9](\.\d+)?e-0[56],", first_part(root).read_bytes()),
    "plain_decimals": lambda root: (
        re.search(rb",0\.0000\d+,", first_part(root).read_bytes()) and not re.search(rb"\dE-", first_part(root).read_bytes())
    ),
    "int_vs_float": lambda root: (
        re.fullmatch(rb"\d+", lines(first_part(root))[1].split(b",")[-1])
        and re.fullmatch(rb"\d+\.0", lines(first_part(root))[1].split(b",")[3])
    ),
    "nan": lambda root: b",NaN,NaN,NaN,NaN," in first_part(root).read_bytes() and b",," not in first_part(root).read_bytes(),
    "quoted": lambda root: (
        lines(first_part(root))[0].startswith(b'"time_worker","') and lines(first_part(root))[1].endswith(b'"')
    ),
    "crlf": lambda root: all(line.endswith(b"\r") for line in lines(first_part(root))[:-1]),
    "bom": lambda root: first_part(root).read_bytes().startswith(b"\xef\xbb\xbftime_worker"),
    "no_final_newline": lambda root: all(not path.read_bytes().endswith(b"\n") for path in root.rglob("*.csv")),
    "index_column": lambda root: (
        lines(first_part(root))[0].startswith(b",time_worker") and lines(first_part(root))[2].startswith(b"1,")
    ),
    "column_order": lambda root: (
        lines(first_part(root))[0].startswith(b"busCost,clusterName,cpu_usage")
        and re.match(rb"[^,]*,[1-4],", lines(first_part(root))[1])
    ),
    "short_ids": lambda root: re.fullmatch(rb"[0-9a-f]{32}", lines(first_part(root))[1].split(b",")[2]),
    "unsorted": lambda root: (
        [float(line.split(b",")[1]) for line in lines(root / "cold_start/R5/day_00.csv")[1:4]]
        != sorted(float(line.split(b",")[1]) for line in lines(root / "cold_start/R5/day_00.csv")[1:4])
    ),
    "missing_days": lambda root: (
        len(list(root.glob("cold_start/R5/*"))) == 29 and not (root / "cold_start/R5/day_05.csv").exists()
    ),
    "day_hole": lambda root: {
        int(float(line.split(b",")[1]) - 172_800) // 3600 for line in lines(root / "cold_start/R5/day_02.csv")[1:-1]
    }.isdisjoint(range(3, 7)),
    "spark_success": lambda root: (root / "per_request/R5/_SUCCESS").stat().st_size == 0,
    "zip": lambda root: (
        zipfile.ZipFile(root / "cold_start/R5.zip").testzip() is None
        and zipfile.ZipFile(root / "cold_start/R5.zip").namelist() == [f"R5/day_{day:02d}.csv" for day in range(31)]
    ),
    "gzip": lambda root: gzip.decompress((root / "cold_start/R5/day_30.csv.gz").read_bytes()).startswith(b"day,time,"),
    "zstd": lambda root: first_part(root).suffix == ".zst" and first_part(root).read_bytes()[:4] == b"\x28\xb5\x2f\xfd",
}


def test_every_oddity_is_checked():
    assert set(ODDITY_CHECKS) == set(ODDITIES)


@pytest.mark.parametrize("name", ODDITIES)
def test_oddity(tmp_path, name):
    root = oddity(tmp_path, name)
    assert ODDITY_CHECKS[name](root)
    marker = json.loads((tmp_path / MARKER).read_text())
    assert marker["oddities"] == [name]
    assert all((tmp_path / file).exists() for file in marker["files"])


def test_the_plain_files_have_none_of_them(tmp_path):
    root = oddity(tmp_path)
    odd = [name for name in ODDITIES if name not in ("spark_success", "zip", "gzip") and ODDITY_CHECKS[name](root)]
    assert odd == []


def test_compressed_text_is_the_plain_text(tmp_path):
    plain = oddity(tmp_path / "plain") / "cold_start/R5/day_03.csv"
    packed = oddity(tmp_path / "gzip", "gzip") / "cold_start/R5/day_03.csv.gz"
    archive = oddity(tmp_path / "zip", "zip") / "cold_start/R5.zip"
    assert gzip.decompress(packed.read_bytes()) == plain.read_bytes()
    assert zipfile.ZipFile(archive).read("R5/day_03.csv") == plain.read_bytes()


def test_rows_sets_the_cold_starts_of_each_region(tmp_path):
    generate(tmp_path, region=("R3", "R4"), rows=10_000, days=7, tables="cold_start")
    for region in ("R3", "R4"):
        counts = [
            path.read_bytes().count(b"\n") - 1 for path in sorted((tmp_path / ROOT / "cold_start" / region).glob("*.csv"))
        ]
        assert len(counts) == 7
        assert sum(counts) == 10_000


def test_region3_has_its_hole_and_its_days(tmp_path):
    generate(tmp_path, region="R3", tables="cold_start")
    c = columns(tmp_path, "cold_start/R3/*.csv")
    assert np.bincount(c["day"]).tolist() == list(REGION_TABLE["R3"].cold_starts)
    hours = np.bincount((c["time"] // 3600).astype(int), minlength=744)
    assert hours[192:201].max() <= 10
    assert np.delete(hours, range(192, 201)).min() > 100


def test_days_of_the_other_regions_are_the_published_ones():
    for name in ("R1", "R3", "R4", "R5"):
        assert published_day_counts(name).tolist() == list(REGION_TABLE[name].cold_starts)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"region": "R6"}, "region: expected one or several of R1, R2"),
        ({"tables": ()}, "tables: expected one or several of cold_start"),
        ({"oddities": ("crlf", "typos")}, "oddities: unknown 'typos'; accepted are exponents"),
        ({"oddities": ("zip", "gzip")}, "exclude one another"),
        ({"scale": 0}, "scale: expected a number"),
        ({"rows": 0}, "rows: expected a whole number >= 1, got 0"),
        ({"days": 32}, r"days: expected a whole number in \[1, 31\], got 32"),
        ({"seed": 1.5}, "seed: expected a whole number, got 1.5"),
        ({"threads": 0}, "threads: expected a whole number >= 1, got 0"),
        ({"scale": 200.0}, "GB are needed"),
        ({"scale": 900.0}, "at most 2,000,000,000 cold starts"),
    ],
)
def test_bad_arguments_write_nothing(tmp_path, arguments, message):
    with pytest.raises(InvalidArgument, match=message):
        generate(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_overwrite_replaces_only_what_generate_wrote(tmp_path):
    out = tmp_path / "out"
    small = {"region": "R3", "scale": 0.01, "tables": "cold_start"}
    generate(out, days=3, **small)
    with pytest.raises(InvalidArgument, match="is not empty; overwrite=True"):
        generate(out, **small)
    generate(out, days=2, overwrite=True, **small)
    assert len(list(out.rglob("*.csv"))) == 2
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.csv").write_text("a\n")
    with pytest.raises(InvalidArgument, match="only replaces what it wrote itself"):
        generate(other, overwrite=True, **small)
    assert (other / "mine.csv").read_text() == "a\n"


def test_progress_reaches_the_end(tmp_path):
    seen = []
    generate(tmp_path, region="R3", scale=0.5, tables="cold_start", progress=lambda done, rows: seen.append((done, rows)))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert len({rows for _, rows in seen}) == 1
    assert seen[-1][0] == seen[-1][1] == round(0.5 * sum(REGION_TABLE["R3"].cold_starts))


def test_an_error_in_a_worker_leaves_no_half_written_file(tmp_path, monkeypatch):
    from rewarm.trace import synthetic_cold_start

    made = itertools.count()
    whole = synthetic_cold_start.ColdStarts._block

    def failing(self, day, *arguments):
        if next(made) == 5:
            raise OSError("no space left")
        return whole(self, day, *arguments)

    monkeypatch.setattr(synthetic_cold_start.ColdStarts, "_block", failing)
    with pytest.raises(OSError, match="no space left"):
        generate(tmp_path, region="R3", tables="cold_start", threads=2)
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != MARKER]
    assert len(files) <= 7
    assert not [path for path in files if path.name.startswith(".")]
    assert json.loads((tmp_path / MARKER).read_text())["complete"] is False
    for path in files:
        day = int(path.stem[-2:])
        assert path.read_bytes().count(b"\n") - 1 == REGION_TABLE["R3"].cold_starts[day]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_leaves_whole_files_only(tmp_path, how):
    code = f"from rewarm.trace.synthetic import generate; generate({str(tmp_path / 'out')!r}, region='R1', tables='cold_start')"
    process = subprocess.Popen([sys.executable, "-c", code], env=os.environ, stderr=subprocess.PIPE)
    try:
        end = time.monotonic() + 60
        while not list(tmp_path.rglob("day_*.csv")) and time.monotonic() < end:
            time.sleep(0.01)
        process.send_signal(how)
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode != 0
    whole = sorted(tmp_path.rglob("day_*.csv"))
    assert whole
    for path in whole:
        assert path.read_bytes().count(b"\n") - 1 == REGION_TABLE["R1"].cold_starts[int(path.stem[-2:])]
    if how == signal.SIGINT:
        assert not list(tmp_path.rglob(".*.part"))
