"""Cold starts day by day: who starts when, and how long it takes. Every block of rows has a random stream of its own."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewarm.trace.synthetic_classes import model_of
from rewarm.trace.synthetic_functions import functions_of
from rewarm.trace.synthetic_loads import RUNTIMES, Floats, Ints, score, stream
from rewarm.trace.synthetic_regions import (
    BUSY_REQUESTS,
    CLUSTER_SHARES,
    DAY_SECONDS,
    GROUP_SWING,
    HOLE_DAY,
    HOLE_HOURS,
    HOLE_REGION,
    PODS_BY_HOUR,
    REGION_TABLE,
    RUNTIME_COLD_STARTS,
    TOTAL_AT,
    TRIGGER_GROUPS,
)

#: Rows made and formatted at a time: bounds the memory of a worker, whatever the scale.
BLOCK_ROWS = 1 << 17
#: Serial numbers kept for pods that started before the trace.
EARLIER_PODS = 200_000
#: A burst of one function starts about this many pods.
_BURST = 4
#: How far the cold starts of a function that is not busy move from even spacing, as a part of it [I].
_SHAKEN = 0.5
#: Share of cold starts that belong to the request of the one before, among neighbours of one function [I].
_REPEATED = 0.02
#: Spread and memory of the load's logarithm from minute to minute [I].
_LOAD_SIGMA, _LOAD_MEMORY = 0.20, 0.9


@dataclass(frozen=True)
class ColdStartBlock:
    """Consecutive rows of one day; times in whole milliseconds, costs in whole ns, us or ms as the name says; arrays [rows]."""

    day: int
    function: Ints
    time_ms: Ints
    cluster: Ints
    requestID: NDArray[np.uint8]
    total_us: Ints
    alloc_ns: Ints
    code_ms: Ints
    dependency_ms: Ints
    scheduling_ns: Ints
    serial: Ints


class ColdStarts:
    """The cold starts of one region at one scale.

    Args:
        region: "R1" to "R5".
        seed: The stand-in's seed.
        scale: Multiplies the published number of cold starts of every day.
    """

    def __init__(self, region: str, seed: int, scale: float) -> None:
        self.region, self.seed, self.scale = region, seed, scale
        self.table = REGION_TABLE[region]
        self.functions = functions_of(region, seed)
        base = np.concatenate([[0], np.cumsum(published_day_counts(region))])
        self._first = np.rint(base * scale).astype(np.int64)
        self._model = model_of(region, seed)
        self._calm, self._swing = _usual_pressure(self.table.cold_starts, self.table.hours)
        pods = int(self._first[-1]) + EARLIER_PODS
        self._pods = pods
        step = int(pods * 0.6180339887) | 1
        while math.gcd(step, pods) != 1:
            step += 2
        self._step = step
        self._offset = int(stream(seed, region, "serials").integers(pods))

    @property
    def rows(self) -> int:
        """Of all 31 days."""
        return int(self._first[-1])

    def day_rows(self, day: int) -> int:
        """Rows of one day."""
        return int(self._first[day + 1] - self._first[day])

    def serial(self, nth: Ints) -> Ints:
        """The pod serial of the nth cold start of the 31 days, or of an earlier pod from `rows` on: a permutation."""
        # The product stays below 2^63 up to 3e9 pods.
        return (nth % self._pods * self._step + self._offset) % self._pods

    def events(self, day: int) -> tuple[Ints, Ints, Floats]:
        """Times in ms since the start (sorted) and functions of one day's rows, and the load's latent of each minute."""
        rng = stream(self.seed, self.region, "cold_start", day)
        n = self.day_rows(day)
        load = _minute_load(rng)
        timed_function, timed_ms = self._timer_events(day, n, rng)
        rest = n - len(timed_function)
        minutes = self._intensity(day, n, timed_ms, load)
        rest_ms = self._other_times(rest, minutes, rng)
        rest_function = self._other_functions(day, rest, np.bincount(timed_function, minlength=len(self.functions)), rng)
        function = np.concatenate([timed_function, rest_function])
        time_ms = np.concatenate([timed_ms, rest_ms])
        order = np.argsort(time_ms, kind="stable")
        return time_ms[order] + day * DAY_SECONDS * 1000, function[order], load

    def _timer_events(self, day: int, n: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """Every run of a timer finds its pod gone; the pod's start is logged some ms after the round second."""
        function, second = self.functions.runs(day)
        copies = np.full(len(function), int(self.scale)) + (rng.random(len(function)) < self.scale - int(self.scale))
        function, second = np.repeat(function, copies), np.repeat(second, copies)
        delay = np.minimum(np.exp(np.log(500.0) + 1.5 * rng.standard_normal(len(function))), 20_000.0)
        time_ms = np.minimum(second * 1000 + delay.astype(np.int64), DAY_SECONDS * 1000 - 1)
        if self._has_hole(day):
            keep = time_ms // 3_600_000 >= len(HOLE_HOURS)
            function, time_ms = function[keep], time_ms[keep]
        if len(function) > n:  # a day of very few rows
            keep = np.sort(rng.permutation(len(function))[:n])
            function, time_ms = function[keep], time_ms[keep]
        return function, time_ms

    def _has_hole(self, day: int) -> bool:
        return self.region == HOLE_REGION and day == HOLE_DAY

    def _intensity(self, day: int, n: int, timed_ms: Ints, load: Floats) -> Floats:
        """Weights of the minutes for all but the timers, so that both together follow the hours of the region."""
        hours = np.array(self.table.hours)
        if self._has_hole(day):
            hours[: len(HOLE_HOURS)] = 0.0
        wanted = hours / hours.sum() * n - np.bincount(timed_ms // 3_600_000, minlength=24)
        wanted = np.maximum(wanted, 0.02 * n / 24)
        if self._has_hole(day):
            wanted[: len(HOLE_HOURS)] = self.scale
        minutes = np.exp(_LOAD_SIGMA * load).reshape(24, 60)
        return np.asarray((minutes / minutes.sum(axis=1, keepdims=True) * wanted[:, None]).ravel())

    def _other_times(self, n: int, minutes: Floats, rng: np.random.Generator) -> Ints:
        """A renewal process with the region's gaps, in the time that the day's load defines."""
        gaps = np.exp(np.interp(rng.standard_normal(n + 1), _gap_scores(), np.log(self.table.other_gaps)))
        clock = np.cumsum(gaps)
        passed = np.concatenate([[0.0], np.cumsum(minutes)])
        at = np.interp(clock[:-1] / clock[-1] * passed[-1], passed, np.arange(len(passed)))
        return np.asarray(np.minimum((at * 60_000.0).astype(np.int64), DAY_SECONDS * 1000 - 1))

    def _other_functions(self, day: int, n: int, timed: Ints, rng: np.random.Generator) -> Ints:
        """Functions of the rows that are no timer's, in the order of their times: bursts of one function stand together."""
        if n == 0:
            return np.zeros(0, np.int64)
        weights = self.functions.cold_starts
        counts = np.zeros(len(weights), np.int64)
        if self.table.classes is None:
            for r, rows in enumerate(self._runtime_rows(day, n, timed).tolist()):
                members = np.flatnonzero((self.functions.runtime == r) & (weights > 0))
                counts[members] = rng.multinomial(rows, weights[members] / weights[members].sum())
        else:
            counts = rng.multinomial(n, weights / weights.sum())
        function = np.repeat(np.arange(len(counts)), counts)
        # A day quantile for each burst, through the hours that its group of triggers prefers. Busy functions start several
        # pods at once; the others one at a time and well apart, because the last pod would serve a request within a minute.
        size = np.where(self.functions.requests >= BUSY_REQUESTS, _BURST, 1)
        bursts = -(-counts // size)
        first_burst = np.cumsum(bursts) - bursts
        nth = np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts)
        burst = first_burst[function] + nth // size[function]
        quantile = rng.random(int(bursts.sum()))
        apart = np.repeat(size == 1, bursts)
        turn = np.arange(len(quantile)) - np.repeat(first_burst, bursts)
        phase = np.repeat(rng.random(len(counts)), bursts)
        even = (turn + phase + _SHAKEN * (quantile - 0.5)) / np.repeat(np.maximum(bursts, 1), bursts)
        quantile = np.where(apart, even % 1.0, quantile)
        owner = np.repeat(self.functions.group, bursts)
        when = np.empty_like(quantile)
        for g, name in enumerate(TRIGGER_GROUPS):
            mine = owner == g
            hours = np.array(self.table.hours) * np.array(PODS_BY_HOUR) ** GROUP_SWING.get(name, 0.3)
            passed = np.concatenate([[0.0], np.cumsum(hours / hours.sum())])
            when[mine] = np.interp(quantile[mine], passed, np.arange(25.0))
        return np.asarray(function[np.argsort(when[burst], kind="stable")])

    def _runtime_rows(self, day: int, n: int, timed: Ints) -> Ints:
        """Rows of each runtime beyond its timers': the published totals come out exactly over 31 days."""
        totals = np.array(list(RUNTIME_COLD_STARTS.values()), float)
        wanted = _shared_out(totals, int(self._first[day + 1])) - _shared_out(totals, int(self._first[day]))
        rows = np.maximum(wanted - np.bincount(self.functions.runtime, timed, len(RUNTIMES)).astype(np.int64), 0)
        for i in np.argsort(-rows, kind="stable"):  # at small scales a timer may exceed its runtime's share
            rows[i] -= min(rows[i], max(0, rows.sum() - n))
        rows[np.argmax(totals)] += n - rows.sum()
        return np.asarray(rows)

    def blocks(self, day: int) -> Iterator[ColdStartBlock]:
        """The rows of one day in order, at most `BLOCK_ROWS` at a time."""
        time_ms, function, load = self.events(day)
        pressure = _pressure(self.table.cold_starts[day], self.table.hours, load)
        latent = (pressure - self._calm) / self._swing
        for nth, begin in enumerate(range(0, max(len(function), 1), BLOCK_ROWS)):
            rows = slice(begin, begin + BLOCK_ROWS)
            rng = stream(self.seed, self.region, "cold_start", day, nth)
            yield self._block(day, begin, time_ms[rows], function[rows], latent, rng)

    def _block(
        self, day: int, begin: int, time_ms: Ints, function: Ints, latent: Floats, rng: np.random.Generator
    ) -> ColdStartBlock:
        n = len(function)
        alloc_ns, code_ms, dependency_ms = np.empty(n, np.int64), np.empty(n, np.int64), np.zeros(n, np.int64)
        scheduling_ns = np.empty(n, np.int64)
        minute = time_ms // 60_000 - day * 1440
        scores = self._model.scores(function, rng)
        for k, weight in enumerate(self.table.congestion):
            if weight:
                scores[k] = math.sqrt(1.0 - weight * weight) * scores[k] + weight * latent[minute]
        curve = self._model.curve[self._model.cell[function]]
        order = np.argsort(curve, kind="stable")
        edges = np.searchsorted(curve[order], np.arange(len(self._model.curves) + 1))
        for c in np.flatnonzero(np.diff(edges)).tolist():
            rows = order[edges[c] : edges[c + 1]]
            alloc, code, dependency, scheduling = self._model.curves[c].seconds(scores[:, rows])
            alloc_ns[rows] = np.rint(alloc * 1e9)
            code_ms[rows] = np.rint(code * 1e3)
            scheduling_ns[rows] = np.rint(np.maximum(scheduling, 0.02) * 1e9)
            layered = self.functions.layer[function[rows]]
            dependency_ms[rows[layered]] = np.maximum(np.rint(dependency[layered] * 1e3), 1)
        # The total is a whole number of us; scheduling is what is left of it.
        whole_us = (code_ms + dependency_ms) * 1000
        total_us = (alloc_ns + scheduling_ns + 999) // 1000 + whole_us
        scheduling_ns = (total_us - whole_us) * 1000 - alloc_ns
        requestID = rng.integers(0, 256, (n, 32), np.uint8)
        repeats = np.zeros(n, bool)
        repeats[1:] = (function[1:] == function[:-1]) & (np.diff(time_ms) < 5_000) & (rng.random(max(n - 1, 0)) < _REPEATED)
        requestID = requestID[np.maximum.accumulate(np.where(repeats, 0, np.arange(n)))] if n else requestID
        return ColdStartBlock(
            day=day,
            function=function,
            time_ms=time_ms,
            cluster=1 + np.searchsorted(np.cumsum(CLUSTER_SHARES)[:-1], rng.random(n), side="right"),
            requestID=requestID,
            total_us=total_us,
            alloc_ns=alloc_ns,
            code_ms=code_ms,
            dependency_ms=dependency_ms,
            scheduling_ns=scheduling_ns,
            serial=self.serial(self._first[day] + begin + np.arange(n)),
        )


def published_day_counts(region: str) -> Ints:
    """Cold starts of each day; region 2's sum is set to the notebook's exact total, which moves no day by more than five."""
    counts = np.array(REGION_TABLE[region].cold_starts, np.int64)
    if REGION_TABLE[region].classes is None:
        passed = np.cumsum(counts)
        total = sum(RUNTIME_COLD_STARTS.values())
        counts = np.diff(np.concatenate([[0], np.rint(passed * (total / passed[-1])).astype(np.int64)]))
    return counts


def _minute_load(rng: np.random.Generator) -> Floats:
    """A standard normal AR(1) over the day's minutes, shared by the number of cold starts and how long they take."""
    noise = rng.standard_normal(1440)
    load = np.empty(1440)
    load[0] = noise[0]
    fresh = math.sqrt(1.0 - _LOAD_MEMORY * _LOAD_MEMORY)
    for minute in range(1, 1440):
        load[minute] = _LOAD_MEMORY * load[minute - 1] + fresh * noise[minute]
    return load


def _pressure(day_count: float, hours: tuple[float, ...], load: Floats) -> Floats:
    """Logarithm of the load of each minute of a day: of the day, the hour and the minute."""
    return np.asarray(math.log(day_count) + np.repeat(np.log(hours), 60) + _LOAD_SIGMA * load)


def _usual_pressure(day_counts: tuple[int, ...], hours: tuple[float, ...]) -> tuple[float, float]:
    """Mean and spread of the pressure over the cold starts of 31 days."""
    mean, variance = _LOAD_SIGMA**2, _LOAD_SIGMA**2  # a log-normal load counts its crowded minutes more
    for parts in (day_counts, hours):
        logs = np.log(np.array(parts, float))
        middle = float(np.average(logs, weights=parts))
        mean += middle
        variance += float(np.average((logs - middle) ** 2, weights=parts))
    return mean, math.sqrt(variance)


@functools.cache
def _gap_scores() -> list[float]:
    return [-4.5, *(score(p) for p in TOTAL_AT), 4.5]


def _shared_out(weights: Floats, total: int) -> Ints:
    """Whole numbers in proportion to the weights, with an exact sum."""
    exact = weights * (total / weights.sum())
    whole = np.floor(exact + 1e-9).astype(np.int64)
    rest = total - int(whole.sum())
    whole[np.argsort(whole - exact, kind="stable")[:rest]] += 1
    return np.asarray(whole)
