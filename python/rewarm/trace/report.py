"""The paper as a report: every figure and table that the release allows, beside what was published."""

from __future__ import annotations

import json as _json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rewarm import __version__
from rewarm.errors import InvalidArgument
from rewarm.trace.captions import FIGURES, SECTIONS
from rewarm.trace.figures import draw
from rewarm.trace.load import Trace
from rewarm.trace.measure import measure
from rewarm.trace.measured import Measured, Number
from rewarm.trace.page import render
from rewarm.trace.paper import KIND_WORDS, OPEN, Key, Published, agreement, near, published
from rewarm.trace.whole_file import whole_file

PAPER = (
    "Artjom Joosen, Ahmed Hassan, Martin Asenov, Rajkarn Singh, Luke Darlow, Jianfeng Wang, Qiwen Deng, Adam Barker: "
    "Serverless Cold Starts and Where to Find Them, EuroSys 2025, arXiv 2410.06145"
)
VERDICTS = ("agree", "differ", "ambiguous", "partial")


def report(
    path: Any,
    out: str | os.PathLike[str] = "report.html",
    *,
    json: str | os.PathLike[str] | None = None,
    region: str | Sequence[str] | None = None,
    runtime: str | os.PathLike[str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Measures what the paper reports, compares it with the published numbers, and writes one HTML file, complete in itself.

    The paper is Joosen et al., "Serverless Cold Starts and Where to Find Them", EuroSys 2025. Each table under `path` adds its
    sections; a table that is missing leaves its own out, and the page says so. A number agrees or differs only where the region
    and days 0 to 30 are complete; else it is "partial". Where the paper leaves a definition open and some ways to read it agree
    while others do not, all of them are "ambiguous". docs/trace_report.md defines every number. Cold-start columns are held in
    memory one region at a time (1.3 GB at the peak for R1); requests are streamed.

    Args:
        path: Folder, file, archive, glob, or a list of them, as `rewarm.trace.read` takes it; tables may lie together.
        out: The page; written under another name and renamed, so it is whole or not there.
        json: Where to write what is returned, too; None for nowhere.
        region: Only these regions; a single one also names files whose path tells none.
        runtime: The runtime table where it does not lie under `path`.
        progress: Told in a few words what is being done.

    Returns:
        What the page's JSON block holds: ``summary`` (counts of agree, differ, ambiguous, partial, not measured), ``numbers``
        (one dict a number with its published value and verdict), ``not_measured``, ``series`` (the points of the figures),
        ``absent``, ``notes``, ``regions``, ``synthetic``.

    Raises:
        TraceError: The files cannot be read as what they are.
        InvalidArgument: A target's folder does not exist, or the path holds only a runtime table.
    """
    targets = {name: _target(name, where) for name, where in (("out", out), ("json", json)) if where is not None}
    trace = Trace(path, region=region, runtime=runtime, progress=progress)
    if not trace.regions:
        raise InvalidArgument(
            f"report: path: expected cold starts, requests or minute tables, got a runtime table alone: {path}"
        )
    measured = measure(trace)
    results = compare(measured, trace)
    matrix = {
        (number.region, number.quantity, number.group): number.text
        for number in published().values()
        if number.section == "correlation"
    }
    drawn = draw(measured, matrix, trace.say)
    trace.say("writing")
    _write(targets["out"], render(results, drawn))
    if "json" in targets:
        _write(targets["json"], _json.dumps(results, indent=1, allow_nan=False) + "\n")
    return results


def compare(measured: Measured, trace: Trace) -> dict[str, Any]:
    """The dict that `report` returns."""
    known = published()
    numbers = [_compared(number, known) for number in measured.numbers]
    settle_open(numbers)
    found = {tuple(number[part] for part in ("section", "quantity", "group", "statistic", "region")) for number in numbers}
    missing = [number for key, number in known.items() if key not in found]
    verdicts = Counter(number["verdict"] for number in numbers)
    sections = {}
    for section, (title, what) in SECTIONS.items():
        of = Counter(number["verdict"] for number in numbers if number["section"] == section)
        sections[section] = {
            "title": title,
            "what": what,
            **{verdict: of[verdict] for verdict in VERDICTS},
            "not_measured": sum(number.section == section for number in missing),
        }
    return {
        "format": 1,
        "rewarm": __version__,
        "paper": PAPER,
        "synthetic": trace.synthetic,
        "tables": {table: trace.files(table) for table in ("cold_start", "request", "runtime", "minute")},
        "regions": trace.coverage(),
        "summary": {
            **{verdict: verdicts[verdict] for verdict in VERDICTS},
            "not_measured": len(missing),
            "published": len(known),
        },
        "sections": sections,
        "numbers": numbers,
        "not_measured": [_missing(number, measured) for number in missing],
        "figures": {
            figure.id: {
                "number": figure.number,
                "section": figure.section,
                "title": figure.title,
                "caption": figure.caption,
                "open": figure.open,
            }
            for figure in FIGURES
        },
        "series": measured.series,
        "absent": measured.absent,
        "notes": measured.notes,
    }


def _compared(number: Number, known: dict[Key, Published]) -> dict[str, Any]:
    row = asdict(number)
    paper = known.get((number.section, number.quantity, number.group, number.statistic, number.region))
    # JSON has no NaN: nothing measured is null.
    row["value"] = number.value if number.value == number.value and abs(number.value) != float("inf") else None
    row |= {"published": None, "as_written": None, "kind": None, "source": None, "within": None, "verdict": None}
    if paper is not None:
        row |= {
            "published": paper.value,
            "as_written": paper.text,
            "kind": paper.kind,
            "tolerance": KIND_WORDS[paper.kind],
            "within": near(number.value, paper),
            "source": paper.source,
        }
        row["verdict"] = agreement(number.value, paper, complete=number.complete)
    return row


def settle_open(numbers: list[dict[str, Any]]) -> None:
    """Where the readings of an open definition do not all agree or all differ, each is ambiguous."""
    readings: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for number in numbers:
        if number["quantity"] in OPEN and number["verdict"] in ("agree", "differ"):
            readings.setdefault((number["quantity"], number["group"], number["region"]), []).append(number)
    for several in readings.values():
        if len({number["verdict"] for number in several}) > 1:
            for number in several:
                number["verdict"] = "ambiguous"


def _missing(number: Published, measured: Measured) -> dict[str, Any]:
    reasons = {
        reason
        for figure in FIGURES
        if figure.section == number.section
        for region, reason in measured.absent.get(figure.id, {}).items()
        if region == number.region
    }
    if not reasons and number.region != "all" and not any(n.region == number.region for n in measured.numbers):
        reasons = {f"{number.region} is not in the data"}
    return {
        "section": number.section,
        "quantity": number.quantity,
        "group": number.group,
        "statistic": number.statistic,
        "region": number.region,
        "published": number.value,
        "as_written": number.text,
        "source": number.source,
        "reason": "; ".join(sorted(reasons)) or "no row of this group in the data",
    }


def _target(name: str, where: str | os.PathLike[str]) -> Path:
    target = Path(where)
    if not target.parent.is_dir():
        raise InvalidArgument(f"report: {name}: expected an existing folder, got {str(target.parent)!r}")
    if target.is_dir():
        raise InvalidArgument(f"report: {name}: expected the name of a file, got the folder {str(target)!r}")
    return target


def _write(target: Path, text: str) -> None:
    """Write beside the target and rename, so that whoever is killed leaves no half file under the final name."""
    with whole_file(target) as fresh:
        fresh.write_text(text, encoding="utf-8")
