"""Checks of the agents' arguments, each with what was wrong, where, and what is accepted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import torch

from rewarm.errors import InvalidArgument
from rewarm.q.backend import choose
from rewarm.schedule import Schedule

PRECISIONS = ("fp32", "tf32", "bf16")


def count(where: str, value: Any, *, at_least: int = 1) -> int:
    """A whole number >= `at_least`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < at_least:
        raise InvalidArgument(f"{where}: expected a whole number >= {at_least}, got {value!r}")
    return int(value)


def number(where: str, value: Any, *, low: float = -math.inf, high: float = math.inf, above: float = -math.inf) -> float:
    """A finite number in [low, high] and > above."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise InvalidArgument(f"{where}: expected a finite number, got {value!r}")
    given = float(value)
    if not low <= given <= high or given <= above:
        lower = f"> {above:g}" if above > -math.inf else f">= {low:g}"
        upper = f" and <= {high:g}" if high < math.inf else ""
        raise InvalidArgument(f"{where}: expected a number {lower}{upper}, got {value!r}")
    return given


def one_of(where: str, value: Any, accepted: Sequence[str]) -> str:
    """One of a few words."""
    if value not in accepted:
        raise InvalidArgument(f"{where}: expected one of {', '.join(map(repr, accepted))}, got {value!r}")
    return str(value)


def flag(where: str, value: Any) -> bool:
    """True or False and nothing else."""
    if not isinstance(value, bool):
        raise InvalidArgument(f"{where}: expected True or False, got {value!r}")
    return value


def learning_rate(where: str, value: Any) -> float | Schedule:
    """A finite number >= 0, or a Schedule in steps."""
    if isinstance(value, Schedule):
        if value.units != "steps":
            raise InvalidArgument(f"{where}: expected a Schedule in units of 'steps', got {value.units!r}")
        return value
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InvalidArgument(f"{where}: expected a number or a Schedule, got {value!r}")
    return number(where, value, low=0.0)


def widths(where: str, value: Any) -> tuple[int, ...]:
    """Widths of at least one hidden layer."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence) or not value:
        raise InvalidArgument(f"{where}: expected a sequence of at least one width, got {value!r}")
    return tuple(count(f"{where}[{i}]", width) for i, width in enumerate(value))


def seed_numbers(where: str, value: Any) -> tuple[int, ...]:
    """One or more seeds, whole numbers in [0, 2**63)."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence) or not value:
        raise InvalidArgument(f"{where}: expected a sequence of at least one seed, got {value!r}")
    for i, seed in enumerate(value):
        if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= int(seed) < 2**63:
            raise InvalidArgument(f"{where}[{i}]: expected a whole number in [0, 2**63), got {seed!r}")
    return tuple(int(seed) for seed in value)


def named_backend(where: str, backend: str | None, device: torch.device, precision: str) -> str | None:
    """The backend as named, refused here and now where it cannot run, so that no update finds out half way."""
    one_of(f"{where}: precision", precision, PRECISIONS)
    if backend is not None:
        choose(where, device, backend)
    if precision != "fp32" and (backend == "cpu" or (backend is None and device.type == "cpu")):
        raise InvalidArgument(
            f"{where}: precision: expected 'fp32' on the cpu backend, got {precision!r}; 'reference' emulates the others"
        )
    return backend
