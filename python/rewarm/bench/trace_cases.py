"""``python -m rewarm.bench.trace_cases WORKLOAD CASE THREADS FOLDER [RESULT]``: one case of the trace benchmarks in this process.

Prints one line of JSON: wall seconds around the call, imports excluded, rows, and peak memory over what the imports took.
With RESULT the outcome is also written there in a form in which all cases must agree. A case is told its number of threads;
the parent also confines the process to as many processors, because telling alone does not bind every library.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rewarm.bench.trace_files import COLD_START_COLUMNS, REQUEST_COLUMNS

FIVE = ("time_worker", "clusterName", "funcName", "userID", "totalCost_worker")
_INTEGERS = ("clusterName", "funcName", "userID", "requestBodySize", "day")
_TEXTS = ("requestID", "podID")
#: A case sets everything up, then returns the call that is timed and what turns its outcome into a comparable form.
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
    """ "text", "integer" or "number"."""
    return "text" if column in _TEXTS else "integer" if column in _INTEGERS else "number"


# ---- forms in which outcomes are compared ---------------------------------------------------------------------------------


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


def _counted(batches: Any) -> dict[str, int]:
    """Goes through batches without keeping one."""
    return {"rows": sum(batch.num_rows for batch in batches)}


# ---- floors ---------------------------------------------------------------------------------------------------------------


def read_through(path: Path) -> dict[str, int]:
    """Every byte once through a buffer of 1 MiB: what no reader can beat."""
    buffer = bytearray(1 << 20)
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
        for path in _files(folder):
            read_through(path)
        return {}

    return run, dict


@case("request", "floor: wc -l")
def _(folder: Path, threads: int) -> Prepared:
    command = ["wc", "-l", str(folder / "request.csv")]
    return lambda: {"rows": int(subprocess.run(command, capture_output=True, check=True).stdout.split()[0]) - 1}, dict


# ---- all columns ----------------------------------------------------------------------------------------------------------


def _ours_kept(path: Path, threads: int, **options: Any) -> Prepared:
    import pyarrow  # noqa: F401 - imports are not timed

    from rewarm import trace

    return lambda: _arrow(trace.read(path, threads=threads, **options)), digest_of_arrow


def _ours_batches(path: Path, threads: int) -> Prepared:
    from rewarm import trace

    def run() -> dict[str, int]:
        with trace.batches(path, threads=threads) as batches:
            return _counted(batches)

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


@case("request", "pandas")
def _(folder: Path, threads: int) -> Prepared:
    pandas = _pandas(threads)
    import pyarrow as pa

    return lambda: pandas.read_csv(folder / "request.csv"), lambda frame: digest_of_arrow(pa.Table.from_pandas(frame))


@case("request", "pandas, chunks")
def _(folder: Path, threads: int) -> Prepared:
    pandas = _pandas(threads)
    return lambda: {"rows": sum(map(len, pandas.read_csv(folder / "request.csv", chunksize=65536)))}, dict


@case("request", "polars")
def _(folder: Path, threads: int) -> Prepared:
    polars = _polars()
    return lambda: polars.read_csv(folder / "request.csv", schema=_polars_schema("request")), lambda f: digest_of_arrow(
        f.to_arrow()
    )


@case("request", "polars, streaming")
def _(folder: Path, threads: int) -> Prepared:
    polars = _polars()

    def run() -> dict[str, int]:
        scanned = polars.scan_csv(folder / "request.csv", schema=_polars_schema("request"))
        return {"rows": sum(frame.height for frame in scanned.collect_batches())}

    return run, dict


@case("request", "duckdb")
def _(folder: Path, threads: int) -> Prepared:
    connection = _duckdb(threads)
    source = _duckdb_source(folder / "request.csv", "request")

    def run() -> Any:
        connection.execute(f"CREATE TABLE t AS SELECT * FROM {source}")
        return connection

    return run, lambda c: digest_of_arrow(_duckdb_arrow(c.execute("SELECT * FROM t")))


@case("request", "duckdb, to Arrow")
def _(folder: Path, threads: int) -> Prepared:
    connection = _duckdb(threads)
    source = _duckdb_source(folder / "request.csv", "request")
    return lambda: _duckdb_arrow(connection.execute(f"SELECT * FROM {source}")), digest_of_arrow


@case("request", "duckdb, streaming")
def _(folder: Path, threads: int) -> Prepared:
    connection = _duckdb(threads)
    source = _duckdb_source(folder / "request.csv", "request")

    def run() -> dict[str, int]:
        found = connection.execute(f"SELECT * FROM {source}")
        return _counted(found.to_arrow_reader(65536) if hasattr(found, "to_arrow_reader") else found.fetch_record_batch(65536))

    return run, dict


@case("request", "pyarrow")
def _(folder: Path, threads: int) -> Prepared:
    csv, read, convert = _pyarrow(threads, "request")
    return lambda: csv.read_csv(folder / "request.csv", read_options=read, convert_options=convert), digest_of_arrow


@case("request", "pyarrow, streaming")
def _(folder: Path, threads: int) -> Prepared:
    csv, read, convert = _pyarrow(threads, "request")
    return lambda: _counted(csv.open_csv(folder / "request.csv", read_options=read, convert_options=convert)), dict


# ---- five columns and a group -----------------------------------------------------------------------------------------------


@case("group", "rewarm")
def _(folder: Path, threads: int) -> Prepared:
    from rewarm import trace

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

    return lambda: trace.aggregate(path, by=("funcName", "userID"), values=values, workers=threads), rows


@case("group", "pandas")
def _(folder: Path, threads: int) -> Prepared:
    pandas = _pandas(threads)

    def run() -> Any:
        frame = pandas.read_csv(folder / "request.csv", usecols=list(FIVE))
        return frame.groupby(["funcName", "userID"]).agg(
            n=("totalCost_worker", "size"), mean=("totalCost_worker", "mean"), most=("totalCost_worker", "max"),
            first=("time_worker", "min"), cluster=("clusterName", "max"),
        )  # fmt: skip

    return run, lambda frame: groups_of(frame.reset_index().itertuples(index=False))


def _polars_group(folder: Path, engine: str) -> Prepared:
    polars = _polars()

    def run() -> Any:
        scanned = polars.scan_csv(folder / "request.csv", schema=_polars_schema("request")).select(FIVE)
        cost = polars.col("totalCost_worker")
        grouped = scanned.group_by("funcName", "userID").agg(
            polars.len(), cost.mean().alias("mean"), cost.max().alias("most"), polars.col("time_worker").min(),
            polars.col("clusterName").max(),
        )  # fmt: skip
        return grouped.collect(engine=engine)

    return run, lambda frame: groups_of(frame.rows())


@case("group", "polars")
def _(folder: Path, threads: int) -> Prepared:
    return _polars_group(folder, "auto")


@case("group", "polars, streaming")
def _(folder: Path, threads: int) -> Prepared:
    return _polars_group(folder, "streaming")


@case("group", "duckdb")
def _(folder: Path, threads: int) -> Prepared:
    connection = _duckdb(threads)
    query = (
        "SELECT funcName, userID, count(*), avg(totalCost_worker), max(totalCost_worker), min(time_worker), max(clusterName) "
        f"FROM {_duckdb_source(folder / 'request.csv', 'request')} GROUP BY 1, 2"
    )
    return lambda: connection.execute(query).fetchall(), groups_of


@case("group", "pyarrow")
def _(folder: Path, threads: int) -> Prepared:
    csv, read, convert = _pyarrow(threads, "request")
    convert.include_columns = list(FIVE)
    wanted = [("totalCost_worker", "count"), ("totalCost_worker", "mean"), ("totalCost_worker", "max"), ("time_worker", "min")]

    def run() -> Any:
        table = csv.read_csv(folder / "request.csv", read_options=read, convert_options=convert)
        return table.group_by(["funcName", "userID"]).aggregate([*wanted, ("clusterName", "max")])

    def rows(table: Any) -> list[Any]:
        names = ["funcName", "userID"] + [f"{n}_{how}" for n, how in [*wanted, ("clusterName", "max")]]
        return groups_of(zip(*(table[name].to_pylist() for name in names), strict=True))

    return run, rows


# ---- 155 files, joined with the runtime tables ------------------------------------------------------------------------------


def _files(folder: Path) -> list[Path]:
    return sorted((folder / "cold_start").rglob("*.csv"))


def _runtime_files(folder: Path) -> list[Path]:
    return sorted((folder / "runtime").rglob("*.csv"))


@case("hourly", "rewarm")
def _(folder: Path, threads: int) -> Prepared:
    from rewarm import trace

    def run() -> Any:
        return trace.aggregate(
            folder / "cold_start", by=("region", "runtime", "hour"), values=("totalCost_cold_start",), quantiles=(0.5, 0.99),
            runtime=folder / "runtime", workers=threads,
        )  # fmt: skip

    def rows(found: Any) -> list[Any]:
        table = _arrow(found)
        names = ("region", "runtime", "hour", "rows", "totalCost_cold_start_p50", "totalCost_cold_start_p99")
        return groups_of(zip(*(table[name].to_pylist() for name in names), strict=True))

    return run, rows


def _polars_hourly(folder: Path, engine: str) -> Prepared:
    polars = _polars()
    schema = _polars_schema("cold_start")

    def run() -> Any:
        cold, functions = [], []
        for region in sorted(path.name for path in (folder / "cold_start").iterdir()):
            named = polars.lit(region).alias("region")
            files = [path for path in _files(folder) if path.parent.name == region]
            cold.append(polars.scan_csv(files, schema=schema).with_columns(named))
            for path in _runtime_files(folder):
                if path.parent.name == region:
                    functions.append(polars.scan_csv(path).with_columns(named).select("region", "funcID", "runtime"))
        pool = polars.col("podID").str.head(-11)  # the serial has ten digits and a hyphen
        joined = (
            polars.concat(cold)
            .with_columns(
                polars.concat_str(["funcName", "userID", pool], separator="---").alias("funcID"),
                (polars.col("time") // 3600).cast(polars.Int32).alias("hour"),
            )
            .join(polars.concat(functions), on=["region", "funcID"], how="left")
        )
        cost = polars.col("totalCost_cold_start")
        grouped = joined.group_by("region", "runtime", "hour").agg(
            polars.len(),
            cost.quantile(0.5, interpolation="lower").alias("p50"),
            cost.quantile(0.99, interpolation="lower").alias("p99"),
        )
        return grouped.collect(engine=engine)

    return run, lambda frame: groups_of(frame.rows())


@case("hourly", "polars")
def _(folder: Path, threads: int) -> Prepared:
    return _polars_hourly(folder, "auto")


@case("hourly", "polars, streaming")
def _(folder: Path, threads: int) -> Prepared:
    return _polars_hourly(folder, "streaming")


@case("hourly", "duckdb")
def _(folder: Path, threads: int) -> Prepared:
    connection = _duckdb(threads)
    cold = _duckdb_source(folder / "cold_start" / "*" / "*.csv", "cold_start", "filename=true")
    runtime = f"read_csv('{folder}/runtime/*/*.csv', header=true, filename=true)"
    region = r"regexp_extract(filename, '/(R\d+)/', 1)"
    query = f"""
        SELECT region, runtime, hour, count(*), quantile_disc(cost, 0.5), quantile_disc(cost, 0.99) FROM (
            SELECT {region} AS region, totalCost_cold_start AS cost, CAST(floor(time / 3600) AS INTEGER) AS hour,
                   concat(funcName, '---', userID, '---', podID[1:len(podID) - 11]) AS funcID FROM {cold})
        LEFT JOIN (SELECT {region} AS region, funcID, runtime FROM {runtime}) USING (region, funcID) GROUP BY 1, 2, 3"""
    return lambda: connection.execute(query).fetchall(), groups_of


@case("hourly", "pandas")
def _(folder: Path, threads: int) -> Prepared:
    pandas = _pandas(threads)
    columns = ["time", "funcName", "userID", "totalCost_cold_start", "podID"]

    def run() -> Any:
        parts = [pandas.read_csv(path, usecols=columns).assign(region=path.parent.name) for path in _files(folder)]
        frame = pandas.concat(parts, ignore_index=True)
        named = [
            pandas.read_csv(path, usecols=["funcID", "runtime"]).assign(region=path.parent.name)
            for path in _runtime_files(folder)
        ]
        frame["funcID"] = frame.funcName.astype(str) + "---" + frame.userID.astype(str) + "---" + frame.podID.str[:-11]
        frame["hour"] = (frame.time // 3600).astype("int32")
        joined = frame.merge(pandas.concat(named), on=["region", "funcID"], how="left")
        grouped = joined.groupby(["region", "runtime", "hour"], dropna=False).totalCost_cold_start
        return pandas.concat([grouped.size(), grouped.quantile([0.5, 0.99], interpolation="lower").unstack()], axis=1)

    return run, lambda frame: groups_of(frame.reset_index().itertuples(index=False))


# ---- spellings and compression ------------------------------------------------------------------------------------------------


@case("exponents", "rewarm, batches")
def _(folder: Path, threads: int) -> Prepared:
    return _ours_batches(folder / "exponents.csv", threads)


@case("exponents", "rewarm, batches, plain spelling")
def _(folder: Path, threads: int) -> Prepared:
    return _ours_batches(folder / "request.csv", threads)


@case("exponents", "rewarm")
def _(folder: Path, threads: int) -> Prepared:
    return _ours_kept(folder / "exponents.csv", threads)


@case("exponents", "duckdb")
def _(folder: Path, threads: int) -> Prepared:
    connection = _duckdb(threads)
    source = _duckdb_source(folder / "exponents.csv", "request").replace(
        "'requestBodySize':'BIGINT'", "'requestBodySize':'DOUBLE'"
    )

    def run() -> Any:
        connection.execute(f"CREATE TABLE t AS SELECT * FROM {source}")
        return connection

    return run, lambda c: digest_of_arrow(_duckdb_arrow(c.execute("SELECT * FROM t")))


@case("exponents", "pandas")
def _(folder: Path, threads: int) -> Prepared:
    pandas = _pandas(threads)
    import pyarrow as pa

    # The default parser may be off by one bit on an exponent, so the exact one is asked for.
    run = lambda: pandas.read_csv(folder / "exponents.csv", float_precision="round_trip")  # noqa: E731
    return run, lambda frame: digest_of_arrow(pa.Table.from_pandas(frame))


@case("gz", "rewarm, batches")
def _(folder: Path, threads: int) -> Prepared:
    return _ours_batches(folder / "request.csv.gz", threads)


@case("gz", "floor: isal, drained")
def _(folder: Path, threads: int) -> Prepared:
    from isal import isal_zlib

    def run() -> dict[str, int]:
        decoder = isal_zlib.decompressobj(31)
        with open(folder / "request.csv.gz", "rb", buffering=0) as file:
            while chunk := file.read(256 << 10):
                while chunk:
                    decoder.decompress(chunk, 1 << 20)
                    chunk = decoder.unconsumed_tail
        return {}

    return run, dict


@case("gz", "polars")
def _(folder: Path, threads: int) -> Prepared:
    polars = _polars()
    path = folder / "request.csv.gz"
    return lambda: polars.read_csv(path, schema=_polars_schema("request")), lambda f: {"rows": f.height}


@case("gz", "pyarrow")
def _(folder: Path, threads: int) -> Prepared:
    csv, read, convert = _pyarrow(threads, "request")
    path = folder / "request.csv.gz"
    return lambda: csv.read_csv(path, read_options=read, convert_options=convert), lambda t: {"rows": t.num_rows}


# ---- libraries, told their threads --------------------------------------------------------------------------------------------


def _pandas(threads: int) -> Any:
    import pandas

    with contextlib.suppress(Exception):  # the option is new in pandas 3.1, whose C engine reads in parallel
        pandas.set_option("mode.max_threads", threads)
    return pandas


def _polars() -> Any:
    import polars

    polars.thread_pool_size()  # starts the pool, whose size POLARS_MAX_THREADS has set
    return polars


def _polars_schema(kind: str) -> dict[str, Any]:
    import polars

    types = {"text": polars.String, "integer": polars.Int32, "number": polars.Float64}
    return {name: types[kind_of(name)] for name in columns_of(kind)}


def _duckdb(threads: int) -> Any:
    import duckdb

    connection = duckdb.connect()
    connection.execute(f"SET threads={threads}")
    return connection


def _duckdb_source(path: Path, kind: str, more: str = "") -> str:
    types = {"text": "VARCHAR", "integer": "INTEGER", "number": "DOUBLE"}
    names = {name: types[kind_of(name)] for name in columns_of(kind)}
    if kind == "request":
        names["requestBodySize"] = "BIGINT"
    columns = "{" + ",".join(f"'{name}':'{kind}'" for name, kind in names.items()) + "}"
    return f"read_csv('{path}', header=true, auto_detect=false, delim=',', columns={columns}{', ' + more if more else ''})"


def _duckdb_arrow(found: Any) -> Any:
    return found.to_arrow_table() if hasattr(found, "to_arrow_table") else found.fetch_arrow_table()


def _pyarrow(threads: int, kind: str) -> tuple[Any, Any, Any]:
    import pyarrow as pa
    from pyarrow import csv

    pa.set_cpu_count(threads)
    types = {"text": pa.string(), "integer": pa.int32(), "number": pa.float64()}
    convert = csv.ConvertOptions(column_types={name: types[kind_of(name)] for name in columns_of(kind)})
    return csv, csv.ReadOptions(block_size=8 << 20, use_threads=threads > 1), convert


# ---- the process --------------------------------------------------------------------------------------------------------------


def peak_bytes() -> int:
    """The most memory that this program has held. ru_maxrss would start from what the parent held at the fork."""
    with contextlib.suppress(OSError), open("/proc/self/status", encoding="ascii") as lines:
        for line in lines:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(arguments: list[str]) -> int:
    """Runs one case."""
    workload, name, threads, folder, *result = arguments
    run, comparable = CASES[workload, name](Path(folder), int(threads))
    imported = peak_bytes()
    begin = time.perf_counter()
    outcome = run()
    wall = time.perf_counter() - begin
    peak = peak_bytes()
    if result:
        Path(result[0]).write_text(json.dumps(comparable(outcome)), encoding="utf-8")
    print(json.dumps({"wall": wall, "peak_over_import": peak - imported, "pid": os.getpid()}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
