"""The cuda backend: bit for bit against the cpu backend, on streams, with GradScaler's tensors, without host syncs.

That it stays within the derived bounds of the float64 reference is tested in test_adamw.py, for every backend present; captured
steps are in test_adamw_cuda_graphs.py.
"""

from __future__ import annotations

import gc
import warnings
import weakref

import pytest
import torch
from test_adamw import name_of

from rewarm.optim import AdamW
from rewarm.schedule import linear, warmup_cosine

pytestmark = pytest.mark.gpu

DEVICE = "cuda"
#: One past a chunk, one past a block's vectors, and what has tails of every length.
SIZES = [1, 7, 31, 33, 1000, 2048, 2049, 10007, 16385]
FORMATS = [
    (torch.float32, torch.float32, False),
    (torch.bfloat16, torch.bfloat16, False),
    (torch.bfloat16, torch.float32, False),
    (torch.float16, torch.float32, False),
    (torch.bfloat16, torch.bfloat16, True),
    (torch.bfloat16, torch.float32, True),
]
formats = pytest.mark.parametrize(("dtype", "state_dtype", "stochastic"), FORMATS, ids=name_of)
clips = pytest.mark.parametrize("max_grad_norm", [None, 0.5], ids=["no clip", "clip"])


class Pair:
    """The same parameters stepped by the cuda and the cpu backend, fed the same gradients."""

    def __init__(self, tensors, **options):
        groups = options.pop("groups", None) or [{}]
        self.ours, self.theirs = ([torch.nn.Parameter(x.clone().to(d)) for x in tensors] for d in (DEVICE, "cpu"))
        split = [(self.ours[i :: len(groups)], self.theirs[i :: len(groups)], g) for i, g in enumerate(groups)]
        self.cuda = AdamW([{"params": a, **g} for a, _, g in split], backend="cuda", **options)
        self.cpu = AdamW([{"params": b, **g} for _, b, g in split], backend="cpu", **options)

    def give(self, scale=1.0, absent=()):
        for i, (a, b) in enumerate(zip(self.ours, self.theirs, strict=True)):
            b.grad = None if i in absent else (torch.randn(b.shape) * scale).to(b.dtype)
            a.grad = None if b.grad is None else b.grad.clone().to(DEVICE)

    def step(self, **options):
        self.cuda.step(**options)
        self.cpu.step(**options)

    def assert_same_bits(self):
        for i, (a, b) in enumerate(zip(self.ours, self.theirs, strict=True)):
            assert torch.equal(a.cpu(), b), f"parameter {i}: {int((a.cpu() != b).sum())} of {b.numel()} elements differ"
            for key, value in self.cpu.state[b].items():
                assert torch.equal(self.cuda.state[a][key].cpu(), value), f"parameter {i}, {key}"
        assert torch.equal(self.cuda.last_lr.cpu(), self.cpu.last_lr)
        assert self.cuda.skipped_steps.item() == self.cpu.skipped_steps.item()


@formats
@clips
@pytest.mark.parametrize("size", SIZES)
def test_same_bits_as_the_cpu_backend(size, dtype, state_dtype, stochastic, max_grad_norm):
    """The element functions are one header; norms differ in their order of summation, 1e-16 of a coefficient."""
    pair = Pair(
        [torch.randn(size).to(dtype)],
        lr=linear(1e-2, 1e-3, 4),
        max_grad_norm=max_grad_norm,
        state_dtype=state_dtype,
        stochastic_rounding=stochastic,
        seed=2**63 + 12345,
    )
    for scale in (1.0, 0.01, 3.0):
        pair.give(scale)
        pair.step()
        pair.assert_same_bits()
        if max_grad_norm is not None:
            assert torch.isclose(pair.cuda.grad_norm.cpu(), pair.cpu.grad_norm, rtol=1e-13, atol=0.0)


@clips
@pytest.mark.parametrize("stochastic", [False, True])
def test_all_formats_groups_and_absent_gradients_in_one_plan(stochastic, max_grad_norm):
    tensors = [
        torch.randn(size).to(dtype) for size in (0, 5, 3000, 20000) for dtype in (torch.float32, torch.bfloat16, torch.float16)
    ][1:]
    groups = [
        {"lr": warmup_cosine(1e-2, 1e-3, 3, 10), "weight_decay": linear(0.0, 0.5, 5)},
        {"lr": 3e-3, "betas": (0.4, 0.3), "decoupled_weight_decay": False},
        {"lr": warmup_cosine(1e-1, 1e-2, 30, 40).scale(0.5), "maximize": True, "eps": 1e-4},
    ]
    pair = Pair(tensors, groups=groups, max_grad_norm=max_grad_norm, state_dtype=torch.float32, stochastic_rounding=stochastic)
    for absent in ((), (1, 4), (0, 1, 2, 3), (11,), ()):
        pair.give(absent=absent)
        pair.step()
        pair.assert_same_bits()


@formats
@clips
def test_unaligned_views(dtype, state_dtype, stochastic, max_grad_norm):
    """Parameter and gradient one element off a 16-byte boundary: the same bits, of the norm too."""
    data, gradient = torch.randn(9001).to(dtype).to(DEVICE), torch.randn(9001).to(dtype).to(DEVICE)
    norms, results = [], []
    for p_offset, g_offset in ((0, 0), (1, 0), (0, 1), (1, 3)):
        p = torch.nn.Parameter(torch.zeros(9010, dtype=dtype, device=DEVICE)[p_offset : p_offset + 9001].copy_(data))
        g = torch.zeros(9010, dtype=dtype, device=DEVICE)[g_offset : g_offset + 9001].copy_(gradient)
        opt = AdamW([p], backend="cuda", max_grad_norm=max_grad_norm, state_dtype=state_dtype, stochastic_rounding=stochastic)
        for _ in range(2):
            p.grad = g
            opt.step()
        results.append(p.detach().clone())
        norms.append(opt.grad_norm)
    assert all(torch.equal(r, results[0]) for r in results)
    if max_grad_norm is not None:
        assert all(torch.equal(n, norms[0]) for n in norms)


def test_two_runs_give_the_same_bits():
    def run():
        torch.manual_seed(7)
        params = [torch.nn.Parameter(torch.randn(n, device=DEVICE)) for n in (100_003, 5, 64_000, 1_000_000)]
        opt = AdamW(params, lr=warmup_cosine(1e-2, 1e-3, 5, 10), max_grad_norm=1.0, backend="cuda")
        norms = []
        for _ in range(10):
            for p in params:
                p.grad = torch.randn_like(p)
            opt.step()
            norms.append(opt.grad_norm)
        return [*params, *norms, opt.last_lr]

    assert all(torch.equal(a, b) for a, b in zip(run(), run(), strict=True))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@clips
def test_nonfinite_gradients_are_skipped_and_counted(bad, max_grad_norm):
    pair = Pair([torch.randn(5000), torch.randn(3)], lr=linear(1e-2, 0.0, 8), max_grad_norm=max_grad_norm, skip_nonfinite=True)
    for i in range(6):
        pair.give()
        if i % 2:
            for p in (pair.ours[0], pair.theirs[0]):
                p.grad[4321] = bad
        # A host that cannot know of the skip wrote a later rate; each is its own backend's business.
        pair.step()
        pair.assert_same_bits()
    assert pair.cuda.skipped_steps.item() == 3
    assert pair.cuda.state_dict()["param_groups"][0]["updates"] == 3


@clips
def test_nan_reaches_every_parameter_when_nothing_is_skipped(max_grad_norm):
    pair = Pair([torch.randn(100), torch.randn(3)], max_grad_norm=max_grad_norm, skip_nonfinite=False)
    pair.give()
    for p in (pair.ours[1], pair.theirs[1]):
        p.grad[0] = float("nan")
    pair.step()
    for a, b in zip(pair.ours, pair.theirs, strict=True):
        assert torch.equal(a.cpu().isnan(), b.isnan())
    assert bool(pair.ours[0].isnan().all()) == (max_grad_norm is not None)


@clips
def test_grad_scale_and_found_inf_are_read_on_the_device(max_grad_norm):
    pair = Pair([torch.randn(5000)], max_grad_norm=max_grad_norm)
    for scale, overflow in ((1024.0, 0.0), (1024.0, 1.0), (512.0, 0.0)):
        pair.give(scale)
        for opt, device in ((pair.cuda, DEVICE), (pair.cpu, "cpu")):
            opt.grad_scale = torch.full((), scale, device=device)
            opt.found_inf = torch.full((1,), overflow, device=device)
        pair.step()
        pair.assert_same_bits()
    assert pair.cuda.skipped_steps.item() == 1


def test_edits_of_groups_and_steps_reach_the_device():
    pair = Pair([torch.randn(3000), torch.randn(40)], groups=[{"lr": 1e-2}, {"lr": linear(1e-2, 1e-3, 9)}], max_grad_norm=1.0)
    for i in range(8):
        pair.give()
        for opt in (pair.cuda, pair.cpu):
            if i == 1:
                opt.param_groups[0]["lr"], opt.param_groups[1]["betas"] = 5e-3, (0.8, 0.99)
            if i == 2:
                opt.lr_scale[1] = 0.25
            if i in (3, 4):  # applied as it stands; the schedule waits
                opt.param_groups[1]["lr"] = 0.0
            if i == 5:
                opt.param_groups[1]["lr"] = opt._plan.native.published(1, 0)
                next(iter(opt.state.values()))["step"].fill_(100.0)
            if i == 6:
                opt.rewarm(warmup_cosine(1e-2, 1e-3, 4, 10))
        pair.step()
        pair.assert_same_bits()


def test_a_learning_rate_on_the_device_is_read_there():
    p = torch.nn.Parameter(torch.randn(1000, device=DEVICE))
    q = torch.nn.Parameter(p.detach().clone())
    rate = torch.tensor(1e-2, device=DEVICE)
    ours, theirs = AdamW([p], lr=rate, backend="cuda"), AdamW([q], lr=1e-2, backend="cuda")
    for value in (1e-2, 3e-3, 5e-4):
        p.grad = torch.randn_like(p)
        q.grad = p.grad.clone()
        rate.fill_(value)
        theirs.param_groups[0]["lr"] = float(torch.tensor(value))
        ours.step()
        theirs.step()
        assert torch.equal(p, q)


def test_tokens_drive_schedules():
    pair = Pair([torch.randn(300)], lr=linear(1e-2, 0.0, 10_000_000_000_000, units="tokens"))
    for _ in range(4):
        pair.give()
        pair.step(tokens=2_000_000_000_001)
        pair.assert_same_bits()


# ---- streams, syncs, launches ------------------------------------------------------------------------------------------------


def test_steps_on_two_streams_follow_one_another():
    torch.manual_seed(3)
    start, gradient = torch.randn(1 << 25, device=DEVICE), torch.randn(1 << 25, device=DEVICE)
    results = []
    for streams in ([torch.cuda.current_stream()], [torch.cuda.Stream(), torch.cuda.Stream(), torch.cuda.current_stream()]):
        p = torch.nn.Parameter(start.clone())
        p.grad = gradient
        opt = AdamW([p], lr=linear(1e-2, 0.0, 50), max_grad_norm=1.0, backend="cuda")
        torch.cuda.synchronize()
        for i in range(30):
            with torch.cuda.stream(streams[i % len(streams)]):
                if i == 20:
                    opt.rewarm(warmup_cosine(1e-2, 1e-3, 2, 20))
                if i % 7 == 0:
                    opt.lr_scale[0] = 1.0 / (i + 1)  # an upload
                opt.step()
        torch.cuda.synchronize()
        results.append((p.detach(), opt.state[p]["exp_avg_sq"], opt.last_lr, opt.state[p]["step"]))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@clips
def test_no_host_sync(max_grad_norm):
    params = [torch.nn.Parameter(torch.randn(1000, device=DEVICE)) for _ in range(5)]
    opt = AdamW(params, lr=warmup_cosine(1e-2, 1e-3, 5, 100), max_grad_norm=max_grad_norm, backend="cuda")
    for p in params:
        p.grad = torch.randn_like(p)
    opt.step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for i in range(50):
            if i % 3 == 0:
                opt.zero_grad()
                for p in params:
                    p.grad = torch.full_like(p, 0.1)
            if i == 10:
                opt.rewarm(linear(1e-2, 0.0, 50))
            opt.step()
            _ = opt.grad_norm, opt.last_lr, opt.clip_coef, opt.skipped_steps
    finally:
        torch.cuda.set_sync_debug_mode("default")


def device_work(work):
    """Names of what ran on the device during `work`."""
    from torch.profiler import ProfilerActivity, profile

    torch.cuda.synchronize()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
            work()
            torch.cuda.synchronize()
        return [e.name for e in profiler.events() if e.device_type == torch.autograd.DeviceType.CUDA and "Memset" not in e.name]


@pytest.mark.parametrize(("max_grad_norm", "launches"), [(None, 1), (1.0, 2)])
def test_launches_and_copies_of_a_step(max_grad_norm, launches):
    params = [
        torch.nn.Parameter(torch.randn(n, device=DEVICE, dtype=d))
        for n in (3, 5000, 70000)
        for d in (torch.float32, torch.bfloat16)
    ]
    groups = [{"params": [p], "lr": linear(1e-2, 0.0, 10 + i)} for i, p in enumerate(params)]
    opt = AdamW(groups, max_grad_norm=max_grad_norm, backend="cuda")
    for p in params:
        p.grad = torch.randn_like(p)
    opt.step()
    opt.step()

    def five_steps():
        for _ in range(5):
            opt.step()

    ran = device_work(five_steps)
    kernels = [name for name in ran if "_kernel" in name]
    assert len(kernels) == 5 * launches, ran
    assert [name for name in ran if "Memcpy" in name] == []

    fresh = [[torch.randn_like(p) for p in params] for _ in range(5)]

    def five_steps_with_fresh_gradients():
        for gradients in fresh:
            for p, g in zip(params, gradients, strict=True):
                p.grad = g
            opt.step()

    ran = device_work(five_steps_with_fresh_gradients)
    assert sum("Memcpy" in name for name in ran) == 5, ran


def test_dropping_the_optimizer_frees_its_memory_at_once():
    p = torch.nn.Parameter(torch.randn(100, device=DEVICE))
    p.grad = torch.randn_like(p)
    opt = AdamW([p], backend="cuda")
    opt.step()
    moment = weakref.ref(opt.state[p]["exp_avg"])
    gc.collect()
    gc.disable()
    try:
        del opt
        assert moment() is None
    finally:
        gc.enable()


def test_more_than_2_to_the_31_elements():
    n = 2**31 + 4099
    needed = 10 * n
    if torch.cuda.mem_get_info()[0] < needed:
        pytest.skip(f"needs {needed >> 30} GiB of free GPU memory")
    torch.utils.deterministic.fill_uninitialized_memory = False
    p = torch.nn.Parameter(torch.empty(n, dtype=torch.bfloat16, device=DEVICE).normal_())
    p.grad = torch.empty_like(p).normal_()
    places = [slice(0, 5000), slice(2**31 - 4096, 2**31 + 4099), slice(n - 3, n)]
    parts = [torch.nn.Parameter(p.detach()[s].clone()) for s in places]
    for part, s in zip(parts, places, strict=True):
        part.grad = p.grad[s].clone()
    opt, peer = (AdamW(x, lr=1e-2, backend="cuda") for x in ([p], parts))
    for _ in range(2):
        opt.step()
        peer.step()
    for part, s in zip(parts, places, strict=True):
        assert torch.equal(p.detach()[s], part)
        assert torch.equal(opt.state[p]["exp_avg_sq"][s], peer.state[part]["exp_avg_sq"])
    with_norm = AdamW([p], lr=0.0, max_grad_norm=1.0, backend="cuda")
    with_norm.step()
    expected = sum(float(x.double().square().sum()) for x in p.grad.split(1 << 26)) ** 0.5
    assert abs(with_norm.grad_norm.item() / expected - 1.0) < 1e-9
