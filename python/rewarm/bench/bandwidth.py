"""The memory floor: what this machine moves in place, measured with the same number of threads in the same run."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

GIB = 2**30


class InPlacePass:
    """A variant for `timing.interleave`: one in-place pass over a buffer, so that the floor is measured in the same rounds.

    On a shared machine the bandwidth changes from minute to minute; a floor from the start of the run would be another
    machine's.
    """

    name = "in-place pass"
    repeats = 1

    def __init__(self, device: torch.device, buffer_bytes: int = GIB) -> None:
        buffer = torch.ones(buffer_bytes // 4, dtype=torch.float32, device=device)
        self.bytes = 2 * buffer_bytes
        self.run: Callable[[], None] = lambda: _scale(buffer)

    def prepare(self) -> None:
        """Needs nothing."""


def measure(device: torch.device, buffer_bytes: int = GIB, repeats: int = 9) -> dict[str, Any]:
    """Bytes a second of in-place and copying passes over a buffer that no cache holds.

    ``inplace`` is the bar for an optimizer step, which writes what it has read: one read and one write an element. On
    a GPU a step of torch's fused AdamW over one flat tensor (four streams read, three of them written) is measured
    too, and the better of the two is the bar.

    Args:
        device: Where; on a CPU with torch's present number of threads.
        buffer_bytes: Size of the buffer; the copy needs it twice.
        repeats: Passes, of which the median counts.

    Returns:
        bytes/s: inplace, inplace_best (fastest pass), copy, and on a GPU seven_streams; buffer_bytes; bar, the floor's.
    """
    synchronize = torch.cuda.synchronize if device.type == "cuda" else _nothing
    n = buffer_bytes // 4
    a = torch.ones(n, dtype=torch.float32, device=device)
    inplace = _times(lambda: a.mul_(1.0000001), synchronize, repeats)
    copy = _times(functools.partial(torch.ones_like(a).copy_, a), synchronize, repeats)
    found: dict[str, Any] = {
        "buffer_bytes": 4 * n,
        "inplace": 8 * n / statistics.median(inplace),
        "inplace_best": 8 * n / min(inplace),
        "copy": 8 * n / statistics.median(copy),
    }
    found["bar"] = found["inplace"]
    if device.type == "cuda":
        parameter = torch.nn.Parameter(a)
        parameter.grad = torch.ones_like(a)
        optimizer = torch.optim.AdamW([parameter], fused=True)
        found["seven_streams"] = 28 * n / statistics.median(_times(optimizer.step, synchronize, repeats))
        found["bar"] = max(found["bar"], found["seven_streams"])
    return found


def _scale(buffer: Tensor) -> None:
    """Reads and writes every element once."""
    buffer.mul_(1.0000001)


def _nothing() -> None:
    """A CPU has nothing to wait for."""


def _times(work: Callable[[], Any], synchronize: Callable[[], None], repeats: int) -> list[float]:
    work()
    seconds = []
    for _ in range(repeats):
        synchronize()
        begin = time.perf_counter()
        work()
        synchronize()
        seconds.append(time.perf_counter() - begin)
    return seconds
