"""The weight of an action in advantage-weighted regression, IQL's actor loss."""

from __future__ import annotations

import torch
from torch import Tensor

from rewarm.q import awr_weight_reference as reference
from rewarm.q.arguments import Sizes, check_floats, number
from rewarm.q.backend import choose, device_of, function

__all__ = ["awr_weight"]


@torch.no_grad()
def awr_weight(
    q: Tensor,
    v: Tensor,
    beta: float = 3.0,
    max_weight: float = 100.0,
    *,
    backend: str | None = None,
) -> Tensor:
    """Computes min(exp(beta (q - v)), max_weight); the actor loss of IQL is -mean(weight * gaussian_log_prob(action, ...)).

    Peng et al. 2019 (arXiv 1910.00177), Kostrikov, Nair and Levine 2021 (arXiv 2110.06169, section 4.3).

    Args:
        q: [B] or [S, B].
        v: The shape of `q`.
        beta: Inverse temperature, >= 0.
        max_weight: Upper bound, > 0.
        backend: "reference" (also float64), "cpu", "triton", or None: cpu for CPU tensors, triton for GPU tensors.

    Returns:
        The shape of `q`, never part of a graph. NaN stays NaN.

    Raises:
        InvalidArgument: Sizes that do not agree, beta or max_weight out of range.
        UnsupportedTensor: A dtype, device or layout that is not accepted.
        BackendUnavailable: The named backend cannot be used here.
    """
    op = "awr_weight"
    compiling = torch.compiler.is_compiling()
    name = "reference" if compiling else choose(op, device_of(op, "q", q), backend)
    check_floats(op, name, [("q", q), ("v", v)])
    sizes = Sizes(op)
    sizes.bind("v", v, sizes.bind("q", q, "B", "S B"))
    beta = number(op, "beta", beta, low=0.0)
    max_weight = number(op, "max_weight", max_weight, low=0.0, open_low=True)
    if compiling or name == "reference":
        return reference.awr_weight(q, v, beta, max_weight)
    weight: Tensor = function(op, name)(q, v, beta, max_weight)
    return weight
