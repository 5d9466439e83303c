"""IQL against the three losses written out with torch modules and torch.optim.Adam in float64."""

import dataclasses

import numpy as np
import pytest
import torch
from batches import ACT, OBS, double, one_seed, random_rows
from slow_agent import Mlp, flat
from torch import nn
from torch.distributions import Normal

from rewarm.errors import InvalidArgument
from rewarm.rl import IQL

NETWORKS = ("actor", "critics", "value", "targets")


def in_double(agent):
    """The same agent in float64, which the reference backend computes in."""
    for name in NETWORKS:
        setattr(agent, name, double(getattr(agent, name)))
    for name in ("actor", "critic", "value"):
        setattr(agent, f"{name}_moments", double(getattr(agent, f"{name}_moments")))
    return agent


@pytest.mark.parametrize("log_std", ["free", "state"])
def test_a_step_is_the_three_losses(log_std):
    agent = IQL(
        OBS, ACT, hidden=(9, 7), log_std=log_std, beta=2.0, max_weight=1.1, expectile=0.8, seeds=(1, 2), backend="reference"
    )
    start = {name: getattr(agent, name).clone() for name in NETWORKS}
    agent = in_double(agent)
    rows = [random_rows((1, 2), 10, seed=i) for i in range(2)]
    for batch in rows:
        agent._step(double(batch))
    for s in range(2):
        nets = {name: [Mlp(net.layers, net.head, s, e) for e in range(net.head[0].shape[1])] for name, net in start.items()}
        free = None if log_std == "state" else nn.Parameter(torch.zeros(ACT, dtype=torch.float64))
        groups = {name: [p for net in nets[name] for p in net.parameters()] for name in ("actor", "critics", "value")}
        groups["actor"] += [] if free is None else [free]
        optimizers = {name: torch.optim.Adam(parameters, lr=3e-4) for name, parameters in groups.items()}
        for batch in rows:
            b = one_seed(batch, s)
            q_bar = torch.stack([t(b["obs"], b["action"]).squeeze(-1) for t in nets["targets"]]).min(0).values.detach()
            v = nets["value"][0](b["obs"]).squeeze(-1)
            y = (b["reward"] + 0.99 * (1 - b["terminated"].double()) * nets["value"][0](b["next_obs"]).squeeze(-1)).detach()
            out = nets["actor"][0](b["obs"])
            mean, spread = (out, free.expand_as(out)) if free is not None else out.chunk(2, -1)
            weight = torch.exp(2.0 * (q_bar - v.detach())).clamp(max=1.1)
            log_prob = Normal(mean, spread.exp()).log_prob(b["action"]).sum(-1)
            losses = {
                "value": (torch.where(q_bar > v, 0.8, 0.2) * (q_bar - v) ** 2).mean(),
                "critics": sum(((c(b["obs"], b["action"]).squeeze(-1) - y) ** 2).mean() for c in nets["critics"]) / 2,
                "actor": -(weight * log_prob).mean(),
            }
            for name, loss in losses.items():
                optimizers[name].zero_grad()
                loss.backward(inputs=groups[name])
            for optimizer in optimizers.values():
                optimizer.step()
            with torch.no_grad():
                for target, critic in zip(nets["targets"], nets["critics"], strict=True):
                    for t, p in zip(target.parameters(), critic.parameters(), strict=True):
                        t.copy_(0.995 * t + 0.005 * p)
        for name in NETWORKS:
            theirs = [torch.stack(parts) for parts in zip(*map(flat, nets[name]), strict=True)]
            mine = [t[s] for t in getattr(agent, name).tensors()]
            for a, b in zip(mine, theirs, strict=False):
                # as in test_update: less than 2^12 roundoffs of a gradient over Adam's eps, times the rate, two steps
                assert (a.flatten() - b.flatten()).abs().max() <= 2 * 3e-4 * 2.0**12 * 2.0**-53 / 1e-8, name
        if free is not None:
            assert (agent.actor.log_std[s] - free).abs().max() <= 1e-10


def test_dropout_is_drawn_per_update_and_only_while_training():
    plain, dropped = (IQL(OBS, ACT, hidden=(64,), dropout=rate, backend="reference") for rate in (0.0, 0.5))
    obs = np.ones((3, OBS))
    assert np.array_equal(plain.act(obs, mode=True), dropped.act(obs, mode=True))
    rows = torch.ones(1, 400, OBS)
    masks = []
    for offset in (0, 1):
        dropped.offset.fill_(offset)
        masks.append(dropped._policy(dropped.actor, rows)[0])
    assert not torch.equal(*masks) and not torch.equal(masks[0][0, 0], masks[0][0, 1])
    dropped.offset.zero_()
    assert torch.equal(dropped._policy(dropped.actor, rows)[0], masks[0])
    one = IQL(OBS, ACT, hidden=(64,), dropout=2.0**-40, backend="reference")  # every unit is kept
    assert (one._policy(one.actor, rows)[0] - plain._policy(plain.actor, rows)[0]).abs().max() < 64 * 2.0**-20


def test_actions_are_clipped_not_squashed():
    agent = IQL(OBS, ACT, hidden=(4,), backend="reference")
    agent.actor.head[0].zero_()
    agent.actor.head[1].copy_(torch.tensor([[[0.25, 3.0, -3.0]]]))
    assert agent.act(np.ones(OBS), mode=True).tolist() == [0.25, 1.0, -1.0]
    assert np.abs(agent.act(np.ones((50, OBS)))).max() <= 1.0


def test_initial_scales():
    agent = IQL(200, ACT, hidden=(100, 100), backend="reference")
    for network, last in ((agent.actor, 0.01), (agent.critics, 1.0)):
        (first, *_), (second, *_) = network.layers
        assert abs(second).max() <= (6 * last / 200) ** 0.5 and abs(second).max() > 0.95 * (6 * last / 200) ** 0.5
        assert abs(first).max() <= (6 / (first.shape[-2] + 100)) ** 0.5
    assert not agent.actor.log_std.any()


@pytest.mark.parametrize("options", [{"expectile": 0.0}, {"expectile": 1.0}, {"dropout": 1.0}, {"beta": -1}, {"init": "zeros"}])
def test_bad_arguments_are_named(options):
    with pytest.raises(InvalidArgument, match=f"IQL: {next(iter(options))}"):
        IQL(OBS, ACT, **options)


def test_update_takes_rows_of_a_buffer():
    class Buffer:
        def sample(self, n, *, offset):
            return dataclasses.replace(random_rows((0,), n), mc_return=None)

    agent = IQL(OBS, ACT, hidden=(8,), backend="reference")
    info = agent.update(Buffer(), batch=16)
    assert set(info) == {"value_loss", "critic_loss", "actor_loss", "v", "q", "weight"} and agent.offset.tolist() == [1]
