"""The functions of a region: names, owners, pools, triggers, timers, and how many requests and cold starts each one causes."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewarm.trace.synthetic_loads import (
    POOLS,
    RUNTIMES,
    Floats,
    Ints,
    Timers,
    loads,
    region2_loads,
    region2_timers,
    score,
    stream,
)
from rewarm.trace.synthetic_regions import (
    CUSTOM_OTHER_POOLS,
    CUSTOM_POOLS,
    DAY_SECONDS,
    DAYS,
    FREE_DAYS,
    GIANTS,
    GROUP_LAYERS,
    OTHER_POOLS,
    REGION_TABLE,
    RUNTIME_COMPONENTS,
    RUNTIME_FUNCTIONS,
    SIZE_FUNCTIONS,
    SIZE_POOLS,
    TRIGGER_GROUPS,
    TRIGGER_STRINGS,
    Region,
)

#: Distinct funcNames per function: 2,148 of region 2's 2,418 [N]; the others reuse a name under another user or pool.
_NAMES_PER_FUNCTION = 2148 / 2418
_OTHER = len(SIZE_FUNCTIONS) - 1


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
    plan = region2_timers(runtime, group, rng) if region == "R2" else Timers(table.functions)
    if region == "R2":
        requests, cold_starts = region2_loads(runtime, group, size, pool, triggers, plan, rng)
    else:
        requests, cold_starts = loads(table, size, plan, rng)
    plan.set_phases(table, rng)
    funcName, userID = _names(table, pool, rng)
    if region == "R2":
        _place_giants(funcName, userID, pool, requests)
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


def _place_giants(funcName: Ints, userID: Ints, pool: NDArray[np.int32], requests: Floats) -> None:
    """Gives the five largest functions their published names and users; no name and no user is lost for it."""
    largest = np.argsort(-requests)[: len(GIANTS)].tolist()
    for nth, (i, (name, user, *_)) in enumerate(zip(largest, GIANTS, strict=True)):
        for array, value in ((funcName, name), (userID, user)):
            if array[i] == value:
                continue
            holders = [j for j in np.flatnonzero(array == value).tolist() if j not in largest[:nth]]
            # By exchange with a holder; through a third function where that makes a funcID (name, user, pool) twice. Where
            # only a larger one holds it, from whoever has one that is not the last.
            places = [(holders[0], holders[0])] if holders else []
            rest = [k for k in range(len(array)) if k not in (*largest, *holders[:1])]
            places += [(holders[0] if holders else k, k) for k in rest if holders or np.count_nonzero(array == array[k]) > 1]
            for j, k in places:
                before = array[[i, j, k]]
                array[j], array[k], array[i] = before[2], before[0], value
                if all(
                    np.count_nonzero((funcName == funcName[m]) & (userID == userID[m]) & (pool == pool[m])) == 1
                    for m in (i, j, k)
                ):
                    break
                array[[i, j, k]] = before


def _choose_layers(region: Region, made: Functions, rng: np.random.Generator) -> None:
    """Marks functions with a layer, in random order, so that they make the class's share of the cold starts."""
    cold = made.cold_starts + made.timer_runs
    if region.classes is None:
        label = made.runtime * len(TRIGGER_GROUPS) + made.group
        shape = len(RUNTIMES), len(TRIGGER_GROUPS)
        of_class = np.bincount(label, cold, shape[0] * shape[1]).reshape(shape)
        shares = [
            share
            for name, weights in zip(RUNTIMES, of_class, strict=True)
            for share in _layer_shares(RUNTIME_COMPONENTS[name].layers, weights).tolist()
        ]
    else:
        label, shares = (made.size > 1).astype(np.int64), [part.layers for part in region.classes]
    # What a class of few large functions misses, the next one of its runtime makes up.
    carried = dict.fromkeys(range(len(RUNTIMES)), 0.0)
    for c, share in enumerate(shares):
        members = rng.permutation(np.flatnonzero((label == c) & (cold > 0)))
        runtime = int(made.runtime[members[0]]) if region.classes is None and len(members) else 0
        missing = share * cold[members].sum() + carried[runtime]
        if share > 0.0:
            for i in members.tolist():
                if abs(missing - cold[i]) < abs(missing):
                    made.layer[i] = True
                    missing -= cold[i]
        carried[runtime] = missing if region.classes is None else 0.0


def _layer_shares(share: float, weights: Floats) -> Floats:
    """Shares of layers by group with the given log-odds between the groups and the given mean."""
    if share <= 0.0:
        return np.zeros(len(weights))
    weights = weights / max(float(weights.sum()), 1e-300)
    odds = np.exp(np.array(GROUP_LAYERS))
    low, high = 1e-9, 1e9
    for _ in range(80):
        base = math.sqrt(low * high)
        if weights @ (base * odds / (1.0 + base * odds)) < share:
            low = base
        else:
            high = base
    return np.asarray(base * odds / (1.0 + base * odds))


def _apportion(weights: Floats, total: int) -> Ints:
    """Whole numbers in proportion to the weights with an exact sum (largest remainders)."""
    exact = weights / weights.sum() * total
    whole = np.floor(exact).astype(np.int64)
    rest = int(total - whole.sum())
    whole[np.argsort(whole - exact, kind="stable")[:rest]] += 1
    return np.asarray(whole)
