"""Where the tests of Triton kernels run: on a GPU, or on CPU tensors in Triton's interpreter.

The interpreter takes milliseconds an operation, so that sizes are small there. Where there is a GPU, the tests of every op
also run on the triton backend, at their own sizes.
"""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton")

from rewarm.q.launch_triton import INTERPRETED

if not (INTERPRETED or torch.cuda.is_available()):
    pytest.skip("needs a GPU, or TRITON_INTERPRET=1 before the first import of triton", allow_module_level=True)

DEVICE = "cpu" if INTERPRETED else "cuda"
