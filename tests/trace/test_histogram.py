import math
from collections import Counter

import numpy as np
import pytest
from aggregate_cases import Feeder, columns, scan
from aggregate_reference import quantile
from hypothesis import given
from hypothesis import strategies as st

from rewarm._native import core

SMALLEST_NORMAL = 2.0**-1022
NORMAL = st.floats(SMALLEST_NORMAL, 2.0**62, exclude_max=True)
SIGNED = st.one_of(NORMAL, NORMAL.map(lambda x: -x), st.sampled_from([0.0, -0.0, 5e-324, -5e-324]))


def edges():
    """Both ends of every bin of some octaves, and the octave's ends."""
    for exponent in (-1022, -61, -20, -1, 0, 1, 30, 61):
        for mantissa in range(64):
            low = math.ldexp(1 + mantissa / 64, exponent)
            yield low, math.nextafter(math.ldexp(1 + (mantissa + 1) / 64, exponent), 0.0)


def test_a_bin_is_one_64th_of_an_octave():
    codes = []
    for low, last in edges():
        assert core.trace_bin_of(low) == core.trace_bin_of(last)
        assert core.trace_bin_of(math.nextafter(last, math.inf)) == core.trace_bin_of(last) + 1
        assert core.trace_bin_of(-low) == core.trace_bin_of(-last)
        codes.append(core.trace_bin_of(low))
        # Exact: low and the width are multiples of 2^-7 of the octave, above subnormal numbers.
        assert core.trace_bin_midpoint(codes[-1]) == low + (math.nextafter(last, math.inf) - low) / 2
        assert core.trace_bin_midpoint(core.trace_bin_of(-low)) == -core.trace_bin_midpoint(codes[-1])
    assert codes == sorted(set(codes))


def test_the_midpoint_is_within_a_128th_of_everything_in_its_bin():
    """The promised 0.782 %: half a bin of 1/64 over the smallest number in it, 1/128 = 0.78125 %."""
    worst = 0.0
    for low, last in edges():
        for x in (low, last, -low, -last):
            middle = core.trace_bin_midpoint(core.trace_bin_of(x))
            worst = max(worst, abs(middle - x) / abs(x))
    assert 0.0078 < worst <= 1 / 128


@given(x=SIGNED)
def test_error_bound(x):
    middle = core.trace_bin_midpoint(core.trace_bin_of(x))
    if x == 0.0:
        assert middle == 0.0
    elif abs(x) >= SMALLEST_NORMAL:
        assert abs(middle - x) <= abs(x) / 128


@given(x=SIGNED, y=SIGNED)
def test_codes_ascend_with_the_value(x, y):
    if x < y:
        assert core.trace_bin_of(x) <= core.trace_bin_of(y)
    elif x == y:
        assert core.trace_bin_of(x) == core.trace_bin_of(y)


def test_zero_has_a_bin_of_its_own():
    around = [-SMALLEST_NORMAL, -5e-324, 0.0, 5e-324, SMALLEST_NORMAL]
    codes = [core.trace_bin_of(x) for x in around]
    assert codes == sorted(set(codes))
    assert core.trace_bin_of(-0.0) == core.trace_bin_of(0.0)


def reference_bins(values):
    return sorted(Counter(core.trace_bin_of(x) for x in values).items())


# Around the sizes at which a list is outgrown and at which counters replace it.
@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 63, 64, 65, 255, 256, 257, 258, 5000])
@pytest.mark.parametrize("octaves", [1, 7, 60])
def test_bins_are_counted_exactly(n, octaves):
    r = np.random.default_rng(n + octaves)
    values = np.ldexp(r.uniform(0.5, 1, n) * r.choice([-1, 1], n), r.integers(-octaves, 1, n)).tolist()
    values[::5] = [0.0] * len(values[::5])
    aggregate = scan([((), (x,)) for x in values], [], 1, batch=100)
    codes, counts = aggregate.bins(0, 0)
    assert list(zip(codes.tolist(), counts.tolist(), strict=True)) == reference_bins(values)


def test_many_groups_that_grow_side_by_side():
    """Lists that one group outgrew are used by another: nothing may leak between them."""
    r = np.random.default_rng(3)
    group = np.minimum(r.zipf(1.3, 60_000), 400) - 1
    values = np.exp(r.normal(0, 4, 60_000))
    rows = [((int(g),), (float(x),)) for g, x in zip(group, values, strict=True)]
    aggregate = scan(rows, [("funcName", "int32")], 1, batch=777)
    present = columns(aggregate)["funcName"]
    sizes = np.bincount(group)
    assert sizes.max() > 10_000 and sizes[sizes > 0].min() < 8
    for i, key in enumerate(present):
        codes, counts = aggregate.bins(i, 0)
        assert list(zip(codes.tolist(), counts.tolist(), strict=True)) == reference_bins(values[group == key])


def test_a_new_partial_begins_before_the_counters_overflow():
    rows = [((i % 3,), (float(i % 11),)) for i in range(5000)]
    keys = [("funcName", "int32")]
    assert scan(rows, keys, 1, rows_a_partial=700).to_bytes() == scan(rows, keys, 1).to_bytes()


@given(values=st.lists(SIGNED, min_size=1, max_size=300), q=st.floats(0, 1))
def test_quantile_is_the_lower_one_within_the_bound(values, q):
    aggregate = scan([((), (x,)) for x in values], [], 1, batch=64)
    got = float(aggregate.quantile(value=0, q=q)[0])
    expected = quantile(sorted(values), q)
    assert min(values) <= got <= max(values)
    if abs(expected) >= SMALLEST_NORMAL or expected == 0.0:
        assert abs(got - expected) <= abs(expected) / 128


@pytest.mark.parametrize("x", [0.0, -3.7, 1e-6, 12345.678])
def test_one_value_is_its_own_quantile(x):
    aggregate = scan([((), (x,))] * 5, [], 1)
    assert aggregate.quantile(value=0, q=0.3).tolist() == [x]


def test_nothing_has_no_quantile():
    feeder = Feeder([], 1)
    feeder.feed([((), (None,))])
    assert math.isnan(feeder.finish().quantile(value=0, q=0.5)[0])
