"""The rows of runtime tables: the published columns, those derived from them, and the lookup that other tables join."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rewarm import __version__
from rewarm._native import core
from rewarm.trace.rejects import Reject
from rewarm.trace.runtime_trigger_fields import Pool, pool_limits, split_funcid, split_triggers, trigger_group
from rewarm.trace.source import RUNTIME_REGION

#: The published columns, in their order; then what is derived from them, for ``columns=``.
PUBLISHED = ("funcID", "cpu_request", "runtime", "triggerType-invocationType")
DERIVED = ("triggers", "trigger_group", "funcName", "userID", "poolName", "cpu_limit", "memory_limit", "size")
#: Columns whose Arrow type is a number; the unit is the published one.
UNITS = {"cpu_request": "millicores", "cpu_limit": "millicores", "memory_limit": "MB"}

_ARROW = {"funcID": "utf8", "triggerType-invocationType": "utf8", "triggers": "list<utf8>"}
_ARROW |= dict.fromkeys(("cpu_request", "cpu_limit", "memory_limit", "funcName", "userID"), "int32")


class Function(NamedTuple):
    """One row: the published fields, and the region they hold for."""

    region: str
    funcID: str | None
    cpu_request: int | None
    runtime: str | None
    trigger: str | None


@dataclass
class Functions:
    """The rows of one or more runtime tables, in row order.

    Attributes:
        rows: As read.
        present: Published columns that the files have.
        assumed: Whether the path of a file told no region, so that it was taken to be R2.
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
        return list(map(COLUMNS[name], self.rows))

    def to_holder(self, columns: Sequence[str] | None = None) -> Any:
        """The engine's table of these columns; default: the published ones that the files have, and the region."""
        names = list(columns) if columns is not None else [*self.present, "region"]
        made = [(name, _ARROW.get(name, "dictionary"), UNITS.get(name, ""), self.column(name)) for name in names]
        region = RUNTIME_REGION if self.assumed else ""
        return core.trace_table_of_lists(table="runtime", columns=made, version=__version__, assumed_region=region)

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


COLUMNS: dict[str, Callable[[Function], Any]] = {
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
