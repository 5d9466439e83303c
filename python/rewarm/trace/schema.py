"""What the columns of a table are called, what Arrow calls their types, and in which units they stand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple


class Field(NamedTuple):
    """One column.

    Attributes:
        name: As published, or snake_case for what is derived.
        type: Arrow's name of the type.
        unit: As published; empty where there is none.
    """

    name: str
    type: str
    unit: str


class Schema:
    """The columns of a table, in order. ``pyarrow.schema(schema)`` and other Arrow libraries take it as it is.

    Args:
        fields: Name, type and unit of every column.
        capsule: Makes the Arrow form.
    """

    def __init__(self, fields: list[tuple[str, str, str]], capsule: Callable[[], Any]) -> None:
        self._fields = tuple(Field(*field) for field in fields)
        self._capsule = capsule

    @property
    def names(self) -> list[str]:
        """Column names in order."""
        return [field.name for field in self._fields]

    def __len__(self) -> int:
        return len(self._fields)

    def __iter__(self) -> Iterator[Field]:
        return iter(self._fields)

    def __getitem__(self, key: int | str) -> Field:
        return self._fields[self.names.index(key) if isinstance(key, str) else key]

    def __arrow_c_schema__(self) -> Any:
        """The schema as an Arrow capsule."""
        return self._capsule()

    def __repr__(self) -> str:
        return "\n".join(f"{f.name}: {f.type}{f' [{f.unit}]' if f.unit else ''}" for f in self._fields)
