"""The update of `rewarm.rl.update` as one CUDA graph: captured once for a shape of batch, replayed with new rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import torch
from torch import Tensor

from rewarm.rl.adam import Moments, Scalars, scalars
from rewarm.rl.rows import Rows
from rewarm.rl.update import Info, Learner
from rewarm.schedule import Schedule

#: A network's moments, its learning rate and how many Adam steps an update takes of it.
Turns = tuple[Moments, "float | Schedule", int]


class GraphedUpdate:
    """One update of one learner on a GPU, for one number of rows.

    What differs from replay to replay lies in memory that the graph reads: the rows, copied in; the offset that draws are made
    at, advanced by the graph itself; and Adam's scalars (step size and root of the second bias correction of every Adam step),
    computed on the host in float64 and copied in one piece. Nothing waits for the device.

    Args:
        learner: Changed in place by every call; its tensors must stay where they are.
        turns: The networks that are stepped, in the order of their first step.
        step: ``step(rows) -> Info``, the update on rows and on draws that it makes itself; no host sync in it.
        rows: Of the first call; later ones have the same shapes.
        offset: int64 ``[S]``, advanced by `advance` in every update.
        advance: Critic minibatches of an update.
    """

    def __init__(
        self, learner: Learner, turns: list[Turns], step: Callable[[Rows], Info], rows: Rows, offset: Tensor, advance: int
    ) -> None:
        self.learner, self.turns = learner, turns
        n = sum(count for _, _, count in turns)
        self._scalars = torch.empty(n, 2, dtype=torch.float32, device=offset.device)
        self._rows = rows.copy()
        self._fill()
        self._graph = torch.cuda.CUDAGraph()
        changed = [*_tensors(learner), offset]
        before = [t.clone() for t in changed]
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):  # kernels are compiled and memory is found before the capture
                self._run(step, offset, advance)
        torch.cuda.current_stream().wait_stream(stream)
        with torch.cuda.graph(self._graph):
            self._info = self._run(step, offset, advance)
        for tensor, value in zip(changed, before, strict=True):
            tensor.copy_(value)

    def __call__(self, rows: Rows) -> Info:
        """One update on `rows`; the steps are counted, the offset has moved."""
        self._rows.copy_from(rows)
        self._fill()
        self._graph.replay()
        for moments, _, count in self.turns:
            moments.step += count
        return {name: value.clone() for name, value in self._info.items()}

    def fits(self, learner: Learner, rows: Rows) -> bool:
        """Whether this graph was captured for them."""
        return learner is self.learner and rows.reward.shape == self._rows.reward.shape

    def _fill(self) -> None:
        values = [scalars(lr, moments.step + i) for moments, lr, count in self.turns for i in range(count)]
        # The copy before may still be reading the pinned memory: a fresh piece of it is the caching allocator's business.
        self._scalars.copy_(torch.tensor(values, dtype=torch.float32).pin_memory(), non_blocking=True)

    def _run(self, step: Callable[[Rows], Info], offset: Tensor, advance: int) -> Info:
        at = 0
        for moments, _, count in self.turns:
            moments.ahead = rows_of(self._scalars[at : at + count])
            at += count
        try:
            info = step(self._rows)
        finally:
            for moments, _, _ in self.turns:
                moments.ahead = None
        offset += advance
        return info


def rows_of(values: Tensor) -> list[Scalars]:
    """Scalars ``[n, 2]`` as pairs of 0-d views."""
    return [(pair[0], pair[1]) for pair in values.unbind(0)]


def _tensors(learner: Learner) -> list[Tensor]:
    """All that an update changes."""
    found = []
    for field in fields(Learner):
        value = getattr(learner, field.name)
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, Moments):
            found += [*value.exp_avg, *value.exp_avg_sq]
        elif value is not None:
            found += value.tensors()
    return found
