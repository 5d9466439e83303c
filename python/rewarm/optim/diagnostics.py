"""What an optimizer tells of a run without a sync: areas under the learning rate, size of the updates, clipping, spikes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rewarm.errors import InvalidArgument
from rewarm.optim.arguments import checked_scalar


@dataclass(frozen=True)
class Diagnostics:
    """What AdamW watches while it runs; ``AdamW(..., diagnostics=True)`` means ``Diagnostics(update_rms=True)``.

    Everything but `update_rms` costs a few scalar operations a step and is always on.

    Args:
        update_rms: Read the root mean square of theta_new - theta_old in every step. Costs a reduction in the loop.
        annealing_decay: lambda of the annealing area, in [0, 1]; Tissue et al. 2024 fit 0.99 to 0.999. 0 forgets at once, so
            that the area is the fall from the first rate to the present one.
        spike_decay: How the running means and variances of loss and gradient norm forget, in [0, 1).
        spike_deviations: A value more than so many standard deviations above its running mean is a spike, >= 0.
        spike_after: Values seen before anything is called a spike, >= 1.

    Raises:
        InvalidArgument: A value out of range, by name.
    """

    update_rms: bool = False
    annealing_decay: float = 0.999
    spike_decay: float = 0.99
    spike_deviations: float = 6.0
    spike_after: int = 20

    def __post_init__(self) -> None:
        decay = checked_scalar("Diagnostics: annealing_decay", self.annealing_decay)
        if decay > 1.0:
            raise InvalidArgument(f"AdamW: Diagnostics: annealing_decay: expected a number in [0, 1], got {decay!r}")
        checked_scalar("Diagnostics: spike_decay", self.spike_decay, below=1.0)
        checked_scalar("Diagnostics: spike_deviations", self.spike_deviations)
        if isinstance(self.spike_after, bool) or not isinstance(self.spike_after, int) or self.spike_after < 1:
            raise InvalidArgument(f"AdamW: Diagnostics: spike_after: expected an integer >= 1, got {self.spike_after!r}")

    @property
    def options(self) -> dict[str, Any]:
        """As the native plans take them."""
        annealing_decay, decay, deviations, after = self.words
        return {
            "observe": bool(self.update_rms),
            "annealing_decay": annealing_decay,
            "decay": decay,
            "deviations": deviations,
            "after": int(after),
        }

    @property
    def words(self) -> tuple[float, float, float, float]:
        """Watch of csrc/optim/plan.h."""
        return float(self.annealing_decay), float(self.spike_decay), float(self.spike_deviations), float(self.spike_after)


def checked_diagnostics(value: object) -> Diagnostics:
    """What was passed as ``diagnostics=``, or InvalidArgument."""
    if isinstance(value, bool):
        return Diagnostics(update_rms=value)
    if not isinstance(value, Diagnostics):
        raise InvalidArgument(f"AdamW: diagnostics: expected True, False or a Diagnostics, got {value!r}")
    return value
