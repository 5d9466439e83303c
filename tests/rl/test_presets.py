"""The published settings, against the tables of the paper's code (its configs and launch scripts), number by number."""

import ast
import json

import pytest

from rewarm.errors import InvalidArgument
from rewarm.rl import IQL, WSRL, CalQL, EnsembleSAC, Lagrange, presets

CLASSES = {"IQL": IQL, "WSRL": WSRL, "CalQL": CalQL, "EnsembleSAC": EnsembleSAC}

#: domain: critic hidden, actor hidden, log std, reward scale and bias, offline steps, fixed CQL weight, importance sampling,
#: online backup actions, IQL's (expectile, inverse temperature, dropout)
TABLE = {
    "antmaze": ((256,) * 4, (256,) * 2, "free", 10, -5, 1_000_000, None, True, 10, (0.9, 10, 0)),
    "kitchen": ((512,) * 3, (512,) * 3, "state", 1, -4, 250_000, 5.0, False, 1, (0.7, 0.5, 0.1)),
    "adroit": ((512,) * 3, (512,) * 2, "state", 10, 5, 20_000, 1.0, True, 1, (0.7, 0.5, 0.1)),
    "locomotion": ((256,) * 2, (256,) * 2, "state", 1, 0, 250_000, 5.0, True, 1, (0.7, 3, 0)),
}
COMMON = {"gamma": 0.99, "tau": 0.005, "critic_lr": 3e-4, "actor_lr": 1e-4, "alpha_lr": 1e-4, "init_alpha": 1.0}


def test_names():
    assert len(presets.names()) == len(set(presets.names())) == 20
    for name in ("wsrl_hopper", "wsrl", "", "sac_antmaze", None, 3):
        with pytest.raises(InvalidArgument, match="expected one of wsrl_antmaze"):
            presets.get(name)


@pytest.mark.parametrize("domain", TABLE)
def test_presets_are_the_tables(domain):
    hidden, actor_hidden, log_std, scale, bias, steps, weight, sampling, online_actions, iql = TABLE[domain]
    for algorithm in presets.ALGORITHMS:
        preset = presets.get(f"{algorithm}_{domain}")
        assert (preset["reward_scale"], preset["reward_bias"], preset["offline_steps"]) == (scale, bias, steps)
        assert preset["clip_action"] == (None if domain == "adroit" else 0.99999)
        assert preset["done_at"] == {"kitchen": "reward 4", "adroit": "goal"}.get(domain)
        assert (preset["hidden"], preset["actor_hidden"], preset["batch"]) == (hidden, actor_hidden, 256)
        if algorithm == "iql":
            assert (preset["expectile"], preset["beta"], preset["dropout"], preset["critics"]) == (*iql, 2)
            assert (preset["init"], preset["layer_norm"], preset["log_std"]) == ("xavier_uniform", False, "free")
            continue
        assert {name: preset[name] for name in COMMON} == COMMON
        assert (preset["critics"], preset["layer_norm"], preset["log_std"]) == (10, True, log_std)
        assert (preset["backup_entropy"], preset["actor_q"], preset["target_entropy"]) == (False, "min", None)
        assert (preset["adam_semantics"], preset["subset_replacement"]) == ("wsrl", True)
        assert preset["last_hidden_scale"] == (2**0.5 if domain == "kitchen" else 0.01)
        assert preset["subset"] == (1 if (algorithm, domain) == ("rlpd", "antmaze") else 2)
        if algorithm in ("calql", "cql"):
            assert preset["calibrated"] == (algorithm == "calql")
            assert (preset["n_actions"], preset["backup_actions"], preset["importance_sampling"]) == (10, 10, sampling)
            assert preset["cql_weight"] == (weight if weight else {"gap": 0.8, "init": 1.0, "lr": 3e-4})
        else:
            assert (preset["utd"], preset["online_steps"], preset["warmup_steps"]) == (4, 500_000, 5_000)
            assert preset["offline_ratio"] == (0.5 if algorithm == "rlpd" else 0.0)
            assert preset["backup_actions"] == online_actions


@pytest.mark.parametrize("name", presets.names())
def test_presets_print_and_build(name):
    preset = presets.get(name)
    assert ast.literal_eval(repr(preset)) == preset and json.dumps(preset)
    preset["hidden"] = ()
    assert presets.get(name)["hidden"]  # each call has its own
    cls = CLASSES[presets.get(name)["agent"]]
    agent = cls.from_preset(name, 4, 2, hidden=(4, 4), actor_hidden=(4,), seeds=(1, 2))
    assert agent.seeds == (1, 2) and agent.config["hidden"] == (4, 4)
    for key in set(agent.config) & set(presets.get(name)) - {"hidden", "actor_hidden", "target_entropy"}:
        assert agent.config[key] == presets.get(name)[key], key


def test_a_preset_of_another_class_is_refused():
    with pytest.raises(InvalidArgument, match="'calql_antmaze' is a preset of CalQL"):
        WSRL.from_preset("calql_antmaze", 4, 2)


def test_lagrange_is_the_mapping():
    one = CalQL(4, 2, hidden=(4,), cql_weight=Lagrange(gap=0.8, init=1.0, lr=3e-4))
    other = CalQL.from_preset("calql_antmaze", 4, 2, hidden=(4,), actor_hidden=(4,))
    assert one.penalty.gap == other.penalty.gap and one.penalty.weight is other.penalty.weight is None
    assert one.learner.lagrange_param.equal(other.learner.lagrange_param)
