"""Bad input is refused with its argument, its place and what is accepted, and leaves the buffer as it was."""

import numpy as np
import pytest
import torch
from replay_cases import FIELDS, new_rows

from rewarm.errors import InvalidArgument
from rewarm.rl import ReplayBuffer


def buffer_and_rows(**options):
    rng = np.random.default_rng(0)
    buffer = ReplayBuffer(20, 3, 2, seeds=(0, 1), **options)
    rows = new_rows(rng, 2, 5)
    buffer.add(*(rows[k] for k in FIELDS))
    return buffer, rows


def with_value(name, at, value):
    def change(rows):
        rows[name][at] = value

    return change


def replaced(name, make):
    def change(rows):
        rows[name] = make(rows[name])

    return change


BAD_ROWS = {
    "nan reward": (with_value("reward", (1, 3), np.nan), r"reward of block 1, row 3: expected a finite number .* got nan"),
    "inf obs": (with_value("obs", (0, 4, 2), np.inf), r"obs of block 0, row 4, element 2: .* got inf"),
    "nan action": (with_value("action", (1, 0, 1), np.nan), r"action of block 1, row 0, element 1"),
    "inf next_obs": (with_value("next_obs", (0, 0, 0), -np.inf), r"next_obs of block 0, row 0, element 0: .* got -inf"),
    "too large for float32": (
        replaced("reward", lambda r: np.where(np.arange(5) == 2, 1e300, np.float64(r))),
        r"reward of block 0, row 2: expected a finite number that fits in float32, got inf",
    ),
    "huge reward": (with_value("reward", (0, 1), 1e30), r"reward of block 0, row 1: expected scale \* reward \+ bias within"),
    "float terminated": (replaced("terminated", np.float32), r"terminated: expected bool .* got float32"),
    "int truncated": (replaced("truncated", np.int64), r"truncated: expected bool .* got int64"),
    "text": (replaced("action", lambda a: a.astype(str)), r"action: expected floating-point or integer numbers, got <U"),
    "complex": (replaced("obs", np.complex64), r"obs: expected floating-point or integer numbers, got complex64"),
    "obs width": (replaced("obs", lambda a: a[..., :2]), r"obs: expected shape \[2, 3\] or \[2, N, 3\] .* got \[2, 5, 2\]"),
    "seeds": (replaced("obs", lambda a: a[:1]), r"obs: expected shape .* \(2 seeds, obs_dim 3\), got \[1, 5, 3\]"),
    "no seeds axis": (replaced("obs", lambda a: a[0]), r"obs: expected shape .* got \[5, 3\]"),
    "scalar": (replaced("obs", lambda a: 1.0), r"obs: expected shape .* got \[\]"),
    "action width": (replaced("action", lambda a: a[..., :1]), r"action: expected shape \[2, 5, 2\] as obs .* got \[2, 5, 1\]"),
    "reward axis": (replaced("reward", lambda a: a[..., None]), r"reward: expected shape \[2, 5\] .* got \[2, 5, 1\]"),
    "ragged": (replaced("reward", lambda a: [[1.0] * 5, [1.0] * 4]), r"reward: expected an array of numbers"),
    "terminated rows": (replaced("terminated", lambda a: a[:, :4]), r"terminated: expected shape \[2, 5\] .* got \[2, 4\]"),
}


@pytest.mark.parametrize("returns", [{}, {"mc_returns": True, "gamma": 0.9}], ids=["plain", "mc_returns"])
@pytest.mark.parametrize("case", BAD_ROWS)
def test_bad_rows_change_nothing(case, returns):
    change, message = BAD_ROWS[case]
    buffer, rows = buffer_and_rows(**returns)
    before = buffer._storage.records.copy(), buffer._storage.state.copy(), buffer.native.pending()
    change(rows)
    with pytest.raises(InvalidArgument, match=r"^ReplayBuffer\.add: " + message):
        buffer.add(*(rows[k] for k in FIELDS))
    after = buffer._storage.records, buffer._storage.state
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=False)) and buffer.native.pending() == before[2]


def test_rows_left_out_may_hold_anything():
    buffer, rows = buffer_and_rows()
    rows["reward"][0, 1] = np.nan
    valid = np.ones((2, 5), dtype=bool)
    valid[0, 1] = False
    buffer.add(*(rows[k] for k in FIELDS), valid)
    assert buffer.size.tolist() == [9, 10] and len(buffer) == 9
    with pytest.raises(InvalidArgument, match=r"valid: expected bool .* got int64"):
        buffer.add(*(rows[k] for k in FIELDS), valid.astype(int))
    with pytest.raises(InvalidArgument, match=r"valid: expected shape \[2, 5\] .* got \[5\]"):
        buffer.add(*(rows[k] for k in FIELDS), valid[0])


def test_episode_longer_than_the_ring():
    buffer = ReplayBuffer(4, 3, 2, mc_returns=True, gamma=0.9)
    rows = new_rows(np.random.default_rng(0), 1, 6, ends=0.0)
    buffer.add(*(rows[k][:, :3] for k in FIELDS))
    with pytest.raises(InvalidArgument, match=r"add: block 0, row 1: the episode has more rows than capacity 4: expected term"):
        buffer.add(*(rows[k][:, :2] for k in FIELDS))
    assert buffer.pending == 3
    rows["terminated"][0, 0] = True
    buffer.add(*(rows[k][:, :1] for k in FIELDS))
    assert len(buffer) == 4


def test_order_has_to_be_said():
    buffer = ReplayBuffer(9, 3, 2, mc_returns=True, gamma=0.9)
    rows = {k: v[0] for k, v in new_rows(np.random.default_rng(0), 1, 3).items()}
    with pytest.raises(InvalidArgument, match="order: with mc_returns, say what the 3 rows are: 'steps'"):
        buffer.add(*(rows[k] for k in FIELDS))
    with pytest.raises(InvalidArgument, match="order: expected 'steps', 'environments' or None, got 'time'"):
        buffer.add(*(rows[k] for k in FIELDS), order="time")
    assert buffer.pending == 0 and len(buffer) == 0


BAD_DRAWS = {
    "too many": ((11, 0), r"n: expected at most 10, the drawable rows of the least filled seed, got 11"),
    "none": ((0, 0), r"n: expected an int >= 1, got 0"),
    "float n": ((2.0, 0), r"n: expected an int >= 1, got 2.0"),
    "negative offset": ((2, -1), r"offset: expected an int in 0 \.\. 72057594037927935, got -1"),
    "large offset": ((2, torch.tensor([0, 2**56])), r"offset: expected 0 \.\. 2\*\*56 - 1, got \[0, 72057594037927936\]"),
    "offset dtype": (
        (2, torch.tensor([0, 1], dtype=torch.int32)),
        r"offset: expected an int, or an int64 tensor .* torch.int32",
    ),
    "offset shape": ((2, torch.tensor([0, 1, 2])), r"offset: .* of shape \[\] or \[2\], got torch.int64 of shape \[3\]"),
}


@pytest.mark.parametrize("case", BAD_DRAWS)
def test_bad_draws(case):
    (n, offset), message = BAD_DRAWS[case]
    buffer, rows = buffer_and_rows()
    buffer.add(*(rows[k] for k in FIELDS))
    with pytest.raises(InvalidArgument, match=r"^ReplayBuffer\.sample: " + message):
        buffer.sample(n, offset=offset)


def test_empty_buffer():
    with pytest.raises(InvalidArgument, match=r"the buffer holds no drawable row of some seed$"):
        ReplayBuffer(5, 1, 1).sample(1, offset=0)
    buffer = ReplayBuffer(9, 3, 2, mc_returns=True, gamma=0.9)
    rows = new_rows(np.random.default_rng(0), 1, 3, ends=0.0)
    buffer.add(*(rows[k] for k in FIELDS))
    with pytest.raises(InvalidArgument, match="no drawable row of some seed; 3 rows wait for their episodes to end"):
        buffer.sample(1, offset=0)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ([0, 5], r"index of seed 0, element 1: expected 0 \.\. 4 \(5 drawable rows\), got 5"),
        ([[0], [-1]], r"index of seed 1, element 0: .* got -1"),
        ([0.0], r"index: expected integers of shape \[2, n\] or \[n\], got float64 of \[1\]"),
        ([[0]], r"index: expected integers .* got int64 of \[1, 1\]"),
    ],
    ids=["beyond", "negative", "float", "shape"],
)
def test_bad_places(index, message):
    buffer, _ = buffer_and_rows()
    with pytest.raises(InvalidArgument, match=message):
        buffer.gather(index)


BAD_ARGUMENTS = {
    "capacity 0": ({"capacity": 0}, r"capacity: expected an int in 1 \.\. 4294967296, got 0"),
    "capacity beyond a word": ({"capacity": 2**32 + 1}, r"capacity: expected an int in 1 \.\. 4294967296"),
    "capacity beyond memory": ({"capacity": 2**32, "obs_dim": 2**20}, r"capacity: 1 x 4294967296 rows of \d+ bytes are more"),
    "capacity float": ({"capacity": 10.0}, r"capacity: expected an int .* got 10.0"),
    "capacity bool": ({"capacity": True}, r"capacity: expected an int .* got True"),
    "obs_dim": ({"obs_dim": 0}, r"obs_dim: expected an int >= 1, got 0"),
    "act_dim": ({"act_dim": -1}, r"act_dim: expected an int >= 1, got -1"),
    "no seeds": ({"seeds": ()}, r"seeds: expected a sequence of at least one int"),
    "negative seed": ({"seeds": (0, -1)}, r"seeds\[1\]: expected an int in 0 \.\. 9223372036854775807, got -1"),
    "seed": ({"seeds": 3}, r"seeds: expected a sequence"),
    "shared": ({"shared": 1}, r"shared: expected True or False, got 1"),
    "gamma missing": ({"mc_returns": True}, r"gamma: expected a number in \[0, 1\] with mc_returns=True, got None"),
    "gamma range": ({"mc_returns": True, "gamma": 1.5}, r"gamma: expected a number in \[0, 1\], got 1.5"),
    "gamma nan": ({"mc_returns": True, "gamma": float("nan")}, r"gamma: expected a finite number, got nan"),
    "gamma unused": ({"gamma": 0.9}, r"gamma: only a buffer with mc_returns=True uses it"),
    "sparse unused": ({"sparse_negative_reward": -1.0}, r"sparse_negative_reward: only a buffer with mc_returns=True"),
    "sparse gamma 1": (
        {"mc_returns": True, "gamma": 1.0, "sparse_negative_reward": -1.0},
        r"gamma: expected less than 1 with sparse_negative_reward",
    ),
    "mapped seeds": ({"seeds": (0, 1), "path": "unused"}, r"path: a mapped buffer holds one block, got 2 seeds"),
    "mapped gpu": ({"device": "cuda", "path": "unused"}, r"path: a mapped buffer draws on the CPU, got device 'cuda'"),
}


@pytest.mark.parametrize("case", BAD_ARGUMENTS)
def test_bad_arguments(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments, message = BAD_ARGUMENTS[case]
    with pytest.raises(InvalidArgument, match=message):
        ReplayBuffer(**{"capacity": 10, "obs_dim": 3, "act_dim": 2, **arguments})
    assert not list(tmp_path.iterdir())


def test_set_rewards_refuses_before_it_changes():
    buffer, _ = buffer_and_rows(mc_returns=True, gamma=0.9)
    before = buffer._storage.records.copy()
    with pytest.raises(InvalidArgument, match=r"set_rewards: scale: expected a finite number, got nan"):
        buffer.set_rewards(float("nan"))
    with pytest.raises(
        InvalidArgument, match=r"set_rewards: scale 1e\+30, bias 0: expected scale \* reward \+ bias within .*block"
    ):
        buffer.set_rewards(1e30)
    assert buffer.rewards == (1.0, 0.0) and np.array_equal(buffer._storage.records, before)
