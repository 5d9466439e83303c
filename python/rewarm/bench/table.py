"""``python -m rewarm.bench.table [--compact] FILE.json…``: a README's tables, made from what ``rewarm bench --json`` wrote.

Loads no torch.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

Result = dict[str, Any]
#: Columns of ratios: title, how the variant's name begins and ends, arm.
PEERS = (
    ("torch fused", "torch fused", "stable"),
    ("torch foreach", "torch foreach", "stable"),
    ("optimi", "optimi", "stable"),
    ("torch fused, fresh gradients", "torch fused", "fresh"),
    ("torch fused, both in a CUDA graph", "torch fused graph", "stable"),
)


#: Columns of q: title and the variants of which the quickest counts.
_EAGER = ("torch list", "torch bmm", "torch bmm, subset", "torch vmap")
Q_PEERS = (
    ("best torch, eager", _EAGER),
    ("torch.compile, subset", ("torch compile, subset",)),
    ("bmm, subset", ("torch bmm, subset",)),
    ("bmm, all critics", ("torch bmm",)),
    ("bmm, subset, in a CUDA graph", ("torch bmm, subset, graph",)),
    ("torch.compile, subset, in a CUDA graph", ("torch compile, subset, graph",)),
)
#: Libraries that read traces too.
TRACE_PEERS = ("pandas", "polars", "duckdb", "pyarrow")


def milliseconds(seconds: float) -> str:
    """Three digits."""
    value = seconds * 1e3
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def floor_cell(result: Result) -> str:
    """Percent of the memory floor, or why there is none."""
    return "in cache" if result["in_cache"] else f"{100 * result['floor_s'] / result['median_s']:.0f} %"


def heading(header: dict[str, Any], threads: int) -> str:
    """Where and how the numbers of one table were measured, as one paragraph."""
    hardware, versions = header["hardware"], header["versions"]
    gpu = hardware.get("gpu")
    where = gpu["name"] if gpu else f"{hardware['processor']} ({header['isa']['used']}), {threads} threads"
    bandwidth = header["bandwidth"].get(str(threads), {})
    floor = f", in-place bandwidth {bandwidth['bar'] / 1e9:.1f} GB/s at the start" if bandwidth else ""
    load = header.get("load_average")
    disturbed = f", load average {load:.1f} at the start" if load is not None else ""
    return (
        f"{where}{floor}; torch {versions['torch']}; commit {header['commit'] or 'unknown'}, {header['date'][:10]}{disturbed}; "
        f"`{' '.join(header['command'])}`"
    )


def ours_first(results: list[Result]) -> list[str]:
    """The variants of ours that anything is compared with, eager before captured."""
    return sorted({r["ours"] for r in results}, key=lambda name: (name.endswith("graph"), name))


def quiet_table(results: list[Result]) -> list[str]:
    """One line a workload: our milliseconds, the floor, and how many times as long each peer takes."""
    chosen = [r for r in results if r["arm"] in ("stable", "fresh")]
    present = {(r["variant"], r["arm"]) for r in chosen}
    peers = [peer for peer in PEERS if (peer[1], peer[2]) in present]
    ours = ours_first(chosen)
    titles = [
        "workload",
        "dtype",
        *(f"{name}, ms" for name in ours),
        "of the floor",
        *(f"× {peer[0]}" for peer in peers),
    ]
    lines = [_row(titles), _row(["---", "---", *["---:"] * (len(titles) - 2)])]
    by_workload: dict[tuple[str, str], dict[tuple[str, str], Result]] = {}
    for r in chosen:
        by_workload.setdefault((r["workload"], r["dtype"]), {})[r["variant"], r["arm"]] = r
    for (workload, dtype), found in by_workload.items():
        mine = [found.get((name, "stable")) for name in ours]
        if mine[0] is None:
            continue
        cells = [workload.partition("/")[2], dtype, *(milliseconds(r["median_s"]) if r else "" for r in mine)]
        cells.append(floor_cell(mine[0]))
        for _, variant, arm in peers:
            peer = found.get((variant, arm))
            cells.append(f"{peer['ratio_to_ours']:.2f}" if peer else "")
        lines.append(_row(cells))
    return lines


def busy_table(results: list[Result]) -> list[str]:
    """One line a workload and variant: quiet, busy, and the factor between."""
    lines = [
        _row(["workload", "dtype", "variant", "quiet, ms", "busy, ms", "busy / quiet"]),
        _row(["---"] * 3 + ["---:"] * 3),
    ]
    quiet = {(r["workload"], r["dtype"], r["variant"]): r for r in results if r["arm"] == "quiet"}
    for r in results:
        before = quiet.get((r["workload"], r["dtype"], r["variant"]))
        if r["arm"] == "busy" and before is not None:
            times = [milliseconds(before["median_s"]), milliseconds(r["median_s"]), f"{r['busy_over_quiet']:.1f}"]
            lines.append(_row([r["workload"].partition("/")[2] or r["workload"], r["dtype"], r["variant"], *times]))
    return lines


def markdown(report: dict[str, Any]) -> str:
    """All tables of one file, one for every number of threads."""
    parts = []
    for threads in dict.fromkeys(r["threads"] for r in report["results"]):
        results = [r for r in report["results"] if r["threads"] == threads]
        of_q = [r for r in results if r["workload"].startswith("q_")]
        steps = [r for r in results if r["arm"] != "trace" and r not in of_q]
        if steps:
            parts.append(heading(report["header"], threads))
        if any(r["arm"] in ("stable", "fresh") for r in results):
            parts.append("\n".join(quiet_table(results)))
        if any(r["arm"] == "busy" for r in steps):
            parts.append("\n".join(busy_table(steps)))
        if of_q:
            parts.append(heading(report.get("header_of_q", report["header"]), threads))
            if any(r["arm"] == "q" for r in of_q):
                parts.append("\n".join(q_table(of_q)))
            if any(r["arm"] == "busy" for r in of_q):
                parts.append("\n".join(busy_table(of_q)))
        if len(steps) + len(of_q) < len(results):
            parts.append(trace_heading(report.get("header_of_trace", report["header"]), threads))
            parts.append("\n".join(trace_table([r for r in results if r["arm"] == "trace"])))
    return "\n\n".join(parts)


def q_table(results: list[Result]) -> list[str]:
    """One line a workload and number of seeds: ours, its share of the floor, and how many times as long each peer takes."""
    chosen = [r for r in results if r["arm"] == "q"]
    present = {r["variant"] for r in chosen}
    peers = [(title, names) for title, names in Q_PEERS if present.intersection(names)]
    counted = any("kernels" in r for r in chosen)
    titles = ["workload", "dtype", "seeds", "rewarm, ms", "of torch.mm", *(f"× {title}" for title, _ in peers), "÷ one seed"]
    titles += ["kernels"] if counted else []
    lines = [_row(titles), _row(["---", "---", *["---:"] * (len(titles) - 2)])]
    for mine in (r for r in chosen if r["variant"] == r["ours"]):
        same = [r for r in chosen if all(r[k] == mine[k] for k in ("workload", "dtype", "seeds"))]
        found = {r["variant"]: r for r in same}
        time = milliseconds(mine["median_s"]) + (" (composition of ops)" if mine.get("chain") == "composition" else "")
        cells = [mine["workload"], mine["dtype"], str(mine["seeds"]), time, f"{100 * mine['of_matmul']:.0f} %"]
        for _, names in peers:
            ratios = [found[name]["ratio_to_ours"] for name in names if name in found]
            cells.append(f"{min(ratios):.2f}" if ratios else "")
        cells.append(f"{mine['over_one_seed']:.2f}" if "over_one_seed" in mine else "")
        cells += [f"{mine['kernels']:.0f}" if "kernels" in mine else ""] if counted else []
        lines.append(_row(cells))
    return lines


def trace_heading(header: dict[str, Any], threads: int) -> str:
    """Where and how the numbers of the trace were measured."""
    versions = ", ".join(f"{name} {header['versions'][name]}" for name in TRACE_PEERS if header["versions"].get(name))
    load = header.get("load_average")
    disturbed = f", load average {load:.1f} at the start" if load is not None else ""
    return (
        f"{header['hardware']['processor']} ({header['isa']['used']}), {threads} threads; {versions}; files of "
        f"{header['megabytes']:g} MB, warm, {header['rounds']} rounds; commit {header['commit'] or 'unknown'}, "
        f"{header['date'][:10]}{disturbed}; `{' '.join(header['command'])}`"
    )


def trace_table(results: list[Result]) -> list[str]:
    """One line a workload: ours, and how many times as long the best of each library takes."""
    titles = ["workload", "rewarm, s", "GB/s", "of read()", "peak, MB", *(f"× {peer}" for peer in TRACE_PEERS)]
    lines = [_row(titles), _row(["---", *["---:"] * (len(titles) - 1)])]
    by_workload: dict[str, dict[str, Result]] = {}
    for r in results:
        by_workload.setdefault(r["workload"], {})[r["variant"]] = r
    for workload, found in by_workload.items():
        for name, mine in found.items():
            if not name.startswith("rewarm"):
                continue
            label = workload if name == mine["ours"] else f"{workload}, {name.removeprefix('rewarm, ')}"
            floor = f"{100 * mine['floor_s'] / mine['median_s']:.0f} %" if mine["floor_s"] else ""
            cells = [label, f"{mine['median_s']:.3f}", f"{mine['bytes'] / mine['median_s'] / 1e9:.2f}", floor]
            cells.append(f"{mine['peak_over_import_bytes'] / 1e6:.0f}")
            for peer in TRACE_PEERS:
                best = [r for v, r in found.items() if v.partition(",")[0] == peer]
                cells.append(f"{min(r['median_s'] for r in best) / mine['median_s']:.2f}" if best else "")
            lines.append(_row(cells))
    return lines


def machine(header: dict[str, Any]) -> str:
    """What tells one machine from another in a column title."""
    gpu = header["hardware"].get("gpu")
    return str(gpu["name"]) if gpu else f"{header['hardware']['processor']} ({header['isa']['used']})"


def compact(reports: list[dict[str, Any]]) -> str:
    """One table over all files: a line a workload, three columns a machine. A later file replaces lines of an earlier one."""
    machines = list(dict.fromkeys(machine(report["header"]) for report in reports))
    rows: dict[tuple[str, str, int], dict[str, tuple[str, str, str]]] = {}
    for report in reports:
        found = [r for r in report["results"] if r["arm"] in ("stable", "fresh")]
        for workload, dtype, threads in dict.fromkeys((r["workload"], r["dtype"], r["threads"]) for r in found):
            line = (workload, dtype, threads)
            of_line = [r for r in found if (r["workload"], r["dtype"], r["threads"]) == line]
            ours = next(r for r in of_line if r["variant"] == r["ours"] and r["arm"] == "stable")
            peers = [
                next((r for r in of_line if r["variant"] == "torch fused" and r["arm"] == arm), None)
                for arm in ("stable", "fresh")
            ]
            ratios = " / ".join(f"{peer['ratio_to_ours']:.2f}" if peer else "" for peer in peers)
            shown = (milliseconds(ours["median_s"]), floor_cell(ours), ratios)
            rows.setdefault(line, {})[machine(report["header"])] = shown
    titles = ["workload", "dtype", "threads", *(t for name in machines for t in (f"{name}, ms", "floor", "× torch fused"))]
    lines = [_row(titles), _row(["---", "---", *["---:"] * (len(titles) - 2)])]
    for (workload, dtype, threads), cells_of in rows.items():
        cells = [cell for name in machines for cell in cells_of.get(name, ("", "", ""))]
        lines.append(_row([workload.partition("/")[2], dtype, str(threads), *cells]))
    return "\n".join(lines)


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def main(arguments: list[str]) -> int:
    """Prints the tables of every file, or with --compact one table of all."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: python -m rewarm.bench.table [--compact] FILE.json [FILE.json ...]", file=sys.stderr)
        return 0 if arguments else 2
    together = arguments[0] == "--compact"
    reports: list[dict[str, Any]] = []
    for file in arguments[1 if together else 0 :]:
        try:
            report = json.loads(Path(file).read_text(encoding="utf-8"))
            reports.append(report)
            text = compact(reports) if together else markdown(report)
        except (OSError, ValueError, KeyError, TypeError) as error:
            print(f"{file}: not a report of `rewarm bench --json`: {type(error).__name__}: {error}", file=sys.stderr)
            return 1
        if not together:
            print(text + "\n")
    if together and reports:
        print(compact(reports))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
