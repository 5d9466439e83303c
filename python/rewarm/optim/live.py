"""What a user reads from an optimizer while it runs, and the one factor that may be turned by hand."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from rewarm.optim.arguments import checked_scalar


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
