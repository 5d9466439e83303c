"""Tables of a plan that a GPU reads: small host arrays and their copies on the device, kept current without a sync."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


def is_capturing(device: torch.device) -> bool:
    """Whether the current stream of `device` records a CUDA graph."""
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


@dataclass
class _Stage:
    """Pinned memory of one copy, and when the device has read it."""

    pinned: Tensor
    read: torch.cuda.Event


class DeviceTable:
    """A host table of 8-byte words and the device memory that follows it.

    Args:
        table: int64 array that lives as long as this object and changes in place.
        device: Where `tensor` lives. On a CPU it is the table itself, and there is nothing to copy.

    Attributes:
        tensor: int64 tensor in the shape of `table`, on `device`.
    """

    def __init__(self, table: np.ndarray, device: torch.device) -> None:
        self._host = torch.from_numpy(table)
        self._table = table
        self._on_device = device.type != "cpu"
        self.tensor = torch.zeros_like(self._host, device=device) if self._on_device else self._host
        self._copied = np.zeros_like(table) if self._on_device else table  # what `tensor` holds
        # Grows when copies queue up, because waiting for one would be a sync.
        self._stages: list[_Stage] = []
        # A capture may not allocate pinned memory, so some is kept ready for it.
        self._ready: Tensor | None = self._pinned() if self._on_device else None
        self._held_by_graphs: list[tuple[Tensor, Tensor]] = []

    @property
    def current(self) -> bool:
        """Whether the device has the table as it stands."""
        return np.array_equal(self._table, self._copied)

    def follow(self) -> None:
        """Copies the table, ordered on the current stream, if it changed since the last copy."""
        if self.current:
            return
        if self._ready is None:
            self._ready = self._pinned()
        stage = next((s for s in self._stages if s.read.query()), None)  # type: ignore[no-untyped-call]
        if stage is None:
            stage = _Stage(self._pinned(), torch.cuda.Event())  # type: ignore[no-untyped-call]
            self._stages.append(stage)
        stage.pinned.copy_(self._host)
        self.tensor.copy_(stage.pinned, non_blocking=True)
        stage.read.record()  # type: ignore[no-untyped-call]
        np.copyto(self._copied, self._table)

    def captured(self) -> Tensor:
        """The table as it stands, in memory that belongs to the graph being captured.

        Every replay copies it again from pinned memory that nothing else writes, so that eager steps in between, which
        `follow` in `tensor`, do not disturb the graph.
        """
        pinned = self._pinned() if self._ready is None else self._ready
        self._ready = None
        pinned.copy_(self._host)
        own = torch.empty_like(self.tensor)
        own.copy_(pinned, non_blocking=True)
        self._held_by_graphs.append((pinned, own))
        return own

    def _pinned(self) -> Tensor:
        return torch.empty_like(self._host, pin_memory=True)
