"""All checks of one table in one region, fed batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewarm.trace import check_rules
from rewarm.trace.check_findings import Finding, resolve_lines
from rewarm.trace.check_keys import Keys
from rewarm.trace.check_rules import COUNTS, MINUTE_COUNT, RULES, Floats, Rule
from rewarm.trace.rejects import Rejects
from rewarm.trace.source import Source

_TIME = {"cold_start": "time", "request": "time_worker", "minute": "time"}
_HOUR, _DAYS = 3600, 31
#: An hour with less than this share of the median hour's cold starts is a hole: Region 3 has one on day 8.
_HOLE = 0.01
#: A serial has ten digits: less than 2**34.
_SERIAL_BITS = np.uint64(34)
#: Odd numbers that make one key of the words of an id (digits of the square roots of 2, 3, 5 and 7).
_ID_FACTORS = np.array([0x6A09E667F3BCC909, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1], np.uint64)


class Group:
    """The checks of one table in one region.

    Args:
        table: One of the four.
        region: None where the paths do not say.
        time: The seconds that are read: days outside are not missing.
    """

    def __init__(self, table: str, region: str | None, time: tuple[float | None, float | None] | None = None) -> None:
        self.table, self.region = table, region
        self._time = time or (None, None)
        self._findings: dict[str, Finding] = {}
        self._finding("every field can be read")
        self._ids, self._pods = Keys(), Keys()
        self._pool_numbers: dict[str | None, int] = {}
        self._hours = np.zeros(24 * _DAYS, np.int64)
        self._functions: dict[str, int] = {}
        self._skipped: dict[str, set[int]] = {}

    def file(self, source: Source, batches: Iterator[Any]) -> Iterator[int]:
        """Checks the batches (``pyarrow.RecordBatch``) of one file; yields the rows of each."""
        first_row, last_time = 0, np.nan
        for batch in batches:
            columns = {name: numbers(batch.column(name)) for name in batch.schema.names if is_number(batch.schema.field(name))}
            for rule in self._rules(source):
                if all(name in columns for name in rule.columns):
                    measure = rule.measure(columns)
                    self._add(rule.name, source, first_row, measure, rule.broken(measure))
            time = columns.get(_TIME.get(self.table, ""))
            if time is not None:
                step = np.diff(time, prepend=last_time)
                self._add("rows are in order of time within a file", source, first_row, step, step < 0)
                last_time = time[-1] if len(time) else last_time
                hours = np.floor(time[(time >= 0) & (time < check_rules.END)] / _HOUR).astype(np.int64)
                self._hours += np.bincount(hours, minlength=len(self._hours))
            self._look_at_text(source, first_row, batch)
            self._look_at_keys(batch, columns)
            self._count_empty(batch)
            self._findings["every field can be read"].rows += batch.num_rows
            first_row += batch.num_rows
            yield batch.num_rows

    def rejects(self, source: Source, rejects: Rejects) -> None:
        """Notes what could not be read in a file."""
        self._skipped[source.name] = {reject.line for reject in rejects if reject.column is None}
        if rejects.count:
            finding = self._findings["every field can be read"]
            finding.violations += rejects.count
            if finding.source is None:
                finding.source, finding.line = source, rejects[0].line

    def findings(self) -> list[Finding]:
        """Everything, with the lines of the worst rows."""
        if self._pods.rows:
            pods = self._pods.different()
            self._counted(f"one cluster for each pod{_share(self._pods)}", pods, self._pods.mixed())
        if self._ids.rows:
            self._counted(f"note: requestID seen before{_share(self._ids)}", self._ids.rows, self._ids.repeats())
        if self._hours.any():
            self._gaps()
        found = list(self._findings.values())
        resolve_lines(found, self._skipped)
        return sorted(found, key=lambda f: f.check.startswith("note"))

    # ---- parts of a batch ----------------------------------------------------------------------------------------------

    def _rules(self, source: Source) -> Sequence[Rule]:
        rules = RULES[self.table]
        return (*rules, MINUTE_COUNT) if self.table == "minute" and source.metric in COUNTS else rules

    def _look_at_text(self, source: Source, first_row: int, batch: Any) -> None:
        names = batch.schema.names
        if "poolName" in names:
            words, codes = words_and_codes(batch.column("poolName"))
            good = np.array([word is None or check_rules.is_pool(word) for word in words])
            broken = ~good[codes]
            self._add("poolName ends in millicores and MB", source, first_row, broken.astype(np.float64), broken)
        if self.table != "runtime":
            return
        for row, function in enumerate(batch.column("funcID").to_pylist() if "funcID" in names else []):
            wrong = function is None or not check_rules.is_function(function)
            self._one("funcID is funcName---userID---poolName", source, first_row + row, wrong)
            seen = self._functions.setdefault(function, first_row + row)
            self._one("funcID comes once", source, first_row + row, seen != first_row + row)

    def _look_at_keys(self, batch: Any, columns: dict[str, Floats]) -> None:
        names = batch.schema.names
        if "requestID" in names:
            column = batch.column("requestID")
            width = column.type.byte_width
            raw = np.frombuffer(column.buffers()[1], np.uint64, len(column) * width // 8, column.offset * width)
            # Two different ids out of n share a key with probability n**2 / 2**65: about 1e-6 for 7 M.
            keys = raw.reshape(-1, width // 8) @ _ID_FACTORS[: width // 8]
            self._ids.add(keys[valid(column)])
        if {"poolName", "pod_serial", "clusterName"} <= set(names):
            words, codes = words_and_codes(batch.column("poolName"))
            pools = np.array([self._pool_numbers.setdefault(w, len(self._pool_numbers)) for w in words], np.uint64)[codes]
            serial, cluster = columns["pod_serial"], columns["clusterName"]
            good = ~(np.isnan(serial) | np.isnan(cluster)) & (cluster >= 0) & (cluster <= 7) & valid(batch.column("poolName"))
            keys = (pools[good] << _SERIAL_BITS) | serial[good].astype(np.uint64)
            self._pods.add(keys, np.left_shift(np.uint8(1), cluster[good].astype(np.uint8)))

    def _count_empty(self, batch: Any) -> None:
        empty = np.zeros(batch.num_rows, bool)
        for name in batch.schema.names:
            if name not in ("region", "stat") and batch.column(name).null_count:
                empty |= ~valid(batch.column(name))
        finding = self._finding("note: rows with an empty field")
        finding.rows += batch.num_rows
        finding.violations += int(empty.sum())

    def _gaps(self) -> None:
        """Days and hours in which nothing started; worst is the first of them."""
        if self.table == "request":  # published for one day: only what lies between the first and the last hour is missing
            present = np.flatnonzero(self._hours)
            start, stop = int(present[0]), int(present[-1]) + 1
        else:
            begin, end = self._time
            start = 0 if begin is None else max(0, int(begin // _HOUR))
            stop = len(self._hours) if end is None else min(len(self._hours), int(-(-end // _HOUR)))
        hours = self._hours[start:stop]
        days = np.add.reduceat(self._hours, np.arange(0, len(self._hours), 24))[start // 24 : -(-stop // 24)]
        missing = np.flatnonzero(days == 0) + start // 24
        self._counted("note: days without a row", len(days), len(missing), float(missing[0]) if len(missing) else None)
        day_is_there = np.repeat(days > 0, 24)[start % 24 :][: len(hours)]
        usual = float(np.median(hours[day_is_there]))
        holes = np.flatnonzero(day_is_there & (hours < _HOLE * usual)) + start
        name = f"note: hours with less than {_HOLE:.0%} of the usual rows"
        self._counted(name, int(day_is_there.sum()), len(holes), float(holes[0]) if len(holes) else None)

    # ---- findings ------------------------------------------------------------------------------------------------------

    def _finding(self, name: str) -> Finding:
        return self._findings.setdefault(name, Finding(name, self.table, self.region))

    def _add(self, name: str, source: Source, first_row: int, measure: Floats, broken: NDArray[np.bool_]) -> None:
        self._finding(name).add(source, first_row, measure, broken, np.abs(measure))

    def _one(self, name: str, source: Source, row: int, broken: bool) -> None:
        self._add(name, source, row, np.array([float(broken)]), np.array([broken]))

    def _counted(self, name: str, rows: int, violations: int, worst: float | None = None) -> None:
        finding = self._finding(name)
        finding.rows, finding.violations, finding.worst = rows, violations, worst


def _share(keys: Keys) -> str:
    return "" if keys.share == 1.0 else f" (from 1 in {round(1 / keys.share)})"


def is_number(field: Any) -> bool:
    """Whether an Arrow field holds numbers."""
    return str(field.type) in ("int8", "int16", "int32", "int64", "double")


def valid(column: Any) -> NDArray[np.bool_]:
    """Which rows of an Arrow column hold something."""
    found: NDArray[np.bool_] = column.is_valid().to_numpy(zero_copy_only=False)
    return found


def numbers(column: Any) -> Floats:
    """An Arrow column of numbers as float64, NaN for null."""
    return np.asarray(column.to_numpy(zero_copy_only=False), np.float64)


def words_and_codes(column: Any) -> tuple[list[str | None], NDArray[np.int64]]:
    """The words of a dictionary column with None as the last, and the index of every row's word in that list."""
    words: list[str | None] = [*column.dictionary.to_pylist(), None]
    codes = column.indices.fill_null(len(words) - 1).to_numpy(zero_copy_only=False).astype(np.int64)
    return words, codes
