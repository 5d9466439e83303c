"""expectile_loss, forward and backward, against its float64 reference on every backend."""

from __future__ import annotations

import pytest
import torch
from ensemble_cases import backends
from rounding import U, gamma, within

from rewarm.errors import InvalidArgument
from rewarm.q import expectile_loss
from rewarm.q import expectile_loss_reference as reference

BACKENDS = backends("expectile_loss")
everywhere = pytest.mark.parametrize(("backend", "device"), BACKENDS, ids=[b for b, _ in BACKENDS])


@everywhere
@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("expectile", [0.0, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("shape", [(1,), (257,), (3, 31)], ids=str)
def test_it_is_the_reference_within_the_derived_bound(backend, device, shape, expectile, reduction):
    q, v = (torch.randn(shape, device=device).mul_(20).requires_grad_() for _ in range(2))
    found = expectile_loss(q, v, expectile, reduction=reduction, backend=backend)
    g = torch.randn_like(found)
    gradients = torch.autograd.grad(found, (q, v), g)
    q64, v64 = (t.detach().cpu().double().requires_grad_() for t in (q, v))
    law = expectile_loss(q64, v64, expectile, reduction=reduction, backend="reference")
    law_gradients = torch.autograd.grad(law, (q64, v64), g.cpu().double())
    # Difference twice, square, stored weight, product: 5; then a sum of n and a quotient.
    n = shape[-1] if reduction == "mean" else 0
    within(found, law.detach(), (gamma(5) + gamma(n)) * law.detach(), "loss")
    for f, e in zip(gradients, law_gradients, strict=True):
        within(f, e, 6 * U * e.abs(), "gradient")  # difference, weight, three products, 1 / n


@everywhere
def test_ties_and_nan(backend, device):
    q = torch.tensor([1.0, torch.nan, 2.0], device=device)
    v = torch.tensor([1.0, 0.0, torch.nan], device=device)
    loss = expectile_loss(q, v, 0.9, reduction="none", backend=backend)
    assert loss[0] == 0.0 and loss[1:].isnan().all()


@everywhere
def test_a_seed_of_a_stack_is_the_single_run_bit_for_bit(backend, device):
    q, v = torch.randn(2, 3, 101, device=device)
    stack = expectile_loss(q, v, backend=backend)
    assert stack.shape == (3,)
    for s in range(3):
        assert torch.equal(stack[s], expectile_loss(q[s], v[s], backend=backend))


def test_the_reference_has_the_gradient_of_its_value():
    q, v = torch.randn(2, 2, 7, dtype=torch.float64)
    assert ((q - v).abs() > 1e-3).all()
    for reduction in ("mean", "none"):
        assert torch.autograd.gradcheck(
            lambda q, v, reduction=reduction: reference.expectile_loss(q, v, 0.8, reduction=reduction),
            (q.requires_grad_(), v.requires_grad_()),
        )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"v": torch.zeros(4)}, r"v: expected shape \[B=5\]"),
        ({"expectile": 1.1}, "expectile: expected a finite number >= 0 and <= 1, got 1.1"),
        ({"reduction": "sum"}, "reduction: expected one of mean, none, got 'sum'"),
    ],
    ids=["v", "expectile", "reduction"],
)
def test_what_is_refused(change, words):
    with pytest.raises(InvalidArgument, match="expectile_loss: " + words):
        expectile_loss(**({"q": torch.zeros(5), "v": torch.zeros(5)} | change))
