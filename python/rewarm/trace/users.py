"""Requests of functions and users, execution time and CPU by minute (Fig. 3, 4)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewarm.trace.load import DAYS, Functions, Minutes, all_days
from rewarm.trace.measured import Measured, curve, ordered
from rewarm.trace.series import MINUTES_A_DAY

Array = NDArray[Any]


def daily_requests(requests: Minutes) -> Array:
    """Requests of each function on each day; a function that did not run has 0: [functions, 31]."""
    place = requests.function.astype(np.int64) * DAYS + requests.minute // MINUTES_A_DAY
    per_day: Array = np.bincount(place, requests.value, minlength=len(requests.functions.funcID) * DAYS).reshape(-1, DAYS)
    return per_day


def median_day(per_day: Array) -> Array:
    """Median over the days on which a function had requests; NaN where it never had any."""
    seen = np.sort(np.where(per_day > 0, per_day, np.nan), axis=1)
    days = np.count_nonzero(per_day > 0, axis=1)
    rows = np.arange(len(per_day))
    # NaN sorts to the end, so the days that count come first; the lower of two middle ones, as for all quantiles here.
    median: Array = np.where(days > 0, seen[rows, np.maximum(days - 1, 0) // 2], np.nan)
    return median


def functions_and_users(region: str, requests: Minutes, out: Measured) -> Array:
    """Requests per day by function, functions and requests by user; returns each function's median day."""
    complete = all_days(requests.days)
    per_day = daily_requests(requests)
    median = median_day(per_day)
    values = ordered(median)
    out.add_quantiles("functions", "requests per day", region, values, (10, 25, 50, 75, 90, 95, 99), complete=complete)
    busy = float(np.mean(values >= 1440)) if len(values) else np.nan
    out.add("functions", "requests per day", "share >= 1440", region, busy, complete=complete)
    out.draw("fig3a", region, curve(values, floor=1.0))
    owner = requests.functions.userID
    users, index = np.unique(owner, return_inverse=True)
    of_user = np.bincount(index, per_day.sum(1), minlength=len(users))
    _users(region, np.bincount(index, minlength=len(users)), complete, "", out)
    many = float(np.mean(of_user > 1000)) if len(users) else np.nan
    out.add("functions", "requests per user", "share > 1000", region, many, complete=complete)
    out.draw("fig4b", region, curve(np.sort(of_user), floor=1.0))
    return median


def functions_of_users(region: str, functions: Functions, out: Measured) -> None:
    """Functions by user where no minute table lists all functions: only those with a cold start are known."""
    _, index = np.unique(functions.userID, return_inverse=True)
    _users(region, np.bincount(index), False, "only functions with a cold start are known", out)


def _users(region: str, functions: Array, complete: bool, note: str, out: Measured) -> None:
    values = np.sort(functions)
    for statistic, share in (("share = 1", np.mean(values == 1)), ("share <= 20", np.mean(values <= 20))):
        out.add("functions", "functions per user", statistic, region, float(share), complete=complete, note=note)
    out.add_quantiles("functions", "functions per user", region, values, (95, 99), complete=complete, note=note)
    out.draw("fig4a", region, curve(values.astype(float), floor=1.0))


def execution(
    region: str, figure: str, quantity: str, unit: str, values: Array, complete: bool, note: str, out: Measured
) -> None:
    """The curve and quantiles of function-minutes: of execution time (Fig. 3b) or CPU (Fig. 3c)."""
    values = ordered(values)
    out.add_quantiles(
        "functions", quantity, region, values, (1, 10, 25, 50, 75, 90, 99), unit=unit, complete=complete, note=note
    )
    out.draw(figure, region, curve(values))
