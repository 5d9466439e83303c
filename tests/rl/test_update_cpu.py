"""The compiled update against the composition of the ops in float64, and what must not change a bit of it."""

import copy
import dataclasses

import pytest
import torch

from rewarm.rl import CalQL, EnsembleSAC, Lagrange, ReplayBuffer
from rewarm.rl import update as composition
from rewarm.rl.draws import draw_offline, draw_update
from rewarm.rl.rows import Rows
from rewarm.rl.update_cpu import Chain
from rl.batches import double, random_rows

OBS, ACT = 7, 3
ONLINE = {
    "plain": {},
    "free log std, 10 backup actions, entropy in the target": {"log_std": "free", "backup_actions": 10, "backup_entropy": True},
    "wsrl adam, mean of critics": {"adam_semantics": "wsrl", "actor_q": "mean"},
    "no LayerNorm": {"layer_norm": False},
    "one critic": {"critics": 1, "subset": 1},
    "all critics drawn": {"subset": 4},
    "drawn with replacement": {"subset": 3, "subset_replacement": True},
    # (The gradient through a LayerNorm of two columns is all cancellation: there two float32 codes agree on nothing.)
    "one layer of one": {"hidden": (1,), "actor_hidden": (3,)},
    "five layers": {"hidden": (9, 8, 7, 6, 5), "actor_hidden": (33, 17)},
}
OFFLINE = {
    "cal-ql": {},
    "q(s, a) appended, learned weight": {"importance_sampling": False, "cql_weight": Lagrange()},
    "cql, hot, with replacement": {"calibrated": False, "cql_temperature": 2.0, "subset_replacement": True},
    "random actions bounded": {"bound_random": True, "backup_actions": 1, "n_actions": 1},
    "more actions than a chunk has rows": {"n_actions": 100},
}


def make(cls, seeds=(0, 1), **changes):
    arguments = {"critics": 4, "hidden": (33, 17), "last_hidden_scale": 1.0} | changes
    return cls(OBS, ACT, seeds=seeds, **arguments)


def make_rows(seeds, n, terminated=0.2):
    return random_rows(range(seeds), n, obs=OBS, act=ACT, terminated=terminated)


def everything(learner):
    """Every tensor that an update changes, by name."""
    found = {}
    for part in ("actor", "critics", "targets"):
        found |= {f"{part}.{name}": t for name, t in getattr(learner, part).named_tensors()}
    for part in ("actor_moments", "critic_moments", "alpha_moments", "lagrange_moments"):
        if (moments := getattr(learner, part)) is not None:
            for kind in ("exp_avg", "exp_avg_sq"):
                found |= {f"{part}.{kind}.{i}": t for i, t in enumerate(getattr(moments, kind))}
    found["alpha"] = learner.alpha_param
    if learner.lagrange_param is not None:
        found["lagrange"] = learner.lagrange_param
    return found


def chain_of(agent, learner):
    return Chain(
        learner,
        agent.settings,
        subset=agent.subset,
        replacement=agent.subset_replacement,
        backup_actions=agent.backup_actions,
        penalty=getattr(agent, "penalty", None),
    )


def assert_as_close_as_torch(ours, torchs, exact, info, torch_info, exact_info):
    """Our largest error of a tensor is at most 4 times that of the same update in torch's float32, or 32 roundings of its size.

    Both are float32; the order of their sums differs, so the errors of single elements do too. Parameters move by at most
    their learning rate, whatever a gradient near 0 rounds to: their errors are those of the gradients, seen in exp_avg.
    """
    unit = 2.0**-24
    for name, right in exact.items():
        error, theirs = ((x[name].double() - right).abs().max() for x in (ours, torchs))
        assert error <= 4 * theirs + 32 * unit * right.abs().max(), (name, error, theirs, right.abs().max())
    for name, right in exact_info.items():
        error, theirs = ((x[name].double() - right).abs().max() for x in (info, torch_info))
        assert error <= 4 * theirs + 32 * unit * (1 + right.abs().max()), (name, error, theirs)


@pytest.mark.parametrize("changes", ONLINE.values(), ids=ONLINE.keys())
def test_update_is_as_close_to_float64_as_torch(changes):
    agent = make(EnsembleSAC, **changes)
    rows = make_rows(2, 4 * 13)
    draws = draw_update(agent.seed, agent.offset, agent._shape(13), utd=4)
    settings = dataclasses.replace(agent.settings, backend="reference")
    exact, torchs, ours = double(agent.learner), copy.deepcopy(agent.learner), copy.deepcopy(agent.learner)
    exact_info = composition.update(exact, double(rows), double(draws), settings)
    torch_info = composition.update(torchs, rows, draws, settings)
    info = chain_of(agent, ours).update(rows, draws)
    assert info.keys() == exact_info.keys()
    assert_as_close_as_torch(everything(ours), everything(torchs), everything(exact), info, torch_info, exact_info)
    for part in ("actor_moments", "critic_moments", "alpha_moments"):
        assert getattr(ours, part).step == getattr(exact, part).step, part


@pytest.mark.parametrize("changes", OFFLINE.values(), ids=OFFLINE.keys())
def test_offline_step_is_as_close_to_float64_as_torch(changes):
    agent = make(CalQL, **changes)
    rows = make_rows(2, 29)
    draws = draw_offline(agent.seed, agent.offset, agent._shape(29), n_actions=agent.penalty.n_actions)
    settings = dataclasses.replace(agent.settings, backend="reference")
    exact, torchs, ours = double(agent.learner), copy.deepcopy(agent.learner), copy.deepcopy(agent.learner)
    exact_info = composition.offline_step(exact, double(rows), double(draws), settings, agent.penalty)
    torch_info = composition.offline_step(torchs, rows, draws, settings, agent.penalty)
    info = chain_of(agent, ours).offline_step(rows, draws)
    assert info.keys() == exact_info.keys()
    assert_as_close_as_torch(everything(ours), everything(torchs), everything(exact), info, torch_info, exact_info)


def trained(agent, rows, steps=2):
    """The agent after some updates on the same rows."""
    for _ in range(steps):
        if isinstance(agent, CalQL):
            agent.update_offline_batch(rows)
        agent.update_batch(rows, utd=3)
    return everything(agent.learner)


def assert_same_bits(a, b):
    assert a.keys() == b.keys()
    for name, tensor in a.items():
        assert torch.equal(tensor, b[name]), name


@pytest.mark.parametrize("cls", [EnsembleSAC, CalQL])
def test_a_seed_of_a_stack_is_the_single_run(cls):
    rows = make_rows(3, 33)
    stack = trained(make(cls, seeds=(5, 0, 9)), rows)
    for s, seed in enumerate((5, 0, 9)):
        own = Rows(*(getattr(rows, f.name)[s : s + 1] for f in dataclasses.fields(rows)))
        single = trained(make(cls, seeds=(seed,)), own)
        assert_same_bits({name: t[s : s + 1] for name, t in stack.items()}, single)


@pytest.mark.parametrize("cls", [EnsembleSAC, CalQL])
def test_threads_change_no_bit(cls):
    rows = make_rows(2, 300)
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(trained(make(cls), rows))
    assert_same_bits(found[0], found[1])
    assert_same_bits(found[0], found[2])


@pytest.mark.parametrize("cls", [EnsembleSAC, CalQL])
def test_what_is_drawn_inside_is_what_python_draws(cls):
    agent, other = make(cls), make(cls)
    rows = make_rows(2, 4 * 8)
    draws = draw_update(agent.seed, agent.offset, agent._shape(8), utd=4)
    agent.update_batch(rows, draws)
    other.update_batch(rows, utd=4)
    if cls is CalQL:
        draws = draw_offline(agent.seed, agent.offset, agent._shape(32), n_actions=10)
        agent.update_offline_batch(rows, draws)
        other.update_offline_batch(rows)
    assert_same_bits(everything(agent.learner), everything(other.learner))


@pytest.mark.parametrize("cls", [EnsembleSAC, CalQL])
def test_rows_drawn_inside_are_those_of_the_buffer(cls):
    """One call that samples and updates, against `sample` and an update on its rows."""
    agent, other = make(cls), make(cls)
    rows = make_rows(2, 50)
    buffer = ReplayBuffer(64, OBS, ACT, seeds=(0, 1), mc_returns=True, gamma=0.9)
    ends = torch.arange(50).expand(2, 50) % 10 == 9
    buffer.add(rows.obs, rows.action, rows.reward, rows.next_obs, rows.terminated, ends)
    for _ in range(2):
        if cls is CalQL:
            other.update_offline_batch(buffer.sample(16, offset=other.offset))
            agent.update_offline(buffer, batch=16)
        drawn = buffer.sample(32, offset=other.offset)
        ours, theirs = agent.update(buffer, utd=4, batch=8), other.update_batch(drawn, utd=4)
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert_same_bits(everything(agent.learner), everything(other.learner))
    assert torch.equal(agent.offset, other.offset)


def test_the_chain_follows_tensors_that_moved():
    agent, other = make(EnsembleSAC), make(EnsembleSAC)
    rows = make_rows(2, 12)
    trained(agent, rows), trained(other, rows)
    agent.learner.critics = agent.learner.critics.clone()  # as whoever swaps a network in would do
    assert_same_bits(trained(agent, rows), trained(other, rows))


def test_a_copy_trains_by_itself():
    agent = make(EnsembleSAC)
    rows = make_rows(2, 12)
    trained(agent, rows)
    before = {name: t.clone() for name, t in everything(agent.learner).items()}
    twin = copy.deepcopy(agent)
    after = trained(twin, rows)
    assert_same_bits(everything(agent.learner), before)
    assert_same_bits(trained(agent, rows), after)


def test_all_terminated_rows_are_rewards_alone():
    agent = make(EnsembleSAC)
    rows = make_rows(2, 16, terminated=2.0)
    assert rows.terminated.all()
    rows.next_obs.fill_(torch.nan)  # must not reach a target
    draws = draw_update(agent.seed, agent.offset, agent._shape(4), utd=4)
    info = chain_of(agent, agent.learner).update(rows, draws)
    assert torch.allclose(info["q_target"].double(), rows.reward.double().mean(1), atol=1e-6)
    assert all(t.isfinite().all() for t in agent.learner.critics.tensors())


def test_nan_reaches_what_it_must():
    agent = make(EnsembleSAC, critics=2, subset=1)
    rows = make_rows(2, 16)
    rows.reward[0, 3] = torch.nan
    agent.update_batch(rows, utd=4)
    for tensor in agent.learner.critics.tensors():
        assert not tensor[0].isfinite().all()
        assert tensor[1].isfinite().all()
