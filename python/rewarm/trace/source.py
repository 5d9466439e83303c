"""What a path holds: files and archive members of one of the four tables, each with its header, region and order."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from rewarm.errors import InvalidArgument, TraceError
from rewarm.trace.archive import Member
from rewarm.trace.decoder import Decoder, open_decoder
from rewarm.trace.header import A_HEADER, TABLES, Header, first_line, parse_header
from rewarm.trace.listing import Candidate, PathArgument, list_candidates, names_upwards, show

#: The runtime table was published for one region only, in a folder that does not say which.
RUNTIME_REGION = "R2"

#: Metrics of the minute tables, as their folders spell them.
METRICS = (
    *("requests", "num_pods", "num_cold_starts", "cpu_usage", "memory_usage", "requestBodySize"),
    *("totalCost_cold_start", "podAllocationCost", "deployCodeCost", "deployDependencyCost", "schedulingCost"),
    *("totalCost", "workerCost", "runtimeCost"),
    *("totalCost_frontend", "frontendCost", "busCost", "readBodyCost", "writeRspCost"),
)

#: In a file without an ending, so many make a first line of numbers a row of data.
_FEWEST_COMMAS = 3

_REGION = re.compile(r"R[1-9]\d*")
_STAT = re.compile(r"(.+)_(avg|std|quantile_\d{3})")


@dataclass(frozen=True)
class Source:
    """One file or archive member of one table.

    Attributes:
        name: Relative path, with ``!member`` behind an archive.
        path: On disk.
        member: Name within the archive, None for a file.
        compression: None, "gzip", "zstd", or "stored" and "deflate" for members.
        table: "cold_start", "request", "runtime" or "minute".
        region: From the path; None where it says none.
        size: Bytes on disk, packed.
        header: Column names, unquoted.
        header_bytes: Up to and with the header's line end, byte order mark included, decoded.
        crlf: Whether the header line ended in CRLF.
        metric: Of a minute table, from its folder.
        stat: Of a minute table, from its folder; None for counts.
    """

    name: str
    path: str
    member: str | None
    compression: str | None
    table: str
    region: str | None
    size: int
    header: tuple[str, ...] = field(repr=False)
    header_bytes: int
    crlf: bool
    metric: str | None = None
    stat: str | None = None
    directory: Member | None = field(default=None, repr=False)

    def open(self) -> Decoder:
        """The decoded bytes from the front; only where `compression` is not None."""
        if self.compression is None:
            raise InvalidArgument(f"{self.name}: a plain file is read by its path, it needs no decoder")
        return open_decoder(self.path, self.name, self.compression, self.directory)


@dataclass(frozen=True)
class Found:
    """What `discover` found.

    Attributes:
        sources: In the order in which rows are read.
        ignored: Names passed over: hidden and underscored ones, empty parts, files of other kinds.
    """

    sources: list[Source]
    ignored: list[str]

    def of(self, table: str) -> list[Source]:
        """The sources of one table."""
        return [source for source in self.sources if source.table == table]

    @property
    def tables(self) -> dict[str, int]:
        """How many files each table has."""
        return dict(Counter(source.table for source in self.sources))


def discover(
    path: PathArgument,
    *,
    table: str | None = None,
    region: str | Sequence[str] | None = None,
    metric: str | Sequence[str] | None = None,
    stat: str | Sequence[str] | None = None,
    mixed: bool = False,
) -> Found:
    """Lists the files and archive members of a table under a path, a glob or a list of them.

    Args:
        path: Files, folders (searched to the bottom), globs, ZIP archives (read in place); plain, ``.gz`` or ``.zst``.
        table: Take this table only; it also decides where a header leaves it open.
        region: Take these regions only. One region also names files whose path tells none.
        metric: Of the minute tables, take these metrics only.
        stat: Of the minute tables, take these stats only.
        mixed: Whether files of several tables may lie together.

    Raises:
        TraceError: Nothing is found; a file cannot be read, has no header, or its header fits no table; several tables lie
            together and neither `table` nor `mixed` says what to do.
    """
    if table is not None and table not in TABLES:
        raise InvalidArgument(f"table: expected {', '.join(TABLES)}, got {table!r}")
    wanted = {"region": _set(region), "metric": _set(metric), "stat": _set(stat)}
    for one in wanted["region"] or ():
        if not _REGION.match(one):
            raise InvalidArgument(f"region: expected R1, R2, ..., got {one!r}")
    listing = list_candidates(path)
    ignored = listing.ignored
    if not listing.candidates:
        raise TraceError(f"{show(path)}: {_nothing(ignored)}", file=show(path), expected="a CSV file")
    parse = _shared_headers()
    sources = []
    for candidate in listing.candidates:
        source = _source(candidate, table, parse)
        if source is None:
            ignored.append(candidate.name)
        else:
            sources.append(source)
    if not sources:
        raise TraceError(f"{show(path)}: {_nothing(ignored)}", file=show(path), expected="a CSV file")
    kept = sources if table is None else [source for source in sources if source.table == table]
    if not kept:
        raise TraceError(f"{show(path)}: expected files of the {table} table, got {_counts(sources)}", file=show(path))
    if not mixed and len({source.table for source in kept}) > 1:
        raise TraceError(
            f"{show(path)}: expected files of one table, got {_counts(kept)}; say which with table=, or name a folder "
            "that holds one",
            file=show(path),
            expected="table=",
        )
    kept = [source for source in (_named(s, wanted["region"], mixed) for s in kept) if _passes(source, wanted, mixed)]
    if not kept:
        asked = ", ".join(f"{name}={sorted(values)}" for name, values in wanted.items() if values is not None)
        there = "; ".join(f"{name}: {_values(sources, name)}" for name, values in wanted.items() if values is not None)
        raise TraceError(f"{show(path)}: no file is of {asked}; there are {there}", file=show(path))
    return Found(kept, sorted(set(ignored)))


def _set(value: str | Sequence[str] | None) -> frozenset[str] | None:
    if value is None:
        return None
    return frozenset((value,)) if isinstance(value, str) else frozenset(value)


def _nothing(ignored: list[str]) -> str:
    if not ignored:
        return "the folder is empty"
    shown = ", ".join(sorted(ignored)[:3]) + (", ..." if len(ignored) > 3 else "")
    return f"no CSV file is in there; passed over: {shown}"


def _counts(sources: Iterable[Source]) -> str:
    counts = Counter(source.table for source in sources)
    return ", ".join(f"{table} ({counts[table]} file{'s' * (counts[table] > 1)})" for table in TABLES if counts[table])


def _values(sources: Iterable[Source], name: str) -> str:
    counts = Counter(getattr(source, name) or "none" for source in sources)
    return ", ".join(f"{value} ({count} file{'s' * (count > 1)})" for value, count in sorted(counts.items()))


def _named(source: Source, regions: frozenset[str] | None, mixed: bool) -> Source:
    """Gives the asked-for region to a file whose path tells none.

    Among files of several tables one region means "of these, R1": it does not turn the runtime table, which exists for R2
    alone, into another region's.
    """
    if source.region is not None or regions is None or len(regions) != 1 or (mixed and source.table == "runtime"):
        return source
    return Source(**{**source.__dict__, "region": next(iter(regions))})


def _passes(source: Source, wanted: dict[str, frozenset[str] | None], mixed: bool) -> bool:
    regions, metrics, stats = wanted["region"], wanted["metric"], wanted["stat"]
    region = source.region or (RUNTIME_REGION if source.table == "runtime" else None)
    if regions is not None and region not in regions:
        return False
    if source.table != "minute":
        return True
    return (metrics is None or source.metric in metrics) and (stats is None or source.stat in stats)


def _shared_headers() -> Callable[[bytes, str], Header]:
    """parse_header with a memory: the 163 minute folders of a region repeat one header of thousands of names 31 times each."""
    known: dict[bytes, Header] = {}

    def parse(line: bytes, name: str) -> Header:
        if line not in known:
            known[line] = parse_header(line, name)
        return known[line]

    return parse


def _source(candidate: Candidate, table: str | None, parse: Callable[[bytes, str], Header]) -> Source | None:
    name = candidate.name
    compression = candidate.compression
    line = _first_line(candidate)
    if not line:
        if candidate.named and candidate.member is None and compression is None:
            raise TraceError(f"{name}: the file is empty", file=name)
        return None
    try:
        header = parse(line, name)
    except TraceError as error:
        # A text of another kind may be no header either; a row of data has many fields and must not be passed over.
        if candidate.named or (error.expected == A_HEADER and line.count(b",") >= _FEWEST_COMMAS):
            raise
        return None
    detected = header.table
    if detected is None and not candidate.named:
        return None
    detected = detected or table
    if detected is None:
        text = ",".join(header.columns)[:80]
        raise TraceError(
            f"{name}:1: the header fits none of the tables {', '.join(TABLES)}, or more than one: {text!r}; say which with "
            "table=",
            file=name,
            line=1,
            byte=0,
            text=text,
            expected="table=",
        )
    metric, stat = _metric(candidate) if detected == "minute" else (None, None)
    return Source(
        name=name,
        path=candidate.path,
        member=candidate.member.name if candidate.member else None,
        compression=compression,
        table=detected,
        region=_region(candidate),
        size=candidate.size,
        header=header.columns,
        header_bytes=header.nbytes,
        crlf=header.crlf,
        metric=metric,
        stat=stat,
        directory=candidate.member,
    )


def _first_line(candidate: Candidate) -> bytes:
    if candidate.line is not None:
        return candidate.line
    try:
        if candidate.compression is None:
            with open(candidate.path, "rb", buffering=0) as opened:
                return first_line(opened.read, candidate.name)
        with open_decoder(candidate.path, candidate.name, candidate.compression, candidate.member) as decoder:
            return first_line(decoder.read, candidate.name)
    except OSError as error:
        raise TraceError(f"{candidate.name}: cannot be read: {error.strerror or error}", file=candidate.name) from error


def _region(candidate: Candidate) -> str | None:
    for name in names_upwards(candidate):
        match = _REGION.match(name)
        if match:
            return match.group()
    return None


def _metric(candidate: Candidate) -> tuple[str | None, str | None]:
    """Metric and stat of the nearest folder that names a published metric, else of the nearest folder that is no region."""
    names = list(names_upwards(candidate))
    split = [_split_stat(name) for name in names]
    for metric, stat in split:
        if metric in METRICS:
            return metric, stat
    return split[0] if names and not _REGION.match(names[0]) else (None, None)


def _split_stat(folder: str) -> tuple[str, str | None]:
    match = _STAT.fullmatch(folder)
    return (match.group(1), match.group(2)) if match else (folder, None)
