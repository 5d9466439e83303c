import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from rewarm.errors import InvalidArgument
from rewarm.schedule import cosine, diff, join, linear, warmup_cosine
from rewarm.schedule.cli import schedule

OURS = "warmup_cosine --max-lr 3e-4 --min-lr 3e-5 --warmup-steps 100 --decay-steps 900"
THEIRS = "match --kind cosine --max-lr 3e-4 --min-lr 3e-5 --warmup-steps 100 --total-steps 1000 --framework"


def test_every_counter_is_compared_where_there_are_few():
    a, b = warmup_cosine(1.0, 0.1, 10, 90), join(linear(0.0, 1.0, 10), cosine(1.0, 0.2, 90))
    found = diff(a, b)
    assert (found.first, found.exhaustive, found.steps.tolist()) == (11, True, list(range(111)))
    assert found.a.tolist() == a.values(range(111)).tolist()
    assert found.rows(3) == [(k, a(k), b(k)) for k in (11, 12, 13)]
    same = diff(a, a)
    assert (same.first, same.rows(1)) == (None, [(0, 0.0, 0.0)])
    assert diff(a, a.scale(1 + 1e-12), rtol=1e-9).first is None
    assert diff(a, a.scale(1 + 1e-12)).first == 1


def test_long_schedules_are_sampled_and_say_so():
    a, b = (warmup_cosine(1.0, 0.1, 10**9, n * 10**12, units="tokens") for n in (14, 15))
    found = diff(a, b)
    assert not found.exhaustive
    assert found.first > 10**9
    assert {10**9 - 1, 10**9, 10**9 + 14 * 10**12} <= set(found.steps.tolist())
    assert diff(a, b, [0, 10**9, 10**12]).first == 10**12


def test_diff_refuses():
    a = warmup_cosine(1.0, 0.1, 10, 90)
    with pytest.raises(InvalidArgument, match="same units, got 'steps' and 'tokens'"):
        diff(a, warmup_cosine(1.0, 0.1, 10, 90, units="tokens"))
    for steps in ([], [3, 3], [2, 1]):
        with pytest.raises(InvalidArgument, match="at least one counter, rising strictly"):
            diff(a, a, steps)
    with pytest.raises(InvalidArgument, match="rtol"):
        diff(a, a, rtol=np.nan)


def test_the_command_names_the_first_difference(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr.json").write_text(json.dumps(warmup_cosine(3e-4, 3e-5, 100, 900).to_dict()))
    run = CliRunner().invoke
    for pair in ([OURS, "lr.json"], ["lr.json", f"{THEIRS} litgpt"]):
        result = run(schedule, ["diff", *pair])
        assert (result.exit_code, result.output) == (0, "equal at every count up to 1_100\n")
    result = run(schedule, ["diff", OURS, f"{THEIRS} neox"])
    assert result.exit_code == 1
    assert "first difference at 0" in result.output
    assert "3e-06" in result.output
    assert run(schedule, ["diff", OURS, f"{THEIRS} neox", "--at", "500", "--at", "5"]).exit_code == 0
    assert run(schedule, ["diff", OURS, f"{THEIRS} neox", "--at", "0"]).exit_code == 1
    nudged = OURS.replace("3e-4", "3.0000000000000003e-4")
    assert run(schedule, ["diff", OURS, nudged]).exit_code == 0
    assert run(schedule, ["diff", OURS, nudged, "--rtol", "0"]).exit_code == 1


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ("lr.json", "'lr.json' is neither a file nor one of"),
        (f"{THEIRS} keras", "match: framework: expected one of hf"),
        (f"{THEIRS} hf", "min_lr: expected 0, this kind has none here"),
        (f"{OURS} --units tokens", "same units"),
        (f"{OURS} --nothing", "No such option"),
    ],
)
def test_the_command_refuses(other, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(schedule, ["diff", OURS, other])
    assert result.exit_code == 2
    assert message in result.output


def test_edges_are_a_table_for_the_docs():
    lines = CliRunner().invoke(schedule, ["edges"]).output.splitlines()
    assert "| torchtitan | cosine | 0.100 | 9 to 10 | 0.1003 | 0.1000 | 0.2053 |" in lines
    docs = Path(__file__).parents[2] / "docs" / "schedule.md"
    assert set(lines) <= set(docs.read_text(encoding="utf-8").splitlines())
