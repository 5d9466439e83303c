"""Requests of day 30: those that the day's cold-started pods serve, linked by requestID, among those of pods that were running.

A request's time_worker is its completion; worker = worker + runtime cost; the frontend's total is all of these, its own three
costs, and a hop of about 0.3 ms that no column shows.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewarm.trace.synthetic_cold_start import BLOCK_ROWS, EARLIER_PODS, ColdStarts
from rewarm.trace.synthetic_files import Style, TextColumn
from rewarm.trace.synthetic_functions import Functions
from rewarm.trace.synthetic_loads import POOLS, RUNTIMES, Floats, Ints, score, stream
from rewarm.trace.synthetic_regions import BUSY_REQUESTS, CLUSTER_SHARES, DAY_SECONDS, REGION_TABLE, UTILITY

REQUEST_DAY = 30
_BEGIN_MS = REQUEST_DAY * DAY_SECONDS * 1000
_DAY_MS = DAY_SECONDS * 1000

#: Pods of one function in the files at most; the release keeps the 100 busiest of a function in region 1.
_TOP_PODS = 100
#: Seconds between the requests of a pod, log-normal around this, below the keep-alive [I].
_GAP_SECONDS, _GAP_LONGEST = 8.0, 45.0
#: A useful lifetime beyond this many cold-start times is not told apart from a longer one [D: the axis of figure 17].
_LONGEST_RATIO = 1e4
#: The frontend log has no match for this share of requests, in runs of about 20 [I].
_UNMATCHED, _UNMATCHED_RUN = 0.04, 20


@dataclass(frozen=True)
class _PodRequests:
    """Requests of the day's cold-started pods, sorted by completion; arrays [requests], or [pods] where it says so."""

    time_ms: Ints
    worker_us: Ints
    pod: Ints
    first: NDArray[np.bool_]
    function: Ints  # [pods]
    cluster: Ints  # [pods]
    serial: Ints  # [pods]
    requestID: NDArray[np.uint8]  # [pods, 32]


@dataclass(frozen=True)
class FunctionCosts:
    """Typical costs of a function's requests, arrays [functions]: seconds, cores, MB."""

    execution: Floats
    cpu: Floats
    memory: Floats


def function_costs(region: str, functions: Functions, seed: int) -> FunctionCosts:
    """Execution time and cores by the region's quantiles; busy functions tend to be short."""
    table = REGION_TABLE[region]
    rng = stream(seed, region, "costs")
    n = len(functions)
    rank = np.empty(n, np.int64)
    rank[np.argsort(functions.requests, kind="stable")] = np.arange(n)
    busy = np.array([score((i + 0.5) / n) for i in range(n)])[rank]
    z = -0.4 * busy + 0.9165 * rng.standard_normal(n)
    at = [score(p) for p in (0.01, 0.10, 0.25, 0.50, 0.75, 0.90, 0.99)]
    cpu_at = [score(p) for p in (0.10, 0.50, 0.90, 0.99)]
    limit = np.array([float(name.split("-")[-1]) for name in POOLS])[functions.pool]
    return FunctionCosts(
        execution=np.exp(np.interp(z, at, np.log(table.execution))),
        cpu=np.exp(np.interp(rng.standard_normal(n), cpu_at, np.log(table.cpu))),
        memory=24.0 + 0.05 * limit * rng.random(n),
    )


class Requests:
    """The request table of one region; rows in order of completion, parts are ranges of time."""

    def __init__(self, cold: ColdStarts) -> None:
        self._cold = cold
        self._functions = cold.functions
        self._table = cold.table
        self.rows = max(1, round(cold.table.request_rows * cold.scale))
        self._lock = threading.Lock()
        self._made: _PodRequests | None = None
        self._costs = function_costs(cold.region, cold.functions, cold.seed)
        hours = np.array(self._table.hours)
        self._passed = np.concatenate([[0.0], np.cumsum(hours / hours.sum())])
        a_second = self._functions.requests / (31 * DAY_SECONDS) * cold.scale
        # Only busy functions always have a pod; the requests of the others are those of the pods that start on the day.
        self._running = np.where(self._functions.requests >= BUSY_REQUESTS, a_second, 0.0)
        if not self._running.any():
            self._running = a_second
        pods = np.ceil(2.0 * a_second * self._costs.execution) + 1
        # A pod with less than a request in a quarter of a minute would soon be let go.
        self._pods = np.clip(np.minimum(pods, 15.0 * a_second), 1, _TOP_PODS).astype(np.int64)
        self._first_pod = np.cumsum(self._pods) - self._pods

    def _pod_requests(self) -> _PodRequests:
        with self._lock:
            if self._made is None:
                self._made = self._make_pod_requests()
            return self._made

    def _make_pod_requests(self) -> _PodRequests:
        rng = stream(self._cold.seed, self._cold.region, "request", "pods")
        blocks = list(self._cold.blocks(REQUEST_DAY))
        function = np.concatenate([b.function for b in blocks])
        total_us = np.concatenate([b.total_us for b in blocks])
        arrival_ms = np.concatenate([b.time_ms for b in blocks])
        pods = len(function)
        seconds = self._lifetimes(function, total_us, rng)
        gap = np.clip(np.exp(np.log(_GAP_SECONDS) + rng.standard_normal(pods)), 0.5, _GAP_LONGEST)
        gap = np.maximum(gap, seconds / 5_000)
        several = seconds > 4.0 * self._costs.execution[function]
        count = np.where(several, 2 + (seconds / gap).astype(np.int64), 1)
        pod = np.repeat(np.arange(pods), count)
        nth = np.arange(len(pod)) - np.repeat(np.cumsum(count) - count, count)
        # The first request starts the lifetime and the last completion ends it; the others stand evenly between, shaken.
        part = seconds / np.maximum(count - 1, 1)
        execution = self._costs.execution[function[pod]] * np.exp(0.5 * rng.standard_normal(len(pod)))
        execution = np.where(several[pod], np.minimum(execution, 0.8 * part[pod]), seconds[pod])
        execution = np.maximum(execution, 300e-6)
        slot = nth + np.where(nth == 0, 0.0, 0.15 * rng.random(len(pod)))
        begin = slot * part[pod]
        last = several[pod] & (nth == count[pod] - 1)
        begin = np.where(last, seconds[pod] - execution, begin)
        worker_us = np.rint(execution * 1e6).astype(np.int64)
        time_us = arrival_ms[pod] * 1000 + total_us[pod] + np.rint(begin * 1e6).astype(np.int64) + worker_us
        time_ms = time_us // 1000
        inside = np.flatnonzero(time_ms < _BEGIN_MS + _DAY_MS)
        order = inside[np.argsort(time_ms[inside], kind="stable")]
        return _PodRequests(
            time_ms=time_ms[order],
            worker_us=worker_us[order],
            pod=pod[order],
            first=nth[order] == 0,
            function=function,
            cluster=np.concatenate([b.cluster for b in blocks]),
            serial=np.concatenate([b.serial for b in blocks]),
            requestID=np.concatenate([b.requestID for b in blocks]),
        )

    def _lifetimes(self, function: Ints, total_us: Ints, rng: np.random.Generator) -> Floats:
        """Useful lifetimes in seconds: the runtime's utility ratio times the cold start."""
        ratio = np.empty(len(function))
        z = rng.standard_normal(len(function))
        runtime = self._functions.runtime[function]
        for r, name in enumerate(RUNTIMES):
            below1, below10, below100, median = UTILITY[name]
            knots = sorted({(below1, 1.0), (0.5, median), (below10, 10.0), (below100, 100.0)})
            at, logs = [score(p) for p, _ in knots], [float(np.log(v)) for _, v in knots]
            slope = (logs[-1] - logs[0]) / (at[-1] - at[0])
            at, logs = [-4.0, *at, 4.0], [logs[0] - slope * (at[0] + 4.0), *logs, logs[-1] + slope * (4.0 - at[-1])]
            mine = runtime == r
            ratio[mine] = np.exp(np.interp(z[mine], at, logs))
        return np.asarray(np.minimum(np.minimum(ratio, _LONGEST_RATIO) * total_us * 1e-6, DAY_SECONDS))

    def _others(self, when: float) -> int:
        """Requests of running pods up to a fraction of the day."""
        rest = max(0, self.rows - len(self._pod_requests().time_ms))
        return round(rest * float(np.interp(when * 24.0, np.arange(25.0), self._passed)))

    def blocks(self, part: int, parts: int, style: Style) -> Iterator[tuple[list[TextColumn], int]]:
        """Columns of one part's rows, piece by piece, with the number of rows of each."""
        linked = self._pod_requests()
        expected = self._others((part + 1) / parts) - self._others(part / parts)
        expected += int(np.diff(np.searchsorted(linked.time_ms, self._edges(part / parts, (part + 1) / parts)))[0])
        pieces = max(1, -(-expected // BLOCK_ROWS))
        for piece in range(pieces):
            begin, end = (part + piece / pieces) / parts, (part + (piece + 1) / pieces) / parts
            yield self._block(begin, end, stream(self._cold.seed, self._cold.region, "request", part, piece), style)

    @staticmethod
    def _edges(begin: float, end: float) -> list[int]:
        return [_BEGIN_MS + round(begin * _DAY_MS), _BEGIN_MS + round(end * _DAY_MS)]

    def _block(self, begin: float, end: float, rng: np.random.Generator, style: Style) -> tuple[list[TextColumn], int]:
        linked = self._pod_requests()
        edges = self._edges(begin, end)
        some = slice(*np.searchsorted(linked.time_ms, edges).tolist())
        own = linked.pod[some]
        others = self._others(end) - self._others(begin)
        weights = np.cumsum(self._running)
        function = np.searchsorted(weights, rng.random(others) * weights[-1], side="right")
        function = np.minimum(function, len(weights) - 1)
        passed = np.interp(np.array([begin, end]) * 24.0, np.arange(25.0), self._passed)
        hour = np.interp(rng.uniform(passed[0], passed[1], others), self._passed, np.arange(25.0))
        time_ms = np.clip(_BEGIN_MS + (hour * 3_600_000.0).astype(np.int64), edges[0], edges[1] - 1)
        nth = self._first_pod[function] + (rng.random(others) * self._pods[function]).astype(np.int64)
        serial = self._cold.serial(self._cold.rows + nth % EARLIER_PODS)
        cluster = 1 + np.searchsorted(np.cumsum(CLUSTER_SHARES)[:-1], (nth * 0.6180339887) % 1.0, side="right")
        worker = self._costs.execution[function] * np.exp(0.5 * rng.standard_normal(others))
        worker_us = np.maximum(np.rint(worker * 1e6), 316).astype(np.int64)

        time_ms = np.concatenate([time_ms, linked.time_ms[some]])
        order = np.argsort(time_ms, kind="stable")
        n = len(order)
        requestID = rng.integers(0, 256, (n, 32), np.uint8)
        firsts = others + np.flatnonzero(linked.first[some])
        requestID[firsts] = linked.requestID[own[firsts - others]]
        function = np.concatenate([function, linked.function[own]])[order]
        return (
            self._columns(
                time_ms[order],
                requestID[order],
                np.concatenate([cluster, linked.cluster[own]])[order],
                function,
                np.concatenate([serial, linked.serial[own]])[order],
                np.concatenate([worker_us, linked.worker_us[some]])[order],
                rng,
                style,
            ),
            n,
        )

    def _columns(
        self,
        time_ms: Ints,
        requestID: NDArray[np.uint8],
        cluster: Ints,
        function: Ints,
        serial: Ints,
        worker_us: Ints,
        rng: np.random.Generator,
        style: Style,
    ) -> list[TextColumn]:
        n = len(time_ms)

        def drawn(low: float, high: float) -> Ints:
            """Log-uniform whole microseconds."""
            return np.asarray(np.exp(rng.uniform(np.log(low), np.log(high), n)).astype(np.int64))

        overhead_us = np.minimum(drawn(80, 650), worker_us // 2)
        frontend_us, bus_us = drawn(350, 2_200), drawn(500, 10_000)
        read_us, write_us, hop_us = drawn(16, 34), drawn(6, 14), rng.integers(270, 321, n)
        total_us = worker_us + frontend_us + bus_us + read_us + write_us + hop_us
        seen_ms = time_ms + (bus_us * rng.random(n)).astype(np.int64) // 1000
        run = np.cumsum(rng.random(n) < 1.0 / _UNMATCHED_RUN)
        missing = (rng.random(int(run[-1]) + 1 if n else 0) < _UNMATCHED)[run]
        limit = np.array([float(name.split("-")[-2]) for name in POOLS])[self._functions.pool] / 1000.0
        cpu = np.minimum(self._costs.cpu[function] * np.exp(0.4 * rng.standard_normal(n)), limit[function])
        cpu_micro = np.where(rng.random(n) < 0.03, 0, np.rint(cpu * 1e6)).astype(np.int64)
        pages = (self._costs.memory[function] * np.exp(0.05 * rng.standard_normal(n)) * 256).astype(np.int64)
        size = np.where(rng.random(n) < 0.4, 2, drawn(20, 20_000))
        functions = self._functions
        return [
            ("time_worker", ("decimal", None, time_ms, 3, 1)),
            ("time_frontend", ("decimal", missing, seen_ms, 3, 1)),
            style.ids("requestID", requestID),
            style.integer("clusterName", cluster),
            style.integer("funcName", functions.funcName[function]),
            ("podID", ("pod", None, functions.pool[function], list(POOLS), serial)),
            style.integer("userID", functions.userID[function]),
            style.number("totalCost_worker", worker_us, 6),
            style.number("workerCost", overhead_us, 6),
            style.number("runtimeCost", worker_us - overhead_us, 6),
            style.number("totalCost_frontend", total_us, 6, missing),
            style.number("frontendCost", frontend_us, 6, missing),
            style.number("busCost", bus_us, 6, missing),
            style.number("readBodyCost", read_us, 6, missing),
            style.number("writeRspCost", write_us, 6, missing),
            style.number("cpu_usage", cpu_micro, 6),
            style.number("memory_usage", pages * 390_625, 8),  # a page of 4 KiB is 1/256 MB
            style.size("requestBodySize", size, missing),
        ]
