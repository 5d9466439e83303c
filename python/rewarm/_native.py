"""The compiled modules: ``core`` (always built) and, on demand, ``cuda`` with the reason when it is missing."""

from __future__ import annotations

import functools
from types import ModuleType

from rewarm import _build_info
from rewarm import _core as core

__all__ = ["core", "cuda", "cuda_unavailable_reason"]


@functools.cache
def _import_cuda() -> tuple[ModuleType | None, str]:
    if not _build_info.CUDA_BUILT:
        return None, f"rewarm was built without CUDA: {_build_info.CUDA_REASON}"
    try:
        from rewarm import _cuda
    except ImportError as error:
        return None, f"rewarm._cuda was built but could not be imported: {error}"
    count, reason = _cuda.device_count()
    if count == 0:
        return None, f"rewarm._cuda was built ({_build_info.CUDA_ARCHITECTURES}) but no usable GPU was found: {reason}"
    return _cuda, ""


def cuda() -> ModuleType | None:
    """The CUDA module, or None where it was not built or finds no GPU (see `cuda_unavailable_reason`)."""
    return _import_cuda()[0]


def cuda_unavailable_reason() -> str:
    """Why `cuda()` is None, empty when it is not."""
    return _import_cuda()[1]
