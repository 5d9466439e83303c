"""Verdicts, figure and files of the WSRL examples, on made-up curves and runs that do nothing."""

import argparse
import importlib
import os
import signal
import types
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy", reason="the statistics need scipy: rewarm[examples]")
pytest.importorskip("matplotlib", reason="the figure needs matplotlib: rewarm[examples]")

STEPS = list(range(0, 2001, 100))


@pytest.fixture(scope="module")
def modules():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[2] / "examples")
        yield types.SimpleNamespace(
            report=importlib.import_module("wsrl_report"), results=importlib.import_module("wsrl_results")
        )


def arms(seeds: int = 16, **returns_of) -> dict:
    """Four arms as the paper has them: WSRL dips and comes back, RLPD-style climbs late, scratch never."""
    t = np.array(STEPS)
    curves = {
        "wsrl": np.where(t <= 300, -45, np.where(t <= 500, -55, np.where(t <= 700, -30, -20))),
        "no_warmup": np.where(t <= 300, -58, np.where(t <= 500, -40, -20)),
        "rlpd": np.where(t <= 1500, -60, -25),
        "scratch": np.full(len(t), -60),
    } | returns_of
    jitter = np.random.default_rng(0).uniform(0, 1, (4, seeds, len(t)))
    made = {}
    for noise, (name, curve) in zip(jitter, curves.items(), strict=True):
        returns = np.asarray(curve, float) + np.zeros((seeds, 1))
        if name not in returns_of and name != "scratch":
            returns = returns + noise * (t > 0)  # the start is left as it is: to come back to it is no luck
        made[name] = {
            "first_update": 33 if name == "no_warmup" else 305,
            "steps": STEPS,
            "return": returns.tolist(),
            "probe_q": (-20 - (name == "no_warmup") * 5 * (t > 0) + noise).tolist(),
        }
    return made


def named(found: list[dict]) -> dict:
    return {item["name"]: item for item in found}


def test_verdicts_hold_on_the_papers_picture(modules, capsys):
    found = named(modules.report.verdicts(arms()))
    assert {name: item["holds"] for name, item in found.items()} == {
        "wsrl_above_scratch": True,
        "wsrl_not_worse_than_rlpd": True,
        "wsrl_recovers": True,
        "dip_wsrl": None,
        "dip_no_warmup": None,
        "spiral": None,
    }
    assert found["wsrl_recovers"]["recovered"] == 16 and found["wsrl_recovers"]["first"] == [600] * 16
    assert found["wsrl_recovers"]["started_at_the_floor"] == 0
    assert found["wsrl_above_scratch"]["superiority"] == 1.0
    assert all(9 <= dip <= 10 for dip in found["dip_wsrl"]["dip"])
    assert (found["spiral"]["above"], found["spiral"]["below"]) == (16, 0)
    modules.report.print_verdicts(list(found.values()))
    printed = capsys.readouterr().out
    assert printed.count("holds") == 3 and printed.count("reported") == 3 and "superiority 1.00" in printed


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("wsrl_above_scratch", {"scratch": np.full(21, -20.0)}),
        ("wsrl_not_worse_than_rlpd", {"rlpd": np.full(21, -20.0)}),
        ("wsrl_recovers", {"wsrl": np.where(np.array(STEPS) == 0, -45, -50)}),
    ],
)
def test_verdicts_fail_when_they_should(modules, name, broken, capsys):
    found = modules.report.verdicts(arms(**broken))
    assert named(found)[name]["holds"] is False
    modules.report.print_verdicts(found)
    assert "DOES NOT HOLD" in capsys.readouterr().out


def test_fourteen_of_sixteen_recover(modules):
    """Thirteen are too few; and those that start at the floor are told apart."""
    for back, holds in ((14, True), (13, False)):
        made = arms()
        for seed in made["wsrl"]["return"][back:]:
            seed[1:] = [-59.0] * 20
        item = named(modules.report.verdicts(made))["wsrl_recovers"]
        assert (item["recovered"], item["holds"]) == (back, holds)
    made = arms()
    for seed in made["wsrl"]["return"][:3]:
        seed[0] = -60.0
    assert named(modules.report.verdicts(made))["wsrl_recovers"]["started_at_the_floor"] == 3


def test_four_seeds_cannot_reach_the_level(modules):
    item = named(modules.report.verdicts(arms(4)))["wsrl_above_scratch"]
    assert item["holds"] is None and "too few seeds for .01: 4" in item["text"]
    assert named(modules.report.verdicts(arms(5)))["wsrl_above_scratch"]["holds"] is True


def test_figure_is_the_same_for_the_same_numbers(modules, tmp_path):
    for file in ("one.svg", "other.svg"):
        modules.report.plot(arms(), "title", tmp_path / file)
    assert ElementTree.parse(tmp_path / "one.svg").getroot().tag.endswith("svg")
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "other.svg").read_bytes()


def test_table_has_a_line_an_arm(modules, capsys):
    modules.report.print_table(arms())
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 5 and "2,000" in lines[0] and "-60.0" in lines[4]


def test_recorded_is_by_seed_then_step(modules):
    arm = types.SimpleNamespace(name="wsrl", first_update=7)
    evaluations = [(0, {"wsrl": {"return": [1.0, 2.0]}}), (100, {"wsrl": {"return": [3.0, 4.0]}})]
    found = modules.results.recorded([arm], evaluations)["wsrl"]
    assert found == {"label": "WSRL", "first_update": 7, "steps": [0, 100], "return": [[1.0, 3.0], [2.0, 4.0]]}


@pytest.fixture
def handlers():
    """The handlers of Ctrl-C and of termination as they were."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Stdout:
    """What pytest captures has no reconfigure."""

    def reconfigure(self, **_):
        pass

    def write(self, text):
        return len(text)

    def flush(self):
        pass


def keep(modules, monkeypatch, out, run):
    monkeypatch.setattr("sys.stdout", Stdout())
    return modules.results.keep_when_complete("program", argparse.Namespace(out=str(out)), run)


def complete(args, staging):
    (staging / "board").mkdir()
    (staging / "board" / "events").write_text("new")
    (staging / "a.json").write_text("new")
    (staging / "scratchpad").write_text("not listed")
    return {"seconds": {"all": 1.0}}, ["a.json", "board"]


def stopped(args, staging):
    (staging / "a.json").write_text("half")
    os.kill(os.getpid(), signal.SIGINT)
    return {"seconds": {"all": 1.0}}, ["a.json"]


def test_files_move_together_and_replace_old_ones(modules, monkeypatch, tmp_path, handlers):
    out = tmp_path / "out"
    (out / "board").mkdir(parents=True)
    (out / "board" / "old").write_text("old")
    (out / "kept").write_text("of another program")
    assert keep(modules, monkeypatch, out, complete) == 0
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*")) == ["a.json", "board", "board/events", "kept"]
    assert (out / "a.json").read_text() == "new"


def test_a_stopped_run_leaves_what_was_there(modules, monkeypatch, tmp_path, handlers, capsys):
    fresh, used = tmp_path / "fresh", tmp_path / "used"
    used.mkdir()
    (used / "a.json").write_text("old")
    assert keep(modules, monkeypatch, fresh, stopped) == 130 and not fresh.exists()
    assert keep(modules, monkeypatch, used, stopped) == 130
    assert [p.name for p in used.iterdir()] == ["a.json"] and (used / "a.json").read_text() == "old"
    assert "nothing was written" in capsys.readouterr().err


def test_a_refused_request_leaves_nothing(modules, monkeypatch, tmp_path, handlers, capsys):
    def refuse(args, staging):
        raise modules.results.UsageError("--data x: no such file")

    assert keep(modules, monkeypatch, tmp_path / "out", refuse) == 2 and not (tmp_path / "out").exists()
    assert capsys.readouterr().err == "program: --data x: no such file\n"


def test_tensorboard_is_optional(modules, monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(modules.results.UsageError, match=r"--tensorboard: .*pip install tensorboard"):
        modules.results.tensorboard_writer(tmp_path)
