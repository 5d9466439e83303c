"""torch.library registration of the ops that torch.compile may not look into: rewarm::ensemble_mlp, ensemble_min, cql_penalty.

Only a compiled program comes through here; eager calls never pass through the dispatcher. A registered op runs the eager one,
with all its checks, when the program runs. Its backward runs the eager op again with a graph and walks back through it: a
registered op may keep nothing but tensors, and the backends keep what suits them. That costs one more forward than eager.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from rewarm.q import cql_penalty_reference, ensemble_min_reference, ensemble_mlp_reference

Parameters = list[Tensor]


def flat(layers: Sequence[Sequence[Tensor]], head: Sequence[Tensor]) -> tuple[Parameters, list[bool]]:
    """All parameters in one list, head last, and which layers have LayerNorm."""
    return [t for layer in (*layers, head) for t in layer], [len(layer) == 4 for layer in layers]


def nested(parameters: Parameters, norms: list[bool]) -> tuple[list[tuple[Tensor, ...]], tuple[Tensor, ...]]:
    """`flat` undone."""
    layers, at = [], 0
    for norm in norms:
        layers.append(tuple(parameters[at : at + (4 if norm else 2)]))
        at += 4 if norm else 2
    return layers, tuple(parameters[at:])


@contextlib.contextmanager
def recording() -> Iterator[None]:
    """A graph is recorded, although a registered op runs below autograd: there torch would leave views out of it in silence."""
    c: Any = torch._C  # there is no public way back above autograd
    include, exclude = c._dispatch_tls_local_include_set(), c._dispatch_tls_local_exclude_set()
    for key in (c.DispatchKey.AutogradFunctionality, c.DispatchKey.AutogradOther, c.DispatchKey.AutogradNestedTensor):
        exclude = exclude.remove(key)
    with c._ForceDispatchKeyGuard(include, exclude), torch.enable_grad():
        yield


def gradients(output: Tensor, gradient: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    """Gradients of those inputs that ask for one, each in memory of its own, as a registered op must return them."""
    found = torch.autograd.grad(output, [t for t in inputs if t.requires_grad], gradient)
    taken = {gradient.untyped_storage().data_ptr()}
    own = []
    for g in found:
        storage = g.untyped_storage()
        if storage.data_ptr() in taken or storage.nbytes() != g.numel() * g.element_size() or not g.is_contiguous():
            g = g.clone(memory_format=torch.contiguous_format)
        taken.add(g.untyped_storage().data_ptr())
        own.append(g)
    return own


def leaf(t: Tensor, needs: bool) -> Tensor:
    """`t` at the bottom of a new graph."""
    return t.detach().requires_grad_(needs)


def spread(found: list[Tensor], needs: list[bool]) -> list[Tensor | None]:
    """One entry for every input: its gradient, or None where none was asked for."""
    rest = iter(found)
    return [next(rest) if need else None for need in needs]


# ---- ensemble_mlp --------------------------------------------------------------------------------------------------------
_MLP = "Tensor x, Tensor[] parameters, bool[] norms, Tensor? actions, Tensor? index, float eps, str precision"


@torch.library.custom_op("rewarm::ensemble_mlp", mutates_args=(), schema=f"({_MLP}, bool recompute, str? backend) -> Tensor")
def _mlp(
    x: Tensor,
    parameters: Parameters,
    norms: list[bool],
    actions: Tensor | None,
    index: Tensor | None,
    eps: float,
    precision: str,
    recompute: bool,
    backend: str | None,
) -> Tensor:
    from rewarm.q.ensemble_mlp import ensemble_mlp

    layers, head = nested(parameters, norms)
    with torch.no_grad():
        return ensemble_mlp(x, layers, head, actions=actions, index=index, eps=eps, precision=precision, backend=backend)


@_mlp.register_fake
def _(x: Tensor, parameters: Parameters, norms: list[bool], actions: Any, index: Any, *_rest: Any) -> Tensor:
    has_seeds = parameters[0].ndim == 4
    critics = parameters[0].shape[has_seeds] if index is None else index.shape[-1]
    shape = [*parameters[0].shape[:has_seeds], critics, x.shape[-2]]
    if actions is not None and actions.ndim == 3 + has_seeds:
        shape.append(actions.shape[-2])
    if parameters[-2].ndim == 3 + has_seeds:
        shape.append(parameters[-2].shape[-1])
    return x.new_empty(shape)


@torch.library.custom_op(
    "rewarm::ensemble_mlp_backward",
    mutates_args=(),
    schema=f"(Tensor gradient, {_MLP}, bool recompute, str? backend, bool[] needs) -> Tensor[]",
)
def _mlp_backward(
    gradient: Tensor,
    x: Tensor,
    parameters: Parameters,
    norms: list[bool],
    actions: Tensor | None,
    index: Tensor | None,
    eps: float,
    precision: str,
    recompute: bool,
    backend: str | None,
    needs: list[bool],
) -> list[Tensor]:
    """Gradients of x, actions and the parameters, of those that `needs` asks for."""
    from rewarm.q.ensemble_mlp import ensemble_mlp

    with recording():
        x = leaf(x, needs[0])
        actions = None if actions is None else leaf(actions, needs[1])
        parameters = [leaf(p, need) for p, need in zip(parameters, needs[2:], strict=True)]
        layers, head = nested(parameters, norms)
        q = ensemble_mlp(
            x,
            layers,
            head,
            actions=actions,
            index=index,
            eps=eps,
            precision=precision,
            recompute=recompute,
            backend=backend,
        )
        return gradients(q, gradient, [x, *([] if actions is None else [actions]), *parameters])


@_mlp_backward.register_fake
def _(
    gradient: Tensor,
    x: Tensor,
    parameters: Parameters,
    norms: list[bool],
    actions: Tensor | None,
    index: Any,
    eps: float,
    precision: str,
    recompute: bool,
    backend: Any,
    needs: list[bool],
) -> list[Tensor]:
    inputs = [x, actions, *parameters]
    return [t.new_empty(t.shape) for t, need in zip(inputs, needs, strict=True) if need and t is not None]


def _mlp_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, parameters, ctx.norms, actions, index, *ctx.rest = inputs
    ctx.has = actions is not None, index is not None
    ctx.save_for_backward(x, *(t for t in (actions, index) if t is not None), *parameters)


def _mlp_gradients(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    x, *saved = ctx.saved_tensors
    actions = saved.pop(0) if ctx.has[0] else None
    index = saved.pop(0) if ctx.has[1] else None
    needs_x, needs_parameters, _, needs_actions, *_ = ctx.needs_input_grad
    wanted = list(needs_parameters) if isinstance(needs_parameters, (list, tuple)) else [bool(needs_parameters)] * len(saved)
    needs = [needs_x, needs_actions, *wanted]
    found = torch.ops.rewarm.ensemble_mlp_backward(gradient.contiguous(), x, saved, ctx.norms, actions, index, *ctx.rest, needs)
    of_x, of_actions, *of_parameters = spread(found, needs)
    return of_x, of_parameters, None, of_actions, None, None, None, None, None


torch.library.register_autograd("rewarm::ensemble_mlp", _mlp_gradients, setup_context=_mlp_context)


def call_mlp(
    x: Tensor,
    layers: Sequence[Sequence[Tensor]],
    head: Sequence[Tensor],
    actions: Tensor | None,
    index: Tensor | None,
    eps: float,
    precision: str,
    recompute: bool,
    backend: str | None,
) -> Tensor:
    """`ensemble_mlp` inside a compiled program; the reference is plain torch and is traced."""
    if backend == "reference":
        return ensemble_mlp_reference.ensemble_mlp(
            x, [tuple(layer) for layer in layers], tuple(head), actions=actions, index=index, eps=eps, precision=precision
        )
    parameters, norms = flat(layers, head)
    q: Tensor = torch.ops.rewarm.ensemble_mlp(x, parameters, norms, actions, index, eps, precision, recompute, backend)
    return q


# ---- ensemble_min --------------------------------------------------------------------------------------------------------
_MIN = "Tensor x, Tensor[] parameters, bool[] norms, Tensor actions, float eps, str precision, str? backend"


@torch.library.custom_op("rewarm::ensemble_min", mutates_args=(), schema=f"({_MIN}) -> (Tensor, Tensor)")
def _min(
    x: Tensor, parameters: Parameters, norms: list[bool], actions: Tensor, eps: float, precision: str, backend: str | None
) -> tuple[Tensor, Tensor]:
    from rewarm.q.ensemble_min import ensemble_min

    layers, head = nested(parameters, norms)
    with torch.no_grad():
        return ensemble_min(x, layers, head, actions=actions, eps=eps, precision=precision, backend=backend)


@_min.register_fake
def _(x: Tensor, parameters: Parameters, norms: list[bool], actions: Tensor, *_rest: Any) -> tuple[Tensor, Tensor]:
    shape = actions.shape[:-1]
    return x.new_empty(shape), x.new_empty(shape, dtype=torch.int64)


@torch.library.custom_op(
    "rewarm::ensemble_min_backward", mutates_args=(), schema=f"(Tensor gradient, {_MIN}, bool[] needs) -> Tensor[]"
)
def _min_backward(
    gradient: Tensor,
    x: Tensor,
    parameters: Parameters,
    norms: list[bool],
    actions: Tensor,
    eps: float,
    precision: str,
    backend: str | None,
    needs: list[bool],
) -> list[Tensor]:
    """Gradients of x and actions, of those that `needs` asks for."""
    from rewarm.q.ensemble_min import ensemble_min

    layers, head = nested(parameters, norms)
    with recording():
        x, actions = leaf(x, needs[0]), leaf(actions, needs[1])
        q, _ = ensemble_min(x, layers, head, actions=actions, eps=eps, precision=precision, backend=backend)
        return gradients(q, gradient, [x, actions])


@_min_backward.register_fake
def _(
    gradient: Tensor,
    x: Tensor,
    parameters: Parameters,
    norms: list[bool],
    actions: Tensor,
    eps: float,
    precision: str,
    backend: Any,
    needs: list[bool],
) -> list[Tensor]:
    return [t.new_empty(t.shape) for t, need in zip((x, actions), needs, strict=True) if need]


def _min_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, parameters, ctx.norms, actions, *ctx.rest = inputs
    ctx.save_for_backward(x, actions, *parameters)


def _min_gradients(ctx: Any, gradient: Tensor, _of_critic: Any) -> tuple[Any, ...]:
    x, actions, *parameters = ctx.saved_tensors
    needs = [ctx.needs_input_grad[0], ctx.needs_input_grad[3]]
    found = torch.ops.rewarm.ensemble_min_backward(gradient.contiguous(), x, parameters, ctx.norms, actions, *ctx.rest, needs)
    of_x, of_actions = spread(found, needs)
    return of_x, [None] * len(parameters), None, of_actions, None, None, None


torch.library.register_autograd("rewarm::ensemble_min", _min_gradients, setup_context=_min_context)


def call_min(
    x: Tensor,
    layers: Sequence[Sequence[Tensor]],
    head: Sequence[Tensor],
    actions: Tensor,
    eps: float,
    precision: str,
    backend: str | None,
) -> tuple[Tensor, Tensor]:
    """`ensemble_min` inside a compiled program; the reference is plain torch and is traced."""
    if backend == "reference":
        return ensemble_min_reference.ensemble_min(
            x, [tuple(layer) for layer in layers], tuple(head), actions=actions, eps=eps, precision=precision
        )
    parameters, norms = flat([[p.detach() for p in layer] for layer in layers], [p.detach() for p in head])
    q_min, critic = torch.ops.rewarm.ensemble_min(x, parameters, norms, actions, eps, precision, backend)
    return q_min, critic


# ---- cql_penalty ---------------------------------------------------------------------------------------------------------
_PENALTY = (
    "Tensor q_sampled, Tensor q_data, Tensor? log_density, Tensor? mc_return, int n_random, bool bound_random, "
    "float temperature, str? backend"
)


@torch.library.custom_op("rewarm::cql_penalty", mutates_args=(), schema=f"({_PENALTY}) -> Tensor")
def _penalty(
    q_sampled: Tensor,
    q_data: Tensor,
    log_density: Tensor | None,
    mc_return: Tensor | None,
    n_random: int,
    bound_random: bool,
    temperature: float,
    backend: str | None,
) -> Tensor:
    from rewarm.q.cql_penalty import cql_penalty

    with torch.no_grad():
        return cql_penalty(
            q_sampled,
            q_data,
            log_density=log_density,
            mc_return=mc_return,
            n_random=n_random,
            bound_random=bound_random,
            temperature=temperature,
            backend=backend,
        )


@_penalty.register_fake
def _(q_sampled: Tensor, q_data: Tensor, *_rest: Any) -> Tensor:
    return q_data.new_empty(q_data.shape)


@torch.library.custom_op(
    "rewarm::cql_penalty_backward", mutates_args=(), schema=f"(Tensor gradient, {_PENALTY}) -> (Tensor, Tensor)"
)
def _penalty_backward(
    gradient: Tensor,
    q_sampled: Tensor,
    q_data: Tensor,
    log_density: Tensor | None,
    mc_return: Tensor | None,
    n_random: int,
    bound_random: bool,
    temperature: float,
    backend: str | None,
) -> tuple[Tensor, Tensor]:
    """Gradients of q_sampled and q_data."""
    from rewarm.q.cql_penalty import cql_penalty

    with recording():
        q_sampled, q_data = leaf(q_sampled, True), leaf(q_data, True)
        diff = cql_penalty(
            q_sampled,
            q_data,
            log_density=log_density,
            mc_return=mc_return,
            n_random=n_random,
            bound_random=bound_random,
            temperature=temperature,
            backend=backend,
        )
        of_sampled, of_data = gradients(diff, gradient, [q_sampled, q_data])
    return of_sampled, of_data


@_penalty_backward.register_fake
def _(gradient: Tensor, q_sampled: Tensor, q_data: Tensor, *_rest: Any) -> tuple[Tensor, Tensor]:
    return q_sampled.new_empty(q_sampled.shape), q_data.new_empty(q_data.shape)


def _penalty_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    q_sampled, q_data, log_density, mc_return, *ctx.rest = inputs
    ctx.has = log_density is not None, mc_return is not None
    ctx.save_for_backward(q_sampled, q_data, *(t for t in (log_density, mc_return) if t is not None))


def _penalty_gradients(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    q_sampled, q_data, *saved = ctx.saved_tensors
    log_density = saved.pop(0) if ctx.has[0] else None
    mc_return = saved.pop(0) if ctx.has[1] else None
    found = torch.ops.rewarm.cql_penalty_backward(gradient.contiguous(), q_sampled, q_data, log_density, mc_return, *ctx.rest)
    return (*found, None, None, None, None, None, None)


torch.library.register_autograd("rewarm::cql_penalty", _penalty_gradients, setup_context=_penalty_context)


def call_penalty(
    q_sampled: Tensor,
    q_data: Tensor,
    log_density: Tensor | None,
    mc_return: Tensor | None,
    n_random: int,
    bound_random: bool,
    temperature: float,
    backend: str | None,
) -> Tensor:
    """`cql_penalty` inside a compiled program; the reference is plain torch and is traced."""
    if backend == "reference":
        return cql_penalty_reference.cql_penalty(
            q_sampled,
            q_data,
            log_density=log_density,
            mc_return=mc_return,
            n_random=n_random,
            bound_random=bound_random,
            temperature=temperature,
        )
    diff: Tensor = torch.ops.rewarm.cql_penalty(
        q_sampled, q_data, log_density, mc_return, n_random, bound_random, temperature, backend
    )
    return diff
