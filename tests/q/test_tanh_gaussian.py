"""tanh_gaussian and gaussian_log_prob, forward and backward, against their float64 references on every backend."""

from __future__ import annotations

import math

import pytest
import torch
from ensemble_cases import backends
from rounding import U, within

from rewarm.errors import InvalidArgument
from rewarm.q import gaussian_log_prob, philox, tanh_gaussian
from rewarm.q import tanh_gaussian_reference as reference

BACKENDS = backends("tanh_gaussian")
everywhere = pytest.mark.parametrize(("backend", "device"), BACKENDS, ids=[b for b, _ in BACKENDS])
# (S, B, K, A)
SHAPES = [(None, 1, None, 1), (None, 257, None, 8), (3, 31, None, 3), (2, 17, 10, 6), (None, 2, 1, 1), (1, 1, 67, 11)]


def inputs(s, b, k, a, device, shared):
    lead = () if s is None else (s,)
    mean = torch.randn(*lead, b, a) * 2
    log_std = torch.randn(*lead, *(() if shared else (b,)), a)
    noise = torch.randn(*lead, b, *(() if k is None else (k,)), a)
    # Values that clip on either side (std below 1e-5, above 10), none of them near an edge of the clip.
    log_std.flatten()[::5] = -14.0
    log_std.flatten()[1::5] = 3.0
    assert ((log_std - math.log(10.0)).abs().min() > 1e-3) and ((log_std - math.log(1e-5)).abs().min() > 1e-3)
    return tuple(t.to(device) for t in (mean, log_std, noise))


def in_float64(t):
    return t.detach().cpu().double()


def policy(mean, log_std, noise):
    """sigma, ln sigma and u of float64 inputs, mean and sigma with the axes of noise."""
    log_sigma = log_std.clamp(math.log(1e-5), math.log(10.0))
    log_sigma = log_sigma if log_sigma.ndim == mean.ndim else log_sigma.unsqueeze(-2)
    if noise.ndim > mean.ndim:
        mean, log_sigma = mean.unsqueeze(-2), log_sigma.unsqueeze(-2)
    sigma = log_sigma.exp()
    return sigma, log_sigma.expand_as(noise), mean + sigma * noise


def forward_bounds(mean, log_std, noise, squash):
    """Of action and log_prob; counted for csrc/q/tanh_gaussian.h, where the exponential and ln(1 + t) are right to 3."""
    sigma, log_sigma, u = policy(mean, log_std, noise)
    of_u = 4 * U * (sigma * noise).abs() + U * u.abs()
    a = torch.tanh(u)
    size = u.abs()
    log_slope = 2 * (math.log(2) - size - torch.log1p(torch.exp(-2 * size)))
    of_a = of_u
    term = -0.5 * noise.square() - log_sigma
    whole = term - 0.5 * math.log(2 * math.pi)
    # -eps^2 / 2: 1. The stored ln sigma of a clipped one: 1. Their difference 1, the stored constant 1, the last difference 1.
    of_term = U * (0.5 * noise.square() + log_sigma.abs() + term.abs() + 1 + whole.abs())
    if squash:
        of_a = (
            1 - a.square()
        ) * of_u + 7 * U * a.abs()  # e^x - 1: 3, 1 + e^x: 3 (its own 1, and 3 of at most half), quotient 1
        # ln 2 stored 1, ln 2 - |u| 1, ln(1 + t) <= ln 2: 3 and t's own 3 of at most half, the outer difference 1; then the sum
        # with the constant and the difference.
        of_slope = 2 * a.abs() * of_u + 2 * U * (1 + (math.log(2) - size).abs() + 3 + log_slope.abs())
        of_term = of_term + of_slope + U * (log_slope.abs() + 1 + (whole - log_slope).abs())
        whole = whole - log_slope
    return of_a, of_term.sum(-1) + U * whole.sum(-1).abs()


def backward_bounds(mean, log_std, noise, of_action, of_log_prob, squash):
    """Of the gradients of mean and log_std."""
    sigma, _, u = policy(mean, log_std, noise)
    of_u = 4 * U * (sigma * noise).abs() + U * u.abs()
    a = torch.tanh(u) if squash else torch.zeros_like(u)
    slope = 1 - a.square()
    g = of_log_prob.unsqueeze(-1)
    one = of_action * slope + 2 * g * a
    # slope 4 t / (1 + t)^2: t 3, (1 + t)^2 6, two products and a quotient 3.
    error = of_action.abs() * (12 * U * slope + 2 * (a * slope).abs() * of_u + U * slope)
    error = error + 2 * g.abs() * (slope * of_u + 8 * U * a.abs()) + U * one.abs()
    if not squash:
        error = torch.zeros_like(one)
    scaled = one * sigma * noise
    of_log = error * (sigma * noise).abs() + 5 * U * scaled.abs()
    total, total_log = one, scaled - g
    if noise.ndim > mean.ndim:
        error, of_log, total, total_log = (t.sum(-2) for t in (error, of_log, total, total_log))
    clipped = (log_std < math.log(1e-5)) | (log_std > math.log(10.0))
    if log_std.ndim < mean.ndim:
        of_log, total_log = of_log.sum(-2), total_log.sum(-2)
    return error + U * total.abs(), torch.where(clipped, 0.0, of_log + U * total_log.abs())


@everywhere
@pytest.mark.parametrize("squash", [True, False], ids=["squashed", "plain"])
@pytest.mark.parametrize("shared", [False, True], ids=["state", "free"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_is_the_reference_within_the_derived_bound(backend, device, shape, shared, squash):
    mean, log_std, noise = inputs(*shape, device, shared)
    leaves = mean.requires_grad_(), log_std.requires_grad_()
    action, log_prob = tanh_gaussian(*leaves, noise=noise, squash=squash, backend=backend)
    g = torch.randn_like(action), torch.randn_like(log_prob)
    gradients = torch.autograd.grad((action, log_prob), leaves, g)

    exact = in_float64(mean), in_float64(log_std), in_float64(noise)
    law_leaves = exact[0].clone().requires_grad_(), exact[1].clone().requires_grad_()
    law = tanh_gaussian(*law_leaves, noise=exact[2], squash=squash, backend="reference")
    law_gradients = torch.autograd.grad(law, law_leaves, [in_float64(t) for t in g])
    limits = *forward_bounds(*exact, squash), *backward_bounds(*exact, *map(in_float64, g), squash)
    for name, f, e, limit in zip(
        ("action", "log_prob", "of mean", "of log_std"),
        (action, log_prob, *gradients),
        (*(t.detach() for t in law), *law_gradients),
        limits,
        strict=True,
    ):
        within(f, e, limit, name)
    clipped = (log_std < -12) | (log_std > 2.5)
    assert clipped.any() and (gradients[1][clipped] == 0).all()
    if squash:
        assert (action.abs() <= 1).all()


@everywhere
def test_either_output_alone_has_its_gradient(backend, device):
    mean, log_std, noise = inputs(2, 17, 10, 6, device, False)
    leaves = mean.requires_grad_(), log_std.requires_grad_()

    def gradients(which):
        outputs = tanh_gaussian(*leaves, noise=noise, backend=backend)
        return torch.autograd.grad(sum(outputs[i].sum() for i in which), leaves)

    exact = [in_float64(t) for t in (mean, log_std, noise)]
    for which in ((0,), (1,)):
        g = [torch.full(noise.shape[: 4 - i], float(i in which), dtype=torch.float64) for i in (0, 1)]
        law_leaves = exact[0].clone().requires_grad_(), exact[1].clone().requires_grad_()
        law = tanh_gaussian(*law_leaves, noise=exact[2], backend="reference")
        law = torch.autograd.grad(sum(law[i].sum() for i in which), law_leaves)
        for f, e, limit in zip(gradients(which), law, backward_bounds(*exact, *g, True), strict=True):
            within(f, e, limit)


@everywhere
def test_far_out_actions_keep_their_log_probability_and_their_gradient(backend, device):
    """At u = +-20 tanh is 1 in float32, and 1 - tanh^2 formed from it would be 0; its logarithm is -38.6."""
    mean = torch.tensor([[20.0, -20.0]], device=device, requires_grad=True)
    log_std, noise = torch.zeros(1, 2, device=device), torch.zeros(1, 2, device=device)
    action, log_prob = tanh_gaussian(mean, log_std, noise=noise, backend=backend)
    exact = -math.log(2 * math.pi) + 2 * (40 - 2 * math.log(2))
    assert action.tolist() == [[1.0, -1.0]]
    assert abs(float(log_prob.detach()) - exact) < 8 * U * exact
    (slope,) = torch.autograd.grad(action.sum(), mean)
    within(slope, torch.full((1, 2), 4 * math.exp(-40.0), dtype=torch.float64), torch.tensor(12 * U * 4 * math.exp(-40.0)))


@everywhere
def test_small_actions_keep_their_digits(backend, device):
    mean = torch.tensor([[1e-6, -3e-4, 0.2, -0.5, 0.0]], device=device)
    zeros = torch.zeros_like(mean)
    action, _ = tanh_gaussian(mean, zeros, noise=zeros, backend=backend)
    exact = torch.tanh(mean.cpu().double())
    within(action, exact, 7 * U * exact.abs())


@everywhere
@pytest.mark.parametrize("where", ["mean", "log_std", "noise"])
def test_nan_stays_in_its_row(backend, device, where):
    mean, log_std, noise = inputs(None, 3, 2, 2, device, False)
    {"mean": mean, "log_std": log_std, "noise": noise}[where][1] = torch.nan
    action, log_prob = tanh_gaussian(mean, log_std, noise=noise, backend=backend)
    assert action.isnan().flatten(1).all(1).tolist() == [False, True, False]
    assert log_prob.isnan().all(-1).tolist() == [False, True, False]


@everywhere
@pytest.mark.parametrize("samples", [None, 1, 10])
@pytest.mark.parametrize("seeds", [None, 3], ids=["one", "stack"])
def test_drawn_noise_is_the_philox_draw(backend, device, seeds, samples):
    mean, log_std, _ = inputs(seeds, 13, None, 3, device, False)
    lead = () if seeds is None else (seeds,)
    seed = torch.arange(5, 5 + (seeds or 1), device=device).reshape(lead)
    offset = torch.full(lead, 2**40 + 3, dtype=torch.int64, device=device)
    shape = (13, 3) if samples is None else (13, samples, 3)
    noise = philox(shape, seed=seed, offset=offset, stream=3, kind="normal", backend=backend)
    drawn = tanh_gaussian(mean, log_std, seed=seed, offset=offset, stream=3, samples=samples, backend=backend)
    given = tanh_gaussian(mean, log_std, noise=noise, backend=backend)
    for a, b in zip(drawn, given, strict=True):
        assert torch.equal(a, b)
    if seeds:
        single = tanh_gaussian(mean[1], log_std[1], seed=seed[1], offset=offset[1], stream=3, samples=samples, backend=backend)
        for stacked, one in zip(drawn, single, strict=True):
            assert torch.equal(stacked[1], one)


@everywhere
@pytest.mark.parametrize("shared", [False, True], ids=["state", "free"])
def test_a_seed_of_a_stack_is_the_single_run_bit_for_bit(backend, device, shared):
    mean, log_std, noise = inputs(3, 129, 4, 5, device, shared)

    def run(mean, log_std, noise):
        leaves = mean.detach().requires_grad_(), log_std.detach().requires_grad_()
        outputs = tanh_gaussian(*leaves, noise=noise, backend=backend)
        return *outputs, *torch.autograd.grad(outputs[0].sum() + outputs[1].sum(), leaves)

    stack = run(mean, log_std, noise)
    for s in range(3):
        for whole, single in zip(stack, run(mean[s], log_std[s], noise[s]), strict=True):
            assert torch.equal(whole[s], single)


def log_prob_bounds(action, mean, log_std, g):
    sigma, log_sigma, _ = policy(mean, log_std, torch.zeros_like(mean))
    sigma = sigma.expand_as(mean)
    z = (action - mean) / sigma
    # z: difference 1, sigma 3, quotient 1; squared: twice that and 1; halves are exact.
    term = 0.5 * z.square() + log_sigma.abs()
    whole = -0.5 * z.square() - log_sigma - 0.5 * math.log(2 * math.pi)
    of_value = (11 * U * 0.5 * z.square() + U * (log_sigma.abs() + term + 1 + whole.abs())).sum(-1) + U * whole.sum(-1).abs()
    g = g.unsqueeze(-1).abs()
    of_mean = 10 * U * g * (z / sigma).abs()
    of_log = g * (11 * U * z.square() + 2 * U * (z.square() - 1).abs())
    clipped = (log_std < math.log(1e-5)) | (log_std > math.log(10.0))
    total = (of_log, g * (z.square() - 1).abs())
    if log_std.ndim < mean.ndim:
        total = tuple(t.sum(-2) for t in total)
    return of_value, of_mean, of_mean, torch.where(clipped, 0.0, total[0] + U * total[1])


@everywhere
@pytest.mark.parametrize("shared", [False, True], ids=["state", "free"])
@pytest.mark.parametrize("shape", [(None, 1, 1), (None, 257, 8), (3, 31, 3)], ids=str)
def test_gaussian_log_prob_is_the_reference_within_the_derived_bound(backend, device, shape, shared):
    mean, log_std, noise = inputs(shape[0], shape[1], None, shape[2], device, shared)
    leaves = noise.requires_grad_(), mean.requires_grad_(), log_std.requires_grad_()
    found = gaussian_log_prob(*leaves, backend=backend)
    g = torch.randn_like(found)
    gradients = torch.autograd.grad(found, leaves, g)
    law_leaves = [in_float64(t).requires_grad_() for t in leaves]
    law = gaussian_log_prob(*law_leaves, backend="reference")
    law_gradients = torch.autograd.grad(law, law_leaves, in_float64(g))
    limits = log_prob_bounds(*(t.detach() for t in law_leaves), in_float64(g))
    for name, f, e, limit in zip(
        ("log_prob", "of action", "of mean", "of log_std"),
        (found, *gradients),
        (law.detach(), *law_gradients),
        limits,
        strict=True,
    ):
        within(f, e, limit, name)
    if shape[0]:
        assert torch.equal(found[1], gaussian_log_prob(noise[1], mean[1], log_std[1], backend=backend))


def test_an_action_drawn_without_squashing_has_its_gaussian_log_prob():
    mean, log_std, noise = (t.double() for t in inputs(2, 31, None, 3, "cpu", True))
    action, log_prob = tanh_gaussian(mean, log_std, noise=noise, squash=False, backend="reference")
    torch.testing.assert_close(gaussian_log_prob(action, mean, log_std, backend="reference"), log_prob, rtol=1e-9, atol=1e-9)


def test_the_log_probability_integrates_to_one():
    """The density of a squashed action, summed over a fine grid of actions: the change of variables is right."""
    a = torch.linspace(-1 + 1e-6, 1 - 1e-6, 400_001, dtype=torch.float64)
    mean, log_std = torch.full((len(a), 1), 0.3, dtype=torch.float64), torch.zeros(1, dtype=torch.float64) - 0.4
    noise = (torch.atanh(a).unsqueeze(-1) - mean) / log_std.exp()
    action, log_prob = tanh_gaussian(mean, log_std, noise=noise, backend="reference")
    torch.testing.assert_close(action[:, 0], a, rtol=0, atol=1e-9)
    assert abs(float(torch.trapezoid(log_prob.exp(), a)) - 1) < 1e-4


def test_the_reference_has_the_gradient_of_its_value():
    mean, log_std, noise = (t.double() for t in inputs(2, 3, 4, 2, "cpu", False))
    leaves = mean.requires_grad_(), log_std.requires_grad_()
    for squash in (True, False):
        assert torch.autograd.gradcheck(
            lambda m, s, squash=squash: reference.tanh_gaussian(m, s, noise=noise, squash=squash), leaves
        )
    # Sigma of 1e-5 makes the second derivative enormous: central differences see nothing there.
    gentle = log_std.detach().clamp(-2, 3).requires_grad_()
    action = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(reference.gaussian_log_prob, (action, mean, gentle))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"noise": None}, "noise: expected exactly one of noise and .seed, offset., got neither"),
        ({"seed": torch.tensor(1)}, "noise: expected exactly one of noise and .seed, offset., got noise, seed"),
        ({"noise": None, "seed": torch.tensor(1)}, "got seed"),
        ({"samples": 3}, "samples: expected None beside noise"),
        ({"noise": torch.zeros(4, 2)}, r"noise: expected shape \[B=5, A=2\] or \[B=5, K, A=2\]"),
        ({"log_std": torch.zeros(3)}, r"log_std: expected shape \[B=5, A=2\] or \[A=2\]"),
        ({"noise": None, "seed": torch.zeros(2).long(), "offset": torch.zeros(2).long()}, r"seed: expected shape \[\]"),
        ({"std_min": 0.0}, "std_min: expected a finite number > 0"),
        ({"std_min": 2.0, "std_max": 1.0}, "std_max: expected a finite number >= 2"),
    ],
    ids=str,
)
def test_what_is_refused(change, words):
    arguments = {"mean": torch.zeros(5, 2), "log_std": torch.zeros(2), "noise": torch.zeros(5, 2)} | change
    with pytest.raises(InvalidArgument, match="tanh_gaussian: .*" + words):
        tanh_gaussian(**arguments)
