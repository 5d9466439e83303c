"""The question that an aggregate answers: checked once, then passed on, compared and written beside the answer."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from rewarm.errors import InvalidArgument

#: Columns that rows may be grouped by, for `by`; the last two in minute tables only.
KEYS = (
    *("region", "clusterName", "funcName", "userID", "funcID", "poolName", "cpu_limit", "memory_limit", "size", "pool_class"),
    *("runtime", "trigger_group", "day", "hour", "minute", "hour_of_day", "metric", "stat"),
)

#: Version of the text: what it holds decides which aggregates may be added.
VERSION = 1


@dataclass(frozen=True)
class Spec:
    """What is asked of the rows of one table.

    Attributes:
        table: "cold_start", "request" or "minute".
        by: Key columns, in the order in which groups are sorted.
        values: Columns that are added up.
        quantiles: Within [0, 1]; none: no histograms are kept.
        filters: What rows must fulfil and how they are read, by the names of `aggregate`; plain values that JSON knows.
    """

    table: str
    by: tuple[str, ...]
    values: tuple[str, ...]
    quantiles: tuple[float, ...]
    filters: tuple[tuple[str, Any], ...]

    @property
    def suffixes(self) -> list[tuple[str, float]]:
        """Names of the quantile columns, ("p99_9", 0.999)."""
        return [(quantile_name(q), q) for q in self.quantiles]

    def text(self) -> str:
        """As JSON; equal for equal questions."""
        return json.dumps(
            {
                "version": VERSION,
                "table": self.table,
                "by": self.by,
                "values": self.values,
                "quantiles": self.quantiles,
                "filters": dict(self.filters),
            },
            sort_keys=True,
            separators=(",", ":"),
            ensure_ascii=False,
        )

    @classmethod
    def from_text(cls, text: str) -> Spec:
        """What `text` wrote.

        Raises:
            InvalidArgument: It is something else.
        """
        try:
            fields = json.loads(text)
            if fields["version"] != VERSION:
                version = fields["version"]
                raise InvalidArgument(f"aggregate: a question of version {version}; this build knows version {VERSION}")
            return cls(
                table=str(fields["table"]),
                by=tuple(map(str, fields["by"])),
                values=tuple(map(str, fields["values"])),
                quantiles=tuple(map(float, fields["quantiles"])),
                filters=tuple(sorted(fields["filters"].items())),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, InvalidArgument):
                raise
            raise InvalidArgument(f"aggregate: not the question of an aggregate: {text[:80]!r}") from error


def quantile_name(q: float) -> str:
    """The decimal percentage with _ for its point: 0.5 → "p50", 0.999 → "p99_9"."""
    percent = Decimal(repr(q)) * 100
    return "p" + f"{percent.normalize():f}".replace(".", "_")


def checked_by(by: str | Iterable[str]) -> tuple[str, ...]:
    """The keys; `region` goes before a `funcID` that stands without it, because functions are numbered per region."""
    keys = list(_names("by", by))
    for key in keys:
        if key not in KEYS:
            raise InvalidArgument(f"aggregate: by: expected keys among {', '.join(KEYS)}; got {key!r}")
    if "funcID" in keys and "region" not in keys:
        keys.insert(keys.index("funcID"), "region")
    return tuple(keys)


def checked_values(values: str | Iterable[str]) -> tuple[str, ...]:
    """The value columns; whether they exist and are numbers is known once the table is."""
    return _names("values", values)


def checked_quantiles(quantiles: float | Iterable[float], values: Sequence[str]) -> tuple[float, ...]:
    """The quantiles, as given."""
    given = [quantiles] if isinstance(quantiles, int | float) else list(quantiles)
    checked: list[float] = []
    for q in given:
        if isinstance(q, bool) or not isinstance(q, int | float) or math.isnan(q) or not 0.0 <= q <= 1.0:
            raise InvalidArgument(f"aggregate: quantiles: expected numbers from 0 to 1, got {q!r}")
        if float(q) in checked:
            raise InvalidArgument(f"aggregate: quantiles: {q!r} stands there twice")
        checked.append(float(q) + 0.0)
    if checked and not values:
        raise InvalidArgument("aggregate: quantiles: of which column? values= is empty")
    return tuple(checked)


def _names(argument: str, given: str | Iterable[str]) -> tuple[str, ...]:
    names = (given,) if isinstance(given, str) else tuple(given)
    for i, name in enumerate(names):
        if not isinstance(name, str):
            raise InvalidArgument(f"aggregate: {argument}: expected names of columns, got {name!r}")
        if name in names[:i]:
            raise InvalidArgument(f"aggregate: {argument}: {name!r} stands there twice")
    return names
