"""The cpu backend: hands a plan to the C++ step, one call an update."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rewarm.optim.plan import Flag, Plan, Stepper

if TYPE_CHECKING:
    from rewarm.optim.adamw import AdamW


def make_stepper(opt: AdamW, plan: Plan) -> Stepper:
    """Binds the addresses and options of `opt` once."""
    native_step = plan.native.step_cpu
    tables = opt.tables
    t, counters, scalars = plan.t.data_ptr(), tables.counters.data_ptr(), tables.scalars.data_ptr()
    max_grad_norm, skip_nonfinite = opt.max_grad_norm or 0.0, opt.skip_nonfinite
    stochastic_rounding, seed, count_skipped = opt.stochastic_rounding, opt.seed, opt.count_skipped_tokens
    threads, mark_written = torch.get_num_threads, plan.mark_written

    def step(gradients: list[Tensor | None] | None, tokens: int, grad_scale: Tensor | None, found_inf: Tensor | None) -> int:
        loss_scale = 1.0
        if grad_scale is not None:
            loss_scale = float(grad_scale)
        if found_inf is not None and float(found_inf) != 0.0:
            tables.count_skip(tokens if count_skipped else 0)
            return 0
        flags: int = native_step(
            gradients,
            t,
            counters,
            scalars,
            max_grad_norm,
            skip_nonfinite,
            tokens,
            stochastic_rounding,
            seed,
            count_skipped,
            loss_scale,
            threads(),
        )
        if flags < Flag.NO_GRADIENT:
            mark_written()
        return flags

    return step
