"""Groups, schedules, layouts and gradients that come and go: what a plan must follow from step to step."""

from __future__ import annotations

import math

import pytest
import torch
from test_adamw import backends, give_gradients, some_params
from torch.optim.lr_scheduler import LambdaLR

from rewarm.errors import InvalidArgument, ScheduleConflict
from rewarm.optim import AdamW
from rewarm.schedule import constant, linear, warmup_cosine

CLOSE = {"rtol": 0, "atol": 5e-6}  # one step of lr <= 1e-2 in float32, after at most 20 steps of rounding each way


def twins(shapes, **kwargs):
    ours = some_params(shapes, **kwargs)
    return ours, [torch.nn.Parameter(p.detach().clone()) for p in ours]


def same_gradients(ours, theirs):
    give_gradients(ours)
    for p, q in zip(ours, theirs, strict=True):
        q.grad = p.grad.clone()


@backends
def test_groups_have_their_own_values_and_schedules(backend, device):
    ours, theirs = twins([(40,), (41, 3), (5,)], device=device)
    sched = warmup_cosine(1e-2, 1e-3, 3, 10)
    opt = AdamW(
        [
            {"params": ours[:1], "lr": sched, "weight_decay": 0.0},
            {"params": ours[1:2], "betas": (0.8, 0.9)},
            {"params": ours[2:], "lr": 3e-3, "weight_decay": linear(0.5, 0.0, 8), "maximize": True},
        ],
        lr=5e-3,
        backend=backend,
    )
    peer = torch.optim.AdamW(
        [
            {"params": theirs[:1], "lr": 1.0, "weight_decay": 0.0},
            {"params": theirs[1:2], "betas": (0.8, 0.9)},
            {"params": theirs[2:], "lr": 3e-3, "maximize": True},
        ],
        lr=5e-3,
    )
    for k in range(15):
        same_gradients(ours, theirs)
        peer.param_groups[0]["lr"] = sched(k)
        peer.param_groups[2]["weight_decay"] = max(0.0, 0.5 * (1 - k / 8))
        opt.step()
        peer.step()
        assert opt.last_lr.tolist() == pytest.approx([sched(k), 5e-3, 3e-3], rel=1e-14)
        assert opt.param_groups[0]["lr"] == sched(k)
        assert isinstance(opt.param_groups[2]["weight_decay"], float)
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, **CLOSE)


@backends
def test_many_groups_and_more_than_a_thousand_tensors(backend, device):
    ours, theirs = twins([(1 + k % 7,) for k in range(1100)], device=device)
    split = [{"params": ours[k : k + 10], "lr": 1e-3 * (1 + k / 1000)} for k in range(0, 1100, 10)]
    opt = AdamW(split, backend=backend)
    peer = torch.optim.AdamW([{"params": theirs[k : k + 10], "lr": 1e-3 * (1 + k / 1000)} for k in range(0, 1100, 10)])
    for _ in range(3):
        same_gradients(ours, theirs)
        opt.step()
        peer.step()
    assert all(torch.allclose(p, q, **CLOSE) for p, q in zip(ours, theirs, strict=True))


@backends
def test_gradients_that_come_and_go_keep_their_own_t(backend, device):
    ours, theirs = twins([(17,), (18,), (19,)], device=device)
    opt, peer = AdamW(ours, lr=1e-2, backend=backend), torch.optim.AdamW(theirs, lr=1e-2)
    for present in ([0], [0, 2], [2], [0, 1, 2], [], [1], [0, 2]):
        same_gradients(ours, theirs)
        for k in set(range(3)) - set(present):
            ours[k].grad = theirs[k].grad = None
        opt.step()
        peer.step()
        opt.zero_grad()
        assert all(p.grad is None for p in ours)
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, **CLOSE)
        assert opt.state[p]["step"].item() == peer.state[q]["step"].item()


@backends
def test_a_step_without_any_gradient_advances_nothing(backend, device):
    (p,) = some_params([(4,)], device=device)
    opt = AdamW([p], lr=warmup_cosine(1.0, 0.1, 4, 10), backend=backend)
    opt.step()
    give_gradients([p])
    opt.step()
    opt.zero_grad()
    opt.step()
    give_gradients([p])
    opt.step()
    assert opt.last_lr.item() == 0.25
    assert opt.state[p]["step"].item() == 2


@backends
def test_late_groups_start_at_zero_under_the_current_schedule(backend, device):
    first, late = some_params([(40,), (41,)], device=device)
    sched = warmup_cosine(1e-2, 1e-3, 3, 10)
    opt = AdamW([first], lr=sched, backend=backend)
    for _ in range(4):
        give_gradients([first])
        opt.step()
    opt.add_param_group({"params": [late]})
    give_gradients([first, late])
    opt.step()
    assert opt.last_lr.tolist() == pytest.approx([sched(4)] * 2)
    assert [opt.state[p]["step"].item() for p in (first, late)] == [5, 1]


@backends
def test_layouts_unaligned_views_channels_last_and_foreign_gradient_strides(backend, device):
    flat = torch.randn(4096, device=device)
    views = [flat[1:34].view(33), flat[37:70].view(3, 11), flat[101:1101].view(10, 100).t()]
    ours = [torch.nn.Parameter(v) for v in views]
    ours.append(torch.nn.Parameter(torch.randn(4, 3, 5, 5, device=device).to(memory_format=torch.channels_last)))
    theirs = [torch.nn.Parameter(p.detach().clone(memory_format=torch.preserve_format)) for p in ours]
    untouched = flat.clone()
    opt, peer = AdamW(ours, lr=1e-2, max_grad_norm=1e6, backend=backend), torch.optim.AdamW(theirs, lr=1e-2)
    for k in range(4):
        same_gradients(ours, theirs)
        if k % 2:
            ours[3].grad = ours[3].grad.contiguous()
            ours[2].grad = ours[2].grad.contiguous()
        else:
            ours[3].grad = ours[3].grad.to(memory_format=torch.channels_last)
        opt.step()
        peer.step()
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, **CLOSE)
        assert opt.state[p]["exp_avg"].stride() == p.stride()
    gaps = torch.ones(4096, dtype=torch.bool)
    for a, b in ((1, 34), (37, 70), (101, 1101)):
        gaps[a:b] = False
    assert torch.equal(flat[gaps.to(device)], untouched[gaps.to(device)])


@backends
def test_a_gradient_without_its_own_storage_may_change_address_every_step(backend, device):
    ours, theirs = twins([(1000,), (33,)], device=device)
    opt, peer = AdamW(ours, lr=1e-2, backend=backend), torch.optim.AdamW(theirs, lr=1e-2)
    keep = []
    for _ in range(5):
        same_gradients(ours, theirs)
        keep.append([p.grad for p in ours])  # alive, so that the next ones must lie elsewhere
        opt.step()
        peer.step()
    assert len({g[0].data_ptr() for g in keep}) == 5
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, **CLOSE)


def test_a_parameter_that_moves_is_followed():
    ours, theirs = twins([(100,), (50,)])
    opt, peer = AdamW(ours, lr=1e-2), torch.optim.AdamW(theirs, lr=1e-2)
    for k in range(4):
        same_gradients(ours, theirs)
        if k == 2:
            ours[0].data = ours[0].data.clone()
            opt.state[ours[1]]["exp_avg"] = opt.state[ours[1]]["exp_avg"].clone()
        opt.step()
        peer.step()
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, **CLOSE)


def test_cleared_and_edited_state_is_honoured_as_in_torch():
    ours, theirs = twins([(100,)])
    opt, peer = AdamW(ours, lr=1e-2), torch.optim.AdamW(theirs, lr=1e-2)
    for k in range(6):
        same_gradients(ours, theirs)
        if k == 2:
            opt.state.clear()
            peer.state.clear()
        if k == 4:
            for o, p in ((opt, ours[0]), (peer, theirs[0])):
                o.state[p]["exp_avg"].zero_()
                o.state[p]["step"].fill_(7)
        opt.step()
        peer.step()
    torch.testing.assert_close(ours[0], theirs[0], **CLOSE)
    assert opt.state[ours[0]]["step"].item() == peer.state[theirs[0]]["step"].item() == 9


# ---- learning rates from outside -------------------------------------------------------------------------------------


def test_a_torch_scheduler_drives_a_float_lr():
    ours, theirs = twins([(30,)])
    opt, peer = AdamW(ours, lr=1e-2), torch.optim.AdamW(theirs, lr=1e-2)
    schedulers = [LambdaLR(o, lambda k: 1.0 / (1 + k)) for o in (opt, peer)]
    for _ in range(6):
        same_gradients(ours, theirs)
        opt.step()
        peer.step()
        for s in schedulers:
            s.step()
        assert opt.param_groups[0]["lr"] == peer.param_groups[0]["lr"]
    torch.testing.assert_close(ours[0], theirs[0], **CLOSE)


def test_edits_of_plain_values_are_honoured():
    ours, theirs = twins([(30,)])
    opt, peer = AdamW(ours, lr=1e-2), torch.optim.AdamW(theirs, lr=1e-2)
    for k in range(5):
        same_gradients(ours, theirs)
        for o in (opt, peer):
            group = o.param_groups[0]
            group["lr"] = 1e-2 / (k + 1)
            group["weight_decay"] = 0.1 * k
            group["betas"] = (0.9 - 0.1 * k, 0.99)
            group["eps"] = 10.0 ** -(k + 4)
            group["maximize"] = k == 3
        opt.step()
        peer.step()
    torch.testing.assert_close(ours[0], theirs[0], **CLOSE)


def test_a_tensor_lr_is_kept_and_followed():
    ours, theirs = twins([(30,)])
    lr = torch.tensor(1e-2)
    opt, peer = AdamW(ours, lr=lr), torch.optim.AdamW(theirs, lr=lr)
    for _ in range(3):
        same_gradients(ours, theirs)
        opt.step()
        peer.step()
        lr.mul_(0.5)
    assert opt.param_groups[0]["lr"] is lr
    torch.testing.assert_close(ours[0], theirs[0], **CLOSE)


def test_an_edit_under_a_schedule_raises_before_anything_changes():
    (p,) = some_params([(30,)])
    opt = AdamW([p], lr=warmup_cosine(1e-2, 1e-3, 3, 10))
    give_gradients([p])
    opt.param_groups[0]["lr"] = 5e-4
    with pytest.raises(ScheduleConflict, match=r"param group 0: 'lr' was set to 0.0005.*rewarm.*lr_scale"):
        opt.step()
    opt.param_groups[0]["lr"] = 0.0
    opt.step()
    before = p.detach().clone()
    opt.param_groups[0]["lr"] = 0.25
    with pytest.raises(ScheduleConflict):
        opt.step()
    assert torch.equal(p, before)


def test_lr_zero_from_outside_is_applied_while_the_schedule_stands_still():
    """What torch.distributed.checkpoint does to create state: lr 0, step, restore; also when f(0) is 0 itself."""
    (p,) = some_params([(30,)])
    sched = warmup_cosine(1e-2, 1e-3, 4, 10)
    opt = AdamW([p], lr=sched)
    start = p.detach().clone()
    kept = opt.param_groups[0]["lr"]
    assert kept == 0.0
    p.grad = torch.zeros_like(p)
    opt.param_groups[0]["lr"] = float("0.0")
    opt.step()
    opt.param_groups[0]["lr"] = kept
    assert torch.equal(p, start)
    for k in range(5):
        give_gradients([p])
        opt.step()
        assert opt.last_lr.item() == sched(k)


def test_lr_scale_multiplies_and_is_saved():
    (p,) = some_params([(30,)])
    opt = AdamW([p], lr=constant(1e-2))
    opt.lr_scale[0] = 0.5
    give_gradients([p])
    opt.step()
    assert opt.last_lr.item() == 5e-3
    assert opt.param_groups[0]["lr"] == 1e-2
    assert opt.state_dict()["param_groups"][0]["lr_scale"] == 0.5
    with pytest.raises(InvalidArgument, match="lr_scale"):
        opt.lr_scale[0] = -1.0


def test_token_schedules_count_tokens_exactly():
    (p,) = some_params([(5,)])
    sched = warmup_cosine(1.0, 0.1, 15_000_000_000_000, 10**12, units="tokens")
    opt = AdamW([p], lr=sched)
    give_gradients([p])
    with pytest.raises(InvalidArgument, match=r"step\(tokens=n\)"):
        opt.step()
    seen = 0
    for n in (7_499_999_999_999, 1, 2**53):
        opt.step(tokens=n)
        assert opt.last_lr.item() == sched(seen)
        seen += n
    assert opt.state_dict()["param_groups"][0]["tokens"] == seen


def test_rewarm_starts_the_new_schedule_now_and_keeps_the_state():
    ours = some_params([(30,), (31,)])
    opt = AdamW([{"params": ours[:1]}, {"params": ours[1:], "lr": 3e-3}], lr=warmup_cosine(1e-2, 1e-3, 2, 5))
    for _ in range(7):
        give_gradients(ours)
        opt.step()
    moments = opt.state[ours[0]]["exp_avg"].clone()
    new = warmup_cosine(2e-2, 1e-4, 3, 6)
    opt.rewarm(new)
    assert torch.equal(opt.state[ours[0]]["exp_avg"], moments)
    assert [g["lr"] for g in opt.param_groups] == [0.0, 0.0]
    for k in range(12):
        give_gradients(ours)
        opt.step()
        assert opt.last_lr.tolist() == [new(k)] * 2
    assert opt.state[ours[0]]["step"].item() == 19
    with pytest.raises(InvalidArgument, match=r"expected a rewarm.schedule.Schedule, got float"):
        opt.rewarm(1e-3)


def test_reads_are_copies_and_live_views_are_not():
    (p,) = some_params([(30,)])
    opt = AdamW([p], lr=1e-2, max_grad_norm=1.0)
    assert math.isnan(opt.last_lr.item())
    kept, live = opt.last_lr, opt.live.last_lr
    give_gradients([p])
    opt.step()
    assert math.isnan(kept.item())
    assert live.item() == 1e-2
    assert opt.last_lr.dtype is torch.float64
    assert opt.skipped_steps.dtype is torch.int64
