"""The verbs: what each does to the rates that are applied, that it is saved, undone, logged, and refuses what it cannot do."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from test_adamw import some_params
from test_adamw_state import gradients, through_a_file

from rewarm.errors import InvalidArgument
from rewarm.optim import AdamW
from rewarm.schedule import Schedule, constant, cosine, infinite, join, linear, warmup_cosine, wsd

SHAPES = [(33, 5), (17,), (4, 3, 2)]


def make(weights=0, lr=None, **kwargs):
    torch.manual_seed(weights)
    params = some_params(SHAPES)
    options = {"lr": lr or wsd(1e-2, 1e-3, 5, 40, 10), "weight_decay": linear(0.1, 0.0, 40), "max_grad_norm": 0.7}
    groups = [{"params": params[:2], "name": "body"}, {"params": params[2:], "name": "head"}]
    return params, AdamW(groups, **{**options, **kwargs})


def run(params, opt, steps, first=0, tokens=None):
    """The rates of group 0 that were applied."""
    rates = []
    for k in range(first, first + steps):
        gradients(params, k)
        opt.step(tokens=tokens)
        rates.append(opt.last_lr.tolist())
    return rates


VERBS = {
    "rewarm keep": lambda o: o.rewarm(warmup_cosine(2e-2, 1e-3, 4, 20)),
    "rewarm reset": lambda o: o.rewarm(warmup_cosine(2e-2, 1e-3, 4, 20), state="reset"),
    "rewarm reset grad": lambda o: o.rewarm(warmup_cosine(2e-2, 1e-3, 4, 20), state="reset", v_init="grad"),
    "rewarm reset_m": lambda o: o.rewarm(warmup_cosine(2e-2, 1e-3, 4, 20), state="reset_m", groups="head"),
    "rewarm reset_v": lambda o: o.rewarm(warmup_cosine(2e-2, 1e-3, 4, 20), state="reset_v"),
    "rewarm reset_v grad": lambda o: o.rewarm(warmup_cosine(2e-2, 1e-3, 4, 20), state="reset_v", v_init="grad"),
    "rewarm decay": lambda o: o.rewarm({"head": linear(2e-2, 1e-3, 20)}, state="decay:0.3"),
    "extend": lambda o: o.extend(90),
    "anneal": lambda o: o.anneal(length=12, shape="one_minus_sqrt"),
    "anneal later": lambda o: o.anneal(at=33, length=7, shape="cosine", to=1e-5),
    "set_schedule": lambda o: o.set_schedule(constant(3e-3), origin=0, groups=[1]),
    "set weight decay": lambda o: o.set_schedule(linear(0.2, 0.1, 9), key="weight_decay"),
    "branch": lambda o: o.branch(),
}


@pytest.mark.parametrize("verb", VERBS)
def test_save_and_load_at_every_update_around_a_verb_is_bit_identical(verb):
    """50 updates with the verb before update 25; from every save (before and after the verb too) the run goes on alike."""
    params, opt = make()
    gradients(params, 0)
    saved = []
    for k in range(50):
        saved.append((k, k == 25, [p.detach().clone() for p in params], through_a_file(opt.state_dict())))
        if k == 25:
            VERBS[verb](opt)
            saved.append((k, False, [p.detach().clone() for p in params], through_a_file(opt.state_dict())))
        gradients(params, k)
        opt.step()
    final = through_a_file(opt.state_dict())
    for k, verb_is_next, weights, state in saved:
        again, resumed = make(weights=99)
        with torch.no_grad():
            for p, w in zip(again, weights, strict=True):
                p.copy_(w)
        resumed.load_state_dict(state)
        for j in range(k, 50):
            if j == 25 and (k < 25 or verb_is_next):
                VERBS[verb](resumed)
            gradients(again, j)
            resumed.step()
        assert all(torch.equal(p, q) for p, q in zip(again, params, strict=True)), k
        assert torch.equal(resumed.last_lr, opt.last_lr)
        assert resumed.state_dict()["param_groups"] == final["param_groups"], k
        for i, entry in final["state"].items():
            assert all(torch.equal(v, resumed.state_dict()["state"][i][key]) for key, v in entry.items())


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_keeps_every_address_and_the_plan_and_is_undone_by_loading(verb):
    params, opt = make()
    run(params, opt, 25)
    before = through_a_file(opt.state_dict())
    weights = [p.detach().clone() for p in params]
    tensors = [*(t for p in params for t in opt.state[p].values()), *vars(opt.tables).values(), opt._plan.counts_table]
    addresses = [t.data_ptr() for t in tensors if isinstance(t, torch.Tensor)]
    plan = opt._plan
    VERBS[verb](opt)
    assert opt._plan is plan
    tensors = [*(t for p in params for t in opt.state[p].values()), *vars(opt.tables).values(), opt._plan.counts_table]
    assert [t.data_ptr() for t in tensors if isinstance(t, torch.Tensor)] == addresses
    assert len(opt.history) == (0 if verb == "branch" else 1)
    gradients(params, 25)
    opt.step()
    assert opt._plan is plan, "no rebuild at the next step either"
    opt.load_state_dict(before)
    with torch.no_grad():
        for p, w in zip(params, weights, strict=True):
            p.copy_(w)
    assert opt.history == []
    again, peer = make()
    run(again, peer, 25)
    assert run(params, opt, 10, first=25) == run(again, peer, 10, first=25)
    assert all(torch.equal(p, q) for p, q in zip(params, again, strict=True))


def test_the_history_says_what_was_done_and_when():
    params, opt = make()
    run(params, opt, 3, tokens=7)
    new = linear(1e-2, 0.0, 9)
    opt.rewarm(new, state="decay:0.5", groups="head")
    run(params, opt, 2, tokens=7)
    opt.anneal(length=4, groups=0)
    first, second = opt.history
    assert first == {
        "verb": "rewarm",
        "arguments": {"state": "decay:0.5", "v_init": "zero", "schedules": {"1": new.to_dict()}},
        "updates": 3,
        "tokens": 21,
    }
    assert (second["verb"], second["updates"], second["tokens"]) == ("anneal", 5, 35)
    assert second["arguments"]["length"] == 4
    twin = copy.deepcopy(opt)
    assert twin.history == opt.history
    opt.history.clear()
    assert len(opt.history) == 2


# ---- what a verb does to the rates -----------------------------------------------------------------------------------


def test_extend_moves_the_decay_of_wsd_behind_a_longer_plateau():
    params, opt = make(lr=wsd(1e-2, 1e-3, 2, 6, 4))
    run(params, opt, 5)
    opt.extend(20)
    longer = wsd(1e-2, 1e-3, 2, 14, 4)
    assert [r[0] for r in run(params, opt, 18)] == [longer(k) for k in range(5, 23)]


def test_extend_stretches_a_cosine_that_has_not_begun():
    params, opt = make(lr=warmup_cosine(1e-2, 1e-3, 4, 6))
    run(params, opt, 3)
    opt.extend(30)
    longer = warmup_cosine(1e-2, 1e-3, 4, 26)
    assert [r[0] for r in run(params, opt, 30)] == [longer(k) for k in range(3, 33)]


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_extend_stretches_the_rest_of_a_decay_without_a_jump(kind):
    build = linear if kind == "linear" else cosine
    sched = join(constant(1e-2, 2), build(1e-2, 0.0, 10))
    params, opt = make(lr=sched)
    run(params, opt, 7)
    opt.extend(22)
    rest = build(sched(7), 0.0, 15)
    assert [r[0] for r in run(params, opt, 20)] == [rest(k) for k in range(20)]


def test_anneal_begins_at_the_present_rate_and_ends_where_it_is_told():
    params, opt = make(lr=infinite(1e-2, 5e-3, 1e-3, 3, 5))
    run(params, opt, 12)
    opt.anneal(length=4, shape="exponential", to=1e-4)
    rates = [r[0] for r in run(params, opt, 6)]
    assert rates[0] == 5e-3
    assert rates[4:] == [1e-4, 1e-4]


def test_anneal_at_a_later_count_follows_the_schedule_until_then():
    params, opt = make(lr=warmup_cosine(1e-2, 0.0, 4, 20))
    run(params, opt, 5)
    opt.anneal(at=10, length=3)
    old = warmup_cosine(1e-2, 0.0, 4, 20)
    expected = [old(k) for k in range(5, 10)] + [old(10) * (1 - r / 3) for r in range(4)]
    assert [r[0] for r in run(params, opt, 9)] == pytest.approx(expected, rel=1e-14, abs=1e-18)


def test_anneal_turns_a_plain_rate_into_a_schedule():
    params, opt = make(lr=3e-3)
    run(params, opt, 4)
    opt.anneal(length=2)
    assert [r[1] for r in run(params, opt, 3)] == [3e-3, 1.5e-3, 0.0]


def test_loading_takes_back_a_schedule_that_a_verb_gave_to_a_plain_rate():
    params, opt = make(lr=3e-3)
    run(params, opt, 4)
    before = through_a_file(opt.state_dict())
    opt.anneal(length=2, groups=0)
    run(params, opt, 1)
    opt.load_state_dict(before)
    assert "lr" not in opt.schedules[0]
    assert run(params, opt, 3) == [[3e-3, 3e-3]] * 3


def test_set_schedule_from_the_start_of_the_run_or_from_now():
    params, opt = make()
    run(params, opt, 6)
    new = warmup_cosine(1e-2, 1e-3, 10, 10)
    opt.set_schedule(new, origin=0, groups="body")
    opt.set_schedule(new, groups="head")
    assert run(params, opt, 3) == [[new(6 + k), new(k)] for k in range(3)]


def test_after_a_rewarm_the_count_of_extend_and_anneal_follows_its_origin():
    params, opt = make()
    run(params, opt, 6)
    opt.rewarm(wsd(1e-2, 0.0, 1, 3, 2))
    run(params, opt, 2)
    opt.extend(10)
    longer = wsd(1e-2, 0.0, 1, 7, 2)
    assert [r[0] for r in run(params, opt, 4)] == [longer(k) for k in range(2, 6)]
    opt.anneal(at=13, length=2)  # the run's own count: 6 updates before the re-warming, 12 now
    assert [r[0] for r in run(params, opt, 4)] == [1e-2, 1e-2, 5e-3, 0.0]


def test_a_branch_is_independent_and_loads_into_others():
    params, opt = make()
    model = torch.nn.ParameterList(params)
    run(params, opt, 8)
    point = through_a_file(opt.branch(model))
    opt.anneal(length=5)
    annealed = run(params, opt, 6, first=8)
    others, main = make(weights=5)
    twin = torch.nn.ParameterList(others)
    twin.load_state_dict(point["model"])
    main.load_state_dict(point["optimizer"])
    assert [act["verb"] for act in main.history] == ["branch"]
    assert annealed[-1][0] == 0.0
    again, straight = make()
    run(again, straight, 8)
    assert run(others, main, 6, first=8) == run(again, straight, 6, first=8)
    assert all(torch.equal(p, q) for p, q in zip(others, again, strict=True))


# ---- what is refused -------------------------------------------------------------------------------------------------

REFUSED = {
    "unknown state": (lambda o: o.rewarm(constant(1e-3), state="forget"), r"rewarm: state: expected one of 'keep'.*'forget'"),
    "decay beyond 1": (lambda o: o.rewarm(constant(1e-3), state="decay:1.5"), r"x in \[0, 1\], got 'decay:1.5'"),
    "decay of nan": (lambda o: o.rewarm(constant(1e-3), state="decay:nan"), r"got 'decay:nan'"),
    "v_init": (lambda o: o.rewarm(constant(1e-3), v_init="one"), r"v_init: expected 'zero' or 'grad'"),
    "v_init of a kept v": (lambda o: o.rewarm(constant(1e-3), v_init="grad"), r"needs a v that is reset, got state='keep'"),
    "no schedule": (lambda o: o.rewarm(1e-3), r"expected a rewarm.schedule.Schedule, got float"),
    "NaN peak": (lambda o: o.rewarm(warmup_cosine(math.nan, 0.0, 2, 3)), r"max_lr: expected a finite number.* got nan"),
    "unknown group": (lambda o: o.rewarm(constant(1e-3), groups="tail"), r"expected some of .*'body', 'head'.* got 'tail'"),
    "group twice": (lambda o: o.rewarm({0: constant(1.0), "body": constant(2.0)}), r"each once"),
    "second of a dict": (lambda o: o.rewarm({0: constant(1.0), 1: 2.0}, state="reset"), r"got float"),
    "other units": (lambda o: o.rewarm(constant(1e-3, units="tokens")), r"counts tokens, the run counts steps.*change_units"),
    "ends before now": (lambda o: o.set_schedule(linear(1.0, 0.0, 6), origin=0), r"ends after 6 steps.* stands at 7"),
    "origin ahead": (lambda o: o.set_schedule(constant(1.0), origin=8), r"count <= 7"),
    "key": (lambda o: o.set_schedule(constant(1.0), key="gamma"), r"key: expected one of lr, weight_decay"),
    "shorter": (lambda o: o.extend(50), r"group 0: extend: total: expected more than the present end 55, got 50"),
    "at in the past": (lambda o: o.anneal(at=6, length=3), r"expected a count >= 7"),
    "shape": (lambda o: o.anneal(length=3, shape="banana"), r"shape: expected one of linear"),
    "exponential to 0": (lambda o: o.anneal(length=3, shape="exponential"), r"exponential: to_value"),
    "length 0": (lambda o: o.anneal(length=0), r"length: expected a whole number >= 1"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_done_is_named_and_changes_nothing(case):
    act, message = REFUSED[case]
    params, opt = make()
    run(params, opt, 7)
    before = through_a_file(opt.state_dict())
    with pytest.raises(InvalidArgument, match=message):
        act(opt)
    after = opt.state_dict()
    assert after["param_groups"] == before["param_groups"]
    for i, entry in before["state"].items():
        assert all(torch.equal(value, after["state"][i][key]) for key, value in entry.items())
    again, peer = make()
    run(again, peer, 7)
    assert run(params, opt, 3) == run(again, peer, 3)


@pytest.mark.parametrize(
    ("sched", "message"),
    [
        (infinite(1e-2, 5e-3, 1e-3, 1, 2), "has no end"),
        (wsd(1e-2, 0.0, 1, 2, 2), "the decay ended at 5 and the schedule stands at 7"),
        (linear(0.0, 1.0, 20), "no decaying piece"),
        (3e-3, "plain learning rate and no Schedule"),
    ],
    ids=["open", "ended", "rising", "float"],
)
def test_extend_is_refused_where_it_means_nothing(sched, message):
    params, opt = make(lr=sched)
    run(params, opt, 7)
    with pytest.raises(InvalidArgument, match=message):
        opt.extend(100)


def test_anneal_inside_a_cosine_that_ends_above_zero_is_refused():
    params, opt = make(lr=warmup_cosine(1e-2, 1e-3, 2, 10))
    run(params, opt, 3)
    with pytest.raises(InvalidArgument, match=r"cannot be cut exactly; give a joint \(2 or 12\)"):
        opt.anneal(at=6, length=3)
    opt.anneal(at=12, length=3)


def test_units_change_only_when_that_is_said():
    params, opt = make(lr=constant(1e-2, units="tokens"))
    run(params, opt, 3, tokens=100)
    with pytest.raises(InvalidArgument, match="counts steps, the run counts tokens"):
        opt.rewarm(linear(1e-2, 0.0, 10))
    new = linear(1e-2, 0.0, 10)
    opt.rewarm(new, change_units=True)
    assert [r[0] for r in run(params, opt, 3, tokens=100)] == [new(0), new(1), new(2)]


def test_verbs_before_the_first_step():
    params, opt = make()
    new = linear(1e-2, 0.0, 10)
    opt.rewarm(new, state="reset", v_init="grad")
    assert run(params, opt, 2) == [[new(k)] * 2 for k in range(2)]
    assert isinstance(opt.schedules[0]["lr"], Schedule)
