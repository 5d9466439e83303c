"""How many requests and cold starts each function of a region causes, and when its timer runs: before anything has a name."""

from __future__ import annotations

import hashlib
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from rewarm.trace.synthetic_regions import (
    CUSTOM_OTHER_POOLS,
    CUSTOM_POOLS,
    DAY_SECONDS,
    DAYS,
    FAST_TIMER_COLD_STARTS,
    FREE_DAYS,
    GIANTS,
    GROUP_LOADS,
    GROUP_SHARES,
    OTHER_POOLS,
    REQUEST_BANDS,
    RUNTIME_COLD_STARTS,
    RUNTIME_FUNCTIONS,
    SIZE_COLD_STARTS,
    SIZE_POOLS,
    TIMER_RUNS,
    TRIGGER_GROUPS,
    Region,
)

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

RUNTIMES = tuple(RUNTIME_FUNCTIONS)
POOLS = tuple(name for names in SIZE_POOLS for name in names) + OTHER_POOLS + CUSTOM_POOLS + CUSTOM_OTHER_POOLS
#: Region 2: cold starts of the largest function (9.4 %), of the next ones and of the least [figure 14: top 1, 10, 50, and
#: nearly all functions have some].
_LARGEST_COLD_STARTS, _MOST_COLD_STARTS, _FEWEST_COLD_STARTS = 195_000.0, 48_000.0, 2.5

#: Band of `REQUEST_BANDS` below which, and in which, every request starts cold.
_ALL_COLD = 2


def stream(seed: int, *place: object) -> np.random.Generator:
    """The random numbers of one place, (region, table, day ...): they depend on nothing but the seed and the place."""
    text = "/".join(str(part) for part in (seed, *place))
    key = np.frombuffer(hashlib.blake2b(text.encode(), digest_size=16).digest(), dtype="<u8")
    return np.random.Generator(np.random.Philox(key=key))


def score(probability: float) -> float:
    """The standard normal quantile. Tables are interpolated on log-x over it: log-normal between and beyond their knots."""
    return NormalDist().inv_cdf(probability)


class Timers:
    """Timers while they are planned."""

    def __init__(self, functions: int) -> None:
        self.period = np.zeros(functions, np.int64)
        self.phase = np.zeros(functions, np.int64)
        self.first_day = np.zeros(functions, np.int64)
        self.last_day = np.full(functions, DAYS, np.int64)
        self.workdays = np.zeros(functions, bool)
        self.fast = np.zeros(functions, bool)  # outpaces the keep-alive, so its cold starts are like anybody's

    def set_phases(self, region: Region, rng: np.random.Generator) -> None:
        """Most run at the full minute or hour, as cron expressions do: the bursts at :00 come from them."""
        n = len(self.period)
        hours = np.array(region.hours) / sum(region.hours)
        second = rng.integers(0, DAY_SECONDS, n)
        hour = rng.choice(24, n, p=hours)
        minute = np.where(rng.random(n) < 0.5, 0, rng.choice([5, 10, 15, 20, 30, 40, 45, 50], n))
        round_time = np.where(self.period >= 3600, hour * 3600 + minute * 60, 0)
        phase = np.where(rng.random(n) < 0.6, round_time, second)
        self.phase = np.where(self.period > 0, phase % np.maximum(self.period, 1), 0)

    def runs(self) -> Floats:
        """Runs in 31 days, the working-day ones included."""
        days = self.last_day - self.first_day
        days = np.where(self.workdays, days - len(FREE_DAYS), days)
        return np.where(self.period > 0, DAY_SECONDS / np.maximum(self.period, 1) * days, 0.0)


def region2_timers(runtime: Ints, group: Ints, rng: np.random.Generator) -> Timers:
    """The timers of figure 14: exact counts for the common periods, the scattered rest within its quantiles."""
    plan = Timers(len(group))
    members = rng.permutation(np.flatnonzero(group == TRIGGER_GROUPS.index("TIMER-A")))
    # Frequent timers go to Python3, which has four of five timers and most cold starts.
    members = members[np.argsort(runtime[members] != RUNTIMES.index("Python3"), kind="stable")]
    at = 0

    def take(count: int) -> Ints:
        nonlocal at
        at += count
        return members[at - count : at]

    for runs, count in sorted(TIMER_RUNS, reverse=True):
        if runs < 744:
            continue
        chosen = take(count)
        plan.period[chosen] = DAYS * DAY_SECONDS // runs
        plan.fast[chosen] = DAYS * DAY_SECONDS // runs <= 60
    plan.period[plan.fast] = 0
    take(31)  # mixed triggers above 4,662 runs: they load like any other function
    members = np.concatenate([members[:at], rng.permutation(members[at:])])
    for runs, count in TIMER_RUNS:
        if runs >= 744:
            continue
        chosen = take(count)
        plan.workdays[chosen] = runs == 22
        plan.period[chosen] = DAY_SECONDS if runs == 22 else DAYS * DAY_SECONDS // runs
    for count, period, days in ((317, 86_400, (1, 31)), (30, 43_200, (16, 31)), (111, 14_400, (11, 31)), (28, 3_600, (8, 31))):
        chosen = take(count)
        plan.period[chosen] = period
        length = rng.integers(days[0], days[1], count)
        plan.first_day[chosen] = rng.integers(0, DAYS - length + 1)
        plan.last_day[chosen] = plan.first_day[chosen] + length
    if at != len(members):
        raise AssertionError(f"planned {at} timers of {len(members)}")
    return plan


def region2_loads(
    runtime: Ints,
    group: Ints,
    size: Ints,
    pool: NDArray[np.int32],
    triggers: list[str],
    plan: Timers,
    rng: np.random.Generator,
) -> tuple[Floats, Floats]:
    """Requests and cold starts by function: log-normal within a group (figure 14), fitted to the shares of figure 8."""
    n = len(group)
    total = float(sum(RUNTIME_COLD_STARTS.values()))
    runs = plan.runs()
    cold = np.zeros(n)
    requests = runs.copy()
    bare = np.array([word == "unknown" for word in triggers])
    timer, obs, workflow = (TRIGGER_GROUPS.index(name) for name in ("TIMER-A", "OBS-A", "workflow-S"))
    custom = RUNTIMES.index("Custom")
    most = np.full(n, _MOST_COLD_STARTS)
    giants = _giants(group, bare, runtime)
    for i, (_, _, name, _, _) in zip(giants, GIANTS, strict=True):  # their pools, by exchange with who has them
        j = next(int(j) for j in np.flatnonzero(pool == POOLS.index(name)) if int(j) == i or int(j) not in giants)
        pool[i], pool[j] = pool[j], pool[i]
        size[i], size[j] = size[j], size[i]
    for g, (median_cold, median_requests, sum_requests) in enumerate(GROUP_LOADS):
        members = np.flatnonzero((group == g) & (plan.period == 0) & ~plan.fast & ~bare)
        members = rng.permutation(members)
        if g == timer:
            cold[members] = np.geomspace(3_000, 16_000, len(members))
            requests[members] = cold[members] * 1.5
            continue
        if g == obs:  # the ten-second median of OBS-A is that of Custom: its four functions are the largest
            members = members[np.argsort(runtime[members] == custom, kind="stable")]
        heavy = sum(requests for _, _, _, requests, name in GIANTS if name == TRIGGER_GROUPS[g])
        top = _LARGEST_COLD_STARTS if g == workflow else 0.0  # the largest function of all stands in workflow-S
        cold[members] = _log_normal_ranks(len(members), median_cold, GROUP_SHARES[g] * total - top, _MOST_COLD_STARTS)
        if top:
            cold[members[-1]] = most[members[-1]] = top
        requests[members] = _log_normal_ranks(len(members), median_requests, sum_requests - heavy, 3e8)
    cold[(runtime == custom) & (group != obs)] *= 0.003  # all but the stages of OBS-A leave no room for them
    cold[plan.fast] = FAST_TIMER_COLD_STARTS
    requests[plan.fast] = np.where(np.arange(np.count_nonzero(plan.fast)) == 0, 267_840.0, 44_640.0)
    wanted = (
        (runtime, np.array(list(RUNTIME_COLD_STARTS.values()), float)),
        (group, np.array(GROUP_SHARES) / sum(GROUP_SHARES) * total),
        (size, np.array(SIZE_COLD_STARTS) / sum(SIZE_COLD_STARTS) * total),
    )
    free = ~plan.fast
    for _ in range(200):
        for label, margin in reversed(wanted):
            have = np.bincount(label, runs + cold * ~free, len(margin))
            factor = np.maximum(margin - have, 0.0) / np.maximum(np.bincount(label, cold * free, len(margin)), 1e-300)
            fitted = np.clip(cold * factor[label], _FEWEST_COLD_STARTS, most)
            cold = np.where(free & (cold > 0), fitted, cold)
    for i, (_, _, _, count, _) in zip(giants, GIANTS, strict=True):
        requests[i] = count
    fixed = (plan.period > 0) | plan.fast
    fixed[giants] = True
    requests = _requests_by_band(requests, runs + cold, fixed, rng)
    return requests, cold


def _requests_by_band(requests: Floats, cold: Floats, fixed: NDArray[np.bool_], rng: np.random.Generator) -> Floats:
    """Requests for functions of given cold starts, so that each band of requests has its cold starts (figure 14).

    Small functions start cold at every request. The others go, the largest first, to the band that misses most cold starts
    for each function that it misses. Places that are left in the upper bands go to those that had most requests.
    """
    made = np.where(fixed, requests, np.maximum(np.rint(cold), 1.0))
    bands = [(low, high, count, share * cold.sum()) for low, high, count, share in REQUEST_BANDS]
    missing = np.array([[count, rows] for _, _, count, rows in bands], float)
    for b, (low, high, _, _) in enumerate(bands):
        inside = fixed & (requests > low) & (requests <= high) & (cold > 0)
        missing[b] -= np.count_nonzero(inside), cold[inside].sum()

    def place(i: int, b: int) -> None:
        missing[b] -= 1, cold[i]
        low, high = bands[b][:2]
        if b == _ALL_COLD:
            made[i] = max(low + 1, cold[i])
        elif b == _ALL_COLD + 1:  # every second request, as its median
            made[i] = min(max(2.0 * cold[i], low * 1.5), high)
        else:
            made[i] = low * (min(high, 50.0 * low) / low) ** rng.uniform(0.55, 0.95)

    large = ~fixed & (cold > bands[_ALL_COLD][0] / 2)
    for i in np.flatnonzero(large)[np.argsort(-cold[large])].tolist():
        open_to = [b for b in range(_ALL_COLD, len(bands)) if missing[b].min() > 0 and cold[i] <= bands[b][1]]
        if open_to:
            place(i, max(open_to, key=lambda b: missing[b, 1] / missing[b, 0]))
    small = ~fixed & ~large & (cold > 0)
    rest = [b for b in range(len(bands) - 1, _ALL_COLD + 1, -1) for _ in range(max(0, int(missing[b, 0])))]
    for i, b in zip(np.flatnonzero(small)[np.argsort(-requests[small])].tolist(), rest, strict=False):
        place(i, b)
    return np.maximum(made, cold)


def _giants(group: Ints, bare: NDArray[np.bool_], runtime: Ints) -> list[int]:
    """Which functions play the five largest: the first of their group outside the pools without reserve."""
    plain = ~np.isin(runtime, [RUNTIMES.index("Custom"), RUNTIMES.index("http"), RUNTIMES.index("unknown")]) & ~bare
    chosen: list[int] = []
    for *_, name in GIANTS:
        candidates = np.flatnonzero(plain & (group == TRIGGER_GROUPS.index(name)))
        chosen.append(next(int(i) for i in candidates if int(i) not in chosen))
    return chosen


def loads(region: Region, size: Ints, plan: Timers, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Requests by the region's quantiles, cold starts by how often a function of that load finds a pod (figure 14)."""
    n = region.functions
    at = [score(p) for p in (0.01, 0.25, 0.50, 0.75, 0.90, 0.95, 0.99)]
    q = region.requests_per_day
    low = max(q[0] / 4.0, 0.5)
    a_day = np.exp(np.interp([score((i + 0.5) / n) for i in range(n)], at, np.log([1 / 31, low, *q])))
    requests = a_day[rng.permutation(n)] * DAYS
    # The load above the last known quantile is that of few giants.
    top = np.argsort(requests)[-max(1, n // 100) :]
    weights = 1.0 / np.arange(1, len(top) + 1)[::-1]
    requests[top] += max(region.requests - requests.sum(), 0.0) * weights / weights.sum()
    total = float(sum(region.cold_starts))
    ratio = np.exp(
        np.interp(np.log(requests), np.log([4464, 1e4, 3.1e4, 1.5e5, 1e6, 1e8]), np.log([1, 0.5, 0.03, 0.005, 8e-4, 1e-4]))
    )
    cold = requests * ratio * np.exp(0.3 * rng.standard_normal(n))
    # Timers: functions of a round number of runs a day, until they make their share of the cold starts.
    share = 0.0
    atoms = np.array([1, 2, 3, 4, 24, 48, 96, 144, 288, 480])
    for i in rng.permutation(n).tolist():
        if requests[i] > 500 * DAYS:
            continue
        daily = int(atoms[np.argmin(np.abs(np.log(atoms * DAYS / requests[i])))])
        if share + daily * DAYS > region.timers * total:
            continue
        plan.period[i] = DAY_SECONDS // daily
        requests[i] = daily * DAYS
        cold[i] = 0.0
        share += daily * DAYS
    large = (size > 1).astype(np.int64)
    runs = plan.runs()
    for s, part in enumerate((1 - region.large, region.large)):
        mine = large == s
        cold[mine] *= max(part * total - runs[mine].sum(), 0.0) / max(cold[mine].sum(), 1e-300)
    return np.maximum(requests, cold + runs), cold


def _log_normal_ranks(n: int, median: float, total: float, most: float) -> Floats:
    """N log-normal quantiles of the given median, cut at `most`, as spread as gives the total."""
    z = np.array([score((i + 0.5) / n) for i in range(n)])
    sigma, low, high = 0.0, 0.0, 12.0
    for _ in range(60):
        sigma = (low + high) / 2
        if np.minimum(median * np.exp(sigma * z), most).sum() < total:
            low = sigma
        else:
            high = sigma
    return np.asarray(np.minimum(median * np.exp(sigma * z), most))
