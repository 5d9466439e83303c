"""ReplayBuffer == replay_reference, bit for bit: ring, draws, returns, seeds, threads."""

import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from replay_cases import FIELDS, Pair, new_rows

from rewarm.q import philox
from rewarm.rl import ReplayBuffer
from rewarm.rl.replay_reference import ReplayReference, philox_words


@pytest.mark.parametrize("dims", [(1, 1), (4, 2), (29, 8), (5, 7)], ids=lambda d: f"obs{d[0]}-act{d[1]}")
@pytest.mark.parametrize("capacity", [1, 31, 33, 1000])
def test_ring_and_draw(capacity, dims):
    rng = np.random.default_rng(capacity)
    pair = Pair(capacity, (3, 2**62 + 1), *dims)
    for n in (1, 7, 0, 30, capacity, 5):  # wraps, and once more than fits at a stroke
        pair.add(new_rows(rng, 2, n, *dims))
    pair.check()


options = st.fixed_dictionaries(
    {
        "shared": st.booleans(),
        "returns": st.sampled_from(["none", "gamma", "gamma 1", "sparse"]),
        "capacity": st.integers(9, 40),
    }
)
actions = st.lists(
    st.tuples(
        st.integers(0, 9),
        st.sampled_from(["steps", "environments"]),
        st.booleans(),
        st.sampled_from([None, (10.0, -5.0), (0.1, 3.0), (-1.0, 0.0)]),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=80)
@given(options, actions, st.integers(0, 2**32))
def test_any_history(options, actions, seed):
    """Whatever is added, in whatever pieces, with rows left out, rewards rescaled and the ring overwritten."""
    rng = np.random.default_rng(seed)
    returns = {"none": {}, "gamma": {"gamma": 0.97}, "gamma 1": {"gamma": 1.0}}.get(
        options["returns"], {"gamma": 0.9, "sparse_negative_reward": -0.1}
    )
    pair = Pair(options["capacity"], (1, 2), shared=options["shared"], mc_returns=bool(returns), **returns)
    for n, order, leave_out, rewards in actions:
        sparse = "sparse_negative_reward" in returns
        rows = new_rows(rng, pair.blocks, n, ends=0.4, rewards=np.float32([-0.1, -0.1, -0.1, 0.0]) if sparse else None)
        if order == "steps" and n == 9:
            rows["truncated"][:, -1] = True  # episodes stay shorter than the ring
        valid = rng.random((pair.blocks, n)) < 0.7 if leave_out else None
        longest = max((len(e) for block in pair.reference.pending for e in block.values()), default=0)
        if longest + n > options["capacity"]:
            continue
        pair.add(rows, valid, order)
        if rewards:
            pair.set_rewards(*rewards)
    pair.check()


def test_words_are_the_packages():
    for seed, offset in ((0, 0), (2**63 - 1, 2**56 - 1), (12345, 2**32 + 7)):
        ours = philox((9,), seed=torch.tensor(seed), offset=torch.tensor(offset), stream=0, kind="uint32")
        assert philox_words(seed, offset, 0, 9).tolist() == [int(w) % 2**32 for w in ours.tolist()]


def test_seed_of_a_stack_is_the_single_buffer():
    rng = np.random.default_rng(0)
    rows = new_rows(rng, 3, 50)
    stack = ReplayBuffer(64, 3, 2, seeds=(5, 6, 7))
    stack.add(*(rows[k] for k in FIELDS))
    drawn = stack.sample(32, offset=torch.tensor([1, 2, 3]))
    for s, seed in enumerate((5, 6, 7)):
        alone = ReplayBuffer(64, 3, 2, seeds=(seed,))
        alone.add(*(rows[k][s] for k in FIELDS))
        single = alone.sample(32, offset=s + 1)
        assert torch.equal(single.obs[0], drawn.obs[s]) and torch.equal(single.reward[0], drawn.reward[s])


def test_draws_in_pieces_are_the_whole():
    rng = np.random.default_rng(1)
    buffer = ReplayBuffer(2000, 3, 2)
    rows = new_rows(rng, 1, 2000)
    buffer.add(*(rows[k] for k in FIELDS))
    whole = buffer.sample(1500, offset=9)
    parts = [buffer.sample(n, offset=9, first=first) for first, n in ((0, 1), (1, 255), (256, 257), (513, 987))]
    assert torch.equal(torch.cat([p.obs for p in parts], 1), whole.obs)


def test_draws_are_uniform():
    """Counts of 64 rows in 64 x 1024 draws: chi-squared with 63 degrees of freedom is below 120 but once in 50,000 seeds."""
    buffer = ReplayBuffer(64, 1, 1, seeds=(20231108,))
    obs = np.arange(64.0).reshape(64, 1)
    no = np.zeros(64, dtype=bool)
    buffer.add(obs, obs, np.zeros(64), obs, no, no)
    drawn = torch.cat([buffer.sample(64, offset=o).obs.flatten() for o in range(1024)]).long()
    counts = torch.bincount(drawn, minlength=64).double()
    assert ((counts - 1024) ** 2 / 1024).sum() < 120


def test_seeds_share_one_block_and_draw_apart():
    rng = np.random.default_rng(2)
    pair = Pair(40, (8, 9, 10), shared=True)
    pair.add(new_rows(rng, 1, 40))
    pair.check()
    drawn = pair.buffer.sample(40, offset=0)
    assert drawn.obs.shape == (3, 40, 3) and not torch.equal(drawn.obs[0], drawn.obs[1])
    assert pair.buffer.size.shape == (1,)


def test_sparse_rule_and_its_rescaling():
    """AntMaze's numbers: an episode of zeros is worth -5 / (1 - 0.99) = -500 at every step once 0/1 became -5/+5."""
    buffer = ReplayBuffer(10, 1, 1, mc_returns=True, gamma=0.99, sparse_negative_reward=0.0)
    x, no = np.zeros((3, 1)), np.zeros(3, dtype=bool)
    cut = np.array([False, False, True])
    buffer.add(x, x, [0.0, 0.0, 0.0], x, no, cut, order="steps")
    buffer.add(x, x, [0.0, 0.0, 1.0], x, cut, no, order="steps")
    buffer.set_rewards(10.0, -5.0)
    returns = buffer.gather(range(6)).mc_return[0].double().numpy()
    np.testing.assert_allclose(returns[:3], -500.0, rtol=2**-23)  # 1 - 0.99 carries the rounding of 0.99
    np.testing.assert_allclose(returns[3:], [-5 - 0.99 * 5 + 0.99**2 * 5, -5 + 0.99 * 5, 5.0], rtol=2**-23)


def test_failure_is_remembered_when_its_beginning_is_overwritten():
    pair = Pair(5, mc_returns=True, gamma=0.5, sparse_negative_reward=-1.0)
    rng = np.random.default_rng(3)
    for rewards in ([1.0, -1.0, -1.0, -1.0], [-1.0, -1.0, -1.0]):  # of the first only -1, -1 stay
        rows = new_rows(rng, 1, len(rewards), ends=0.0)
        rows["reward"][0] = rewards
        rows["truncated"][0, -1] = True
        pair.add(rows)
    pair.set_rewards(2.0, 1.0)
    pair.check()


def test_rows_wait_for_their_episode():
    buffer = ReplayBuffer(10, 1, 1, mc_returns=True, gamma=0.5)
    x, no = np.zeros((2, 1)), np.zeros(2, dtype=bool)
    buffer.add(x, x, [1.0, 2.0], x, no, no, order="steps")
    assert len(buffer) == 0 and buffer.pending == 2
    buffer.add(x[:1], x[:1], [4.0], x[:1], no[:1], ~no[:1])
    assert len(buffer) == 3 and buffer.pending == 0
    assert buffer.gather([0, 1, 2]).mc_return.tolist() == [[3.0, 4.0, 4.0]]  # the truncation is not bootstrapped


def test_shapes_that_add_takes():
    rng = np.random.default_rng(4)
    rows = {k: v[0] for k, v in new_rows(rng, 1, 4).items()}
    contents = []
    for made in (
        [rows],
        [{k: v[None] for k, v in rows.items()}],
        [{k: v[i] for k, v in rows.items()} for i in range(4)],
        [{k: v[i : i + 1] for k, v in rows.items()} for i in range(4)],
        [{k: torch.from_numpy(v) for k, v in rows.items()}],
        [{k: v.tolist() for k, v in rows.items()}],
        [{k: np.asfortranarray(np.float64(v)) if v.dtype != bool else v for k, v in rows.items()}],
    ):
        buffer = ReplayBuffer(4, 3, 2)
        for part in made:
            buffer.add(*(part[k] for k in FIELDS))
        contents.append(buffer.gather(range(4)))
    for other in contents[1:]:
        assert all(torch.equal(getattr(contents[0], k), getattr(other, k)) for k in FIELDS)


def test_counters_are_int64_and_keep_their_memory():
    buffer = ReplayBuffer(3, 1, 1, seeds=(0, 1))
    size, cursor = buffer.size, buffer.cursor
    assert size.dtype == cursor.dtype == torch.int64
    x, no = np.zeros((2, 4, 1)), np.zeros((2, 4), dtype=bool)
    buffer.add(x, x, np.zeros((2, 4)), x, no, no)
    assert size.tolist() == [3, 3] and cursor.tolist() == [1, 1]


def test_records_beyond_two_gigabytes():
    """Byte offsets past 2**31 and rows that only int64 reaches; memory is taken only where rows were written."""
    buffer = ReplayBuffer(50_000_000, 8, 2)
    assert buffer._storage.records.nbytes > 2**32
    buffer._storage.state[:, 0] = 0, 50_000_000, 50_000_000  # as if it had been filled with zeros
    x, no = np.full((3, 8), 7.0), np.zeros(3, dtype=bool)
    buffer._storage.state[0, 0] = 49_999_998
    buffer.add(x, x[:, :2], [1.0, 2.0, 3.0], x, no, no)
    assert buffer.cursor.tolist() == [1]
    assert buffer.gather([49_999_997, 49_999_998, 49_999_999, 0]).reward.tolist() == [[0.0, 1.0, 2.0, 3.0]]
    reference = ReplayReference(1, (0,))
    reference.ring = [range(50_000_000)]
    drawn = reference.places(0, 3, 4)
    assert max(drawn) * 80 > 2**31
    assert torch.equal(buffer.sample(4, offset=3).reward, buffer.gather([drawn]).reward)


def test_threads_add_and_draw():
    """The GIL is released in both; every drawn row must be one that was added whole."""
    buffer = ReplayBuffer(257, 16, 4)
    stop = threading.Event()

    def adding():
        k = 0
        while not stop.is_set():
            k += 1
            v = np.full((31, 16), float(k))
            no = np.zeros(31, dtype=bool)
            buffer.add(v, v[:, :4], v[:, 0], v, no, no)

    thread = threading.Thread(target=adding)
    thread.start()
    try:
        while len(buffer) < 257:
            pass
        for offset in range(200):
            rows = buffer.sample(257, offset=offset)
            assert bool((rows.obs == rows.reward.unsqueeze(-1)).all() and (rows.next_obs == rows.obs).all())
    finally:
        stop.set()
        thread.join()


def test_agents_take_its_rows():
    from rewarm.rl import EnsembleSAC

    rng = np.random.default_rng(5)
    rows = new_rows(rng, 2, 64)
    buffer = ReplayBuffer(64, 3, 2, seeds=(0, 1))
    buffer.add(*(rows[k] for k in FIELDS))
    agent = EnsembleSAC(3, 2, seeds=(0, 1), critics=3, hidden=(8,), backend="reference")
    assert agent.update(buffer, utd=2, batch=16) is not None
