"""A ReplayBuffer and its reference, given the same rows, and rows to give them."""

import numpy as np

from rewarm.rl import ReplayBuffer
from rewarm.rl.replay_reference import ReplayReference

FIELDS = ("obs", "action", "reward", "next_obs", "terminated", "truncated")


def new_rows(rng, blocks, n, obs_dim=3, act_dim=2, *, ends=0.3, rewards=None):
    """Random rows [blocks, n, ...] by name."""
    reward = rng.normal(size=(blocks, n)) if rewards is None else rng.choice(rewards, size=(blocks, n))
    ended = rng.random((blocks, n)) < ends
    cut = rng.random((blocks, n)) < 0.5
    both = rng.random((blocks, n)) < 0.1
    return {
        "obs": rng.normal(size=(blocks, n, obs_dim)).astype(np.float32),
        "action": rng.uniform(-1, 1, size=(blocks, n, act_dim)).astype(np.float32),
        "reward": reward.astype(np.float32),
        "next_obs": rng.normal(size=(blocks, n, obs_dim)).astype(np.float32),
        "terminated": ended & (~cut | both),
        "truncated": ended & cut,
    }


class Pair:
    """Both, fed alike."""

    def __init__(self, capacity, seeds=(0,), obs_dim=3, act_dim=2, **options):
        self.buffer = ReplayBuffer(capacity, obs_dim, act_dim, seeds=seeds, **options)
        names = ("shared", "mc_returns", "gamma", "sparse_negative_reward")
        self.reference = ReplayReference(capacity, seeds, **{k: v for k, v in options.items() if k in names})
        self.blocks = self.buffer.config.blocks

    def add(self, rows, valid=None, order="steps"):
        self.buffer.add(*(rows[k] for k in FIELDS), valid, order=order)
        blocks, n = rows["reward"].shape
        for block in range(blocks):
            for i in range(n):
                if valid is None or valid[block, i]:
                    row = {k: rows[k][block, i] for k in FIELDS}
                    self.reference.add(block, row, environment=i if order == "environments" else 0)

    def set_rewards(self, scale, bias):
        self.buffer.set_rewards(scale, bias)
        self.reference.scale, self.reference.bias = scale, bias

    def check(self, offset=5, n=None):
        """Contents, counters and a draw are the reference's, bit for bit."""
        reference, buffer = self.reference, self.buffer
        sizes = [len(ring) for ring in reference.ring]
        assert buffer.size.tolist() == sizes and len(buffer) == min(sizes)
        assert buffer.cursor.tolist() == reference.cursor
        assert buffer.pending == sum(len(e) for block in reference.pending for e in block.values())
        if min(sizes) == 0:
            return
        every = [list(range(min(sizes)))] * len(reference.seeds)
        self._same(buffer.gather(every), every)
        n = n or min(sizes)
        places = [reference.places(s, offset, n, first=2) for s in range(len(reference.seeds))]
        self._same(buffer.sample(n, offset=offset, first=2), places)

    def _same(self, rows, places):
        for s, of_seed in enumerate(places):
            expected = [self.reference.row(0 if self.reference.shared else s, place) for place in of_seed]
            for name in (*FIELDS, "mc_return"):
                got = getattr(rows, name)
                if name == "mc_return" and not self.reference.with_returns:
                    assert got is None
                    continue
                assert got.is_contiguous()
                # The reference's return is a float64; the buffer rounds it once.
                wanted = np.array([row[name] for row in expected]).astype(got.numpy().dtype)
                np.testing.assert_array_equal(got[s].numpy(), wanted, err_msg=f"{name} of seed {s}")
