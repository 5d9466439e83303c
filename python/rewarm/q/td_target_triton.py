"""The triton backend of `td_target`: one launch. float64 inside, rounded once: the memory it waits for costs far more."""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from rewarm.q.launch_triton import surroundings

#: Rows of a program, and most actions that it holds at once.
BLOCK_B, BLOCK_K = 32, 16


@triton.jit(do_not_specialize=["rows", "n_drawn", "n_actions", "gamma"])
def td_target_kernel(
    reward_ptr,  # [*S, B]
    terminated_ptr,  # [*S, B] bool
    q_next_ptr,  # [*S, M, B, K]
    log_prob_ptr,  # [*S, B, K]
    alpha_ptr,  # [] or [S]
    gamma_ptr,  # []
    y_ptr,  # [*S, B]
    rows,
    n_drawn,
    n_actions,
    gamma,  # where GAMMA_ON_DEVICE is false
    ENTROPY: tl.constexpr,
    ALPHA_BY_SEED: tl.constexpr,
    GAMMA_ON_DEVICE: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """A block of rows of one seed: the minimum over critics, then the maximum over actions; NaN wins both."""
    seed = tl.program_id(1).to(tl.int64)
    b = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)
    exists = b < rows
    row = seed * rows + b
    discount = tl.zeros([], dtype=tl.float64) + gamma
    if GAMMA_ON_DEVICE:
        discount = tl.load(gamma_ptr).to(tl.float64)
    values = tl.full([BLOCK_B, BLOCK_K], float("-inf"), tl.float64)
    for k0 in range(0, n_actions, BLOCK_K):
        k = k0 + tl.arange(0, BLOCK_K)
        real = exists[:, None] & (k < n_actions)[None, :]
        value = tl.full([BLOCK_B, BLOCK_K], float("inf"), tl.float64)
        for m in range(n_drawn):
            at = (((seed * n_drawn + m) * rows + b) * n_actions)[:, None] + k[None, :]
            q = tl.load(q_next_ptr + at, mask=real, other=0.0).to(tl.float64)
            value = tl.minimum(value, q, propagate_nan=tl.PropagateNan.ALL)
        if ENTROPY:
            alpha = tl.load(alpha_ptr + seed * ALPHA_BY_SEED).to(tl.float64)
            log_prob = tl.load(log_prob_ptr + (row * n_actions)[:, None] + k[None, :], mask=real, other=0.0)
            value -= alpha * log_prob.to(tl.float64)
        value = tl.where(real, value, float("-inf"))
        values = tl.maximum(values, value, propagate_nan=tl.PropagateNan.ALL)
    # The maximum of a reduction would leave NaN out.
    has_nan = tl.sum((values != values).to(tl.int32), axis=1) > 0
    best = tl.where(has_nan, float("nan"), tl.max(tl.where(values != values, float("-inf"), values), axis=1))
    reward = tl.load(reward_ptr + row, mask=exists, other=0.0).to(tl.float64)
    ended = tl.load(terminated_ptr + row, mask=exists, other=0) != 0
    y = tl.where(ended, reward, reward + discount * best)
    tl.store(y_ptr + row, y.to(tl.float32), mask=exists)


def td_target(
    reward: Tensor,
    terminated: Tensor,
    q_next: Tensor,
    *,
    gamma: float | Tensor = 0.99,
    log_prob: Tensor | None = None,
    alpha: Tensor | None = None,
) -> Tensor:
    """See `rewarm.q.td_target`."""
    y = torch.empty_like(reward)
    has_seeds = reward.ndim == 2
    rows, seeds = reward.shape[-1], reward.shape[0] if has_seeds else 1
    n_actions = q_next.shape[-1] if q_next.ndim == 3 + has_seeds else 1
    on_device = isinstance(gamma, Tensor)
    entropy = log_prob is not None and alpha is not None
    with surroundings("td_target", reward.device):
        td_target_kernel[(triton.cdiv(rows, BLOCK_B), seeds)](
            reward,
            terminated.view(torch.uint8),
            q_next,
            log_prob if entropy else None,
            alpha if entropy else None,
            gamma if on_device else None,
            y,
            rows,
            q_next.shape[has_seeds],
            n_actions,
            0.0 if on_device else gamma,
            ENTROPY=entropy,
            ALPHA_BY_SEED=alpha is not None and alpha.ndim == 1,
            GAMMA_ON_DEVICE=on_device,
            BLOCK_B=BLOCK_B,
            BLOCK_K=min(triton.next_power_of_2(n_actions), BLOCK_K),
            num_warps=4,
            enable_fp_fusion=True,
        )
    return y
