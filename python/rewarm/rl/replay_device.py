"""The records a second time in a GPU's memory, and drawing from them there: nothing waits for the host, a graph can hold it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rewarm._native import core
from rewarm.errors import InvalidArgument
from rewarm.rl.replay_arguments import ReplayConfig

if TYPE_CHECKING:
    from rewarm.rl.replay_storage import Storage

#: A word of 32 bits times a size must fit in an int64, the widest integer that torch multiplies.
_MOST_ROWS = 2**31

Fields = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor]


class DeviceRing:
    """Follows the host's ring. All its tensors keep their memory, so a captured graph sees later rows and rewards."""

    def __init__(self, config: ReplayConfig, storage: Storage, device: torch.device) -> None:
        if config.capacity > _MOST_ROWS:
            raise InvalidArgument(f"ReplayBuffer: capacity: expected at most 2**31 rows on a GPU, got {config.capacity}")
        self.config, self.layout = config, core.replay_record(config.obs_dim, config.act_dim)
        self._host = torch.from_numpy(storage.records)
        self._host_state = torch.from_numpy(storage.state)
        self.records = torch.zeros(self._host.shape, dtype=torch.uint8, device=device)
        self.state = torch.zeros_like(self._host_state, device=device)
        self.rewards = torch.tensor([1.0, 0.0], dtype=torch.float64, device=device)
        self.seeds = torch.tensor(config.seeds, dtype=torch.int64, device=device)
        # Where each seed's rows begin when the blocks lie one after another.
        begins = torch.arange(len(config.seeds), device=device) * (0 if config.shared else config.capacity)
        self._begins = begins.unsqueeze(1)
        self._copied = [0] * config.blocks
        self.catch_up()

    def catch_up(self) -> None:
        """Copies the rows written since the last time, however many calls that were (one may have been interrupted)."""
        capacity = self.config.capacity
        cursors, _, written = self._host_state.tolist()
        for block, (cursor, total) in enumerate(zip(cursors, written, strict=True)):
            new = min(total - self._copied[block], capacity)
            for begin, end in ((max(cursor - new, 0), cursor), (min(capacity + cursor - new, capacity), capacity)):
                if begin < end:
                    self.records[block, begin:end].copy_(self._host[block, begin:end])
            self._copied[block] = total
        self.state.copy_(self._host_state)

    def set_rewards(self, scale: float, bias: float) -> None:
        """After the host's returns were made anew."""
        self.rewards.copy_(torch.tensor([scale, bias], dtype=torch.float64))
        self._copied = [0] * self.config.blocks
        self.catch_up()

    def sample(self, n: int, offsets: Tensor, first: int) -> Fields:
        """As ReplayBuffer.sample; offsets int64 [S] on the device."""
        from rewarm.q import philox

        words = philox((first + n,), seed=self.seeds, offset=offsets, stream=0, kind="uint32")[:, first:]
        sizes = self.state[1].expand(len(self.config.seeds)) if self.config.shared else self.state[1]
        return self.gather((words.to(torch.int64) & 0xFFFFFFFF) * sizes.unsqueeze(1) >> 32)

    def gather(self, places: Tensor) -> Fields:
        """The rows at places int64 [S, n], which are trusted."""
        at, (seeds, n) = self.layout, places.shape
        flat = self.records.view(-1, at["bytes"])
        rows = flat.index_select(0, (places + self._begins).reshape(-1)).view(seeds, n, at["bytes"])
        floats = rows.view(torch.float32)

        def field(name: str, width: int) -> Tensor:
            begin = at[name] // 4
            return floats[..., begin : begin + width].contiguous()

        reward = (field("reward", 1).squeeze(-1).double() * self.rewards[0] + self.rewards[1]).float()
        return (
            field("obs", self.config.obs_dim),
            field("action", self.config.act_dim),
            reward,
            field("next_obs", self.config.obs_dim),
            rows[..., at["terminated"]].bool(),
            field("mc_return", 1).squeeze(-1) if self.config.mc_returns else None,
            rows[..., at["truncated"]].bool(),
        )
