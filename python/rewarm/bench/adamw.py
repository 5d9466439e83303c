"""The AdamW step with clipping and schedule, over the parameter shapes of small critics up to language models."""

from __future__ import annotations

import functools
import importlib.util
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from rewarm import _dispatch
from rewarm.bench.adamw_loops import Loop, Optimi, Recipe, Rewarm, RewarmGraph, Setting, Torch, TorchGraph
from rewarm.bench.bandwidth import InPlacePass
from rewarm.bench.busy import busy_loops
from rewarm.bench.equality import check_agreement, check_clipped
from rewarm.bench.timing import Statistics, TooBusy, interleave, nothing
from rewarm.bench.workload import Conditions, LeftOut, Workload, records
from rewarm.errors import BackendUnavailable, InvalidArgument

Shapes = tuple[tuple[int, ...], ...]
Makers = dict[str, Callable[[], Loop]]

#: Parameter, moment dtype of rewarm, stochastic rounding. The peers of bf16_sr are all-bf16 (torch) and Kahan (optimi).
DTYPES = {
    "fp32": (torch.float32, torch.float32, False),
    "bf16": (torch.bfloat16, torch.bfloat16, False),
    "bf16_sr": (torch.bfloat16, torch.float32, True),
}
#: Above so many parameters `--quick` leaves the slow peers out.
_LARGE = 20_000_000


def mlp(*widths: int) -> Shapes:
    """Weights and biases of a multilayer perceptron."""
    return tuple(s for i, o in itertools.pairwise(widths) for s in ((o, i), (o,)))


def gpt_neox(layers: int, width: int, vocabulary: int = 50304) -> Shapes:
    """GPT-NeoX as the Pythia suite has it: two norms, attention and MLP a layer, untied embeddings."""
    norm: Shapes = ((width,), (width,))
    attention: Shapes = ((3 * width, width), (3 * width,), (width, width), (width,))
    layer = norm + norm + attention + mlp(width, 4 * width, width)
    return ((vocabulary, width), *layer * layers, *norm, (vocabulary, width))


def lora(layers: int, width: int, rank: int) -> Shapes:
    """Two adapted projections a layer, query-key-value and output."""
    return ((rank, width), (3 * width, rank), (rank, width), (width, rank)) * layers


def one_group_each(tensors: int, width: int = 256) -> Shapes:
    """A detection transformer's tensors, each of which gets its own learning rate."""
    layer: Shapes = ((3 * width, width), (3 * width,), (width, width), *((width,),) * 5, *mlp(width, 4 * width, width))
    return (layer * (tensors // len(layer) + 1))[:tensors]


@dataclass(frozen=True)
class ParameterSet:
    """Shapes by name, and where they are measured unless asked for by name."""

    shapes: Shapes
    own_groups: bool = False
    gpu_only: bool = False
    quick: tuple[str, ...] = ()


_ALL = tuple(DTYPES)
SETS = {
    "sac": ParameterSet(mlp(23, 256, 256, 1) * 2 + mlp(17, 256, 256, 12), quick=_ALL),
    "redq10": ParameterSet(mlp(23, 256, 256, 1) * 10, quick=_ALL),
    "lora_r8": ParameterSet(lora(24, 1024, 8), quick=_ALL),
    "pythia14m": ParameterSet(gpt_neox(6, 128), quick=_ALL),
    "groups465": ParameterSet(one_group_each(465), own_groups=True, quick=("fp32",)),
    "pythia70m": ParameterSet(gpt_neox(6, 512), quick=("fp32",)),
    "pythia160m": ParameterSet(gpt_neox(12, 768)),
    "pythia410m": ParameterSet(gpt_neox(24, 1024), gpu_only=True),
    "pythia1.4b": ParameterSet(gpt_neox(24, 2048), gpu_only=True),
}
#: Where the contended arm is measured.
BUSY_SETS = ("redq10", "pythia14m")


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return 2**62


class AdamWWorkload:
    """One parameter set in one dtype."""

    def __init__(self, set_name: str, dtype: str, device: torch.device) -> None:
        self.set_name = set_name
        self.name = f"adamw/{set_name}"
        self.dtype = dtype
        param_dtype, state_dtype, stochastic_rounding = DTYPES[dtype]
        parameters = SETS[set_name]
        self.setting = Setting(
            parameters.shapes, device, param_dtype, state_dtype, stochastic_rounding, own_groups=parameters.own_groups
        )

    @property
    def moved_bytes(self) -> int:
        """p, g, m, v read, p, m, v written, and g once more for the norm: 32 bytes a parameter in float32."""
        return self.setting.numel * (4 * self.setting.dtype.itemsize + 4 * self.setting.state_dtype.itemsize)

    @property
    def working_set(self) -> int:
        """p, g, m and v once."""
        return self.setting.numel * 2 * (self.setting.dtype.itemsize + self.setting.state_dtype.itemsize)

    def inputs(self) -> tuple[list[Tensor], list[Tensor]]:
        """Initial parameters and gradients, whose norm clipping at 1 always reduces."""
        device = self.setting.device
        generator = torch.Generator(device).manual_seed(7)

        def normal(scale: float) -> list[Tensor]:
            made = (torch.randn(s, generator=generator, device=device) for s in self.setting.shapes)
            return [(scale * t).to(self.setting.dtype) for t in made]

        return normal(0.02), normal(0.01)

    def variants(self, quick: bool) -> Makers:
        """Makers of the loops by name: ours, beginning with the backend that would be chosen, then the peers that are here."""
        setting, device_type = self.setting, self.setting.device.type
        ours = ["cpu"] if device_type == "cpu" else ["cuda", "triton"]
        ours = [backend for backend in ours if not _dispatch.unavailable(backend, device_type)]
        if setting.stochastic_rounding:
            ours = [backend for backend in ours if backend != "triton"]
        if not ours:
            reason = _dispatch.unavailable("cuda", device_type)
            raise BackendUnavailable(f"{self.name} {self.dtype}: no backend of rewarm can step this here: {reason}")
        makers: Makers = {Rewarm.name_of(b): functools.partial(Rewarm, setting, b) for b in ours}
        makers[Torch.name_of("fused")] = functools.partial(Torch, setting, "fused")
        if device_type == "cuda":
            makers |= {RewarmGraph.name_of(b): functools.partial(RewarmGraph, setting, b) for b in ours}
            makers[TorchGraph.name_of("fused")] = functools.partial(TorchGraph, setting, "fused")
        if not (quick and setting.numel > _LARGE):
            makers[Torch.name_of("foreach")] = functools.partial(Torch, setting, "foreach")
            if importlib.util.find_spec("optimi") is not None:
                makers[Optimi.name_of("")] = functools.partial(Optimi, setting, "")
        return makers

    def check(
        self,
        loops: Sequence[Loop],
        initial: Sequence[Tensor],
        gradients: Sequence[Tensor],
        tick: Callable[[], None] = nothing,
    ) -> None:
        """Raises unless all loops compute the same, and ours what AdamW is; `tick` is called between steps."""
        where = f"{self.name} {self.dtype}"
        check_agreement(where, loops, initial, gradients, tick)
        for loop in loops:
            if isinstance(loop, Rewarm) and not loop.captured:
                check_clipped(where, loop, initial, gradients)

    def begin(
        self,
        loops: Sequence[Loop],
        initial: Sequence[Tensor],
        gradients: Sequence[Tensor],
        tick: Callable[[], None] = nothing,
    ) -> None:
        """Starts the run that is timed, past everything that happens only once."""
        for loop in loops:
            loop.start(initial, Recipe())
            for _ in range(3):  # a graph is captured in the third
                tick()
                loop.attach([g.clone() for g in gradients])
                loop.run()
            loop.release_unless_captured()
            loop.warmed()

    def measure(self, conditions: Conditions, say: Callable[[str], None]) -> list[dict[str, Any]]:
        """Stable gradient addresses for all variants, fresh ones for ours and torch fused; checked before."""
        found: list[dict[str, Any]] = []
        for makers in self._batches(self.variants(conditions.quick), say):
            seen = {(r["variant"], r["arm"]) for r in found}
            found += [r for r in self._measure_batch(makers, conditions, say) if (r["variant"], r["arm"]) not in seen]
        return found

    def _measure_batch(self, makers: Makers, conditions: Conditions, say: Callable[[str], None]) -> list[dict[str, Any]]:
        loops = [make() for make in makers.values()]
        initial, gradients = self.inputs()
        self.check(loops, initial, gradients, conditions.tick)
        self.begin(loops, initial, gradients, conditions.tick)
        del initial
        found = self._timed("stable", loops, gradients, conditions, 1.0)
        eager = [x for x in loops if not x.captured and (x.ours or x.name == "torch fused")]
        try:
            found += self._timed("fresh", eager, gradients, conditions, 0.5)
        except TooBusy:
            say(f"{self.name} {self.dtype}: no time was left for fresh gradient addresses")
        return found

    def measure_busy(self, conditions: Conditions, say: Callable[[str], None]) -> list[dict[str, Any]]:
        """Ours and torch fused, quiet and beside a busy loop on every processor, with ``busy_over_quiet``."""
        if conditions.device.type != "cpu":
            raise InvalidArgument("rewarm bench --busy: contention is measured on CPU tensors: add --device cpu")
        loops = [make() for make in list(self.variants(quick=True).values())[:2]]
        initial, gradients = self.inputs()
        self.check(loops, initial, gradients, conditions.tick)
        self.begin(loops, initial, gradients, conditions.tick)
        quiet = self._timed("quiet", loops, gradients, conditions, 1.0)
        with busy_loops(conditions.busy_cpus):
            busy = self._timed("busy", loops, gradients, conditions, 1.0)
        for before, during in zip(quiet, busy, strict=True):
            during["busy_over_quiet"] = during["median_s"] / before["median_s"]
        return quiet + busy

    def _timed(
        self, arm: str, loops: Sequence[Loop], gradients: Sequence[Tensor], conditions: Conditions, share: float
    ) -> list[dict[str, Any]]:
        for loop in loops:
            (loop.renew_gradients if arm == "fresh" else loop.keep_gradients)(gradients)
        for loop in loops:  # the first run in an arm meets new addresses and cold code
            loop.prepare()
            loop.run()
        # Sets that live in memory get their floor from passes between their own steps.
        probe = None
        if self.setting.device.type == "cpu" and self.working_set > conditions.cache_bytes:
            probe = InPlacePass(self.setting.device, conditions.buffer_bytes)
            probe.run()
        timed: dict[str, Statistics] = interleave(
            [*loops, probe] if probe is not None else loops,
            budget_s=conditions.budget_s * share,
            max_runs=conditions.max_runs,
            deadline=conditions.deadline,
            warm=conditions.warm(self.working_set),
            synchronize=torch.cuda.synchronize if self.setting.device.type == "cuda" else nothing,
        )
        if probe is not None:
            conditions = replace(conditions, bandwidth=probe.bytes / timed.pop(probe.name).median)
        for loop in loops:
            loop.release_unless_captured()
        facts = {
            "set": self.set_name,
            "tensors": len(self.setting.shapes),
            "parameters": self.setting.numel,
            "groups": len(self.setting.shapes) if self.setting.own_groups else 1,
        }
        return records(
            self, arm, timed, _compared_with(loops), conditions,
            moved_bytes=self.moved_bytes, working_set=self.working_set, facts=facts,
        )  # fmt: skip

    def _batches(self, makers: Makers, say: Callable[[str], None]) -> list[Makers]:
        """All variants at once where memory holds them, else ours with as many others as fit."""
        # Each holds p, g, m, v; beside them stand inputs, gradients in flight, temporaries of a foreach step.
        spare = 5 * self.setting.numel * self.setting.dtype.itemsize
        fit = int((0.85 * _free_bytes(self.setting.device) - spare) // self.working_set)
        if fit >= len(makers):
            return [makers]
        if fit < 2:
            needed = (2 * self.working_set + spare) / 0.85 / 2**30
            raise LeftOut(f"it needs {needed:.1f} GiB of free memory")
        say(f"{self.name} {self.dtype}: memory holds {fit} of {len(makers)} variants at a time")
        ours, *others = makers.items()
        return [dict([ours, *others[i : i + fit - 1]]) for i in range(0, len(others), fit - 1)]


def _compared_with(loops: Sequence[Loop]) -> dict[str, str]:
    """Which of ours every variant is compared with: a graph with a graph where there is one."""
    first = next(loop.name for loop in loops if loop.ours)
    first_graph = next((loop.name for loop in loops if loop.ours and loop.captured), first)
    return {loop.name: first_graph if loop.captured else first for loop in loops}


def workloads(
    device: torch.device,
    *,
    sets: Sequence[str] = (),
    dtypes: Sequence[str] = (),
    quick: bool = False,
    busy: bool = False,
) -> list[Workload]:
    """The workloads to run, small ones first.

    Args:
        device: Where.
        sets: Names in `SETS`; none means those meant for the device.
        dtypes: Names in `DTYPES`; none means all, or those of the quick run.
        quick: Only what the quick run measures.
        busy: Only what the contended arm measures.

    Raises:
        InvalidArgument: A name that does not exist.
    """
    for kind, given, known in (("set", sets, SETS), ("dtype", dtypes, DTYPES)):
        for name in given:
            if name not in known:
                raise InvalidArgument(f"adamw: {kind}: expected some of {', '.join(known)}, got {name!r}")
    chosen = []
    for name, parameters in SETS.items():
        elsewhere = (parameters.gpu_only and device.type != "cuda") or (busy and name not in BUSY_SETS)
        if (name not in sets) if sets else elsewhere:
            continue
        for dtype in DTYPES:
            wanted = dtypes or (parameters.quick if quick and not sets else _ALL)
            if dtype in wanted and not (busy and not dtypes and dtype != "fp32"):
                chosen.append(AdamWWorkload(name, dtype, device))
    if quick:  # should the time run out, every size has been seen once
        chosen.sort(key=lambda workload: list(DTYPES).index(workload.dtype))
    return list(chosen)
