"""The paper's findings as tests over seeds: paired by seed, with one-sided bounds, Holm's correction and equivalence tests.

All arms of a seed start from one checkpoint and read the same tokens, so differences are taken within a seed, and a
claim is judged by Student's t on those differences. A claim is 'accepted' when its bounds say so, 'rejected' when they
say the opposite, and 'open' when these seeds cannot tell. The thresholds stood before the first run.
"""

import math
from dataclasses import dataclass, field
from itertools import combinations, pairwise

LEVEL = 0.95  # of every one-sided bound; two-sided intervals shown have 90 %, so that their ends are these bounds
MARGIN = 0.02  # nat a token by which C1 and C2 must hold
SAME = 0.03  # nat a token within which warm-up lengths count as equal (C5)
SHARE = 0.15  # of the span over maximum rates that the span over warm-up lengths may have (C5)
EARLY = 0.02  # of the run: where a spike without warm-up is looked for (C6)
PRICE = 5  # times more must replay win upstream than it costs downstream (C8)
BY_RATE = ("constant", "rewarm_half_P", "rewarm_P", "rewarm_2P")  # in the order of the largest learning rate
BY_WARMUP = ("warmup_0", "warmup_half", "rewarm_P", "warmup_2")
SCRATCH = ("scratch_P", "scratch_2P", "scratch_4P")


@dataclass
class Row:
    """One paired difference: its mean over seeds, 90 % interval, one-sided p-value of mean <= threshold, and its seeds."""

    label: str
    mean: float
    low: float
    high: float
    p: float
    threshold: float
    seeds: list[float]
    p_holm: float | None = None


@dataclass
class Verdict:
    """What the seeds say about one claim."""

    claim: str
    statement: str
    paper: str
    verdict: str
    detail: str
    rows: list[Row] = field(default_factory=list)


def paired(label: str, differences: list[float], threshold: float = 0.0) -> Row:
    """Student's t on differences within seeds, against a threshold; needs two seeds.

    Seeds without any spread are taken at their word: the bounds fall on the mean.
    """
    from scipy import stats

    n = len(differences)
    mean = math.fsum(differences) / n
    error = math.sqrt(math.fsum((d - mean) ** 2 for d in differences) / (n - 1) / n)
    reach = stats.t.ppf(LEVEL, n - 1) * error
    if error:
        p = float(stats.t.sf((mean - threshold) / error, n - 1))
    else:
        p = 0.0 if mean > threshold else 1.0
    return Row(label, mean, mean - reach, mean + reach, p, threshold, differences)


def holm(rows: list[Row]) -> None:
    """Fills in p-values corrected for the number of rows (Holm 1979)."""
    running = 0.0
    for rank, row in enumerate(sorted(rows, key=lambda row: row.p)):
        running = max(running, min(1.0, (len(rows) - rank) * row.p))
        row.p_holm = running


def equivalent(row: Row, margin: float) -> bool:
    """Two one-sided tests (Schuirmann 1987): the 90 % interval lies inside +-margin."""
    return -margin < row.low and row.high < margin


def judged(rows: list[Row]) -> str:
    """Of a conjunction: accepted when every row is above its threshold, rejected when some row is surely below."""
    if all((row.p if row.p_holm is None else row.p_holm) < 1 - LEVEL for row in rows):
        return "accepted"
    return "rejected" if any(row.high < row.threshold for row in rows) else "open"


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


def c1(seeds: Seeds) -> Verdict:
    rows = [seeds.less("constant", "rewarm_P", "downstream", MARGIN)]
    return Verdict("C1", f"Re-warming to P ends more than {MARGIN} nat below the constant minimum downstream.",
                   "Takeaway 2a, figures 2-4: every re-warmed run ends below constant 3e-5 downstream.", judged(rows), "", rows)  # fmt: skip


def c2(seeds: Seeds) -> Verdict:
    means = {arm: math.fsum(seeds.end(arm, "downstream")) for arm in SCRATCH}
    best = min(means, key=means.__getitem__)
    rows = [seeds.less(arm, "rewarm_P", "downstream", MARGIN) for arm in dict.fromkeys(("scratch_P", best))]
    detail = f"{best} is the best of {', '.join(SCRATCH)} over these seeds, which favours the baseline."
    return Verdict("C2", f"Re-warming to P ends more than {MARGIN} nat below training from scratch on the same tokens, at P and at "
                   "the baseline's own best rate.",
                   "Takeaway 2b, figures 2-3: every re-warmed run beats from-scratch downstream at equal tokens.",
                   judged(rows), detail, rows)  # fmt: skip


def c3(seeds: Seeds) -> Verdict:
    rows = seeds.falling(BY_RATE, "downstream")
    return Verdict("C3", "Downstream, the larger the maximum rate the lower the final loss: constant, P/2, P, 2P.",
                   "Section 4.2, figures 2-4: at 240B tokens SlimPajama loss falls monotonically with MaxLR.",
                   judged(rows), f"Span {seeds.span(BY_RATE, 'downstream'):.3f} nat.", rows)  # fmt: skip


def c4(seeds: Seeds) -> Verdict:
    rows = seeds.falling(BY_RATE[::-1], "upstream")
    return Verdict("C4", "Upstream, the larger the maximum rate the more is forgotten: 2P, P, P/2, constant.",
                   "Section 4.2, figures 2-4: Pile loss rises monotonically with MaxLR.",
                   judged(rows), f"Span {seeds.span(BY_RATE, 'upstream'):.3f} nat.", rows)  # fmt: skip


def c5(seeds: Seeds) -> Verdict:
    rows = [seeds.less(a, b, "downstream") for a, b in combinations(BY_WARMUP, 2)]
    span, whole = seeds.span(BY_WARMUP, "downstream"), seeds.span(BY_RATE, "downstream")
    same = all(equivalent(row, SAME) for row in rows)
    differ = any(row.low > SAME or row.high < -SAME for row in rows)
    verdict = "accepted" if same and span < SHARE * whole else "rejected" if differ or (same and span >= SHARE * whole) else "open"
    upstream = [seeds.less(a, b, "upstream") for a, b in combinations(BY_WARMUP, 2)]
    widest = max(upstream, key=lambda row: abs(row.mean))
    detail = (f"Span over warm-ups {span:.4f} nat, {span / whole:.1%} of the span over rates. Every pair must lie within +-{SAME}. "
              f"Upstream (reported, no gate) the pair farthest apart is {widest.label}: {widest.mean:+.3f} [{widest.low:+.3f}, {widest.high:+.3f}].")  # fmt: skip
    return Verdict("C5", "Warm-up over 0, 0.5, 1 or 2 % of the run makes no difference to the final downstream loss.",
                   "Takeaway 1, figure 1: curves for 0, 0.5, 1 and 2 % merge within 50B tokens.", verdict, detail, rows)  # fmt: skip


def c6(seeds: Seeds) -> Verdict:
    def spike(arms: dict) -> float:
        pairs = list(zip(arms["warmup_0"]["evaluations"], arms["rewarm_P"]["evaluations"], strict=True))
        steps = pairs[-1][0]["step"]
        return max(a["upstream"] - b["upstream"] for a, b in pairs[1:] if a["step"] <= math.ceil(EARLY * steps))

    spikes = seeds.each(spike)
    share = sum(value > 0 for value in spikes) / len(spikes)
    row = paired(f"upstream, first {EARLY:.0%}: max(warmup_0 - rewarm_P)", spikes)
    detail = f"In {share:.0%} of the seeds (80 % are asked for; descriptive, a largest difference has no fair t-test)."
    return Verdict("C6", "Without warm-up the upstream loss is higher at first than with 1 %.",
                   "Figure 1: 0 % shows an initial spike, without consequence later.",
                   "seen" if share >= 0.8 else "not seen", detail, [row])  # fmt: skip


def c7(seeds: Seeds) -> Verdict:
    def curve(arms: dict, arm: str) -> list[float]:
        return [point["upstream"] for point in arms[arm]["evaluations"]]

    def rise(arms: dict, arm: str) -> float:
        return max(curve(arms, arm)) - curve(arms, arm)[0]

    rows = [
        paired("rise of same_P: peak - start", seeds.each(lambda arms: rise(arms, "same_P"))),
        paired("its rise above that of same_constant", seeds.each(lambda arms: rise(arms, "same_P") - rise(arms, "same_constant"))),
        paired("fall of same_P: peak - end", seeds.each(lambda arms: max(curve(arms, "same_P")) - curve(arms, "same_P")[-1])),
    ]
    left = seeds.less("same_P", "same_constant", "upstream")
    detail = (f"At the end same_P stands {left.mean:+.3f} [{left.low:+.3f}, {left.high:+.3f}] against same_constant. A peak is never "
              "below the start, so the second row takes the constant run as the control.")  # fmt: skip
    return Verdict("C7", "On the upstream corpus itself re-warming raises the loss, and it falls again.",
                   "Takeaway 3, figures 5-6 (Pile to Pile): the loss rises, more with a larger MaxLR, and has not recovered after 50B tokens; "
                   "Ibrahim et al. 2024, 7.1: +0.1 nat at 3e-4, +0.2 at 6e-4.", judged(rows), detail, rows)  # fmt: skip


def c8(seeds: Seeds) -> Verdict:
    rows, good, bad, parts = [], True, False, []
    for arm, share in (("replay_6", "6.25 %"), ("replay_25", "25 %")):
        won = seeds.less("rewarm_P", arm, "upstream", label=f"won upstream by {share} replay")
        cost = seeds.less(arm, "rewarm_P", "downstream", label=f"cost downstream of {share} replay")
        rows += [won, cost]
        good &= won.low > max(0.0, PRICE * cost.high)
        bad |= won.high < max(0.0, PRICE * cost.low)
        parts.append(f"{share}: at least {won.low:.3f} won, at most {cost.high:.3f} paid")
    return Verdict("C8", f"Compute-equivalent replay of 6.25 % and 25 % wins more than {PRICE} times upstream of what it costs downstream.",
                   "Ibrahim et al. 2024, table 2: Pile to German, upstream 3.56 without, 2.57 with 5 %, 2.33 with 25 %; downstream 1.11, 1.12, 1.16.",
                   "accepted" if good else "rejected" if bad else "open", "; ".join(parts) + ".", rows)  # fmt: skip


def c9(seeds: Seeds) -> Verdict:
    rows = seeds.falling(("from_25", "from_50", "rewarm_P"), "downstream")
    upstream = [seeds.less(a, b, "upstream") for a, b in pairwise(("from_25", "from_50", "rewarm_P"))]
    detail = "Upstream (reported, no gate): " + "; ".join(f"{r.label[10:]} {r.mean:+.3f} [{r.low:+.3f}, {r.high:+.3f}]" for r in upstream) + "."
    return Verdict("C9", "The later the upstream checkpoint (25, 50, 100 %), the lower the final downstream loss.",
                   "Takeaway 4, figures 7-9: of iterations 10,000, 27,000 and 143,000 the last is best downstream and upstream.",
                   judged(rows), detail, rows)  # fmt: skip


def c10(seeds: Seeds) -> Verdict:
    rows = [seeds.less("reset", "rewarm_P", corpus, label=f"{corpus}: reset - keep") for corpus in ("downstream", "upstream")]
    return Verdict("C10", "Resetting AdamW's moments at the start, against keeping them.",
                   "Not stated in the paper; Ibrahim et al. 2024, 5.2, reset them. No claim: intervals only.", "reported", "", rows)  # fmt: skip


CLAIMS = {  # name: (test, arms that it needs)
    "C1": (c1, ("constant", "rewarm_P")),
    "C2": (c2, ("rewarm_P", *SCRATCH)),
    "C3": (c3, BY_RATE),
    "C4": (c4, BY_RATE),
    "C5": (c5, (*BY_WARMUP, *BY_RATE)),
    "C6": (c6, ("warmup_0", "rewarm_P")),
    "C7": (c7, ("same_P", "same_constant")),
    "C8": (c8, ("rewarm_P", "replay_6", "replay_25")),
    "C9": (c9, ("from_25", "from_50", "rewarm_P")),
    "C10": (c10, ("reset", "rewarm_P")),
}


def needed_arms(claims) -> set[str]:
    """Arms that some claims are judged by."""
    return {arm for claim in claims for arm in CLAIMS[claim][1]}


def judge(runs: list[dict], claims) -> list[Verdict]:
    """Verdicts on the claims, from the seeds in which all their arms are finished; at least two."""
    return [CLAIMS[claim][0](Seeds(runs)) for claim in claims]
