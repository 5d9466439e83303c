"""What a user reads from an optimizer while it runs, and the one factor that may be turned by hand."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from rewarm._native import core
from rewarm.optim.arguments import SCHEDULED, checked_scalar
from rewarm.optim.capture import Recorded
from rewarm.optim.diagnostics import Diagnostics
from rewarm.optim.plan import (
    ANNEALING_AREA,
    CLIP_COEF,
    CLIP_RATE,
    LAST_LR,
    LOSS_MEAN,
    LOSS_SPIKES,
    LOSS_SPIKING,
    LOSSES,
    LR_AREA,
    NORM,
    NORM_SPIKES,
    NORM_SPIKING,
    SKIPPED,
    TOKENS,
    UPDATE_RMS,
    UPDATES,
    Tables,
    origin_word,
)
from rewarm.schedule import Schedule

_MAX_GRAD_NORM = SCHEDULED.index("max_grad_norm")


class Live(NamedTuple):
    """Views of an optimizer's results on its device.

    `grad_norm`, `clip_coef`, `clip_rate`, `grad_norm_spikes` and `grad_norm_spike` are None when no norm is read, `update_rms`
    without ``diagnostics=True``.
    """

    last_lr: Tensor
    grad_norm: Tensor | None
    clip_coef: Tensor | None
    skipped_steps: Tensor
    lr_area: Tensor
    annealing_area: Tensor
    update_rms: Tensor | None
    clip_rate: Tensor | None
    loss_spikes: Tensor
    loss_spike: Tensor
    grad_norm_spikes: Tensor | None
    grad_norm_spike: Tensor | None


def watch_value(x: Tensor, moments: Tensor, counts: Tensor, watch: Diagnostics) -> None:
    """``watch_value`` of csrc/optim/advance.h in torch operations, in place, for any device."""
    mean, variance = moments.unbind()
    seen = counts[0]
    finite = x.isfinite()
    spike = ~finite | ((seen >= watch.spike_after) & (x > mean + watch.spike_deviations * variance.sqrt()))
    weight = (1.0 / (seen + 1).double()).clamp_min(1.0 - watch.spike_decay)
    off = x - mean
    new = torch.stack((mean + weight * off, (1.0 - weight) * (variance + weight * off * off)))
    moments.copy_(torch.where(finite, new, moments))
    counts.copy_(torch.stack((seen + finite, counts[1] + spike, spike.to(torch.int64))))


class LrScale:
    """``opt.lr_scale[i]``: a factor on the learning rate of group i, on top of its float or Schedule; saved with the group."""

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        self._groups = groups

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, group: int) -> float:
        return float(self._groups[group].get("lr_scale", 1.0))

    def __setitem__(self, group: int, factor: float) -> None:
        self._groups[group]["lr_scale"] = checked_scalar(f"lr_scale[{group}]", factor)

    def __repr__(self) -> str:
        return repr([self[group] for group in range(len(self))])


class Observed(Recorded):
    """The part of AdamW that shows what the last step did, read without a sync."""

    device: torch.device
    schedules: list[dict[str, Schedule]]
    _max_grad_norm: float | None
    skip_nonfinite: bool
    diagnostics: Diagnostics
    _tables: Tables | None

    @property
    def tables(self) -> Tables:
        """Counters and schedule rows on the device; made at first use."""
        if self._tables is None:
            self._tables = Tables(self.device, len(self.param_groups))
            self._write_schedules()
        return self._tables

    @property
    def has_tables(self) -> bool:
        """Whether `tables` was used yet."""
        return self._tables is not None

    @property
    def max_grad_norm(self) -> float | None:
        """The limit of the norm for the next update, as far as the host knows; None when gradients are not clipped."""
        schedule = self.schedules[0].get("max_grad_norm") if self.schedules else None
        if schedule is None:
            return self._max_grad_norm
        if self._tables is None:
            return schedule(0)
        counters = self._tables.host_counters
        now = counters[TOKENS if schedule.units == "tokens" else UPDATES] - counters[origin_word(0, _MAX_GRAD_NORM)]
        return schedule(int(now))

    @property
    def live(self) -> Live:
        """Views that change with every step, by the names of the properties that clone them."""
        scalars, counters, groups = self.tables.scalars, self.tables.counters, self.tables.group_scalars
        reads_norm = self.max_grad_norm is not None or self.skip_nonfinite
        return Live(
            last_lr=groups[:, LAST_LR],
            grad_norm=scalars[NORM] if reads_norm else None,
            clip_coef=scalars[CLIP_COEF] if reads_norm else None,
            skipped_steps=counters[SKIPPED],
            lr_area=groups[:, LR_AREA],
            annealing_area=groups[:, ANNEALING_AREA],
            update_rms=scalars[UPDATE_RMS] if self.diagnostics.update_rms else None,
            clip_rate=scalars[CLIP_RATE] if reads_norm else None,
            loss_spikes=counters[LOSS_SPIKES],
            loss_spike=counters[LOSS_SPIKING],
            grad_norm_spikes=counters[NORM_SPIKES] if reads_norm else None,
            grad_norm_spike=counters[NORM_SPIKING] if reads_norm else None,
        )

    @property
    def last_lr(self) -> Tensor:
        """The learning rate of the last update, with lr_scale: float64 [n_groups] on the device, NaN before the first."""
        return self.live.last_lr.clone()

    @property
    def grad_norm(self) -> Tensor | None:
        """L2 norm of the last gradients, before clipping: 0-d float64 on the device; None when no norm is read."""
        norm = self.live.grad_norm
        return None if norm is None else norm.clone()

    @property
    def clip_coef(self) -> Tensor | None:
        """Factor on the last gradients, 0-d float64, 0 for a skipped update; None when no norm is read."""
        coefficient = self.live.clip_coef
        return None if coefficient is None else coefficient.clone()

    @property
    def skipped_steps(self) -> Tensor:
        """Updates skipped because of non-finite gradients: 0-d int64 on the device."""
        return self.live.skipped_steps.clone()

    @property
    def lr_area(self) -> Tensor:
        """S1, the sum of the learning rates of all updates: float64 [n_groups]. Where schedules stand still, so does it."""
        return self.live.lr_area.clone()

    @property
    def annealing_area(self) -> Tensor:
        """S2, sum over updates i of sum over k <= i of (lr_(k-1) - lr_k) lambda^(i-k): float64 [n_groups], lr_0 - lr_1 being 0.

        Falls of the rate make it grow, warm-up and re-warming make it shrink; lambda is ``Diagnostics.annealing_decay``.
        After Tissue et al. 2024 (arXiv 2408.11029; from memory, not compared with the text), used by Wang et al. 2025
        (arXiv 2505.07796) for continual pre-training.
        """
        return self.live.annealing_area.clone()

    @property
    def update_rms(self) -> Tensor | None:
        """Root mean square of theta_new - theta_old, as stored, over the elements of the last update: 0-d float64.

        None without ``diagnostics=True``.
        """
        rms = self.live.update_rms
        return None if rms is None else rms.clone()

    @property
    def clip_rate(self) -> Tensor | None:
        """Fraction of the updates with a finite norm whose gradients were scaled down: 0-d float64; None without a norm."""
        rate = self.live.clip_rate
        return None if rate is None else rate.clone()

    @property
    def loss_spike(self) -> Tensor:
        """Whether the loss recorded last was a spike: 0-d bool."""
        return self.live.loss_spike != 0

    @property
    def loss_spikes(self) -> Tensor:
        """Spikes among the recorded losses: 0-d int64."""
        return self.live.loss_spikes.clone()

    @property
    def grad_norm_spike(self) -> Tensor | None:
        """Whether the norm read last was a spike: 0-d bool; None when no norm is read."""
        spike = self.live.grad_norm_spike
        return None if spike is None else spike != 0

    @property
    def grad_norm_spikes(self) -> Tensor | None:
        """Spikes among the gradient norms: 0-d int64; None when no norm is read."""
        spikes = self.live.grad_norm_spikes
        return None if spikes is None else spikes.clone()

    def record_loss(self, loss: Tensor | float) -> None:
        """Compares a loss with the running mean of those before it, on the device and without a sync.

        A loss more than ``spike_deviations`` standard deviations above the mean, after ``spike_after`` of them, or one that is
        not finite, sets `loss_spike` and counts in `loss_spikes`. Mean and variance weigh the first 1 / (1 - spike_decay)
        losses alike and then forget by spike_decay; a spike enters them too, unless it is not finite.

        Args:
            loss: A number, or a tensor of one element; one on another device than the optimizer's is copied.
        """
        tables, watch = self.tables, self.diagnostics
        moments, counts = tables.scalars[LOSS_MEAN : LOSS_MEAN + 2], tables.counters[LOSSES : LOSSES + 3]
        if self.device.type == "cpu":
            core.watch_value(
                value=float(loss),
                moments=moments.data_ptr(),
                counts=counts.data_ptr(),
                decay=watch.spike_decay,
                deviations=watch.spike_deviations,
                after=watch.spike_after,
            )
            return
        if isinstance(loss, Tensor):
            x = loss.detach().to(self.device, torch.float64, non_blocking=True).reshape(())
        else:  # by a launch: copying a number from the host would wait
            x = torch.full((), loss, dtype=torch.float64, device=self.device)
        watch_value(x, moments, counts, watch)

    @property
    def lr_scale(self) -> LrScale:
        """Factors on the learning rates of the groups: ``opt.lr_scale[i] = 0.5``."""
        return LrScale(self.param_groups)

    def _write_schedules(self, first: int = 0) -> None:
        for g in range(first, len(self.schedules)):
            for which, key in enumerate(SCHEDULED):
                if key in self.schedules[g]:
                    self.tables.set_schedule(g, which, self.schedules[g][key])
