"""The triton backend: launches the kernels of adamw_kernels_triton.py over a plan, two with a norm and one without.

For GPUs that no CUDA module was built for, AMD's included, and on CPU tensors in Triton's interpreter.
"""

from __future__ import annotations

import weakref
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import triton
from torch import Tensor

from rewarm._native import core
from rewarm.errors import BackendUnavailable, CaptureError
from rewarm.optim.adamw_kernels_triton import CONTROL_WORDS, norm_kernel, update_kernel
from rewarm.optim.capture import check_gradients, check_options
from rewarm.optim.plan import TOKENS, UPDATES, Flag, Plan, Stepper, norm_limit
from rewarm.optim.upload import DeviceTable, is_capturing

if TYPE_CHECKING:
    from rewarm.optim.adamw import AdamW

#: Whether Triton's interpreter runs the kernels: decided when they were defined.
INTERPRETED = not isinstance(update_kernel, triton.runtime.JITFunction)
#: Elements a program has in hand at once: 8 a thread, so that one access to 16-bit values is 16 bytes. The interpreter
#: pays per operation and not per element, so there it is a whole chunk.
BLOCK = core.CHUNK_ELEMENTS if INTERPRETED else 1024
TABLE_BLOCK = 1024
#: Contraction of a product and a sum is Triton's default in some releases; here the kernels say where they want it.
LAUNCH = {"num_warps": 4, "enable_fp_fusion": False}

_DTYPE_COLUMN, _STATE_DTYPE_COLUMN, _EMA_COLUMN = 8, 9, 10


def make_stepper(opt: AdamW, plan: Plan) -> Stepper:
    """Binds the tables and options of `opt` once."""
    return TritonStepper(opt, plan)


class TritonStepper:
    """One update of all tensors of a plan: no sync, and no upload unless a gradient moved or a group changed.

    In a CUDA graph the launches read the same tables as outside; gradient addresses and `tokens` stay as captured.

    Args:
        opt: The optimizer, for its tables and options.
        plan: The plan.

    Raises:
        BackendUnavailable: CPU tensors, and Triton was imported before TRITON_INTERPRET=1 was set.
    """

    def __init__(self, opt: AdamW, plan: Plan) -> None:
        device = opt.device
        if device.type == "cpu" and not INTERPRETED:
            raise BackendUnavailable(
                "AdamW: backend 'triton' cannot step CPU tensors: its kernels were compiled for a GPU, because "
                "TRITON_INTERPRET=1 was not set when they were imported. Set it before Python starts"
            )
        self._plan, self._native = plan, plan.native
        self._device = device
        self._opt = weakref.ref(opt)  # the optimizer owns the plan, which owns this
        self._host_counters = None if device.type == "cpu" else opt.tables.host_counters.numpy()
        self._gradients = DeviceTable(plan.native.gradients, device)
        self._configs = DeviceTable(plan.native.configs, device)
        tables, n_tensors, n_chunks = opt.tables, len(plan.entries), plan.native.n_chunks
        dtypes, state_dtypes = plan.entries[:, _DTYPE_COLUMN], plan.entries[:, _STATE_DTYPE_COLUMN]
        self._grid = (max(n_chunks, 1),)
        control = torch.zeros(CONTROL_WORDS, dtype=torch.int32, device=device)
        self._norm: dict[str, Any] | None = None
        schedules = {
            "configs_i64": self._configs.tensor,
            "rows_i64": tables.rows,
            "rows_f64": tables.rows.view(torch.float64),
            "counters_ptr": tables.counters,
        }
        watch = opt.diagnostics.words
        common = {
            "watch_ptr": torch.tensor(watch, dtype=torch.float64, device=device),
            "entries_ptr": torch.from_numpy(plan.entries).to(device),
            "chunks_ptr": torch.from_numpy(plan.native.chunks).to(device),
            "scalars_f64": tables.scalars,
            "control_ptr": control,
            "n_chunks": n_chunks,
            "BLOCK": BLOCK,
            "TABLE_BLOCK": TABLE_BLOCK,
        }
        if opt.max_grad_norm is not None or opt.skip_nonfinite:
            self._norm = (common | schedules) | {
                "partials_ptr": torch.zeros(n_chunks, dtype=torch.float64, device=device),
                "limit_ptr": torch.tensor([norm_limit(opt)], dtype=torch.float64, device=device),
                "DTYPES": _bits(dtypes),
                "CLIP": opt.max_grad_norm is not None,
                "SKIP_NONFINITE": opt.skip_nonfinite,
            }
        self._update = (common | schedules) | {
            "configs_f64": self._configs.tensor.view(torch.float64),
            "t_ptr": plan.t,
            "starts_i64": plan.starts,
            "starts_f64": plan.starts.view(torch.float64),
            "n_tensors": n_tensors,
            "n_groups": plan.n_groups,
            "COMBINATIONS": _bits(3 * dtypes + state_dtypes),
            "WITH_NORM": self._norm is not None,
            "COUNT_SKIPPED": opt.count_skipped_tokens,
            "BY_BITS": INTERPRETED,
            "changes_ptr": torch.zeros(n_chunks if opt.diagnostics.update_rms else 1, dtype=torch.float64, device=device),
            "EMA": bool(plan.entries[:, _EMA_COLUMN].any()),
            "ZERO": opt.zero_grad_in_step,
            "OBSERVE": opt.diagnostics.update_rms,
        }
        self._no_scale = torch.ones(1, dtype=torch.float32, device=device)
        self._no_inf = torch.zeros(1, dtype=torch.float32, device=device)
        self._no_tokens = torch.zeros(1, dtype=torch.int64, device=device)

    def __call__(
        self,
        gradients: list[Tensor | None] | None,
        tokens: int | Tensor,
        grad_scale: Tensor | None,
        found_inf: Tensor | None,
    ) -> int:
        """One update; see `Stepper`. `tokens` may be an int64 tensor of one element on the device."""
        native = self._native
        flags: int = native.refresh(gradients)
        capturing = is_capturing(self._device)
        if flags >= Flag.NO_GRADIENT and not (capturing and flags & Flag.NO_GRADIENT):
            return flags
        if capturing:
            gradient_table = self._capture()
        else:
            self._gradients.follow()
            self._configs.follow()
            gradient_table = self._gradients.tensor
            native.publish()
        advance = 0 if native.hold else 1
        count, counter = (0, tokens) if isinstance(tokens, Tensor) else (tokens, self._no_tokens)
        shared = {
            "gradients_ptr": gradient_table,
            "grad_scale_ptr": self._no_scale if grad_scale is None else self._scalar(grad_scale),
            "found_inf_ptr": self._no_inf if found_inf is None else self._scalar(found_inf),
        }
        with self._surroundings():
            if self._norm is not None:
                norm_kernel[self._grid](**self._norm, **shared, **LAUNCH)
            update_kernel[self._grid](**self._update, **shared, tokens_ptr=counter, tokens=count, advance=advance, **LAUNCH)
        self._plan.mark_written()
        if self._host_counters is not None and not capturing:
            self._host_counters[UPDATES] += advance
            self._host_counters[TOKENS] += count
        return flags

    def groups_changed(self) -> None:
        """Sends the group values to the device at once, for graphs that are replayed without a step in between."""
        self._configs.follow()

    def _capture(self) -> Tensor:
        opt = self._opt()
        assert opt is not None
        check_options(opt)
        check_gradients(opt, self._plan)
        if not self._configs.current:
            raise CaptureError(
                "AdamW: a value of param_groups changed before a CUDA graph capture; take one step outside the graph after "
                "changing it"
            )
        opt._captured = True
        return self._gradients.captured()

    def _scalar(self, value: Tensor) -> Tensor:
        return value.to(device=self._device, dtype=torch.float32)

    def _surroundings(self) -> Any:
        """What the launches need around them: the right current GPU, or the interpreter's silence."""
        if INTERPRETED:
            return quiet()
        if self._device.type == "cuda" and torch.cuda.current_device() != self._device.index:
            return torch.cuda.device(self._device)
        return nullcontext()


def quiet() -> np.errstate:
    """In the interpreter numpy would warn of infinities and NaN, which GPUs do not report."""
    return np.errstate(all="ignore")


def _bits(codes: np.ndarray) -> int:
    return int(np.bitwise_or.reduce(1 << np.unique(codes), initial=0))
