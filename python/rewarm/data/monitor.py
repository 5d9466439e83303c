"""StabilityMonitor: how far losses rise after a re-warming, how long they take to come back, what is forgotten."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rewarm.errors import InvalidArgument, StateDictMismatch

VERSION = 1


class StabilityMonitor:
    """Follows validation losses of a continued run from its first evaluation, its start, on.

    ``record`` keeps what it is given and computes nothing: a tensor on a GPU is not waited for. ``summary`` reads.
    Between two evaluations a loss is taken to run on a straight line. The stability gap, a rise that comes back, is that
    of De Lange et al. 2023 (arXiv 2205.13452); forgetting and adaptation as in Gupta et al. 2023 (arXiv 2308.04014).

    Args:
        names: Of the losses that `record` gets, at least one.
        tolerance: Nat above the start that count as recovered.

    Raises:
        InvalidArgument: No names, one twice, or a tolerance that is not a finite number >= 0.
    """

    def __init__(self, names: Sequence[str] = ("old", "new"), *, tolerance: float = 0.0) -> None:
        self.names = tuple(names)
        if isinstance(names, str) or not self.names or len(set(self.names)) < len(self.names):
            raise InvalidArgument(f"names is {names!r}; one or more different texts are accepted")
        if isinstance(tolerance, bool) or not isinstance(tolerance, (int, float)) or not 0 <= tolerance < math.inf:
            raise InvalidArgument(f"tolerance is {tolerance!r}; a finite number >= 0 is accepted")
        self.tolerance = float(tolerance)
        self._tokens: list[int] = []
        self._losses: dict[str, list[Any]] = {name: [] for name in self.names}

    def __len__(self) -> int:
        """Evaluations recorded."""
        return len(self._tokens)

    def record(self, tokens: int, **losses: Any) -> None:
        """One evaluation.

        Args:
            tokens: Consumed (or updates made) since the start, more than at the evaluation before.
            losses: One of each name: a number, or a tensor with one element, of which a copy is taken.

        Raises:
            InvalidArgument: Names that are not those of the monitor, tokens that do not grow, a number that is not finite.
        """
        if set(losses) != set(self.names):
            raise InvalidArgument(f"record: losses of {sorted(losses)} given, of {sorted(self.names)} accepted")
        if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens <= (self._tokens[-1] if self._tokens else -1):
            after = f"more than the {self._tokens[-1]:,} before" if self._tokens else "at least 0"
            raise InvalidArgument(f"record: tokens is {tokens!r}; a whole number, {after}, is accepted")
        kept = {name: self._kept(name, tokens, loss) for name, loss in losses.items()}
        self._tokens.append(tokens)
        for name, loss in kept.items():
            self._losses[name].append(loss)

    @staticmethod
    def _kept(name: str, tokens: int, loss: Any) -> Any:
        if hasattr(loss, "detach"):
            if loss.numel() != 1:
                raise InvalidArgument(f"record: {name} is a tensor of {loss.numel()} elements; one element is accepted")
            return loss.detach().clone()
        if isinstance(loss, bool) or not isinstance(loss, (int, float)) or not math.isfinite(loss):
            raise InvalidArgument(f"record: {name} is {loss!r} at {tokens:,} tokens; a finite number is accepted")
        return float(loss)

    def _read(self, name: str) -> list[float]:
        """The losses as floats, tensors waited for."""
        values = self._losses[name] = [float(loss) for loss in self._losses[name]]
        for tokens, value in zip(self._tokens, values, strict=True):
            if not math.isfinite(value):
                raise InvalidArgument(f"{name} is {value} at {tokens:,} tokens; losses must be finite to be judged")
        return values

    def summary(self) -> dict[str, dict[str, float | None]]:
        """For each name what its curve shows; waits for tensors that were recorded.

        Returns:
            ``start``, ``peak``, ``end``: losses; ``peak_tokens``: where the (first) peak stands; ``rise``: peak - start;
            ``change``: end - start, positive when something was forgotten; ``recovery_tokens``: where the loss is first
            back at start + tolerance after the peak, 0 when it never left, None when it has not come back;
            ``area``: integral of max(0, loss - start) over tokens.

        Raises:
            InvalidArgument: Nothing was recorded, or a loss was not finite (it says where).
        """
        if not self._tokens:
            raise InvalidArgument("summary: nothing was recorded")
        return {name: self._judged(self._read(name)) for name in self.names}

    def _judged(self, values: list[float]) -> dict[str, float | None]:
        start, peak, end = values[0], max(values), values[-1]
        at = values.index(peak)
        return {
            "start": start,
            "peak": peak,
            "end": end,
            "peak_tokens": self._tokens[at],
            "rise": peak - start,
            "change": end - start,
            "recovery_tokens": self._recovered(values, at),
            "area": self._area(values),
        }

    def _recovered(self, values: list[float], peak: int) -> float | None:
        level = values[0] + self.tolerance
        if values[peak] <= level:
            return 0.0
        for i in range(peak + 1, len(values)):
            if values[i] <= level:
                share = (values[i - 1] - level) / (values[i - 1] - values[i])
                return self._tokens[i - 1] + share * (self._tokens[i] - self._tokens[i - 1])
        return None

    def _area(self, values: list[float]) -> float:
        parts = []
        for i in range(1, len(values)):
            width, a, b = self._tokens[i] - self._tokens[i - 1], values[i - 1] - values[0], values[i] - values[0]
            if a >= 0 and b >= 0:
                parts.append(width * (a + b) / 2)
            elif a > 0 or b > 0:  # it crosses the start: a triangle is left
                top = max(a, b)
                parts.append(width * top * top / (2 * abs(a - b)))
        return math.fsum(parts)

    def state_dict(self) -> dict[str, Any]:
        """All that was recorded, as plain numbers; waits for tensors."""
        losses = {name: [float(loss) for loss in self._losses[name]] for name in self.names}
        return {"version": VERSION, "tolerance": self.tolerance, "tokens": list(self._tokens), "losses": losses}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes the place of what was recorded; nothing is changed when it does not fit.

        Raises:
            StateDictMismatch: Of another version or other names, or damaged.
        """
        try:
            version, tokens, losses = state["version"], [int(count) for count in state["tokens"]], state["losses"]
            losses = {str(name): [float(loss) for loss in values] for name, values in losses.items()}
            tolerance = float(state["tolerance"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StateDictMismatch(f"not a state of a StabilityMonitor: {type(error).__name__}: {error}") from error
        grows = all(a < b for a, b in zip([-1, *tokens], tokens, strict=False))
        if (
            version != VERSION
            or set(losses) != set(self.names)
            or not grows
            or {len(v) for v in losses.values()} != {len(tokens)}
        ):
            raise StateDictMismatch(
                f"version {version!r} with losses of {sorted(losses)} at {len(tokens)} counts of tokens; version {VERSION} "
                f"with losses of {sorted(self.names)}, one for each of some growing counts, is accepted"
            )
        self._tokens, self._losses, self.tolerance = tokens, losses, tolerance
