"""Drawing on the device == drawing in C++, bit for bit: the torch ops here on the CPU, and on a GPU where there is one."""

import numpy as np
import pytest
import torch
from replay_cases import FIELDS, new_rows

from rewarm.rl import ReplayBuffer
from rewarm.rl.replay_device import DeviceRing

KINDS = {
    "plain": {"seeds": (3, 4)},
    "returns": {"seeds": (3, 4), "mc_returns": True, "gamma": 0.9, "sparse_negative_reward": -1.0},
    "shared": {"seeds": (3, 4), "shared": True},
}


def same(ours, theirs):
    for name in (*FIELDS, "mc_return"):
        a, b = getattr(ours, name), getattr(theirs, name)
        assert (a is b is None) or (torch.equal(a, b.cpu()) and b.is_contiguous()), name


@pytest.mark.parametrize("kind", KINDS)
def test_torch_ops_draw_the_same(kind):
    rng = np.random.default_rng(0)
    buffer = ReplayBuffer(50, 3, 2, **KINDS[kind])
    mirrored = ReplayBuffer(50, 3, 2, **KINDS[kind])
    mirrored._ring = DeviceRing(mirrored.config, mirrored._storage, torch.device("cpu"))
    for n in (30, 0, 15, 17, 60):
        rows = new_rows(rng, buffer.config.blocks, n, rewards=np.float32([-1.0, 0.5]))
        for b in (buffer, mirrored):
            b.add(*(rows[k] for k in FIELDS))
        same(buffer.sample(7, offset=2**33 + n), mirrored.sample(7, offset=2**33 + n))
    for b in (buffer, mirrored):
        b.set_rewards(0.1, 3.0)
    same(buffer.sample(40, offset=1, first=9), mirrored.sample(40, offset=1, first=9))
    same(buffer.gather(range(40)), mirrored.gather(range(40)))


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_gpu_draws_the_same_and_in_a_graph(kind):
    rng = np.random.default_rng(0)
    buffers = [ReplayBuffer(50, 3, 2, device=d, **KINDS[kind]) for d in ("cpu", "cuda")]
    offset = torch.zeros(2, dtype=torch.int64, device="cuda")

    def add(n):
        rows = new_rows(rng, buffers[0].config.blocks, n, rewards=np.float32([-1.0, 0.5]))
        for b in buffers:
            b.add(*(rows[k] for k in FIELDS))

    add(40)
    same(*(b.sample(7, offset=3) for b in buffers))
    buffers[1].sample(7, offset=offset)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        drawn = buffers[1].sample(7, offset=offset)
    add(30)  # the graph sees what came later
    for b in buffers:
        b.set_rewards(2.0, 1.0)
    offset.fill_(11)
    graph.replay()
    same(buffers[0].sample(7, offset=11), drawn)
