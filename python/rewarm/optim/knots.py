"""Where the knots of an optimizer's table schedules lie in the one array that its kernels read."""

from __future__ import annotations

from collections.abc import Iterable

from rewarm.errors import InvalidArgument
from rewarm.schedule import MAX_KNOTS, Schedule


class KnotPlaces:
    """Places in an array of MAX_KNOTS; schedules with the same knots share one."""

    def __init__(self) -> None:
        self._first: dict[bytes, int] = {}

    @staticmethod
    def check_room(schedules: Iterable[Schedule]) -> None:
        """Raises InvalidArgument when the knots of all these do not fit together."""
        sizes = {s.pack_knots().tobytes(): s.n_knots for s in schedules if s.n_knots}
        if sum(sizes.values()) > MAX_KNOTS:
            raise InvalidArgument(
                f"AdamW: the schedules of an optimizer may have {MAX_KNOTS} knots in different tables together, these have "
                f"{sum(sizes.values())}"
            )

    def find(self, schedule: Schedule, in_use: Iterable[Schedule]) -> int | None:
        """The index of a schedule's first knot; None when no gap is wide enough.

        Args:
            schedule: Any, with or without knots.
            in_use: All schedules whose knots must stay, this one or not.
        """
        if not schedule.n_knots:
            return 0
        wanted = schedule.pack_knots().tobytes()
        used = {s.pack_knots().tobytes() for s in in_use if s.n_knots}
        self._first = {key: first for key, first in self._first.items() if key in used}
        if wanted not in self._first:
            end = 0
            for key, first in sorted(self._first.items(), key=lambda item: item[1]):
                if first - end >= schedule.n_knots:
                    break
                end = first + len(key) // 16
            if end + schedule.n_knots > MAX_KNOTS:
                return None
            self._first[wanted] = end
        return self._first[wanted]
