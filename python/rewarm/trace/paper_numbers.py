"""The published numbers as tables: rows are groups or regions, columns are regions or statistics, "-" is no number.

Sources: the text and figures of Joosen et al. (EuroSys 2025); "read off" marks a value taken from the coordinates of a curve in
a figure, good to 1-2 %; "notebook" marks output of the authors' data-release notebooks. What the text rounds ("about 0.1 s")
and a figure shows more exactly is taken from the figure.
"""

from __future__ import annotations

from collections.abc import Iterator

Row = tuple[str, str, str, str, str, str, str, str]
REGIONS = ("R1", "R2", "R3", "R4", "R5")
TOTAL, ALLOC, CODE, DEP, SCHED = (
    "totalCost_cold_start",
    "podAllocationCost",
    "deployCodeCost",
    "deployDependencyCost",
    "schedulingCost",
)
IAT = "inter-arrival time"


def _by_region(section: str, group: str, kind: str, source: str, table: str) -> Iterator[Row]:
    """Lines `quantity | statistic | five numbers`, one for each region."""
    for line in table.strip().splitlines():
        quantity, statistic, numbers = (part.strip() for part in line.split("|"))
        for region, text in zip(REGIONS, numbers.split(), strict=True):
            if text != "-":
                yield section, quantity, group, statistic, region, text, kind, source


def _single(section: str, source: str, table: str) -> Iterator[Row]:
    """Lines `region | quantity | group | statistic | kind | number`."""
    for line in table.strip().splitlines():
        region, quantity, group, statistic, kind, text = (part.strip() for part in line.split("|"))
        yield section, quantity, group, statistic, region, text, kind, source


def _by_group(section: str, quantity: str, region: str, kind: str, source: str, table: str) -> Iterator[Row]:
    """A header of statistics, then lines `group numbers…`; a group with a blank in its name is written with "_"."""
    head, *lines = table.strip().splitlines()
    for line in lines:
        group, *numbers = line.split()
        for statistic, text in zip(head.split(), numbers, strict=True):
            if text != "-":
                yield section, quantity, group.replace("_", " "), statistic.replace("_", " "), region, text, kind, source


def _quantiles_by_region(section: str, quantity: str, group: str, source: str, table: str) -> Iterator[Row]:
    """A header of quantiles, then lines `region numbers…`."""
    head, *lines = table.strip().splitlines()
    for line in lines:
        region, *numbers = line.split()
        for statistic, text in zip(head.split(), numbers, strict=True):
            if text != "-":
                yield section, quantity, group, statistic, region, text, "quantile", source


def _sizes() -> Iterator[Row]:
    yield from _single(
        "sizes",
        "notebook",
        """
        all | cold starts | all | count | count | 11913857
        R2 | cold starts | all | count | count | 2072823
        R2 | functions | all | count | count | 2418
        R2 | distinct funcName | all | count | count | 2148
        R2 | distinct userID | all | count | count | 1144
        R2 | distinct poolName | all | count | count | 27
        R2 | cold starts without a runtime row | all | count | count | 0
        R1 | request rows, day 30 | all | count | count | 364210340
        R1 | totalCost_worker, day 30 | all | min | count | 0.000316
        R1 | totalCost_worker, day 30 | all | max | count | 43135.973
        R5 | request rows, day 30 | all | count | count | 3448259
        R5 | functions with requests on day 30 | all | count | count | 491
        R5 | pods per function, day 30 | all | mean | mean | 51.70
        R5 | pods per function, day 30 | all | sd | mean | 121.72
        R5 | pods per function, day 30 | all | min | count | 1
        R5 | pods per function, day 30 | all | p25 | quantile | 2
        R5 | pods per function, day 30 | all | p50 | quantile | 2
        R5 | pods per function, day 30 | all | p75 | quantile | 48
        R5 | pods per function, day 30 | all | max | count | 711
        """,
    )
    yield from _by_region(
        "sizes",
        "all",
        "reading",
        "Fig. 1, read off",
        """
        functions | count | 2484 - 236 7570 543
        cold starts | count | 7.109e6 - 308.4e3 1.619e6 805.8e3
        requests | count | 3.9e10 1.26e10 2.8e10 4.0e9 1.25e8
        pods | count | 7.0e6 2.1e6 3.2e5 1.6e6 8.0e5
        """,
    )


def _functions() -> Iterator[Row]:
    yield from _quantiles_by_region(
        "functions",
        "requests per day",
        "all",
        "Fig. 3a, read off",
        """
           p50 p75 p90 p95 p99
        R1 28.0 372 2836 6480 9.9e5
        R2 3.0 48 662 5610 9.0e5
        R3 71 330 1441 1449 8.7e4
        R4 2.0 5 9 16 1443
        R5 2.0 158 860 1681 8.0e4
        """,
    )
    yield from _by_region(
        "functions",
        "all",
        "share",
        "Fig. 3a, read off",
        "requests per day | share >= 1440 | .166 .079 .104 .011 .071",
    )
    yield from _quantiles_by_region(
        "functions",
        "execution time",
        "all",
        "Fig. 3b, read off",
        """
           p1 p10 p25 p50 p75 p90 p99
        R1 .0009 .0014 .0089 .092 .317 1.70 30.7
        R2 .0004 .0011 .0016 .030 .214 1.04 14.6
        R3 .0003 .0010 .0019 .034 .344 6.8 30.1
        R4 .0004 .0010 .0014 .0051 .126 1.33 180
        R5 .0006 .0009 .0012 .0046 .050 1.26 30.3
        """,
    )
    yield from _quantiles_by_region(
        "functions",
        "cpu_usage",
        "all",
        "Fig. 3c, read off",
        """
           p10 p50 p90 p99
        R1 .070 .190 .511 1.54
        R2 .056 .198 .359 .89
        R3 .038 .099 .300 .60
        R4 .034 .268 .380 .80
        R5 .041 .256 .387 2.28
        """,
    )
    yield from _by_region(
        "functions",
        "all",
        "share",
        "Fig. 4, read off",
        """
        functions per user | share = 1 | .617 .793 .684 .867 .895
        functions per user | share <= 20 | .966 .991 .974 .992 .994
        requests per user | share > 1000 | .284 .084 .211 .045 .109
        """,
    )
    yield from _by_region(
        "functions",
        "all",
        "quantile",
        "Fig. 4a, read off",
        """
        functions per user | p95 | 15 4 7 3 2
        functions per user | p99 | 52 14 79 16 10
        """,
    )


PODS_AROUND_THE_HOLIDAY = """
R1 .74 .76 .81 1 .88 .81 .81 .82 .84 .82 .80 .76 .72 .69 .68 .69
R2 .90 .93 .98 1 .70 .63 .62 .59 .59 .56 .59 .59 .83 .91 .91 .94
R3 .70 .54 .44 .80 .92 .93 .87 .85 .83 .85 .49 .42 .80 .91 .79 1
R4 .80 .76 .79 .87 .81 .79 .82 .86 .87 .88 .89 .92 .94 .95 1 .93
R5 .89 .89 .86 .84 .77 .80 .78 .82 .83 .80 .81 .81 .94 .95 1 .97
"""


PEAK_READINGS = ("days 0-2, mean of 61 min", "days 0-2, mean of 181 min", "days 0-2, not smoothed", "days 8-10, mean of 61 min")
DAILY_PEAKS = """
R1 9.8 10.1 10.1
R2 21.2 21.2 21.2
R3 19.9 22.2 21.5
R4 3.4 3.1 9.4
R5 1.3 1.9 0.9
"""
RATIO_READINGS = ("whole series", "whole series, zeros left out", "mean day")
RATIO_BOUNDS = (("smallest", "2", "below"), ("largest", "1000", "above"), ("largest workloads", "60", "below"))


def _open() -> Iterator[Row]:
    """Numbers whose definition is open: once for each way to read it."""
    for line in DAILY_PEAKS.strip().splitlines():
        region, *numbers = line.split()
        for day, text in zip(("first day", "second day", "third day"), numbers, strict=True):
            for reading in PEAK_READINGS:
                yield "load", "hour of the daily peak", day, reading, region, text, "hour", "Fig. 5, read off"
    for group, text, kind in RATIO_BOUNDS:
        for reading in RATIO_READINGS:
            yield "load", "peak-to-trough ratio", group, reading, "all", text, kind, "§3.2"


def _load() -> Iterator[Row]:
    for line in PODS_AROUND_THE_HOLIDAY.strip().splitlines():
        region, *numbers = line.split()
        for day, text in enumerate(numbers, 10):
            yield "load", "pods, share of the largest day", f"day {day}", "mean", region, text, "share", "Fig. 7a, read off"


def _running() -> Iterator[Row]:
    yield from _single(
        "running",
        "Fig. 8, read off",
        """
        R2 | running pods per hour | all | mean | reading | 28966
        R2 | running pods per hour | all | max | reading | 59225
        R2 | running pods per hour | all | min | reading | 9365
        R2 | running pods, weekdays | all | mean | reading | 33.6e3
        R2 | running pods, weekends | all | mean | reading | 25.3e3
        """,
    )
    for table in (
        """
                   pods cold_starts functions
        APIG-S     .099 .089 .228
        OBS-A      .260 .161 .025
        TIMER-A    .062 .311 .560
        other_A    .035 .068 .028
        other_S    .010 .035 .053
        unknown_trigger .282 .141 .083
        workflow-S .251 .196 .022
        """,
        """
                   pods cold_starts functions
        Custom     .234 .090 .024
        Java       .181 .080 .186
        Node.js    .061 .139 .066
        Python2    .026 .080 .038
        Python3    .468 .574 .617
        http       .012 .009 .030
        other_runtime .017 .028 .039
        """,
        """
                   pods cold_starts functions
        300-128    .430 .669 .858
        400-256    .083 .063 .031
        600-512    .077 .101 .054
        1000-1024  .376 .112 .014
        other_size .035 .055 .043
        """,
    ):
        yield from _by_group("running", "share", "R2", "share", "Fig. 8d-f, read off", table)
    yield from _by_group(
        "running",
        "functions by runtime",
        "R2",
        "count",
        "runtime table",
        """
        count
        Python3 1493
        Java 450
        Node.js 159
        Python2 93
        http 72
        Custom 57
        PHP7.3 38
        unknown 31
        Go1.x 21
        C# 4
        """,
    )
    yield from _by_group(
        "running",
        "functions by trigger",
        "R2",
        "count",
        "runtime table, grouped as in Fig. 8",
        """
        count
        TIMER-A 1355
        APIG-S 551
        unknown 202
        other_S 129
        other_A 67
        OBS-A 60
        workflow-S 54
        """,
    )
    yield from _by_group(
        "running",
        "triggers of a runtime",
        "R2",
        "share",
        "Fig. 9, read off",
        """
                TIMER-A other_A other_S APIG-S unknown workflow-S OBS-A
        C#      .25  0    0    .25  .5   0    0
        Custom  0    .018 .053 .035 .807 .018 .070
        Go1.x   .333 .048 0    0    .048 .524 .048
        Java    .111 .024 .024 .791 .013 .029 .007
        Node.js .352 .069 .107 .176 .239 .025 .031
        PHP7.3  .684 0    .026 .263 .026 0    0
        Python2 .065 .161 .280 .065 .366 .054 .011
        Python3 .807 .019 .044 .058 .029 .013 .031
        http    .056 0    .083 .861 0    0    0
        """,
    )


def _distributions() -> Iterator[Row]:
    yield from _quantiles_by_region(
        "distributions",
        TOTAL,
        "all",
        "Fig. 10a, read off",
        """
            p1 p5 p10 p25 p50 p75 p90 p95 p99
        R1  .125 .226 .528 .915 2.155 3.776 8.01 18.6 40.0
        R2  .093 .157 .243 .479 .827 1.731 10.3 10.97 15.0
        R3  .0208 .0222 .0234 .0268 .103 .278 .430 .585 1.12
        R4  .0238 .0304 .0723 .290 .900 1.71 2.69 6.67 10.9
        R5  .0741 .0984 .116 .218 .448 .638 1.58 4.22 8.05
        all .0271 .118 .201 .554 1.292 2.88 7.08 11.0 37.0
        """,
    )
    # The lower quantiles of Fig. 10c lie below the release's resolution of 1 ms and are not comparable.
    yield from _quantiles_by_region(
        "distributions",
        IAT,
        "all",
        "Fig. 10c, read off",
        """
            p25 p50 p75 p90 p95 p99
        R1  .0068 .109 .487 1.06 1.61 3.07
        R2  .103 .699 1.83 3.40 4.81 7.86
        R3  1.92 5.07 7.97 23.0 37.1 63.1
        R4  .0195 .636 2.11 4.96 6.98 11.3
        R5  .834 2.07 4.66 7.82 10.1 19.0
        all .0159 .256 1.04 2.96 5.01 10.9
        """,
    )
    yield from _by_region(
        "distributions", "all", "share", "Fig. 10a, read off", f"{TOTAL} | share > 10 s | .074 .105 0 .021 .006"
    )
    yield from _by_region(
        "distributions", "all", "mean", "days 0-30 over cold starts", f"{IAT} | mean | .377 1.292 8.69 1.654 3.324"
    )
    yield from _single(
        "distributions",
        "§4.1, Fig. 10b",
        """
        all | LogNormal of totalCost_cold_start | moments | mean | fit | 3.24
        all | LogNormal of totalCost_cold_start | moments | sd | fit | 7.10
        all | LogNormal of totalCost_cold_start | moments | mu | fit | .297
        all | LogNormal of totalCost_cold_start | moments | sigma | fit | 1.326
        all | LogNormal of totalCost_cold_start | maximum likelihood | mean | fit | 3.24
        all | LogNormal of totalCost_cold_start | maximum likelihood | sd | fit | 7.10
        all | LogNormal of totalCost_cold_start | maximum likelihood | mu | fit | .297
        all | LogNormal of totalCost_cold_start | maximum likelihood | sigma | fit | 1.326
        all | LogNormal of totalCost_cold_start | the paper's curve | KS | share | .033
        """,
    )
    yield from _single(
        "distributions",
        "§4.1, Fig. 10d",
        """
        all | Weibull of inter-arrival time | moments | mean | fit | 1.25
        all | Weibull of inter-arrival time | moments | sd | fit | 3.66
        all | Weibull of inter-arrival time | moments | shape | fit | .4176
        all | Weibull of inter-arrival time | moments | scale | fit | .4217
        all | Weibull of inter-arrival time | maximum likelihood | mean | fit | 1.25
        all | Weibull of inter-arrival time | maximum likelihood | sd | fit | 3.66
        all | Weibull of inter-arrival time | maximum likelihood | shape | fit | .4176
        all | Weibull of inter-arrival time | maximum likelihood | scale | fit | .4217
        all | Weibull of inter-arrival time | the paper's curve | KS | share | .049
        """,
    )


COLD_STARTS_PER_DAY = """
R1 274636 212581 216922 234259 230746 231892 239827 237669 217861 227489 238892 239758 245712 242631 219484 210943 215581 213149 208903 208500 208115 215807 229164 230963 228617 242563 254821 228877 239097 226434 237367
R2 66745 61674 59696 70886 69871 69617 72310 72043 63908 62504 74645 69798 75820 72088 59733 58843 59739 58038 57562 58463 58293 59075 67800 72734 73272 71067 77569 75336 75801 64831 63179
R3 11473 11514 11119 10641 10566 10273 10470 10425 6704 11057 11251 10405 10355 10315 9595 9305 9772 9771 9767 10016 10251 10495 9769 8615 9927 9385 9053 10419 8751 8334 8589
R4 40684 39333 41208 41995 48625 51534 48843 48269 47601 47826 47403 50023 46822 45218 44483 44651 44308 46186 46640 47240 47268 44821 47757 63600 65998 63226 70230 78235 74074 73584 71488
R5 26721 26881 26125 26482 26135 26294 26342 26489 26520 26288 26723 26969 26511 26217 25625 25501 25078 25478 25393 25590 25597 25546 26069 25763 25672 25637 25927 25647 25787 25438 25342
"""  # noqa: E501 - a day a column

R1_DAY_28 = """
min p10 p25 p50 p75 p90 p95 p99 max mean
0.0286 0.5277 0.9292 2.3343 4.5541 9.3438 29.726 42.091 96.625 5.0016
0.000153 0.000477 0.000532 0.016689 0.022249 1.5201 4.7493 8.2386 56.543 0.6224
0 0.001 0.002 0.062 1.029 1.830 2.383 3.847 15.557 0.5997
0 0 0 0 0.489 2.792 20.675 32.02 87.519 1.9576
0.0217 0.1100 0.5676 0.8770 1.7320 4.4803 8.5911 13.515 30.181 1.8219
"""


def _components() -> Iterator[Row]:
    for line in COLD_STARTS_PER_DAY.strip().splitlines():
        region, *numbers = line.split()
        for day, text in enumerate(numbers):
            yield "components", "cold starts", f"day {day}", "count", region, text, "reading", "Fig. 11, read off"
    yield from _by_region(
        "components",
        "all",
        "reading",
        "Fig. 11, read off",
        """
        cold starts per hour | min | 5045 1763 - 1052 859
        cold starts per hour | mean | 9555 2786 415 2176 1083
        cold starts per hour | max | 19600 5479 638 3977 1326
        """,
    )
    yield from _by_region(
        "components",
        "all",
        "mean",
        "Fig. 11, read off",
        f"""
        {TOTAL} | mean | 4.35 2.19 .196 1.49 .915
        {CODE} | mean | .64 .13 .03 .16 .08
        {DEP} | mean | 1.46 .25 .01 .32 .26
        {SCHED} | mean | 1.61 .68 .15 .47 .47
        {ALLOC} | mean | .64 1.13 .01 .53 .11
        """,
    )
    yield "components", "cold starts", "day 28, file", "count", "R1", "239405", "count", "R1/day_28.csv"
    head, *lines = R1_DAY_28.strip().splitlines()
    for line, quantity in zip(lines, (TOTAL, ALLOC, CODE, DEP, SCHED), strict=True):
        for statistic, text in zip(head.split(), line.split(), strict=True):
            yield "components", quantity, "day 28, file", statistic, "R1", text, "quantile", "R1/day_28.csv"


SPEARMAN_VARIABLES = (TOTAL, CODE, DEP, SCHED, ALLOC, "cold starts")
SPEARMAN = """
R1 .2 .8 .9 .4 .7  -.1 .0 .1 .2  .7 .1 .3  .2 .5  .7
R2 -.0 .1 .4 .9 .2  .0 .1 -.1 .0  .1 -.1 .2  .2 .1  .1
R3 .6 .3 .8 -.1 .3  .0 .1 -.2 .1  .3 .1 .2  .0 .5  .3
R4 .1 .6 .3 .8 .4  -.2 .1 -.1 -.1  -.1 .3 .2  .1 .2  .5
R5 .2 .8 .7 .6 -.1  .1 .0 .0 -.2  .7 .2 -.1  .4 -.1  .1
"""


def _correlation() -> Iterator[Row]:
    pairs = [(a, b) for i, a in enumerate(SPEARMAN_VARIABLES) for b in SPEARMAN_VARIABLES[i + 1 :]]
    for line in SPEARMAN.strip().splitlines():
        region, *numbers = line.split()
        for (a, b), text in zip(pairs, numbers, strict=True):
            yield "correlation", a, b, "Spearman", region, text, "spearman", "Fig. 12"


POOL_CLASSES = """
TOTAL small | .60 1.19 2.96 | .454 .704 1.33 | .0253 .0532 .325 | .270 .605 1.25 | .196 .448 .600
TOTAL large | 1.78 2.64 4.30 | .632 1.31 10.9 | .125 .143 .200 | 1.10 1.55 4.18 | .285 .427 1.63
ALLOC small | 6.5e-4 .0161 .751 | 1.8e-4 2.4e-4 .0129 | 1.3e-4 1.4e-4 1.7e-4 | 1.2e-4 1.4e-4 .0192 | 1.2e-4 1.3e-4 1.4e-4
ALLOC large | .0132 .0179 .0221 | .0117 .0140 10.2 | 1.3e-4 1.4e-4 1.5e-4 | 1.3e-4 .0214 1.50 | 1.2e-4 1.3e-4 .0245
CODE small | .002 .003 .042 | .034 .055 .128 | .001 .001 .020 | .002 .052 .095 | .024 .043 .059
CODE large | .236 1.02 1.60 | .032 .053 .152 | .005 .022 .036 | .002 .003 .066 | .029 .042 .064
DEP small | .351 .454 .512 | .346 1.10 1.21 | .815 .975 1.14 | .114 .161 .250 | .072 .131 .565
DEP large | .836 2.35 24.2 | .280 .530 1.11 | .875 .937 1.04 | 1.02 1.09 1.20 | .375 2.09 2.96
SCHED small | .460 .891 1.53 | .241 .487 .817 | .0233 .0285 .274 | .091 .401 .825 | .117 .383 .529
SCHED large | .587 .800 1.68 | .105 .227 .729 | .102 .114 .138 | .109 .131 .163 | .242 .303 1.02
"""


def _pools() -> Iterator[Row]:
    names = {"TOTAL": TOTAL, "ALLOC": ALLOC, "CODE": CODE, "DEP": DEP, "SCHED": SCHED}
    for line in POOL_CLASSES.strip().splitlines():
        head, *regions = line.split("|")
        column, pool_class = head.split()
        for region, numbers in zip(REGIONS, regions, strict=True):
            for statistic, text in zip(("p25", "p50", "p75"), numbers.split(), strict=True):
                yield "pools", names[column], pool_class, statistic, region, text, "quantile", "Fig. 13, read off"


def _starts() -> Iterator[Row]:
    source = "Fig. 14, read off"
    yield from _single(
        "starts",
        source,
        """
        R2 | functions with a cold start | all | count | reading | 2344
        R2 | cold starts over requests | all | share > 0.95 | share | .65
        R2 | cold starts over requests | all | share > 0.8 | share | .74
        R2 | share of cold starts | top 1 function | share | share | .094
        R2 | share of cold starts | top 10 functions | share | share | .27
        R2 | share of cold starts | top 50 functions | share | share | .50
        R2 | share of cold starts | top 100 functions | share | share | .69
        R2 | share of cold starts | top 240 functions | share | share | .88
        R2 | share of requests | top 1 function | share | share | .678
        R2 | share of requests | top 3 functions | share | share | .862
        R2 | share of requests | top 10 functions | share | share | .964
        """,
    )
    trigger = """
    TIMER-A 1355 2.38e6 644e3 31 31 .89
    APIG-S 551 2.66e9 184e3 27 12 .28
    other_S 129 2.59e7 72.6e3 8 4 .74
    unknown_trigger 128 9.52e9 292e3 4464 1498 .24
    other_A 67 5.71e7 141e3 1321 646 .28
    OBS-A 60 1.12e8 333e3 6089 214 .13
    workflow-S 54 2.08e8 407e3 677 93 .24
    """
    band = """
    <=31 739 .003 - .999
    32-744 1121 .034 - 1.0
    745-4464 194 .138 - .999
    4465-22320 145 .378 .0001 .50
    22321-44640 31 .053 .0001 .03
    44641-446400 46 .059 .0005 .005
    446401-4464000 32 .059 .0044 .0008
    >4464000 36 .274 .995 .0001
    """
    of_trigger = (
        ("functions", "count", "reading"),
        ("requests", "count", "reading"),
        ("cold starts", "count", "reading"),
        ("requests of a function", "p50", "quantile"),
        ("cold starts of a function", "p50", "quantile"),
        ("cold starts over requests", "share > 0.95", "share"),
    )
    of_band = (
        ("functions", "count", "reading"),
        ("share of cold starts", "share", "share"),
        ("share of requests", "share", "share"),
        ("cold starts over requests", "p50", "quantile"),
    )
    for table, columns, prefix in ((trigger, of_trigger, ""), (band, of_band, "requests ")):
        for line in table.strip().splitlines():
            group, *numbers = line.split()
            for (quantity, statistic, kind), text in zip(columns, numbers, strict=True):
                if text != "-":
                    yield "starts", quantity, prefix + group.replace("_", " "), statistic, "R2", text, kind, source


RUNTIME_TOTALS = """
        p10 p25 p50 p75 p90 p95 p99
C#      .573 .627 .733 .812 .867 1.74 17.2
Custom  10.3 10.87 10.96 11.1 14.6 15.6 -
Go1.x   .517 .576 .625 .708 .852 .964 1.63
Java    .206 .535 .742 1.05 1.52 2.33 12.2
Node.js .172 .718 1.183 1.37 1.86 2.46 11.0
PHP7.3  .324 .358 .388 .456 .573 .679 1.12
Python2 .298 .399 .502 .716 .863 1.04 7.97
Python3 .230 .462 .704 1.54 2.18 2.81 9.50
http    .271 10.6 10.73 10.8 11.3 11.6 17.3
all     .243 .479 .824 1.73 10.3 10.97 15.0
"""
TRIGGER_TOTALS = """
           p10 p25 p50 p75 p90 p95 p99
APIG-S     .160 .315 .650 .997 8.11 10.8 11.9
OBS-A      .507 .864 10.36 10.98 11.2 14.9 -
TIMER-A    .296 .462 .587 1.02 1.31 1.79 11.7
other_A    .337 .496 .745 .998 2.35 2.69 9.05
other_S    .179 .270 .463 .593 1.24 1.40 8.65
workflow-S .292 .989 1.704 2.07 2.33 2.67 5.61
"""
ALLOCATION_MASSES = """
           share_<=_1_ms share_<=_100_ms share_<=_5_s
Custom     .007 .007 .007
http       .203 .206 .206
Go1.x      1 1 1
PHP7.3     1 1 1
C#         .969 .984 .985
Node.js    .981 .996 .998
Python2    .872 .983 .986
Java       .242 .917 .975
Python3    .371 .963 .990
all        .469 .874 .895
APIG-S     .452 .866 .893
OBS-A      .146 .408 .434
TIMER-A    .567 .987 .997
other_A    .786 .960 .977
other_S    .646 .989 .990
workflow-S .230 .961 .998
"""
RUNTIME_CODE = """
        p10 p25 p50 p75 p90 p99
C#      .001 .001 .005 .006 .008 .25
Custom  .001 .001 .002 .002 .003 .047
Go1.x   .473 .519 .567 .635 .761 1.12
Java    .031 .050 .122 .313 .506 1.27
Node.js .023 .044 .091 .236 .680 2.46
PHP7.3  .002 .031 .049 .092 .193 .51
Python2 .002 .004 .032 .058 .133 .43
Python3 .021 .033 .050 .102 .203 .57
http    .001 .002 .002 .003 .584 1.34
all     .006 .033 .055 .132 .301 1.59
"""
RUNTIME_DEPENDENCY = """
        p10 p25 p50 p75 p90 p99
Java    .323 .365 .437 .566 .706 1.42
Node.js .039 .073 .134 .174 .207 .42
Python2 .014 .016 .021 .039 .091 .43
Python3 .120 .328 1.10 1.22 1.41 2.74
http    .106 .128 .164 .708 .940 1.16
all     .100 .317 .891 1.19 1.35 2.67
"""
TRIGGER_DEPENDENCY = """
           p10 p50 p90
workflow-S 1.03 1.18 1.42
OBS-A      - .26 -
TIMER-A    - .38 -
APIG-S     - .43 -
other_A    - .14 -
other_S    - .11 -
"""
RUNTIME_SCHEDULING = """
        p10 p25 p50 p75 p90 p99
C#      .569 .625 .726 .804 .859 3.1
Custom  .142 .699 .753 .849 3.95 -
Go1.x   .026 .039 .046 .063 .096 .75
Java    .082 .097 .135 .193 .383 3.1
Node.js .089 .132 1.00 1.17 1.28 -
PHP7.3  .287 .308 .330 .360 .415 .80
Python2 .256 .332 .454 .628 .747 1.19
Python3 .088 .197 .433 .731 .967 5.2
http    .255 .471 .533 .584 1.03 1.4
all     .089 .170 .451 .776 1.12 7.6
"""


def _breakdown() -> Iterator[Row]:
    yield from _by_group(
        "breakdown",
        "cold starts",
        "R2",
        "count",
        "notebook",
        """
        count
        Python3 1190731
        Node.js 287253
        Custom 186452
        Java 165695
        Python2 165673
        Go1.x 30045
        PHP7.3 25591
        http 18167
        C# 3105
        unknown_runtime 111
        """,
    )
    for quantity, source, table in (
        (TOTAL, "Fig. 15, read off", RUNTIME_TOTALS),
        (TOTAL, "Fig. 16, read off", TRIGGER_TOTALS),
        (CODE, "Fig. 15, read off", RUNTIME_CODE),
        (f"{DEP} > 0", "Fig. 15, read off", RUNTIME_DEPENDENCY),
        (f"{DEP} > 0", "Fig. 16, read off", TRIGGER_DEPENDENCY),
        (SCHED, "Fig. 15, read off", RUNTIME_SCHEDULING),
    ):
        yield from _by_group("breakdown", quantity, "R2", "quantile", source, table)
    yield from _by_group("breakdown", ALLOC, "R2", "share", "Fig. 15/16, read off", ALLOCATION_MASSES)


UTILITY_SHARES = """
           share_<=_1 share_<=_10 share_<=_100
all        .169 .620 .833
C#         .15 .575 .929
Custom     .152 .614 .894
Go1.x      .085 .428 .654
Java       .103 .717 .891
Node.js    .363 .852 .967
PHP7.3     .051 .867 .954
Python2    .137 .589 .798
Python3    .144 .558 .788
http       .078 .585 .924
APIG-S     .112 .573 .808
OBS-A      .121 .524 .832
TIMER-A    .289 .932 .985
other_A    .105 .452 .741
other_S    .055 .813 .919
workflow-S .055 .239 .635
"""
UTILITY_MEDIANS = """
p50
all 4.3
C# 5.2
Custom 6.2
Go1.x 26.9
Java 3.8
Node.js 1.4
PHP7.3 4.2
Python2 5.2
Python3 5.6
http 6.7
APIG-S 6.3
OBS-A 8.8
TIMER-A 2.2
other_A 16
other_S 3.5
workflow-S 48
"""


def _utility() -> Iterator[Row]:
    yield from _by_group("utility", "pod utility ratio", "R2", "share", "Fig. 17, read off", UTILITY_SHARES)
    yield from _by_group("utility", "pod utility ratio", "R2", "quantile", "Fig. 17, read off", UTILITY_MEDIANS)


def rows() -> Iterator[Row]:
    """(section, quantity, group, statistic, region, number as written, kind, source) of every published number."""
    yield from _sizes()
    yield from _functions()
    yield from _open()
    yield from _load()
    yield from _running()
    yield from _distributions()
    yield from _components()
    yield from _correlation()
    yield from _pools()
    yield from _starts()
    yield from _breakdown()
    yield from _utility()
