"""Ready-made schedules: the shapes that everybody uses. All are `join`s of the pieces in pieces.py."""

from __future__ import annotations

from collections.abc import Callable

from rewarm.errors import InvalidArgument
from rewarm.schedule.arguments import counts, falling, one_of
from rewarm.schedule.pieces import (
    constant,
    cosine,
    exponential,
    halving,
    harmonic,
    inverse_sqrt,
    linear,
    one_minus_sqrt,
)
from rewarm.schedule.schedule import Schedule, join
from rewarm.schedule.segment import checked_number

#: The ways down from one value to another, by name.
SHAPES: dict[str, Callable[..., Schedule]] = {
    "one_minus_sqrt": one_minus_sqrt,
    "linear": linear,
    "cosine": cosine,
    "inverse_sqrt": inverse_sqrt,
    "exponential": exponential,
    "harmonic": harmonic,
    "halving": halving,
}
_COOLDOWNS = ("cosine", "linear", "inverse_sqrt")


def warmup_cosine(max_lr: float, min_lr: float, warmup_steps: int, decay_steps: int, *, units: str = "steps") -> Schedule:
    """Linear warm-up from 0, then half a cosine to the minimum, which is held.

    ::

        t < W       P t / W
        t >= W      m + (P - m) (1 + cos(pi min(1, (t - W) / D))) / 2

    Args:
        max_lr: P, reached at `warmup_steps`; >= 0.
        min_lr: m, reached at `warmup_steps` + `decay_steps`, in [0, max_lr].
        warmup_steps: W, a whole number >= 0, in `units`. With W > 0, f(0) = 0; with 0 the first update uses `max_lr`.
        decay_steps: D, a whole number >= 0, in `units`. Does not include the warm-up.
        units: "steps" (default) or "tokens".

    Returns:
        The Schedule.

    Raises:
        InvalidArgument: An argument is not accepted.
    """
    name = "warmup_cosine"
    max_lr, min_lr = falling(name, max_lr=max_lr, min_lr=min_lr)
    warmup_steps, decay_steps = counts(name, warmup_steps=warmup_steps, decay_steps=decay_steps)
    return join(linear(0.0, max_lr, warmup_steps, units=units), cosine(max_lr, min_lr, decay_steps, units=units))


def wsd(
    max_lr: float,
    min_lr: float,
    warmup_steps: int,
    stable_steps: int,
    decay_steps: int,
    *,
    shape: str = "one_minus_sqrt",
    units: str = "steps",
) -> Schedule:
    """Warm-up, stable phase, decay: linear from 0 to P, constant P, then down to m, which is held.

    Sources: MiniCPM (arXiv 2404.06395) for the phases, Hägele et al. 2024 (arXiv 2405.18392) for the 1-sqrt decay.

    Args:
        max_lr: P, >= 0.
        min_lr: m, in [0, max_lr]; > 0 for the exponential and the harmonic shape.
        warmup_steps: A whole number >= 0, in `units`.
        stable_steps: A whole number >= 0, in `units`.
        decay_steps: A whole number >= 0, in `units`.
        shape: Of the decay: "one_minus_sqrt" (default), "linear", "cosine", "inverse_sqrt" (tau 10), "exponential",
            "harmonic" or "halving".
        units: "steps" (default) or "tokens".

    Returns:
        The Schedule.

    Raises:
        InvalidArgument: An argument is not accepted.
    """
    max_lr, min_lr = falling("wsd", max_lr=max_lr, min_lr=min_lr)
    warmup_steps, stable_steps, decay_steps = counts(
        "wsd", warmup_steps=warmup_steps, stable_steps=stable_steps, decay_steps=decay_steps
    )
    decay = SHAPES[one_of("wsd: shape", shape, tuple(SHAPES))]
    return join(
        linear(0.0, max_lr, warmup_steps, units=units),
        constant(max_lr, stable_steps, units=units),
        decay(max_lr, min_lr, decay_steps, units=units),
    )


def infinite(
    max_lr: float,
    constant_lr: float,
    min_lr: float,
    warmup_steps: int,
    cooldown_steps: int,
    constant_steps: int | None = None,
    anneal_steps: int | None = None,
    *,
    cooldown_shape: str = "cosine",
    units: str = "steps",
) -> Schedule:
    """The infinite schedule: warm-up, cooldown to a constant, and an exponential annealing when a checkpoint is wanted.

    ::

        t < W           P t / W
        then C counts   P down to c: cosine, linear or inverse_sqrt (tau 10)
        then K counts   c
        then A counts   c (m / c)^((t - W - C - K) / A), then m

    The authors' code counts C and K together from the end of the warm-up and takes fractions of the run; here each
    phase has its own length. Source: Ibrahim et al. 2024, arXiv 2403.08763, infinite learning rate schedules.

    Args:
        max_lr: P, >= 0.
        constant_lr: c, in [min_lr, max_lr].
        min_lr: m, in [0, constant_lr]; > 0 when `anneal_steps` is given.
        warmup_steps: W, a whole number >= 0, in `units`.
        cooldown_steps: C, a whole number >= 0, in `units`.
        constant_steps: K, a whole number >= 0, in `units`. Needed with `anneal_steps` and without effect otherwise.
        anneal_steps: A, a whole number >= 0, in `units`. None (default) leaves the constant phase open ended.
        cooldown_shape: "cosine" (default), "linear" or "inverse_sqrt".
        units: "steps" (default) or "tokens".

    Returns:
        The Schedule.

    Raises:
        InvalidArgument: An argument is not accepted.
    """
    max_lr, constant_lr = falling("infinite", max_lr=max_lr, constant_lr=constant_lr)
    constant_lr, min_lr = falling("infinite", constant_lr=constant_lr, min_lr=min_lr)
    warmup_steps, cooldown_steps = counts("infinite", warmup_steps=warmup_steps, cooldown_steps=cooldown_steps)
    if constant_steps is not None:
        (constant_steps,) = counts("infinite", constant_steps=constant_steps)
    cooldown = SHAPES[one_of("infinite: cooldown_shape", cooldown_shape, _COOLDOWNS)]
    pieces = [
        linear(0.0, max_lr, warmup_steps, units=units),
        cooldown(max_lr, constant_lr, cooldown_steps, units=units),
    ]
    if anneal_steps is None:
        return join(*pieces, constant(constant_lr, units=units))
    if constant_steps is None:
        raise InvalidArgument("infinite: constant_steps: expected a whole number with anneal_steps, got None")
    (anneal_steps,) = counts("infinite", anneal_steps=anneal_steps)
    if min_lr == 0.0:
        raise InvalidArgument("infinite: min_lr: expected a number > 0 for an exponential annealing, got 0.0")
    pieces.append(constant(constant_lr, constant_steps, units=units))
    return join(*pieces, exponential(constant_lr, min_lr, anneal_steps, units=units))


def linear_to_zero(max_lr: float, warmup_steps: int, decay_steps: int, *, units: str = "steps") -> Schedule:
    """Linear warm-up from 0 to P, then a straight line to 0, which is held.

    Source: Bergsma et al. 2025, arXiv 2502.15938 ("D2Z").

    Args:
        max_lr: P, >= 0.
        warmup_steps: A whole number >= 0, in `units`.
        decay_steps: A whole number >= 0, in `units`. Does not include the warm-up.
        units: "steps" (default) or "tokens".

    Returns:
        The Schedule.

    Raises:
        InvalidArgument: An argument is not accepted.
    """
    max_lr = checked_number("linear_to_zero: max_lr", max_lr)
    warmup_steps, decay_steps = counts("linear_to_zero", warmup_steps=warmup_steps, decay_steps=decay_steps)
    return join(linear(0.0, max_lr, warmup_steps, units=units), linear(max_lr, 0.0, decay_steps, units=units))
