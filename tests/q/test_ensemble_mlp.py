"""ensemble_mlp, forward and backward, against its float64 reference with error bounds that are computed along the way.

`Walk` (ensemble_cases.py) is a second, hand-written reference: its values are held against autograd of the first one, its
bounds against every backend present. The float32 reference takes part as a backend, so that the bounds themselves are tried.
"""

from __future__ import annotations

import copy

import pytest
import torch
from ensemble_cases import backends, clear_of_kinks, ensemble, flat, moved
from rounding import Rounded, check
from torch import Tensor

from rewarm.errors import BackendUnavailable, IndexOutOfRange, InvalidArgument, UnsupportedTensor
from rewarm.q import ensemble_mlp
from rewarm.q import ensemble_mlp_reference as reference

COMPILED = backends("ensemble_mlp")
EVERYWHERE = [("reference", "cpu"), *COMPILED]
everywhere = pytest.mark.parametrize(("backend", "device"), EVERYWHERE, ids=[b for b, _ in EVERYWHERE])
compiled = pytest.mark.parametrize(("backend", "device"), COMPILED, ids=[b for b, _ in COMPILED])

# name: S, E, B, D, A (None: no actions), N (None: [*S, B, A]), hidden, O, M (None: no index), LayerNorm, x a critic's own
CASES = {
    "smallest": (None, 1, 1, 1, None, None, (1,), None, None, False, False),
    "plain": (None, 3, 17, 5, 2, None, (13, 11), None, None, True, False),
    "wide": (None, 2, 31, 37, None, None, (64, 48), None, None, True, False),
    "primes": (2, 3, 7, 11, 3, None, (19, 23, 17), None, None, True, False),
    "one seed": (1, 2, 5, 3, 2, None, (8,), None, None, True, False),
    "many actions": (None, 3, 5, 4, 3, 10, (16, 16), None, 2, True, False),
    "stack of many actions": (2, 4, 3, 4, 2, 7, (12,), None, 3, True, False),
    "one action of many": (None, 2, 5, 4, 3, 1, (8, 8), None, None, True, False),
    "all critics drawn": (None, 3, 9, 5, 2, None, (16,), None, 3, True, False),
    "actor": (2, 1, 33, 6, None, None, (16, 16), 4, None, True, False),
    "one output": (None, 2, 9, 6, None, None, (8,), 1, None, True, False),
    "outputs of many actions": (None, 2, 3, 4, 2, 3, (8,), 5, 2, True, False),
    "own inputs": (2, 3, 5, 4, None, None, (9,), None, None, True, True),
    "own inputs and actions": (None, 3, 5, 4, 2, 3, (9,), None, 2, True, True),
    "without LayerNorm": (2, 3, 9, 5, 2, None, (8, 8), None, 2, False, False),
}
cases = pytest.mark.parametrize("case", CASES)


class Case:
    """One row of CASES made into float32 tensors away from the kinks, and what the float64 law says about them."""

    def __init__(self, name: str, eps: float = 1e-6, shared: bool = False, clear: bool = True):
        s, e, b, d, a, n, hidden, outputs, m, norm, own = CASES.get(name, name)
        lead = () if s is None or shared else (s,)
        axis = 0 if s is None else 1
        generator = torch.Generator().manual_seed(7)
        self.eps, self.index, self.name = eps, None, name
        self.layers, self.head = ensemble(s, e, d + (a or 0), hidden, outputs, norm)
        if m is not None:
            self.index = torch.randint(e, (*(() if s is None else (s,)), m), generator=generator)
            if m > 2:
                self.index[..., -1] = self.index[..., 0]  # a duplicate, whose gradients add up
        law = moved(self.layers, self.head, torch.Tensor.double)
        drawn = moved(*law, lambda p: reference.taken(p, self.index, axis))

        def make():
            x = torch.randn(*lead, *((m or e,) if own else ()), b, d)
            actions = None
            if a is not None:
                whole = () if s is None else (s,)
                actions = torch.randn(*whole, b, *(() if n is None else (n,)), a)
            return x, actions

        # Whoever makes a kink impossible by other parameters needs no inputs that keep clear of one.
        self.x, self.actions, self.walk = clear_of_kinks(make, *drawn, eps, shared=shared) if clear else (*make(), None)
        self.repeats = n if a is not None else None
        self.batch = b
        self.outputs = outputs

    def run(self, backend: str, device: str, g: Tensor | None = None, *, wanted=None, **options) -> tuple[Tensor, list[Tensor]]:
        """q, and the gradients of x, actions and parameters for the gradient `g` of q."""
        inputs = [self.x, *([] if self.actions is None else [self.actions]), *flat(self.layers, self.head)]
        leaves = [t.detach().to(device).requires_grad_() for t in inputs]
        q = self.call(leaves, backend, device, **options)
        if g is None:
            return q, []
        return q, list(torch.autograd.grad(q, leaves, g.to(device)))

    def call(self, leaves, backend, device, **options):
        rest = list(leaves[1:])
        actions = None if self.actions is None else rest.pop(0)
        layers = [tuple(rest.pop(0) for _ in layer) for layer in self.layers]
        index = None if self.index is None else self.index.to(device)
        return ensemble_mlp(
            leaves[0], layers, tuple(rest), actions=actions, index=index, eps=self.eps, backend=backend, **options
        )


def folded(rows: Rounded, case: Case) -> list[Rounded]:
    """Gradients of x and of actions out of those of the rows that each critic read: sums over what was repeated."""
    axis = case.layers[0][0].ndim - 3
    d = case.x.shape[-1]
    x, actions = rows[..., :d], rows[..., d:]
    if case.repeats is not None:
        x, actions = (Rounded(*(t.unflatten(-2, (case.batch, -1)) for t in (r.v, r.e))) for r in (x, actions))
        x = x.sum(-2)
    if case.x.ndim == 2 + axis:
        x = x.sum(axis)
    return [x, *([] if case.actions is None else [actions.sum(axis)])]


def scattered(gradients: list[Rounded], case: Case) -> list[Rounded]:
    """Gradients of the drawn critics added up, in index order, into dense ones of all critics."""
    if case.index is None:
        return gradients
    axis, e = case.layers[0][0].ndim - 3, case.layers[0][0].shape[-3]
    out = []
    for g in gradients:
        chosen = torch.nn.functional.one_hot(case.index, e).double()  # [*S, M, E]
        spread = Rounded.exact(chosen.mT) @ Rounded(*(t.reshape(*t.shape[: axis + 1], -1) for t in (g.v, g.e)))
        shape = (*g.v.shape[:axis], e, *g.v.shape[axis + 1 :])
        out.append(Rounded(spread.v.reshape(shape), spread.e.reshape(shape)))
    return out


def shaped(q: Rounded, case: Case) -> Rounded:
    """q with the rows of many actions as axes B and N."""
    if case.repeats is None:
        return q
    rows = -1 if case.outputs is None else -2
    return Rounded(q.v.unflatten(rows, (case.batch, -1)), q.e.unflatten(rows, (case.batch, -1)))


def gradient_for(case: Case) -> Tensor:
    return torch.randn(shaped(case.walk.q, case).v.shape, generator=torch.Generator().manual_seed(3))


def laws(case: Case, g: Tensor) -> tuple[Rounded, list[Rounded]]:
    """q and all gradients, exact and bounded."""
    flat_g = g.double().reshape(case.walk.q.v.shape)
    rows, parameters = case.walk.backward(flat_g)
    return shaped(case.walk.q, case), [*folded(rows, case), *scattered(parameters, case)]


@cases
def test_both_references_agree(case):
    case = Case(case)
    g = gradient_for(case)
    exact_q, exact_gradients = laws(case, g)
    leaves = [case.x, *([] if case.actions is None else [case.actions]), *flat(case.layers, case.head)]
    leaves = [t.double().requires_grad_() for t in leaves]
    q = case.call(leaves, "reference", "cpu")
    torch.testing.assert_close(q.detach(), exact_q.v, rtol=1e-11, atol=1e-11)
    for found, exact in zip(torch.autograd.grad(q, leaves, g.double()), exact_gradients, strict=True):
        torch.testing.assert_close(found, exact.v, rtol=1e-10, atol=1e-10)


@everywhere
@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
@cases
def test_it_is_the_reference_within_the_bound_that_was_computed_along(backend, device, case, recompute):
    case = Case(case)
    g = gradient_for(case)
    exact_q, exact_gradients = laws(case, g)
    q, gradients = case.run(backend, device, g, recompute=recompute)
    check(q, exact_q, "q")
    for i, (found, exact) in enumerate(zip(gradients, exact_gradients, strict=True)):
        check(found, exact, f"gradient {i}")


@everywhere
@pytest.mark.parametrize("eps", [1e-12, 1e-5, 0.5])
def test_eps_is_the_one_that_was_given(backend, device, eps):
    case = Case("plain", eps)
    g = gradient_for(case)
    exact_q, exact_gradients = laws(case, g)
    q, gradients = case.run(backend, device, g)
    check(q, exact_q, "q")
    for found, exact in zip(gradients, exact_gradients, strict=True):
        check(found, exact)


@compiled
@cases
def test_recomputing_changes_no_bit(backend, device, case):
    case = Case(case)
    g = gradient_for(case)
    kept, again = case.run(backend, device, g), case.run(backend, device, g, recompute=True)
    assert torch.equal(kept[0], again[0])
    for a, b in zip(kept[1], again[1], strict=True):
        assert torch.equal(a, b)


@everywhere
def test_one_batch_for_all_seeds_by_expand(backend, device):
    case = Case("primes", shared=True)
    assert case.x.stride(0) == 0
    g = gradient_for(case)
    exact_q, exact_gradients = laws(case, g)
    base = case.x[0].detach().to(device).requires_grad_()
    parameters = [t.detach().to(device).requires_grad_() for t in (case.actions, *flat(case.layers, case.head))]
    q = case.call([base.expand(case.x.shape), *parameters], backend, device)
    gradients = torch.autograd.grad(q, [base, *parameters], g.to(device))
    check(q, exact_q, "q")
    for found, exact in zip(gradients, [exact_gradients[0].sum(0), *exact_gradients[1:]], strict=True):
        check(found, exact)


@compiled
@pytest.mark.parametrize("case", ["primes", "stack of many actions", "actor", "own inputs", "without LayerNorm"])
def test_a_seed_of_a_stack_is_the_single_run_bit_for_bit(backend, device, case):
    case = Case(case)
    g = gradient_for(case)
    q, gradients = case.run(backend, device, g)
    for s in range(len(case.x)):
        single = copy.copy(case)
        single.x, single.actions = case.x[s], None if case.actions is None else case.actions[s]
        single.index = None if case.index is None else case.index[s]
        single.layers, single.head = moved(case.layers, case.head, lambda p, s=s: p[s].contiguous())
        one_q, one = single.run(backend, device, g[s])
        assert torch.equal(q[s], one_q)
        for whole, alone in zip(gradients, one, strict=True):
            assert torch.equal(whole[s], alone)


@compiled
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("hidden", [(13, 11), (64, 64), (256,)], ids=str)
def test_a_critic_is_the_same_bits_whatever_the_company(backend, device, hidden, threads):
    """Critic 3 alone, among ten, drawn first, last or twice, on any number of threads: q and its weights' gradients."""
    torch.set_num_threads(threads)
    layers, head = ensemble(None, 10, 7, hidden, device=device)
    x, actions = torch.randn(65, 4, device=device), torch.randn(65, 3, device=device)
    g = torch.randn(65, device=device)

    def run(layers, head, index, place):
        leaves = [t.detach().requires_grad_() for t in flat(layers, head)]
        rest = list(leaves)
        nested = [tuple(rest.pop(0) for _ in layer) for layer in layers]
        index = None if index is None else torch.tensor(index, device=device)
        q = ensemble_mlp(x, nested, tuple(rest), actions=actions, index=index, backend=backend)
        return q[place], torch.autograd.grad(q[place], leaves, g)

    torch.set_num_threads(1)
    alone_q, alone = run(*moved(layers, head, lambda p: p[3:4].contiguous()), None, 0)
    torch.set_num_threads(threads)
    for index, place in ((None, 3), ([3], 0), ([3, 7], 0), ([9, 0, 3], 2), ([3, 3], 1), (list(range(10)), 3)):
        q, gradients = run(layers, head, index, place)
        assert torch.equal(q, alone_q), index
        for found, one in zip(gradients, alone, strict=True):
            assert torch.equal(found[3], one[0]), index
            others = torch.arange(10, device=device) != 3
            assert not found[others].any()


@compiled
def test_a_row_does_not_depend_on_its_batch(backend, device):
    layers, head = ensemble(None, 2, 5, (33, 17), device=device)
    x = torch.randn(131, 5, device=device)
    q = ensemble_mlp(x, layers, head, backend=backend)
    for b in (1, 2, 64, 130):
        part = ensemble_mlp(x[:b].contiguous(), layers, head, backend=backend)
        torch.testing.assert_close(part, q[:, :b], rtol=1e-5, atol=1e-5)


@everywhere
def test_drawing_the_subset_first_equals_drawing_it_last(backend, device):
    layers, head = ensemble(2, 5, 4, (16, 16), device=device)
    x = torch.randn(2, 9, 4, device=device)
    index = torch.tensor([[4, 1], [0, 0]], device=device)
    first = ensemble_mlp(x, layers, head, index=index, backend=backend)
    last = torch.stack([q[i] for q, i in zip(ensemble_mlp(x, layers, head, backend=backend), index, strict=True)])
    if backend == "reference":
        torch.testing.assert_close(first, last)  # torch's batched product may depend on the batch
    else:
        assert torch.equal(first, last)


@everywhere
def test_only_what_asks_gets_a_gradient(backend, device):
    layers, head = ensemble(None, 2, 5, (8,), device=device)
    x, actions = torch.randn(4, 3, device=device), torch.randn(4, 2, device=device, requires_grad=True)
    ensemble_mlp(x, layers, head, actions=actions, backend=backend).sum().backward()
    assert actions.grad is not None and x.grad is None and all(p.grad is None for p in flat(layers, head))
    with torch.no_grad():
        assert not ensemble_mlp(x, layers, head, actions=actions, backend=backend).requires_grad
    alone = actions.grad.clone()
    actions.grad = None
    layers[0][0].requires_grad_()
    ensemble_mlp(x, layers, head, actions=actions, backend=backend).sum().backward()
    assert torch.equal(actions.grad, alone)


@everywhere
def test_nan_reaches_exactly_its_row(backend, device):
    """Through LayerNorm and relu, and without LayerNorm, where only one hidden unit is NaN."""
    for norm in (True, False):
        layers, head = ensemble(None, 2, 5, (17, 9), norm=norm, device=device)
        x = torch.randn(6, 5, device=device)
        x[2, 1] = torch.nan
        q = ensemble_mlp(x, layers, head, backend=backend)
        assert q.isnan().tolist() == [[False, False, True, False, False, False]] * 2


@everywhere
def test_nan_of_a_single_unit_passes_relu(backend, device):
    layers, head = ensemble(None, 1, 3, (33,), norm=False, device=device)
    layers[0][1][0, 32] = torch.nan
    assert ensemble_mlp(torch.randn(5, 3, device=device), layers, head, backend=backend).isnan().all()


@everywhere
def test_nan_of_one_critic_stays_with_it(backend, device):
    layers, head = ensemble(None, 3, 5, (8, 8), device=device)
    layers[1][0][1, 2, 3] = torch.nan
    q = ensemble_mlp(torch.randn(4, 5, device=device), layers, head, backend=backend)
    assert q.isnan().all(1).tolist() == [False, True, False] and not q[[0, 2]].isnan().any()


@everywhere
def test_the_derivative_of_relu_at_zero_is_zero(backend, device):
    """All weights zero: every pre-activation is exactly 0, and nothing behind it may move."""
    layers = [(torch.zeros(1, 2, 3, device=device), torch.zeros(1, 3, device=device, requires_grad=True))]
    head = (torch.ones(1, 3, device=device, requires_grad=True), torch.zeros(1, device=device))
    q = ensemble_mlp(torch.ones(4, 2, device=device), layers, head, backend=backend)
    bias, weight = torch.autograd.grad(q.sum(), (layers[0][1], head[0]))
    assert not bias.any() and not weight.any()


@everywhere
def test_a_constant_row_is_normalised_to_zero(backend, device):
    """Variance 0: n = 0 / sqrt(eps), so that q is what ln_bias alone makes."""
    layers, head = ensemble(None, 2, 3, (8,), device=device)
    weight, bias, gamma, beta = layers[0]
    layers = [(torch.zeros_like(weight), torch.ones_like(bias), gamma, beta)]
    q = ensemble_mlp(torch.randn(5, 3, device=device), layers, head, backend=backend)
    exact = (torch.relu(beta.double()) * head[0].double()).sum(-1) + head[1].double()
    torch.testing.assert_close(q.double(), exact.unsqueeze(-1).expand(2, 5), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("backend", ["reference", *[b for b, d in COMPILED if d == "cpu"]])
@pytest.mark.parametrize("index", [[0, 3], [-1, 1]], ids=str)
def test_an_index_outside_is_an_index_error_on_a_cpu(backend, index):
    layers, head = ensemble(None, 3, 5, (8,))
    with pytest.raises(IndexOutOfRange, match=r"ensemble_mlp: index: expected critics 0 to 2, got (3|-1)") as caught:
        ensemble_mlp(torch.zeros(4, 5), layers, head, index=torch.tensor(index), backend=backend)
    assert isinstance(caught.value, IndexError)


def test_an_index_outside_is_nan_where_nobody_may_look():
    """The law that a GPU backend follows: q of that entry alone is NaN."""
    layers, head = ensemble(None, 3, 5, (8,))
    q = reference.ensemble_mlp(torch.zeros(4, 5), layers, head, index=torch.tensor([0, 3, -1, 2]))
    assert q.isnan().all(1).tolist() == [False, True, True, False] and not q[[0, 3]].isnan().any()


def test_the_reference_has_the_gradient_of_its_value():
    case = Case("stack of many actions")
    leaves = [case.x, case.actions, *flat(case.layers, case.head)]
    leaves = [t.double().requires_grad_() for t in leaves]
    assert torch.autograd.gradcheck(lambda *t: case.call(t, "reference", "cpu"), leaves, fast_mode=True)


@pytest.mark.parametrize(("precision", "bits"), [("tf32", 10), ("bf16", 7)])
def test_reduced_precision_rounds_to_nearest_and_ties_to_even(precision, bits):
    step = 2.0**-bits
    values = torch.tensor([1.0, 1 + step, 1 + 0.49 * step, 1 + 0.5 * step, 1 + 1.5 * step, 1 + 0.51 * step, -3.0 - 2.1 * step])
    exact = torch.tensor([1.0, 1 + step, 1.0, 1.0, 1 + 2 * step, 1 + step, -3.0 - 2 * step])
    assert torch.equal(reference.rounded(values, precision), exact)
    assert torch.equal(
        reference.rounded(torch.tensor([torch.inf, -torch.inf]), precision), torch.tensor([torch.inf, -torch.inf])
    )
    assert reference.rounded(torch.tensor([torch.nan]), precision).isnan().all()


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_the_reference_rounds_the_inputs_of_products_alone(precision):
    """Of one layer without LayerNorm, by hand: products of rounded factors, float64 sums, an unrounded head."""
    (layer,), head = ensemble(None, 1, 5, (4,), norm=False, dtype=torch.float64)
    x = torch.randn(3, 5, dtype=torch.float64)

    def r(t):
        return reference.rounded(t, precision)

    weight, bias = layer[0].requires_grad_(), layer[1]
    q = reference.ensemble_mlp(x, [layer], head, precision=precision)
    z = r(x) @ r(weight[0]) + bias[0]
    torch.testing.assert_close(q[0], torch.relu(z) @ head[0][0] + head[1][0], rtol=1e-14, atol=1e-14)
    (found,) = torch.autograd.grad(q.sum(), weight)
    dz = (z > 0) * head[0][0]
    torch.testing.assert_close(found[0], r(x).T @ r(dz), rtol=1e-14, atol=1e-14)
    assert not torch.equal(q, reference.ensemble_mlp(x, [layer], head))


def test_precision_other_than_fp32_is_refused_by_name_on_the_cpu():
    layers, head = ensemble(None, 2, 5, (8,))
    with pytest.raises(BackendUnavailable, match="precision 'bf16' is not computed by the cpu backend"):
        ensemble_mlp(torch.zeros(4, 5), layers, head, precision="bf16", backend="cpu")
    with pytest.raises(BackendUnavailable, match="backend 'cuda' cannot be used: ensemble_mlp has no such spelling"):
        ensemble_mlp(torch.zeros(4, 5), layers, head, backend="cuda")


def refused(change):
    layers, head = ensemble(None, 2, 5, (8, 6))
    arguments = {"x": torch.zeros(4, 3), "actions": torch.zeros(4, 2), "layers": layers, "head": head}
    return arguments | (change(layers, head) if callable(change) else change)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"x": torch.zeros(4, 4)}, InvalidArgument, r"x: layers\[0\].weight takes 5 inputs, got 4 of x and 2 of actions"),
        ({"actions": None}, InvalidArgument, "takes 5 inputs, got 3 of x"),
        ({"actions": torch.zeros(3, 2)}, InvalidArgument, r"actions: expected shape \[B=4, A\] or \[B=4, N, A\]"),
        ({"x": torch.zeros(3, 4, 3)}, InvalidArgument, r"x: expected shape \[B, D\] or \[E=2, B, D\]"),
        ({"x": torch.zeros(4, 6)[:, ::2]}, UnsupportedTensor, "x: expected a contiguous tensor"),
        ({"x": torch.zeros(4, 3).double()}, UnsupportedTensor, "x: expected torch.float32"),
        ({"x": torch.zeros(0, 3)}, InvalidArgument, "x: expected shape"),
        ({"index": torch.tensor([0, 1], dtype=torch.int32)}, UnsupportedTensor, "index: expected a contiguous torch.int64"),
        ({"index": torch.zeros(1, 2).long()}, InvalidArgument, r"index: expected shape \[M\]"),
        ({"layers": []}, InvalidArgument, "layers: expected a list of at least one"),
        ({"head": None}, InvalidArgument, "head: expected .weight, bias., got NoneType"),
        ({"eps": 0.0}, InvalidArgument, "eps: expected a finite number > 0"),
        ({"precision": "fp16"}, InvalidArgument, "precision: expected one of fp32, tf32, bf16"),
        (
            lambda layers, head: {"layers": [layers[0][:3], layers[1]]},
            InvalidArgument,
            r"layers\[0\]: expected .*, got 3 entries",
        ),
        (
            lambda layers, head: {"layers": [layers[0], (layers[1][0], layers[0][1])]},
            InvalidArgument,
            r"layers\[1\].bias: expected shape \[E=2, H1=6\]",
        ),
        (
            lambda layers, head: {"layers": layers[::-1]},
            InvalidArgument,
            r"layers\[1\].weight: expected shape \[E=2, H0=6, H1\]",
        ),
        (lambda layers, head: {"head": (head[0], torch.zeros(2, 1))}, InvalidArgument, r"head.bias: expected shape \[E=2\]"),
        (
            lambda layers, head: {"head": (head[0].unsqueeze(-1), head[1])},
            InvalidArgument,
            r"head.bias: expected shape \[E=2, O=1\]",
        ),
        (
            lambda layers, head: {"layers": [(layers[0][0].mT.contiguous().mT, *layers[0][1:]), layers[1]]},
            UnsupportedTensor,
            "contiguous",
        ),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else None,
)
def test_what_is_refused(change, error, words):
    with pytest.raises(error, match="ensemble_mlp: .*" + words):
        ensemble_mlp(**refused(change), backend="reference" if error is InvalidArgument else "cpu")
