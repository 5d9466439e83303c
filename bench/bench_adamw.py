"""AdamW with clipping and schedule: every variant of a workload in one group, checked against each other before timing."""

from __future__ import annotations

import pytest
import torch

from rewarm.bench import family_of_set
from rewarm.bench.adamw import workloads


def _names(text: str) -> tuple[str, ...]:
    return () if text == "all" else tuple(text.split(","))


def _sets(text: str) -> tuple[str, ...]:
    return tuple(name for name in _names(text) if family_of_set(name) == "adamw")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    option = metafunc.config.getoption
    device = torch.device(option("--device"))
    if device.type == "cuda" and not torch.cuda.is_available():
        raise pytest.UsageError("--device cuda: torch finds no CUDA GPU here")
    cases = []
    sets = _sets(option("--sets"))
    dtypes = _names(option("--dtypes"))
    for workload in workloads(device, sets=sets, dtypes=dtypes) if sets or option("--sets") == "all" else []:
        for variant in workload.variants(quick=False):
            # A graph reads gradients where they were captured.
            for arm in ("stable",) if variant.endswith("graph") else ("stable", "fresh"):
                label = f"{workload.name.partition('/')[2]}-{workload.dtype}-{variant.replace(' ', '_')}-{arm}"
                cases.append(pytest.param(workload, variant, arm, id=label))
    metafunc.parametrize(("workload", "variant", "arm"), cases)


def test_adamw(benchmark, request, workload, variant, arm):
    """One variant against ours, then timed."""
    makers = workload.variants(quick=False)
    loop = makers[variant]()
    initial, gradients = workload.inputs()
    workload.check([next(iter(makers.values()))(), loop], initial, gradients)
    workload.begin([loop], initial, gradients)
    (loop.renew_gradients if arm == "fresh" else loop.keep_gradients)(gradients)
    synchronize = torch.cuda.synchronize if workload.setting.device.type == "cuda" else None

    def run() -> None:
        loop.run()
        if synchronize is not None:
            synchronize()

    benchmark.group = f"{workload.name} {workload.dtype}, {arm} gradient addresses"
    benchmark.extra_info.update(
        bytes=workload.moved_bytes, parameters=workload.setting.numel, threads=torch.get_num_threads(), steps=loop.repeats
    )
    benchmark.pedantic(run, setup=loop.prepare, rounds=request.config.getoption("--rounds"), warmup_rounds=1)
