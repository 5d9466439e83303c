"""The high-UTD update of an ensemble critic, and the Cal-QL step, against torch; the floor is torch's matrix product."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from rewarm import _dispatch
from rewarm.bench.busy import busy_loops
from rewarm.bench.q_equality import Case
from rewarm.bench.q_floor import products
from rewarm.bench.q_graph import Graph, launches
from rewarm.bench.q_loops import Loop, TorchLoop
from rewarm.bench.q_modules import ModuleList, Vmap
from rewarm.bench.q_ours import Composition, Rewarm
from rewarm.bench.q_setting import SETS, Setting, flops, rows, start
from rewarm.bench.q_stacked import Bmm, BmmSubset, Compiled
from rewarm.bench.timing import Statistics, interleave, nothing
from rewarm.bench.workload import Conditions, LeftOut, Workload
from rewarm.errors import BackendUnavailable, InvalidArgument

Makers = dict[str, Callable[[], Loop]]
Say = Callable[[str], None]

#: Of the matrix products' inputs; the second on GPUs only, where torch's peers take it too.
PRECISIONS = ("fp32", "tf32")
SEEDS = (1, 8)
#: What the quick run measures, where vmap and torch.compile are, and where the contended arm is.
QUICK_SETS, WIDE_FIELD, BUSY_SETS = ("q_64x2", "q_2x256"), ("q_2x256",), ("q_2x256",)
#: FLOPs of an update, above which peers that evaluate all critics are not measured with several seeds, nor all seeds checked.
_LONG = 1e11


class QWorkload:
    """One set with one number of seeds in one precision.

    Args:
        setting: The set, with its seeds.
        precision: In `PRECISIONS`.
        device: Where.
        backend: Of rewarm; None for the one that the device would get.
    """

    def __init__(self, setting: Setting, precision: str, device: torch.device, backend: str | None = None) -> None:
        self.setting, self.dtype, self.device = setting, precision, device
        self.backend = backend or ("cpu" if device.type == "cpu" else "triton")
        self.name = setting.name if setting.seeds == 1 else f"{setting.name}, {setting.seeds} seeds"

    @property
    def moved_bytes(self) -> int:
        """Adam and Polyak, which read p, g, m, v and the target and write all but g: nine numbers a parameter and minibatch."""
        return 36 * self.setting.parameters * self.setting.seeds * self.setting.minibatches

    @property
    def working_set(self) -> int:
        """p, g, m, v and the target once."""
        return 20 * self.setting.parameters * self.setting.seeds

    def variants(self, quick: bool) -> Makers:
        """Makers of the loops by name: ours, then the peers."""
        s, device = self.setting, self.device
        reason = _dispatch.unavailable(self.backend, device.type)
        if reason:
            raise BackendUnavailable(f"{self.name} {self.dtype}: backend {self.backend!r} of rewarm cannot be used: {reason}")
        ours = functools.partial(Rewarm, s, device, self.backend, self.dtype)
        makers: Makers = {f"rewarm {self.backend}": ours}
        if device.type == "cuda":
            makers[f"rewarm {self.backend}, no graph"] = functools.partial(ours, ", no graph", captured=False)
        if s.seeds > 1:
            single = s.small(seeds=1)
            makers[f"rewarm {self.backend}, 1 seed"] = functools.partial(
                Rewarm, single, device, self.backend, self.dtype, ", 1 seed"
            )
        peers: list[type[TorchLoop]] = [BmmSubset]
        if s.seeds == 1 or flops(s, least=False) < _LONG:
            peers.append(Bmm)
        if s.seeds == 1:
            peers.append(ModuleList)
            if s.name in WIDE_FIELD and not quick:
                peers += [Vmap, Compiled]
        for peer in peers:
            makers[peer.name] = functools.partial(peer, s, device)
            if device.type == "cuda" and peer in (BmmSubset, Compiled):
                makers[f"{peer.name}, graph"] = functools.partial(_graph, peer, s, device)
        return makers

    def check(self, loops: Sequence[Loop], say: Say, tick: Callable[[], None] = nothing) -> list[Loop]:
        """Raises unless all of them move parameters as the float64 reference does.

        Peers of one seed are checked in float64 too, and so is the composition of ops that rewarm's chain is held to. A
        large setting is checked with two of its seeds.

        Returns:
            The loops that can run: without those that could not be compiled.
        """
        s = self.setting
        fewer = s if flops(s, least=False) < _LONG or s.seeds == 1 else s.small(seeds=2)
        checked = {loop: 1 if loop.setting.seeds == 1 else fewer.seeds for loop in loops}
        cases = {seeds: Case(s.small(seeds=seeds), self.device, tick) for seeds in set(checked.values())}
        kept = []
        for loop in loops:
            case = cases[checked[loop]]
            twin = self._twin(loop, case.setting)
            try:
                case.check(loop if twin is None else twin, self.dtype)
            except LeftOut as error:
                say(f"{self.name} {self.dtype}: {loop.name}: left out: {error}")
                continue
            kept.append(loop)
            if s.seeds == 1 and isinstance(loop, TorchLoop) and not isinstance(loop, Compiled):
                case.check(type(loop)(case.setting, self.device, torch.float64), "fp64")
        if s.seeds == 1:
            cases[1].check(Composition(cases[1].setting, self.device, torch.float64), "fp64")
        return kept

    def _twin(self, loop: Loop, setting: Setting) -> Loop | None:
        """The same variant for fewer seeds, where those are checked."""
        if loop.setting == setting:
            return None
        if isinstance(loop, Rewarm):
            return Rewarm(setting, self.device, loop.backend, loop.precision)
        inner = loop.inner if isinstance(loop, Graph) else loop
        return type(inner)(setting, self.device)

    def begin(self, loops: Sequence[Loop], tick: Callable[[], None] = nothing) -> None:
        """Starts the run that is timed, past everything that happens only once."""
        for loop in loops:
            loop.start(start(loop.setting, self.device, checked=False))
            loop.begin(rows(loop.setting, self.device))
            for _ in range(2):
                tick()
                loop.run()

    def measure(self, conditions: Conditions, say: Say) -> list[dict[str, Any]]:
        """Checked, then timed with draws, interleaved with the products of the floor."""
        with matmul_precision(self.dtype):
            loops = self.check([make() for make in self.variants(conditions.quick).values()], say, conditions.tick)
            self.begin(loops, conditions.tick)
            if self.device.type == "cuda":
                for loop in loops:
                    loop.facts |= launches(loop.run, loop.repeats)
            return self._timed("q", loops, conditions)

    def measure_busy(self, conditions: Conditions, say: Say) -> list[dict[str, Any]]:
        """Ours and the stacked peer with the subset, quiet and beside a busy loop on every processor."""
        if self.device.type != "cpu":
            raise InvalidArgument("rewarm bench --busy: contention is measured on CPU tensors: add --device cpu")
        makers = self.variants(quick=True)
        loops = self.check([makers[name]() for name in (next(iter(makers)), BmmSubset.name)], say, conditions.tick)
        self.begin(loops, conditions.tick)
        quiet = self._timed("quiet", loops, conditions)
        with busy_loops(conditions.busy_cpus):
            busy = self._timed("busy", loops, conditions)
        for before, during in zip(quiet, busy, strict=True):
            during["busy_over_quiet"] = during["median_s"] / before["median_s"]
        return quiet + busy

    def _timed(self, arm: str, loops: Sequence[Loop], conditions: Conditions) -> list[dict[str, Any]]:
        floor = products(self.setting, self.device)
        for product in floor:
            product.run()
        warm = conditions.warm(self.working_set)
        timed: dict[str, Statistics] = interleave(
            [*loops, *floor],
            budget_s=conditions.budget_s,
            max_runs=conditions.max_runs,
            deadline=conditions.deadline,
            warm=warm,
            synchronize=torch.cuda.synchronize if self.device.type == "cuda" else nothing,
        )
        rates = {p.name: p.flops / timed[p.name].median for p in floor}
        rate = rates[floor[0].name]
        ours = next(loop.name for loop in loops if loop.ours)
        found = []
        for loop in loops:
            at = timed[loop.name]
            least = flops(loop.setting)
            found.append(
                {
                    "workload": self.setting.name,
                    "dtype": self.dtype,
                    "arm": arm,
                    "variant": loop.name,
                    "device": conditions.device.type,
                    "threads": conditions.threads,
                    **at.as_fields(),
                    "bytes": self.moved_bytes,
                    "floor_s": least / rate,
                    "ratio_to_ours": at.median / timed[ours].median,
                    "ours": ours,
                    "parameters": loop.setting.parameters * loop.setting.seeds,
                    "flops": least,
                    "flops_all_critics": flops(loop.setting, least=False),
                    "matmul_flops_per_s": rates,
                    "of_matmul": least / rate / at.median,
                    "warm": warm,
                    **loop.facts,
                }
            )
        single = f"{ours}, 1 seed"
        if single in timed:
            found[0]["over_one_seed"] = timed[ours].median / timed[single].median
        return found


def _graph(peer: type[TorchLoop], setting: Setting, device: torch.device) -> Graph:
    return Graph(peer(setting, device))


@contextmanager
def matmul_precision(precision: str) -> Iterator[None]:
    """What torch's own products round their inputs to."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def workloads(
    device: torch.device,
    *,
    sets: Sequence[str] = (),
    dtypes: Sequence[str] = (),
    seeds: Sequence[int] = (),
    quick: bool = False,
    busy: bool = False,
) -> list[Workload]:
    """The workloads to run, small ones first.

    Args:
        device: Where.
        sets: Names in `q_setting.SETS`; none means all, or those of the quick run.
        dtypes: Names in `PRECISIONS`; none means those that the device has.
        seeds: Numbers of seeds; none means 1 and 8, or 1 in the quick run.
        quick: Only what the quick run measures.
        busy: Only what the contended arm measures.

    Raises:
        InvalidArgument: A name that does not exist, or tf32 on a CPU.
    """
    for kind, given, known in (("set", sets, tuple(SETS)), ("dtype", dtypes, PRECISIONS)):
        for name in given:
            if name not in known:
                raise InvalidArgument(f"q: {kind}: expected some of {', '.join(known)}, got {name!r}")
    if "tf32" in dtypes and device.type != "cuda":
        raise InvalidArgument("q: dtype: tf32 is a GPU's; on a CPU there is fp32")
    precisions = dtypes or (PRECISIONS if device.type == "cuda" else PRECISIONS[:1])
    numbers = seeds or ((1,) if quick or busy else SEEDS)
    default = BUSY_SETS if busy else QUICK_SETS if quick else tuple(SETS)
    chosen = [s for name, s in SETS.items() if name in (sets or default)]
    return [
        QWorkload(s.small(seeds=number), precision, device) for s in chosen for number in numbers for precision in precisions
    ]  # fmt: skip
