"""ensemble_min: the minimum of ensemble_mlp, ties and NaN, and a gradient that runs through one critic a row."""

from __future__ import annotations

import pytest
import torch
from ensemble_cases import backends, clear_of_kinks, ensemble, flat, moved
from rounding import Rounded, check

from rewarm.errors import InvalidArgument
from rewarm.q import ensemble_min, ensemble_mlp
from rewarm.q import ensemble_min_reference as reference

COMPILED = backends("ensemble_min")
EVERYWHERE = [("reference", "cpu"), *COMPILED]
everywhere = pytest.mark.parametrize(("backend", "device"), EVERYWHERE, ids=[b for b, _ in EVERYWHERE])
compiled = pytest.mark.parametrize(("backend", "device"), COMPILED, ids=[b for b, _ in COMPILED])
# name: S, E, B, D, A, hidden, LayerNorm, x a critic's own
CASES = {
    "smallest": (None, 1, 1, 1, 1, (1,), False, False),
    "plain": (None, 3, 17, 5, 2, (13, 11), True, False),
    "primes": (2, 7, 31, 11, 3, (19, 23), True, False),
    "one seed": (1, 2, 5, 3, 2, (8,), True, False),
    "ten": (None, 10, 65, 4, 3, (33, 32), True, False),
    "own inputs": (2, 3, 5, 4, 2, (9,), True, True),
    "without LayerNorm": (2, 3, 9, 5, 2, (8, 8), False, False),
}
cases = pytest.mark.parametrize("case", CASES)


class Case:
    """Inputs away from the kinks of relu, and from ties of the minimum."""

    def __init__(self, name: str):
        s, e, b, d, a, hidden, norm, own = CASES.get(name, name)
        lead = () if s is None else (s,)
        self.axis = len(lead)
        self.layers, self.head = ensemble(s, e, d + a, hidden, norm=norm)
        law = moved(self.layers, self.head, torch.Tensor.double)

        def make():
            return torch.randn(*lead, *((e,) if own else ()), b, d), torch.randn(*lead, b, a)

        self.x, self.actions, self.walk = clear_of_kinks(make, *law, 1e-6)
        self.best, self.critic = reference.smallest(self.walk.q.v)
        if e > 1:
            two = self.walk.q.v.topk(2, dim=-2, largest=False).values
            assert (two[..., 1, :] - two[..., 0, :] > 2 * self.walk.q.e.amax(-2)).all()

    def run(self, backend, device, g=None):
        x, actions = (t.detach().to(device).requires_grad_() for t in (self.x, self.actions))
        layers, head = moved(self.layers, self.head, lambda p: p.to(device))
        q, critic = ensemble_min(x, layers, head, actions=actions, backend=backend)
        return q, critic, [] if g is None else torch.autograd.grad(q, (x, actions), g.to(device))


@everywhere
@cases
def test_it_is_the_reference_within_the_bound_that_was_computed_along(backend, device, case):
    case = Case(case)
    g = torch.randn(case.best.shape)
    q, critic, gradients = case.run(backend, device, g)
    assert torch.equal(critic.cpu(), case.critic) and critic.dtype is torch.int64
    where = case.critic.unsqueeze(-2)
    check(q, Rounded(case.best, case.walk.q.e.gather(-2, where).squeeze(-2)), "q_min")
    # The gradient of q is g at the critic of the minimum and 0 elsewhere.
    rows, _ = case.walk.backward(torch.zeros_like(case.walk.q.v).scatter(-2, where, g.double().unsqueeze(-2)))
    d = case.x.shape[-1]
    of_x, of_actions = rows[..., :d], rows[..., d:].sum(case.axis)
    check(gradients[0], of_x if case.x.ndim == 3 + case.axis else of_x.sum(case.axis), "of x")
    check(gradients[1], of_actions, "of actions")


@compiled
@cases
def test_the_value_is_that_of_ensemble_mlp_bit_for_bit(backend, device, case):
    case = Case(case)
    layers, head = moved(case.layers, case.head, lambda p: p.to(device))
    q = ensemble_mlp(case.x.to(device), layers, head, actions=case.actions.to(device), backend=backend)
    assert torch.equal(case.run(backend, device)[0], reference.smallest(q)[0])


@everywhere
def test_ties_go_to_the_lowest_index(backend, device):
    layers, head = moved(*ensemble(None, 1, 5, (8,), device=device), lambda p: p.expand(4, *p.shape[1:]).contiguous())
    x, actions = torch.randn(9, 3, device=device), torch.randn(9, 2, device=device, requires_grad=True)
    q, critic = ensemble_min(x, layers, head, actions=actions, backend=backend)
    assert not critic.any()
    (found,) = torch.autograd.grad(q.sum(), actions)
    single = ensemble_mlp(x, *moved(layers, head, lambda p: p[:1].contiguous()), actions=actions, backend=backend)
    (alone,) = torch.autograd.grad(single.sum(), actions)
    torch.testing.assert_close(found, alone, rtol=1e-5, atol=1e-6)


@everywhere
def test_nan_is_smaller_than_everything_and_the_first_one_counts(backend, device):
    layers, head = ensemble(None, 4, 5, (8,), device=device)
    layers[0][1][1] = torch.nan
    layers[0][1][3] = torch.nan
    q, critic = ensemble_min(
        torch.randn(6, 3, device=device), layers, head, actions=torch.randn(6, 2, device=device), backend=backend
    )
    assert q.isnan().all() and (critic == 1).all()


@compiled
def test_a_seed_of_a_stack_is_the_single_run_bit_for_bit(backend, device):
    case = Case("primes")
    g = torch.randn(case.best.shape)
    q, critic, gradients = case.run(backend, device, g)
    for s in range(2):
        x, actions = (t[s].to(device).requires_grad_() for t in (case.x, case.actions))
        layers, head = moved(case.layers, case.head, lambda p, s=s: p[s].contiguous().to(device))
        one, one_critic = ensemble_min(x, layers, head, actions=actions, backend=backend)
        assert torch.equal(q[s], one) and torch.equal(critic[s], one_critic)
        for whole, single in zip(gradients, torch.autograd.grad(one, (x, actions), g[s].to(device)), strict=True):
            assert torch.equal(whole[s], single)


@everywhere
def test_parameters_get_no_gradient(backend, device):
    layers, head = moved(*ensemble(None, 3, 5, (8,), device=device), lambda p: p.requires_grad_())
    x, actions = torch.randn(4, 3, device=device), torch.randn(4, 2, device=device)
    q, _ = ensemble_min(x, layers, head, actions=actions, backend=backend)
    assert not q.requires_grad
    q, critic = ensemble_min(x, layers, head, actions=actions.requires_grad_(), backend=backend)
    q.sum().backward()
    assert not critic.requires_grad and actions.grad is not None
    assert all(p.grad is None for p in flat(layers, head)) and x.grad is None


def test_the_reference_has_the_gradient_of_its_value():
    case = Case("primes")
    layers, head = moved(case.layers, case.head, torch.Tensor.double)
    assert torch.autograd.gradcheck(
        lambda x, actions: reference.ensemble_min(x, layers, head, actions=actions)[0],
        (case.x.double().requires_grad_(), case.actions.double().requires_grad_()),
        fast_mode=True,
    )


def test_a_wide_head_and_many_actions_are_refused():
    layers, head = ensemble(None, 2, 5, (8,), outputs=2)
    with pytest.raises(InvalidArgument, match=r"ensemble_min: head.weight: expected shape \[E=2, H0=8\]"):
        ensemble_min(torch.zeros(4, 3), layers, head, actions=torch.zeros(4, 2), backend="reference")
    layers, head = ensemble(None, 2, 5, (8,))
    with pytest.raises(InvalidArgument, match=r"ensemble_min: actions: expected shape \[B=4, A\]"):
        ensemble_min(torch.zeros(4, 3), layers, head, actions=torch.zeros(4, 6, 2), backend="reference")
