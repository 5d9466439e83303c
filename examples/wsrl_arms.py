"""What wsrl_maze.py and wsrl_gym.py share: Cal-QL pre-training, and the arms that go online from it side by side.

WSRL (Zhou et al. 2024, arXiv 2412.07762): take over the whole offline agent, act with it for a while without learning, then
plain high-UTD SAC on what was collected, without the offline data. It is compared with the same without that pause, with a
fresh agent that takes half of every minibatch from the offline data (in the manner of RLPD, Ball et al. 2023, arXiv
2302.02948), and with a fresh agent that has none.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from wsrl_results import recorded

from rewarm.q import ensemble_mlp
from rewarm.rl import WSRL, CalQL, EnsembleSAC, ReplayBuffer, VectorSteps


@dataclass
class Probe:
    """Offline pairs that no arm trains on; the mean Q there shows divergence."""

    obs: torch.Tensor  # [S, n, O]
    action: torch.Tensor  # [S, n, A]

    def mean_q(self, agent: EnsembleSAC) -> list[float]:
        """[S]: the mean over pairs and critics."""
        critics = agent.learner.critics
        with torch.no_grad():
            x = torch.cat((self.obs, self.action), -1)
            q = ensemble_mlp(x, critics.layers, critics.head, backend=agent.backend)
        return q.mean((1, 2)).tolist()


@dataclass
class Arm:
    """One way to go online, S seeds of it."""

    name: str
    agent: EnsembleSAC
    waits: int  # for so many rows a seed before the first update
    offline_ratio: float = 0.0
    buffer: ReplayBuffer | None = None
    first_update: int | None = None  # environment steps done when it came

    def update(self, step: int, offline: ReplayBuffer, utd: int, batch: int) -> None:
        """One high-UTD update, once there are enough rows."""
        rows = len(self.buffer)
        if rows < self.waits:
            return
        if self.first_update is None:
            self.first_update = step
        if rows >= utd * batch:
            mixed = {"offline": offline, "offline_ratio": self.offline_ratio} if self.offline_ratio else {}
            self.agent.update(self.buffer, utd=utd, batch=batch, **mixed)
        else:  # who does not wait has fewer rows than an update draws; the buffer's own sample refuses that
            draws = [np.random.default_rng([seed, step]) for seed in self.agent.seeds]  # a seed depends on no other
            index = np.stack([draw.integers(rows, size=utd * batch) for draw in draws])
            self.agent.update_batch(self.buffer.gather(index), utd=utd)


def pretrain(agent: CalQL, data: ReplayBuffer, steps: int, batch: int, *, every: int, watch: "Watch", bar) -> list[dict]:
    """Cal-QL on the offline data; evaluations at the start, every `every` steps and at the end."""
    points = []
    for done in range(steps + 1):
        if done % every == 0 or done == steps:
            points.append({"step": done, **watch(done, {"Cal-QL": agent})["Cal-QL"]})
        if done == steps:
            break
        agent.update_offline(data, batch=batch)
        bar.update()
    return points


def make_arms(checkpoint: Path, settings: dict, dims: tuple[int, int], seeds: Sequence[int], warmup: int, **where) -> list[Arm]:
    """The four arms. Two start from the checkpoint; two from weights of their own, drawn as the offline agent's were."""
    online = {"backup_actions": settings["backup_actions"], **where}  # else 1: it is no part of what is taken over
    return [
        Arm("wsrl", WSRL.from_offline(checkpoint, warmup, **online), warmup),
        Arm("no_warmup", WSRL.from_offline(checkpoint, 0, **online), min(32, warmup)),
        Arm("rlpd", EnsembleSAC(*dims, seeds=seeds, **settings, **where), warmup, 0.5),
        Arm("scratch", EnsembleSAC(*dims, seeds=seeds, **settings, **where), warmup),
    ]


def evaluate(policies: Sequence[Callable], envs, seeds: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Returns and terminations [K, S] of K policies, means over one episode for each number in `seeds` [S][episodes].

    A policy maps [S, episodes, O] to actions. The seeds are those of the environment's starts, the same for every policy, so
    that policies differ by what they do. `envs` has K * S * episodes copies and autoresets at the next step.
    """
    shape = len(policies), len(seeds), len(seeds[0])
    obs, _ = envs.reset(seed=[seed for _ in policies for row in seeds for seed in row])
    returns, ended, running = np.zeros(envs.num_envs), np.zeros(envs.num_envs, bool), np.ones(envs.num_envs, bool)
    while running.any():
        split = obs.reshape(*shape, -1)
        action = np.stack([policy(part) for policy, part in zip(policies, split, strict=True)])
        obs, reward, terminated, truncated, _ = envs.step(action.reshape(envs.num_envs, -1))
        returns += np.where(running, reward, 0.0)
        ended |= running & terminated
        running &= ~(terminated | truncated)
    return returns.reshape(shape).mean(-1), ended.reshape(shape).mean(-1)


def go_online(
    arms: list[Arm],
    envs,
    starts: Sequence[int],
    steps: int,
    *,
    utd: int,
    batch: int,
    offline: ReplayBuffer,
    every: int,
    watch: "Watch | None",
    bar,
) -> list[tuple[int, dict]]:
    """All arms for `steps` environment steps of every seed; copy k * S + s of `envs` is seed s of arm k.

    After each step an arm makes one update of `utd` critic minibatches, if it has rows enough. Returns (step, evaluation)
    before the first step, every `every` steps and after the last.
    """
    evaluations, agents = [], {arm.name: arm.agent for arm in arms}
    count, rows = len(starts), VectorSteps(envs)
    rows.reset(envs.reset(seed=list(starts) * len(arms))[0])
    for step in range(steps + 1):
        if watch and (step % every == 0 or step == steps):
            evaluations.append((step, watch(step, agents)))
        if step == steps:
            break
        by_arm = rows.obs.reshape(len(arms), count, 1, -1)
        action = np.concatenate([arm.agent.act(obs)[:, 0] for arm, obs in zip(arms, by_arm, strict=True)])
        step_rows = rows.rows(action, *envs.step(action))  # those that only carry a reset are marked, and left out
        for k, arm in enumerate(arms):
            arm.buffer.add(**{key: v if key == "order" else v[k * count : (k + 1) * count] for key, v in step_rows.items()})
            arm.update(step + 1, offline, utd, batch)
        bar.update()
    return evaluations


class Watch:
    """Evaluates arms, and tells the progress bar and TensorBoard."""

    def __init__(self, envs, seeds, probe: Probe, bar, writer=None, prefix: str = "online"):
        self.envs, self.seeds, self.probe, self.bar, self.writer, self.prefix = envs, seeds, probe, bar, writer, prefix
        self.seconds = 0.0

    def __call__(self, step: int, agents: dict[str, EnsembleSAC]) -> dict[str, dict]:
        """For every agent [S] each: return, share of episodes that terminated, mean Q on the probe, temperature."""
        began = time.perf_counter()
        policies = [lambda obs, agent=agent: agent.act(obs, mode=True) for agent in agents.values()]
        returns, success = evaluate(policies, self.envs, self.seeds)
        found = {}
        for k, (name, agent) in enumerate(agents.items()):
            found[name] = {
                "return": returns[k].tolist(),
                "success": success[k].tolist(),
                "probe_q": self.probe.mean_q(agent),
                "alpha": agent.alpha.tolist(),
            }
            if self.writer:
                for key, values in found[name].items():
                    self.writer.add_scalar(f"{self.prefix}/{key}/{name}", float(np.mean(values)), step)
        self.bar.set_postfix_str("return " + ", ".join(f"{name} {np.mean(one['return']):.1f}" for name, one in found.items()))
        self.seconds += time.perf_counter() - began
        return found


def offline_to_online(
    agent: CalQL,
    offline: ReplayBuffer,
    probe: Probe,
    make_envs: Callable,
    args,
    settings: dict,
    folder: Path,
    *,
    utd: int,
    batch: int,
    reward_scale: float = 1.0,
    writer=None,
) -> dict:
    """Pre-trains the agent, saves it as offline.pt in the folder and takes all arms online from there.

    `make_envs(count, online)` gives a vector environment of so many copies, before or after the shift. `args` has
    pretrain_steps, online_steps, warmup, every and episodes; `settings` are an agent's. Returns what a results file holds.
    """
    from tqdm import tqdm

    def progress(steps: int, name: str):
        return tqdm(total=steps, desc=name, unit="step", disable=None, mininterval=0.5)

    seeds, dims = agent.seeds, (agent.obs_dim, agent.act_dim)
    # Starts of evaluations, the same in all of them, and of training: numbers that no seed of the data has.
    episodes = [[2_000_000 + seed * args.episodes + i for i in range(args.episodes)] for seed in seeds]
    starts = [3_000_000 + seed for seed in seeds]
    copies, checkpoint = len(seeds) * args.episodes, folder / "offline.pt"

    clock = time.perf_counter()
    with progress(args.pretrain_steps, "Cal-QL") as bar:
        look = Watch(make_envs(copies, False), episodes, probe, bar, writer, "offline")
        every = max(1, args.pretrain_steps // 5)
        points = pretrain(agent, offline, args.pretrain_steps, batch, every=every, watch=look, bar=bar)
    agent.save(checkpoint)
    seconds = {"pretrain": time.perf_counter() - clock}
    end = {key: np.mean(values) for key, values in points[-1].items()}
    print(f"Cal-QL      {args.pretrain_steps:,} steps: return {end['return']:.1f} before the shift, "
          f"{end['success']:.0%} of episodes terminate, mean Q on the probe {end['probe_q']:.1f}")  # fmt: skip

    arms = make_arms(checkpoint, settings, dims, seeds, args.warmup, backend=agent.backend)
    for arm in arms:
        arm.buffer = ReplayBuffer(args.online_steps, *dims, seeds=seeds)
        arm.buffer.set_rewards(reward_scale)
    clock = time.perf_counter()
    with progress(args.online_steps, "online") as bar:
        look = Watch(make_envs(copies * len(arms), True), episodes, probe, bar, writer)
        evaluations = go_online(
            arms,
            make_envs(len(seeds) * len(arms), True),
            starts,
            args.online_steps,
            utd=utd,
            batch=batch,
            offline=offline,
            every=args.every,
            watch=look,
            bar=bar,
        )
    seconds |= {"online": time.perf_counter() - clock, "of_which_evaluation": look.seconds}
    return {"pretraining": points, "arms": recorded(arms, evaluations), "seconds": seconds}
