"""What other frameworks compute for update k, written from their sources as plain float64 formulas; nothing of rewarm.

P peak, m minimum, W warm-up, T total, D decay length. Values are as they are there: they may rise again or fall below 0.
"""

import math


def cos_down(x):
    return 0.5 * (1.0 + math.cos(math.pi * x))


DOWN = {
    "linear": lambda x: 1.0 - x,
    "cosine": cos_down,
    "one_minus_sqrt": lambda x: 1.0 - math.sqrt(x),
    "halving": lambda x: 2.0 * 0.5**x - 1.0,
}


def hf(kind, k, P, m, W, T, D=None, shape="cosine", power=1.0, num_cycles=1, timescale=None):
    """transformers/optimization.py, 5.24: lambdas of LambdaLR, which multiplies by P."""
    if kind == "constant":
        return P
    if kind == "wsd":
        low = m / P
        if k < W:
            return P * (k / W * (1.0 - low) + low)
        if k < T - D:
            return P
        return P * (DOWN[shape]((k - (T - D)) / D) * (1.0 - low) + low) if k < T else m
    if kind == "cosine_warmup_with_min_lr":
        low, x = m / P, (k - W + 1.0) / max(1.0, T - W)
        return P * (k + 1.0) / W if k < W else P * (cos_down(x) * (1 - low) + low)
    if k < W:
        return P * (k / max(1, W))
    x = (k - W) / max(1, T - W)
    if kind == "constant_with_warmup":
        return P
    if kind == "linear":
        return P * max(0.0, (T - k) / max(1, T - W))
    if kind == "cosine":
        return P * max(0.0, cos_down(x))
    if kind == "cosine_with_min_lr":
        return P * (cos_down(x) * (1 - m / P) + m / P)
    if kind == "cosine_with_restarts":
        return 0.0 if x >= 1.0 else P * max(0.0, cos_down((num_cycles * x) % 1.0))
    if kind == "polynomial":
        return m if k > T else (P - m) * (1 - x) ** power + m
    timescale = timescale or W or 10_000
    return P / math.sqrt((k + timescale - W) / timescale)


def megatron(kind, k, P, m, W, T, D=None, shape="halving"):
    """OptimizerParamScheduler.get_lr of Megatron-LM, 2026."""
    if W > 0 and k <= W:
        return P * k / W
    if kind == "constant":
        return P
    if k > T:
        return m
    if kind == "inverse_sqrt":
        return max(m, P * max(W, 1) ** 0.5 / max(k, 1) ** 0.5)
    if kind == "wsd":
        return P if k <= T - D else m + DOWN[shape]((k - (T - D)) / D) * (P - m)
    return m + DOWN[kind]((k - W) / (T - W)) * (P - m)


def neox(kind, k, P, m, W, T):
    """AnnealingLR.get_lr of GPT-NeoX since pull request 1379."""
    if W > 0 and k <= W:
        return P * max(1, k) / W
    n, end = k - W, T - W
    if kind == "cosine":
        return max(m, m + (P - m) / 2 * (math.cos(math.pi * n / end) + 1))
    return max(m, {"constant": P, "linear": P * (end - n) / end, "exponential": P * math.exp(-0.693 * n / end)}[kind])


def neox_2023(kind, k, P, m, W, T):
    """AnnealingLR.get_lr of GPT-NeoX before pull request 1008."""
    n = min(k, T - W)
    if W > 0 and k <= W:
        return P * n / W
    n -= W
    down = {
        "constant": P,
        "linear": P * (T - n) / T,
        "cosine": P / 2 * (math.cos(math.pi * n / T) + 1),
        "exponential": P * math.exp(-0.693 * n / T),
    }
    return max(m, down[kind])


def torchtitan(kind, k, P, m, W, T, D=None, shape="linear"):
    """linear_warmup_stable_decay of torchtitan 0.3."""
    D, shape = (D, shape) if kind == "wsd" else (T - W, kind)
    stable = T + 1 - W - D
    if k < W:
        return P * (k + 1) / W
    if k < W + stable:
        return P
    low, x = m / P, (k + 1 - (W + stable)) / D
    return P * (low + (1 - low) * DOWN[shape](x))


def litgpt(kind, k, P, m, W, T):
    """get_lr of litgpt/pretrain.py, 0.5.13."""
    if k < W:
        return P * k / W
    return m if k > T else m + cos_down((k - W) / (T - W)) * (P - m)


def optax(kind, k, P, m, W, T, power=1.0, transition_steps=None, decay_rate=None):
    """optax.schedules: warmup_constant, warmup_cosine_decay, warmup_exponential_decay, joined linear and polynomial."""
    if kind == "constant":
        return P
    if k < W:
        return P + (0.0 - P) * (1 - k / W)
    x = min(k - W, T - W) / (T - W)
    if kind == "constant_with_warmup":
        return P
    if kind == "cosine":
        return P * ((1 - m / P) * cos_down(x) + m / P)
    if kind == "exponential":
        return max(m, P * decay_rate ** ((k - W) / transition_steps))
    return (P - m) * (1 - x) ** power + m


def olmo_core(kind, k, P, m, W, T, D=None):
    """olmo_core.optim.scheduler; the trainer asks for k + 1."""
    k += 1
    if kind == "constant":
        return P
    if k < W or (k == W and W):
        return P * min(k, W) / W
    if kind == "constant_with_warmup":
        return P
    if kind == "inverse_sqrt":
        return P * math.sqrt(W / k)
    if kind == "wsd":
        return P if k < T - D else m + (P - m) * min(T - k, D) / D
    return m if k >= T else m + (P - m) * DOWN[kind]((k - W) / (T - W))


def nanotron(kind, k, P, m, W, T, D=None, shape="linear"):
    """lr_scheduler_builder of nanotron/helpers.py."""
    D, shape = (D, shape) if kind == "wsd" else (T - W, kind)
    if k <= W:
        return P * k / max(W, 1)
    if k < T - D:
        return P
    return m + (P - m) * DOWN[shape]((k - (T - D)) / D) if k < T else m


def lingua(kind, k, P, m, W, T, decay_frac=0.1, power=0.5):
    """lr_cosine, lr_linear, lr_inv_sqrt and lr_wsd of lingua/optim.py with cycle_length 1."""
    low = m / P
    if kind == "constant":
        return P
    if k < W:
        return P * (k / W)
    if kind == "inverse_sqrt":
        return P * max(W**power / k**power, low)
    if kind == "cosine":
        sign = ((k // (T * 1.0)) % 2) * -2 + 1
        return m if k > T else P * (low + 0.5 * (1 - low) * (sign * math.cos(math.pi * (k - W) / (T - W)) + 1))
    if kind == "linear":
        x = (k - W) / (T - W)
        return m if k > T else P * (x * low + (1 - x))
    cycle = k // T + 1
    end = T * cycle
    decay = int(end * decay_frac)
    if k == T:
        end = T
    if k <= end - decay:
        return P
    x = (k - (end - decay)) / decay
    return P / (x / low + (1 - x))


def timm(kind, k, P, m, W, T, power=0.5):
    """CosineLRScheduler and PolyLRScheduler with warmup_prefix=False and t_initial = T."""
    if k < W:
        return k * (P / W)
    if k >= T:
        return m
    return m + (P - m) * (cos_down(k / T) if kind == "cosine" else (1 - k / T) ** power)


FORMULAS = {
    "hf": hf,
    "megatron": megatron,
    "neox": neox,
    "neox-2023": neox_2023,
    "torchtitan": torchtitan,
    "litgpt": litgpt,
    "optax": optax,
    "olmo-core": olmo_core,
    "nanotron": nanotron,
    "lingua": lingua,
    "timm": timm,
}
