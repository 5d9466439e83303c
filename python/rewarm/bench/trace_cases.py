"""The cases of the trace benchmarks that are ours, the floors, and the forms in which all outcomes must agree.

A case sets everything up, then returns the call that is timed and what turns its outcome into a comparable form. The peers'
cases are in `trace_peers`; `trace_child` runs one in a process.
"""

from __future__ import annotations

import functools
import hashlib
import mmap
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rewarm.bench.trace_files import COLD_START_COLUMNS, REQUEST_COLUMNS

#: What the grouping reads.
FIVE = ("time_worker", "clusterName", "funcName", "userID", "totalCost_worker")
_INTEGERS = ("clusterName", "funcName", "userID", "requestBodySize", "day")
_TEXTS = ("requestID", "podID")
Prepared = tuple[Callable[[], Any], Callable[[Any], Any]]
CASES: dict[tuple[str, str], Callable[[Path, int], Prepared]] = {}


def case(workload: str, name: str) -> Callable[[Callable[..., Prepared]], Callable[..., Prepared]]:
    """Registers a case."""

    def register(function: Callable[..., Prepared]) -> Callable[..., Prepared]:
        CASES[workload, name] = function
        return function

    return register


def columns_of(kind: str) -> list[str]:
    """The published columns."""
    return (REQUEST_COLUMNS if kind == "request" else COLD_START_COLUMNS).split(",")


def kind_of(column: str) -> str:
    """One of "text", "integer" and "number"."""
    return "text" if column in _TEXTS else "integer" if column in _INTEGERS else "number"


# ---- forms in which outcomes are compared ----------------------------------------------------------------------------


def digest_of_arrow(table: Any) -> dict[str, Any]:
    """Rows and a digest of every published column: floats by their bits, ids and pods as text, null apart from everything."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found: dict[str, Any] = {"rows": table.num_rows}
    if "poolName" in table.column_names:  # ours: a pod taken apart
        serial = pc.utf8_lpad(table["pod_serial"].cast(pa.string()), 10, "0")
        pods = pc.binary_join_element_wise(table["poolName"].cast(pa.string()), serial, "-")
        table = table.append_column("podID", pods)
    for name in columns_of("request"):
        column = table[name].combine_chunks()
        if kind_of(name) == "text":
            if pa.types.is_fixed_size_binary(column.type):
                raw = np.frombuffer(column.buffers()[1], np.uint8)[: len(column) * column.type.byte_width]
                text = raw.tobytes().hex().encode()
            else:
                text = "".join(column.to_pylist()).encode()
            found[name] = hashlib.sha256(text).hexdigest()
        else:
            values = np.array(column.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
            values[np.isnan(values)] = np.nan
            found[name] = hashlib.sha256(values.tobytes()).hexdigest()
    return found


def groups_of(rows: Any) -> list[Any]:
    """Sorted rows; floats keep their bits."""
    return sorted([list(row) for row in rows], key=lambda row: [str(cell) for cell in row[:3]])


def _arrow(stream: Any) -> Any:
    import pyarrow as pa

    return pa.RecordBatchReader.from_stream(stream).read_all()


def counted(batches: Any) -> dict[str, int]:
    """Goes through batches without keeping one."""
    return {"rows": sum(batch.num_rows for batch in batches)}


# ---- floors ----------------------------------------------------------------------------------------------------------


@functools.cache
def _pages() -> mmap.mmap:
    return mmap.mmap(-1, 1 << 20)


def read_through(path: Path) -> dict[str, int]:
    """Every byte once through a buffer of 1 MiB: what no reader can beat.

    The buffer begins on a page: where text lands a few bytes further in its page than it lies in the file's, the copy is
    several times slower on some processors (seen on Zen 3: 2.5 instead of 12 GB/s), and a bytearray begins 16 bytes into one.
    One buffer for all files: its pages would be touched anew for each.
    """
    buffer = _pages()
    with open(path, "rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
    return {}


@case("request", "floor: read()")
@case("group", "floor: read()")
def _(folder: Path, threads: int) -> Prepared:
    return lambda: read_through(folder / "request.csv"), dict


@case("exponents", "floor: read()")
def _(folder: Path, threads: int) -> Prepared:
    return lambda: read_through(folder / "exponents.csv"), dict


@case("hourly", "floor: read()")
def _(folder: Path, threads: int) -> Prepared:
    def run() -> dict[str, int]:
        for path in cold_start_files(folder):
            read_through(path)
        return {}

    return run, dict


@case("request", "floor: wc -l")
def _(folder: Path, threads: int) -> Prepared:
    command = ["wc", "-l", str(folder / "request.csv")]
    return lambda: {"rows": int(subprocess.run(command, capture_output=True, check=True).stdout.split()[0]) - 1}, dict


# ---- all columns -----------------------------------------------------------------------------------------------------


def _ours_kept(path: Path, threads: int, **options: Any) -> Prepared:
    import pyarrow  # noqa: F401 - imports are not timed

    from rewarm import trace

    return lambda: _arrow(trace.read(path, threads=threads, **options)), digest_of_arrow


def _ours_batches(path: Path, threads: int) -> Prepared:
    from rewarm import trace

    def run() -> dict[str, int]:
        with trace.batches(path, threads=threads) as batches:
            return counted(batches)

    return run, dict


@case("request", "rewarm")
def _(folder: Path, threads: int) -> Prepared:
    return _ours_kept(folder / "request.csv", threads)


@case("request", 'rewarm, ids="text"')
def _(folder: Path, threads: int) -> Prepared:
    return _ours_kept(folder / "request.csv", threads, ids="text")


@case("request", "rewarm, batches")
def _(folder: Path, threads: int) -> Prepared:
    return _ours_batches(folder / "request.csv", threads)


# ---- five columns and a group ----------------------------------------------------------------------------------------


@case("group", "rewarm")
def _(folder: Path, threads: int) -> Prepared:
    from rewarm.trace.aggregate import aggregate

    path, values = folder / "request.csv", ("totalCost_worker", "time_worker", "clusterName")

    def rows(found: Any) -> list[Any]:
        names = (
            "funcName",
            "userID",
            "rows",
            "totalCost_worker_mean",
            "totalCost_worker_max",
            "time_worker_min",
            "clusterName_max",
        )
        table = _arrow(found)
        return groups_of(zip(*(table[name].to_pylist() for name in names), strict=True))

    return lambda: aggregate(path, by=("funcName", "userID"), values=values, workers=threads), rows


# ---- 155 files, joined with the runtime tables -----------------------------------------------------------------------


def cold_start_files(folder: Path) -> list[Path]:
    """The 155."""
    return sorted((folder / "cold_start").rglob("*.csv"))


@case("hourly", "rewarm")
def _(folder: Path, threads: int) -> Prepared:
    from rewarm.trace.aggregate import aggregate

    def run() -> Any:
        return aggregate(
            folder / "cold_start", by=("region", "runtime", "hour"), values=("totalCost_cold_start",), quantiles=(0.5, 0.99),
            runtime=folder / "runtime", workers=threads,
        )  # fmt: skip

    def rows(found: Any) -> list[Any]:
        table = _arrow(found)
        names = ("region", "runtime", "hour", "rows", "totalCost_cold_start_p50", "totalCost_cold_start_p99")
        return groups_of(zip(*(table[name].to_pylist() for name in names), strict=True))

    return run, rows


# ---- spellings and compression ---------------------------------------------------------------------------------------


@case("exponents", "rewarm, batches")
def _(folder: Path, threads: int) -> Prepared:
    return _ours_batches(folder / "exponents.csv", threads)


@case("exponents", "rewarm, batches, plain spelling")
def _(folder: Path, threads: int) -> Prepared:
    return _ours_batches(folder / "request.csv", threads)


@case("exponents", "rewarm")
def _(folder: Path, threads: int) -> Prepared:
    return _ours_kept(folder / "exponents.csv", threads)


@case("gz", "rewarm, batches")
def _(folder: Path, threads: int) -> Prepared:
    return _ours_batches(folder / "request.csv.gz", threads)


@case("gz", "floor: isal, drained")
def _(folder: Path, threads: int) -> Prepared:
    from isal import isal_zlib

    # The call of rewarm.trace.decoder, which asks for 256 KiB at most: isal doubles its buffer up to the limit, and with 1 MiB
    # the same drain took up to half as long again (Zen 3, isal 1.9.1).
    def run() -> dict[str, int]:
        decoder = isal_zlib.decompressobj(31)
        with open(folder / "request.csv.gz", "rb", buffering=0) as file:
            while chunk := file.read(256 << 10):
                while chunk:
                    decoder.decompress(chunk, 256 << 10)
                    chunk = decoder.unconsumed_tail
        return {}

    return run, dict
