"""The examples of docs/frameworks.md, run as they stand: each after the first, which they share."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest
import torch

PAGE = Path(__file__).parents[2] / "docs" / "frameworks.md"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), flags=re.M | re.S)


@pytest.mark.filterwarnings("ignore")  # of the libraries
@pytest.mark.parametrize("index", range(1, len(EXAMPLES)))
def test_example(index, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "RANK": 0,
        "WORLD_SIZE": 1,
        "LOCAL_RANK": 0,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": free_port(),
    }.items():
        if "dist.init_process_group" in EXAMPLES[index]:
            monkeypatch.setenv(name, str(value))
    names = {}
    exec(compile(EXAMPLES[0], f"{PAGE.name}, the first example", "exec"), names)
    before = [p.detach().clone() for p in names["model"].parameters()]
    try:
        exec(compile(EXAMPLES[index], f"{PAGE.name}, example {index}", "exec"), names)
    finally:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        torch._dynamo.reset()
    after = [p.detach() for p in names["model"].parameters()]
    assert any(
        p.shape != q.shape or not torch.equal(getattr(p, "_local_tensor", p), q) for p, q in zip(after, before, strict=False)
    )
