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
    └── DeviceError (RuntimeError)          the CUDA runtime refused a call
"""

from __future__ import annotations


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
