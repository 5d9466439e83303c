"""Warm-start reinforcement learning (WSRL, arXiv 2412.07762) in a small maze: go online without the offline data.

Noisy walkers make offline data in a U-shaped maze, Cal-QL learns from them, and then a wind rises. Four arms go on in the
wind: WSRL (300 steps with the frozen policy, then online data alone), the same without those steps, a fresh agent with half
of each minibatch from the offline data (RLPD-style), and a fresh agent without. All seeds of an arm are one stacked agent, and
all arms and seeds act in one Gymnasium vector environment.

    python examples/wsrl_maze.py                   # 16 seeds, minutes on two cores
    python examples/wsrl_maze.py --quick           # 4 seeds, fewer steps
    python examples/wsrl_maze.py --tensorboard     # and: tensorboard --logdir out/wsrl_maze/tensorboard

Writes wsrl_maze.json (every evaluation of every seed, tests over seeds), wsrl_maze.svg and offline.pt, the pre-trained agent.
"""

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path

import torch
from wsrl_arms import Probe, offline_to_online
from wsrl_maze_env import CALM, MazeVectorEnv, Transitions, walk
from wsrl_report import plot, print_table, print_verdicts, verdicts
from wsrl_results import keep_when_complete, tensorboard_writer

import rewarm
from rewarm.rl import CalQL, ReplayBuffer

SETTINGS = {  # of every agent, offline and online
    "critics": 6,
    "hidden": (48, 48),
    "gamma": 0.97,
    "tau": 0.01,
    "critic_lr": 1e-3,
    "actor_lr": 1e-3,
    "alpha_lr": 1e-3,
    "backup_actions": 10,  # online too, as in the paper's AntMaze: with 1 the values that were taken over lose their footing
}
TRAINING = {"utd": 4, "batch": 64}
FULL = {"seeds": 16, "pretrain_steps": 2500, "online_steps": 2000, "every": 100}
QUICK = {"seeds": 4, "pretrain_steps": 2500, "online_steps": 1200, "every": 100}
HELD_OUT = 256  # offline pairs a seed for the probe


def offline_buffer(data: Transitions, seeds: list[int]) -> ReplayBuffer:
    """The data with Monte-Carlo returns; an episode that never reached the goal counts as one that never will."""
    returns = {"mc_returns": True, "gamma": SETTINGS["gamma"], "sparse_negative_reward": -1.0}
    return ReplayBuffer.from_arrays(*data, seeds=seeds, **returns)


def run(args, staging: Path) -> tuple[dict, list[str]]:
    """From walkers to the files in the staging folder: the results, and the names of the files."""
    began = time.perf_counter()
    torch.set_num_threads(args.threads)  # the compiled update takes as many
    seeds = list(range(args.first_seed, args.first_seed + args.seeds))

    data = walk(seeds, args.transitions, noise=args.noise)
    held_out = walk([seed + 1_000_000 for seed in seeds], HELD_OUT, noise=args.noise)
    probe = Probe(torch.from_numpy(held_out.obs), torch.from_numpy(held_out.action))
    offline = offline_buffer(data, seeds)
    share = data.terminated.mean()
    print(f"data        {args.transitions:,} transitions for each of {args.seeds} seeds; {share:.2%} reach the goal")
    seconds = {"data": time.perf_counter() - began}

    agent = CalQL(2, 2, seeds=seeds, cql_weight=args.cql_weight, backend=args.backend, **SETTINGS)
    writer = tensorboard_writer(staging / "tensorboard") if args.tensorboard else None

    def make_envs(count: int, online: bool) -> MazeVectorEnv:
        return MazeVectorEnv(count, wind=args.wind if online else CALM)

    found = offline_to_online(agent, offline, probe, make_envs, args, SETTINGS, staging, **TRAINING, writer=writer)
    if writer:
        writer.close()

    results = {
        "example": "wsrl_maze",
        "arguments": vars(args),
        "settings": SETTINGS | TRAINING,
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "rewarm": rewarm.__version__},
        "machine": {"architecture": platform.machine(), "cpus": os.cpu_count()},
        "backend": agent.backend,
        **found,
    }
    print_table(results["arms"])
    results["verdicts"] = verdicts(results["arms"], within=min(1000, args.online_steps))
    print_verdicts(results["verdicts"])
    plot(results["arms"], f"U-maze, wind {args.wind[0]:g}, {args.wind[1]:g}; {args.seeds} seeds", staging / "wsrl_maze.svg")
    results["seconds"] |= seconds | {"all": time.perf_counter() - began, "cpu": time.process_time()}
    (staging / "wsrl_maze.json").write_text(json.dumps(results, indent=1, allow_nan=False) + "\n")
    return results, ["offline.pt", "wsrl_maze.svg", "wsrl_maze.json", *(["tensorboard"] if args.tensorboard else [])]


# ------------------------------------------------------------------------------------------------------------- program


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Arguments with their defaults filled in."""

    def positive(text: str) -> int:
        value = int(text)
        if value < 1:
            raise argparse.ArgumentTypeError(f"{value} given, a whole number of at least 1 is accepted")
        return value

    summary, _, details = __doc__.partition("\n\n")
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=summary, epilog=details, formatter_class=as_written)
    both = {key: f"(default: {FULL[key]}, with --quick {QUICK[key]})" for key in FULL}
    # fmt: off
    add = parser.add_argument
    add("--seeds", type=positive, metavar="S", help="of each arm, at least 2 " + both["seeds"])
    add("--first-seed", type=int, default=0, metavar="N", help="seeds are N, N + 1, ... (default: %(default)s)")
    add("--quick", action="store_true", help="fewer seeds and steps")
    add("--out", default="out/wsrl_maze", metavar="DIR", help="for results (default: %(default)s)")
    add("--backend", choices=("cpu", "reference", "triton"), help="of the agents (default: the fastest here)")
    add("--tensorboard", action="store_true", help="write scalars for TensorBoard too")
    add("--pretrain-steps", type=positive, metavar="N", help="of Cal-QL " + both["pretrain_steps"])
    add("--online-steps", type=positive, metavar="N", help="of each arm and seed " + both["online_steps"])
    add("--warmup", type=positive, default=300, metavar="N",
        help="rows before updates begin, in all arms but one (default: %(default)s)")
    add("--wind", type=float, nargs=2, default=(0.02, -0.06), metavar=("X", "Y"),
        help="online, in cells a step; a move is up to 0.2 (default: 0.02 -0.06)")
    add("--transitions", type=positive, default=6000, metavar="N", help="offline, of each seed (default: %(default)s)")
    add("--noise", type=float, default=0.5, metavar="STD", help="of the walkers' actions (default: %(default)s)")
    add("--cql-weight", type=float, default=1.0, metavar="W", help="of Cal-QL's penalty (default: %(default)s)")
    add("--every", type=positive, metavar="N", help="steps between evaluations online " + both["every"])
    add("--episodes", type=positive, default=20, metavar="N", help="of an evaluation (default: %(default)s)")
    add("--threads", type=positive, metavar="N", help="of updates (default: torch's choice)")
    # fmt: on
    args = parser.parse_args(argv)
    for key, value in (QUICK if args.quick else FULL).items():
        if getattr(args, key) is None:
            setattr(args, key, value)
    args.threads = args.threads or torch.get_num_threads()
    if args.seeds < 2:
        parser.error(f"--seeds {args.seeds}: at least 2 are accepted, one has no spread")
    if not 0 <= args.first_seed <= 9000:
        parser.error(f"--first-seed {args.first_seed}: 0 to 9,000 is accepted")
    least = args.warmup + args.every
    if args.online_steps <= least:
        parser.error(f"--online-steps {args.online_steps}: more than --warmup + --every = {least} is accepted")
    if max(map(abs, args.wind)) > 0.8:
        parser.error(f"--wind {args.wind[0]:g} {args.wind[1]:g}: numbers in +-0.8 are accepted")
    return args


def main(argv: list[str] | None = None) -> int:
    """Results appear in --out when the run is complete: a stopped run leaves what was there before."""
    return keep_when_complete("wsrl_maze", parse_arguments(argv), run)


if __name__ == "__main__":
    sys.exit(main())
