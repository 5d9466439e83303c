"""State dicts, copies and checkpoints: nothing is lost, nothing is half-changed."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from test_adamw import some_params

from rewarm.errors import StateDictMismatch
from rewarm.optim import AdamW
from rewarm.optim.checkpoint import StateDtypeWarning
from rewarm.schedule import linear, warmup_cosine

SHAPES = [(33, 5), (17,), (4, 3, 2)]


def make(weights=0, **kwargs):
    """Parameters drawn from the generator seeded with `weights`, and their optimizer."""
    torch.manual_seed(weights)
    params = some_params(SHAPES, kwargs.pop("dtype", torch.float32))
    options = {"lr": warmup_cosine(1e-2, 1e-3, 5, 30), "weight_decay": linear(0.1, 0.0, 40), "max_grad_norm": 0.7}
    groups = [{"params": params[:2]}, {"params": params[2:], "lr": 3e-3}]
    return params, AdamW(groups, **{**options, **kwargs})


def gradients(params, k):
    generator = torch.Generator().manual_seed(1000 + k)
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator).to(p.dtype)


def through_a_file(state_dict):
    buffer = io.BytesIO()
    torch.save(state_dict, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


@pytest.mark.parametrize(
    "kwargs", [{}, {"amsgrad": True}, {"dtype": torch.bfloat16, "stochastic_rounding": True, "seed": 9}], ids=str
)
def test_save_and_load_at_every_step_continues_bit_identically(kwargs):
    params, opt = make(**kwargs)
    gradients(params, 0)
    checkpoints = []
    for k in range(50):
        checkpoints.append(([p.detach().clone() for p in params], copy.deepcopy(opt.state_dict())))
        gradients(params, k)
        opt.step()
    final = [p.detach().clone() for p in params]
    for k in range(0, 50, 1 if not kwargs else 7):
        weights, state = checkpoints[k]
        again, resumed = make(weights=99, **kwargs)
        with torch.no_grad():
            for p, w in zip(again, weights, strict=True):
                p.copy_(w)
        resumed.load_state_dict(through_a_file(state))
        for j in range(k, 50):
            gradients(again, j)
            resumed.step()
        assert all(torch.equal(p, q) for p, q in zip(again, final, strict=True)), k
        assert torch.equal(resumed.last_lr, opt.last_lr)


def test_torch_to_rewarm_to_torch():
    ours, opt = make(lr=1e-2, weight_decay=0.1, max_grad_norm=None)
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    split = [{"params": theirs[:2]}, {"params": theirs[2:], "lr": 3e-3}]
    peer = torch.optim.AdamW(split, lr=1e-2, weight_decay=0.1, fused=True)
    control = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    whole = torch.optim.AdamW(
        [{"params": control[:2]}, {"params": control[2:], "lr": 3e-3}], lr=1e-2, weight_decay=0.1, fused=True
    )

    def steps(params, o, span):
        for k in span:
            gradients(params, k)
            o.step()

    steps(control, whole, range(12))
    steps(theirs, peer, range(4))
    with torch.no_grad():
        for p, q in zip(ours, theirs, strict=True):
            p.copy_(q)
    opt.load_state_dict(through_a_file(peer.state_dict()))
    for p, q in zip(ours, theirs, strict=True):
        for key in ("step", "exp_avg", "exp_avg_sq"):
            assert torch.equal(opt.state[p][key], peer.state[q][key])
    steps(ours, opt, range(4, 8))
    back = torch.optim.AdamW([{"params": theirs[:2]}, {"params": theirs[2:]}], fused=True)
    with torch.no_grad():
        for p, q in zip(theirs, ours, strict=True):
            p.copy_(q)
    back.load_state_dict(through_a_file(opt.state_dict()))
    for p, q in zip(ours, theirs, strict=True):
        for key in ("step", "exp_avg", "exp_avg_sq"):
            assert torch.equal(opt.state[p][key], back.state[q][key])
    assert [g["lr"] for g in back.param_groups] == [1e-2, 3e-3]
    steps(theirs, back, range(8, 12))
    for p, q in zip(theirs, control, strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=5e-6)


def test_a_torch_checkpoint_lets_our_schedule_go_on_where_it_stood():
    params, _ = make()
    peer = torch.optim.AdamW([{"params": params[:2]}, {"params": params[2:]}], lr=0.5)
    for k in range(7):
        gradients(params, k)
        peer.step()
    sched = warmup_cosine(1e-2, 1e-3, 5, 30)
    others, opt = make(lr=sched)
    opt.load_state_dict(peer.state_dict())
    gradients(others, 8)
    opt.step()
    assert opt.last_lr.tolist() == [sched(7), 0.5]


def test_a_tensor_lr_survives_loading_as_the_same_tensor():
    _params, opt = make(lr=torch.tensor(1e-2))
    lr = opt.param_groups[0]["lr"]
    saved = copy.deepcopy(opt.state_dict())
    lr.fill_(0.5)
    opt.load_state_dict(saved)
    assert opt.param_groups[0]["lr"] is lr
    assert lr.item() == pytest.approx(1e-2)
    assert isinstance(make(lr=1e-3)[1].param_groups[0]["lr"], float)


def test_loading_is_in_place():
    params, opt = make()
    gradients(params, 0)
    opt.step()
    addresses = [opt.state[p][k].data_ptr() for p in params for k in ("step", "exp_avg", "exp_avg_sq")]
    tables = opt.tables
    dicts = [id(g) for g in opt.param_groups]
    saved = copy.deepcopy(opt.state_dict())
    gradients(params, 1)
    opt.step()
    opt.load_state_dict(saved)
    assert [opt.state[p][k].data_ptr() for p in params for k in ("step", "exp_avg", "exp_avg_sq")] == addresses
    assert opt.tables is tables
    assert [id(g) for g in opt.param_groups] == dicts
    assert opt.state[params[0]]["step"].item() == 1


def broken(kind, saved):
    if kind == "another shape":
        saved["state"][1]["exp_avg"] = torch.zeros(18)
    elif kind == "missing moment":
        del saved["state"][2]["exp_avg_sq"]
    elif kind == "missing step":
        del saved["state"][2]["step"]
    elif kind == "groups":
        saved["param_groups"].pop()
    elif kind == "members":
        saved["param_groups"][0]["params"] = [0]
    elif kind == "schedule":
        saved["param_groups"][1]["schedules"] = {"lr": {"format": "x"}}
    elif kind == "no dict":
        saved.pop("state")
    return saved


@pytest.mark.parametrize(
    "kind", ["another shape", "missing moment", "missing step", "groups", "members", "schedule", "no dict"]
)
def test_a_state_dict_that_does_not_fit_changes_nothing(kind):
    params, opt = make()
    for k in range(3):
        gradients(params, k)
        opt.step()
    before = copy.deepcopy(opt.state_dict())
    with pytest.raises(StateDictMismatch, match="AdamW: load_state_dict"):
        opt.load_state_dict(broken(kind, copy.deepcopy(opt.state_dict())))
    after = opt.state_dict()
    assert before["param_groups"] == after["param_groups"]
    for k, entry in before["state"].items():
        assert all(torch.equal(entry[key], after["state"][k][key]) for key in entry)


def test_the_state_dict_holds_plain_values_and_the_live_groups_stay_clean():
    params, opt = make(weights=3)
    gradients(params, 0)
    opt.step()
    group = opt.state_dict()["param_groups"][0]
    assert (group["updates"], group["tokens"], group["skipped_steps"], group["seed"]) == (1, 0, 0, 0)
    assert isinstance(group["schedules"]["lr"], dict)
    assert "updates" not in opt.param_groups[0]
    assert set(opt.state[params[0]]) == {"step", "exp_avg", "exp_avg_sq"}
    assert opt.state[params[0]]["step"].dtype is torch.float32
    owners = {opt.state[p][k].untyped_storage().data_ptr() for p in params for k in ("step", "exp_avg", "exp_avg_sq")}
    assert len(owners) == 9


def test_counts_beyond_what_a_float32_holds_survive():
    params, opt = make()
    gradients(params, 0)
    opt.step()
    many = 2**24 + 1
    for p in params:
        opt.state[p]["step"].fill_(2.0**24)
    for _ in range(3):
        opt.step()
    saved = opt.state_dict()
    assert saved["param_groups"][0]["exact_steps"] == [many + 2] * 2
    again, resumed = make(weights=1)
    resumed.load_state_dict(through_a_file(saved))
    gradients(again, 0)
    resumed.step()
    assert resumed.state_dict()["param_groups"][1]["exact_steps"] == [many + 3]


def test_float32_moments_of_bfloat16_parameters_return_bit_for_bit():
    params, opt = make(dtype=torch.bfloat16, state_dtype=torch.float32)
    for k in range(3):
        gradients(params, k)
        opt.step()
    with pytest.warns(StateDtypeWarning, match="torch.float32 moments of torch.bfloat16 parameters"):
        saved = opt.state_dict()
    opt.state_dict()  # said once
    again, resumed = make(weights=5, dtype=torch.bfloat16, state_dtype=torch.float32)
    resumed.load_state_dict(through_a_file(saved))
    for p, q in zip(params, again, strict=True):
        for key in ("exp_avg", "exp_avg_sq"):
            assert resumed.state[q][key].dtype is torch.float32
            assert torch.equal(opt.state[p][key], resumed.state[q][key])


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))], ids=["deepcopy", "pickle"])
def test_copies_go_on_alone_and_alike(copier):
    params, opt = make()
    for k in range(6):
        gradients(params, k)
        opt.step()
    twin = copier(opt)
    copied = [p for g in twin.param_groups for p in g["params"]]
    assert twin.tables.counters.data_ptr() != opt.tables.counters.data_ptr()
    for k in range(6, 12):
        gradients(params, k)
        opt.step()
        gradients(copied, k)
        twin.step()
    assert all(torch.equal(p, q) for p, q in zip(params, copied, strict=True))
    assert torch.equal(opt.last_lr, twin.last_lr)
    gradients(params, 12)
    opt.step()
    assert not torch.equal(opt.live.last_lr, twin.live.last_lr)


def test_a_rewarmed_schedule_is_saved_with_its_origin():
    params, opt = make()
    for k in range(6):
        gradients(params, k)
        opt.step()
    new = warmup_cosine(2e-2, 1e-3, 4, 9)
    opt.rewarm(new)
    for k in range(3):
        gradients(params, k)
        opt.step()
    _, resumed = make(weights=4)
    others = [p for g in resumed.param_groups for p in g["params"]]
    resumed.load_state_dict(through_a_file(opt.state_dict()))
    for k in range(3, 9):
        gradients(others, k)
        resumed.step()
        assert resumed.last_lr.tolist() == [new(k)] * 2


def test_load_hooks_are_called_as_in_torch():
    params, opt = make()
    gradients(params, 0)
    opt.step()
    calls = []
    opt.register_load_state_dict_pre_hook(lambda o, s: calls.append("pre") or {**s})
    opt.register_load_state_dict_post_hook(lambda o: calls.append("post"))
    opt.register_state_dict_post_hook(lambda o, s: calls.append(sorted(s)))
    opt.load_state_dict(opt.state_dict())
    assert calls == [["param_groups", "state"], "pre", "post"]
