"""What only a GPU has: an update as one CUDA graph, and launches counted."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rewarm.bench.q_loops import Loop
from rewarm.bench.q_setting import Start
from rewarm.rl.draws import Draws
from rewarm.rl.rows import Rows


class Graph(Loop):
    """Another variant's update, draws included, captured once and replayed.

    Checks run it uncaptured: the replay is of the same kernels. Its optimizer must keep its step count on the device.
    """

    captured = True
    repeats = 20

    def __init__(self, inner: Loop) -> None:
        super().__init__(inner.setting, inner.device, inner.dtype)
        self.inner = inner
        self.name, self.ours, self.facts = f"{inner.name}, graph", inner.ours, inner.facts

    def start(self, at: Start) -> None:
        """Of the inner variant."""
        self.inner.start(at)

    def update(self, rows: Rows, draws: Draws) -> None:
        """Of the inner variant, uncaptured."""
        self.inner.update(rows, draws)

    def state(self) -> dict[str, list[Tensor]]:
        """Of the inner variant."""
        return self.inner.state()

    def begin(self, rows: Rows) -> None:
        """Captures after three uncaptured updates; a run is `repeats` replays, and nothing of it is on the host."""
        self.inner.begin(rows)
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self.inner.run()
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.inner.run()

        def run() -> None:
            for _ in range(self.repeats):
                graph.replay()

        self.run = run


def launches(run: Callable[[], None], updates: int) -> dict[str, float]:
    """What one update of a run gives the GPU to do, counted by `torch.profiler`.

    Args:
        run: Already warm.
        updates: In one run.

    Returns:
        kernels (with copies and fills) on the device, and launches from the host (a graph's replay is one).
    """
    from torch.profiler import ProfilerActivity, profile

    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        run()
        torch.cuda.synchronize()
    events = seen.events()
    on_device = sum(1 for event in events if event.device_type.name == "CUDA")
    calls = ("cudaLaunchKernel", "cudaGraphLaunch", "cuLaunchKernel", "cudaMemcpyAsync", "cudaMemsetAsync")
    from_host = sum(1 for event in events if event.name.startswith(calls))
    return {"kernels": on_device / updates, "host_launches": from_host / updates}
