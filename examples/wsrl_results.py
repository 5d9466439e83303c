"""How the WSRL examples keep their results: all files at once when a run is complete, nothing when it is stopped."""

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from wsrl_report import ARMS

from rewarm.errors import RewarmError


class UsageError(Exception):
    """What is wrong with the request, and what is accepted."""


def recorded(arms: list, evaluations: list[tuple[int, dict]]) -> dict:
    """For every arm its curves by measure [S][T], and the step of its first update."""
    steps = [step for step, _ in evaluations]
    found = {}
    for arm in arms:
        points = [point[arm.name] for _, point in evaluations]
        curves = {key: [list(seed) for seed in zip(*(p[key] for p in points), strict=True)] for key in points[0]}
        found[arm.name] = {"label": ARMS[arm.name][0], "first_update": arm.first_update, "steps": steps, **curves}
    return found


def tensorboard_writer(folder: Path):
    """A SummaryWriter, or an error that says how to get one."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError(f"--tensorboard: {error}; it comes with: pip install tensorboard, or rewarm[examples]") from error
    return SummaryWriter(str(folder))


def keep_when_complete(name: str, args, run: Callable[..., tuple[dict, list[str]]]) -> int:
    """`run(args, staging folder)` gives results and the names of its files, which then move to --out together.

    Returns the exit code: 0, 2 for a request that cannot be met, 130 after Ctrl-C. Either of the last two leaves in --out
    what was there before, and no --out where there was none.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    sys.stdout.reconfigure(line_buffering=True)  # a log in a file shows how far the run is
    out = Path(args.out)
    made = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=out) as staging:
            results, files = run(args, Path(staging))
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)  # the files belong together
            for file in files:
                if (out / file).is_dir():
                    shutil.rmtree(out / file)
                os.replace(Path(staging, file), out / file)
    except (UsageError, RewarmError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\n{name}: stopped; nothing was written to {out}", file=sys.stderr)
        return 130
    finally:
        if made and out.is_dir() and not any(out.iterdir()):
            out.rmdir()
    print(f"\n{results['seconds']['all']:.0f} s; wrote " + ", ".join(str(out / file) for file in files))
    return 0
