"""The triton backend of ensemble_mlp: within the bounds of test_ensemble_mlp.py; its tiles, chunks and precisions."""

from __future__ import annotations

import pytest
import torch
from ensemble_cases import Walk, ensemble, flat, moved, rows_of
from rounding import check, rounded_products
from test_ensemble_mlp import Case, gradient_for, laws
from triton_device import DEVICE, INTERPRETED

from rewarm.errors import InvalidArgument
from rewarm.q import ensemble_mlp, ensemble_mlp_triton, ensemble_shape_triton
from rewarm.q import ensemble_mlp_reference as reference

# As test_ensemble_mlp.CASES: S, E, B, D, A, N, hidden, O, M, LayerNorm, x a critic's own
CASES = {
    "smallest": (1, 1, 1, 1, None, None, (1,), None, None, True, False),
    "stack_actions_duplicates": (2, 2, 3, 4, 2, 3, (18, 7), None, 3, True, False),
    "past_a_tile": (None, 2, 33, 60, 7, None, (70,), None, None, True, False),
    "three_layers": (None, 1, 2, 3, 2, None, (9, 16, 5), None, 1, True, False),
    "actor": (2, 1, 3, 6, None, None, (16,), 4, None, True, False),
    "outputs_of_many_actions": (None, 2, 2, 4, 2, 3, (8,), 5, 3, True, False),
    "own_inputs": (2, 2, 2, 4, 1, 2, (9,), None, 2, True, True),
    "no_layer_norm": (None, 2, 3, 5, 2, None, (8, 8), None, 2, False, False),
}


def check_case(case: Case, **options):
    g = gradient_for(case)
    exact_q, exact_gradients = laws(case, g)
    q, gradients = case.run("triton", DEVICE, g, **options)
    check(q, exact_q, "q")
    for i, (found, exact) in enumerate(zip(gradients, exact_gradients, strict=True)):
        check(found, exact, f"gradient {i}")


def assert_same_bits(one, other):
    assert torch.equal(one[0], other[0])
    assert all(torch.equal(a, b) for a, b in zip(one[1], other[1], strict=True))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_values_and_gradients_are_within_the_bound_that_was_computed_along(case):
    check_case(Case(case))


def firm(size: tuple, unit: float = 0.0) -> Case:
    """A case in which no pre-activation comes near 0: |n| <= sqrt(H - 1), gamma at most 0.2, beta 1 or -1.

    With `unit`, the relative error of every input of a product. Where that is large, gamma is smaller: the bound is one of the
    worst case and multiplies from layer to layer.
    """
    assert max(size[6]) <= 17
    case = Case(size, clear=False)
    most = 0.2 if unit < 2.0**-9 else 0.01
    case.layers = [(w, b, g.clamp(-most, most), torch.where(c < 0, -1.0, 1.0)) for w, b, g, c in case.layers]
    axis = case.layers[0][0].ndim - 3
    drawn = moved(case.layers, case.head, lambda p: ensemble_of(p, case.index, axis).double())
    with rounded_products(unit):
        case.walk = Walk(rows_of(case.x, case.actions, axis).double(), *drawn, case.eps)
    assert all((y.v.abs() > y.e).all() for y in case.walk.pre)
    return case


def ensemble_of(p, index, axis):
    """The drawn critics' part of a parameter."""
    if index is None:
        return p
    return torch.stack([q[i] for q, i in zip(p, index, strict=True)]) if axis else p[index]


@pytest.mark.parametrize(("precision", "bits"), [("tf32", 11 if INTERPRETED else 10), ("bf16", 8)])
def test_reduced_precision_rounds_the_inputs_of_products_alone(precision, bits):
    # The tensor cores of GPUs cut the last bits off, where the interpreter rounds.
    case = firm((1, 2, 3, 4, 2, None, (17, 16), None, 3, True, False), 2.0**-bits)
    with rounded_products(2.0**-bits):
        check_case(case, precision=precision)
    q = case.run("triton", DEVICE, precision=precision)[0]
    full = case.run("triton", DEVICE)[0]
    assert (q - full).abs().max() > 2.0 ** -(bits + 6) * full.abs().max(), "nothing was rounded"


def test_many_rows_have_larger_tiles_and_many_sums(monkeypatch):
    monkeypatch.setattr(ensemble_shape_triton, "MANY_ROWS", 40)
    monkeypatch.setitem(ensemble_shape_triton.WEIGHT_BLOCKS, "BLOCK_T", 2)
    check_case(firm((None, 1, 65, 3, 1, 3, (16,), None, None, True, False)))


def test_recompute_in_chunks_of_rows(monkeypatch):
    monkeypatch.setattr(ensemble_shape_triton, "CHUNK_ACTIVATIONS", 1)
    check_case(firm((None, 2, 17, 3, 1, 2, (16,), None, 2, True, False)), recompute=True)


def test_recompute_and_no_grad_change_no_bit():
    case = Case((1, 2, 3, 4, 2, 2, (18, 7), None, 2, True, False))
    g = gradient_for(case)
    kept = case.run("triton", DEVICE, g)
    assert_same_bits(kept, case.run("triton", DEVICE, g, recompute=True))
    with torch.no_grad():
        assert torch.equal(kept[0], case.run("triton", DEVICE)[0])


def test_a_seed_of_a_stack_and_a_critic_of_a_draw_do_not_depend_on_the_others():
    case = Case((2, 3, 2, 4, 2, None, (18, 7), None, 2, True, False))
    g = gradient_for(case)
    stack = case.run("triton", DEVICE, g)
    index, whole = case.index, case.__dict__.copy()
    for s in range(2):
        case.x, case.actions, case.index = whole["x"][s], whole["actions"][s], index[s]
        case.layers, case.head = moved(whole["layers"], whole["head"], lambda p, s=s: p[s])
        assert_same_bits([stack[0][s], [t[s] for t in stack[1]]], case.run("triton", DEVICE, g[s]))
        case.index = None
        assert torch.equal(stack[0][s], case.run("triton", DEVICE)[0][index[s].to(DEVICE)])


def test_one_batch_for_all_seeds_is_read_where_it_is():
    case = Case((2, 2, 3, 4, 2, None, (18,), None, None, True, False), shared=True)
    assert case.x.stride(0) == 0
    layers, head = moved(case.layers, case.head, lambda p: p.to(DEVICE))
    x, actions = case.x[0].to(DEVICE).requires_grad_(), case.actions.to(DEVICE)
    results = []
    for shown in (x.expand(case.x.shape), x.repeat(2, 1, 1)):
        q = ensemble_mlp(shown, layers, head, actions=actions, backend="triton")
        results.append((q, torch.autograd.grad(q.sum(), x)))
    assert_same_bits(*results)


def test_only_what_asks_gets_a_gradient():
    layers, head = ensemble(None, 2, 5, (8,), device=DEVICE)
    x, actions = torch.randn(4, 3, device=DEVICE), torch.randn(4, 2, device=DEVICE)

    def gradients(*leaves):
        for t in leaves:
            t.requires_grad_()
        q = ensemble_mlp(x, layers, head, actions=actions, backend="triton")
        found = torch.autograd.grad(q.sum(), leaves)
        for t in leaves:
            t.requires_grad_(False)
        return found

    everything = gradients(actions, layers[0][0], x)
    assert torch.equal(gradients(actions)[0], everything[0])
    assert torch.equal(gradients(layers[0][0])[0], everything[1])
    assert torch.equal(gradients(x)[0], everything[2])


def test_nan_passes_relu_and_stays_in_its_row():
    layers, head = ensemble(None, 2, 5, (17, 9), norm=False, device=DEVICE)
    layers[0] = (*layers[0], *(torch.ones(2, 17, device=DEVICE) for _ in range(2)))  # LayerNorm in one layer of two
    x = torch.randn(4, 5, device=DEVICE)
    x[2, 1] = torch.nan
    q = ensemble_mlp(x, layers, head, backend="triton")
    assert q.isnan().tolist() == [[False, False, True, False]] * 2
    layers[1][1][0, 8] = torch.nan  # one unit of the first critic
    layers[1][1][1, 8] = -torch.inf  # relu makes 0 of it, not NaN
    q = ensemble_mlp(x.nan_to_num(), layers, head, backend="triton")
    assert q.isnan().all(1).tolist() == [True, False]
    assert q[1].isfinite().all()


def test_an_index_outside_gives_nan_and_no_gradient():
    layers, head = moved(*ensemble(None, 3, 5, (8,), device=DEVICE), lambda p: p.requires_grad_())
    x = torch.randn(4, 5, device=DEVICE, requires_grad=True)
    leaves = [x, *flat(layers, head)]

    def run(*index):
        q = ensemble_mlp_triton.ensemble_mlp(x, layers, head, index=torch.tensor(index, device=DEVICE))
        return q, torch.autograd.grad(q.sum(), leaves)

    q, gradients = run(-1, 1, 3)
    assert q[[0, 2]].isnan().all()
    assert_same_bits((q[1:2], gradients), run(1))


def test_a_layer_that_is_too_wide_is_refused():
    layers, head = ensemble(None, 1, 2, (1025,), device=DEVICE)
    with pytest.raises(InvalidArgument, match=r"layers\[0\]: .* up to 1024 units, got 1025"):
        ensemble_mlp(torch.zeros(1, 2, device=DEVICE), layers, head, backend="triton")


# ---- on a GPU: the sizes that the tiles were made for ------------------------------------------------------------------

LARGE = {
    "critics": (2, 10, 256, 29, 8, None, (16, 17), None, 2, True, False),
    "penalty": (None, 2, 64, 29, 8, 30, (16,) * 4, None, 2, True, False),
}


@pytest.mark.gpu
@pytest.mark.parametrize("case", LARGE.values(), ids=LARGE)
@pytest.mark.parametrize(("precision", "unit"), [("fp32", 0.0), ("tf32", 2.0**-10), ("bf16", 2.0**-8)])
def test_many_rows(case, precision, unit):
    case = firm(case, unit)
    with rounded_products(unit):
        check_case(case, precision=precision)


@pytest.mark.gpu
@pytest.mark.parametrize("hidden", [(256, 256), (512, 512, 512), (1000,)], ids=str)
@pytest.mark.parametrize("rows", [256, 2000])
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_wide_layers(hidden, rows, precision):
    """Values within their bound; gradients run, and the same twice (their bounds are tried where no mask can turn).

    In tf32 and bf16 the worst case of so wide a LayerNorm is no bound any more. There the largest error may be 4 times that of
    the reference, which rounds the same inputs and adds in another order.
    """
    layers, head = ensemble(None, 2, 37, hidden)
    x = torch.randn(rows, 37)
    law = moved(layers, head, torch.Tensor.double)
    exact = reference.ensemble_mlp(x.double(), *law)
    emulated = reference.ensemble_mlp(x, layers, head, precision=precision)
    layers, head = moved(layers, head, lambda p: p.cuda().requires_grad_())
    x = x.cuda().requires_grad_()
    runs = []
    for _ in range(2):
        q = ensemble_mlp(x, layers, head, precision=precision, backend="triton")
        runs.append((q, torch.autograd.grad(q.square().sum(), [x, *flat(layers, head)])))
    if precision == "fp32":
        check(runs[0][0], Walk(rows_of(x.detach().cpu(), None, 0).double(), *law, 1e-6).q, "q")
    error, theirs = ((q.detach().cpu().double() - exact).abs().max() for q in (runs[0][0], emulated))
    assert error <= 4 * theirs, (error, theirs)
    assert_same_bits(*runs)
    assert all(t.isfinite().all() for t in runs[0][1])


@pytest.mark.gpu
@pytest.mark.parametrize("recompute", [False, True])
def test_a_captured_graph_follows_new_parameters_and_a_new_index(recompute):
    case = Case((2, 4, 64, 5, 2, None, (33, 16), None, 2, True, False))
    leaves = [t.cuda().requires_grad_() for t in (case.x, case.actions, *flat(case.layers, case.head))]
    case.index = case.index.cuda()

    def step():
        q = case.call(leaves, "triton", "cuda", recompute=recompute)
        return q, torch.autograd.grad(q.square().sum(), leaves)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
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
        case.index.copy_(3 - case.index)
    graph.replay()
    assert_same_bits(captured, step())
