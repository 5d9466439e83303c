"""What the stand-in is calibrated to: the five regions of the 2025 release as tables, each with where its numbers come from.

[P] text and tables of the paper (Joosen et al., EuroSys 2025), [N] output cells of the authors' notebooks, [D] read off the
paper's vector figures (±1 %), [T] a public repository that holds a piece of the real files, [I] inferred or chosen here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

REGIONS = ("R1", "R2", "R3", "R4", "R5")
DAYS = 31
DAY_SECONDS = 86_400

#: Low-load days of the calendar, day 0 = Friday 15 September 2023 [I]: weekends, the holiday of days 14-21; the weekend of days
#: 22-23 was worked.
FREE_DAYS = frozenset((1, 2, 8, 9, *range(14, 22), 29, 30))

#: cpu limit in millicores -> cpu_request of the runtime table [N].
CPU_REQUEST = {
    300: 100, 400: 125, 600: 300, 800: 375, 1000: 500, 1200: 625, 1400: 750, 1600: 875, 1800: 1000, 2200: 1250, 2600: 1500,
    3000: 1750, 3400: 2000, 6600: 4000, 8200: 5000, 13000: 6500, 25800: 12900,
}  # fmt: skip

#: The seven trigger groups of the paper, in the order of its figure 9.
TRIGGER_GROUPS = ("TIMER-A", "other A", "other S", "APIG-S", "unknown", "workflow-S", "OBS-A")

#: Region 2: functions by trigger string [T]; the group of a string follows the rule that gives the paper's counts.
TRIGGER_STRINGS: Mapping[str, tuple[tuple[str, int], ...]] = {
    "TIMER-A": (
        ("TIMER-A", 1018), ("APIG-S TIMER-A", 312), ("APIG-S TIMER-A workflow-S", 16), ("SMN-A TIMER-A", 3),
        ("DIS-A OBS-A SMN-A TIMER-A", 2), ("TIMER-A workflow-S", 2), ("DIS-A SMN-A TIMER-A", 1), ("OBS-A TIMER-A", 1),
    ),
    "other A": (
        ("unknown-A", 19), ("LTS-A", 14), ("CTS-A", 10), ("APIG-A", 9), ("SMN-A", 8), ("DIS-A", 3), ("APIG-A APIG-S", 2),
        ("APIG-A OBS-A", 1), ("DIS-A SMN-A", 1),
    ),
    "other S": (("unknown-S", 123), ("KAFKA-S", 3), ("APIG-S OBS-A", 1), ("APIG-S workflow-S", 1), ("DIS-A workflow-S", 1)),
    "APIG-S": (("APIG-S", 551),),
    "unknown": (("unknown", 74), ("unknown-unknown", 68), ("unknown-A unknown-S", 60)),
    "workflow-S": (("workflow-S", 54),),
    "OBS-A": (("OBS-A", 60),),
}  # fmt: skip

#: Region 2: functions by runtime and group of TRIGGER_GROUPS: figure 9 [D] times the runtime counts [T]; the last digit follows
#: from the margins, which are exact.
RUNTIME_FUNCTIONS: Mapping[str, tuple[int, ...]] = {
    "C#": (1, 0, 0, 1, 2, 0, 0),
    "Custom": (0, 1, 3, 2, 46, 1, 4),
    "Go1.x": (7, 1, 0, 0, 1, 11, 1),
    "Java": (50, 11, 11, 356, 6, 13, 3),
    "Node.js": (56, 11, 17, 28, 38, 4, 5),
    "PHP7.3": (26, 0, 1, 10, 1, 0, 0),
    "Python2": (6, 15, 26, 6, 34, 5, 1),
    "Python3": (1205, 28, 65, 86, 43, 20, 46),
    "http": (4, 0, 6, 62, 0, 0, 0),
    "unknown": (0, 0, 0, 0, 31, 0, 0),
}

#: Region 2: cold starts by runtime [N] and by group [D], of 2,072,823.
RUNTIME_COLD_STARTS = {
    "C#": 3_105, "Custom": 186_452, "Go1.x": 30_045, "Java": 165_695, "Node.js": 287_253, "PHP7.3": 25_591, "Python2": 165_673,
    "Python3": 1_190_731, "http": 18_167, "unknown": 111,
}  # fmt: skip
GROUP_SHARES = (0.311, 0.068, 0.035, 0.089, 0.141, 0.196, 0.161)
#: Median cold starts, median requests and sum of requests of a group's functions in 31 days [D, figure 14].
GROUP_LOADS = (
    (31.0, 31.0, 2.38e6), (646.0, 1321.0, 5.71e7), (4.0, 8.0, 2.59e7), (12.0, 27.0, 2.66e9), (1498.0, 4464.0, 9.52e9),
    (93.0, 677.0, 2.08e8), (214.0, 6089.0, 1.12e8),
)  # fmt: skip
#: Functions of region 2 by requests in 31 days: above, up to, how many, share of the cold starts [D, figure 14].
REQUEST_BANDS = (
    (0, 31, 739, 0.003), (31, 744, 1121, 0.034), (744, 4_464, 194, 0.138), (4_464, 22_320, 145, 0.378),
    (22_320, 44_640, 31, 0.053),
    (44_640, 446_400, 46, 0.059), (446_400, 4_464_000, 32, 0.059), (4_464_000, 10_000_000_000, 36, 0.274),
)  # fmt: skip
#: A function of more requests in 31 days than minutes always has a warm pod: its cold starts come from requests at once.
BUSY_REQUESTS = 44_640
#: Functions of this many requests in 31 days make nearly all of the load [D, figure 14].
GIANT_REQUESTS = 4_464_000
#: Functions that take nearly all requests [N]: funcID's parts, requests in 31 days, group.
GIANTS = (
    (88, 337, "pool26-1000-1024", 8_531_371_000, "unknown"),
    (1529, 631, "pool23-400-256", 1_172_783_000, "APIG-S"),
    (1118, 631, "pool24-600-512", 1_145_816_000, "APIG-S"),
    (1542, 502, "pool22-300-128", 398_480_300, "unknown"),
    (1179, 502, "pool23-400-256", 398_475_700, "unknown"),
)

#: Size classes: 300-128, 400-256, 600-512, 1000-1024, other; share of functions and of cold starts in region 2 [D, figure 8].
SIZE_FUNCTIONS = (0.858, 0.031, 0.054, 0.014, 0.043)
SIZE_COLD_STARTS = (0.669, 0.063, 0.101, 0.112, 0.055)
SIZE_POOLS = (("pool22-300-128",), ("pool23-400-256",), ("pool24-600-512",), ("pool26-1000-1024",))
OTHER_POOLS = (
    "pool25-800-768", "pool27-1200-1280", "pool28-1400-1536", "pool29-1600-1792", "pool30-1800-2048", "pool31-2200-2560",
    "pool32-2600-3072", "pool33-3000-3584", "pool34-3400-4096", "pool35-6600-8192", "pool36-8200-10240", "pool37-13000-16384",
    "pool38-25800-32768",
)  # fmt: skip
#: Pools without a reserve, where the runtimes Custom and http live; named as in region 2 [T], the sizes of some chosen [I].
CUSTOM_POOLS = ("custom-300-128", "custom-400-256", "custom-600-512", "custom-1000-1024")
CUSTOM_OTHER_POOLS = (
    "custom-1800-2048", "custom-2600-3072", "custom-3400-4096", "custom-6600-8192", "custom-8200-10240",
    "custom.image.gpu-25800-32768",
)  # fmt: skip

#: Timers of region 2: runs in 31 days -> functions [D, figure 14]; 22 are the working days. The other 517 are scattered.
TIMER_RUNS = (
    (31, 406), (62, 302), (93, 21), (124, 10), (22, 22), (744, 12), (1488, 10), (2976, 10), (4464, 8), (8928, 21), (14_880, 8),
    (44_640, 7), (267_840, 1),
)  # fmt: skip
#: Cold starts per month of a timer that outpaces the keep-alive of 60 s [D].
FAST_TIMER_COLD_STARTS = 8

# Quantile columns below stand at these probabilities.
TOTAL_AT = (0.01, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.99)
CURVE_AT = (0.10, 0.25, 0.50, 0.75, 0.90, 0.99)


@dataclass(frozen=True)
class Components:
    """How long the four components of a cold start take, for one class of functions.

    Attributes:
        stages: Mass of the pod search up to 1 ms, 100 ms and 5 s: found in the pool, after an expanded search, from scratch.
        code, scheduling: Seconds at `CURVE_AT`.
        dependency: The same for functions with a layer.
        layers: Share of cold starts of functions with a layer.
        coupling: Where raking starts: Gaussian correlations (alloc-sched, code-sched, dep-sched, alloc-code, code-dep), of the
            signs of figure 12.
    """

    stages: tuple[float, float, float]
    code: tuple[float, ...]
    dependency: tuple[float, ...]
    scheduling: tuple[float, ...]
    layers: float
    coupling: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)


#: Region 2 by runtime: figure 15 [D]; `layers` [I] from the curve of all dependencies and their mean (figures 11, 15).
RUNTIME_COMPONENTS: Mapping[str, Components] = {
    "C#": Components(
        (0.969, 0.984, 0.985),
        (0.001, 0.001, 0.005, 0.006, 0.008, 0.25),
        (0.100, 0.317, 0.891, 1.19, 1.35, 2.67),
        (0.569, 0.625, 0.726, 0.804, 0.859, 3.1),
        0.0,
    ),
    "Custom": Components(
        (0.007, 0.007, 0.007),
        (0.001, 0.001, 0.002, 0.002, 0.003, 0.047),
        (0.100, 0.317, 0.891, 1.19, 1.35, 2.67),
        (0.142, 0.699, 0.753, 0.849, 3.95, 10.5),
        0.0,
    ),
    "Go1.x": Components(
        (0.999, 0.9995, 0.9999),
        (0.473, 0.519, 0.567, 0.635, 0.761, 1.12),
        (0.100, 0.317, 0.891, 1.19, 1.35, 2.67),
        (0.026, 0.039, 0.046, 0.063, 0.096, 0.75),
        0.0,
    ),
    "Java": Components(
        (0.242, 0.917, 0.975),
        (0.031, 0.050, 0.122, 0.313, 0.506, 1.27),
        (0.323, 0.365, 0.437, 0.566, 0.706, 1.42),
        (0.082, 0.097, 0.135, 0.193, 0.383, 3.1),
        0.45,
    ),
    "Node.js": Components(
        (0.981, 0.996, 0.998),
        (0.023, 0.044, 0.091, 0.236, 0.680, 2.46),
        (0.039, 0.073, 0.134, 0.174, 0.207, 0.42),
        (0.089, 0.132, 1.00, 1.17, 1.28, 10.5),
        0.08,
    ),
    "PHP7.3": Components(
        (0.999, 0.9995, 0.9999),
        (0.002, 0.031, 0.049, 0.092, 0.193, 0.51),
        (0.100, 0.317, 0.891, 1.19, 1.35, 2.67),
        (0.287, 0.308, 0.330, 0.360, 0.415, 0.80),
        0.0,
    ),
    "Python2": Components(
        (0.872, 0.983, 0.986),
        (0.002, 0.004, 0.032, 0.058, 0.133, 0.43),
        (0.014, 0.016, 0.021, 0.039, 0.091, 0.43),
        (0.256, 0.332, 0.454, 0.628, 0.747, 1.19),
        0.05,
    ),
    "Python3": Components(
        (0.371, 0.963, 0.990),
        (0.021, 0.033, 0.050, 0.102, 0.203, 0.57),
        (0.120, 0.328, 1.10, 1.22, 1.41, 2.74),
        (0.088, 0.197, 0.433, 0.731, 0.967, 5.2),
        0.44,
        (0.0, 0.6, 0.0, 0.0, 0.0),
    ),
    "http": Components(
        (0.203, 0.206, 0.206),
        (0.001, 0.002, 0.002, 0.003, 0.584, 1.34),
        (0.106, 0.128, 0.164, 0.708, 0.940, 1.16),
        (0.255, 0.471, 0.533, 0.584, 1.03, 1.4),
        0.1,
    ),
    "unknown": Components(
        (0.469, 0.874, 0.895),
        (0.006, 0.033, 0.055, 0.132, 0.301, 1.59),
        (0.100, 0.317, 0.891, 1.19, 1.35, 2.67),
        (0.089, 0.170, 0.451, 0.776, 1.12, 7.6),
        0.3,
    ),
}


#: Region 2, by group of `TRIGGER_GROUPS`: masses of the stages [D, figure 16; none for unknown], and how its layers (log-odds)
#: and its scheduling (normal score) differ from its runtimes' [I: fitted to the group's total].
GROUP_STAGES = (
    (0.567, 0.987, 0.997), (0.786, 0.960, 0.977), (0.646, 0.989, 0.990), (0.452, 0.866, 0.893), None, (0.230, 0.961, 0.998),
    (0.146, 0.408, 0.434),
)  # fmt: skip
GROUP_LAYERS = (-0.6, 0.0, 0.0, 0.3, 0.0, 2.2, 0.0)


@dataclass(frozen=True)
class Region:
    """One region's population and load.

    Attributes:
        functions: funcIDs [N, D].
        users: userIDs; region 2 [N], the others from the mean of functions per user [I].
        users_single: Share of users with one function; then the functions of a user at .95 and .99 [D].
        requests_per_day: Of a function on its median day, at .5 .75 .9 .95 .99 [D].
        requests: In 31 days [D].
        request_rows: Rows of the request table (day 30): [N] for R1 and R5, else requests / 31 [I].
        timers: Share of cold starts of timers; region 2 [D], else [I].
        cold_starts: A day, days 0-30 [D, figure 11].
        hours: Load by hour of day, mean 1 [D].
        request_peak: Hour of day with most requests [D, figure 5: the middle one of three days].
        gaps: Seconds between cold starts of the region at `TOTAL_AT` [D, figure 10c].
        other_gaps: The same with a first and a last value, for all but timers: fitted so that both together have `gaps` [I].
        large: Share of cold starts in large pools [I: fitted to the total].
        classes: Components of small and large pools [D, figure 13; tails fitted to figure 10a]; None: by runtime.
        congestion: Loading of (alloc, code, dep, sched) on the minute's load [signs of figure 12].
        execution: Seconds of a request at .01 .1 .25 .5 .75 .9 .99 over functions [D, figure 3b].
        cpu: Cores of a request at .1 .5 .9 .99 [D, figure 3c].
    """

    name: str
    functions: int
    users: int | None
    users_single: tuple[float, int, int]
    requests_per_day: tuple[float, ...]
    requests: float
    request_rows: int
    timers: float
    cold_starts: tuple[int, ...]
    hours: tuple[float, ...]
    request_peak: float
    gaps: tuple[float, ...]
    other_gaps: tuple[float, ...]
    large: float
    classes: tuple[Components, Components] | None
    congestion: tuple[float, float, float, float]
    execution: tuple[float, ...]
    cpu: tuple[float, ...]


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(word) for word in text.split())


def _counts(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split())


REGION_TABLE: Mapping[str, Region] = {
    "R1": Region(
        name="R1",
        functions=2_484,
        users=None,
        users_single=(0.617, 15, 52),
        requests_per_day=(28, 372, 2836, 6480, 9.9e5),
        requests=3.9e10,
        request_rows=364_210_340,
        timers=0.05,
        cold_starts=_counts(
            "274636 212581 216922 234259 230746 231892 239827 237669 217861 227489 238892 239758 245712 242631 219484 210943 "
            "215581 213149 208903 208500 208115 215807 229164 230963 228617 242563 254821 228877 239097 226434 237367"
        ),
        hours=_numbers(
            "1.17 1.20 1.21 1.15 1.09 1.16 1.20 1.20 1.26 1.28 1.11 1.03 1.00 .90 .87 .73 .71 .62 .59 .57 .60 .77 1.15 1.44"
        ),
        request_peak=10.1,
        gaps=_numbers("3.7e-5 2.1e-4 5.7e-4 .0068 .109 .487 1.06 1.61 3.07"),
        other_gaps=_numbers("3.26e-06 3.26e-05 0.000185 0.000502 0.00599 0.129 0.6 1.14 1.84 3.16 12.7"),
        large=0.532,
        classes=(
            Components(
                (0.490, 0.739, 0.962),
                (0.0015, 0.002, 0.003, 0.042, 0.081, 1.52),
                (0.111, 0.351, 0.454, 0.512, 0.560, 1.76),
                (0.191, 0.460, 0.891, 1.53, 2.85, 3.46),
                0.304,
                (0.0, 0.0, 0.75, 0.0, -0.6),
            ),
            Components(
                (0.194, 0.930, 0.961),
                (0.046, 0.236, 1.02, 1.60, 2.20, 2.31),
                (0.555, 0.836, 2.35, 24.2, 24.3, 67.8),
                (0.249, 0.587, 0.800, 1.68, 1.69, 40.7),
                0.270,
                (0.0, 0.0, 0.75, 0.0, -0.6),
            ),
        ),
        congestion=(0.30, 0.0, 0.05, 0.25),
        execution=_numbers(".0009 .0014 .0089 .092 .317 1.70 30.7"),
        cpu=_numbers(".070 .190 .511 1.54"),
    ),
    "R2": Region(
        name="R2",
        functions=2_418,
        users=1_144,
        users_single=(0.793, 4, 14),
        requests_per_day=(3, 48, 662, 5610, 9.0e5),
        requests=1.26e10,
        request_rows=406_000_000,
        timers=0.311,
        cold_starts=_counts(
            "66745 61674 59696 70886 69871 69617 72310 72043 63908 62504 74645 69798 75820 72088 59733 58843 "
            "59739 58038 57562 58463 58293 59075 67800 72734 73272 71067 77569 75336 75801 64831 63179"
        ),
        hours=_numbers(
            "1.02 1.14 1.21 1.14 1.08 1.11 1.17 1.15 1.16 1.14 1.10 1.09 1.10 1.07 1.01 .93 .87 .84 .74 .78 .70 .73 .82 .92"
        ),
        request_peak=21.2,
        gaps=_numbers("1.3e-4 .0013 .0051 .103 .699 1.83 3.40 4.81 7.86"),
        other_gaps=_numbers("7.8e-06 7.8e-05 0.00078 0.00306 0.803 0.83 3.14 4.06 6.69 8.79 35.1"),
        large=0.268,
        classes=None,
        congestion=(0.04, 0.02, 0.10, 0.05),
        execution=_numbers(".0004 .0011 .0016 .030 .214 1.04 14.6"),
        cpu=_numbers(".056 .198 .359 .89"),
    ),
    "R3": Region(
        name="R3",
        functions=236,
        users=None,
        users_single=(0.684, 7, 79),
        requests_per_day=(71, 330, 1441, 1449, 8.7e4),
        requests=2.8e10,
        request_rows=100_000_000,
        timers=0.10,
        cold_starts=_counts(
            "11473 11514 11119 10641 10566 10273 10470 10425 6704 11057 11251 10405 10355 10315 9595 9305 "
            "9772 9771 9767 10016 10251 10495 9769 8615 9927 9385 9053 10419 8751 8334 8589"
        ),
        hours=_numbers("1 1.01 1.02 1.03 1.04 1.03 1.02 1.01 1 1 1.01 1.02 1.01 1 .99 .98 .97 .96 .97 .98 .99 .98 .99 .99"),
        request_peak=21.5,
        gaps=_numbers(".0036 .031 .174 1.92 5.07 7.97 23.0 37.1 63.1"),
        other_gaps=_numbers("0.000244 0.00244 0.021 0.149 2.29 5.17 5.53 22.7 37.7 62.3 249"),
        large=0.21,
        classes=(
            Components(
                (0.980, 0.998, 0.9999),
                (0.001, 0.001, 0.001, 0.020, 0.141, 0.148),
                (0.719, 0.815, 0.975, 1.14, 2.27, 2.39),
                (0.0203, 0.0233, 0.0285, 0.274, 0.379, 0.675),
                0.007,
                (-0.3, 0.0, 0.5, -0.3, 0.0),
            ),
            Components(
                (0.966, 0.995, 0.9997),
                (0.0007, 0.005, 0.022, 0.036, 0.0366, 0.278),
                (0.874, 0.875, 0.937, 1.04, 1.50, 2.19),
                (0.085, 0.102, 0.114, 0.138, 0.444, 0.720),
                0.016,
                (-0.3, 0.0, 0.5, -0.3, 0.0),
            ),
        ),
        congestion=(0.20, 0.10, 0.10, 0.30),
        execution=_numbers(".0003 .0010 .0019 .034 .344 6.8 30.1"),
        cpu=_numbers(".038 .099 .300 .60"),
    ),
    "R4": Region(
        name="R4",
        functions=7_570,
        users=None,
        users_single=(0.867, 3, 16),
        requests_per_day=(2, 5, 9, 16, 1443),
        requests=4.0e9,
        request_rows=129_000_000,
        timers=0.15,
        cold_starts=_counts(
            "40684 39333 41208 41995 48625 51534 48843 48269 47601 47826 47403 50023 46822 45218 44483 44651 "
            "44308 46186 46640 47240 47268 44821 47757 63600 65998 63226 70230 78235 74074 73584 71488"
        ),
        hours=_numbers(
            "1.05 1.23 1.22 1.15 1.03 1.05 1.15 1.13 1.12 1.10 1.02 1.02 1.01 .96 .94 .94 .90 .86 .85 .84 .84 .82 .85 .94"
        ),
        request_peak=3.4,
        gaps=_numbers("2.0e-5 1.1e-4 2.6e-4 .0195 .636 2.11 4.96 6.98 11.3"),
        other_gaps=_numbers("1.21e-06 1.21e-05 6.63e-05 0.000157 0.0118 0.869 1.92 5.61 5.91 9.99 40"),
        large=0.269,
        classes=(
            Components(
                (0.686, 0.971, 0.986),
                (0.0019, 0.002, 0.052, 0.095, 0.832, 0.873),
                (0.1135, 0.114, 0.161, 0.250, 1.05, 1.10),
                (0.0203, 0.091, 0.401, 0.825, 1.61, 1.70),
                0.369,
                (0.0, 0.5, -0.5, 0.0, -0.7),
            ),
            Components(
                (0.467, 0.699, 0.826),
                (0.001, 0.002, 0.003, 0.066, 0.995, 1.05),
                (0.967, 1.02, 1.09, 1.20, 1.96, 2.28),
                (0.0264, 0.109, 0.131, 0.163, 1.44, 6.49),
                0.817,
                (0.0, 0.5, -0.5, 0.0, -0.7),
            ),
        ),
        congestion=(0.30, -0.12, 0.15, 0.05),
        execution=_numbers(".0004 .0010 .0014 .0051 .126 1.33 180"),
        cpu=_numbers(".034 .268 .380 .80"),
    ),
    "R5": Region(
        name="R5",
        functions=543,
        users=None,
        users_single=(0.895, 2, 10),
        requests_per_day=(2, 158, 860, 1681, 8.0e4),
        requests=1.25e8,
        request_rows=3_448_259,
        timers=0.12,
        cold_starts=_counts(
            "26721 26881 26125 26482 26135 26294 26342 26489 26520 26288 26723 26969 26511 26217 25625 25501 "
            "25078 25478 25393 25590 25597 25546 26069 25763 25672 25637 25927 25647 25787 25438 25342"
        ),
        hours=_numbers(
            "1.09 1.15 1.16 1.13 1.03 1.04 1.11 1.13 1.11 1.07 1.02 1.03 1.02 .99 .97 .94 .91 .88 .86 .85 .84 .86 .88 .94"
        ),
        request_peak=1.3,
        gaps=_numbers(".0031 .054 .205 .834 2.07 4.66 7.82 10.1 19.0"),
        other_gaps=_numbers("0.000412 0.00412 0.0718 0.332 1.13 2.45 5.74 8.93 10.4 24 95.8"),
        large=0.25,
        classes=(
            Components(
                (0.916, 0.977, 0.982),
                (0.0108, 0.024, 0.043, 0.059, 0.0622, 0.673),
                (0.0719, 0.072, 0.131, 0.565, 2.0, 24.0),
                (0.0614, 0.117, 0.383, 0.529, 0.530, 3.8),
                0.144,
                (0.7, 0.0, 0.8, 0.0, 0.1),
            ),
            Components(
                (0.742, 0.978, 0.993),
                (0.0034, 0.029, 0.042, 0.064, 0.112, 1.84),
                (0.175, 0.375, 2.09, 2.96, 6.27, 7.27),
                (0.0799, 0.242, 0.303, 1.02, 1.45, 4.4),
                0.16,
                (0.7, 0.0, 0.8, 0.0, 0.1),
            ),
        ),
        congestion=(0.08, -0.25, -0.35, -0.15),
        execution=_numbers(".0006 .0009 .0012 .0046 .050 1.26 30.3"),
        cpu=_numbers(".041 .256 .387 2.28"),
    ),
}

#: Seconds of the pod search by region: found in the pool, after an expanded search, thin middle, from scratch, and the longest
#: [D: figures 13 and 15; R1 also T].
STAGES: Mapping[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float], float]] = {
    "R1": ((0.00045, 0.00070), (0.0125, 0.0240), (0.5, 4.7), (4.8, 8.3), 30.0),
    "R2": ((0.00013, 0.00029), (0.0110, 0.0170), (0.5, 5.0), (10.1, 10.4), 15.0),
    "R3": ((0.00012, 0.00030), (0.0110, 0.0170), (1.0, 5.0), (5.0, 8.0), 10.0),
    "R4": ((0.00011, 0.00016), (0.0180, 0.0250), (0.5, 5.0), (5.0, 8.0), 12.0),
    "R5": ((0.00011, 0.00015), (0.0230, 0.0280), (1.0, 5.0), (5.0, 8.0), 12.0),
}

#: Share of pods by cluster: region 2 from day-30 traffic [T], the others alike [I].
CLUSTER_SHARES = (0.17, 0.33, 0.29, 0.21)

#: Hours of the hole in region 3 on day 8 (which hours is not published; the load falls to about one cold start an hour).
HOLE_REGION, HOLE_DAY, HOLE_HOURS = "R3", 8, range(9)

#: Load by hour of the groups that swing [D, figure 8a: workflow-S .2-1.8, OBS-A .17-1.69, APIG-S .6-1.3], as the exponent that
#: the profile of running pods is raised to; the others follow the region.
PODS_BY_HOUR = (
    0.89, 1.01, 1.13, 1.14, 1.18, 1.23, 1.23, 1.24, 1.34, 1.44, 1.42, 1.45, 1.41, 1.32, 1.15, 0.90, 0.70, 0.58, 0.51, 0.51,
    0.46, 0.49, 0.56, 0.72,
)  # fmt: skip
GROUP_SWING = {"workflow-S": 2.0, "OBS-A": 1.9, "APIG-S": 0.6, "TIMER-A": 0.0}

#: Useful lifetime over cold-start time by runtime: share below 1, 10 and 100, and the median [D, figure 17].
UTILITY: Mapping[str, tuple[float, float, float, float]] = {
    "C#": (0.150, 0.575, 0.929, 5.2), "Custom": (0.152, 0.614, 0.894, 6.2), "Go1.x": (0.085, 0.428, 0.654, 26.9),
    "Java": (0.103, 0.717, 0.891, 3.8), "Node.js": (0.363, 0.852, 0.967, 1.4), "PHP7.3": (0.051, 0.867, 0.954, 4.2),
    "Python2": (0.137, 0.589, 0.798, 5.2), "Python3": (0.144, 0.558, 0.788, 5.6), "http": (0.078, 0.585, 0.924, 6.7),
    "unknown": (0.169, 0.620, 0.833, 4.3),
}  # fmt: skip

#: Region 2: mean running pods and their share by group of `TRIGGER_GROUPS` [D, figure 8].
RUNNING_PODS = 28_966
GROUP_PODS = (0.062, 0.035, 0.010, 0.099, 0.282, 0.251, 0.260)
