"""What `rewarm env` says about the Q ops: every backend passes, and one that computes something else is named."""

from __future__ import annotations

import pytest
from ensemble_cases import backends

from rewarm.errors import RewarmError
from rewarm.q import self_check

BACKENDS = [("reference", "cpu"), *backends("ensemble_mlp")]


@pytest.mark.parametrize(("backend", "device"), BACKENDS, ids=[b for b, _ in BACKENDS])
def test_every_backend_passes_within_its_bounds(backend, device):
    assert 0.0 < self_check.every_op(device, backend) <= 1.0


@pytest.mark.parametrize(
    ("op", "change"),
    [
        ("ensemble_mlp", lambda q: q + 1e-4),
        ("td_target", lambda y: y * (1 + 1e-5)),
        ("cql_penalty", lambda diff: diff * (1 + 1e-5)),
        ("philox", lambda words: words + words % 2),
    ],
)
def test_an_op_that_is_off_is_named(monkeypatch, op, change):
    right = getattr(self_check, op)

    def wrong(*arguments, **options):
        result = right(*arguments, **options)
        computed = options.get("backend") == "cpu" and result.dtype.is_floating_point == (op != "philox")
        return change(result.long() if op == "philox" else result) if computed else result

    monkeypatch.setattr(self_check, op, wrong)
    with pytest.raises(RewarmError, match=f"{op}.*: off by .* times the bound"):
        self_check.every_op("cpu", "cpu")
