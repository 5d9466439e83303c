"""A schedule as data: an immutable list of segments and a pure function of an int64 counter.

Convention: ``step`` counts the updates already applied, so the first update uses ``schedule(0)``; with units of tokens
it is the number of tokens consumed before the update. After its end a schedule holds its last value.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rewarm._native import core
from rewarm.errors import InvalidArgument
from rewarm.schedule.segment import (
    KNOT_DTYPE,
    MAX_COUNT,
    MAX_KNOTS,
    SEGMENT_DTYPE,
    Segment,
    checked_count,
    checked_number,
    checked_units,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_SEGMENTS = 64
FORMAT = "rewarm.schedule"
VERSION = 1


@dataclass(frozen=True, repr=False)
class Schedule:
    """A learning rate (or any scalar >= 0) as a function of the updates applied, or of the tokens consumed.

    Immutable, hashable, equal when its segments and units are. Made by `warmup_cosine`, `wsd`, `infinite`, by the
    single pieces (`linear`, `cosine`, ...) and `join`, or read back by `from_dict` and `unpack`. Values come from the
    C++ core, the same header that the optimizer kernels compile.

    Args:
        segments: The pieces in order, at most 64 with at most 4,096 knots; each starts where the one before stops. Only
            the last may be open ended or of length 0.
        units: What the counter counts, "steps" (default) or "tokens".

    Raises:
        InvalidArgument: The segments do not follow on one another, or are none or too many.
    """

    segments: tuple[Segment, ...]
    units: str = field(default="steps", kw_only=True)
    # The packed records seen as int64: a structured array costs a microsecond more at the border to C++.
    _words: NDArray[np.int64] = field(init=False, repr=False, compare=False)
    _points: NDArray[np.int64] | None = field(init=False, repr=False, compare=False)  # the knots likewise, None without any

    def __post_init__(self) -> None:
        segments = tuple(self.segments)
        checked_units("Schedule", self.units)
        if not segments:
            raise InvalidArgument("Schedule: expected at least one segment, got none")
        if len(segments) > MAX_SEGMENTS:
            raise InvalidArgument(f"Schedule: expected at most {MAX_SEGMENTS} segments, got {len(segments)}")
        expected = 0
        for i, segment in enumerate(segments):
            if not isinstance(segment, Segment):
                raise InvalidArgument(f"Schedule: segment {i}: expected a Segment, got {type(segment).__name__}")
            if segment.start != expected:
                raise InvalidArgument(f"Schedule: segment {i}: expected start {expected}, got {segment.start}")
            if i + 1 < len(segments):
                if not segment.length:
                    raise InvalidArgument(f"Schedule: segment {i}: only the last segment may have length {segment.length}")
                expected += segment.length
        object.__setattr__(self, "segments", segments)
        if self.n_knots > MAX_KNOTS:
            raise InvalidArgument(f"Schedule: expected at most {MAX_KNOTS} knots, got {self.n_knots}")
        words = self.pack().view(np.int64)
        words.flags.writeable = False
        object.__setattr__(self, "_words", words)
        points = self.pack_knots().view(np.int64)
        points.flags.writeable = False
        object.__setattr__(self, "_points", points if points.size else None)

    def __call__(self, step: int) -> float:
        """The value for the update that follows `step` applied updates (or consumed tokens).

        Args:
            step: Counter in the schedule's units, a whole number in [0, 2**63).

        Returns:
            The value as a float; the last value for every step past the end.

        Raises:
            InvalidArgument: `step` is negative, not whole or too large.
        """
        if type(step) is not int or not 0 <= step <= MAX_COUNT:
            step = checked_count("Schedule: step", step)
        return float(core.schedule_value(self._words, self._points, step))

    def values(self, steps: ArrayLike) -> NDArray[np.float64]:
        """The values at many counters.

        Args:
            steps: Whole numbers in [0, 2**63), any shape; ``range(100)`` is fine.

        Returns:
            float64 array of the shape of `steps`.

        Raises:
            InvalidArgument: An entry is negative, not whole or too large.
        """
        given = np.asarray(steps)
        counts = given.astype(np.int64) if given.dtype.kind in "iuf" and given.size and _all_counts(given) else None
        if counts is None:  # the slow road names the entry that is not accepted
            entries = [checked_count(f"Schedule: steps[{i}]", entry) for i, entry in enumerate(given.ravel().tolist())]
            counts = np.array(entries, dtype=np.int64).reshape(given.shape)
        values: NDArray[np.float64] = core.schedule_values(self._words, self._points, np.ascontiguousarray(counts).ravel())
        return values.reshape(given.shape)

    @property
    def length(self) -> int | None:
        """Counter at which the last value is reached, None when the last segment is open ended."""
        return self.segments[-1].stop

    def scale(self, factor: float) -> Schedule:
        """This schedule times `factor`, clamps included.

        Args:
            factor: A finite number >= 0.

        Returns:
            A new Schedule. With 0 every segment becomes a constant 0.

        Raises:
            InvalidArgument: `factor` is negative or not finite, or a scaled value leaves the range of float64.
        """
        factor = checked_number("Schedule.scale: factor", factor)
        if factor == 0.0:
            zeros = [Segment("constant", segment.start, segment.length, 0.0) for segment in self.segments]
            return Schedule(tuple(zeros), units=self.units)
        scaled = [segment.scaled(factor) for segment in self.segments]
        return Schedule(tuple(scaled), units=self.units)

    def floor(self, lo: float) -> Schedule:
        """This schedule, never below `lo`: ``max(lo, f(t))``, warm-up included.

        Args:
            lo: A finite number >= 0.

        Returns:
            A new Schedule.

        Raises:
            InvalidArgument: `lo` is negative or not finite.
        """
        lo = checked_number("Schedule.floor: lo", lo)
        raised = [dataclasses.replace(segment, lo=max(lo, segment.lo)) for segment in self.segments]
        return Schedule(tuple(raised), units=self.units)

    @property
    def n_knots(self) -> int:
        """Knots of all its tables, at most 4,096."""
        return sum(len(segment.knots) for segment in self.segments if segment.knots is not None)

    def pack(self, *, first_knot: int = 0) -> NDArray[np.void]:
        """The segments as the records that the kernels read.

        Args:
            first_knot: Index at which `pack_knots` will stand in the array that the kernels are given.

        Returns:
            A fresh contiguous array of SEGMENT_DTYPE (64 bytes each), shape [number of segments].
        """
        rows: list[tuple[Any, ...]] = []
        for segment in self.segments:
            rows.append(segment.packed(first_knot))
            first_knot += 0 if segment.knots is None else len(segment.knots)
        return np.array(rows, dtype=SEGMENT_DTYPE)

    def pack_knots(self) -> NDArray[np.void]:
        """The knots of all tables in order, as the records that the kernels read.

        Returns:
            A fresh contiguous array of KNOT_DTYPE (16 bytes each), shape [n_knots].
        """
        return np.array([knot for segment in self.segments for knot in segment.knots or ()], dtype=KNOT_DTYPE)

    @classmethod
    def unpack(cls, table: NDArray[np.void], knots: NDArray[np.void] | None = None, *, units: str = "steps") -> Schedule:
        """The inverse of `pack` and `pack_knots`. Units are not part of the records and are given here.

        Args:
            table: Array of SEGMENT_DTYPE, shape [number of segments].
            knots: Array of KNOT_DTYPE that the tables index, shape [n]; None (default) without tables.
            units: "steps" (default) or "tokens".

        Returns:
            The Schedule.

        Raises:
            InvalidArgument: Another dtype or shape, or records that do not make a schedule.
        """
        array = np.asarray(table)
        points = np.empty(0, KNOT_DTYPE) if knots is None else np.asarray(knots)
        for name, given, dtype in (("SEGMENT_DTYPE", array, SEGMENT_DTYPE), ("KNOT_DTYPE", points, KNOT_DTYPE)):
            if given.dtype != dtype or given.ndim != 1:
                raise InvalidArgument(
                    f"Schedule.unpack: expected a one-dimensional array of {name}, got {given.ndim} dimensions of {given.dtype}"
                )
        return cls(tuple(Segment.unpacked(row, points) for row in array), units=units)

    def to_dict(self) -> dict[str, Any]:
        """This schedule as plain, versioned data for JSON or a checkpoint.

        Returns:
            ``{"format", "version", "units", "segments"}`` of str, int, float and None; each segment has ``kind, length,
            from, lo`` and, where its kind uses them, ``to``, ``power``, ``exponent``, ``until`` and ``offset``; a table has
            ``kind, lo`` and ``knots``, a list of [at, value]. An open end and a missing clamp are None.
        """
        segments = [segment.to_dict() for segment in self.segments]
        return {"format": FORMAT, "version": VERSION, "units": self.units, "segments": segments}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Schedule:
        """The inverse of `to_dict`.

        Args:
            data: What `to_dict` returned, also after a trip through JSON.

        Returns:
            An equal Schedule.

        Raises:
            InvalidArgument: Another format or version, missing or unknown keys, or values that are not accepted.
        """
        if not isinstance(data, dict):
            raise InvalidArgument(f"Schedule.from_dict: expected a dict, got {type(data).__name__}")
        if data.get("format") != FORMAT or data.get("version") != VERSION:
            raise InvalidArgument(
                f"Schedule.from_dict: expected format {FORMAT!r} version {VERSION}, "
                f"got format {data.get('format')!r} version {data.get('version')!r}"
            )
        unknown = sorted(str(key) for key in set(data) - {"format", "version", "units", "segments"})
        if unknown:
            raise InvalidArgument(f"Schedule.from_dict: unknown keys {', '.join(unknown)}")
        pieces = data.get("segments")
        if not isinstance(pieces, (list, tuple)):
            raise InvalidArgument(f"Schedule.from_dict: segments: expected a list, got {type(pieces).__name__}")
        segments: list[Segment] = []
        start = 0
        for i, piece in enumerate(pieces):
            segments.append(Segment.from_dict(piece, start=start, where=f"Schedule.from_dict: segment {i}"))
            start = segments[-1].stop or 0
        return cls(tuple(segments), units=checked_units("Schedule.from_dict", data.get("units")))

    def plot(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        stop: int | None = None,
        points: int = 1000,
        ax: Axes | None = None,
        label: str | None = None,
    ) -> Axes:
        """Draw the schedule; needs matplotlib (``pip install "rewarm[plot]"``).

        Args:
            path: Where to write the picture, by suffix .svg, .png or .pdf; None writes nothing. A failed write leaves
                no file behind and an existing one untouched.
            stop: Last counter drawn. Default: a little past the end.
            points: Counters drawn between 0 and `stop`, >= 2; both sides of every joint are added.
            ax: Axes to draw into, for several schedules in one picture. Default: a new figure.
            label: Name in the legend.

        Returns:
            The matplotlib Axes; ``ax.figure`` is the figure.

        Raises:
            InvalidArgument: An unknown suffix, a folder that does not exist, or an argument out of range.
            BackendUnavailable: matplotlib is not installed.
        """
        from rewarm.schedule.plot import draw

        return draw(self, path, stop=stop, points=points, ax=ax, label=label)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (self.segments, self.units)

    def __repr__(self) -> str:
        lines = [f"Schedule(units={self.units!r})"] + [f"  {segment}" for segment in self.segments]
        if self.length is not None:
            lines.append(f"  [{self.length:_}, ...)  holds  {self(self.length):.6g}")
        return "\n".join(lines)


def join(*pieces: Schedule) -> Schedule:
    """Several schedules one after the other, each counting from its own start.

    At a joint the value is that of the piece that begins there. A piece of length 0 leaves no trace, except as the
    last: then its end value holds from the joint on.

    Args:
        *pieces: Schedules in the same units, together at most 64 segments. Only the last may be open ended.

    Returns:
        The joined Schedule, in the units of its pieces.

    Raises:
        InvalidArgument: No pieces, mixed units, an open-ended piece before the last, or too many segments.
    """
    if not pieces:
        raise InvalidArgument("join: expected at least one Schedule, got none")
    for i, piece in enumerate(pieces):
        if not isinstance(piece, Schedule):
            raise InvalidArgument(f"join: piece {i}: expected a Schedule, got {type(piece).__name__}")
        if piece.units != pieces[0].units:
            raise InvalidArgument(f"join: piece {i}: expected units {pieces[0].units!r} as piece 0, got {piece.units!r}")
        if piece.length is None and i + 1 < len(pieces):
            raise InvalidArgument(f"join: piece {i}: nothing may follow an open end; give its constant a length")
    return Schedule(_in_a_row(segment for piece in pieces for segment in piece.segments), units=pieces[0].units)


def _in_a_row(segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """The segments laid out from 0 on, without those of length 0 that something follows."""
    given = list(segments)
    kept = [segment for segment in given[:-1] if segment.length != 0] + given[-1:]
    start = 0
    laid_out: list[Segment] = []
    for segment in kept:
        laid_out.append(dataclasses.replace(segment, start=start))
        start += segment.length or 0
    return tuple(laid_out)


def _all_counts(given: NDArray[Any]) -> bool:
    """Whether every entry of a numeric array is a whole number in [0, 2**63)."""
    if given.dtype.kind == "f":
        return bool(np.all((given >= 0) & (given < 2.0**63) & (given == np.floor(given))))
    return bool(given.min() >= 0) and int(given.max()) <= MAX_COUNT


def _rebuilt(segments: tuple[Segment, ...], units: str) -> Schedule:
    """Where pickle and deepcopy start again, so that the packed table is never shared or writeable."""
    return Schedule(segments, units=units)
