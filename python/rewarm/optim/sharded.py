"""Parameters that are shards of a DTensor: what of them a plan steps, and the one float64 a norm class that ranks exchange.

Moments are DTensors with the placements of their parameter, so that torch.distributed.checkpoint saves and reshards them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from rewarm.errors import UnsupportedTensor

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

    from rewarm.optim.adamw import AdamW


def is_sharded(tensor: object) -> bool:
    """Whether `tensor` is a DTensor; torch.distributed is not imported to find out."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def local_of(tensor: Any) -> Tensor:
    """What this rank holds of a DTensor, and any other tensor itself."""
    if not is_sharded(tensor):
        return tensor  # type: ignore[no-any-return]
    # to_local() returns a fresh view of a parameter each time; a plan compares objects.
    local = tensor._local_tensor
    # A collective that was issued and not waited for yet.
    return local if type(local) is Tensor else local.wait()  # type: ignore[no-any-return]


def as_placed(p: Any, value: Tensor) -> Tensor:
    """`value`, of the global shape of `p`, as the shards that `p` has of it."""
    if not is_sharded(p) or is_sharded(value):
        return value
    from torch.distributed.tensor import distribute_tensor

    # Every rank has the whole value: each cuts its own part, nothing is sent.
    return distribute_tensor(value.to(p.device), p.device_mesh, p.placements, src_data_rank=None)


def check_placements(where: str, p: Any) -> None:
    """Refuses a parameter that is a pending sum."""
    if any(placement.is_partial() for placement in p.placements):
        raise UnsupportedTensor(f"AdamW: {where}: expected a DTensor that is sharded or replicated, got {p.placements}")


def check_options(where: str, opt: AdamW) -> None:
    """Refuses what is not yet done for DTensors."""
    if opt.stochastic_rounding:
        raise UnsupportedTensor(
            f"AdamW: {where}: stochastic_rounding=True takes plain tensors only: the random bits of an element of a DTensor "
            "would depend on how it is sharded"
        )
    if opt.backend in ("cuda", "triton") and (opt.max_grad_norm is not None or opt.skip_nonfinite):
        raise UnsupportedTensor(
            f"AdamW: {where}: the {opt.backend} backend reads the norm of plain tensors only; for a DTensor pass "
            "max_grad_norm=None, skip_nonfinite=False and call torch.nn.utils.clip_grad_norm_ before the step"
        )


class Shards:
    """The DTensor parameters of a plan.

    Args:
        params: All parameters of the optimizer, in its order.
        locals_: What this rank holds of each.
        planned: Positions in `params` of the planned tensors.
        names: How messages call each of `params`.

    Attributes:
        classes: int32 [n_planned]: which sum of squares each planned tensor belongs to.
        n_classes: Their number; tensors of one class are sharded over the same ranks.
    """

    def __init__(
        self, params: Sequence[Tensor], locals_: Sequence[Tensor], planned: Sequence[int], names: Sequence[str]
    ) -> None:
        self._n = len(params)
        self._sharded: list[tuple[int, DTensor, Tensor]] = [
            (k, p, local)  # type: ignore[misc]
            for k, (p, local) in enumerate(zip(params, locals_, strict=True))
            if is_sharded(p)
        ]
        self._names = names
        # Class 0 is complete on every rank. The others are in the order of the parameters, which is that of every rank.
        self._groups: list[tuple[Any, ...]] = [()]
        known: dict[Any, int] = {}
        classes = []
        for k in planned:
            p: Any = params[k]
            dims = tuple(d for d, q in enumerate(p.placements) if q.is_shard()) if is_sharded(p) else ()
            if not dims:
                classes.append(0)
                continue
            key = (p.device_mesh, dims)
            if key not in known:
                known[key] = len(self._groups)
                self._groups.append(tuple(p.device_mesh.get_group(d) for d in dims))
            classes.append(known[key])
        self.classes = np.array(classes, dtype=np.int32)
        self.n_classes = len(self._groups)

    def moved(self) -> bool:
        """Whether a parameter holds another local tensor than the planned one."""
        return any(p._local_tensor is not local for _, p, local in self._sharded)

    def gradients(self) -> list[Tensor | None]:
        """The local gradient of every DTensor parameter at its position; None for all others, as a gather takes them.

        A gradient with other placements than its parameter (a pending sum, say) is brought to them first, which all ranks do.

        Raises:
            UnsupportedTensor: A plain tensor as gradient of a DTensor.
        """
        found: list[Tensor | None] = [None] * self._n
        for k, p, _ in self._sharded:
            grad: Any = p.grad
            if grad is None:
                continue
            if not is_sharded(grad):
                raise UnsupportedTensor(
                    f"AdamW: {self._names[k]}: expected a DTensor as gradient of a DTensor, got a plain tensor"
                )
            if grad._spec is not p._spec and grad.placements != p.placements:
                with torch.no_grad():
                    grad = grad.redistribute(p.device_mesh, p.placements)
            found[k] = local_of(grad)
        return found

    def exchanged(self, sums: Tensor) -> Tensor:
        """The sum of squares over all ranks, from the sums of the local shards by class.

        Every rank adds the same numbers in the order of ranks, so all get the same bits whatever the transport does.

        Args:
            sums: float64 [n_classes] on the device of the parameters.

        Returns:
            0-d float64 on the same device.
        """
        import torch.distributed as dist

        total = sums[0]
        for k in range(1, self.n_classes):
            mine = sums[k]
            for group in self._groups[k]:
                everyones = [torch.zeros_like(mine) for _ in range(dist.get_world_size(group))]
                dist.all_gather(everyones, mine, group=group)
                mine = everyones[0]
                for other in everyones[1:]:
                    mine = mine + other
            total = total + mine
        return total
