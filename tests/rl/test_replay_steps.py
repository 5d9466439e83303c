"""VectorSteps with Gymnasium's own vector environments, in each autoreset mode, against single environments stepped by hand."""

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from rewarm.errors import InvalidArgument
from rewarm.rl import ReplayBuffer, VectorSteps


class Count(gymnasium.Env):
    """Counts its steps; the observation tells environment, episode and step. Ends by itself or is cut off in turn."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float64)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float64)

    def __init__(self, number):
        self.number, self.episode = number, -1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.at = self.episode + 1, 0
        return self._obs(), {}

    def step(self, action):
        self.at += 1
        ended = self.at == 2 + (self.number + self.episode) % 3
        cut = self.episode % 2 == 1
        return self._obs(), float(action[0]), ended and not cut, ended and cut, {}

    def _obs(self):
        return np.array([self.number, self.episode, self.at], dtype=np.float64)


def by_hand(number, steps):
    """Rows of one environment, reset as soon as it ended."""
    env, rows = Count(number), []
    obs, _ = env.reset()
    for _ in range(steps):
        after, reward, terminated, truncated, _ = env.step([0.5])
        rows.append((*obs, reward, *after, terminated, truncated))
        obs = env.reset()[0] if terminated or truncated else after
    return rows


def collected(mode, n, steps, **options):
    envs = SyncVectorEnv([lambda i=i: Count(i) for i in range(n)], autoreset_mode=mode)
    buffer = ReplayBuffer(500, 3, 1, **options)
    walker = VectorSteps(envs)
    walker.reset(envs.reset(seed=0)[0])
    for _ in range(steps):
        action = np.full((n, 1), 0.5)
        step = envs.step(action)
        buffer.add(**walker.rows(action, *step))
        if mode == AutoresetMode.DISABLED and (ended := step[2] | step[3]).any():
            walker.reset(envs.reset(options={"reset_mask": ended})[0])
    envs.close()
    return buffer


@pytest.mark.parametrize("returns", [{}, {"mc_returns": True, "gamma": 0.9}], ids=["plain", "mc_returns"])
@pytest.mark.parametrize("mode", list(AutoresetMode), ids=lambda m: m.value)
def test_a_seed_an_environment(mode, returns):
    buffer = collected(mode, 4, 25, seeds=(0, 1, 2, 3), **returns)
    for s in range(4):
        size = int(buffer.size[s])
        assert size >= 15
        rows = buffer.gather(np.minimum(np.arange(size), len(buffer) - 1))
        size = len(buffer)
        expected = np.array(by_hand(s, size), dtype=np.float64)
        got = np.column_stack(
            [rows.obs[s], rows.reward[s], rows.next_obs[s], rows.terminated[s].double(), rows.truncated[s].double()]
        )
        np.testing.assert_array_equal(got[:size], expected)


def test_next_step_drops_just_the_reset_rows():
    """25 steps of Gymnasium are 25 rows less one for each episode that ended before the last step."""
    buffer = collected(AutoresetMode.NEXT_STEP, 3, 25, seeds=(0, 1, 2))
    for s in range(3):
        env, steps, rows = Count(s), 0, 0
        env.reset()
        while steps < 25:
            _, _, terminated, truncated, _ = env.step([0.5])
            steps, rows = steps + 1, rows + 1
            if terminated or truncated:
                env.reset()
                steps += 1
        assert buffer.size[s] == rows


def test_environments_of_one_seed():
    """Interleaved steps become whole episodes, each with its own returns."""
    buffer = collected(AutoresetMode.NEXT_STEP, 3, 20, mc_returns=True, gamma=0.5)
    rows = buffer.gather(range(len(buffer)))
    for i in range(len(buffer)):
        steps_left = 2 + (rows.obs[0, i, 0] + rows.obs[0, i, 1]) % 3 - rows.obs[0, i, 2]
        assert rows.mc_return[0, i] == 1.0 - 0.5 ** float(steps_left)  # 0.5 (1 - g^k) / (1 - g)


def test_what_it_refuses():
    envs = SyncVectorEnv([lambda: Count(0)], autoreset_mode=AutoresetMode.SAME_STEP)
    walker, no = VectorSteps(envs), np.zeros(1, dtype=bool)
    with pytest.raises(InvalidArgument, match=r"expected reset\(obs\) with the first observations before"):
        walker.rows(np.zeros((1, 1)), np.zeros((1, 3)), np.zeros(1), no, no, {})
    walker.reset(np.zeros((1, 3)))
    with pytest.raises(InvalidArgument, match=r"infos: expected final_obs\[0\], since environment 0 ended"):
        walker.rows(np.zeros((1, 1)), np.zeros((1, 3)), np.zeros(1), ~no, no, {})
    with pytest.raises(InvalidArgument, match=r"reset: obs: expected a numeric array \[1, obs_dim\]"):
        walker.reset({"observation": np.zeros((1, 3))})
    envs.close()
