"""The example of docs/ensemble_mlp.md, run as it stands."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "ensemble_mlp.md"


def test_the_example_runs_and_gives_every_critic_a_gradient():
    (example,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), flags=re.M | re.S)
    names: dict = {}
    exec(compile(example, PAGE.name, "exec"), names)
    assert names["q_next"].shape == (2, 256) and names["q"].shape == (10, 256)
    for tensor in (*(t for layer in names["layers"] for t in layer), *names["head"]):
        assert tensor.grad is not None and tensor.grad.flatten(1 if tensor.ndim > 1 else 0).any(-1).all()
