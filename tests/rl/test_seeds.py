"""S seeds as one stack: each is the single run with its number, bit for bit, on the cpu backend."""

import pytest
import torch
from batches import ACT, OBS, random_rows

from rewarm.rl import IQL, CalQL, EnsembleSAC

SEEDS = (11, 2, 7, 7 + 2**40, 0, 5, 6, 9, 12)  # nine, so that vector code and its remainder both run


def assert_seed_is(stack, s, single):
    for (name, mine), alone in zip(stack.state_dict().items(), single.state_dict().values(), strict=True):
        if isinstance(mine, torch.Tensor):
            assert torch.equal(mine[s], alone[0]), name
        else:
            assert mine == alone, name


@pytest.mark.parametrize("log_std", ["state", "free"])
def test_initial_parameters_depend_on_the_seed_alone(log_std):
    stack = EnsembleSAC(OBS, ACT, hidden=(17, 8), seeds=SEEDS, log_std=log_std, critics=3)
    for s in range(len(SEEDS)):
        assert_seed_is(stack, s, EnsembleSAC(OBS, ACT, hidden=(17, 8), seeds=SEEDS[s : s + 1], log_std=log_std, critics=3))
    weights = stack.learner.critics.layers[0][0]
    assert len({w.sum().item() for w in weights.flatten(0, 1)}) == len(SEEDS) * 3


@pytest.mark.parametrize("semantics", ["standard", "wsrl"])
def test_online_stack_is_its_single_runs(semantics):
    options = {"hidden": (17, 8), "critics": 4, "adam_semantics": semantics, "backup_actions": 2, "backup_entropy": True}
    stack = EnsembleSAC(OBS, ACT, seeds=SEEDS, **options)
    singles = {s: EnsembleSAC(OBS, ACT, seeds=SEEDS[s : s + 1], **options) for s in (0, 3, 8)}
    for i in range(2):
        info = stack.update_batch(random_rows(SEEDS, 2 * 13, seed=i), utd=2)
        for s, single in singles.items():
            alone = single.update_batch(random_rows(SEEDS[s : s + 1], 2 * 13, seed=i), utd=2)
            assert {name: value[s].item() for name, value in info.items()} == {name: v.item() for name, v in alone.items()}
    for s, single in singles.items():
        assert_seed_is(stack, s, single)


@pytest.mark.parametrize("weight", [5.0, {"gap": 0.2}], ids=["fixed", "lagrange"])
def test_offline_stack_is_its_single_runs(weight):
    options = {"hidden": (17, 8), "critics": 4, "cql_weight": weight, "n_actions": 3, "backup_actions": 3, "actor_q": "mean"}
    stack, single = CalQL(OBS, ACT, seeds=SEEDS, **options), CalQL(OBS, ACT, seeds=SEEDS[8:], **options)
    for i in range(2):
        stack.update_offline_batch(random_rows(SEEDS, 13, seed=i))
        single.update_offline_batch(random_rows(SEEDS[8:], 13, seed=i))
    assert_seed_is(stack, 8, single)


def test_iql_stack_is_its_single_runs():
    options = {"hidden": (17, 8)}
    stack, single = IQL(OBS, ACT, seeds=SEEDS, **options), IQL(OBS, ACT, seeds=SEEDS[8:], **options)
    for i in range(2):
        stack.update_batch(random_rows(SEEDS, 13, seed=i))
        single.update_batch(random_rows(SEEDS[8:], 13, seed=i))
    assert_seed_is(stack, 8, single)
