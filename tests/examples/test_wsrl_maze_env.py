"""The maze of wsrl_maze.py against one particle at a time among rectangles, its autoreset, and the walkers' data."""

import importlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

gymnasium = pytest.importorskip("gymnasium", reason="the example needs gymnasium: rewarm[rl]")

WIND = (0.02, -0.07)


@pytest.fixture(scope="module")
def maze():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[2] / "examples")
        yield importlib.import_module("wsrl_maze_env")


# The reference: one particle, plain floats, the walls as rectangles (left, right, bottom, top).
WALLS = [(-9, 0, -9, 9), (3, 9, -9, 9), (-9, 9, -9, 0), (-9, 9, 3, 9), (0, 2, 1, 2)]


class Particle:
    def __init__(self, x, y, wind):
        self.x, self.y, self.wind, self.elapsed = x, y, wind, 0

    def hit(self, x, y):
        """The wall that holds this point; a point on the left or lower edge is in, one on the others is out."""
        return next((w for w in WALLS if w[0] <= x < w[1] and w[2] <= y < w[3]), None)

    def step(self, ax, ay):
        dx = 0.2 * min(max(ax, -1.0), 1.0) + self.wind[0]
        dy = 0.2 * min(max(ay, -1.0), 1.0) + self.wind[1]
        wall = self.hit(self.x + dx, self.y)
        self.x = self.x + dx if wall is None else wall[0] - 0.01 if dx > 0 else wall[1] + 0.01
        wall = self.hit(self.x, self.y + dy)
        self.y = self.y + dy if wall is None else wall[2] - 0.01 if dy > 0 else wall[3] + 0.01
        self.elapsed += 1
        terminated = (self.x - 0.5) ** 2 + (self.y - 2.5) ** 2 <= 0.3**2
        return (0.0 if terminated else -1.0), terminated, not terminated and self.elapsed == 60


@pytest.mark.parametrize("wind", [(0.0, 0.0), WIND, (-0.3, 0.41)], ids=["calm", "wind", "storm"])
def test_equals_one_particle_at_a_time(maze, wind):
    """Every position of 300 steps of 40 copies, bit for bit; episodes end and begin in between."""
    envs = maze.MazeVectorEnv(40, wind=wind, start="anywhere")
    envs.reset(seed=7)
    draw = np.random.default_rng(0)
    particles = [Particle(*map(float, p), wind) for p in envs.position]
    over, ends = np.zeros(40, bool), [0, 0]
    for _ in range(300):
        # Lasting directions reach every wall and the goal; single draws alone would only diffuse.
        action = np.where(draw.random((40, 1)) < 0.5, draw.uniform(-1.5, 1.5, (40, 2)), draw.integers(-1, 2, (40, 2)))
        obs, reward, terminated, truncated, _ = envs.step(action)
        for i, particle in enumerate(particles):
            if over[i]:
                particles[i] = Particle(*map(float, envs.position[i]), wind)
                expected = 0.0, False, False
            else:
                expected = particle.step(*action[i])
                assert envs.position[i].tolist() == [particle.x, particle.y]
                ends[0] += expected[1]
                ends[1] += expected[2]
            assert (reward[i], terminated[i], truncated[i]) == expected
        np.testing.assert_array_equal(obs, (envs.position / 1.5 - 1).astype(np.float32))
        over = terminated | truncated
    assert min(ends) > 0, f"{ends[0]} arrivals and {ends[1]} cut off: the comparison saw only one kind of end"


finite = st.floats(-3, 3)


@settings(max_examples=60)
@given(st.integers(0, 6), finite, finite, st.lists(st.tuples(finite, finite), min_size=1, max_size=30))
def test_never_enters_a_wall(maze, cell, wx, wy, actions):
    envs = maze.MazeVectorEnv(1, wind=(wx * 0.25, wy * 0.25))
    envs.reset(seed=0)
    envs.position[0] = maze.FREE_CELLS[cell] + 0.5
    for action in actions:
        envs.step(np.array([action]))
        column, row = envs.position[0].astype(int)
        assert maze.FREE[column, row] and (envs.position > 0).all()


def test_walls_stop_and_let_slide(maze):
    def moved(x, y, dx, dy):
        return maze.slide(np.array([[x, y]]), np.array([[dx, dy]]))[0]

    np.testing.assert_array_equal(moved(0.5, 0.9, 0.1, 0.3), [0.6, 0.99])  # under the middle wall
    np.testing.assert_array_equal(moved(2.1, 1.5, -0.3, -0.2), [2.01, 1.3])  # at its end
    np.testing.assert_array_equal(moved(2.1, 0.9, -0.3, 0.2), [2.1 - 0.3, 0.99])  # x first: then the wall is above
    np.testing.assert_array_equal(moved(0.1, 0.1, -0.3, -0.3), [0.01, 0.01])  # both outer walls


def test_next_step_autoreset(maze):
    envs = maze.MazeVectorEnv(2)
    first, _ = envs.reset(seed=3)
    envs.position[0] = [0.9, 2.5]
    obs, reward, terminated, truncated, info = envs.step(np.array([[-1.0, 0.0], [0.0, 0.0]]))
    assert (terminated.tolist(), truncated.tolist(), reward.tolist(), info) == ([True, False], [False, False], [0.0, -1.0], {})
    np.testing.assert_array_equal(obs[0], maze.observed(np.array([0.7, 2.5])))  # the true last one
    # The ignored action may be anything, even what a broken policy gives.
    obs, reward, terminated, truncated, _ = envs.step(np.array([[np.nan, 1.0], [0.0, 0.0]]))
    assert (reward.tolist(), (terminated | truncated).any()) == ([0.0, -1.0], False)
    assert (obs[0] != first[0]).all() and (envs.position[0] < 1).all() and envs.elapsed.tolist() == [0, 2]
    for _ in range(58):
        _, _, terminated, truncated, _ = envs.step(np.zeros((2, 2)))
    assert truncated.tolist() == [False, True] and not terminated.any()


def test_copies_do_not_depend_on_each_other(maze):
    def path(seeds, mine):
        envs = maze.MazeVectorEnv(len(seeds), start="anywhere")
        found = [envs.reset(seed=seeds)[0][mine]]
        for k in range(130):
            action = np.random.default_rng(k).uniform(-1, 1, (len(seeds), 2))
            action[mine] = [np.sin(k), np.cos(k)]
            found.append(envs.step(action)[0][mine])
        return np.array(found)

    np.testing.assert_array_equal(path([5], 0), path([1, 2, 5, 9], 2))
    envs = maze.MazeVectorEnv(3)
    np.testing.assert_array_equal(envs.reset(seed=4)[0], envs.reset(seed=[4, 5, 6])[0])


def test_speaks_gymnasium(maze):
    envs = maze.MazeVectorEnv(3)
    obs, _ = envs.reset(seed=0)
    assert envs.metadata["autoreset_mode"] is gymnasium.vector.AutoresetMode.NEXT_STEP
    assert envs.observation_space.contains(obs)
    obs, *_ = envs.step(envs.action_space.sample())
    assert envs.observation_space.contains(obs)
    assert (maze.FREE.sum(), envs.single_observation_space.shape) == (7, (2,))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda m: m.MazeVectorEnv(0), "num_envs 0: at least 1"),
        (lambda m: m.MazeVectorEnv(2, start="left"), "'corner' or 'anywhere'"),
        (lambda m: m.MazeVectorEnv(2, wind=(0.9, 0)), "two numbers in"),
        (lambda m: m.MazeVectorEnv(2, wind=(0.1,)), "two numbers in"),
        (lambda m: m.MazeVectorEnv(2).reset(seed=[1, 2, 3]), "3 given, one for each of the 2 copies"),
        (lambda m: m.walk([0], 0), "count 0: at least 1"),
    ],
    ids=["no copies", "start", "strong wind", "short wind", "seeds", "no rows"],
)
def test_bad_arguments(maze, call, says):
    with pytest.raises(ValueError, match=says):
        call(maze)


def test_bad_actions(maze):
    envs = maze.MazeVectorEnv(2)
    with pytest.raises(RuntimeError, match="before the first reset"):
        envs.step(np.zeros((2, 2)))
    envs.reset(seed=0)
    before = envs.position.copy()
    with pytest.raises(ValueError, match=r"shape \[2\]: \[2, 2\]"):
        envs.step(np.zeros(2))
    with pytest.raises(ValueError, match=r"action \[0.0, nan\] of copy 1"):
        envs.step(np.array([[0, 0], [0, np.nan]]))
    np.testing.assert_array_equal(envs.position, before)


def test_walkers_find_the_shortest_way(maze):
    """Without noise a walker that heads for the goal's cell arrives from everywhere."""
    envs = maze.MazeVectorEnv(64, start="anywhere")
    envs.reset(seed=0)
    arrived, target = np.zeros(64, bool), np.tile(maze.GOAL, (64, 1))
    for _ in range(40):  # six cells of five steps, and what the turns cost
        arrived |= envs.step(maze.toward(target, envs.position))[2]
    assert arrived.all()


def test_walks_are_whole_transitions(maze):
    """Rows chain within an episode, no row crosses a reset, and goals are rare as in the experiment."""
    data = maze.walk([0, 1, 2], 2000)
    assert data.obs.shape == (3, 2000, 2) and data.reward.shape == (3, 2000)
    assert all(column.dtype == np.float32 for column in (data.obs, data.action, data.reward, data.next_obs))
    ended = data.terminated | data.truncated
    assert ended[:, -1].all() and not (data.terminated & data.truncated).any()
    chained = (data.next_obs[:, :-1] == data.obs[:, 1:]).all(-1)
    np.testing.assert_array_equal(chained, ~ended[:, :-1])  # two drawn starts are never the same
    np.testing.assert_array_equal(data.reward, np.where(data.terminated, 0, -1))
    step = (data.next_obs - data.obs) * 1.5
    assert np.abs(step).max() <= 0.2 + 1e-6, "a row that holds a reset would be longer"
    for s in range(3):
        lengths = np.diff(np.flatnonzero(ended[s]), prepend=-1)
        assert lengths.max() == 60
    share = data.terminated.mean()
    assert 0.008 < share < 0.02, f"{share:.4f} of the rows reach the goal"


def test_walks_of_a_seed_do_not_depend_on_the_others(maze):
    alone, among = maze.walk([3], 500), maze.walk([8, 3], 500)
    for one, other in zip(alone, among, strict=True):
        np.testing.assert_array_equal(one[0], other[1])
