"""Which backend runs an op: chosen by device and by what was built, or the one that was named, never another."""

from __future__ import annotations

import importlib.util
import os

from rewarm import _native
from rewarm.errors import BackendUnavailable, InvalidArgument

BACKENDS = ("reference", "cpu", "cuda", "triton")


def triton_interpreted() -> bool:
    """Whether Triton was told to interpret its kernels (TRITON_INTERPRET=1), which lets them run on CPU tensors."""
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "on", "y", "yes")


def unavailable(backend: str, device_type: str) -> str:
    """Why `backend` cannot run on tensors of `device_type`, empty when it can."""
    if backend == "reference":
        return ""
    if backend == "cpu":
        return "" if device_type == "cpu" else f"it steps CPU tensors, and these are on {device_type}"
    if backend == "cuda":
        if device_type != "cuda":
            return f"it steps CUDA tensors, and these are on {device_type}"
        return _native.cuda_unavailable_reason()
    if importlib.util.find_spec("triton") is None:
        return 'triton is not installed: pip install "rewarm[triton]"'
    if device_type == "cpu" and not triton_interpreted():
        return "it steps GPU tensors; CPU tensors only in Triton's interpreter (TRITON_INTERPRET=1, set before Python starts)"
    return ""


def choose(op: str, device_type: str, named: str | None = None, *, spelled: tuple[str, ...] = BACKENDS) -> str:
    """The backend for `op` on tensors of `device_type`.

    Args:
        op: Name of the op, for the message.
        device_type: ``torch.device.type`` of its tensors.
        named: The backend that the user asked for, or None to choose: ``cpu`` on CPU tensors, otherwise ``cuda`` where it
            was built and finds a GPU, otherwise ``triton``.
        spelled: The backends that this op has at all.

    Raises:
        InvalidArgument: `named` is not a backend.
        BackendUnavailable: `named` cannot run here, or none can; with the reason and how to get it.
    """
    if named is not None:
        if named not in BACKENDS:
            raise InvalidArgument(f"{op}: backend: expected one of {', '.join(BACKENDS)} or None, got {named!r}")
        reason = unavailable(named, device_type) if named in spelled else f"{op} has no such spelling"
        if reason:
            usable = [b for b in spelled if not unavailable(b, device_type)]
            raise BackendUnavailable(
                f"{op}: backend {named!r} cannot be used: {reason}. Usable on {device_type} tensors here: {', '.join(usable)}"
            )
        return named
    candidates = [b for b in (("cpu",) if device_type == "cpu" else ("cuda", "triton")) if b in spelled]
    for backend in candidates:
        if not unavailable(backend, device_type):
            return backend
    reasons = "; ".join(f"{b}: {unavailable(b, device_type)}" for b in candidates)
    raise BackendUnavailable(f"{op}: no backend for {device_type} tensors. {reasons}")
