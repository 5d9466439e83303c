"""The algorithm once more, slow and obvious: one seed, a python list of critics, torch.optim.Adam, everything drawn last.

It shares nothing with rewarm.rl but the numbers it starts from. Every critic is evaluated everywhere and the drawn ones are
picked out of the result afterwards, as the reference code of Zhou et al. 2024 does.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.distributions import Normal
from torch.nn.functional import softplus


class Mlp(nn.Module):
    """Linear -> LayerNorm -> ReLU ..., Linear."""

    def __init__(self, layers, head, seed, member):
        super().__init__()
        parts = []
        for layer in layers:
            own = [t[seed, member].double() for t in layer]
            linear = nn.Linear(*own[0].shape).double()
            linear.weight.data, linear.bias.data = own[0].T.clone(), own[1].clone()
            parts.append(linear)
            if len(own) == 4:
                norm = nn.LayerNorm(len(own[2]), eps=1e-6).double()
                norm.weight.data, norm.bias.data = own[2].clone(), own[3].clone()
                parts.append(norm)
            parts.append(nn.ReLU())
        weight, bias = head[0][seed, member].double(), head[1][seed, member].double()
        weight = weight[:, None] if weight.ndim == 1 else weight
        last = nn.Linear(*weight.shape).double()
        last.weight.data, last.bias.data = weight.T.clone(), bias.reshape(-1).clone()
        self.net = nn.Sequential(*parts, last)

    def forward(self, *inputs):
        return self.net(torch.cat(inputs, -1))


class SlowAgent:
    """One seed of an EnsembleSAC or CalQL in float64, taken from a `Learner`."""

    def __init__(self, learner, seed, settings, penalty=None):
        count = learner.critics.head[0].shape[1]
        self.settings, self.penalty = settings, penalty
        self.actor = Mlp(learner.actor.layers, learner.actor.head, seed, 0)
        free = learner.actor.log_std
        self.log_std = None if free is None else nn.Parameter(free[seed].double().clone())
        self.critics = [Mlp(learner.critics.layers, learner.critics.head, seed, e) for e in range(count)]
        self.targets = [Mlp(learner.targets.layers, learner.targets.head, seed, e) for e in range(count)]
        self.alpha_param = nn.Parameter(learner.alpha_param[seed].double().clone())
        self.actor_parameters = [*self.actor.parameters(), *([] if free is None else [self.log_std])]
        self.critic_parameters = [p for critic in self.critics for p in critic.parameters()]
        self.optimizers = {
            "actor": torch.optim.Adam(self.actor_parameters, lr=settings.actor_lr),
            "critic": torch.optim.Adam(self.critic_parameters, lr=settings.critic_lr),
            "alpha": torch.optim.Adam([self.alpha_param], lr=settings.alpha_lr),
        }
        self.lagrange_param = None
        if learner.lagrange_param is not None:
            self.lagrange_param = nn.Parameter(learner.lagrange_param[seed].double().clone())
            self.optimizers["lagrange"] = torch.optim.Adam([self.lagrange_param], lr=penalty.lr)

    def sample(self, obs, noise):
        """Actions and log densities for noise [..., A]; obs has the same leading axes or broadcasts."""
        out = self.actor(obs)
        a = noise.shape[-1]
        mean, log_std = (out, self.log_std) if self.log_std is not None else (out[..., :a], out[..., a:])
        std = log_std.exp().clamp(1e-5, 10.0).expand_as(mean)
        before = mean + std * noise
        log_prob = Normal(mean, std).log_prob(before) - 2 * (math.log(2) - before - softplus(-2 * before))
        return torch.tanh(before), log_prob.sum(-1)

    @staticmethod
    def q(critics, obs, action):
        """[E, ...] for obs and action with the same leading axes."""
        return torch.stack([critic(obs, action).squeeze(-1) for critic in critics])

    def target(self, rows, noise, subset):
        b, k, _ = noise.shape
        next_obs = rows["next_obs"][:, None].expand(b, k, -1)
        action, log_prob = self.sample(next_obs, noise)
        value = self.q(self.targets, next_obs, action)[subset].min(0).values
        if self.settings.backup_entropy:
            value = value - softplus(self.alpha_param) * log_prob
        best = value.max(-1).values
        return (rows["reward"] + self.settings.gamma * (1 - rows["terminated"].double()) * best).detach()

    def step(self, losses):
        """One Adam step of each named network; with "wsrl" the others too, with gradients of zero."""
        groups = {"actor": self.actor_parameters, "critic": self.critic_parameters, "alpha": [self.alpha_param]}
        if self.lagrange_param is not None:
            groups["lagrange"] = [self.lagrange_param]
        gradients = {name: torch.autograd.grad(loss, groups[name], retain_graph=True) for name, loss in losses.items()}
        for name, parameters in groups.items():
            if name not in losses and self.settings.adam_semantics == "standard":
                continue
            for i, parameter in enumerate(parameters):
                parameter.grad = gradients[name][i] if name in losses else torch.zeros_like(parameter)
            self.optimizers[name].step()

    def polyak(self):
        tau = self.settings.tau
        with torch.no_grad():
            for target, critic in zip(self.targets, self.critics, strict=True):
                for t, p in zip(target.parameters(), critic.parameters(), strict=True):
                    t.copy_((1 - tau) * t + tau * p)

    def critic_step(self, rows, noise, subset):
        y = self.target(rows, noise, subset)
        td = ((self.q(self.critics, rows["obs"], rows["action"]) - y) ** 2).mean()
        self.step({"critic": td})
        self.polyak()
        return td.item()

    def actor_losses(self, rows, actor_noise, alpha_noise):
        alpha = softplus(self.alpha_param).detach()
        action, log_prob = self.sample(rows["obs"], actor_noise)
        q = self.q(self.critics, rows["obs"], action)
        q = q.min(0).values if self.settings.actor_q == "min" else q.mean(0)
        n, k, _ = alpha_noise.shape
        _, other = self.sample(rows["next_obs"][:, None].expand(n, k, -1), alpha_noise)
        entropy = -other.detach().mean()
        return {
            "actor": (alpha * log_prob - q).mean(),
            "alpha": softplus(self.alpha_param) * (entropy - self.settings.target_entropy),
        }

    def update(self, rows, target_noise, target_subset, actor_noise, alpha_noise):
        b = target_noise.shape[1]
        td = []
        for u in range(len(target_noise)):
            part = {name: value[u * b : (u + 1) * b] for name, value in rows.items()}
            td.append(self.critic_step(part, target_noise[u], target_subset[u]))
        losses = self.actor_losses(rows, actor_noise, alpha_noise)
        self.step(losses)
        return {"critic_loss": sum(td) / len(td)} | {f"{name}_loss": loss.item() for name, loss in losses.items()}

    def offline_step(self, rows, draws):
        pen, n = self.penalty, self.penalty.n_actions
        y = self.target(rows, draws["target_noise"][0], draws["target_subset"][0])
        q = self.q(self.critics, rows["obs"], rows["action"])
        b, _, a = draws["uniform"].shape
        wide = rows["obs"][:, None].expand(b, n, -1)
        following = rows["next_obs"][:, None].expand(b, n, -1)
        at_s, log_s = (t.detach() for t in self.sample(wide, draws["current_noise"]))
        at_next, log_next = (t.detach() for t in self.sample(following, draws["next_noise"]))
        kinds = [
            (draws["uniform"], torch.full((b, n), a * math.log(0.5), dtype=torch.float64)),
            (at_s, log_s),
            (at_next, log_next),
        ]
        columns = []
        for i, (actions, log_density) in enumerate(kinds):
            value = self.q(self.critics, wide, actions)[draws["cql_subset"]]
            if pen.calibrated and (i > 0 or pen.bound_random):
                value = torch.maximum(value, rows["mc_return"][:, None])
            columns.append(value - log_density if pen.importance_sampling else value)
        drawn = q[draws["cql_subset"]]
        if not pen.importance_sampling:
            columns.append(drawn[..., None])
            columns = [column - pen.temperature * math.log(3 * n + 1) for column in columns]
        diff = pen.temperature * torch.logsumexp(torch.cat(columns, -1) / pen.temperature, -1) - drawn
        td = ((q - y) ** 2).mean()
        losses = self.actor_losses(rows, draws["actor_noise"], draws["alpha_noise"])
        if pen.weight is None:
            weight = softplus(self.lagrange_param)
            losses["critic"] = td + weight.detach() * (diff - pen.gap).mean()
            losses["lagrange"] = -weight * (diff.detach() - pen.gap).mean()
        else:
            losses["critic"] = td + pen.weight * diff.mean()
        self.step(losses)
        self.polyak()
        return {f"{name}_loss": loss.item() for name, loss in losses.items() if name != "lagrange"} | {
            "cql_diff": diff.mean().item()
        }

    def flat(self, name):
        """Parameters of "actor", "critics" or "targets" in the order and shapes of Network.tensors() without S."""
        members = [self.actor] if name == "actor" else getattr(self, name)
        tensors = [torch.stack(parts) for parts in zip(*(flat(member) for member in members), strict=True)]
        if name != "actor":
            tensors[-2:] = [tensors[-2].squeeze(-1), tensors[-1].squeeze(-1)]
        return [*tensors, *([self.log_std.detach()] if name == "actor" and self.log_std is not None else [])]


def flat(mlp):
    return [p.detach().T if p.ndim == 2 else p.detach() for p in mlp.net.parameters()]
