"""The core's promise: the same rows give the same bits, however they were split. Columns are fed by hand here."""

import math

import numpy as np
import pytest
from aggregate_cases import KEYS, Feeder, columns, random_rows, scan
from aggregate_reference import groups, key_order, mean, quantile, total
from hypothesis import given, settings
from hypothesis import strategies as st

from rewarm._native import core
from rewarm.errors import InvalidArgument

ROWS = random_rows(3000, 5)
QUANTILES = [("p0", 0.0), ("p50", 0.5), ("p99_9", 0.999), ("p100", 1.0)]


def check(aggregate, rows, names, n_values):
    """Everything against the reference, group by group: sums as whole numbers, bit for bit."""
    expected = groups(rows)
    table = columns(aggregate, QUANTILES)
    keys = sorted(expected, key=key_order)
    assert [tuple(table[name][g] for name in names) for g in range(len(table["rows"]))] == keys
    for g, key in enumerate(keys):
        n_rows, value_lists = expected[key]
        assert table["rows"][g] == n_rows
        for v in range(n_values):
            values = value_lists[v]
            assert table[f"v{v}_count"][g] == len(values)
            assert aggregate.exact_sum(group=g, value=v) == total(values)
            if not values:
                assert table[f"v{v}_sum"][g] == 0.0
                assert {table[f"v{v}_{what}"][g] for what in ("mean", "min", "max", "p0", "p50", "p99_9", "p100")} == {None}
                continue
            assert table[f"v{v}_sum"][g] == total(values) / 2**60
            assert table[f"v{v}_mean"][g] == mean(values)
            assert (table[f"v{v}_min"][g], table[f"v{v}_max"][g]) == (values[0], values[-1])
            assert math.copysign(1, table[f"v{v}_min"][g]) == 1 or values[0] < 0
            for suffix, q in QUANTILES:
                exact = quantile(values, q)
                assert abs(table[f"v{v}_{suffix}"][g] - exact) <= abs(exact) / 128


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
@pytest.mark.parametrize("batch", [1, 31, 1000, 3000])
def test_equals_the_reference(workers, batch):
    check(scan(ROWS, KEYS, 2, batch=batch, workers=workers), ROWS, [name for name, _ in KEYS], 2)


@pytest.mark.parametrize("n_keys", range(1, 5))
def test_any_number_of_keys(n_keys):
    keys = KEYS[:n_keys]
    rows = [(key[:n_keys], values) for key, values in ROWS]
    check(scan(rows, keys, 2), rows, [name for name, _ in keys], 2)


def test_wide_keys_of_several_words():
    names = [(f"k{i}", "int32") for i in range(7)]
    r = np.random.default_rng(0)
    ends = [-(2**31), 0, 2**31 - 1, None]
    rows = [(tuple(ends[i] for i in r.integers(0, 4, 7)), (float(x),)) for x in r.uniform(0, 1, 2000)]
    check(scan(rows, names, 1), rows, [name for name, _ in names], 1)


def test_without_keys_there_is_one_group():
    rows = [((), values) for _, values in ROWS]
    check(scan(rows, [], 2), rows, [], 2)
    empty = columns(scan([], [], 2))
    assert (empty["rows"], empty["v0_count"], empty["v0_sum"], empty["v0_mean"]) == ([0], [0], [0.0], [None])
    assert columns(scan([], KEYS, 1))["rows"] == []


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_split_and_merge_is_the_whole(data):
    n = data.draw(st.integers(0, 120))
    rows = ROWS[:n]
    parts = []
    owner = data.draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))
    for p in range(5):
        own = [row for row, o in zip(rows, owner, strict=True) if o == p]
        own = data.draw(st.permutations(own)) if len(own) < 20 else own
        part = scan(own, KEYS, 2, batch=data.draw(st.integers(1, 40)), workers=data.draw(st.integers(1, 3)))
        part.set_files([("R1", "a.csv", 100 * p, 100 * (p + 1))], p)
        if data.draw(st.booleans()):
            part = core.TraceAggregate.from_bytes(part.to_bytes())
        parts.append(part)
    parts = data.draw(st.permutations(parts))
    whole = scan(rows, KEYS, 2)
    whole.set_files([("R1", "a.csv", 0, 500)], 10)
    if data.draw(st.booleans()):
        merged = core.TraceAggregate.merge(parts, threads=2)
    else:
        merged = parts[0]
        for part in parts[1:]:
            # A hole between two ranges stays open until its range comes.
            merged = core.TraceAggregate.merge([merged, part], threads=1)
    assert merged.to_bytes() == whole.to_bytes()


def test_sums_do_not_depend_on_the_order_and_pass_128_bits():
    """Forty values just below 2**62 are beyond an int128 of 2**-60; with their negatives they cancel to what is left."""
    big = math.nextafter(2.0**62, 0.0)
    values = [big] * 40 + [2.0**-60, 0.1] + [-big] * 40
    for order in (values, values[::-1], values[40:] + values[:40], [-x for x in values]):
        aggregate = scan([((), (x,)) for x in order], [], 1)
        assert aggregate.exact_sum(group=0, value=0) == total(order)
        assert columns(aggregate)["v0_sum"] == [total(order) / 2**60]
    only = scan([((), (big,))] * 1000, [], 1)
    assert only.exact_sum(group=0, value=0) == total([big] * 1000)
    assert columns(only)["v0_mean"] == [big]


@given(st.lists(st.floats(-(2.0**62), 2.0**62, exclude_min=True, exclude_max=True), min_size=1, max_size=20))
def test_sum_and_mean_are_rounded_once(values):
    aggregate = scan([((), (x,)) for x in values], [], 1)
    assert aggregate.exact_sum(group=0, value=0) == total(values)
    table = columns(aggregate)
    assert table["v0_sum"] == [total(values) / 2**60]
    assert table["v0_mean"] == [mean(values)]


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64])
def test_whole_numbers_are_added_exactly(dtype):
    info = np.iinfo(dtype)
    top = min(info.max, 2**62 - 513)  # as a double still below 2^62
    values = np.array([-top, top, top, 3, 0], dtype=dtype)
    sink = core.TraceColumnSink(keys=[], values=["v"], histograms=False, max_groups=9, text="", workers=1)
    sink.feed(0, 5, [values])
    assert sink.too_large() is None
    assert sink.finish(1).exact_sum(group=0, value=0) == (top + 3) * 2**60


@pytest.mark.parametrize("x", [2.0**62, -(2.0**62), math.inf, -math.inf, 1e300])
def test_the_first_value_too_large_is_found(x):
    feeder = Feeder([], 2)
    feeder.feed([((), (1.0, 1.0)), ((), (None, 2.0)), ((), (3.0, x)), ((), (x, x))])
    assert feeder.sink.too_large() == (2, 1, x)


def test_nan_is_null():
    rows = [((), (math.nan,)), ((), (2.0,)), ((), (None,))]
    table = columns(scan(rows, [], 1))
    assert (table["rows"], table["v0_count"], table["v0_sum"]) == ([3], [1], [2.0])


def test_too_many_groups():
    rows = [((i,), (1.0,)) for i in range(11)]
    keys = [("funcName", "int32")]
    assert len(columns(scan(rows, keys, 1, max_groups=11))["rows"]) == 11
    with pytest.raises(InvalidArgument, match="more than max_groups=10"):
        scan(rows, keys, 1, max_groups=10)
    with pytest.raises(InvalidArgument, match="11 groups, more than max_groups=10"):
        scan(rows, keys, 1, max_groups=10, workers=2, batch=6)


def test_merge_refuses_another_question():
    a = scan(ROWS[:10], KEYS, 2, text='{"table":"request"}')
    for b in (
        scan(ROWS[:10], KEYS, 2, text='{"table":"cold_start"}'),
        scan(ROWS[:10], KEYS, 2, text='{"table":"request"}', histograms=False),
        scan([(k, v[:1]) for k, v in ROWS[:10]], KEYS, 1, text='{"table":"request"}'),
        scan([(k[:3], v) for k, v in ROWS[:10]], KEYS[:3], 2, text='{"table":"request"}'),
    ):
        with pytest.raises(InvalidArgument, match="expected aggregates of one question"):
            core.TraceAggregate.merge([a, b], threads=1)


@pytest.mark.parametrize(
    ("first", "second", "clash"),
    [
        (("R1", "a.csv", 0, 100), ("R1", "a.csv", 99, 200), True),
        (("R1", "a.csv", 0, 100), ("R1", "a.csv", 0, 100), True),
        (("R1", "a.csv", 50, 60), ("R1", "a.csv", 0, 100), True),
        (("R1", "a.gz", 0, -1), ("R1", "a.gz", 0, -1), True),
        (("R1", "a.csv", 0, 100), ("R1", "a.csv", 100, 200), False),
        (("R1", "a.csv", 0, 100), ("R2", "a.csv", 0, 100), False),
        (("R1", "a.csv", 0, 100), (None, "a.csv", 0, 100), False),
    ],
)
def test_merge_refuses_the_same_rows_twice(first, second, clash):
    a, b = scan(ROWS[:5], KEYS, 2), scan(ROWS[5:10], KEYS, 2)
    a.set_files([first], 0)
    b.set_files([second], 0)
    for order in ([a, b], [b, a]):
        if clash:
            with pytest.raises(InvalidArgument, match=r"the same rows would count twice: (R1 )?a\."):
                core.TraceAggregate.merge(order, threads=1)
        else:
            assert columns(core.TraceAggregate.merge(order, threads=1)) == columns(scan(ROWS[:10], KEYS, 2))
