"""The per-function minute series: requests, pods, cold starts, mean execution time and cores; empty where nothing happened.

num_cold_starts counts the very rows of the cold-start table. Requests are drawn at the same rates as the request table's but
independently of its rows.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from rewarm._native import core
from rewarm.trace.synthetic_cold_start import ColdStarts
from rewarm.trace.synthetic_files import Style
from rewarm.trace.synthetic_loads import Floats, Ints, stream
from rewarm.trace.synthetic_regions import (
    BUSY_REQUESTS,
    DAY_SECONDS,
    DAYS,
    FREE_DAYS,
    GIANT_REQUESTS,
    GIANTS,
    GROUP_PODS,
    GROUP_SWING,
    HOLE_DAY,
    HOLE_HOURS,
    HOLE_REGION,
    PODS_BY_HOUR,
    RUNNING_PODS,
    TRIGGER_GROUPS,
)
from rewarm.trace.synthetic_request import function_costs

_MINUTES = 1440
#: Functions rarer than this many requests a minute are drawn by their total, not minute by minute.
_DENSE_RATE = 0.05
#: Minutes between a request and the next one that the same pod serves, below the keep-alive of one [I].
_FOLLOWS_AFTER = 0.5
#: How far the load of the largest functions swings around its mean [I].
_LARGEST_SWING = 0.5
#: Load of a free day [D: region 2, figure 8].
_FREE_DAY_LOAD = 0.75
#: Region 2's largest function makes 133 million requests in the first three days and 30 times that rate later [N].
_RAMP_DAYS, _RAMP_REQUESTS = 3, 133_472_184


class MinuteTables:
    """The minute series of one region. A day is drawn once for all its metrics."""

    metrics = ("requests", "num_pods", "num_cold_starts", "runtimeCost_avg", "cpu_usage_avg")

    def __init__(self, cold: ColdStarts) -> None:
        self._cold = cold
        self._costs = function_costs(cold.region, cold.functions, cold.seed)
        self._lock = threading.Lock()
        self._days: dict[int, dict[str, tuple[Ints, Floats]]] = {}

    def chunks(self, metric: str, day: int, style: Style) -> Iterator[tuple[bytes, int]]:
        """One file's bytes."""
        yield style.header(["day", "time", *self._cold.functions.ids]), 0
        cells, values = self._day(day)[metric]
        functions = len(self._cold.functions)
        yield (
            core.format_minutes(
                day,
                day * DAY_SECONDS,
                functions,
                np.searchsorted(cells, np.arange(_MINUTES + 1) * functions),
                (cells % functions).astype(np.int32),
                values,
                crlf="crlf" in style.oddities,
            ),
            _MINUTES,
        )

    def _day(self, day: int) -> dict[str, tuple[Ints, Floats]]:
        """Cells (minute * functions + function, ascending) and values of each metric."""
        with self._lock:
            if day not in self._days:
                while len(self._days) >= 2:
                    self._days.pop(next(iter(self._days)))
                self._days[day] = self._make_day(day)
            return self._days[day]

    def _make_day(self, day: int) -> dict[str, tuple[Ints, Floats]]:
        functions = len(self._cold.functions)
        rng = stream(self._cold.seed, self._cold.region, "minute", day)
        time_ms, function, _ = self._cold.events(day)
        cold_cells, cold = np.unique((time_ms // 60_000 - day * _MINUTES) * functions + function, return_counts=True)
        cells, requests = self._requests(day, cold_cells, cold, rng)
        execution = self._costs.execution[cells % functions]
        mean = np.exp(0.5 * rng.standard_normal(len(cells)) / np.sqrt(requests))
        cpu = self._costs.cpu[cells % functions] * np.exp(0.4 * rng.standard_normal(len(cells)) / np.sqrt(requests))
        started = np.zeros(len(cells), np.int64)
        started[np.searchsorted(cells, cold_cells)] = cold
        pods = np.maximum(np.ceil(requests / 60.0 * execution), np.maximum(started, 1))
        pods = pods + self._standing_pods(cells)
        # A pod is kept for a minute after its last request, so the minute behind one still has a pod.
        after = cells + functions
        after = after[(after < _MINUTES * functions) & ~np.isin(after, cells, assume_unique=True)]
        pod_cells = np.concatenate([cells, after])
        order = np.argsort(pod_cells, kind="stable")
        return {
            "requests": (cells, requests.astype(float)),
            "num_pods": (pod_cells[order], np.concatenate([pods, np.ones(len(after))])[order]),
            "num_cold_starts": (cold_cells, cold.astype(float)),
            "runtimeCost_avg": (cells, execution * mean),
            "cpu_usage_avg": (cells, cpu),
        }

    def _requests(self, day: int, cold_cells: Ints, cold: Ints, rng: np.random.Generator) -> tuple[Ints, Ints]:
        functions = self._cold.functions
        n = len(functions)
        rate = np.where(functions.period > 0, 0.0, functions.requests / (DAYS * _MINUTES)) * self._cold.scale
        if self._cold.region == "R2":
            giant = int(np.argmax(functions.requests))
            early = _RAMP_REQUESTS / (_RAMP_DAYS * _MINUTES)
            late = (GIANTS[0][3] - _RAMP_REQUESTS) / ((DAYS - _RAMP_DAYS) * _MINUTES)
            rate[giant] = (early if day < _RAMP_DAYS else late) * self._cold.scale
        if day in FREE_DAYS:
            rate = rate * _FREE_DAY_LOAD
        served = functions.requests < BUSY_REQUESTS
        rate[served] = 0.0
        groups = [self._shape(name, day) for name in TRIGGER_GROUPS]
        shapes = np.stack(groups)  # [groups, minutes], mean 1
        dense = np.flatnonzero(rate >= _DENSE_RATE)
        weights = shapes[functions.group[dense]]
        weights[functions.requests[dense] >= GIANT_REQUESTS] = self._largest_shape(day)
        drawn = rng.poisson(rate[dense] * weights.T)
        # The minute timers run every minute: no chance in them.
        steady = np.isin(functions.requests[dense], (44_640.0, 267_840.0)) & (self._cold.scale == 1.0)
        drawn[:, steady] = np.rint(functions.requests[dense][steady] / (DAYS * _MINUTES)).astype(np.int64)
        at = np.flatnonzero(drawn)
        minute, nth = np.divmod(at, max(len(dense), 1))
        cells, counts = minute * n + dense[nth] if len(dense) else at, drawn.ravel()[at]
        rare = np.where(rate < _DENSE_RATE, rate, 0.0)
        totals = rng.poisson(rare * _MINUTES)
        function = np.repeat(np.arange(n), totals)
        hour = np.empty(len(function), np.int64)
        for g, shape in enumerate(shapes):
            mine = functions.group[function] == g
            passed = np.cumsum(shape)
            hour[mine] = np.searchsorted(passed, rng.random(int(mine.sum())) * passed[-1], side="right")
        rare_cells, rare_counts = np.unique(np.minimum(hour, _MINUTES - 1) * n + function, return_counts=True)
        follow_cells, follow_counts = self._followers(cold_cells, cold, served, rng)
        every = np.unique(np.concatenate([cells, rare_cells, cold_cells, follow_cells]))
        total = np.zeros(len(every), np.int64)
        total[np.searchsorted(every, cells)] += counts
        total[np.searchsorted(every, follow_cells)] += follow_counts
        total[np.searchsorted(every, rare_cells)] += rare_counts
        started = np.searchsorted(every, cold_cells)
        total[started] = np.maximum(total[started], cold)  # every cold start has its request
        return every, total

    def _followers(
        self, cold_cells: Ints, cold: Ints, served: NDArray[np.bool_], rng: np.random.Generator
    ) -> tuple[Ints, Ints]:
        """Requests of the functions that are not busy: each cold start and those that its pod serves before it is let go.

        They follow one another within the keep-alive of a minute, so that no other request starts cold.
        """
        functions = self._cold.functions
        n = len(functions)
        minute, function = np.divmod(cold_cells, n)
        started = np.maximum(functions.cold_starts + functions.timer_runs, 1e-9)
        more = np.where(served, np.maximum(functions.requests / started - 1.0, 0.0), 0.0)
        count = rng.poisson(cold * more[function])
        nth = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        at = np.repeat(minute, count) + ((nth + 1) * _FOLLOWS_AFTER).astype(np.int64)
        cells = np.concatenate([cold_cells, (at * n + np.repeat(function, count))[at < _MINUTES]])
        counts = np.concatenate([np.where(served[function], cold, 0), np.ones(int((at < _MINUTES).sum()), np.int64)])
        found, index = np.unique(cells, return_inverse=True)
        return found, np.bincount(index, counts, len(found)).astype(np.int64)

    def _shape(self, group: str, day: int) -> Floats:
        """Load of a group by minute, mean 1."""
        hours = np.array(self._cold.table.hours) * np.array(PODS_BY_HOUR) ** GROUP_SWING.get(group, 0.3)
        if group == "TIMER-A":
            hours = np.ones(24)
        if self._cold.region == HOLE_REGION and day == HOLE_DAY:
            hours[: len(HOLE_HOURS)] = 0.0
        minutes = np.interp(np.arange(_MINUTES) / 60.0, np.arange(25.0), np.concatenate([hours, hours[:1]]))
        if self._cold.region == HOLE_REGION and day == HOLE_DAY:
            minutes[: 60 * len(HOLE_HOURS)] = 0.0
        return np.asarray(minutes / minutes.mean())

    def _largest_shape(self, day: int) -> Floats:
        """Load of the largest functions by minute, mean 1: they make the daily peak of the region (figure 5)."""
        hours = np.arange(_MINUTES) / 60.0
        minutes = 1.0 + _LARGEST_SWING * np.cos((hours - self._cold.table.request_peak) * (2.0 * np.pi / 24.0))
        if self._cold.region == HOLE_REGION and day == HOLE_DAY:
            minutes[: 60 * len(HOLE_HOURS)] = 0.0
        return np.asarray(minutes / minutes.mean())

    def _standing_pods(self, cells: Ints) -> Floats:
        """Pods beyond what the load needs: only region 2 publishes how many run, by trigger (figure 8)."""
        n = len(self._cold.functions)
        if self._cold.region != "R2":
            return np.zeros(len(cells))
        functions = self._cold.functions
        busy = (functions.period == 0) & (functions.requests >= 44_640)
        standing = np.zeros((len(TRIGGER_GROUPS), n))
        for g, share in enumerate(GROUP_PODS):
            weight = np.where(busy & (functions.group == g), np.sqrt(functions.requests), 0.0)
            standing[g] = share * RUNNING_PODS * self._cold.scale * weight / max(weight.sum(), 1e-300)
        a_function = standing.sum(axis=0)
        shapes = np.stack([self._shape(name, 0) for name in TRIGGER_GROUPS])
        minute, function = np.divmod(cells, n)
        return np.asarray(np.rint(a_function[function] * shapes[functions.group[function], minute]))
