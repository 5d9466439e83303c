"""Critics as `nn.Module`s: a list of them, as single-file implementations have it, or stacked under `vmap`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rewarm.bench.q_loops import LN_EPS, TorchLoop
from rewarm.bench.q_setting import Start


def module(widths: Sequence[int], outputs: int, tensors: Sequence[Tensor]) -> nn.Sequential:
    """Linear, LayerNorm, ReLU a layer and a head, with the given parameters: weights are [in, out] there, [out, in] here."""
    layers: list[nn.Module] = []
    for i, o in itertools.pairwise(widths):
        layers += [nn.Linear(i, o), nn.LayerNorm(o, eps=LN_EPS), nn.ReLU()]
    made = nn.Sequential(*layers, nn.Linear(widths[-1], outputs)).to(tensors[0])
    with torch.no_grad():
        for p, tensor in zip(made.parameters(), tensors, strict=True):
            p.copy_(_turned(tensor, p))
    return made


def _turned(tensor: Tensor, like: Tensor) -> Tensor:
    if like.ndim == 2:
        return tensor.reshape(like.shape[::-1]).t()
    return tensor.reshape(like.shape)


class ModuleList(TorchLoop):
    """A module a critic, one after the other; only the drawn ones in target and penalty, as REDQ's authors have it.

    Seeds are separate agents in a Python loop. In float64 it is the reference that every variant is compared with: nothing in
    it is stacked, fused or derived by hand.
    """

    name = "torch list"
    draws_first = True

    def load(self, at: Start) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Modules [seed][critic]."""
        s = self.setting

        def ensemble(tensors: Sequence[Tensor]) -> list[list[nn.Sequential]]:
            return [
                [module(s.critic_widths, 1, [t[i, e] for t in tensors]) for e in range(s.critics)] for i in range(s.seeds)
            ]  # fmt: skip

        self.critics, self.targets = ensemble(at.critic), ensemble(at.target)
        free = s.log_std == "free"
        of_net = at.actor[:-1] if free else at.actor
        self.actors = [module(s.actor_widths, s.actor_outputs, [t[i, 0] for t in of_net]) for i in range(s.seeds)]
        self.log_std = [at.actor[-1][i].clone().requires_grad_(True) for i in range(s.seeds)] if free else []
        return (
            _parameters([m for nets in self.critics for m in nets]),
            _parameters([m for nets in self.targets for m in nets]),
            [*_parameters(self.actors), *self.log_std],
        )

    def q(self, x: Tensor, *, target: bool = False, index: Tensor | None = None) -> Tensor:
        """One critic after the other."""
        ensembles = self.targets if target else self.critics
        chosen = [range(self.setting.critics)] * self.setting.seeds if index is None else index.tolist()
        return torch.stack(
            [
                torch.stack([nets[e](rows)[:, 0] for e in of_seed])
                for nets, rows, of_seed in zip(ensembles, x, chosen, strict=True)
            ]
        )

    def head(self, obs: Tensor) -> tuple[Tensor, Tensor | None]:
        """One actor after the other."""
        out = torch.stack([actor(rows) for actor, rows in zip(self.actors, obs, strict=True)])
        return out, torch.stack(self.log_std) if self.log_std else None

    def state(self) -> dict[str, list[Tensor]]:
        """Stacked and turned."""
        actor = _stacked([[m] for m in self.actors], head=False)
        if self.log_std:
            actor.append(torch.stack(self.log_std).detach())
        return {
            "critic": _stacked(self.critics, head=True),
            "target": _stacked(self.targets, head=True),
            "actor": actor,
            "log_alpha": [self.log_alpha.detach()],
        }


def _parameters(modules: Sequence[nn.Module]) -> list[Tensor]:
    return [p for m in modules for p in m.parameters()]


def _stacked(ensembles: Sequence[Sequence[nn.Module]], head: bool) -> list[Tensor]:
    lists = [[[p.detach().t() if p.ndim == 2 else p.detach() for p in m.parameters()] for m in nets] for nets in ensembles]
    found = [
        torch.stack([torch.stack([tensors[i] for tensors in nets]) for nets in lists]) for i in range(len(lists[0][0]))
    ]  # fmt: skip
    if head:  # a critic's head has no axis of outputs
        found[-2:] = [t.squeeze(-1) for t in found[-2:]]
    return found


class Vmap(TorchLoop):
    """`torch.func.stack_module_state` and `vmap` over the critics of one seed; the drawn ones by indexing the parameters."""

    name = "torch vmap"
    draws_first = True

    def load(self, at: Start) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """One set of stacked parameters by name."""
        s = self.setting
        assert s.seeds == 1
        self.skeleton = module(s.critic_widths, 1, [t[0, 0] for t in at.critic]).to("meta")

        def stacked(tensors: Sequence[Tensor]) -> dict[str, Tensor]:
            modules: list[nn.Module] = [module(s.critic_widths, 1, [t[0, e] for t in tensors]) for e in range(s.critics)]
            return {name: p.detach() for name, p in torch.func.stack_module_state(modules)[0].items()}

        self.critics = {name: p.requires_grad_(True) for name, p in stacked(at.critic).items()}
        self.targets = stacked(at.target)
        free = s.log_std == "free"
        self.net = module(s.actor_widths, s.actor_outputs, [t[0, 0] for t in (at.actor[:-1] if free else at.actor)])
        self.log_std = at.actor[-1].clone().requires_grad_(True) if free else None
        self.of_all = torch.func.vmap(
            lambda parameters, x: torch.func.functional_call(self.skeleton, parameters, (x,)), in_dims=(0, None)
        )
        actor = [*self.net.parameters(), *([] if self.log_std is None else [self.log_std])]
        return list(self.critics.values()), list(self.targets.values()), actor

    def q(self, x: Tensor, *, target: bool = False, index: Tensor | None = None) -> Tensor:
        """All at once."""
        parameters = self.targets if target else self.critics
        if index is not None:
            parameters = {name: p[index[0]] for name, p in parameters.items()}
        values: Tensor = self.of_all(parameters, x[0])
        return values[..., 0].unsqueeze(0)

    def head(self, obs: Tensor) -> tuple[Tensor, Tensor | None]:
        """A module."""
        return self.net(obs[0]).unsqueeze(0), self.log_std

    def state(self) -> dict[str, list[Tensor]]:
        """Turned."""

        def turned(parameters: dict[str, Tensor]) -> list[Tensor]:
            found = [(p.detach().transpose(1, 2) if p.ndim == 3 else p.detach()).unsqueeze(0) for p in parameters.values()]
            found[-2:] = [t.squeeze(-1) for t in found[-2:]]
            return found

        actor = _stacked([[self.net]], head=False)
        return {
            "critic": turned(self.critics),
            "target": turned(self.targets),
            "actor": actor if self.log_std is None else [*actor, self.log_std.detach()],
            "log_alpha": [self.log_alpha.detach()],
        }
