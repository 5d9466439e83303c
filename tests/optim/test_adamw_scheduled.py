"""Schedules of betas, eps, ema_decay and the limit of the norm; tables of knots; what is refused."""

from __future__ import annotations

import pytest
import torch
from test_adamw_extras import U, backends, everything, give_gradients, some_params

from rewarm.errors import InvalidArgument, ScheduleConflict
from rewarm.optim import AdamW
from rewarm.optim import adamw_reference as reference
from rewarm.schedule import constant, linear, table


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
