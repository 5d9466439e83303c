"""Functions that share the durations of their cold starts: of one runtime and trigger in region 2, else of a size of pool."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
from numpy.typing import NDArray

from rewarm.trace.synthetic_functions import Functions
from rewarm.trace.synthetic_loads import RUNTIMES, Floats, Ints, score
from rewarm.trace.synthetic_regions import (
    CURVE_AT,
    GROUP_DEPENDENCY,
    GROUP_LAYERS,
    GROUP_SCHEDULING,
    GROUP_STAGES,
    REGION_TABLE,
    RUNTIME_COMPONENTS,
    STAGES,
    TRIGGER_GROUPS,
    Components,
)

_GROUPS = len(TRIGGER_GROUPS)


def classes_of(region: str, functions: Functions) -> tuple[Ints, list[Components]]:
    """The class of each function, and the classes' components."""
    classes = REGION_TABLE[region].classes
    if classes is not None:
        return (functions.size > 1).astype(np.int64), list(classes)
    label = functions.runtime * _GROUPS + functions.group
    cold: Floats = np.bincount(label, functions.cold_starts + functions.timer_runs, len(RUNTIMES) * _GROUPS).astype(float)
    shape = len(RUNTIMES), _GROUPS
    if not functions.layer.any():  # they are chosen by what this function says
        return label, by_runtime_and_group(cold.reshape(shape))
    layered = (functions.cold_starts + functions.timer_runs) * functions.layer
    parts: Floats = np.bincount(label, layered, len(cold)).astype(float)
    return label, by_runtime_and_group(cold.reshape(shape), parts.reshape(shape))


def by_runtime_and_group(cold: Floats, layered: Floats | None = None) -> list[Components]:
    """Components of every cell of `cold` [runtimes, groups], the cold starts in it.

    `layered` [runtimes, groups] are the cold starts with a layer, once it is known which functions have one.

    Figure 15's curves hold over the groups of a runtime, figure 16's stages over the runtimes of a group.
    """
    stages = _cell_stages(cold)
    cells = []
    for r, name in enumerate(RUNTIMES):
        curves = RUNTIME_COMPONENTS[name]
        weights = cold[r] / max(cold[r].sum(), 1e-300)
        layers = _cell_layers(curves.layers, weights)
        shift, spread = _parts(GROUP_SCHEDULING, weights)
        layer_shift, layer_spread = _parts(GROUP_DEPENDENCY, weights * layers if layered is None else layered[r])
        cells += [
            dataclasses.replace(
                curves,
                stages=(float(stages[r, g, 0]), float(stages[r, g, 1]), float(stages[r, g, 2])),
                layers=float(layers[g]),
                scheduling_shift=float(shift[g]),
                scheduling_spread=spread,
                dependency_shift=float(layer_shift[g]),
                dependency_spread=layer_spread,
            )
            for g in range(_GROUPS)
        ]
    return cells


def _parts(shifts: tuple[float, ...], weights: Floats) -> tuple[Floats, float]:
    """Shifts of a normal score's parts around their mean, and the spread that leaves the whole with variance 1."""
    weights = weights / max(float(weights.sum()), 1e-300)
    shift = np.array(shifts) - float(weights @ np.array(shifts))
    return shift, math.sqrt(max(1.0 - float(weights @ shift**2), 0.04))


def _cell_stages(cold: Floats) -> Floats:
    """Cumulative masses [runtimes, groups, 3] that fit both margins (iterative proportional fitting)."""

    def steps(masses: tuple[float, float, float]) -> Floats:
        return np.diff([0.0, *masses, 1.0])

    by_runtime = np.array([steps(RUNTIME_COMPONENTS[name].stages) for name in RUNTIMES])
    joint = cold[:, :, None] * by_runtime[:, None, :]
    for _ in range(100):
        for g, masses in enumerate(GROUP_STAGES):
            if masses is not None:
                have = joint[:, g].sum(axis=0)
                joint[:, g] *= steps(masses) * cold[:, g].sum() / np.maximum(have, 1e-300)
        joint *= (cold / np.maximum(joint.sum(axis=2), 1e-300))[:, :, None]
        have = joint.sum(axis=1)
        joint *= (by_runtime * cold.sum(axis=1)[:, None] / np.maximum(have, 1e-300))[:, None, :]
    parts = np.where(cold[:, :, None] > 0, joint, by_runtime[:, None, :])
    return np.asarray(np.cumsum(parts / parts.sum(axis=2, keepdims=True), axis=2)[:, :, :3])


def _cell_layers(share: float, weights: Floats) -> Floats:
    """Shares of layers by group with the given log-odds between the groups and the given mean."""
    if share <= 0.0:
        return np.zeros(_GROUPS)
    odds = np.exp(np.array(GROUP_LAYERS))
    low, high = 1e-9, 1e9
    for _ in range(80):
        base = math.sqrt(low * high)
        if weights @ (base * odds / (1.0 + base * odds)) < share:
            low = base
        else:
            high = base
    return np.asarray(base * odds / (1.0 + base * odds))


class Curves:
    """The components' inverse distributions over normal scores, and how the scores mix."""

    def __init__(self, region: str, components: Components) -> None:
        self._alloc = _stage_knots(region, components.stages)
        self._code = _curve_knots(components.code, 4e-4)
        self._dependency = _curve_knots(components.dependency, 1e-3)
        self._scheduling = _curve_knots(components.scheduling, 0.02)
        self._shift, self._spread = components.scheduling_shift, components.scheduling_spread
        self._layer_shift, self._layer_spread = components.dependency_shift, components.dependency_spread
        self.mix = _mix(components.coupling)

    def alloc(self, z: Floats) -> Floats:
        """Seconds of the pod search."""
        return np.asarray(np.exp(np.interp(z, *self._alloc)))

    def code(self, z: Floats) -> Floats:
        """Seconds to deploy the code."""
        return np.asarray(np.exp(np.interp(z, *self._code)))

    def dependency(self, z: Floats) -> Floats:
        """Seconds to deploy a layer."""
        return np.asarray(np.exp(np.interp(self._layer_spread * z + self._layer_shift, *self._dependency)))

    def scheduling(self, z: Floats) -> Floats:
        """Seconds of the rest."""
        return np.asarray(np.exp(np.interp(self._spread * z + self._shift, *self._scheduling)))


@functools.cache
def _mix(coupling: tuple[float, float, float, float, float]) -> NDArray[np.float64]:
    alloc_scheduling, code_scheduling, dependency_scheduling, alloc_code, code_dependency = coupling
    return np.linalg.cholesky(
        np.array(
            [
                [1.0, alloc_code, 0.0, alloc_scheduling],
                [alloc_code, 1.0, code_dependency, code_scheduling],
                [0.0, code_dependency, 1.0, dependency_scheduling],
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
