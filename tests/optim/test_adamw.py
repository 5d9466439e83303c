"""AdamW against its float64 reference and against torch, on every backend present."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import pytest
import torch

import tolerance
from rewarm import _dispatch
from rewarm.optim import AdamW
from rewarm.optim import adamw_reference as reference
from rewarm.schedule import warmup_cosine

# Triton's interpreter has tests of its own in test_adamw_triton.py; compiled backends join in where a GPU is.
DEVICES = [("cpu", "cpu")]
if torch.cuda.is_available():
    DEVICES += [(b, "cuda") for b in ("cuda", "triton") if not _dispatch.unavailable(b, "cuda")]
SIZES = [0, 1, 31, 33, 1000, 10007, 16385]
DTYPES = [
    (torch.float32, torch.float32),
    (torch.bfloat16, torch.bfloat16),
    (torch.bfloat16, torch.float32),
    (torch.float16, torch.float32),
    (torch.float16, torch.float16),
]


def name_of(value):
    return str(value).removeprefix("torch.") if isinstance(value, torch.dtype) else None


dtypes = pytest.mark.parametrize(("dtype", "state_dtype"), DTYPES, ids=name_of)
backends = pytest.mark.parametrize(("backend", "device"), DEVICES)


def skip_unless_supported(backend, state_dtype, amsgrad=False):
    if backend in ("cuda", "triton") and (state_dtype is torch.float16 or amsgrad):
        pytest.skip(f"{backend} refuses float16 moments and amsgrad by name (tested in test_adamw_errors.py)")


def some_params(shapes, dtype=torch.float32, device="cpu"):
    return [torch.nn.Parameter(torch.randn(shape).to(dtype).to(device)) for shape in shapes]


def give_gradients(params, scale=1.0):
    for p in params:
        p.grad = (torch.randn(p.shape) * scale).to(p.dtype).to(p.device)


@dtypes
@backends
@pytest.mark.parametrize("size", SIZES)
def test_one_step_is_within_the_derived_bound(backend, device, dtype, state_dtype, size):
    skip_unless_supported(backend, state_dtype)
    check_steps(backend, device, dtype, state_dtype, size, {})


@backends
@pytest.mark.parametrize(
    "options",
    [
        {"amsgrad": True},
        {"maximize": True},
        {"decoupled_weight_decay": False, "weight_decay": 0.3},
        {"betas": (0.3, 0.2)},
        {"betas": (0.0, 0.0)},
        {"betas": (0.95, 0.99999)},
        {"eps": 1e-3, "weight_decay": 0.0},
        {"lr": 0.0},
        {"max_grad_norm": 0.5},
    ],
    ids=str,
)
def test_options_are_within_the_derived_bound(backend, device, options):
    skip_unless_supported(backend, torch.float32, options.get("amsgrad", False))
    for dtype, state_dtype in DTYPES[:3]:
        check_steps(backend, device, dtype, state_dtype, 1000, options)


def check_steps(backend, device, dtype, state_dtype, size, options):
    """Three steps; before each the reference starts from the stored values, so each is one step from identical state."""
    p = torch.nn.Parameter(torch.randn(size).to(dtype).to(device))
    options = {"lr": 1e-2, "weight_decay": 0.1, **options}
    opt = AdamW([p], backend=backend, state_dtype=state_dtype, **options)
    group = opt.param_groups[0]
    for t in (1, 2, 3):
        give_gradients([p], scale=10.0 ** (t - 2))
        state = opt.state[p] if t > 1 else {"exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
        before = [x.detach().double().cpu() for x in (p, p.grad, state["exp_avg"], state["exp_avg_sq"])]
        amsgrad = options.get("amsgrad", False)
        vmax = state.get("max_exp_avg_sq", torch.zeros_like(p)).double().cpu() if amsgrad else None
        norm = reference.grad_norm([p.grad])
        factor = reference.clip_coefficient(norm, options.get("max_grad_norm"))
        step = {
            "t": t,
            "lr": options["lr"],
            "beta1": group["betas"][0],
            "beta2": group["betas"][1],
            "eps": group["eps"],
            "weight_decay": group["weight_decay"],
            "decoupled_weight_decay": group["decoupled_weight_decay"],
        }
        *exact, exact_vmax = reference.update(*before, vmax, grad_factor=factor, maximize=group["maximize"], **step)
        opt.step()
        entering = before[1] * factor * (-1 if group["maximize"] else 1)
        if not group["decoupled_weight_decay"]:
            entering = entering + group["weight_decay"] * before[0]
        bounds = tolerance.one_step(
            before[0],
            entering,
            *before[2:],
            tuple(exact),
            dtype=dtype,
            state_dtype=state_dtype,
            second=exact_vmax,
            **step,
        )
        state = opt.state[p]
        for label, got, want, bound in (
            ("p", p, exact[0], bounds.p),
            ("m", state["exp_avg"], exact[1], bounds.m),
            ("v", state["exp_avg_sq"], exact[2], bounds.v),
        ):
            error = (got.detach().double().cpu() - want).abs()
            assert (error <= bound).all(), f"{label}, t = {t}: {(error / bound).max():.3f} of the bound"
        if factor != 1.0:
            assert math.isclose(opt.grad_norm.item(), norm, rel_tol=1e-13)
            assert math.isclose(opt.clip_coef.item(), factor, rel_tol=1e-13)
        assert state["step"].item() == t


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=name_of)
@backends
def test_150_steps_stay_as_close_to_float64_as_torch(backend, device, dtype):
    """Largest and median error at most 1.1 times those of torch.optim.AdamW(fused=True), on the same gradients."""
    shapes = [(256, 17), (256,), (256, 256), (1, 256), (1,)]
    ours, theirs = some_params(shapes, dtype, device), []
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    exact = [(p.detach().double(), torch.zeros_like(p).double(), torch.zeros_like(p).double()) for p in ours]
    options = {"lr": 1e-3, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}
    opt, peer = AdamW(ours, backend=backend, **options), torch.optim.AdamW(theirs, fused=True, **options)
    for t in range(1, 151):
        give_gradients(ours, 1e-2)
        for p, q in zip(ours, theirs, strict=True):
            q.grad = p.grad.clone()
        opt.step()
        peer.step()
        for k, p in enumerate(ours):
            q, m, v = exact[k]
            exact[k] = reference.update(q, p.grad, m, v, None, t=t, lr=1e-3, beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1)[
                :3
            ]

    def errors(params):
        return torch.cat([(p.detach().double() - e[0]).abs().flatten() for p, e in zip(params, exact, strict=True)])

    mine, its = errors(ours), errors(theirs)
    print(f"max {mine.max():.3g} / {its.max():.3g}, median {mine.median():.3g} / {its.median():.3g} (ours / torch fused)")
    assert mine.max() <= 1.1 * its.max()
    assert mine.median() <= 1.1 * its.median()


def test_clipping_leaves_gradients_alone_and_scales_once():
    ours, theirs = some_params([(64, 64), (10,)]), []
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    opt = AdamW(ours, lr=1e-2, max_grad_norm=0.1)
    peer = torch.optim.AdamW(theirs, lr=1e-2, fused=True)
    for _ in range(5):
        give_gradients(ours)
        kept = [p.grad.clone() for p in ours]
        coefficient = reference.clip_coefficient(reference.grad_norm(kept), 0.1)
        for q, g in zip(theirs, kept, strict=True):
            q.grad = g * coefficient
        opt.step()
        peer.step()
        assert all(torch.equal(p.grad, g) for p, g in zip(ours, kept, strict=True))
        assert opt.clip_coef.item() == pytest.approx(coefficient, rel=1e-13)
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=5e-6)


def test_norm_and_update_have_the_same_bits_for_any_thread_count():
    def run(threads):
        torch.manual_seed(5)
        torch.set_num_threads(threads)
        params = some_params([(300, 301), (70001,), (5,), (64, 64)])
        opt = AdamW(params, lr=1e-2, max_grad_norm=1.0)
        norms = []
        for _ in range(20):
            give_gradients(params)
            opt.step()
            norms.append(opt.grad_norm.item())
        return norms, torch.cat([p.detach().flatten() for p in params])

    one_norm, one = run(1)
    for threads in (2, 3, 7):
        norm, many = run(threads)
        assert norm == one_norm
        assert torch.equal(one, many)


ISA_PROGRAM = """
import hashlib, torch, sys
from rewarm._native import core
from rewarm.optim import AdamW
torch.manual_seed(3)
digest = hashlib.sha256()
for dtype, state, rounding in ((torch.float32, None, False), (torch.bfloat16, None, False),
                               (torch.bfloat16, torch.float32, True), (torch.bfloat16, None, True),
                               (torch.float16, torch.float32, False), (torch.float16, None, False)):
    params = [torch.nn.Parameter(torch.randn(n).to(dtype)) for n in (1, 15, 17, 33, 257, 16390)]
    with torch.no_grad():
        params[-1][5000::70] = float("inf")
        params[-1][9000::70] = -float("inf")
    opt = AdamW(params, lr=1e-2, max_grad_norm=1.0, state_dtype=state, stochastic_rounding=rounding, seed=11)
    for _ in range(4):
        for p in params:
            p.grad = torch.randn(p.shape).to(dtype)
        opt.step()
    digest.update(repr(opt.grad_norm.item()).encode())
    for p in params:
        for x in (p.detach(), *(opt.state[p][k] for k in ("exp_avg", "exp_avg_sq"))):
            digest.update(x.view(torch.uint8).numpy().tobytes())
print(core.isa(), digest.hexdigest())
"""


def test_every_instruction_set_gives_the_same_bits():
    from rewarm._native import core

    levels = ["baseline", "avx2", "avx512", "avx512_bf16"]
    levels = levels[: levels.index(core.best_isa()) + 1]
    seen = {}
    for level in levels:
        out = subprocess.run(
            [sys.executable, "-c", ISA_PROGRAM],
            env={**os.environ, "REWARM_ISA": level},
            capture_output=True,
            text=True,
            check=True,
        )
        isa, seen[level] = out.stdout.split()
        assert isa == level
    assert len(set(seen.values())) == 1, seen


def test_an_unknown_isa_is_refused_by_name():
    out = subprocess.run(
        [sys.executable, "-c", "from rewarm._native import core; core.isa()"],
        env={**os.environ, "REWARM_ISA": "sse9"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert out.returncode != 0
    assert 'expected baseline, avx2, avx512 or avx512_bf16, got "sse9"' in out.stderr


def every_16_bit(dtype):
    return torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)


@pytest.mark.parametrize("beta2", [0.0, 0.5])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=name_of)
def test_every_16_bit_value_is_read_and_written_as_torch_does(dtype, beta2):
    """From v = 0 the new v is (1 - beta2) g squared: reading and rounding of all 65,536 gradients, against torch's casts.

    beta2 = 0.5 takes the loop that looks for NaN once a vector, 0 the one that looks at every element.
    """
    p = torch.nn.Parameter(torch.zeros(2**16, dtype=dtype))
    p.grad = every_16_bit(dtype)
    opt = AdamW([p], lr=0.0, betas=(beta2, beta2), weight_decay=0.0)
    opt.step()
    expected = ((1.0 - beta2) * p.grad.float().square()).to(dtype)
    got = opt.state[p]["exp_avg_sq"]
    assert torch.equal(got.isnan(), expected.isnan())
    finite = ~expected.isnan()
    assert torch.equal(got[finite].view(torch.int16), expected[finite].view(torch.int16))


def test_infinite_values_behave_as_in_torch():
    """A second moment that overflowed stays infinite, an infinite parameter stays what it is; NaN where torch has NaN."""
    # Eleven times: whole vectors and a rest; then a stretch that is finite throughout.
    start = torch.tensor([1.0, 1.0, math.inf, -math.inf, 1.0, 1.0] * 11 + [1.0] * 50)
    first = torch.tensor([1e30, 1.0, 0.0, 0.0, math.nan, math.inf] * 11 + [1.0] * 50)
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    opt, peer = AdamW([ours], lr=0.1), torch.optim.AdamW([theirs], lr=0.1, fused=True)
    for grad in (first, torch.full_like(first, 0.1), torch.full_like(first, 0.1)):
        ours.grad, theirs.grad = grad.clone(), grad.clone()
        opt.step()
        peer.step()
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0, equal_nan=True)
        for key in ("exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(opt.state[ours][key], peer.state[theirs][key], rtol=1e-6, atol=0, equal_nan=True)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_nonfinite_norm_skips_the_update_and_counts_it(bad):
    params = some_params([(100,), (7, 3)])
    opt = AdamW(params, lr=warmup_cosine(1.0, 0.1, 4, 10), max_grad_norm=1.0)
    give_gradients(params)
    opt.step()
    before = [p.detach().clone() for p in params]
    states = [{k: v.clone() for k, v in opt.state[p].items()} for p in params]
    give_gradients(params)
    params[1].grad[3, 1] = bad
    opt.step()
    assert opt.skipped_steps.item() == 1
    assert opt.clip_coef.item() == 0.0
    assert not math.isfinite(opt.grad_norm.item())
    for p, q, s in zip(params, before, states, strict=True):
        assert torch.equal(p, q)
        assert all(torch.equal(opt.state[p][k], v) for k, v in s.items())
    give_gradients(params)
    opt.step()
    # The schedule did not advance over the skipped update: this was the second one.
    assert opt.last_lr.item() == pytest.approx(0.25)
    assert opt.state[params[0]]["step"].item() == 2


def test_without_a_norm_nan_propagates_as_in_torch():
    p = torch.nn.Parameter(torch.ones(3))
    opt = AdamW([p], lr=0.1)
    p.grad = torch.tensor([1.0, math.nan, 1.0])
    opt.step()
    assert p.isnan().tolist() == [False, True, False]
    assert opt.grad_norm is None
    assert opt.clip_coef is None


def test_clipping_without_skipping_passes_nan_to_all_as_torch_does():
    p = torch.nn.Parameter(torch.ones(3))
    opt = AdamW([p], lr=0.1, max_grad_norm=1.0, skip_nonfinite=False)
    p.grad = torch.tensor([1.0, math.nan, 1.0])
    opt.step()
    assert p.isnan().all()
    assert opt.skipped_steps.item() == 0


def test_stochastic_rounding_is_the_reference_bit_for_bit():
    def run(backend):
        torch.manual_seed(1)
        params = some_params([(3,), (33, 31), (16385,)], torch.bfloat16)
        opt = AdamW(params, lr=1e-2, state_dtype=torch.float32, stochastic_rounding=True, seed=2**63 + 5, backend=backend)
        for _ in range(2):
            give_gradients(params)
            opt.step()
        return params

    for p, q in zip(run("cpu"), run("reference"), strict=True):
        # The float32 results differ from float64 by a last bit now and then, which decides the rounding with chance 2^-16.
        assert (p != q).sum() <= 1
        assert torch.equal(p.float().sign(), q.float().sign())


def test_stochastic_rounding_is_unbiased():
    """The mean of many roundings of one value is that value: within 5 standard errors."""
    n = 200_000
    p = torch.nn.Parameter(torch.full((n,), 1.0, dtype=torch.bfloat16))
    p.grad = torch.full_like(p, 1.0)
    AdamW([p], lr=1e-4, weight_decay=0.0, stochastic_rounding=True, state_dtype=torch.float32, seed=4).step()
    below, chance = 1.0 - 2.0**-8, 1e-4 / 2.0**-8
    assert set(p.detach().float().unique().tolist()) == {below, 1.0}
    frequency = (p.detach().float() == below).float().mean().item()
    assert abs(frequency - chance) < 5 * math.sqrt(chance * (1 - chance) / n)
