"""The WSRL maze example as a program, two seeds: files, numbers, frozen warm-up, bad input, Ctrl-C. Learning: -m learning."""

import importlib.util
import json
import math
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

PROGRAM = Path(__file__).parents[2] / "examples" / "wsrl_maze.py"
NEEDED = ("torch", "gymnasium", "tqdm", "matplotlib", "scipy")
MISSING = [name for name in NEEDED if not importlib.util.find_spec(name)]
ARMS = ["wsrl", "no_warmup", "rlpd", "scratch"]
TINY = {"seeds": 2, "pretrain-steps": 40, "online-steps": 360, "warmup": 260, "every": 45, "episodes": 2, "transitions": 600}

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"the example needs {', '.join(MISSING)}: rewarm[rl,examples]")


def command(out: Path, *arguments) -> list[str]:
    return [sys.executable, str(PROGRAM), *(f"--{key}={value}" for key, value in TINY.items()), f"--out={out}", *arguments]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One complete run: what it printed, results, folder."""
    out = tmp_path_factory.mktemp("out") / "results"
    extra = ["--tensorboard"] if importlib.util.find_spec("tensorboard") else []
    process = subprocess.run(command(out, *extra), capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout, json.loads((out / "wsrl_maze.json").read_text()), out


def test_writes_whole_files(finished):
    _, _, out = finished
    names = {path.name for path in out.iterdir()}
    assert names - {"tensorboard"} == {"offline.pt", "wsrl_maze.json", "wsrl_maze.svg"}
    assert ElementTree.parse(out / "wsrl_maze.svg").getroot().tag.endswith("svg")
    if "tensorboard" in names:
        assert any(path.name.startswith("events") for path in (out / "tensorboard").iterdir())


def test_json_holds_every_evaluation_of_every_seed(finished):
    _, results, _ = finished
    assert list(results["arms"]) == ARMS
    for arm in results["arms"].values():
        assert arm["steps"] == list(range(0, 361, 45))
        for measure in ("return", "success", "probe_q", "alpha"):
            assert [len(seed) for seed in arm[measure]] == [9, 9]
            assert all(math.isfinite(value) for seed in arm[measure] for value in seed)
        assert all(-60 <= value <= 0 for seed in arm["return"] for value in seed)
    assert [point["step"] for point in results["pretraining"]] == [0, 8, 16, 24, 32, 40]


def test_warm_up_is_frozen_and_starts_from_the_offline_agent(finished):
    """Until the first update nothing about an arm changes, bit for bit; afterwards everything does."""
    _, results, _ = finished
    offline = results["pretraining"][-1]
    for name, arm in results["arms"].items():
        assert arm["first_update"] == 32 if name == "no_warmup" else 260 <= arm["first_update"] <= 270
        for seed in range(2):
            q, alpha, start = arm["probe_q"][seed], arm["alpha"][seed], arm["return"][seed]
            frozen = sum(step < arm["first_update"] for step in arm["steps"])
            assert len(set(q[:frozen])) == len(set(start[:frozen])) == 1
            assert len(set(q[frozen - 1 :])) == len(q) - frozen + 1
            if name in ("wsrl", "no_warmup"):
                assert (q[0], alpha[0]) == (offline["probe_q"][seed], offline["alpha"][seed])
    arms = results["arms"]
    assert arms["wsrl"]["return"][0][0] == arms["no_warmup"]["return"][0][0]  # the same episodes
    assert arms["rlpd"]["probe_q"][0][0] == arms["scratch"]["probe_q"][0][0] != arms["wsrl"]["probe_q"][0][0]


def test_prints_what_it_found(finished):
    printed, results, _ = finished
    for item in results["verdicts"]:
        assert item["text"] in printed
    assert "reach the goal" in printed and "RLPD-style, half offline" in printed


def test_ctrl_c_leaves_nothing(tmp_path):
    out = tmp_path / "results"
    long = ["--pretrain-steps=100000"]
    process = subprocess.Popen(command(out, *long), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("data "):
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "nothing was written" in errors and "Traceback" not in errors
    assert not out.exists()


def test_evaluation_is_one_episode_a_start(monkeypatch):
    """Two policies, two seeds, three starts: returns and arrivals as of one copy at a time, stopped at its first end."""
    monkeypatch.syspath_prepend(PROGRAM.parent)
    arms, maze = importlib.import_module("wsrl_arms"), importlib.import_module("wsrl_maze_env")
    starts, wind = [[1, 2, 3], [4, 5, 6]], (0.05, 0.06)

    def right_then_up_then_left(obs):
        x, y = obs[..., 0], obs[..., 1]
        return np.stack([np.where(y > 0.4, -1.0, 1.0), np.where((x > 0.4) | (y > 0.4), 7 * (2 / 3 - y), 0.0)], -1)

    policies = [right_then_up_then_left, lambda obs: np.zeros((*obs.shape[:-1], 2))]
    returns, ended = arms.evaluate(policies, maze.MazeVectorEnv(12, wind=wind), starts)
    for k, policy in enumerate(policies):
        for s, row in enumerate(starts):
            totals, arrivals = [], []
            for start in row:
                envs = maze.MazeVectorEnv(1, wind=wind)
                obs, _ = envs.reset(seed=start)
                total, over = 0.0, False
                while not over:
                    obs, reward, terminated, truncated, _ = envs.step(policy(obs))
                    total, over = total + reward[0], terminated[0] or truncated[0]
                totals.append(total)
                arrivals.append(terminated[0])
            assert returns[k, s] == pytest.approx(np.mean(totals)) and ended[k, s] == np.mean(arrivals)
    assert (ended[0] == 1).all() and (returns[0] > -40).all() and (returns[1] == -60).all()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--seeds=1"], "--seeds 1: at least 2 are accepted"),
        (["--wind", "1", "0"], "--wind 1 0: numbers in +-0.8 are accepted"),
        (["--online-steps=300"], "more than --warmup + --every = 305 is accepted"),
        (["--first-seed=9001"], "--first-seed 9001: 0 to 9,000 is accepted"),
    ],
    ids=["one seed", "storm", "too short", "first seed"],
)
def test_bad_arguments_say_what_is_accepted(arguments, says, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(PROGRAM.parent)
    program = importlib.import_module("wsrl_maze")
    with pytest.raises(SystemExit) as stopped:
        program.parse_arguments(command(tmp_path, *arguments)[2:])
    assert stopped.value.code == 2 and says in capsys.readouterr().err
