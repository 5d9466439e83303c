"""The loops that users write around AdamW, to be timed: rewarm's, torch's and optimi's, eager and captured."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from rewarm.optim import AdamW
from rewarm.schedule import warmup_cosine

BETAS, EPS, WEIGHT_DECAY, MIN_RATIO = (0.9, 0.95), 1e-8, 0.1, 0.1


@dataclass(frozen=True)
class Setting:
    """What the loops of one comparison share.

    Attributes:
        shapes: Of the parameters.
        device: Of the parameters.
        dtype: Of the parameters and gradients.
        state_dtype: Of rewarm's moments; torch's and optimi's always have the dtype of the parameters.
        stochastic_rounding: For rewarm.
        own_groups: Every tensor is its own group with its own learning rate.
    """

    shapes: tuple[tuple[int, ...], ...]
    device: torch.device
    dtype: torch.dtype
    state_dtype: torch.dtype
    stochastic_rounding: bool
    own_groups: bool

    @property
    def numel(self) -> int:
        """Number of parameters."""
        return sum(math.prod(shape) for shape in self.shapes)

    def rates(self, max_lr: float) -> list[float]:
        """Peak learning rate of every group: one, or one a tensor, falling with depth."""
        return [max_lr * 0.995**i for i in range(len(self.shapes))] if self.own_groups else [max_lr]


@dataclass(frozen=True)
class Recipe:
    """The numbers of one training run."""

    max_lr: float = 3e-4
    warmup_steps: int = 100
    decay_steps: int = 100_000
    max_norm: float = 1.0

    def factor(self, step: int) -> float:
        """The warm-up and cosine that a user gives to LambdaLR."""
        if step < self.warmup_steps:
            return step / self.warmup_steps
        done = min(1.0, (step - self.warmup_steps) / self.decay_steps)
        return MIN_RATIO + (1.0 - MIN_RATIO) * 0.5 * (1.0 + math.cos(math.pi * done))


def _nothing_yet() -> None:
    raise AssertionError("start() comes before run()")


class Loop:
    """One variant: own parameters, own gradients, own optimizer.

    Args:
        setting: What all variants share.
        kind: Which form of the optimizer.

    Attributes:
        name: As printed.
        ours: Whether rewarm is measured.
        captured: Whether a CUDA graph is replayed; then gradients live at fixed addresses.
        rounds_each_op: Whether intermediate results of one step are rounded to the dtype of the parameters.
        repeats: Steps in one timed run.
    """

    ours = False
    captured = False
    rounds_each_op = False
    repeats = 1

    def __init__(self, setting: Setting, kind: str) -> None:
        self.setting = setting
        self.kind = kind
        self.name = self.name_of(kind)
        self.params = [
            torch.nn.Parameter(torch.empty(shape, dtype=setting.dtype, device=setting.device)) for shape in setting.shapes
        ]
        self.run: Callable[[], None] = _nothing_yet
        self.gradients: list[Tensor] = []
        self.fresh_from: list[Tensor] | None = None

    @classmethod
    def name_of(cls, kind: str) -> str:
        """The name of a variant of this kind."""
        raise NotImplementedError

    def groups(self, recipe: Recipe) -> list[dict[str, Any]]:
        """Param groups for torch and optimi; the peak learning rate is the group's lr."""
        if not self.setting.own_groups:
            return [{"params": self.params, "lr": recipe.max_lr}]
        rates = self.setting.rates(recipe.max_lr)
        return [{"params": [p], "lr": lr} for p, lr in zip(self.params, rates, strict=True)]

    def start(self, initial: Sequence[Tensor], recipe: Recipe) -> None:
        """Begins a run at `initial` with a new optimizer."""
        with torch.no_grad():
            for p, value in zip(self.params, initial, strict=True):
                p.copy_(value)
                p.grad = None
        self.run = self.make_run(recipe)

    def make_run(self, recipe: Recipe) -> Callable[[], None]:
        """The loop's body over a new optimizer."""
        raise NotImplementedError

    def attach(self, gradients: Sequence[Tensor]) -> None:
        """What a backward pass does: gradients stand in the parameters."""
        for p, gradient in zip(self.params, gradients, strict=True):
            p.grad = gradient

    def keep_gradients(self, gradients: Sequence[Tensor]) -> None:
        """Stable addresses: `prepare` attaches the same tensors each time, copies of `gradients`."""
        self.fresh_from = None
        self.gradients = [gradient.clone() for gradient in gradients]

    def renew_gradients(self, gradients: Sequence[Tensor]) -> None:
        """Fresh addresses: `prepare` attaches new copies of `gradients` each time."""
        self.fresh_from = list(gradients)
        self.gradients = []

    def prepare(self) -> None:
        """Attaches gradients; not timed."""
        if self.fresh_from is not None:
            # The old ones are still held, so no new one can lie where its predecessor does.
            old = self.gradients
            self.gradients = [gradient.clone() for gradient in self.fresh_from]
            for before, after in zip(old, self.gradients, strict=bool(old)):
                assert before.data_ptr() != after.data_ptr()
        self.attach(self.gradients)

    def warmed(self) -> None:
        """Tells the loop that checks and warm-up are over."""

    def release_unless_captured(self) -> None:
        """Frees the gradients of one arm, where no graph reads them."""
        if self.captured:
            return
        self.fresh_from = None
        self.gradients = []
        for p in self.params:
            p.grad = None


class Rewarm(Loop):
    """``opt.step(); opt.zero_grad()``; the kind is the backend."""

    ours = True
    optimizer: AdamW | None = None

    @classmethod
    def name_of(cls, kind: str) -> str:
        """The name with the backend."""
        return f"rewarm {kind}"

    def make_optimizer(self, recipe: Recipe) -> AdamW:
        """The drop-in with schedule and clipping."""
        groups = self.groups(recipe)
        for group in groups:
            lr = group["lr"]
            group["lr"] = warmup_cosine(lr, MIN_RATIO * lr, recipe.warmup_steps, recipe.decay_steps)
        self.optimizer = AdamW(
            groups,
            betas=BETAS,
            eps=EPS,
            weight_decay=WEIGHT_DECAY,
            max_grad_norm=recipe.max_norm,
            backend=self.kind,
            state_dtype=self.setting.state_dtype,
            stochastic_rounding=self.setting.stochastic_rounding,
            capturable=self.captured,
        )
        return self.optimizer

    def make_run(self, recipe: Recipe) -> Callable[[], None]:
        """The whole loop: the schedule and the clipping are inside."""
        opt = self.make_optimizer(recipe)

        def run() -> None:
            opt.step()
            opt.zero_grad()

        return run


class Torch(Loop):
    """clip_grad_norm_, torch.optim.AdamW, LambdaLR, zero_grad."""

    def __init__(self, setting: Setting, kind: str) -> None:
        super().__init__(setting, kind)
        self.rounds_each_op = kind != "fused"

    @classmethod
    def name_of(cls, kind: str) -> str:
        """The name with torch's word for the form."""
        return f"torch {kind}"

    def make_optimizer(self, recipe: Recipe) -> torch.optim.Optimizer:
        """The form of torch's optimizer that the name says."""
        fused = {"fused": True} if self.kind == "fused" else {"foreach": True}
        return torch.optim.AdamW(self.groups(recipe), betas=BETAS, eps=EPS, weight_decay=WEIGHT_DECAY, **fused)  # type: ignore[arg-type]

    def make_run(self, recipe: Recipe) -> Callable[[], None]:
        """The four calls."""
        opt = self.make_optimizer(recipe)
        scheduler = LambdaLR(opt, recipe.factor)
        params, max_norm, clip = self.params, recipe.max_norm, torch.nn.utils.clip_grad_norm_

        def run() -> None:
            clip(params, max_norm)
            opt.step()
            scheduler.step()
            opt.zero_grad(set_to_none=True)

        return run


class Optimi(Torch):
    """optimi's AdamW in torch's loop; where rewarm rounds stochastically, with Kahan summation, its own remedy."""

    @classmethod
    def name_of(cls, kind: str) -> str:
        """The project's name."""
        return "optimi"

    def make_optimizer(self, recipe: Recipe) -> torch.optim.Optimizer:
        """The optimizer as it comes: it chooses Triton or its loop by device."""
        from optimi import AdamW as OptimiAdamW

        opt: torch.optim.Optimizer = OptimiAdamW(
            self.groups(recipe),
            lr=recipe.max_lr,
            betas=BETAS,
            eps=EPS,
            weight_decay=WEIGHT_DECAY,
            kahan_sum=self.setting.stochastic_rounding,
        )
        return opt


class Captured(Loop):
    """Two eager steps, then a CUDA graph that is captured once and replayed; gradients stay where they are."""

    captured = True
    repeats = 20

    def attach(self, gradients: Sequence[Tensor]) -> None:
        """Copies into the tensors that the graph reads; a prepared run finds them in place."""
        if gradients is self.gradients and gradients:
            return
        if not self.gradients:
            self.gradients = [gradient.clone() for gradient in gradients]
            super().attach(self.gradients)
            return
        with torch.no_grad():
            for mine, gradient in zip(self.gradients, gradients, strict=True):
                mine.copy_(gradient)

    def keep_gradients(self, gradients: Sequence[Tensor]) -> None:
        """Fills the tensors that the graph reads."""
        self.attach(gradients)

    def start(self, initial: Sequence[Tensor], recipe: Recipe) -> None:
        """Begins a run; an older graph is dropped."""
        self.gradients = []
        super().start(initial, recipe)

    def capture(self, step: Callable[[], object], after: Callable[[], None] | None) -> Callable[[], None]:
        """One step a call: eager twice on a side stream, then by replay; `after` runs behind each on the host."""
        graph: torch.cuda.CUDAGraph | None = None
        eager_calls = 0

        def one() -> None:
            nonlocal graph, eager_calls
            if graph is not None:
                graph.replay()
            elif eager_calls < 2:
                eager_calls += 1
                side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
                side.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(side):
                    step()
                torch.cuda.current_stream().wait_stream(side)
            else:
                torch.cuda.synchronize()
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph):
                    step()
                graph.replay()
            if after is not None:
                after()

        return one

    def warmed(self) -> None:
        """Makes a run `repeats` steps, so that the wait at its end does not count for much."""
        one, repeats = self.run, self.repeats

        def run() -> None:
            for _ in range(repeats):
                one()

        self.run = run


class RewarmGraph(Captured, Rewarm):
    """The replayed graph holds schedule, clipping and update: nothing is left for the host."""

    @classmethod
    def name_of(cls, kind: str) -> str:
        """The eager name and "graph"."""
        return f"rewarm {kind} graph"

    def make_run(self, recipe: Recipe) -> Callable[[], None]:
        """Replays of ``opt.step()``."""
        return self.capture(self.make_optimizer(recipe).step, None)


class TorchGraph(Captured, Torch):
    """Clipping and torch's capturable fused AdamW in a graph; LambdaLR writes the tensor of the rate outside."""

    @classmethod
    def name_of(cls, kind: str) -> str:
        """The eager name and "graph"."""
        return f"torch {kind} graph"

    def groups(self, recipe: Recipe) -> list[dict[str, Any]]:
        """Learning rates as tensors, or the graph would freeze them."""
        device = self.setting.device
        return [{**group, "lr": torch.tensor(group["lr"], device=device)} for group in super().groups(recipe)]

    def make_run(self, recipe: Recipe) -> Callable[[], None]:
        """Replays, then the scheduler."""
        opt = torch.optim.AdamW(
            self.groups(recipe), betas=BETAS, eps=EPS, weight_decay=WEIGHT_DECAY, fused=True, capturable=True
        )
        scheduler = LambdaLR(opt, recipe.factor)
        params, max_norm = self.params, recipe.max_norm

        def step() -> None:
            torch.nn.utils.clip_grad_norm_(params, max_norm)
            opt.step()

        return self.capture(step, scheduler.step)
