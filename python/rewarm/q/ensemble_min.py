"""The smallest Q value of an ensemble, with a gradient that runs back through one critic a row."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rewarm.q.arguments import number
from rewarm.q.backend import choose, device_of, function
from rewarm.q.ensemble_mlp import Layers, check_ensemble

__all__ = ["ensemble_min"]


def ensemble_min(
    x: Tensor,
    layers: Layers,
    head: Sequence[Tensor],
    *,
    actions: Tensor,
    eps: float = 1e-6,
    precision: str = "fp32",
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Evaluates min over e of Q_e(x, actions) for every row, as the actor's loss needs it.

    The value is that of `ensemble_mlp` and a minimum over critics: NaN wins, then the smallest, then the lowest index. The
    gradient reaches x and actions only, through the critic of the minimum alone: 1/E of the usual backward. Parameters get
    none, which is right for an actor step.

    Args:
        x: [*S, B, D], or [*S, E, B, D], a batch of its own for each critic.
        layers: As in `ensemble_mlp`.
        head: (weight [*S, E, H], bias [*S, E]).
        actions: [*S, B, A].
        eps: As in `ensemble_mlp`.
        precision: As in `ensemble_mlp`.
        backend: As in `ensemble_mlp`.

    Returns:
        q_min [*S, B] and the critic that gave it, int64 [*S, B].

    Raises:
        InvalidArgument, UnsupportedTensor, BackendUnavailable: As `ensemble_mlp`.
    """
    op = "ensemble_min"
    eps = number(op, "eps", eps, low=0.0, open_low=True)
    if torch.compiler.is_compiling():
        from rewarm.q import registration

        return registration.call_min(x, layers, head, actions, eps, precision, backend)
    name = choose(op, device_of(op, "x", x), backend)
    check_ensemble(op, name, x, layers, head, actions, None, precision, scalar_head=True)
    q_min, critic = function(op, name)(x, layers, head, actions=actions, eps=eps, precision=precision)
    return q_min, critic
