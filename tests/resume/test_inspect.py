"""``rewarm inspect`` and checkpoints in ``rewarm schedule``."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner
from test_resume_rules import make, train

from rewarm.cli import rewarm
from rewarm.schedule import warmup_cosine, wsd


def run(*arguments):
    result = CliRunner().invoke(rewarm, list(map(str, arguments)))
    return result.exit_code, result.output


@pytest.fixture
def checkpoint(tmp_path):
    model, opt = make()
    train(model, opt, 0, 6, tokens=10)
    opt.rewarm({1: wsd(2e-2, 1e-3, 2, 9, 4)}, state="reset_v")
    train(model, opt, 6, 8, tokens=10)
    torch.save(opt.branch(model), tmp_path / "run.pt")
    return tmp_path / "run.pt", opt


def test_json_has_the_rates_that_a_resume_applies(checkpoint, tmp_path):
    path, opt = checkpoint
    code, output = run("inspect", path, "--json")
    assert code == 0
    found = json.loads(output)
    assert (found["format"], found["updates"], found["tokens"], found["parameters"]) == ("rewarm", 8, 80, 4)
    assert [act["verb"] for act in found["history"]] == ["rewarm", "branch"]
    model, resumed = make(lr=1e-3)
    resumed.load_state_dict(opt.state_dict())
    applied = train(model, resumed, 8, 18)
    assert [list(rates) for rates in zip(*(g["next_lr"] for g in found["groups"]), strict=True)] == applied


def test_the_table_names_schedule_history_and_what_comes(checkpoint):
    code, output = run("inspect", checkpoint[0])
    assert code == 0
    for text in (
        "rewarm",
        "schedule in steps from 6",
        "one_minus_sqrt",
        "at update 6, token 60: rewarm(state=reset_v",
        "resume:",
    ):
        assert text in output, text


def test_a_checkpoint_of_torch_says_that_a_policy_is_needed(tmp_path):
    model, _ = make()
    peer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    torch.save({"optimizer": peer.state_dict(), "scheduler": {"last_epoch": 4, "lr_lambdas": [None]}}, tmp_path / "torch.pt")
    code, output = run("inspect", tmp_path / "torch.pt")
    assert code == 0
    assert "plain learning rate 0.003" in output
    assert "asks for a policy" in output
    assert "last_epoch 4" in output


def test_damaged_and_missing_files_are_one_line(tmp_path):
    (tmp_path / "x.pt").write_bytes(b"PK\x03\x04nothing")
    for path, text in ((tmp_path / "x.pt", "truncated or not a torch checkpoint"), (tmp_path / "y.pt", "no such file")):
        code, output = run("inspect", path)
        assert code == 1
        assert output.startswith("Error: load:")
        assert text in output


def test_schedule_commands_take_checkpoints(checkpoint, tmp_path):
    path, _ = checkpoint
    (tmp_path / "lr.json").write_text(json.dumps(warmup_cosine(1e-2, 1e-3, 4, 30).to_dict()))
    assert run("schedule", "diff", path, tmp_path / "lr.json")[0] == 0
    code, output = run("schedule", "diff", f"{path}@1", tmp_path / "lr.json")
    assert code == 1
    assert "first difference at" in output
    code, output = run("schedule", "show", f"{path}@1", "--json")
    assert json.loads(output) == wsd(2e-2, 1e-3, 2, 9, 4).to_dict()
    code, output = run("schedule", "show", f"{path}@7")
    assert code == 1
    assert "expected a group below 2, got 7" in output
