"""torch.compile of a training step: the learning rate changes at every update and nothing is compiled again."""

from __future__ import annotations

import pytest
import torch

from rewarm.optim import AdamW
from rewarm.schedule import linear, warmup_cosine


@pytest.mark.filterwarnings("ignore::Warning:torch.*")
@pytest.mark.parametrize("driven", ["schedule", "float"])
def test_no_recompiles_across_learning_rates(driven):
    schedule = warmup_cosine(1e-2, 1e-3, 3, 9)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    plain = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    plain.load_state_dict(model.state_dict())
    x, y = torch.randn(16, 4), torch.randn(16, 1)
    optimizers = [
        AdamW(m.parameters(), lr=schedule if driven == "schedule" else 0.0, max_grad_norm=0.5) for m in (model, plain)
    ]

    def train(model, opt):
        loss = (model(x) - y).square().mean()
        loss.backward()
        opt.step()
        opt.zero_grad()
        return loss

    # "eager" traces, guards and counts like any backend, without a C++ compiler.
    compiled = torch.compile(lambda: train(model, optimizers[0]), backend="eager")
    seen = []
    for k in range(12):
        for opt in optimizers:
            if driven == "float":
                opt.param_groups[0]["lr"] = schedule(k)
            elif k == 8:
                opt.rewarm(linear(5e-3, 0.0, 4))
        assert torch.equal(compiled(), train(plain, optimizers[1]))
        seen.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
        assert optimizers[0].last_lr.item() == optimizers[1].last_lr.item()
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), plain.parameters(), strict=True))
    assert len({opt.param_groups[0]["lr"] for opt in optimizers}) == 1
    assert seen[0] > 0
    # The first gradients appear in the first call; from the second on the same code runs.
    assert seen[1:] == [seen[1]] * 11, seen
    assert torch._dynamo.utils.counters["recompiles"] == {} or not torch._dynamo.utils.counters["recompiles"]
    torch._dynamo.reset()
