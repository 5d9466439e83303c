"""AdamW with its schedule, its clipping and its update in one step: the drop-in for four objects of torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import optimizer as torch_optimizer

from rewarm import _dispatch
from rewarm.errors import InvalidArgument, UnsupportedTensor
from rewarm.optim.arguments import SCHEDULED, checked_scalar, checked_values, each_param, param_name, value_of
from rewarm.optim.capture import refuse_while_capturing
from rewarm.optim.diagnostics import Diagnostics, checked_diagnostics
from rewarm.optim.ema import Averaged
from rewarm.optim.lr_scheduler import DrivenLR
from rewarm.optim.plan import Flag, Plan, zero_gradients
from rewarm.optim.verbs import Verbs
from rewarm.schedule import Schedule

_profiler_enabled = torch.autograd._profiler_enabled  # type: ignore[attr-defined]
_outside_compiled_graphs = torch._disable_dynamo  # type: ignore[attr-defined]
_global_pre_hooks = torch_optimizer._global_optimizer_pre_hooks
_global_post_hooks = torch_optimizer._global_optimizer_post_hooks


class AdamW(Verbs, Averaged):
    r"""torch.optim.AdamW, LambdaLR, clip_grad_norm_ and zero_grad in one step; exact, and closer to float64 than torch's own.

    .. math::
        m_t &= \beta_1 m_{t-1} + (1-\beta_1) c\,g_t, \qquad v_t = \beta_2 v_{t-1} + (1-\beta_2) (c\,g_t)^2 \\
        \theta_t &= \theta_{t-1} - f(k)\,\Big( \frac{\sqrt{1-\beta_2^t}}{1-\beta_1^t}
            \frac{m_t}{\sqrt{v_t} + \epsilon\sqrt{1-\beta_2^t}} + \lambda\,\theta_{t-1} \Big)

    with f the schedule, k the updates applied before, t those of this parameter, c = min(1, max_norm / (norm + 1e-6)) and the
    norm over all gradients in float64. Gradients are read, never written.

    Differs from torch in: the schedule advances inside ``step`` (no scheduler object); a step in which no parameter has a
    gradient advances nothing; with GradScaler the gradients are not unscaled in place; under a Schedule an edit of
    ``group["lr"]`` raises, except exactly 0.0, which is applied while the schedule stands still.

    Args:
        params: Parameters or groups, as torch takes them. Groups may have their own lr and weight_decay, floats or Schedules.
            float32; bfloat16 and float16 with moments of the same dtype or float32. All on one device.
        lr: Learning rate >= 0: a float, a Schedule, or a one-element Tensor (kept in the group as torch does). Default 1e-3.
        betas: Decay rates of the moments, in [0, 1), either a float or a Schedule. The bias correction is torch's with the
            present rate: 1 - beta(k)^t.
        eps: Added to the denominator, >= 0; a float or a Schedule.
        weight_decay: A float >= 0 or a Schedule; each update subtracts lr * weight_decay * theta.
        amsgrad: Keep the largest second moment. cpu and reference backends.
        maximize: Ascend instead of descend.
        foreach: Accepted without effect.
        capturable: Allow CUDA graph capture.
        differentiable: Must be False.
        fused: Accepted without effect.
        decoupled_weight_decay: False makes this Adam: weight_decay * theta is added to the gradient.
        max_grad_norm: Clip the gradients of all groups together to this L2 norm, > 0, or a Schedule of it; None reads no norm.
            Where a Schedule is 0 the gradients are scaled to nothing.
        skip_nonfinite: Skip and count updates whose gradient norm is not finite; None means: when max_grad_norm is set.
        backend: "reference", "cpu", "cuda" or "triton"; None chooses by device. A named backend is used or refused.
        state_dtype: dtype of the moments; None means each parameter's own.
        stochastic_rounding: Round bfloat16 parameters stochastically (cpu, cuda, reference). Off by default.
        seed: Key of the stochastic rounding.
        count_skipped_tokens: Whether the ``tokens`` of a skipped update count. False: a schedule in tokens waits, as one in
            steps does. True: it counts what was read.
        ema_decay: Keep ``ema <- ema + (1 - ema_decay) (theta - ema)`` of every parameter in ``state[p]["ema"]``, float32, from
            theta before its first step on; a float in [0, 1] or a Schedule, 1 - tau for a target network. Groups may have their
            own, or None. An update that is skipped, or a parameter without gradient, leaves it alone. See `ema_parameters` and
            `ema_weights`.
        zero_grad_in_step: Present gradients become zeros in the same pass, also when the update is skipped: no zero_grad()
            is needed; absent ones stay None. Off, gradients are never written.
        diagnostics: True also reads `update_rms`; a `Diagnostics` sets how spikes and the annealing area are counted.

    Raises:
        InvalidArgument: A value out of range, by name.
        UnsupportedTensor: A parameter that no backend here can step, by name.
        BackendUnavailable: A backend that was named and cannot be used, with the reason.

    Source: Loshchilov and Hutter 2019 (arXiv 1711.05101), algorithm 2; schedules as in Gupta et al. 2023 (arXiv 2308.04014).
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]],
        lr: float | Tensor | Schedule = 1e-3,
        betas: tuple[float | Schedule, float | Schedule] = (0.9, 0.999),
        eps: float | Schedule = 1e-8,
        weight_decay: float | Schedule = 0.01,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = True,
        max_grad_norm: float | Schedule | None = None,
        skip_nonfinite: bool | None = None,
        backend: str | None = None,
        state_dtype: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        seed: int = 0,
        count_skipped_tokens: bool = False,
        ema_decay: float | Schedule | None = None,
        zero_grad_in_step: bool = False,
        diagnostics: bool | Diagnostics = False,
    ) -> None:
        if differentiable:
            raise InvalidArgument("AdamW: differentiable=True is not supported: the step is not recorded by autograd")
        norm_schedule = max_grad_norm if isinstance(max_grad_norm, Schedule) else None
        if norm_schedule is None and max_grad_norm is not None and checked_scalar("max_grad_norm", max_grad_norm) == 0.0:
            raise InvalidArgument("AdamW: max_grad_norm: expected a number > 0, a Schedule or None, got 0")
        if not 0 <= int(seed) < 2**64:
            raise InvalidArgument(f"AdamW: seed: expected an integer in [0, 2**64), got {seed!r}")
        if backend is not None and backend not in _dispatch.BACKENDS:
            raise InvalidArgument(f"AdamW: backend: expected one of {', '.join(_dispatch.BACKENDS)} or None, got {backend!r}")
        self._max_grad_norm = None if isinstance(max_grad_norm, Schedule) or max_grad_norm is None else float(max_grad_norm)
        self.skip_nonfinite = max_grad_norm is not None if skip_nonfinite is None else bool(skip_nonfinite)
        self.state_dtype = state_dtype
        self.stochastic_rounding = bool(stochastic_rounding)
        self.seed = int(seed)
        self.count_skipped_tokens = bool(count_skipped_tokens)
        self.zero_grad_in_step = bool(zero_grad_in_step)
        self.diagnostics = checked_diagnostics(diagnostics)
        self.schedules = []
        self._named_backend = backend
        self._set_up()
        self._defaults: dict[str, Any] = {"lr": lr, "weight_decay": weight_decay, "betas": betas, "eps": eps}
        self._defaults |= {"max_grad_norm": norm_schedule, "ema_decay": ema_decay}
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": bool(amsgrad),
            "maximize": bool(maximize),
            "foreach": foreach,
            "capturable": bool(capturable),
            "differentiable": False,
            "fused": fused,
            "decoupled_weight_decay": bool(decoupled_weight_decay),
        }
        super().__init__(params, defaults)
        for key in ("lr", "weight_decay", "betas", "eps"):
            self.defaults[key] = _beginning(self._defaults[key])
        devices = [p.device for _, _, p in each_param(self.param_groups)]
        self.device = devices[0]
        self.backend = _dispatch.choose("AdamW", self.device.type, backend)
        self._check_backend()

    def _set_up(self) -> None:
        """What is neither argument nor state: made anew in a copy."""
        self._plan = None
        self._tables = None
        self._counts = {}
        self.starts = {}
        self.log = []
        self.written = [{} for _ in self.schedules]
        self.warned_about_dtypes = False
        self._step_supports_amp_scaling = True

    def _check_backend(self) -> None:
        for g, group in enumerate(self.param_groups):
            if group["amsgrad"] and self.backend not in ("cpu", "reference"):
                raise InvalidArgument(
                    f"AdamW: group {g}: amsgrad=True is stepped by the cpu and reference backends, not {self.backend}"
                )
        if self.stochastic_rounding and self.backend == "triton":
            raise InvalidArgument(
                "AdamW: stochastic_rounding=True is stepped by the cpu, cuda and reference backends, not triton"
            )

    # ---- groups ------------------------------------------------------------------------------------------------------

    @_outside_compiled_graphs
    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds parameters, as torch does; they start at t = 0 under the current schedule.

        Args:
            param_group: A dict with "params" and any of lr, betas, eps, weight_decay, ema_decay (floats or Schedules), amsgrad,
                maximize, decoupled_weight_decay.

        Raises:
            InvalidArgument: A value out of range, or the key "max_grad_norm": the norm spans all groups.
        """
        self._refuse_under_capture("add_param_group")
        g = len(self.param_groups)
        if "max_grad_norm" in param_group:
            raise InvalidArgument(f"AdamW: group {g}: max_grad_norm is one for all groups: pass it to AdamW itself")
        group = dict(param_group)
        schedules = checked_values(g, group, self._defaults)
        if g == 0 and self._defaults["max_grad_norm"] is not None:
            schedules["max_grad_norm"] = self._defaults["max_grad_norm"]
        if schedules:
            group["schedules"] = {key: schedule.to_dict() for key, schedule in schedules.items()}
        super().add_param_group(group)
        self.schedules.append(schedules)
        self.written.append({key: value_of(self.param_groups[g], key) for key in schedules})
        if hasattr(self, "backend"):
            self._check_backend()
        if self._tables is not None:
            self._keep_counts()
            self._tables = self._tables.grown(len(self.param_groups))
            self._write_schedules(g)
        self._plan = None

    # ---- the step ----------------------------------------------------------------------------------------------------

    # Under torch.compile the step is one graph break that guards on nothing.
    @_outside_compiled_graphs
    def step(self, closure: Callable[[], Any] | None = None, *, tokens: int | None = None) -> Any:
        """Applies one update: norm, clip, schedule and AdamW for all groups; no host sync on a GPU.

        Args:
            closure: Called first, with gradients enabled, to recompute the loss.
            tokens: Tokens that this update consumed, summed over all ranks; required when a Schedule counts tokens. The cuda
                backend also takes an int64 tensor on the device, which replays of a captured step read anew.

        Returns:
            What the closure returned, or None.

        Raises:
            ScheduleConflict: ``group["lr"]`` was edited while a Schedule drives it.
            PlanChanged: A parameter changed its shape, or its state does not fit it.
            UnsupportedTensor: A gradient that is sparse or does not fit its parameter.
        """
        if (
            self._optimizer_step_pre_hooks
            or self._optimizer_step_post_hooks
            or _global_pre_hooks
            or _global_post_hooks
            or _profiler_enabled()
        ):
            return _step_with_hooks(self, closure, tokens=tokens)
        return self._step(closure, tokens=tokens)

    # torch wraps `step` to run hooks and to name it in profiles, 6 us a call; the lines above do that only when needed.
    step.hooked = True  # type: ignore[attr-defined]

    def _step(self, closure: Callable[[], Any] | None = None, *, tokens: int | None = None) -> Any:
        loss = None
        if closure is not None:
            refuse_while_capturing(self.device, "step with a closure")
            with torch.enable_grad():
                loss = closure()
        if self._swapped:
            raise InvalidArgument("AdamW: step: the parameters hold their averages: leave ema_weights() first")
        plan = self._plan
        if (
            plan is None
            or plan.state is not self.state
            or plan.n_state != len(self.state)
            or plan.n_groups != len(self.param_groups)
            or (plan.shards is not None and plan.shards.moved())
        ):
            plan = self._rebuild()
        if tokens is None:
            if plan.needs_tokens and not self._stands_still(plan):
                raise InvalidArgument(
                    "AdamW: step: a Schedule counts tokens: call step(tokens=n) with the tokens of this update"
                )
            tokens = 0
        try:
            # GradScaler passes its tensors as attributes and deletes them again.
            given = self.__dict__
            gradients = None if plan.shards is None else plan.shards.gradients()
            flags = plan.step(gradients, tokens, given.get("grad_scale"), given.get("found_inf"))
            if flags >= Flag.NO_GRADIENT:
                self._step_after_mending(Flag(flags), tokens)
        except (BufferError, RuntimeError, TypeError, ValueError):
            self._explain_gradients()
            raise
        return loss

    def _stands_still(self, plan: Plan) -> bool:
        """Whether every learning rate was set to 0.0 from outside, as torch.distributed.checkpoint does to create state."""
        return all(
            float(group["lr"]) == 0.0 and group["lr"] is not plan.native.published(g, 0)
            for g, group in enumerate(self.param_groups)
        )

    def _step_after_mending(self, flags: Flag, tokens: int) -> None:
        """Does what the gather asked for and steps again."""
        for _ in range(3):
            plan = self._plan
            if plan is None or flags & (Flag.STALE | Flag.NEW_GRADIENT):
                plan = self._rebuild()
            elif flags & Flag.NO_GRADIENT:
                return
            if flags & Flag.GRADIENT_MISMATCH:
                self._explain_gradients()
            gradients = None if plan.shards is None else plan.shards.gradients()
            if flags & Flag.GRADIENT_LAYOUT:
                own = gradients or [None] * len(plan.params)
                found = [p.grad if g is None else g for p, g in zip(plan.locals, own, strict=True)]
                gradients = [
                    g if g is None or g.stride() == p.stride() else torch.empty_like(p).copy_(g)
                    for p, g in zip(plan.locals, found, strict=True)
                ]
            given = self.__dict__
            flags = Flag(plan.step(gradients, tokens, given.get("grad_scale"), given.get("found_inf")))
            if flags < Flag.NO_GRADIENT:
                if self.zero_grad_in_step and gradients is not None:
                    zero_gradients([p for p, copy in zip(plan.params, gradients, strict=True) if copy is not None])
                return
        raise UnsupportedTensor(f"AdamW: step: the gradients could not be made to fit their parameters ({flags!r})")

    def _explain_gradients(self) -> None:
        """Raises for the first gradient that no backend steps; returns when there is none."""
        for g, i, p in each_param(self.param_groups):
            grad = p.grad
            if grad is None:
                continue
            where = param_name(self.param_groups, g, i)
            if grad.layout is not torch.strided:
                raise UnsupportedTensor(f"AdamW: {where}: expected a dense (strided) gradient, got layout {grad.layout}")
            if grad.dtype != p.dtype or grad.shape != p.shape or grad.device != p.device:
                raise UnsupportedTensor(
                    f"AdamW: {where}: expected a gradient of {p.dtype} on {p.device} with shape {tuple(p.shape)}, got "
                    f"{grad.dtype} on {grad.device} with shape {tuple(grad.shape)}"
                )

    def _rebuild(self) -> Plan:
        self._refuse_under_capture("a rebuild of the plan")
        refuse_while_capturing(
            self.device,
            "the first step, or one that finds a new gradient or moved tensors,",
            "take a step with all gradients before the capture",
        )
        self._keep_counts()
        _ = self.tables
        self._plan = None
        self._plan = Plan(self, self._counts, self.starts)
        return self._plan

    def _keep_counts(self) -> None:
        plan = self._plan
        if plan is None:
            return
        self._counts = plan.counts()
        self.starts = self.exact_starts()
        for g, keys in enumerate(self.schedules[: plan.n_groups]):
            for which, key in enumerate(SCHEDULED):
                if key in keys:
                    self.written[g][key] = plan.native.published(g, which)

    @_outside_compiled_graphs
    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops all gradients, or fills them with zeros in place when `set_to_none` is False; as torch does."""
        plan = self._plan
        quick = plan is not None and plan.shards is None and plan.n_groups == len(self.param_groups)
        if plan is not None and quick and set_to_none and not _profiler_enabled():
            self._refuse_under_capture("zero_grad(set_to_none=True)")
            plan.native.zero_grad()
            return
        super().zero_grad(set_to_none)

    def as_lr_scheduler(self, on_conflict: str = "error") -> DrivenLR:
        """This optimizer's Schedule in the shape of a torch scheduler, for HF Trainer, accelerate and Lightning.

        Its ``step`` does nothing; see docs/frameworks.md.

        Args:
            on_conflict: "error" or "checkpoint": what loading does when a checkpoint has another schedule than this optimizer.
        """
        return DrivenLR(self, on_conflict)


def _beginning(value: Any) -> Any:
    """A value, or a pair of them, with the first one of a Schedule in its place."""
    if isinstance(value, Schedule):
        return value(0)
    return tuple(map(_beginning, value)) if isinstance(value, (tuple, list)) else value


# The path of a step that has hooks or is profiled, made once.
_step_with_hooks = torch.optim.Optimizer.profile_hook_step(AdamW._step)
