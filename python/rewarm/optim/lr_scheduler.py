"""The Schedule of an optimizer in the shape of a torch scheduler, for libraries that want to hold, step, log and save one.

The schedule itself advances inside ``AdamW.step``: whoever steps this object too often (accelerate steps a scheduler once a
process), too rarely or not at all changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.optim.lr_scheduler import LRScheduler

from rewarm.errors import InvalidArgument, RewarmError, ScheduleConflict, StateDictMismatch
from rewarm.optim.plan import TOKENS, UPDATES
from rewarm.schedule import Schedule

if TYPE_CHECKING:
    from rewarm.optim.adamw import AdamW

#: Schedules of every group by the value that they drive.
Schedules = list[dict[str, Schedule]]


class DrivenLR(LRScheduler):
    """A torch LRScheduler whose ``step`` does nothing, because the optimizer drives its own learning rate.

    Made by ``opt.as_lr_scheduler()``. Everything it says comes from host values: reading it never waits for a GPU.

    Args:
        optimizer: A rewarm.optim.AdamW.
        on_conflict: What `load_state_dict` does when a checkpoint brings another schedule than the optimizer was made with:
            "error" raises and shows both, "checkpoint" goes on with that of the checkpoint.

    Raises:
        InvalidArgument: Another `on_conflict`.
    """

    def __init__(self, optimizer: AdamW, on_conflict: str = "error") -> None:
        # LRScheduler.__init__ would wrap optimizer.step, write initial_lr into the groups and take a first step.
        if on_conflict not in ("error", "checkpoint"):
            raise InvalidArgument(f"as_lr_scheduler: on_conflict: expected 'error' or 'checkpoint', got {on_conflict!r}")
        self.optimizer: AdamW = optimizer
        self.on_conflict = on_conflict
        self.base_lrs = [float(group["lr"]) for group in optimizer.param_groups]
        #: Counted by libraries, used by nobody.
        self._step_count = 0
        self._configured: Schedules = [dict(schedules) for schedules in optimizer.schedules]
        self._announced: Schedules | None = None

    @property
    def last_epoch(self) -> int:  # type: ignore[override]
        """Updates issued so far, as the host counts them."""
        return self._counter(UPDATES)

    def get_last_lr(self) -> list[float]:  # type: ignore[override]
        """The learning rate of every group as ``param_groups`` shows it: that of the last issued update, lr_scale included."""
        opt = self.optimizer
        return [float(group["lr"]) * opt.lr_scale[g] for g, group in enumerate(opt.param_groups)]

    def get_lr(self) -> list[float]:  # type: ignore[override]
        """The same as `get_last_lr`."""
        return self.get_last_lr()

    def step(self, epoch: int | None = None) -> None:
        """Does nothing: ``optimizer.step`` has advanced the schedule."""

    def announce(self, schedule: Schedule) -> None:
        """Says that the optimizer will be re-warmed to `schedule`, so that a checkpoint that has it already is no conflict."""
        self._announced = [{**schedules, "lr": schedule} for schedules in self._configured]

    def state_dict(self) -> dict[str, Any]:
        """The schedules as data, and the host's counters; plain values that ``torch.load(weights_only=True)`` reads."""
        return {
            "schedules": [{key: s.to_dict() for key, s in group.items()} for group in self.optimizer.schedules],
            "updates": self._counter(UPDATES),
            "tokens": self._counter(TOKENS),
            "last_lr": self.get_last_lr(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Checks a saved state against the optimizer, which brings its schedule and counters itself; changes nothing.

        Call it after ``optimizer.load_state_dict``, as HF Trainer, accelerate and Lightning do.

        Raises:
            ScheduleConflict: The optimizer stands elsewhere than this state says, or (with on_conflict="error") the checkpoint
                has another schedule than the optimizer was made with. The message shows both at the next five updates.
            StateDictMismatch: The state of another kind of scheduler.
        """
        if "schedules" not in state_dict or "updates" not in state_dict:
            raise StateDictMismatch(
                "as_lr_scheduler: load_state_dict: expected 'schedules' and 'updates', got the state of another scheduler with "
                f"{', '.join(map(repr, state_dict))}"
            )
        try:
            saved = [{k: Schedule.from_dict(d) for k, d in group.items()} for group in state_dict["schedules"]]
        except (RewarmError, TypeError, AttributeError) as error:
            raise StateDictMismatch(f"as_lr_scheduler: load_state_dict: a schedule cannot be read: {error}") from error
        opt, updates = self.optimizer, int(state_dict["updates"])
        if saved != opt.schedules or updates != self._counter(UPDATES):
            raise ScheduleConflict(
                f"as_lr_scheduler: load_state_dict: this scheduler state was saved after {updates} updates, the optimizer "
                f"stands at {self._counter(UPDATES)}; load the optimizer of the same checkpoint first\n"
                + _table("scheduler state", saved, "optimizer", opt.schedules, updates, "steps")
            )
        if self.on_conflict == "error" and saved not in (self._configured, self._announced):
            raise ScheduleConflict(
                "as_lr_scheduler: load_state_dict: the checkpoint has another schedule than this optimizer was made with. To "
                "go on with the checkpoint's, say opt.as_lr_scheduler(on_conflict='checkpoint'); for a new one, make the "
                "optimizer with the old schedule and call opt.rewarm(new) after loading\n"
                + _table("checkpoint", saved, "configured", self._configured, updates, "steps")
            )

    def _counter(self, which: int) -> int:
        opt = self.optimizer
        return int(opt.tables.host_counters[which]) if opt.has_tables else 0


def _table(left: str, ours: Schedules, right: str, theirs: Schedules, updates: int, units: str) -> str:
    """Both learning rates of the first group that differs, at the next five updates (or five points, for token schedules)."""
    for g in range(max(len(ours), len(theirs))):
        a, b = (x[g].get("lr") if g < len(x) else None for x in (ours, theirs))
        if a == b:
            continue
        lines = [f"group {g}:   update   {left:>16}   {right:>16}"]
        for k in range(updates, updates + 5):
            shown = ("a float" if s is None else f"{s(k):.6g}" if s.units == units else f"in {s.units}" for s in (a, b))
            lines.append(f"{k:>18}   " + "   ".join(f"{x:>16}" for x in shown))
        return "\n".join(lines)
    return "(the learning rates agree; a weight decay or the counters differ)"
