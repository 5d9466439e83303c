"""Interleaved timing: every variant once a round, in rotating order, so that a disturbance or a clock change hits all alike."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

MIN_RUNS = 5


class TooBusy(Exception):
    """The deadline passed before every variant had `MIN_RUNS` runs."""


class Timed(Protocol):
    """A variant: `prepare` is not timed, `run` is; one run is `repeats` steps."""

    name: str
    repeats: int
    run: Callable[[], None]

    def prepare(self) -> None:
        """Whatever a step consumes and the user's loop gets from elsewhere, such as gradients."""
        ...


@dataclass(frozen=True)
class Statistics:
    """Seconds a step over all runs of one variant."""

    median: float
    low: float
    high: float
    first_quartile: float
    third_quartile: float
    runs: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Statistics:
        """Summarises at least two runs."""
        quartiles = statistics.quantiles(seconds, n=4, method="inclusive")
        return cls(statistics.median(seconds), min(seconds), max(seconds), quartiles[0], quartiles[2], len(seconds))

    @property
    def spread(self) -> float:
        """The distance of the quartiles over the median."""
        return (self.third_quartile - self.first_quartile) / self.median

    def as_fields(self) -> dict[str, float | int]:
        """The fields of a result."""
        return {
            "median_s": self.median,
            "min_s": self.low,
            "max_s": self.high,
            "q1_s": self.first_quartile,
            "q3_s": self.third_quartile,
            "runs": self.runs,
        }


def nothing() -> None:
    """The synchronisation of a CPU."""


def interleave(
    variants: Sequence[Timed],
    *,
    budget_s: float,
    max_runs: int = 500,
    deadline: float = float("inf"),
    warm: bool = False,
    synchronize: Callable[[], None] = nothing,
) -> dict[str, Statistics]:
    """Times the variants against each other.

    Args:
        variants: Already warm.
        budget_s: No new round is begun after so many seconds, preparation included, once there are `MIN_RUNS`.
        max_runs: Rounds at most; at least `MIN_RUNS` are run.
        deadline: ``time.perf_counter()`` after which to give up.
        warm: Let an untimed run of the same variant precede each timed one, so that its data, not that of the other variants,
            are in the caches and its threads, not theirs, are awake.
        synchronize: Waits for the device, inside the timed span.

    Returns:
        Statistics by name of the variant.

    Raises:
        TooBusy: The deadline came before `MIN_RUNS` rounds.
    """
    seconds: dict[str, list[float]] = {variant.name: [] for variant in variants}
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    clock = time.perf_counter
    started = clock()
    try:
        for round_index in range(max(max_runs, MIN_RUNS)):
            now = clock()
            if round_index >= MIN_RUNS and now - started > budget_s:
                break
            if now > deadline:
                if round_index >= MIN_RUNS:
                    break
                raise TooBusy
            for i in range(len(variants)):
                variant = variants[(i + round_index) % len(variants)]
                run = variant.run
                if warm:
                    variant.prepare()
                    run()
                variant.prepare()
                synchronize()
                begin = clock()
                run()
                synchronize()
                seconds[variant.name].append((clock() - begin) / variant.repeats)
    finally:
        if collecting:
            gc.enable()
    return {name: Statistics.of(values) for name, values in seconds.items()}
