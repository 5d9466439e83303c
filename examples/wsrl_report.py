"""What the WSRL examples say about their arms: a table, tests over seeds, and a figure."""

import math
from pathlib import Path

import numpy as np
from wsrl_statistics import area, band, mann_whitney, recovery, sign_test

ARMS = {  # name: (label, colour, line)
    "wsrl": ("WSRL", "#d55e00", "-"),
    "no_warmup": ("no warm-up", "#0072b2", "--"),
    "rlpd": ("RLPD-style, half offline", "#117733", "-"),
    "scratch": ("from scratch", "#555555", ":"),
}
WITHIN = 1000  # environment steps in which WSRL shall be back
RECOVERED = 7 / 8  # of the seeds: 14 of 16
SPIRAL = 500  # updates in which the lowest mean Q is looked for


def verdicts(arms: dict, within: int = WITHIN) -> list[dict]:
    """What issue and paper expect of the arms, each with its numbers; `holds` is None where a number is only reported.

    An arm is {"steps": [T], "return": [S][T], "probe_q": [S][T], "first_update": step}.
    """
    steps = arms["wsrl"]["steps"]
    areas = {name: area(steps, arm["return"]) for name, arm in arms.items()}
    seeds = len(areas["wsrl"])
    reachable = 1 / math.comb(2 * seeds, seeds) < 0.01  # the p-value of the clearest outcome there can be

    above = mann_whitney(areas["wsrl"], areas["scratch"], "greater")
    worse = mann_whitney(areas["wsrl"], areas["rlpd"], "less")
    back = recovery(steps, arms["wsrl"]["return"], arms["wsrl"]["first_update"], within)
    count = int(back["recovered"].sum())
    floor = int(np.sum(np.asarray(arms["wsrl"]["return"])[:, 0] <= np.min([arm["return"] for arm in arms.values()])))
    found = [
        {
            "name": "wsrl_above_scratch",
            "text": f"area under the return, WSRL above scratch: Mann-Whitney p = {above['p']:.2g} "
            f"({'< .01' if reachable else f'too few seeds for .01: {seeds}'}), "
            f"superiority {above['superiority']:.2f}, median difference {above['median']:+.1f}",
            "holds": above["p"] < 0.01 if reachable else None,
            **above,
        },
        {
            "name": "wsrl_not_worse_than_rlpd",
            "text": f"area under the return, WSRL worse than RLPD-style: Mann-Whitney p = {worse['p']:.2g} (>= .05), "
            f"superiority {worse['superiority']:.2f}, median difference {worse['median']:+.1f}",
            "holds": worse["p"] >= 0.05,
            **worse,
        },
        {
            "name": "wsrl_recovers",
            "text": f"WSRL back at or above its start within {within:,} steps: {count} of {seeds} seeds "
            f"(>= {RECOVERED * seeds:g}); {floor} of them started at the lowest return of all and could not fall",
            "holds": count >= RECOVERED * seeds,
            "recovered": count,
            "started_at_the_floor": floor,
            "first": back["first"],
        },
    ]
    for name in ("wsrl", "no_warmup"):
        own = recovery(steps, arms[name]["return"], arms[name]["first_update"], within)
        dip = own["dip"]
        found.append(
            {
                "name": f"dip_{name}",
                "text": f"dip of {ARMS[name][0]} below its start: mean {dip.mean():.1f}, median {np.median(dip):.1f}, "
                f"largest {dip.max():.1f}; none in {int((dip == 0).sum())} of {seeds}; back in {int(own['recovered'].sum())}",
                "holds": None,
                "dip": dip.tolist(),
            }
        )
    lowest = {}
    for name in ("wsrl", "no_warmup"):
        first = arms[name]["first_update"]
        seen = (np.asarray(steps) > first) & (np.asarray(steps) <= first + SPIRAL)
        lowest[name] = np.asarray(arms[name]["probe_q"])[:, seen].min(1)
    signs = sign_test(lowest["wsrl"], lowest["no_warmup"])
    found.append(
        {
            "name": "spiral",
            "text": f"lowest mean Q of {SPIRAL} updates on the probe, WSRL above no warm-up: {signs['above']} of "
            f"{signs['above'] + signs['below']} seeds, sign test p = {signs['p']:.2g}",
            "holds": None,
            **signs,
        }
    )
    return found


def print_table(arms: dict) -> None:
    """One line an arm: mean return over seeds on the way, seeds that end within one of the best, area, mean Q."""
    steps = arms["wsrl"]["steps"]
    shown = sorted({round(i * (len(steps) - 1) / 8) for i in range(9)})
    print(f"\nmean return {'':16}" + "".join(f"{steps[i]:>8,}" for i in shown) + f"{'area':>10}   {'Q on the probe':>14}")
    for name, arm in arms.items():
        mean = np.mean(arm["return"], 0)
        q = np.mean(arm["probe_q"], 0)
        print(
            f"  {ARMS[name][0]:26}" + "".join(f"{mean[i]:8.1f}" for i in shown)
            + f"{area(steps, arm['return']).mean():10.1f}   {q[0]:6.1f} {q[-1]:7.1f}"
        )  # fmt: skip


def print_verdicts(found: list[dict]) -> None:
    """One line each."""
    print("\nover seeds")
    for item in found:
        word = {True: "holds", False: "DOES NOT HOLD", None: "reported"}[item["holds"]]
        print(f"  {word:13} {item['text']}")


def plot(arms: dict, title: str, path: Path) -> None:
    """Return and mean Q on the probe against environment steps: means over seeds with bootstrap bands."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams |= {"svg.hashsalt": "rewarm", "font.size": 10, "axes.grid": True, "grid.alpha": 0.3}
    figure, panels = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained", facecolor="white")
    for panel, measure in zip(panels, ("return", "probe_q"), strict=True):
        for name, arm in arms.items():
            label, colour, line = ARMS[name]
            mean, low, high = band(arm[measure])
            panel.plot(arm["steps"], mean, line, color=colour, label=label, linewidth=1.5)
            panel.fill_between(arm["steps"], low, high, color=colour, alpha=0.15, linewidth=0)
        panel.axvline(arms["wsrl"]["first_update"], color="#999999", linewidth=0.8, linestyle=":")
        panel.set_xlabel("environment steps after the shift")
    panels[0].set(title="return (mode of the policy)", ylabel="mean over seeds, 95 % bootstrap band")
    panels[1].set(title="mean Q on held-out offline pairs")
    figure.suptitle(title)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)
