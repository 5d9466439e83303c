"""What every launch of a Triton kernel of this room needs around it, and whether the interpreter runs them."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
import triton

from rewarm.errors import BackendUnavailable
from rewarm.q.gemm_triton import relu

#: Whether Triton's interpreter runs the kernels: decided when they were defined.
INTERPRETED = not isinstance(relu, triton.runtime.JITFunction)


def surroundings(op: str, device: torch.device) -> Any:
    """A context for launches on `device`: the right current GPU, or the interpreter's silence about NaN and infinities.

    Raises:
        BackendUnavailable: CPU tensors, and Triton was imported before TRITON_INTERPRET=1 was set.
    """
    if device.type == "cpu":
        if not INTERPRETED:
            raise BackendUnavailable(
                f"{op}: backend 'triton' cannot work on CPU tensors: its kernels were compiled for a GPU, because "
                "TRITON_INTERPRET=1 was not set when they were imported. Set it before Python starts"
            )
        return np.errstate(all="ignore")
    if torch.cuda.current_device() != device.index:
        return torch.cuda.device(device)
    return nullcontext()
