"""The order in which one rank reads a blend of two datasets: shared by the dataset and the sampler. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from rewarm.data.blend import Blend, Stage, exact_ratio
from rewarm.data.shuffle import shuffled
from rewarm.data.switch import LrSwitch
from rewarm.errors import InvalidArgument, StateDictMismatch

VERSION = 1
ORDERS = ("original", "shuffled")


def _whole(name: str, value: object, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidArgument(f"{name} is {value!r}; a whole number of at least {least} is accepted")
    return value


class ReplayStream:
    """Positions, passes, the switch and the state of a blend, for one rank; counts are of samples.

    A pass ends for all ranks after the same number of steps; up to world_size - 1 samples that are left over begin the
    next pass. Nothing but the position changes while it is read.

    Args:
        lengths: Samples of (new, old).
        names: What the two are called in the state.
        rank: Of world_size.
        Others as in `ReplayMixture`.
    """

    def __init__(
        self,
        lengths: tuple[int, int],
        ratio: float | Fraction,
        *,
        order: str,
        new_order: str,
        compute_equivalent: bool,
        samples: int | None,
        seed: int,
        switch: LrSwitch | None,
        names: tuple[str, str],
        rank: int,
        world_size: int,
    ) -> None:
        for name, value in (("order", order), ("new_order", new_order)):
            if value not in ORDERS:
                raise InvalidArgument(f"{name} is {value!r}; 'original' and 'shuffled' are accepted")
        if switch is not None and not isinstance(switch, LrSwitch):
            raise InvalidArgument(f"switch is {switch!r}; what when_lr_below(...) returns, or None, is accepted")
        named = isinstance(names, (tuple, list)) and len(names) == 2 and all(isinstance(name, str) and name for name in names)
        if not named or names[0] == names[1]:
            raise InvalidArgument(f"names is {names!r}; two different texts, for the new and the old dataset, are accepted")
        self.world_size = _whole("world_size", world_size, 1)
        self.rank = _whole("rank", rank, 0)
        if self.rank >= self.world_size:
            raise InvalidArgument(f"rank is {rank}; with world_size {world_size} ranks 0 to {world_size - 1} are accepted")
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise InvalidArgument(f"seed is {seed!r}; a whole number is accepted")
        self.ratio = exact_ratio(ratio)
        self.lengths, self.names, self.seed = lengths, (names[0], names[1]), seed
        self.orders, self.switch = (new_order, order), switch
        self.compute_equivalent = bool(compute_equivalent)
        self.samples = None if samples is None else _whole("samples", samples, self.world_size)
        ratios = [self.ratio] + ([switch.ratio] if switch else [])
        if not lengths[1] and any(ratios):
            raise InvalidArgument(f"{self.names[1]}: no samples, but a share of {max(ratios)} is to come from them")
        if not lengths[0] and min(ratios) < 1:
            raise InvalidArgument(f"{self.names[0]}: no samples, but a share of {1 - min(ratios)} is to come from them")
        if not self.compute_equivalent and samples is None and max(ratios) == 1:
            raise InvalidArgument("a ratio of 1 never reads all new samples: give samples, or compute_equivalent=True")
        self.blend = Blend(self.ratio)
        if switch is not None and switch.at is not None:
            if switch.at % self.world_size:
                raise InvalidArgument(
                    f"the switch comes after {switch.at:,} samples, which {self.world_size} ranks do not share evenly"
                )
            self.blend.then(switch.at, switch.ratio)
        self.was_above = False  # whether observe has seen a rate at or above the level of the switch
        self.step = 0  # samples of this rank that were read, or would have been at the start of the worker's next batch
        self.passes = 0  # whole ones before the one under way
        self.worker: tuple[int, int] | None = None  # (number, of how many) when `step` is one worker's own
        self.within = 0  # samples that were read of the batch under way; a worker skips those of the others behind it
        if self.pass_end(0) < 1:
            raise InvalidArgument(
                f"a pass has {self.pass_samples(1):,} samples; {self.world_size} ranks need at least one each"
            )

    # ---------------------------------------------------------------------------------------------------------- passes

    def pass_samples(self, count: int) -> int:
        """Samples of all ranks in the first `count` passes."""
        if self.samples is not None:
            return count * self.samples
        if self.compute_equivalent:
            return count * self.lengths[0]
        needed = count * self.lengths[0]  # new samples; the end is where the last of them has been read
        starts = [stage.start for stage in self.blend.stages[1:]]
        for stage, end in zip(self.blend.stages, [*starts, None], strict=True):
            left = needed - (stage.start - stage.old_before)
            p, d = stage.ratio.numerator, stage.ratio.denominator
            # n samples bring ceil(n (d - p) / d) new ones; the smallest n that brings `left` of them:
            reached = stage.start + ((left - 1) * d // (d - p) + 1 if p < d else 2**62)
            if left <= 0 or end is None or reached <= end:
                return stage.start if left <= 0 else reached
        raise AssertionError("the last stage has no end")

    def pass_end(self, number: int) -> int:
        """Steps of each rank before the end of pass `number`, from 0."""
        return self.pass_samples(number + 1) // self.world_size

    # --------------------------------------------------------------------------------------------------------- reading

    def at(self, step: int) -> tuple[bool, int]:
        """(whether it is old, index in its dataset) of this rank's sample number `step`."""
        place = self.blend.place(step, self.rank, self.world_size)
        length = self.lengths[place.is_old]
        epoch, index = divmod(place.before, length)
        if self.orders[place.is_old] == "shuffled":
            # The old dataset's passes count downwards from -1, so that both never share a permutation.
            index = shuffled(index, length, self.seed, -1 - epoch if place.is_old else epoch)
        return place.is_old, index

    def read(self, worker: tuple[int, int] | None = None, batch: int = 1) -> Iterator[tuple[bool, int]]:
        """What is left of the pass under way; of its batches only those of one worker, where there are several.

        The position stands behind a sample before it is handed out, so a state taken between two samples continues
        with the next one.
        """
        if self.worker is not None and self.worker != worker:
            raise StateDictMismatch(
                f"this is the position of worker {self.worker[0]} of {self.worker[1]}, and "
                f"{'worker {} of {}'.format(*worker) if worker else 'a process without workers'} reads: "
                "load it through a StatefulDataLoader with as many workers as the one that saved it"
            )
        number, of = worker or (0, 1)
        stride = batch * (of - 1)  # steps that belong to the other workers, from the end of a batch to the next one
        within = 0
        if worker is not None and self.worker is None:
            self.step += number * batch
            self.worker = worker
        elif worker is not None:
            within = self.within
        while self.step < self.pass_end(self.passes):
            step = self.step
            within += 1
            self.step += 1
            if within == batch:
                self.step, within = self.step + stride, 0
            self.within = within
            yield self.at(step)
        self.step, self.worker, self.within = self.pass_end(self.passes), None, 0
        self.passes += 1

    def seek(self, samples: int) -> None:
        """Go on after `samples` samples of all ranks.

        Raises:
            InvalidArgument: Not a whole number of steps.
        """
        self.step, self.worker, self.within = self.steps_of(_whole("samples", samples, 0)), None, 0
        self.passes = 0
        while self.pass_end(self.passes) <= self.step:
            self.passes += 1

    def steps_of(self, samples: int) -> int:
        """Steps in which all ranks read so many samples.

        Raises:
            InvalidArgument: Not a whole number of steps.
        """
        if samples % self.world_size:
            raise InvalidArgument(f"{samples:,} samples are no whole number of steps of {self.world_size} ranks")
        return samples // self.world_size

    # ---------------------------------------------------------------------------------------------------------- switch

    def observe(self, lr: float) -> bool:
        """Takes note of an applied learning rate; True when this one made the blend change.

        Raises:
            InvalidArgument: There is no switch that waits for it, or `lr` is not a number >= 0.
        """
        if self.switch is None or self.switch.at is not None:
            raise InvalidArgument(
                "observe: " + ("no switch was given" if self.switch is None else "the switch was planned from a schedule")
                + "; switch=when_lr_below(level, ratio) without a schedule waits for what is observed"
            )  # fmt: skip
        if not 0 <= lr < float("inf"):
            raise InvalidArgument(f"observe: lr is {lr!r}; a finite number >= 0 is accepted")
        if len(self.blend.stages) > 1:
            return False
        if lr >= self.switch.level:
            self.was_above = True
            return False
        if self.was_above:
            self.blend.then(self.step * self.world_size, self.switch.ratio)
        return self.was_above

    # ----------------------------------------------------------------------------------------------------------- state

    def _identity(self) -> dict[str, Any]:
        """What has to be the same in a run that goes on."""
        return {
            "ratio": str(self.ratio),
            "order": self.orders[1],
            "new_order": self.orders[0],
            "compute_equivalent": self.compute_equivalent,
            "samples": self.samples,
            "seed": self.seed,
            "switch": self.switch.to_list() if self.switch else None,
        }

    def state_dict(self) -> dict[str, Any]:
        """Position, stages and identity as plain ints, bools, texts, lists and dicts."""
        position = self.step * self.world_size
        return {
            "version": VERSION,
            **self._identity(),
            "sources": {
                name: {"length": length, "read": read}
                for name, length, read in zip(self.names, self.lengths, self.blend.reads(position), strict=True)
            },
            "position": position,
            "world_size": self.world_size,
            "passes": self.passes,
            "worker": [*self.worker, self.within] if self.worker else None,
            "was_above": self.was_above,
            "stages": [[stage.start, str(stage.ratio), stage.old_before] for stage in self.blend.stages],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken; nothing is changed when it does not fit.

        Raises:
            StateDictMismatch: Of another mixture (each difference is named), damaged, or a position that this number of
                ranks does not share.
        """
        try:
            if state["version"] != VERSION:
                raise StateDictMismatch(f"state of version {state['version']!r}, version {VERSION} is read")
            sources = {name: source["length"] for name, source in state["sources"].items()}
            here = dict(zip(self.names, self.lengths, strict=True))
            differing = (
                [f"datasets (name: samples) {sources} in the state, {here} here"]
                if list(sources.items()) != list(here.items())
                else []
            )
            differing += [f"{k} {state[k]!r} in the state, {v!r} here" for k, v in self._identity().items() if state[k] != v]
            if differing:
                raise StateDictMismatch("state of another mixture: " + "; ".join(differing))
            position, world_size, worker = state["position"], state["world_size"], state["worker"]
            if worker is not None and world_size != self.world_size:
                raise StateDictMismatch(
                    f"the position of one DataLoader worker, saved with {world_size} ranks, cannot go on with "
                    f"{self.world_size}; save mixture.state_dict(samples=...) to change the number of ranks"
                )
            if position % self.world_size:
                raise StateDictMismatch(f"{position:,} samples were read, which {self.world_size} ranks do not share evenly")
            stages = [Stage(int(start), Fraction(ratio), int(old)) for start, ratio, old in state["stages"]]
            passes, was_above = int(state["passes"]), bool(state["was_above"])
            step = position // self.world_size
            number, of, within = (int(value) for value in (worker if worker is not None else (0, 0, 0)))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, StateDictMismatch):
                raise
            raise StateDictMismatch(f"not a state of a replay mixture: {type(error).__name__}: {error}") from error
        self.blend.stages, self.was_above = stages, was_above
        self.step, self.passes, self.within = step, passes, within
        self.worker = None if worker is None else (number, of)
