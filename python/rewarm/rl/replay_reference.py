"""The replay buffer in plain numpy: one Python object a row, float64 sums. Slow, and the law for the tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def philox_words(seed: int, offset: int, stream: int, n: int) -> NDArray[np.uint64]:
    """The first n words of Philox4x32-10 (Salmon et al. 2011) with the counters of rewarm.q: values below 2**32."""
    mask, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    block = np.arange((n + 3) // 4, dtype=np.uint64)
    x0, x1 = block & mask, block >> shift
    x2 = np.full_like(block, offset & 0xFFFFFFFF)
    x3 = np.full_like(block, stream | (offset >> 32) << 8)
    key0, key1 = seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF
    for _ in range(10):
        left, right = x0 * np.uint64(0xD2511F53), x2 * np.uint64(0xCD9E8D57)
        x0, x1, x2, x3 = (
            right >> shift ^ x1 ^ np.uint64(key0),
            right & mask,
            left >> shift ^ x3 ^ np.uint64(key1),
            left & mask,
        )
        key0, key1 = key0 + 0x9E3779B9 & 0xFFFFFFFF, key1 + 0xBB67AE85 & 0xFFFFFFFF
    return np.stack([x0, x1, x2, x3], axis=1).reshape(-1)[:n]


def mc_returns(rewards: Sequence[float], gamma: float, sparse_negative_reward: float | None = None) -> list[float]:
    """Discounted sums of one episode's rewards to its end: G_t = r_t + gamma G_{t+1}, nothing after the end.

    An episode whose rewards all equal `sparse_negative_reward` r has r / (1 - gamma) everywhere: it would have gone on failing.
    """
    if sparse_negative_reward is not None and all(r == sparse_negative_reward for r in rewards):
        return [sparse_negative_reward / (1.0 - gamma)] * len(rewards)
    returns: list[float] = []
    for reward in reversed(rewards):
        returns.append(reward + gamma * (returns[-1] if returns else 0.0))
    return returns[::-1]


class ReplayReference:
    """What ReplayBuffer promises, a row at a time. `ring[block]` holds places, `pending[block]` the episodes that go on."""

    def __init__(
        self,
        capacity: int,
        seeds: Sequence[int],
        *,
        shared: bool = False,
        mc_returns: bool = False,
        gamma: float | None = None,
        sparse_negative_reward: float | None = None,
    ) -> None:
        self.capacity, self.seeds, self.shared = capacity, list(seeds), shared
        self.with_returns, self.gamma = mc_returns, gamma
        self.negative = sparse_negative_reward
        self.scale, self.bias = 1.0, 0.0
        blocks = 1 if shared else len(self.seeds)
        self.ring: list[list[dict[str, Any]]] = [[] for _ in range(blocks)]
        self.cursor = [0] * blocks
        self.pending: list[dict[int, list[dict[str, Any]]]] = [{} for _ in range(blocks)]

    def add(self, block: int, row: dict[str, Any], environment: int = 0) -> None:
        """One valid row: obs, action, reward, next_obs, terminated, truncated."""
        row = dict(row, reward=np.float32(row["reward"]))
        if not self.with_returns:
            self._write(block, row)
            return
        episode = self.pending[block].setdefault(environment, [])
        episode.append(row)
        if row["terminated"] or row["truncated"]:
            del self.pending[block][environment]
            for r in episode:
                r["episode"] = episode  # kept whole, also when the ring has overwritten its beginning
                self._write(block, r)

    def _write(self, block: int, row: dict[str, Any]) -> None:
        ring = self.ring[block]
        if len(ring) < self.capacity:
            ring.append(row)
        else:
            ring[self.cursor[block]] = row
        self.cursor[block] = (self.cursor[block] + 1) % self.capacity

    def drawn_reward(self, reward: Any) -> Any:
        """A reward as it leaves the buffer."""
        return np.float32(self.scale * float(reward) + self.bias)

    def row(self, block: int, place: int) -> dict[str, Any]:
        """The row at a place of the ring, with its drawn reward and, where the buffer has them, its return in float64."""
        row = self.ring[block][place]
        drawn = {**{k: v for k, v in row.items() if k != "episode"}, "reward": self.drawn_reward(row["reward"])}
        if self.with_returns:
            assert self.gamma is not None
            episode = row["episode"]
            rewards = [float(self.drawn_reward(r["reward"])) for r in episode]
            negative = None if self.negative is None else float(self.drawn_reward(np.float32(self.negative)))
            at = next(i for i, r in enumerate(episode) if r is row)
            drawn["mc_return"] = mc_returns(rewards, self.gamma, negative)[at]
        return drawn

    def places(self, seed: int, offset: int, n: int, first: int = 0) -> list[int]:
        """Places of elements first .. first + n - 1 of the draw of seed number `seed`."""
        size = len(self.ring[0 if self.shared else seed])
        words = philox_words(self.seeds[seed], offset, 0, first + n)
        return [int(w) * size >> 32 for w in words[first:]]
