"""Other frameworks' learning rates, update for update: `match`, and what they do at their edges."""

from __future__ import annotations

import dataclasses
from typing import Any

from rewarm.errors import InvalidArgument
from rewarm.schedule.arguments import counts, falling, one_of
from rewarm.schedule.frameworks import FRAMEWORKS
from rewarm.schedule.request import ALIASES, Options, Request
from rewarm.schedule.schedule import Schedule
from rewarm.schedule.segment import checked_units

#: Kinds whose formula has no minimum, or none that a segment can express: they take no min_lr.
WITHOUT_MINIMUM = {
    ("hf", "linear"),
    ("hf", "cosine"),
    ("hf", "cosine_with_restarts"),
    ("hf", "inverse_sqrt"),
    ("olmo-core", "inverse_sqrt"),
}
_WSD = ("decay_steps", "decay_frac", "shape")


def match(
    framework: str,
    *,
    kind: str,
    max_lr: float,
    min_lr: float = 0.0,
    warmup_steps: int = 0,
    total_steps: int | None = None,
    decay_steps: int | None = None,
    decay_frac: float | None = None,
    shape: str | None = None,
    power: float | None = None,
    num_cycles: int | None = None,
    timescale: int | None = None,
    transition_steps: int | None = None,
    decay_rate: float | None = None,
    units: str = "steps",
) -> Schedule:
    """The learning rate that another framework applies, from its first update to a fifth past its end.

    Update k uses f(k) of the result, edges included: whether the first update is at 0, where the peak comes twice, and
    whether the curve is clamped or rises again after `total_steps`. ``presets.FRAMEWORKS`` lists frameworks and kinds;
    docs/schedule.md has their edges in a table. Beyond 1.2 `total_steps` the last value is held. Where a framework's
    formula falls below 0 after the end (torchtitan's line and 1-sqrt, OLMo-core's WSD), 0 is held.

    Compared with transformers 5.24, optax 0.2.8 and litgpt 0.5.13 themselves, with the schedulers taken out of timm 1.0.31 and
    torchtitan 0.3.0, and with the formulas of Megatron-LM (2026), GPT-NeoX (2023, 2026), OLMo-core, nanotron and lingua (2025).

    Args:
        framework: "hf" (transformers), "megatron", "neox", "neox-2023", "torchtitan", "litgpt", "optax", "olmo-core",
            "nanotron", "lingua" or "timm".
        kind: A kind that the framework has; its own spelling, such as "warmup_stable_decay", is understood.
        max_lr: The peak, >= 0.
        min_lr: The minimum as an absolute rate, in [0, max_lr], default 0; only where the kind has one.
        warmup_steps: A whole number >= 0, default 0. GPT-NeoX and Megatron-LM compute with an unrounded fraction of the
            total when they are given one.
        total_steps: Where the decay ends, warm-up included, >= warmup_steps. Not needed by constant,
            constant_with_warmup and inverse_sqrt (except megatron's). timm: its ``t_initial``.
        decay_steps: For wsd: length of the decay.
        decay_frac: For wsd: the decay as a part of `total_steps`, default 0.1.
        shape: For wsd: "linear", "cosine", "one_minus_sqrt", or "halving" (Megatron-LM's exponential). Defaults: hf
            cosine, megatron halving, torchtitan and nanotron linear. olmo-core has linear and lingua harmonic only.
        power: For polynomial (hf and optax 1, timm 0.5) and lingua's inverse_sqrt (0.5): the exponent.
        num_cycles: For cosine_with_restarts: a divisor of the decay's length, default 1.
        timescale: For hf's inverse_sqrt, default warmup_steps, or 10,000 without a warm-up.
        transition_steps: For optax's exponential.
        decay_rate: For optax's exponential, in (0, 1).
        units: "steps" (default) or "tokens".

    Returns:
        The Schedule.

    Raises:
        InvalidArgument: An unknown framework or kind (the message lists those accepted), an option that the kind does
            not take, or an argument out of range.
    """
    one_of("match: framework", framework, FRAMEWORKS)
    kinds = FRAMEWORKS[framework]
    kind = one_of(f"match: {framework}: kind", ALIASES.get(kind, kind), kinds)
    name = f"match: {framework} {kind}"
    given = {
        "decay_steps": decay_steps,
        "decay_frac": decay_frac,
        "shape": shape,
        "power": power,
        "num_cycles": num_cycles,
        "timescale": timescale,
        "transition_steps": transition_steps,
        "decay_rate": decay_rate,
    }
    accepted = _options(framework, kind)
    foreign = [key for key, value in given.items() if value is not None and key not in accepted]
    if foreign:
        raise InvalidArgument(f"{name}: takes no {', '.join(foreign)}; its options: {', '.join(accepted) or 'none'}")
    peak, low = falling(name, max_lr=max_lr, min_lr=min_lr)
    (warmup,) = counts(name, warmup_steps=warmup_steps)
    if total_steps is None:
        if kind not in ("constant", "constant_with_warmup", "inverse_sqrt") or framework == "megatron":
            raise InvalidArgument(f"{name}: total_steps: expected a whole number, got None")
        total_steps = max(warmup, 1)
    (total,) = counts(name, total_steps=total_steps)
    if total < max(warmup, 1):
        raise InvalidArgument(f"{name}: total_steps: expected at least max(1, warmup_steps = {warmup}), got {total}")
    options = Options(**given)  # type: ignore[arg-type]
    if low and (framework, kind) in WITHOUT_MINIMUM:
        raise InvalidArgument(f"{name}: min_lr: expected 0, this kind has none here, got {low:.6g}")
    request = Request(name, peak, low, warmup, total, checked_units(name, units), options)
    return kinds[kind](request)


def _options(framework: str, kind: str) -> tuple[str, ...]:
    """The options that a kind takes beside peak, minimum, warm-up and total."""
    special = {
        ("hf", "cosine_with_restarts"): ("num_cycles",),
        ("hf", "inverse_sqrt"): ("timescale",),
        ("lingua", "inverse_sqrt"): ("power",),
        ("lingua", "wsd"): ("decay_frac",),
        ("olmo-core", "wsd"): ("decay_steps", "decay_frac"),
        ("optax", "exponential"): ("transition_steps", "decay_rate"),
    }
    general = {"wsd": _WSD, "polynomial": ("power",)}
    return special.get((framework, kind), general.get(kind, ()))


@dataclasses.dataclass(frozen=True)
class Edges:
    """What one curve does at its edges, for a peak of 1."""

    framework: str
    kind: str
    first: float  # update 0
    peak_at: tuple[int, int]  # first and last update at the peak
    last: float  # update T - 1
    total: float  # update T, which a run of T updates does not reach
    after: float  # update 1.2 T


def edges(*, min_lr: float = 0.1, warmup_steps: int = 10, total_steps: int = 100) -> list[Edges]:
    """The edges of every framework and kind, for a peak of 1: what docs/schedule.md tabulates.

    Args:
        min_lr: The minimum where a kind has one, in (0, 1); default 0.1.
        warmup_steps: W, default 10.
        total_steps: T > 2 W, default 100.

    Returns:
        One row a framework and kind, in the order of `FRAMEWORKS`.
    """
    rows: list[Edges] = []
    for framework, kinds in FRAMEWORKS.items():
        for kind in kinds:
            further: dict[str, Any] = {"warmup_steps": warmup_steps, "total_steps": total_steps}
            if (framework, kind) == ("optax", "exponential"):
                further |= {"transition_steps": total_steps, "decay_rate": min_lr}
            low = 0.0 if (framework, kind) in WITHOUT_MINIMUM else min_lr
            curve = match(framework, kind=kind, max_lr=1.0, min_lr=low, **further)
            values = curve.values(range(total_steps)).tolist()
            top = [k for k, value in enumerate(values) if value == max(values)]
            after = curve(total_steps + total_steps // 5)
            rows.append(Edges(framework, kind, values[0], (top[0], top[-1]), values[-1], curve(total_steps), after))
    return rows
