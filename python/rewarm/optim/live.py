"""What a user reads from an optimizer while it runs, and the one factor that may be turned by hand."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from rewarm.optim.arguments import SCHEDULED, checked_scalar
from rewarm.optim.capture import Recorded
from rewarm.optim.plan import CLIP_COEF, LAST_LR, NORM, SKIPPED, TOKENS, UPDATES, Tables, origin_word
from rewarm.schedule import Schedule


_MAX_GRAD_NORM = SCHEDULED.index("max_grad_norm")


class Live(NamedTuple):
    """Views of an optimizer's results on its device; `grad_norm` and `clip_coef` are None when no norm is read."""

    last_lr: Tensor
    grad_norm: Tensor | None
    clip_coef: Tensor | None
    skipped_steps: Tensor


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
        """Views that change with every step: last_lr, grad_norm, clip_coef, skipped_steps."""
        scalars, counters = self.tables.scalars, self.tables.counters
        reads_norm = self.max_grad_norm is not None or self.skip_nonfinite
        return Live(
            last_lr=self.tables.group_scalars[:, LAST_LR],
            grad_norm=scalars[NORM] if reads_norm else None,
            clip_coef=scalars[CLIP_COEF] if reads_norm else None,
            skipped_steps=counters[SKIPPED],
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
    def lr_scale(self) -> LrScale:
        """Factors on the learning rates of the groups: ``opt.lr_scale[i] = 0.5``."""
        return LrScale(self.param_groups)

    def _write_schedules(self, first: int = 0) -> None:
        for g in range(first, len(self.schedules)):
            for which, key in enumerate(SCHEDULED):
                if key in self.schedules[g]:
                    self.tables.set_schedule(g, which, self.schedules[g][key])
