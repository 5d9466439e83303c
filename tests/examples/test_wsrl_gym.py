"""wsrl_gym.py in a tiny setting: Pendulum from data made there, an HDF5 file, what it says about bad input."""

import importlib
import importlib.util
import json
import types
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NEEDED = ("torch", "gymnasium", "tqdm", "matplotlib", "scipy")
MISSING = [name for name in NEEDED if not importlib.util.find_spec(name)]
TINY = "--seeds 2 --critics 2 --hidden 8 8 --utd 2 --batch 16 --pretrain-steps 10 --warmup 40 --every 70 --online-steps 140"
TINY = [*TINY.split(), "--episodes", "1"]

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"the example needs {', '.join(MISSING)}: rewarm[rl,examples]")


@pytest.fixture(scope="module")
def program():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        yield importlib.import_module("wsrl_gym")


def run(program, tmp_path, *arguments) -> dict:
    args = program.parse_arguments([*TINY, *arguments])
    _, files = program.run(args, tmp_path)
    assert files == ["offline.pt", "wsrl_gym.svg", "wsrl_gym.json"] and all((tmp_path / file).is_file() for file in files)
    return json.loads((tmp_path / "wsrl_gym.json").read_text())


def test_pendulum_from_data_made_here(program, tmp_path):
    results = run(program, tmp_path, "--collect-steps", "620")
    assert results["arguments"]["online_kwargs"] == {"g": 14.0}
    for arm in results["arms"].values():
        returns = np.array(arm["return"])
        assert returns.shape == (2, 3) and (returns < 0).all()
    assert results["arms"]["wsrl"]["first_update"] == 40
    q = results["arms"]["wsrl"]["probe_q"]
    assert [seed[0] for seed in q] == results["pretraining"][-1]["probe_q"]


def d4rl_file(path: Path, rows: int, obs_dim: int = 2, act_dim: int = 1) -> Path:
    """MountainCarContinuous-like rows: actions in [-1, 1], episodes of 100."""
    import h5py

    draw = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file["observations"] = draw.normal(size=(rows, obs_dim)).astype(np.float32)
        file["actions"] = draw.uniform(-1, 1, (rows, act_dim)).astype(np.float32)
        file["rewards"] = draw.normal(size=rows).astype(np.float32)
        file["terminals"] = np.zeros(rows, bool)
        file["timeouts"] = np.arange(rows) % 100 == 99
        file["next_observations"] = draw.normal(size=(rows, obs_dim)).astype(np.float32)
    return path


def test_probe_of_a_file_is_held_out(program, tmp_path):
    """The probe has the file's first rows, and the buffer has all others."""
    h5py = pytest.importorskip("h5py", reason="HDF5 files need h5py: rewarm[rl]")
    path = d4rl_file(tmp_path / "data.hdf5", 2500)
    make_envs = program.Maker("MountainCarContinuous-v0", {}, {})
    args = types.SimpleNamespace(data=str(path), env="MountainCarContinuous-v0", reward_scale=0.5)
    buffer, probe = program.from_file(args, make_envs, [3, 4], {"gamma": 0.9})
    with h5py.File(path) as file:
        obs, rewards = file["observations"][:], file["rewards"][:]
    np.testing.assert_array_equal(probe.obs[0], obs[:512])
    assert len(buffer) == 2500 - 512
    held = {row.tobytes() for row in obs[:512]}
    drawn = buffer.sample(1900, offset=0)
    assert not held & {row.tobytes() for row in drawn.obs[0].numpy()}
    place = {row.tobytes(): i for i, row in enumerate(obs)}
    places = [place[row.tobytes()] for row in drawn.obs[1].numpy()]
    np.testing.assert_array_equal(drawn.reward[1], (0.5 * rewards[places].astype(np.float64)).astype(np.float32))


def refused(program, tmp_path, *arguments) -> str:
    with pytest.raises(program.UsageError) as stopped:
        program.run(program.parse_arguments([*TINY, *arguments]), tmp_path)
    return str(stopped.value)


def test_bad_requests_say_what_is_accepted(program, tmp_path):
    assert "--data nowhere: no such file" in refused(program, tmp_path, "--data", "nowhere")
    assert "--env Nothing-v0: " in refused(program, tmp_path, "--env", "Nothing-v0")
    assert "Box spaces are accepted" in refused(program, tmp_path, "--env", "CartPole-v1")
    pytest.importorskip("h5py", reason="HDF5 files need h5py: rewarm[rl]")
    few, wide = d4rl_file(tmp_path / "few.hdf5", 1000), d4rl_file(tmp_path / "wide.hdf5", 2100, obs_dim=5)
    car = ["--env", "MountainCarContinuous-v0", "--data"]
    assert "1,000 transitions, at least 2,048 are accepted" in refused(program, tmp_path, *car, str(few))
    assert "(5, 1) wide, those of MountainCarContinuous-v0 (2, 1)" in refused(program, tmp_path, *car, str(wide))
    assert "whose actions are in [-1, 1]" in refused(program, tmp_path, "--data", str(few))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--seeds", "1"], "--seeds 1: at least 2"),
        (["--batch", "15"], "--batch 15: even numbers"),
        (["--env-kwargs", "[1]"], "a JSON object"),
        (["--online-steps", "90"], "--online-steps 90: more than"),
    ],
    ids=["one seed", "odd batch", "no object", "too short"],
)
def test_bad_arguments_say_what_is_accepted(program, arguments, says, capsys):
    with pytest.raises(SystemExit):
        program.parse_arguments([*TINY, *arguments])
    assert says in capsys.readouterr().err
