"""How results look in a terminal."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

Result = dict[str, Any]


def console() -> Console:
    """A console that is wide enough for the tables in a log, too."""
    made = Console(highlight=False)
    if not made.is_terminal:
        made.width = 120
    return made


def duration(seconds: float) -> str:
    """Three digits and a unit."""
    for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "us")):
        if seconds * factor >= 1.0 or unit == "us":
            value = seconds * factor
            return f"{value:.{max(0, 3 - len(str(int(value))))}f} {unit}"
    raise AssertionError


def rate(bytes_per_second: float) -> str:
    """GB/s."""
    return f"{bytes_per_second / 1e9:.1f} GB/s"


def of_floor(result: Result) -> str:
    """How near the time is to the floor; in a cache there is none."""
    return "in cache" if result["in_cache"] else f"{result['floor_s'] / result['median_s']:.0%}"


def workload_table(results: list[Result]) -> Table:
    """All variants of one workload."""
    first = results[0]
    groups = f", {first['groups']} groups" if first.get("groups", 1) > 1 else ""
    floor = "a working set in cache" if first["in_cache"] else f"floor {duration(first['floor_s'])}"
    title = (
        f"{first['workload']} {first['dtype']}: {first['tensors']} tensors{groups}, "
        f"{first['parameters'] / 1e6:.2f} M parameters, "
        f"{first['threads']} threads; {first['bytes'] / 1e6:.1f} MB a step, {floor}"
    )
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    busy = any(r["arm"] == "busy" for r in results)
    table.add_column("variant", no_wrap=True)
    table.add_column("machine" if busy else "gradients", no_wrap=True)
    for name in ("median", "min … max", "spread", "runs", "time / ours", "busy / quiet" if busy else "of the floor"):
        table.add_column(name, justify="right", no_wrap=True)
    for r in results:
        last = of_floor(r)
        if busy:
            last = f"{r['busy_over_quiet']:.2f}" if "busy_over_quiet" in r else ""
        table.add_row(
            r["variant"],
            r["arm"],
            duration(r["median_s"]),
            f"{duration(r['min_s'])} … {duration(r['max_s'])}",
            f"{(r['q3_s'] - r['q1_s']) / r['median_s']:.0%}",
            str(r["runs"]),
            f"{r['ratio_to_ours']:.2f}",
            last,
            style="bold" if r["variant"] == r["ours"] else None,
        )
    return table


def summary_table(results: list[Result]) -> Table:
    """One line a workload: ours, and how many times as long torch fused takes."""
    table = Table(title="torch fused over rewarm, medians", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("workload", no_wrap=True)
    for name in ("dtype", "threads", "rewarm", "of the floor", "stable", "fresh"):
        table.add_column(name, justify="right", no_wrap=True)
    by_key: dict[tuple[str, str, int], dict[tuple[str, str], Result]] = {}
    for r in results:
        if r["arm"] in ("stable", "fresh"):
            by_key.setdefault((r["workload"], r["dtype"], r["threads"]), {})[r["variant"], r["arm"]] = r
    for (workload, dtype, threads), found in by_key.items():
        ours = next((r for r in found.values() if r["variant"] == r["ours"] and r["arm"] == "stable"), None)
        if ours is None:
            continue
        ratios = [found.get(("torch fused", arm)) for arm in ("stable", "fresh")]
        shown = ["" if r is None else f"{r['ratio_to_ours']:.2f}" for r in ratios]
        table.add_row(workload, dtype, str(threads), duration(ours["median_s"]), of_floor(ours), *shown)
    return table


def q_table(results: list[Result]) -> Table:
    """All variants of one workload of q."""
    first = results[0]
    seeds = f", {first['seeds']} seeds" if first["seeds"] > 1 else ""
    rates = ", ".join(f"{shape} {rate / 1e9:.0f}" for shape, rate in first["matmul_flops_per_s"].items())
    floor = f"floor {duration(first['floor_s'])} (torch's products: {rates} GFLOP/s)"
    title = (
        f"{first['workload']} {first['dtype']}{seeds}: {first['parameters'] / 1e6:.2f} M parameters, "
        f"{first['threads']} threads; {first['flops'] / 1e9:.2f} GFLOP at least, {floor}"
    )
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    busy = any(r["arm"] == "busy" for r in results)
    counted = any("kernels" in r for r in results)
    table.add_column("variant", no_wrap=True)
    names = ["median", "min … max", "spread", "runs", "time / ours", "of the floor"]
    names += ["busy / quiet"] if busy else []
    names += ["kernels", "host launches"] if counted else []
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for r in results:
        cells = [
            duration(r["median_s"]),
            f"{duration(r['min_s'])} … {duration(r['max_s'])}",
            f"{(r['q3_s'] - r['q1_s']) / r['median_s']:.0%}",
            str(r["runs"]),
            f"{r['ratio_to_ours']:.2f}",
            f"{r['of_matmul']:.0%}",
        ]
        cells += ([f"{r['busy_over_quiet']:.2f}"] if "busy_over_quiet" in r else [r["arm"]]) if busy else []
        cells += [f"{r.get(name, 0):.0f}" for name in ("kernels", "host_launches")] if counted else []
        table.add_row(r["variant"], *cells, _remark(r), style="bold" if r["variant"] == r["ours"] else None)
    return table


def _remark(result: Result) -> str:
    """What a reader must know beside the number."""
    if "first_call_s" in result:
        return f"first call {result['first_call_s']:.0f} s"
    if result.get("chain") == "composition":
        return "composition of ops"
    return f"{result['over_one_seed']:.2f} of one seed" if "over_one_seed" in result else ""


def q_summary_table(results: list[Result]) -> Table:
    """One line a workload of q: ours, the floor, and how many times as long the quickest peer takes."""
    table = Table(title="quickest peer over rewarm, medians", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("workload", no_wrap=True)
    for name in ("dtype", "seeds", "rewarm", "of the floor", "peer / rewarm"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("peer", no_wrap=True)
    for ours in (r for r in results if r["variant"] == r["ours"]):
        same = [r for r in results if all(r[k] == ours[k] for k in ("workload", "dtype", "seeds", "threads", "arm"))]
        peers = [r for r in same if not r["variant"].startswith("rewarm")]
        best = min(peers, key=lambda r: r["median_s"], default=None)
        cells = [ours["workload"], ours["dtype"], str(ours["seeds"]), duration(ours["median_s"]), f"{ours['of_matmul']:.0%}"]
        table.add_row(*cells, *([f"{best['ratio_to_ours']:.2f}", best["variant"]] if best else ["", ""]))
    return table


def trace_table(results: list[Result]) -> Table:
    """All cases of one workload of the trace."""
    first = results[0]
    floor = f", read() alone {duration(first['floor_s'])}" if first["floor_s"] else ""
    title = f"{first['workload']}: {first['bytes'] / 1e6:.0f} MB, {first['threads']} threads{floor}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("case", no_wrap=True)
    for name in ("median", "min … max", "runs", "GB/s", "of the floor", "time / ours", "peak over import", "CPU s/GB"):
        table.add_column(name, justify="right", no_wrap=True)
    for r in results:
        table.add_row(
            r["variant"],
            duration(r["median_s"]),
            f"{duration(r['min_s'])} … {duration(r['max_s'])}",
            str(r["runs"]),
            f"{r['bytes'] / r['median_s'] / 1e9:.2f}",
            f"{r['floor_s'] / r['median_s']:.0%}" if r["floor_s"] else "",
            f"{r['ratio_to_ours']:.2f}",
            f"{r['peak_over_import_bytes'] / 1e6:.0f} MB",
            f"{(r['user_s'] + r['system_s']) / r['bytes'] * 1e9:.2f}",
            style="bold" if r["variant"] == r["ours"] else None,
        )
    return table
