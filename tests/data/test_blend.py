"""Blend against its slow reference, and what it promises for ranks and windows; the permutation; the search for a level."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mixture_reference import dealt

from rewarm.data.blend import Blend, exact_ratio
from rewarm.data.shuffle import shuffled
from rewarm.data.switch import first_below, when_lr_below
from rewarm.errors import InvalidArgument
from rewarm.schedule import constant, join, linear, warmup_cosine

shares = st.fractions(0, 1, max_denominator=64)
staged = st.lists(st.tuples(st.integers(0, 20), shares), min_size=1, max_size=4).map(
    lambda lengths: [(sum(length for length, _ in lengths[:i]), share) for i, (_, share) in enumerate(lengths)]
)


def blend_of(stages, world_size):
    blend = Blend(stages[0][1])
    for begin, share in stages[1:]:
        blend.then(begin * world_size, share)
    return blend


@given(staged, st.integers(1, 9))
def test_equals_the_reference_and_deals_each_sample_once(stages, world_size):
    blend, steps = blend_of(stages, world_size), stages[-1][0] + 25
    table = dealt(stages, steps, world_size)
    assert [[tuple(blend.place(step, rank, world_size)) for rank in range(world_size)] for step in range(steps)] == table
    for step in range(steps):
        before = [place for row in table[:step] for place in row]
        assert blend.reads(step * world_size) == (sum(not old for old, _ in before), sum(old for old, _ in before))


@given(shares, st.integers(1, 9), st.integers(0, 10**9), st.integers(1, 100))
def test_each_rank_and_all_ranks_keep_the_share_in_any_window(share, world_size, first, length):
    blend = Blend(share)
    total = blend.reads((first + length) * world_size)[1] - blend.reads(first * world_size)[1]
    assert abs(total - share * length * world_size) < 1
    if first < 1000:
        for rank in range(world_size):
            old = sum(blend.place(step, rank, world_size).is_old for step in range(first, first + length))
            assert abs(old - share * length) < 1


def test_counts_stay_exact_far_out():
    blend = Blend(Fraction(1, 20))
    place = blend.place(10**17, 3, 7)
    table = dealt([(0, Fraction(1, 20))], 1, 7)  # 10**17 steps are whole windows of 20: the pattern begins anew
    assert place.is_old == table[0][3][0]
    assert place.before == (10**17 * 7 // 20 if place.is_old else 10**17 * 7 * 19 // 20) + table[0][3][1]


def test_a_stage_before_the_last_is_refused():
    blend = Blend(Fraction(1, 2))
    blend.then(10, Fraction(0))
    with pytest.raises(InvalidArgument, match="from sample 9 on was asked for; the last one starts at 10"):
        blend.then(9, Fraction(1))


@pytest.mark.parametrize(
    ("given", "exact"), [(0.05, (1, 20)), (1, (1, 1)), (0, (0, 1)), (Fraction(1, 3), (1, 3)), (1e-3, (1, 1000))]
)
def test_a_float_means_the_decimal_that_it_prints_as(given, exact):
    assert exact_ratio(given) == Fraction(*exact)


@pytest.mark.parametrize("given", [-0.1, 1.1, float("nan"), float("inf"), "0.1x", None, True])
def test_what_is_no_share_is_refused(given):
    with pytest.raises(InvalidArgument, match="a number from 0 to 1"):
        exact_ratio(given)


@given(st.integers(1, 300), st.integers(-(2**70), 2**70), st.integers(-5, 5))
def test_shuffled_is_a_permutation(length, seed, epoch):
    assert sorted(shuffled(i, length, seed, epoch) for i in range(length)) == list(range(length))


def test_shuffled_differs_by_seed_and_epoch_and_spreads_evenly():
    orders = [tuple(shuffled(i, 50, seed, epoch) for i in range(50)) for seed in range(40) for epoch in (-2, -1, 0, 1)]
    assert len(set(orders)) == len(orders)
    # Where the first index goes, over many seeds: 64 places, chi-square with 63 degrees of freedom (99.9 % below 103.4).
    counts = np.bincount([shuffled(0, 64, seed, 0) for seed in range(6400)], minlength=64)
    assert ((counts - 100) ** 2 / 100).sum() < 103.4
    # Neighbours do not stay neighbours: of 1000 pairs about 2 would in a random order.
    assert sum(abs(a - b) == 1 for a, b in pairwise(shuffled(i, 1001, 7, 0) for i in range(1001))) < 12


@given(st.integers(0, 20), st.integers(1, 60), st.floats(0.011, 0.99), st.integers(0, 10))
def test_the_crossing_is_the_one_a_scan_finds(warmup, decay, level, hold):
    schedule = join(warmup_cosine(1.0, 0.01, warmup, decay), constant(0.01, hold), linear(0.5, 0.01, 7))
    values = schedule.values(range(warmup + decay + hold + 40))
    above = np.maximum.accumulate(values >= level)
    assert first_below(schedule, level) == np.flatnonzero(above & (values < level))[0]


def test_a_switch_in_tokens_falls_on_a_whole_update():
    tokens = warmup_cosine(1e-3, 1e-5, 1000, 99_000, units="tokens")
    counter = first_below(tokens, 2e-4)
    switch = when_lr_below(2e-4, 0.3, schedule=tokens, samples_per_update=8, tokens_per_sample=64)
    assert switch.at % 8 == 0
    assert tokens(switch.at * 64) < 2e-4 <= tokens((switch.at - 8) * 64) and (switch.at - 8) * 64 < counter <= switch.at * 64


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: when_lr_below(0, 0.1), "level is 0; a learning rate above 0"),
        (lambda: when_lr_below(1e-4, 2), "when_lr_below: ratio is 2"),
        (lambda: when_lr_below(1e-4, 0.1, samples_per_update=4), "belong to a schedule, none was given"),
        (lambda: when_lr_below(1e-4, 0.1, schedule=constant(1e-3)), "samples_per_update is None"),
        (lambda: when_lr_below(1e-4, 0.1, schedule=constant(1e-3), samples_per_update=4), "never falls below 0.0001"),
        (lambda: when_lr_below(1, 0.1, schedule=warmup_cosine(0.9, 0.1, 5, 9), samples_per_update=4), "never falls below 1"),
        (
            lambda: when_lr_below(1, 0.1, schedule=constant(2), samples_per_update=4, tokens_per_sample=3),
            "this one counts steps",
        ),
        (
            lambda: when_lr_below(1, 0.1, schedule=constant(2, units="tokens"), samples_per_update=4),
            "tokens_per_sample is None",
        ),
    ],
    ids=["level", "ratio", "no schedule", "samples", "constant", "never above", "steps", "tokens"],
)
def test_a_switch_that_cannot_be_is_refused(call, message):
    with pytest.raises(InvalidArgument, match=message):
        call()
