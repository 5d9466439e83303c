"""Drawing rows: ours, an array a field with torch, and the floor: a copy of as many bytes from memory that no cache holds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rewarm.rl import ReplayBuffer

#: obs_dim, act_dim, rows in the buffer, rows drawn (U minibatches of 256 at once).
CASES = {"antmaze": (29, 8, 1_000_000, 1024), "halfcheetah": (17, 6, 1_000_000, 1024), "maze": (2, 2, 6_000, 256)}


def _filled(obs_dim: int, act_dim: int, rows: int) -> ReplayBuffer:
    buffer, rng = ReplayBuffer(rows, obs_dim, act_dim), np.random.default_rng(0)
    for begin in range(0, rows, 100_000):
        n = min(100_000, rows - begin)
        obs, no = rng.standard_normal((n, obs_dim), dtype=np.float32), np.zeros(n, dtype=bool)
        buffer.add(obs, rng.uniform(-1, 1, (n, act_dim)), obs[:, 0], obs[::-1], no, no)
    return buffer


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("variant", ["ours", "torch index_select", "floor"])
def test_replay(benchmark, variant, case):
    """One draw after the other, each of other rows."""
    obs_dim, act_dim, rows, n = CASES[case]
    buffer = _filled(obs_dim, act_dim, rows)
    every = buffer.gather(np.arange(rows))
    fields = [t[0] for t in (every.obs, every.action, every.reward, every.next_obs, every.terminated, every.truncated)]
    count = iter(range(1 << 40))
    record = buffer._storage.records.shape[2]

    def ours() -> list[torch.Tensor]:
        drawn = buffer.sample(n, offset=next(count))
        return [drawn.obs, drawn.action, drawn.reward, drawn.next_obs, drawn.terminated, drawn.truncated]

    def index_select() -> list[torch.Tensor]:
        index = torch.randint(rows, (n,))
        return [field.index_select(0, index) for field in fields]

    source = torch.ones(max(1 << 28, n * record), dtype=torch.uint8)
    copies = torch.empty(n * record, dtype=torch.uint8)

    def floor() -> None:
        begin = next(count) * n * record % (len(source) - n * record + 1)
        copies.copy_(source[begin : begin + n * record])

    sizes = [t.numel() for t in ours()]
    assert sizes == [t.numel() for t in index_select()]
    benchmark.group = f"replay {case}: {n} of {rows} rows of {record} bytes"
    benchmark.extra_info.update(bytes=n * record)
    run = {"ours": ours, "torch index_select": index_select, "floor": floor}[variant]
    benchmark.pedantic(run, rounds=500, warmup_rounds=50)
