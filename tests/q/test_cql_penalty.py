"""cql_penalty, forward and backward, against its float64 reference on every backend; ties, NaN and infinities."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from ensemble_cases import backends
from rounding import U, within

from rewarm.errors import InvalidArgument, UnsupportedTensor
from rewarm.q import cql_penalty
from rewarm.q import cql_penalty_reference as reference

BACKENDS = backends("cql_penalty")
everywhere = pytest.mark.parametrize(("backend", "device"), BACKENDS, ids=[b for b, _ in BACKENDS])
# (S, M, B, N)
SHAPES = [(None, 1, 1, 1), (None, 2, 31, 30), (3, 2, 17, 31), (1, 10, 5, 3), (2, 1, 257, 7)]


def inputs(s, m, b, n, device, density=True, bound=True):
    lead = () if s is None else (s,)
    q_sampled = torch.randn(*lead, m, b, n, device=device) * 5
    q_data = torch.randn(*lead, m, b, device=device) * 5
    log_density = torch.randn(*lead, b, n, device=device) * 2 if density else None
    mc_return = torch.randn(*lead, b, device=device) * 5 if bound else None
    return q_sampled, q_data, log_density, mc_return


def in_float64(t):
    return None if t is None else t.detach().cpu().double()


def bounds(q_sampled, q_data, log_density, mc_return, g, n_random, bound_random, t):
    """Of diff and of both gradients, from the docstring's formula and the roundings of any float32 arrangement of it."""
    axis = q_data.ndim - 2
    q = q_sampled
    replaced = torch.zeros_like(q, dtype=torch.bool)
    if mc_return is not None:
        lower = mc_return.unsqueeze(axis).unsqueeze(-1).expand_as(q)
        replaced = q < lower
        replaced[..., : 0 if bound_random else n_random] = False
        q = torch.where(replaced, lower, q)
    if log_density is None:
        q = torch.cat([q, q_data.unsqueeze(-1)], -1)
        corrected = q - t * math.log(q.shape[-1])
        constant = U * t * math.log(q.shape[-1])  # the stored correction
    else:
        corrected, constant = q - log_density.unsqueeze(axis), 0.0
    z = corrected / t
    shifted = z - z.amax(-1, keepdim=True)
    w = torch.softmax(z, -1)
    # Of one exponent: difference 1, quotient 1 and the stored T 1, the shift 1; the exponential itself is right to 3.
    own = (U * corrected.abs() + constant) / t + 2 * U * z.abs() + U * shifted.abs() + 3 * U
    summed = (w * own).sum(-1)
    lse = torch.logsumexp(z, -1)
    # A backend that adds and takes the logarithm in float32: n additions of positive terms, the logarithm, sum, product with T.
    n = z.shape[-1]
    diff = t * (summed + n * U + 3 * U * (lse.abs() + shifted.exp().sum(-1).log().abs() + 1)) + U * (t * lse).abs()
    value = t * lse - q_data
    relative = own + (summed + (n + 3) * U).unsqueeze(-1)
    of_w = w * relative
    of_sampled = g.abs().unsqueeze(-1) * (of_w + U * w)[..., : q_sampled.shape[-1]]
    of_sampled = torch.where(replaced, 0.0, of_sampled)
    of_data = torch.zeros_like(q_data)
    if log_density is None:
        of_data = g.abs() * (of_w[..., -1] + 2 * U * (1 - w[..., -1]).abs())
    return diff + U * value.abs(), of_sampled, of_data


def check(backend, device, shape, density, bound, bound_random=False, temperature=1.0):
    q_sampled, q_data, log_density, mc_return = inputs(*shape, device, density, bound)
    n_random = shape[-1] // 3
    options = {"n_random": n_random, "bound_random": bound_random, "temperature": temperature}
    g = torch.randn_like(q_data)
    leaves = q_sampled.requires_grad_(), q_data.requires_grad_()
    found = cql_penalty(*leaves, log_density=log_density, mc_return=mc_return, backend=backend, **options)
    gradients = torch.autograd.grad(found, leaves, g)
    exact = [in_float64(t) for t in (q_sampled, q_data, log_density, mc_return)]
    limits = bounds(*exact, in_float64(g), n_random, bound_random, temperature)
    law_leaves = exact[0].requires_grad_(), exact[1].requires_grad_()
    law = cql_penalty(*law_leaves, log_density=exact[2], mc_return=exact[3], backend="reference", **options)
    law_gradients = torch.autograd.grad(law, law_leaves, in_float64(g))
    for name, f, e, limit in zip(
        ("diff", "of q_sampled", "of q_data"), (found, *gradients), (law.detach(), *law_gradients), limits, strict=True
    ):
        within(f, e, limit.detach(), name)


@everywhere
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    ("density", "bound"), list(itertools.product([True, False], repeat=2)), ids=["is-calql", "is-cql", "calql", "cql"]
)
def test_it_is_the_reference_within_the_derived_bound(backend, device, shape, density, bound):
    check(backend, device, shape, density, bound)


@everywhere
@pytest.mark.parametrize("temperature", [0.1, 3.0])
def test_temperatures_and_bounded_random_columns(backend, device, temperature):
    for density in (True, False):
        check(backend, device, (2, 2, 31, 30), density, True, True, temperature)


@everywhere
def test_a_tie_belongs_to_q(backend, device):
    """Where q equals the return its gradient is the softmax weight, as if nothing had been bounded."""
    q = torch.tensor([[[1.0, 2.0, 3.0]]], device=device, requires_grad=True)
    data, density = torch.zeros(1, 1, device=device), torch.zeros(1, 3, device=device)
    mc = torch.tensor([2.0], device=device)
    (found,) = torch.autograd.grad(cql_penalty(q, data, log_density=density, mc_return=mc, backend=backend), q)
    weights = torch.softmax(torch.tensor([2.0, 2.0, 3.0], dtype=torch.float64), 0)
    assert found[0, 0, 0] == 0.0
    within(found[0, 0, 1:], weights[1:], 12 * U * weights[1:])


@everywhere
@pytest.mark.parametrize("where", ["q", "mc_return", "log_density", "q_data"])
def test_nan_stays(backend, device, where):
    q_sampled, q_data, log_density, mc_return = inputs(None, 2, 3, 4, device)
    named = {"q": q_sampled[:, 1], "mc_return": mc_return[1:2], "log_density": log_density[1], "q_data": q_data[:, 1]}
    named[where].fill_(torch.nan)
    diff = cql_penalty(q_sampled, q_data, log_density=log_density, mc_return=mc_return, n_random=1, backend=backend)
    assert diff.isnan().tolist() == [[False, True, False]] * 2


@everywhere
@pytest.mark.parametrize("value", [torch.inf, -torch.inf], ids=["inf", "-inf"])
def test_infinities_give_what_torch_gives(backend, device, value):
    q_sampled, q_data, log_density, _ = inputs(None, 1, 2, 3, device)
    q_sampled[0, 0, 1] = value
    q_sampled[0, 1] = value
    found = cql_penalty(q_sampled, q_data, log_density=log_density, backend=backend)
    law = cql_penalty(
        q_sampled.cpu().double(), q_data.cpu().double(), log_density=log_density.cpu().double(), backend="reference"
    )
    assert torch.equal(found.cpu().isinf(), law.isinf())
    assert torch.equal(found.cpu().sign(), law.sign().float())


@everywhere
def test_far_apart_values_neither_overflow_nor_vanish(backend, device):
    q = torch.tensor([[[500.0, -500.0, 499.0]]], device=device)
    data, density = torch.zeros(1, 1, device=device), torch.zeros(1, 3, device=device)
    exact = 500 + math.log1p(math.exp(-1))
    found = cql_penalty(q, data, log_density=density, backend=backend).cpu().double()
    assert abs(float(found) - exact) <= 3 * U * exact


@everywhere
def test_a_seed_of_a_stack_and_a_critic_of_many_are_the_single_run_bit_for_bit(backend, device):
    q_sampled, q_data, log_density, mc_return = inputs(3, 4, 31, 30, device)
    options = {"n_random": 10, "backend": backend}

    def run(q, data, density, mc):
        q, data = q.detach().requires_grad_(), data.detach().requires_grad_()
        diff = cql_penalty(q, data, log_density=density, mc_return=mc, **options)
        return diff, *torch.autograd.grad(diff.sum(), (q, data))

    stack = run(q_sampled, q_data, log_density, mc_return)
    for s in range(3):
        single = run(q_sampled[s], q_data[s], log_density[s], mc_return[s])
        alone = run(q_sampled[s, 2:3], q_data[s, 2:3], log_density[s], mc_return[s])
        for whole, one, critic in zip(stack, single, alone, strict=True):
            assert torch.equal(whole[s], one)
            assert torch.equal(one[2:3], critic)


def test_the_reference_has_the_gradient_of_its_value():
    q_sampled, q_data, log_density, mc_return = (t.double() for t in inputs(2, 2, 3, 5, "cpu"))
    assert ((q_sampled - mc_return[:, None, :, None]).abs() > 1e-3).all()  # away from the kink of the bound
    q_sampled.requires_grad_(), q_data.requires_grad_()
    for density, mc in itertools.product((log_density, None), (mc_return, None)):
        assert torch.autograd.gradcheck(
            lambda q, d, density=density, mc=mc: reference.cql_penalty(
                q, d, log_density=density, mc_return=mc, n_random=2, temperature=0.7
            ),
            (q_sampled, q_data),
        )


def test_only_the_inputs_that_ask_get_a_gradient():
    q_sampled, q_data, *_ = inputs(None, 1, 2, 3, "cpu")
    cql_penalty(q_sampled, q_data.requires_grad_()).sum().backward()
    assert q_sampled.grad is None and q_data.grad is not None
    assert not cql_penalty(q_sampled, q_data.detach()).requires_grad


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"q_sampled": torch.zeros(2, 4, 3)}, InvalidArgument, r"q_sampled: expected shape \[M=2, B=5, N\]"),
        ({"log_density": torch.zeros(5, 4)}, InvalidArgument, r"log_density: expected shape \[B=5, N=3\]"),
        ({"mc_return": torch.zeros(2, 5)}, InvalidArgument, r"mc_return: expected shape \[B=5\]"),
        ({"n_random": 4}, InvalidArgument, "n_random: expected a whole number from 0 to 3, got 4"),
        ({"temperature": 0.0}, InvalidArgument, "temperature: expected a finite number > 0, got 0.0"),
        ({"temperature": math.nan}, InvalidArgument, "temperature: expected a finite number > 0, got nan"),
        ({"q_data": torch.zeros(2, 5, dtype=torch.bfloat16)}, UnsupportedTensor, "q_data: expected torch.float32"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_what_is_refused(change, error, words):
    arguments = {"q_sampled": torch.zeros(2, 5, 3), "q_data": torch.zeros(2, 5)} | change
    with pytest.raises(error, match="cql_penalty: .*" + words):
        cql_penalty(**arguments)
