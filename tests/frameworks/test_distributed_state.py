"""torch.distributed.checkpoint takes dicts and lists apart: a schedule is neither mixed with another one nor lost."""

from __future__ import annotations

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict, set_optimizer_state_dict

from rewarm.errors import StateDictMismatch
from rewarm.optim import AdamW
from rewarm.schedule import constant, linear, wsd

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:torch.distributed.*")


def stepped(lr, updates=3):
    model = torch.nn.Linear(3, 2)
    opt = AdamW(model.parameters(), lr=lr)
    for _ in range(updates):
        model(torch.ones(4, 3)).square().sum().backward()
        opt.step()
        opt.zero_grad()
    return model, opt


def through_dcp(path, model, opt, into_model, into, options=None):
    dcp.save({"optimizer": get_optimizer_state_dict(model, opt, options=options)}, checkpoint_id=path, no_dist=True)
    content = {"optimizer": get_optimizer_state_dict(into_model, into, options=options)}
    dcp.load(content, checkpoint_id=path, no_dist=True)
    set_optimizer_state_dict(into_model, into, content["optimizer"], options=options)


@pytest.mark.parametrize("saved", [constant(1e-3), linear(1e-2, 0.0, 9), wsd(1e-2, 1e-3, 2, 2, 2)], ids=["1", "2", "3 pieces"])
@pytest.mark.parametrize("made", [constant(0.5), wsd(0.5, 0.1, 1, 1, 1)], ids=["into 1", "into 3"])
def test_a_schedule_comes_back_whole_whatever_the_optimizer_had(tmp_path, saved, made):
    model, opt = stepped(saved)
    opt.rewarm(saved)
    other_model, other = stepped(made, updates=0)
    through_dcp(tmp_path, model, opt, other_model, other)
    assert other.schedules == opt.schedules
    mine, theirs = (o.state_dict()["param_groups"][0] for o in (other, opt))
    assert mine == theirs
    assert mine["updates"] == mine["lr_origin"] == 3
    for p, q in zip(other_model.parameters(), model.parameters(), strict=True):
        assert all(torch.equal(other.state[p][key], value) for key, value in opt.state[q].items())


def test_a_schedule_that_would_be_dropped_is_refused(tmp_path):
    model, opt = stepped(linear(1e-2, 0.0, 9))
    other_model, other = stepped(1e-3, updates=0)
    with pytest.raises(StateDictMismatch, match="saved with a Schedule of lr that is not in it any more"):
        through_dcp(tmp_path, model, opt, other_model, other)
    assert other.param_groups[0]["lr"] == 1e-3


def test_a_schedule_without_counters_is_refused(tmp_path):
    model, opt = stepped(linear(1e-2, 0.0, 9))
    other_model, other = stepped(linear(1e-2, 0.0, 9), updates=0)
    with pytest.raises(StateDictMismatch, match="has a Schedule and no counters"):
        through_dcp(tmp_path, model, opt, other_model, other, StateDictOptions(flatten_optimizer_state_dict=True))


def test_creating_state_for_a_checkpoint_moves_nothing():
    model = torch.nn.Linear(3, 2)
    before = [p.detach().clone() for p in model.parameters()]
    opt = AdamW(model.parameters(), lr=linear(1e-2, 0.0, 1000, units="tokens"))
    state = get_optimizer_state_dict(model, opt)
    assert (state["param_groups"][0]["updates"], state["param_groups"][0]["lr"]) == (0, 1e-2)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    model(torch.ones(4, 3)).sum().backward()
    opt.step(tokens=10)
    assert opt.last_lr.item() == 1e-2
