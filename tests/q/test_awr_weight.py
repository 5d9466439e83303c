"""awr_weight against its float64 reference, which also tests the exponential that all elementwise kernels share."""

from __future__ import annotations

import pytest
import torch
from ensemble_cases import backends
from rounding import U, within

import tolerance
from rewarm.errors import InvalidArgument
from rewarm.q import awr_weight

BACKENDS = backends("awr_weight")
everywhere = pytest.mark.parametrize(("backend", "device"), BACKENDS, ids=[b for b, _ in BACKENDS])


@everywhere
@pytest.mark.parametrize("shape", [(1,), (257,), (3, 31)], ids=str)
@pytest.mark.parametrize("beta", [0.0, 3.0, 10.0])
def test_it_is_the_reference_within_the_derived_bound(backend, device, shape, beta):
    q, v = torch.randn(2, *shape, device=device).mul_(2)
    found = awr_weight(q.requires_grad_(), v, beta, 100.0, backend=backend)
    exact = [t.detach().cpu().double() for t in (q, v)]
    law = awr_weight(*exact, beta, 100.0, backend="reference")
    # The exponent has a difference, a stored beta and a product; the exponential is right to 3.
    exponent = beta * (exact[0] - exact[1])
    within(found, law, law * (3 * U * exponent.abs() + 3 * U), "weight")
    assert not found.requires_grad and float(found.max()) <= 100.0


@everywhere
def test_the_exponential_from_the_subnormals_to_infinity(backend, device):
    x = torch.cat([torch.linspace(-110, 95, 1_000_003), torch.tensor([0.0, -0.0, 2.0**-30, -(2.0**-30), 88.72, 88.73])])
    top = torch.finfo(torch.float32).max
    found = awr_weight(x.to(device), torch.zeros_like(x, device=device), 1.0, top, backend=backend).cpu()
    exact = x.double().exp().clamp(max=top)
    ordinary = exact < top * (1 - 4 * U)
    within(found[ordinary], exact[ordinary], 3 * U * exact[ordinary] + tolerance.SUBNORMAL[torch.float32], "exp")
    assert (found[~ordinary] >= top * (1 - 8 * U)).all()


@everywhere
def test_nan_and_infinities(backend, device):
    q = torch.tensor([torch.nan, torch.inf, -torch.inf, 0.0], device=device)
    found = awr_weight(q, torch.zeros_like(q), backend=backend).cpu()
    assert found[0].isnan() and found[1:].tolist() == [100.0, 0.0, 1.0]


@everywhere
def test_a_seed_of_a_stack_is_the_single_run_bit_for_bit(backend, device):
    q, v = torch.randn(2, 3, 101, device=device)
    stack = awr_weight(q, v, backend=backend)
    for s in range(3):
        assert torch.equal(stack[s], awr_weight(q[s], v[s], backend=backend))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"v": torch.zeros(4)}, r"v: expected shape \[B=5\]"),
        ({"beta": -1.0}, "beta: expected a finite number >= 0, got -1.0"),
        ({"max_weight": 0.0}, "max_weight: expected a finite number > 0, got 0.0"),
    ],
    ids=["v", "beta", "max_weight"],
)
def test_what_is_refused(change, words):
    with pytest.raises(InvalidArgument, match="awr_weight: " + words):
        awr_weight(**({"q": torch.zeros(5), "v": torch.zeros(5)} | change))
