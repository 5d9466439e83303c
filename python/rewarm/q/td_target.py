"""The target of the critics: reward plus the discounted value of the next state, ended by `terminated` alone."""

from __future__ import annotations

import torch
from torch import Tensor

from rewarm.errors import InvalidArgument
from rewarm.q import td_target_reference as reference
from rewarm.q.arguments import Sizes, check_floats, check_mask, number
from rewarm.q.backend import choose, device_of, function

__all__ = ["td_target"]


@torch.no_grad()
def td_target(
    reward: Tensor,
    terminated: Tensor,
    q_next: Tensor,
    *,
    gamma: float | Tensor = 0.99,
    log_prob: Tensor | None = None,
    alpha: Tensor | None = None,
    backend: str | None = None,
) -> Tensor:
    """Computes y = r + gamma max_k (min_m Q_m(s', a'_k) - alpha log pi(a'_k | s')), and y = r where the episode terminated.

    The minimum over the drawn critics is that of REDQ (Chen et al. 2021, arXiv 2101.05982), the entropy term that of SAC
    (Haarnoja et al. 2018, arXiv 1801.01290), the maximum over K actions the max-backup of CQL (Kumar et al. 2020, arXiv
    2006.04779, appendix F). NaN in a minimum or maximum stays NaN; a terminated row does not look at q_next at all.

    Truncation is no argument: it never cuts the bootstrap, so q_next must come from the true final observation, not from the
    first one after a reset.

    Args:
        reward: [B] or [S, B]; decides whether there is a seeds axis.
        terminated: bool, the shape of `reward`. Float masks are refused: they do not say which way round they are.
        q_next: [*S, M, B], or [*S, M, B, K] for K next actions; M critics, already drawn.
        gamma: Discount in [0, 1], or a 0-d tensor of it on the device.
        log_prob: [*S, B] or [*S, B, K]; without `alpha` it is not used.
        alpha: Temperature, 0-d or [S]; needs `log_prob`.
        backend: "reference" (also float64), "cpu", "triton", or None: cpu for CPU tensors, triton for GPU tensors.

    Returns:
        y [*S, B], never part of a graph.

    Raises:
        InvalidArgument: Sizes that do not agree, gamma outside [0, 1], `alpha` without `log_prob`.
        UnsupportedTensor: A dtype, device or layout that is not accepted.
        BackendUnavailable: The named backend cannot be used here.
    """
    op = "td_target"
    compiling = torch.compiler.is_compiling()
    name = "reference" if compiling else choose(op, device_of(op, "reward", reward), backend)
    moving = gamma if isinstance(gamma, Tensor) else None
    check_floats(
        op,
        name,
        [("reward", reward), ("q_next", q_next), ("log_prob", log_prob), ("alpha", alpha), ("gamma", moving)],
    )
    check_mask(op, "terminated", terminated, reward.device)
    sizes = Sizes(op)
    sizes.bind("terminated", terminated, sizes.bind("reward", reward, "B", "S B"))
    s = "S " if reward.ndim == 2 else ""
    many = sizes.bind("q_next", q_next, f"{s}M B", f"{s}M B K").endswith("K")
    if moving is not None:
        sizes.bind("gamma", moving, "")
    else:
        gamma = number(op, "gamma", gamma, low=0.0, high=1.0)
    if alpha is not None:
        if log_prob is None:
            raise InvalidArgument(f"{op}: alpha: needs log_prob, got None: without it there is no entropy to weigh")
        sizes.bind("alpha", alpha, "", *(["S"] if s else []))
    if log_prob is not None:
        sizes.bind("log_prob", log_prob, f"{s}B K" if many else f"{s}B")
    if compiling or name == "reference":
        return reference.td_target(reward, terminated, q_next, gamma=gamma, log_prob=log_prob, alpha=alpha)
    y: Tensor = function(op, name)(reward, terminated, q_next, gamma=gamma, log_prob=log_prob, alpha=alpha)
    return y
