"""Where two schedules part: the values of both side by side, and the first counter at which they differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rewarm.errors import InvalidArgument
from rewarm.schedule.plot import default_stop, sample
from rewarm.schedule.schedule import Schedule

#: Up to so many counters every single one is compared.
EVERY_COUNTER = 1_000_000


@dataclass(frozen=True)
class Difference:
    """The outcome of `diff`.

    Attributes:
        steps: The counters compared, rising; int64, shape [n].
        a: Values of the first schedule there; float64, shape [n].
        b: Values of the second.
        first: First of the counters compared at which the values differ, None when they never do.
        exhaustive: Whether every counter from 0 to the last of `steps` was compared.
    """

    steps: NDArray[np.int64]
    a: NDArray[np.float64]
    b: NDArray[np.float64]
    first: int | None
    exhaustive: bool

    def rows(self, around: int = 5) -> list[tuple[int, float, float]]:
        """`around` rows (counter, a, b) from the first difference on, or the first ones when there is none."""
        begin = 0 if self.first is None else int(np.searchsorted(self.steps, self.first))
        chosen = slice(begin, begin + around)
        return list(zip(self.steps[chosen].tolist(), self.a[chosen].tolist(), self.b[chosen].tolist(), strict=True))


def diff(a: Schedule, b: Schedule, steps: ArrayLike | None = None, *, rtol: float = 0.0) -> Difference:
    """Compares two schedules counter by counter.

    Args:
        a: A Schedule.
        b: A Schedule in the same units.
        steps: Rising counters to compare, shape [n]. Default: every one up to a tenth past the later end, or, where that
            is more than a million, about 2,000 spread over it with both sides of every joint.
        rtol: Differences up to `rtol` times the larger of the two values do not count; default 0, the bits.

    Returns:
        The values of both and the first counter at which they differ.

    Raises:
        InvalidArgument: The units differ, or `steps` is empty or does not rise.
    """
    if a.units != b.units:
        raise InvalidArgument(f"diff: expected two schedules in the same units, got {a.units!r} and {b.units!r}")
    if not 0.0 <= rtol < 1.0:
        raise InvalidArgument(f"diff: rtol: expected a number in [0, 1), got {rtol!r}")
    if steps is None:
        stop = max(default_stop(a), default_stop(b))
        counts = range(stop + 1) if stop < EVERY_COUNTER else sorted({*sample(a, stop, 1000), *sample(b, stop, 1000)})
        given = np.asarray(counts, dtype=np.int64)
    else:
        given = np.asarray(steps, dtype=np.int64).ravel()
        if not given.size or (np.diff(given) <= 0).any():
            raise InvalidArgument("diff: steps: expected at least one counter, rising strictly")
    ours, theirs = a.values(given), b.values(given)
    apart = np.flatnonzero(np.abs(ours - theirs) > rtol * np.maximum(ours, theirs))
    first = int(given[apart[0]]) if apart.size else None
    return Difference(given, ours, theirs, first, bool(given.size == int(given[-1]) + 1))
