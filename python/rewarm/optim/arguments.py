"""What AdamW accepts, and the words with which it refuses."""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from rewarm.errors import InvalidArgument, UnsupportedTensor
from rewarm.optim.sharded import local_of
from rewarm.schedule import Schedule

#: Moment dtypes that a parameter dtype may be stepped with.
STATE_DTYPES = {
    torch.float32: (torch.float32,),
    torch.bfloat16: (torch.bfloat16, torch.float32),
    torch.float16: (torch.float16, torch.float32),
}
#: Values of a group that a Schedule may drive, in the order of ScheduledValue in plan.h.
SCHEDULED = ("lr", "weight_decay")


def checked_scalar(name: str, value: object, *, below: float = math.inf) -> float:
    """A finite float in [0, below), or InvalidArgument."""
    accepts = "a finite number >= 0" if below == math.inf else f"a number in [0, {below:g})"
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise InvalidArgument(f"AdamW: {name}: expected {accepts}, got {value!r}")
    number = float(value)
    if not (math.isfinite(number) and 0.0 <= number < below):
        raise InvalidArgument(f"AdamW: {name}: expected {accepts}, got {value!r}")
    return number


def checked_betas(name: str, betas: object) -> tuple[float, float]:
    """Two floats in [0, 1), or InvalidArgument."""
    if not isinstance(betas, Sequence) or isinstance(betas, str) or len(betas) != 2:
        raise InvalidArgument(f"AdamW: {name}: expected a pair of numbers in [0, 1), got {betas!r}")
    return checked_scalar(f"{name}[0]", betas[0], below=1.0), checked_scalar(f"{name}[1]", betas[1], below=1.0)


def checked_lr(name: str, lr: object) -> float | Tensor | Schedule:
    """A float, a tensor of one element or a Schedule, or InvalidArgument."""
    if isinstance(lr, Schedule):
        return lr
    if isinstance(lr, Tensor):
        if lr.numel() != 1 or not lr.is_floating_point():
            raise InvalidArgument(
                f"AdamW: {name}: a tensor learning rate must hold one floating-point element, got shape {tuple(lr.shape)} of "
                f"{lr.dtype}"
            )
        return lr
    return checked_scalar(name, lr)


def is_dense(tensor: Tensor) -> bool:
    """Whether the elements fill their stretch of memory without gaps or overlap, in any order of dimensions."""
    if tensor.numel() == 0:
        return True
    expected = 1
    for stride, size in sorted((s, n) for s, n in zip(tensor.stride(), tensor.shape, strict=True) if n != 1):
        if stride != expected:
            return False
        expected *= size
    return True


def param_name(groups: Sequence[dict[str, Any]], group: int, index: int) -> str:
    """How messages call one parameter: its name where the group has names, and where it stands."""
    names = groups[group].get("param_names")
    shown = f"param {names[index]!r} " if names else "param "
    return f"{shown}(group {group}, index {index})"


def each_param(groups: Sequence[dict[str, Any]]) -> Iterator[tuple[int, int, Tensor]]:
    """(group, index in the group, parameter) of every parameter."""
    for g, group in enumerate(groups):
        for i, p in enumerate(group["params"]):
            yield g, i, p


def check_param(where: str, p: Tensor, *, backend: str | None, state_dtype: torch.dtype | None) -> None:
    """Refuses, by name, parameters that no plan can hold; of a DTensor `p` is the local shard."""
    if p.is_sparse or p.layout is not torch.strided:
        raise UnsupportedTensor(f"AdamW: {where}: expected a dense (strided) tensor, got layout {p.layout}")
    if p.is_complex():
        raise UnsupportedTensor(f"AdamW: {where}: expected a real floating-point dtype, got {p.dtype}")
    if type(p.data) is not Tensor:
        kind = f"{type(p.data).__module__}.{type(p.data).__qualname__}"
        raise UnsupportedTensor(f"AdamW: {where}: expected a plain torch.Tensor, got the tensor subclass {kind}")
    if p.dtype not in STATE_DTYPES:
        accepted = ", ".join(str(d) for d in STATE_DTYPES)
        raise UnsupportedTensor(f"AdamW: {where}: expected dtype {accepted}, got {p.dtype}")
    if state_dtype is not None and state_dtype not in STATE_DTYPES[p.dtype]:
        accepted = ", ".join(str(d) for d in STATE_DTYPES[p.dtype])
        raise UnsupportedTensor(
            f"AdamW: {where}: state_dtype for a {p.dtype} parameter: expected {accepted}, got {state_dtype}"
        )
    if not is_dense(p):
        raise UnsupportedTensor(
            f"AdamW: {where}: expected strides without gaps or overlap, got shape {tuple(p.shape)} with strides {p.stride()}"
        )
    stored = state_dtype or p.dtype
    if backend in ("cuda", "triton") and stored is torch.float16:
        raise UnsupportedTensor(
            f"AdamW: {where}: float16 moments are stepped by the cpu and reference backends only: state_dtype=torch.float32"
        )


def check_shared_storage(groups: Sequence[dict[str, Any]]) -> None:
    """Refuses two different parameters that overlap in memory."""
    spans = []
    for g, i, whole in each_param(groups):
        p = local_of(whole)
        if p.numel():
            spans.append((p.device.type, p.device.index, p.data_ptr(), p.data_ptr() + p.numel() * p.element_size(), g, i))
    spans.sort(key=lambda s: (s[0], s[1] or 0, s[2]))
    for (*first_device, _, end, g0, i0), (*device, begin, _, g1, i1) in itertools.pairwise(spans):
        if first_device == device and begin < end:
            raise UnsupportedTensor(
                f"AdamW: {param_name(groups, g0, i0)} and {param_name(groups, g1, i1)} share memory: two parameters on one "
                "storage cannot be stepped, pass the shared one once"
            )
