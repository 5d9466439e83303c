"""The cpu backend: hands a plan to the C++ step, one call an update."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rewarm.optim.plan import Flag, Plan, Stepper, norm_limit, zero_gradients

if TYPE_CHECKING:
    from rewarm.optim.adamw import AdamW


def make_stepper(opt: AdamW, plan: Plan) -> Stepper:
    """Binds the addresses and options of `opt` once."""
    native_step = plan.native.step_cpu
    tables = opt.tables
    t, counters, scalars = plan.t.data_ptr(), tables.counters.data_ptr(), tables.scalars.data_ptr()
    max_grad_norm, skip_nonfinite = norm_limit(opt), opt.skip_nonfinite
    stochastic_rounding, seed, count_skipped = opt.stochastic_rounding, opt.seed, opt.count_skipped_tokens
    plan.native.set_extras(zero_gradients=opt.zero_grad_in_step, **opt.diagnostics.options)
    threads, mark_written = torch.get_num_threads, plan.mark_written
    shards = plan.shards
    exchanges = shards is not None and shards.n_classes > 1 and (max_grad_norm >= 0.0 or skip_nonfinite)

    opt_zeroes = opt.zero_grad_in_step

    def step(gradients: list[Tensor | None] | None, tokens: int, grad_scale: Tensor | None, found_inf: Tensor | None) -> int:
        loss_scale = 1.0
        if grad_scale is not None:
            loss_scale = float(grad_scale)
        if found_inf is not None and float(found_inf) != 0.0:
            tables.count_skip(tokens if count_skipped else 0)
            if opt_zeroes:
                zero_gradients(plan.params)
            return 0
        total = None
        if exchanges and shards is not None:
            flags: int = plan.native.refresh(gradients)
            if flags >= Flag.NO_GRADIENT:
                return flags
            sums = plan.native.sum_squares_cpu(shards.classes, shards.n_classes, threads())
            total = shards.exchanged(torch.tensor(sums, dtype=torch.float64)).item()
        flags = native_step(
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
            total,
        )
        if flags < Flag.NO_GRADIENT:
            mark_written()
        return flags

    return step
