"""AdamW as the paper writes it, one tensor at a time in float64: the law for every other backend.

Loshchilov and Hutter 2019 (arXiv 1711.05101), algorithm 2. Imports torch and nothing of rewarm.
"""

from __future__ import annotations

import torch
from torch import Tensor


def grad_norm(gradients: list[Tensor], loss_scale: float = 1.0) -> float:
    """The L2 norm of all gradients together, divided by `loss_scale`, in float64."""
    total = sum(float(g.double().square().sum()) for g in gradients)
    return float(torch.tensor(total, dtype=torch.float64).sqrt()) / loss_scale


def clip_coefficient(norm: float, max_grad_norm: float | None) -> float:
    """min(1, max_norm / (norm + 1e-6)), the factor of torch.nn.utils.clip_grad_norm_."""
    if max_grad_norm is None:
        return 1.0
    coefficient = max_grad_norm / (norm + 1e-6)
    return coefficient if coefficient < 1.0 or coefficient != coefficient else 1.0


def update(
    p: Tensor,
    g: Tensor,
    m: Tensor,
    v: Tensor,
    vmax: Tensor | None,
    *,
    t: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled_weight_decay: bool = True,
    maximize: bool = False,
    grad_factor: float = 1.0,
    since: int = 0,
    missing_m: float = 1.0,
    missing_v: float = 1.0,
    v_from_gradient: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """One AdamW update of one tensor, unrounded.

    Args:
        p: Parameter, any shape and floating dtype; read as float64, as all tensors here.
        g: Gradient, the shape of `p`.
        m: First moment, the shape of `p`.
        v: Second moment, the shape of `p`.
        vmax: Largest second moment so far (AMSGrad), or None.
        t: Index of this update of this parameter, from 1.
        lr: Learning rate.
        beta1: Decay of the first moment.
        beta2: Decay of the second moment.
        eps: Added to the root of the corrected second moment.
        weight_decay: lr * weight_decay * p is subtracted, or weight_decay * p is added to the gradient.
        decoupled_weight_decay: AdamW when True, Adam with L2 when False.
        maximize: Ascend instead of descend.
        grad_factor: Clip coefficient over loss scale.
        since: t at which the moments were last reset or decayed.
        missing_m: 1 minus the weight that m had then.
        missing_v: 1 minus the weight that v had then.
        v_from_gradient: The first update after `since` sets v to its squared gradient.

    Returns:
        New p, m, v and vmax as float64 tensors.
    """
    p, g, m, v = p.double(), g.double() * grad_factor, m.double(), v.double()
    if maximize:
        g = -g
    if decoupled_weight_decay:
        p = p * (1.0 - lr * weight_decay)
    else:
        g = g + weight_decay * p
    if v_from_gradient and t == since + 1:
        v = g * g
    m = beta1 * m + (1.0 - beta1) * g
    v = beta2 * v + (1.0 - beta2) * g * g
    second = v
    if vmax is not None:
        vmax = second = torch.maximum(vmax.double(), v)
    m_hat = m / (1.0 - missing_m * beta1 ** (t - since))
    v_hat = second / (1.0 - missing_v * beta2 ** (t - since))
    return p - lr * m_hat / (v_hat.sqrt() + eps), m, v, vmax


def moving_average(ema: Tensor, theta: Tensor, decay: float) -> Tensor:
    """Ema + (1 - decay) (theta - ema), in float64."""
    ema = ema.double()
    return ema + (1.0 - decay) * (theta.double() - ema)


def record_lr(areas: Tensor, lr: float, annealing_decay: float) -> None:
    """Counts one applied rate, in place: `areas` holds S1, S2, the annealing that S2 adds up, and the rate counted last.

    S1 = sum of lr_i and S2 = sum over i of sum over k <= i of (lr_(k-1) - lr_k) lambda^(i-k), Tissue et al. 2024
    (arXiv 2408.11029); Wang et al. 2025 (arXiv 2505.07796) write the law of continual pre-training in them.
    """
    before = float(areas[3])
    fall = before - lr if before == before else 0.0
    areas[2] = annealing_decay * float(areas[2]) + fall
    areas[1] += areas[2]
    areas[0] += lr
    areas[3] = lr


def watch_value(
    x: float,
    moments: tuple[float, float],
    counts: tuple[int, int],
    *,
    decay: float,
    deviations: float,
    after: int,
) -> tuple[tuple[float, float], tuple[int, int, int]]:
    """One more value of a running mean and variance; whether it lies more than `deviations` above the mean.

    The first 1 / (1 - decay) values weigh alike, later ones decay. A value that is not finite is a spike and changes no mean.

    Args:
        x: The value.
        moments: Mean and variance before.
        counts: Finite values and spikes before.
        decay: Of mean and variance.
        deviations: In standard deviations.
        after: Values seen before anything finite is a spike.

    Returns:
        (mean, variance), (values, spikes, 1 where `x` is a spike).
    """
    mean, variance = moments
    seen, spikes = counts
    finite = x - x == 0.0
    spike = not finite or (seen >= after and x > mean + deviations * variance**0.5)
    if finite:
        seen += 1
        weight = max(1.0 / seen, 1.0 - decay)
        off = x - mean
        mean, variance = mean + weight * off, (1.0 - weight) * (variance + weight * off * off)
    return (mean, variance), (seen, spikes + spike, int(spike))


def philox4x32_10(counter: tuple[int, int, int, int], key: tuple[int, int]) -> list[int]:
    """Philox4x32-10 (Salmon et al. 2011, section 3.3): four 32-bit words of one counter."""
    x0, x1, x2, x3 = counter
    k0, k1 = key
    for _ in range(10):
        left, right = 0xD2511F53 * x0, 0xCD9E8D57 * x2
        x0, x1, x2, x3 = (right >> 32) ^ x1 ^ k0, right & 0xFFFFFFFF, (left >> 32) ^ x3 ^ k1, left & 0xFFFFFFFF
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return [x0, x1, x2, x3]


def rounding_bits(seed: int, ordinal: int, t: int, numel: int) -> Tensor:
    """16 random bits for each element of one parameter's update `t`: int32 [numel], in memory order.

    Key = seed (64 bits), counter = (element // 8 as 64 bits, t, ordinal); element 8 k + j takes the low (j even) or high half
    of word j // 2 of block k.
    """
    key = (seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF)
    out: list[int] = []
    for block in range((numel + 7) // 8):
        counter = (block & 0xFFFFFFFF, block >> 32, t & 0xFFFFFFFF, ordinal & 0xFFFFFFFF)
        for word in philox4x32_10(counter, key):
            out += [word & 0xFFFF, word >> 16]
    return torch.tensor(out[:numel], dtype=torch.int32)


def round_stochastic(x: Tensor, bits: Tensor) -> Tensor:
    """float32 values to bfloat16: 16 random bits are added below the kept ones; inf and NaN pass unchanged."""
    raw = x.float().view(torch.int32)
    kept = ((raw + bits) >> 16).to(torch.int16).view(torch.bfloat16)
    return torch.where(torch.isfinite(x), kept, x.bfloat16())
