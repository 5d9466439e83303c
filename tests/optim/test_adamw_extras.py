"""What rides along with the step: schedules of betas, eps and the norm's limit, averages, zeroed gradients, diagnostics."""

from __future__ import annotations

import copy
import io
import itertools
import math

import pytest
import torch

from rewarm.errors import InvalidArgument, ScheduleConflict, StateDictMismatch
from rewarm.optim import AdamW, Diagnostics
from rewarm.optim import adamw_reference as reference
from rewarm.schedule import Schedule, constant, join, linear, table, warmup_cosine

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


# ---- schedules ----------------------------------------------------------------------------------------------------------


@backends
def test_scheduled_values_drive_the_update(backend):
    """Each update against the float64 reference from the stored values, with the values of the schedules at its count.

    The bound: a few roundings of p itself and of its step; betas start at 0.3, where the other form of the average is taken.
    """
    params = some_params(33, 1030)
    opt = everything(params, backend=backend)
    schedules = opt.schedules[0]
    for k in range(10):
        give_gradients(params)
        states = [opt.state[p] if k else {"exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)} for p in params]
        now = {key: schedule(k) for key, schedule in schedules.items()}
        factor = reference.clip_coefficient(reference.grad_norm([p.grad for p in params]), now["max_grad_norm"])
        assert opt.max_grad_norm == now["max_grad_norm"]
        wanted = [
            reference.update(
                p.detach(), p.grad, s["exp_avg"], s["exp_avg_sq"], None, t=k + 1, grad_factor=factor,
                **{key: now[key] for key in ("lr", "beta1", "beta2", "eps", "weight_decay")},
            )
            for p, s in zip(params, states, strict=True)
        ]  # fmt: skip
        before = [p.detach().clone() for p in params]
        opt.step()
        assert opt.clip_coef.item() == pytest.approx(factor, rel=1e-12)
        for p, old, (exact, m, v, _) in zip(params, before, wanted, strict=True):
            assert ((p - exact).abs() <= 2 * U * exact.abs() + 16 * U * ((exact - old).abs() + 1e-2)).all()
            assert torch.allclose(opt.state[p]["exp_avg"].double(), m, rtol=8 * U, atol=8 * U)
            assert torch.allclose(opt.state[p]["exp_avg_sq"].double(), v, rtol=8 * U, atol=1e-30)
        group = opt.param_groups[0]
        shown = {**{key: group[key] for key in ("lr", "eps", "weight_decay", "ema_decay")}}
        shown |= {"beta1": group["betas"][0], "beta2": group["betas"][1]}
        assert shown == pytest.approx({key: now[key] for key in shown}, rel=1e-14)


def test_one_beta_may_be_a_float_and_is_edited_freely():
    params = some_params(5)
    opt = AdamW(params, betas=(0.8, linear(0.9, 0.99, 4)))
    give_gradients(params)
    opt.step()
    opt.param_groups[0]["betas"] = (0.5, opt.param_groups[0]["betas"][1])
    opt.step()
    opt.step()
    assert opt.param_groups[0]["betas"] == (0.5, linear(0.9, 0.99, 4)(2))


@pytest.mark.parametrize(
    ("edit", "name"),
    [({"betas": (0.1, 0.2)}, r"betas\[0\]"), ({"eps": 1.0}, "eps"), ({"ema_decay": 0.5}, "ema_decay")],
    ids=str,
)
def test_an_edit_of_a_scheduled_value_raises_and_changes_nothing(edit, name):
    params = some_params(5)
    opt = everything(params)
    give_gradients(params)
    opt.step()
    before, group = params[0].detach().clone(), opt.param_groups[0]
    kept = dict(group)
    group.update(edit)
    give_gradients(params)
    with pytest.raises(ScheduleConflict, match=name):
        opt.step()
    assert torch.equal(params[0], before)
    group.update({key: kept[key] for key in edit})
    opt.step()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"betas": (linear(0.5, 1.0, 5), 0.9)},
            r"betas\[0\]: expected a Schedule with values in \[0, 1\), got one that reaches 1.0",
        ),
        ({"betas": (0.5, table([(0, 0.5), (5, 1.5), (9, 0.5)]))}, r"betas\[1\]: expected a Schedule with values in \[0, 1\)"),
        ({"ema_decay": constant(1.5)}, r"ema_decay: expected a Schedule with values in \[0, 1\]"),
        ({"ema_decay": 1.5}, r"ema_decay: expected a number in \[0, 1\]"),
        ({"diagnostics": 3}, "diagnostics: expected True, False or a Diagnostics"),
    ],
    ids=str,
)
def test_values_out_of_range_are_refused_by_name(options, message):
    with pytest.raises(InvalidArgument, match=message):
        AdamW(some_params(3), **options)


def test_groups_have_their_own_and_the_limit_stands_with_the_first():
    first, second = some_params(4, 4)
    groups = [{"params": [first], "betas": (linear(0.1, 0.9, 4), 0.9)}, {"params": [second], "eps": linear(1.0, 0.0, 4)}]
    opt = AdamW(groups, max_grad_norm=linear(1.0, 2.0, 4))
    assert [set(g.get("schedules", {})) for g in opt.param_groups] == [{"beta1", "max_grad_norm"}, {"eps"}]
    late = some_params(4)
    opt.add_param_group({"params": late, "eps": linear(2.0, 0.0, 4)})
    for _ in range(3):
        give_gradients([first, second, *late])
        opt.step()
    assert [g["eps"] for g in opt.param_groups] == [1e-8, 0.5, 1.0]
    assert [g["betas"][0] for g in opt.param_groups] == pytest.approx([0.5, 0.9, 0.9])
    assert opt.max_grad_norm == 1.75


@backends
def test_tables_of_knots_are_schedules_too(backend):
    params = some_params(9, 9)
    knots = table([(0, 1e-2), (3, 5e-2), (9, 1e-3)])
    other = table([(0, 0.1), (4, 0.9), (9, 0.5)])
    opt = AdamW(
        [{"params": [params[0]], "lr": knots}, {"params": [params[1]], "lr": knots}], betas=(other, 0.9), backend=backend
    )
    rates, betas = [], []
    for _ in range(11):
        give_gradients(params)
        opt.step()
        rates.append(opt.last_lr.tolist())
        betas.append(opt.param_groups[1]["betas"][0])
    assert rates == [pytest.approx([knots(k)] * 2, rel=1e-14) for k in range(11)]
    assert betas == [other(k) for k in range(11)]
    opt.rewarm(table([(0, 0.5), (2, 0.25)]))
    give_gradients(params)
    opt.step()
    opt.step()
    assert opt.last_lr.tolist() == [0.375] * 2


def test_knots_of_one_optimizer_have_room_for_4096():
    def long(value, n):
        return table([(i, value) for i in range(n)])

    params = some_params(3)
    opt = AdamW([{"params": params, "lr": long(1.0, 3000)}], weight_decay=long(2.0, 1000))
    give_gradients(params)
    opt.step()
    with pytest.raises(InvalidArgument, match="4096 knots in different tables together, these have 4100"):
        opt.rewarm(long(3.0, 3100))
    # As many as before, but the gap that the old ones leave is needed while they are replaced one by one.
    opt.rewarm(long(4.0, 3096))
    opt.step()
    assert opt.last_lr.item() == 4.0
    assert opt.param_groups[0]["weight_decay"] == 2.0


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


# ---- diagnostics --------------------------------------------------------------------------------------------------------


@backends
def test_areas_are_the_sums_of_their_definition(backend):
    params = some_params(3, 3)
    schedule = join(linear(0.0, 1.0, 3), linear(1.0, 0.2, 5), linear(0.2, 0.8, 2))
    groups = [{"params": params[:1], "lr": schedule}, {"params": params[1:], "lr": 0.5}]
    opt = AdamW(groups, diagnostics=Diagnostics(annealing_decay=0.9), backend=backend)
    applied: list[float] = []
    for k in range(12):
        give_gradients(params)
        if k == 7:  # an override is no update of the schedule
            opt.param_groups[0]["lr"] = 0.0
        opt.step()
        if k == 7:
            assert opt.last_lr[0].item() == 0.0
            opt.param_groups[0]["lr"] = schedule(6)
        else:
            applied.append(schedule(len(applied)))
    falls = [a - b for a, b in itertools.pairwise(applied)]
    s2 = sum(falls[k] * 0.9 ** (i - k) for i in range(len(falls)) for k in range(i + 1))
    assert opt.lr_area[0].item() == pytest.approx(sum(applied), rel=1e-13)
    assert opt.annealing_area[0].item() == pytest.approx(s2, rel=1e-12)
    assert opt.annealing_area[1].item() == 0.0
    assert opt.update_rms is None


@backends
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_update_rms_is_that_of_what_was_stored(backend, dtype):
    """Differences of stored values, in float32: relative error of one rounding each, and of n float64 additions."""
    params = some_params(1, 33, 17000, 5, dtype=dtype)
    opt = AdamW(params, lr=0.1, diagnostics=True, backend=backend)
    for present in (4, 3):
        give_gradients(params[:present])
        params[3].grad = params[3].grad if present == 4 else None
        before = [p.detach().double() for p in params[:present]]
        opt.step()
        changes = torch.cat([(p.detach().double() - b) for p, b in zip(params, before, strict=False)])
        exact = changes.square().mean().sqrt().item()
        assert opt.update_rms.item() == pytest.approx(exact, rel=2 * U)


@backends
def test_clip_rate_counts_updates_with_a_finite_norm(backend):
    params = some_params(4)
    opt = AdamW(params, max_grad_norm=1.0, backend=backend)
    for size in (0.1, 10.0, math.nan, 10.0, 0.1):
        params[0].grad = torch.full((4,), size)
        opt.step()
    assert opt.clip_rate.item() == 0.5
    assert opt.grad_norm_spikes.item() == 1  # NaN


@backends
def test_spikes_of_loss_and_norm(backend):
    """Against the same rule written out: Welford's mean and variance first, forgetting after 1 / (1 - decay) values."""
    watch = Diagnostics(spike_decay=0.8, spike_deviations=3.0, spike_after=4)
    params = some_params(1)
    opt = AdamW(params, lr=0.0, skip_nonfinite=True, diagnostics=watch, backend=backend)
    values = [1.0, 1.2, 0.9, 50.0, 1.1, 1.0, math.inf, 1.0, 1.2, 400.0, 1.0, 1.0]
    moments, counts = (0.0, 0.0), (0, 0)
    for k, x in enumerate(values):
        opt.record_loss(torch.tensor(x) if k % 2 else x)
        params[0].grad = torch.tensor([x])
        opt.step()
        moments, counts = reference.watch_value(torch.tensor(x).item(), moments, counts[:2], decay=0.8, deviations=3.0, after=4)
        assert bool(opt.loss_spike) == bool(counts[2])
        assert bool(opt.grad_norm_spike) == bool(counts[2])
    assert opt.loss_spikes.item() == opt.grad_norm_spikes.item() == counts[1] == 2
    seen = values[:6]
    moments, counts = (0.0, 0.0), (0, 0)
    for x in seen[:5]:
        moments, counts = reference.watch_value(x, moments, counts[:2], decay=0.8, deviations=3.0, after=4)
    assert moments[0] == pytest.approx(sum(seen[:5]) / 5)
    assert moments[1] == pytest.approx(sum((x - moments[0]) ** 2 for x in seen[:5]) / 5)


def test_the_rule_for_spikes_in_torch_operations_is_the_same():
    from rewarm.optim.live import watch_value

    watch = Diagnostics(spike_decay=0.8, spike_deviations=2.0, spike_after=3)
    moments, counts = torch.zeros(2, dtype=torch.float64), torch.zeros(3, dtype=torch.int64)
    wanted, seen = (0.0, 0.0), (0, 0, 0)
    for x in (1.0, 2.0, 1.5, 90.0, math.nan, 1.0, 1.1, 60.0):
        watch_value(torch.tensor(x, dtype=torch.float64), moments, counts, watch)
        wanted, seen = reference.watch_value(x, wanted, seen[:2], decay=0.8, deviations=2.0, after=3)
        assert moments.tolist() == pytest.approx(wanted, rel=1e-14)
        assert tuple(counts.tolist()) == seen


def test_reads_are_fresh_and_live_views_follow():
    opt = run(steps=2)
    live, before = opt.live, opt.lr_area
    for name, value in live._asdict().items():
        assert value.untyped_storage().data_ptr() in {
            opt.tables.scalars.untyped_storage().data_ptr(),
            opt.tables.counters.untyped_storage().data_ptr(),
        }, name
    params = opt.param_groups[0]["params"]
    give_gradients(params)
    opt.step()
    assert live.lr_area.item() > before.item()


def test_a_schedule_is_kept_as_plain_data():
    opt = everything(some_params(3))
    stored = opt.param_groups[0]["schedules"]
    assert {key: Schedule.from_dict(value) for key, value in stored.items()} == opt.schedules[0]
