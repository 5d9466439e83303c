"""The paper's findings (Gupta et al. 2023, arXiv 2308.04014, and Ibrahim et al. 2024, arXiv 2403.08763) as tests over seeds.

A claim is 'accepted' when its bounds say so, 'rejected' when they say the opposite, and 'open' when these seeds cannot
tell. The thresholds stood before the first run.
"""

import math
from dataclasses import dataclass
from itertools import combinations, pairwise

from continual_pretraining_statistics import Row, equivalent, holm, judged, paired

MARGIN = 0.02  # nat a token by which C1 and C2 must hold
SAME = 0.03  # nat a token within which warm-up lengths count as equal (C5)
SHARE = 0.15  # of the span over maximum rates that the span over warm-up lengths may have (C5)
EARLY = 0.02  # of the run: where a spike without warm-up is looked for (C6)
OFTEN = 0.8  # of the seeds that must show it (C6)
PRICE = 5  # times more must replay win upstream than it costs downstream (C8)
BY_RATE = ("constant", "rewarm_half_P", "rewarm_P", "rewarm_2P")  # in the order of the largest learning rate
BY_WARMUP = ("warmup_0", "warmup_half", "rewarm_P", "warmup_2")
BY_START = ("from_25", "from_50", "rewarm_P")
SCRATCH = ("scratch_P", "scratch_2P", "scratch_4P")
REPLAY = {"replay_6": "6.25 %", "replay_25": "25 %"}

STATEMENTS = {  # claim: (what is judged here, what was published)
    "C1": (
        f"Re-warming to P ends more than {MARGIN} nat below the constant minimum downstream.",
        "Takeaway 2a, figures 2-4: every re-warmed run ends below constant 3e-5 downstream.",
    ),
    "C2": (
        f"Re-warming to P ends more than {MARGIN} nat below training from scratch on the same tokens, at P and at the rate "
        "that suits the latter best.",
        "Takeaway 2b, figures 2-3: every re-warmed run beats from-scratch downstream at equal tokens.",
    ),
    "C3": (
        "Downstream, the larger the maximum rate the lower the final loss: constant, P/2, P, 2P.",
        "Section 4.2, figures 2-4: at 240B tokens SlimPajama loss falls monotonically with MaxLR.",
    ),
    "C4": (
        "Upstream, the larger the maximum rate the more is forgotten: 2P, P, P/2, constant.",
        "Section 4.2, figures 2-4: Pile loss rises monotonically with MaxLR.",
    ),
    "C5": (
        "Warm-up over 0, 0.5, 1 or 2 % of the run makes no difference to the final downstream loss.",
        "Takeaway 1, figure 1: curves for 0, 0.5, 1 and 2 % merge within 50B tokens.",
    ),
    "C6": (
        "Without warm-up the upstream loss is higher at first than with 1 %.",
        "Figure 1: 0 % shows an initial spike, without consequence later.",
    ),
    "C7": (
        "On the upstream corpus itself re-warming raises the loss, and it falls again.",
        "Takeaway 3, figures 5-6 (Pile to Pile): the loss rises, more with a larger MaxLR, and has not recovered after 50B "
        "tokens; Ibrahim et al. 2024, 7.1: +0.1 nat at 3e-4, +0.2 at 6e-4.",
    ),
    "C8": (
        f"Compute-equivalent replay of 6.25 % and 25 % wins more than {PRICE} times upstream of what it costs downstream.",
        "Ibrahim et al. 2024, table 2: Pile to German, upstream 3.56 without, 2.57 with 5 %, 2.33 with 25 %; downstream 1.11, "
        "1.12, 1.16.",
    ),
    "C9": (
        "The later the upstream checkpoint (25, 50, 100 %), the lower the final downstream loss.",
        "Takeaway 4, figures 7-9: of iterations 10,000, 27,000 and 143,000 the last is best downstream and upstream.",
    ),
    "C10": (
        "Resetting AdamW's moments at the start, against keeping them.",
        "Not stated in the paper; Ibrahim et al. 2024, 5.2, reset them. No claim: intervals only.",
    ),
}


@dataclass
class Verdict:
    """What the seeds say about one claim."""

    claim: str
    statement: str
    paper: str
    verdict: str
    detail: str
    rows: list[Row]


class Seeds:
    """Losses of all arms in all finished seeds: runs[seed][arm] is what train() returned."""

    def __init__(self, runs: list[dict]):
        self.runs = runs

    def each(self, value) -> list[float]:
        """A value of each seed's arms."""
        return [value(arms) for arms in self.runs]

    def end(self, arm: str, corpus: str) -> list[float]:
        """Final losses, one a seed."""
        return self.each(lambda arms: arms[arm]["evaluations"][-1][corpus])

    def less(self, larger: str, smaller: str, corpus: str, threshold: float = 0.0, label: str = "") -> Row:
        """By how much `smaller` ends below `larger`."""
        differences = [a - b for a, b in zip(self.end(larger, corpus), self.end(smaller, corpus), strict=True)]
        return paired(label or f"{corpus}: {larger} - {smaller}", differences, threshold)

    def falling(self, arms: tuple[str, ...], corpus: str) -> list[Row]:
        """Steps down from each arm to the next, corrected for their number."""
        rows = [self.less(a, b, corpus) for a, b in pairwise(arms)]
        holm(rows)
        return rows

    def span(self, arms: tuple[str, ...], corpus: str) -> float:
        """Largest minus smallest mean final loss."""
        means = [math.fsum(self.end(arm, corpus)) / len(self.runs) for arm in arms]
        return max(means) - min(means)


Found = tuple[str, str, list[Row]]  # verdict, detail, rows


def better_than_constant(seeds: Seeds) -> Found:
    """C1."""
    rows = [seeds.less("constant", "rewarm_P", "downstream", MARGIN)]
    return judged(rows), "", rows


def better_than_scratch(seeds: Seeds) -> Found:
    """C2: also against the rate that suits the baseline best, chosen on these very seeds, which favours the baseline."""
    means = {arm: math.fsum(seeds.end(arm, "downstream")) for arm in SCRATCH}
    best = min(means, key=means.__getitem__)
    rows = [seeds.less(arm, "rewarm_P", "downstream", MARGIN) for arm in dict.fromkeys(("scratch_P", best))]
    return judged(rows), f"{best} is the best of {', '.join(SCRATCH)} over these seeds, which favours the baseline.", rows


def adapts_by_rate(seeds: Seeds) -> Found:
    """C3."""
    rows = seeds.falling(BY_RATE, "downstream")
    return judged(rows), f"Span {seeds.span(BY_RATE, 'downstream'):.3f} nat.", rows


def forgets_by_rate(seeds: Seeds) -> Found:
    """C4."""
    rows = seeds.falling(BY_RATE[::-1], "upstream")
    return judged(rows), f"Span {seeds.span(BY_RATE, 'upstream'):.3f} nat.", rows


def indifferent_to_warmup(seeds: Seeds) -> Found:
    """C5: every pair equivalent (an intersection of tests, so no correction), and the span small beside that of C3."""
    rows = [seeds.less(a, b, "downstream") for a, b in combinations(BY_WARMUP, 2)]
    span, whole = seeds.span(BY_WARMUP, "downstream"), seeds.span(BY_RATE, "downstream")
    same, small = all(equivalent(row, SAME) for row in rows), span < SHARE * whole
    differ = any(row.low > SAME or row.high < -SAME for row in rows)
    verdict = "accepted" if same and small else "rejected" if differ or same else "open"
    widest = max((seeds.less(a, b, "upstream") for a, b in combinations(BY_WARMUP, 2)), key=lambda row: abs(row.mean))
    detail = (
        f"Span over warm-ups {span:.4f} nat, {span / whole:.1%} of the span over rates (below {SHARE:.0%} is asked for); every "
        f"pair must lie within +-{SAME}. Farthest apart upstream (no gate): {widest.label} {widest}."
    )
    return verdict, detail, rows


def spikes_without_warmup(seeds: Seeds) -> Found:
    """C6: descriptive, since a largest difference has no fair t-test."""

    def spike(arms: dict) -> float:
        pairs = list(zip(arms["warmup_0"]["evaluations"], arms["rewarm_P"]["evaluations"], strict=True))
        end = pairs[-1][0]["step"]
        return max(a["upstream"] - b["upstream"] for a, b in pairs[1:] if a["step"] <= math.ceil(EARLY * end))

    spikes = seeds.each(spike)
    share = sum(value > 0 for value in spikes) / len(spikes)
    rows = [paired(f"upstream, first {EARLY:.0%}: largest warmup_0 - rewarm_P", spikes)]
    detail = f"In {share:.0%} of the seeds ({OFTEN:.0%} are asked for; descriptive, a largest difference has no fair t-test)."
    return "seen" if share >= OFTEN else "not seen", detail, rows


def rises_on_the_same_corpus(seeds: Seeds) -> Found:
    """C7: a peak is never below the start, so the rise of the constant run is taken off as the control."""

    def curve(arms: dict, arm: str) -> list[float]:
        return [point["upstream"] for point in arms[arm]["evaluations"]]

    def rise(arms: dict, arm: str) -> float:
        return max(curve(arms, arm)) - curve(arms, arm)[0]

    rows = [
        paired("rise of same_P: peak - start", seeds.each(lambda arms: rise(arms, "same_P"))),
        paired("rise of same_P - that of same_constant", seeds.each(lambda a: rise(a, "same_P") - rise(a, "same_constant"))),
        paired("fall of same_P: peak - end", seeds.each(lambda arms: max(curve(arms, "same_P")) - curve(arms, "same_P")[-1])),
    ]
    left = seeds.less("same_P", "same_constant", "upstream")
    return judged(rows), f"At the end same_P - same_constant is {left} (no gate).", rows


def replay_is_cheap(seeds: Seeds) -> Found:
    """C8: a lower bound on what is won against an upper bound on what is paid."""
    rows, good, bad, parts = [], True, False, []
    for arm, share in REPLAY.items():
        won = seeds.less("rewarm_P", arm, "upstream", label=f"won upstream by {share} replay")
        cost = seeds.less(arm, "rewarm_P", "downstream", label=f"cost downstream of {share} replay")
        rows += [won, cost]
        good &= won.low > max(0.0, PRICE * cost.high)
        bad |= won.high < max(0.0, PRICE * cost.low)
        parts.append(f"{share}: at least {won.low:.3f} won, at most {cost.high:.3f} paid")
    return "accepted" if good else "rejected" if bad else "open", "; ".join(parts) + ".", rows


def later_checkpoints_are_better(seeds: Seeds) -> Found:
    """C9."""
    rows = seeds.falling(BY_START, "downstream")
    upstream = [seeds.less(a, b, "upstream") for a, b in pairwise(BY_START)]
    return judged(rows), "No gate: " + ", ".join(f"{row.label} {row}" for row in upstream) + ".", rows


def reset_against_kept(seeds: Seeds) -> Found:
    """C10: intervals only."""
    corpora = ("downstream", "upstream")
    return "reported", "", [seeds.less("reset", "rewarm_P", corpus, label=f"{corpus}: reset - keep") for corpus in corpora]


CLAIMS = {  # name: (test, arms that it needs)
    "C1": (better_than_constant, ("constant", "rewarm_P")),
    "C2": (better_than_scratch, ("rewarm_P", *SCRATCH)),
    "C3": (adapts_by_rate, BY_RATE),
    "C4": (forgets_by_rate, BY_RATE),
    "C5": (indifferent_to_warmup, (*BY_WARMUP, *BY_RATE)),
    "C6": (spikes_without_warmup, ("warmup_0", "rewarm_P")),
    "C7": (rises_on_the_same_corpus, ("same_P", "same_constant")),
    "C8": (replay_is_cheap, ("rewarm_P", *REPLAY)),
    "C9": (later_checkpoints_are_better, BY_START),
    "C10": (reset_against_kept, ("reset", "rewarm_P")),
}


def needed_arms(claims) -> set[str]:
    """Arms that some claims are judged by."""
    return {arm for claim in claims for arm in CLAIMS[claim][1]}


def judge(runs: list[dict], claims) -> list[Verdict]:
    """Verdicts on the claims, from the seeds in which all their arms are finished; at least two."""
    return [Verdict(claim, *STATEMENTS[claim], *CLAIMS[claim][0](Seeds(runs))) for claim in claims]
