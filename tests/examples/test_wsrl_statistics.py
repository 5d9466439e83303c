"""Statistics of the WSRL examples against counting by hand."""

import importlib
import itertools
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy", reason="the statistics need scipy: rewarm[examples]")


@pytest.fixture(scope="module")
def statistics():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[2] / "examples")
        yield importlib.import_module("wsrl_statistics")


def test_area_is_a_mean_return(statistics):
    assert statistics.area([0, 100, 400], [[-60, -60, -60], [-60, 0, 0], [0, -60, 0]]).tolist() == [-60, -7.5, -30]


def every_split(values, size):
    """All ways to call `size` of the values the first group: (first, other)."""
    for first in itertools.combinations(range(len(values)), size):
        yield [values[i] for i in first], [v for i, v in enumerate(values) if i not in first]


@pytest.mark.parametrize("alternative", ["greater", "less"])
def test_mann_whitney_counts_pairs_and_permutations(statistics, alternative):
    """Without ties the p-value of small groups is the exact share of splits at least as extreme."""
    one, other = [3.0, 9.5, 4.1, 8.0], [1.0, 4.0, 2.2, 5.5, 0.3]

    def pairs(a, b):
        return sum(x > y for x in a for y in b)

    splits = [pairs(a, b) for a, b in every_split(one + other, 4)]
    observed = pairs(one, other)
    extreme = [u >= observed if alternative == "greater" else u <= observed for u in splits]
    found = statistics.mann_whitney(one, other, alternative)
    assert found["p"] == pytest.approx(sum(extreme) / len(splits), rel=1e-12)
    assert found["superiority"] == observed / 20
    assert found["median"] == 6.05 - 2.2


def test_mann_whitney_ties_count_half(statistics):
    assert statistics.mann_whitney([1.0, 2.0], [1.0, 1.0], "greater")["superiority"] == 0.75
    same = statistics.mann_whitney([-60.0] * 16, [-60.0] * 16, "greater")
    assert same["superiority"] == 0.5 and same["p"] >= 0.5


STEPS = [0, 100, 200, 300, 400, 500, 1000, 1100]


@pytest.mark.parametrize(
    ("returns", "recovered", "dip", "first"),
    [
        ([-40, -40, -40, -40, -50, -30, -20, -20], True, 10, 500),
        ([-40, -40, -40, -40, -30, -50, -45, -20], False, 10, None),  # up, then down: only 1,100 would bring it back
        ([-40, -40, -40, -40, -39, -38, -37, -36], True, 0, 400),  # no dip at all
        ([-40, -99, -99, -40, -45, -40, -60, -20], False, 20, None),  # ends at the bottom
        ([-40, -40, -40, -40, -60, -60, -40, -60], True, 20, 1000),  # exactly at the start counts
    ],
    ids=["dip", "wobble", "no dip", "bottom last", "at the start"],
)
def test_recovery(statistics, returns, recovered, dip, first):
    found = statistics.recovery(STEPS, [returns, returns], begins=300, within=1000)
    assert found["recovered"].tolist() == [recovered] * 2
    assert found["dip"].tolist() == [dip] * 2 and found["first"] == [first] * 2


def test_recovery_needs_an_evaluation(statistics):
    with pytest.raises(ValueError, match=r"after the first update \(step 300\) and until step 300"):
        statistics.recovery(STEPS, [[0.0] * 8], begins=300, within=300)


def test_sign_test(statistics):
    found = statistics.sign_test([1, 2, 3, 4, 5], [0, 1, 2, 9, 5])
    assert (found["above"], found["below"]) == (3, 1)
    assert found["p"] == pytest.approx(5 / 16)  # 3 or 4 of 4: (4 + 1) / 16
    assert statistics.sign_test([1.0], [1.0])["p"] == 1.0


def test_band_covers_as_often_as_it_says(statistics):
    """Of 400 means of 16 normal draws: a percentile interval of so few covers somewhat less than 95 %."""
    values = np.random.default_rng(1).normal(2.0, 3.0, (16, 400))
    mean, low, high = statistics.band(values)
    np.testing.assert_allclose(mean, values.mean(0))
    assert ((low <= mean) & (mean <= high)).all()
    covered = ((low <= 2) & (high >= 2)).mean()
    assert 0.88 < covered < 0.97
    np.testing.assert_array_equal(statistics.band(values)[1], low)


def test_band_of_equal_seeds_has_no_width(statistics):
    _, low, high = statistics.band([[-60.0, -20.0]] * 3)
    assert low.tolist() == high.tolist() == [-60, -20]
