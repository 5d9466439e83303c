"""A 2-D point in a U-shaped maze of 3 x 3 cells, as a Gymnasium vector environment in numpy, and walkers that make data.

All copies are stepped at once, so that every arm and every seed of an experiment lives in one environment. Positions
are in cells: x to the right, y upward, each in [0, 3].
"""

from collections import deque
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

MAZE = (  # "#" is wall, "S" the cell of the start, "G" that of the goal; the first row is the uppermost
    "G..",
    "##.",
    "S..",
)
SIZE = len(MAZE)
STEP = 0.2  # cells that an action of 1 moves along its axis
GOAL_RADIUS = 0.3  # cells
HORIZON = 60  # steps until an episode is cut off
GAP = 0.01  # cells between a wall and a point that ran into it
CALM = (0.0, 0.0)


def _cells(kinds: str) -> np.ndarray:
    """[SIZE, SIZE] by column and row from below: whether the cell is of one of these kinds."""
    return np.array([[MAZE[SIZE - 1 - row][column] in kinds for row in range(SIZE)] for column in range(SIZE)])


FREE = _cells("SG.")
START = np.argwhere(_cells("S"))[0]
GOAL = np.argwhere(_cells("G"))[0]
FREE_CELLS = np.argwhere(FREE)  # [7, 2]


class MazeVectorEnv(VectorEnv):
    """`num_envs` points that look for the goal: reward -1 a step and 0 for the step that arrives, which terminates.

    Observation [2]: the position scaled to [-1, 1]. Action [2] in [-1, 1], clipped: the move in units of STEP. Wind, in
    cells a step, is added to every move; `wind` may be changed at any time. A point that runs into a wall stops there
    and slides along it: its x is moved before its y. After HORIZON steps an episode is truncated.

    Autoreset is "next step" (Gymnasium's default): the observation returned with `terminated` or `truncated` is the
    true last one. The following step ignores that copy's action and returns its first observation of the next episode,
    reward 0 and both flags False; such a row is no transition, and a replay buffer must not keep it.

    Every copy draws its starts from a generator of its own, so copy i does not depend on the others. `start` says where:
    "corner" is the cell S, "anywhere" any free cell, uniformly.
    """

    metadata: ClassVar = {"autoreset_mode": AutoresetMode.NEXT_STEP, "render_modes": []}

    def __init__(self, num_envs: int, *, wind: Sequence[float] = CALM, start: str = "corner"):
        if num_envs < 1:
            raise ValueError(f"num_envs {num_envs}: at least 1 is accepted")
        if start not in ("corner", "anywhere"):
            raise ValueError(f"start {start!r}: 'corner' or 'anywhere' is accepted")
        self.num_envs = num_envs
        self.single_observation_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.single_action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.wind = np.asarray(wind, np.float64)
        if self.wind.shape != (2,) or np.abs(self.wind).max() > 1 - STEP:
            raise ValueError(f"wind {wind}: two numbers in +-{1 - STEP:g} are accepted, so that no move passes a cell by")
        self.start = start
        self.position = np.full((num_envs, 2), np.nan)  # [num_envs, 2], cells
        self.elapsed = np.zeros(num_envs, np.int64)
        self._over = np.zeros(num_envs, bool)
        self._generators: list[np.random.Generator] | None = None

    def reset(self, *, seed: int | Sequence[int] | None = None, options: dict | None = None):
        """First observations [num_envs, 2]. A single seed gives copy i the seed `seed + i`, a sequence each its own."""
        if seed is not None or self._generators is None:
            seeds = [None] * self.num_envs if seed is None else seed
            seeds = [seeds + i for i in range(self.num_envs)] if isinstance(seeds, int | np.integer) else list(seeds)
            if len(seeds) != self.num_envs:
                raise ValueError(f"seed: {len(seeds)} given, one for each of the {self.num_envs} copies is accepted")
            self._generators = [np.random.default_rng(one) for one in seeds]
        self._begin(np.arange(self.num_envs))
        self._over[:] = False
        return self._observation(), {}

    def step(self, actions):
        """Observations [num_envs, 2], rewards, terminated, truncated [num_envs], and an empty info."""
        actions = np.asarray(actions, np.float64)
        if actions.shape != (self.num_envs, 2):
            raise ValueError(f"actions of shape {list(actions.shape)}: [{self.num_envs}, 2] is accepted")
        if self._generators is None:
            raise RuntimeError("step before the first reset")
        moving = ~self._over
        if not np.isfinite(actions[moving]).all():
            bad = int(np.flatnonzero(moving & ~np.isfinite(actions).all(1))[0])
            raise ValueError(f"action {actions[bad].tolist()} of copy {bad}: finite numbers are accepted")
        move = STEP * np.clip(actions, -1, 1) + self.wind
        moved = slide(self.position[moving], move[moving])
        self.position[moving] = moved
        self.elapsed[moving] += 1
        terminated = np.zeros(self.num_envs, bool)
        terminated[moving] = at_goal(moved)
        truncated = moving & ~terminated & (self.elapsed >= HORIZON)
        reward = np.where(moving & ~terminated, -1.0, 0.0)
        self._begin(np.flatnonzero(self._over))
        self._over = terminated | truncated
        return self._observation(), reward, terminated, truncated, {}

    def _begin(self, copies: np.ndarray) -> None:
        """New episodes of these copies."""
        for i in copies:
            draw = self._generators[i]
            cell = START if self.start == "corner" else FREE_CELLS[draw.integers(len(FREE_CELLS))]
            self.position[i] = cell + draw.uniform(GAP, 1 - GAP, 2)
        self.elapsed[copies] = 0

    def _observation(self) -> np.ndarray:
        return observed(self.position)


def observed(position: np.ndarray) -> np.ndarray:
    """Positions in cells scaled to [-1, 1], as float32."""
    return (position / (SIZE / 2) - 1).astype(np.float32)


def at_goal(position: np.ndarray) -> np.ndarray:
    """Whether positions [n, 2] lie within GOAL_RADIUS of the middle of the goal's cell."""
    return ((position - (GOAL + 0.5)) ** 2).sum(-1) <= GOAL_RADIUS**2


def slide(position: np.ndarray, move: np.ndarray) -> np.ndarray:
    """Positions [n, 2] after moves [n, 2] of less than a cell, along x and then along y, each up to the wall."""
    position = position.copy()
    for axis in (0, 1):
        cell = position.astype(np.int64)
        wanted = position[:, axis] + move[:, axis]
        to = cell.copy()
        to[:, axis] = np.floor(wanted)
        inside = (to[:, axis] >= 0) & (to[:, axis] < SIZE)
        clipped = to.clip(0, SIZE - 1)
        free = inside & FREE[clipped[:, 0], clipped[:, 1]]
        wall = np.where(move[:, axis] > 0, cell[:, axis] + 1 - GAP, cell[:, axis] + GAP)
        position[:, axis] = np.where(free, wanted, wall)
    return position


# ------------------------------------------------------------------------------------------------------------- walkers


def _next_cells() -> np.ndarray:
    """[SIZE, SIZE, SIZE, SIZE, 2]: for a target cell and a present cell, the cell that comes next on the shortest way."""
    table = np.zeros((SIZE,) * 4 + (2,), np.int64)
    for target in map(tuple, FREE_CELLS):
        table[target][target] = target
        frontier, seen = deque([target]), {target}
        while frontier:
            cell = frontier.popleft()
            for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
                other = cell[0] + dx, cell[1] + dy
                if other not in seen and all(0 <= v < SIZE for v in other) and FREE[other]:
                    table[target][other] = cell
                    seen.add(other)
                    frontier.append(other)
    return table


NEXT_CELL = _next_cells()


def toward(target: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Actions [n, 2] that lead from positions to the middles of target cells [n, 2], cell by cell on the shortest way."""
    here = position.astype(np.int64)
    waypoint = NEXT_CELL[target[:, 0], target[:, 1], here[:, 0], here[:, 1]] + 0.5
    return np.clip((waypoint - position) / STEP, -1, 1)


class Transitions(NamedTuple):
    """Whole episodes of each seed, one after the other; the last row of each is terminated or truncated."""

    obs: np.ndarray  # [S, n, 2] float32
    action: np.ndarray  # [S, n, 2] float32
    reward: np.ndarray  # [S, n] float32
    next_obs: np.ndarray  # [S, n, 2] float32
    terminated: np.ndarray  # [S, n] bool
    truncated: np.ndarray  # [S, n] bool


def walk(seeds: Sequence[int], count: int, *, noise: float = 0.5, wind: Sequence[float] = CALM) -> Transitions:
    """`count` transitions for each seed, of walkers that know the maze, not the task.

    A walker starts anywhere and heads for a random cell and from there for the next, with Gaussian noise on its actions.
    It ends an episode when it happens to come to the goal, else after HORIZON steps. The last episode is cut off (truncated)
    where `count` is reached. A seed's rows depend on no other seed.
    """
    if count < 1:
        raise ValueError(f"count {count}: at least 1 is accepted")
    envs = MazeVectorEnv(len(seeds), wind=wind, start="anywhere")
    obs, _ = envs.reset(seed=list(seeds))
    draws = [np.random.default_rng([seed, 1]) for seed in seeds]  # [seed, 1]: not the stream of that seed's starts

    def cells(who) -> np.ndarray:
        return FREE_CELLS[[draws[i].integers(len(FREE_CELLS)) for i in who]]

    target, kept, fresh = cells(range(len(seeds))), [], np.zeros(len(seeds), bool)
    missing = np.full(len(seeds), count)
    while missing.max() > 0:
        arrived = np.abs(envs.position - (target + 0.5)).max(1) < GOAL_RADIUS
        if arrived.any():
            target[arrived] = cells(np.flatnonzero(arrived))
        action = toward(target, envs.position) + noise * np.stack([draw.standard_normal(2) for draw in draws])
        action = np.clip(action, -1, 1).astype(np.float32)
        next_obs, reward, terminated, truncated, _ = envs.step(action)
        kept.append((obs, action, reward.astype(np.float32), next_obs, terminated, truncated, ~fresh))
        missing -= ~fresh
        fresh = terminated | truncated
        obs = next_obs
    *columns, valid = (np.stack(column, 1) for column in zip(*kept, strict=True))
    rows = [np.flatnonzero(one)[:count] for one in valid]
    found = Transitions(*(np.stack([c[s, rows[s]] for s in range(len(seeds))]) for c in columns))
    found.truncated[:, -1] |= ~found.terminated[:, -1]
    return found
