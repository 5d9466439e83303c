"""What continual_pretraining.py says about its arms: a table, the paper's claims against this run, and a figure."""

from itertools import pairwise
from pathlib import Path

CLOSE = 0.01  # nat: a smaller difference is no ordering when there is one seed
ARMS = {  # name: (label, colour, line)
    "constant": ("constant minimum", "#0072b2", "-"),
    "rewarm_P": ("re-warm to P", "#d55e00", "-"),
    "rewarm_2P": ("re-warm to 2P", "#aa4499", "--"),
    "scratch": ("from scratch, P", "#117733", ":"),
}


def observations(arms: dict) -> list[dict]:
    """What the paper reports, and whether this run shows it: nat by which the claim holds (negative: it does not)."""
    last = {name: arm["evaluations"][-1] for name, arm in arms.items()}

    def judged(margin: float) -> dict:
        verdict = "too close to call" if abs(margin) < CLOSE else "seen" if margin > 0 else "not seen"
        return {"margin": margin, "verdict": verdict}

    def claim(text: str, measure: str, *order: str) -> dict:
        """The end losses of the arms, in this order, fall; the margin is the smallest of the steps down."""
        margin = min(last[a][measure] - last[b][measure] for a, b in pairwise(order))
        return {"claim": text, **judged(margin)}

    listed = [
        claim("downstream, re-warming to P ends below the constant minimum", "downstream", "constant", "rewarm_P"),
        claim("downstream, 2P ends below P", "downstream", "rewarm_P", "rewarm_2P"),
        claim("downstream, re-warming to P ends below training from scratch", "downstream", "scratch", "rewarm_P"),
        claim("upstream, the larger the lr the more is forgotten", "upstream", "rewarm_2P", "rewarm_P", "constant"),
    ]
    for name in ("rewarm_P", "rewarm_2P"):
        pairs = list(zip(arms["constant"]["evaluations"], arms[name]["evaluations"], strict=True))[1:]
        leads = {flat["tokens"]: other["downstream"] - flat["downstream"] for flat, other in pairs}
        until = max((tokens for tokens, lead in leads.items() if lead > 0), default=0)
        text = f"downstream, the constant minimum leads {ARMS[name][0]} for a while" + (until > 0) * f" ({until:,} tokens)"
        listed.append({"claim": text, **judged(max(leads.values()))})
    return listed


def summarise(arm: dict) -> dict:
    """Start, peak and end of both validation losses."""
    summary = {}
    for measure in ("downstream", "upstream"):
        values = [point[measure] for point in arm["evaluations"]]
        summary[measure] = {"start": values[0], "peak": max(values), "end": values[-1]}
    return summary


def print_table(arms: dict) -> None:
    """One line an arm."""
    print(f"\n{'validation loss (nat a token)':30} {'downstream':^26}  {'upstream':^26}")
    print(f"{'':30} {'start':>8} {'peak':>8} {'end':>8}  {'start':>8} {'peak':>8} {'end':>8}")
    for arm in arms.values():
        down, up = arm["summary"]["downstream"], arm["summary"]["upstream"]
        print(f"{arm['label']:30}", *(f"{v:8.3f}" for v in down.values()), "", *(f"{v:8.3f}" for v in up.values()))


def plot(arms: dict, title: str, path: Path) -> None:
    """Both validation losses and the applied learning rate against the tokens of continued training."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import EngFormatter

    plt.rcParams |= {"svg.hashsalt": "rewarm", "font.size": 10, "axes.grid": True, "grid.alpha": 0.3}
    figure = plt.figure(figsize=(10, 6.4), layout="constrained", facecolor="white")
    grid = figure.add_gridspec(2, 2, height_ratios=(3, 1.1))
    panels = {name: figure.add_subplot(grid[0, i]) for i, name in enumerate(("downstream", "upstream"))}
    for measure, panel in panels.items():
        for name, arm in arms.items():
            label, colour, line = ARMS[name]
            points = [(point["tokens"], point[measure]) for point in arm["evaluations"]]
            panel.plot(*zip(*points, strict=True), line, color=colour, label=label, marker=".", markersize=5)
        # From scratch starts several nat higher: the panel ends a little above the other arms.
        values = [p[measure] for name, arm in arms.items() if name != "scratch" for p in arm["evaluations"]]
        values.append(arms["scratch"]["evaluations"][-1][measure])
        margin = 0.08 * (max(values) - min(values)) + 1e-3
        panel.set_ylim(min(values) - margin, max(values) + margin)
        panel.set(title=f"{measure} validation loss", ylabel="nat a token")
    rates = figure.add_subplot(grid[1, :])
    for name, arm in arms.items():
        tokens_a_step = arm["evaluations"][-1]["tokens"] / len(arm["lr"])
        rates.plot([i * tokens_a_step for i in range(len(arm["lr"]))], arm["lr"], ARMS[name][2], color=ARMS[name][1])
    for panel in (*panels.values(), rates):
        panel.xaxis.set_major_formatter(EngFormatter(sep=""))
    rates.set(ylabel="applied lr", xlabel="tokens of continued training")
    figure.suptitle(title)
    figure.legend(*panels["upstream"].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)
