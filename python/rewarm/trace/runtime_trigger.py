"""The runtime and trigger table: which runtime a function has, what triggers it, and the paper's seven trigger groups.

2,418 rows of one region: read in plain Python. Every join waits for it, so files without oddities are cut by one regular
expression, and what repeats from row to row is looked at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import repeat
from typing import Any, NamedTuple

from rewarm import __version__
from rewarm._native import core
from rewarm.errors import InvalidArgument, TraceError
from rewarm.trace.options import column_list, listed, one_of, thread_count
from rewarm.trace.rejects import Reject
from rewarm.trace.source import RUNTIME_REGION, Source, discover

#: The published columns, in their order; then what is derived from them, for ``columns=``.
PUBLISHED = ("funcID", "cpu_request", "runtime", "triggerType-invocationType")
DERIVED = ("triggers", "trigger_group", "funcName", "userID", "poolName", "cpu_limit", "memory_limit", "size")
#: Columns whose Arrow type is a number; the unit is the published one.
UNITS = {"cpu_request": "millicores", "cpu_limit": "millicores", "memory_limit": "MB"}

_ARROW = {"funcID": "utf8", "triggerType-invocationType": "utf8", "triggers": "list<utf8>"}
_ARROW |= dict.fromkeys(("cpu_request", "cpu_limit", "memory_limit", "funcName", "userID"), "int32")

#: Groups that one published value alone makes up.
_OWN_GROUP = ("APIG-S", "OBS-A", "workflow-S")
_UNKNOWN = (("unknown",), ("unknown-unknown",), ("unknown-A", "unknown-S"))
#: In the order of the paper's figures 8 and 14: by number of functions.
TRIGGER_GROUPS = ("TIMER-A", "APIG-S", "unknown", "other S", "other A", "OBS-A", "workflow-S")

_TRIGGER = re.compile(r"[^\s-]+-[SA]")
_INTEGER = re.compile(r"(-?[0-9]+)(\.0+)?")
_FUNCID = re.compile(r"([0-9]+)---([0-9]+)---(.+)")
#: From the right: a pool's label may hold hyphens and need not be "pool" and a number (custom.image.gpu-25800-32768).
_POOL = re.compile(r".+-([0-9]+)-([0-9]+)")
_SHOWN_BYTES = 80
_INT32 = 2**31 - 1

_TRIGGERS_EXPECTED = 'space-separated triggers such as "APIG-S TIMER-A", each ending in -S or -A, or an unknown'
_FUNCID_EXPECTED = "funcName---userID---poolName"


class Pool(NamedTuple):
    """What a pool's name says of its pods' limits; None where it says nothing."""

    cpu_limit: int | None
    memory_limit: int | None


class FuncID(NamedTuple):
    """The parts of a funcID."""

    funcName: int
    userID: int
    poolName: str


class Function(NamedTuple):
    """One row: the published fields, and the region they hold for."""

    region: str
    funcID: str | None
    cpu_request: int | None
    runtime: str | None
    trigger: str | None


@lru_cache(maxsize=4096)
def trigger_group(text: str) -> str:
    """The paper's group of a ``triggerType-invocationType`` value, which may name several triggers.

    Whatever holds TIMER-A is TIMER-A; APIG-S, OBS-A and workflow-S alone are groups of their own; so is unknown. Of the rest,
    what is synchronous only is "other S", what is asynchronous only "other A". The paper does not say where the five functions
    with triggers of both kinds go: mixed APIG alone in "other A" and the others in "other S" is one of two readings that give
    its counts.

    Raises:
        TraceError: The text is no list of triggers.
    """
    triggers = split_triggers(text)
    if triggers is None:
        raise TraceError(f"triggerType-invocationType: expected {_TRIGGERS_EXPECTED}, got {text!r}", text=text)
    if "TIMER-A" in triggers:
        return "TIMER-A"
    if len(triggers) == 1 and triggers[0] in _OWN_GROUP:
        return triggers[0]
    if tuple(sorted(triggers)) in _UNKNOWN:
        return "unknown"
    endings = {trigger[-1] for trigger in triggers}
    if len(endings) == 1:
        return f"other {endings.pop()}"
    return "other A" if all(trigger.startswith("APIG-") for trigger in triggers) else "other S"


def split_triggers(text: str) -> list[str] | None:
    """The triggers of a value, as written; None where it is no list of triggers."""
    triggers = text.split(" ")
    if tuple(sorted(triggers)) in _UNKNOWN or all(map(_TRIGGER.fullmatch, triggers)):
        return triggers
    return None


def split_funcid(text: str) -> FuncID | None:
    """The parts of a funcID; None where it is none. Three hyphens part them, single ones belong to the pool's name."""
    match = _FUNCID.fullmatch(text)
    if match is None or int(match[1]) > _INT32 or int(match[2]) > _INT32:
        return None
    return FuncID(int(match[1]), int(match[2]), match[3])


def pool_limits(name: str) -> Pool:
    """Millicores and MB of a pool, the last two numbers of its name."""
    match = _POOL.fullmatch(name)
    if match is None or int(match[1]) > _INT32 or int(match[2]) > _INT32:
        return Pool(None, None)
    return Pool(int(match[1]), int(match[2]))


@dataclass
class Functions:
    """The rows of one or more runtime tables, in row order.

    Attributes:
        rows: As read.
        present: Published columns that the files have.
        assumed: Whether no path told a region, so that it was taken to be R2.
        files: Names of the files.
        rejects: Fields and rows that could not be read, the first 10,000.
        rejected: How many there were.
        nbytes: Of the files on disk.
    """

    rows: list[Function] = field(default_factory=list)
    present: tuple[str, ...] = ()
    assumed: bool = False
    files: list[str] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    rejected: int = 0
    nbytes: int = 0

    def column(self, name: str) -> list[Any]:
        """One column's values, None where null: ``region``, a published or a derived one."""
        return list(map(_COLUMNS[name], self.rows))

    def to_holder(self, columns: Sequence[str] | None = None) -> Any:
        """The engine's table of these columns; default: the published ones that the files have, and the region."""
        names = list(columns) if columns is not None else [*self.present, "region"]
        made = [(name, _ARROW.get(name, "dictionary"), UNITS.get(name, ""), self.column(name)) for name in names]
        return core.trace_table_of_lists(table="runtime", columns=made, version=__version__)

    def lookup(self) -> dict[tuple[str, str], tuple[str | None, str | None]]:
        """(region, funcID) → (runtime, trigger group): functions are numbered per region."""
        found = {}
        # There are few different values: shared ones spare the garbage collector a tuple a row.
        values: dict[tuple[str | None, str | None], tuple[str | None, str | None]] = {}
        for region, function, _, runtime, trigger in self.rows:
            if function is not None:
                value = values.get((runtime, trigger))
                if value is None:
                    group = None if trigger is None else trigger_group(trigger)
                    value = values[runtime, trigger] = runtime, group
                found[region, function] = value
        return found


def _group(row: Function) -> str | None:
    return None if row.trigger is None else trigger_group(row.trigger)


def _part(index: int) -> Callable[[Function], Any]:
    def of(row: Function) -> Any:
        parts = split_funcid(row.funcID) if row.funcID is not None else None
        return None if parts is None else parts[index]

    return of


def _limits(row: Function) -> Pool:
    pool = _part(2)(row)
    return Pool(None, None) if pool is None else pool_limits(pool)


def _size(row: Function) -> str | None:
    cpu, memory = _limits(row)
    return None if cpu is None else f"{cpu}-{memory}"


_COLUMNS: dict[str, Callable[[Function], Any]] = {
    "funcID": lambda row: row.funcID,
    "cpu_request": lambda row: row.cpu_request,
    "runtime": lambda row: row.runtime,
    "triggerType-invocationType": lambda row: row.trigger,
    "region": lambda row: row.region,
    "triggers": lambda row: None if row.trigger is None else split_triggers(row.trigger),
    "trigger_group": _group,
    "funcName": _part(0),
    "userID": _part(1),
    "poolName": _part(2),
    "cpu_limit": lambda row: _limits(row).cpu_limit,
    "memory_limit": lambda row: _limits(row).memory_limit,
    "size": _size,
}


def functions(path: Any, *, region: str | Sequence[str] | None = None) -> dict[tuple[str, str], tuple[str | None, str | None]]:
    """(region, funcID) → (runtime, trigger group) of the runtime tables under a path.

    A table whose path tells no region is Region 2's, the only one that was published.

    Raises:
        TraceError: There is no runtime table, or one cannot be read.
    """
    return read_functions(discover(path, table="runtime", region=region).sources).lookup()


def read_functions(
    sources: Iterable[Source],
    *,
    columns: Sequence[str] | None = None,
    funcID: Sequence[str] | None = None,
    on_error: str = "raise",
    unknown_columns: str = "raise",
) -> Functions:
    """Reads runtime tables.

    Args:
        sources: Files of the runtime table.
        columns: What will be asked for, to say early what the files lack.
        funcID: Keep these functions only.
        on_error: "raise", "null" (a bad field becomes null) or "skip" (its row is left out). A row with too few or too many
            fields is left out under both.
        unknown_columns: "raise" or "ignore".

    Raises:
        TraceError: A column is missing or unknown, or a field or row cannot be read under "raise": the first in row order. A
            function that two rows give two runtimes is such a field.
    """
    if on_error not in ("raise", "null", "skip"):
        raise InvalidArgument(f'on_error: expected "raise", "null" or "skip", got {on_error!r}')
    sources = list(sources)
    result = Functions(files=[source.name for source in sources], nbytes=sum(source.size for source in sources))
    wanted = None if funcID is None else frozenset(funcID)
    present = set(PUBLISHED)
    stated = _Stated()
    for source in sources:
        _check_header(source, columns or (), unknown_columns)
        present &= set(source.header)
        result.assumed = result.assumed or source.region is None
        text = _text(source)
        if not _read_plain(source, text, result, wanted, stated):
            _Reading(source, text, result, on_error, wanted, stated).run()
    result.present = tuple(name for name in PUBLISHED if name in present)
    return result


class FunctionsReader:
    """Runtime tables behind the face of the engine's readers: all rows in one batch."""

    def __init__(self, found: Functions, columns: Sequence[str] | None) -> None:
        self._found = found
        self._table = found.to_holder(columns)
        self._left = True
        self.fields = self._table.fields
        self.schema_capsule = self._table.schema_capsule
        self.stream_capsule = self._table.stream_capsule

    def next(self) -> Any:
        """The batch, then None."""
        left, self._left = self._left and self._table.num_rows > 0, False
        return self._table if left else None

    def read_all(self, progress: Callable[[int, int], None] | None) -> Any:
        """The table."""
        if progress is not None:
            progress(*self.counters()[:2])
        return self._table

    def stop(self) -> None:
        """Ends `next`."""
        self._left = False

    def counters(self) -> tuple[int, int, int]:
        """Bytes, rows and files that are read."""
        return self._found.nbytes, len(self._found.rows), len(self._found.files)

    def rejects(self) -> tuple[int, list[tuple[Any, ...]]]:
        """How many there were, and those that are kept, with the file's index."""
        index = {name: i for i, name in enumerate(self._found.files)}
        return self._found.rejected, [(index[reject.file], *reject[1:]) for reject in self._found.rejects]


def functions_reader(
    sources: Sequence[Source],
    columns: Sequence[str] | None = None,
    *,
    time: Any = None,
    funcID: str | Sequence[str] | None = None,
    on_error: str = "raise",
    unknown_columns: str = "raise",
    threads: int | None = None,
    clusterName: Any = None,
    ids: str = "binary",
    runtime: Any = None,
) -> FunctionsReader:
    """Runtime tables as `read` and `batches` take them; the arguments are theirs.

    Raises:
        TraceError: See `read_functions`.
        InvalidArgument: An argument that is not accepted: the table has no time, no clusters, and is not joined with itself.
    """
    for name, value in (("time", time), ("clusterName", clusterName), ("runtime", runtime)):
        if value is not None:
            raise InvalidArgument(f"{name}: the runtime table is not read by it")
    one_of("ids", ids, ("binary", "text"))
    one_of("unknown_columns", unknown_columns, ("raise", "ignore"))
    thread_count(threads)
    names = column_list(columns)
    found = read_functions(
        sources,
        columns=names,
        funcID=listed("funcID", funcID, (str,)),
        on_error=on_error,
        unknown_columns=unknown_columns,
    )
    return FunctionsReader(found, names)


#: The published columns that a column is made of.
_NEEDS = {name: "triggerType-invocationType" if name.startswith("trigger") else "funcID" for name in DERIVED}


def _check_header(source: Source, columns: Sequence[str], unknown_columns: str) -> None:
    where = f"{source.name}:1"
    for name in source.header:
        if name not in PUBLISHED and unknown_columns != "ignore":
            raise TraceError(
                f"{where}: expected columns of the runtime table ({', '.join(PUBLISHED)}), got {name!r}; "
                'unknown_columns="ignore" passes over it',
                file=source.name,
                line=1,
                column=name,
                text=name,
            )
    for name in columns:
        if name not in _COLUMNS:
            raise InvalidArgument(f"columns: the runtime table has {', '.join(_COLUMNS)}; got {name!r}")
        needed = _NEEDS.get(name, name)
        if needed != "region" and needed not in source.header:
            raise TraceError(
                f"{where}: the file has no column {needed}, which {name} needs", file=source.name, line=1, column=needed
            )


class _Stated:
    """The runtime that was stated for each function, and where first."""

    def __init__(self) -> None:
        self.runtimes: dict[tuple[str, str], str | None] = {}
        self.rows: list[tuple[str, Sequence[tuple[str, str]], Sequence[int]]] = []  # file, functions, their lines

    def place(self, function: tuple[str, str]) -> str:
        """For an error, so it may take its time."""
        for file, functions, lines in self.rows:
            if function in functions:
                return f"{file}:{lines[functions.index(function)]}"
        raise KeyError(function)


#: A field of a row without oddities. Of texts, which ones are accepted is asked once for each.
_PLAIN = dict.fromkeys(PUBLISHED, r'([^,"\r\n]*)') | {"funcID": r'([0-9]{1,9}---[0-9]{1,9}---[^,"\r\n]+)'}


def _read_plain(
    source: Source,
    data: bytes,
    result: Functions,
    wanted: frozenset[str] | None,
    stated: _Stated,
) -> bool:
    """Reads a file in which no row is odd. False, and nothing is read: `_Reading` has to find out what is."""
    if "funcID" not in source.header:
        return False
    try:
        text = data[source.header_bytes :].decode()
    except UnicodeDecodeError:
        return False
    pattern = ",".join(_PLAIN.get(name, r'[^,"\r\n]*') for name in source.header)
    names = [name for name in source.header if name in PUBLISHED]
    rows = re.findall(rf"^{pattern}\r?$", text, re.MULTILINE)
    if not rows or len(rows) != text.count("\n") + (not text.endswith("\n")):
        return False
    cells: dict[str, Sequence[Any]] = dict(zip(names, zip(*rows, strict=True) if len(names) > 1 else (rows,), strict=True))
    for name in names:
        if name == "funcID":
            continue
        known = {}
        for value in set(cells[name]):
            parsed, expected = (None, None) if value in ("", "NaN", "null") else _parsed(name, value)
            if expected is not None:
                return False
            known[value] = parsed
        cells[name] = [known[value] for value in cells[name]]
    region = source.region or RUNTIME_REGION
    keys = list(zip(repeat(region), cells["funcID"]))
    if "runtime" in cells:
        own = dict(zip(keys, cells["runtime"], strict=True))
        if any(own[key] != runtime for key, runtime in zip(keys, cells["runtime"], strict=True)) or any(
            stated.runtimes[key] != own[key] for key in own.keys() & stated.runtimes.keys()
        ):
            return False
        stated.runtimes |= own
        stated.rows.append((source.name, keys, range(2, len(keys) + 2)))
    found: Iterable[Function] = map(Function._make, zip(repeat(region), *(cells.get(name, repeat(None)) for name in PUBLISHED)))
    result.rows += found if wanted is None else (row for row in found if row.funcID in wanted)
    return True


def _parsed(name: str, text: str) -> tuple[Any, str | None]:
    """The value of a field that is not null, and what would be accepted where it has none."""
    if name == "cpu_request":
        match = _INTEGER.fullmatch(text)
        value = int(match[1]) if match else None
        if value is None or not -_INT32 - 1 <= value <= _INT32:
            return None, "a whole number of millicores"
        return value, None
    if name == "funcID" and split_funcid(text) is None:
        return None, _FUNCID_EXPECTED
    if name == "triggerType-invocationType" and split_triggers(text) is None:
        return None, _TRIGGERS_EXPECTED
    return text, None


@dataclass
class _Reading:
    """Reads a file row by row, for rows with quotes and for the place of what cannot be read."""

    source: Source
    data: bytes
    result: Functions
    on_error: str
    wanted: frozenset[str] | None
    stated: _Stated
    line: int = 0
    skip: bool = False
    functions: list[tuple[str, str]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)

    def run(self) -> None:
        self.stated.rows.append((self.source.name, self.functions, self.lines))
        region = self.source.region or RUNTIME_REGION
        column_of = {name: c for c, name in enumerate(self.source.header) if name in PUBLISHED}
        for line, byte, row in _rows(self.data, self.source.header_bytes):
            self.line = line
            fields = _split(row)
            if isinstance(fields, str) or len(fields) != len(self.source.header):
                got = fields if isinstance(fields, str) else f"{len(fields)} fields"
                self._reject(byte, None, row, f"{len(self.source.header)} fields, got {got}", "row skipped")
                continue
            self.skip = False
            values: dict[str, Any] = {}
            for name, c in column_of.items():
                text, offset = fields[c]
                values[name] = self._field(name, text, byte + offset)
            if not self.skip and "runtime" in values and values.get("funcID") is not None:
                self._same_runtime(region, values, byte + fields[column_of["runtime"]][1])
            if self.skip or (self.wanted is not None and values.get("funcID") not in self.wanted):
                continue
            self.result.rows.append(Function(region, *(values.get(name) for name in PUBLISHED)))

    def _field(self, name: str, raw: bytes, byte: int) -> Any:
        if raw in (b"", b'""', b"NaN", b"null"):
            return None
        if raw.startswith(b'"'):
            raw = raw[1:-1].replace(b'""', b'"')
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            self._bad(byte, name, raw, "UTF-8 text")
            return None
        value, expected = _parsed(name, text)
        if expected is not None:
            self._bad(byte, name, raw, expected)
        return value

    def _same_runtime(self, region: str, values: dict[str, Any], byte: int) -> None:
        key = region, values["funcID"]
        if key not in self.stated.runtimes:
            self.stated.runtimes[key] = values["runtime"]
            self.functions.append(key)
            self.lines.append(self.line)
            return
        first = self.stated.runtimes[key]
        if first != values["runtime"]:
            text = (values["runtime"] or "").encode()
            values["runtime"] = None
            where = self.stated.place(key)
            self._bad(byte, "runtime", text, f'the runtime "{first or ""}" that {where} gives {key[1]}')

    def _bad(self, byte: int, column: str, text: bytes, expected: str) -> None:
        self.skip = self.skip or self.on_error == "skip"
        self._reject(byte, column, text, expected, "row skipped" if self.on_error == "skip" else "null")

    def _reject(self, byte: int, column: str | None, text: bytes, expected: str, action: str) -> None:
        shown = text[:_SHOWN_BYTES].decode(errors="replace")
        if self.on_error == "raise":
            name = self.source.name
            place = f"{name}:{self.line} (byte {byte})" + (f", column {column}" if column else "")
            got = "" if ", got " in expected else f', got "{shown}"'
            raise TraceError(
                f"{place}: expected {expected}{got}",
                file=name,
                line=self.line,
                byte=byte,
                column=column,
                text=shown,
                expected=expected,
            )
        self.result.rejected += 1
        if len(self.result.rejects) < core.MOST_REJECTS:
            self.result.rejects.append(Reject(self.source.name, self.line, byte, column, shown, expected, action))


def _text(source: Source) -> bytes:
    """The whole file, decompressed."""
    try:
        if source.compression is None:
            with open(source.path, "rb") as opened:
                return opened.read()
        with source.open() as decoder:
            return b"".join(iter(lambda: decoder.read(1 << 20), b""))
    except OSError as error:
        raise TraceError(f"{source.name}: cannot be read: {error.strerror or error}", file=source.name) from error


def _rows(text: bytes, header_bytes: int) -> Iterator[tuple[int, int, bytes]]:
    """Line number, byte and text of every row; blank lines are none."""
    byte = header_bytes
    for number, line in enumerate(text[byte:].split(b"\n"), start=2):
        row = line.removesuffix(b"\r")
        if row:
            yield number, byte, row
        byte += len(line) + 1


def _split(row: bytes) -> list[tuple[bytes, int]] | str:
    """The fields of a row, quotes kept, with their offsets; what is wrong with its quotes, if something is."""
    fields = []
    at = 0
    while True:
        end = at
        if row[at : at + 1] == b'"':
            end = at + 1
            while True:
                close = row.find(b'"', end)
                if close < 0:
                    return "a quote that is not closed before the end of the line"
                end = close + 1
                if row[end : end + 1] != b'"':
                    break
                end += 1
            if end < len(row) and row[end : end + 1] != b",":
                return "more text after a closing quote"
        else:
            end = row.find(b",", at)
            end = len(row) if end < 0 else end
        fields.append((row[at:end], at))
        if end >= len(row):
            return fields
        at = end + 1
