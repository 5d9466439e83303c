"""The triton backends of td_target, cql_penalty, tanh_gaussian, philox and draw_subset: the checks of their own test files.

Where the interpreter runs the kernels, these are the smaller sizes of those files, and blocks made small enough to be passed.
"""

from __future__ import annotations

import math

import pytest
import test_cql_penalty as cql
import test_philox as draws
import test_tanh_gaussian as policy
import test_td_target as td
import torch
from rounding import U, within
from triton_device import DEVICE

from rewarm._native import core
from rewarm.errors import InvalidArgument
from rewarm.q import (
    awr_weight,
    cql_penalty,
    cql_penalty_triton,
    draw_subset,
    expectile_loss,
    gaussian_log_prob,
    philox,
    philox_triton,
    tanh_gaussian,
    tanh_gaussian_triton,
    td_target,
    td_target_triton,
)

BACKEND = ("triton", DEVICE)

# ---- td_target -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(None, 1, 1, None), (3, 2, 37, 10), (None, 2, 5, 1), (1, 10, 3, 17)], ids=str)
@pytest.mark.parametrize("entropy", [False, True], ids=["plain", "entropy"])
def test_td_target_is_within_the_bound(shape, entropy):
    td.check(*BACKEND, *td.inputs(*shape, DEVICE, entropy))


def test_td_target_reads_gamma_and_one_temperature_on_the_device():
    reward, terminated, q_next, log_prob, _ = td.inputs(2, 2, 5, 3, DEVICE)
    alpha, gamma = torch.tensor(0.7, device=DEVICE), torch.tensor(0.5, device=DEVICE)
    td.check(*BACKEND, reward, terminated, q_next, log_prob, alpha, gamma)


def test_td_target_keeps_nan_and_infinities_and_stops_at_the_end(monkeypatch):
    monkeypatch.setattr(td_target_triton, "BLOCK_K", 2)
    reward, _, q_next, *_ = td.inputs(None, 2, 5, 5, DEVICE)
    q_next[1, 1, 0] = q_next[0, 2, 4] = torch.nan
    q_next[1, 3] = -torch.inf
    q_next[0, 4] = torch.nan
    terminated = torch.tensor([False, False, False, False, True], device=DEVICE)
    y = td_target(reward, terminated, q_next, backend="triton")
    assert y.isnan().tolist() == [False, True, True, False, False]
    assert y[3] == -torch.inf and y[4] == reward[4]


# ---- cql_penalty ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("density", "bound"),
    [(True, True), (False, True), (True, False), (False, False)],
    ids=["is-calql", "calql", "is-cql", "cql"],
)
def test_cql_penalty_is_within_the_bound(density, bound):
    cql.check(*BACKEND, (2, 2, 17, 31), density, bound)


def test_cql_penalty_streams_past_blocks_of_actions(monkeypatch):
    monkeypatch.setattr(cql_penalty_triton, "BLOCK_N", 2)
    for density in (True, False):
        cql.check(*BACKEND, (None, 1, 3, 7), density, True, True, temperature=0.1)


@pytest.mark.parametrize("where", ["q", "mc_return", "log_density", "q_data"])
def test_cql_penalty_keeps_nan(where):
    cql.test_nan_stays(*BACKEND, where)


def test_cql_penalty_at_ties_and_extremes(monkeypatch):
    cql.test_a_tie_belongs_to_q(*BACKEND)
    monkeypatch.setattr(cql_penalty_triton, "BLOCK_N", 2)
    cql.test_infinities_give_what_torch_gives(*BACKEND, torch.inf)
    cql.test_infinities_give_what_torch_gives(*BACKEND, -torch.inf)
    cql.test_far_apart_values_neither_overflow_nor_vanish(*BACKEND)


def test_cql_penalty_of_a_seed_is_the_single_run():
    q_sampled, q_data, log_density, mc_return = cql.inputs(2, 2, 5, 3, DEVICE)
    stack = cql_penalty(q_sampled, q_data, log_density=log_density, mc_return=mc_return, n_random=1, backend="triton")
    single = cql_penalty(
        q_sampled[1], q_data[1], log_density=log_density[1], mc_return=mc_return[1], n_random=1, backend="triton"
    )
    assert torch.equal(stack[1], single)


# ---- tanh_gaussian -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("squash", [True, False], ids=["squashed", "plain"])
@pytest.mark.parametrize("shared", [False, True], ids=["state", "free"])
@pytest.mark.parametrize("shape", [(None, 1, None, 1), (2, 7, 3, 6)], ids=str)
def test_tanh_gaussian_is_within_the_bound(shape, shared, squash, monkeypatch):
    monkeypatch.setattr(tanh_gaussian_triton, "ELEMENTS", 32)
    policy.test_it_is_the_reference_within_the_derived_bound(*BACKEND, shape, shared, squash)


def test_tanh_gaussian_of_one_output_far_out_and_near():
    policy.test_either_output_alone_has_its_gradient(*BACKEND)
    policy.test_far_out_actions_keep_their_log_probability_and_their_gradient(*BACKEND)
    policy.test_small_actions_keep_their_digits(*BACKEND)
    for where in ("mean", "log_std", "noise"):
        policy.test_nan_stays_in_its_row(*BACKEND, where)


@pytest.mark.parametrize("samples", [None, 3])
def test_tanh_gaussian_draws_what_philox_draws(samples):
    policy.test_drawn_noise_is_the_philox_draw(*BACKEND, samples, 2)


@pytest.mark.parametrize("shared", [False, True], ids=["state", "free"])
def test_gaussian_log_prob_agrees_with_float64(shared, monkeypatch):
    monkeypatch.setattr(tanh_gaussian_triton, "ELEMENTS", 32)
    mean, log_std, action = policy.inputs(2, 11, None, 6, DEVICE, shared)
    leaves = [t.requires_grad_() for t in (action, mean, log_std)]
    g = torch.randn(2, 11, device=DEVICE)
    found = gaussian_log_prob(*leaves, backend="triton")
    gradients = torch.autograd.grad(found, leaves, g)
    exact = [t.detach().cpu().double().requires_grad_() for t in leaves]
    law = gaussian_log_prob(*exact, backend="reference")
    law_gradients = torch.autograd.grad(law, exact, g.cpu().double())
    # float64 inside: one rounding, and float64's own, which only the far tails (z near 1e5, where std is clipped) can show.
    for f, e in zip((found, *gradients), (law.detach(), *law_gradients), strict=True):
        within(f, e, U * e.abs() + 1e-10 * (1 + e.abs().max()) * U)


# ---- philox and draw_subset ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1,), (5, 1, 7)], ids=str)
def test_words_and_uniforms_are_the_reference_bit_for_bit(shape, monkeypatch):
    monkeypatch.setattr(philox_triton, "BLOCK", 4)
    seed, offset = draws.int64(draws.SEEDS[-3:], DEVICE), draws.int64(draws.OFFSETS[-3:], DEVICE)
    for kind, stream in (("uint32", 0), ("uniform", 255)):
        found = philox(shape, seed=seed, offset=offset, stream=stream, kind=kind, backend="triton")
        law = philox(shape, seed=seed.cpu(), offset=offset.cpu(), stream=stream, kind=kind, backend="reference")
        assert found.dtype is law.dtype and torch.equal(found.cpu(), law)


def test_normals_are_exact_but_for_one_rounding():
    seed, offset = draws.int64(draws.SEEDS), draws.int64(draws.OFFSETS)
    found = philox((4099,), seed=seed.to(DEVICE), offset=offset.to(DEVICE), stream=3, kind="normal", backend="triton")
    law = draws.reference.draw((4099,), seed, offset, 3, "normal", torch.float64)
    # Of float64, sine and cosine near a zero of theirs have the error of the angle, 2 pi 2^-53 at most, times r <= 5.8.
    within(found, law, U * law.abs() + 64 * 2.0**-53)
    assert core.NORMAL_ERROR > U


def test_the_published_answer_and_a_single_draw():
    draws.test_the_zero_vector_comes_out_of_the_public_function(*BACKEND)
    seed, offset = draws.int64(draws.SEEDS[:2], DEVICE), draws.int64(draws.OFFSETS[:2], DEVICE)
    stack = philox((13,), seed=seed, offset=offset, stream=1, kind="normal", backend="triton")
    assert torch.equal(stack[1], philox((13,), seed=seed[1], offset=offset[1], stream=1, kind="normal", backend="triton"))


@pytest.mark.parametrize(
    ("critics", "subset", "replacement"), [(1, 1, False), (10, 2, True), (10, 2, False), (5, 5, True), (5, 5, False)], ids=str
)
def test_subsets_are_the_reference_bit_for_bit(critics, subset, replacement):
    draws.test_subsets_are_the_reference_bit_for_bit(*BACKEND, critics, subset, replacement)


def test_a_shuffle_of_too_many_critics_is_refused():
    zero = draws.int64(0, DEVICE)
    with pytest.raises(InvalidArgument, match="shuffles up to 4096 critics, got 4097"):
        draw_subset(4097, 1, seed=zero, offset=zero, stream=4, replacement=False, backend="triton")


# ---- plain torch on every device -----------------------------------------------------------------------------------------


def test_losses_of_iql_are_plain_torch():
    q, v = torch.randn(2, 5, device=DEVICE), torch.randn(2, 5, device=DEVICE)
    for op in (expectile_loss, awr_weight):
        assert torch.equal(op(q, v, backend="triton"), op(q, v, backend="reference"))


# ---- on a GPU ------------------------------------------------------------------------------------------------------------


@pytest.mark.gpu
def test_a_captured_graph_draws_by_the_offset_on_the_device():
    seed, offset = draws.int64([1, 2], "cuda"), draws.int64([0, 0], "cuda")
    mean, log_std = torch.randn(2, 256, 8, device="cuda"), torch.zeros(2, 8, device="cuda")

    def step():
        action, log_prob = tanh_gaussian(mean, log_std, seed=seed, offset=offset, samples=10, backend="triton")
        index = draw_subset(10, 2, seed=seed, offset=offset, stream=4, replacement=False, backend="triton")
        q_next = action.sum(-1)[:, None].expand(2, 2, 256, 10).contiguous()
        y = td_target(
            q_next[:, 0, :, 0].contiguous(),
            q_next[:, 0, :, 0] > 9,
            q_next,
            log_prob=log_prob,
            alpha=mean[:, 0, 0].contiguous(),
            backend="triton",
        )
        return action, log_prob, index, y

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        first = step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    offset += 1
    graph.replay()
    eager = step()
    assert not torch.equal(first[0], captured[0])
    assert all(torch.equal(a, b) for a, b in zip(captured, eager, strict=True))
    assert math.isfinite(captured[1].sum().item())
