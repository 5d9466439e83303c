"""State dicts of AdamW: what is written beside torch's own keys, and how one is read back in place, all or nothing."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rewarm.errors import InvalidArgument, RewarmError, StateDictMismatch
from rewarm.optim.arguments import SCHEDULED, each_param, param_name, value_of
from rewarm.optim.knots import KnotPlaces
from rewarm.optim.live import Observed
from rewarm.optim.plan import (
    CLIP_RATE,
    CLIPPED,
    GROUP_RESULTS,
    LAST_LR,
    LOSS_SPIKING,
    OBSERVED_COUNTS,
    OBSERVED_SCALARS,
    SKIPPED,
    STATE_KEYS,
    TOKENS,
    UPDATES,
    MomentStart,
    Plan,
    Tables,
    new_average,
    new_state,
    origin_word,
)
from rewarm.optim.sharded import as_placed, is_sharded
from rewarm.schedule import Schedule

#: Keys that stand in every group of a saved state dict and nowhere else; plain ints. `exact_steps` only when a float32
#: cannot hold some parameter's count.
COUNTER_KEYS = (
    "scheduled",
    "updates",
    "tokens",
    "skipped_steps",
    "seed",
    "world_size",
    *(f"{key}_origin" for key in SCHEDULED),
)
COUNTER_KEYS += ("exact_steps", "results", "observed")
#: Likewise, as JSON: where moments began that a re-warming reset, and in the first group what was done to the run.
JSON_KEYS = ("moment_starts", "history")
#: Scheduled values that may be missing in a saved group: a schedule of ours then stays.
_OPTIONAL = ("max_grad_norm", "ema_decay")
#: Values of a group that a graph may hold as they were.
_BY_VALUE = ("lr", "weight_decay", "betas", "eps", "ema_decay", "maximize", "decoupled_weight_decay", "lr_scale", "amsgrad")
_EXACT_IN_FLOAT32 = 2**24
_outside_compiled_graphs = torch._disable_dynamo  # type: ignore[attr-defined]


class StateDtypeWarning(UserWarning):
    """torch casts moments to the parameter's dtype when it loads this state dict; rewarm does not."""


def world_size() -> int:
    """Processes of this run, 1 where torch.distributed is not in use."""
    distributed = torch.distributed
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


@contextmanager
def exported_counters(opt: Checkpointed) -> Iterator[None]:
    """Lets the counters stand in ``param_groups`` while torch packs them."""
    counts, starts = opt.exact_counts(), opt.exact_starts()
    counters = opt.tables.counters.tolist() if opt.has_tables else []
    results = opt.tables.group_scalars.tolist() if opt.has_tables else []
    observed = opt.tables.observed() if opt.has_tables else {}
    try:
        for g, group in enumerate(opt.param_groups):
            exported: dict[str, Any] = {
                "updates": counters[UPDATES] if counters else 0,
                "tokens": counters[TOKENS] if counters else 0,
                "skipped_steps": counters[SKIPPED] if counters else 0,
                "seed": opt.seed,
                "world_size": world_size(),
            }
            for which, key in enumerate(SCHEDULED):
                if key in ("lr", "weight_decay") or key in opt.schedules[g]:
                    exported[f"{key}_origin"] = counters[origin_word(g, which)] if counters else 0
            live = group.get("schedules", {})
            exported["scheduled"] = ",".join(live)
            if live:
                exported["schedules"] = {key: _as_leaf(schedule) for key, schedule in live.items()}
            if results and not math.isnan(results[g][LAST_LR]):
                exported["results"] = dict(zip(GROUP_RESULTS, results[g], strict=True))
                exported["observed"] = observed
            steps = [counts.get(id(p), 0) for p in group["params"]]
            if max(steps, default=0) > _EXACT_IN_FLOAT32:
                exported["exact_steps"] = steps
            exported["moment_starts"] = json.dumps(
                [[i, *starts[id(p)]] for i, p in enumerate(group["params"]) if id(p) in starts]
            )
            if g == 0:
                exported["history"] = json.dumps(opt.history)
            group.update(exported)
        yield
    finally:
        for group, schedules in zip(opt.param_groups, opt.schedules, strict=True):
            if schedules:
                group["schedules"] = {key: schedule.to_dict() for key, schedule in schedules.items()}
            for key in (*COUNTER_KEYS, *JSON_KEYS):
                group.pop(key, None)


def warn_about_dtypes(opt: Checkpointed) -> None:
    """Once an optimizer: says that torch would not read these moments back exactly."""
    if opt.warned_about_dtypes:
        return
    for p, state in opt.state.items():
        moment = state.get("exp_avg") if isinstance(state, dict) else None
        if moment is not None and moment.dtype != p.dtype:
            opt.warned_about_dtypes = True
            warnings.warn(
                f"this state dict holds {moment.dtype} moments of {p.dtype} parameters: rewarm loads them bit for bit, "
                f"torch.optim.AdamW casts them to {p.dtype} on load",
                StateDtypeWarning,
                stacklevel=3,
            )
            return


class Readable(NamedTuple):
    """A state dict that fits an optimizer."""

    groups: list[dict[str, Any]]
    loaded: list[tuple[Tensor, dict[str, Any]]]
    foreign: dict[Any, Any]
    schedules: list[dict[str, Schedule] | None]
    starts: list[dict[int, MomentStart]]
    history: list[dict[str, Any]]


def readable(opt: Checkpointed, state_dict: dict[str, Any]) -> Readable:
    """Checks a state dict of rewarm or of torch.optim.AdamW against `opt` and changes nothing.

    Raises:
        StateDictMismatch: Another number of groups or parameters, a missing or misshapen moment, an unreadable schedule.
    """
    saved_groups = state_dict.get("param_groups")
    saved_state = state_dict.get("state")
    if not isinstance(saved_groups, list) or not isinstance(saved_state, dict):
        raise StateDictMismatch(
            "AdamW: load_state_dict: expected a dict with 'state' and 'param_groups', as state_dict() returns"
        )
    groups = opt.param_groups
    if len(saved_groups) != len(groups):
        raise StateDictMismatch(f"AdamW: load_state_dict: expected {len(groups)} param groups, got {len(saved_groups)}")
    for g, (group, saved) in enumerate(zip(groups, saved_groups, strict=True)):
        if len(saved["params"]) != len(group["params"]):
            raise StateDictMismatch(
                f"AdamW: load_state_dict: group {g}: expected {len(group['params'])} parameters, got {len(saved['params'])}"
            )

    loaded: list[tuple[Tensor, dict[str, Any]]] = []
    foreign = dict(saved_state)
    for g, i, p in each_param(groups):
        entry = foreign.pop(saved_groups[g]["params"][i], None)
        if entry:
            amsgrad = bool(saved_groups[g].get("amsgrad", groups[g]["amsgrad"]))
            loaded.append((p, _checked_entry(param_name(groups, g, i), p, entry, amsgrad)))
    schedules = [_checked_schedules(opt, g, saved) for g, saved in enumerate(saved_groups)]
    _check_knots(opt, schedules)
    starts = [_checked_starts(g, saved) for g, saved in enumerate(saved_groups)]
    history = _checked_history(saved_groups[0])
    return Readable(saved_groups, loaded, foreign, schedules, starts, history)


def load(opt: Checkpointed, state_dict: dict[str, Any]) -> None:
    """Reads a state dict into `opt`; nothing changes unless all of it fits."""
    saved_groups, loaded, foreign, schedules, starts, history = readable(opt, state_dict)
    groups = opt.param_groups
    survives = opt.plan_survives({id(p): entry for p, entry in loaded}, saved_groups)
    if not survives:
        opt._refuse_under_capture("loading a state dict that needs another plan")

    # Then change, without another way to fail.
    known = _load_state(opt, loaded, foreign)
    for g, (group, saved) in enumerate(zip(groups, saved_groups, strict=True)):
        exact = saved.get("exact_steps")
        if exact is not None:
            known.update({id(p): int(n) for p, n in zip(group["params"], exact, strict=True)})
        kept: dict[str, Any] = {"params": group["params"]}
        if "param_names" in group and "param_names" not in saved:
            kept["param_names"] = group["param_names"]
        # A checkpoint without schedules leaves those we were made with, and the values that they drive. One that we wrote
        # takes back those that a verb gave to a plain value since.
        if "schedules" not in saved and opt.schedules[g]:
            stays = {key: s for key, s in opt.schedules[g].items() if "updates" not in saved or not opt.given_by_verb(g, key)}
            opt.schedules[g] = stays
            group["schedules"] = {key: s.to_dict() for key, s in stays.items()}
            driven = {"betas" if key in ("beta1", "beta2") else key for key in stays}
            kept |= {key: group[key] for key in ("schedules", *driven) if key in group}
            if not stays:
                del group["schedules"], kept["schedules"]
        if isinstance(group["lr"], Tensor):
            # The same tensor with the saved value: a captured graph or a scheduler may hold it.
            group["lr"].fill_(float(saved["lr"]))
            kept["lr"] = group["lr"]
        elif isinstance(saved.get("lr"), Tensor):
            kept["lr"] = float(saved["lr"])
        fresh = {k: deepcopy(v) for k, v in saved.items() if k not in (*COUNTER_KEYS, *JSON_KEYS) and k != "params"}
        group.update(fresh | kept)
        stored = schedules[g]
        if stored is not None:
            ours = {key: opt.schedules[g][key] for key in _OPTIONAL if key in opt.schedules[g] and key not in saved}
            opt.schedules[g] = stored = ours | stored
            group["schedules"] = {key: schedule.to_dict() for key, schedule in stored.items()}
    _load_counters(opt, saved_groups, loaded)
    opt.starts = {
        id(group["params"][i]): start for group, of_group in zip(groups, starts, strict=True) for i, start in of_group.items()
    }
    opt.log = history
    opt.adopt_counts(known, keep_plan=survives)


def _checked_entry(where: str, p: Tensor, entry: dict[str, Any], amsgrad: bool) -> dict[str, Any]:
    if "step" not in entry:
        raise StateDictMismatch(
            f"AdamW: load_state_dict: {where}: its state has no 'step' (it has {', '.join(map(repr, entry))})"
        )
    for key in STATE_KEYS[: 3 if amsgrad else 2]:
        moment = entry.get(key)
        if not isinstance(moment, Tensor):
            raise StateDictMismatch(f"AdamW: load_state_dict: {where}: expected a tensor {key!r}, got {type(moment).__name__}")
        if is_sharded(moment) and not is_sharded(p):
            raise StateDictMismatch(
                f"AdamW: load_state_dict: {where}: {key!r}: expected a plain tensor as the parameter is, got a DTensor: load "
                "it with torch.distributed.checkpoint.state_dict.set_optimizer_state_dict"
            )
        if moment.shape != p.shape:
            raise StateDictMismatch(
                f"AdamW: load_state_dict: {where}: {key!r}: expected shape {tuple(p.shape)}, got {tuple(moment.shape)}: a "
                "state dict of another model"
            )
    average = entry.get("ema")
    if average is not None and (not isinstance(average, Tensor) or average.shape != p.shape):
        shown = tuple(average.shape) if isinstance(average, Tensor) else type(average).__name__
        raise StateDictMismatch(
            f"AdamW: load_state_dict: {where}: 'ema': expected a tensor of shape {tuple(p.shape)}, got {shown}"
        )
    return entry


def _as_leaf(schedule: dict[str, Any]) -> dict[str, Any]:
    """A schedule that torch.distributed.checkpoint stores whole.

    It takes lists apart and loads only the pieces that the optimizer has beforehand: of a schedule with more segments than the
    optimizer's own the first ones would come back. A tuple stays together.
    """
    return {**schedule, "segments": tuple(schedule["segments"])}


def _from_leaf(schedule: Any) -> Any:
    segments = schedule.get("segments")
    return {**schedule, "segments": list(segments)} if isinstance(segments, tuple) else schedule


def _checked_schedules(opt: Checkpointed, g: int, saved: dict[str, Any]) -> dict[str, Schedule] | None:
    stored = saved.get("schedules")
    if "max_grad_norm" in (stored or ()) and opt.max_grad_norm is None:
        raise StateDictMismatch(
            "AdamW: load_state_dict: its gradients are clipped under a Schedule of max_grad_norm, and this optimizer reads no "
            "norm: pass max_grad_norm="
        )
    try:
        found = {key: Schedule.from_dict(_from_leaf(stored[key])) for key in SCHEDULED if key in stored} if stored else {}
    except (RewarmError, TypeError, KeyError, AttributeError) as error:
        raise StateDictMismatch(f"AdamW: load_state_dict: group {g}: its schedule cannot be read: {error}") from error
    if stored and "updates" not in saved:
        raise StateDictMismatch(
            f"AdamW: load_state_dict: group {g}: it has a Schedule and no counters: nobody knows where it stood "
            "(flatten_optimizer_state_dict drops them)"
        )
    lost = sorted(set(filter(None, str(saved.get("scheduled", "")).split(","))) - set(found))
    if lost:
        raise StateDictMismatch(
            f"AdamW: load_state_dict: group {g}: it was saved with a Schedule of {', '.join(lost)} that is not in it any more. "
            "torch.distributed.checkpoint loads only what the optimizer has beforehand: make it with a Schedule of each"
        )
    return None if stored is None else found


def _checked_starts(g: int, saved: dict[str, Any]) -> dict[int, MomentStart]:
    try:
        rows = json.loads(saved.get("moment_starts", "[]"))
        starts = {
            int(i): MomentStart(int(since), float(missing_m), float(missing_v), bool(flag))
            for i, since, missing_m, missing_v, flag in rows
        }
        if any(not 0 <= i < len(saved["params"]) for i in starts):
            raise ValueError(f"expected indices below {len(saved['params'])}")
    except (ValueError, TypeError) as error:
        raise StateDictMismatch(f"AdamW: load_state_dict: group {g}: 'moment_starts' cannot be read: {error}") from error
    return starts


def _checked_history(saved: dict[str, Any]) -> list[dict[str, Any]]:
    try:
        return [
            {"verb": str(e["verb"]), "arguments": dict(e["arguments"]), "at": [int(e["updates"]), int(e["tokens"])]}
            for e in json.loads(saved.get("history", "[]"))
        ]
    except (ValueError, TypeError, KeyError) as error:
        raise StateDictMismatch(f"AdamW: load_state_dict: its history cannot be read: {error!r}") from error


def _check_knots(opt: Checkpointed, stored: list[dict[str, Schedule] | None]) -> None:
    """Refuses schedules whose tables do not fit the optimizer together."""
    after = [ours if new is None else ours | new for ours, new in zip(opt.schedules, stored, strict=True)]
    try:
        KnotPlaces.check_room(schedule for group in after for schedule in group.values())
    except InvalidArgument as error:
        raise StateDictMismatch(f"AdamW: load_state_dict: {error}") from error


def _load_state(opt: Checkpointed, loaded: list[tuple[Tensor, dict[str, Any]]], foreign: dict[Any, Any]) -> dict[int, int]:
    """Copies moments in place where there are some, else into new tensors of our own. Returns t by id of the parameter."""
    known = {}
    present = {id(p) for p, _ in loaded}
    for p in [q for q in opt.state if isinstance(q, Tensor) and id(q) not in present]:
        del opt.state[p]
    with torch.no_grad():
        for p, entry in loaded:
            state = opt.state.get(p)
            wanted = opt.state_dtype or p.dtype
            keys = [key for key in STATE_KEYS if key in entry]
            if not state or any(key not in state or state[key].dtype != wanted for key in keys):
                average = (state or {}).get("ema")
                state = opt.state[p] = new_state(p, wanted, "max_exp_avg_sq" in entry, opt.step_device)
                if average is not None:
                    state["ema"] = average
            for key in keys:
                state[key].copy_(as_placed(p, entry[key]))
            if "ema" in entry:
                if "ema" not in state:
                    state["ema"] = new_average(p)
                state["ema"].copy_(as_placed(p, entry["ema"]))
            else:
                state.pop("ema", None)  # it would belong to another run; the next step begins a new one
            state["step"].fill_(float(entry["step"]))
            known[id(p)] = int(entry["step"])
            for key, value in entry.items():
                if key not in state:
                    state[key] = deepcopy(value)
    for key, value in foreign.items():
        opt.state[key] = deepcopy(value)
    return known


def _load_counters(opt: Checkpointed, saved_groups: list[dict[str, Any]], loaded: list[tuple[Tensor, dict[str, Any]]]) -> None:
    tables = opt.tables
    first = saved_groups[0]
    words = np.zeros(tables.host_counters.numel(), dtype=np.int64)
    # torch knows no update counter: the parameter with the most updates has seen them all.
    most = max((int(entry["step"]) for _, entry in loaded), default=0)
    words[UPDATES] = first.get("updates", most)
    words[TOKENS] = first.get("tokens", 0)
    words[SKIPPED] = first.get("skipped_steps", 0)
    for g, saved in enumerate(saved_groups):
        for which, key in enumerate(SCHEDULED):
            words[origin_word(g, which)] = saved.get(f"{key}_origin", 0)
    words[CLIPPED : LOSS_SPIKING + 1] = [int(first.get("observed", {}).get(key, 0)) for key in OBSERVED_COUNTS]
    opt.seed = int(first.get("seed", opt.seed))
    values = torch.from_numpy(words)
    tables.host_counters.copy_(values)
    if tables.counters is not tables.host_counters:
        tables.counters.copy_(values)
    # What a checkpoint does not tell starts anew.
    fresh = Tables(torch.device("cpu"), len(saved_groups))
    for word, key in enumerate(OBSERVED_SCALARS, CLIP_RATE):
        fresh.scalars[word] = float(first.get("observed", {}).get(key, fresh.scalars[word]))
    for row, saved in zip(fresh.group_scalars, saved_groups, strict=True):
        for word, key in enumerate(GROUP_RESULTS):
            row[word] = float(saved.get("results", {}).get(key, row[word]))
    tables.scalars.copy_(fresh.scalars)


class Checkpointed(Observed):
    """The part of AdamW that is saved, loaded, copied and pickled."""

    seed: int
    state_dtype: torch.dtype | None
    warned_about_dtypes: bool
    written: list[dict[str, object]]
    _plan: Plan | None
    _counts: dict[int, int]
    #: Where moments began, by id of the parameter, as the plan found them; without a plan, as they are.
    starts: dict[int, MomentStart]
    #: Acts, with the counters of each as ints or as a tensor that was not read yet.
    log: list[dict[str, Any]]

    def _set_up(self) -> None:
        """What is neither argument nor state: made anew in a copy."""
        raise NotImplementedError

    @property
    def step_device(self) -> torch.device:
        """Where ``state[p]["step"]`` lives."""
        return self.device

    def exact_counts(self) -> dict[int, int]:
        """Updates applied to each parameter, by id."""
        return self._plan.counts() if self._plan is not None else self._counts

    def given_by_verb(self, group: int, key: str) -> bool:
        """Whether some act of the history set this schedule."""
        return any(
            str(group) in names.split(",") and act["arguments"].get("key", "lr") == key
            for act in self.log
            for names in act["arguments"].get("schedules", {})
        )

    def exact_starts(self) -> dict[int, MomentStart]:
        """Where moments began, by id of the parameter, for those that have another start than Adam's own."""
        plan = self._plan
        if plan is None:
            return self.starts
        planned = {id(p) for p in plan.stepped}
        return {key: start for key, start in self.starts.items() if key not in planned} | plan.known_starts()

    @property
    def history(self) -> list[dict[str, Any]]:
        """What was done to this run, oldest first: dicts of verb, arguments, updates and tokens; saved in the state dict.

        Acts done under CUDA since the last look are read from the device, which is a sync.
        """
        for act in self.log:
            if isinstance(act["at"], Tensor):
                act["at"] = act["at"].tolist()
        return [
            {"verb": act["verb"], "arguments": deepcopy(act["arguments"]), "updates": act["at"][0], "tokens": act["at"][1]}
            for act in self.log
        ]

    def plan_survives(self, loaded: dict[int, dict[str, Any]], saved_groups: list[dict[str, Any]]) -> bool:
        """Whether a state dict can be loaded under the present plan, so that a captured graph goes on with its addresses.

        It must bring a state for exactly the planned parameters, and what the plan or a graph holds by value must be the same.
        """
        plan = self._plan
        if plan is None or plan.n_groups != len(self.param_groups) or plan.n_state != len(self.state):
            return False
        if loaded.keys() != {id(p) for p in plan.stepped} or saved_groups[0].get("seed", self.seed) != self.seed:
            return False
        for p in plan.stepped:
            moments = [key for key in STATE_KEYS if key in self.state[p]]
            if [key for key in STATE_KEYS if key in loaded[id(p)]] != moments:
                return False
            if ("ema" in self.state[p]) != ("ema" in loaded[id(p)]):
                return False
            if any(self.state[p][key].dtype != (self.state_dtype or p.dtype) for key in moments):
                return False
        for g, (group, saved) in enumerate(zip(self.param_groups, saved_groups, strict=True)):
            for key in _BY_VALUE:
                driven = {"betas": "beta1"}.get(key, key) in self.schedules[g]
                plain = not isinstance(group.get(key), Tensor)
                if key in saved and not driven and plain and saved[key] != group.get(key):
                    return False
            if saved.get("schedules", self.schedules[g]).keys() != self.schedules[g].keys():
                return False
            if "schedules" not in saved and any(self.given_by_verb(g, key) for key in self.schedules[g]):
                return False
        return True

    def adopt_counts(self, known: dict[int, int], *, keep_plan: bool = False) -> None:
        """Takes over counts from a checkpoint, into the tables of the plan where it was found to survive, else for the next."""
        plan = self._plan if keep_plan else None
        self._plan = None
        self._counts = known
        self.written = [{key: value_of(self.param_groups[g], key) for key in keys} for g, keys in enumerate(self.schedules)]
        self.tables.forget_schedules()
        self._write_schedules()
        if plan is None:
            return
        plan.order_after_last_step()
        plan.write_counts(known, self.starts)
        plan.needs_tokens = any(s.units == "tokens" for group in self.schedules for s in group.values())
        for g, schedules in enumerate(self.schedules):
            for which, key in enumerate(SCHEDULED):
                value = value_of(self.param_groups[g], key)
                plan.set_schedule(g, which, schedules.get(key), value, self.written[g].get(key))
        plan.groups_changed()
        self._plan = plan

    @_outside_compiled_graphs
    def state_dict(self) -> dict[str, Any]:
        """Torch's AdamW state dict, with counters, schedules and seed as plain values inside the groups."""
        warn_about_dtypes(self)
        with exported_counters(self):
            return super().state_dict()

    @_outside_compiled_graphs
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Loads a state dict of rewarm or torch in place, all or nothing.

        Moments keep the dtype of this optimizer. A state dict of torch brings no schedule: this optimizer's own goes on at the
        largest step count found.

        Raises:
            StateDictMismatch: A state dict of another model, or with an unreadable schedule; nothing was changed.
        """
        state_dict = state_dict.copy()
        for pre_hook in self._optimizer_load_state_dict_pre_hooks.values():
            replaced = pre_hook(self, state_dict)
            if replaced is not None:
                state_dict = replaced
        load(self, state_dict)
        for post_hook in self._optimizer_load_state_dict_post_hooks.values():
            post_hook(self)

    def __getstate__(self) -> dict[str, Any]:
        options = ["_max_grad_norm", "skip_nonfinite", "state_dtype", "stochastic_rounding", "seed", "device", "backend"]
        options += ["zero_grad_in_step", "diagnostics", "count_skipped_tokens"]
        copied = {name: getattr(self, name) for name in (*options, "_named_backend", "_defaults", "schedules")}
        counters = self._tables.counters.tolist() if self._tables is not None else None
        scalars = self._tables.scalars.tolist() if self._tables is not None else None
        counts = self.exact_counts()
        steps = [counts.get(id(p), 0) for _, _, p in each_param(self.param_groups)]
        known = self.exact_starts()
        starts = [known.get(id(p)) for _, _, p in each_param(self.param_groups)]
        tables = {"_counters": counters, "_scalars": scalars, "_steps": steps, "_starts": starts, "_log": self.history}
        return super().__getstate__() | copied | tables

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        counters, scalars, steps = state.pop("_counters"), state.pop("_scalars"), state.pop("_steps")
        starts, log = state.pop("_starts"), state.pop("_log")
        self.schedules = state["schedules"]
        self._set_up()
        super().__setstate__(state)
        params = [p for _, _, p in each_param(self.param_groups)]
        self.starts = {id(p): start for p, start in zip(params, starts, strict=True) if start is not None}
        self.log = [{"verb": a["verb"], "arguments": a["arguments"], "at": [a["updates"], a["tokens"]]} for a in log]
        self.adopt_counts({id(p): n for p, n in zip(params, steps, strict=True)})
        if counters is not None:
            values = torch.tensor(counters, dtype=torch.int64)
            self.tables.host_counters.copy_(values)
            self.tables.counters.copy_(values)
            self.tables.scalars.copy_(torch.tensor(scalars, dtype=torch.float64))
