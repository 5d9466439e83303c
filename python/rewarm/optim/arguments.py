"""What AdamW accepts, and the words with which it refuses."""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Callable, Iterator, Sequence
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
#: What a Schedule may drive, in the order of ScheduledValue in plan.h: values of a group, and the limit of the norm, which is
#: one for all groups and stands with group 0.
SCHEDULED = ("lr", "weight_decay", "beta1", "beta2", "eps", "max_grad_norm", "ema_decay")


def checked_scalar(name: str, value: object, *, below: float = math.inf) -> float:
    """A finite float in [0, below), or InvalidArgument."""
    accepts = "a finite number >= 0" if below == math.inf else f"a number in [0, {below:g})"
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise InvalidArgument(f"AdamW: {name}: expected {accepts}, got {value!r}")
    number = float(value)
    if not (math.isfinite(number) and 0.0 <= number < below):
        raise InvalidArgument(f"AdamW: {name}: expected {accepts}, got {value!r}")
    return number


def checked_beta(name: str, beta: object) -> float:
    """A float in [0, 1), or InvalidArgument."""
    return checked_scalar(name, beta, below=1.0)


def checked_fraction(name: str, value: object) -> float:
    """A float in [0, 1], or InvalidArgument."""
    number = checked_scalar(name, value)
    if number > 1.0:
        raise InvalidArgument(f"AdamW: {name}: expected a number in [0, 1], got {value!r}")
    return number


def checked_pair(name: str, betas: object) -> Sequence[object]:
    """A sequence of two, or InvalidArgument."""
    if not isinstance(betas, Sequence) or isinstance(betas, str) or len(betas) != 2:
        raise InvalidArgument(f"AdamW: {name}: expected a pair of numbers in [0, 1), got {betas!r}")
    return betas


def checked_schedule(name: str, key: str, schedule: Schedule) -> Schedule:
    """A Schedule whose values `key` accepts, or InvalidArgument. Between two values no piece leaves their range."""
    most = largest_value(schedule)
    if key in ("beta1", "beta2") and most >= 1.0:
        raise InvalidArgument(f"AdamW: {name}: expected a Schedule with values in [0, 1), got one that reaches {most!r}")
    if key == "ema_decay" and most > 1.0:
        raise InvalidArgument(f"AdamW: {name}: expected a Schedule with values in [0, 1], got one that reaches {most!r}")
    return schedule


def largest_value(schedule: Schedule) -> float:
    """An upper bound of a schedule's values."""
    ends = [x for s in schedule.segments for x in (s.from_value, s.to_value or 0.0, s.lo)]
    return max(*ends, *(value for s in schedule.segments for _, value in s.knots or ()))


def checked_values(g: int, group: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Schedule]:
    """Puts checked numbers into a new group, those of `defaults` where it has none; returns the Schedules that drive them."""
    schedules: dict[str, Schedule] = {}

    def number(key: str, where: str, value: object, check: Callable[[str, object], Any] = checked_scalar) -> Any:
        where = f"group {g}: {where}"
        if not isinstance(value, Schedule):
            return check(where, value)
        schedules[key] = checked_schedule(where, key, value)
        return value(0)

    lr = number("lr", "lr", group.get("lr", defaults["lr"]), checked_lr)
    group["lr"] = lr
    group["weight_decay"] = number("weight_decay", "weight_decay", group.get("weight_decay", defaults["weight_decay"]))
    pair = checked_pair(f"group {g}: betas", group.get("betas", defaults["betas"]))
    group["betas"] = tuple(number(f"beta{i + 1}", f"betas[{i}]", pair[i], checked_beta) for i in range(2))
    group["eps"] = number("eps", "eps", group.get("eps", defaults["eps"]))
    average = group.get("ema_decay", defaults["ema_decay"])
    if average is not None:
        group["ema_decay"] = number("ema_decay", "ema_decay", average, checked_fraction)
    return schedules


def value_of(group: dict[str, Any], key: str) -> Any:
    """What stands in a group for one of SCHEDULED; None for what does not stand there."""
    if key in ("beta1", "beta2"):
        return group["betas"][key == "beta2"]
    return group.get(key)


def put_value(group: dict[str, Any], key: str, value: float) -> None:
    """Writes one of SCHEDULED into a group; the limit of the norm stands in none."""
    if key in ("beta1", "beta2"):
        first, second = group["betas"]
        group["betas"] = (value, second) if key == "beta1" else (first, value)
    elif key != "max_grad_norm":
        group[key] = value


def checked_lr(name: str, lr: object) -> float | Tensor:
    """A float or a tensor of one element, or InvalidArgument."""
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
