"""The functions of a region: names, owners, pools, triggers, timers, and how many requests and cold starts each one causes."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
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
    REGION_TABLE,
    RUNTIME_COLD_STARTS,
    RUNTIME_FUNCTIONS,
    SIZE_COLD_STARTS,
    SIZE_FUNCTIONS,
    SIZE_POOLS,
    TIMER_RUNS,
    TRIGGER_GROUPS,
    TRIGGER_STRINGS,
    Region,
)

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

RUNTIMES = tuple(RUNTIME_FUNCTIONS)
POOLS = tuple(name for names in SIZE_POOLS for name in names) + OTHER_POOLS + CUSTOM_POOLS + CUSTOM_OTHER_POOLS
#: Distinct funcNames per function: 2,148 of region 2's 2,418 [N]; the others reuse a name under another user or pool.
_NAMES_PER_FUNCTION = 2148 / 2418
_OTHER = len(SIZE_FUNCTIONS) - 1
#: Region 2: cold starts of the largest function (9.4 %), of the next ones and of the least [figure 14: top 1, 10, 50, and
#: nearly all functions have some].
_LARGEST_COLD_STARTS, _MOST_COLD_STARTS, _FEWEST_COLD_STARTS = 195_000.0, 48_000.0, 2.5


def stream(seed: int, *place: object) -> np.random.Generator:
    """The random numbers of one place, (region, table, day ...): they depend on nothing but the seed and the place."""
    text = "/".join(str(part) for part in (seed, *place))
    key = np.frombuffer(hashlib.blake2b(text.encode(), digest_size=16).digest(), dtype="<u8")
    return np.random.Generator(np.random.Philox(key=key))


def score(probability: float) -> float:
    """The standard normal quantile. Tables are interpolated on log-x over it: log-normal between and beyond their knots."""
    return NormalDist().inv_cdf(probability)


@dataclass(frozen=True)
class Functions:
    """One region's functions; every array is [functions].

    Attributes:
        funcName, userID: As in the tables; not unique alone.
        pool: Code into `POOLS`.
        size: Class 300-128, 400-256, 600-512, 1000-1024, other.
        runtime: Code into `RUNTIMES`; for regions other than R2 it only steers the model.
        group: Code into `TRIGGER_GROUPS`.
        triggers: The string of the runtime table.
        requests: Expected in 31 days.
        cold_starts: Expected in 31 days, beyond those of the timers below.
        layer: Deploys dependencies.
        period: Seconds between two runs of a timer that always finds its pods gone; 0 for every other function.
        phase: Of its first run of a day, seconds.
        first_day, last_day: When it runs, half open.
        workdays: Runs on working days only.
    """

    funcName: Ints
    userID: Ints
    pool: NDArray[np.int32]
    size: Ints
    runtime: Ints
    group: Ints
    triggers: list[str]
    requests: Floats
    cold_starts: Floats
    layer: NDArray[np.bool_]
    period: Ints
    phase: Ints
    first_day: Ints
    last_day: Ints
    workdays: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.funcName)

    @functools.cached_property
    def ids(self) -> list[str]:
        """The composed funcID of each."""
        return [
            f"{name}---{user}---{POOLS[pool]}"
            for name, user, pool in zip(self.funcName.tolist(), self.userID.tolist(), self.pool.tolist(), strict=True)
        ]

    @functools.cached_property
    def timers(self) -> Ints:
        """Indices of the timers."""
        return np.flatnonzero(self.period)

    def runs(self, day: int) -> tuple[Ints, Ints]:
        """The timers' runs of one day: function and second of the day, by function."""
        live = self.timers[(self.first_day[self.timers] <= day) & (day < self.last_day[self.timers])]
        if day in FREE_DAYS:
            live = live[~self.workdays[live]]
        counts = -((self.phase[live] - DAY_SECONDS) // self.period[live])
        function = np.repeat(live, counts)
        nth = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return function, self.phase[function] + nth * self.period[function]

    @functools.cached_property
    def timer_runs(self) -> Ints:
        """Runs of each function's timer in 31 days."""
        total = np.zeros(len(self), np.int64)
        for day in range(DAYS):
            total += np.bincount(self.runs(day)[0], minlength=len(self))
        return total


@functools.lru_cache(maxsize=8)
def functions_of(region: str, seed: int) -> Functions:
    """The functions of a region; the same for every scale."""
    table = REGION_TABLE[region]
    rng = stream(seed, region, "functions")
    runtime, group, triggers = _kinds(table, rng)
    size, pool = _pools(table, runtime, group, rng)
    plan = _region2_timers(runtime, group, rng) if region == "R2" else _Timers(table.functions)
    if region == "R2":
        requests, cold_starts = _region2_loads(runtime, group, size, pool, triggers, plan, rng)
    else:
        requests, cold_starts = _loads(table, size, plan, rng)
    plan.set_phases(table, rng)
    funcName, userID = _names(table, pool, rng)
    if region == "R2":
        _place_giants(funcName, userID, requests)
    made = Functions(
        funcName=funcName,
        userID=userID,
        pool=pool,
        size=size,
        runtime=runtime,
        group=group,
        triggers=triggers,
        requests=requests,
        cold_starts=cold_starts,
        layer=np.zeros(table.functions, bool),
        period=plan.period,
        phase=plan.phase,
        first_day=plan.first_day,
        last_day=plan.last_day,
        workdays=plan.workdays,
    )
    _choose_layers(table, made, rng)
    return made


class _Timers:
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


def _kinds(region: Region, rng: np.random.Generator) -> tuple[Ints, Ints, list[str]]:
    """Runtime, group and trigger string: region 2 exactly as counted, the others drawn from region 2."""
    runtime, group = [], []
    for r, counts in enumerate(RUNTIME_FUNCTIONS.values()):
        for g, count in enumerate(counts):
            runtime += [r] * count
            group += [g] * count
    both = np.array([runtime, group])
    words: dict[int, list[str]] = {
        g: [word for word, count in TRIGGER_STRINGS[name] for _ in range(count)] for g, name in enumerate(TRIGGER_GROUPS)
    }
    if region.name == "R2":
        both = both[:, rng.permutation(both.shape[1])]
        for each in words.values():
            rng.shuffle(each)
        taken = dict.fromkeys(words, 0)
        # The 31 functions of unknown runtime do have cold starts; those of the bare "unknown" trigger have none (figure 14).
        unknown = TRIGGER_GROUPS.index("unknown")
        words[unknown].sort(key=lambda word: word == "unknown")
        order = np.argsort(both[0] != RUNTIMES.index("unknown"), kind="stable")
        triggers = [""] * both.shape[1]
        for i in order.tolist():
            g = int(both[1, i])
            triggers[i] = words[g][taken[g]]
            taken[g] += 1
        return both[0], both[1], triggers
    both = both[:, rng.integers(0, both.shape[1], region.functions)]
    triggers = [words[g][int(rng.integers(len(words[g])))] for g in both[1].tolist()]
    return both[0], both[1], triggers


def _pools(region: Region, runtime: Ints, group: Ints, rng: np.random.Generator) -> tuple[Ints, NDArray[np.int32]]:
    """Size classes in exact shares of the functions, and the pool of each."""
    n = region.functions
    counts = _apportion(np.array(SIZE_FUNCTIONS), n)
    size = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    custom = np.isin(runtime, [RUNTIMES.index("Custom"), RUNTIMES.index("http")])
    # A quarter of the large pools' cold starts take ten seconds (figure 13): the busy Custom functions live there.
    busy = np.flatnonzero((runtime == RUNTIMES.index("Custom")) & (group == TRIGGER_GROUPS.index("OBS-A")))
    places = np.flatnonzero((size == _OTHER - 1) & ~np.isin(np.arange(n), busy))[: len(busy)]
    size[places], size[busy[: len(places)]] = size[busy[: len(places)]], _OTHER - 1
    names = []
    turn = {False: 0, True: 0}  # every pool of the class "other" is used before one comes twice
    for s, c in zip(size.tolist(), custom.tolist(), strict=True):
        if s == _OTHER:
            others = CUSTOM_OTHER_POOLS if c else OTHER_POOLS
            names.append(others[turn[c] % len(others)])
            turn[c] += 1
        else:
            names.append(CUSTOM_POOLS[s] if c else SIZE_POOLS[s][0])
    index = {name: code for code, name in enumerate(POOLS)}
    return size, np.array([index[name] for name in names], np.int32)


def _region2_timers(runtime: Ints, group: Ints, rng: np.random.Generator) -> _Timers:
    """The timers of figure 14: exact counts for the common periods, the scattered rest within its quantiles."""
    plan = _Timers(len(group))
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


def _region2_loads(
    runtime: Ints,
    group: Ints,
    size: Ints,
    pool: NDArray[np.int32],
    triggers: list[str],
    plan: _Timers,
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
    requests = np.maximum(requests, runs + cold)
    for i, (_, _, name, count, _) in zip(giants, GIANTS, strict=True):
        requests[i] = count
        pool[i] = POOLS.index(name)
    return requests, cold


def _giants(group: Ints, bare: NDArray[np.bool_], runtime: Ints) -> list[int]:
    """Which functions play the five largest: the first of their group outside the pools without reserve."""
    plain = ~np.isin(runtime, [RUNTIMES.index("Custom"), RUNTIMES.index("http"), RUNTIMES.index("unknown")]) & ~bare
    chosen: list[int] = []
    for *_, name in GIANTS:
        candidates = np.flatnonzero(plain & (group == TRIGGER_GROUPS.index(name)))
        chosen.append(next(int(i) for i in candidates if int(i) not in chosen))
    return chosen


def _loads(region: Region, size: Ints, plan: _Timers, rng: np.random.Generator) -> tuple[Floats, Floats]:
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


def _names(region: Region, pool: NDArray[np.int32], rng: np.random.Generator) -> tuple[Ints, Ints]:
    """FuncName and userID: few users own many functions, and some names come again under another user or pool."""
    n = region.functions
    single, p95, p99 = region.users_single
    at = [score(p) for p in (single, 0.95, 0.99)] + [5.0]

    def sizes(users: int, largest: float) -> Ints:
        z = np.array([score((i + 0.5) / users) for i in range(users)])
        known = np.exp(np.interp(z, at, np.log([1.4, p95, p99, largest])))
        return np.where(z <= at[0], 1, np.maximum(np.rint(known), 2)).astype(np.int64)

    users = region.users
    if users is None:
        mean = float(sizes(1000, 2.0 * p99).mean())
        users = max(2, min(n, round(n / mean)))
    owned = sizes(users, 2.0 * p99)
    owned[-1] = max(1, owned[-1] + n - owned.sum())
    k = users - 2
    while owned.sum() > n:  # the largest owner alone cannot pay for the rounding
        if owned[k] > 2:
            owned[k] -= 1
        k = k - 1 if k > 0 else users - 1
    userID = rng.permutation(np.repeat(rng.permutation(users), owned))
    names = n if n < 10 else round(n * _NAMES_PER_FUNCTION)
    funcName = rng.permutation(names)
    popular = np.minimum(rng.geometric(0.02, n - names) - 1, names - 1)
    funcName = np.concatenate([funcName, funcName[popular]]).astype(np.int64)
    # A funcID is a name, a user and a pool: a repeated name moves on until its triple is new.
    seen = set(zip(funcName[:names].tolist(), userID[:names].tolist(), pool[:names].tolist(), strict=True))
    for i in range(names, n):
        while (key := (int(funcName[i]), int(userID[i]), int(pool[i]))) in seen:
            funcName[i] = (funcName[i] + 1) % names
        seen.add(key)
    return funcName, userID.astype(np.int64)


def _place_giants(funcName: Ints, userID: Ints, requests: Floats) -> None:
    """Gives the five largest functions their published names and users, by exchange with whoever has them."""
    largest = np.argsort(-requests)[: len(GIANTS)]
    for i, (name, user, *_) in zip(largest.tolist(), GIANTS, strict=True):
        for array, value in ((funcName, name), (userID, user)):
            others = [j for j in np.flatnonzero(array == value).tolist() if j not in largest] or [i]
            j = i if array[i] == value else others[0]
            array[i], array[j] = array[j], array[i]


def _choose_layers(region: Region, made: Functions, rng: np.random.Generator) -> None:
    """Marks functions with a layer, in random order, so that they make the class's share of the cold starts."""
    cold = made.cold_starts + made.timer_runs
    from rewarm.trace.synthetic_classes import classes_of  # stands on this file

    label, components = classes_of(region.name, made)
    # What a class of few large functions misses, the next one of its runtime makes up.
    carried = dict.fromkeys(range(len(RUNTIMES)), 0.0)
    for c, part in enumerate(components):
        members = rng.permutation(np.flatnonzero((label == c) & (cold > 0)))
        runtime = int(made.runtime[members[0]]) if region.classes is None and len(members) else 0
        missing = part.layers * cold[members].sum() + carried[runtime]
        if part.layers > 0.0:
            for i in members.tolist():
                if abs(missing - cold[i]) < abs(missing):
                    made.layer[i] = True
                    missing -= cold[i]
        carried[runtime] = missing if region.classes is None else 0.0


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


def _apportion(weights: Floats, total: int) -> Ints:
    """Whole numbers in proportion to the weights with an exact sum (largest remainders)."""
    exact = weights / weights.sum() * total
    whole = np.floor(exact).astype(np.int64)
    rest = int(total - whole.sum())
    whole[np.argsort(whole - exact, kind="stable")[:rest]] += 1
    return np.asarray(whole)
