"""A stand-in for the Huawei Public Cloud Trace 2025: its folders, spellings, counts and distributions, made from a seed."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np

from rewarm import __version__
from rewarm.errors import InvalidArgument
from rewarm.trace.synthetic_cold_start import ColdStartBlock, ColdStarts, published_day_counts
from rewarm.trace.synthetic_files import (
    Cancelled,
    PlannedFile,
    Style,
    TextColumn,
    checked_oddities,
    suffix,
    write_archive,
    write_file,
    written,
)
from rewarm.trace.synthetic_functions import functions_of
from rewarm.trace.synthetic_loads import POOLS, RUNTIMES, stream
from rewarm.trace.synthetic_minute import MinuteTables
from rewarm.trace.synthetic_regions import CPU_REQUEST, DAYS, REGION_TABLE, REGIONS
from rewarm.trace.synthetic_request import REQUEST_DAY, Requests

__all__ = ["MARKER", "generate"]

#: Beside the tables; begins with "_", so readers pass over it and reports can tell that the data is made up.
MARKER = "_rewarm_synthetic.json"

_ROOT = "datasets/cold_start_dataset"
_TABLES = ("cold_start", "request", "runtime", "minute")
_MISSING_DAYS = (5, 17)
_HOLE_DAY, _HOLE_HOURS = 2, (3, 7)
#: Cold starts of a region: each has a serial of ten digits from 64-bit arithmetic.
_MOST_ROWS = 2_000_000_000
#: Bytes of a row, for the check of free space: plain text of region 2.
_COLD_START_BYTES, _REQUEST_BYTES = 175, 270
#: Request parts as Spark leaves them: 200 of them where there is enough to fill them.
_PARTS, _PART_ROWS = 200, 20_000

_COLD_START_COLUMNS = (
    "day", "time", "clusterName", "funcName", "userID", "requestID", "totalCost_cold_start", "podAllocationCost",
    "deployCodeCost", "deployDependencyCost", "schedulingCost", "podID",
)  # fmt: skip


def generate(
    out: str | os.PathLike[str],
    *,
    region: str | Sequence[str] = REGIONS,
    scale: float = 1.0,
    rows: int | None = None,
    days: int = DAYS,
    seed: int = 0,
    tables: str | Sequence[str] = _TABLES,
    oddities: str | Sequence[str] = (),
    overwrite: bool = False,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Writes a calibrated stand-in of the release below `out`, in its layout (datasets/cold_start_dataset/...) and spelling.

    Calibrated to published numbers (Joosen et al., EuroSys 2025, its figures, and the authors' notebooks): cold starts per
    day and hour, functions, users, runtimes and triggers of region 2, how long the components of a cold start take. It is
    made up all the same: a marker file says so, and reports repeat it. The bytes depend on the arguments and on the
    versions of rewarm and numpy (and, in the last digit of a rare value, on the processor, because numpy's exp does), but
    not on `threads` nor on which other regions, tables or days are asked for. Every file appears under its name only when
    it is whole.

    Args:
        out: Folder to write to; made if missing.
        region: "R1" to "R5", one or several. The runtime table is only published for R2.
        scale: Multiplies the numbers of events; the functions stay. At 1, region 2 has 2,072,823 cold starts, and the
            request table (day 30 only) as many rows as the release or as the load of that day: hundreds of millions in
            R1, R2 and R4.
        rows: Cold starts of each region over the written days; replaces `scale`, which then follows from it for each region.
        days: Days 0 to days - 1 are written, 1 to 31.
        seed: Of the random numbers.
        tables: "cold_start", "request", "runtime", "minute", one or several.
        oddities: Traps to spring on readers: see `rewarm.trace.synthetic_files.ODDITIES`.
        overwrite: Replace what an earlier call wrote here. A folder with anything else in it is refused.
        threads: Files written at the same time; default: processors that this process may use.
        progress: Called in this thread with (rows written, rows in all) at most ten times a second.

    Returns:
        Paths of the written files, sorted.

    Raises:
        InvalidArgument: An argument is not accepted, the folder is not empty, or the disk has no room for what was asked.
    """
    chosen = _several("region", region, REGIONS)
    wanted = _several("tables", tables, _TABLES)
    odd = checked_oddities(oddities)
    if rows is not None and (isinstance(rows, bool) or not isinstance(rows, int) or rows < 1):
        raise InvalidArgument(f"generate: rows: expected a whole number >= 1, got {rows!r}")
    if not (isinstance(scale, (int, float)) and 0 < scale < 1000):
        raise InvalidArgument(f"generate: scale: expected a number in (0, 1000), got {scale!r}")
    if isinstance(days, bool) or not isinstance(days, int) or not 1 <= days <= DAYS:
        raise InvalidArgument(f"generate: days: expected a whole number in [1, {DAYS}], got {days!r}")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise InvalidArgument(f"generate: seed: expected a whole number, got {seed!r}")
    workers = len(os.sched_getaffinity(0)) if threads is None else threads
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise InvalidArgument(f"generate: threads: expected a whole number >= 1, got {threads!r}")

    folder = Path(out)
    cancel = threading.Event()
    plan: list[PlannedFile] = []
    for name in chosen:
        factor = scale if rows is None else rows / float(published_day_counts(name)[:days].sum())
        cold = ColdStarts(name, seed, factor)
        if cold.rows > _MOST_ROWS:
            raise InvalidArgument(
                f"generate: expected at most {_MOST_ROWS:,} cold starts in the 31 days of a region, got {cold.rows:,} in {name}"
            )
        if "cold_start" in wanted:
            plan += _plan_cold_start(cold, days, odd)
        if "request" in wanted and days > REQUEST_DAY:
            plan += _plan_request(cold, odd)
        if "minute" in wanted:
            plan += _plan_minute(cold, days, odd)
    if "runtime" in wanted:
        plan += _plan_runtime(seed, odd)
    _check_room(folder, plan, odd)
    jobs = _jobs(folder, plan, odd)
    _prepare(folder, overwrite)
    marker = {
        "synthetic": True,
        "rewarm": __version__,
        "numpy": np.__version__,
        "seed": seed,
        "scale": None if rows is not None else scale,
        "rows": rows,
        "days": days,
        "region": list(chosen),
        "tables": list(wanted),
        "oddities": sorted(odd),
        "complete": False,
        "files": sorted(str(path.relative_to(folder)) for path, _ in jobs),
    }
    _write_marker(folder, marker)
    _run([job for _, job in jobs], workers, sum(planned.rows for planned in plan), cancel, progress)
    if "spark_success" in odd:
        marker["files"] = sorted([*_strings(marker["files"]), *_spark_leftovers(folder, plan)])
    marker["complete"] = True
    _write_marker(folder, marker)
    return [str(folder / name) for name in _strings(marker["files"])]


def _strings(value: Any) -> list[str]:
    return [str(item) for item in value]


def _several(name: str, value: str | Sequence[str], accepted: tuple[str, ...]) -> tuple[str, ...]:
    values = (value,) if isinstance(value, str) else tuple(value)
    unknown = [v for v in values if v not in accepted]
    if unknown or not values:
        raise InvalidArgument(f"generate: {name}: expected one or several of {', '.join(accepted)}, got {value!r}")
    return tuple(dict.fromkeys(values))


def _days(days: int, odd: frozenset[str]) -> list[int]:
    return [day for day in range(days) if not ("missing_days" in odd and day in _MISSING_DAYS)]


def _plan_cold_start(cold: ColdStarts, days: int, odd: frozenset[str]) -> list[PlannedFile]:
    style = Style("java" if "exponents" in odd else "python" if "python_exponents" in odd else "decimal", odd)

    def chunks(day: int) -> Iterator[tuple[bytes, int]]:
        yield style.header(_COLD_START_COLUMNS), 0
        first = 0
        for nth, block in enumerate(cold.blocks(day)):
            keep = _kept_rows(cold, block, nth, odd)
            columns = _cold_start_columns(cold, block, keep, style)
            yield style.rows(columns, len(keep), first), len(block.function)
            first += len(keep)

    return [
        PlannedFile(
            f"{_ROOT}/cold_start/{cold.region}/day_{day:02d}.csv",
            cold.day_rows(day),
            cold.day_rows(day) * _COLD_START_BYTES,
            lambda day=day: chunks(day),  # type: ignore[misc]
        )
        for day in _days(days, odd)
    ]


def _kept_rows(cold: ColdStarts, block: ColdStartBlock, nth: int, odd: frozenset[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Which rows of a block are written, in which order."""
    keep = np.arange(len(block.function))
    if "day_hole" in odd and block.day == _HOLE_DAY:
        hour = block.time_ms // 3_600_000 - 24 * block.day
        keep = keep[(hour < _HOLE_HOURS[0]) | (hour >= _HOLE_HOURS[1])]
    if "unsorted" in odd:
        keep = stream(cold.seed, cold.region, "unsorted", block.day, nth).permutation(keep)
    return keep


def _cold_start_columns(cold: ColdStarts, block: ColdStartBlock, keep: Any, style: Style) -> list[TextColumn]:
    functions = cold.functions
    function = block.function[keep]
    return [
        ("day", ("integer", None, np.full(len(keep), block.day))),
        ("time", ("decimal", None, block.time_ms[keep], 3, 1)),
        style.integer("clusterName", block.cluster[keep]),
        style.integer("funcName", functions.funcName[function]),
        style.integer("userID", functions.userID[function]),
        style.ids("requestID", np.ascontiguousarray(block.requestID[keep])),
        style.number("totalCost_cold_start", block.total_us[keep], 6),
        style.number("podAllocationCost", block.alloc_ns[keep], 9),
        style.number("deployCodeCost", block.code_ms[keep], 3),
        style.number("deployDependencyCost", block.dependency_ms[keep], 3),
        style.number("schedulingCost", block.scheduling_ns[keep], 9),
        ("podID", ("pod", None, functions.pool[function], list(POOLS), block.serial[keep])),
    ]


def _plan_runtime(seed: int, odd: frozenset[str]) -> list[PlannedFile]:
    style = Style("decimal", odd - {"index_column", "column_order"})

    def chunks() -> Iterator[tuple[bytes, int]]:
        functions = functions_of("R2", seed)
        names = functions.ids
        cpu = [CPU_REQUEST[int(POOLS[pool].split("-")[-2])] for pool in functions.pool.tolist()]
        n = len(functions)
        code = np.arange(n, dtype=np.int32)
        columns: list[TextColumn] = [
            ("funcID", ("word", None, code, names)),
            ("cpu_request", ("integer", None, np.array(cpu, np.int64))),
            ("runtime", ("word", None, functions.runtime.astype(np.int32), list(RUNTIMES))),
            ("triggerType-invocationType", ("word", None, code, functions.triggers)),
        ]
        yield style.header([name for name, _ in columns]), 0
        yield style.rows(columns, n, 0), n

    rows = REGION_TABLE["R2"].functions
    return [PlannedFile(f"{_ROOT}/runtime_triggerType/df_funcID_runtime_triggerType.csv", rows, rows * 60, chunks)]


def _plan_request(cold: ColdStarts, odd: frozenset[str]) -> list[PlannedFile]:
    requests = Requests(cold)
    small = "python" if "python_exponents" in odd else "decimal" if "plain_decimals" in odd else "java"
    style = Style(small, odd)
    parts = max(1, min(_PARTS, requests.rows // _PART_ROWS))
    spark = stream(cold.seed, cold.region, "request", "uuid").integers(0, 256, 16, np.uint8).tobytes().hex()
    uuid = "-".join((spark[:8], spark[8:12], spark[12:16], spark[16:20], spark[20:]))

    def chunks(part: int) -> Iterator[tuple[bytes, int]]:
        first = 0
        for nth, (columns, n) in enumerate(requests.blocks(part, parts, style)):
            if first == 0 and nth == 0:
                yield style.header([name for name, _ in columns]), 0
            yield style.rows(columns, n, first), n
            first += n

    return [
        PlannedFile(
            f"{_ROOT}/per_request/{cold.region}/part-{part:05d}-{uuid}-c000.csv",
            requests.rows // parts,
            requests.rows // parts * _REQUEST_BYTES,
            lambda part=part: chunks(part),  # type: ignore[misc]
        )
        for part in range(parts)
    ]


def _plan_minute(cold: ColdStarts, days: int, odd: frozenset[str]) -> list[PlannedFile]:
    minutes = MinuteTables(cold)
    style = Style("decimal", odd - {"index_column", "column_order", "quoted", "no_final_newline"})
    return [
        PlannedFile(
            f"{_ROOT}/quantiles/{cold.region}/{metric}/day_{day:02d}.csv",
            1440,
            1440 * (len(cold.functions) + 12),
            lambda metric=metric, day=day: minutes.chunks(metric, day, style),  # type: ignore[misc]
        )
        for day in _days(days, odd)
        for metric in minutes.metrics
    ]


Job = Callable[[Callable[[int], None]], None]


def _jobs(folder: Path, plan: list[PlannedFile], odd: frozenset[str]) -> list[tuple[Path, Job]]:
    """What one worker does at a time, with the path that it leaves: a file, or a whole archive."""
    if "zip" not in odd:
        return [
            (folder / (planned.path + suffix(odd)), lambda told, planned=planned: write_file(folder, planned, odd, told))  # type: ignore[misc]
            for planned in plan
        ]
    archives: dict[Path, list[tuple[str, PlannedFile]]] = {}
    for planned in plan:
        path = Path(planned.path)
        table, place = path.relative_to(_ROOT).parts[0], path.relative_to(_ROOT).parts[1:]
        archive = folder / _ROOT / table / (f"{place[0]}.zip" if len(place) > 1 else f"{table}.zip")
        archives.setdefault(archive, []).append(("/".join(place), planned))
    return [
        (archive, lambda told, archive=archive, members=members: write_archive(archive, members, odd, told))  # type: ignore[misc]
        for archive, members in archives.items()
    ]


def _check_room(folder: Path, plan: list[PlannedFile], odd: frozenset[str]) -> None:
    """Refuses before anything is written: at scale 1 a day of requests is larger than most disks."""
    need = sum(planned.size for planned in plan)
    if odd & {"zip", "gzip", "zstd"}:
        need //= 3
    place = folder
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if need > free:
        raise InvalidArgument(
            f"generate: about {need / 1e9:.1f} GB are needed and {folder} has {free / 1e9:.1f} GB free: take a smaller "
            'scale, fewer regions, or leave tables out (tables=("cold_start", "runtime"))'
        )


def _prepare(folder: Path, overwrite: bool) -> None:
    """An empty folder, or one that an earlier call filled and this one may replace."""
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.iterdir()):
        return
    marker = folder / MARKER
    if not overwrite:
        raise InvalidArgument(
            f"generate: out: {folder} is not empty; overwrite=True replaces what an earlier generate wrote there"
        )
    if not marker.exists():
        raise InvalidArgument(
            f"generate: out: {folder} holds files but no {MARKER}: generate only replaces what it wrote itself"
        )
    for name in json.loads(marker.read_text())["files"]:
        path = folder / name
        if folder.resolve() in path.resolve().parents:
            path.unlink(missing_ok=True)
            path.with_name(f".{path.name}.part").unlink(missing_ok=True)


def _write_marker(folder: Path, marker: dict[str, Any]) -> None:
    with written(folder / MARKER) as file:
        file.write((json.dumps(marker, indent=1) + "\n").encode())


def _spark_leftovers(folder: Path, plan: list[PlannedFile]) -> list[str]:
    """_SUCCESS and an empty part in every folder of parts, as Spark leaves them."""
    names = []
    for place in sorted({str(Path(planned.path).parent) for planned in plan if "/per_request/" in planned.path}):
        for name in ("_SUCCESS", "part-99999-empty-c000.csv"):
            with written(folder / place / name):
                pass
            names.append(f"{place}/{name}")
    return names


def _run(
    jobs: list[Job], workers: int, rows: int, cancel: threading.Event, progress: Callable[[int, int], None] | None
) -> None:
    """Runs the jobs on threads; the first error, or Ctrl-C, ends the others at the edge of a block."""
    done = [0]
    lock = threading.Lock()

    def told(n: int) -> None:
        if cancel.is_set():
            raise Cancelled
        with lock:
            done[0] += n

    with ThreadPoolExecutor(workers) as pool:
        waiting: set[Future[None]] = {pool.submit(job, told) for job in jobs}
        try:
            while waiting:
                finished, waiting = wait(waiting, timeout=0.1, return_when=FIRST_COMPLETED)
                for future in finished:
                    future.result()
                if progress is not None:
                    progress(min(done[0], rows), rows)
        except BaseException:
            cancel.set()
            for future in waiting:
                future.cancel()
            raise
    if progress is not None:
        progress(rows, rows)
