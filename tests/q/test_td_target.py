"""td_target against its float64 reference on every backend, and what it promises about ends, NaN and ties."""

from __future__ import annotations

import pytest
import torch
from ensemble_cases import backends
from rounding import U, within

from rewarm.errors import InvalidArgument, UnsupportedTensor
from rewarm.q import td_target

BACKENDS = backends("td_target")
everywhere = pytest.mark.parametrize(("backend", "device"), BACKENDS, ids=[b for b, _ in BACKENDS])
# (S, M, B, K); None: without that axis.
SHAPES = [(None, 1, 1, None), (None, 2, 257, None), (3, 2, 31, None), (1, 1, 1, 1), (3, 10, 127, 10), (None, 2, 256, 1)]


def inputs(s, m, b, k, device, entropy=True):
    lead, tail = (() if s is None else (s,)), (() if k is None else (k,))
    reward = torch.randn(*lead, b, device=device)
    terminated = torch.rand(*lead, b, device=device) < 0.3
    q_next = torch.randn(*lead, m, b, *tail, device=device) * 30
    log_prob = torch.randn(*lead, b, *tail, device=device) * 3 if entropy else None
    alpha = torch.rand(lead, device=device) if entropy else None
    return reward, terminated, q_next, log_prob, alpha


def in_float64(t):
    return t.cpu().double() if isinstance(t, torch.Tensor) and t.is_floating_point() else t.cpu() if t is not None else None


def check(backend, device, reward, terminated, q_next, log_prob=None, alpha=None, gamma=0.99):
    found = td_target(reward, terminated, q_next, gamma=gamma, log_prob=log_prob, alpha=alpha, backend=backend)
    r, t, q, p, a = map(in_float64, (reward, terminated, q_next, log_prob, alpha))
    discount = float(gamma)
    law = td_target(r, t, q, gamma=discount, log_prob=p, alpha=a, backend="reference")
    # Product and difference of the entropy term; the maximum adds none; gamma, its product and the sum.
    value = q.amin(r.ndim - 1)
    entropy = torch.zeros_like(value)
    if p is not None:
        entropy = a.reshape(*a.shape, *[1] * (p.ndim - a.ndim)) * p
    soft = value - entropy
    error = U * (entropy.abs() + soft.abs()) if p is not None else torch.zeros_like(soft)
    if soft.ndim > r.ndim:
        soft, error = soft.amax(-1), error.amax(-1)
    bound = discount * error + 2 * U * (discount * soft).abs() + U * law.abs()
    within(found, law, bound, "y")
    assert torch.equal(found.cpu()[t], reward.cpu()[t])
    assert not found.requires_grad


@everywhere
@pytest.mark.parametrize("entropy", [False, True], ids=["plain", "entropy"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_is_the_reference_within_the_derived_bound(backend, device, shape, entropy):
    check(backend, device, *inputs(*shape, device, entropy))


@everywhere
def test_one_temperature_for_all_seeds_and_gamma_as_a_tensor(backend, device):
    reward, terminated, q_next, log_prob, _ = inputs(3, 2, 17, 10, device)
    alpha, gamma = torch.tensor(0.7, device=device), torch.tensor(0.5, device=device)
    check(backend, device, reward, terminated, q_next, log_prob, alpha, gamma)


@everywhere
def test_where_all_terminated_the_target_is_the_reward_whatever_follows(backend, device):
    reward, terminated, q_next, *_ = inputs(2, 2, 33, 10, device)
    terminated.fill_(True)
    q_next.fill_(torch.nan)
    assert torch.equal(td_target(reward, terminated, q_next, backend=backend), reward)


@everywhere
@pytest.mark.parametrize("where", [(0, 0), (1, 0), (0, 4), (1, 4)], ids=str)
def test_nan_wins_in_minimum_and_maximum(backend, device, where):
    reward, _, q_next, *_ = inputs(None, 2, 3, 5, device)
    q_next[where[0], 1, where[1]] = torch.nan
    y = td_target(reward, torch.zeros(3, dtype=torch.bool, device=device), q_next, backend=backend)
    assert y.isnan().tolist() == [False, True, False]


@everywhere
def test_infinity_is_a_value(backend, device):
    """-inf of one critic is its minimum, and the maximum over actions may still be finite."""
    q_next = torch.tensor([[[-torch.inf, 1.0]], [[2.0, 3.0]]], device=device)
    y = td_target(
        torch.zeros(1, device=device), torch.zeros(1, dtype=torch.bool, device=device), q_next, gamma=1.0, backend=backend
    )
    assert y.tolist() == [1.0]


@everywhere
def test_a_seed_of_a_stack_is_the_single_run_bit_for_bit(backend, device):
    reward, terminated, q_next, log_prob, alpha = inputs(4, 3, 129, 10, device)
    stack = td_target(reward, terminated, q_next, log_prob=log_prob, alpha=alpha, backend=backend)
    for s in range(4):
        single = td_target(reward[s], terminated[s], q_next[s], log_prob=log_prob[s], alpha=alpha[s], backend=backend)
        assert torch.equal(stack[s], single)


@everywhere
def test_it_never_has_a_graph(backend, device):
    reward, terminated, q_next, *_ = inputs(None, 2, 5, None, device)
    assert td_target(reward, terminated, q_next.requires_grad_(), backend=backend).grad_fn is None


def test_log_prob_without_temperature_changes_nothing():
    reward, terminated, q_next, log_prob, _ = inputs(None, 2, 5, None, "cpu")
    plain = td_target(reward, terminated, q_next)
    assert torch.equal(td_target(reward, terminated, q_next, log_prob=log_prob), plain)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"terminated": torch.zeros(5)}, UnsupportedTensor, "terminated: expected torch.bool"),
        ({"terminated": torch.zeros(4, dtype=torch.bool)}, InvalidArgument, r"terminated: expected shape \[B=5\]"),
        ({"q_next": torch.zeros(2, 4)}, InvalidArgument, r"q_next: expected shape \[M, B=5\] or \[M, B=5, K\]"),
        ({"q_next": torch.zeros(2, 5, dtype=torch.float64)}, UnsupportedTensor, "q_next: expected torch.float32"),
        ({"q_next": torch.zeros(5, 2).T}, UnsupportedTensor, "q_next: expected a contiguous tensor"),
        ({"reward": torch.zeros(5, dtype=torch.float64)}, UnsupportedTensor, 'backend="reference" takes float64'),
        ({"reward": torch.zeros(0)}, InvalidArgument, "reward: expected shape .* without empty axes"),
        ({"gamma": 1.5}, InvalidArgument, "gamma: expected a finite number >= 0 and <= 1, got 1.5"),
        ({"gamma": torch.ones(2)}, InvalidArgument, "gamma: expected shape"),
        ({"alpha": torch.tensor(0.1)}, InvalidArgument, "alpha: needs log_prob"),
        ({"log_prob": torch.zeros(5, 3)}, InvalidArgument, r"log_prob: expected shape \[B=5\]"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_what_is_refused(change, error, words):
    arguments = {
        "reward": torch.zeros(5),
        "terminated": torch.zeros(5, dtype=torch.bool),
        "q_next": torch.zeros(2, 5),
    } | change
    with pytest.raises(error, match="td_target: .*" + words):
        td_target(**arguments)
