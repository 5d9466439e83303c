"""The acts by which a run changes course: re-warm, extend, anneal, branch, set a schedule.

Each checks everything first, then rewrites the device tables in place (a captured CUDA graph goes on as it is). Each is
logged in ``opt.history``, saved with the state dict and undone by loading an earlier one. docs/resume.md has the rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from rewarm.errors import InvalidArgument
from rewarm.optim.arguments import SCHEDULED, checked_schedule, put_value, value_of
from rewarm.optim.capture import refuse_while_capturing
from rewarm.optim.checkpoint import Checkpointed
from rewarm.optim.knots import KnotPlaces
from rewarm.optim.moments import apply_policy, moment_policy
from rewarm.optim.plan import TOKENS, UPDATES, Plan, origin_word
from rewarm.schedule import Schedule, constant
from rewarm.schedule.changes import annealed, extended
from rewarm.schedule.segment import checked_count

#: One group by index or by its "name", or several.
Groups = int | str | Iterable[int | str] | None
#: (group, schedule, origin): the origin is a counter, or None for the present one, wherever that stands on the device.
_Change = tuple[int, Schedule, int | None]


class Verbs(Checkpointed):
    """The part of AdamW that changes schedules and moments between steps."""

    # ---- the verbs ---------------------------------------------------------------------------------------------------

    def rewarm(
        self,
        schedule: Schedule | Mapping[int | str, Schedule],
        *,
        state: str = "keep",
        v_init: str = "zero",
        groups: Groups = None,
        change_units: bool = False,
    ) -> None:
        """Starts a new learning-rate schedule now: the next applied rate is schedule(0). No sync on a GPU.

        What happens to the moments, with t the count that drives Adam's bias correction:

        - "keep": nothing.
        - "reset": m = v = 0, t = 0, as a new optimizer. The only policy that resets t.
        - "reset_m", "reset_v": that moment is 0 and its own correction starts again; the other goes on with its own.
        - "decay:x": m and v keep the share x of their weight. The corrected averages do not change now, the next gradients
          count for more; x = 1 is "keep", x = 0 forgets both.

        Args:
            schedule: The new schedule, or one for each of some groups: a dict from index or name.
            state: What happens to the moments of those groups.
            v_init: Where a v that was reset begins: "zero", or "grad": at the square of its next gradient, with Adam's
                correction kept, which makes the first steps smaller by sqrt(1 - beta2^k).
            groups: Index or name (``group["name"]``) of the groups that are re-warmed, or several; None means all.
            change_units: Allow a schedule in tokens where the run counts steps, or the reverse.

        Raises:
            InvalidArgument: A schedule, policy, group or unit that is not accepted; nothing was changed.
            CaptureError: Inside a CUDA graph capture.

        Source: Gupta et al. 2023 (arXiv 2308.04014); Ibrahim et al. 2024 (arXiv 2403.08763), section 5.2, resets;
        v_init="grad": after Kalra and Barkeshli 2024 (arXiv 2406.09405; not compared with the text).
        """
        self._refuse_in_graph("rewarm")
        changes = self._schedules_for("rewarm", schedule, groups)
        self._check_units("rewarm", changes, "lr", change_units)
        self._check_knots(changes, "lr")
        policy = moment_policy("rewarm", state, v_init)
        apply_policy(self, [g for g, _, _ in changes], policy)
        self._log("rewarm", changes, {"state": state, "v_init": v_init})
        self._apply(changes, "lr")

    def set_schedule(
        self,
        schedule: Schedule | Mapping[int | str, Schedule],
        *,
        origin: str | int = "now",
        groups: Groups = None,
        key: str = "lr",
        change_units: bool = False,
    ) -> None:
        """Replaces the schedule of a value; the moments stay.

        Args:
            schedule: The new schedule, or a dict of them by index or name of the group.
            origin: "now": it begins with its f(0). A count (0 for the start of the run): it is read as if it had begun there.
            groups: Index or name of the groups, or several; None means all.
            key: "lr", "weight_decay", "beta1", "beta2", "eps", or "max_grad_norm" and "ema_decay" where they are in use.
            change_units: Allow a schedule in tokens where the run counts steps, or the reverse.

        Raises:
            InvalidArgument: An argument is not accepted, or the schedule ends before the present count; nothing was changed.
        """
        self._refuse_in_graph("set_schedule")
        if key not in SCHEDULED:
            raise InvalidArgument(f"AdamW: set_schedule: key: expected one of {', '.join(SCHEDULED)}, got {key!r}")
        if key == "max_grad_norm":
            groups = 0 if groups is None else groups  # one for all groups, it stands with the first
        changes = self._schedules_for("set_schedule", schedule, groups)
        for g, new, _ in changes:
            checked_schedule(f"set_schedule: group {g}: {key}", key, new)
            self._check_in_use(g, key)
        self._check_units("set_schedule", changes, key, change_units)
        self._check_knots(changes, key)
        if origin != "now":
            start = checked_count("AdamW: set_schedule: origin ('now' or a count)", origin)
            counters = self._counters()
            for g, new, _ in changes:
                now = counters[_counter(new)] - start
                if now < 0:
                    raise InvalidArgument(
                        f"AdamW: set_schedule: origin: expected 'now' or a count <= {counters[_counter(new)]}, where the run "
                        f"stands, got {start}"
                    )
                if new.length is not None and now > 0 and new.length <= now:
                    raise InvalidArgument(
                        f"AdamW: set_schedule: group {g}: the schedule ends after {new.length} {new.units}, but from origin "
                        f"{start} the run stands at {now}, where only its last value is left; origin='now' begins it here"
                    )
            changes = [(g, new, start) for g, new, _ in changes]
        self._log("set_schedule", changes, {"origin": origin, "key": key})
        self._apply(changes, key)

    def extend(self, total: int, *, groups: Groups = None) -> None:
        """Moves the end of the learning-rate schedule to `total`; the present rate does not change.

        A decay that has not begun moves behind its plateau (wsd, infinite) or, without one, is stretched; of one that has begun
        the rest is stretched from the present rate. `rewarm.schedule.changes.extended` says it exactly.

        Args:
            total: The new end, in the schedule's own count: steps or tokens since it began.
            groups: Index or name of the groups, or several; None means all that have a Schedule.

        Raises:
            InvalidArgument: No schedule, one without an end or that has ended, or a total that is not beyond the end; nothing
                was changed.
        """
        self._refuse_in_graph("extend")
        chosen = self._scheduled_groups("extend", groups)
        counters, origins = self._counters(), self._origins("lr")
        changes: list[_Change] = []
        for g in chosen:
            old = self.schedules[g]["lr"]
            try:
                new, restarts = extended(old, counters[_counter(old)] - origins[g], total)
            except InvalidArgument as error:
                raise InvalidArgument(f"AdamW: group {g}: {error}") from None
            changes.append((g, new, counters[_counter(old)] if restarts else origins[g]))
        self._log("extend", changes, {"total": int(total)})
        self._apply(changes, "lr")

    def anneal(
        self, *, length: int, at: str | int = "now", shape: str = "linear", to: float = 0.0, groups: Groups = None
    ) -> None:
        """Begins the final decay: from the present rate (or the one at `at`) to `to`, which is held.

        Args:
            length: Counts of the decay, >= 1, in the units of the schedule (steps for a group with a float rate).
            at: "now", or a later count of the run: updates applied, or tokens under a schedule in tokens.
            shape: "linear", "cosine", "one_minus_sqrt", "inverse_sqrt" or "exponential".
            to: The last rate, >= 0; > 0 for the exponential.
            groups: Index or name of the groups, or several; None means all.

        Raises:
            InvalidArgument: An argument is not accepted, `at` lies in the past, or inside a piece that cannot be cut exactly (a
                cosine that does not end at 0); nothing was changed.
        """
        self._refuse_in_graph("anneal")
        counters, origins = self._counters(), self._origins("lr")
        changes: list[_Change] = []
        for g in self._chosen("anneal", groups):
            old = self.schedules[g].get("lr")
            if old is None:
                if isinstance(self.param_groups[g]["lr"], Tensor):
                    raise InvalidArgument(f"AdamW: anneal: group {g} has a Tensor as lr; rewarm(schedule) replaces it first")
                old = constant(float(self.param_groups[g]["lr"]))
                origins[g] = counters[UPDATES]
            now = counters[_counter(old)]
            start = now if at == "now" else checked_count("AdamW: anneal: at ('now' or a count)", at)
            try:
                new, restarts = annealed(old, now - origins[g], max(start - origins[g], 0), length, shape=shape, to=to)
            except InvalidArgument as error:
                raise InvalidArgument(f"AdamW: group {g}: {error}") from None
            changes.append((g, new, now if restarts else origins[g]))
        self._log("anneal", changes, {"at": at, "length": int(length), "shape": shape, "to": float(to)})
        self._apply(changes, "lr")

    def branch(self, model: torch.nn.Module | None = None) -> dict[str, Any]:
        """A point to come back to: copies of state, counters and schedules, and of the model's weights when it is given.

        The copy shares nothing with this optimizer, which goes on as if nothing had happened. It is plain data for
        ``torch.save`` (readable with weights_only=True) and for `rewarm.load`, into this model and optimizer or into others.
        To run both at once, ``copy.deepcopy((model, opt))``.

        Args:
            model: Its ``state_dict`` is copied too, as the entry "model".

        Returns:
            ``{"format": "rewarm.checkpoint", "version": 1, "optimizer": ..., "model": ...}``; the copy's history ends with this
            act.
        """
        self._refuse_in_graph("branch")
        saved = deepcopy(self.state_dict())
        counters = self._counters()
        entry = {"verb": "branch", "arguments": {}, "updates": counters[UPDATES], "tokens": counters[TOKENS]}
        append_history(saved, entry)
        point: dict[str, Any] = {"format": "rewarm.checkpoint", "version": 1, "optimizer": saved}
        if model is not None:
            point["model"] = {
                key: value.detach().clone() if isinstance(value, Tensor) else deepcopy(value)
                for key, value in model.state_dict().items()
            }
        return point

    # ---- what they share ---------------------------------------------------------------------------------------------

    def planned(self) -> Plan:
        """The plan, built when there is none."""
        return self._plan if self._plan is not None else self._rebuild()

    def _rebuild(self) -> Plan:
        raise NotImplementedError

    def _refuse_in_graph(self, verb: str) -> None:
        refuse_while_capturing(self.device, verb, "call it between replays, the graph follows")
        if self._plan is not None:
            self._plan.order_after_last_step()

    def _chosen(self, verb: str, groups: Groups) -> list[int]:
        """Indices of the groups that `groups` names, in order."""
        if groups is None:
            return list(range(len(self.param_groups)))
        asked = [groups] if isinstance(groups, (int, str)) else list(groups)
        names = [group.get("name") for group in self.param_groups]
        found = []
        for one in asked:
            if isinstance(one, str) and one in names:
                found += [g for g, name in enumerate(names) if name == one]
            elif isinstance(one, int) and not isinstance(one, bool) and 0 <= one < len(names):
                found.append(one)
            else:
                known = f"indices 0 to {len(names) - 1}" + "".join(f", {name!r}" for name in names if name is not None)
                raise InvalidArgument(f"AdamW: {verb}: groups: expected some of {known}, got {one!r}")
        if not found or len(set(found)) != len(found):
            raise InvalidArgument(f"AdamW: {verb}: groups: expected at least one group, each once, got {asked!r}")
        return found

    def _scheduled_groups(self, verb: str, groups: Groups) -> list[int]:
        chosen = self._chosen(verb, groups)
        without = [g for g in chosen if "lr" not in self.schedules[g]]
        if groups is None:
            chosen = [g for g in chosen if g not in without]
        if not chosen or (groups is not None and without):
            which = f"group {without[0]} has" if groups is not None else "all groups have"
            raise InvalidArgument(f"AdamW: {verb}: {which} a plain learning rate and no Schedule; rewarm(schedule) gives one")
        return chosen

    def _schedules_for(self, verb: str, schedule: object, groups: Groups) -> list[_Change]:
        if isinstance(schedule, Mapping):
            if groups is not None:
                raise InvalidArgument(f"AdamW: {verb}: give a dict of schedules or groups, not both")
            pairs = [(g, new) for name, new in schedule.items() for g in self._chosen(verb, name)]
            self._chosen(verb, [g for g, _ in pairs])  # each once, at least one
        else:
            pairs = [(g, schedule) for g in self._chosen(verb, groups)]
        changes: list[_Change] = []
        for g, new in pairs:
            if not isinstance(new, Schedule):
                raise InvalidArgument(f"AdamW: {verb}: expected a rewarm.schedule.Schedule, got {type(new).__name__}")
            changes.append((g, new, None))
        return changes

    def _check_units(self, verb: str, changes: list[_Change], key: str, allowed: bool) -> None:
        """Refuses a schedule in other units than the run counts: lengths in tokens read as steps never end, and the reverse."""
        if allowed:
            return
        if not self.has_tables or int(self.tables.host_counters[UPDATES]) == 0:
            return
        tokens = int(self.tables.host_counters[TOKENS])
        for g, new, _ in changes:
            old = self.schedules[g].get(key)
            counted = old.units if old is not None else "tokens" if tokens else "steps"
            if old is None and tokens and new.units == "steps":
                continue  # a run with plain rates that counts both
            if new.units != counted:
                raise InvalidArgument(
                    f"AdamW: {verb}: group {g}: the new schedule counts {new.units}, the run counts {counted}; if that is "
                    "meant, pass change_units=True" + (" and step(tokens=n) from now on" if new.units == "tokens" else "")
                )

    def _check_in_use(self, g: int, key: str) -> None:
        """A schedule of what is switched off would do nothing."""
        if key == "max_grad_norm" and (g != 0 or self.max_grad_norm is None):
            raise InvalidArgument(
                "AdamW: set_schedule: max_grad_norm: it is one for all groups (0), and must be given to AdamW"
            )
        if key == "ema_decay" and self.param_groups[g].get("ema_decay") is None:
            raise InvalidArgument(f"AdamW: set_schedule: group {g} keeps no moving average: pass ema_decay to AdamW")

    def _check_knots(self, changes: list[_Change], key: str) -> None:
        """The knots of all tables must fit together before anything changes."""
        replaced = {g for g, _, _ in changes}
        others = [s for g, group in enumerate(self.schedules) for k, s in group.items() if k != key or g not in replaced]
        KnotPlaces.check_room([*others, *(s for _, s, _ in changes)])

    def _counters(self) -> list[int]:
        """The counters as they stand on the device. A sync on a GPU; the host's copy then knows them too."""
        tables = self.tables
        values: list[int] = tables.counters.tolist()
        if tables.host_counters is not tables.counters:
            tables.host_counters.copy_(torch.tensor(values, dtype=torch.int64))
        return values

    def _origins(self, key: str) -> list[int]:
        counters, which = self._counters(), SCHEDULED.index(key)
        return [counters[origin_word(g, which)] for g in range(len(self.param_groups))]

    def _log(self, verb: str, changes: list[_Change], arguments: dict[str, Any]) -> None:
        counters = self.tables.counters
        groups: dict[Schedule, list[str]] = {}
        for g, schedule, _ in changes:
            groups.setdefault(schedule, []).append(str(g))
        told = {",".join(names): schedule.to_dict() for schedule, names in groups.items()}
        # On a GPU the counters are read when somebody asks.
        at = counters[[UPDATES, TOKENS]].tolist() if counters.device.type == "cpu" else counters[:2].clone()
        self.log.append({"verb": verb, "arguments": {**arguments, "schedules": told}, "at": at})

    def _apply(self, changes: list[_Change], key: str) -> None:
        """Puts checked schedules in force, on host and device."""
        which = SCHEDULED.index(key)
        tables, plan = self.tables, self._plan
        for g, schedule, origin in changes:
            group = self.param_groups[g]
            tables.set_schedule(g, which, schedule)
            if origin is None:
                tables.set_origin(g, which, schedule.units == "tokens")
                shown = schedule(0)
            else:
                tables.put_origin(g, which, origin)
                shown = schedule(max(int(tables.host_counters[_counter(schedule)]) - origin, 0))
            self.schedules[g][key] = schedule
            group.setdefault("schedules", {})[key] = schedule.to_dict()
            put_value(group, key, shown)
            self.written[g][key] = shown
        if plan is None or plan.n_groups != len(self.param_groups):
            return
        plan.needs_tokens = any(s.units == "tokens" for group in self.schedules for s in group.values())
        for g, schedule, _ in changes:
            plan.set_schedule(g, which, schedule, value_of(self.param_groups[g], key), self.written[g][key])
        plan.groups_changed()


def append_history(state_dict: dict[str, Any], entry: dict[str, Any]) -> None:
    """Adds an act to the history that a saved state dict carries."""
    import json

    group = state_dict["param_groups"][0]
    group["history"] = json.dumps([*json.loads(group.get("history", "[]")), entry])


def _counter(schedule: Schedule) -> int:
    return TOKENS if schedule.units == "tokens" else UPDATES
