"""What AdamW refuses while a CUDA graph is captured: whatever a replay could not repeat."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rewarm.errors import CaptureError
from rewarm.optim.arguments import each_param, param_name

if TYPE_CHECKING:
    from rewarm.optim.adamw import AdamW
    from rewarm.optim.plan import Plan


def refuse_while_capturing(device: torch.device, what: str, instead: str = "") -> None:
    """Raises CaptureError when the current stream records a CUDA graph."""
    if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        raise CaptureError(f"AdamW: {what} cannot be captured in a CUDA graph" + (f"; {instead}" if instead else ""))


def check_options(opt: AdamW) -> None:
    """Refuses capturable=False, and a torch scheduler whose float learning rates no replay would see."""
    for g, group in enumerate(opt.param_groups):
        if not group.get("capturable", False):
            raise CaptureError(
                f"AdamW: group {g} has capturable=False: pass capturable=True to AdamW to capture its step in a CUDA graph"
            )
    # torch's schedulers replace `step` of the instance by a wrapper that counts.
    step = opt.__dict__.get("step")
    if not (hasattr(step, "_wrapped_by_lr_sched") or hasattr(step, "_with_counter")):
        return
    for g, group in enumerate(opt.param_groups):
        if not isinstance(group["lr"], Tensor) and "lr" not in opt.schedules[g]:
            raise CaptureError(
                f"AdamW: group {g} has a float learning rate and a torch scheduler: replays of a CUDA graph would not see its "
                "changes; pass a Schedule as lr, or a tensor on the device"
            )


def check_gradients(opt: AdamW, plan: Plan) -> None:
    """Refuses a parameter with state and without gradient, by name: no replay would ever update it."""
    missing = [k for k, address in zip(plan.planned, plan.native.gradients, strict=True) if address == 0]
    if not missing:
        return
    places = [(g, i) for g, i, _ in each_param(opt.param_groups)]
    name = param_name(opt.param_groups, *places[missing[0]])
    raise CaptureError(
        f"AdamW: {name} has no gradient while a CUDA graph is captured ({len(missing)} of {len(plan.planned)} parameters with "
        "state have none), so no replay would update it; run backward inside the capture, or keep the gradients with "
        "zero_grad(set_to_none=False)"
    )


class Recorded(torch.optim.Optimizer):
    """The part of AdamW that knows whether a CUDA graph holds its addresses."""

    _captured = False

    def release_capture(self) -> None:
        """Allows again what is refused after a CUDA graph capture; captured graphs must not be replayed afterwards."""
        self._captured = False

    def _refuse_under_capture(self, what: str) -> None:
        if self._captured:
            raise CaptureError(
                f"AdamW: {what} after this optimizer was captured in a CUDA graph would leave the graph with stale addresses; "
                "call opt.release_capture() when the graph will not be replayed again"
            )
