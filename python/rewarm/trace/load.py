"""What the report reads: cold-start columns held in memory region by region, requests and minute tables streamed."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewarm.errors import BackendUnavailable
from rewarm.trace.reader import open_reader
from rewarm.trace.runtime_trigger import functions
from rewarm.trace.source import Source, discover
from rewarm.trace.synthetic import MARKER
from rewarm.trace.table import Batches, Files

Array = NDArray[Any]
COSTS = ("totalCost_cold_start", "podAllocationCost", "deployCodeCost", "deployDependencyCost", "schedulingCost")
DAYS = 31
DAY = 86_400.0
NO_REGION = "unnamed region"
OTHER_RUNTIMES = ("PHP7.3", "Go1.x", "C#", "unknown")
LARGE_SIZES = ("300-128", "400-256", "600-512", "1000-1024")


@dataclass
class Functions:
    """The functions of one region and what is known about them.

    Attributes:
        funcID: ``funcName---userID---poolName``.  # [n]
        userID: Owner; -1 where the table had none.  # [n]
        size: CPU limit and memory limit of the pool, such as "300-128".  # [n]
        pool_class: "small" (<= 400 millicores and <= 256 MB) or "large"; "" where the pool's name has no size.  # [n]
        runtime: From the runtime table; None where the function is not in it.  # [n]
        trigger: Trigger group, likewise.  # [n]
    """

    funcID: list[str]
    userID: Array
    size: Array
    pool_class: Array
    runtime: Array
    trigger: Array

    @property
    def joined(self) -> Array:
        """Whether the runtime table knows each function."""
        known: Array = np.array([runtime is not None for runtime in self.runtime], bool)
        return known

    def groups(self, by: str) -> Array:
        """Labels as the paper's figures group them: by "trigger", "runtime" (the rare ones folded) or "size"."""
        if by == "trigger":
            return np.array([None if t is None else "unknown trigger" if t == "unknown" else t for t in self.trigger], object)
        if by == "size":
            return np.array([size if size in LARGE_SIZES else "other size" for size in self.size], object)
        return np.array([None if r is None else "other runtime" if r in OTHER_RUNTIMES else r for r in self.runtime], object)


@dataclass
class ColdStarts:
    """The cold starts of one region, sorted by time.

    Attributes:
        region: R1 … R5.
        time: Seconds since the start of the dataset.  # [n]
        costs: The five published durations in seconds, NaN where the field is empty.  # name -> [n]
        function: Index into `functions`.  # [n]
        pod: Key of the pod: see `pod_key`.  # [n]
        functions: Who they are.
        dropped: Rows without a time or a function, which belong to no series.
    """

    region: str
    time: Array
    costs: dict[str, Array]
    function: Array
    pod: Array
    functions: Functions
    dropped: int

    @property
    def days(self) -> set[int]:
        """Days with at least one cold start."""
        return set(np.unique(self.time // DAY).astype(int).tolist())


@dataclass
class Minutes:
    """One minute table of one region: its cells that are not empty.

    Attributes:
        function: Index into `functions`.  # [n]
        minute: Minutes since the start of the dataset.  # [n]
        value: As published.  # [n]
        functions: All of the header, those without a value too.
        days: Days that have a file row with a value.
    """

    function: Array
    minute: Array
    value: Array
    functions: Functions
    days: set[int]


def all_days(days: set[int]) -> bool:
    """Whether days 0 to 30 are all there."""
    return days >= set(range(DAYS))


def pyarrow() -> Any:
    """The library, imported where it is used."""
    try:
        import pyarrow as pa
    except ImportError as error:
        raise BackendUnavailable(
            f'trace reports need pyarrow ({error}); install it with: pip install "rewarm[trace]"'
        ) from error
    return pa


def size_of(pool: str) -> tuple[str, str]:
    """Size and class of a pool: ("300-128", "small") of pool22-300-128; ("", "") without numbers.

    They are taken from the right, because a label may hold hyphens.
    """
    parts = pool.rsplit("-", 2)
    if len(parts) < 3 or not (parts[1].isdigit() and parts[2].isdigit()):
        return "", ""
    return f"{parts[1]}-{parts[2]}", "small" if int(parts[1]) <= 400 and int(parts[2]) <= 256 else "large"


class Pools:
    """Pool names to small numbers that mean the same in every table of one run."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._codes: dict[str | None, int] = {None: -1}

    def codes(self, column: Any) -> Array:
        """Numbers of a dictionary-encoded column; -1 for null."""
        names = column.dictionary.to_pylist()
        for name in names:
            if name not in self._codes:
                self._codes[name] = len(self.names)
                self.names.append(name)
        known = np.array([self._codes[name] for name in names] + [-1], np.int64)
        codes: Array = known[column.indices.fill_null(len(names)).to_numpy(zero_copy_only=False)]
        return codes


def pod_key(pool: Array, serial: Array) -> Array:
    """One int64 for a pod: a serial has ten digits. -1 where either part is missing."""
    key: Array = np.where((pool >= 0) & (serial >= 0), pool * 10**10 + serial, -1)
    return key


def integers(column: Any) -> Array:
    """An integer column as int64, null as -1."""
    return column.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)  # type: ignore[no-any-return]


def floats(column: Any) -> Array:
    """A float64 column with NaN for null; a copy, because a batch's buffers are used again."""
    return np.array(column.to_numpy(zero_copy_only=False), np.float64)


class Trace:
    """Finds the tables under a path and hands them out region by region.

    Args:
        path: As `rewarm.trace.read` takes it.
        region: Only these regions; one of them also names files whose path tells none.
        runtime: The runtime table where it does not lie under `path`.
        progress: Called now and then with what is being done; see `rewarm.trace.report`.
    """

    def __init__(
        self,
        path: Any,
        *,
        region: str | Sequence[str] | None = None,
        runtime: str | os.PathLike[str] | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        self.path, self.region, self.progress = path, region, progress
        self.found = discover(path, region=region, mixed=True)
        self.regions = sorted(
            {self._region(source) for source in self.found.sources if source.table != "runtime"}, key=_region_order
        )
        self.pools = Pools()
        self._runtime_path = runtime

    @staticmethod
    def _region(source: Source) -> str:
        return source.region or NO_REGION

    def sources(
        self, table: str, region: str | None = None, metric: str | None = None, stat: str | None = None
    ) -> list[Source]:
        """The files of a table, of a region, of a metric, in row order."""
        return [
            source
            for source in self.found.of(table)
            if (region is None or self._region(source) == region)
            and (metric is None or (source.metric, source.stat) == (metric, stat))
        ]

    def has(self, table: str, region: str | None = None, metric: str | None = None, stat: str | None = None) -> bool:
        """Whether there is at least one such file."""
        return bool(self.sources(table, region, metric, stat))

    def files(self, table: str) -> int:
        """How many files of a table there are."""
        return len(self.found.of(table))

    def batches(
        self, table: str, region: str, columns: Sequence[str], metric: str | None = None, stat: str | None = None
    ) -> Iterator[Any]:
        """Pyarrow record batches of a region's rows, in file order; the columns of a batch die with it."""
        pa = pyarrow()
        name = table if metric is None else f"minute table {metric if stat is None else f'{metric}_{stat}'}"
        self.say(f"{region}: reading {name}")
        # The sources are at hand: `rewarm.trace.batches` would list the path and read every header of it again.
        sources = self.sources(table, region, metric, stat)
        files = Files([source.name for source in sources], [])
        with Batches(open_reader(sources, list(columns), recycle=True), files) as stream:
            for batch in stream:
                yield pa.record_batch(batch)

    def coverage(self) -> dict[str, dict[str, int]]:
        """How many files of each table each region has."""
        counts: dict[str, dict[str, int]] = {region: {} for region in self.regions}
        for source in self.found.sources:
            if source.table != "runtime":
                of = counts[self._region(source)]
                of[source.table] = of.get(source.table, 0) + 1
        return counts

    @functools.cached_property
    def synthetic(self) -> bool:
        """Whether `rewarm.trace.generate` wrote any of it: it leaves a marker in the folder above."""
        folders = {Path(source.path).resolve().parent for source in self.found.sources}
        return any((parent / MARKER).exists() for folder in folders for parent in (folder, *folder.parents))

    def say(self, what: str) -> None:
        """Reports progress."""
        if self.progress is not None:
            self.progress(what)

    @functools.cached_property
    def runtime(self) -> dict[tuple[str, str], tuple[str | None, str | None]]:
        """(region, funcID) -> (runtime, trigger group); functions are numbered per region, so funcID alone says nothing."""
        if self._runtime_path is None and not self.has("runtime"):
            return {}
        self.say("reading the runtime table")
        return functions(self.path if self._runtime_path is None else self._runtime_path)

    def functions(self, region: str, names: list[str]) -> Functions:
        """What is known about functions called ``funcName---userID---poolName``."""
        parts = [name.split("---", 2) for name in names]
        sizes = [size_of(part[2]) if len(part) == 3 else ("", "") for part in parts]
        known = [self.runtime.get((region, name), (None, None)) for name in names]
        return Functions(
            funcID=names,
            userID=np.array([int(part[1]) if len(part) == 3 and part[1].isdigit() else -1 for part in parts], np.int64),
            size=np.array([size for size, _ in sizes], object),
            pool_class=np.array([pool_class for _, pool_class in sizes], object),
            runtime=np.array([runtime for runtime, _ in known], object),
            trigger=np.array([group for _, group in known], object),
        )

    def runtime_functions(self, region: str) -> Functions | None:
        """The functions of the runtime table; None where it has none of the region."""
        names = [funcID for name, funcID in self.runtime if name == region]
        return self.functions(region, names) if names else None

    def cold_starts(self, region: str) -> ColdStarts | None:
        """All cold starts of a region; None where there are none."""
        if not self.has("cold_start", region):
            return None
        kept: dict[str, list[Array]] = {name: [] for name in ("time", *COSTS, "function", "pod")}
        dropped = 0
        for batch in self.batches("cold_start", region, ["time", "funcName", "userID", "poolName", "pod_serial", *COSTS]):
            name, user = integers(batch["funcName"]), integers(batch["userID"])
            pool, time = self.pools.codes(batch["poolName"]), floats(batch["time"])
            whole = ~np.isnan(time) & (name >= 0) & (user >= 0) & (pool >= 0)
            dropped += len(whole) - int(np.count_nonzero(whole))
            kept["time"].append(time[whole])
            # funcName and userID are int32 columns whose values stay far below 2^24; a pool's number has 15 bits to itself.
            kept["function"].append((name << 39 | user << 15 | pool)[whole])
            kept["pod"].append(pod_key(pool, integers(batch["pod_serial"]))[whole])
            for cost in COSTS:
                kept[cost].append(floats(batch[cost])[whole])
        columns = {}
        for column in list(kept):
            parts = kept.pop(column)
            columns[column] = np.concatenate(parts) if parts else np.zeros(0)
        if not len(columns["time"]):
            return None
        keys, columns["function"] = np.unique(columns["function"], return_inverse=True)
        columns["function"] = columns["function"].astype(np.int32)
        names = [f"{key >> 39}---{key >> 15 & 0xFFFFFF}---{self.pools.names[key & 0x7FFF]}" for key in keys.tolist()]
        if np.any(np.diff(columns["time"]) < 0):
            order = np.argsort(columns["time"], kind="stable")
            for column in columns:
                columns[column] = columns[column][order]
        return ColdStarts(
            region=region,
            time=columns["time"],
            costs={cost: columns[cost] for cost in COSTS},
            function=columns["function"],
            pod=columns["pod"],
            functions=self.functions(region, names),
            dropped=dropped,
        )

    def minutes(self, region: str, metric: str, stat: str | None = None) -> Minutes | None:
        """The cells of a minute table that are not empty; None where the table is not there."""
        if not self.has("minute", region, metric, stat):
            return None
        names: dict[str, int] = {}
        for source in self.sources("minute", region, metric, stat):
            for name in source.header:
                if "---" in name:
                    names.setdefault(name, len(names))
        function, minute, value = [], [], []
        codes = np.zeros(0, np.int32)
        for batch in self.batches("minute", region, ["funcID", "time", "value"], metric, stat):
            words = batch["funcID"].dictionary
            if len(words) != len(codes):
                # A stream only ever adds to a dictionary.
                codes = np.array([names[name] for name in words.to_pylist()], np.int32)
            function.append(codes[batch["funcID"].indices.to_numpy(zero_copy_only=False)])
            minute.append((integers(batch["time"]) // 60).astype(np.int32))
            value.append(floats(batch["value"]))
        whole = np.concatenate(minute) if minute else np.zeros(0, np.int32)
        return Minutes(
            function=np.concatenate(function) if function else np.zeros(0, np.int32),
            minute=whole,
            value=np.concatenate(value) if value else np.zeros(0),
            functions=self.functions(region, list(names)),
            days=set(np.unique(whole // 1440).tolist()),
        )


def _region_order(region: str) -> tuple[int, str]:
    return (int(region[1:]) if region[1:].isdigit() else 10**9, region)
