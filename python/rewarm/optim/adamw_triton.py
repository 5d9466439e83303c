"""The triton backend: launches the kernels of adamw_kernels_triton.py over a plan, two with a norm and one without.

For GPUs that no CUDA module was built for, AMD's included, and in Triton's interpreter (TRITON_INTERPRET=1) on CPU tensors.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import triton
from torch import Tensor

from rewarm._native import core
from rewarm.errors import BackendUnavailable, CaptureError
from rewarm.optim.adamw_kernels_triton import CONTROL_WORDS, norm_kernel, update_kernel
from rewarm.optim.plan import TOKENS, UPDATES, Flag, Plan, Stepper
from rewarm.optim.upload import DeviceTable, is_capturing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rewarm.optim.adamw import AdamW

#: Whether Triton's interpreter runs the kernels: decided when they were defined.
INTERPRETED = not isinstance(update_kernel, triton.runtime.JITFunction)
#: Elements a program has in hand at once: 8 a thread, so that one 16-bit access is 16 bytes. The interpreter pays per operation
#: and not per element, so there it is a whole chunk.
BLOCK = core.CHUNK_ELEMENTS if INTERPRETED else 1024
TABLE_BLOCK = 1024
#: Contraction of a product and a sum is Triton's default in some releases; here the kernels say where they want it.
LAUNCH = {"num_warps": 4, "enable_fp_fusion": False}

_DTYPE_COLUMN, _STATE_DTYPE_COLUMN = core.ENTRY_COLUMNS - 2, core.ENTRY_COLUMNS - 1


def make_stepper(opt: AdamW, plan: Plan) -> Stepper:
    """Binds the tables and options of `opt` once."""
    return TritonStepper(opt, plan)


class TritonStepper:
    """One update of all tensors of a plan: no sync, and no upload unless a gradient moved or a group changed.

    In a CUDA graph the launches read the same tables as outside; gradient addresses and `tokens` are those of the capture.

    Args:
        opt: The optimizer, for its tables and options.
        plan: The plan; its native handle is kept, not the plan.

    Raises:
        BackendUnavailable: CPU tensors, and Triton was imported before TRITON_INTERPRET=1 was set.
    """

    def __init__(self, opt: AdamW, plan: Plan) -> None:
        device = opt.device
        if device.type == "cpu" and not INTERPRETED:
            raise BackendUnavailable(
                "AdamW: backend 'triton' cannot step CPU tensors: its kernels were compiled for a GPU, because TRITON_INTERPRET=1 "
                "was not set when they were imported. Set it before Python starts"
            )
        self._native = plan.native
        self._device = device
        self._capturable = all(group["capturable"] for group in opt.param_groups)
        self._changed = 0  # flags of the gather that no upload has answered yet
        self._host_counters = None if device.type == "cpu" else opt.tables.host_counters.numpy()
        self._gradients = DeviceTable(plan.native.gradients, device)
        self._configs = DeviceTable(plan.native.configs, device)
        tables, n_tensors, n_chunks = opt.tables, len(plan.entries), plan.native.n_chunks
        dtypes, state_dtypes = plan.entries[:, _DTYPE_COLUMN], plan.entries[:, _STATE_DTYPE_COLUMN]
        self._grid = (max(n_chunks, 1),)
        control = torch.zeros(CONTROL_WORDS, dtype=torch.int32, device=device)
        self._norm: dict[str, Any] | None = None
        common = {
            "entries_ptr": torch.from_numpy(plan.entries).to(device),
            "chunks_ptr": torch.from_numpy(plan.native.chunks).to(device),
            "scalars_f64": tables.scalars,
            "control_ptr": control,
            "n_chunks": n_chunks,
            "BLOCK": BLOCK,
            "TABLE_BLOCK": TABLE_BLOCK,
        }
        if opt.max_grad_norm is not None or opt.skip_nonfinite:
            self._norm = common | {
                "partials_ptr": torch.zeros(n_chunks, dtype=torch.float64, device=device),
                "limit_ptr": torch.tensor([opt.max_grad_norm or 0.0], dtype=torch.float64, device=device),
                "DTYPES": _bits(dtypes),
                "CLIP": opt.max_grad_norm is not None,
                "SKIP_NONFINITE": opt.skip_nonfinite,
            }
        self._update = common | {
            "configs_i64": self._configs.tensor,
            "configs_f64": self._configs.tensor.view(torch.float64),
            "rows_i64": tables.rows,
            "rows_f64": tables.rows.view(torch.float64),
            "counters_ptr": tables.counters,
            "t_ptr": plan.t,
            "n_tensors": n_tensors,
            "n_groups": plan.n_groups,
            "COMBINATIONS": _bits(3 * dtypes + state_dtypes),
            "WITH_NORM": self._norm is not None,
            "BY_BITS": INTERPRETED,
        }
        self._no_scale = torch.ones(1, dtype=torch.float32, device=device)
        self._no_inf = torch.zeros(1, dtype=torch.float32, device=device)

    def __call__(
        self, gradients: list[Tensor | None] | None, tokens: int, grad_scale: Tensor | None, found_inf: Tensor | None
    ) -> int:
        """One update; see `Stepper`."""
        native = self._native
        flags: int = native.refresh(gradients)
        self._changed |= flags  # of a refresh that led to no step as well
        if flags >= Flag.NO_GRADIENT:
            return flags
        capturing = is_capturing(self._device)
        if capturing:
            gradient_table = self._capture()
        else:
            if self._changed & Flag.GRADIENTS_MOVED:
                self._gradients.upload()
            if self._changed & Flag.GROUPS_CHANGED:
                self._configs.upload()
            self._changed = 0
            gradient_table = self._gradients.tensor
            native.publish()
        shared = {
            "gradients_ptr": gradient_table,
            "grad_scale_ptr": self._no_scale if grad_scale is None else self._scalar(grad_scale),
            "found_inf_ptr": self._no_inf if found_inf is None else self._scalar(found_inf),
        }
        with self._surroundings():
            if self._norm is not None:
                norm_kernel[self._grid](**self._norm, **shared, **LAUNCH)
            update_kernel[self._grid](
                **self._update, **shared, tokens=tokens, advance=0 if native.hold else 1, **LAUNCH
            )
        if self._host_counters is not None and not capturing:
            self._host_counters[UPDATES] += 0 if native.hold else 1
            self._host_counters[TOKENS] += tokens
        return flags

    def groups_changed(self) -> None:
        """Uploads the group table at once: a captured graph reads it without another call of this object."""
        self._configs.upload()

    def _capture(self) -> Tensor:
        if not self._capturable:
            raise CaptureError("AdamW: step in a CUDA graph capture needs AdamW(capturable=True)")
        if (self._native.gradients == 0).any():
            raise CaptureError("AdamW: step in a CUDA graph capture: a parameter has no gradient; every replay would leave it out")
        if self._changed & Flag.GROUPS_CHANGED:
            raise CaptureError(
                "AdamW: step in a CUDA graph capture: a value of param_groups changed since the last step; take one step outside the "
                "graph after changing it"
            )
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


# ---- ahead of time ---------------------------------------------------------------------------------------------------

_TYPES = {
    "entries_ptr": "*i64", "chunks_ptr": "*i64", "gradients_ptr": "*i64", "configs_i64": "*i64", "configs_f64": "*fp64",
    "rows_i64": "*i64", "rows_f64": "*fp64", "counters_ptr": "*i64", "scalars_f64": "*fp64", "t_ptr": "*i64", "control_ptr": "*i32",
    "partials_ptr": "*fp64", "limit_ptr": "*fp64", "grad_scale_ptr": "*fp32", "found_inf_ptr": "*fp32", "tokens": "i64",
    "advance": "i32", "n_chunks": "i32", "n_tensors": "i32", "n_groups": "i32",
}  # fmt: skip
#: Codes (dtype, state dtype) of the combinations that the kernels know, by name.
COMBINATIONS = {"float32": (0, 0), "bfloat16_float32": (1, 0), "bfloat16": (1, 1), "float16_float32": (2, 0)}


def ahead_of_time_sources() -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """What `triton.compile` needs to build every kernel for every dtype combination without a GPU.

    Compiling fails while TRITON_INTERPRET=1 is set: do it in a process of its own.

    Yields:
        (name, ASTSource, options) of one compilation: ``triton.compile(source, target=..., options=options)``.
    """
    from triton.compiler import ASTSource

    def source(kernel: Any, constants: dict[str, Any]) -> Any:
        signature = {name: _TYPES.get(name, "constexpr") for name in kernel.arg_names}
        return ASTSource(kernel, signature=signature, constexprs=constants | {"BLOCK": BLOCK, "TABLE_BLOCK": TABLE_BLOCK})

    for code, name in enumerate(("float32", "bfloat16", "float16")):
        yield f"norm_{name}", source(norm_kernel, {"DTYPES": 1 << code, "CLIP": True, "SKIP_NONFINITE": True}), LAUNCH
    update = {"WITH_NORM": True, "BY_BITS": False}
    bits = {name: 1 << (3 * dtype + state_dtype) for name, (dtype, state_dtype) in COMBINATIONS.items()}
    for name, combinations in (bits | {"mixed": sum(bits.values())}).items():
        yield f"update_{name}", source(update_kernel, update | {"COMBINATIONS": combinations}), LAUNCH
