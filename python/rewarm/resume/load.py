"""One call from a checkpoint to a run: resume, re-warm, or weights alone; never a learning rate that nobody asked for."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from rewarm.errors import InvalidArgument, ScheduleConflict, StateDictMismatch
from rewarm.optim import AdamW
from rewarm.optim.arguments import each_param, param_name
from rewarm.optim.checkpoint import Readable, readable, world_size
from rewarm.optim.moments import moment_policy
from rewarm.resume import adopt, formats
from rewarm.schedule import Schedule, constant

POLICIES = ("resume", "rewarm", "weights")
CONFLICTS = ("error", "checkpoint", "config")
#: Updates that a table of two schedules shows.
SHOWN = 5
_DEFAULT_LR = 1e-3


class StepScheduleWarning(UserWarning):
    """The number of processes or the batch changed, and a schedule counts steps."""


@dataclass
class LoadReport:
    """What `load` did.

    Attributes:
        format: Who wrote the checkpoint.
        policy: "resume", "rewarm" or "weights".
        updates: The update counter now.
        tokens: The token counter now.
        next_lr: The learning rates of every group at the next updates, [group][update].
        without_moments: Parameters that had no optimizer state in the checkpoint, by name.
        notes: What else a reader should know.
    """

    format: str
    policy: str
    updates: int = 0
    tokens: int = 0
    next_lr: list[list[float]] = field(default_factory=list)
    without_moments: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class Rate:
    """The learning rate of one group as one side has it: a schedule with its origin, or a plain number.

    What a verb did to the optimizer since it was made is no wish: loading undoes it.
    """

    schedule: Schedule | None
    origin: int
    plain: float
    wished: bool = True

    def at(self, updates: int, tokens: int) -> float:
        """The rate applied at these counters."""
        if self.schedule is None:
            return self.plain
        return self.schedule(max((tokens if self.schedule.units == "tokens" else updates) - self.origin, 0))


def load(
    checkpoint: str | os.PathLike[str] | dict[str, Any],
    model: torch.nn.Module | None,
    opt: AdamW,
    *,
    policy: str | None = None,
    on_conflict: str = "error",
    schedule: Schedule | Mapping[int | str, Schedule] | None = None,
    state: str = "keep",
    v_init: str = "zero",
    tokens_per_update: int | None = None,
    change_units: bool = False,
) -> LoadReport:
    """Loads a checkpoint into a model and its AdamW, all or nothing.

    - "resume": weights, moments, counters and, as data, the schedule: bit-identical to a run that was never interrupted. Where
      the configured learning rate is another one, `on_conflict` decides. A plain rate of 1e-3, the default, is no wish.
    - "rewarm": weights, moments and counters; then ``opt.rewarm(schedule, state=state, v_init=v_init)``.
    - "weights": weights only; the optimizer stays as it was made.

    Args:
        checkpoint: A file, an HF Trainer folder or a dict: of rewarm, torch AdamW (positions or names, full or flattened), HF
            Trainer, Lightning, DeepSpeed without ZeRO, apex. Files are read with weights_only=True.
        model: Gets the weights where the checkpoint has some; None when it has them already.
        opt: The optimizer, made with the groups of the run that wrote the checkpoint.
        policy: See above. None resumes a checkpoint that carries a schedule; one without demands a policy.
        on_conflict: "error", "checkpoint" or "config": whose learning rate a resumed run has.
        schedule: The configured schedule, in place of the one that `opt` was made with.
        state: What a re-warming does to the moments, see ``AdamW.rewarm``.
        v_init: See ``AdamW.rewarm``.
        tokens_per_update: Tokens of an update from now on, to be told when they changed under a schedule in steps.
        change_units: Allow a re-warming in tokens of a run that counts steps, or the reverse.

    Returns:
        What was done.

    Raises:
        ScheduleConflict: Two learning rates and on_conflict="error", with a table of both at the next five updates.
        InvalidArgument: An argument that is not accepted, or a checkpoint without a schedule and no policy.
        StateDictMismatch: A damaged file, or one of another model, with the names. Nothing was changed.
    """
    if policy is not None and policy not in POLICIES:
        raise InvalidArgument(f"load: policy: expected one of {', '.join(POLICIES)} or None, got {policy!r}")
    if on_conflict not in CONFLICTS:
        raise InvalidArgument(f"load: on_conflict: expected one of {', '.join(CONFLICTS)}, got {on_conflict!r}")
    moment_policy("load", state, v_init)
    configured = _configured(opt, schedule)
    found = formats.read(checkpoint)
    if policy is None:
        if not found.has_schedule:
            raise InvalidArgument(
                f"load: the checkpoint ({found.format}) carries no schedule as data, so say what is meant: policy='resume' "
                "goes on with the configured schedule at its step count, 'rewarm' begins that schedule now with its moments, "
                "'weights' takes the weights alone"
            )
        policy = "resume"

    # Everything is checked before anything changes.
    weights = adopt.model_state(found, model) if found.model is not None and model is not None else None
    if policy == "weights":
        if weights is None and found.masters is None:
            raise InvalidArgument(
                f"load: policy='weights': the checkpoint ({found.format}) has no weights, or no model was given"
            )
        _load_weights(found, weights, model, opt)
        if schedule is not None:
            opt.set_schedule(schedule, change_units=True)
        return _report(found, policy, opt, [])
    if found.optimizer is None:
        raise StateDictMismatch(f"load: the checkpoint ({found.format}) has no optimizer state; policy='weights' needs none")
    placed = adopt.optimizer_state(found, model, opt)
    fitting = readable(opt, placed)
    if fitting.foreign:
        raise StateDictMismatch(
            f"load: the checkpoint has state of parameters in none of its groups: {list(fitting.foreign)[:8]}"
        )
    updates, tokens = _counters(fitting)
    if policy == "rewarm":
        new = _rewarm_schedule(opt, schedule, configured, fitting, change_units)
        after: dict[int | str, Schedule] = {}
    else:
        new = None
        after = _settled(opt, configured, fitting, on_conflict, tokens_per_update)
    _split_masters(found, opt)

    _load_weights(found, weights, model, opt)
    opt.load_state_dict(placed)
    for g, plain in _plain_wishes(configured, fitting, on_conflict).items():
        group = opt.param_groups[g]
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(plain)
        else:
            group["lr"] = plain
    if new is not None:
        opt.rewarm(new, state=state, v_init=v_init, change_units=True)
    elif after:
        opt.set_schedule(after, origin=0, change_units=True)
    _warn_of_steps(opt, fitting, updates, tokens, tokens_per_update)
    loaded = {id(p) for p, _ in fitting.loaded}
    without = [param_name(opt.param_groups, g, i) for g, i, p in each_param(opt.param_groups) if id(p) not in loaded]
    return _report(found, policy, opt, without)


# ---- whose learning rate ---------------------------------------------------------------------------------------------


def _configured(opt: AdamW, schedule: object) -> list[Rate]:
    """The learning rates that the program asks for: those of `opt`, or of the argument."""
    given = {} if schedule is None else {g: s for g, s, _ in opt._schedules_for("load", schedule, None)}
    rates = []
    for g, group in enumerate(opt.param_groups):
        wished = g in given or not opt.given_by_verb(g, "lr")
        rates.append(Rate(given.get(g, opt.schedules[g].get("lr")), 0, float(group["lr"]), wished))
    return rates


def _saved(fitting: Readable, g: int) -> Rate:
    saved, schedules = fitting.groups[g], fitting.schedules[g] or {}
    return Rate(schedules.get("lr"), int(saved.get("lr_origin", 0)), float(saved.get("lr", 0.0)))


def _counters(fitting: Readable) -> tuple[int, int]:
    first = fitting.groups[0]
    most = max((int(entry["step"]) for _, entry in fitting.loaded), default=0)
    return int(first.get("updates", most)), int(first.get("tokens", 0))


def _differ(ours: Rate, theirs: Rate) -> bool:
    """Whether the configured rate is a wish that the checkpoint does not fulfil."""
    if not ours.wished:
        return False
    if ours.schedule is not None:
        return theirs.schedule is not None and ours.schedule != theirs.schedule
    if ours.plain == _DEFAULT_LR:
        return False
    return theirs.schedule is not None or ours.plain != theirs.plain


def _settled(
    opt: AdamW, configured: list[Rate], fitting: Readable, on_conflict: str, tokens_per_update: int | None
) -> dict[int | str, Schedule]:
    """The schedules that win over those of the checkpoint; raises where nobody decided."""
    updates, tokens = _counters(fitting)
    rates = [(g, ours, _saved(fitting, g)) for g, ours in enumerate(configured)]
    different = [(g, ours, theirs) for g, ours, theirs in rates if _differ(ours, theirs)]
    if different and on_conflict == "error":
        raise ScheduleConflict(_conflict(different, updates, tokens, tokens_per_update))
    winners: dict[int | str, Schedule] = {}
    for g, ours, theirs in rates:
        takes_over = theirs.schedule is None or on_conflict == "config"
        if ours.schedule is None or not ours.wished or not takes_over or ours.schedule == theirs.schedule:
            continue
        _check_origin(g, ours.schedule, updates, tokens)
        # Without one in the checkpoint, loading leaves the schedule that the optimizer was made with.
        if theirs.schedule is not None or opt.schedules[g].get("lr") != ours.schedule:
            winners[g] = ours.schedule
    return winners


def _check_origin(g: int, schedule: Schedule, updates: int, tokens: int) -> None:
    """A configured schedule is read from the start of the run: it must count what the run counted, and not have ended."""
    if schedule.units == "tokens" and updates and not tokens:
        raise InvalidArgument(
            f"load: group {g}: the configured schedule counts tokens, and the checkpoint counted {updates} steps and no "
            "tokens: policy='rewarm' begins it now"
        )
    now = tokens if schedule.units == "tokens" else updates
    if schedule.length is not None and now > 0 and schedule.length <= now:
        raise InvalidArgument(
            f"load: group {g}: the configured schedule ends after {schedule.length} {schedule.units}, and the checkpoint "
            f"stands at {now}: policy='rewarm' begins it now"
        )


def _plain_wishes(configured: list[Rate], fitting: Readable, on_conflict: str) -> dict[int, float]:
    """Plain configured rates that win over plain saved ones."""
    if on_conflict != "config":
        return {}
    pairs = [(g, ours, _saved(fitting, g)) for g, ours in enumerate(configured)]
    return {g: ours.plain for g, ours, theirs in pairs if ours.schedule is theirs.schedule is None and _differ(ours, theirs)}


def _conflict(different: list[tuple[int, Rate, Rate]], updates: int, tokens: int, tokens_per_update: int | None) -> str:
    each = tokens_per_update or (tokens // updates if updates else 0)
    lines = ["load: the checkpoint's learning rate is not the configured one"]
    for g, ours, theirs in different:
        lines += [f"  group {g}", f"  {'update':>12}  {'checkpoint':>14}  {'configured':>14}"]
        for k in range(SHOWN):
            at = updates + k, tokens + k * each
            lines.append(f"  {at[0]:>12}  {theirs.at(*at):>14.6g}  {ours.at(*at):>14.6g}")
    lines.append(
        "on_conflict='checkpoint' goes on with the left column, 'config' with the right one; policy='rewarm' begins the "
        "configured schedule now"
    )
    return "\n".join(lines)


def _rewarm_schedule(
    opt: AdamW, schedule: Any, configured: list[Rate], fitting: Readable, change_units: bool
) -> Schedule | dict[int | str, Schedule]:
    """What policy="rewarm" begins, checked against what the run counted."""
    wanted: dict[int | str, Schedule] = {g: rate.schedule for g, rate in enumerate(configured) if rate.schedule is not None}
    if isinstance(schedule, Mapping):
        wanted = {g: s for g, s, _ in opt._schedules_for("load", schedule, None)}
    if not wanted:
        raise InvalidArgument("load: policy='rewarm' needs a Schedule: give schedule=, or make the AdamW with one as lr")
    updates, tokens = _counters(fitting)
    for g, new in wanted.items():
        old = _saved(fitting, int(g)).schedule
        counted = old.units if old is not None else "tokens" if tokens else "steps"
        if updates and new.units != counted and not change_units:
            raise InvalidArgument(
                f"load: group {g}: the new schedule counts {new.units}, the checkpoint counted {counted}; if that is meant, "
                "pass change_units=True"
            )
    return dict(wanted)


# ---- the changes -----------------------------------------------------------------------------------------------------


def _split_masters(found: formats.Checkpoint, opt: AdamW) -> list[list[Tensor]]:
    """float32 weights of every group, checked."""
    if found.masters is None:
        return []
    if len(found.masters) != len(opt.param_groups):
        raise StateDictMismatch(f"load: expected float32 weights of {len(opt.param_groups)} groups, got {len(found.masters)}")
    pieces = []
    for g, (group, masters) in enumerate(zip(opt.param_groups, found.masters, strict=True)):
        of_group = (
            adopt.split_flat(f"group {g}: float32 weights", masters, group["params"])
            if isinstance(masters, Tensor)
            else masters
        )
        if [tuple(m.shape) for m in of_group] != [tuple(p.shape) for p in group["params"]]:
            raise StateDictMismatch(f"load: group {g}: the float32 weights have other shapes than its parameters")
        pieces.append(list(of_group))
    return pieces


@torch.no_grad()
def _load_weights(found: formats.Checkpoint, weights: dict[str, Any] | None, model: torch.nn.Module | None, opt: AdamW) -> None:
    """In place. float32 parameters take the float32 masters of a 16-bit run; 16-bit ones have them rounded already."""
    masters = _split_masters(found, opt)
    if weights is not None and model is not None:
        model.load_state_dict(weights, strict=False)  # names and shapes were checked; tied weights are there once
    for group, of_group in zip(opt.param_groups, masters, strict=False):
        for p, master in zip(group["params"], of_group, strict=True):
            if weights is None or p.dtype is torch.float32:
                p.copy_(master)


def _warn_of_steps(opt: AdamW, fitting: Readable, updates: int, tokens: int, tokens_per_update: int | None) -> None:
    """Rule 7: other processes or another batch change what a step is; schedules in tokens do not care."""
    in_steps = [
        g for g, schedules in enumerate(opt.schedules) if schedules.get("lr", constant(0.0, units="tokens")).units == "steps"
    ]
    if not in_steps:
        return
    reasons = []
    before, now = fitting.groups[0].get("world_size"), world_size()
    if before is not None and before != now:
        reasons.append(f"{before} processes became {now}")
    if (
        tokens_per_update is not None
        and updates
        and tokens
        and abs(tokens / updates - tokens_per_update) > 0.01 * tokens_per_update
    ):
        reasons.append(f"{tokens / updates:.6g} tokens an update became {tokens_per_update}")
    if reasons:
        warnings.warn(
            f"load: {' and '.join(reasons)}, and the schedule of group {in_steps[0]} counts steps: the same curve now spans "
            "other data; a schedule with units='tokens' would not change",
            StepScheduleWarning,
            stacklevel=3,
        )


def _report(found: formats.Checkpoint, policy: str, opt: AdamW, without: list[str]) -> LoadReport:
    first = opt.state_dict()["param_groups"]
    updates, tokens = int(first[0]["updates"]), int(first[0]["tokens"])
    each = tokens // updates if updates else 0
    rates = []
    for g, group in enumerate(first):
        rate = Rate(opt.schedules[g].get("lr"), int(group["lr_origin"]), float(group["lr"]))
        rates.append([rate.at(updates + k, tokens + k * each) for k in range(SHOWN)])
    return LoadReport(found.format, policy, updates, tokens, rates, without, list(found.notes))
