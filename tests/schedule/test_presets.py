import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewarm.errors import InvalidArgument
from rewarm.schedule import constant, cosine, infinite, join, linear, linear_to_zero, presets, warmup_cosine, wsd

EPS = sys.float_info.epsilon
BILLION = 10**9


def test_warmup_cosine_is_the_row_of_litgpt_nanotron_and_optax():
    # P = 1, m = 0.1, W = 3, T = 10; their decay counts include the warm-up, ours do not.
    expected = [0.0, 0.333, 0.667, 1.0, 0.955, 0.831, 0.650, 0.450, 0.269, 0.145, 0.1, 0.1, 0.1]
    assert warmup_cosine(1.0, 0.1, 3, 7).values(range(13)).round(3).tolist() == expected


def test_warmup_cosine_edges():
    schedule = warmup_cosine(3e-4, 3e-5, 100, 900)
    assert (schedule(0), schedule(1), schedule(100), schedule(1000), schedule(10**9)) == (
        0.0,
        3e-4 * 0.01,
        3e-4,
        3e-5,
        3e-5,
    )
    assert schedule.length == 1000
    assert warmup_cosine(3e-4, 3e-5, 0, 900)(0) == 3e-4
    assert warmup_cosine(3e-4, 3e-5, 10, 0)(10) == 3e-5
    assert warmup_cosine(3e-4, 3e-5, 0, 0)(0) == 3e-5


def test_wsd_and_linear_to_zero():
    schedule = wsd(1e-3, 1e-4, 10, 20, 30)
    assert (schedule(0), schedule(10), schedule(29), schedule(30), schedule(60)) == (0.0, 1e-3, 1e-3, 1e-3, 1e-4)
    assert schedule(45) == 1e-4 + (1e-3 - 1e-4) * (1 - math.sqrt(15 / 30))
    assert wsd(1e-3, 1e-4, 10, 0, 30, shape="cosine") == warmup_cosine(1e-3, 1e-4, 10, 30)
    assert wsd(1e-3, 0.0, 10, 0, 30, shape="linear") == linear_to_zero(1e-3, 10, 30)
    assert linear_to_zero(1.0, 2, 4).values(range(8)).tolist() == [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]


@pytest.mark.parametrize("shape", ["cosine", "linear", "inverse_sqrt"])
@pytest.mark.parametrize("c", [1.65e-4, 8e-5])
def test_infinite_is_ibrahim_2024(shape, c):
    """The authors' formula: i counts from the end of the warm-up, C and K are counted from there too."""
    peak, low, total = 3e-4, 3e-5, 100_000
    warmup, until_constant, until_anneal = 1000, 60_000, 85_000

    def theirs(t):
        if t <= warmup:
            return peak * t / warmup
        i = t - warmup
        if i <= until_constant:
            r = i / until_constant
            if shape == "linear":
                return peak - (peak - c) * r
            if shape == "cosine":
                return c + (peak - c) / 2 * (1 + math.cos(math.pi * r))

            def g(u):
                return 1 / math.sqrt(1 + 10 * u) - 1

            return peak + (c - peak) * g(r) / g(1)
        if i <= until_anneal:
            return c
        return max(low, c * (low / c) ** ((i - until_anneal) / (total - warmup - until_anneal)))

    schedule = infinite(peak, c, low, warmup, 60_000, 25_000, 14_000, cooldown_shape=shape)
    assert schedule.length == total
    steps = [*range(0, total + 500, 137), 1, 999, 1000, 1001, 61_000, 61_001, 86_000, 86_001, 99_999, 100_000]
    assert np.abs(schedule.values(steps) - [theirs(t) for t in steps]).max() <= 16 * EPS * peak


def test_infinite_without_annealing_is_open_ended():
    schedule = infinite(3e-4, 1.65e-4, 3e-5, 100, 600)
    assert schedule == infinite(3e-4, 1.65e-4, 3e-5, 100, 600, 250, None)
    assert schedule.length is None
    assert schedule(10**15) == 1.65e-4
    with pytest.raises(InvalidArgument, match="infinite: constant_steps"):
        infinite(3e-4, 1.65e-4, 3e-5, 100, 600, None, 50)


# t / total at P = 3e-4 and W = 1 %: as run in 2023, today's cosine over all of T, today's over 240 of 297.
GUPTA = {0.25: (2.593e-4, 2.627e-4, 2.441e-4), 0.5: (1.547e-4, 1.671e-4, 1.177e-4), 0.75: (4.73e-5, 7.03e-5, 3.35e-5)}


@pytest.mark.parametrize("frac", GUPTA)
def test_gupta2023_has_the_papers_numbers(frac):
    t = int(frac * 297 * BILLION)
    forms = [
        presets.gupta2023(3e-4, 297e9),
        presets.gupta2023(3e-4, 297e9, form="modern", decay_frac=1.0),
        presets.gupta2023(3e-4, 297e9, form="modern"),
    ]
    assert [round(form(t), 7) for form in forms] == list(GUPTA[frac])


@pytest.mark.parametrize("frac", [0.0, 0.005, 0.01, 0.02])
def test_gupta2023_clamped_is_gpt_neox_before_pull_request_1008(frac):
    peak, total = 3e-4, 297 * BILLION
    warmup = round(frac * total)

    def theirs(t):
        n = min(t, total - warmup)
        if n <= warmup and warmup > 0:
            return peak * n / warmup
        return max(0.1 * peak, peak / 2 * (math.cos(math.pi * (n - warmup) / total) + 1))

    schedule = presets.gupta2023(peak, total, frac)
    steps = [total * i // 997 for i in range(1100)] + [warmup + d for d in (0, 1)] + [total - warmup, total, total + 1]
    assert np.abs(schedule.values(steps) - [theirs(t) for t in steps]).max() <= 8 * EPS * peak
    assert schedule(0) == (0.0 if warmup else peak)
    assert schedule.units == "tokens"


def test_gupta2023_clamped_reaches_its_floor_at_239_of_297():
    schedule = presets.gupta2023(3e-4, 297e9)
    floor = 0.1 * 3e-4
    at = 2.97e9 + 297e9 * math.acos(-0.8) / math.pi
    assert round(at / 1e9, 1) == 239.1
    assert schedule(int(at) - 1000) > floor
    assert schedule(int(at) + 1000) == floor
    assert schedule(2**62) == floor


def test_gupta2023_modern_arrives_at_240_of_297_and_stays():
    schedule = presets.gupta2023(3e-4, 297e9, form="modern")
    assert schedule == join(
        linear(0.0, 3e-4, 2_970_000_000, units="tokens"), cosine(3e-4, 0.1 * 3e-4, 237_030_000_000, units="tokens")
    )
    assert schedule(240 * BILLION - 10**7) > schedule(240 * BILLION) == schedule(297 * BILLION) == 0.1 * 3e-4


def test_gupta2023_rounds_the_warm_up():
    assert presets.gupta2023(1.0, 149).segments[0].length == 1
    assert presets.gupta2023(1.0, 151).segments[0].length == 2
    assert presets.gupta2023(1.0, 15 * 10**12, units="steps").segments[0].length == 15 * 10**10


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: warmup_cosine(-1.0, 0.0, 1, 1), "warmup_cosine: max_lr: expected a finite number >= 0, got -1.0"),
        (lambda: warmup_cosine(1.0, math.nan, 1, 1), "warmup_cosine: min_lr"),
        (lambda: warmup_cosine(0.1, 1.0, 1, 1), r"min_lr: expected a number in \[0, max_lr=0.1\], got 1"),
        (lambda: warmup_cosine(1.0, 0.1, -1, 1), "warmup_cosine: warmup_steps: expected a whole number"),
        (lambda: warmup_cosine(1.0, 0.1, 1, 2.5), "warmup_cosine: decay_steps: expected a whole number"),
        (lambda: warmup_cosine(1.0, 0.1, 1, 1, units="epochs"), "expected units 'steps' or 'tokens', got 'epochs'"),
        (lambda: wsd(1.0, 0.1, 1, -1, 1), "wsd: stable_steps"),
        (
            lambda: wsd(1.0, 0.1, 1, 1, 1, shape="1-sqrt"),
            "wsd: shape: expected one of one_minus_sqrt, .*, got '1-sqrt'",
        ),
        (lambda: wsd(1.0, 0.0, 1, 1, 1, shape="exponential"), "exponential: to_value: expected a finite number > 0"),
        (lambda: infinite(1.0, 2.0, 0.1, 1, 1), r"infinite: constant_lr: expected a number in \[0, max_lr=1\], got 2"),
        (lambda: infinite(1.0, 0.5, 0.6, 1, 1), r"infinite: min_lr: expected a number in \[0, constant_lr=0.5\]"),
        (lambda: infinite(1.0, 0.5, 0.0, 1, 1, 1, 1), "infinite: min_lr: expected a number > 0"),
        (lambda: infinite(1.0, 0.5, 0.1, 1, 1, 1, -1), "infinite: anneal_steps"),
        (lambda: infinite(1.0, 0.5, 0.1, 1, 1, cooldown_shape="exp"), "infinite: cooldown_shape"),
        (lambda: linear_to_zero(math.inf, 1, 1), "linear_to_zero: max_lr"),
        (lambda: linear_to_zero(1.0, 1, 2**63), "linear_to_zero: decay_steps"),
        (lambda: presets.gupta2023(1.0, 0), "gupta2023: total: expected a whole number >= 1"),
        (lambda: presets.gupta2023(1.0, 100, 0.5), r"gupta2023: warmup_frac: expected a number in \[0, 0.5\)"),
        (lambda: presets.gupta2023(1.0, 2, 0.375), "got 0.375: 1 of 2"),
        (lambda: presets.gupta2023(1.0, 100, 0.9, "modern"), r"warmup_frac: expected a number in \[0, 0.808081\]"),
        (lambda: presets.gupta2023(1.0, 100, form="neox"), "gupta2023: form: expected one of clamped, modern"),
        (lambda: presets.gupta2023(1.0, 100, decay_frac=0.5), "gupta2023: decay_frac: only the modern form"),
        (
            lambda: presets.gupta2023(1.0, 100, form="modern", decay_frac=1.5),
            r"decay_frac: expected a number in \(0, 1\]",
        ),
    ],
)
def test_arguments_are_checked(build, message):
    with pytest.raises(InvalidArgument, match=message):
        build()


rates = st.floats(1e-9, 1.0)


@st.composite
def ready_made(draw, shortest=0):
    """A ready-made schedule with its peak, its minimum and its warm-up length; no phase is under `shortest` counts."""
    phases = st.integers(shortest, 10**6) | st.integers(shortest, 15 * 10**12)
    low, mid, high = sorted([draw(rates), draw(rates), draw(rates)])
    w, a, b, c = draw(phases), draw(phases), draw(phases), draw(phases)
    kind = draw(st.sampled_from(["warmup_cosine", "wsd", "infinite", "linear_to_zero", "gupta2023"]))
    if kind == "warmup_cosine":
        return warmup_cosine(high, low, w, a), high, low, w
    if kind == "wsd":
        shape = draw(st.sampled_from(["one_minus_sqrt", "linear", "cosine", "inverse_sqrt", "exponential"]))
        return wsd(high, low, w, a, b, shape=shape), high, low, w
    if kind == "infinite":
        shape = draw(st.sampled_from(["cosine", "linear", "inverse_sqrt"]))
        return infinite(high, mid, low, w, a, b, draw(st.sampled_from([None, c])), cooldown_shape=shape), high, low, w
    if kind == "linear_to_zero":
        return linear_to_zero(high, w, a), high, 0.0, w
    form = draw(st.sampled_from(["clamped", "modern"]))
    # Of 5 counts and more, two fifths rounded are less than half; of 2, they are the half.
    schedule = presets.gupta2023(high, a + 5, draw(st.floats(0.0, 0.4)), form)
    return schedule, high, 0.1 * high, schedule.segments[0].length if len(schedule.segments) == 2 else 0


@settings(max_examples=150, deadline=None)
@given(case=ready_made(), data=st.data())
def test_warm_up_rises_and_the_rest_stays_in_range(case, data):
    schedule, high, low, warmup = case
    assert schedule(0) == 0.0 if warmup else schedule(0) <= high
    rising = schedule.values(sorted({warmup * i // 50 for i in range(50)} | {max(warmup - 1, 0)}) if warmup else [])
    assert (np.diff(rising) >= 0).all()
    assert (rising <= high).all()
    end = schedule.length or 2 * warmup + 1
    after = schedule.values([data.draw(st.integers(warmup, max(end, warmup) + 10)) for _ in range(20)])
    # a + (b - a) r may end one rounding outside [a, b].
    assert (after >= low - 2 * EPS * high).all()
    assert (after <= high * (1 + 2 * EPS)).all()


@settings(max_examples=150, deadline=None)
@given(case=ready_made(shortest=1))
def test_continuous_at_the_joints(case):
    """Across a joint the value moves by one count of the piece before: pi/2 of its mean slope at most.

    A phase of length 0 is a jump that was asked for, so it is not drawn here.
    """
    schedule, high, _, _ = case
    for segment in schedule.segments[:-1]:
        jump = abs(schedule(segment.stop) - schedule(segment.stop - 1))
        assert jump <= math.pi / 2 * abs(segment.to_value - segment.from_value) / segment.length + 4 * EPS * high


def test_pieces_are_numbers_in_any_numeric_type():
    assert warmup_cosine(np.float64(1.0), 0, np.int32(5), 1e1) == warmup_cosine(1.0, 0.0, 5, 10)
    assert constant(np.float32(0.5)) == constant(0.5)
