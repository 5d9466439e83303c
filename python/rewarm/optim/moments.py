"""What a re-warming does to the moments: kept, reset, or decayed, so that every bias correction stays right.

A moving average that began with weight w has weight 1 - (1 - w) beta^k after k updates, and Adam divides by that weight. The
table of the plan holds 1 - w of either moment (`MomentStart`); resetting one moment or keeping a share of its evidence rewrites
that and scales the moment alike. All of it happens on the device, in place, without a sync.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from rewarm.errors import InvalidArgument
from rewarm.optim.plan import MomentStart, Plan
from rewarm.optim.sharded import local_of

if TYPE_CHECKING:
    from rewarm.optim.verbs import Verbs

_POLICIES = ("keep", "reset", "reset_m", "reset_v", "decay:x")


class MomentPolicy(NamedTuple):
    """What happens to the moments: the factors on m and v, and whether t starts again."""

    keep_m: float
    keep_v: float
    restarts_t: bool
    v_from_gradient: bool

    @property
    def changes_nothing(self) -> bool:
        """state="keep"."""
        return self.keep_m == self.keep_v == 1.0


def moment_policy(verb: str, state: object, v_init: object) -> MomentPolicy:
    """Reads `state` and `v_init` of a verb, or InvalidArgument."""
    if v_init not in ("zero", "grad"):
        raise InvalidArgument(f"AdamW: {verb}: v_init: expected 'zero' or 'grad', got {v_init!r}")
    factors = {"keep": (1.0, 1.0), "reset": (0.0, 0.0), "reset_m": (0.0, 1.0), "reset_v": (1.0, 0.0)}.get(str(state))
    if factors is None and isinstance(state, str) and state.startswith("decay:"):
        try:
            x = float(state.removeprefix("decay:"))
        except ValueError:
            x = math.nan
        if 0.0 <= x <= 1.0:
            factors = (x, x)
    if factors is None or not isinstance(state, str):
        raise InvalidArgument(
            f"AdamW: {verb}: state: expected one of {', '.join(map(repr, _POLICIES))} with x in [0, 1], got {state!r}"
        )
    if v_init == "grad" and factors[1] != 0.0:
        raise InvalidArgument(f"AdamW: {verb}: v_init='grad' needs a v that is reset, got state={state!r}")
    return MomentPolicy(*factors, restarts_t=state == "reset", v_from_gradient=v_init == "grad")


def apply_policy(opt: Verbs, groups: list[int], policy: MomentPolicy) -> None:
    """Changes moments, t and the plan's table of the parameters in `groups`; nothing here can fail halfway."""
    if policy.changes_nothing:
        return
    members = {id(p): g for g in groups for p in opt.param_groups[g]["params"]}
    plan = opt.planned() if any(opt.state.get(p) for g in groups for p in opt.param_groups[g]["params"]) else None
    with_state = set()
    if plan is not None:
        rows = [row for row, p in enumerate(plan.stepped) if id(p) in members]
        with_state = {id(plan.stepped[row]) for row in rows}
        if rows:
            _change_rows(opt, plan, rows, members, policy)
    for key in members.keys() - with_state:
        opt.starts.pop(key, None)
        if policy.v_from_gradient:
            opt.starts[key] = MomentStart(v_from_gradient=True)


@torch.no_grad()
def _change_rows(opt: Verbs, plan: Plan, rows: list[int], members: dict[int, int], policy: MomentPolicy) -> None:
    params = [plan.stepped[row] for row in rows]
    states: list[dict[str, Any]] = [{key: local_of(value) for key, value in opt.state[p].items()} for p in params]
    _scale([state["exp_avg"] for state in states], policy.keep_m)
    _scale([state["exp_avg_sq"] for state in states], policy.keep_v)
    _scale([state["max_exp_avg_sq"] for state in states if "max_exp_avg_sq" in state], policy.keep_v)
    index = torch.tensor(rows, device=opt.device)
    words = plan.starts[index]
    numbers = words.view(torch.float64)
    if policy.restarts_t:
        torch._foreach_zero_([state["step"] for state in states])
        plan.t[index] = 0
        words[:, 0] = 0
        numbers[:, 1:3] = 1.0
    else:
        shown = torch.stack([state["step"] for state in states])
        t = plan.t[index]
        # As next_t in advance.h: a step that was written from outside wins.
        t = torch.where(shown == t.to(torch.float32), t, shown.double().round().to(torch.int64))
        plan.t[index] = t
        known = t >= words[:, 0]
        steps = torch.where(known, t - words[:, 0], t).double()
        betas = torch.tensor([opt.param_groups[members[id(p)]]["betas"] for p in params], dtype=torch.float64)
        missing = torch.where(known[:, None], numbers[:, 1:3], 1.0) * betas.to(opt.device) ** steps[:, None]
        kept = torch.tensor([policy.keep_m, policy.keep_v], dtype=torch.float64).to(opt.device)
        # 1 - kept (1 - missing) would lose the digits of a `missing` that is kept whole.
        numbers[:, 1:3] = torch.where(kept == 1.0, missing, 1.0 - kept * (1.0 - missing))
        words[:, 3] *= known & (t == words[:, 0])
        words[:, 0] = t
    if policy.keep_v == 0.0:
        words[:, 3] = int(policy.v_from_gradient)
    plan.starts[index] = words


def _scale(moments: list[Tensor], factor: float) -> None:
    if not moments:
        return
    if factor == 0.0:
        torch._foreach_zero_(moments)  # not times 0: an infinite v would become NaN
    elif factor != 1.0:
        torch._foreach_mul_(moments, factor)
