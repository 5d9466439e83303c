"""The arms of the suite as data, and how one of them is trained: all that differs between them stands in ARMS."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch
from continual_pretraining_training import (
    FLOOR,
    WARMUP,
    decaying,
    fresh_model,
    make_optimizer,
    small_config,
    train,
    window_order,
)
from torch.utils.data import DataLoader

from rewarm.data import ReplayMixture
from rewarm.schedule import Schedule, constant


@dataclass(frozen=True)
class Arm:
    """One way to go on.

    Attributes:
        label: For figures and tables.
        peak: Maximum learning rate, in multiples of P; the constant arms hold FLOOR * peak.
        warmup: Fraction of the arm's updates.
        start: Percent of the upstream run after which its checkpoint was taken; 0 is a fresh model.
        corpus: Which text it learns.
        replay: Old windows over all windows.
        keeps_state: Whether the optimizer's moments come with the checkpoint.
        is_constant: No re-warming.
    """

    label: str
    peak: float = 1.0
    warmup: float = WARMUP
    start: int = 100
    corpus: str = "downstream"
    replay: Fraction = Fraction(0)
    keeps_state: bool = True
    is_constant: bool = False

    def schedule(self, P: float, steps: int) -> Schedule:
        """Of the arm's learning rate."""
        return constant(FLOOR * self.peak * P) if self.is_constant else decaying(self.peak * P, steps, self.warmup)


STARTS = (25, 50, 100)  # percent of the upstream run; the paper's checkpoints are at 7, 19 and 100 %
ARMS = {
    "constant": Arm("constant minimum", is_constant=True),
    "rewarm_P": Arm("re-warm to P"),
    "rewarm_half_P": Arm("re-warm to P/2", peak=0.5),
    "rewarm_2P": Arm("re-warm to 2P", peak=2),
    "scratch_P": Arm("from scratch, P", start=0),
    "scratch_2P": Arm("from scratch, 2P", start=0, peak=2),
    "scratch_4P": Arm("from scratch, 4P", start=0, peak=4),
    "warmup_0": Arm("P, no warm-up", warmup=0),
    "warmup_half": Arm("P, warm-up 0.5 %", warmup=0.005),
    "warmup_2": Arm("P, warm-up 2 %", warmup=0.02),
    "from_25": Arm("P, from 25 % of upstream", start=25),
    "from_50": Arm("P, from 50 % of upstream", start=50),
    "same_constant": Arm("same corpus, constant minimum", corpus="upstream", is_constant=True),
    "same_P": Arm("same corpus, re-warm to P", corpus="upstream"),
    "replay_6": Arm("P, 6.25 % replay", replay=Fraction(1, 16)),
    "replay_25": Arm("P, 25 % replay", replay=Fraction(1, 4)),
    "reset": Arm("P, moments reset", keeps_state=False),
}


def upstream_windows(corpora: dict, settings: dict, seed: int) -> torch.Tensor:
    """Numbers of the windows that a seed's upstream run and its same-corpus arms read, in this order."""
    wanted = (settings["steps_upstream"] + settings["steps_downstream"]) * settings["batch"]
    return window_order(len(corpora["upstream"]["training"]), wanted, seed)


def inputs(arm: Arm, corpora: dict, settings: dict, seed: int):
    """Batches [batch, context] of an arm: the order of the new windows is the same for all arms of a seed.

    A replayed window stands in the place of a new one (compute-equivalent), and the old windows come in the order in
    which the upstream run read them. The same-corpus arms go on in the upstream order where the upstream run ended.
    """
    batch, steps = settings["batch"], settings["steps_downstream"]
    old, training = upstream_windows(corpora, settings, seed), corpora["upstream"]["training"]
    if arm.corpus == "upstream":
        for rows in old[settings["steps_upstream"] * batch :].view(steps, batch):
            yield training[rows]
        return
    new = window_order(len(corpora["downstream"]["training"]), steps * batch, seed)
    mixture = ReplayMixture(corpora["downstream"]["training"][new], training[old], arm.replay, new_order="original")
    yield from DataLoader(mixture, batch_size=batch)


def train_upstream(folder: Path, corpora: dict, settings: dict, seed: int) -> dict:
    """The run that all arms of a seed but the fresh ones start from; leaves its checkpoints in `folder`."""
    steps, batch = settings["steps_upstream"], settings["batch"]
    model = fresh_model(small_config(*(settings[key] for key in ("vocab", "width", "layers", "context"))), seed, "cpu")
    optimizer = make_optimizer("rewarm", model, decaying(settings["max_lr"], steps))
    saved_after = {round(percent / 100 * steps): percent for percent in STARTS}

    def save(done: int) -> None:
        if done in saved_after:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(state, folder / f"upstream_{saved_after[done]}.pt")

    order = upstream_windows(corpora, settings, seed)[: steps * batch].view(steps, batch)
    read = (corpora["upstream"]["training"][rows] for rows in order)
    watched = {name: corpus["validation"] for name, corpus in corpora.items()}
    return train("upstream", model, optimizer, read, watched, steps, show=False, after=save)


def train_arm(name: str, folder: Path, corpora: dict, settings: dict, seed: int) -> dict:
    """One arm of one seed, from the checkpoints in `folder`."""
    arm, steps = ARMS[name], settings["steps_downstream"]
    schedule = arm.schedule(settings["max_lr"], steps)
    model = fresh_model(small_config(*(settings[key] for key in ("vocab", "width", "layers", "context"))), seed, "cpu")
    optimizer = make_optimizer("rewarm", model, schedule)
    if arm.start:
        saved = torch.load(folder / f"upstream_{arm.start}.pt", weights_only=True)
        model.load_state_dict(saved["model"])
        if arm.keeps_state:
            optimizer.load_state_dict(saved["optimizer"])  # brings the upstream schedule with it ...
            optimizer.rewarm(schedule)  # ... which this replaces; the moments stay
    watched = {name: corpus["validation"] for name, corpus in corpora.items()}
    run = train(arm.label, model, optimizer, inputs(arm, corpora, settings, seed), watched, steps, show=False)
    run.pop("lr")  # the schedule says it in a line
    return run | {"schedule": schedule.to_dict()}
