"""Buffers from arrays, from an HDF5 file in D4RL's layout and from Minari, both written here, against plain loops."""

from types import SimpleNamespace

import numpy as np
import pytest

from rewarm.errors import InvalidArgument
from rewarm.rl import ReplayBuffer
from rewarm.rl.replay_reference import mc_returns


def walk(lengths, *, terminated, obs_dim=3, act_dim=2, seed=0):
    """Episodes with Minari's attributes: T + 1 observations each."""
    rng = np.random.default_rng(seed)
    episodes = []
    for i, (steps, ends) in enumerate(zip(lengths, terminated, strict=True)):
        flags = np.arange(steps) == steps - 1
        episodes.append(
            SimpleNamespace(
                id=i,
                observations=rng.normal(size=(steps + 1, obs_dim)),
                actions=rng.normal(size=(steps, act_dim)),
                rewards=rng.normal(size=steps),
                terminations=flags & ends,
                truncations=flags & (not ends),
            )
        )
    return episodes


EPISODES = {"lengths": [4, 1, 7, 1, 3], "terminated": [True, False, False, True, True]}


def expected_rows(episodes, gamma=0.9, keep_cut=True):
    """Row by row: what a buffer should hold. Without next observations the row that is cut off is not there."""
    rows = []
    for e in episodes:
        steps = len(e.rewards) - (0 if keep_cut or e.terminations[-1] else 1)
        returns = mc_returns([float(np.float32(r)) for r in e.rewards[:steps]], gamma)
        for t in range(steps):
            last = t == steps - 1
            term = bool(e.terminations[t])
            rows.append(
                (e.observations[t], e.actions[t], e.rewards[t], e.observations[t + 1], term, last and not term, returns[t])
            )
    return rows


def check(buffer, rows, *, next_of_terminated=True, clip=None):
    assert len(buffer) == len(rows) and buffer.pending == 0
    got = buffer.gather(range(len(rows)))
    for i, (obs, action, reward, next_obs, terminated, truncated, mc_return) in enumerate(rows):
        action = action if clip is None else np.clip(action, -clip, clip)
        assert np.array_equal(got.obs[0, i].numpy(), np.float32(obs)), i
        assert np.array_equal(got.action[0, i].numpy(), np.float32(action)), i
        assert got.reward[0, i] == np.float32(reward) and got.mc_return[0, i] == np.float32(mc_return), i
        assert (bool(got.terminated[0, i]), bool(got.truncated[0, i])) == (terminated, truncated), i
        if next_of_terminated or not terminated:
            assert np.array_equal(got.next_obs[0, i].numpy(), np.float32(next_obs)), i
        else:
            assert np.array_equal(got.next_obs[0, i].numpy(), np.float32(obs)), i


def flat(episodes):
    """The arrays of D4RL: an episode's last observation is not among `observations`."""
    join = lambda name, part=slice(None): np.concatenate([getattr(e, name)[part] for e in episodes])  # noqa: E731
    return {
        "observations": join("observations", slice(None, -1)),
        "actions": join("actions"),
        "rewards": join("rewards"),
        "next_observations": join("observations", slice(1, None)),
        "terminals": join("terminations"),
        "timeouts": join("truncations"),
    }


def arrays(data, *, following):
    return (
        data["observations"],
        data["actions"],
        data["rewards"],
        data["next_observations"] if following else None,
        data["terminals"],
        data["timeouts"],
    )


@pytest.mark.parametrize("following", [True, False], ids=["next_obs", "shifted"])
@pytest.mark.parametrize("open_end", [False, True], ids=["ended", "open"])
def test_from_arrays(following, open_end):
    episodes = walk(**EPISODES) + walk([5], terminated=[False], seed=1)
    data = flat(episodes)
    if open_end:  # the data end without a word, as a D4RL file may
        data["timeouts"][-1] = False
    buffer = ReplayBuffer.from_arrays(*arrays(data, following=following), mc_returns=True, gamma=0.9)
    assert buffer.capacity == len(data["rewards"])
    check(buffer, expected_rows(episodes, keep_cut=following), next_of_terminated=following)


def test_from_arrays_of_a_stack():
    data = [flat(walk(**EPISODES, seed=s)) for s in (0, 1)]
    stacked = {k: np.stack([d[k] for d in data]) for k in data[0]}
    buffer = ReplayBuffer.from_arrays(*arrays(stacked, following=False), seeds=(5, 6), mc_returns=True, gamma=0.9)
    for s, seed in enumerate((5, 6)):
        alone = ReplayBuffer.from_arrays(*arrays(data[s], following=False), seeds=(seed,), mc_returns=True, gamma=0.9)
        ours, theirs = buffer.gather(range(len(buffer))), alone.gather(range(len(alone)))
        assert np.array_equal(ours.next_obs[s], theirs.next_obs[0]) and np.array_equal(ours.mc_return[s], theirs.mc_return[0])


def write_hdf5(path, data, **changes):
    import h5py

    with h5py.File(path, "w") as file:
        for name, values in {**data, **changes}.items():
            if values is not None:
                file[name] = values
        file["metadata/algorithm"] = "walk"
    return path


@pytest.mark.parametrize("pieces", ["whole", "pieces"])
@pytest.mark.parametrize("flags", ["bool", "uint8"])
@pytest.mark.parametrize("following", [True, False], ids=["next_observations", "shifted"])
def test_from_hdf5(following, flags, pieces, tmp_path, monkeypatch):
    if pieces == "pieces":
        monkeypatch.setattr("rewarm.rl.replay_load._READ_AT_ONCE", 4 * 3 * 3)  # three rows at a time
    episodes = walk(**EPISODES) + walk([6, 2], terminated=[False, True], seed=1)
    data = flat(episodes)
    changes = {name: data[name].astype(flags) for name in ("terminals", "timeouts")}
    if not following:
        changes["next_observations"] = None
    path = write_hdf5(tmp_path / "walk.hdf5", data, **changes)
    buffer = ReplayBuffer.from_hdf5(path, seeds=(1, 2, 3), mc_returns=True, gamma=0.9, clip_action=0.5)
    assert buffer.config.shared
    check(buffer, expected_rows(episodes, keep_cut=following), next_of_terminated=following, clip=0.5)


BAD_FILES = {
    "missing": (
        {"timeouts": None},
        r"expected data sets observations, .*; missing: timeouts; there are \['actions', 'metadata'",
    ),
    "rows": ({"rewards": np.zeros(3)}, r"rewards: expected \[16\] with T >= 1 rows, as observations has, got \[3\]"),
    "axes": ({"actions": np.zeros(16)}, r"actions: expected \[16, width\] .* got \[16\]"),
    "float flags": ({"terminals": np.zeros(16)}, r"terminals: expected bool .* got float64"),
    "other flags": ({"timeouts": np.full(16, 2)}, r"timeouts: expected bool .* got int64"),
    "nan": (
        {"rewards": np.where(np.arange(16) == 9, np.nan, 0.0)},
        r"rows from 0 on: ReplayBuffer.add: reward of block 0, row 9",
    ),
    "next width": (
        {"next_observations": np.zeros((16, 2))},
        r"next_observations: expected \[16, 3\] as observations, got \[16, 2\]",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_hdf5(case, tmp_path):
    changes, message = BAD_FILES[case]
    path = write_hdf5(tmp_path / "bad.hdf5", flat(walk(**EPISODES)), **changes)
    with pytest.raises(InvalidArgument, match=r"from_hdf5: .*bad\.hdf5: " + message):
        ReplayBuffer.from_hdf5(path)


def test_from_episodes():
    episodes = walk(**EPISODES)
    episodes[-1].terminations[:] = False  # ends with neither flag: the recording stopped
    buffer = ReplayBuffer.from_minari(iter(episodes), mc_returns=True, gamma=0.9, clip_action=0.3)
    check(buffer, expected_rows(episodes), clip=0.3)


def test_from_dict_observations():
    episodes = walk(**EPISODES)
    for e in episodes:
        e.observations = {"goal": e.observations[:, :1], "observation": e.observations[:, 1:]}
    buffer = ReplayBuffer.from_minari(episodes, obs_keys=("observation", "goal"))
    assert np.array_equal(buffer.gather([0]).obs[0, 0, 2:], np.float32(episodes[0].observations["goal"][0]))
    with pytest.raises(InvalidArgument, match=r"episode 0: obs_keys: expected some of \['goal', 'observation'\].* got None"):
        ReplayBuffer.from_minari(episodes)


BAD_EPISODES = {
    "observations": (
        lambda e: setattr(e, "observations", e.observations[:-1]),
        r"expected observations \[T \+ 1, obs_dim\].*\[7, 3\]",
    ),
    "flags": (lambda e: setattr(e, "truncations", np.zeros(7)), r"truncations: expected bool .* got float64"),
    "nan": (lambda e: e.actions.__setitem__((2, 1), np.nan), r"ReplayBuffer.add: action of block 0, row 2, element 1"),
    "images": (
        lambda e: setattr(e, "observations", np.zeros((8, 4, 4))),
        r"observations: expected \[T \+ 1, obs_dim\], got \[8, 4, 4\]",
    ),
}


@pytest.mark.parametrize("case", BAD_EPISODES)
def test_bad_episodes(case):
    damage, message = BAD_EPISODES[case]
    episodes = walk(**EPISODES)
    damage(episodes[2])
    with pytest.raises(InvalidArgument, match=r"from_minari: episode 2: " + message):
        ReplayBuffer.from_minari(episodes)


def test_nothing_to_load():
    with pytest.raises(InvalidArgument, match="expected at least one episode"):
        ReplayBuffer.from_minari([])
    empty = np.zeros((0, 2))
    with pytest.raises(InvalidArgument, match="with N >= 1"):
        ReplayBuffer.from_arrays(empty, empty, empty[:, 0], None, empty[:, 0] > 0, empty[:, 0] > 0)
    data = flat(walk(**EPISODES))
    with pytest.raises(InvalidArgument, match="clip_action: expected a number > 0 or None, got -1"):
        ReplayBuffer.from_arrays(*arrays(data, following=True), clip_action=-1)


@pytest.mark.filterwarnings("ignore:`eval_env` is set to None", "ignore:env_spec is None")
def test_from_a_minari_data_set(tmp_path, monkeypatch):
    """A data set that Minari itself wrote, here and now."""
    import gymnasium
    import minari
    from minari.data_collector import EpisodeBuffer

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    episodes = walk(**EPISODES)
    buffers = [
        EpisodeBuffer(
            id=e.id,
            observations=list(np.float32(e.observations)),
            actions=list(np.float32(e.actions)),
            rewards=list(e.rewards),
            terminations=list(e.terminations),
            truncations=list(e.truncations),
            infos={},
        )
        for e in episodes
    ]
    box = lambda n: gymnasium.spaces.Box(-np.inf, np.inf, (n,), np.float32)  # noqa: E731
    dataset = minari.create_dataset_from_buffers(
        "rewarm/walk-v0",
        buffers,
        observation_space=box(3),
        action_space=box(2),
        author="rewarm",
        author_email="none",
        code_permalink="none",
        algorithm_name="walk",
        description="made by a test",
    )
    buffer = ReplayBuffer.from_minari(dataset, mc_returns=True, gamma=0.9)
    check(buffer, expected_rows(episodes))
