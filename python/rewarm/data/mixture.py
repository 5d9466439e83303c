"""ReplayMixture and ReplaySampler: new data with a share of the old, for continued pre-training (Ibrahim et al. 2024)."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from fractions import Fraction
from typing import Any, cast

import torch
from torch.utils.data import IterableDataset, Sampler, get_worker_info

from rewarm.data.stream import ReplayStream
from rewarm.data.switch import LrSwitch
from rewarm.errors import InvalidArgument


def _length(name: str, dataset: object) -> int:
    if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise InvalidArgument(
            f"{name} is a {type(dataset).__name__}; a dataset with __getitem__ and __len__ is accepted, since replay in the "
            "original order, workers and resuming all need samples by their index"
        )
    return len(cast(Sized, dataset))


def _ranks(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Both as given, or those of torch.distributed, or one rank."""
    if (rank is None) != (world_size is None):
        raise InvalidArgument(f"rank is {rank!r} and world_size {world_size!r}; both or neither are accepted")
    if rank is not None and world_size is not None:
        return rank, world_size
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


class _Resumable:
    """Position, switch and state, the same for the dataset and the sampler."""

    _stream: ReplayStream

    def __len__(self) -> int:
        """Samples of this rank in the pass under way, from its beginning."""
        number = self._stream.passes
        return self._stream.pass_end(number) - (self._stream.pass_end(number - 1) if number else 0)

    @property
    def reads(self) -> dict[str, int]:
        """Samples read of each dataset, by name, over all ranks, as far as this process has read."""
        position = self._stream.step * self._stream.world_size
        return dict(zip(self._stream.names, self._stream.blend.reads(position), strict=True))

    def observe(self, lr: float | torch.Tensor) -> bool:
        """Tells a `when_lr_below` without a schedule the learning rate of the update just made.

        Args:
            lr: A number or a tensor, of which the largest entry counts; a tensor on a GPU is waited for.

        Returns:
            Whether the blend changed: the next sample read is the first of the new share.

        Raises:
            InvalidArgument: No switch waits for it, or `lr` is not a finite number >= 0.
        """
        return self._stream.observe(float(lr.max()) if isinstance(lr, torch.Tensor) else float(lr))

    def seek(self, samples: int) -> None:
        """Go on after so many samples of all ranks, whoever read them.

        Raises:
            InvalidArgument: Not a whole number of steps of all ranks.
        """
        self._stream.seek(samples)

    def state_dict(self, samples: int | None = None) -> dict[str, Any]:
        """Where this rank stands, with the names and lengths of both datasets: plain ints, texts, lists and dicts.

        Inside a StatefulDataLoader (torchdata) there is nothing to do: it asks each worker. A plain DataLoader with
        workers reads in other processes, so the object here does not move: pass what has been trained on.

        Args:
            samples: Samples of all ranks that were trained on. Default: what this object has handed out.

        Raises:
            InvalidArgument: `samples` is no whole number of steps of all ranks.
        """
        if samples is None:
            return self._stream.state_dict()
        held = self._stream.state_dict()
        try:
            self._stream.seek(samples)
            return self._stream.state_dict()
        finally:
            self._stream.load_state_dict(held)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on exactly where `state` was taken, also in the middle of a pass.

        The number of ranks may have changed when all samples read so far are a whole number of steps of the new one.

        Raises:
            StateDictMismatch: The state is damaged, or of other datasets or another mixture; each difference is named,
                and nothing is changed.
        """
        self._stream.load_state_dict(state)


class ReplayMixture(_Resumable, IterableDataset[Any]):
    """New samples with a share of old ones, as a stream that goes on exactly after a resume.

    ``compute_equivalent=True`` is the replay of Ibrahim et al. 2024 (arXiv 2403.08763): a share of every batch comes from
    the old data and as many new samples fewer are read, so a run costs what it would cost without. The old samples come
    in the order of their dataset. Which sample a position reads is a function of the position alone: DataLoader workers
    read the same sequence as none do, ranks never read a sample twice, and each rank keeps the share to within one
    sample in any window, as do all ranks together.

    Iterating reads to the end of a pass; iterating again goes on with the next. Datasets wrap around as often as asked.

    Args:
        new, old: Datasets with ``__getitem__`` and ``__len__``.
        ratio: Share of old samples, 0 to 1; a float means the decimal number it prints as. 0.05 suits a weak shift of the
            data, 0.25 a strong one (Ibrahim et al. 2024, table 2).
        batch_size: What the DataLoader collects into a batch; needed with workers, which hand out whole batches in turn.
        order: "original" (default) or "shuffled", of the old samples.
        new_order: "shuffled" (default; another order in each of its epochs) or "original", of the new samples.
        compute_equivalent: True: a pass has as many samples as `new`. False: a pass reads every new sample once, and the
            old ones come on top.
        samples: Of all ranks in a pass, in place of the above; at least one a rank.
        seed: Of the shuffled orders.
        switch: From `when_lr_below`: another share once the learning rate has fallen.
        names: Of the new and the old dataset, kept in the state: a state of other datasets is refused.
        rank, world_size: Default: those of torch.distributed where it is initialized, else 0 and 1.
        tagged: Hand out ``(name, sample)``.

    Raises:
        InvalidArgument: A value outside these; a dataset without samples from which some were to come.
    """

    def __init__(
        self,
        new: Any,
        old: Any,
        ratio: float | Fraction,
        *,
        batch_size: int | None = None,
        order: str = "original",
        new_order: str = "shuffled",
        compute_equivalent: bool = True,
        samples: int | None = None,
        seed: int = 0,
        switch: LrSwitch | None = None,
        names: tuple[str, str] = ("new", "old"),
        rank: int | None = None,
        world_size: int | None = None,
        tagged: bool = False,
    ) -> None:
        rank, world_size = _ranks(rank, world_size)
        if batch_size is not None and (isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1):
            raise InvalidArgument(f"batch_size is {batch_size!r}; a whole number of at least 1, or None, is accepted")
        self._stream = ReplayStream(
            (_length("new", new), _length("old", old)), ratio, order=order, new_order=new_order,
            compute_equivalent=compute_equivalent, samples=samples, seed=seed, switch=switch, names=names, rank=rank,
            world_size=world_size,
        )  # fmt: skip
        self._datasets, self._batch_size, self._tagged = (new, old), batch_size, tagged

    def __iter__(self) -> Iterator[Any]:
        """The samples of this rank (and of this DataLoader worker) to the end of the pass."""
        info = get_worker_info()
        worker = None if info is None else (info.id, info.num_workers)
        if worker is not None and self._batch_size is None:
            raise InvalidArgument("ReplayMixture in DataLoader workers needs batch_size=, the same that the DataLoader has")
        switch = self._stream.switch
        if worker is not None and switch is not None and switch.at is None:
            raise InvalidArgument(
                "a switch that waits for observe(lr) cannot reach DataLoader workers: give when_lr_below a schedule, "
                "or the DataLoader num_workers=0"
            )
        for is_old, index in self._stream.read(worker, self._batch_size or 1):
            sample = self._datasets[is_old][index]
            yield (self._stream.names[is_old], sample) if self._tagged else sample


class ReplaySampler(_Resumable, Sampler[int]):
    """The same mixture as indices into ``torch.utils.data.ConcatDataset([new, old])``, for what wants a Sampler.

    Indices are drawn in the training process, so workers need no `batch_size`; a switch that waits for `observe` then
    comes later by what the DataLoader has prefetched. Arguments, state and errors as in `ReplayMixture`; `new` and `old`
    are datasets, of which only the lengths matter, or these lengths.
    """

    def __init__(
        self,
        new: Any,
        old: Any,
        ratio: float | Fraction,
        *,
        order: str = "original",
        new_order: str = "shuffled",
        compute_equivalent: bool = True,
        samples: int | None = None,
        seed: int = 0,
        switch: LrSwitch | None = None,
        names: tuple[str, str] = ("new", "old"),
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        rank, world_size = _ranks(rank, world_size)

        def counted(name: str, dataset: Any) -> int:
            if isinstance(dataset, int) and not isinstance(dataset, bool) and dataset >= 0:
                return dataset
            return _length(name, dataset)

        self._stream = ReplayStream(
            (counted("new", new), counted("old", old)), ratio, order=order, new_order=new_order,
            compute_equivalent=compute_equivalent, samples=samples, seed=seed, switch=switch, names=names, rank=rank,
            world_size=world_size,
        )  # fmt: skip

    def __iter__(self) -> Iterator[int]:
        """Indices of this rank to the end of the pass."""
        for is_old, index in self._stream.read():
            yield self._stream.lengths[0] + index if is_old else index
