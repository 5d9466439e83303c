"""`continual_pretraining.py suite`: all arms of the paper over several seeds, and what they say about its claims.

Each finished run is a file, written whole: a stopped suite goes on where it was when the same command is given again.

    python examples/continual_pretraining.py suite                        # text that every machine has, no download
    python examples/continual_pretraining.py suite --claims C1 C4 --seeds 2
    python examples/continual_pretraining.py suite --upstream apt:linux-doc-6.1 --downstream apt:manpages-de
"""

import argparse
import json
import os
import platform
import signal
import sys
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

import torch
from continual_pretraining_arms import ARMS, train_arm, train_upstream
from continual_pretraining_claims import CLAIMS, judge, needed_arms
from continual_pretraining_training import HEAD, fresh_model, small_config
from local_text import UsageError, fit_tokenizer, load_corpus, prose, standard_library, tokenize

import rewarm

BYTES_PER_TOKEN = 5  # text read for each token that training sees; no tokenizer here packs more into one
# Measured: one thread trains 231k parameters at about 40k tokens/s, so 5 seeds of these take a quarter of an hour on
# two idle cores. The number of updates is that of a run with twice the batch; what is halved is the batch alone.
SIZES = {
    "steps_upstream": 1464,
    "steps_downstream": 585,
    "batch": 16,
    "context": 64,
    "eval_windows": 128,
    "vocab": 1024,
    "width": 64,
    "layers": 2,
}
UPSTREAM = "upstream"


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Arguments with their defaults filled in."""

    def positive(text: str) -> int:
        value = int(text)
        if value < 1:
            raise argparse.ArgumentTypeError(f"{value} given, a whole number of at least 1 is accepted")
        return value

    summary, _, details = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="continual_pretraining.py suite",
        description=summary,
        epilog=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    # fmt: off
    add = parser.add_argument
    add("--upstream", nargs="+", metavar="TEXT", help="files, folders, apt:PACKAGE to learn first (default: Python's library)")
    add("--downstream", nargs="+", metavar="TEXT", help="the same to go on with (default: help and manual pages)")
    add("--out", default="out/continual_pretraining_suite", metavar="DIR", help="for results (default: %(default)s)")
    add("--seeds", type=positive, default=5, metavar="N", help="seeds 0 to N - 1; at least 2 (default: %(default)s)")
    add("--claims", nargs="+", choices=list(CLAIMS), default=list(CLAIMS), metavar="C", help="of C1 to C10 (default: all)")
    add("--workers", type=positive, default=os.cpu_count(), metavar="N", help="processes of one thread (default: %(default)s)")
    add("--max-lr", type=float, default=4e-3, metavar="P", help="(default: %(default)s)")
    for key, value in SIZES.items():
        add("--" + key.replace("_", "-"), type=positive, default=value, metavar="N", help="(default: %(default)s)")
    # fmt: on
    args = parser.parse_args(argv)
    if args.seeds < 2:
        parser.error(f"--seeds {args.seeds}: at least 2 are accepted, an interval needs a spread")
    if args.width % HEAD:
        parser.error(f"--width {args.width}: multiples of {HEAD}, the width of an attention head, are accepted")
    if args.vocab < 257:
        parser.error(f"--vocab {args.vocab}: at least 257 (the bytes and the end of a text) are accepted")
    if not 0 < args.max_lr < float("inf"):
        parser.error(f"--max-lr {args.max_lr}: a number above 0 is accepted")
    args.claims = sorted(set(args.claims), key=list(CLAIMS).index)
    return args


# --------------------------------------------------------------------------------------------------------------- files


def write_whole(path: Path, content: str) -> None:
    """The file with its new content, or as it was before."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_text(content)
    os.replace(unfinished, path)


def prepare_corpora(args, out: Path) -> dict:
    """Reads, splits and tokenizes both corpora once, into out/corpora.pt; the facts about them."""
    facts, windows, tokenizer = {}, {}, None
    steps = {"upstream": args.steps_upstream + args.steps_downstream, "downstream": args.steps_downstream}
    for name, default in (("upstream", standard_library), ("downstream", prose)):
        seen = steps[name] * args.batch * args.context
        corpus = load_corpus(name, getattr(args, name), default, max(2_000_000, BYTES_PER_TOKEN * seen))
        if tokenizer is None:
            tokenizer, end_of_text = fit_tokenizer(corpus["training"], args.vocab)
        corpus = tokenize(corpus, tokenizer, end_of_text, args.context, args.eval_windows, "cpu")
        facts[name] = corpus["facts"]
        windows[name] = {split: corpus[split] for split in ("training", "validation")}
        found = corpus["facts"]
        passes = seen / found["training_tokens"]
        print(f"{name:11} {found['bytes'] / 1e6:.1f} MB from {', '.join(found['origins'])}")
        print(f"{'':11} {found['training_tokens']:,} training tokens; a seed reads {seen:,} ({passes:.2f} passes)")
    unfinished = out / ".corpora.pt.unfinished"
    torch.save(windows, unfinished)
    os.replace(unfinished, out / "corpora.pt")
    return {"corpora": facts, "vocab": tokenizer.get_vocab_size()}


def settle(args, out: Path) -> dict:
    """Settings of the suite in `out`; those that are there already must be the ones asked for."""
    asked = {key: getattr(args, key) for key in ("upstream", "downstream", "max_lr", *SIZES)}
    path = out / "settings.json"
    if path.exists():
        settings = json.loads(path.read_text())
        other = [key for key in asked if settings["asked"][key] != asked[key]]
        if other:
            there, now = (", ".join(f"{key} = {of[key]!r}" for key in other) for of in (settings["asked"], asked))
            raise UsageError(
                f"{out} holds a suite with {there}, and {now} was asked for; name another --out, or delete that one"
            )
        return settings
    settings = {key: value for key, value in asked.items() if key not in ("upstream", "downstream")}
    settings |= {"asked": asked, **prepare_corpora(args, out)}
    write_whole(path, json.dumps(settings, indent=1) + "\n")
    return settings


# ------------------------------------------------------------------------------------------------------------- workers

_loaded: dict = {}  # of a worker process: its corpora and settings, read once


def begin_worker(out: Path, settings: dict) -> None:
    """Of a process: one thread, as the other cores have their own runs; Ctrl-C is the parent's to answer."""
    import transformers

    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    _loaded.update(corpora=torch.load(out / "corpora.pt", weights_only=True), settings=settings)


def ignore_stop_signals(*arguments) -> None:
    """Initializer of a separate worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    begin_worker(*arguments)


def train_one(out: Path, seed: int, name: str) -> dict:
    """Trains one arm, or the upstream run, of one seed, and writes its file."""
    folder = out / f"seed{seed}"
    folder.mkdir(exist_ok=True)
    arguments = (folder, _loaded["corpora"], _loaded["settings"], seed)
    run = train_upstream(*arguments) if name == UPSTREAM else train_arm(name, *arguments)
    write_whole(folder / f"{name}.json", json.dumps(run, indent=1, allow_nan=False) + "\n")
    return run


def train_all(out: Path, settings: dict, wanted: list[tuple[int, str]], workers: int) -> None:
    """Trains what is not there yet, a seed's upstream run before its arms, and says how long the rest will take."""
    missing = [(seed, name) for seed, name in wanted if not (out / f"seed{seed}" / f"{name}.json").exists()]
    print(f"training    {len(wanted)} runs, {len(wanted) - len(missing)} of them there already; {workers} at a time")
    if not missing:
        return
    weight = {True: settings["steps_upstream"], False: settings["steps_downstream"]}  # of a run: its updates
    work, done, began = sum(weight[name == UPSTREAM] for _, name in missing), 0, time.perf_counter()

    def finished(seed: int, name: str, run: dict) -> None:
        nonlocal done
        done += weight[name == UPSTREAM]
        left = (time.perf_counter() - began) * (work - done) / done
        last = run["evaluations"][-1]
        ends = f"downstream {last['downstream']:.3f}  upstream {last['upstream']:.3f}"
        print(f"  {done / work:4.0%}  seed {seed}  {name:14} {ends}  {run['seconds']:6.1f} s  {left / 60:6.1f} min left")

    if workers == 1:
        begin_worker(out, settings)
        for seed, name in missing:
            finished(seed, name, train_one(out, seed, name))
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"), ignore_stop_signals, (out, settings))
    running: dict = {}
    try:
        while missing or running:
            waiting_for = {seed for seed, name in (*missing, *running.values()) if name == UPSTREAM}
            ready = [task for task in missing if task[1] == UPSTREAM or task[0] not in waiting_for]
            for task in ready[: workers - len(running)]:
                missing.remove(task)
                running[pool.submit(train_one, out, *task)] = task
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                finished(*running.pop(future), future.result())
    except BaseException:
        for process in list(pool._processes.values()):  # a run takes a minute: nobody waits for it after Ctrl-C
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


# ------------------------------------------------------------------------------------------------------------- program


def report(args, out: Path, settings: dict, arms: list[str], seconds: float) -> dict:
    """Judges the claims, and writes the suite's JSON and its page."""
    from continual_pretraining_page import page

    runs = [{n: json.loads((out / f"seed{s}" / f"{n}.json").read_text()) for n in (UPSTREAM, *arms)} for s in range(args.seeds)]
    verdicts = judge(runs, args.claims)
    config = small_config(*(settings[key] for key in ("vocab", "width", "layers", "context")))
    parameters = sum(p.numel() for p in fresh_model(config, 0, "cpu").parameters())
    results = {
        "example": "continual_pretraining suite",
        "settings": settings | {"seeds": args.seeds, "parameters": parameters},
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "rewarm": rewarm.__version__},
        "machine": {"architecture": platform.machine(), "cpus": os.cpu_count(), "workers": args.workers},
        "seconds": {
            "this_command": seconds,
            "all_runs": sum(run["seconds"] for arms in runs for run in arms.values()),
            "all_runs_cpu": sum(run["cpu_seconds"] for arms in runs for run in arms.values()),
        },
        "verdicts": [asdict(verdict) for verdict in verdicts],
        "runs": runs,
    }
    write_whole(out / "suite.json", json.dumps(results, allow_nan=False) + "\n")
    write_whole(out / "suite.html", page(results))
    return results


def print_verdicts(results: dict) -> None:
    """One block a claim: verdict, statement, and each difference with its interval."""
    print(f"\n{results['settings']['seeds']} seeds; differences in nat a token, paired by seed, with 90 % intervals")
    for verdict in results["verdicts"]:
        print(f"\n{verdict['claim']:4} {verdict['verdict'].upper():9} {verdict['statement']}")
        for row in verdict["rows"]:
            p = row["p"] if row["p_holm"] is None else row["p_holm"]
            print(f"       {row['mean']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]  p {p:.2g}  {row['label']}")
        if verdict["detail"]:
            print(f"       {verdict['detail']}")


def main(argv: list[str]) -> int:
    """Trains what is missing, judges, reports; 130 after Ctrl-C, with all finished runs kept."""
    args = parse_arguments(argv)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    sys.stdout.reconfigure(line_buffering=True)  # a log in a file shows how far the run is
    out, began = Path(args.out), time.perf_counter()
    arms = [name for name in ARMS if name in needed_arms(args.claims)]
    wanted = [(seed, name) for seed in range(args.seeds) for name in (UPSTREAM, *arms)]
    try:
        out.mkdir(parents=True, exist_ok=True)
        settings = settle(args, out)
        train_all(out, settings, wanted, args.workers)
        results = report(args, out, settings, arms, time.perf_counter() - began)
    except (UsageError, OSError) as error:
        print(f"continual_pretraining suite: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        there = sum((out / f"seed{seed}" / f"{name}.json").exists() for seed, name in wanted)
        print(f"\ncontinual_pretraining suite: stopped; {there} of {len(wanted)} runs are in {out}, the same command goes on",
              file=sys.stderr)  # fmt: skip
        return 130
    print_verdicts(results)
    print(f"\n{results['seconds']['this_command']:.0f} s; wrote {out / 'suite.json'}, {out / 'suite.html'}")
    return 0
