"""What is measured of rewarm: an agent's `update_batch` on given rows, its draws included."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rewarm.bench.q_loops import Loop
from rewarm.bench.q_setting import Setting, Start
from rewarm.rl import CalQL, EnsembleSAC
from rewarm.rl import update as composition
from rewarm.rl.adam import Moments
from rewarm.rl.draws import Draws
from rewarm.rl.rows import Rows


def agent_of(setting: Setting, at: Start, device: torch.device, backend: str | None, precision: str) -> EnsembleSAC:
    """An agent of these sizes that begins there."""
    arguments: dict[str, Any] = {
        "critics": setting.critics,
        "subset": setting.subset,
        "hidden": setting.hidden,
        "actor_hidden": setting.actor_hidden,
        "log_std": setting.log_std,
        "gamma": setting.gamma,
        "tau": setting.tau,
        "backup_actions": setting.backup_actions,
        "critic_lr": at.lr[0],
        "actor_lr": at.lr[1],
        "alpha_lr": at.lr[2],
        "seeds": tuple(range(setting.seeds)),
        "device": device,
        "backend": backend,
        "precision": precision,
    }
    if setting.offline:
        arguments |= {"n_actions": setting.sampled_actions, "cql_weight": setting.cql_weight}
        agent: EnsembleSAC = CalQL(setting.obs, setting.act, **arguments)
    else:
        agent = EnsembleSAC(setting.obs, setting.act, **arguments)
    fill(agent.learner, at)
    return agent


def fill(learner: composition.Learner, at: Start) -> None:
    """Copies parameters and the state of Adam into a learner."""
    own = ((learner.critics, at.critic), (learner.targets, at.target), (learner.actor, at.actor))
    for network, tensors in own:
        for mine, given in zip(network.tensors(), tensors, strict=True):
            mine.copy_(given)
    learner.alpha_param.copy_(at.log_alpha)
    for moments in (learner.critic_moments, learner.actor_moments, learner.alpha_moments):
        for average, square in zip(moments.exp_avg, moments.exp_avg_sq, strict=True):
            average.zero_()
            square.fill_(at.square)
        moments.step = at.steps


def parameters(learner: composition.Learner) -> dict[str, list[Tensor]]:
    """Copies of all parameters, in the shapes of `Start`."""
    return {
        "critic": [t.clone() for t in learner.critics.tensors()],
        "target": [t.clone() for t in learner.targets.tensors()],
        "actor": [t.clone() for t in learner.actor.tensors()],
        "log_alpha": [learner.alpha_param.clone()],
    }


class Rewarm(Loop):
    """``agent.update_batch(rows)``, or ``update_offline_batch(rows)``: on a CPU one compiled chain, on a GPU one graph.

    Args:
        setting: What all variants share.
        device: Where.
        backend: Of the agent.
        precision: "fp32" or "tf32".
        label: Added to the name.
        captured: On a GPU, whether updates are replays of a graph, as they are unless an agent is told otherwise.
    """

    ours = True

    def __init__(
        self,
        setting: Setting,
        device: torch.device,
        backend: str,
        precision: str = "fp32",
        label: str = "",
        captured: bool = True,
    ) -> None:
        super().__init__(setting, device)
        self.backend, self.precision = backend, precision
        self.captured = captured and device.type == "cuda"
        self.repeats = 20 if self.captured else 1
        self.name = f"rewarm {backend}{label}"

    def start(self, at: Start) -> None:
        """A new agent."""
        self.agent = agent_of(self.setting, at, self.device, self.backend, self.precision)
        self.agent.capture = self.captured
        self.facts["chain"] = "composition" if self.agent._chain() is None else "fused"

    def update(self, rows: Rows, draws: Draws) -> None:
        """With given draws; never captured."""
        if isinstance(self.agent, CalQL):
            self.agent.update_offline_batch(rows, draws)
        else:
            self.agent.update_batch(rows, draws)

    def begin(self, rows: Rows) -> None:
        """The agent draws for itself."""
        agent, utd, repeats = self.agent, self.setting.utd, self.repeats

        def online() -> None:
            for _ in range(repeats):
                agent.update_batch(rows, utd=utd)

        def offline() -> None:
            assert isinstance(agent, CalQL)
            for _ in range(repeats):
                agent.update_offline_batch(rows)

        self.run = offline if self.setting.offline else online

    def state(self) -> dict[str, list[Tensor]]:
        """Copies."""
        return parameters(self.agent.learner)


class Composition(Loop):
    """The composition of ops that the agents' updates are held to, with the reference ops; for a check in float64."""

    ours = True
    name = "rewarm reference"

    def start(self, at: Start) -> None:
        """A learner in this loop's dtype."""
        agent = agent_of(self.setting, at, torch.device("cpu"), "reference", "fp32")
        own, at = agent.learner, at.to(self.dtype)
        actor, critics, targets = (
            network.to(dtype=self.dtype, device=self.device) for network in (own.actor, own.critics, own.targets)
        )
        alpha = at.log_alpha.clone()
        of_actor, of_critics, of_alpha = (Moments.zeros(p) for p in (actor.tensors(), critics.tensors(), [alpha]))
        self.learner = composition.Learner(actor, critics, targets, alpha, of_actor, of_critics, of_alpha)
        fill(self.learner, at)
        self.settings = agent.settings
        self.penalty = agent.penalty if isinstance(agent, CalQL) else None

    def update(self, rows: Rows, draws: Draws) -> None:
        """With given draws."""
        if self.penalty is not None:
            composition.offline_step(self.learner, rows, draws, self.settings, self.penalty)
        else:
            composition.update(self.learner, rows, draws, self.settings)

    def state(self) -> dict[str, list[Tensor]]:
        """Copies."""
        return parameters(self.learner)
