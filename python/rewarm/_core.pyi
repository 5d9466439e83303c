"""The C++ core: schedules, the CPU optimizer step, and the checks in front of every backend."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

CHUNK_ELEMENTS: int
SEGMENTS_PER_SCHEDULE: int
ENTRY_COLUMNS: int
GROUP_CONFIG_WORDS: int
FIRST_ORIGIN: int
FIRST_LAST_LR: int

def isa() -> str:
    """The instruction set in use: "baseline", "avx2" or "avx512"; REWARM_ISA may lower it."""

def best_isa() -> str:
    """The best instruction set that this build holds and this processor runs."""

def advise_huge_pages(address: int, bytes: int) -> None:
    """Asks for 2 MiB pages under memory that nobody has written yet; only advice."""

def schedule_value(segments: Any, step: int) -> float:
    """Value of packed 64-byte segments (any contiguous buffer) at one counter."""

def schedule_values(segments: Any, steps: NDArray[np.int64]) -> NDArray[np.float64]:
    """Values at many counters; releases the GIL."""

class AdamWPlan:
    """One optimizer's parameters, state and groups as native tables; see csrc/bindings/bind_optim.cpp."""

    def __init__(
        self,
        tensor_type: type,
        params: list[Any],
        states: list[Any],
        groups: list[dict[str, Any]],
        entries: NDArray[np.int64],
        host_counters: int,
        host_rows: int,
    ) -> None: ...
    @property
    def hold(self) -> bool:
        """Every scheduled learning rate is overridden by 0.0: the counters stand still."""
    @property
    def all_present(self) -> bool:
        """Every planned parameter had a gradient at the last refresh."""
    @property
    def n_chunks(self) -> int: ...
    @property
    def gradients(self) -> NDArray[np.int64]:
        """Gradient addresses [n_tensors], 0 = none; a view that refresh() rewrites."""
    @property
    def configs(self) -> NDArray[np.int64]:
        """GroupConfig rows of csrc/optim/plan.h as words [n_groups, GROUP_CONFIG_WORDS]; a view that refresh() rewrites."""
    @property
    def chunks(self) -> NDArray[np.int64]:
        """Chunk rows [n_chunks, 2]: begin, then tensor (low half) and count (high half); a view."""
    def set_schedule(self, group: int, which: int, count: int, in_tokens: bool) -> None: ...
    def expect(self, group: int, which: int, value: object) -> None: ...
    def published(self, group: int, which: int) -> Any: ...
    def refresh(self, gradients: list[Any] | None) -> int: ...
    def publish(self) -> None: ...
    def zero_grad(self) -> None: ...
    def step_cpu(
        self,
        gradients: list[Any] | None,
        t: int,
        counters: int,
        scalars: int,
        max_grad_norm: float,
        skip_nonfinite: bool,
        tokens: int,
        stochastic_rounding: bool,
        seed: int,
        loss_scale: float,
        threads: int,
    ) -> int: ...

class TraceAggregate:
    """Groups in the order of their keys; see csrc/trace/aggregate.h."""

    @property
    def groups(self) -> int: ...
    @property
    def total_rows(self) -> int: ...
    @property
    def text(self) -> str:
        """The question, as the caller wrote it."""
    @property
    def rejected(self) -> int: ...
    @property
    def files(self) -> list[tuple[str | None, str, int, int]]:
        """(region, name, begin, end); end = -1: all of a compressed file."""
    def set_files(self, files: list[tuple[str | None, str, int, int]], rejected: int) -> None: ...
    def to_bytes(self) -> bytes: ...
    @staticmethod
    def from_bytes(data: bytes) -> TraceAggregate: ...
    @staticmethod
    def merge(aggregates: list[TraceAggregate], threads: int) -> TraceAggregate: ...
    def columns(
        self, quantiles: list[tuple[str, float]], threads: int
    ) -> list[tuple[str, NDArray[Any], NDArray[np.bool_] | None, list[str] | None]]:
        """(name, values, nulls or None, words or None) of every column."""
    def fields(self, quantiles: list[tuple[str, float]]) -> list[tuple[str, str, str]]:
        """(name, Arrow type, unit) of every column."""
    def arrow_schema(self, table: str, version: str, quantiles: list[tuple[str, float]]) -> Any: ...
    def arrow_stream(self, table: str, version: str, quantiles: list[tuple[str, float]], threads: int) -> Any: ...
    def quantile(self, value: int, q: float) -> NDArray[np.float64]:
        """One number a group; NaN where it holds no value."""
    def bins(self, group: int, value: int) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Codes and counts of the bins that are not empty."""
    def exact_sum(self, group: int, value: int) -> int:
        """As a whole number of 2**-60."""

class TraceColumnSink:
    """The sink of a scan, fed with columns in memory: keys first, then values.

    A column is an array, (array, nulls or None), or (codes, nulls or None, words).
    """

    def __init__(
        self,
        keys: list[tuple[str, str]],
        values: list[str],
        histograms: bool,
        max_groups: int,
        text: str,
        workers: int,
        rows_a_partial: int = ...,
    ) -> None: ...
    def feed(self, worker: int, rows: int, columns: list[Any]) -> None: ...
    def too_large(self) -> tuple[int, int, float] | None:
        """(row in its batch, value column, number) of the first value that cannot be added exactly."""
    def finish(self, threads: int) -> TraceAggregate: ...

def trace_scan(
    sources: Any,
    options: Any,
    by: list[str],
    values: list[str],
    histograms: bool,
    max_groups: int,
    text: str,
    progress: Any,
) -> tuple[TraceAggregate, list[tuple[int, int, int, str | None, str, str, str]]]:
    """Reads files and adds them up: the aggregate, and the rejects that were kept."""

def trace_bin_of(x: float) -> int:
    """The bin of a number; see csrc/trace/histogram.h."""

def trace_bin_midpoint(code: int) -> float:
    """The middle of a bin."""
