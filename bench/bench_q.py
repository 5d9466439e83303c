"""The Q update: every variant of a workload in one group, each held to the float64 reference before it is timed."""

from __future__ import annotations

import pytest
import torch

from rewarm.bench import family_of_set
from rewarm.bench.q import matmul_precision, workloads
from rewarm.bench.q_setting import flops


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    option = metafunc.config.getoption
    device = torch.device(option("--device"))
    if device.type == "cuda" and not torch.cuda.is_available():
        raise pytest.UsageError("--device cuda: torch finds no CUDA GPU here")
    sets = tuple(name for name in option("--sets").split(",") if family_of_set(name) == "q")
    seeds = tuple(int(number) for number in option("--seeds").split(","))
    chosen = workloads(device, sets=sets, seeds=seeds) if sets or option("--sets") == "all" else []
    cases = []
    for workload in chosen:
        for variant in workload.variants(quick=False):
            label = f"{workload.name}-{workload.dtype}-{variant}".replace(",", "").replace(" ", "_")
            cases.append(pytest.param(workload, variant, id=label))
    metafunc.parametrize(("workload", "variant"), cases)


@pytest.fixture(autouse=True)
def one_thread():
    """As ``rewarm bench --only q``: one core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_q(benchmark, request, workload, variant):
    """One variant against the reference, then timed with its draws."""
    said: list[str] = []
    with matmul_precision(workload.dtype):
        loops = workload.check([workload.variants(quick=False)[variant]()], said.append)
        if not loops:
            pytest.skip(said[0])
        workload.begin(loops)
        (loop,) = loops

        def run() -> None:
            loop.run()
            if workload.device.type == "cuda":
                torch.cuda.synchronize()

        benchmark.group = f"{workload.name} {workload.dtype}"
        benchmark.extra_info.update(
            flops=flops(loop.setting), threads=torch.get_num_threads(), updates=loop.repeats, **loop.facts
        )
        benchmark.pedantic(run, rounds=request.config.getoption("--rounds"), warmup_rounds=1)
