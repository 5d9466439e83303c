"""What a running schedule becomes when its budget grows or its annealing begins: the pure part of the optimizer's verbs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

from rewarm.errors import InvalidArgument
from rewarm.schedule.pieces import cosine, exponential, inverse_sqrt, linear, one_minus_sqrt
from rewarm.schedule.schedule import Schedule
from rewarm.schedule.segment import MIN_TAU, Segment, checked_count, checked_number

ANNEAL_SHAPES: dict[str, Callable[..., Schedule]] = {
    "linear": linear,
    "cosine": cosine,
    "one_minus_sqrt": one_minus_sqrt,
    "inverse_sqrt": inverse_sqrt,
    "exponential": exponential,
}


def extended(schedule: Schedule, now: int, total: int) -> tuple[Schedule, bool]:
    """The schedule with its end moved to `total`; the value at `now` and before does not change.

    The last decaying piece decides. Constants after it keep their lengths.

    - It has not begun and a constant stands before it (wsd, infinite): the constant grows, the decay moves as it is.
    - It has not begun and nothing constant stands before it (warmup_cosine in its warm-up): it is stretched, as if the
      total had been known from the start.
    - It has begun: what is left is replaced by a piece of the same kind, from the present value to the same end. A straight
      line and an exponential go on less steeply; a cosine begins flat again, a one_minus_sqrt steep.

    Args:
        schedule: The schedule as it runs.
        now: Its present counter, >= 0.
        total: Where the end shall be, in its own count, beyond the present end.

    Returns:
        The new schedule, and whether it counts from `now` (True) or from where the old one did (False).

    Raises:
        InvalidArgument: The schedule has no end, has ended, has no decaying piece, a clamped legacy cosine has begun, or
            `total` is not beyond the end.
    """
    total = checked_count("extend: total", total)
    end = schedule.length
    if end is None:
        raise InvalidArgument("extend: the schedule has no end, so it needs no longer budget; anneal(length=...) ends it")
    if total <= end:
        raise InvalidArgument(
            f"extend: total: expected more than the present end {end}, got {total}; anneal() ends a run sooner"
        )
    falling = [i for i, piece in enumerate(schedule.segments) if piece.length and (piece.to_value or 0.0) < piece.from_value]
    if not falling:
        raise InvalidArgument("extend: the schedule has no decaying piece to move or stretch; use set_schedule or rewarm")
    d = falling[-1]
    piece, before, after = schedule.segments[d], schedule.segments[:d], schedule.segments[d + 1 :]
    assert piece.length is not None
    piece_end = piece.start + piece.length
    if now >= piece_end:
        raise InvalidArgument(
            f"extend: the decay ended at {piece_end} and the schedule stands at {now}: going on needs a new peak, rewarm(...), "
            "or a checkpoint from before the decay"
        )
    if any(rest.kind != "constant" for rest in after):
        kinds = ", ".join(rest.kind for rest in after)
        raise InvalidArgument(f"extend: expected only constants after the last decaying piece, got {kinds}")
    extra = total - end
    if now > piece.start:
        if piece.kind not in ANNEAL_SHAPES and piece.kind != "polynomial":
            raise InvalidArgument(
                f"extend: a {piece.kind} that has begun cannot be stretched (it began at {piece.start}, now {now}); use "
                "set_schedule or rewarm"
            )
        rest = dataclasses.replace(piece, start=0, length=piece_end + extra - now, from_value=schedule(now))
        return _laid_out((rest, *after), schedule.units), True
    if before and before[-1].kind == "constant":
        plateau = dataclasses.replace(before[-1], length=(before[-1].length or 0) + extra)
        return _laid_out((*before[:-1], plateau, piece, *after), schedule.units), False
    longer = dataclasses.replace(piece, length=piece.length + extra)
    return _laid_out((*before, longer, *after), schedule.units), False


def annealed(
    schedule: Schedule, now: int, at: int, length: int, *, shape: str = "linear", to: float = 0.0
) -> tuple[Schedule, bool]:
    """The schedule up to `at`, then a decay of `length` counts from the value there to `to`, which is held.

    Args:
        schedule: The schedule as it runs.
        now: Its present counter, >= 0.
        at: Where the decay begins, >= `now`, in its own count.
        length: Counts of the decay, >= 1.
        shape: One of ANNEAL_SHAPES.
        to: End value, >= 0; > 0 for the exponential.

    Returns:
        The new schedule, and whether it counts from `now` (True, when `at` is `now`) or from where the old one did (False).

    Raises:
        InvalidArgument: An argument is not accepted, or `at` lies inside a piece that cannot be cut exactly.
    """
    if shape not in ANNEAL_SHAPES:
        raise InvalidArgument(f"anneal: shape: expected one of {', '.join(ANNEAL_SHAPES)}, got {shape!r}")
    at, length = checked_count("anneal: at", at), checked_count("anneal: length", length)
    to = checked_number("anneal: to", to)
    if length == 0:
        raise InvalidArgument("anneal: length: expected a whole number >= 1, got 0")
    if at < now:
        raise InvalidArgument(f"anneal: at: expected a count >= {now}, where the run stands, or 'now', got {at}")
    decay = ANNEAL_SHAPES[shape](schedule(at), to, length, units=schedule.units)
    if at == now:
        return decay, True
    kept = [piece for piece in schedule.segments if piece.start < at]
    last = kept[-1]
    if last.stop is None or last.stop > at:
        kept[-1] = cut(last, at)
    elif last.stop < at:
        kept.append(Segment("constant", last.stop, at - last.stop, schedule(at)))
    return _laid_out((*kept, *decay.segments), schedule.units), False


def cut(piece: Segment, at: int) -> Segment:
    """The part of a piece before `at`, with the same values there up to the rounding of a float64.

    Raises:
        InvalidArgument: The kind has no such part of its own kind: a cosine that does not end at 0, a polynomial.
    """
    length = at - piece.start
    if piece.kind == "constant":
        return dataclasses.replace(piece, length=length)
    assert piece.length is not None
    r = length / piece.length
    bare = dataclasses.replace(piece, start=0, lo=-math.inf)
    value = Schedule((bare,))(length)
    if piece.kind in ("linear", "exponential", "one_minus_sqrt") or (piece.kind == "polynomial" and piece.power == 1.0):
        return dataclasses.replace(piece, length=length, to_value=value)
    if piece.kind == "inverse_sqrt" and (piece.power or 0.0) * r >= MIN_TAU:
        return dataclasses.replace(piece, length=length, to_value=value, power=(piece.power or 0.0) * r)
    if piece.kind == "legacy_cosine":
        return dataclasses.replace(piece, length=length, power=(piece.power or 0.0) * r)
    if piece.kind == "cosine" and piece.to_value == 0.0:
        return dataclasses.replace(piece, kind="legacy_cosine", length=length, to_value=None, power=r)
    raise InvalidArgument(
        f"anneal: at: {at} lies inside a {piece.kind} that cannot be cut exactly; give a joint ({piece.start} or "
        f"{piece.stop}), or call anneal(at='now') when the run stands there"
    )


def _laid_out(pieces: tuple[Segment, ...], units: str) -> Schedule:
    start = 0
    placed = []
    for piece in pieces:
        placed.append(dataclasses.replace(piece, start=start))
        start += piece.length or 0
    return Schedule(tuple(placed), units=units)
