"""What rides along with the step: averages, zeroed gradients, and all of it together with diagnostics and schedules."""

from __future__ import annotations

import copy
import io
import math

import pytest
import torch

from rewarm.errors import InvalidArgument, StateDictMismatch
from rewarm.optim import AdamW, Diagnostics
from rewarm.optim import adamw_reference as reference
from rewarm.schedule import linear, warmup_cosine

U = 2.0**-24
BACKENDS = ["cpu", "reference"]
try:
    from rewarm.optim import adamw_triton

    if adamw_triton.INTERPRETED:
        BACKENDS.append("triton")
except ImportError:
    pass
backends = pytest.mark.parametrize("backend", BACKENDS)


def some_params(*sizes, dtype=torch.float32):
    return [torch.nn.Parameter(torch.randn(n).to(dtype)) for n in sizes]


def give_gradients(params, scale=1.0):
    for p in params:
        p.grad = (torch.randn(p.shape) * scale).to(p.dtype)


def everything(params, **options):
    """An optimizer with all of it switched on."""
    given = {
        "lr": warmup_cosine(1e-2, 1e-3, 3, 9),
        "betas": (linear(0.3, 0.9, 5), linear(0.9, 0.999, 7)),
        "eps": linear(1e-2, 1e-8, 4),
        "weight_decay": linear(0.1, 0.3, 6),
        "max_grad_norm": linear(0.5, 50.0, 6),
        "ema_decay": linear(0.1, 0.95, 5),
        "zero_grad_in_step": True,
        "diagnostics": Diagnostics(update_rms=True, annealing_decay=0.9, spike_after=3, spike_deviations=2.0),
    }
    return AdamW(params, **{**given, **options})


# ---- the moving average -------------------------------------------------------------------------------------------------


@backends
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_the_average_follows_what_is_stored(backend, dtype):
    """One step of it from stored values, against float64: the difference, its product and the sum round once each."""
    params = some_params(1, 33, 2050, dtype=dtype)
    opt = AdamW(params, lr=0.1, ema_decay=linear(0.2, 0.9, 4), state_dtype=torch.float32, backend=backend)
    start = [p.detach().float().clone() for p in params]
    for k in range(6):
        before = start if k == 0 else [e.clone() for e in opt.ema_parameters()]
        give_gradients(params)
        opt.step()
        decay = linear(0.2, 0.9, 4)(k)
        for p, e, old in zip(params, opt.ema_parameters(), before, strict=True):
            exact = reference.moving_average(old, p.detach(), decay)
            bound = U * exact.abs() + 2 * U * (p.detach().double() - old.double()).abs()
            assert e.dtype is torch.float32
            assert ((e.double() - exact).abs() <= bound * (1 + U)).all()


@backends
def test_a_decay_of_zero_copies_and_of_one_stands_still(backend):
    params = some_params(40, 40)
    start = params[1].detach().clone()
    groups = [{"params": params[:1], "ema_decay": 0.0}, {"params": params[1:], "ema_decay": 1.0}]
    opt = AdamW(groups, lr=0.1, backend=backend)
    for _ in range(3):
        give_gradients(params)
        opt.step()
    copied, still = opt.ema_parameters()
    assert torch.equal(copied, params[0])
    assert torch.equal(still, start)


@backends
def test_groups_without_average_and_parameters_without_gradient(backend):
    params = some_params(5, 6, 7)
    opt = AdamW(
        [{"params": params[:1], "ema_decay": None}, {"params": params[1:]}], ema_decay=0.5, max_grad_norm=1.0, backend=backend
    )
    give_gradients(params[:2])
    opt.step()
    assert [e is None for e in opt.ema_parameters()] == [True, False, True]
    kept = opt.ema_parameters()[1].clone()
    params[1].grad = None
    give_gradients(params[:1])
    opt.step()
    give_gradients(params[1:2])
    params[1].grad[0] = math.nan
    opt.step()
    assert opt.skipped_steps.item() == 1
    assert torch.equal(opt.ema_parameters()[1], kept)


@backends
def test_an_average_may_begin_and_end_later(backend):
    params = some_params(6)
    opt = AdamW(params, lr=0.1, backend=backend)
    give_gradients(params)
    opt.step()
    assert opt.ema_parameters() == [None]
    start = params[0].detach().clone()
    opt.param_groups[0]["ema_decay"] = 0.5
    opt.step()
    average = opt.ema_parameters()[0].clone()
    exact = (start.double() + params[0].detach().double()) / 2
    assert ((average.double() - exact).abs() <= U * (exact.abs() + (params[0] - start).abs()) * (1 + U)).all()
    opt.param_groups[0]["ema_decay"] = None
    opt.step()
    assert torch.equal(opt.ema_parameters()[0], average)


def test_weights_are_exchanged_and_come_back_bit_for_bit():
    params = some_params(50, dtype=torch.bfloat16)
    opt = AdamW(params, lr=0.1, ema_decay=0.9)
    with pytest.raises(InvalidArgument, match="no parameter has an average yet"), opt.ema_weights():
        pass
    for _ in range(3):
        give_gradients(params)
        opt.step()
    kept, average = params[0].detach().clone(), opt.ema_parameters()[0].clone()
    with opt.ema_weights():
        assert torch.equal(params[0], average.bfloat16())
        with pytest.raises(InvalidArgument, match="leave ema_weights"):
            opt.step()
        with pytest.raises(InvalidArgument, match="hold their averages already"), opt.ema_weights():
            pass
    assert torch.equal(params[0], kept)
    assert torch.equal(opt.ema_parameters()[0], average)
    with pytest.raises(KeyError), opt.ema_weights():
        raise KeyError
    assert torch.equal(params[0], kept)


# ---- zeroed gradients ---------------------------------------------------------------------------------------------------


@backends
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_present_gradients_become_zeros_and_absent_ones_stay_none(backend, dtype):
    params = some_params(33, 17000, 4, dtype=dtype)
    opt = AdamW(params, max_grad_norm=1.0, zero_grad_in_step=True, backend=backend)
    for bad in (False, True):
        give_gradients(params)
        params[2].grad = None
        kept = [p.grad for p in params]
        if bad:
            params[1].grad[16999] = math.inf
        version = params[0].grad._version
        opt.step()
        assert params[0].grad._version > version or bad
        assert [p.grad is g for p, g in zip(params, kept, strict=True)] == [True] * 3
        assert not any(p.grad.any() for p in params[:2])
    assert opt.skipped_steps.item() == 1


@backends
def test_zeroing_under_a_grad_scaler_a_closure_and_other_strides(backend):
    params = [torch.nn.Parameter(torch.randn(6, 4))]
    opt = AdamW(params, lr=1.0, zero_grad_in_step=True, backend=backend)
    params[0].grad = torch.randn(4, 6).t()
    opt.step()
    assert not params[0].grad.any()
    before = params[0].detach().clone()
    params[0].grad = torch.randn(6, 4)
    opt.grad_scale, opt.found_inf = torch.tensor(8.0), torch.tensor(1.0)
    opt.step()
    del opt.grad_scale, opt.found_inf
    assert torch.equal(params[0], before)
    assert not params[0].grad.any()

    def closure():
        loss = params[0].square().sum()
        loss.backward()
        return loss

    opt.step(closure)
    assert not torch.equal(params[0], before)
    assert not params[0].grad.any()


def test_a_zeroed_gradient_leaves_its_graph():
    p = torch.nn.Parameter(torch.randn(3))
    opt = AdamW([p], zero_grad_in_step=True)
    with pytest.warns(UserWarning, match="create_graph=True"):
        (p**3).sum().backward(create_graph=True)
    opt.step()
    assert p.grad.grad_fn is None
    assert not p.grad.requires_grad


@backends
def test_off_means_that_gradients_are_not_written(backend):
    params = some_params(33)
    opt = AdamW(params, max_grad_norm=0.1, ema_decay=0.5, diagnostics=True, backend=backend)
    give_gradients(params)
    kept = params[0].grad.clone()
    opt.step()
    assert torch.equal(params[0].grad, kept)


# ---- everything at once: backends, threads, state -----------------------------------------------------------------------


def run(steps=8, threads=1, between=lambda opt, k: opt, **options):
    torch.manual_seed(2)
    torch.set_num_threads(threads)
    params = some_params(3, 1025, 40000)
    opt = everything(params, **options)
    for k in range(steps):
        give_gradients(params, scale=0.1)
        opt.record_loss(1.0 if k != 6 else 9.0)
        opt.step()
        opt = between(opt, k)
    return opt


def results(opt):
    live = {key: value.tolist() for key, value in opt.live._asdict().items()}
    moments = [x for p in opt.state for x in (p, *(opt.state[p][k] for k in ("exp_avg", "exp_avg_sq", "ema")))]
    return live, [x.detach().clone() for x in moments]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_extras_do_not_change_the_update(dtype):
    def trained(**extras):
        torch.manual_seed(1)
        params = some_params(15, 1024, 5000, dtype=dtype)
        rounding = dtype is torch.bfloat16
        opt = AdamW(params, lr=1e-2, max_grad_norm=1.0, stochastic_rounding=rounding, seed=7, **extras)
        for _ in range(3):
            give_gradients(params)
            opt.step()
        return [x for p in params for x in (p, opt.state[p]["exp_avg"], opt.state[p]["exp_avg_sq"])]

    for p, q in zip(trained(), trained(ema_decay=0.9, zero_grad_in_step=True, diagnostics=True), strict=True):
        assert torch.equal(p, q)


def test_everything_has_the_same_bits_for_any_thread_count():
    live, tensors = results(run())
    for threads in (2, 5):
        other, others = results(run(threads=threads))
        assert other == live
        assert all(torch.equal(a, b) for a, b in zip(tensors, others, strict=True))


@pytest.mark.skipif("triton" not in BACKENDS, reason="needs Triton's interpreter")
def test_triton_agrees_with_the_cpu_step():
    """The same operations on elements: the same bits; float64 sums in another order: n 2^-53 at most, n < 2^17."""
    (live, tensors), (other, others) = results(run()), results(run(backend="triton"))
    assert all(torch.equal(a, b) for a, b in zip(tensors, others, strict=True))
    for key, value in live.items():
        assert other[key] == pytest.approx(value, rel=2**-36), key


def through_a_file(opt, k):
    saved = io.BytesIO()
    torch.save(opt.state_dict(), saved)
    saved.seek(0)
    fresh = everything([p for g in opt.param_groups for p in g["params"]])
    fresh.load_state_dict(torch.load(saved, weights_only=True))
    return fresh


@pytest.mark.parametrize("between", [through_a_file, lambda opt, k: copy.deepcopy(opt)], ids=["file", "copy"])
def test_a_saved_loaded_or_copied_run_goes_on_bit_for_bit(between):
    live, tensors = results(run())
    other, others = results(run_copied(between))
    for key in ("grad_norm", "clip_coef"):
        assert other.pop(key) == live.pop(key)
    assert other == live
    assert all(torch.equal(a, b) for a, b in zip(tensors, others, strict=True))


def run_copied(between):
    """As `run`; the parameters are those of whatever optimizer `between` hands back."""
    torch.manual_seed(2)
    opt = everything(some_params(3, 1025, 40000))
    for k in range(8):
        give_gradients([p for g in opt.param_groups for p in g["params"]], scale=0.1)
        opt.record_loss(1.0 if k != 6 else 9.0)
        opt.step()
        if k < 7:
            opt = between(opt, k)
    return opt


def test_state_dicts_from_before_still_load():
    """Those of torch, and of a rewarm that scheduled lr and weight_decay alone and kept no results."""
    params = some_params(7, 8)
    old = AdamW(params, lr=warmup_cosine(1e-2, 1e-3, 3, 9), weight_decay=linear(0.1, 0.2, 5), max_grad_norm=1.0)
    for _ in range(4):
        give_gradients(params)
        old.step()
    saved = old.state_dict()
    for group in saved["param_groups"]:
        for key in ("results", "observed"):
            del group[key]
    new = AdamW(params, max_grad_norm=linear(1.0, 9.0, 8), ema_decay=linear(0.0, 0.8, 8), diagnostics=True)
    new.load_state_dict(saved)
    assert set(new.param_groups[0]["schedules"]) == {"lr", "weight_decay", "max_grad_norm", "ema_decay"}
    assert new.max_grad_norm == 5.0
    give_gradients(params)
    new.step()
    assert new.last_lr.item() == old.schedules[0]["lr"](4)
    assert new.param_groups[0]["ema_decay"] == pytest.approx(0.4)
    assert new.lr_area.item() == new.last_lr.item()
    peer = torch.optim.AdamW(params, lr=1e-3)
    peer.step()
    new.load_state_dict(peer.state_dict())
    assert set(new.param_groups[0]["schedules"]) == {"lr", "weight_decay", "max_grad_norm", "ema_decay"}
    new.step()
    assert new.ema_parameters()[0] is not None


def test_a_checkpoint_that_does_not_fit_is_refused_and_changes_nothing():
    params = some_params(7)
    opt = everything(params)
    give_gradients(params)
    opt.step()
    saved = opt.state_dict()
    with pytest.raises(StateDictMismatch, match="pass max_grad_norm="):
        AdamW(params).load_state_dict(saved)
    saved["state"][0] = {**saved["state"][0], "ema": torch.zeros(3)}
    before = opt.ema_parameters()[0].clone()
    with pytest.raises(StateDictMismatch, match=r"'ema': expected a tensor of shape \(7,\), got \(3,\)"):
        opt.load_state_dict(saved)
    assert torch.equal(opt.ema_parameters()[0], before)
