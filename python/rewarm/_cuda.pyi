"""The CUDA module: kernels, and the host code that launches them. Built where nvcc works; imports without a driver."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

UPLOAD_GRADIENTS: int
UPLOAD_GROUPS: int

def device_count() -> tuple[int, str]:
    """Usable GPUs, and why there are none; never raises."""

def driver_version() -> str:
    """The newest CUDA that the driver runs, "none" without a driver."""

def runtime_version() -> str:
    """The CUDA runtime inside this module."""

def device_properties(device: int) -> dict[str, Any]:
    """name, compute_capability, multiprocessors, memory_bytes, l2_bytes, threads_ and registers_per_multiprocessor."""

def is_capturing(stream: int) -> bool:
    """Whether a stream (its handle) records a CUDA graph."""

class AdamWCudaPlan:
    """The CUDA step of one plan; see csrc/optim/adamw_cuda.h. The current device must be `device` in every call."""

    def __init__(
        self,
        entries: NDArray[np.int64],
        n_groups: int,
        device: int,
        max_grad_norm: float,
        skip_nonfinite: bool,
        stochastic_rounding: bool,
        seed: int,
        count_skipped_tokens: bool,
        zero_gradients: bool,
        observe: bool,
        annealing_decay: float,
        decay: float,
        deviations: float,
        after: int,
    ) -> None: ...
    @property
    def image(self) -> NDArray[np.int64]:
        """What the workspace begins with: entries and chunks; a copy."""
    @property
    def workspace_words(self) -> int:
        """8-byte words of device memory that `bind` wants, zeroed, with `image` at the start."""
    @property
    def staging_words(self) -> int:
        """8-byte words of pinned memory that `bind` wants."""
    @property
    def n_chunks(self) -> int: ...
    def bind(
        self,
        workspace: int,
        staging: int,
        t: int,
        counters: int,
        scalars: int,
        rows: int,
        host_gradients: int,
        host_configs: int,
        keep: object,
    ) -> None:
        """Takes addresses; `keep` owns the memory behind them and is released with the plan."""
    def step(
        self,
        stream: int,
        upload: int,
        advance: bool,
        tokens: int,
        tokens_address: int,
        grad_scale: int,
        found_inf: int,
    ) -> None:
        """Issues one update. `upload`: tables that changed, as flags of the gather. Addresses may be 0. Releases the GIL."""
    def record(
        self,
        stream: int,
        gradients: int,
        upload: int,
        advance: bool,
        tokens: int,
        tokens_address: int,
        grad_scale: int,
        found_inf: int,
    ) -> None:
        """The same on a stream that is being captured; `gradients`: a device table of the graph's own, filled at once."""
    def upload(self, stream: int, what: int) -> None:
        """Copies tables to the device, after the last step."""
    def order_after_last(self, stream: int) -> None:
        """Lets `stream` wait for the last step."""
