"""The order of a benchmark: conditions, header, bandwidth, workloads, tables."""

from __future__ import annotations

import gc
import importlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from rewarm import _dispatch
from rewarm.bench import TENSOR_FAMILIES, display, hardware
from rewarm.bench.bandwidth import measure as measure_bandwidth
from rewarm.bench.timing import TooBusy
from rewarm.bench.workload import Conditions, LeftOut, Workload
from rewarm.env import usable_cpus
from rewarm.errors import BackendUnavailable, InvalidArgument

#: Seconds: the quick run starts no workload after the first, and gives each the second.
QUICK_DEADLINE, QUICK_BUDGET, BUDGET = 130.0, 2.0, 8.0


@dataclass(frozen=True)
class Options:
    """What the command line asked for, of one family; see ``rewarm bench --help``."""

    family: str = "adamw"
    quick: bool = False
    sets: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    threads: tuple[int, ...] = ()
    seeds: tuple[int, ...] = ()
    device: str | None = None
    pin: bool = True
    busy: bool = False
    cold: bool = False
    rounds: int = 500
    buffer_bytes: int = 2**30
    command: tuple[str, ...] = ("rewarm", "bench")


def choose_device(named: str | None) -> torch.device:
    """The named device, or the GPU where torch and a backend of rewarm can use it."""
    has_gpu = torch.cuda.is_available()
    if named == "cuda" and not has_gpu:
        raise BackendUnavailable("rewarm bench: --device cuda: torch finds no CUDA GPU here")
    steps_gpu = any(not _dispatch.unavailable(backend, "cuda") for backend in ("cuda", "triton"))
    return torch.device(named or ("cuda" if has_gpu and steps_gpu else "cpu"))


def run(options: Options) -> dict[str, Any]:
    """Measures, prints, and returns what the JSON holds.

    Raises:
        InvalidArgument: A set or dtype that does not exist.
        BackendUnavailable: A device that is not here.
        RewarmError: Variants that do not compute the same.
    """
    started = time.perf_counter()
    device = choose_device(options.device)
    chosen = _workloads(options, device)
    console = display.console()
    before = usable_cpus()
    threads_before = torch.get_num_threads()
    # What torch would take is known before the process is bound.
    counts = options.threads or (TENSOR_FAMILIES[options.family].threads or threads_before,)
    header = hardware.header(device, list(options.command))
    warn_about_load(console, header["load_average"], len(before))
    results: list[dict[str, Any]] = []
    notes: list[str] = []
    try:
        header["pinned_cpus"] = hardware.pin(max(counts)) if options.pin else None
        header["bandwidth"] = {}
        with _progress(console) as progress:
            task = progress.add_task("", total=len(counts) * (len(chosen) + 1))

            def say(line: str) -> None:
                notes.append(line)
                progress.console.print(line, markup=False)

            for threads in counts:
                torch.set_num_threads(threads)
                bar = float("nan")  # the floor of q is no bandwidth
                if options.family != "q":
                    progress.update(task, description="bandwidth")
                    bandwidth = measure_bandwidth(device, options.buffer_bytes)
                    header["bandwidth"][str(threads)] = bandwidth
                    bar = bandwidth["bar"]
                    progress.console.print(_bandwidth_line(threads, bandwidth), markup=False)
                progress.advance(task)
                conditions = Conditions(
                    device=device,
                    threads=threads,
                    bandwidth=bar,
                    buffer_bytes=options.buffer_bytes,
                    cache_bytes=header["hardware"]["cache_bytes"],
                    budget_s=QUICK_BUDGET if options.quick else BUDGET,
                    max_runs=options.rounds,
                    deadline=started + QUICK_DEADLINE if options.quick else float("inf"),
                    cold=options.cold,
                    quick=options.quick,
                    busy_cpus=tuple((header["pinned_cpus"] or before)[: max(counts)]),
                )
                for workload in chosen:
                    progress.update(task, description=f"{workload.name} {workload.dtype}")
                    found = _measured(workload, conditions, options.busy, say)
                    if found:
                        shown = display.q_table if options.family == "q" else display.workload_table
                        progress.console.print(shown(found))
                    results += found
                    progress.advance(task)
    finally:
        torch.set_num_threads(threads_before)
        if header.get("pinned_cpus") is not None:
            os.sched_setaffinity(0, before)
    header["load_average_end"] = hardware.load_average()
    header["notes"] = notes
    report = {"header": header, "results": results}
    if results and not options.busy:
        console.print((display.q_summary_table if options.family == "q" else display.summary_table)(results))
    return report


def _workloads(options: Options, device: torch.device) -> list[Workload]:
    named: dict[str, Any] = {"sets": options.sets, "dtypes": options.dtypes, "quick": options.quick, "busy": options.busy}
    if options.family == "q":
        named["seeds"] = options.seeds
    chosen: list[Workload] = importlib.import_module(TENSOR_FAMILIES[options.family].module).workloads(device, **named)
    if not chosen:
        raise InvalidArgument("these options leave no workload to measure")
    return chosen


def _measured(workload: Workload, conditions: Conditions, busy: bool, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Measures one workload, or says why not. Its memory is free again afterwards."""
    where = f"{workload.name} {workload.dtype}"
    if time.perf_counter() > conditions.deadline:
        say(f"{where}: left out, the time is up")
        return []
    try:
        return (workload.measure_busy if busy else workload.measure)(conditions, say)
    except TooBusy:
        say(f"{where}: left out, the time was up before every variant had 5 runs: the machine is busy")
    except (LeftOut, torch.cuda.OutOfMemoryError) as error:
        say(f"{where}: left out: {error}")
    finally:
        gc.collect()
        if conditions.device.type == "cuda":
            torch.cuda.empty_cache()
    return []


def warn_about_load(console: Console, load: float | None, cpus: int) -> None:
    """Says that the numbers will be disturbed."""
    if load is not None and load > 0.5 * cpus:
        console.print(
            f"warning: the load average is {load:.1f} on {cpus} processors: other work disturbs these numbers, torch's more "
            "than ours (one parallel region a tensor); look at the spread"
        )


def _bandwidth_line(threads: int, found: dict[str, Any]) -> str:
    seven = f", seven streams {display.rate(found['seven_streams'])}" if "seven_streams" in found else ""
    return (
        f"{threads} threads: in place {display.rate(found['inplace'])} (best {display.rate(found['inplace_best'])}), copy "
        f"{display.rate(found['copy'])}{seven}; buffer {found['buffer_bytes'] / 2**30:.2f} GiB"
    )


def _progress(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        # Its drawing thread would run beside what is timed.
        auto_refresh=False,
    )
