"""The triton backend of ensemble_min: within the bounds of test_ensemble_min.py, and its lists of rows."""

from __future__ import annotations

import pytest
import torch
from ensemble_cases import ensemble, moved
from rounding import Rounded, check
from test_ensemble_min import Case
from triton_device import DEVICE

from rewarm.q import ensemble_min, ensemble_min_triton, ensemble_mlp
from rewarm.q import ensemble_min_reference as reference

# As test_ensemble_min.CASES: S, E, B, D, A, hidden, LayerNorm, x a critic's own
CASES = {
    "smallest": (None, 1, 1, 1, 1, (1,), False, False),
    "stack": (2, 3, 5, 4, 2, (18, 7), True, False),
    "past_a_tile": (None, 2, 67, 4, 3, (9,), True, False),
    "own_inputs": (2, 2, 5, 4, 2, (9,), True, True),
}


@pytest.mark.parametrize("size", CASES.values(), ids=CASES)
def test_it_is_the_minimum_with_the_gradient_of_its_critic(size):
    case = Case(size)
    g = torch.randn(case.best.shape)
    q, critic, gradients = case.run("triton", DEVICE, g)
    assert torch.equal(critic.cpu(), case.critic) and critic.dtype is torch.int64
    layers, head = moved(case.layers, case.head, lambda p: p.to(DEVICE))
    every = ensemble_mlp(case.x.to(DEVICE), layers, head, actions=case.actions.to(DEVICE), backend="triton")
    assert torch.equal(q, reference.smallest(every)[0])
    where = case.critic.unsqueeze(-2)
    check(q, Rounded(case.best, case.walk.q.e.gather(-2, where).squeeze(-2)), "q_min")
    rows, _ = case.walk.backward(torch.zeros_like(case.walk.q.v).scatter(-2, where, g.double().unsqueeze(-2)))
    d = case.x.shape[-1]
    of_x, of_actions = rows[..., :d], rows[..., d:].sum(case.axis)
    check(gradients[0], of_x if case.x.ndim == 3 + case.axis else of_x.sum(case.axis), "of x")
    check(gradients[1], of_actions, "of actions")


@pytest.mark.parametrize("block", [4, 1024])
def test_every_row_is_in_the_list_of_its_critic_alone(block, monkeypatch):
    """Ties go to the lowest index, NaN wins, the first of them; lists keep the order of rows across blocks."""
    monkeypatch.setattr(ensemble_min_triton, "BLOCK", block)
    layers, head = ensemble(2, 3, 2, (4,), device=DEVICE)
    for p in (*layers[0], *head):
        p[1, 2] = p[1, 1]  # of the second seed, critics 1 and 2 are the same
        p[1, 0] = p[1, 1]
    head[1][1, 0] += 1
    x, actions = torch.randn(2, 11, 1, device=DEVICE), torch.randn(2, 11, 1, device=DEVICE)
    x[0, 7] = torch.nan
    parameters, norms = ensemble_min_triton.flat(layers, head)
    e = ensemble_min_triton.sorted_arguments(x, actions, None, parameters, norms, 1e-6, "fp32")
    _, critic, lists = ensemble_min_triton.forward(e, x)
    assert critic[0, 7] == 0
    assert (critic[1] == 1).all()
    for s in range(2):
        for k in range(3):
            mine = (critic[s] == k).nonzero()[:, 0].tolist()
            assert lists.rows[s, k, : lists.counts[s, k]].tolist() == mine


def test_parameters_get_no_gradient():
    layers, head = moved(*ensemble(None, 2, 5, (8,), device=DEVICE), lambda p: p.requires_grad_())
    x, actions = torch.randn(3, 3, device=DEVICE), torch.randn(3, 2, device=DEVICE)
    q, critic = ensemble_min(x, layers, head, actions=actions, backend="triton")
    assert not q.requires_grad and not critic.requires_grad
    q, critic = ensemble_min(x, layers, head, actions=actions.requires_grad_(), backend="triton")
    assert q.requires_grad and not critic.requires_grad
    q.sum().backward()
    assert layers[0][0].grad is None and x.grad is None and actions.grad is not None


@pytest.mark.gpu
def test_a_captured_graph_regroups_its_rows():
    layers, head = ensemble(2, 10, 37, (256, 256), device="cuda")
    x = torch.randn(2, 256, 29, device="cuda")
    actions = torch.randn(2, 256, 8, device="cuda", requires_grad=True)

    def step():
        q, critic = ensemble_min(x, layers, head, actions=actions, precision="tf32", backend="triton")
        return q, critic, torch.autograd.grad(q.sum(), actions)[0]

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        before = step()[1]
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    with torch.no_grad():
        x.copy_(torch.randn_like(x))
    graph.replay()
    eager = step()
    assert not torch.equal(before, eager[1])
    assert all(torch.equal(a, b) for a, b in zip(captured, eager, strict=True))
