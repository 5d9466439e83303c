"""AdamW captured in CUDA graphs: replays follow counters and schedules, and what could not be replayed is refused."""

from __future__ import annotations

import pytest
import torch

from rewarm.errors import CaptureError
from rewarm.optim import AdamW
from rewarm.schedule import linear, wsd

pytestmark = pytest.mark.gpu

DEVICE = "cuda"
SHAPES = [(1000,), (33, 65), (3,), (200_001,)]


def some_params(dtype=torch.float32):
    torch.manual_seed(5)
    return [torch.nn.Parameter(torch.randn(shape, device=DEVICE).to(dtype)) for shape in SHAPES]


def fixed_gradients(params, seed=1):
    generator = torch.Generator(DEVICE).manual_seed(seed)
    for p in params:
        p.grad = torch.randn(p.shape, device=DEVICE, generator=generator).to(p.dtype)


def ready(opt, params):
    """An optimizer that has stepped once, so that its plan stands."""
    fixed_gradients(params)
    opt.step()
    return opt


def capture(work):
    graph = torch.cuda.CUDAGraph()
    something = torch.zeros(1, device=DEVICE)
    with torch.cuda.graph(graph):
        something.add_(1.0)  # torch warns of graphs without a node, which a refused capture would leave
        work()
    graph.something = something  # every replay writes it: freed, its memory would be another tensor's
    return graph


def refused(match, work):
    with pytest.raises(CaptureError, match=match):
        capture(work)
    torch.cuda.synchronize()


def check_equal(ours, opt, theirs, peer):
    for p, q in zip(ours, theirs, strict=True):
        assert torch.equal(p, q)
        for key, value in peer.state[q].items():
            assert torch.equal(opt.state[p][key], value), key
    assert torch.equal(opt.last_lr, peer.last_lr)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("max_grad_norm", [None, 0.5])
def test_replays_equal_eager_steps(dtype, max_grad_norm):
    options = {
        "lr": wsd(1e-2, 1e-3, 2, 4, 3),
        "weight_decay": linear(0.1, 0.0, 6),
        "max_grad_norm": max_grad_norm,
        "stochastic_rounding": dtype is torch.bfloat16,
        "capturable": True,
    }
    ours, theirs = some_params(dtype), some_params(dtype)
    opt, peer = ready(AdamW(ours, **options), ours), ready(AdamW(theirs, **options), theirs)
    written = opt.param_groups[0]["lr"]
    graph = capture(opt.step)
    assert opt.param_groups[0]["lr"] == written, "recording is no update"
    for i in range(12):
        for p, q in zip(ours, theirs, strict=True):
            p.grad.normal_()
            q.grad.copy_(p.grad)
        graph.replay()
        peer.step()
        check_equal(ours, opt, theirs, peer)
        if i == 5:  # an eager step in between is one more update
            opt.step()
            peer.step()
            check_equal(ours, opt, theirs, peer)
    assert opt.state_dict()["param_groups"][0]["updates"] == peer.state_dict()["param_groups"][0]["updates"] == 14


def test_a_captured_training_step_with_backward_inside():
    ours, theirs = some_params(), some_params()
    target = [torch.randn_like(p) for p in ours]

    def train(params, opt):
        for p in params:
            p.grad = None
        sum(((p - t) ** 2).sum() for p, t in zip(params, target, strict=True)).backward()
        opt.step()

    opt, peer = (AdamW(x, lr=linear(1e-1, 1e-2, 20), max_grad_norm=1.0, capturable=True) for x in (ours, theirs))
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            train(ours, opt)
    torch.cuda.current_stream().wait_stream(side)
    graph = capture(lambda: train(ours, opt))
    for _ in range(20):
        graph.replay()
    for _ in range(23):
        train(theirs, peer)
    check_equal(ours, opt, theirs, peer)


def test_a_graph_follows_rewarm_without_being_captured_again():
    ours, theirs = some_params(), some_params()
    opt, peer = (ready(AdamW(x, lr=1e-3, max_grad_norm=1.0, capturable=True), x) for x in (ours, theirs))
    graph = capture(opt.step)
    for schedule in (None, linear(1e-2, 1e-3, 3), wsd(2e-2, 1e-3, 2, 2, 2), linear(1e-3, 0.0, 2)):
        if schedule is not None:
            opt.rewarm(schedule)
            peer.rewarm(schedule)
        for _ in range(4):
            graph.replay()
            peer.step()
            check_equal(ours, opt, theirs, peer)


def test_every_graph_and_the_eager_step_read_their_own_gradients():
    ours, theirs = some_params(), some_params()
    opt, peer = (ready(AdamW(x, lr=1e-3, max_grad_norm=1.0, capturable=True), x) for x in (ours, theirs))
    graphs, kept = [], []
    for seed in (11, 12):
        fixed_gradients(ours, seed)
        kept.append([p.grad for p in ours])
        graphs.append(capture(opt.step))
    fixed_gradients(ours, 13)
    for seed in (11, 13, 12, 12, 13, 11):
        fixed_gradients(theirs, seed)
        peer.step()
        if seed == 13:
            opt.step()
        else:
            graphs[seed - 11].replay()
        check_equal(ours, opt, theirs, peer)


@pytest.mark.parametrize("max_grad_norm", [None, 1.0])
def test_skips_are_decided_in_the_replay(max_grad_norm):
    params = some_params()
    opt = AdamW(params, lr=linear(1e-2, 0.0, 10), max_grad_norm=max_grad_norm, skip_nonfinite=True, capturable=True)
    ready(opt, params)
    graph = capture(opt.step)
    params[1].grad[3, 4] = float("inf")
    before = [p.detach().clone() for p in params]
    graph.replay()
    graph.replay()
    assert all(torch.equal(p, b) for p, b in zip(params, before, strict=True))
    assert opt.skipped_steps.item() == 2
    params[1].grad[3, 4] = 0.0
    graph.replay()
    assert not torch.equal(params[0], before[0])
    assert opt.state[params[0]]["step"].item() == 2.0
    assert opt.state_dict()["param_groups"][0]["updates"] == 2


def test_found_inf_and_tokens_are_read_in_the_replay():
    params = some_params()
    opt = AdamW(params, lr=linear(1.0, 0.0, 1000, units="tokens"), capturable=True)
    fixed_gradients(params)
    opt.step(tokens=100)
    opt.found_inf, opt.grad_scale = torch.zeros(1, device=DEVICE), torch.full((), 8.0, device=DEVICE)
    tokens = torch.zeros((), dtype=torch.int64, device=DEVICE)
    graph = capture(lambda: opt.step(tokens=tokens))
    for used, overflow, rate in ((200, 0.0, 0.9), (300, 0.0, 0.7), (5, 1.0, 0.7), (50, 0.0, 0.4)):
        tokens.fill_(used)
        opt.found_inf.fill_(overflow)
        graph.replay()
        assert opt.last_lr.item() == pytest.approx(rate, rel=1e-15)
    assert opt.skipped_steps.item() == 1
    assert opt.state_dict()["param_groups"][0]["tokens"] == 650


def test_refused_without_a_plan():
    params = some_params()
    opt = AdamW(params, capturable=True)
    fixed_gradients(params)
    refused("the first step.*take a step with all gradients before the capture", opt.step)
    opt.step()
    capture(opt.step).replay()


def test_refused_without_capturable():
    params = some_params()
    opt = ready(AdamW(params), params)
    refused("group 0 has capturable=False", opt.step)


def test_refused_with_a_missing_gradient():
    params = some_params()
    opt = ready(AdamW([(f"layer.{i}", p) for i, p in enumerate(params)], capturable=True), params)
    params[2].grad = None
    refused(r"param 'layer.2' \(group 0, index 2\) has no gradient.*1 of 4 parameters", opt.step)


def test_refused_with_a_new_gradient():
    params = some_params()
    opt = AdamW(params, capturable=True)
    fixed_gradients(params[:2])
    opt.step()
    fixed_gradients(params)
    refused("one that finds a new gradient", opt.step)


def test_refused_with_a_closure():
    params = some_params()
    opt = ready(AdamW(params, capturable=True), params)
    refused("step with a closure cannot be captured", lambda: opt.step(lambda: 0.0))


def test_refused_with_a_float_rate_and_a_torch_scheduler():
    params = some_params()
    opt = AdamW(params, lr=1e-2, capturable=True)
    torch.optim.lr_scheduler.LambdaLR(opt, lambda step: 1.0 / (step + 1))
    ready(opt, params)
    refused("a float learning rate and a torch scheduler", opt.step)


def test_rewarm_is_refused_inside_a_capture():
    params = some_params()
    opt = ready(AdamW(params, capturable=True), params)
    refused("rewarm cannot be captured", lambda: opt.rewarm(linear(1.0, 0.0, 3)))


def test_after_a_capture_addresses_are_kept_until_it_is_released():
    params = some_params()
    opt = ready(AdamW(params, capturable=True), params)
    graph = capture(opt.step)
    graph.replay()
    for forbidden in (
        lambda: opt.add_param_group({"params": [torch.nn.Parameter(torch.zeros(3, device=DEVICE))]}),
        opt.zero_grad,
        lambda: opt.load_state_dict({**opt.state_dict(), "state": {}}),
    ):
        with pytest.raises(CaptureError, match=r"opt\.release_capture\(\)"):
            forbidden()
    opt.zero_grad(set_to_none=False)
    params[0].data = params[0].data.clone()
    with pytest.raises(CaptureError, match="a rebuild of the plan"):
        opt.step()
    opt.release_capture()
    opt.zero_grad()
    fixed_gradients(params)
    opt.step()


def test_more_captures_than_there_is_room_for():
    from rewarm.optim.adamw_cuda import CAPTURES

    params = some_params()
    opt = ready(AdamW(params, capturable=True, backend="cuda"), params)
    graphs = [capture(opt.step) for _ in range(CAPTURES)]
    refused("no room for more", opt.step)
    graphs[-1].replay()
    opt.release_capture()
    capture(opt.step).replay()


@pytest.mark.parametrize(
    "verb",
    [
        lambda o: o.rewarm(linear(2e-2, 0.0, 9), state="reset"),
        lambda o: o.rewarm(linear(2e-2, 0.0, 9), state="reset_v", v_init="grad"),
        lambda o: o.rewarm(linear(2e-2, 0.0, 9), state="decay:0.25"),
        lambda o: o.extend(40),
        lambda o: o.anneal(length=3),
        lambda o: o.set_schedule(linear(2e-2, 0.0, 90), origin=0),
        lambda o: o.load_state_dict(o.earlier),
    ],
    ids=["reset", "reset_v-grad", "decay", "extend", "anneal", "set_schedule", "load"],
)
@pytest.mark.parametrize("backend", ["cuda", "triton"])
def test_a_graph_follows_every_verb_and_a_load_without_being_captured_again(verb, backend):
    ours, theirs = some_params(), some_params()
    options = {"lr": wsd(1e-2, 1e-3, 2, 10, 4), "max_grad_norm": 1.0, "capturable": True, "backend": backend}
    opt, peer = (ready(AdamW(x, **options), x) for x in (ours, theirs))
    graph = capture(opt.step)
    for o in (opt, peer):
        o.earlier = o.state_dict()
        o.earlier["state"] = {k: {key: v.clone() for key, v in s.items()} for k, s in o.earlier["state"].items()}
    for _ in range(4):
        graph.replay()
        peer.step()
    verb(opt)
    verb(peer)
    for _ in range(6):
        graph.replay()
        peer.step()
        check_equal(ours, opt, theirs, peer)
    assert opt.history == peer.history
