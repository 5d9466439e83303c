"""Continue pre-training on new text: constant minimum lr, re-warmed to P or 2P, from scratch (arXiv 2308.04014).

A small GPT-NeoX learns an upstream corpus once. Its checkpoint (weights and optimizer state) is then continued on a
downstream corpus in ways that differ in the learning rate alone, and the validation loss on both is followed. The
fourth arm trains a fresh model on the downstream text.

    python examples/continual_pretraining.py               # minutes on two cores, needs no download
    python examples/continual_pretraining.py --quick       # the same comparison, smaller
    python examples/continual_pretraining.py --upstream old/ --downstream new/ more.txt
    python examples/continual_pretraining.py suite         # 17 arms over 5 seeds, and a verdict on each claim (suite --help)
"""

import argparse
import json
import math
import os
import platform
import signal
import sys
import tempfile
import time
from pathlib import Path

import torch
from continual_pretraining_report import ARMS, observations, plot, print_table, summarise
from continual_pretraining_training import (
    FLOOR,
    HEAD,
    WARMUP,
    decaying,
    fresh_model,
    load_pretrained,
    make_optimizer,
    small_config,
    train,
    update,
    window_order,
)
from local_text import UsageError, fit_tokenizer, load_corpus, prose, standard_library, tokenize

import rewarm
from rewarm.schedule import Schedule, constant

BYTES_PER_TOKEN = 5  # text read for each token that training sees; no tokenizer here packs more into one
QUICK = {"steps_upstream": 400, "steps_downstream": 160, "batch": 16, "eval_windows": 128}
FULL = {"steps_upstream": 1464, "steps_downstream": 585, "batch": 32, "eval_windows": 256}
PAIRS = {  # of optimizers whose losses are compared
    "rewarm_fused": ("rewarm", "torch"),
    "fused_foreach": ("torch", "torch-foreach"),
    "rewarm_foreach": ("rewarm", "torch-foreach"),
}


def batches(corpus: dict, steps: int, args):
    """Batches [batch, context] in an order that depends on the seed only."""
    order = window_order(len(corpus["training"]), steps * args.batch, args.seed).view(steps, args.batch)
    return (corpus["training"][order[i]] for i in range(steps))  # to iterate over a tensor makes all its rows at once


def agreement(config, corpus: dict, schedule: Schedule, args) -> dict:
    """Training losses of rewarm, torch fused and torch foreach on the same batches from the same weights."""
    curves = {}
    for kind in ("rewarm", "torch", "torch-foreach"):
        model = fresh_model(config, args.seed, args.device)
        optimizer = make_optimizer(kind, model, schedule)
        losses = [update(model, optimizer, x) for x in batches(corpus, args.steps_compare, args)]
        curves[kind] = torch.stack(losses).double().cpu()

    def largest(one: str, other: str, steps: int) -> float:
        return (curves[one] - curves[other])[:steps].abs().max().item()

    found = {f"{key}_first5": largest(*pair, 5) for key, pair in PAIRS.items()}
    found |= {f"{key}_all": largest(*pair, args.steps_compare) for key, pair in PAIRS.items()}
    # Few updates can leave fused and foreach equal; a loss shows no difference finer than its float32 spacing.
    shown = curves["torch"].float()
    spacing = (torch.nextafter(shown, torch.full_like(shown, math.inf)) - shown).max().item()
    bound = 3 * max(found["fused_foreach_all"], spacing)
    holds = found["rewarm_fused_first5"] <= 1e-5 and found["rewarm_fused_all"] <= bound
    return {
        "steps": args.steps_compare,
        "holds": holds,
        "bound": bound,
        **found,
        "losses": {k: c.tolist() for k, c in curves.items()},
    }


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
    add("--upstream", nargs="+", metavar="PATH", help="text to learn first (default: Python's library)")
    add("--downstream", nargs="+", metavar="PATH", help="text to go on with (default: help and manual pages)")
    add("--quick", action="store_true", help="fewer, smaller updates: under two minutes on two cores")
    add("--out", default="out/continual_pretraining", metavar="DIR", help="for results (default: %(default)s)")
    add("--optimizer", choices=("rewarm", "torch"), default="rewarm",
        help="torch: AdamW(fused=True), LambdaLR and clip_grad_norm_ (default: %(default)s)")
    add("--compare", choices=("end", "only", "no"),
        help="compare rewarm's losses with torch's after the arms, only, or not at all; exit code 1 "
             "when they differ too much (default: end, with --model no)")
    add("--model", metavar="NAME", help="a pre-trained one, as EleutherAI/pythia-70m: from a hub or a folder")
    add("--max-lr", type=float, metavar="P", help="(default: 4e-3, with --model the paper's 3e-4)")
    add("--steps-upstream", type=int, metavar="N", help=both["steps_upstream"][:-1] + ", with --model 0)")
    add("--steps-downstream", type=positive, metavar="N", help="of each arm " + both["steps_downstream"])
    add("--steps-compare", type=positive, metavar="N", default=100, help="(default: %(default)s)")
    add("--batch", type=positive, metavar="N", help="windows an update " + both["batch"])
    add("--context", type=positive, metavar="N", default=64, help="tokens a window (default: %(default)s)")
    add("--eval-windows", type=positive, metavar="N", help="of each corpus " + both["eval_windows"])
    add("--vocab", type=positive, metavar="N", default=1024, help="tokenizer entries (default: %(default)s)")
    add("--width", type=positive, metavar="N", default=64, help="of the model (default: %(default)s)")
    add("--layers", type=positive, metavar="N", default=2, help="of the model (default: %(default)s)")
    add("--max-bytes", type=positive, metavar="N", help="text read of a corpus (default: what training needs)")
    add("--seed", type=int, default=0, help="of weights and batch order (default: %(default)s)")
    add("--threads", type=positive, metavar="N", help="of the CPU (default: 1, with --model torch's choice)")
    add("--device", default="cpu", help="cpu, or cuda where there is one (default: %(default)s)")
    # fmt: on
    args = parser.parse_args(argv)
    for key, value in (QUICK if args.quick else FULL).items():
        if getattr(args, key) is None:
            setattr(args, key, 0 if args.model and key == "steps_upstream" else value)
    args.max_lr = (3e-4 if args.model else 4e-3) if args.max_lr is None else args.max_lr
    # A second thread makes the small model 1.5x as fast on two idle cores, and up to 10x slower when one of them is
    # taken, because torch's threads wait for each other some hundred times in an update.
    args.threads = args.threads or (torch.get_num_threads() if args.model else 1)
    args.compare = args.compare or ("no" if args.model else "end")
    if args.width % HEAD:
        parser.error(f"--width {args.width}: multiples of {HEAD}, the width of an attention head, are accepted")
    if args.vocab < 257:
        parser.error(f"--vocab {args.vocab}: at least 257 (the bytes and the end of a text) are accepted")
    if args.steps_upstream < (0 if args.model else 1):
        parser.error(f"--steps-upstream {args.steps_upstream}: at least 1 is accepted, and 0 with --model")
    if not args.max_lr > 0:
        parser.error(f"--max-lr {args.max_lr}: a number above 0 is accepted")
    return args


def prepare(args):
    """Corpora as token windows, the configuration of the model, and the model itself when it is a pre-trained one."""
    pretrained = tokenizer = None
    if args.model:
        pretrained, tokenizer, end_of_text = load_pretrained(args.model)
    corpora = {}
    for name, default, steps in (
        ("upstream", standard_library, args.steps_upstream),
        ("downstream", prose, args.steps_downstream),
    ):
        seen = steps * args.batch * args.context
        max_bytes = args.max_bytes or max(2_000_000, BYTES_PER_TOKEN * seen)
        corpus = load_corpus(name, getattr(args, name), default, max_bytes)
        if tokenizer is None:
            tokenizer, end_of_text = fit_tokenizer(corpus["training"], args.vocab)
            args.vocab = tokenizer.get_vocab_size()
        corpora[name] = tokenize(corpus, tokenizer, end_of_text, args.context, args.eval_windows, args.device)
        facts = corpus["facts"]
        origins = ", ".join(f"{count:,} from {origin}" for origin, count in facts["origins"].items())
        print(f"{name:11} {facts['bytes'] / 1e6:.1f} MB in {facts['texts']:,} texts ({origins})")
        print(f"{'':11} {facts['training_tokens']:,} training and {facts['validation_tokens']:,} validation tokens; "
              f"{seen:,} are trained on ({seen / facts['training_tokens']:.2f} passes)")  # fmt: skip
    return (
        corpora,
        pretrained.config if pretrained else small_config(args.vocab, args.width, args.layers, args.context),
        pretrained,
    )


def compare_arms(args, corpora: dict, config, pretrained, staging: Path) -> dict:
    """The upstream run, and the four ways to go on from it."""
    P, steps = args.max_lr, args.steps_downstream
    model = pretrained.to(args.device) if pretrained else fresh_model(config, args.seed, args.device)
    optimizer = make_optimizer(args.optimizer, model, decaying(P, max(2, args.steps_upstream)))
    print(f"\ntraining with {args.optimizer}")
    upstream = None
    watched = {name: corpus["validation"] for name, corpus in corpora.items()}
    if args.steps_upstream:
        steps_upstream = args.steps_upstream
        upstream = train(
            "upstream", model, optimizer, batches(corpora["upstream"], steps_upstream, args), watched, steps_upstream
        )
    checkpoint = staging / "upstream.pt"
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, checkpoint)

    schedules = {
        "constant": constant(FLOOR * P),
        "rewarm_P": decaying(P, steps),
        "rewarm_2P": decaying(2 * P, steps),
        "scratch": decaying(P, steps),
    }
    arms = {}
    for name, schedule in schedules.items():
        model = fresh_model(config, args.seed, args.device)
        optimizer = make_optimizer(args.optimizer, model, schedule)
        if name != "scratch":
            saved = torch.load(checkpoint, map_location=args.device)
            model.load_state_dict(saved["model"])
            optimizer.load_state_dict(saved["optimizer"])  # brings the finished upstream schedule with it ...
            optimizer.rewarm(schedule)  # ... which this replaces; the moments stay
        arms[name] = train(ARMS[name][0], model, optimizer, batches(corpora["downstream"], steps, args), watched, steps)
        arms[name] |= {"schedule": schedule.to_dict(), "summary": summarise(arms[name])}
    return {"upstream_run": upstream, "arms": arms, "observations": observations(arms)}


def run(args, staging: Path) -> tuple[dict, list[str]]:
    """From text to the files in the staging folder: the results, and the names of the files."""
    began = time.perf_counter()
    import transformers

    transformers.logging.set_verbosity_error()
    torch.set_num_threads(args.threads)
    try:
        torch.zeros(1, device=args.device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f"--device {args.device}: {reason}; accepted: cpu, or cuda where torch finds one") from error

    corpora, config, pretrained = prepare(args)
    parameters = sum(p.numel() for p in fresh_model(config, args.seed, args.device).parameters())
    title = f"{args.model or 'GPT-NeoX'}, {parameters:,} parameters, P = {args.max_lr:g}, seed {args.seed}"
    print(f"model       {args.model or 'GPT-NeoX'}: {config.num_hidden_layers} layers of {config.hidden_size}, "
          f"{parameters:,} parameters, context {args.context}, vocabulary {config.vocab_size:,}")  # fmt: skip
    print(f"training    P = {args.max_lr:g}, minimum {FLOOR * args.max_lr:g}, warm-up {WARMUP:.0%}, {args.batch} x "
          f"{args.context} tokens an update, seed {args.seed}, {args.device}, CPU threads: {args.threads}")  # fmt: skip
    versions = {"python": platform.python_version(), "torch": torch.__version__, "rewarm": rewarm.__version__}
    versions["transformers"] = transformers.__version__
    results = {
        "example": "continual_pretraining",
        "arguments": vars(args),
        "versions": versions,
        "machine": {"architecture": platform.machine(), "cpus": os.cpu_count()},
        "parameters": parameters,
        "corpora": {name: corpus["facts"] for name, corpus in corpora.items()},
    }
    stem = "agreement" if args.compare == "only" else "continual_pretraining"
    files = [f"{stem}.json"]
    if args.compare != "only":
        results |= compare_arms(args, corpora, config, pretrained, staging)
        print_table(results["arms"])
        print("\nwhat the paper reports, in this run of one seed (margin in nat)")
        for item in results["observations"]:
            print(f"  {item['verdict']:18} {item['margin']:+7.3f}  {item['claim']}")
        plot(results["arms"], title, staging / f"{stem}.svg")
        files = ["upstream.pt", f"{stem}.svg", *files]
    if args.compare != "no":
        schedule = decaying(args.max_lr, args.steps_upstream or args.steps_compare)
        found = results["agreement"] = agreement(config, corpora["upstream"], schedule, args)
        print(f"\nlargest difference of training losses, first {min(5, found['steps'])} and all {found['steps']} updates")
        for key, pair in PAIRS.items():
            print(f"  {' and '.join(pair):32} {found[f'{key}_first5']:.1e}  {found[f'{key}_all']:.1e}")
        print(f"  promised: rewarm and torch within 1e-5 over 5, and over {found['steps']} within 3x torch and "
              f"torch-foreach: {'holds' if found['holds'] else 'BROKEN'}")  # fmt: skip
    results["seconds"] = time.perf_counter() - began
    (staging / f"{stem}.json").write_text(json.dumps(results, indent=1, allow_nan=False) + "\n")
    return results, files


def main(argv: list[str] | None = None) -> int:
    """Results appear in --out when the run is complete: a stopped run leaves what was there before."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["suite"]:
        from continual_pretraining_suite import main as suite

        return suite(argv[1:])
    args = parse_arguments(argv)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    sys.stdout.reconfigure(line_buffering=True)  # a log in a file shows how far the run is
    out = Path(args.out)
    made = not out.exists()
    os.environ.setdefault("RAYON_NUM_THREADS", str(args.threads))  # the tokenizer's threads
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=out) as staging:
            results, files = run(args, Path(staging))
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)  # the files belong together
            for name in files:
                os.replace(Path(staging, name), out / name)
    except (UsageError, OSError) as error:
        print(f"continual_pretraining: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\ncontinual_pretraining: stopped; nothing was written to {out}", file=sys.stderr)
        return 130
    finally:
        if made and out.is_dir() and not any(out.iterdir()):
            out.rmdir()
    print(f"\n{results['seconds']:.0f} s; wrote " + ", ".join(str(out / name) for name in files))
    return 0 if results.get("agreement", {}).get("holds", True) else 1


if __name__ == "__main__":
    sys.exit(main())
