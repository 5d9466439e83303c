"""Sets the report as one HTML page with Jinja2; style and script are inlined, so the page needs nothing else."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from rewarm.errors import BackendUnavailable
from rewarm.trace.captions import SECTIONS
from rewarm.trace.figures import Drawn


def render(results: dict[str, Any], drawn: list[Drawn]) -> str:
    """The page.

    Args:
        results: What `rewarm.trace.report.compare` gave.
        drawn: All figures.
    """
    try:
        import jinja2
    except ImportError as error:
        raise BackendUnavailable(
            f'trace reports need jinja2 ({error}); install it with: pip install "rewarm[trace]"'
        ) from error
    folder = resources.files("rewarm.trace") / "templates"
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": shown, "difference": difference}
    template = environment.from_string((folder / "report.html.jinja").read_text(encoding="utf-8"))
    return template.render(
        results=results,
        style=(folder / "report.css").read_text(encoding="utf-8"),
        script=(folder / "report.js").read_text(encoding="utf-8"),
        # "<" would let a value end the script element.
        data=json.dumps(results, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
        figures={section: [figure for figure in drawn if figure.figure.section == section] for section in SECTIONS},
        rows={section: [number for number in results["numbers"] if number["section"] == section] for section in SECTIONS},
        missing={section: _missing_groups(results["not_measured"], section) for section in SECTIONS},
        regions=list(results["regions"]),
    )


def _missing_groups(missing: list[dict[str, Any]], section: str) -> list[tuple[str, int, list[str]]]:
    """(reason, how many, regions) of a section's published numbers that were not measured."""
    found: dict[str, tuple[int, set[str]]] = {}
    for number in missing:
        if number["section"] == section:
            count, regions = found.get(number["reason"], (0, set()))
            found[number["reason"]] = count + 1, regions | {number["region"]}
    return [(reason, count, sorted(regions)) for reason, (count, regions) in found.items()]


def shown(value: float | None) -> str:
    """A number as people read it: whole ones with separators, others with four digits; a dash for none."""
    if value is None:
        return "–"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}" if abs(value) < 1e8 else f"{value:.4g}".replace("e+", "e").replace("e0", "e")
    return f"{value:.4g}".replace("e-0", "e-").replace("e+0", "e")


def difference(number: dict[str, Any]) -> str:
    """How far a measured number is from the published one: absolute for shares and correlations, else in percent."""
    value, paper = number["value"], number["published"]
    if value is None or paper is None:
        return ""
    if number["kind"] in ("share", "spearman"):
        return f"{value - paper:+.3f}"
    if paper == 0:
        return f"{value - paper:+.3g}"
    if number["kind"] in ("hour", "below", "above"):
        return f"{value - paper:+.3g}"
    percent = 100 * (value - paper) / abs(paper)
    return f"{percent:+.1f} %" if abs(percent) < 1000 else f"×{value / paper:.3g}"
