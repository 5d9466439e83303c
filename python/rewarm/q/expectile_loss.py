"""The expectile regression by which IQL learns a value function."""

from __future__ import annotations

import torch
from torch import Tensor

from rewarm.q import expectile_loss_reference as reference
from rewarm.q.arguments import Sizes, check_floats, number, one_of
from rewarm.q.backend import choose, device_of, function

__all__ = ["expectile_loss"]


def expectile_loss(
    q: Tensor,
    v: Tensor,
    expectile: float = 0.7,
    *,
    reduction: str = "mean",
    backend: str | None = None,
) -> Tensor:
    """Computes w (q - v)^2 with w = expectile where q > v and 1 - expectile elsewhere.

    Kostrikov, Nair and Levine 2021 (arXiv 2110.06169, section 4.1). Gradients flow to both: detach q (the target) yourself.

    Args:
        q: [B] or [S, B].
        v: The shape of `q`.
        expectile: In [0, 1]; 0.5 is half the squared error, above it v is drawn to the upper end of q.
        reduction: "mean" over the rows of each seed, or "none".
        backend: "reference" (also float64), "cpu", "triton", or None: cpu for CPU tensors, triton for GPU tensors.

    Returns:
        0-d or [S] with "mean" (seeds are not averaged); the shape of `q` with "none".

    Raises:
        InvalidArgument: Sizes that do not agree, an expectile outside [0, 1], another reduction.
        UnsupportedTensor: A dtype, device or layout that is not accepted.
        BackendUnavailable: The named backend cannot be used here.
    """
    op = "expectile_loss"
    compiling = torch.compiler.is_compiling()
    name = "reference" if compiling else choose(op, device_of(op, "q", q), backend)
    check_floats(op, name, [("q", q), ("v", v)])
    sizes = Sizes(op)
    sizes.bind("v", v, sizes.bind("q", q, "B", "S B"))
    expectile = number(op, "expectile", expectile, low=0.0, high=1.0)
    one_of(op, "reduction", reduction, ("mean", "none"))
    if compiling or name == "reference":
        return reference.expectile_loss(q, v, expectile, reduction=reduction)
    loss: Tensor = function(op, name)(q, v, expectile, reduction=reduction)
    return loss
