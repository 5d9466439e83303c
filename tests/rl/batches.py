"""Small batches, draws and agents that the tests of rewarm.rl share. Float32 values, so that float64 copies are exact."""

from __future__ import annotations

import dataclasses

import torch

from rewarm.rl.draws import Draws, draw_offline, draw_update
from rewarm.rl.networks import Network
from rewarm.rl.rows import Rows
from rewarm.rl.update import Learner

OBS, ACT = 5, 3


def random_rows(seeds, n, *, obs=OBS, act=ACT, terminated=0.3, seed=7):
    """Rows of S seeds, each seed's from its number alone."""
    tensors = []
    for s in seeds:
        g = torch.Generator().manual_seed(1000 * seed + s)
        tensors.append(
            {
                "obs": torch.randn(n, obs, generator=g),
                "action": torch.rand(n, act, generator=g) * 2 - 1,
                "reward": torch.randn(n, generator=g),
                "next_obs": torch.randn(n, obs, generator=g),
                "terminated": torch.rand(n, generator=g) < terminated,
                "mc_return": torch.randn(n, generator=g),
            }
        )
    return Rows(**{name: torch.stack([t[name] for t in tensors]) for name in tensors[0]})


def online_draws(agent, batch, utd):
    return draw_update(agent.seed, agent.offset, agent._shape(batch), utd=utd, backend=agent.backend)


def offline_draws(agent, batch):
    return draw_offline(agent.seed, agent.offset, agent._shape(batch), n_actions=agent.penalty.n_actions, backend=agent.backend)


def double(value):
    """Float64 copies of the float tensors of rows, draws or a learner; everything else as it is."""
    if isinstance(value, torch.Tensor):
        return value.double() if value.is_floating_point() else value.clone()
    if isinstance(value, Network):
        return value.to(dtype=torch.float64)
    if isinstance(value, list):
        return [double(item) for item in value]
    if isinstance(value, Rows | Draws | Learner) or dataclasses.is_dataclass(value):
        return type(value)(**{f.name: double(getattr(value, f.name)) for f in dataclasses.fields(value)})
    return value


def one_seed(value, s):
    """Seed s of rows or draws as a dict of tensors without the S axis, float64."""
    fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    return {name: double(tensor[s]) for name, tensor in fields.items() if tensor is not None}
