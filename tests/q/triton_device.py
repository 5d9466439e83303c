"""Where the tests of Triton kernels run: on a GPU, or on CPU tensors in Triton's interpreter."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton")

from rewarm.q.launch_triton import INTERPRETED

if not (INTERPRETED or torch.cuda.is_available()):
    pytest.skip("needs a GPU, or TRITON_INTERPRET=1 before the first import of triton", allow_module_level=True)

DEVICE = "cpu" if INTERPRETED else "cuda"


def here(t):
    """A fresh copy of `t` in float32 on the device, at the bottom of a graph; None stays None."""
    return None if t is None else t.detach().to(DEVICE, torch.float32, copy=True).requires_grad_()


def still(t):
    """The same outside any graph, in its own dtype."""
    return None if t is None else t.detach().to(DEVICE)
