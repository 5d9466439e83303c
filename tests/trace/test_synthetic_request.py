"""Requests of the stand-in: identities on every row, their link to the day's cold starts, and how long pods stay useful."""

import collections

import numpy as np
import pytest
from synthetic_made import columns, published

from rewarm.trace.synthetic import generate
from rewarm.trace.synthetic_cold_start import ColdStarts
from rewarm.trace.synthetic_regions import REGION_TABLE, RUNTIME_FUNCTIONS
from rewarm.trace.synthetic_request import Requests


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
    started_by = collections.Counter(cold["requestID"].tolist())
    for request in served:
        i = place[request]
        assert wanted[request] == (c["podID"][i], c["clusterName"][i]) or started_by[request] > 1
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
