"""One piece of a schedule: its fields, the checks on them and the 64-byte record that C++, CUDA and Triton read.

The record follows ``csrc/schedule/schedule.h``. Counters are Python ints up to 2**63 - 1 and are never rounded.
"""

from __future__ import annotations

import math
import numbers
import operator
from dataclasses import dataclass
from typing import Any

import numpy as np

from rewarm.errors import InvalidArgument

MAX_COUNT = 2**63 - 1
UNITS = ("steps", "tokens")

#: The exchange format: what ``Schedule.pack`` returns and what the kernels read. 64 bytes.
SEGMENT_DTYPE = np.dtype(
    [
        ("kind", "<i8"),
        ("start", "<i8"),
        ("length", "<i8"),
        ("from", "<f8"),
        ("to", "<f8"),
        ("power", "<f8"),
        ("lo", "<f8"),
        ("knots_offset", "<i8"),
    ]
)

#: Kind names in the order of their numbers in schedule.h.
KINDS = (
    "constant",
    "linear",
    "cosine",
    "legacy_cosine",
    "inverse_sqrt",
    "one_minus_sqrt",
    "polynomial",
    "exponential",
)

# A constant without an end is packed with this length: "x < length" is then false at every counter, which is how the
# header says "at its end", and it stays apart from a length of 0.
OPEN_ENDED = -1

# Below this the inverse-square-root piece is a straight line whose formula loses digits to cancellation.
MIN_TAU = 0.01

# What `power` means and accepts, for the kinds that read it: (name, smallest, smallest is accepted, largest).
_POWER = {
    "legacy_cosine": ("fraction", 0.0, False, 1.0),
    "inverse_sqrt": ("tau", MIN_TAU, True, math.inf),
    "polynomial": ("power", 0.0, False, math.inf),
}


def checked_number(where: str, value: object, *, accepts: str = "a finite number >= 0") -> float:
    """`value` as a float that is finite and not negative, or InvalidArgument naming `where`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise InvalidArgument(f"{where}: expected {accepts}, got {value!r} of type {type(value).__name__}")
    number = float(value)
    if not math.isfinite(number) or number < 0.0:
        raise InvalidArgument(f"{where}: expected {accepts}, got {value!r}")
    return number + 0.0  # -0.0 becomes 0.0, so that equal schedules print and hash alike


def checked_count(where: str, value: object) -> int:
    """`value` as an int in [0, 2**63), or InvalidArgument naming `where`; floats pass when they are whole (297e9)."""
    accepts = "a whole number of steps or tokens in [0, 2**63)"
    count: int | None = None
    if isinstance(value, numbers.Real) and not isinstance(value, (bool, numbers.Rational)):
        number = float(value)
        count = int(number) if math.isfinite(number) and number.is_integer() else None
    elif not isinstance(value, (bool, np.bool_)):
        try:
            count = operator.index(value)  # type: ignore[arg-type]
        except TypeError:
            kind = type(value).__name__
            raise InvalidArgument(f"{where}: expected {accepts}, got {value!r} of type {kind}") from None
    if count is None or not 0 <= count <= MAX_COUNT:
        raise InvalidArgument(f"{where}: expected {accepts}, got {value!r}")
    return count


def checked_units(where: str, units: object) -> str:
    """`units` when it is one of UNITS, or InvalidArgument naming `where`."""
    if units not in UNITS:
        raise InvalidArgument(f"{where}: expected units 'steps' or 'tokens', got {units!r}")
    return str(units)


@dataclass(frozen=True)
class Segment:
    """One piece of a `Schedule`. Made by the functions of `rewarm.schedule`, seldom by hand.

    Args:
        kind: One of KINDS.
        start: Counter value at which the piece begins, in the schedule's units.
        length: How many counts it lasts; None for a constant without an end.
        from_value: Value at `start`, >= 0.
        to_value: Value `length` later and from then on. A constant and a legacy cosine compute it themselves.
        power: Exponent of a polynomial (> 0), tau of an inverse square root (>= 0.01), or the fraction of the half
            cosine that a legacy cosine travels, in (0, 1]. None for the other kinds.
        lo: Clamp from below, -inf for none.

    Raises:
        InvalidArgument: A field is not accepted; the message names it.
    """

    kind: str
    start: int
    length: int | None
    from_value: float
    to_value: float | None = None
    power: float | None = None
    lo: float = -math.inf

    def __post_init__(self) -> None:
        kind = self.kind
        if kind not in KINDS:
            raise InvalidArgument(f"segment: expected kind to be one of {', '.join(KINDS)}, got {kind!r}")
        start = checked_count(f"{kind}: start", self.start)
        if self.length is None:
            if kind != "constant":
                raise InvalidArgument(f"{kind}: length: expected a whole number >= 0 (only a constant may have no end)")
        else:
            length = checked_count(f"{kind}: length", self.length)
            if start + length > MAX_COUNT:
                raise InvalidArgument(f"{kind}: expected start + length < 2**63, got {start} + {length}")
            object.__setattr__(self, "length", length)
        object.__setattr__(self, "start", start)
        from_value = checked_number(f"{kind}: from_value", self.from_value)
        object.__setattr__(self, "from_value", from_value)
        power = self._checked_power()
        object.__setattr__(self, "power", power)
        if kind == "constant":
            to_value = from_value
        elif kind == "legacy_cosine":
            to_value = 0.5 * from_value * (1.0 + math.cos(math.pi * (power or 0.0)))
        else:
            to_value = checked_number(f"{kind}: to_value", self.to_value)
        object.__setattr__(self, "to_value", to_value)
        if kind == "exponential":
            self._check_ratio(from_value, to_value)
        object.__setattr__(self, "lo", -math.inf if self.lo == -math.inf else checked_number(f"{kind}: lo", self.lo))

    def _checked_power(self) -> float | None:
        if self.kind not in _POWER:
            if self.power is not None:
                raise InvalidArgument(f"{self.kind}: takes no power, got {self.power!r}")
            return None
        name, smallest, closed, largest = _POWER[self.kind]
        end = f"{largest:g}]" if math.isfinite(largest) else "inf)"
        accepts = f"a number in {'[' if closed else '('}{smallest:g}, {end}"
        power = checked_number(f"{self.kind}: {name}", self.power, accepts=accepts)
        if power > largest or power < smallest or (power == smallest and not closed):
            raise InvalidArgument(f"{self.kind}: {name}: expected {accepts}, got {self.power!r}")
        return power

    @staticmethod
    def _check_ratio(from_value: float, to_value: float) -> None:
        for name, value in (("from_value", from_value), ("to_value", to_value)):
            if value <= 0.0:
                raise InvalidArgument(f"exponential: {name}: expected a finite number > 0, got {value!r}")
        ratio = to_value / from_value
        if not 0.0 < ratio < math.inf:
            raise InvalidArgument(
                f"exponential: expected to_value / from_value to be a float64 > 0, got {to_value!r} / {from_value!r}"
            )

    @property
    def stop(self) -> int | None:
        """Counter at which the piece has reached its end, None when it has none."""
        return None if self.length is None else self.start + self.length

    def packed(self) -> tuple[Any, ...]:
        """The fields of SEGMENT_DTYPE in order."""
        length = OPEN_ENDED if self.length is None else self.length
        power = 0.0 if self.power is None else self.power
        return (KINDS.index(self.kind), self.start, length, self.from_value, self.to_value, power, self.lo, 0)

    @classmethod
    def unpacked(cls, row: Any) -> Segment:
        """The segment of one SEGMENT_DTYPE record."""
        code, length = int(row["kind"]), int(row["length"])
        if not 0 <= code < len(KINDS):
            raise InvalidArgument(f"segment: expected kind in [0, {len(KINDS)}), got {code}")
        if int(row["knots_offset"]) != 0:
            raise InvalidArgument(f"segment: expected knots_offset 0 (reserved), got {int(row['knots_offset'])}")
        kind = KINDS[code]
        return cls(
            kind=kind,
            start=int(row["start"]),
            length=None if length == OPEN_ENDED and kind == "constant" else length,
            from_value=float(row["from"]),
            to_value=float(row["to"]),
            power=float(row["power"]) if kind in _POWER else None,
            lo=float(row["lo"]),
        )

    def to_dict(self) -> dict[str, Any]:
        """The piece as plain data; what follows from other fields (start, a constant's end) is left out."""
        data: dict[str, Any] = {"kind": self.kind, "length": self.length, "from": self.from_value}
        if self.kind not in ("constant", "legacy_cosine"):
            data["to"] = self.to_value
        if self.power is not None:
            data["power"] = self.power
        data["lo"] = None if self.lo == -math.inf else self.lo
        return data

    @classmethod
    def from_dict(cls, data: object, *, start: int, where: str) -> Segment:
        """The inverse of `to_dict`, beginning at `start`; `where` opens the error messages."""
        if not isinstance(data, dict):
            raise InvalidArgument(f"{where}: expected a dict, got {type(data).__name__}")
        kind = data.get("kind")
        if kind not in KINDS:
            raise InvalidArgument(f"{where}: expected 'kind' to be one of {', '.join(KINDS)}, got {kind!r}")
        keys = {"kind", "length", "from", "lo"}
        keys |= {"to"} if kind not in ("constant", "legacy_cosine") else set()
        keys |= {"power"} if kind in _POWER else set()
        if set(data) != keys:
            raise InvalidArgument(
                f"{where}: a {kind} has the keys {', '.join(sorted(keys))}; "
                f"missing: {', '.join(sorted(keys - set(data))) or 'none'}; "
                f"unknown: {', '.join(sorted(str(key) for key in set(data) - keys)) or 'none'}"
            )
        lo = -math.inf if data["lo"] is None else data["lo"]
        try:
            return cls(kind, start, data["length"], data["from"], data.get("to"), data.get("power"), lo)
        except InvalidArgument as error:
            raise InvalidArgument(f"{where}: {error}") from None

    def details(self) -> str:
        """What a reader must know beside range, kind and end values: the power under its own name, and the clamp."""
        parts = [] if self.power is None else [f"{_POWER[self.kind][0]} {self.power:.6g}"]
        parts += [] if self.lo == -math.inf else [f"not below {self.lo:.6g}"]
        return ", ".join(parts)

    def __str__(self) -> str:
        kind = self.kind
        text = f"{self.from_value:.6g}"
        if kind != "constant":
            text += f" -> {self.to_value:.6g}"
        if self.details():
            text += f", {self.details()}"
        stop = "..." if self.stop is None else f"{self.stop:_}"
        return f"[{self.start:_}, {stop})  {kind}  {text}"
