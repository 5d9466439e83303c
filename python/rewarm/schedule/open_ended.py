"""Schedules of papers that leave the end open: anneal, release or restart when it is wanted, and the power rule.

Lengths are whole counts in `units`.
"""

from __future__ import annotations

from collections.abc import Sequence

from rewarm.errors import InvalidArgument
from rewarm.schedule.arguments import counts, falling, fraction, fraction_of, one_of
from rewarm.schedule.pieces import constant, linear
from rewarm.schedule.pieces import power as power_piece
from rewarm.schedule.ready_made import SHAPES, infinite
from rewarm.schedule.schedule import Schedule, join
from rewarm.schedule.segment import checked_count, checked_number


def singh2025(
    max_lr: float,
    constant_lr: float,
    min_lr: float,
    warmup_steps: int,
    cooldown_steps: int,
    anneal_start: int,
    anneal_steps: int,
    *,
    literal: bool = False,
    units: str = "steps",
) -> Schedule:
    """Warm-up, cosine to a constant, and an exponential annealing from a chosen count on.

    ::

        n < Nw           P n / Nw
        then Nc counts   c + (P - c)(1 + cos(pi r)) / 2
        up to Na         c
        from Na          c (m / c)^((n - Na) / ta),  or / (ta + Na) with literal=True, then m

    The formula printed in the paper divides by ta + Na, the absolute count at which annealing begins, so it arrives at m
    ta + Na counts after Na; ``literal=True`` is that one. Source: Singh et al. 2025, arXiv 2503.02844, section 3.

    Args:
        max_lr: P, >= 0.
        constant_lr: c, in [min_lr, max_lr].
        min_lr: m, > 0.
        warmup_steps: Nw, a whole number >= 0, in `units`.
        cooldown_steps: Nc, a whole number >= 0, in `units`.
        anneal_start: Na, a whole number >= Nw + Nc, counted from the beginning.
        anneal_steps: ta, a whole number >= 0, in `units`.
        literal: The printed formula (default False).
        units: "steps" (default) or "tokens".

    Returns:
        The Schedule.

    Raises:
        InvalidArgument: An argument is not accepted.
    """
    name = "singh2025"
    warmup_steps, cooldown_steps, anneal_start, anneal_steps = counts(
        name,
        warmup_steps=warmup_steps,
        cooldown_steps=cooldown_steps,
        anneal_start=anneal_start,
        anneal_steps=anneal_steps,
    )
    before = warmup_steps + cooldown_steps
    if anneal_start < before:
        raise InvalidArgument(
            f"{name}: anneal_start: expected at least warmup_steps + cooldown_steps = {before}, got {anneal_start}"
        )
    length = checked_count(f"{name}: anneal_steps + anneal_start", anneal_steps + anneal_start) if literal else anneal_steps
    return infinite(max_lr, constant_lr, min_lr, warmup_steps, cooldown_steps, anneal_start - before, length, units=units)


def wsd_s(
    max_lr: float,
    min_lr: float,
    warmup_steps: int,
    periods: Sequence[int],
    decay_frac: float = 0.1,
    *,
    shape: str = "harmonic",
    units: str = "steps",
) -> Schedule:
    """WSD-S: one warm-up, then every period holds the peak, decays at its end, and the next jumps back to the peak.

    The run goes on from the decayed checkpoint, so there is one branch. Source: Wen et al. 2024, arXiv 2410.05192.
    OLMo-core decays along a line instead (``shape="linear"``).

    Args:
        max_lr: P, >= 0.
        min_lr: m, in [0, max_lr]; > 0 for the harmonic and the exponential shape.
        warmup_steps: A whole number in [0, periods[0] less its decay], in `units`.
        periods: Length of every period, the first with the warm-up; whole numbers >= 1. At most 21 fit in a schedule.
        decay_frac: Part of each period that decays, in [0, 1], default 0.1.
        shape: Of the decays: "harmonic" (default), "linear", "one_minus_sqrt", "cosine", "inverse_sqrt",
            "exponential" or "halving".
        units: "steps" (default) or "tokens".

    Returns:
        The Schedule; it holds m after the last period.

    Raises:
        InvalidArgument: An argument is not accepted.
    """
    name = "wsd_s"
    max_lr, min_lr = falling(name, max_lr=max_lr, min_lr=min_lr)
    (warmup_steps,) = counts(name, warmup_steps=warmup_steps)
    decay = SHAPES[one_of(f"{name}: shape", shape, SHAPES)]
    decay_frac = fraction(f"{name}: decay_frac", decay_frac)
    if not isinstance(periods, (list, tuple)) or not periods:
        raise InvalidArgument(f"{name}: periods: expected a list of at least one length, got {periods!r}")
    pieces = [linear(0.0, max_lr, warmup_steps, units=units)]
    for i, given in enumerate(periods):
        period = checked_count(f"{name}: periods[{i}]", given)
        decay_steps = fraction_of(period, decay_frac)
        stable = period - decay_steps - (warmup_steps if i == 0 else 0)
        if period == 0 or stable < 0:
            least = 1 if i else max(1, warmup_steps + decay_steps)
            raise InvalidArgument(f"{name}: periods[{i}]: expected a whole number >= {least}, got {period}")
        pieces += [constant(max_lr, stable, units=units), decay(max_lr, min_lr, decay_steps, units=units)]
    return join(*pieces)


def path_switch(
    max_lr: float,
    min_lr: float,
    warmup_steps: int,
    main_steps: int | None = None,
    decay_steps: int | None = None,
    *,
    shape: str = "cosine",
    units: str = "steps",
) -> Schedule:
    """Learning-rate path switching: a main path that never decays, and one complete fast decay for every release.

    Without `decay_steps` this is the main path, warm-up and then P for ever. With it, the path that leaves the main one
    after `main_steps` and decays to m. From a checkpoint of the main path, pass ``warmup_steps=0, main_steps=0``.
    Source: Wang et al. 2024, arXiv 2410.04103, section 4.

    Args:
        max_lr: P, >= 0.
        min_lr: m, in [0, max_lr].
        warmup_steps: A whole number >= 0, in `units`.
        main_steps: Counts on the main path, warm-up included, before the branch; >= warmup_steps. None (default) only
            for the main path itself.
        decay_steps: Length of the decay, a whole number >= 0, in `units`. None (default) is the main path.
        shape: Of the decay: "cosine" (default) or any that `wsd` takes.
        units: "steps" (default) or "tokens".

    Returns:
        The Schedule.

    Raises:
        InvalidArgument: An argument is not accepted.
    """
    name = "path_switch"
    max_lr, min_lr = falling(name, max_lr=max_lr, min_lr=min_lr)
    (warmup_steps,) = counts(name, warmup_steps=warmup_steps)
    decay = SHAPES[one_of(f"{name}: shape", shape, SHAPES)]
    up = linear(0.0, max_lr, warmup_steps, units=units)
    if (main_steps is None) != (decay_steps is None):
        raise InvalidArgument(f"{name}: expected main_steps and decay_steps together, got {main_steps!r} and {decay_steps!r}")
    if main_steps is None or decay_steps is None:
        return join(up, constant(max_lr, units=units))
    main_steps, decay_steps = counts(name, main_steps=main_steps, decay_steps=decay_steps)
    if main_steps < warmup_steps:
        raise InvalidArgument(f"{name}: main_steps: expected at least warmup_steps = {warmup_steps}, got {main_steps}")
    return join(up, constant(max_lr, main_steps - warmup_steps, units=units), decay(max_lr, min_lr, decay_steps, units=units))


def power(
    max_lr: float,
    warmup_steps: int,
    batch_size: float,
    *,
    a: float = 4.6,
    b: float = -0.51,
    total: int | None = None,
    decay_steps: int = 0,
    min_lr: float = 0.0,
    shape: str = "exponential",
    units: str = "tokens",
) -> Schedule:
    """The power scheduler: min(P, beta a n^b) after a warm-up, whatever the budget, with a decay at the end if one is wanted.

    Here beta is the batch size and n the tokens consumed since the beginning. The warm-up is a line from 0 to the value
    that the rule has at its end. Source: Shen et al. 2024, arXiv 2408.13359, section 3.3; a = 4.6 and b = -0.51 are the
    values fitted there, with beta in sequences.

    Args:
        max_lr: P, > 0.
        warmup_steps: A whole number >= 0, in `units`.
        batch_size: beta, > 0.
        a: > 0, default 4.6.
        b: < 0, default -0.51.
        total: Where the decay ends, a whole number, in `units`; needed with `decay_steps`. None (default): no end.
        decay_steps: Length of the decay, in [0, total - warmup_steps], default 0.
        min_lr: What the decay arrives at, >= 0; > 0 for the exponential and the harmonic shape.
        shape: Of the decay: "exponential" (default) or any that `wsd` takes.
        units: What n counts, "tokens" (default) or "steps".

    Returns:
        The Schedule.

    Raises:
        InvalidArgument: An argument is not accepted.
    """
    name = "power"
    warmup_steps, decay_steps = counts(name, warmup_steps=warmup_steps, decay_steps=decay_steps)
    batch_size = checked_number(f"{name}: batch_size", batch_size, accepts="a finite number > 0", positive=True)
    coefficient = batch_size * checked_number(f"{name}: a", a, accepts="a finite number > 0", positive=True)
    min_lr = checked_number(f"{name}: min_lr", min_lr)
    decay = SHAPES[one_of(f"{name}: shape", shape, SHAPES)]
    rule = power_piece(max_lr, exponent=b, coefficient=coefficient, units=units)
    up = linear(0.0, rule(warmup_steps), warmup_steps, units=units)
    after = rule.segments[0]
    if total is None:
        if decay_steps:
            raise InvalidArgument(f"{name}: total: expected a whole number with decay_steps, got None")
        return join(up, power_piece(max_lr, exponent=b, until=after.until, offset=warmup_steps, units=units))
    (total,) = counts(name, total=total)
    fall = total - warmup_steps - decay_steps
    if fall < 0:
        raise InvalidArgument(
            f"{name}: total: expected at least warmup_steps + decay_steps = {warmup_steps + decay_steps}, got {total}"
        )
    pieces = [up, power_piece(max_lr, fall, exponent=b, until=after.until, offset=warmup_steps, units=units)]
    if decay_steps:
        top, low = falling(name, **{"the rule's value at the decay": rule(total - decay_steps), "min_lr": min_lr})
        pieces.append(decay(top, low, decay_steps, units=units))
    return join(*pieces)
