"""The rules of a resume, R1 to R7 of docs/resume.md, as tests."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch

import rewarm
from rewarm.errors import InvalidArgument, ScheduleConflict, StateDictMismatch
from rewarm.optim import AdamW
from rewarm.resume import StepScheduleWarning
from rewarm.schedule import constant, linear, warmup_cosine, wsd

SCHEDULE = warmup_cosine(1e-2, 1e-3, 4, 30)


def make(seed=0, lr=SCHEDULE, **options):
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 3))
    groups = [{"params": list(model[0].parameters())}, {"params": list(model[2].parameters())}]
    return model, AdamW(groups, lr=lr, weight_decay=0.1, max_grad_norm=1.0, **options)


def train(model, opt, first, stop, tokens=None):
    """Updates `first` to `stop` on data that depends on the update alone; the rates that were applied."""
    rates = []
    for k in range(first, stop):
        generator = torch.Generator().manual_seed(k)
        opt.zero_grad()
        model(torch.randn(8, 5, generator=generator)).square().mean().backward()
        opt.step(tokens=tokens)
        rates.append(opt.last_lr.tolist())
    return rates


def saved(model, opt, path):
    torch.save({"model": model.state_dict(), "optimizer": opt.state_dict(), "epoch": 3}, path)
    return path


def same(model, other):
    return all(torch.equal(p, q) for p, q in zip(model.parameters(), other.parameters(), strict=True))


def test_r1_resume_is_bit_identical_and_the_schedule_comes_from_the_checkpoint(tmp_path):
    model, opt = make()
    train(model, opt, 0, 9)
    opt.rewarm(wsd(2e-2, 1e-3, 2, 4, 3), state="decay:0.5")
    train(model, opt, 9, 13)
    path = saved(model, opt, tmp_path / "run.pt")
    rates = train(model, opt, 13, 22)
    again, resumed = make(seed=5, lr=wsd(2e-2, 1e-3, 2, 4, 3))
    report = rewarm.load(path, again, resumed)
    assert (report.format, report.policy, report.updates) == ("rewarm", "resume", 13)
    assert train(again, resumed, 13, 22) == rates
    assert report.next_lr[0] == [r[0] for r in rates[:5]]
    assert same(model, again)
    assert resumed.state_dict()["param_groups"] == opt.state_dict()["param_groups"]


def test_r2_two_schedules_are_a_conflict_with_both_rates_at_the_next_five_updates(tmp_path):
    model, opt = make()
    train(model, opt, 0, 6)
    path = saved(model, opt, tmp_path / "run.pt")
    other = linear(5e-3, 0.0, 40)
    again, resumed = make(seed=5, lr=other)
    with pytest.raises(ScheduleConflict) as caught:
        rewarm.load(path, again, resumed)
    lines = str(caught.value).splitlines()
    rows = [line.split() for line in lines if line.split()[:1] and line.split()[0].isdigit()]
    expected = [[str(k), f"{SCHEDULE(k):.6g}", f"{other(k):.6g}"] for k in range(6, 11)]
    assert rows == expected * 2, "a table a group"
    assert not same(model, again)
    assert not resumed.state, "nothing was loaded"


@pytest.mark.parametrize("winner", ["checkpoint", "config"])
def test_r2_the_user_picks_whose_schedule_it_is(winner, tmp_path):
    model, opt = make()
    train(model, opt, 0, 6)
    path = saved(model, opt, tmp_path / "run.pt")
    other = linear(5e-3, 0.0, 40)
    again, resumed = make(seed=5, lr=other)
    rewarm.load(path, again, resumed, on_conflict=winner)
    chosen = SCHEDULE if winner == "checkpoint" else other
    assert train(again, resumed, 6, 10) == [[chosen(k)] * 2 for k in range(6, 10)]


def test_r2_a_plain_rate_that_is_not_the_default_is_a_wish_too(tmp_path):
    model, opt = make()
    train(model, opt, 0, 6)
    path = saved(model, opt, tmp_path / "run.pt")
    with pytest.raises(ScheduleConflict, match=r"0\.0005"):
        rewarm.load(path, *make(lr=5e-4))
    again, resumed = make(lr=1e-3)
    rewarm.load(path, again, resumed)
    assert train(again, resumed, 6, 7) == [[SCHEDULE(6)] * 2]
    plain_model, plain = make(lr=3e-3)
    train(plain_model, plain, 0, 2)
    state = plain_model.state_dict(), plain.state_dict()
    again, resumed = make(lr=5e-4)
    with pytest.raises(ScheduleConflict):
        rewarm.load({"model": state[0], "optimizer": state[1]}, again, resumed, policy="resume")
    rewarm.load({"model": state[0], "optimizer": state[1]}, again, resumed, policy="resume", on_conflict="config")
    assert train(again, resumed, 2, 3) == [[5e-4] * 2]


@pytest.mark.parametrize("state", ["keep", "reset", "reset_v"])
def test_r3_a_rewarming_load_begins_with_f_of_0_where_the_counters_stand(state, tmp_path):
    model, opt = make()
    train(model, opt, 0, 9)
    path = saved(model, opt, tmp_path / "run.pt")
    new = warmup_cosine(2e-2, 1e-3, 3, 20)
    again, resumed = make(seed=5)
    report = rewarm.load(path, again, resumed, policy="rewarm", schedule=new, state=state)
    opt.rewarm(new, state=state)
    assert report.updates == 9
    step = resumed.state[again[0].weight]["step"].item()
    assert step == (0 if state == "reset" else 9)
    assert train(again, resumed, 9, 15) == train(model, opt, 9, 15) == [[new(k)] * 2 for k in range(6)]
    assert same(model, again)


def test_r4_loading_keeps_every_address_and_the_plan(tmp_path):
    model, opt = make()
    train(model, opt, 0, 4)
    path = saved(model, opt, tmp_path / "run.pt")
    train(model, opt, 4, 8)
    plan, tables = opt._plan, opt.tables
    tensors = [*model.parameters(), *(t for s in opt.state.values() for t in s.values())]
    tensors += [tables.counters, tables.scalars, tables.rows, plan.counts_table]
    addresses = [t.data_ptr() for t in tensors]
    rewarm.load(path, model, opt)
    assert opt._plan is plan
    assert opt.tables is tables
    tensors = [*model.parameters(), *(t for s in opt.state.values() for t in s.values())]
    tensors += [opt.tables.counters, opt.tables.scalars, opt.tables.rows, opt._plan.counts_table]
    assert [t.data_ptr() for t in tensors] == addresses
    fresh, other = make()
    assert train(model, opt, 4, 9) == train(fresh, other, 0, 9)[4:]
    assert same(model, fresh)


def test_r5_a_checkpoint_without_a_schedule_demands_a_policy(tmp_path):
    model, _ = make()
    peer = torch.optim.AdamW([{"params": list(model[0].parameters())}, {"params": list(model[2].parameters())}], lr=3e-3)
    for k in range(5):
        peer.zero_grad()
        model(torch.randn(8, 5, generator=torch.Generator().manual_seed(k))).square().mean().backward()
        peer.step()
    path = saved(model, peer, tmp_path / "torch.pt")
    again, resumed = make(seed=5)
    before = copy.deepcopy(again.state_dict())
    with pytest.raises(InvalidArgument, match=r"torch AdamW\) carries no schedule.*'resume'.*'rewarm'.*'weights'"):
        rewarm.load(path, again, resumed)
    assert all(torch.equal(v, before[k]) for k, v in again.state_dict().items())
    assert rewarm.load(path, again, resumed, policy="resume").updates == 5
    assert train(again, resumed, 5, 7) == [[SCHEDULE(k)] * 2 for k in (5, 6)]
    assert rewarm.load(path, again, resumed, policy="rewarm").updates == 5
    assert train(again, resumed, 5, 7) == [[SCHEDULE(k)] * 2 for k in (0, 1)]
    again, resumed = make(seed=5)
    assert rewarm.load(path, again, resumed, policy="weights").updates == 0
    assert same(again, model)
    assert not resumed.state


@pytest.mark.parametrize("count", [False, True])
@pytest.mark.parametrize("how", ["norm", "found_inf"])
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_r6_a_skipped_step_advances_tokens_only_when_that_is_asked(count, how, backend):
    model, opt = make(lr=constant(1e-3, units="tokens"), count_skipped_tokens=count, backend=backend)
    train(model, opt, 0, 2, tokens=100)
    for p in model.parameters():
        p.grad = torch.full_like(p, torch.inf if how == "norm" else 1.0)
    if how == "found_inf":
        opt.found_inf = torch.ones(())
    opt.step(tokens=100)
    group = opt.state_dict()["param_groups"][0]
    assert (group["updates"], group["tokens"], group["skipped_steps"]) == (2, 300 if count else 200, 1)


def test_r6_the_counters_only_grow_by_steps_and_are_exact(tmp_path):
    model, opt = make(lr=constant(1e-3, units="tokens"))
    train(model, opt, 0, 1, tokens=2**53 - 1)
    train(model, opt, 1, 3, tokens=1)
    opt.rewarm(constant(1e-3, units="tokens"), state="reset")
    group = opt.state_dict()["param_groups"][0]
    assert (group["updates"], group["tokens"], group["lr_origin"]) == (3, 2**53 + 1, 2**53 + 1)


@pytest.mark.parametrize("units", ["steps", "tokens"])
def test_r7_other_processes_or_another_batch_warn_under_a_schedule_in_steps(units, tmp_path):
    lr = warmup_cosine(1e-2, 1e-3, 400, 3000, units=units)
    model, opt = make(lr=lr)
    rates = train(model, opt, 0, 3, tokens=100)
    state = opt.state_dict()
    state["param_groups"][0]["world_size"] = 8
    point = {"model": model.state_dict(), "optimizer": state}
    again, resumed = make(lr=lr)
    if units == "steps":
        with pytest.warns(StepScheduleWarning, match=r"8 processes became 1 and 100 tokens an update became 200.*counts steps"):
            rewarm.load(point, again, resumed, tokens_per_update=200)
    else:
        rewarm.load(point, again, resumed, tokens_per_update=200)
        assert train(again, resumed, 3, 5, tokens=200)[1] == [lr(500)] * 2
    assert rates[0] == [0.0, 0.0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        state["param_groups"][0]["world_size"] = 1
        rewarm.load(point, *make(lr=lr), tokens_per_update=100)


# ---- all or nothing --------------------------------------------------------------------------------------------------


def damage(kind, point, path):
    if kind == "truncated":
        torch.save(point, path)
        path.write_bytes(path.read_bytes()[:-700])
        return path
    if kind == "no checkpoint":
        path.write_bytes(b"not a checkpoint")
        return path
    if kind == "code":
        torch.save({**point, "config": make}, path)
        return path
    if kind == "missing weight":
        del point["model"]["2.bias"]
    elif kind == "extra weight":
        point["model"]["4.bias"] = torch.zeros(3)
    elif kind == "weight shape":
        point["model"]["0.weight"] = torch.zeros(7, 6)
    elif kind == "missing parameter":
        point["optimizer"]["param_groups"][1]["params"].pop()
    elif kind == "extra parameter":
        point["optimizer"]["state"][9] = point["optimizer"]["state"][0]
    elif kind == "moment shape":
        point["optimizer"]["state"][2]["exp_avg"] = torch.zeros(2)
    elif kind == "history":
        point["optimizer"]["param_groups"][0]["history"] = "[3]"
    elif kind == "moment starts":
        point["optimizer"]["param_groups"][1]["moment_starts"] = "[[7, 0, 1.0, 1.0, false]]"
    elif kind == "layout":
        return {"weights": 3}
    return point


DAMAGES = {
    "truncated": "truncated or not a torch checkpoint",
    "no checkpoint": "cannot be read as plain data|truncated or not",
    "code": "cannot be read as plain data",
    "missing weight": "missing in it: '2.bias'",
    "extra weight": "not in this model: '4.bias'",
    "weight shape": r"'0.weight': expected shape \(7, 5\), got \(7, 6\)",
    "missing parameter": "group 1: expected 2 parameters, got 1",
    "extra parameter": "none of its groups: .9",
    "moment shape": r"group 1, index 0.*'exp_avg': expected shape \(3, 7\), got \(2,\)",
    "history": "history cannot be read",
    "moment starts": "'moment_starts' cannot be read",
    "layout": "no layout that is known .its keys: 'weights'",
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_checkpoint_that_does_not_fit_is_named_and_nothing_is_loaded(kind, tmp_path):
    model, opt = make()
    train(model, opt, 0, 3)
    point = {"model": copy.deepcopy(model.state_dict()), "optimizer": copy.deepcopy(opt.state_dict())}
    again, resumed = make(seed=5)
    train(again, resumed, 0, 2)
    weights, state = copy.deepcopy(again.state_dict()), copy.deepcopy(resumed.state_dict())
    with pytest.raises(StateDictMismatch, match=DAMAGES[kind]):
        rewarm.load(damage(kind, point, tmp_path / "x.pt"), again, resumed)
    assert all(torch.equal(v, weights[k]) for k, v in again.state_dict().items())
    after = resumed.state_dict()
    assert after["param_groups"] == state["param_groups"]
    for k, entry in state["state"].items():
        assert all(torch.equal(v, after["state"][k][key]) for key, v in entry.items())


BAD_ARGUMENTS = [
    ({"policy": "continue"}, "policy: expected one of resume, rewarm, weights or None"),
    ({"on_conflict": "ours"}, "on_conflict: expected one of error, checkpoint, config"),
    ({"schedule": 1e-3}, "expected a rewarm.schedule.Schedule, got float"),
    ({"policy": "rewarm", "state": "half"}, "state: expected one of"),
    ({"policy": "rewarm", "schedule": constant(1.0, units="tokens")}, "counts tokens, the checkpoint counted steps"),
    ({"schedule": linear(1.0, 0.0, 2), "on_conflict": "config"}, "ends after 2 steps, and the checkpoint stands at 3"),
    ({"schedule": constant(1.0, units="tokens"), "on_conflict": "config"}, "counted 3 steps and no tokens"),
]


@pytest.mark.parametrize(("options", "message"), BAD_ARGUMENTS, ids=lambda x: None if isinstance(x, str) else "-".join(x))
def test_arguments_that_are_not_accepted_change_nothing(options, message):
    model, opt = make()
    train(model, opt, 0, 3)
    again, resumed = make(seed=5)
    before = copy.deepcopy(again.state_dict())
    with pytest.raises(InvalidArgument, match=message):
        rewarm.load({"model": model.state_dict(), "optimizer": opt.state_dict()}, again, resumed, **options)
    assert all(torch.equal(v, before[k]) for k, v in again.state_dict().items())
    assert not resumed.state


def test_a_file_that_is_not_there():
    with pytest.raises(InvalidArgument, match=r"nowhere.pt: no such file"):
        rewarm.load("nowhere.pt", *make())


def test_a_branch_is_loaded_like_any_checkpoint(tmp_path):
    model, opt = make(lr=wsd(1e-2, 0.0, 2, 30, 5))
    train(model, opt, 0, 8)
    torch.save(opt.branch(model), tmp_path / "before-anneal.pt")
    opt.anneal(length=4)
    train(model, opt, 8, 14)
    again, resumed = make(seed=3, lr=wsd(1e-2, 0.0, 2, 30, 5))
    rewarm.load(tmp_path / "before-anneal.pt", again, resumed)
    fresh, other = make(lr=wsd(1e-2, 0.0, 2, 30, 5))
    assert train(again, resumed, 8, 14) == train(fresh, other, 0, 14)[8:]
    assert same(again, fresh)
    assert [act["verb"] for act in resumed.history] == ["branch"]
    rewarm.load(tmp_path / "before-anneal.pt", model, opt)  # its own annealing is no wish that stands against the checkpoint
    assert train(model, opt, 8, 14) == train(*make_after(8), 8, 14)


def make_after(updates):
    model, opt = make(lr=wsd(1e-2, 0.0, 2, 30, 5))
    train(model, opt, 0, updates)
    return model, opt
