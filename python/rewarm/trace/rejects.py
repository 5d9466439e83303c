"""Fields and rows that could not be read: what ``on_error="null"`` and ``"skip"`` left behind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple


class Reject(NamedTuple):
    """The place of a field or row that could not be read, what stood there, and what is accepted.

    Attributes:
        file: Relative path, with ``!member`` behind an archive.
        line: Counted from 1, the header included.
        byte: Offset of the field's or row's first character in the (decoded) file.
        column: None: the whole row.
        text: At most 80 bytes of it.
        expected: What is accepted.
        action: "null" or "row skipped".
    """

    file: str
    line: int
    byte: int
    column: str | None
    text: str
    expected: str
    action: str


class Rejects:
    """The first 10,000 rejects in row order (of an aggregate: by file, region, line), and how many there were.

    An Arrow library takes it as a table (which needs pyarrow here).

    Attributes:
        count: Exact, however many rows are kept.
    """

    def __init__(self, rows: Iterable[tuple[Any, ...]], count: int) -> None:
        self._rows = [Reject(*row) for row in rows]
        self.count = count

    def __len__(self) -> int:
        """Rejects that are kept."""
        return len(self._rows)

    def __iter__(self) -> Iterator[Reject]:
        return iter(self._rows)

    def __getitem__(self, index: int) -> Reject:
        return self._rows[index]

    def to_arrow(self) -> Any:
        """A ``pyarrow.Table`` with the columns of `Reject`."""
        import pyarrow as pa

        types = {name: pa.int64() if name in ("line", "byte") else pa.string() for name in Reject._fields}
        return pa.table({name: pa.array([getattr(r, name) for r in self._rows], kind) for name, kind in types.items()})

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """The rows that are kept, as an Arrow stream."""
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def __arrow_c_schema__(self) -> Any:
        """Their columns."""
        return self.to_arrow().schema.__arrow_c_schema__()

    def __repr__(self) -> str:
        return f"Rejects({self.count}{f', {len(self)} kept' if self.count != len(self) else ''})"
