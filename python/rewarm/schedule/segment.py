"""One piece of a schedule: its fields, the checks on them and the 64-byte record that C++, CUDA and Triton read.

The record follows ``csrc/schedule/schedule.h``. Counters are Python ints up to 2**63 - 1 and are never rounded.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewarm.errors import InvalidArgument

MAX_COUNT = 2**63 - 1
MAX_KNOTS = 4096  # of one schedule, and of one optimizer: kMaxKnots of schedule.h
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
        ("offset", "<i8"),
    ]
)
#: A point of a table, 16 bytes: what ``Schedule.pack_knots`` returns.
KNOT_DTYPE = np.dtype([("at", "<i8"), ("value", "<f8")])

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
    "power",
    "table",
    "harmonic",
    "halving",
    "cosine_tail",
)

# A constant or a power without an end is packed with this length: "x < length" is then false at every counter, which is how the
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
# Kinds that read these fields, and kinds whose formula divides by an end value.
_OPEN_ENDED_KINDS = ("constant", "power")
_WITH_OFFSET = ("power", "cosine_tail")
_POSITIVE_ENDS = ("exponential", "harmonic")
_COMPUTED_END = ("constant", "legacy_cosine", "power", "table")

Knots = tuple[tuple[int, float], ...]


def checked_number(where: str, value: object, *, accepts: str = "a finite number >= 0", positive: bool = False) -> float:
    """`value` as a float that is finite and not negative (`positive`: nor 0), or InvalidArgument naming `where`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise InvalidArgument(f"{where}: expected {accepts}, got {value!r} of type {type(value).__name__}")
    number = float(value)
    if not math.isfinite(number) or number < 0.0 or (positive and number == 0.0):
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


def checked_knots(where: str, knots: object) -> Knots:
    """Points (at, value) with `at` rising from 0, or InvalidArgument naming `where`."""
    if isinstance(knots, np.ndarray):
        knots = knots.tolist()
    if not isinstance(knots, (list, tuple)):
        raise InvalidArgument(f"{where}: knots: expected a list of pairs (at, value), got {type(knots).__name__}")
    checked: list[tuple[int, float]] = []
    for i, knot in enumerate(knots):
        if not isinstance(knot, (list, tuple)) or len(knot) != 2:
            raise InvalidArgument(f"{where}: knots[{i}]: expected a pair (at, value), got {knot!r}")
        at = checked_count(f"{where}: knots[{i}]: at", knot[0])
        if (at != 0) if i == 0 else (at <= checked[-1][0]):
            expected = "0" if i == 0 else f"more than {checked[-1][0]} (counts rise strictly)"
            raise InvalidArgument(f"{where}: knots[{i}]: at: expected {expected}, got {at}")
        checked.append((at, checked_number(f"{where}: knots[{i}]: value", knot[1])))
    if not 2 <= len(checked) <= MAX_KNOTS:
        raise InvalidArgument(f"{where}: expected from 2 to {MAX_KNOTS} knots, got {len(checked)}")
    return tuple(checked)


def _dict_fields(kind: str) -> dict[str, str]:
    """What `Segment.to_dict` says beside kind, length, from and lo: key there, name of the field here."""
    fields = {} if kind in _COMPUTED_END else {"to": "to_value"}
    fields |= {"until": "until", "exponent": "power"} if kind == "power" else {}
    fields |= {"power": "power"} if kind in _POWER else {}
    fields |= {"offset": "offset"} if kind in _WITH_OFFSET else {}
    return fields


@dataclass(frozen=True)
class Segment:
    """One piece of a `Schedule`. Made by the functions of `rewarm.schedule`, seldom by hand.

    Args:
        kind: One of KINDS.
        start: Counter value at which the piece begins, in the schedule's units.
        length: How many counts it lasts; None for a constant or a power without an end. A table takes it from its knots.
        from_value: Value at `start`, >= 0; of a power and a cosine tail the value that they come down from. A table
            takes it from its knots.
        to_value: Value `length` later and from then on. A constant, a legacy cosine, a power and a table compute it
            themselves.
        power: Exponent of a polynomial (> 0) or of a power (< 0), tau of an inverse square root (>= 0.01), or the
            fraction of the half cosine that a legacy cosine travels, in (0, 1]. None for the other kinds.
        lo: Clamp from below, -inf for none.
        offset: Counts that had passed before `start`, for a power and a cosine tail; 0 for the other kinds.
        until: Count, `offset` included, up to which a power stays at `from_value`; > 0. None for the other kinds.
        knots: Points (at, value) of a table, counted from `start`. None for the other kinds.

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
    offset: int = 0
    until: float | None = None
    knots: Knots | None = None

    def __post_init__(self) -> None:
        kind = self.kind
        if kind not in KINDS:
            raise InvalidArgument(f"segment: expected kind to be one of {', '.join(KINDS)}, got {kind!r}")
        self._set("start", checked_count(f"{kind}: start", self.start))
        if (self.knots is None) == (kind == "table"):
            raise InvalidArgument(f"{kind}: {'expected knots, got None' if kind == 'table' else 'takes no knots'}")
        if self.knots is not None:
            self._set("knots", checked_knots("table", self.knots))
            self._set("length", self.knots[-1][0])
            self._set("from_value", self.knots[0][1])
        self._check_counts()
        self._set("from_value", checked_number(f"{kind}: from_value", self.from_value))
        self._set("power", self._checked_power())
        if (self.until is None) == (kind == "power"):
            raise InvalidArgument(f"{kind}: {'expected until, got None' if kind == 'power' else 'takes no until'}")
        if self.until is not None:
            self._set("until", checked_number("power: until", self.until, accepts="a finite number > 0", positive=True))
        to_value = self._end_value() if kind in _COMPUTED_END else checked_number(f"{kind}: to_value", self.to_value)
        self._set("to_value", to_value)
        if kind in _POSITIVE_ENDS:
            self._check_ratio(self.from_value, to_value)
        self._set("lo", -math.inf if self.lo == -math.inf else checked_number(f"{kind}: lo", self.lo))

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _check_counts(self) -> None:
        kind = self.kind
        if self.length is None:
            if kind not in _OPEN_ENDED_KINDS:
                raise InvalidArgument(
                    f"{kind}: length: expected a whole number >= 0 (only a constant or a power may have no end)"
                )
        else:
            length = checked_count(f"{kind}: length", self.length)
            if self.start + length > MAX_COUNT:
                raise InvalidArgument(f"{kind}: expected start + length < 2**63, got {self.start} + {length}")
            self._set("length", length)
        offset = checked_count(f"{kind}: offset", self.offset)
        if offset and kind not in _WITH_OFFSET:
            raise InvalidArgument(f"{kind}: takes no offset, got {offset}")
        if offset + (self.length or 0) > MAX_COUNT:
            raise InvalidArgument(f"{kind}: expected offset + length < 2**63, got {offset} + {self.length}")
        self._set("offset", offset)

    def _end_value(self) -> float:
        """The value at the end of a piece that computes it itself; of an open-ended power the limit, 0."""
        if self.knots is not None:
            return self.knots[-1][1]
        if self.kind == "legacy_cosine":
            return 0.5 * self.from_value * (1.0 + math.cos(math.pi * (self.power or 0.0)))
        if self.kind == "power" and self.until is not None:
            if self.length is None:
                return 0.0
            passed = float(self.offset) + float(self.length)
            return (
                self.from_value if passed <= self.until else self.from_value * (passed / self.until) ** float(self.power or 0.0)
            )
        return self.from_value

    def _checked_power(self) -> float | None:
        if self.kind == "power":
            accepts = "a finite number < 0"
            if isinstance(self.power, bool) or not isinstance(self.power, numbers.Real):
                raise InvalidArgument(f"power: exponent: expected {accepts}, got {self.power!r}")
            if not -math.inf < self.power < 0.0:
                raise InvalidArgument(f"power: exponent: expected {accepts}, got {self.power!r}")
            return float(self.power)
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

    def _check_ratio(self, from_value: float, to_value: float) -> None:
        for name, value in (("from_value", from_value), ("to_value", to_value)):
            if value <= 0.0:
                raise InvalidArgument(f"{self.kind}: {name}: expected a finite number > 0, got {value!r}")
        ratio = to_value / from_value
        if not 0.0 < ratio < math.inf:
            raise InvalidArgument(
                f"{self.kind}: expected to_value / from_value to be a float64 > 0, got {to_value!r} / {from_value!r}"
            )

    @property
    def stop(self) -> int | None:
        """Counter at which the piece has reached its end, None when it has none."""
        return None if self.length is None else self.start + self.length

    def scaled(self, factor: float) -> Segment:
        """This piece times `factor` > 0, clamp included."""
        knots = None if self.knots is None else tuple((at, value * factor) for at, value in self.knots)
        return dataclasses.replace(
            self,
            from_value=self.from_value * factor,
            to_value=(self.to_value or 0.0) * factor,
            lo=self.lo * factor,
            knots=knots,
        )

    def packed(self, first_knot: int) -> tuple[Any, ...]:
        """The fields of SEGMENT_DTYPE in order; a table's knots begin at index `first_knot`."""
        length = OPEN_ENDED if self.length is None else self.length
        to, power, offset = self.to_value, self.power or 0.0, self.offset
        if self.until is not None:
            to = self.until
        if self.knots is not None:
            power, offset = float(len(self.knots)), first_knot
        return (KINDS.index(self.kind), self.start, length, self.from_value, to, power, self.lo, offset)

    @classmethod
    def unpacked(cls, row: Any, points: NDArray[np.void]) -> Segment:
        """The segment of one SEGMENT_DTYPE record, whose knots, if it is a table, are among `points`."""
        code, length, offset, power = int(row["kind"]), int(row["length"]), int(row["offset"]), float(row["power"])
        if not 0 <= code < len(KINDS):
            raise InvalidArgument(f"segment: expected kind in [0, {len(KINDS)}), got {code}")
        kind = KINDS[code]
        knots: Knots | None = None
        if kind == "table":
            if not (power.is_integer() and offset >= 0 and 2 <= power <= len(points) - offset):
                raise InvalidArgument(
                    f"table: expected its knots among the {len(points)} given, got {power:g} of them from index {offset} on"
                )
            knots = tuple((int(at), float(value)) for at, value in points[offset : offset + int(power)])
            if knots[-1][0] != length:
                raise InvalidArgument(f"table: expected the last knot at its length {length}, got {knots[-1][0]}")
        return cls(
            kind=kind,
            start=int(row["start"]),
            length=None if length == OPEN_ENDED and kind in _OPEN_ENDED_KINDS else length,
            from_value=float(row["from"]),
            to_value=float(row["to"]),
            power=power if kind in _POWER or kind == "power" else None,
            lo=float(row["lo"]),
            offset=0 if kind == "table" else offset,
            until=float(row["to"]) if kind == "power" else None,
            knots=knots,
        )

    def to_dict(self) -> dict[str, Any]:
        """The piece as plain data; what follows from other fields (start, a constant's end) is left out."""
        lo = None if self.lo == -math.inf else self.lo
        if self.knots is not None:
            return {"kind": "table", "knots": [[at, value] for at, value in self.knots], "lo": lo}
        data: dict[str, Any] = {"kind": self.kind, "length": self.length, "from": self.from_value}
        for key, name in _dict_fields(self.kind).items():
            data[key] = getattr(self, name)
        return data | {"lo": lo}

    @classmethod
    def from_dict(cls, data: object, *, start: int, where: str) -> Segment:
        """The inverse of `to_dict`, beginning at `start`; `where` opens the error messages."""
        if not isinstance(data, dict):
            raise InvalidArgument(f"{where}: expected a dict, got {type(data).__name__}")
        kind = data.get("kind")
        if kind not in KINDS:
            raise InvalidArgument(f"{where}: expected 'kind' to be one of {', '.join(KINDS)}, got {kind!r}")
        fields = _dict_fields(str(kind))
        keys = {"kind", "knots", "lo"} if kind == "table" else {"kind", "length", "from", "lo", *fields}
        if set(data) != keys:
            raise InvalidArgument(
                f"{where}: a {kind} has the keys {', '.join(sorted(keys))}; "
                f"missing: {', '.join(sorted(keys - set(data))) or 'none'}; "
                f"unknown: {', '.join(sorted(str(key) for key in set(data) - keys)) or 'none'}"
            )
        lo = -math.inf if data["lo"] is None else data["lo"]
        try:
            if kind == "table":
                return cls(kind, start, 0, 0.0, lo=lo, knots=data["knots"])
            rest = {name: data[key] for key, name in fields.items()}
            return cls(kind, start, data["length"], data["from"], lo=lo, **rest)
        except InvalidArgument as error:
            raise InvalidArgument(f"{where}: {error}") from None

    def details(self) -> str:
        """What a reader must know beside range, kind and end values: the power under its own name, and the clamp."""
        if self.until is not None:
            parts = [f"falls as t^{self.power:.6g} from {self.until:.6g}"]
        else:
            parts = [] if self.power is None else [f"{_POWER[self.kind][0]} {self.power:.6g}"]
        parts += [f"{self.offset:_} counts passed before"] if self.offset else []
        parts += [] if self.knots is None else [f"{len(self.knots)} knots"]
        parts += [] if self.lo == -math.inf else [f"not below {self.lo:.6g}"]
        return ", ".join(parts)

    def __str__(self) -> str:
        kind = self.kind
        text = f"{self.from_value:.6g}"
        if kind != "constant" and self.stop is not None:
            text += f" -> {self.to_value:.6g}"
        if self.details():
            text += f", {self.details()}"
        stop = "..." if self.stop is None else f"{self.stop:_}"
        return f"[{self.start:_}, {stop})  {kind}  {text}"
