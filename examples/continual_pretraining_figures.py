"""The suite's figures as SVG text: means over seeds, with bands of one standard deviation."""

import io
import math

from continual_pretraining_arms import ARMS

COLOURS = ("#0072b2", "#d55e00", "#117733", "#aa4499", "#e69f00", "#56b4e9")
IBRAHIM_REPLAY = {  # arXiv 2403.08763, table 2 (405M parameters, one seed): (replay in %, old loss, new loss)
    "Pile to SlimPajama": ((0, 2.44, 2.50), (1, 2.26, 2.50), (5, 2.23, 2.51), (10, 2.21, 2.51), (50, 2.16, 2.54)),
    "Pile to German": ((0, 3.56, 1.11), (1, 2.83, 1.12), (5, 2.57, 1.12), (10, 2.46, 1.13), (25, 2.33, 1.16), (50, 2.24, 1.22)),
}


def means(runs: list[dict], arm: str, corpus: str) -> list[tuple[float, float, float]]:
    """(tokens, mean loss, standard deviation over seeds) at each evaluation."""
    points = []
    for at in zip(*(run[arm]["evaluations"] for run in runs), strict=True):
        values = [point[corpus] for point in at]
        mean = math.fsum(values) / len(values)
        spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))
        points.append((at[0]["tokens"], mean, spread))
    return points


def pyplot():
    """Matplotlib without a display, alike in every run."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {
        "svg.hashsalt": "rewarm",
        "svg.fonttype": "none",
        "font.size": 9,
        "axes.grid": True,
        "grid.alpha": 0.3,
    }
    import matplotlib.pyplot as plt

    return plt


def as_svg(plt, figure) -> str:
    """The figure as an element that an HTML page can hold, the same for the same numbers."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    plt.close(figure)
    return text.getvalue()[text.getvalue().index("<svg") :]


def curves(runs: list[dict], arms, corpora) -> str:
    """Mean validation losses of some arms against tokens, a panel for each corpus."""
    from matplotlib.ticker import EngFormatter

    plt = pyplot()
    figure, panels = plt.subplots(1, len(corpora), figsize=(4.6 * len(corpora), 3.4), layout="constrained", squeeze=False)
    for panel, corpus in zip(panels[0], corpora, strict=True):
        shown = []
        for colour, arm in zip(COLOURS, arms, strict=False):  # more colours than arms
            tokens, mean, spread = zip(*means(runs, arm, corpus), strict=True)
            low, high = ([m + sign * s for m, s in zip(mean, spread, strict=True)] for sign in (-1, 1))
            panel.plot(tokens, mean, color=colour, marker=".", markersize=4, linewidth=1.2, label=ARMS[arm].label)
            panel.fill_between(tokens, low, high, color=colour, alpha=0.15, linewidth=0)
            shown += mean if ARMS[arm].start else mean[-4:]  # from scratch starts several nat higher
        margin = 0.06 * (max(shown) - min(shown)) + 1e-3
        panel.set_ylim(min(shown) - margin, max(shown) + margin)
        panel.set(title=f"{corpus} validation loss", ylabel="nat a token", xlabel="tokens of continued training")
        panel.xaxis.set_major_formatter(EngFormatter(sep=""))
    panels[0][0].legend(fontsize=8, frameon=False)
    return as_svg(plt, figure)


def replay_curves(runs: list[dict], shares: dict[str, float]) -> str:
    """Final losses against the share of replay (arm: percent): Ibrahim et al. 2024, table 2, beside ours."""
    plt = pyplot()
    found = {arm: [means(runs, arm, corpus)[-1][1] for corpus in ("upstream", "downstream")] for arm in shares}
    lines = {"ours": [(percent, *found[arm]) for arm, percent in shares.items()], **IBRAHIM_REPLAY}
    figure, panels = plt.subplots(1, 2, figsize=(9.2, 3.2), layout="constrained")
    for panel, index, name in zip(panels, (1, 2), ("old data", "new data"), strict=True):
        for colour, (label, rows) in zip(COLOURS, lines.items(), strict=False):
            change = [row[index] - rows[0][index] for row in rows]
            panel.plot([row[0] for row in rows], change, "o-", color=colour, markersize=4, label=label)
        panel.set(title=f"{name}: final loss against no replay", xlabel="replay, % of every batch", ylabel="nat a token")
    panels[0].legend(fontsize=8, frameon=False)
    return as_svg(plt, figure)
