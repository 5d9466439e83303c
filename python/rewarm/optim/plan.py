"""The plan of an AdamW: native handle, device tables and the step function of its backend.

A plan is valid until a parameter, its state or the groups change; the optimizer then builds another. The tables outlive it,
so that counters and schedules keep their addresses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import IntFlag
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from rewarm._native import core
from rewarm.errors import PlanChanged, UnsupportedTensor
from rewarm.optim.arguments import SCHEDULED, check_param, check_shared_storage, each_param, param_name, value_of
from rewarm.optim.knots import KnotPlaces
from rewarm.optim.sharded import Shards, check_options, check_placements, is_sharded, local_of
from rewarm.schedule import MAX_KNOTS

if TYPE_CHECKING:
    from rewarm.optim.adamw import AdamW
    from rewarm.schedule import Schedule

#: Codes of the storage formats, as in csrc/common/dtype.h.
DTYPE_CODES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
STATE_KEYS = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")

#: Words of `Tables`, as in csrc/optim/plan.h.
UPDATES, TOKENS, SKIPPED, CLIPPED, NORMS, NORM_SPIKES, NORM_SPIKING, LOSSES, LOSS_SPIKES, LOSS_SPIKING = range(10)
NORM, CLIP_COEF, CLIP_RATE, UPDATE_RMS, NORM_MEAN, NORM_VARIANCE, LOSS_MEAN, LOSS_VARIANCE = range(8)
LAST_LR, LR_AREA, ANNEALING_AREA, ANNEALING, AREA_LR = range(5)
#: Names of what is saved of them: counters from CLIPPED on, scalars from CLIP_RATE on, and those of a group.
OBSERVED_COUNTS = ("clipped", "norms", "norm_spikes", "norm_spiking", "losses", "loss_spikes", "loss_spiking")
OBSERVED_SCALARS = ("clip_rate", "update_rms", "norm_mean", "norm_variance", "loss_mean", "loss_variance")
GROUP_RESULTS = ("last_lr", "lr_area", "annealing_area", "annealing", "area_lr")


def origin_word(group: int, which: int) -> int:
    """Where in the counters the origin of a schedule stands."""
    return int(core.FIRST_ORIGIN + core.SCHEDULED_VALUES * group + which)


class Flag(IntFlag):
    """What the gather found before a step (csrc/bindings/gather.h). From NO_GRADIENT on nothing was stepped."""

    GRADIENTS_MOVED = 1
    GROUPS_CHANGED = 2
    NO_GRADIENT = 4
    STALE = 8
    NEW_GRADIENT = 16
    GRADIENT_LAYOUT = 32
    GRADIENT_MISMATCH = 64


class MomentStart(NamedTuple):
    """Where the moments of one parameter began: csrc/optim/adamw.h. The default is Adam from its start."""

    since: int = 0
    missing_m: float = 1.0
    missing_v: float = 1.0
    v_from_gradient: bool = False


class Tables:
    """Counters, results and schedule rows of one optimizer, on its device, with the host's copy beside them.

    Attributes:
        counters: int64 [10 + 7 groups]: updates, tokens, skipped, ... (`Counter` of plan.h), then the origin of every schedule.
        scalars: float64 [8 + 5 groups]: gradient norm, clip coefficient, ... (`Scalar`), then those of every group
            (`GroupScalar`), the applied lr first.
        rows: int64 [groups, 7, 64, 8]: the segments of every schedule, as schedule.h lays them out.
        knots: int64 [4096, 2]: the knots that tables among them index, in the memory before `rows`.
        host_counters: The same as `counters` on a CPU; on a GPU what the host knows: updates issued.
        host_rows, host_knots: Likewise.
    """

    def __init__(self, device: torch.device, n_groups: int) -> None:
        self.device = device
        self.n_groups = n_groups
        self.counters = torch.zeros(origin_word(n_groups, 0), dtype=torch.int64, device=device)
        n_scalars = core.FIRST_GROUP_SCALAR + core.GROUP_SCALARS * n_groups
        self.scalars = torch.zeros(n_scalars, dtype=torch.float64, device=device)
        self.scalars[: UPDATE_RMS + 1] = torch.nan
        self.group_scalars[:, LAST_LR] = self.group_scalars[:, AREA_LR] = torch.nan
        on_host = device.type == "cpu"
        self.knots, self.rows = _schedule_tables(device, n_groups)
        self.host_counters = self.counters if on_host else torch.zeros_like(self.counters, device="cpu")
        self.host_knots, self.host_rows = (
            (self.knots, self.rows) if on_host else _schedule_tables(torch.device("cpu"), n_groups)
        )
        self._schedules: dict[tuple[int, int], Schedule] = {}
        self._places = KnotPlaces()

    def grown(self, n_groups: int) -> Tables:
        """Tables for more groups that go on where these stand."""
        new = Tables(self.device, n_groups)
        for ours, theirs in ((new.counters, self.counters), (new.host_counters, self.host_counters)):
            ours[: theirs.numel()] = theirs
        new.scalars[: self.scalars.numel()] = self.scalars
        for ours, theirs in (
            (new.rows[: self.n_groups], self.rows),
            (new.host_rows[: self.n_groups], self.host_rows),
            (new.knots, self.knots),
            (new.host_knots, self.host_knots),
        ):
            ours.copy_(theirs)
        new._schedules, new._places = self._schedules, self._places
        return new

    def count_skip(self, tokens: int) -> None:
        """Counts an update that GradScaler forbade, on a CPU."""
        self.counters[SKIPPED] += 1
        self.counters[TOKENS] += tokens

    @property
    def group_scalars(self) -> Tensor:
        """The part of `scalars` that belongs to groups: [groups, GROUP_SCALARS]."""
        return self.scalars[core.FIRST_GROUP_SCALAR :].view(self.n_groups, core.GROUP_SCALARS)

    def observed(self) -> dict[str, int | float]:
        """What is saved of counters and scalars, by name; numbers that are not finite are left out."""
        counts = zip(OBSERVED_COUNTS, self.counters[CLIPPED:].tolist(), strict=False)
        scalars = zip(OBSERVED_SCALARS, self.scalars[CLIP_RATE:].tolist(), strict=False)
        return {key: value for key, value in (*counts, *scalars) if np.isfinite(value)}

    def set_schedule(self, group: int, which: int, schedule: Schedule) -> None:
        """Writes the rows and knots of one schedule in place, on host and device.

        Raises:
            InvalidArgument: The tables of all schedules have no room for its knots; nothing was changed.
        """
        self._places.check_room({**self._schedules, (group, which): schedule}.values())
        self._schedules[group, which] = schedule
        place = self._places.find(schedule, self._schedules.values())
        if place is None:  # the room there is lies in pieces
            self._places = KnotPlaces()
            for (g, w), other in self._schedules.items():
                self._write(g, w, other, self._places.find(other, self._schedules.values()) or 0)
        else:
            self._write(group, which, schedule, place)

    def forget_schedules(self) -> None:
        """Frees the places of all knots; the schedules that stay are written again."""
        self._schedules = {}

    def _write(self, group: int, which: int, schedule: Schedule, first_knot: int) -> None:
        segments = torch.from_numpy(schedule.pack(first_knot=first_knot).view(np.int64).reshape(-1, 8).copy())
        _copy(segments, self.host_rows[group, which, : len(segments)], self.rows[group, which, : len(segments)])
        if schedule.n_knots:
            knots = torch.from_numpy(schedule.pack_knots().view(np.int64).reshape(-1, 2).copy())
            span = slice(first_knot, first_knot + len(knots))
            _copy(knots, self.host_knots[span], self.knots[span])

    def put_origin(self, group: int, which: int, origin: int) -> None:
        """Lets the schedule start at a count that is known."""
        word = origin_word(group, which)
        self.counters[word] = origin
        self.host_counters[word] = origin

    def set_origin(self, group: int, which: int, in_tokens: bool) -> None:
        """Lets the schedule start at the present counter, read where it lives: no sync, and right after skipped steps too."""
        word = origin_word(group, which)
        counter = TOKENS if in_tokens else UPDATES
        self.counters[word] = self.counters[counter]
        if self.host_counters is not self.counters:
            self.host_counters[word] = self.host_counters[counter]


def norm_limit(opt: AdamW) -> float:
    """The limit of the norm as the native steps take it, -1 = no clipping; a Schedule of it stands in the tables."""
    limit = opt.max_grad_norm
    return -1.0 if limit is None else limit


def _schedule_tables(device: torch.device, n_groups: int) -> tuple[Tensor, Tensor]:
    """Knots and rows in one piece of memory, the knots in front: `knots_of` in csrc/optim/plan.h counts on it."""
    shape = (n_groups, len(SCHEDULED), core.SEGMENTS_PER_SCHEDULE, 8)
    memory = torch.zeros(2 * MAX_KNOTS + math.prod(shape), dtype=torch.int64, device=device)
    return memory[: 2 * MAX_KNOTS].view(MAX_KNOTS, 2), memory[2 * MAX_KNOTS :].view(shape)


def _copy(values: Tensor, host: Tensor, device: Tensor) -> None:
    host.copy_(values)
    if device.data_ptr() != host.data_ptr():
        # From pinned memory the copy is asynchronous; torch keeps the memory until it is over.
        device.copy_(values.pin_memory(), non_blocking=True)


class Stepper(Protocol):
    """One update by one backend: flags of the gather; nothing happened when one from NO_GRADIENT on is set."""

    def __call__(
        self, gradients: list[Tensor | None] | None, tokens: int, grad_scale: Tensor | None, found_inf: Tensor | None
    ) -> int:
        """Steps, with `gradients` in place of p.grad where they are given."""
        ...


def new_average(p: Tensor) -> Tensor:
    """The moving average at its beginning: `p`, in float32 and its memory layout."""
    average = torch.empty_like(p, dtype=torch.float32, memory_format=torch.preserve_format, requires_grad=False)
    return average.copy_(p.detach())


def zero_gradients(params: Sequence[Tensor]) -> None:
    """Fills present gradients with zeros in place, for a step that never reaches a kernel."""
    with torch.no_grad():
        for p in params:
            if p.grad is not None:
                p.grad.zero_()


def new_state(p: Tensor, state_dtype: torch.dtype, amsgrad: bool, step_device: torch.device | str) -> dict[str, Tensor]:
    """Zero moments in the memory layout of `p`, and t = 0 as torch stores it."""
    state = {"step": torch.zeros((), dtype=torch.float32, device=step_device)}
    for key in STATE_KEYS[: 3 if amsgrad else 2]:
        moment = torch.empty_like(p, dtype=state_dtype, memory_format=torch.preserve_format, requires_grad=False)
        local = local_of(moment)
        if local.device.type == "cpu":
            core.advise_huge_pages(local.data_ptr(), local.nbytes)
        local.zero_()
        state[key] = moment
    return state


class Plan:
    """What AdamW prepared to step all its parameters at once.

    Args:
        opt: The optimizer; state is created for parameters that have a gradient and none yet.
        known_t: Updates applied to parameters, by id, where the exact count is known from an earlier plan or checkpoint.
        starts: Where moments began, by id of the parameter; the others have Adam's own start.

    Raises:
        UnsupportedTensor: A parameter that cannot be planned, by name.
        PlanChanged: State that no longer fits its parameter, by name.
    """

    def __init__(self, opt: AdamW, known_t: dict[int, int], starts: dict[int, MomentStart]) -> None:
        groups = opt.param_groups
        params: list[Tensor] = []
        locals_: list[Tensor] = []
        names: list[str] = []
        states: list[dict[str, Any] | None] = []
        entries: list[tuple[int, ...]] = []
        t: list[int] = []
        for g, i, p in each_param(groups):
            where = param_name(groups, g, i)
            if is_sharded(p):
                check_placements(where, p)
                check_options(where, opt)
            local = local_of(p)
            check_param(where, local, backend=opt.backend, state_dtype=opt.state_dtype)
            if p.device != opt.device:
                raise UnsupportedTensor(
                    f"AdamW: {where}: expected a tensor on {opt.device} as all others, got one on {p.device}; use one "
                    "optimizer a device"
                )
            amsgrad = bool(groups[g]["amsgrad"])
            state = opt.state.get(p)
            if not state and p.grad is not None:
                state = opt.state[p] = new_state(p, opt.state_dtype or p.dtype, amsgrad, opt.step_device)
            ordinal = len(params)
            params.append(p)
            locals_.append(local)
            names.append(where)
            states.append(state or None)
            if not state:
                continue
            moments = self._checked_moments(where, p, local, state, amsgrad)
            step = state["step"]
            if step.device != opt.step_device or step.dtype is not torch.float32:
                # Put in from outside; the backend writes through its address.
                step = state["step"] = step.to(opt.step_device, torch.float32)
            count = int(step.item())
            exact = known_t.get(id(p))
            t.append(exact if exact is not None and float(np.float32(exact)) == count else count)
            average = self._average(where, p, state) if groups[g].get("ema_decay") is not None else None
            vmax = moments[2].data_ptr() if amsgrad else 0
            codes = (DTYPE_CODES[p.dtype], DTYPE_CODES[moments[0].dtype])
            entries.append(
                (
                    ordinal,
                    local.data_ptr(),
                    moments[0].data_ptr(),
                    moments[1].data_ptr(),
                    vmax,
                    step.data_ptr(),
                    local.numel(),
                    g,
                    *codes,
                    local_of(average).data_ptr() if average is not None else 0,
                )
            )
        check_shared_storage(groups)
        tables = opt.tables
        self.params = params
        self.locals = locals_
        self.planned: list[int] = [e[0] for e in entries]
        self.stepped: list[Tensor] = [params[k] for k in self.planned]
        #: Where some parameters are DTensors; None where none is.
        self.shards = Shards(params, locals_, self.planned, names) if any(map(is_sharded, params)) else None
        self.entries = np.array(entries, dtype=np.int64).reshape(-1, core.ENTRY_COLUMNS)
        n = len(entries)
        #: int64: t of every planned parameter, then the words of its MomentStart; csrc/optim/plan.h.
        self.counts_table = torch.from_numpy(self._counts_words(t, starts)).to(opt.device)
        self.t = self.counts_table[:n]
        self.starts = self.counts_table[n:].view(n, core.START_WORDS)
        self.state = opt.state
        self.n_state = len(opt.state)
        self.n_groups = len(groups)
        self.native = core.AdamWPlan(
            tensor_type=Tensor,
            params=locals_,
            states=states,
            groups=groups,
            entries=self.entries,
            host_counters=tables.host_counters.data_ptr(),
            host_rows=tables.host_rows.data_ptr(),
        )
        self.needs_tokens = False
        for g, schedules in enumerate(opt.schedules):
            for which, key in enumerate(SCHEDULED):
                self.set_schedule(g, which, schedules.get(key), value_of(groups[g], key), opt.written[g].get(key))
        self.zeroes_gradients = opt.zero_grad_in_step
        self.step = _stepper(opt, self)

    @staticmethod
    def _checked_moments(where: str, p: Any, local: Tensor, state: dict[str, Any], amsgrad: bool) -> list[Tensor]:
        moments: list[Tensor] = []
        for key in STATE_KEYS[: 3 if amsgrad else 2]:
            moment = state.get(key)
            if moment is None:
                raise PlanChanged(f"AdamW: {where}: its state has no {key!r} (it has {', '.join(map(repr, state))})")
            if moment.shape != p.shape or moment.device != p.device:
                raise PlanChanged(
                    f"AdamW: {where}: state {key!r}: expected shape {tuple(p.shape)} on {p.device}, got "
                    f"{tuple(moment.shape)} on {moment.device}; after changing a parameter's shape, drop its "
                    "state: del opt.state[param]"
                )
            if is_sharded(p) != is_sharded(moment) or (is_sharded(p) and moment.placements != p.placements):
                found, wanted = (f"a DTensor placed {x.placements}" if is_sharded(x) else "a plain tensor" for x in (moment, p))
                raise PlanChanged(f"AdamW: {where}: state {key!r}: expected {wanted} as its parameter, got {found}")
            whole, moment = moment, local_of(moment)
            if moments and moment.dtype != moments[0].dtype:
                raise PlanChanged(f"AdamW: {where}: state {key!r}: expected {moments[0].dtype} as exp_avg, got {moment.dtype}")
            if moment.stride() != local.stride() and moment.numel():
                # The moments follow the parameter's memory order; a tensor that was put in from outside may not.
                ordered = torch.empty_like(p, dtype=moment.dtype, memory_format=torch.preserve_format, requires_grad=False)
                state[key] = ordered.copy_(whole)
                moment = local_of(ordered)
            moments.append(moment)
        return moments

    @staticmethod
    def _average(where: str, p: Tensor, state: dict[str, Any]) -> Tensor:
        average: Tensor | None = state.get("ema")
        if average is None:
            average = state["ema"] = new_average(p)
        elif average.shape != p.shape or average.device != p.device or average.dtype is not torch.float32:
            raise PlanChanged(
                f"AdamW: {where}: state 'ema': expected torch.float32 of shape {tuple(p.shape)} on {p.device}, got "
                f"{average.dtype} of shape {tuple(average.shape)} on {average.device}"
            )
        local, like = local_of(average), local_of(p)
        if local.stride() != like.stride() and local.numel():
            ordered = torch.empty_like(p, dtype=torch.float32, memory_format=torch.preserve_format, requires_grad=False)
            average = state["ema"] = ordered.copy_(average)
        return average

    def set_schedule(self, group: int, which: int, schedule: Schedule | None, value: object, written: object | None) -> None:
        """Tells the native side that a value is scheduled, and what stands in param_groups because we wrote it.

        `value`: what stands there, None for what does not stand in a group.
        """
        if schedule is None:
            self.native.set_schedule(group, which, 0, False)
            return
        in_tokens = schedule.units == "tokens"
        self.needs_tokens = self.needs_tokens or in_tokens
        self.native.set_schedule(group, which, len(schedule.segments), in_tokens)
        expected = value if written is None else written
        if expected is not None:
            self.native.expect(group, which, expected)

    def order_after_last_step(self) -> None:
        """Before tables on the device are read or written: backends that step on several streams let this one wait."""
        hook = getattr(self.step, "order_after_last_step", None)
        if hook is not None:
            hook()

    def groups_changed(self) -> None:
        """After schedules were swapped: a captured graph reads the group table without another call, so it is sent at once."""
        hook = getattr(self.step, "groups_changed", None)
        if hook is not None:
            hook()

    def mark_written(self) -> None:
        """Tells autograd that the stepped parameters changed in place, as torch's own optimizers do.

        A graph that saved one of them then raises in backward instead of using the new values.
        """
        if self.native.all_present:
            increment_version(self.stepped)
        else:
            present = self.native.gradients != 0
            increment_version([p for p, there in zip(self.stepped, present, strict=True) if there])
        if self.zeroes_gradients:
            self._mark_zeroed()

    def _mark_zeroed(self) -> None:
        """Likewise for gradients that were filled with zeros; and as in torch's zero_grad they leave their graph."""
        gradients = [p.grad for p in self.stepped if p.grad is not None]
        increment_version(gradients)
        for g in gradients:
            if g.grad_fn is not None:
                g.detach_()
            else:
                g.requires_grad_(False)

    def _counts_words(self, t: list[int], starts: dict[int, MomentStart]) -> np.ndarray:
        n = len(self.stepped)
        table = np.empty(n * (1 + core.START_WORDS), dtype=np.int64)
        table[:n] = t
        words = table[n:].reshape(n, core.START_WORDS)
        words[:, [0, 3]] = 0
        words.view(np.float64)[:, 1:3] = 1.0
        for row, p in enumerate(self.stepped):
            if (start := starts.get(id(p))) is not None:
                words[row, [0, 3]] = start.since, start.v_from_gradient
                words.view(np.float64)[row, 1:3] = start.missing_m, start.missing_v
        return table

    def write_counts(self, t: dict[int, int], starts: dict[int, MomentStart]) -> None:
        """Puts t and starts from a checkpoint in place of those that stood here."""
        words = self._counts_words([t[id(p)] for p in self.stepped], starts)
        self.counts_table.copy_(torch.from_numpy(words))

    def start_of(self, entry: int, t: int) -> MomentStart:
        """``start_of`` of csrc/optim/adamw.h."""
        since, _, _, flag = self.starts[entry].tolist()
        _, missing_m, missing_v, _ = self.starts[entry].view(torch.float64).tolist()
        return MomentStart(since, missing_m, missing_v, bool(flag)) if t > since else MomentStart()

    def known_starts(self) -> dict[int, MomentStart]:
        """Where the moments of planned parameters began, by id, for those that have another start than Adam's own."""
        words = self.starts.cpu().numpy()
        numbers = words.view(np.float64)
        other = (words[:, 0] != 0) | (words[:, 3] != 0) | (numbers[:, 1] != 1.0) | (numbers[:, 2] != 1.0)
        return {
            id(self.stepped[k]): MomentStart(int(words[k, 0]), float(numbers[k, 1]), float(numbers[k, 2]), bool(words[k, 3]))
            for k in np.flatnonzero(other)
        }

    def counts(self) -> dict[int, int]:
        """Updates applied to every planned parameter, by id of the parameter."""
        self.order_after_last_step()
        return {id(self.params[k]): n for k, n in zip(self.planned, self.t.tolist(), strict=True)}


def _stepper(opt: AdamW, plan: Plan) -> Stepper:
    """The step function of the optimizer's backend; modules of other backends are not imported."""
    if opt.backend == "cpu":
        from rewarm.optim.adamw_cpu import make_stepper
    elif opt.backend == "reference":
        from rewarm.optim.adamw_eager import make_stepper
    elif opt.backend == "cuda":
        from rewarm.optim.adamw_cuda import make_stepper
    else:
        from rewarm.optim.adamw_triton import make_stepper
    return make_stepper(opt, plan)


def planned_gradients(plan: Plan, gradients: Sequence[Tensor | None] | None) -> list[Tensor | None]:
    """The gradient of every planned parameter: its replacement where there is one, else p.grad."""
    chosen = []
    for k in plan.planned:
        replacement = gradients[k] if gradients is not None else None
        chosen.append(plan.params[k].grad if replacement is None else replacement)
    return chosen
