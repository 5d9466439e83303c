"""How often a key comes, and with which flags, over more rows than memory holds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Different keys that are followed; the largest published cold-start table, 7.1 M rows of Region 1, fits without a share.
MOST_KEYS = 8 << 20
#: Odd, so that multiplying by it is one-to-one on 64 bits; its high bits depend on all bits of the key (Fibonacci hashing).
_MIX = np.uint64(0x9E3779B97F4A7C15)


class Keys:
    """A multiset of 64-bit keys with eight flags each.

    Up to `most` different keys everything is exact. Beyond that only the keys whose mixed bits begin with zeros are followed,
    half as many each time the room runs out, and counts are scaled up by the share.
    """

    def __init__(self, most: int = MOST_KEYS) -> None:
        self._most = most
        self._halvings = 0
        #: Added in all.
        self.rows = 0
        self._keys: NDArray[np.uint64] = np.empty(0, np.uint64)
        self._counts: NDArray[np.uint32] = np.empty(0, np.uint32)
        self._flags: NDArray[np.uint8] = np.empty(0, np.uint8)
        self._waiting: list[tuple[NDArray[np.uint64], NDArray[np.uint8]]] = []
        self._waiting_rows = 0

    @property
    def share(self) -> float:
        """The part of all keys that is followed; 1.0 means exact."""
        return 0.5**self._halvings

    def add(self, keys: NDArray[np.uint64], flags: NDArray[np.uint8] | None = None) -> None:
        """One row a key."""
        self.rows += len(keys)
        mixed = keys * _MIX
        kept = self._followed(mixed)
        flags = np.zeros(len(keys), np.uint8) if flags is None else flags
        self._waiting.append((mixed[kept], flags[kept]))
        self._waiting_rows += len(self._waiting[-1][0])
        if self._waiting_rows > max(self._most // 8, min(len(self._keys), self._most // 2)):
            self._fold()

    def different(self) -> int:
        """Different keys."""
        self._fold()
        return round(len(self._keys) / self.share)

    def repeats(self) -> int:
        """Rows whose key came before: rows less different keys."""
        self._fold()
        return round((int(self._counts.sum()) - len(self._keys)) / self.share)

    def mixed(self) -> int:
        """Keys that came with more than one flag."""
        self._fold()
        return round(int((self._flags & (self._flags - np.uint8(1)) != 0).sum()) / self.share)

    def _followed(self, mixed: NDArray[np.uint64]) -> NDArray[Any]:
        if self._halvings == 0:
            return np.ones(len(mixed), bool)
        found: NDArray[Any] = mixed >> np.uint64(64 - self._halvings) == 0
        return found

    def _fold(self) -> None:
        if not self._waiting:
            return
        keys = np.concatenate([self._keys, *(k for k, _ in self._waiting)])
        flags = np.concatenate([self._flags, *(f for _, f in self._waiting)])
        counts = np.concatenate([self._counts, np.ones(self._waiting_rows, np.uint32)])
        self._waiting, self._waiting_rows = [], 0
        order = np.argsort(keys, kind="stable")
        keys, flags, counts = keys[order], flags[order], counts[order]
        first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else np.empty(0, np.int64)
        self._keys = keys[first]
        self._flags = np.bitwise_or.reduceat(flags, first) if len(first) else flags
        self._counts = np.add.reduceat(counts, first) if len(first) else counts
        while len(self._keys) > self._most:
            self._halvings += 1
            kept = self._followed(self._keys)
            self._keys, self._flags, self._counts = self._keys[kept], self._flags[kept], self._counts[kept]
