"""The triton backend of ensemble_mlp: within the derived bound of the exact values, forward and backward, on odd sizes.

Without a GPU the kernels run in Triton's interpreter; what that cannot show is in test_triton_compiled.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from ensemble_cases import Walk, clear_of_kinks, ensemble, flat, moved, rows_of
from rounding import Rounded, check, rounded_products
from triton_device import DEVICE, INTERPRETED, here, still

from rewarm.errors import InvalidArgument
from rewarm.q import ensemble_mlp, ensemble_mlp_triton, ensemble_shape_triton

EPS = 1e-6


@dataclass
class Case:
    """One call: sizes (`s` None = no seeds axis, `n` 0 = no axis N) and how its ensemble looks."""

    s: int | None = None
    e: int = 3
    b: int = 5
    d: int = 4
    a: int = 2
    n: int = 0
    hidden: tuple[int, ...] = (18, 7)
    outputs: int | None = None
    norms: tuple[bool, ...] | bool = True
    index: tuple | None = None
    own_x: bool = False  # every critic has an x of its own
    firm: bool = False  # no pre-activation is near 0: gamma is small and beta is not

    def build(self):
        """x, actions, layers, head, index, and the walk through the drawn critics, in float64."""
        layers, head = ensemble(self.s, self.e, self.d + self.a, self.hidden, self.outputs)
        norms = (self.norms,) * len(layers) if isinstance(self.norms, bool) else self.norms
        layers = [layer if norm else layer[:2] for layer, norm in zip(layers, norms, strict=True)]
        if self.firm:
            assert all(h <= 17 for h in self.hidden)  # |n| <= sqrt(16)
            layers = [(w, b, g.clamp(-0.2, 0.2), torch.where(c < 0, -1.0, 1.0)) for w, b, g, c in layers]
        lead = () if self.s is None else (self.s,)
        axis = len(lead)
        index = None if self.index is None else torch.tensor(self.index)
        drawn = layers, head
        if index is not None:
            drawn = moved(layers, head, lambda p: p[index] if axis == 0 else torch.stack([p[k][index[k]] for k in range(self.s)]))
        critics = (drawn[1][0].shape[axis],) if self.own_x else ()

        def make():
            x = torch.randn(*lead, *critics, self.b, self.d)
            return x, torch.randn(*lead, self.b, *([self.n] if self.n else []), self.a) if self.a else None

        least = 0.0 if self.firm else 1e-3
        x, actions, walk = clear_of_kinks(make, *drawn, axis, EPS, least)
        return x, actions, layers, head, index, walk


def expected(case: Case, walk: Walk, g, index, layers, head):
    """Exact gradients with bounds: x, actions, parameters."""
    axis = 0 if case.s is None else 1
    rows, drawn = walk.backward(g)
    of_input = Rounded(*(t.unflatten(-2, (case.b, max(case.n, 1))) for t in (rows.v, rows.e)))
    of_x, of_actions = of_input[..., : case.d].sum(-2), of_input[..., case.d :]
    if not case.own_x:
        of_x = of_x.sum(axis)
    of_actions = of_actions.sum(axis)
    if not case.n:
        of_actions = of_actions[..., 0, :]
    if index is None:
        return of_x, of_actions, drawn
    dense = []
    for p, part in zip(flat(layers, head), drawn, strict=True):
        total = Rounded.exact(torch.zeros(p.shape))
        for place in [(k, m) for k in range(case.s or 1) for m in range(index.shape[-1])]:
            seed, m = place
            target = (index[m],) if axis == 0 else (seed, index[seed, m])
            source = (m,) if axis == 0 else place
            # A term of the sum of a critic that is drawn several times meets that many times the additions.
            times = int((index[seed] if axis else index).eq(target[-1]).sum())
            total.v[target] += part.v[source]
            total.e[target] += times * part.e[source]
        dense.append(total)
    return of_x, of_actions, dense


def run(x, actions, layers, head, index, g=None, **options):
    """q, and the gradients of x, actions and all parameters for the gradient `g` of q."""
    layers, head = moved(layers, head, here)
    x, actions = here(x), here(actions)
    q = ensemble_mlp(x, layers, head, actions=actions, index=still(index), eps=EPS, backend="triton", **options)
    if g is None:
        return q.detach()
    q.backward(still(g).reshape(q.shape))
    return q.detach(), x.grad, None if actions is None else actions.grad, [p.grad for p in flat(layers, head)]


def check_case(case: Case, unit: float = 0.0, **options):
    with rounded_products(unit):
        x, actions, layers, head, index, walk = case.build()
        g = torch.randn(walk.q.v.shape)
        q, of_x, of_actions, of_parameters = run(x, actions, layers, head, index, g, **options)
        check(q.reshape(walk.q.v.shape), walk.q, "q")
        exact_x, exact_actions, exact_parameters = expected(case, walk, g, index, layers, head)
        check(of_x, exact_x, "x")
        if case.a:
            check(of_actions, exact_actions, "actions")
        for i, (found, exact) in enumerate(zip(of_parameters, exact_parameters, strict=True)):
            check(found, exact, f"parameter {i}")


CASES = {
    "one_of_all": Case(s=1, e=1, b=1, d=1, a=1, hidden=(1,)),
    "no_actions": Case(a=0, hidden=(17,)),
    "seeds_n_actions_duplicates": Case(s=2, n=3, index=((2, 0, 2), (1, 1, 1))),
    "all_drawn": Case(index=(1, 2, 0)),
    "one_drawn": Case(s=2, index=((2,), (0,))),
    "own_x_drawn": Case(s=2, n=2, index=((1, 1), (0, 2)), own_x=True),
    "wide_head": Case(s=2, e=1, a=0, outputs=5),
    "wide_head_drawn": Case(n=2, outputs=3, index=(2, 2)),
    "no_layer_norm": Case(norms=False),
    "some_layer_norm": Case(s=1, hidden=(9, 16, 5), norms=(True, False, True), own_x=True),
    "past_a_tile": Case(e=2, b=33, d=60, a=7, hidden=(70,), firm=False),
    "many_tiles": Case(e=1, b=1030, d=3, a=1, hidden=(16,), firm=True),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_values_and_gradients_are_within_the_derived_bound(case):
    check_case(case)


@pytest.mark.parametrize(("precision", "bits"), [("tf32", 11 if INTERPRETED else 10), ("bf16", 8)])
def test_reduced_precision_rounds_the_inputs_of_products_alone(precision, bits):
    # The tensor cores of GPUs cut the last bits of tf32 off, where the interpreter rounds.
    check_case(Case(s=2, e=2, hidden=(17, 16), index=((1, 0, 1), (0, 0, 1)), firm=True), 2.0**-bits, precision=precision)


@pytest.mark.parametrize("chunk", [1, 10**9])
def test_recompute_in_chunks_of_rows(chunk, monkeypatch):
    monkeypatch.setattr(ensemble_shape_triton, "CHUNK_ACTIVATIONS", chunk)
    check_case(Case(s=2, e=2, b=35, n=2, hidden=(16,), index=((0, 0), (1, 0)), firm=True), recompute=True)


def test_recompute_and_no_grad_give_the_same_bits():
    case = Case(s=2, n=2, index=((2, 0), (1, 1)))
    x, actions, layers, head, index, walk = case.build()
    g = torch.randn(walk.q.v.shape)
    kept, again = (run(x, actions, layers, head, index, g, recompute=r) for r in (False, True))
    for a, b in zip([*kept[:3], *kept[3]], [*again[:3], *again[3]], strict=True):
        assert torch.equal(a, b)
    with torch.no_grad():
        assert torch.equal(kept[0], run(x, actions, layers, head, index))


def test_a_seed_of_a_stack_and_a_critic_of_a_draw_do_not_depend_on_the_others():
    case = Case(s=3, index=((2, 0), (1, 1), (0, 2)))
    x, actions, layers, head, index, walk = case.build()
    g = torch.randn(walk.q.v.shape)
    stack = run(x, actions, layers, head, index, g)
    for k in range(3):
        alone = run(x[k], actions[k], *moved(layers, head, lambda p, k=k: p[k]), index[k], g[k])
        for a, b in zip([*stack[:3], *stack[3]], [*alone[:3], *alone[3]], strict=True):
            assert torch.equal(a[k], b)
    every = run(x, actions, layers, head, None)
    assert torch.equal(stack[0], torch.stack([every[k, index[k]] for k in range(3)]))


def test_seeds_share_one_batch_without_a_copy():
    case = Case(s=2)
    x, actions, layers, head, _, _ = case.build()
    own = still(x[0]).requires_grad_()
    (layers, head), actions = moved(layers, head, here), still(actions)
    shared = ensemble_mlp(own.expand(2, -1, -1), layers, head, actions=actions, backend="triton")
    copied = ensemble_mlp(own.expand(2, -1, -1).contiguous(), layers, head, actions=actions, backend="triton")
    assert torch.equal(shared, copied)
    assert torch.equal(*(torch.autograd.grad(q.sum(), own)[0] for q in (shared, copied)))


def test_only_what_is_asked_for_gets_a_gradient():
    x, actions, layers, head, _, _ = Case().build()
    layers, head = moved(layers, head, still)
    x, actions = still(x), here(actions)
    q = ensemble_mlp(x, layers, head, actions=actions, backend="triton")
    q.sum().backward()
    of_actions = actions.grad
    layers[0][0].requires_grad_()
    actions = actions.detach()
    ensemble_mlp(x, layers, head, actions=actions, backend="triton").sum().backward()
    whole = [*moved(layers, head, here), here(x), here(actions)]
    ensemble_mlp(whole[2], whole[0], whole[1], actions=whole[3], backend="triton").sum().backward()
    assert torch.equal(of_actions, whole[3].grad)
    assert torch.equal(layers[0][0].grad, whole[0][0][0].grad)
    assert layers[0][1].grad is None


def test_nan_passes_through_relu_and_stays_in_its_row():
    x, actions, layers, head, _, _ = Case(norms=(True, False)).build()
    x[2, 1] = torch.nan
    q = run(x, actions, layers, head, None)
    assert q[:, 2].isnan().all()
    assert not q[:, [0, 1, 3, 4]].isnan().any()
    layers[1][1][1] = -torch.inf  # relu makes 0 of it, not NaN
    layers[1][0][2] = torch.nan
    q = run(x.nan_to_num(), actions, layers, head, None)
    assert not q[:2].isnan().any()
    assert q[2].isnan().all()


def test_an_index_outside_gives_nan_and_no_gradient():
    x, actions, layers, head, _, _ = Case().build()
    (layers, head), x, actions = moved(layers, head, here), here(x), here(actions)
    for index in ([1, 3], [-1, 1]):
        q = ensemble_mlp_triton.ensemble_mlp(x, layers, head, actions=actions, index=still(torch.tensor(index)))
        known = index.index(1)
        assert q[1 - known].isnan().all()
        grads = torch.autograd.grad(q.sum(), [x, actions, *flat(layers, head)])
        alone = ensemble_mlp(x, layers, head, actions=actions, index=still(torch.tensor([1])), backend="triton")
        assert torch.equal(q[known], alone[0])
        for a, b in zip(grads, torch.autograd.grad(alone.sum(), [x, actions, *flat(layers, head)]), strict=True):
            assert torch.equal(a, b)


def test_a_layer_that_is_too_wide_is_refused():
    layers, head = moved(*ensemble(None, 1, 2, (1025,)), still)
    with pytest.raises(InvalidArgument, match=r"layers\[0\]: .* up to 1024 units, got 1025"):
        ensemble_mlp(torch.zeros(1, 2, device=DEVICE), layers, head, backend="triton")


# ---- on a GPU: the sizes that the tiles were made for ------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize(
    "case",
    [
        Case(s=2, e=10, b=256, d=29, a=8, hidden=(16, 17), firm=True),
        Case(e=2, b=64, n=30, d=29, a=8, hidden=(16,) * 4, index=(0, 1), firm=True),
    ],
    ids=["critics", "penalty"],
)
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_many_rows(case, precision):
    check_case(case, {"fp32": 0.0, "tf32": 2.0**-10, "bf16": 2.0**-8}[precision], precision=precision)


@pytest.mark.gpu
@pytest.mark.parametrize("hidden", [(256, 256), (512, 512, 512), (1000,)], ids=str)
@pytest.mark.parametrize("rows", [256, 2000])
def test_wide_layers_forward(hidden, rows):
    layers, head = ensemble(None, 2, 37, hidden)
    x = torch.randn(rows, 37)
    walk = Walk(rows_of(x, None, 0).double(), *moved(layers, head, torch.Tensor.double), EPS)
    check(run(x, None, layers, head, None), walk.q, "q")


@pytest.mark.gpu
@pytest.mark.parametrize("recompute", [False, True])
def test_a_captured_graph_follows_new_parameters_and_a_new_index(recompute):
    x, actions, layers, head, index, _ = Case(s=2, e=4, b=64, index=((0, 1), (2, 2))).build()
    (layers, head), x, actions, index = moved(layers, head, here), here(x), here(actions), still(index)
    leaves = [x, actions, *flat(layers, head)]

    def step():
        q = ensemble_mlp(x, layers, head, actions=actions, index=index, recompute=recompute, backend="triton")
        return q, torch.autograd.grad(q.square().sum(), leaves)

    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    with torch.no_grad():
        for p in leaves:
            p.mul_(0.9)
        index.copy_(3 - index)
    graph.replay()
    eager = step()
    assert torch.equal(captured[0], eager[0])
    assert all(torch.equal(a, b) for a, b in zip(captured[1], eager[1], strict=True))
