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

def format_rows(
    columns: list[tuple[Any, ...]],
    rows: int,
    quoted: bool = False,
    crlf: bool = False,
    first_index: int = -1,
    missing: str = "",
) -> bytes:
    """Lines of a CSV file; releases the GIL while it formats.

    Args:
        columns: (spelling, missing, values, ...) each, missing None or bool [rows]: ("integer", m, int64), ("decimal" | "java"
            | "python", m, int64, scale, min_decimals), ("float64", m, float64), ("hex", m, uint8 [rows, width]), ("word", m,
            int32 codes, words), ("pod", m, int32 codes, words, int64 serials).
        rows: Lines.
        quoted: Quotes around every value.
        crlf: Lines end in CRLF.
        first_index: Of a leading index column; -1 = none.
        missing: What stands for a missing value.
    """

def format_minutes(
    day: int,
    first_time: int,
    functions: int,
    begins: NDArray[np.int64],
    indices: NDArray[np.int32],
    values: NDArray[np.float64],
    crlf: bool = False,
) -> bytes:
    """Lines of a minute table from sparse rows: begins [minutes + 1] into indices and values; empty where no entry stands."""
