"""The reference backend as an optimizer: the float64 formulas of adamw_reference.py, tensor by tensor, on any device.

Schedules come from schedule_reference.py, values are rounded to storage once at the end. Slow, meant to be read and compared
with.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rewarm.optim import adamw_reference as reference
from rewarm.optim.arguments import SCHEDULED, value_of
from rewarm.optim.plan import (
    CLIP_COEF,
    CLIP_RATE,
    CLIPPED,
    LAST_LR,
    LR_AREA,
    NORM,
    NORM_MEAN,
    NORMS,
    STATE_KEYS,
    TOKENS,
    UPDATE_RMS,
    UPDATES,
    Flag,
    Plan,
    Stepper,
    origin_word,
    planned_gradients,
    zero_gradients,
)
from rewarm.optim.sharded import local_of
from rewarm.schedule import schedule_reference

if TYPE_CHECKING:
    from rewarm.optim.adamw import AdamW
    from rewarm.optim.diagnostics import Diagnostics


def make_stepper(opt: AdamW, plan: Plan) -> Stepper:
    """A step in plain torch operations."""
    counters, scalars = opt.tables.counters, opt.tables.scalars

    def scheduled(g: int, key: str) -> float:
        group = opt.param_groups[g]
        schedule = opt.schedules[g].get(key)
        if schedule is None or (key == "lr" and float(group["lr"]) == 0.0 and group["lr"] is not written_before[g]):
            return float(value_of(group, key))
        word = origin_word(g, SCHEDULED.index(key))
        now = counters[TOKENS if schedule.units == "tokens" else UPDATES] - counters[word]
        return schedule_reference.value(schedule.to_dict(), int(now))

    written_before: list[Any] = []

    def fill_with_zeros(gradients: list[Tensor | None]) -> None:
        with torch.no_grad():
            for g in gradients:
                if g is not None:
                    g.zero_()

    def step(gradients: list[Tensor | None] | None, tokens: int, grad_scale: Tensor | None, found_inf: Tensor | None) -> int:
        if found_inf is not None and float(found_inf) != 0.0:
            opt.tables.count_skip(tokens if opt.count_skipped_tokens else 0)
            if opt.zero_grad_in_step:
                zero_gradients(plan.params)
            return 0
        flags: int = plan.native.refresh(gradients)
        if flags >= Flag.NO_GRADIENT:
            return flags
        plan.native.publish()
        written_before[:] = [plan.native.published(g, 0) for g in range(plan.n_groups)]
        grads = planned_gradients(plan, gradients)
        factor = 1.0 if grad_scale is None else 1.0 / float(grad_scale)
        if opt.max_grad_norm is not None or opt.skip_nonfinite:
            norm = _grad_norm(plan, grads) * factor
            limit = scheduled(0, "max_grad_norm") if "max_grad_norm" in opt.schedules[0] else opt.max_grad_norm
            coefficient = reference.clip_coefficient(norm, limit)
            skip = opt.skip_nonfinite and not math.isfinite(norm)
            scalars[NORM], scalars[CLIP_COEF] = norm, 0.0 if skip else coefficient
            watch(norm, scalars[NORM_MEAN : NORM_MEAN + 2], counters[NORMS : NORMS + 3], opt.diagnostics)
            if math.isfinite(norm):
                counters[CLIPPED] += coefficient < 1.0
                scalars[CLIP_RATE] = int(counters[CLIPPED]) / int(counters[NORMS])
            if skip:
                opt.tables.count_skip(tokens if opt.count_skipped_tokens else 0)
                if opt.zero_grad_in_step:
                    fill_with_zeros(grads)
                return flags
            factor *= coefficient
        rates = [scheduled(g, "lr") * group.get("lr_scale", 1.0) for g, group in enumerate(opt.param_groups)]
        for results, rate in zip(opt.tables.group_scalars, rates, strict=True):
            results[LAST_LR] = rate
            if not plan.native.hold:
                reference.record_lr(results[LR_AREA:], rate, opt.diagnostics.annealing_decay)
        changes, elements = 0.0, 0
        for entry, (k, grad) in enumerate(zip(plan.planned, grads, strict=True)):
            if grad is None:
                continue
            g = int(plan.entries[entry, 7])
            before = plan.locals[k].detach().clone()
            values = {key: scheduled(g, key) for key in ("weight_decay", "beta1", "beta2", "eps")}
            _step_one(opt, plan, entry, k, grad, factor, lr=rates[g], **values)
            changes += float((plan.locals[k].detach().double() - before.double()).square().sum())
            elements += grad.numel()
            if plan.entries[entry, 10]:
                average = local_of(opt.state[plan.params[k]]["ema"])
                average.copy_(reference.moving_average(average, plan.locals[k].detach(), scheduled(g, "ema_decay")))
        if opt.diagnostics.update_rms:
            scalars[UPDATE_RMS] = math.sqrt(changes / elements) if elements else 0.0
        if opt.zero_grad_in_step:
            fill_with_zeros(grads)
        counters[UPDATES] += 0 if plan.native.hold else 1
        counters[TOKENS] += tokens
        return flags

    return step


def _grad_norm(plan: Plan, grads: list[Tensor | None]) -> float:
    if plan.shards is None:
        return reference.grad_norm([g for g in grads if g is not None])
    sums = torch.zeros(plan.shards.n_classes, dtype=torch.float64)
    for grad, k in zip(grads, plan.shards.classes, strict=True):
        if grad is not None:
            sums[k] += grad.double().square().sum().cpu()
    return float(plan.shards.exchanged(sums.to(plan.t.device)).sqrt())


def watch(value: float, moments: Tensor, counts: Tensor, diagnostics: Diagnostics) -> None:
    """One more value of a statistic, in place; see `reference.watch_value`."""
    before = (float(moments[0]), float(moments[1])), (int(counts[0]), int(counts[1]))
    new_moments, new_counts = reference.watch_value(
        value,
        *before,
        decay=diagnostics.spike_decay,
        deviations=diagnostics.spike_deviations,
        after=diagnostics.spike_after,
    )
    moments.copy_(torch.tensor(new_moments, dtype=torch.float64))
    counts.copy_(torch.tensor(new_counts))


def _step_one(opt: AdamW, plan: Plan, entry: int, k: int, grad: Tensor, factor: float, **values: float) -> None:
    group = opt.param_groups[int(plan.entries[entry, 7])]
    p = plan.locals[k]
    state = {key: local_of(value) for key, value in opt.state[plan.params[k]].items()}
    t = int(plan.t[entry])
    if float(state["step"]) != float(torch.tensor(t, dtype=torch.float32)):
        t = int(state["step"])
    t += 1
    plan.t[entry] = t
    state["step"].fill_(t)
    start = plan.start_of(entry, t)
    new_p, *moments = reference.update(
        p.detach(),
        grad.detach(),
        state["exp_avg"],
        state["exp_avg_sq"],
        state.get("max_exp_avg_sq") if group["amsgrad"] else None,
        t=t,
        decoupled_weight_decay=group["decoupled_weight_decay"],
        maximize=group["maximize"],
        grad_factor=factor,
        **values,  # type: ignore[arg-type]  # floats all, the names are ours
        since=start.since,
        missing_m=start.missing_m,
        missing_v=start.missing_v,
        v_from_gradient=start.v_from_gradient,
    )
    with torch.no_grad():
        for key, moment in zip(STATE_KEYS, moments, strict=True):
            if moment is not None:
                state[key].copy_(moment)
        if opt.stochastic_rounding and p.dtype is torch.bfloat16:
            bits = reference.rounding_bits(opt.seed, plan.planned[entry], t, p.numel())
            in_memory_order = torch.as_strided(new_p, (p.numel(),), (1,)) if p.numel() else new_p.reshape(-1)
            rounded = reference.round_stochastic(in_memory_order.cpu(), bits).to(p.device)
            torch.as_strided(p, (p.numel(),), (1,), p.storage_offset()).copy_(rounded)
        else:
            p.copy_(new_p)
