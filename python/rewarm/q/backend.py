"""Finds the spelling of an op of this room: rewarm.q.<module>_<backend>."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rewarm import _dispatch
from rewarm.errors import BackendUnavailable, UnsupportedTensor

#: No op of this room has a CUDA C++ kernel: Triton serves GPUs.
SPELLED = ("reference", "cpu", "triton")


def device_of(op: str, name: str, tensor: object) -> torch.device:
    """Where an op runs: where its first tensor is."""
    if not isinstance(tensor, Tensor):
        raise UnsupportedTensor(f"{op}: {name}: expected a torch.Tensor, got {type(tensor).__name__}")
    return tensor.device


def choose(op: str, device: torch.device, named: str | None) -> str:
    """The backend that was named, or the one for `device`; refused in words where it cannot be used."""
    return _chosen(op, device.type, named, _dispatch.triton_interpreted())


@functools.cache
def _chosen(op: str, device_type: str, named: str | None, interpreted: bool) -> str:
    # `interpreted` is part of the key only: looking for an installed Triton at every call would cost more than some ops.
    return _dispatch.choose(op, device_type, named, spelled=SPELLED)


@functools.cache
def function(module: str, backend: str, name: str | None = None) -> Callable[..., Any]:
    """The function `name` (the module's own name when None) of rewarm.q.<module>_<backend>.

    Raises:
        BackendUnavailable: This version of rewarm has no such module.
    """
    path = f"rewarm.q.{module}_{backend}"
    try:
        found = importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name != path:
            raise
        raise BackendUnavailable(
            f"{name or module}: backend {backend!r} is not written yet ({path}); backend='reference' computes the same"
        ) from None
    return getattr(found, name or module)  # type: ignore[no-any-return]


def is_written(module: str, backend: str) -> bool:
    """Whether this version of rewarm has rewarm.q.<module>_<backend>."""
    return importlib.util.find_spec(f"rewarm.q.{module}_{backend}") is not None
