"""Before anything is timed: the loops compute the same, and ours is AdamW to within the rounding of its formats.

Two checks. Unclipped, every loop ends within rounding of ours after a few steps. Clipped, ours is within one step's rounding
of the float64 reference at every step; torch is no judge there, since its float32 norm is off by up to 1e-3 on large tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from rewarm import _dispatch
from rewarm.bench.adamw_loops import BETAS, EPS, MIN_RATIO, WEIGHT_DECAY, Loop, Recipe, Rewarm, Setting
from rewarm.bench.timing import nothing
from rewarm.errors import RewarmError
from rewarm.optim import AdamW
from rewarm.optim import adamw_reference as reference
from rewarm.schedule import schedule_reference, warmup_cosine

#: Factors on the gradients of successive steps: powers of two, exact in every dtype, and of both signs. The graph variants
#: take two steps eagerly, so that two are replays.
FACTORS = (1.0, -0.5, 2.0, 0.25)
#: A rate that moves parameters by far more than their rounding, in bfloat16 too, and reaches it at the second step.
CHECKED = Recipe(max_lr=1e-2, warmup_steps=1, decay_steps=10, max_norm=1e9)
CLIPPED = Recipe(max_lr=1e-2, warmup_steps=1, decay_steps=10, max_norm=1.0)

_WHOLE, _PIECES, _PIECE = 2**18, 4, 2**16
_U = 2.0**-24  # one rounding in float32 arithmetic


def sample(tensor: Tensor) -> Tensor:
    """A copy of the whole tensor, flat, or of four stretches across a large one."""
    flat = tensor.detach().reshape(-1)
    if flat.numel() <= _WHOLE:
        return flat.clone()
    starts = [i * (flat.numel() - _PIECE) // (_PIECES - 1) for i in range(_PIECES)]
    return torch.cat([flat[start : start + _PIECE] for start in starts])


def check_agreement(
    where: str,
    loops: Sequence[Loop],
    initial: Sequence[Tensor],
    gradients: Sequence[Tensor],
    tick: Callable[[], None] = nothing,
) -> None:
    """Steps every loop unclipped from `initial` and compares its parameters with those of the first loop.

    A step changes a parameter by less than 2 lr: |m^| / sqrt(v^) stays below 2 over `FACTORS`. The bound counts, a step:
    one rounding of p to storage on either side (half a unit each), two more where p passes through storage between the
    operations of a step or is rounded stochastically; of the update, the roundings of m, v and, operation by operation, of
    all between; and 32 roundings of float32 arithmetic on the update. `tick` is called before every step.

    Raises:
        RewarmError: A loop that disagrees, with the place and the size.
    """
    ours, *others = loops
    results = _finish(ours, initial, gradients, tick)
    eps = torch.finfo(ours.setting.dtype).eps
    for other in others:
        coarse = other.rounds_each_op or ours.setting.stochastic_rounding
        of_p, of_update = (2.0, 16.0) if coarse else (1.0, 4.0)
        for index, (mine, theirs) in enumerate(zip(results, _finish(other, initial, gradients, tick), strict=True)):
            bound = len(FACTORS) * (
                eps * (of_p * mine.double().abs() + of_update * CHECKED.max_lr) + 32 * _U * 2 * CHECKED.max_lr
            )
            _compare(
                f"{where}: parameter {index}: {other.name}, unclipped, against {ours.name}",
                theirs,
                mine.double(),
                bound,
            )


def _finish(loop: Loop, initial: Sequence[Tensor], gradients: Sequence[Tensor], tick: Callable[[], None]) -> list[Tensor]:
    loop.start(initial, CHECKED)
    for factor in FACTORS:
        tick()
        # Fresh copies: clipping and Kahan summation write into them.
        loop.attach([gradient * factor for gradient in gradients])
        loop.run()
    return [sample(p) for p in loop.params]


def check_clipped(where: str, loop: Rewarm, initial: Sequence[Tensor], gradients: Sequence[Tensor]) -> float:
    """Steps `loop` with active clipping and compares every step with the float64 reference, fed the same stored values.

    Returns:
        The largest error over its bound.

    Raises:
        RewarmError: An error past its bound, or gradients too small to be clipped.
    """
    loop.start(initial, CLIPPED)
    settings = [
        {
            "lr": warmup_cosine(lr, MIN_RATIO * lr, CLIPPED.warmup_steps, CLIPPED.decay_steps),
            "weight_decay": WEIGHT_DECAY,
        }
        for lr in loop.setting.rates(CLIPPED.max_lr)
    ]
    assert loop.optimizer is not None
    worst = 0.0
    for k, factor in enumerate(FACTORS[:2]):
        scaled = [gradient * factor for gradient in gradients]
        loop.attach(scaled)
        worst = max(worst, _step_against_reference(where, loop.optimizer, loop.params, scaled, settings, k, loop.run))
    return worst


def _step_against_reference(
    where: str,
    opt: AdamW,
    params: Sequence[Tensor],
    gradients: Sequence[Tensor],
    settings: list[dict[str, Any]],
    k: int,
    run: Callable[[], None],
) -> float:
    """Error over bound of update `k`; the gradients are attached."""
    coefficient = reference.clip_coefficient(reference.grad_norm(list(gradients)), CLIPPED.max_norm)
    if coefficient >= 1.0:
        raise RewarmError(f"{where}: the gradients of the check are too small to be clipped")
    before = []
    for p in params:
        state = opt.state.get(p)
        moments = [sample(state[key]) if state else torch.zeros_like(sample(p)) for key in ("exp_avg", "exp_avg_sq")]
        before.append([sample(p), *moments])
    given = [sample(g) for g in gradients]
    run()
    worst = 0.0
    for index, (p, (old_p, m, v), g) in enumerate(zip(params, before, given, strict=True)):
        setting = settings[index if len(settings) > 1 else 0]
        lr = schedule_reference.value(setting["lr"].to_dict(), k)
        new_p, new_m, new_v, _ = reference.update(
            old_p, g, m, v, None, t=k + 1, lr=lr, beta1=BETAS[0], beta2=BETAS[1], eps=EPS,
            weight_decay=setting["weight_decay"], grad_factor=coefficient,
        )  # fmt: skip
        state = opt.state[p]
        # Magnitudes of the terms: differences cancel, roundings do not.
        m_terms = BETAS[0] * m.double().abs() + (1 - BETAS[0]) * coefficient * g.double().abs()
        update_terms = lr * (m_terms / (1 - BETAS[0] ** (k + 1))) / ((new_v / (1 - BETAS[1] ** (k + 1))).sqrt() + EPS)
        # Storage rounds to nearest, by half a unit at most; stochastically, or truncating in Triton's interpreter, by a whole.
        truncates = opt.backend == "triton" and _dispatch.triton_interpreted()
        p_eps = torch.finfo(p.dtype).eps * (1.0 if opt.stochastic_rounding or truncates else 0.5)
        state_eps = torch.finfo(state["exp_avg"].dtype).eps * (1.0 if truncates else 0.5)
        for name, got, wanted, bound in (
            (
                "parameter",
                sample(p),
                new_p,
                p_eps * new_p.abs() + 2 * _U * old_p.double().abs() + 16 * _U * update_terms,
            ),
            ("exp_avg of parameter", sample(state["exp_avg"]), new_m, state_eps * new_m.abs() + 6 * _U * m_terms),
            ("exp_avg_sq of parameter", sample(state["exp_avg_sq"]), new_v, (state_eps + 8 * _U) * new_v),
        ):
            place = f"{where}: {name} {index}: {opt.backend} after step {k + 1}, clipped, against float64"
            worst = max(worst, _compare(place, got, wanted, bound))
    return worst


def _compare(place: str, got: Tensor, wanted: Tensor, bound: Tensor) -> float:
    """The largest error over its bound, or an error that says where."""
    if not got.numel():
        return 0.0
    # Results below the normal range of float32 are rounded to its grid.
    over = (got.double() - wanted).abs() / (bound + 2.0**-126)
    worst = int(over.argmax()) if not over.isnan().any() else int(over.isnan().nonzero()[0])
    if not float(over[worst]) <= 1.0:
        raise RewarmError(
            f"{place}, sampled element {worst}: expected {float(wanted[worst]):.9g} within {float(bound[worst]):.3g}, "
            f"got {float(got[worst]):.9g}"
        )
    return float(over[worst])


def one_step(device_type: str, backend: str) -> float:
    """Two clipped updates of a few float32 and bfloat16 tensors by one backend; the largest error over its bound.

    Raises:
        RewarmError: An error past its bound.
    """
    worst = 0.0
    for dtype in (torch.float32, torch.bfloat16):
        shapes = ((7,), (33, 31), (1,), (40_009,))
        setting = Setting(shapes, torch.device(device_type), dtype, dtype, stochastic_rounding=False, own_groups=True)
        generator = torch.Generator().manual_seed(20)
        initial, gradients = ([torch.randn(s, generator=generator).to(device_type, dtype) for s in shapes] for _ in range(2))
        worst = max(worst, check_clipped(f"self-check of {backend}", Rewarm(setting, backend), initial, gradients))
    return worst
