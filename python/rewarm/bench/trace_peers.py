"""The peers' cases of the trace benchmarks: pandas, polars, duckdb and pyarrow, types given, each told its threads."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from rewarm.bench.trace_cases import (
    FIVE,
    Prepared,
    case,
    cold_start_files,
    columns_of,
    counted,
    digest_of_arrow,
    groups_of,
    kind_of,
)


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
        return counted(found.to_arrow_reader(65536) if hasattr(found, "to_arrow_reader") else found.fetch_record_batch(65536))

    return run, dict


@case("request", "pyarrow")
def _(folder: Path, threads: int) -> Prepared:
    csv, read, convert = _pyarrow(threads, "request")
    return lambda: csv.read_csv(folder / "request.csv", read_options=read, convert_options=convert), digest_of_arrow


@case("request", "pyarrow, streaming")
def _(folder: Path, threads: int) -> Prepared:
    csv, read, convert = _pyarrow(threads, "request")
    return lambda: counted(csv.open_csv(folder / "request.csv", read_options=read, convert_options=convert)), dict


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


def _runtime_files(folder: Path) -> list[Path]:
    return sorted((folder / "runtime").rglob("*.csv"))


def _polars_hourly(folder: Path, engine: str) -> Prepared:
    polars = _polars()
    schema = _polars_schema("cold_start")

    def run() -> Any:
        cold, functions = [], []
        for region in sorted(path.name for path in (folder / "cold_start").iterdir()):
            named = polars.lit(region).alias("region")
            files = [path for path in cold_start_files(folder) if path.parent.name == region]
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
        parts = [pandas.read_csv(path, usecols=columns).assign(region=path.parent.name) for path in cold_start_files(folder)]
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
