"""What other frameworks' schedules do, one builder a kind; each says what is peculiar at the edges.

The counter is the number of updates applied, so update k uses f(k). What frameworks call their schedules differs; here one
shape has one name. A curve that its framework does not stop is reproduced a fifth past its end, and nowhere below 0.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

from rewarm.errors import InvalidArgument
from rewarm.schedule.arguments import fraction
from rewarm.schedule.pieces import cosine_tail, exponential, harmonic, legacy_cosine, polynomial, power
from rewarm.schedule.request import Request
from rewarm.schedule.schedule import Schedule, join
from rewarm.schedule.segment import checked_count, checked_number

Builder = Callable[[Request], Schedule]


def _constant(r: Request) -> Schedule:
    return r.hold(r.peak)


def _constant_with_warmup(r: Request) -> Schedule:
    return join(r.up(), r.hold(r.peak))


def _cosine(r: Request) -> Schedule:
    return join(r.up(), r.fall("cosine", r.decay))


def _linear(r: Request) -> Schedule:
    return join(r.up(), r.fall("linear", r.decay))


def _later(schedule: Schedule, r: Request) -> Schedule:
    """f(k + 1): the same curve with its first count gone, for the segments that may stand first."""
    first, rest = schedule.segments[0], list(schedule.segments[1:])
    length = None if first.length is None else first.length - 1
    a, b = first.from_value, first.to_value or 0.0
    if length is not None and length <= 0:
        begun = r.hold(b, 0)
    elif first.kind == "constant":
        begun = r.hold(a, length)
    elif first.kind == "linear":
        begun = r.line(schedule(1), b, length or 0)
    elif first.kind == "cosine":
        begun = cosine_tail(a, b, length or 0, offset=1, units=r.units)
    else:
        raise InvalidArgument(f"{r.name}: warmup_steps: expected a whole number >= 1 for this kind, got 0")
    begun = begun if first.lo == -math.inf else begun.floor(first.lo)
    if not rest:
        return begun
    after = [Schedule((dataclasses.replace(segment, start=0),), units=r.units) for segment in rest]
    return join(begun, *after)


# transformers: LambdaLR, update k uses f(k); the first update of a warm-up is at 0. Checked against transformers 5.24.


def _hf_cosine(r: Request) -> Schedule:
    """Never clamped: it rises again after the total."""
    return join(r.up(), *r.wave(max(1, r.decay), r.horizon - r.warmup))


def _hf_cosine_warmup_with_min_lr(r: Request) -> Schedule:
    """The curve of cosine_with_min_lr one update earlier: the first update is at P / W and the floor at update T - 1."""
    return _later(_hf_cosine(r), r)


def _hf_cosine_with_restarts(r: Request) -> Schedule:
    n = checked_count(f"{r.name}: num_cycles", 1 if r.options.num_cycles is None else r.options.num_cycles)
    if n == 0 or r.decay % n:
        raise InvalidArgument(
            f"{r.name}: num_cycles: expected a divisor of total_steps - warmup_steps = {r.decay}, got {n}: a segment begins at "
            "a whole count"
        )
    return join(r.up(), *[r.fall("cosine", r.decay // n)] * n)


def _hf_polynomial(r: Request) -> Schedule:
    if r.low >= r.peak:
        raise InvalidArgument(f"{r.name}: min_lr: expected less than max_lr = {r.peak:.6g}, got {r.low:.6g}")
    exponent = 1.0 if r.options.power is None else r.options.power
    return join(r.up(), polynomial(r.peak, r.low, r.decay, power=exponent, units=r.units))


def _hf_inverse_sqrt(r: Request) -> Schedule:
    """P / sqrt((k + s) / timescale), s = timescale - W; timescale is W, or 10,000 without a warm-up."""
    timescale = r.options.timescale
    timescale = (r.warmup or 10_000) if timescale is None else checked_count(f"{r.name}: timescale", timescale)
    if timescale == 0:
        raise InvalidArgument(f"{r.name}: timescale: expected a whole number >= 1, got 0")
    return join(r.up(), power(r.peak, exponent=-0.5, until=timescale, offset=timescale, units=r.units))


def _hf_wsd(r: Request) -> Schedule:
    """The warm-up begins at the minimum, not at 0."""
    stable, decay = r.stable_and_decay()
    shape = r.shape("cosine", "cosine", "linear", "one_minus_sqrt")
    return join(r.up(r.low), r.hold(r.peak, stable), r.fall(shape, decay))


# Megatron-LM: f(k) with k in samples or updates, clamped at the minimum after the total.


def _megatron_inverse_sqrt(r: Request) -> Schedule:
    """max(m, P sqrt(W / k)) up to T, and m from T + 1 on: the curve jumps there. Without a warm-up W is 1."""
    curve = r.inverse_sqrt(max(r.warmup, 1), r.decay + 1)
    return join(r.up(), curve.floor(r.low), r.hold(r.low))


def _megatron_wsd(r: Request) -> Schedule:
    stable, decay = r.stable_and_decay()
    # What Megatron-LM calls exponential is no exponential.
    shape = (
        "halving" if r.options.shape == "exponential" else r.shape("halving", "halving", "linear", "cosine", "one_minus_sqrt")
    )
    return join(r.up(), r.hold(r.peak, stable), r.fall(shape, decay))


# GPT-NeoX since its pull request 1379 (2026): the first update of a warm-up is at P / W, and so is the second.


def _neox(r: Request, decay: list[Schedule]) -> Schedule:
    if r.warmup == 0:
        return join(*decay)
    first = r.peak / r.warmup
    return join(r.hold(first, 1), r.line(first, r.peak, r.warmup - 1), *decay)


def _neox_constant(r: Request) -> Schedule:
    return _neox(r, [r.hold(r.peak)])


def _neox_cosine(r: Request) -> Schedule:
    """Rises again after the total."""
    return _neox(r, r.wave(max(1, r.decay), r.horizon - r.warmup))


def _neox_linear(r: Request) -> Schedule:
    """A line to 0, cut off at the minimum."""
    return _neox(r, [r.fall("linear", r.decay, 0.0).floor(r.low)])


def _neox_exponential(r: Request) -> Schedule:
    """P exp(-0.693 r), cut off at the minimum; half the peak at the total, and on from there."""
    return _neox(r, [_exp_0693(r, r.decay, r.horizon - r.warmup)])


def _exp_0693(r: Request, unit: int, length: int) -> Schedule:
    exponent = 0.693 * length / max(unit, 1)
    if r.peak == 0.0 or exponent > 700.0:
        raise InvalidArgument(f"{r.name}: expected max_lr > 0 and total_steps well above warmup_steps = {r.warmup}")
    return exponential(r.peak, r.peak * math.exp(-exponent), length, units=r.units).floor(r.low)


# GPT-NeoX before its pull requests 1008, 1011, 1039 and 1040 (2023): with n = min(k, T - W), decays divide by T.


def _neox_2023(r: Request, decay: Callable[[int], Schedule]) -> Schedule:
    travelled = r.total - 2 * r.warmup
    if travelled <= 0:
        raise InvalidArgument(f"{r.name}: warmup_steps: expected less than half of total_steps = {r.total}, got {r.warmup}")
    return join(r.up(), decay(travelled))


def _neox_2023_cosine(r: Request) -> Schedule:
    """Half a cosine towards 0 at W + T, cut off at the minimum; see `gupta2023`."""
    return _neox_2023(r, lambda n: legacy_cosine(r.peak, r.low, n, fraction=n / r.total, units=r.units))


def _neox_2023_linear(r: Request) -> Schedule:
    return _neox_2023(r, lambda n: r.line(r.peak, r.peak * (r.total - n) / r.total, n).floor(r.low))


def _neox_2023_exponential(r: Request) -> Schedule:
    return _neox_2023(r, lambda n: _exp_0693(r, r.total, n))


def _neox_2023_constant(r: Request) -> Schedule:
    return _neox_2023(r, lambda n: r.hold(r.peak))


# torchtitan: update k of the warm-up is at P (k + 1) / W, so the peak comes twice; after the total every shape goes on.


def _titan(r: Request, shape: str, stable: int, decay: int) -> Schedule:
    up = r.line(r.peak / r.warmup, r.peak, r.warmup - 1) if r.warmup else r.hold(r.peak, 0)
    held = r.hold(r.peak, stable + (1 if r.warmup else 0))
    until = r.horizon - r.warmup - stable
    down = r.wave(decay, until) if shape == "cosine" else r.falling_on(shape, decay, until)
    return join(up, held, *down)


def _titan_linear(r: Request) -> Schedule:
    return _titan(r, "linear", 0, r.decay)


def _titan_cosine(r: Request) -> Schedule:
    return _titan(r, "cosine", 0, r.decay)


def _titan_one_minus_sqrt(r: Request) -> Schedule:
    return _titan(r, "one_minus_sqrt", 0, r.decay)


def _titan_wsd(r: Request) -> Schedule:
    return _titan(r, r.shape("linear", "linear", "cosine", "one_minus_sqrt"), *r.stable_and_decay())


# optax: pure functions, joined at W; decay counts include the warm-up; clamped after the total.


def _optax_polynomial(r: Request) -> Schedule:
    exponent = 1.0 if r.options.power is None else r.options.power
    return join(r.up(), polynomial(r.peak, r.low, r.decay, power=exponent, units=r.units))


def _optax_exponential(r: Request) -> Schedule:
    """P decay_rate^((k - W) / transition_steps), cut off at the minimum."""
    steps, rate = r.options.transition_steps, r.options.decay_rate
    if steps is None or rate is None:
        raise InvalidArgument(f"{r.name}: expected transition_steps and decay_rate, got {steps!r} and {rate!r}")
    steps = checked_count(f"{r.name}: transition_steps", steps)
    rate = checked_number(f"{r.name}: decay_rate", rate, accepts="a number in (0, 1)", positive=True)
    if rate >= 1.0 or steps == 0:
        raise InvalidArgument(f"{r.name}: expected transition_steps >= 1 and decay_rate in (0, 1), got {steps} and {rate!r}")
    length = r.horizon - r.warmup
    return join(r.up(), exponential(r.peak, r.peak * rate ** (length / steps), length, units=r.units).floor(r.low))


# OLMo-core: its trainer counts before it asks, so update k uses f(k + 1) and the peak is at update W - 1.


def _olmo(curve: Builder) -> Builder:
    return lambda r: _later(curve(r), r)


def _olmo_inverse_sqrt(r: Request) -> Schedule:
    """With alpha_f = 0; otherwise a base is added to the power, which no segment expresses."""
    if r.warmup == 0:
        raise InvalidArgument(f"{r.name}: warmup_steps: expected a whole number >= 1, got 0")
    return join(r.up(), r.inverse_sqrt(r.warmup))


def _olmo_wsd(r: Request) -> Schedule:
    """The line goes on below the minimum after the total, to 0 and (there, not here) beyond."""
    stable, decay = r.stable_and_decay()
    return join(r.up(), r.hold(r.peak, stable), *r.falling_on("linear", decay, r.horizon + 1 - r.warmup - stable))


# nanotron: f(k), clamped after the total. Without a warm-up the first update is still at 0: it compares k <= W.


def _nanotron(r: Request, *decay: Schedule) -> Schedule:
    if r.warmup:
        return join(r.up(), *decay)
    return join(r.hold(0.0, 1), _later(join(*decay), r))


def _nanotron_cosine(r: Request) -> Schedule:
    return _nanotron(r, r.fall("cosine", r.decay))


def _nanotron_linear(r: Request) -> Schedule:
    return _nanotron(r, r.fall("linear", r.decay))


def _nanotron_one_minus_sqrt(r: Request) -> Schedule:
    return _nanotron(r, r.fall("one_minus_sqrt", r.decay))


def _nanotron_wsd(r: Request) -> Schedule:
    stable, decay = r.stable_and_decay()
    return _nanotron(r, r.hold(r.peak, stable), r.fall(r.shape("linear", "linear", "cosine", "one_minus_sqrt"), decay))


# lingua: f(k), clamped after the total, except that its cycles show at and after the total.


def _lingua_cosine(r: Request) -> Schedule:
    """At exactly k = T the sign of the next cycle is taken: one update at the peak, then the minimum."""
    return join(r.up(), r.fall("cosine", r.decay), r.hold(r.peak, 1), r.hold(r.low))


def _lingua_inverse_sqrt(r: Request) -> Schedule:
    """P (W / k)^power, power 0.5, cut off at the minimum, without an end."""
    if r.warmup == 0:
        raise InvalidArgument(f"{r.name}: warmup_steps: expected a whole number >= 1 (lingua divides by it), got 0")
    exponent = 0.5 if r.options.power is None else checked_number(f"{r.name}: power", r.options.power, positive=True)
    curve = power(r.peak, exponent=-exponent, until=r.warmup, offset=r.warmup, units=r.units)
    return join(r.up(), curve.floor(r.low))


def _lingua_wsd(r: Request) -> Schedule:
    """A harmonic decay over int(T decay_frac); after the total a second cycle, twice as long, begins at the peak."""
    if r.low == 0.0:
        raise InvalidArgument(f"{r.name}: min_lr: expected a number > 0 (lingua divides by it), got 0")
    part = 0.1 if r.options.decay_frac is None else fraction(f"{r.name}: decay_frac", r.options.decay_frac)
    decay, second = int(r.total * part), int(2 * r.total * part)
    if decay == 0 or decay > r.decay:
        raise InvalidArgument(f"{r.name}: decay_frac: expected from 1 to {r.decay} counts of decay, got {decay}")
    if second >= r.total:
        raise InvalidArgument(f"{r.name}: decay_frac: expected less than 0.5, got {part!r}")
    first = harmonic(r.peak, r.low, decay, units=r.units)
    # At k = T lingua still looks at the first cycle, with the decay of the second: r = 1 all the same.
    again = [r.hold(r.low, 1), r.hold(r.peak, r.total - second - 1), harmonic(r.peak, r.low, second, units=r.units)]
    return join(r.up(), r.hold(r.peak, r.decay - decay), first, *again)


# timm: f(k) by step_update, the warm-up laid over the curve (warmup_prefix=False): the peak is skipped.


def _timm_cosine(r: Request) -> Schedule:
    if r.warmup == 0:
        return r.fall("cosine", r.total)
    return join(r.up(), cosine_tail(r.peak, r.low, r.decay, offset=r.warmup, units=r.units))


def _timm_polynomial(r: Request) -> Schedule:
    """M + (P - m) (1 - k / T)^power, power 0.5; from k = W on."""
    exponent = 0.5 if r.options.power is None else checked_number(f"{r.name}: power", r.options.power, positive=True)
    start = r.low + (r.peak - r.low) * (r.decay / r.total) ** exponent
    return join(r.up(), polynomial(start, r.low, r.decay, power=exponent, units=r.units))


#: Which kinds each framework has here, and what builds them.
FRAMEWORKS: dict[str, dict[str, Builder]] = {
    "hf": {
        "constant": _constant,
        "constant_with_warmup": _constant_with_warmup,
        "linear": _linear,
        "cosine": _hf_cosine,
        "cosine_with_restarts": _hf_cosine_with_restarts,
        "cosine_with_min_lr": _hf_cosine,
        "cosine_warmup_with_min_lr": _hf_cosine_warmup_with_min_lr,
        "polynomial": _hf_polynomial,
        "inverse_sqrt": _hf_inverse_sqrt,
        "wsd": _hf_wsd,
    },
    "megatron": {
        "constant": _constant_with_warmup,
        "linear": _linear,
        "cosine": _cosine,
        "inverse_sqrt": _megatron_inverse_sqrt,
        "wsd": _megatron_wsd,
    },
    "neox": {
        "constant": _neox_constant,
        "linear": _neox_linear,
        "cosine": _neox_cosine,
        "exponential": _neox_exponential,
    },
    "neox-2023": {
        "constant": _neox_2023_constant,
        "linear": _neox_2023_linear,
        "cosine": _neox_2023_cosine,
        "exponential": _neox_2023_exponential,
    },
    "torchtitan": {
        "linear": _titan_linear,
        "cosine": _titan_cosine,
        "one_minus_sqrt": _titan_one_minus_sqrt,
        "wsd": _titan_wsd,
    },
    "litgpt": {"cosine": _cosine},
    "optax": {
        "constant": _constant,
        "constant_with_warmup": _constant_with_warmup,
        "linear": _linear,
        "cosine": _cosine,
        "polynomial": _optax_polynomial,
        "exponential": _optax_exponential,
    },
    "olmo-core": {
        "constant": _constant,
        "constant_with_warmup": _olmo(_constant_with_warmup),
        "linear": _olmo(_linear),
        "cosine": _olmo(_cosine),
        "inverse_sqrt": _olmo(_olmo_inverse_sqrt),
        "wsd": _olmo(_olmo_wsd),
    },
    "nanotron": {
        "cosine": _nanotron_cosine,
        "linear": _nanotron_linear,
        "one_minus_sqrt": _nanotron_one_minus_sqrt,
        "wsd": _nanotron_wsd,
    },
    "lingua": {
        "constant": _constant,
        "linear": _linear,
        "cosine": _lingua_cosine,
        "inverse_sqrt": _lingua_inverse_sqrt,
        "wsd": _lingua_wsd,
    },
    "timm": {"cosine": _timm_cosine, "polynomial": _timm_polynomial},
}
