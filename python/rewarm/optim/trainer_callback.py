"""For the Trainer of transformers (imported here): tokens for schedules that count them, and a re-warm that happens once."""

from __future__ import annotations

import warnings
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rewarm.errors import InvalidArgument
from rewarm.optim.adamw import AdamW
from rewarm.optim.lr_scheduler import DrivenLR
from rewarm.schedule import Schedule


class RewarmCallback(TrainerCallback):  # type: ignore[misc]
    """Lets a Trainer drive a rewarm AdamW that it was given by ``optimizers=(opt, opt.as_lr_scheduler())``.

    - A Schedule in tokens gets the tokens of every update, from ``state.num_input_tokens_seen`` (all processes; the Trainer
      counts them with ``include_num_input_tokens_seen="all"`` or ``"non_padding"``), or `tokens_per_update`.
    - `rewarm` replaces the schedule after a checkpoint was loaded and before the first update. A checkpoint that has that
      schedule already goes on with it: resuming a re-warmed run does not warm it again.

    Args:
        rewarm: The new schedule of the learning rate, or None.
        tokens_per_update: Tokens of every update over all processes, or None to ask the Trainer.

    Raises:
        InvalidArgument: `rewarm` is no Schedule; at the start of training, an optimizer that is not rewarm's, or a Schedule in
            tokens and no way to count them.
    """

    def __init__(self, rewarm: Schedule | None = None, tokens_per_update: int | None = None) -> None:
        if rewarm is not None and not isinstance(rewarm, Schedule):
            raise InvalidArgument(f"RewarmCallback: rewarm: expected a Schedule or None, got {type(rewarm).__name__}")
        self.rewarm = rewarm
        self.tokens_per_update = tokens_per_update
        self._seen = 0
        self._hook: Any = None

    def on_init_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Announces the re-warm, before a checkpoint is loaded and compared."""
        scheduler = kwargs.get("lr_scheduler")
        if self.rewarm is not None and isinstance(scheduler, DrivenLR):
            scheduler.announce(self.rewarm)

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Re-warms once, and counts tokens from here on."""
        opt = kwargs["optimizer"]
        opt = getattr(opt, "optimizer", opt)  # accelerate wraps it
        if not isinstance(opt, AdamW):
            raise InvalidArgument(f"RewarmCallback: expected the Trainer to have a rewarm AdamW, got {type(opt).__name__}")
        if opt.max_grad_norm is not None and args.max_grad_norm:
            warnings.warn(
                "RewarmCallback: the Trainer clips too, in a pass of its own before ours: set max_grad_norm=0 in "
                "TrainingArguments",
                stacklevel=2,
            )
        if self.rewarm is not None and any(schedules.get("lr") != self.rewarm for schedules in opt.schedules):
            opt.rewarm(self.rewarm)
        if any(s.units == "tokens" for schedules in opt.schedules for s in schedules.values()):
            if self.tokens_per_update is None and str(args.include_num_input_tokens_seen).lower() in ("no", "false"):
                raise InvalidArgument(
                    "RewarmCallback: a Schedule counts tokens: pass tokens_per_update, or let the Trainer count with "
                    "include_num_input_tokens_seen='all'"
                )
            self._seen = int(state.num_input_tokens_seen)
            self._hook = opt.register_step_pre_hook(lambda o, a, k: (a, {**k, "tokens": self._tokens(state)}))

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Takes the hook off the optimizer."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def _tokens(self, state: TrainerState) -> int:
        if self.tokens_per_update is not None:
            return self.tokens_per_update
        now = int(state.num_input_tokens_seen)
        used, self._seen = now - self._seen, now
        return used
