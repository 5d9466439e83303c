"""The presets of the follow-up papers against their formulas, written out here, at all counts in [0, 1.2 T]."""

import math
import sys

import numpy as np
import pytest

from rewarm.errors import InvalidArgument
from rewarm.schedule import infinite, join, linear_to_zero, presets, warmup_cosine

P, C, M = 3e-4, 1.65e-4, 3e-5
# Both sides round fewer than 16 times at the size of P.
BOUND = 16 * sys.float_info.epsilon * P


def compare(schedule, formula, total):
    steps = range(int(1.2 * total) + 1)
    assert np.abs(schedule.values(steps) - [formula(t) for t in steps]).max() <= BOUND


def down(x):
    return 0.5 * (1 + math.cos(math.pi * x))


@pytest.mark.parametrize("shape", ["cosine", "linear", "inverse_sqrt"])
def test_ibrahim2024_infinite_is_the_authors_branch(shape):
    total, w, c_end, k_end = 1000, 10, 600, 850

    def theirs(t):
        if t <= w:
            return P * t / w
        i = t - w
        if i <= c_end:
            if shape == "linear":
                return P - (P - C) * i / c_end
            if shape == "cosine":
                return C + (P - C) * down(i / c_end)
            return P + (C - P) * (1 / math.sqrt(1 + 10 * i / c_end) - 1) / (1 / math.sqrt(11) - 1)
        return C if i <= k_end else max(M, C * (M / C) ** ((i - k_end) / (total - w - k_end)))

    compare(presets.ibrahim2024_infinite(P, C, M, total, cooldown_shape=shape), theirs, total)


def test_ibrahim2024_cosine_and_the_other_budgets():
    compare(
        presets.ibrahim2024_cosine(P, 1000),
        lambda t: P * t / 10 if t < 10 else 0.1 * P + 0.9 * P * down(min(1, (t - 10) / 990)),
        1000,
    )
    assert presets.ibrahim2024_cosine(P, 15e12) == warmup_cosine(P, 0.1 * P, 15 * 10**10, 1485 * 10**10, units="tokens")
    compare(presets.parmar2024(4.5e-5, 1000), lambda t: 4.5e-7 + (4.5e-5 - 0.01 * 4.5e-5) * down(min(1, t / 1000)), 1000)
    compare(presets.d2z(P, 1000), lambda t: P * t / 100 if t < 100 else P * max(0, 1 - (t - 100) / 900), 1000)
    assert presets.d2z(P, 15e12) == linear_to_zero(P, 15 * 10**11, 135 * 10**11, units="tokens")
    assert presets.parmar2024(4.5e-5, 300e9)(0) == 4.5e-5


@pytest.mark.parametrize("literal", [False, True])
def test_singh2025_literal_and_by_length(literal):
    nw, nc, na, ta = 20, 300, 700, 300

    def theirs(n):
        if n < nw:
            return P * n / nw
        if n < na:
            return C + (P - C) * down(min(1, (n - nw) / nc))
        return max(M, C * (M / C) ** ((n - na) / (ta + na if literal else ta)))

    schedule = presets.singh2025(P, C, M, nw, nc, na, ta, literal=literal)
    compare(schedule, theirs, na + ta)
    assert schedule.length == (na + ta + na if literal else na + ta)
    assert (schedule(na + ta) == M) is not literal


@pytest.mark.parametrize("shape", ["harmonic", "linear"])
def test_wsd_s_jumps_back_to_the_peak(shape):
    periods = [100, 200, 400]

    def theirs(t):
        if t < 10:
            return P * t / 10
        for period in periods:
            if t < period:
                r = max(0.0, (t - 0.9 * period) / (0.1 * period))
                return 1 / ((1 - r) / P + r / M) if shape == "harmonic" else P + (M - P) * r
            t -= period
        return M

    schedule = presets.wsd_s(P, M, 10, periods, shape=shape)
    compare(schedule, theirs, 700)
    assert (schedule(99) < 2 * M, schedule(100), schedule(700)) == (shape == "harmonic" or schedule(99) < P / 2, P, M)


def test_path_switch_leaves_the_main_path_where_it_is_told():
    main, branch = presets.path_switch(P, M, 10), presets.path_switch(P, M, 10, 500, 100)
    assert main.length is None
    assert main.values(range(501)).tolist() == branch.values(range(501)).tolist()
    compare(branch, lambda t: main(t) if t < 500 else M + (P - M) * down(min(1, (t - 500) / 100)), 600)
    assert presets.path_switch(P, M, 0, 0, 100)(0) == P


def test_power_is_the_rule_between_warm_up_and_decay():
    beta, a, b, w, total, decay = 0.001, 4.6, -0.51, 50, 1000, 100

    def rule(n):
        return min(P, beta * a * n**b) if n else P

    def theirs(n):
        if n < w:
            return rule(w) * n / w
        if n < total - decay:
            return rule(n)
        top = rule(total - decay)
        return top * (1e-6 / top) ** min(1, (n - total + decay) / decay)

    compare(presets.power(P, w, beta, total=total, decay_steps=decay, min_lr=1e-6), theirs, total)
    endless = presets.power(P, w, beta)
    assert (endless.length, endless.units) == (None, "tokens")
    compare(endless, lambda n: rule(w) * n / w if n < w else rule(n), 10_000)
    assert join(presets.power(P, w, beta, total=total), presets.power(P, 0, beta)).units == "tokens"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: presets.ibrahim2024_cosine(math.nan, 10),
            "ibrahim2024_cosine: max_lr: expected a finite number >= 0, got nan",
        ),
        (lambda: presets.ibrahim2024_cosine(1.0, 0), "ibrahim2024_cosine: total: expected a whole number >= 1"),
        (
            lambda: presets.ibrahim2024_cosine(1.0, 10, 1.5),
            r"ibrahim2024_cosine: warmup_frac: expected a number in \[0, 1\], got 1.5",
        ),
        (
            lambda: presets.ibrahim2024_infinite(P, C, M, 100, 0.2),
            "expected cooldown_frac <= constant_end_frac <= 1 - warmup_frac",
        ),
        (lambda: presets.ibrahim2024_infinite(P, C, 0.0, 100), "infinite: min_lr: expected a number > 0"),
        (lambda: presets.singh2025(P, C, M, 10, 20, 29, 5), "anneal_start: expected at least warmup_steps .* = 30, got 29"),
        (lambda: presets.singh2025(P, C, M, -10, 20, 29, 5), "singh2025: warmup_steps"),
        (lambda: presets.wsd_s(P, M, 10, []), "wsd_s: periods: expected a list of at least one length"),
        (lambda: presets.wsd_s(P, M, 95, [100, 200]), r"wsd_s: periods\[0\]: expected a whole number >= 105, got 100"),
        (lambda: presets.wsd_s(P, M, 5, [100, 0]), r"wsd_s: periods\[1\]: expected a whole number >= 1, got 0"),
        (lambda: presets.wsd_s(P, 0.0, 5, [100]), "harmonic: to_value: expected a finite number > 0"),
        (lambda: presets.wsd_s(P, M, 5, [10**3] * 32), "at most 64 segments"),
        (lambda: presets.path_switch(P, M, 10, 5, 5), "path_switch: main_steps: expected at least warmup_steps = 10, got 5"),
        (lambda: presets.path_switch(P, M, 10, 50), "expected main_steps and decay_steps together, got 50 and None"),
        (lambda: presets.parmar2024(1.0, -5), "parmar2024: total: expected a whole number"),
        (lambda: presets.power(P, 10, 0.0), "power: batch_size: expected a finite number > 0, got 0.0"),
        (lambda: presets.power(P, 10, 1.0, b=0.5), "power: exponent: expected a finite number < 0, got 0.5"),
        (lambda: presets.power(P, 10, 1.0, decay_steps=5), "power: total: expected a whole number with decay_steps, got None"),
        (lambda: presets.power(P, 10, 1.0, total=12, decay_steps=5), "power: total: expected at least .* = 15, got 12"),
        (lambda: presets.d2z(P, 10, -0.1), "d2z: warmup_frac: expected a finite number >= 0"),
        (
            lambda: join(presets.d2z(P, 10), infinite(P, C, M, 1, 1)),
            "join: piece 1: expected units 'tokens' as piece 0, got 'steps'",
        ),
    ],
)
def test_arguments_are_checked(build, message):
    with pytest.raises(InvalidArgument, match=message):
        build()
