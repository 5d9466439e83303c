"""What the checks found: counts, the worst row of each rule, and the line of the file where it stands."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewarm.trace.check_rules import Floats
from rewarm.trace.source import Source


@dataclass
class Finding:
    """One rule on one table of one region.

    Attributes:
        check: Name of the rule.
        table: One of the four.
        region: Of the rows.
        rows: To which the rule applied.
        violations: How many of them broke it.
        worst: Measure of the row that broke it most.
        source: Where that row is.
        row: Its number among the rows of that file, from 0; None where a whole file is meant.
        line: Its line, once `resolve_lines` has looked.
    """

    check: str
    table: str
    region: str | None
    rows: int = 0
    violations: int = 0
    worst: float | None = None
    source: Source | None = None
    row: int | None = None
    line: int | None = None

    def add(self, source: Source, first_row: int, measure: Floats, broken: NDArray[np.bool_], severity: Floats) -> None:
        """Counts one batch.

        Args:
            source: The batch's file.
            first_row: Number of the batch's first row in that file.
            measure: Of every row, NaN where the rule does not apply.
            broken: Which rows broke the rule.
            severity: Which of them did worst; equal ones leave the first.
        """
        self.rows += int(len(measure) - np.isnan(measure).sum())
        count = int(broken.sum())
        if count == 0:
            return
        self.violations += count
        at = int(np.argmax(np.where(broken, severity, -np.inf)))
        if self.worst is None or severity[at] > self._severity:
            self.worst, self._severity = float(measure[at]), float(severity[at])
            self.source, self.row = source, first_row + at

    _severity: float = -np.inf

    def as_record(self) -> dict[str, object]:
        """One row of the table that `check` returns."""
        return {
            "check": self.check,
            "table": self.table,
            "region": self.region,
            "rows": self.rows,
            "violations": self.violations,
            "worst": self.worst,
            "file": self.source.name if self.source is not None else None,
            "line": self.line,
        }


def resolve_lines(findings: Iterable[Finding], skipped: Mapping[str, Collection[int]]) -> None:
    """Turns row numbers into line numbers by reading the files concerned once more.

    Args:
        findings: Those with a source and a row get their line.
        skipped: By the name of a file, the lines that are no rows because their fields did not fit the header.
    """
    wanted: dict[str, list[Finding]] = {}
    for finding in findings:
        # A line of a minute table is as many rows as it has fields that hold something, or none.
        if finding.source is not None and finding.row is not None and finding.table != "minute":
            wanted.setdefault(finding.source.name, []).append(finding)
    for name, found in wanted.items():
        source = found[0].source
        assert source is not None
        _resolve(source, sorted(found, key=lambda f: f.row or 0), skipped.get(name, ()))


def _resolve(source: Source, found: list[Finding], skipped: Collection[int]) -> None:
    reader = open(source.path, "rb") if source.compression is None else source.open()  # noqa: SIM115
    try:
        row, line, rest = -1, 0, b""
        waiting = iter(found)
        finding = next(waiting, None)
        while finding is not None:
            chunk = reader.read(1 << 20)
            *whole, rest = (rest + chunk).split(b"\n")
            if not chunk:
                whole, rest = [rest], b""
            for text in whole:
                line += 1
                if line == 1 or line in skipped or text in (b"", b"\r"):  # the header, what is no row, blank lines
                    continue
                row += 1
                while finding is not None and finding.row == row:
                    finding.line = line
                    finding = next(waiting, None)
            if not chunk:
                return
    finally:
        reader.close()
