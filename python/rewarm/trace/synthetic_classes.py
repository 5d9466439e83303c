"""How long the cold starts of a function take: cells of functions alike, and weighted possible cold starts of each cell.

A cell holds the functions of one runtime and trigger (region 2) or of one region, of one size of pool, with or without a
layer. Its possible cold starts are points of normal scores, one score a component; raking weights them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rewarm.trace.synthetic_functions import Functions, functions_of
from rewarm.trace.synthetic_loads import POOLS, RUNTIMES, Floats, Ints, score
from rewarm.trace.synthetic_raking import Curve, Raking, published_curve
from rewarm.trace.synthetic_regions import (
    CURVE_AT,
    GROUP_STAGES,
    REGION_TABLE,
    RUNTIME_COMPONENTS,
    STAGES,
    TRIGGER_GROUPS,
    Components,
)

TOTAL, ALLOC, CODE, DEPENDENCY, SCHEDULING = (
    "totalCost_cold_start", "podAllocationCost", "deployCodeCost", "deployDependencyCost", "schedulingCost",
)  # fmt: skip
POOL_CLASSES = ("small", "large")
#: Possible cold starts of a cell, and how much wider than normal their scores spread: corners are rare and still needed.
_CANDIDATES, _WIDER = 2048, 1.3
#: Sweeps over the margins: they settle to .01 within 60.
_SWEEPS = 60
#: A row's scores stand this far from those of its possible cold start, so that no two rows are alike.
JITTER = 0.05
#: Upper bounds of the first three stages of the pod search in seconds [figures 15 and 16].
STAGE_LIMITS = (1e-3, 0.1, 5.0)
_NOTHING: Curve = ((), ())


class ColdStartModel:
    """Draws components for rows of one region.

    Attributes:
        curves: Inverse distributions of the components: by runtime in region 2, else by size of pool.
        cell: Of each function  # [functions]
        curve: Of each cell, an index into `curves`  # [cells]
    """

    def __init__(self, region: str, functions: Functions) -> None:
        small = _small(functions)
        rows = functions.cold_starts + functions.timer_runs + 1e-6  # a function without a cold start may still get one
        components = _components(region)
        kind = functions.runtime if region == "R2" else 1 - small
        group = functions.group if region == "R2" else np.zeros(len(functions), np.int64)
        key = ((kind * len(TRIGGER_GROUPS) + group) * 2 + 1 - small) * 2 + functions.layer
        keys, self.cell = np.unique(key, return_inverse=True)
        layered, pool_class = keys % 2 == 1, keys // 2 % 2
        group, self.curve = keys // 4 % len(TRIGGER_GROUPS), keys // 4 // len(TRIGGER_GROUPS)
        self.curves = [Curves(region, part) for part in components]
        self._scores, start = _candidates(components)
        raking = Raking(start[self.curve], np.bincount(self.cell, rows, len(keys)).astype(float))
        _add_margins(raking, region, self._seconds(layered), self.curve, group, pool_class, layered)
        raking.fit(_SWEEPS)
        share = np.cumsum(raking.weights, axis=1)
        share /= share[:, -1:]
        # One ascending array for all cells: a row of cell c looks for c + u.
        self._passed = (share + np.arange(len(keys))[:, None]).ravel()

    def _seconds(self, layered: NDArray[np.bool_]) -> dict[str, Floats]:
        """Seconds of every component and of all together, of every candidate of every cell."""
        cells, n = len(self.curve), self._scores.shape[2]
        parts = {name: np.empty((cells, n)) for name in (ALLOC, CODE, DEPENDENCY, SCHEDULING)}
        for c, k in enumerate(self.curve.tolist()):
            for name, seconds in zip(parts, self.curves[k].seconds(self._scores[k]), strict=True):
                parts[name][c] = seconds
        for name in (CODE, DEPENDENCY):  # both come in whole milliseconds
            parts[name] = np.rint(parts[name] * 1e3) / 1e3
        parts[DEPENDENCY] = np.where(layered[:, None], np.maximum(parts[DEPENDENCY], 1e-3), 0.0)
        return parts | {TOTAL: sum(parts.values(), np.zeros((cells, n)))}

    def scores(self, function: Ints, rng: np.random.Generator) -> Floats:
        """Normal scores of the four components for rows of the given functions: [4, rows]."""
        cell = self.cell[function]
        candidates = self._scores.shape[2]
        place = np.searchsorted(self._passed, cell + rng.random(len(function)))
        place = np.minimum(place - cell * candidates, candidates - 1)
        scores = self._scores[self.curve[cell], :, place].T
        # The first score stays: it says which stage of the pod search found the pod.
        scores[1:] = math.sqrt(1.0 - JITTER**2) * scores[1:] + JITTER * rng.standard_normal((3, len(function)))
        return np.asarray(scores)


@functools.lru_cache(maxsize=8)
def model_of(region: str, seed: int) -> ColdStartModel:
    """The model of a region; the same for every scale."""
    return ColdStartModel(region, functions_of(region, seed))


def _small(functions: Functions) -> Ints:
    """1 for the functions of small pools: at most 400 millicores and 256 MB."""
    limits = np.array([[int(word) for word in name.split("-")[-2:]] for name in POOLS])
    return ((limits[:, 0] <= 400) & (limits[:, 1] <= 256)).astype(np.int64)[functions.pool]


def _components(region: str) -> list[Components]:
    classes = REGION_TABLE[region].classes
    return list(classes) if classes is not None else [RUNTIME_COMPONENTS[name] for name in RUNTIMES]


def _candidates(components: Sequence[Components]) -> tuple[Floats, Floats]:
    """Points of normal scores [curves, 4, candidates], evenly spread, and the weight of each [curves, candidates]."""
    # A Kronecker sequence of the generalised golden ratio in four dimensions (Roberts 2018): x^5 = x + 1.
    steps = 1.1673039782614187 ** -np.arange(1.0, 5.0)
    even = (0.5 + np.outer(steps, np.arange(1, _CANDIDATES + 1))) % 1.0
    wide = _WIDER * np.array([[score(p) for p in row] for row in even.tolist()])
    weight = np.exp(-0.5 * (wide**2).sum(axis=0) * (1.0 - 1.0 / _WIDER**2))
    points = np.stack([_mix(part.coupling) @ wide for part in components])
    return points, np.broadcast_to(weight, (len(components), _CANDIDATES))


def _add_margins(
    raking: Raking,
    region: str,
    seconds: dict[str, Floats],
    kind: Ints,
    group: Ints,
    pool_class: Ints,
    layered: NDArray[np.bool_],
) -> None:
    """All that is published about the durations of a region, the weakest first: where two contradict, the later holds."""

    def by(section: str, quantity: str, names: Sequence[str], column: str = "") -> list[Curve]:
        return [published_curve(section, column or quantity, name, region) for name in names]

    every = np.zeros(len(kind), np.int64)
    raking.add(seconds[TOTAL], every, by("distributions", TOTAL, ["all"]))
    for name, values in seconds.items():
        of = pool_class if name != DEPENDENCY else np.where(layered, pool_class, -1)
        raking.add(values, of, by("pools", name, POOL_CLASSES))
    if region != "R2":
        raking.add(seconds[ALLOC], kind, [(part.stages, STAGE_LIMITS) for part in _components(region)])
        raking.add(seconds[TOTAL], every, by("distributions", TOTAL, ["all"]))
        return
    groups = [name if name != "unknown" else "unknown trigger" for name in TRIGGER_GROUPS]
    raking.add(seconds[DEPENDENCY], np.where(layered, group, -1), by("breakdown", DEPENDENCY, groups, f"{DEPENDENCY} > 0"))
    raking.add(seconds[ALLOC], group, [(masses, STAGE_LIMITS) if masses else _NOTHING for masses in GROUP_STAGES])
    raking.add(seconds[TOTAL], group, by("breakdown", TOTAL, groups))
    runtimes = list(RUNTIMES)
    raking.add(seconds[TOTAL], kind, by("breakdown", TOTAL, runtimes))
    parts = [RUNTIME_COMPONENTS[name] for name in runtimes]
    raking.add(seconds[CODE], kind, [(CURVE_AT, part.code) for part in parts])
    raking.add(seconds[DEPENDENCY], np.where(layered, kind, -1), [(CURVE_AT, part.dependency) for part in parts])
    raking.add(seconds[SCHEDULING], kind, [(CURVE_AT, part.scheduling) for part in parts])
    raking.add(seconds[ALLOC], kind, [(part.stages, STAGE_LIMITS) for part in parts])


class Curves:
    """The components' inverse distributions over normal scores."""

    def __init__(self, region: str, components: Components) -> None:
        self._alloc = _stage_knots(region, components.stages)
        self._code = _curve_knots(components.code, 4e-4)
        self._dependency = _curve_knots(components.dependency, 1e-3)
        self._scheduling = _curve_knots(components.scheduling, 0.02)

    def seconds(self, z: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Seconds of all four for scores [4, rows]; the dependency's hold for functions with a layer."""
        return self.alloc(z[0]), self.code(z[1]), self.dependency(z[2]), self.scheduling(z[3])

    def alloc(self, z: Floats) -> Floats:
        """Seconds of the pod search."""
        return np.asarray(np.exp(np.interp(z, *self._alloc)))

    def code(self, z: Floats) -> Floats:
        """Seconds to deploy the code."""
        return np.asarray(np.exp(np.interp(z, *self._code)))

    def dependency(self, z: Floats) -> Floats:
        """Seconds to deploy a layer."""
        return np.asarray(np.exp(np.interp(z, *self._dependency)))

    def scheduling(self, z: Floats) -> Floats:
        """Seconds of the rest."""
        return np.asarray(np.exp(np.interp(z, *self._scheduling)))


@functools.cache
def _mix(coupling: tuple[float, float, float, float, float]) -> NDArray[np.float64]:
    alloc_scheduling, code_scheduling, dependency_scheduling, alloc_code, code_dependency = coupling
    alloc_dependency = alloc_scheduling * dependency_scheduling  # no more than scheduling brings about
    return np.linalg.cholesky(
        np.array(
            [
                [1.0, alloc_code, alloc_dependency, alloc_scheduling],
                [alloc_code, 1.0, code_dependency, code_scheduling],
                [alloc_dependency, code_dependency, 1.0, dependency_scheduling],
                [alloc_scheduling, code_scheduling, dependency_scheduling, 1.0],
            ]
        )
    )


def _curve_knots(seconds: tuple[float, ...], floor: float) -> tuple[Floats, Floats]:
    """Knots of a curve given at `CURVE_AT`; the first and last slope go on beyond it, up to a factor of three."""
    at = [score(p) for p in CURVE_AT]
    logs = list(np.log(seconds))
    first = (logs[1] - logs[0]) / (at[1] - at[0])
    last = (logs[-1] - logs[-2]) / (at[-1] - at[-2])
    low = max(logs[0] - first * (at[0] + 3.0), min(math.log(floor), logs[0]))
    high = min(logs[-1] + last * (4.0 - at[-1]), logs[-1] + math.log(3.0))
    return np.array([-3.0, *at, 4.0]), np.array([low, *logs, high])


def _stage_knots(region: str, masses: tuple[float, float, float]) -> tuple[Floats, Floats]:
    """Knots of the pod search: log-uniform within a stage, a step between two."""
    *stages, longest = STAGES[region]
    at: list[float] = []
    logs: list[float] = []
    bounds = (0.0, *masses, 1.0)
    for (low, high), begin, end in zip(stages, bounds[:-1], bounds[1:], strict=True):
        if end - begin < 1e-6:
            continue
        for part in (0.001, 0.25, 0.5, 0.75, 0.98):
            at.append(score(begin + part * (end - begin)))
            logs.append(math.log(low) + part * math.log(high / low))
        at.append(score(min(begin + 0.999999 * (end - begin), 0.999999)))
        logs.append(math.log(longest if end == 1.0 else high))
    return np.array(at), np.array(logs)
