"""The moving average of the parameters (Polyak target): read it, and train or evaluate with it in the parameters' place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rewarm.errors import InvalidArgument
from rewarm.optim.arguments import each_param
from rewarm.optim.capture import Recorded, refuse_while_capturing

if TYPE_CHECKING:
    from rewarm.optim.plan import Plan


class Averaged(Recorded):
    """The part of AdamW that keeps ``ema <- ema + (1 - decay) (theta - ema)`` in ``state[p]["ema"]``."""

    device: torch.device
    _plan: Plan | None
    _swapped = False

    def ema_parameters(self) -> list[Tensor | None]:
        """The averages of all parameters, in the order of the groups.

        Returns:
            One float32 tensor a parameter, in its shape and memory order, that every step changes in place (clone it to keep
            it); None for a parameter without one: its group has no ema_decay, or it was never stepped.
        """
        self._order_after_last_step()
        averages: list[Tensor | None] = []
        for _, _, p in each_param(self.param_groups):
            state = self.state.get(p)
            averages.append(state.get("ema") if state else None)
        return averages

    @contextmanager
    def ema_weights(self) -> Iterator[None]:
        """Inside ``with opt.ema_weights():`` the parameters hold their averages, rounded to their dtype.

        Afterwards they hold the same bits as before; what was written to them inside is lost. The averages themselves do not
        change. A parameter without an average keeps its value. Neither `step` nor a second ``ema_weights`` works inside.

        Raises:
            InvalidArgument: Inside another ``ema_weights``, or no parameter has an average.
            CaptureError: While a CUDA graph is captured.
        """
        refuse_while_capturing(self.device, "ema_weights")
        if self._swapped:
            raise InvalidArgument("AdamW: ema_weights: the parameters hold their averages already")
        parameters = [p for _, _, p in each_param(self.param_groups)]
        pairs = [(p, e) for p, e in zip(parameters, self.ema_parameters(), strict=True) if e is not None]
        if not pairs:
            raise InvalidArgument("AdamW: ema_weights: no parameter has an average yet: pass ema_decay= and take a step")
        kept = [p.detach().clone() for p, _ in pairs]
        self._swapped = True
        try:
            with torch.no_grad():
                for p, average in pairs:
                    p.copy_(average)
            yield
        finally:
            with torch.no_grad():
                for (p, _), before in zip(pairs, kept, strict=True):
                    p.copy_(before)
            self._swapped = False

    def _order_after_last_step(self) -> None:
        if self._plan is not None:
            self._plan.order_after_last_step()
