"""What every workload family offers, what it is measured under, and what a result looks like."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from rewarm.bench.timing import Statistics, TooBusy


class LeftOut(Exception):
    """A workload that cannot be measured here; the message says why."""


@dataclass(frozen=True)
class Conditions:
    """Under what a workload is measured.

    Attributes:
        device: Where.
        threads: Of torch and of rewarm; on a GPU those of the host.
        bandwidth: bytes/s of the floor: `bandwidth.measure`, or of passes between the timed steps where the set is in memory;
            NaN where the floor is none of bandwidth.
        buffer_bytes: Of the buffer that bandwidth is measured on.
        cache_bytes: Last-level cache; a working set inside has no floor in memory.
        budget_s: For the main arm of one workload; other arms get half.
        max_runs: Of one variant.
        deadline: ``time.perf_counter()`` after which no further workload starts.
        cold: No untimed run before a timed one, in no workload.
        quick: Leave out the slow peers of the large workloads.
        busy_cpus: Where the contended arm puts its loops.
    """

    device: torch.device
    threads: int
    bandwidth: float
    buffer_bytes: int
    cache_bytes: int
    budget_s: float
    max_runs: int
    deadline: float
    cold: bool
    quick: bool
    busy_cpus: tuple[int, ...]

    def warm(self, working_set: int) -> bool:
        """Whether an untimed run comes before each timed one: where a training loop of this size would stay in cache."""
        return not self.cold and working_set <= self.cache_bytes

    def tick(self) -> None:
        """Raises TooBusy past the deadline: called between steps that are not timed."""
        if time.perf_counter() > self.deadline:
            raise TooBusy


class Workload(Protocol):
    """One problem, with its inputs, ours, its peers and its floor."""

    name: str
    dtype: str

    def measure(self, conditions: Conditions, say: Callable[[str], None]) -> list[dict[str, Any]]:
        """Checks that the variants agree, times them and returns `records`; `say` reports what is left out."""
        ...

    def measure_busy(self, conditions: Conditions, say: Callable[[str], None]) -> list[dict[str, Any]]:
        """The contended arm beside a quiet one."""
        ...


def records(
    workload: Workload,
    arm: str,
    statistics: Mapping[str, Statistics],
    ours: Mapping[str, str],
    conditions: Conditions,
    *,
    moved_bytes: int,
    working_set: int,
    facts: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """One result a variant.

    Args:
        workload: Named in the results.
        arm: "stable" or "fresh" gradient addresses, "quiet" or "busy".
        statistics: By name of the variant.
        ours: By name of the variant: which of ours it is compared with.
        conditions: Under which it was measured.
        moved_bytes: Bytes that no implementation of the op can avoid.
        working_set: Bytes that it touches.
        facts: Further fields.
    """
    return [
        {
            "workload": workload.name,
            "dtype": workload.dtype,
            "arm": arm,
            "variant": name,
            "device": conditions.device.type,
            "threads": conditions.threads,
            **found.as_fields(),
            "bytes": moved_bytes,
            "floor_s": moved_bytes / conditions.bandwidth,
            "in_cache": working_set <= conditions.cache_bytes,
            "warm": conditions.warm(working_set),
            "ratio_to_ours": found.median / statistics[ours[name]].median,
            "ours": ours[name],
            **facts,
        }
        for name, found in statistics.items()
    ]
