"""The ops inside torch.compile(fullgraph=True): one graph without a break, with the values and gradients of eager calls.

The programs are compiled by aot_eager, which traces and differentiates as inductor's do without waiting for a C++ compiler.
"""

from __future__ import annotations

import pytest
import torch
from ensemble_cases import backends, ensemble, flat

from rewarm.errors import InvalidArgument
from rewarm.q import (
    awr_weight,
    cql_penalty,
    draw_subset,
    ensemble_min,
    ensemble_mlp,
    expectile_loss,
    gaussian_log_prob,
    tanh_gaussian,
    td_target,
)

COMPILED = backends("ensemble_mlp")
everywhere = pytest.mark.parametrize(("backend", "device"), COMPILED, ids=[b for b, _ in COMPILED])


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def compiled(function, by="aot_eager"):
    return torch.compile(function, fullgraph=True, backend=by, dynamic=False)


def same(program, leaves):
    """Values and gradients of a program of one loss, eager and compiled, bit for bit."""
    results = []
    for run in (program, compiled(program)):
        loss, *others = run(*leaves)
        results.append([loss.detach(), *(o.detach() for o in others), *torch.autograd.grad(loss, leaves)])
    for eager, traced in zip(*results, strict=True):
        assert torch.equal(eager, traced)


def leaves_of(*tensors, device):
    return [t.detach().to(device).requires_grad_() for t in tensors]


@everywhere
def test_ensemble_mlp(backend, device):
    layers, head = ensemble(2, 3, 6, (9, 8))
    index = torch.tensor([[2, 0], [1, 1]], device=device)
    leaves = leaves_of(torch.randn(2, 5, 4), torch.randn(2, 5, 7, 2), *flat(layers, head), device=device)

    def program(x, actions, *parameters):
        layers = [parameters[:4], parameters[4:8]]
        q = ensemble_mlp(x, layers, parameters[8:], actions=actions, index=index, recompute=True, backend=backend)
        return (q * q).sum(), q

    same(program, leaves)


@everywhere
def test_ensemble_mlp_of_a_wide_head_and_a_frozen_critic(backend, device):
    """An actor's step: only the actor's parameters and, through the actions, the critics' inputs have gradients."""
    actor = ensemble(None, 1, 4, (8,), outputs=2)
    layers, head = ensemble(None, 3, 6, (9, 8), device=device)
    x = torch.randn(5, 4, device=device)

    def program(*parameters):
        action = torch.tanh(ensemble_mlp(x, [parameters[:4]], parameters[4:], backend=backend)[0])
        q, critic = ensemble_min(x, layers, head, actions=action, backend=backend)
        return (q * q).sum(), q, critic

    same(program, leaves_of(*flat(*actor), device=device))


@everywhere
def test_cql_penalty(backend, device):
    log_density, mc = torch.randn(5, 6, device=device), torch.randn(5, device=device)
    leaves = leaves_of(torch.randn(2, 5, 6), torch.randn(2, 5), device=device)

    def program(q_sampled, q_data):
        bounded = cql_penalty(q_sampled, q_data, log_density=log_density, mc_return=mc, n_random=2, backend=backend)
        appended = cql_penalty(q_sampled, q_data, temperature=0.5, backend=backend)
        return (bounded * appended).sum(), bounded

    same(program, leaves)


def test_the_named_reference_is_traced_as_plain_torch():
    layers, head = ensemble(None, 2, 5, (8,))
    leaves = leaves_of(torch.randn(4, 5), *flat(layers, head), device="cpu")

    def program(x, *parameters):
        return ensemble_mlp(x, [parameters[:4]], parameters[4:], backend="reference").sum()

    torch.testing.assert_close(compiled(program, "eager")(*leaves), program(*leaves))


def test_the_other_ops_are_plain_torch_there():
    """One program of them: no graph break, and the values of the reference. (One draw stands for all: each is a long trace.)"""
    seed, offset, noise = torch.tensor([3, 4]), torch.tensor([0, 0]), torch.randn(2, 4, 3, 3)

    def program(mean, log_std, q, v, backend=None):
        action, log_prob = tanh_gaussian(mean, log_std, noise=noise, backend=backend)
        chosen = draw_subset(5, 2, seed=seed, offset=offset, stream=4, replacement=False, backend=backend)
        y = td_target(q, q > 0, action.mT.sum(-2, keepdim=True).mT.squeeze(-1).unsqueeze(1).contiguous(), backend=backend)
        weight = awr_weight(q, v, backend=backend)
        data = gaussian_log_prob(mean.detach(), mean, log_std, backend=backend)
        loss = expectile_loss(y, v, backend=backend).sum() + (weight * data).sum() + log_prob.sum() + action.sum()
        return loss, chosen, y

    leaves = leaves_of(torch.randn(2, 4, 3), torch.randn(2, 3), torch.randn(2, 4), torch.randn(2, 4), device="cpu")
    outputs = compiled(program, "eager")(*leaves)
    law = program(*leaves, backend="reference")
    for traced, exact in zip(outputs, law, strict=True):
        torch.testing.assert_close(traced, exact)
    for traced, exact in zip(
        torch.autograd.grad(outputs[0], leaves, allow_unused=True),
        torch.autograd.grad(law[0], leaves, allow_unused=True),
        strict=True,
    ):
        assert (traced is None) == (exact is None)
        if exact is not None:
            torch.testing.assert_close(traced, exact)


def test_eager_calls_do_not_pass_through_the_dispatcher():
    layers, head = ensemble(None, 2, 5, (8,))
    x, actions = torch.randn(4, 3), torch.randn(4, 2)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        ensemble_mlp(x, layers, head, actions=actions)
        ensemble_min(x, layers, head, actions=actions)
        cql_penalty(torch.randn(2, 4, 3), torch.randn(2, 4))
    assert not [event.name for event in profile.events() if event.name.startswith("rewarm::")]


@everywhere
def test_a_bad_shape_is_refused_in_words_by_a_compiled_program_too(backend, device):
    layers, head = ensemble(None, 2, 5, (8,), device=device)

    def program(x):
        return ensemble_mlp(x, layers, head, backend=backend)

    with pytest.raises(InvalidArgument, match=r"layers\[0\].weight takes 5 inputs, got 4 of x"):
        compiled(program)(torch.zeros(4, 4, device=device))


def test_the_registrations_hold_what_torch_asks_of_an_op():
    """torch.library.opcheck: schema, fake tensors, autograd registration, and AOT autograd with dynamic shapes."""
    layers, head = ensemble(None, 3, 6, (9,))
    parameters = [p.requires_grad_() for p in flat(layers, head)]
    x, actions = leaves_of(torch.randn(5, 4), torch.randn(5, 2), device="cpu")
    index = torch.tensor([2, 0])
    mlp = (x, parameters, [True], actions, index, 1e-6, "fp32", False, "cpu")
    torch.library.opcheck(torch.ops.rewarm.ensemble_mlp.default, mlp)
    frozen = [p.detach() for p in parameters]
    torch.library.opcheck(torch.ops.rewarm.ensemble_min.default, (x, frozen, [True], actions, 1e-6, "fp32", "cpu"))
    penalty = (*leaves_of(torch.randn(2, 5, 6), torch.randn(2, 5), device="cpu"), None, None, 0, False, 1.0, "cpu")
    torch.library.opcheck(torch.ops.rewarm.cql_penalty.default, penalty)
