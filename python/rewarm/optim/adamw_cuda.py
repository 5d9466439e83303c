"""The cuda backend: hands a plan to the CUDA kernels, two launches an update (one without a norm), eager or captured.

What the kernels read lies on the device: entries and chunks from the start, gradient addresses and group values in one table
that is copied again, asynchronously and from pinned memory, only after something in it changed. A captured graph has a table of
gradient addresses of its own and shares everything else, so that it follows counters and schedules.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rewarm import _native
from rewarm.errors import BackendUnavailable, CaptureError, InvalidArgument
from rewarm.optim import capture
from rewarm.optim.plan import TOKENS, UPDATES, Flag, Plan, norm_limit

if TYPE_CHECKING:
    from rewarm.optim.adamw import AdamW

#: Steps that may be recorded between a build of the plan and `release_capture`: tables for them must exist before a capture.
CAPTURES = 16
_UPLOAD_GROUPS = int(Flag.GROUPS_CHANGED)
_UPLOAD_ALL = int(Flag.GRADIENTS_MOVED | Flag.GROUPS_CHANGED)
_NOT_STEPPED = int(Flag.NO_GRADIENT)


def make_stepper(opt: AdamW, plan: Plan) -> CudaStepper:
    """Allocates the device tables of `plan` and binds their addresses once."""
    with torch.cuda.device(opt.device):
        return CudaStepper(opt, plan)


class CudaStepper:
    """One update of one plan; called with gradients (or None), tokens, and GradScaler's tensors."""

    def __init__(self, opt: AdamW, plan: Plan) -> None:
        native = _native.cuda()
        if native is None:
            raise BackendUnavailable(f"AdamW: backend 'cuda': {_native.cuda_unavailable_reason()}")
        device, tables = opt.device, opt.tables
        self.device = device
        self.index: int = device.index or 0
        # The optimizer owns the plan, which owns this: no circle, so that dropping the optimizer frees its memory at once.
        self.opt = weakref.ref(opt)
        self.plan = weakref.ref(plan)
        self.gather = plan.native
        self.refresh = plan.native.refresh
        self.publish = plan.native.publish
        self.host_counters = tables.host_counters.numpy()
        self.current_stream = _current_stream_getter(self.index)
        self.current_device = torch.cuda.current_device
        self.is_capturing = native.is_capturing
        #: Tables that differ from what the device has.
        self.pending = _UPLOAD_ALL

        step = self.native = native.AdamWCudaPlan(
            entries=plan.entries,
            n_groups=plan.n_groups,
            device=self.index,
            max_grad_norm=norm_limit(opt),
            skip_nonfinite=opt.skip_nonfinite,
            stochastic_rounding=opt.stochastic_rounding,
            seed=opt.seed,
            count_skipped_tokens=opt.count_skipped_tokens,
            zero_gradients=opt.zero_grad_in_step,
            **opt.diagnostics.options,
        )
        workspace = torch.zeros(step.workspace_words, dtype=torch.int64, device=device)
        image = torch.from_numpy(step.image)
        workspace[: image.numel()].copy_(image)
        staging = torch.empty(step.staging_words, dtype=torch.int64, pin_memory=True)
        self.capture_tables = torch.zeros((CAPTURES, len(plan.planned)), dtype=torch.int64, device=device)
        self.captures = 0
        self.on_device = (workspace, self.capture_tables, plan.counts_table, tables.counters, tables.scalars, tables.rows)
        step.bind(
            workspace=workspace.data_ptr(),
            staging=staging.data_ptr(),
            t=plan.counts_table.data_ptr(),
            counters=tables.counters.data_ptr(),
            scalars=tables.scalars.data_ptr(),
            rows=tables.rows.data_ptr(),
            host_gradients=plan.native.gradients.ctypes.data,
            host_configs=plan.native.configs.ctypes.data,
            keep=(self.on_device, staging, plan.native),
        )
        self.streams = {self.current_stream()}

    def __call__(
        self, gradients: list[Tensor | None] | None, tokens: int | Tensor, grad_scale: Tensor | None, found_inf: Tensor | None
    ) -> int:
        """One update; see `Stepper`."""
        if self.current_device() == self.index:
            return self._step(gradients, tokens, grad_scale, found_inf)
        with torch.cuda.device(self.index):
            return self._step(gradients, tokens, grad_scale, found_inf)

    def _step(
        self, gradients: list[Tensor | None] | None, tokens: int | Tensor, grad_scale: Tensor | None, found_inf: Tensor | None
    ) -> int:
        stream = self.current_stream()
        if self.is_capturing(stream):
            return self._record(stream, gradients, tokens, grad_scale, found_inf)
        if stream not in self.streams:
            self._meet(stream)
        flags, upload = self._refreshed(gradients)
        if flags >= _NOT_STEPPED:
            return flags
        self.publish()
        advance = not self.gather.hold
        count, counter = _token_arguments(tokens, self.device)
        scale, overflow = _on(self.device, grad_scale), _on(self.device, found_inf)
        self.native.step(stream, upload, advance, count, counter, _address(scale), _address(overflow))
        self.pending = 0
        self._mark_written()
        # What the host knows: updates issued. Skips and replays are seen on the device only.
        if advance:
            self.host_counters[UPDATES] += 1
        self.host_counters[TOKENS] += count
        return flags

    def _refreshed(self, gradients: list[Tensor | None] | None) -> tuple[int, int]:
        """The flags of the gather, and which tables the device lacks; remembered until a step was issued."""
        upload = self.pending
        self.pending = _UPLOAD_ALL  # should the gather raise, what it had seen until then is unknown
        flags: int = self.refresh(gradients)
        upload |= flags & _UPLOAD_ALL
        self.pending = upload
        return flags, upload

    def _mark_written(self) -> None:
        plan = self.plan()
        if plan is not None:
            plan.mark_written()

    def _meet(self, stream: int) -> None:
        """Tells the allocator about a stream that our memory was not allocated on."""
        self.streams.add(stream)
        for tensor in self.on_device:
            tensor.record_stream(torch.cuda.current_stream(self.device))

    # ---- between steps -------------------------------------------------------------------------------------------------

    def order_after_last_step(self) -> None:
        """Lets the current stream wait for the last step, on whatever stream that ran; the host does not wait."""
        with torch.cuda.device(self.index):
            self.native.order_after_last(self.current_stream())

    def groups_changed(self) -> None:
        """Sends the group values to the device at once, for graphs that are replayed without a step in between."""
        with torch.cuda.device(self.index):
            self.native.upload(self.current_stream(), _UPLOAD_GROUPS)

    # ---- capture -------------------------------------------------------------------------------------------------------

    def _record(
        self,
        stream: int,
        gradients: list[Tensor | None] | None,
        tokens: int | Tensor,
        grad_scale: Tensor | None,
        found_inf: Tensor | None,
    ) -> int:
        """Adds this update to the graph that `stream` is recording. Nothing is executed and no counter moves."""
        opt, plan = self.opt(), self.plan()
        assert opt is not None and plan is not None
        capture.check_options(opt)
        flags, upload = self._refreshed(gradients)
        if flags >= _NOT_STEPPED and not flags & Flag.NO_GRADIENT:
            return flags
        if not self.gather.all_present:
            capture.check_gradients(opt, plan)
        if flags >= _NOT_STEPPED:
            return flags
        if not opt._captured:
            self.captures = 0
        if self.captures == CAPTURES:
            raise CaptureError(
                f"AdamW: {CAPTURES} steps of this optimizer are recorded in CUDA graphs, and there is no room for more; call "
                "opt.release_capture() when they will not be replayed again"
            )
        count, counter = _token_arguments(tokens, self.device)
        scale, overflow = _on(self.device, grad_scale), _on(self.device, found_inf)
        table = self.capture_tables[self.captures].data_ptr()
        advance = not self.gather.hold
        self.native.record(stream, table, upload, advance, count, counter, _address(scale), _address(overflow))
        self._mark_written()
        self.captures += 1
        # The graph got the gradients in a table of its own; ours still has those of the last step.
        self.pending = int(Flag.GRADIENTS_MOVED)
        opt._captured = True
        return flags


def _current_stream_getter(index: int) -> Callable[[], int]:
    raw = getattr(torch._C, "_cuda_getCurrentRawStream", None)
    if raw is None:
        return lambda: int(torch.cuda.current_stream(index).cuda_stream)
    return lambda: int(raw(index))


def _token_arguments(tokens: int | Tensor, device: torch.device) -> tuple[int, int]:
    """(tokens, 0), or (0, address) of a counter on the device that the kernel reads."""
    if not isinstance(tokens, Tensor):
        return tokens, 0
    if tokens.dtype is not torch.int64 or tokens.numel() != 1 or tokens.device != device:
        raise InvalidArgument(
            f"AdamW: step: tokens: expected an int, or a torch.int64 tensor of one element on {device}, got {tokens.dtype} of "
            f"shape {tuple(tokens.shape)} on {tokens.device}"
        )
    return 0, tokens.data_ptr()


def _on(device: torch.device, scalar: Tensor | None) -> Tensor | None:
    """GradScaler's scalar as the kernels read it: float32 on `device`."""
    if scalar is None or (scalar.dtype is torch.float32 and scalar.device == device):
        return scalar
    return scalar.to(device, torch.float32, non_blocking=True)


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()
