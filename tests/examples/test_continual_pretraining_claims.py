"""The suite's statistics against scipy's own tests, and each claim on losses made to hold, to fail, or to be unclear."""

import importlib
import importlib.util
import json
import random
from itertools import pairwise
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not importlib.util.find_spec("scipy"), reason="the suite needs scipy: rewarm[examples]")
UPDATES = (0, 6, 12, 23, 585)


@pytest.fixture
def claims(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "examples")
    return importlib.import_module("continual_pretraining_claims")


@pytest.fixture
def statistics(claims):
    return importlib.import_module("continual_pretraining_statistics")


def drawn(rng, n):
    return [rng.gauss(0.02, 0.03) for _ in range(n)]


@pytest.mark.parametrize("n", [2, 5, 9])
@pytest.mark.parametrize("threshold", [0.0, 0.02])
def test_paired_is_the_one_sided_t_test(statistics, n, threshold):
    from scipy import stats

    differences = drawn(random.Random(n), n)
    row = statistics.paired("", differences, threshold)
    test = stats.ttest_1samp(differences, threshold, alternative="greater")
    assert row.p == pytest.approx(test.pvalue, rel=1e-9)
    assert row.low == pytest.approx(test.confidence_interval(0.95).low, rel=1e-9)
    upper = stats.ttest_1samp(differences, threshold, alternative="less").confidence_interval(0.95).high
    assert row.high == pytest.approx(upper, rel=1e-9)
    assert (row.low > threshold) == (row.p < 0.05)


def test_seeds_without_spread_are_taken_at_their_word(statistics):
    row = statistics.paired("", [0.25] * 3, 0.1)
    assert (row.low, row.high, row.p) == (0.25, 0.25, 0.0)
    assert statistics.paired("", [0.25] * 3, 0.25).p == 1.0


def test_holm_is_stepwise_bonferroni(statistics):
    rng = random.Random(1)
    for _ in range(50):
        rows = [statistics.Row("", 0, 0, 0, rng.random() ** 3, 0, []) for _ in range(rng.randint(1, 5))]
        statistics.holm(rows)
        # Holm rejects at a level exactly those that the step-down procedure, written out, rejects.
        for level in (0.01, 0.05, 0.2, 0.7):
            rejected, left = [], sorted(rows, key=lambda row: row.p)
            while left and left[0].p < level / len(left):
                rejected.append(left.pop(0))
            assert [row for row in rows if row.p_holm < level] == [row for row in rows if any(row is r for r in rejected)]


def test_equivalence_is_two_one_sided_tests(statistics):
    from scipy import stats

    rng, outcomes = random.Random(2), set()
    for _ in range(40):
        differences = drawn(rng, 6)
        row = statistics.paired("", differences)
        above = stats.ttest_1samp(differences, -0.03, alternative="greater").pvalue < 0.05
        below = stats.ttest_1samp(differences, 0.03, alternative="less").pvalue < 0.05
        assert statistics.equivalent(row, 0.03) == (above and below)
        outcomes.add(above and below)
    assert outcomes == {True, False}


def losses(claims, downstream=None, upstream=None, noise=0.001, seeds=5, early=None, peaks=None):
    """Made-up runs: final losses by arm (2.0 where none is given) with noise, an early upstream spike, and peaks."""
    rng, runs = random.Random(3), []
    for _ in range(seeds):
        arms = {}
        for arm in sorted(claims.needed_arms(claims.CLAIMS)):
            ends = {
                c: (given or {}).get(arm, 2.0) + rng.gauss(0, noise)
                for c, given in (("downstream", downstream), ("upstream", upstream))
            }
            points = [{"step": step, "tokens": step * 10, "downstream": 3.0, "upstream": 2.0} for step in UPDATES]
            points[1]["upstream"] += (early or {}).get(arm, 0.0)
            points[3]["upstream"] += (peaks or {}).get(arm, 0.0)
            points[-1] |= ends
            arms[arm] = {"evaluations": points}
        runs.append(arms)
    return runs


FALLING = {"constant": 3.0, "rewarm_half_P": 2.8, "rewarm_P": 2.6, "rewarm_2P": 2.5}
SAME_WARMUPS = dict.fromkeys(("warmup_0", "warmup_half", "warmup_2"), 2.6)


@pytest.mark.parametrize(
    ("claim", "made", "verdict"),
    [
        ("C1", {"downstream": {"constant": 2.1}}, "accepted"),
        ("C1", {"downstream": {"constant": 2.01}}, "rejected"),  # below, but by less than the margin
        ("C1", {"downstream": {"constant": 2.04}, "noise": 0.05}, "open"),
        ("C2", {"downstream": {"scratch_P": 2.3, "scratch_2P": 2.2, "scratch_4P": 2.4}}, "accepted"),
        ("C2", {"downstream": {"scratch_P": 2.3, "scratch_2P": 1.9, "scratch_4P": 2.4}}, "rejected"),
        ("C3", {"downstream": FALLING}, "accepted"),
        ("C3", {"downstream": FALLING | {"rewarm_2P": 2.65}}, "rejected"),
        ("C3", {"downstream": FALLING | {"rewarm_2P": 2.6}, "noise": 0.01}, "open"),
        ("C4", {"upstream": {"constant": 3.0, "rewarm_half_P": 3.1, "rewarm_P": 3.2, "rewarm_2P": 3.3}}, "accepted"),
        ("C4", {"upstream": FALLING}, "rejected"),
        ("C5", {"downstream": FALLING | SAME_WARMUPS}, "accepted"),
        ("C5", {"downstream": FALLING | SAME_WARMUPS | {"warmup_0": 2.7}}, "rejected"),
        ("C5", {"downstream": FALLING | SAME_WARMUPS, "noise": 0.05}, "open"),
        ("C5", {"downstream": {"constant": 2.02} | SAME_WARMUPS | {"rewarm_P": 2.61}}, "accepted"),
        (
            "C5",
            {"downstream": {"constant": 2.62, "rewarm_half_P": 2.6, "rewarm_P": 2.61, "rewarm_2P": 2.6} | SAME_WARMUPS},
            "rejected",
        ),
        ("C6", {"early": {"warmup_0": 0.2}}, "seen"),
        ("C6", {"early": {"rewarm_P": 0.2}}, "not seen"),
        ("C7", {"peaks": {"same_P": 0.2}, "upstream": {"same_P": 2.1}}, "accepted"),
        ("C7", {"peaks": {"same_P": 0.2, "same_constant": 0.3}, "upstream": {"same_P": 2.1}}, "rejected"),
        ("C7", {"upstream": {"same_P": 2.2}}, "open"),  # rises to its very end: it never falls
        (
            "C8",
            {"upstream": {"rewarm_P": 3.0, "replay_6": 2.5, "replay_25": 2.3}, "downstream": {"replay_25": 2.05}},
            "accepted",
        ),
        (
            "C8",
            {"upstream": {"rewarm_P": 3.0, "replay_6": 2.5, "replay_25": 2.3}, "downstream": {"replay_25": 2.3}},
            "rejected",
        ),
        ("C8", {"upstream": {"rewarm_P": 2.3}, "downstream": {"replay_25": 2.05}, "noise": 0.05}, "open"),
        ("C9", {"downstream": {"from_25": 2.3, "from_50": 2.2, "rewarm_P": 2.1}}, "accepted"),
        ("C9", {"downstream": {"from_25": 2.3, "from_50": 2.0, "rewarm_P": 2.1}}, "rejected"),
        ("C10", {}, "reported"),
    ],
)
def test_verdicts(claims, claim, made, verdict):
    found = claims.judge(losses(claims, **made), [claim])[0]
    assert (found.claim, found.verdict) == (claim, verdict), found


def test_every_claim_names_arms_that_exist(claims):
    arms = importlib.import_module("continual_pretraining_arms").ARMS
    assert claims.needed_arms(claims.CLAIMS) == set(arms)
    assert all(arms[a].peak < arms[b].peak or arms[a].is_constant for a, b in pairwise(claims.BY_RATE))
    assert [arms[a].warmup for a in claims.BY_WARMUP] == [0, 0.005, 0.01, 0.02]


def test_the_page_of_verdicts_is_the_kept_run(claims):
    """docs/replication.md repeats the kept JSON, and judging its losses again gives its verdicts."""
    top = Path(__file__).parents[2]
    kept = sorted(top.glob("bench/results/*/*-suite.json"))
    if not kept:
        pytest.skip("bench/results is not part of a source distribution")
    results = json.loads(kept[-1].read_text())
    again = claims.judge(results["runs"], claims.CLAIMS)
    assert [(v.claim, v.verdict) for v in again] == [(v["claim"], v["verdict"]) for v in results["verdicts"]]
    assert [row["mean"] for v in results["verdicts"] for row in v["rows"]] == pytest.approx(
        [r.mean for v in again for r in v.rows]
    )
    table = importlib.import_module("continual_pretraining_page").markdown_table(results)
    assert table in (top / "docs" / "replication.md").read_text()
