"""Reading and aggregating a trace against pandas, polars, duckdb and pyarrow: files, processes, rounds, agreement. No torch.

Every case is a process of its own (`trace_child`), confined to the same processors and told its threads; every round runs every
case once, in rotated order, so that a slow minute of a shared machine hits all of them. Time is taken inside the process
around the call, imports excluded, files warm.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewarm.bench import display, hardware, trace_cases, trace_files
from rewarm.bench.timing import Statistics
from rewarm.env import usable_cpus
from rewarm.errors import InvalidArgument, RewarmError

#: Megabytes of each text file, rounds, and the same for the quick run.
MEGABYTES, ROUNDS = 300.0, 5
QUICK_MEGABYTES, QUICK_ROUNDS = 30.0, 3
#: Quantiles of ours are middles of buckets that are 1/64 octave wide.
_QUANTILE_TOLERANCE = 0.01
#: A mean of a million rows summed in another order: 2**-53 a sum, a million sums.
_MEAN_TOLERANCE = 1e-10
#: The peers.
LIBRARIES = ("pandas", "polars", "duckdb", "pyarrow")
_FLOORS = ("floor: read()", "floor: wc -l")
_KEPT = ("pandas", "polars", "duckdb", "duckdb, to Arrow", "pyarrow")


@dataclass(frozen=True)
class Table:
    """One table of results: `ours` against `peers`, out of one interleaved run of the cases of `suite`."""

    name: str
    suite: str
    ours: str
    also: tuple[str, ...]
    peers: tuple[str, ...]
    inputs: str
    quick: bool = True

    @property
    def cases(self) -> tuple[str, ...]:
        """Everything that it shows."""
        return (self.ours, *self.also, *self.peers)


TABLES = (
    Table("trace_request", "request", "rewarm", ('rewarm, ids="text"', *_FLOORS), _KEPT, "request.csv"),
    Table(
        "trace_batches", "request", "rewarm, batches", _FLOORS,
        (*_KEPT, "pandas, chunks", "polars, streaming", "duckdb, streaming", "pyarrow, streaming"), "request.csv",
    ),
    Table(
        "trace_group", "group", "rewarm", _FLOORS[:1], ("pandas", "polars", "polars, streaming", "duckdb", "pyarrow"),
        "request.csv",
    ),
    Table("trace_hourly", "hourly", "rewarm", _FLOORS[:1], ("pandas", "polars", "polars, streaming", "duckdb"), "cold_start"),
    Table(
        "trace_exponents", "exponents", "rewarm, batches", ("rewarm, batches, plain spelling", "rewarm", *_FLOORS[:1]),
        ("pandas", "duckdb"), "exponents.csv", quick=False,
    ),
    Table("trace_gz", "gz", "rewarm, batches", ("floor: isal, drained",), ("polars", "pyarrow"), "request.csv.gz", quick=False),
)  # fmt: skip


@dataclass(frozen=True)
class Options:
    """What the command line asked for."""

    quick: bool = False
    cases: tuple[str, ...] = ()
    threads: tuple[int, ...] = ()
    rounds: int | None = None
    megabytes: float | None = None
    pin: bool = True
    command: tuple[str, ...] = ("rewarm", "bench", "--only", "trace")


def run(options: Options) -> dict[str, Any]:
    """Measures, prints, and returns what the JSON holds.

    Raises:
        RewarmError: Cases that do not compute the same, or ours does not run.
    """
    tables = _chosen(options)
    console = display.console()
    header = hardware.header(None, list(options.command))
    before = usable_cpus()
    counts = options.threads or tuple(sorted({1, min(2, len(before))}))
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    megabytes = options.megabytes or (QUICK_MEGABYTES if options.quick else MEGABYTES)
    notes: list[str] = []
    results: list[dict[str, Any]] = []

    def say(line: str) -> None:
        notes.append(line)
        console.print(line, markup=False)

    processors = hardware.choose_cpus(max(counts)) if options.pin else None
    header |= {"pinned_cpus": processors, "megabytes": megabytes, "rounds": rounds}
    with tempfile.TemporaryDirectory(prefix="rewarm-bench-") as folder:
        begin = time.perf_counter()
        make_files(Path(folder), megabytes, tables)
        say(f"trace: files of {megabytes:g} MB made in {time.perf_counter() - begin:.0f} s")
        for suite in dict.fromkeys(table.suite for table in tables):
            of_suite = [table for table in tables if table.suite == suite]
            for threads in counts:
                job = Job(suite, Path(folder), threads, processors[:threads] if processors is not None else None)
                cases = _present(job, of_suite, say, check=threads == max(counts))
                timed = job.rounds(cases, rounds, [Path(folder) / table.inputs for table in of_suite])
                for table in of_suite:
                    found = _records(table, job, timed, _bytes(Path(folder) / table.inputs))
                    console.print(display.trace_table(found))
                    results += found
    header |= {"load_average_end": hardware.load_average(), "notes": notes}
    return {"header": header, "results": results}


def _chosen(options: Options) -> list[Table]:
    """The tables that were asked for by their names, "trace_" left out; without names all, or those of the quick run."""
    if not options.cases:
        return [table for table in TABLES if table.quick or not options.quick]
    known = {table.name.removeprefix("trace_"): table for table in TABLES}
    for name in options.cases:
        if name not in known:
            raise InvalidArgument(f"--cases: expected some of {', '.join(known)}, got {name!r}")
    return [table for name, table in known.items() if name in options.cases]


def make_files(folder: Path, megabytes: float, tables: Sequence[Table]) -> None:
    """Writes what the cases of these tables read."""
    wanted = {table.inputs for table in tables}
    if wanted - {"cold_start"}:
        trace_files.write_requests(folder / "request.csv", megabytes)
    if "exponents.csv" in wanted:
        trace_files.write_requests(folder / "exponents.csv", megabytes, spelling="exponents")
    if "request.csv.gz" in wanted:
        trace_files.pack(folder / "request.csv")
    if "cold_start" in wanted:
        trace_files.write_cold_starts(folder, megabytes)


def _inputs(path: Path) -> Iterator[Path]:
    return (p for p in sorted(path.rglob("*.csv"))) if path.is_dir() else iter((path,))


def _bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in _inputs(path))


@dataclass(frozen=True)
class Job:
    """The cases of one suite, at one number of threads, on these processors."""

    suite: str
    folder: Path
    threads: int
    processors: list[int] | None

    def one(self, case: str, result: Path | None = None) -> dict[str, float]:
        """Runs a case in a process of its own.

        Raises:
            RewarmError: It failed; the message is its last line.
        """
        command = [sys.executable, "-m", "rewarm.bench.trace_child", self.suite, case, str(self.threads), str(self.folder)]
        told = dict.fromkeys(("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "ARROW_NUM_THREADS"), str(self.threads))
        cpus = self.processors
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
            process = subprocess.Popen(
                command if result is None else [*command, str(result)],
                stdout=out,
                stderr=errors,
                env=os.environ | told,
                preexec_fn=(lambda: os.sched_setaffinity(0, cpus)) if cpus is not None else None,
            )
            try:
                _, status, usage = os.wait4(process.pid, 0)
            except BaseException:
                process.kill()
                process.wait()
                raise
            process.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            errors.seek(0)
            if process.returncode != 0:
                last = (errors.read().strip().splitlines() or [f"exit status {process.returncode}"])[-1]
                raise RewarmError(f"trace: {self.suite}, {case}: {last}")
            found: dict[str, float] = json.loads(out.read().splitlines()[-1])
        return found | {"user": usage.ru_utime, "system": usage.ru_stime, "peak": usage.ru_maxrss * 1024}

    def rounds(self, cases: Sequence[str], rounds: int, inputs: Sequence[Path]) -> dict[str, list[dict[str, float]]]:
        """Every case once a round, another one first each time."""
        found: dict[str, list[dict[str, float]]] = {case: [] for case in cases}
        for index in range(rounds):
            for path in dict.fromkeys(inputs):
                for file in _inputs(path):
                    trace_cases.read_through(file)  # files are warm
            for i in range(len(cases)):
                case = cases[(i + index * max(1, len(cases) // rounds)) % len(cases)]
                found[case].append(self.one(case))
        return found


def _present(job: Job, tables: Sequence[Table], say: Callable[[str], None], check: bool) -> list[str]:
    """The cases whose library is here, after those that can differ were found to agree with ours."""
    cases = []
    for case in dict.fromkeys(case for table in tables for case in table.cases):
        library = case.partition(",")[0]
        if library in LIBRARIES and importlib.util.find_spec(library) is None:
            say(f"trace: {case}: left out, {library} is not installed")
        else:
            cases.append(case)
    outcomes: dict[str, Any] = {}
    for case in list(cases):
        try:
            with tempfile.TemporaryDirectory() as folder:
                result = Path(folder) / "outcome.json"
                job.one(case, result if check else None)
                outcomes[case] = json.loads(result.read_text()) if check else None
        except RewarmError as error:
            if case.startswith(("rewarm", "floor")):
                raise
            say(f"{error}: left out")
            cases.remove(case)
    if check:
        ours = next(table.ours for table in tables)
        for case in cases:
            compare(f"{job.suite}: {case} against {ours}", outcomes[ours], outcomes[case])
    return cases


def compare(where: str, ours: Any, theirs: Any) -> None:
    """Raises unless two outcomes agree: what both of them have, for columns; every group, for groups."""
    if isinstance(ours, dict):
        for name in set(ours) & set(theirs):
            if ours[name] != theirs[name]:
                raise RewarmError(f"trace: {where}: {name} differs: {ours[name]!r}, {theirs[name]!r}")
        return
    if not isinstance(theirs, list):
        return  # a floor
    if len(ours) != len(theirs):
        raise RewarmError(f"trace: {where}: {len(ours)} groups, {len(theirs)}")
    for mine, other in zip(ours, theirs, strict=True):
        if not (_same_hour if len(mine) == 6 else _same_group)(mine, other):
            raise RewarmError(f"trace: {where}: {mine}, {other}")


def _same_group(mine: list[Any], other: list[Any]) -> bool:
    """funcName, userID, rows, mean, max, min, max."""
    *keys, mean, most, first, cluster = mine
    return [*keys, most, first, cluster] == [*other[:3], *other[4:]] and math.isclose(mean, other[3], rel_tol=_MEAN_TOLERANCE)


def _same_hour(mine: list[Any], other: list[Any]) -> bool:
    """region, runtime, hour, rows, p50, p99; quantiles where both libraries mean the same rank (duckdb rounds up)."""
    if mine[:4] != [None if isinstance(x, float) and math.isnan(x) else x for x in other[:4]]:
        return False
    rows = mine[3]
    for q, a, b in ((0.5, mine[4], other[4]), (0.99, mine[5], other[5])):
        if math.floor(q * (rows - 1)) == max(0, math.ceil(q * rows) - 1) and not math.isclose(
            a, b, rel_tol=_QUANTILE_TOLERANCE
        ):
            return False
    return True


def _records(table: Table, job: Job, timed: dict[str, list[dict[str, float]]], size: int) -> list[dict[str, Any]]:
    found = {case: Statistics.of([run["wall"] for run in timed[case]]) for case in table.cases if case in timed}
    floor = found.get("floor: read()") or found.get("floor: isal, drained")
    return [
        {
            "workload": table.name,
            "dtype": "",
            "arm": "trace",
            "variant": case,
            "device": "cpu",
            "threads": job.threads,
            **statistics_of_case.as_fields(),
            "bytes": size,
            "floor_s": floor.median if floor else None,
            "ratio_to_ours": statistics_of_case.median / found[table.ours].median,
            "ours": table.ours,
            "peak_over_import_bytes": max(run["peak_over_import"] for run in timed[case]),
            "user_s": statistics.median(run["user"] for run in timed[case]),
            "system_s": statistics.median(run["system"] for run in timed[case]),
        }
        for case, statistics_of_case in found.items()
    ]
