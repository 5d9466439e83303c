"""Agents and ReplayBuffer together: what is drawn, when WSRL begins, returns for Cal-QL, data mixed in."""

import numpy as np
import pytest
import torch
from batches import ACT, OBS

from rewarm.errors import InvalidArgument
from rewarm.rl import IQL, WSRL, CalQL, EnsembleSAC, ReplayBuffer

SEEDS = (3, 2**40)
SMALL = {"hidden": (8, 6), "critics": 3, "seeds": SEEDS}


def filled(rows, reward=0.0, **options):
    """Rows of S seeds in episodes of ten steps; `reward` tells two buffers apart."""
    buffer = ReplayBuffer(1000, OBS, ACT, seeds=SEEDS, **options)
    draw = np.random.default_rng(rows)
    shape = (len(SEEDS), rows)
    ends = np.broadcast_to(np.arange(rows) % 10 == 9, shape)
    buffer.add(
        draw.normal(size=(*shape, OBS)),
        draw.uniform(-1, 1, size=(*shape, ACT)),
        np.full(shape, reward),
        draw.normal(size=(*shape, OBS)),
        np.zeros(shape, bool),
        ends,
        order="steps",
    )
    return buffer


def test_update_is_update_batch_of_the_drawn_rows():
    one, other = EnsembleSAC(OBS, ACT, **SMALL), EnsembleSAC(OBS, ACT, **SMALL)
    buffer = filled(60)
    for _ in range(2):
        info = one.update(buffer, utd=2, batch=5)
        again = other.update_batch(buffer.sample(10, offset=other.offset), utd=2)
        assert all(torch.equal(info[name], again[name]) for name in info)
    for (name, a), b in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b, name


def test_mixing_takes_its_share_of_every_minibatch():
    """With gamma 0 the targets are the rewards: a quarter of every minibatch has those of the data."""
    agent = EnsembleSAC(OBS, ACT, gamma=0.0, **SMALL)
    info = agent.update(filled(60), utd=3, batch=8, offline=filled(40, reward=1.0), offline_ratio=0.25)
    assert info["q_target"].tolist() == [0.25, 0.25]


def test_wsrl_begins_when_the_buffer_is_warm():
    agent = WSRL(OBS, ACT, warmup_steps=50, **SMALL)
    assert agent.update(filled(49), utd=2, batch=5) is None and agent.offset.tolist() == [0, 0]
    assert agent.update(filled(50), utd=2, batch=5) is not None and agent.offset.tolist() == [2, 2]


def test_cal_ql_needs_returns_and_cql_does_not():
    with_returns, without = filled(60, mc_returns=True, gamma=0.99), filled(60)
    agent = CalQL(OBS, ACT, n_actions=2, **SMALL)
    info = agent.update_offline(with_returns, batch=16)
    assert info["cql_diff"].shape == (2,) and agent.offset.tolist() == [1, 1]
    with pytest.raises(InvalidArgument, match="mc_return"):
        agent.update_offline(without, batch=16)
    assert CalQL(OBS, ACT, n_actions=2, calibrated=False, **SMALL).update_offline(without, batch=16)["q"].isfinite().all()


def test_iql_learns_from_the_same_buffer():
    agent = IQL(OBS, ACT, hidden=(8,), seeds=SEEDS)
    losses = [agent.update(filled(60, reward=1.0), batch=32)["critic_loss"] for _ in range(3)]
    assert all(loss.isfinite().all() for loss in losses) and agent.offset.tolist() == [3, 3]


def test_an_empty_buffer_and_one_of_other_seeds_are_refused():
    agent = EnsembleSAC(OBS, ACT, **SMALL)
    with pytest.raises(InvalidArgument, match="no drawable row"):
        agent.update(ReplayBuffer(10, OBS, ACT, seeds=SEEDS), batch=2)
    with pytest.raises(InvalidArgument):
        agent.update(ReplayBuffer(10, OBS, ACT, seeds=(1,)), batch=2)
    with pytest.raises(InvalidArgument, match="batch"):
        agent.update(filled(60), batch=0)
