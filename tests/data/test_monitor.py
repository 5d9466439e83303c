"""StabilityMonitor against a curve drawn point by point, and what it keeps and refuses."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rewarm.data import StabilityMonitor
from rewarm.errors import InvalidArgument, StateDictMismatch


def monitored(curve, tolerance=0.0):
    monitor = StabilityMonitor(["loss"], tolerance=tolerance)
    for tokens, loss in curve:
        monitor.record(tokens, loss=loss)
    return monitor.summary()["loss"]


curves = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 8)), min_size=1, max_size=6).map(
    lambda points: [(sum(width for width, _ in points[:i]), loss / 4) for i, (_, loss) in enumerate(points, 1)]
)


@given(curves, st.sampled_from([0.0, 0.25, 0.3]))
@settings(max_examples=30)
def test_equals_a_curve_drawn_point_by_point(points, tolerance):
    curve = [(0, 1.0), *points]
    found = monitored(curve, tolerance)
    tokens, losses = zip(*curve, strict=True)
    # Losses are quarters: a crossing of the start falls on a multiple of width / (difference in quarters), so a step of
    # 1/840 (the least common multiple of 1 to 8) meets every one, and the trapezoids between are exact.
    fine = np.arange(tokens[-1] * 840 + 1) / 840
    drawn = np.interp(fine, tokens, losses)
    above = np.maximum(0.0, drawn - 1.0)
    assert found["area"] == pytest.approx(((above[1:] + above[:-1]) / 2).sum() / 840, rel=1e-9, abs=1e-9)
    assert (found["peak"], found["rise"], found["end"]) == (max(losses), max(losses) - 1.0, losses[-1])
    assert found["peak_tokens"] == tokens[losses.index(max(losses))] and found["change"] == losses[-1] - 1.0
    if max(losses) <= 1.0 + tolerance:
        assert found["recovery_tokens"] == 0.0
        return
    back = fine[(fine > found["peak_tokens"]) & (drawn <= 1.0 + tolerance + 1e-12)]
    if back.size:
        assert 0 <= back[0] - found["recovery_tokens"] < 1 / 840 + 1e-9
    else:
        assert found["recovery_tokens"] is None


def test_a_bump_by_hand():
    found = monitored([(0, 2.0), (10, 3.0), (30, 1.0), (40, 1.5)])
    assert found == {
        "start": 2.0, "peak": 3.0, "end": 1.5, "peak_tokens": 10,
        "rise": 1.0, "change": -0.5, "recovery_tokens": 20.0, "area": 10.0,
    }  # fmt: skip


def test_tensors_are_copied_and_read_only_when_asked():
    class Unread(torch.Tensor):
        reads = 0

        def __float__(self):
            Unread.reads += 1
            return super().__float__()

    monitor = StabilityMonitor()
    loss = torch.tensor(1.0).as_subclass(Unread)
    for tokens in range(3):
        monitor.record(tokens, old=loss, new=2.0)
        loss += 1.0  # a training loop may reuse its tensor
    assert Unread.reads == 0 and len(monitor) == 3
    assert [monitor.summary()["old"][key] for key in ("start", "peak", "end")] == [1.0, 3.0, 3.0]
    assert Unread.reads == 3


def test_state_goes_through_json_and_on():
    monitor, later = StabilityMonitor(tolerance=0.1), StabilityMonitor()
    monitor.record(0, old=torch.tensor(1.0), new=3.0)
    monitor.record(5, old=1.5, new=2)
    later.load_state_dict(json.loads(json.dumps(monitor.state_dict())))
    for each in (monitor, later):
        each.record(9, old=1.0, new=1.0)
    assert later.summary() == monitor.summary() and later.state_dict() == monitor.state_dict()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"version": 2}, "version 2 with losses"),
        ({"losses": {"old": [1.0]}}, r"losses of \['old'\]"),
        ({"tokens": [3]}, None),
        ({"tokens": [3, 3]}, "growing counts"),
        ({"losses": {"old": [1.0], "new": "x"}}, "not a state of a StabilityMonitor: ValueError"),
        ({"tolerance": None}, "not a state of a StabilityMonitor: TypeError"),
    ],
)
def test_a_damaged_state_changes_nothing(damage, message):
    monitor = StabilityMonitor()
    monitor.record(0, old=1.0, new=2.0)
    before = monitor.state_dict()
    if message is None:  # another count is as good
        monitor.load_state_dict(before | damage)
        return
    with pytest.raises(StateDictMismatch, match=message):
        monitor.load_state_dict(before | damage)
    assert monitor.state_dict() == before


def test_what_cannot_be_recorded_is_refused():
    monitor = StabilityMonitor()
    with pytest.raises(InvalidArgument, match="nothing was recorded"):
        monitor.summary()
    monitor.record(5, old=1.0, new=1.0)
    for tokens, losses, message in [
        (5, {"old": 1.0, "new": 1.0}, "tokens is 5; a whole number, more than the 5 before"),
        (6.0, {"old": 1.0, "new": 1.0}, "tokens is 6.0"),
        (6, {"old": 1.0}, r"losses of \['old'\] given, of \['new', 'old'\] accepted"),
        (6, {"old": math.nan, "new": 1.0}, "old is nan at 6 tokens"),
        (6, {"old": torch.ones(2), "new": 1.0}, "old is a tensor of 2 elements"),
        (6, {"old": "1", "new": 1.0}, "old is '1'"),
    ]:
        with pytest.raises(InvalidArgument, match=message):
            monitor.record(tokens, **losses)
    assert len(monitor) == 1
    monitor.record(6, old=torch.tensor(math.inf), new=1.0)
    with pytest.raises(InvalidArgument, match="old is inf at 6 tokens"):
        monitor.summary()
    for names, message in [("old", "names is"), ([], "names is"), (["a", "a"], "names is")]:
        with pytest.raises(InvalidArgument, match=message):
            StabilityMonitor(names)
    with pytest.raises(InvalidArgument, match="tolerance is -1"):
        StabilityMonitor(tolerance=-1)
