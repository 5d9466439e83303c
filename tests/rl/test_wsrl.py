"""WSRL takes over the whole offline agent, drops what belongs to the penalty, and waits while it warms up."""

import numpy as np
import pytest
import torch
from batches import ACT, OBS, random_rows

from rewarm.errors import InvalidArgument, StateDictMismatch
from rewarm.rl import IQL, WSRL, CalQL, EnsembleSAC, Lagrange
from rewarm.schedule import warmup_cosine

SMALL = {"hidden": (8, 6), "critics": 3, "backend": "reference"}


class Buffer:
    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return self.rows

    def sample(self, n, *, offset):
        return random_rows(range(len(offset)), n)


@pytest.fixture
def trained(tmp_path):
    agent = CalQL(OBS, ACT, seeds=(5, 6), n_actions=2, cql_weight=Lagrange(), backup_actions=4, init_alpha=0.7, **SMALL)
    for i in range(3):
        agent.update_offline_batch(random_rows((5, 6), 8, seed=i))
    agent.act(np.ones((2, 1, OBS)))
    agent.save(tmp_path / "offline.pt")
    return agent, tmp_path / "offline.pt"


def test_everything_is_taken_over_but_the_penalty(trained):
    agent, path = trained
    online = WSRL.from_offline(path, warmup_steps=40, backend="reference")
    own, old = online.state_dict(), agent.state_dict()
    assert any(name.startswith("lagrange.") for name in old) and not any(name.startswith("lagrange.") for name in own)
    assert set(own) == {name for name in old if not name.startswith("lagrange.")}
    for name, value in own.items():
        assert torch.equal(value, old[name]) if isinstance(value, torch.Tensor) else value == old[name], name
    assert own["critics.step"] == own["alpha.step"] == 3 and own["offset"].tolist() == [3, 3] and own["acts"] == 1
    assert online.warmup_steps == 40 and online.backup_actions == 1 and online.learner.lagrange_param is None
    assert online.seeds == (5, 6) and online.config["critics"] == 3 and "n_actions" not in online.config
    obs = np.random.default_rng(0).normal(size=(2, 4, OBS))
    assert np.array_equal(online.act(obs), agent.act(obs))


def test_what_may_differ_online(trained):
    _, path = trained
    rate = warmup_cosine(1e-3, 1e-4, 10, 100)
    online = WSRL.from_offline(
        path, critic_lr=rate, backup_actions=10, adam_semantics="wsrl", seeds=(8, 9), tau=0.01, backend="reference"
    )
    assert (online.settings.critic_lr, online.backup_actions, online.seeds) == (rate, 10, (8, 9))
    assert online.settings.adam_semantics == "wsrl" and online.settings.tau == 0.01 and online.warmup_steps == 5000
    for change, error, message in (
        ({"hidden": (8, 7)}, StateDictMismatch, "expected"),
        ({"seeds": (1, 2, 3)}, StateDictMismatch, "expected"),
        ({"cql_weight": 1.0}, InvalidArgument, "no argument named cql_weight"),
        ({"warmup_steps": -1}, InvalidArgument, "warmup_steps"),
    ):
        with pytest.raises(error, match=message):
            WSRL.from_offline(path, backend="reference", **change)


def test_no_update_while_warming_up(trained):
    _, path = trained
    online = WSRL.from_offline(path, warmup_steps=20, backend="reference")
    before = {name: v.clone() if isinstance(v, torch.Tensor) else v for name, v in online.state_dict().items()}
    for rows in (0, 7, 19):
        assert online.update(Buffer(rows), utd=2, batch=4) is None
    for name, value in online.state_dict().items():
        assert torch.equal(value, before[name]) if isinstance(value, torch.Tensor) else value == before[name], name
    assert online.update(Buffer(20), utd=2, batch=11) is None  # fewer rows than one update draws
    assert online.update(Buffer(22), utd=2, batch=11) is not None
    assert online.update(Buffer(20), utd=2, batch=4) is not None


def test_other_agents_as_a_start(tmp_path):
    path = tmp_path / "agent.pt"
    EnsembleSAC(OBS, ACT, **SMALL, backup_actions=3).save(path)
    assert WSRL.from_offline(path, backend="reference").backup_actions == 3  # plain SAC keeps its own
    IQL(OBS, ACT, hidden=(8, 6)).save(path)
    with pytest.raises(StateDictMismatch, match="expected a CalQL or EnsembleSAC, got a IQL"):
        WSRL.from_offline(path)
