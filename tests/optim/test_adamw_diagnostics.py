"""What the step tells: areas under the learning rate, size of the update, clip rate, spikes."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from test_adamw_extras import U, backends, everything, give_gradients, run, some_params

from rewarm.optim import AdamW, Diagnostics
from rewarm.optim import adamw_reference as reference
from rewarm.schedule import Schedule, join, linear


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
