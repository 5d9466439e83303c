"""Ready-made schedules under the names of the papers they come from. All are `join`s of the pieces in pieces.py."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from rewarm.errors import InvalidArgument
from rewarm.schedule.pieces import (
    constant,
    cosine,
    exponential,
    inverse_sqrt,
    legacy_cosine,
    linear,
    one_minus_sqrt,
)
from rewarm.schedule.schedule import Schedule, join
from rewarm.schedule.segment import MAX_COUNT, checked_count, checked_number

_SHAPES: dict[str, Callable[..., Schedule]] = {
    "one_minus_sqrt": one_minus_sqrt,
    "linear": linear,
    "cosine": cosine,
    "inverse_sqrt": inverse_sqrt,
    "exponential": exponential,
}
_COOLDOWNS = ("cosine", "linear", "inverse_sqrt")
_FORMS = ("clamped", "modern")

#: Where the text of Gupta et al. 2023 (section 2) puts the minimum: 240 of 297 billion tokens.
GUPTA2023_DECAY_FRAC = Fraction(240, 297)


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
    max_lr, min_lr = _falling(name, max_lr=max_lr, min_lr=min_lr)
    warmup_steps, decay_steps = _counts(name, warmup_steps=warmup_steps, decay_steps=decay_steps)
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
        min_lr: m, in [0, max_lr]; > 0 for the exponential shape.
        warmup_steps: A whole number >= 0, in `units`.
        stable_steps: A whole number >= 0, in `units`.
        decay_steps: A whole number >= 0, in `units`.
        shape: Of the decay: "one_minus_sqrt" (default), "linear", "cosine", "inverse_sqrt" (tau 10) or "exponential".
        units: "steps" (default) or "tokens".

    Returns:
        The Schedule.

    Raises:
        InvalidArgument: An argument is not accepted.
    """
    max_lr, min_lr = _falling("wsd", max_lr=max_lr, min_lr=min_lr)
    warmup_steps, stable_steps, decay_steps = _counts(
        "wsd", warmup_steps=warmup_steps, stable_steps=stable_steps, decay_steps=decay_steps
    )
    decay = _SHAPES[_one_of("wsd: shape", shape, tuple(_SHAPES))]
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
    max_lr, constant_lr = _falling("infinite", max_lr=max_lr, constant_lr=constant_lr)
    constant_lr, min_lr = _falling("infinite", constant_lr=constant_lr, min_lr=min_lr)
    warmup_steps, cooldown_steps = _counts("infinite", warmup_steps=warmup_steps, cooldown_steps=cooldown_steps)
    if constant_steps is not None:
        (constant_steps,) = _counts("infinite", constant_steps=constant_steps)
    cooldown = _SHAPES[_one_of("infinite: cooldown_shape", cooldown_shape, _COOLDOWNS)]
    pieces = [
        linear(0.0, max_lr, warmup_steps, units=units),
        cooldown(max_lr, constant_lr, cooldown_steps, units=units),
    ]
    if anneal_steps is None:
        return join(*pieces, constant(constant_lr, units=units))
    if constant_steps is None:
        raise InvalidArgument("infinite: constant_steps: expected a whole number with anneal_steps, got None")
    (anneal_steps,) = _counts("infinite", anneal_steps=anneal_steps)
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
    warmup_steps, decay_steps = _counts("linear_to_zero", warmup_steps=warmup_steps, decay_steps=decay_steps)
    return join(linear(0.0, max_lr, warmup_steps, units=units), linear(max_lr, 0.0, decay_steps, units=units))


def gupta2023(
    max_lr: float,
    total: int,
    warmup_frac: float = 0.01,
    form: str = "clamped",
    units: str = "tokens",
    *,
    decay_frac: float | None = None,
) -> Schedule:
    """The re-warming schedule of Gupta et al. 2023, as its code ran ("clamped") or as its text reads ("modern").

    With T = `total`, W = `warmup_frac` T, P = `max_lr` and m = 0.1 P, both warm up as P t / W, then

    ::

        clamped     max(m, P/2 (1 + cos(pi (n - W) / T))),  n = min(t, T - W)
        modern      m + (P - m)/2 (1 + cos(pi (t - W) / (S T - W))),  m from S T on

    Clamped is the cosine of GPT-NeoX before its pull request 1008: it aims at 0 beyond the end of the run and meets its
    floor at W + T acos(-0.8)/pi, which is 239.1 of 297 billion tokens. Modern is GPT-NeoX's cosine since its pull
    requests 1008 and 1011, arriving at S T and held there (GPT-NeoX would rise again). The paper's W need not be whole;
    here W, and S T, are rounded to the nearest int64.

    Source: arXiv 2308.04014, section 2; which form was run is inferred from the dates of the code.

    Args:
        max_lr: P, >= 0. The paper: 1.5e-4, 3e-4 and 6e-4.
        total: T, a whole number >= 1, in `units`. The paper: 297e9 tokens.
        warmup_frac: W / T, default 0.01. The paper: 0, 0.005, 0.01 and 0.02. Clamped: in [0, 0.5); modern: in [0, S].
        form: "clamped" (default) or "modern".
        units: "tokens" (default) or "steps".
        decay_frac: S, in (0, 1], for the modern form only. Default 240/297, the paper's text; 1 is the whole budget.

    Returns:
        The Schedule.

    Raises:
        InvalidArgument: An argument is not accepted.
    """
    max_lr = checked_number("gupta2023: max_lr", max_lr)
    total = checked_count("gupta2023: total", total)
    if total == 0:
        raise InvalidArgument("gupta2023: total: expected a whole number >= 1, got 0")
    warmup_frac = checked_number("gupta2023: warmup_frac", warmup_frac)
    _one_of("gupta2023: form", form, _FORMS)
    min_lr = 0.1 * max_lr
    warmup_steps = _fraction_of(total, warmup_frac)
    if form == "clamped":
        if decay_frac is not None:
            raise InvalidArgument(f"gupta2023: decay_frac: only the modern form takes it, got {decay_frac!r}")
        travelled = total - 2 * warmup_steps
        if travelled <= 0:
            raise InvalidArgument(
                "gupta2023: warmup_frac: expected a number in [0, 0.5) for the clamped form, and a warm-up under half of total "
                f"once rounded to whole counts, got {warmup_frac!r}: {warmup_steps} of {total}"
            )
        decay = legacy_cosine(max_lr, min_lr, travelled, fraction=travelled / total, units=units)
    else:
        frac = GUPTA2023_DECAY_FRAC if decay_frac is None else checked_number("gupta2023: decay_frac", decay_frac)
        if not 0 < frac <= 1:
            raise InvalidArgument(f"gupta2023: decay_frac: expected a number in (0, 1], got {decay_frac!r}")
        decay_steps = _fraction_of(total, frac) - warmup_steps
        if decay_steps < 0:
            raise InvalidArgument(
                f"gupta2023: warmup_frac: expected a number in [0, {float(frac):.6g}] (decay_frac), got {warmup_frac!r}"
            )
        decay = cosine(max_lr, min_lr, decay_steps, units=units)
    return join(linear(0.0, max_lr, warmup_steps, units=units), decay)


def _fraction_of(total: int, frac: float | Fraction) -> int:
    """`frac` of `total`, exact before it is rounded to the nearest count."""
    return min(round(total * Fraction(frac)), MAX_COUNT)


def _counts(name: str, **counts: int) -> tuple[int, ...]:
    return tuple(checked_count(f"{name}: {key}", value) for key, value in counts.items())


def _falling(name: str, **rates: float) -> tuple[float, float]:
    """Two rates, the first at least as large as the second."""
    (high_name, high), (low_name, low) = ((key, checked_number(f"{name}: {key}", v)) for key, v in rates.items())
    if low > high:
        raise InvalidArgument(f"{name}: {low_name}: expected a number in [0, {high_name}={high:.6g}], got {low:.6g}")
    return high, low


def _one_of(where: str, value: str, accepted: tuple[str, ...]) -> str:
    if value not in accepted:
        raise InvalidArgument(f"{where}: expected one of {', '.join(accepted)}, got {value!r}")
    return value
