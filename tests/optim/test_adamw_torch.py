"""AdamW inside torch's own machinery: hooks, closures, GradScaler, profiler, torch.compile, threads and forks."""

from __future__ import annotations

import os
import threading

import pytest
import torch
from test_adamw import give_gradients, some_params
from torch.optim import optimizer as torch_optimizer

from rewarm.optim import AdamW
from rewarm.schedule import warmup_cosine


def test_it_is_an_optimizer_with_torchs_arguments():
    import inspect

    assert issubclass(AdamW, torch.optim.Optimizer)
    theirs, ours = (inspect.signature(c.__init__).parameters for c in (torch.optim.AdamW, AdamW))
    assert set(theirs) <= set(ours)
    for name in ("lr", "betas", "eps", "weight_decay", "amsgrad"):
        assert ours[name].default == theirs[name].default


def test_step_hooks_run_in_torchs_order():
    (p,) = some_params([(4,)])
    opt = AdamW([p])
    give_gradients([p])
    calls = []
    handles = [
        opt.register_step_pre_hook(lambda o, a, k: calls.append("pre")),
        opt.register_step_post_hook(lambda o, a, k: calls.append("post")),
        torch_optimizer.register_optimizer_step_pre_hook(lambda o, a, k: calls.append("global pre")),
        torch_optimizer.register_optimizer_step_post_hook(lambda o, a, k: calls.append("global post")),
    ]
    try:
        opt.step()
    finally:
        for handle in handles:
            handle.remove()
    assert calls == ["global pre", "pre", "post", "global post"]
    opt.step()
    assert len(calls) == 4
    assert opt.state[p]["step"].item() == 2


def test_a_pre_hook_may_replace_the_arguments():
    (p,) = some_params([(4,)])
    opt = AdamW([p], lr=warmup_cosine(1.0, 0.5, 10, 10, units="tokens"))
    give_gradients([p])
    opt.register_step_pre_hook(lambda o, args, kwargs: (args, {"tokens": 5}))
    opt.step()
    opt.step()
    assert opt.last_lr.item() == 0.5


def test_a_closure_is_called_with_gradients_enabled_and_its_value_returned():
    (p,) = some_params([(4,)])
    opt = AdamW([p], lr=0.1)

    def closure():
        opt.zero_grad()
        loss = p.square().sum()
        loss.backward()
        return loss

    with torch.no_grad():
        losses = [opt.step(closure).item() for _ in range(5)]
    assert losses == sorted(losses, reverse=True)


def test_the_profiler_sees_the_step_under_torchs_name():
    (p,) = some_params([(4,)])
    opt = AdamW([p])
    give_gradients([p])
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        opt.step()
        opt.zero_grad()
    names = {event.key for event in profile.key_averages()}
    assert {"Optimizer.step#AdamW.step", "Optimizer.zero_grad#AdamW.zero_grad"} <= names
    assert p.grad is None


@pytest.mark.parametrize("unscale_first", [False, True])
def test_grad_scaler_unscales_skips_and_counts(unscale_first):
    ours, theirs = some_params([(40,), (7, 3)]), []
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    opt, peer = (
        AdamW(ours, lr=warmup_cosine(0.1, 0.01, 2, 9), max_grad_norm=100.0),
        torch.optim.AdamW(theirs, fused=True),
    )
    scalers = [torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=2) for _ in range(2)]
    applied = 0
    for k in range(8):
        peer.param_groups[0]["lr"] = warmup_cosine(0.1, 0.01, 2, 9)(applied)
        data = [torch.randn(p.shape) for p in ours]
        if k == 4:
            data[1][0, 0] = torch.inf
        for params, o, scaler in ((ours, opt, scalers[0]), (theirs, peer, scalers[1])):
            o.zero_grad()
            loss = sum((p * d).sum() for p, d in zip(params, data, strict=True))
            scaler.scale(loss).backward()
            if unscale_first:
                scaler.unscale_(o)
            scaler.step(o)
            scaler.update()
        applied += k != 4
        if k == 4:
            assert opt.skipped_steps.item() == 1
        else:
            assert opt.grad_norm.item() == pytest.approx(torch.cat([d.flatten() for d in data]).norm().item(), rel=1e-5)
    assert scalers[0].get_scale() == scalers[1].get_scale()
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=5e-6)


def test_a_graph_that_saved_a_parameter_raises_after_the_step_as_in_torch():
    # torch 2.13 does so in its for-loop and foreach forms; its fused form forgets to.
    for make in (lambda p: AdamW(p), lambda p: torch.optim.AdamW(p, foreach=True)):
        used, idle = some_params([(4,), (4,)])
        opt = make([used, idle])
        for with_idle in (True, False):
            give_gradients([used, idle])
            idle.grad = idle.grad if with_idle else None
            uses, idles = (used * used).sum(), (idle * idle).sum()
            opt.step()
            with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                uses.backward()
            if not with_idle:
                idles.backward()


def test_zero_grad_both_ways():
    params = some_params([(4,), (5,)])
    opt = AdamW(params)
    opt.zero_grad()
    give_gradients(params)
    opt.step()
    opt.zero_grad(set_to_none=False)
    assert all(torch.equal(p.grad, torch.zeros_like(p)) for p in params)
    opt.zero_grad()
    assert all(p.grad is None for p in params)


def test_torch_compile_breaks_once_and_does_not_recompile_as_the_rate_changes():
    import torch._dynamo as dynamo

    dynamo.reset()
    model = torch.nn.Linear(4, 4)
    opt = AdamW(model.parameters(), lr=warmup_cosine(1e-2, 1e-3, 3, 20))
    compiled = 0

    def counting_backend(graph, inputs):
        nonlocal compiled
        compiled += 1
        return graph.forward

    @torch.compile(backend=counting_backend)
    def train_step(x):
        model(x).square().mean().backward()
        y = x * 2.0
        opt.step()
        opt.zero_grad()
        return y + 1.0

    x = torch.randn(8, 4)
    before = model(x).square().mean().item()
    for _ in range(3):
        train_step(x)
    settled = compiled
    # forward; what stands between backward and step; what follows zero_grad: one graph each, so one break at the step
    assert settled <= 4
    for _ in range(12):
        train_step(x)
    assert compiled == settled
    assert model(x).square().mean().item() < before
    assert opt.state[model.weight]["step"].item() == 15
    dynamo.reset()


def run_steps(params, opt, n):
    for k in range(n):
        generator = torch.Generator().manual_seed(k)
        for p in params:
            p.grad = torch.randn(p.shape, generator=generator)
        opt.step()


def test_optimizers_step_in_several_threads_at_once():
    torch.set_num_threads(2)

    def make():
        torch.manual_seed(7)
        params = some_params([(300, 300), (40,)])
        return params, AdamW(params, lr=1e-2, max_grad_norm=1.0)

    expected, opt = make()
    run_steps(expected, opt, 30)
    jobs = [make() for _ in range(4)]
    threads = [threading.Thread(target=run_steps, args=(params, opt, 30)) for params, opt in jobs]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for params, _ in jobs:
        assert all(torch.equal(p, q) for p, q in zip(params, expected, strict=True))


class StepInWorker(torch.utils.data.Dataset):
    """Steps an optimizer inside a DataLoader worker: a forked process whose parent had pool threads."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        # Many small tensors: enough for two of our threads, too small for torch's own pool, which does not survive a fork.
        params = [torch.nn.Parameter(torch.ones(2000)) for _ in range(40)]
        opt = AdamW(params, lr=1e-2, max_grad_norm=1.0)
        torch.set_num_threads(2)
        run_steps(params, opt, 3)
        return sum(p.detach().sum() for p in params)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")
def test_the_thread_pool_is_made_anew_after_fork():
    torch.set_num_threads(2)
    here = StepInWorker()[0]
    loader = torch.utils.data.DataLoader(
        StepInWorker(), batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=60
    )
    assert [x.item() for x in loader] == [here.item()] * 2
