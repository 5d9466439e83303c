"""What must hold in each table, as rules over one batch of columns.

The identities come from the rows that the authors' notebooks show: 1e-9 for a cold start and its parts, one microsecond for a
request and its worker's parts, and 0.27 to 0.32 ms that the front end spends unlogged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Columns = Mapping[str, Floats]
#: 31 days; every time counts seconds since the first.
END = 31 * 86400.0

COLD_START_PARTS = ("podAllocationCost", "deployCodeCost", "deployDependencyCost", "schedulingCost")
FRONTEND_PARTS = ("totalCost_worker", "frontendCost", "busCost", "readBodyCost", "writeRspCost")
#: Empty together, where the front end logged nothing.
FRONTEND_BLOCK = (
    "time_frontend",
    "totalCost_frontend",
    "frontendCost",
    "busCost",
    "readBodyCost",
    "writeRspCost",
    "requestBodySize",
)
REQUEST_DURATIONS = ("totalCost_worker", "workerCost", "runtimeCost", *FRONTEND_BLOCK[1:-1])
#: Seconds between the parts of a front-end time and its whole, with half a microsecond for the six printed decimals.
HOP = (0.27e-3 - 0.5e-6, 0.32e-3 + 0.5e-6)

_FUNCTION = re.compile(r"[0-9]+---[0-9]+---.+-[0-9]+-[0-9]+", re.DOTALL)
_POOL = re.compile(r".+-[0-9]+-[0-9]+", re.DOTALL)


@dataclass(frozen=True)
class Rule:
    """A named measure of every row: NaN where the rule does not apply, and how far the row is off where it is broken.

    Attributes:
        name: As it is printed; one that begins with "note" counts what is normal.
        columns: What it needs; it is left out where a file lacks one of them.
        measure: Columns to the measure of every row.
        broken: Measure to whether the rule is broken; NaN never is.
    """

    name: str
    columns: tuple[str, ...]
    measure: Callable[[Columns], Floats]
    broken: Callable[[Floats], NDArray[np.bool_]]


def _outside(low: float, high: float, *, open_end: bool = False) -> Callable[[Floats], NDArray[np.bool_]]:
    return lambda x: (x < low) | ((x >= high) if open_end else (x > high))


def _column(name: str) -> Callable[[Columns], Floats]:
    return lambda columns: columns[name]


def _least(names: tuple[str, ...]) -> Callable[[Columns], Floats]:
    def measure(columns: Columns) -> Floats:
        found = columns[names[0]]
        for name in names[1:]:
            found = np.fmin(found, columns[name])  # fmin passes over NaN
        return found

    return measure


def _difference(whole: str, parts: tuple[str, ...]) -> Callable[[Columns], Floats]:
    def measure(columns: Columns) -> Floats:
        rest = columns[whole].copy()
        for part in parts:
            rest -= columns[part]
        # What the subtraction itself rounds: four ulps of the whole are more than its at most five roundings of at most
        # half an ulp, and are taken off so that a bound of 1e-9 is one on the printed decimals.
        noise = 4 * np.spacing(np.abs(columns[whole]))
        return np.asarray(np.sign(rest) * np.maximum(np.abs(rest) - noise, 0.0))

    return measure


def _off_day(columns: Columns) -> Floats:
    return np.asarray(columns["day"] - np.floor(columns["time"] / 86400.0))


def _block(columns: Columns) -> Floats:
    empty = np.zeros(len(columns[FRONTEND_BLOCK[0]]))
    for name in FRONTEND_BLOCK:
        empty += np.isnan(columns[name])
    return np.where(empty == len(FRONTEND_BLOCK), 0.0, empty)


def _not_negative(what: str, names: tuple[str, ...]) -> Rule:
    return Rule(f"{what} >= 0", names, _least(names), _outside(0.0, np.inf))


def _within_days(time: str) -> Rule:
    return Rule(f"0 <= {time} < 31 days", (time,), _column(time), _outside(0.0, END, open_end=True))


_CLUSTER = Rule("clusterName is 1 to 4", ("clusterName",), _column("clusterName"), _outside(1.0, 4.0))

COLD_START = (
    Rule(
        "totalCost_cold_start = its four parts (1e-9 s)",
        ("totalCost_cold_start", *COLD_START_PARTS),
        _difference("totalCost_cold_start", COLD_START_PARTS),
        _outside(-1e-9, 1e-9),
    ),
    Rule("day = time // 86400", ("day", "time"), _off_day, _outside(0.0, 0.0)),
    _within_days("time"),
    _CLUSTER,
    _not_negative("durations", ("totalCost_cold_start", *COLD_START_PARTS)),
    _not_negative("funcName and userID", ("funcName", "userID")),
)

REQUEST = (
    Rule(
        "totalCost_worker = workerCost + runtimeCost (1 us)",
        ("totalCost_worker", "workerCost", "runtimeCost"),
        _difference("totalCost_worker", ("workerCost", "runtimeCost")),
        _outside(-1e-6, 1e-6),
    ),
    Rule(
        "totalCost_frontend >= its five parts (1 us)",
        ("totalCost_frontend", *FRONTEND_PARTS),
        _difference("totalCost_frontend", FRONTEND_PARTS),
        _outside(-1e-6, np.inf),
    ),
    Rule(
        "note: totalCost_frontend less its parts is not 0.27 to 0.32 ms",
        ("totalCost_frontend", *FRONTEND_PARTS),
        _difference("totalCost_frontend", FRONTEND_PARTS),
        _outside(*HOP),
    ),
    Rule("the seven front-end columns are empty together", FRONTEND_BLOCK, _block, _outside(0.0, 0.0)),
    _within_days("time_worker"),
    _within_days("time_frontend"),
    _CLUSTER,
    _not_negative("durations", REQUEST_DURATIONS),
    _not_negative("cpu_usage and memory_usage", ("cpu_usage", "memory_usage")),
    _not_negative("requestBodySize", ("requestBodySize",)),
    _not_negative("funcName and userID", ("funcName", "userID")),
)

MINUTE = (
    _within_days("time"),
    Rule("time is a whole minute", ("time",), lambda columns: np.asarray(columns["time"] % 60.0), _outside(0.0, 0.0)),
    _not_negative("value", ("value",)),
)

#: Only for the metrics that count something.
MINUTE_COUNT = Rule(
    "counts are whole numbers", ("value",), lambda columns: np.asarray(columns["value"] % 1.0), _outside(0.0, 0.0)
)
COUNTS = ("requests", "num_pods", "num_cold_starts")

RULES = {"cold_start": COLD_START, "request": REQUEST, "minute": MINUTE, "runtime": ()}


def is_pool(name: str) -> bool:
    """Whether a pool's name ends in millicores and MB, whatever stands before."""
    return _POOL.fullmatch(name) is not None


def is_function(name: str) -> bool:
    """Whether a text is ``funcName---userID---poolName`` with a pool's name as `is_pool` wants it."""
    return _FUNCTION.fullmatch(name) is not None
