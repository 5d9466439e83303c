"""Every op of this room on a small problem, one backend against float64: what `rewarm env` runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from rewarm.errors import RewarmError
from rewarm.q import (
    cql_penalty,
    draw_subset,
    ensemble_min,
    ensemble_mlp,
    philox,
    philox_reference,
    tanh_gaussian,
    td_target,
)

_U = 2.0**-24  # one rounding in float32
#: Draws a float32 tensor of the given sizes.
Normal = Callable[..., Tensor]
#: (what, computed, exact in float64, bound)
Finding = tuple[str, Tensor, Tensor, Tensor]


def every_op(device_type: str, backend: str) -> float:
    """The largest error over its bound of all ops.

    Raises:
        RewarmError: An error past its bound, with the op.
    """
    generator = torch.Generator().manual_seed(20)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device_type)

    worst = 0.0
    for problem in (draws, targets, penalties, policies, networks):
        for what, computed, exact, bound in problem(normal, backend):
            error = (computed.detach().cpu().double() - exact.cpu()).abs()
            ratio = float((error / bound.cpu().clamp_min(2.0**-149)).nan_to_num(math.inf).max())
            if not ratio <= 1.0:
                raise RewarmError(f"{what}: off by {ratio:.3g} times the bound")
            worst = max(worst, ratio)
    return worst


def draws(normal: Normal, backend: str) -> Iterator[Finding]:
    """Words and subsets, which must be equal, and normals."""
    device = normal(1).device
    seed, offset = (torch.tensor(v, device=device) for v in ([3, -5], [0, 2**40]))
    words = philox((37,), seed=seed, offset=offset, stream=1, backend=backend)
    law = philox_reference.words(37, seed, offset, 1).double()
    yield "philox: words", words.to(torch.int64), law, torch.zeros_like(law)
    chosen = draw_subset(10, 4, seed=seed, offset=offset, stream=4, replacement=False, backend=backend)
    places = philox_reference.draw_subset(10, 4, seed=seed, offset=offset, stream=4, replacement=False)
    yield "draw_subset", chosen, places.double(), torch.zeros(2, 4, dtype=torch.float64)
    z = philox((37,), seed=seed, offset=offset, stream=1, kind="normal", backend=backend)
    exact = philox_reference.draw((37,), seed, offset, 1, "normal", torch.float64)
    yield "philox: normals", z, exact, torch.full_like(exact, 9 * _U * 5.8)


def targets(normal: Normal, backend: str) -> Iterator[Finding]:
    """A target with entropy and three next actions: two roundings of the entropy term, three of the rest."""
    reward, q, log_prob = normal(2, 7), normal(2, 3, 7, 3) * 9, normal(2, 7, 3)
    ended = torch.arange(14, device=reward.device).reshape(2, 7) % 3 == 0
    y = td_target(reward, ended, q, log_prob=log_prob, alpha=reward[:, 0].abs().contiguous(), backend=backend)
    r, v, p, a = reward.double(), q.double(), log_prob.double(), reward[:, 0].double().abs().contiguous()
    exact = td_target(r, ended, v, log_prob=p, alpha=a, backend="reference")
    size = r.abs() + v.abs().amax((1, 3)) + (a[:, None, None] * p).abs().amax(-1)
    yield "td_target", y, exact, 5 * _U * size


def penalties(normal: Normal, backend: str) -> Iterator[Finding]:
    """The bounded, weighted penalty and its gradients. Exponents are absolutely right to 5 roundings of the largest."""
    q, data, density, mc = normal(2, 3, 5, 9), normal(2, 3, 5), normal(2, 5, 9), normal(2, 5)
    results = []
    for t in (torch.float32, torch.float64):
        leaves = q.to(t).detach().requires_grad_(), data.to(t).detach().requires_grad_()
        name = backend if t is torch.float32 else "reference"
        diff = cql_penalty(*leaves, log_density=density.to(t), mc_return=mc.to(t), n_random=3, backend=name)
        results.append((diff.detach(), *torch.autograd.grad(diff.sum(), leaves)))
    largest = float(q.abs().max() + density.abs().max() + mc.abs().max() + data.abs().max())
    bound = torch.full_like(data.double(), (5 * largest + 9 + 6) * _U)
    yield "cql_penalty", results[0][0], results[1][0], bound
    yield "cql_penalty: gradient of q_sampled", results[0][1], results[1][1], 2 * bound.unsqueeze(-1) * results[1][1]
    yield "cql_penalty: gradient of q_data", results[0][2], results[1][2], torch.zeros_like(bound)


def policies(normal: Normal, backend: str) -> Iterator[Finding]:
    """Actions, log probabilities and their gradients, std within its clip."""
    mean, log_std, noise = normal(2, 5, 3), normal(2, 3), normal(2, 5, 4, 3)
    results = []
    for t in (torch.float32, torch.float64):
        leaves = mean.to(t).detach().requires_grad_(), log_std.to(t).detach().requires_grad_()
        name = backend if t is torch.float32 else "reference"
        action, log_prob = tanh_gaussian(*leaves, noise=noise.to(t), backend=name)
        results.append((action.detach(), log_prob.detach(), *torch.autograd.grad(action.sum() + log_prob.sum(), leaves)))
    s = log_std.double().exp()[:, None, None] * noise.double().abs()
    of_u = _U * (5 * s + mean.double().abs().unsqueeze(2))  # sigma 3, its product and the sum
    of_one = 4 * of_u + 24 * _U  # |d/du| of 1 - a^2 and of 2 a, and their own roundings
    terms = noise.double().square() + log_std.double().abs()[:, None, None] + 4 + 2 * (s + mean.double().abs().unsqueeze(2))
    of_log_sigma = (of_one * s + 8 * _U * 3 * s + 8 * _U).sum((1, 2))
    bounds = of_u + 8 * _U, (2 * of_u + 10 * _U * terms).sum(-1), of_one.sum(2) + 8 * _U * 12, of_log_sigma
    for what, computed, exact, bound in zip(("action", "log_prob", "mean", "log_std"), *results, bounds, strict=True):
        yield f"tanh_gaussian: {what}", computed, exact, bound


def networks(normal: Normal, backend: str) -> Iterator[Finding]:
    """Ensembles whose numbers are small integers, so that every product and sum is exact; then LayerNorm, with a bound."""

    def integers(*shape: int) -> Tensor:
        return (normal(*shape) * 2).round()

    layers = [(integers(2, 3, 7, 17), integers(2, 3, 17)), (integers(2, 3, 17, 9), integers(2, 3, 9))]
    x, actions, index = integers(2, 5, 4), integers(2, 5, 2, 3), torch.tensor([[2, 0], [1, 1]], device=normal(1).device)
    tensors = [x, actions, *(p for layer in layers for p in layer), integers(2, 3, 9), integers(2, 3)]
    results = []
    for t in (torch.float32, torch.float64):
        leaves = [p.to(t).detach().requires_grad_() for p in tensors]
        name = backend if t is torch.float32 else "reference"
        nested = [leaves[2:4], leaves[4:6]]
        q = ensemble_mlp(leaves[0], nested, leaves[6:], actions=leaves[1], index=index, backend=name)
        low, _ = ensemble_min(leaves[0], nested, leaves[6:], actions=leaves[1][:, :, 0].contiguous(), backend=name)
        results.append([q.detach(), low.detach(), *torch.autograd.grad(q.sum(), leaves)])
    for i, (computed, exact) in enumerate(zip(*results, strict=True)):
        yield f"ensemble_mlp and ensemble_min of integers, result {i}", computed, exact, torch.zeros_like(exact)

    layer, head = (normal(2, 7, 33), normal(2, 33), normal(2, 33), normal(2, 33)), (normal(2, 33), normal(2))
    x = normal(5, 7)
    w, b, g, beta, v, c = (p.double() for p in (*layer, *head))
    z = x.double() @ w + b.unsqueeze(1)
    std = (z.var(-1, correction=0, keepdim=True) + 1e-6).sqrt()
    n = (z - z.mean(-1, keepdim=True)) / std
    of_z = 8 * _U * (x.double().abs() @ w.abs() + b.abs().unsqueeze(1))
    of_centred = of_z + of_z.mean(-1, keepdim=True) + 36 * _U * z.abs().mean(-1, keepdim=True) + _U * (n * std).abs()
    of_n = (of_centred + n.abs() * (n.abs() * of_centred).mean(-1, keepdim=True)) / std + 40 * _U * n.abs()
    y = n * g.unsqueeze(1) + beta.unsqueeze(1)
    of_y = of_n * g.abs().unsqueeze(1) + 3 * _U * (y.abs() + beta.abs().unsqueeze(1))
    exact = (torch.relu(y) @ v.unsqueeze(-1)).squeeze(-1) + c.unsqueeze(-1)
    bound = ((of_y + 35 * _U * y.abs()) @ v.abs().unsqueeze(-1)).squeeze(-1) + 35 * _U * c.abs().unsqueeze(-1)
    yield "ensemble_mlp: LayerNorm", ensemble_mlp(x, [layer], head, backend=backend), exact, bound
