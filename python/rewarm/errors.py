"""Every error that rewarm raises on purpose.

::

    RewarmError
    ├── InvalidArgument (ValueError)        a value, shape or name that is not accepted
    ├── UnsupportedTensor (TypeError)       a dtype, layout or device that no backend here can step
    ├── BackendUnavailable (RuntimeError)   a named backend that was not built, not installed, or has no device
    ├── PlanChanged (RuntimeError)          parameters or state moved or changed shape under the plan
    ├── ScheduleConflict (RuntimeError)     a learning rate was edited that a Schedule drives
    ├── CaptureError (RuntimeError)         a CUDA graph capture that could not be replayed safely
    ├── StateDictMismatch (ValueError)      a state dict of another model or with foreign contents
    ├── DeviceError (RuntimeError)          the CUDA runtime refused a call
    ├── IndexOutOfRange (IndexError)        an index tensor that names a critic or a row which does not exist
    └── TraceError (ValueError)             a trace file that cannot be read as what it claims to be
"""

from __future__ import annotations

from typing import Any


class RewarmError(Exception):
    """Base of all errors that rewarm raises on purpose."""


class InvalidArgument(RewarmError, ValueError):
    """A value, shape or name that is not accepted."""


class UnsupportedTensor(RewarmError, TypeError):
    """A dtype, layout or device that no backend here can step."""


class BackendUnavailable(RewarmError, RuntimeError):
    """A named backend that was not built, is not installed, or has no device."""


class PlanChanged(RewarmError, RuntimeError):
    """Parameters or optimizer state moved or changed shape in a way that the plan cannot follow."""


class ScheduleConflict(RewarmError, RuntimeError):
    """A learning rate was edited that a Schedule drives."""


class CaptureError(RewarmError, RuntimeError):
    """A CUDA graph capture that could not be replayed safely."""


class StateDictMismatch(RewarmError, ValueError):
    """A state dict of another model, or with contents that cannot be read."""


class DeviceError(RewarmError, RuntimeError):
    """The CUDA runtime refused a call."""


class IndexOutOfRange(RewarmError, IndexError):
    """An index tensor that names a critic or a row which does not exist."""


class TraceError(RewarmError, ValueError):
    """A trace file that cannot be read as what it claims to be; says where, what stood there, and what is accepted.

    Attributes:
        file: The file's relative path, with ``!member`` behind an archive; None where no single file is meant.
        line: Counted from 1, the header included; None where the error is not in a line.
        byte: Offset in the (decoded) file.
        column: Name of the column; None where the whole row or file is meant.
        text: What was found there, at most 80 bytes.
        expected: What is accepted.
    """

    def __init__(
        self,
        message: str,
        *,
        file: str | None = None,
        line: int | None = None,
        byte: int | None = None,
        column: str | None = None,
        text: str | None = None,
        expected: str | None = None,
    ) -> None:
        super().__init__(message)
        self.file, self.line, self.byte, self.column, self.text, self.expected = file, line, byte, column, text, expected

    def __reduce__(self) -> tuple[Any, ...]:
        """Keeps the fields in a pickle: without it Ray would take a parse error for a dead worker and try again."""
        return _rebuild_trace_error, (str(self), self.__dict__)


def _rebuild_trace_error(message: str, fields: dict[str, Any]) -> TraceError:
    error = TraceError(message)
    error.__dict__.update(fields)
    return error
