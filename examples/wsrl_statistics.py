"""Statistics over seeds for runs that go from offline to online: area under the return, recovery, dip, mean Q.

`steps` [T] are the environment steps of the evaluations, beginning with 0; a `return` is [S, T], a row a seed.
"""

import numpy as np

LEVEL = 0.95  # of the bands


def area(steps, returns) -> np.ndarray:
    """[S]: the area under the return by trapezoids, over the steps it spans; so a mean return."""
    steps, returns = np.asarray(steps, float), np.asarray(returns, float)
    return ((returns[:, 1:] + returns[:, :-1]) / 2 * np.diff(steps)).sum(1) / (steps[-1] - steps[0])


def mann_whitney(one, other, alternative: str) -> dict:
    """One-sided Mann-Whitney test that `one` is "greater" or "less" than `other`, with its effect size.

    `superiority` is the share of pairs in which `one` is the larger, ties counted half (Vargha and Delaney's A): 0.5 is
    no difference, 1 is every one of the first above every one of the other.
    """
    from scipy import stats

    found = stats.mannwhitneyu(one, other, alternative=alternative)
    superiority = float(found.statistic) / (len(one) * len(other))
    return {"p": float(found.pvalue), "superiority": superiority, "median": float(np.median(one) - np.median(other))}


def recovery(steps, returns, begins: int, within: int) -> dict:
    """Whether a seed comes back, and how deep it fell on the way.

    `begins` is the step of the first update: until then the policy is the pre-trained one and its return the start by
    definition, so only evaluations in (begins, within] count. Of these the lowest is the bottom of the dip, and the seed
    is `recovered` [S] if one from there on is at or above its start. `dip` [S] is start minus bottom, 0 without one;
    `first` [S] the step at which it is back, or None.
    """
    steps, returns = np.asarray(steps), np.asarray(returns, float)
    counted = np.flatnonzero((steps > begins) & (steps <= within))
    if not len(counted):
        raise ValueError(
            f"no evaluation after the first update (step {begins}) and until step {within}: steps {steps.tolist()}"
        )
    start, seen = returns[:, 0], returns[:, counted]
    bottom = seen.argmin(1)
    back = (seen >= start[:, None]) & (np.arange(len(counted)) >= bottom[:, None])
    first = [int(steps[counted[row.argmax()]]) if row.any() else None for row in back]
    return {"recovered": back.any(1), "dip": np.maximum(start - seen.min(1), 0.0), "first": first}


def sign_test(one, other) -> dict:
    """Exact one-sided sign test that `one` exceeds `other` within pairs; equal pairs are left out."""
    from scipy import stats

    above, below = int(np.sum(np.asarray(one) > other)), int(np.sum(np.asarray(one) < other))
    p = float(stats.binomtest(above, above + below, alternative="greater").pvalue) if above + below else 1.0
    return {"above": above, "below": below, "p": p}


def band(values, draws: int = 2000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over the rows of [S, T] and its percentile bootstrap interval at LEVEL, always the same for the same values.

    Whole seeds are drawn, so that a curve stays one. Returns have a floor and a ceiling, which Student's t would leave.
    """
    values = np.asarray(values, float)
    chosen = np.random.default_rng(0).integers(len(values), size=(draws, len(values)))
    low, high = np.quantile(values[chosen].mean(1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return values.mean(0), low, high
