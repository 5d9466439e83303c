"""An update as one CUDA graph, and on a CPU the part of it that needs no GPU: scalars of Adam that lie in memory."""

import copy
import dataclasses

import pytest
import torch

from rewarm.rl import CalQL, EnsembleSAC, Lagrange
from rewarm.rl.adam import Moments, adam_step, scalars
from rewarm.rl.rows import Rows
from rewarm.rl.update_graph import rows_of
from rewarm.schedule import linear
from rl.batches import random_rows

AGENTS = {
    "sac": (EnsembleSAC, {}),
    "wsrl adam, rising rate": (EnsembleSAC, {"adam_semantics": "wsrl", "critic_lr": linear(0.0, 1e-3, 50)}),
    "cal-ql, learned weight": (CalQL, {"cql_weight": Lagrange(), "n_actions": 3}),
}


def test_scalars_from_memory_are_those_of_the_host():
    lr = linear(0.0, 1e-2, 7)
    parameters = [torch.randn(5, 3), torch.randn(4)]
    others = [p.clone() for p in parameters]
    moments, ahead = Moments.zeros(parameters), Moments.zeros(others)
    values = torch.tensor([scalars(lr, i) for i in range(4)], dtype=torch.float32)
    ahead.ahead = rows_of(values)
    for i in range(4):
        gradients = None if i == 2 else [torch.randn_like(p) for p in parameters]
        adam_step(parameters, moments, gradients, lr)
        adam_step(others, ahead, gradients, lr)
    assert ahead.ahead == [] and ahead.step == 0 and moments.step == 4
    for mine, theirs in zip(parameters + moments.exp_avg_sq, others + ahead.exp_avg_sq, strict=True):
        assert torch.equal(mine, theirs)


def rows_on_gpu(seeds, seed):
    rows = random_rows(seeds, 24, obs=7, act=3, seed=seed)
    return Rows(*(getattr(rows, field.name).cuda() for field in dataclasses.fields(rows)))


@pytest.mark.gpu
@pytest.mark.parametrize(("cls", "changes"), AGENTS.values(), ids=AGENTS.keys())
def test_replays_are_the_update_op_by_op(cls, changes):
    agent = cls(7, 3, critics=4, hidden=(33, 17), seeds=(0, 1), device="cuda", **changes)
    twin = copy.deepcopy(agent)
    twin.capture = False
    for step in range(4):
        rows = rows_on_gpu((0, 1), step)
        for one in (agent, twin):
            one.info = one.update_batch(rows, utd=3) if cls is EnsembleSAC else one.update_offline_batch(rows)
        for name, value in twin.info.items():
            assert torch.equal(agent.info[name], value), (step, name)
    for name, value in twin.state_dict().items():
        mine = agent.state_dict()[name]
        assert torch.equal(mine, value) if isinstance(value, torch.Tensor) else mine == value, name


@pytest.mark.gpu
def test_a_replay_waits_for_nothing():
    agent = EnsembleSAC(7, 3, critics=4, hidden=(33, 17), device="cuda")
    rows = rows_on_gpu((0,), 0)
    agent.update_batch(rows, utd=3)
    torch.cuda.set_sync_debug_mode("error")
    try:
        agent.update_batch(rows, utd=3)
    finally:
        torch.cuda.set_sync_debug_mode("default")
