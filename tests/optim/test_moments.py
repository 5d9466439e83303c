"""What re-warming does to the moments, against averages kept as explicit weights in float64."""

from __future__ import annotations

import pytest
import torch
from test_adamw import DEVICES, some_params

from rewarm.optim import AdamW
from rewarm.schedule import constant

LR, BETA1, BETA2, EPS = 1e-2, 0.9, 0.99, 1e-8
# An update rounds a theta below 4 once, and its step, at most 5 LR, some 30 times; 16 updates.
CLOSE = {"rtol": 0, "atol": 16 * 2.0**-24 * (4 + 30 * 5 * LR)}
# The interpreter runs triton where no GPU compiles it.
ALL = [*DEVICES, ("reference", "cpu")] + ([] if torch.cuda.is_available() else [("triton", "cpu")])


class Average:
    """A moving average as the list of what it saw, each with its weight: what Adam's correction stands for."""

    def __init__(self, beta):
        self.beta, self.seen, self.gi_updates = beta, [], None

    def see(self, x):
        if self.gi_updates == 0:
            self.seen = [(1.0, x)]
        self.seen = [(w * self.beta, y) for w, y in self.seen] + [(1.0 - self.beta, x)]
        if self.gi_updates is not None:
            self.gi_updates += 1

    def mean(self):
        total = sum(w for w, _ in self.seen)
        if self.gi_updates is not None:  # begun at the first square, with Adam's correction kept
            total = 1.0 - self.beta**self.gi_updates
        return sum(w * x for w, x in self.seen) / total

    def keep(self, share):
        self.seen = [(w * share, x) for w, x in self.seen] if share else []

    def begin_at_gradient(self):
        self.seen, self.gi_updates = [], 0


def change(averages, state, v_init):
    m, v = averages
    share = {"keep": (1, 1), "reset": (0, 0), "reset_m": (0, 1), "reset_v": (1, 0)}.get(state)
    share = share or (float(state.split(":")[1]),) * 2
    m.keep(share[0])
    v.keep(share[1])
    if v_init == "grad":
        v.begin_at_gradient()
    elif share[1] == 0:
        v.gi_updates = None


CASES = [
    [("keep", "zero")],
    [("reset", "zero")],
    [("reset_m", "zero")],
    [("reset_v", "zero")],
    [("reset", "grad")],
    [("reset_v", "grad")],
    [("decay:0.25", "zero")],
    [("decay:0", "zero")],
    [("decay:0.5", "zero"), ("reset_m", "zero"), ("decay:0.5", "zero")],
    [("reset_v", "grad"), ("reset_m", "zero"), ("reset", "zero")],
]


@pytest.mark.parametrize(
    ("acts", "backend", "device"),
    # The interpreter takes seconds a case: the last two have every policy.
    [(acts, *where) for where in ALL for acts in (CASES[-2:] if where == ("triton", "cpu") else CASES)],
    ids=lambda x: " then ".join(f"{s} {v}" for s, v in x) if isinstance(x, list) else None,
)
def test_moments_are_the_averages_of_what_they_keep(acts, backend, device):
    """Two parameters, one of which misses some gradients; the acts come after updates 8, 9 (at once) and 13."""
    params = some_params([(40,), (7, 3)], device=device)
    opt = AdamW(params, lr=LR, betas=(BETA1, BETA2), eps=EPS, weight_decay=0.0, backend=backend)
    theta = [p.detach().double().clone() for p in params]
    averages = [(Average(BETA1), Average(BETA2)) for _ in params]
    due = dict(zip((8, 9, 13), acts, strict=False))
    generator = torch.Generator().manual_seed(4)
    for k in range(16):
        if k in due:
            state, v_init = due[k]
            opt.rewarm(constant(LR), state=state, v_init=v_init)
            for pair in averages:
                change(pair, state, v_init)
        for i, p in enumerate(params):
            g = torch.randn(p.shape, generator=generator) * (1.0 + k)
            if i == 1 and k in (3, 8, 9, 11):
                p.grad = None
                continue
            p.grad = g.to(device)
            m, v = averages[i]
            g = p.grad.double()
            m.see(g)
            v.see(g * g)
            theta[i] = theta[i] - LR * m.mean() / (v.mean().sqrt() + EPS)
        opt.step()
        for p, exact in zip(params, theta, strict=True):
            torch.testing.assert_close(p.detach().double(), exact, **CLOSE)


def test_only_a_full_reset_restarts_t():
    for state, expected in (("keep", 4), ("reset", 0), ("reset_m", 4), ("reset_v", 4), ("decay:0.5", 4)):
        (p,) = some_params([(5,)])
        opt = AdamW([p], lr=1e-3)
        for _ in range(4):
            p.grad = torch.ones_like(p)
            opt.step()
        opt.rewarm(constant(1e-3), state=state)
        assert opt.state[p]["step"].item() == expected
        zero = {"reset": (True, True), "reset_m": (True, False), "reset_v": (False, True)}.get(state, (False, False))
        assert tuple(not opt.state[p][key].any() for key in ("exp_avg", "exp_avg_sq")) == zero


def test_a_reset_optimizer_steps_as_a_new_one():
    ours, theirs = some_params([(30,)]), None
    opt = AdamW(ours, lr=1e-2)
    for _ in range(5):
        ours[0].grad = torch.randn_like(ours[0])
        opt.step()
    theirs = [torch.nn.Parameter(ours[0].detach().clone())]
    opt.rewarm(constant(3e-3), state="reset")
    fresh = AdamW(theirs, lr=constant(3e-3))
    for _ in range(5):
        ours[0].grad = torch.randn_like(ours[0])
        theirs[0].grad = ours[0].grad.clone()
        opt.step()
        fresh.step()
    assert torch.equal(ours[0], theirs[0])


def test_amsgrad_forgets_its_maximum_with_v():
    (p,) = some_params([(5,)])
    opt = AdamW([p], lr=1e-3, amsgrad=True)
    p.grad = torch.full_like(p, 100.0)
    opt.step()
    opt.rewarm(constant(1e-3), state="decay:0.5")
    assert torch.equal(opt.state[p]["max_exp_avg_sq"], opt.state[p]["exp_avg_sq"])
    opt.rewarm(constant(1e-3), state="reset_v")
    assert not opt.state[p]["max_exp_avg_sq"].any()


def test_an_infinite_v_is_reset_to_zero():
    (p,) = some_params([(5,)])
    opt = AdamW([p], lr=1e-3)
    p.grad = torch.full_like(p, 1e30)
    opt.step()
    assert opt.state[p]["exp_avg_sq"].isinf().all()
    opt.rewarm(constant(1e-3), state="reset_v")
    assert not opt.state[p]["exp_avg_sq"].any()


def test_a_t_written_from_outside_brings_its_own_start():
    (p,) = some_params([(5,)])
    opt = AdamW([p], lr=1e-3)
    for _ in range(6):
        p.grad = torch.ones_like(p)
        opt.step()
    opt.rewarm(constant(1e-3), state="reset_v")
    for key in ("exp_avg", "exp_avg_sq"):
        opt.state[p][key].zero_()
    opt.state[p]["step"].zero_()
    before = p.detach().clone()
    opt.step()  # Adam's first step: the rate itself, less the decay
    torch.testing.assert_close(before - p.detach(), torch.full_like(p, 1e-3) + 1e-5 * before, rtol=1e-3, atol=1e-7)
