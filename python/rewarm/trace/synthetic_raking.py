"""Which components of a cold start come together: weights on possible cold starts that give every published curve at once.

The paper shows how long each component takes and how long all of them take, by runtime, by trigger and by size of pool, but
never two of them together. Of all ways to join them this one is the closest (in relative entropy) to the one started from
that has the published curves: raking, or iterative proportional fitting (Deming and Stephan 1940; Csiszar 1975).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rewarm.trace.paper import published

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Probabilities, and the seconds that so many cold starts stay below.
Curve = tuple[tuple[float, ...], tuple[float, ...]]

#: A margin changes no weight by more than this factor at a time, so that a bin with few candidates does not swing.
_STEP = 30.0


def published_curve(section: str, quantity: str, group: str, region: str) -> Curve:
    """The quantiles of a quantity that the paper gives, ascending; () where it gives none."""
    found = sorted(
        (float(number.statistic[1:]) / 100.0, number.value)
        for key, number in published().items()
        if key[:3] == (section, quantity, group) and key[4] == region and number.statistic[1:].replace(".", "").isdigit()
    )
    return tuple(p for p, _ in found), tuple(value for _, value in found)


class Raking:
    """Weights [cells, candidates] that are made to fit margins, one after the other, until all fit.

    Args:
        start: Weights to begin with  # [cells, candidates]
        rows: Cold starts of each cell  # [cells]
    """

    def __init__(self, start: Floats, rows: Floats) -> None:
        self._rows = rows
        self.weights = start / start.sum(axis=1, keepdims=True) * rows[:, None]
        self._margins: list[tuple[Ints, Floats]] = []

    def add(self, values: Floats, group: Ints, curves: Sequence[Curve]) -> None:
        """A quantity whose distribution over the cells of each group is known.

        Args:
            values: Of the quantity  # [cells, candidates]
            group: Of each cell, an index into `curves`; -1 for none  # [cells]
            curves: Of each group; one without a point asks for nothing.
        """
        width = 1 + max(len(probabilities) for probabilities, _ in curves)
        index = np.full(values.shape, width * len(curves), np.int64)
        target = np.ones(width * len(curves) + 1)
        for g, (probabilities, seconds) in enumerate(curves):
            cells = group == g
            if not probabilities or not cells.any():
                continue
            # Equal quantiles are one atom: at least the larger share is not above it. The rounding is that of the grid of 1 ms.
            known = dict(zip(seconds, probabilities, strict=True))
            index[cells] = g * width + np.searchsorted(np.array(list(known)) * (1.0 + 1e-9), values[cells])
            steps = np.diff([0.0, *known.values(), 1.0])
            target[g * width : g * width + len(steps)] = steps * self._rows[cells].sum()
        self._margins.append((index.ravel(), target))

    def fit(self, sweeps: int) -> None:
        """Fits the margins in the order in which they were added: where they contradict one another, later ones win."""
        weights = self.weights.ravel().copy()
        for _ in range(sweeps):
            for index, target in self._margins:
                have = np.bincount(index, weights, len(target))
                factor = np.clip(target / np.maximum(have, 1e-300), 1.0 / _STEP, _STEP)
                factor[-1] = 1.0
                weights *= factor[index]
            table = weights.reshape(self.weights.shape)
            table *= (self._rows / np.maximum(table.sum(axis=1), 1e-300))[:, None]
        self.weights = weights.reshape(self.weights.shape)
