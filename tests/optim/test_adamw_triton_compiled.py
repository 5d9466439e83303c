"""What Triton's interpreter cannot show of the AdamW kernels: PTX compiled ahead of time, refusals, CUDA graphs.

Compiling fails where the interpreter is switched on, so it runs in processes of its own.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys

import pytest
import torch

pytest.importorskip("triton")

from rewarm.optim import AdamW
from rewarm.optim.ahead_of_time import ARCHITECTURES, COMBINATIONS, WITH_EXTRAS
from rewarm.schedule import warmup_cosine

COMPILE = """
import json, sys
import triton
from triton.backends.compiler import GPUTarget
from rewarm.optim import AdamW
from rewarm.optim.ahead_of_time import ahead_of_time_sources
target = GPUTarget("cuda", int(sys.argv[1]), 32)
for name, source, options in ahead_of_time_sources():
    built = triton.compile(source, target=target, options=options)
    print(json.dumps([name, len(built.asm["cubin"]), built.asm["ptx"]]))
"""


def outside_the_interpreter(program, *arguments, **variables):
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"} | variables
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_compiled_kernels_round_correctly_and_move_16_bytes(architecture, tmp_path):
    printed = outside_the_interpreter(COMPILE, str(architecture), TRITON_CACHE_DIR=str(tmp_path))
    built = {name: (size, ptx) for name, size, ptx in map(json.loads, printed.splitlines())}
    names = {f"update_{c}" for c in COMBINATIONS} | {f"update_{c}_extras" for c in WITH_EXTRAS}
    assert set(built) == names | {f"norm_{d}" for d in ("float32", "bfloat16", "float16")}
    for name, (size, ptx) in built.items():
        assert size > 0
        # What is left is libdevice's own float64: the seed of a Newton reciprocal, a magnitude that is compared.
        loose = set(re.findall(r"\b[a-z][\w.]*\.(?:approx|ftz|full)\b[\w.]*", ptx))
        assert loose <= {"rcp.approx.ftz.f64", "abs.ftz.f32"}, name
        words = {kind: len(re.findall(rf"{kind}\.global(?:\.\w+)*\.v4\.b32", ptx)) for kind in ("ld", "st")}
        assert words["ld"] > 0, name
        # Addresses that are not aligned: the same kernel, element by element.
        assert re.search(r"ld\.global\.b16" if "float16" in name else r"ld\.global\.b32", ptx), name
        if name.startswith("norm"):
            assert "3EB0C6F7A0B5ED8D" in ptx.upper(), "1e-6 must stay a float64 constant"
        else:
            assert words["st"] >= 3, name  # p, m and v
            assert ptx.count("div.rn.f32") == ptx.count("sqrt.rn.f32") > 0, name
            assert not re.search(r"\bsqrt\.\w+\.f32", ptx.replace("sqrt.rn.f32", "")), name
        if "bfloat16" in name and name.startswith("update"):
            assert "cvt.rn.bf16" in ptx, name


UNAVAILABLE = """
import os, torch
from rewarm.errors import BackendUnavailable
from rewarm.optim import AdamW, adamw_triton
p = torch.nn.Parameter(torch.ones(3))
p.grad = torch.ones(3)
for late in (False, True):
    if late:
        os.environ["TRITON_INTERPRET"] = "1"
    try:
        AdamW([p], backend="triton").step()
    except BackendUnavailable as error:
        print(error)
"""


def test_cpu_tensors_outside_the_interpreter_are_refused_with_the_remedy():
    first, second = outside_the_interpreter(UNAVAILABLE).splitlines()
    assert "backend 'triton' cannot be used" in first
    assert "TRITON_INTERPRET=1" in first
    assert "TRITON_INTERPRET=1 was not set when they were imported. Set it before Python starts" in second


# ---- on a GPU --------------------------------------------------------------------------------------------------------


def on_gpu(capturable=True, **options):
    torch.manual_seed(7)
    params = [torch.nn.Parameter(torch.randn(n, device="cuda")) for n in (33, 49153)]
    for p in params:
        p.grad = torch.randn_like(p)
    return params, AdamW(params, backend="triton", capturable=capturable, max_grad_norm=1.0, **options)


@pytest.mark.gpu
def test_a_step_does_not_synchronise():
    params, opt = on_gpu(lr=warmup_cosine(1e-2, 1e-3, 2, 5))
    opt.step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for p in params:
            p.grad = p.grad.clone()
        opt.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
def test_replays_of_a_graph_advance_and_follow_a_new_schedule():
    def run(captured):
        params, opt = on_gpu(lr=warmup_cosine(1e-2, 1e-3, 2, 5))
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            opt.step()
        torch.cuda.current_stream().wait_stream(side)
        step = opt.step
        if captured:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                opt.step()
            step = graph.replay
        rates = []
        for k in range(6):
            if k == 3:
                opt.rewarm(warmup_cosine(5e-2, 0.0, 2, 8))
            step()
            rates.append(opt.last_lr.item())
        return rates, [p.detach().clone() for p in params], opt.tables.counters.tolist()

    (rates, params, counters), (eager_rates, eager_params, eager_counters) = run(True), run(False)
    assert rates == eager_rates
    assert counters == eager_counters
    assert all(torch.equal(p, q) for p, q in zip(params, eager_params, strict=True))


@pytest.mark.gpu
def test_eager_steps_between_replays_do_not_disturb_the_graph():
    params, opt = on_gpu()
    opt.step()
    graph = torch.cuda.CUDAGraph()
    kept = [p.grad for p in params]
    with torch.cuda.graph(graph):
        opt.step()
    for p in params:
        p.grad = torch.full_like(p, math.nan)
    opt.step()  # skipped: its gradients are not finite
    graph.replay()
    assert opt.skipped_steps.item() == 1
    assert opt.grad_norm.item() == pytest.approx(math.sqrt(sum(g.double().square().sum().item() for g in kept)), rel=1e-12)
