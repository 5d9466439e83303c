"""Schedules of papers that fix a budget: re-warming, and what others did in its place.

Fractions are of `total` and rounded to the nearest count; `total` is in `units`.
"""

from __future__ import annotations

from fractions import Fraction

from rewarm.errors import InvalidArgument
from rewarm.schedule.arguments import fraction, fraction_of, one_of
from rewarm.schedule.pieces import cosine, legacy_cosine, linear
from rewarm.schedule.ready_made import infinite, linear_to_zero, warmup_cosine
from rewarm.schedule.schedule import Schedule, join
from rewarm.schedule.segment import checked_count, checked_number

_FORMS = ("clamped", "modern")

#: Where the text of Gupta et al. 2023 (section 2) puts the minimum: 240 of 297 billion tokens.
GUPTA2023_DECAY_FRAC = Fraction(240, 297)


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
    one_of("gupta2023: form", form, _FORMS)
    min_lr = 0.1 * max_lr
    warmup_steps = fraction_of(total, warmup_frac)
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
        decay_steps = fraction_of(total, frac) - warmup_steps
        if decay_steps < 0:
            raise InvalidArgument(
                f"gupta2023: warmup_frac: expected a number in [0, {float(frac):.6g}] (decay_frac), got {warmup_frac!r}"
            )
        decay = cosine(max_lr, min_lr, decay_steps, units=units)
    return join(linear(0.0, max_lr, warmup_steps, units=units), decay)


def ibrahim2024_cosine(
    max_lr: float, total: int, warmup_frac: float = 0.01, min_frac: float = 0.1, units: str = "tokens"
) -> Schedule:
    """Re-warm to the old peak, then half a cosine matched to the new budget: P t / W, then m + (P - m)(1 + cos(pi r)) / 2.

    Arrives at m = `min_frac` P at `total`, where r = (t - W) / (total - W) is 1. Source: Ibrahim et al. 2024, arXiv
    2403.08763, section 4. The paper combines it with replay of 5 % (weak shift) to 25 % (strong shift) of old data.

    Args:
        max_lr: P, >= 0; the paper: the peak of the first pre-training, 3e-4 for 405M parameters.
        total: T, the budget of the new data, a whole number >= 1, in `units`.
        warmup_frac: W / T, in [0, 1], default 0.01.
        min_frac: m / P, in [0, 1], default 0.1.
        units: "tokens" (default) or "steps".

    Returns:
        The Schedule.

    Raises:
        InvalidArgument: An argument is not accepted.
    """
    name = "ibrahim2024_cosine"
    total, warmup = _budget(name, total, warmup_frac)
    max_lr = checked_number(f"{name}: max_lr", max_lr)
    return warmup_cosine(max_lr, fraction(f"{name}: min_frac", min_frac) * max_lr, warmup, total - warmup, units=units)


def ibrahim2024_infinite(
    max_lr: float,
    constant_lr: float,
    min_lr: float,
    total: int,
    warmup_frac: float = 0.01,
    cooldown_frac: float = 0.6,
    constant_end_frac: float = 0.85,
    cooldown_shape: str = "cosine",
    units: str = "tokens",
) -> Schedule:
    """The infinite schedule as the authors' branch of GPT-NeoX counts it: fractions of T, counted from the warm-up's end.

    With W = `warmup_frac` T, C = `cooldown_frac` T, K = `constant_end_frac` T and i = t - W::

        t <= W          P t / W
        0 < i <= C      P down to c: cosine, linear, or inverse_sqrt with tau 10
        C < i <= K      c
        i > K           c (m / c)^((i - K) / (T - W - K)), then m

    `infinite` has the same phases with a length for each, and an open end. Source: arXiv 2403.08763, section 4 and
    figure 1; the counting is that of the code, bentherien/gpt-neox, branch inf_lr.

    Args:
        max_lr: P, >= 0; the paper: 3e-4.
        constant_lr: c, in [min_lr, max_lr]; the paper: 1.65e-4.
        min_lr: m, > 0; the paper: 3e-5.
        total: T, a whole number >= 1, in `units`.
        warmup_frac: W / T, default 0.01.
        cooldown_frac: C / T, in [0, constant_end_frac], default 0.6.
        constant_end_frac: K / T, default 0.85; W + K is at most T.
        cooldown_shape: "cosine" (default), "linear" or "inverse_sqrt".
        units: "tokens" (default) or "steps".

    Returns:
        The Schedule.

    Raises:
        InvalidArgument: An argument is not accepted.
    """
    name = "ibrahim2024_infinite"
    total, warmup = _budget(name, total, warmup_frac)
    cooldown = fraction_of(total, fraction(f"{name}: cooldown_frac", cooldown_frac))
    until = fraction_of(total, fraction(f"{name}: constant_end_frac", constant_end_frac))
    if not cooldown <= until <= total - warmup:
        raise InvalidArgument(
            f"{name}: expected cooldown_frac <= constant_end_frac <= 1 - warmup_frac, "
            f"got {cooldown_frac!r}, {constant_end_frac!r} and {warmup_frac!r}"
        )
    return infinite(
        max_lr,
        constant_lr,
        min_lr,
        warmup,
        cooldown,
        until - cooldown,
        total - warmup - until,
        cooldown_shape=cooldown_shape,
        units=units,
    )


def parmar2024(max_lr: float, total: int, min_frac: float = 0.01, units: str = "tokens") -> Schedule:
    """No re-warming: half a cosine from the pre-training's final rate down to a hundredth of it.

    The paper finds a warm-up harmful at its scale (15B parameters, 8T + 300B tokens), and changes the data blend when the
    rate has fallen to a fifth of where it began. Source: Parmar et al. 2024, arXiv 2407.07263, sections 4 and 5.

    Args:
        max_lr: The final rate of the pre-training, >= 0; the paper: 4.5e-5.
        total: Length, a whole number >= 1, in `units`; the paper: 300e9 tokens.
        min_frac: Final rate over `max_lr`, in [0, 1], default 0.01.
        units: "tokens" (default) or "steps".

    Returns:
        The Schedule.

    Raises:
        InvalidArgument: An argument is not accepted.
    """
    total, _ = _budget("parmar2024", total, 0.0)
    max_lr = checked_number("parmar2024: max_lr", max_lr)
    return cosine(max_lr, fraction("parmar2024: min_frac", min_frac) * max_lr, total, units=units)


def d2z(max_lr: float, total: int, warmup_frac: float = 0.1, units: str = "tokens") -> Schedule:
    """Decay to zero: a linear warm-up over a tenth of the budget, then a straight line to 0 at its end.

    Source: Bergsma et al. 2025, arXiv 2502.15938. `linear_to_zero` takes the two lengths instead.

    Args:
        max_lr: P, >= 0.
        total: T, a whole number >= 1, in `units`.
        warmup_frac: W / T, in [0, 1], default 0.1.
        units: "tokens" (default) or "steps".

    Returns:
        The Schedule.

    Raises:
        InvalidArgument: An argument is not accepted.
    """
    total, warmup = _budget("d2z", total, warmup_frac)
    return linear_to_zero(checked_number("d2z: max_lr", max_lr), warmup, total - warmup, units=units)


def _budget(name: str, total: int, warmup_frac: float) -> tuple[int, int]:
    """The whole budget and the warm-up's part of it."""
    total = checked_count(f"{name}: total", total)
    if total == 0:
        raise InvalidArgument(f"{name}: total: expected a whole number >= 1, got 0")
    return total, fraction_of(total, fraction(f"{name}: warmup_frac", warmup_frac))
