"""Every definition of the report on tables so small that the numbers are worked out by hand."""

import math

import numpy as np
import pytest

from rewarm.trace import correlation, distributions, lifetimes, load, request_day, series, shares, sizes, users
from rewarm.trace.load import COSTS, ColdStarts, Functions, Minutes
from rewarm.trace.measured import Measured, curve

TOTAL, ALLOC, CODE, DEP, SCHED = COSTS
DAY = 86_400.0


def functions(*names, runtime=None, trigger=None):
    sizes_of = [load.size_of(name.split("---", 2)[2]) for name in names]
    return Functions(
        funcID=list(names),
        userID=np.array([int(name.split("---")[1]) for name in names]),
        size=np.array([size for size, _ in sizes_of], object),
        pool_class=np.array([pool_class for _, pool_class in sizes_of], object),
        runtime=np.array(runtime or [None] * len(names), object),
        trigger=np.array(trigger or [None] * len(names), object),
    )


ONE = functions("1---1---pool22-300-128")


def cold_starts(time, total=None, *, of=ONE, function=None, pod=None, region="R2", **costs):
    time = np.array(time, float)
    n = len(time)
    given = {TOTAL: total} | costs
    return ColdStarts(
        region=region,
        time=time,
        costs={name: np.array(given[name] if given.get(name) is not None else np.ones(n), float) for name in COSTS},
        function=np.array(function if function is not None else np.zeros(n), np.int32),
        pod=np.array(pod if pod is not None else np.arange(n), np.int64),
        functions=of,
        dropped=0,
    )


def minutes(cells, of=ONE):
    """Cells are (function, minute, value)."""
    function, minute, value = (np.array(column) for column in zip(*cells, strict=True))
    return Minutes(function.astype(np.int32), minute.astype(np.int32), value.astype(float), of, set((minute // 1440).tolist()))


def value(out, quantity, statistic, group="all", region="R2", section=None):
    found = [
        n
        for n in out.numbers
        if (n.quantity, n.statistic, n.group, n.region) == (quantity, statistic, group, region) and section in (None, n.section)
    ]
    assert len(found) == 1, f"{quantity} {statistic} {group} {region}: {len(found)} numbers"
    return found[0].value


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        ("pool22-300-128", ("300-128", "small")),
        ("pool23-400-256", ("400-256", "small")),
        ("pool24-600-512", ("600-512", "large")),
        ("custom.image.gpu-25800-32768", ("25800-32768", "large")),
        ("a-label-with-hyphens-400-256", ("400-256", "small")),
        ("pool-400-512", ("400-512", "large")),
        ("nameless", ("", "")),
    ],
)
def test_size_is_read_from_the_right(pool, expected):
    assert load.size_of(pool) == expected


def test_gaps_are_exact_on_millisecond_stamps_and_stop_at_missing_days():
    # 0.527 - 0.526 is 0.0010000000000000009 in float64; day 1 has no row, so the gap from day 0 to day 2 is dropped.
    found, dropped = distributions.gaps(np.array([0.526, 0.527, 0.527, DAY - 1, 2 * DAY + 5, 2 * DAY + 7.25, 3 * DAY]))
    assert found.tolist() == [0.001, 0.0, DAY - 1 - 0.527, 2.25, DAY - 7.25]
    assert dropped == 1


def test_gaps_into_the_next_day_count():
    found, dropped = distributions.gaps(np.array([DAY - 1, DAY + 1]))
    assert (found.tolist(), dropped) == ([2.0], 0)


def test_quantiles_are_lower_and_nulls_do_not_count():
    out = Measured()
    distributions.durations(cold_starts(range(6), [3.0, np.nan, 1.0, 20.0, 2.0, 10.0]), out)
    assert value(out, TOTAL, "p50") == 3.0  # ranks of 1 2 3 10 20: floor(.5 * 4) = 2
    assert value(out, TOTAL, "p75") == 10.0
    assert value(out, TOTAL, "p95") == 10.0  # floor(.95 * 4) = 3
    assert value(out, TOTAL, "share > 10 s") == 0.2


def test_days_that_miss_make_a_number_partial():
    out = Measured()
    distributions.durations(cold_starts([0.0, DAY]), out)
    assert not any(n.complete for n in out.numbers)
    out = Measured()
    distributions.durations(cold_starts([day * DAY for day in range(31)]), out)
    assert all(n.complete for n in out.numbers)


def test_curve_reaches_one_and_counts_zeros():
    points = curve(np.array([0.0, 0.0, 1.0, 10.0]), points=3)
    assert points["x"] == [1.0, 3.16228, 10.0]
    assert points["y"] == [0.75, 0.75, 1.0]
    assert curve(np.zeros(3)) == {"x": [], "y": []}


def test_pool_classes_leave_zero_dependencies_out():
    of = functions("1---1---pool22-300-128", "2---1---pool24-600-512")
    out = Measured()
    cold = cold_starts(range(5), of=of, function=[0, 0, 0, 1, 1], **{DEP: [0, 2.0, 4.0, 0, 0], ALLOC: [1, 2, 3, 4, 5]})
    distributions.pool_classes(cold, out)
    assert value(out, DEP, "p50", "small") == 2.0
    assert math.isnan(value(out, DEP, "p50", "large"))
    assert value(out, ALLOC, "p50", "small") == 2.0
    assert value(out, ALLOC, "p25", "large") == 4.0


def test_breakdown_by_runtime_and_trigger_with_allocation_stages():
    of = functions("1---1---p-300-128", "2---1---p-300-128", runtime=["Java", "unknown"], trigger=["TIMER-A", "unknown"])
    out = Measured()
    cold = cold_starts(range(5), of=of, function=[0, 0, 0, 0, 1], **{ALLOC: [0.0002, 0.001, 0.012, 10.2, 1.0]})
    distributions.breakdown(cold, out)
    assert value(out, "cold starts", "count", "Java") == 4
    assert value(out, "cold starts", "count", "unknown runtime") == 1
    assert value(out, "cold starts", "count", "unknown trigger") == 1
    assert [value(out, ALLOC, f"share <= {limit}", "Java") for limit in ("1 ms", "100 ms", "5 s")] == [0.5, 0.75, 0.75]


def test_components_by_day_and_hour():
    out = Measured()
    cold = cold_starts([0.0, 10.0, 3600.0, 2 * DAY], **{CODE: [1.0, 3.0, np.nan, 5.0]})
    series.components(cold, out)
    assert value(out, "cold starts", "count", "day 0") == 3
    assert value(out, "cold starts", "count", "day 2") == 1
    assert not [n for n in out.numbers if n.group == "day 1"]  # a day without a row is missing, not empty
    assert value(out, "cold starts per hour", "max") == 2
    assert value(out, "cold starts per hour", "mean") == 4 / 48
    assert value(out, CODE, "mean") == 3.0
    drawn = out.series["fig11"]["R2"]
    assert drawn["means"][CODE][:2] == [2.0, None]
    assert drawn["count"][:2] == [2, 1]
    assert drawn["count"][24] is None


def test_spearman_by_hand():
    # Minutes 0, 1 and 5: totals 2 (mean of 1 and 3), 4, 3; counts 2, 1, 1. Minute 2 to 4 have no cold start and are left out.
    cold = cold_starts(
        [0.0, 59.0, 60.0, 300.0], [1.0, 3.0, 4.0, 3.0], **{CODE: [5.0, 5.0, 5.0, 5.0], DEP: [0.0, 1.0, 3.0, 2.0]}
    )
    means = correlation.minute_means(cold)
    assert means[TOTAL].tolist() == [2.0, 4.0, 3.0]
    assert means[DEP].tolist() == [0.5, 3.0, 2.0]
    assert means["cold starts"].tolist() == [2.0, 1.0, 1.0]
    out = Measured()
    correlation.spearman(cold, out)
    assert value(out, TOTAL, "Spearman", DEP) == pytest.approx(1.0)
    # Ranks 1 3 2 against 3 1.5 1.5: covariance -1.5 over sqrt(2 * 1.5).
    assert value(out, TOTAL, "Spearman", "cold starts") == pytest.approx(-1.5 / math.sqrt(3.0))
    assert math.isnan(value(out, TOTAL, "Spearman", CODE))  # code does not vary


def test_median_day_is_over_the_days_on_which_a_function_ran():
    of = functions("1---1---p-300-128", "2---1---p-300-128", "3---2---p-300-128")
    requests = minutes([(0, 0, 5.0), (0, 1, 5.0), (0, 1440, 2.0), (0, 2 * 1440, 40.0), (1, 0, 2000.0)], of)
    per_day = users.daily_requests(requests)
    assert per_day[0, :4].tolist() == [10.0, 2.0, 40.0, 0.0]
    assert users.median_day(per_day)[:2].tolist() == [10.0, 2000.0]
    assert math.isnan(users.median_day(per_day)[2])
    out = Measured()
    users.functions_and_users("R2", requests, out)
    assert value(out, "requests per day", "p50") == 10.0
    assert value(out, "requests per day", "share >= 1440") == 0.5
    assert value(out, "functions per user", "share = 1") == 0.5  # user 1 has two, user 2 has one that never ran
    assert value(out, "requests per user", "share > 1000") == 0.5


def test_peak_to_trough_by_hand():
    minute = np.arange(1440)
    flat = np.full(1440, 2.0)
    assert series.peak_to_trough(minute, flat, [(0, 1)]) == (1.0, 1.0, 1.0)
    # One minute with 61 more lifts the mean of the 61 windows around it from 2 to 3.
    peak = flat.copy()
    peak[700] += 61.0
    assert series.peak_to_trough(minute, peak, [(0, 1)]) == (1.5, 1.5, 1.5)
    # At midnight it lies in one whole window of the day alone, in 61 around the clock.
    peak = flat.copy()
    peak[0] += 61.0
    assert series.peak_to_trough(minute, peak, [(0, 1)]) == (1.5, 1.5, 1.5)
    # Two days, the peak on one of them: the mean day has half of it.
    two = np.concatenate([peak, flat])
    assert series.peak_to_trough(np.arange(2880), two, [(0, 2)]) == (1.5, 1.5, 1.25)
    # 61 empty minutes in a row make one empty window: no ratio.
    empty = flat.copy()
    empty[100:161] = 0.0
    series_ratio, without_zeros, mean_day = series.peak_to_trough(minute, empty, [(0, 1)])
    assert math.isnan(series_ratio)
    assert math.isnan(mean_day)
    assert without_zeros == pytest.approx(61)  # the least window that is not empty holds one minute of 2
    empty[130] = 1.0
    assert series.peak_to_trough(minute, empty, [(0, 1)]) == pytest.approx((2.0 * 61,) * 3)
    # Windows do not reach over a missing day.
    assert series.runs({0, 1, 3, 4, 5, 9}) == [(0, 2), (3, 6), (9, 10)]


def test_slow_and_empty_functions_are_counted_apart():
    of = functions("1---1---p-300-128", "2---1---p-300-128", "3---1---p-300-128")
    cells = [(0, minute, 2.0) for minute in range(1440)] + [(1, 5, 1439.0)] + [(2, 5, 5000.0)]
    requests = minutes(cells, of)
    out = Measured()
    series.daily_pattern("R2", requests, users.median_day(users.daily_requests(requests)), {"1---1---p-300-128": 7}, out)
    (number,) = [n for n in out.numbers if n.statistic == "functions"]
    assert number.value == 1
    assert "1 functions below 1440 requests a day and 1 whose smallest mean is 0" in number.note
    assert out.series["fig6b"]["R2"] == {"x": [7.0], "y": [1.0]}


def test_the_hour_of_the_daily_peak_under_each_reading():
    # Two requests a minute; on each of three days 100 more in one minute at 5:00, and 3 more a minute from 12:00 to 14:59.
    cells = [(0, day * 1440 + m, 2.0 + 100.0 * (m == 300) + 3.0 * (720 <= m < 900)) for day in range(3) for m in range(1440)]
    out = Measured()
    series.requests_per_minute("R2", minutes(cells), out)
    day = "second day"
    assert value(out, "hour of the daily peak", "days 0-2, not smoothed", day) == 5.0
    # 61 minutes with the spike hold 222, with the afternoon 305; the first whole window of the afternoon is centred at 12:30.
    assert value(out, "hour of the daily peak", "days 0-2, mean of 61 min", day) == 12.5
    assert value(out, "hour of the daily peak", "days 0-2, mean of 181 min", day) == pytest.approx(13.5, abs=0.02)
    assert not [n for n in out.numbers if n.statistic.startswith("days 8-10")]  # they are not there


def test_ratios_of_all_regions_under_each_reading():
    read = [np.array([[2e3, 1.5, 1.5, 1.2], [2e6, np.nan, 900.0, 3.0]]), np.array([[3e6, 50.0, 50.0, 40.0]])]
    out = Measured()
    series.pooled_pattern(read, True, "", out)
    name = "peak-to-trough ratio"
    assert [value(out, name, "whole series", group, "all") for group in ("smallest", "largest", "largest workloads")] == [
        1.5, 50.0, 50.0
    ]  # fmt: skip
    assert value(out, name, "whole series, zeros left out", "largest", "all") == 900.0
    assert value(out, name, "mean day", "largest workloads", "all") == 40.0


def test_holiday_is_over_the_largest_of_days_10_to_25():
    cells = [(0, day * 1440 + 3, 100.0 * day) for day in (9, 10, 20, 26)]
    out = Measured()
    series.holiday("R2", "fig7a", "pods", minutes(cells), "sum", out)
    assert value(out, "pods, share of the largest day", "mean", "day 10") == 0.5
    assert value(out, "pods, share of the largest day", "mean", "day 20") == 1.0
    assert out.series["fig7a"]["R2"]["day"] == [10, 20]


def test_shares_and_running_pods():
    of = functions(
        "1---1---pool22-300-128",
        "2---1---pool23-400-256",
        "3---1---pool35-6600-8192",
        runtime=["Java", "C#", "Python3"],
        trigger=["TIMER-A", "unknown", "TIMER-A"],
    )
    out = Measured()
    shares.composition("R2", of, out)
    shares.cold_start_shares(cold_starts(range(4), of=of, function=[0, 0, 0, 1]), out)
    shares.running_pods("R2", minutes([(0, 0, 6.0), (2, 30, 54.0)], of), out)
    assert value(out, "share", "functions", "TIMER-A") == pytest.approx(2 / 3)
    assert value(out, "share", "functions", "other runtime") == pytest.approx(1 / 3)
    assert value(out, "share", "functions", "other size") == pytest.approx(1 / 3)
    assert value(out, "share", "cold starts", "Java") == 0.75
    assert value(out, "share", "cold starts", "400-256") == 0.25
    assert value(out, "share", "pods", "Java") == pytest.approx(0.1)
    assert value(out, "triggers of a runtime", "unknown", "C#") == 1.0
    assert value(out, "running pods per hour", "max") == 1.0  # 60 pod-minutes in an hour of 60 minutes
    assert value(out, "running pods per hour", "mean") == pytest.approx(1 / 24)


def test_requests_against_cold_starts():
    of = functions(
        *[f"{i}---1---p-300-128" for i in range(4)], runtime=["Java"] * 4, trigger=["TIMER-A", "TIMER-A", "APIG-S", "APIG-S"]
    )
    requests = minutes([(0, 0, 31.0), (1, 1440, 100.0), (2, 2, 5000.0)], of)
    cold = cold_starts(np.arange(31 + 90 + 10 + 1), of=of, function=[0] * 31 + [1] * 90 + [2] * 10 + [3])
    out = Measured()
    shares.requests_against_cold_starts(cold, requests, out)
    assert value(out, "functions with a cold start", "count") == 4
    assert value(out, "cold starts over requests", "share > 0.95") == pytest.approx(
        1 / 3
    )  # 1, .9 and .002; the fourth had no request
    assert value(out, "cold starts over requests", "share > 0.8") == pytest.approx(2 / 3)
    assert value(out, "functions", "count", "requests <=31") == 1
    assert value(out, "functions", "count", "requests 32-744") == 1
    assert value(out, "functions", "count", "requests 4465-22320") == 1
    assert value(out, "share of cold starts", "share", "requests 32-744") == pytest.approx(90 / 132)
    assert value(out, "share of requests", "share", "top 1 function") == pytest.approx(5000 / 5131)
    assert value(out, "requests", "count", "TIMER-A") == 131
    assert "1 functions have a cold start but no request" in out.notes["starts"][0]


def test_utility_ratio_and_what_is_censored():
    start = 30 * DAY
    end = 31 * DAY
    of = functions("1---1---p-300-128", runtime=["Java"], trigger=["APIG-S"])
    # Pod 8 starts on day 29 and is not looked for.
    cold = cold_starts(
        [start - 5, start, start + 1, start + 2, start + 3], [9.0, 2.0, 4.0, 1.0, 1.0], of=of, pod=[8, 1, 2, 3, 4]
    )
    pods = lifetimes.Pods.of(cold)
    assert pods.key.tolist() == [1, 2, 3, 4]
    # Completions; each request took 1 s. Pod 1 serves from start + 9 to start + 30, in any order and over two batches.
    pods.see(np.array([1, 1, 8]), np.array([start + 20, start + 9, 0.0]), np.array([start + 21, start + 10, 1.0]))
    pods.see(
        np.array([1, 2, 3, 7]),
        np.array([start + 29, end - 100, end - 60.5, 0.0]),
        np.array([start + 30, end - 60, end - 59.5, 1.0]),
    )
    pods.see(np.array([2]), np.array([np.nan]), np.array([end]))
    out = Measured()
    lifetimes.utility(pods, cold, True, out)
    assert value(out, "pods with a cold start on day 30", "count") == 4
    assert value(out, "of them without a request in the table", "count") == 1  # pod 4
    assert value(out, "of them censored by the end of the data", "count") == 1  # pod 3 ended less than 60 s before the end
    assert value(out, "of them in the ratio", "count") == 2
    # Pod 1: 21 s over 2 s; pod 2: 40 s over 4 s.
    assert value(out, "pod utility ratio", "p50") == 10.0
    assert value(out, "pod utility ratio", "share <= 10") == 0.5
    assert value(out, "pod utility ratio", "pods", "Java") == 2
    assert not any(n.complete for n in out.numbers if n.quantity == "pod utility ratio")


def test_minute_means_and_distinct_do_not_depend_on_the_batches():
    rng = np.random.default_rng(5)
    key, values = rng.integers(0, 50, 4000), rng.random(4000)
    values[::7] = np.nan
    whole, parts, distinct = request_day.MinuteMeans(), request_day.MinuteMeans(), request_day.Distinct()
    whole.see(key, values)
    for begin in range(0, 4000, 37):
        parts.see(key[begin : begin + 37], values[begin : begin + 37])
        distinct.see(key[begin : begin + 37])
    expected = [np.nanmean(values[key == k]) for k in range(50)]
    assert whole.means() == pytest.approx(np.array(expected))
    assert parts.means() == pytest.approx(np.array(expected))
    assert distinct.values().tolist() == list(range(50))


def test_sizes_count_pods_once_and_joins():
    of = functions("1---1---p-300-128", "1---2---p-300-128", runtime=["Java", None], trigger=["APIG-S", None])
    out = Measured()
    sizes.cold_start_sizes(cold_starts(range(4), of=of, function=[0, 0, 1, 1], pod=[5, 5, 6, -1]), out)
    assert value(out, "cold starts", "count") == 4
    assert value(out, "pods", "count") == 2
    assert value(out, "cold starts without a runtime row", "count") == 2
    sizes.function_sizes("R2", of, "the test", True, out)
    assert [value(out, name, "count") for name in ("functions", "distinct funcName", "distinct userID")] == [2, 1, 2]
