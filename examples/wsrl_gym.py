"""Warm-start reinforcement learning (WSRL, arXiv 2412.07762) on any Gymnasium environment with Box spaces.

Offline data come from a file, or from the replay of a short soft actor-critic run that is made here. Cal-QL learns from them,
the environment may change, and the four arms of wsrl_maze.py go on online. Dict observations of Box entries are flattened.

    python examples/wsrl_gym.py                                            # Pendulum-v1, then with more gravity
    python examples/wsrl_gym.py --env PointMaze_UMaze-v3 --data ~/.minari/datasets/D4RL/pointmaze/umaze-v2
    python examples/wsrl_gym.py --env HalfCheetah-v5 --data halfcheetah_medium.hdf5 --hidden 256 256

--data takes a Minari data set's folder, or an HDF5 file in D4RL's layout. Their actions must be in [-1, 1]; an environment
with other bounds is given its actions in [-1, 1] too. PointMaze comes with gymnasium-robotics.
"""

import argparse
import importlib.util
import json
import os
import platform
import sys
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from wsrl_arms import Arm, Probe, go_online, offline_to_online
from wsrl_report import plot, print_table, print_verdicts, verdicts
from wsrl_results import UsageError, keep_when_complete, tensorboard_writer

import rewarm
from rewarm.rl import CalQL, EnsembleSAC, ReplayBuffer

HELD_OUT = 512  # offline pairs a seed for the probe
RANDOM = 500  # rows of a fresh agent's own actions before it learns, where data are made here


class Maker:
    """Vector environments of one id, before and after the shift: flat float observations, actions in [-1, 1]."""

    def __init__(self, name: str, before: dict, after: dict):
        if name not in gym.registry and importlib.util.find_spec("gymnasium_robotics"):
            gym.register_envs(importlib.import_module("gymnasium_robotics"))  # slow to import, and it prints
        self.name, self.kwargs = name, {False: before, True: before | after}
        try:
            env = gym.make(name, **before)
        except (gym.error.Error, TypeError) as error:
            raise UsageError(f"--env {name}: {error}") from error
        spaces, action = env.observation_space, env.action_space
        env.close()
        self.obs_keys = list(spaces.spaces) if isinstance(spaces, gym.spaces.Dict) else None
        boxes = list(spaces.values()) if self.obs_keys else [spaces]
        if not all(isinstance(space, gym.spaces.Box) for space in [*boxes, action]):
            raise UsageError(
                f"--env {name}: Box spaces are accepted (observations also a Dict of them), it has {spaces}, {action}"
            )
        if not np.isfinite([action.low, action.high]).all():
            raise UsageError(f"--env {name}: actions with bounds are accepted, it has {action}")
        self.unit_actions = bool((action.low == -1).all() and (action.high == 1).all())
        self.dims = sum(int(np.prod(space.shape)) for space in boxes), int(np.prod(action.shape))

    def __call__(self, count: int, online: bool):
        """`count` copies one after the other; autoreset at the next step."""
        one = np.float32(1)  # a float would have Gymnasium warn about precision
        wrappers = [gym.wrappers.FlattenObservation, lambda env: gym.wrappers.RescaleAction(env, -one, one)]
        mode = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        return gym.make_vec(
            self.name, count, vectorization_mode="sync", vector_kwargs=mode, wrappers=wrappers, **self.kwargs[online]
        )


def made_here(args, make_envs: Maker, seeds: list[int], settings: dict, training: dict) -> tuple[ReplayBuffer, Probe]:
    """The whole replay of a soft actor-critic run, and pairs of its last policy for the probe."""
    from tqdm import tqdm

    returns = {"mc_returns": True, "gamma": settings["gamma"]}
    arm = Arm("sac", EnsembleSAC(*make_envs.dims, seeds=seeds, backend=args.backend, **settings), RANDOM)
    arm.buffer = ReplayBuffer(args.collect_steps, *make_envs.dims, seeds=seeds, **returns)
    arm.buffer.set_rewards(args.reward_scale)
    envs = make_envs(len(seeds), False)
    with tqdm(total=args.collect_steps, desc="data", unit="step", disable=None, mininterval=0.5) as bar:
        go_online(
            [arm], envs, seeds, args.collect_steps, offline=None, every=args.collect_steps + 1, watch=None, bar=bar, **training
        )
    obs, _ = envs.reset(seed=[1_000_000 + seed for seed in seeds])
    pairs = []
    for _ in range(HELD_OUT):
        action = arm.agent.act(obs[:, None])[:, 0]
        pairs.append((obs.astype(np.float32), action))
        obs, *_ = envs.step(action)
    return arm.buffer, Probe(*(torch.from_numpy(np.stack(column, 1)) for column in zip(*pairs, strict=True)))


def from_file(args, make_envs: Maker, seeds: list[int], settings: dict) -> tuple[ReplayBuffer, Probe]:
    """A data set that all seeds share; its first rows are held out for the probe."""
    path = Path(args.data).expanduser()
    if not path.exists():
        raise UsageError(f"--data {args.data}: no such file or folder")
    if not make_envs.unit_actions:
        raise UsageError(
            f"--data {args.data}: accepted with environments whose actions are in [-1, 1], those of {args.env} are not"
        )
    options = {"seeds": seeds, "mc_returns": True, "gamma": settings["gamma"], "clip_action": 0.99999}

    def load(capacity: int | None) -> ReplayBuffer:
        if path.is_dir():
            import minari

            data = path / "data" if (path / "data").is_dir() else path
            return ReplayBuffer.from_minari(
                minari.MinariDataset(data), obs_keys=make_envs.obs_keys, capacity=capacity, **options
            )
        return ReplayBuffer.from_hdf5(path, capacity=capacity, **options)

    everything = load(None)
    found = everything.config.obs_dim, everything.config.act_dim
    if found != make_envs.dims:
        raise UsageError(f"--data {args.data}: observations and actions are {found} wide, those of {args.env} {make_envs.dims}")
    if len(everything) < 4 * HELD_OUT:
        raise UsageError(f"--data {args.data}: {len(everything):,} transitions, at least {4 * HELD_OUT:,} are accepted")
    first = everything.gather(np.arange(HELD_OUT))
    buffer = load(len(everything) - HELD_OUT)  # a full ring has dropped its first rows
    buffer.set_rewards(args.reward_scale)
    return buffer, Probe(first.obs, first.action)


def run(args, staging: Path) -> tuple[dict, list[str]]:
    """From data to the files in the staging folder: the results, and the names of the files."""
    began = time.perf_counter()
    torch.set_num_threads(args.threads)  # the compiled update takes as many
    seeds = list(range(args.first_seed, args.first_seed + args.seeds))
    settings = {"critics": args.critics, "hidden": tuple(args.hidden), "gamma": args.gamma, "tau": args.tau}
    settings |= {"critic_lr": args.lr, "actor_lr": args.lr, "alpha_lr": args.lr, "backup_actions": args.backup_actions}
    training = {"utd": args.utd, "batch": args.batch}
    make_envs = Maker(args.env, args.env_kwargs, args.online_kwargs)
    if args.data:
        offline, probe = from_file(args, make_envs, seeds, settings)
    else:
        offline, probe = made_here(args, make_envs, seeds, settings, training)
    print(f"data        {len(offline):,} transitions a seed, {'from ' + args.data if args.data else 'made here'}")
    seconds = {"data": time.perf_counter() - began}

    agent = CalQL(*make_envs.dims, seeds=seeds, cql_weight=args.cql_weight, backend=args.backend, **settings)
    writer = tensorboard_writer(staging / "tensorboard") if args.tensorboard else None
    found = offline_to_online(
        agent, offline, probe, make_envs, args, settings, staging, **training, reward_scale=args.reward_scale, writer=writer
    )
    if writer:
        writer.close()

    versions = {"python": platform.python_version(), "torch": torch.__version__, "gymnasium": gym.__version__}
    results = {
        "example": "wsrl_gym",
        "arguments": vars(args),
        "settings": settings | training,
        "versions": versions | {"rewarm": rewarm.__version__},
        "machine": {"architecture": platform.machine(), "cpus": os.cpu_count()},
        "backend": agent.backend,
        **found,
    }
    print_table(results["arms"])
    results["verdicts"] = verdicts(results["arms"], within=args.online_steps)
    print_verdicts(results["verdicts"])
    plot(results["arms"], f"{args.env} {args.online_kwargs or ''}; {args.seeds} seeds", staging / "wsrl_gym.svg")
    results["seconds"] |= seconds | {"all": time.perf_counter() - began, "cpu": time.process_time()}
    (staging / "wsrl_gym.json").write_text(json.dumps(results, indent=1, allow_nan=False) + "\n")
    return results, ["offline.pt", "wsrl_gym.svg", "wsrl_gym.json", *(["tensorboard"] if args.tensorboard else [])]


# ------------------------------------------------------------------------------------------------------------- program


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Arguments with their defaults filled in."""

    def positive(text: str) -> int:
        value = int(text)
        if value < 1:
            raise argparse.ArgumentTypeError(f"{value} given, a whole number of at least 1 is accepted")
        return value

    def keywords(text: str) -> dict:
        value = json.loads(text)
        if not isinstance(value, dict):
            raise argparse.ArgumentTypeError(f'{text} given, a JSON object as {{"g": 14}} is accepted')
        return value

    summary, _, details = __doc__.partition("\n\n")
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=summary, epilog=details, formatter_class=as_written)
    # fmt: off
    add = parser.add_argument
    add("--env", default="Pendulum-v1", metavar="ID", help="of Gymnasium (default: %(default)s)")
    add("--env-kwargs", type=keywords, default={}, metavar="JSON", help="for the environment, always")
    add("--online-kwargs", type=keywords, metavar="JSON",
        help='for the environment online: the shift (default for Pendulum-v1: {"g": 14}, else none)')
    add("--data", metavar="PATH", help="Minari folder or HDF5 file (default: made here)")
    add("--collect-steps", type=positive, default=5000, metavar="N", help="of each seed, without --data (default: %(default)s)")
    add("--seeds", type=positive, default=4, metavar="S", help="of each arm, at least 2 (default: %(default)s)")
    add("--first-seed", type=int, default=0, metavar="N", help="seeds are N, N + 1, ... (default: %(default)s)")
    add("--out", default="out/wsrl_gym", metavar="DIR", help="for results (default: %(default)s)")
    add("--backend", choices=("cpu", "reference", "triton"), help="of the agents (default: the fastest here)")
    add("--tensorboard", action="store_true", help="write scalars for TensorBoard too")
    add("--pretrain-steps", type=positive, default=3000, metavar="N", help="of Cal-QL (default: %(default)s)")
    add("--online-steps", type=positive, default=3000, metavar="N", help="of each arm and seed (default: %(default)s)")
    add("--warmup", type=positive, default=400, metavar="N", help="rows before updates begin (default: %(default)s)")
    add("--every", type=positive, default=200, metavar="N", help="steps between evaluations online (default: %(default)s)")
    add("--episodes", type=positive, default=5, metavar="N", help="of an evaluation (default: %(default)s)")
    add("--hidden", type=positive, nargs="+", default=[64, 64], metavar="N",
        help="layers of actor and critics (default: 64 64)")
    add("--critics", type=positive, default=6, metavar="E", help="(default: %(default)s)")
    add("--backup-actions", type=positive, default=10, metavar="K",
        help="next actions a target takes the best of (default: %(default)s)")
    add("--utd", type=positive, default=4, metavar="U", help="critic minibatches a step (default: %(default)s)")
    add("--batch", type=positive, default=64, metavar="B", help="rows of a critic minibatch, even (default: %(default)s)")
    add("--lr", type=float, default=1e-3, help="of critics, actor and temperature (default: %(default)s)")
    add("--gamma", type=float, default=0.97, help="(default: %(default)s)")
    add("--tau", type=float, default=0.01, help="(default: %(default)s)")
    add("--cql-weight", type=float, default=1.0, metavar="W", help="of Cal-QL's penalty (default: %(default)s)")
    add("--reward-scale", type=float, default=0.1, metavar="C", help="of rewards in all losses (default: %(default)s)")
    add("--threads", type=positive, metavar="N", help="of updates (default: torch's choice)")
    # fmt: on
    args = parser.parse_args(argv)
    if args.online_kwargs is None:
        args.online_kwargs = {"g": 14.0} if args.env == "Pendulum-v1" else {}
    args.threads = args.threads or torch.get_num_threads()
    if args.seeds < 2:
        parser.error(f"--seeds {args.seeds}: at least 2 are accepted, one has no spread")
    if not 0 <= args.first_seed <= 9000:
        parser.error(f"--first-seed {args.first_seed}: 0 to 9,000 is accepted")
    if args.batch % 2:
        parser.error(f"--batch {args.batch}: even numbers are accepted, half of it may be offline data")
    least = max(args.warmup, args.utd * args.batch) + args.every
    if args.online_steps <= 1.2 * least:
        parser.error(f"--online-steps {args.online_steps}: more than {1.2 * least:g} is accepted with this --warmup")
    return args


def main(argv: list[str] | None = None) -> int:
    """Results appear in --out when the run is complete: a stopped run leaves what was there before."""
    return keep_when_complete("wsrl_gym", parse_arguments(argv), run)


if __name__ == "__main__":
    sys.exit(main())
