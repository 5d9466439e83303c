"""``pytest bench/``: the workloads of ``rewarm bench`` under pytest-benchmark; the quick ones unless others are asked for."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("rewarm")
    group.addoption("--sets", default="sac,redq10,q_64x2", help="parameter sets, comma-separated; 'all' for all of the device")
    group.addoption("--dtypes", default="fp32,bf16,bf16_sr", help="dtypes of adamw, comma-separated")
    group.addoption("--seeds", default="1", help="of q: agents that are updated at once, comma-separated")
    group.addoption("--device", default="cpu", choices=("cpu", "cuda"), help="where the parameters live")
    group.addoption("--rounds", default=50, type=int, help="runs of each variant")
    group.addoption("--megabytes", default=30.0, type=float, help="size of each file of the trace")
