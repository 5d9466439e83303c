"""What the ops of rewarm.q accept, and the words with which they refuse."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable

import torch
from torch import Tensor

from rewarm.errors import IndexOutOfRange, InvalidArgument, UnsupportedTensor

PRECISIONS = ("fp32", "tf32", "bf16")
#: Dtypes of real inputs that a backend computes in.
FLOATS = {"reference": (torch.float32, torch.float64), "cpu": (torch.float32,), "triton": (torch.float32,)}


class Sizes:
    """The named axes of one call: an axis takes the size of the tensor that is shown first, later ones must agree."""

    def __init__(self, op: str) -> None:
        self.op = op
        self.known: dict[str, int] = {}

    def bind(self, name: str, tensor: Tensor, *accepted: str) -> str:
        """Matches a tensor with one of the `accepted` shapes ("S B"), the one of its rank; returns that one."""
        for shape in accepted:
            axes = shape.split()
            if len(axes) != tensor.ndim:
                continue
            sizes = list(tensor.shape)
            if all(size == self.known.get(axis, size) and size > 0 for axis, size in zip(axes, sizes, strict=True)):
                self.known.update(zip(axes, sizes, strict=True))
                return shape
        shapes = " or ".join(f"[{', '.join(self._shown(axis) for axis in shape.split())}]" for shape in accepted)
        raise InvalidArgument(f"{self.op}: {name}: expected shape {shapes} without empty axes, got {list(tensor.shape)}")

    def _shown(self, axis: str) -> str:
        return f"{axis}={self.known[axis]}" if axis in self.known else axis


def check_tensor(op: str, name: str, tensor: object) -> None:
    """Refuses what is no plain dense tensor."""
    if not isinstance(tensor, Tensor):
        raise UnsupportedTensor(f"{op}: {name}: expected a torch.Tensor, got {type(tensor).__name__}")
    if tensor.layout is not torch.strided:
        raise UnsupportedTensor(f"{op}: {name}: expected a dense (strided) tensor, got layout {tensor.layout}")


def check_floats(op: str, backend: str, tensors: Iterable[tuple[str, Tensor | None]], *, shared_by_seeds: str = "") -> None:
    """All of one real dtype that `backend` computes in, on one device and contiguous; None entries are skipped.

    Args:
        op: Name of the op, for the message.
        backend: Decides the dtypes.
        tensors: Names and tensors.
        shared_by_seeds: Name of the tensor whose first axis may have stride 0 (x.expand).
    """
    first: tuple[str, Tensor] | None = None
    for name, tensor in tensors:
        if tensor is None:
            continue
        check_tensor(op, name, tensor)
        if first is None:
            first = name, tensor
            if tensor.dtype not in FLOATS[backend]:
                accepted = " or ".join(map(str, FLOATS[backend]))
                hint = ' (backend="reference" takes float64)' if tensor.dtype is torch.float64 else ""
                raise UnsupportedTensor(f"{op}: {name}: expected {accepted} on the {backend} backend{hint}, got {tensor.dtype}")
        elif tensor.dtype is not first[1].dtype or tensor.device != first[1].device:
            raise UnsupportedTensor(
                f"{op}: {name}: expected {first[1].dtype} on {first[1].device} as {first[0]} is, got {tensor.dtype} on "
                f"{tensor.device}"
            )
        if not tensor.is_contiguous() and not (
            name == shared_by_seeds and tensor.stride(0) == 0 and tensor.select(0, 0).is_contiguous()
        ):
            raise UnsupportedTensor(
                f"{op}: {name}: expected a contiguous tensor, got shape {list(tensor.shape)} with strides "
                f"{list(tensor.stride())}: pass {name}.contiguous()"
            )


def check_integers(op: str, name: str, tensor: object, device: torch.device) -> Tensor:
    """A contiguous int64 tensor on `device`."""
    check_tensor(op, name, tensor)
    assert isinstance(tensor, Tensor)
    if tensor.dtype is not torch.int64 or tensor.device != device or not tensor.is_contiguous():
        kind = f"{'contiguous' if tensor.is_contiguous() else 'non-contiguous'} {tensor.dtype} on {tensor.device}"
        raise UnsupportedTensor(f"{op}: {name}: expected a contiguous torch.int64 tensor on {device}, got a {kind} one")
    return tensor


def check_mask(op: str, name: str, tensor: object, device: torch.device) -> None:
    """A contiguous bool tensor on `device`: a float mask does not say whether 1 means go on or stop."""
    check_tensor(op, name, tensor)
    assert isinstance(tensor, Tensor)
    if tensor.dtype is not torch.bool:
        raise UnsupportedTensor(
            f"{op}: {name}: expected torch.bool, True where the episode ended by itself (truncation is not an end), got "
            f"{tensor.dtype}: pass `1 - mask` or `{name} > 0` on purpose, as bool"
        )
    if tensor.device != device or not tensor.is_contiguous():
        raise UnsupportedTensor(
            f"{op}: {name}: expected a contiguous tensor on {device}, got strides {list(tensor.stride())} on {tensor.device}"
        )


def check_index_range(op: str, index: Tensor, critics: int) -> None:
    """On a CPU, where looking costs no wait: every entry names a critic."""
    if index.device.type != "cpu":
        return
    low, high = int(index.min()), int(index.max())
    if low < 0 or high >= critics:
        raise IndexOutOfRange(f"{op}: index: expected critics 0 to {critics - 1}, got {low if low < 0 else high}")


def number(
    op: str, name: str, value: object, *, low: float = -math.inf, high: float = math.inf, open_low: bool = False
) -> float:
    """A finite float in [low, high], or (low, high] with `open_low`."""
    okay = isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(float(value))
    if okay:
        found = float(value)  # type: ignore[arg-type]
        okay = low <= found <= high and not (open_low and found == low)
    if not okay:
        left = f"{'>' if open_low else '>='} {low:g}" if low > -math.inf else ""
        right = f"<= {high:g}" if high < math.inf else ""
        bounds = " and ".join(part for part in (left, right) if part)
        raise InvalidArgument(f"{op}: {name}: expected a finite number{' ' if bounds else ''}{bounds}, got {value!r}")
    return found


def whole(op: str, name: str, value: object, *, low: int, high: int) -> int:
    """An int in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not low <= int(value) <= high:
        raise InvalidArgument(f"{op}: {name}: expected a whole number from {low} to {high}, got {value!r}")
    return int(value)


def one_of(op: str, name: str, value: object, accepted: tuple[str, ...]) -> str:
    """One of the `accepted` words."""
    if not isinstance(value, str) or value not in accepted:
        raise InvalidArgument(f"{op}: {name}: expected one of {', '.join(accepted)}, got {value!r}")
    return value
