"""The suite's report: one HTML page with its figures inside, what the paper reports beside each, and a verdict table."""

import html
import math

from continual_pretraining_arms import ARMS
from continual_pretraining_claims import BY_RATE, BY_START, BY_WARMUP, SCRATCH
from continual_pretraining_figures import curves, replay_curves

from rewarm.data import StabilityMonitor

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 72em; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; margin: 1em 0; }
td, th { padding: .25em .7em; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top; }
td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.both { display: grid; grid-template-columns: 1fr 2.2fr; gap: 1.5em; }
.paper { background: #f6f6f3; padding: .7em 1em; }
.accepted, .seen { color: #117733; font-weight: 600; }
.rejected, .not { color: #b00020; font-weight: 600; }
.open { color: #a06000; font-weight: 600; }
svg { max-width: 100%; height: auto; }
h2 { margin-top: 2em; }
"""
BOTH = ("downstream", "upstream")
REPLAYED = {"rewarm_P": 0, "replay_6": 6.25, "replay_25": 25}  # arm: percent
FIGURES = (  # (title, arms, corpora, what was published; losses read off figure axes are approximate)
    (
        "Maximum learning rate",
        (*BY_RATE, "scratch_P"),
        BOTH,
        "Gupta et al. 2023, 4.2 and figures 2-4 (Pythia 410M, Pile to SlimPajama, 240B tokens): at the end SlimPajama loss "
        "falls and Pile loss rises monotonically with the maximum rate (axes 2.5-2.9 and 2.3-2.9 nat). The constant minimum "
        "leads downstream for about the first 100B tokens; training from scratch passes it after about 200B and stays above "
        "every re-warmed run.",
    ),
    (
        "Warm-up length",
        BY_WARMUP,
        BOTH,
        "Gupta et al. 2023, 4.1 and figure 1 (first 50B tokens): the curves of 0, 0.5, 1 and 2 % merge on both corpora; "
        "without warm-up there is a spike at first, with no consequence later.",
    ),
    (
        "The same corpus again",
        ("same_constant", "same_P"),
        ("upstream",),
        "Gupta et al. 2023, 4.4 and figures 5-6 (Pile to Pile, 50B tokens, axis 2.20-2.40): re-warming alone raises the loss, "
        "more at a larger rate, and it has not come back after 50B tokens. Ibrahim et al. 2024, 7.1: the peak is +0.1 nat at "
        "3e-4 and +0.2 at 6e-4 (+0.35 and +0.45 when the new data is SlimPajama).",
    ),
    (
        "Earlier checkpoints",
        BY_START,
        BOTH,
        "Gupta et al. 2023, 4.5 and figures 7-9: of the checkpoints after 10,000, 27,000 and 143,000 iterations the last ends "
        "best downstream and upstream.",
    ),
    (
        "Replay",
        tuple(REPLAYED),
        BOTH,
        "Ibrahim et al. 2024, table 2 (405M parameters, one seed), drawn beside ours: with German as the new data 5 % of "
        "replay wins 0.99 nat on the Pile and costs 0.01; 25 % wins 1.23 and costs 0.05.",
    ),
    (
        "Moments kept or reset",
        ("rewarm_P", "reset"),
        BOTH,
        "Not stated by Gupta et al. 2023. Ibrahim et al. 2024, 5.2, reset the optimizer's state between datasets.",
    ),
    (
        "From scratch",
        ("rewarm_P", *SCRATCH),
        ("downstream",),
        "Gupta et al. 2023, 4.3 and figures 2, 3, 9: every re-warmed run ends below training from scratch on the same tokens. "
        "The paper trains the baseline at one rate; here it also gets two larger ones.",
    ),
)


def table(head: tuple[str, ...], rows: list[list[str]]) -> str:
    """Rows of cells that are HTML already."""
    lines = ["<tr>" + "".join(f"<th>{cell}</th>" for cell in head) + "</tr>"]
    lines += [
        "<tr>" + "".join(cell if cell.startswith("<td") else f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows
    ]
    return "<table>" + "\n".join(lines) + "</table>"


def arm_table(runs: list[dict], arms: list[str]) -> str:
    """Ends of all arms, and what a StabilityMonitor says about their upstream loss; means over seeds."""
    head = ("arm", "downstream, end", "upstream, end", "upstream, peak", "forgotten", "tokens until back", "area, nat x tokens")
    rows = []
    for arm in arms:
        found = []
        for run in runs:
            monitor = StabilityMonitor(BOTH)
            for point in run[arm]["evaluations"]:
                monitor.record(point["tokens"], **{corpus: point[corpus] for corpus in BOTH})
            found.append(monitor.summary())

        def mean(corpus: str, key: str, found=found) -> float:
            return math.fsum(one[corpus][key] for one in found) / len(found)

        back = [one["upstream"]["recovery_tokens"] for one in found]
        came = [tokens for tokens in back if tokens is not None]
        until = f"{math.fsum(came) / len(came):,.0f} ({len(came)} of {len(back)} seeds)" if came else "not back"
        cells = [f"{mean('downstream', 'end'):.3f}", f"{mean('upstream', 'end'):.3f}", f"{mean('upstream', 'peak'):.3f}"]
        cells += [f"{mean('upstream', 'change'):+.3f}", until, f"{mean('upstream', 'area'):,.0f}"]
        if not ARMS[arm].start:
            cells[2:] = ["-"] * 4  # a fresh model has nothing to forget
        rows.append([ARMS[arm].label, *(f'<td class="n">{cell}</td>' for cell in cells)])
    return table(head, rows)


def intervals(verdict: dict) -> list[str]:
    """Each difference of a claim with its 90 % interval, and the detail."""
    lines = [f"{row['label']}: {row['mean']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]" for row in verdict["rows"]]
    return [*lines, verdict["detail"]] if verdict["detail"] else lines


def markdown_table(results: dict) -> str:
    """Claim, verdict and intervals, for docs/replication.md."""
    lines = ["| | claim | verdict | differences in nat, 90 % intervals |", "|---|---|---|---|"]
    for verdict in results["verdicts"]:
        found = "<br>".join(intervals(verdict))
        lines.append(f"| {verdict['claim']} | {verdict['statement']} | {verdict['verdict']} | {found} |")
    return "\n".join(lines) + "\n"


def verdict_table(results: dict) -> str:
    """The same as HTML, with what was published."""
    rows = []
    for verdict in results["verdicts"]:
        said = f'<td class="{verdict["verdict"]}">{verdict["verdict"]}</td>'
        found = "<br>".join(html.escape(line) for line in intervals(verdict))
        rows.append([verdict["claim"], html.escape(verdict["statement"]), html.escape(verdict["paper"]), said, found])
    return table(("", "claim", "published", "verdict", "differences in nat, 90 % intervals"), rows)


def introduction(results: dict) -> str:
    """What was trained on what."""
    settings = results["settings"]
    each = {name: settings[f"steps_{name}"] * settings["batch"] * settings["context"] for name in BOTH}
    up, down = (
        f"{each[name]:,} tokens ({html.escape(', '.join(settings['corpora'][name]['origins']))}; "
        f"{each[name] / settings['parameters']:.1f} a parameter, {settings[f'steps_{name}']:,} updates)"
        for name in ("upstream", "downstream")
    )
    return (
        f"<p>{settings['seeds']} seeds of a GPT-NeoX with {settings['parameters']:,} parameters: {up} upstream, then {down} "
        f"in each arm. P = {settings['max_lr']:g}, minimum P/10, {settings['batch']} x {settings['context']} tokens an "
        "update. All arms of a seed read the same tokens and, but for the fresh ones, start from one run. Bands are one "
        "standard deviation over seeds.</p><p>The paper (Gupta et al. 2023, arXiv 2308.04014) trains 410M parameters on 240B"
        " tokens once; here a far smaller model is trained often. Orderings and shapes can be compared, losses cannot.</p>"
    )


def page(results: dict) -> str:
    """The whole page; a figure draws the arms that were trained, and is left out below two."""
    runs = results["runs"]
    arms = [name for name in ARMS if name in runs[0]]
    body = ["<h1>Re-warming, replicated</h1>", introduction(results), "<h2>Verdicts</h2>", verdict_table(results)]
    body += ["<h2>Arms</h2>", arm_table(runs, arms)]
    for title, wanted, corpora, published in FIGURES:
        there = [arm for arm in wanted if arm in arms]
        if len(there) < 2:
            continue
        drawn = curves(runs, there, corpora)
        if title == "Replay":
            drawn += replay_curves(runs, {arm: REPLAYED[arm] for arm in there})
        said = f'<div class="paper"><b>Published</b><br>{html.escape(published)}</div>'
        body.append(f'<h2>{title}</h2><div class="both">{said}<div>{drawn}</div></div>')
    seconds, machine = results["seconds"], results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    body.append(
        f"<p>{machine['workers']} processes on {machine['cpus']} CPUs ({machine['architecture']}); all runs "
        f"{seconds['all_runs']:,.0f} s, of which {seconds['all_runs_cpu']:,.0f} s on a CPU. {versions}.</p>"
    )
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><title>Re-warming, replicated</title>'
    return f"{head}<style>{STYLE}</style>\n" + "\n".join(body) + "\n</html>\n"
