"""The conservative penalty of CQL and Cal-QL for the drawn critics, with its gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from rewarm.q.arguments import Sizes, check_floats, number, whole
from rewarm.q.backend import choose, device_of, function

__all__ = ["cql_penalty"]


def check_penalty(
    op: str,
    backend: str,
    q_sampled: Tensor,
    q_data: Tensor,
    log_density: Tensor | None,
    mc_return: Tensor | None,
    n_random: int,
) -> None:
    """Refuses what no backend takes."""
    check_floats(
        op, backend, [("q_data", q_data), ("q_sampled", q_sampled), ("log_density", log_density), ("mc_return", mc_return)]
    )
    sizes = Sizes(op)
    s = "S " if sizes.bind("q_data", q_data, "M B", "S M B").startswith("S") else ""
    sizes.bind("q_sampled", q_sampled, f"{s}M B N")
    if log_density is not None:
        sizes.bind("log_density", log_density, f"{s}B N")
    if mc_return is not None:
        sizes.bind("mc_return", mc_return, f"{s}B")
    whole(op, "n_random", n_random, low=0, high=sizes.known["N"])


def cql_penalty(
    q_sampled: Tensor,
    q_data: Tensor,
    *,
    log_density: Tensor | None = None,
    mc_return: Tensor | None = None,
    n_random: int = 0,
    bound_random: bool = False,
    temperature: float = 1.0,
    backend: str | None = None,
) -> Tensor:
    """Computes T logsumexp_n(q_n / T) - q_data for every critic and row, not reduced.

    CQL(H) of Kumar et al. 2020 (arXiv 2006.04779, section 3.2 and appendix F), with the lower bound of Cal-QL (Nakamoto et al.
    2023, arXiv 2303.05479, section 5): where `mc_return` is given, q_n = max(q_n, mc_return) in the columns from `n_random`
    on. Then, with importance sampling, q_n - log_density_n; without (`log_density` None), q_data is appended as one more,
    unbounded column and T log(N + 1) is subtracted from all.

    The gradient of q_n is softmax(q / T)_n, 0 where the bound replaced q_n (at a tie it did not). That of q_data is -1, plus
    the weight of its own column where it was appended. log_density and mc_return get none. NaN of q_n or mc_return stays.

    Args:
        q_sampled: [*S, M, B, N], the first `n_random` columns of uniformly drawn actions; M critics, already drawn.
        q_data: [M, B] or [S, M, B], of the actions in the data; decides whether there is a seeds axis.
        log_density: [*S, B, N], log probability (density) by which each action was drawn.
        mc_return: [*S, B], Monte-Carlo returns of the data.
        n_random: How many columns `mc_return` leaves alone, 0 to N.
        bound_random: Bound those as well.
        temperature: T > 0.
        backend: "reference" (also float64), "cpu", "triton", or None: cpu for CPU tensors, triton for GPU tensors.

    Returns:
        [*S, M, B]. The CQL loss is weight * mean; with a Lagrange multiplier, multiplier * mean(diff - gap).

    Raises:
        InvalidArgument: Sizes that do not agree, n_random or temperature out of range.
        UnsupportedTensor: A dtype, device or layout that is not accepted.
        BackendUnavailable: The named backend cannot be used here.
    """
    op = "cql_penalty"
    temperature = number(op, "temperature", temperature, low=0.0, open_low=True)
    bound_random = bool(bound_random)
    if torch.compiler.is_compiling():
        from rewarm.q import registration

        return registration.call_penalty(
            q_sampled, q_data, log_density, mc_return, n_random, bound_random, temperature, backend
        )
    name = choose(op, device_of(op, "q_data", q_data), backend)
    check_penalty(op, name, q_sampled, q_data, log_density, mc_return, n_random)
    diff: Tensor = function(op, name)(
        q_sampled,
        q_data,
        log_density=log_density,
        mc_return=mc_return,
        n_random=n_random,
        bound_random=bound_random,
        temperature=temperature,
    )
    return diff
