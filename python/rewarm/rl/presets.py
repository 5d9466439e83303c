"""The published settings of WSRL and of what it is compared with, by algorithm and domain, as plain dicts to print and change.

From the reference code of Zhou et al. 2024 (zhouzypaul/wsrl, experiments/configs and launch scripts). A preset reproduces that
code, its two quirks included: ``adam_semantics="wsrl"`` and subsets drawn with replacement (see `rewarm.rl.EnsembleSAC`).

Beside the constructor arguments of the class that ``agent`` names, a preset says what the agent is not told: ``reward_scale``
and ``reward_bias`` (reward · scale + bias, applied to the data), ``clip_action`` (data and environment actions are clipped to
± it, None for not at all), ``done_at`` (what ends an episode beside the data's own terminals), ``utd``, ``batch`` (rows a
critic minibatch; the paper counts utd · batch), ``offline_steps``, ``online_steps``, ``warmup_steps``, ``offline_ratio``.
"""

from __future__ import annotations

import copy
from typing import Any

from rewarm.errors import InvalidArgument

ALGORITHMS = ("wsrl", "calql", "cql", "iql", "rlpd")
DOMAINS = ("antmaze", "kitchen", "adroit", "locomotion")

#: Data: what the domain does to rewards, actions and episode ends, and how long it is trained on.
_DATA: dict[str, dict[str, Any]] = {
    "antmaze": {"reward_scale": 10.0, "reward_bias": -5.0, "clip_action": 0.99999, "done_at": None, "offline_steps": 1_000_000},
    "kitchen": {
        "reward_scale": 1.0,
        "reward_bias": -4.0,
        "clip_action": 0.99999,
        "done_at": "reward 4",
        "offline_steps": 250_000,
    },
    "adroit": {"reward_scale": 10.0, "reward_bias": 5.0, "clip_action": None, "done_at": "goal", "offline_steps": 20_000},
    "locomotion": {"reward_scale": 1.0, "reward_bias": 0.0, "clip_action": 0.99999, "done_at": None, "offline_steps": 250_000},
}
_NETWORKS: dict[str, dict[str, Any]] = {
    "antmaze": {"hidden": (256, 256, 256, 256), "actor_hidden": (256, 256), "log_std": "free", "last_hidden_scale": 1e-2},
    "kitchen": {"hidden": (512, 512, 512), "actor_hidden": (512, 512, 512), "log_std": "state", "last_hidden_scale": 2**0.5},
    "adroit": {"hidden": (512, 512, 512), "actor_hidden": (512, 512), "log_std": "state", "last_hidden_scale": 1e-2},
    "locomotion": {"hidden": (256, 256), "actor_hidden": (256, 256), "log_std": "state", "last_hidden_scale": 1e-2},
}
_SAC: dict[str, Any] = {
    "critics": 10,
    "subset": 2,
    "subset_replacement": True,
    "layer_norm": True,
    "init_scale": 2**0.5,
    "gamma": 0.99,
    "tau": 0.005,
    "critic_lr": 3e-4,
    "actor_lr": 1e-4,
    "alpha_lr": 1e-4,
    "init_alpha": 1.0,
    "target_entropy": None,
    "backup_entropy": False,
    "actor_q": "min",
    "adam_semantics": "wsrl",
}
_ONLINE: dict[str, Any] = {"utd": 4, "batch": 256, "online_steps": 500_000, "warmup_steps": 5_000}
_CQL: dict[str, dict[str, Any]] = {
    "antmaze": {"cql_weight": {"gap": 0.8, "init": 1.0, "lr": 3e-4}, "importance_sampling": True},
    "kitchen": {"cql_weight": 5.0, "importance_sampling": False},
    "adroit": {"cql_weight": 1.0, "importance_sampling": True},
    "locomotion": {"cql_weight": 5.0, "importance_sampling": True},
}
_IQL_COMMON: dict[str, Any] = {
    "critics": 2,
    "layer_norm": False,
    "init": "xavier_uniform",
    "last_hidden_scale": 1e-2,
    "log_std": "free",
    "max_weight": 100.0,
    "gamma": 0.99,
    "tau": 0.005,
    "critic_lr": 3e-4,
    "value_lr": 3e-4,
    "actor_lr": 3e-4,
}
_IQL: dict[str, dict[str, Any]] = {
    "antmaze": {"expectile": 0.9, "beta": 10.0, "dropout": 0.0},
    "kitchen": {"expectile": 0.7, "beta": 0.5, "dropout": 0.1},
    "adroit": {"expectile": 0.7, "beta": 0.5, "dropout": 0.1},
    "locomotion": {"expectile": 0.7, "beta": 3.0, "dropout": 0.0},
}


def names() -> list[str]:
    """All presets: ``"{wsrl,calql,cql,iql,rlpd}_{antmaze,kitchen,adroit,locomotion}"``."""
    return [f"{algorithm}_{domain}" for algorithm in ALGORITHMS for domain in DOMAINS]


def get(name: str) -> dict[str, Any]:
    """The settings of one preset.

    Args:
        name: One of `names`.

    Returns:
        A new dict of numbers, words, tuples and None; ``agent`` is the class that its constructor arguments are for.

    Raises:
        InvalidArgument: No such preset.
    """
    algorithm, _, domain = name.partition("_") if isinstance(name, str) else ("", "", "")
    if algorithm not in ALGORITHMS or domain not in DOMAINS:
        raise InvalidArgument(f"presets.get: expected one of {', '.join(names())}, got {name!r}")
    if algorithm == "iql":
        shape = {key: _NETWORKS[domain][key] for key in ("hidden", "actor_hidden")}
        preset = {"agent": "IQL", **shape, **_IQL_COMMON, **_IQL[domain], "batch": 256}
    elif algorithm in ("calql", "cql"):
        penalty = {"calibrated": algorithm == "calql", "n_actions": 10, "cql_temperature": 1.0, "bound_random": False}
        preset = {"agent": "CalQL", **_NETWORKS[domain], **_SAC, **penalty, **_CQL[domain], "backup_actions": 10, "batch": 256}
    else:
        # Only the authors' AntMaze takes the best of 10 next actions online too.
        online = {"backup_actions": 10 if domain == "antmaze" else 1, **_ONLINE}
        preset = {"agent": "WSRL", **_NETWORKS[domain], **_SAC, **online, "offline_ratio": 0.0}
        if algorithm == "rlpd":
            # "RLPD" as the paper's plots have it: their SAC, from scratch, half of every minibatch from the data.
            preset |= {"agent": "EnsembleSAC", "offline_ratio": 0.5, "subset": 1 if domain == "antmaze" else 2}
    return copy.deepcopy(preset | _DATA[domain])
