import copy
import json
import math
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_cases import CASES, TRILLION, bound, probes, same_bits

from rewarm._native import core
from rewarm.errors import BackendUnavailable, InvalidArgument
from rewarm.schedule import (
    KNOT_DTYPE,
    MAX_KNOTS,
    MAX_SEGMENTS,
    SEGMENT_DTYPE,
    Schedule,
    Segment,
    constant,
    cosine,
    cosine_tail,
    exponential,
    halving,
    harmonic,
    inverse_sqrt,
    join,
    legacy_cosine,
    linear,
    one_minus_sqrt,
    polynomial,
    power,
    schedule_reference,
    table,
    warmup_cosine,
)

SHAPES = (linear, cosine, inverse_sqrt, one_minus_sqrt, exponential, harmonic, halving)


@pytest.mark.parametrize("name", CASES)
def test_core_equals_reference(name):
    schedule = CASES[name]
    plain = schedule.to_dict()
    counts = probes(schedule)
    expected = [schedule_reference.value(plain, t) for t in counts]
    got = schedule.values(counts)
    assert [schedule(t) for t in counts] == got.tolist()
    if same_bits(schedule):
        # Beyond 2**53 an int64 becomes a float64 by rounding; none of these schedules is that long.
        assert got.tolist() == expected
    else:
        assert np.abs(got - expected).max() <= bound(schedule)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
@pytest.mark.parametrize("n", [1, 2, 31, 10**6, 15 * TRILLION, 2**63 - 1])
def test_ends_are_the_values_given(shape, n):
    a, b = 0.1 + 0.2, 1 / 3
    schedule = shape(a, b, n)
    assert schedule(0) == a
    assert schedule(n) == b
    assert schedule(2**63 - 1) == b


def test_token_counter_of_15e12_loses_nothing():
    schedule = linear(0.0, 1.0, 15 * TRILLION, units="tokens")
    assert schedule(1) == 1 / (15 * TRILLION)
    assert schedule(15 * TRILLION - 1) == (15 * TRILLION - 1) / (15 * TRILLION) < 1.0
    late = join(constant(0.0, 15 * TRILLION, units="tokens"), linear(0.0, 1.0, 1000, units="tokens"))
    assert [late(15 * TRILLION + i) for i in range(1001)] == [i / 1000 for i in range(1001)]


def test_power_is_the_ceiling_and_then_the_rule():
    rule = power(4e-3, exponent=-0.51, coefficient=4.6 * 0.01, units="tokens")
    steps = [0, 1, 50, 100, 120, 121, 122, 10**6, 15 * TRILLION]
    expected = [min(4e-3, 4.6 * 0.01 * t**-0.51) if t else 4e-3 for t in steps]
    assert np.abs(rule.values(steps) / expected - 1).max() <= 16 * sys.float_info.epsilon
    assert rule.length is None
    after = join(linear(0.0, 1e-2, 100), power(1e-2, exponent=-0.5, until=100, offset=100))
    assert (after(99), after(100), after(400), after(40_000)) == (0.99 * 1e-2, 1e-2, 5e-3, 5e-4)
    ended = power(1e-2, 300, exponent=-0.5, until=100, offset=100)
    assert (ended.length, ended(300), ended(10**9)) == (300, 5e-3, 5e-3)
    assert ended.segments[0].to_value == 5e-3


def test_table_goes_through_its_knots_and_is_exact_at_15e12():
    knots = [(0, 0.0), (10**9, 3e-4), (15 * TRILLION - 1, 1e-4), (15 * TRILLION, 0.5)]
    schedule = table(knots, units="tokens")
    assert [schedule(at) for at, _ in knots] == [value for _, value in knots]
    assert schedule(15 * TRILLION - 2) > 1e-4
    assert schedule(2**63 - 1) == 0.5
    both = join(table(knots[:2], units="tokens"), constant(1.0, 5, units="tokens"), table(np.array(knots[:3]), units="tokens"))
    assert both.n_knots == 5
    assert both.pack(first_knot=100)["offset"].tolist() == [100, 0, 102]
    assert both(10**9 + 5 + 10**9) == 3e-4
    assert both.pack_knots()["at"].tolist() == [0, 10**9, 0, 10**9, 15 * TRILLION - 1]


def test_knots_have_a_capacity():
    step_table = table([(i, i / 4096) for i in range(MAX_KNOTS)])
    assert step_table.values(range(MAX_KNOTS)).tolist() == [i / 4096 for i in range(MAX_KNOTS)]
    with pytest.raises(InvalidArgument, match="Schedule: expected at most 4096 knots, got 4098"):
        join(step_table, table([(0, 1.0), (1, 2.0)]))
    assert (core.MAX_KNOTS, core.MAX_SEGMENTS) == (MAX_KNOTS, MAX_SEGMENTS)


def test_a_table_needs_its_knots():
    schedule = table([(0, 1.0), (5, 2.0)])
    for points in (None, np.empty(0, KNOT_DTYPE), schedule.pack_knots()[:1]):
        with pytest.raises(InvalidArgument, match="table: expected its knots among the"):
            Schedule.unpack(schedule.pack(), points)
    with pytest.raises(InvalidArgument, match="table: expected the last knot at its length 5, got 4"):
        moved = schedule.pack_knots()
        moved["at"][1] = 4
        Schedule.unpack(schedule.pack(), moved)
    with pytest.raises(Exception, match="segments: segment 0: expected a table within the 0 knots given"):
        core.schedule_value(schedule.pack().view(np.int64), None, 3)


def test_values_keeps_shape_and_takes_what_users_have():
    schedule = warmup_cosine(1.0, 0.1, 3, 7)
    grid = np.arange(12).reshape(3, 4)
    assert schedule.values(grid).shape == (3, 4)
    assert schedule.values(grid[:, ::2]).tolist() == [[schedule(int(t)) for t in row] for row in grid[:, ::2]]
    for steps in (range(12), np.arange(12, dtype=np.uint8), np.arange(12.0), [np.int32(t) for t in range(12)]):
        assert schedule.values(steps).tolist() == schedule.values(grid).ravel().tolist()
    assert schedule.values([]).shape == (0,)
    assert schedule.values(5).shape == ()
    assert schedule.values(range(3)).dtype == np.float64
    assert schedule(np.int64(5)) == schedule(5.0) == schedule(5)


def test_join_counts_each_piece_from_its_own_start():
    first, second = linear(0.0, 1.0, 10), cosine(0.5, 0.1, 20)
    both = join(first, second)
    assert [both(t) for t in range(10)] == [first(t) for t in range(10)]
    assert [both(10 + t) for t in range(40)] == [second(t) for t in range(40)]
    assert both.length == 30
    assert join(join(first, second), first) == join(first, join(second, first))


def test_join_drops_pieces_of_length_0_except_the_last():
    assert join(linear(0.0, 1.0, 0), cosine(1.0, 0.1, 20)) == cosine(1.0, 0.1, 20)
    assert join(linear(0.0, 1.0, 5), constant(1.0, 0), cosine(1.0, 0.1, 20))(5) == 1.0
    dropped = join(linear(0.0, 1.0, 4), cosine(1.0, 0.1, 0))
    assert [dropped(t) for t in range(6)] == [0.0, 0.25, 0.5, 0.75, 0.1, 0.1]
    assert cosine(1.0, 0.1, 0)(0) == 0.1


def test_open_ended_only_last():
    assert constant(1.0).length is None
    assert join(linear(0.0, 1.0, 4), constant(1.0)).length is None
    assert constant(1.0, 0).length == 0
    with pytest.raises(InvalidArgument, match="join: piece 0: nothing may follow an open end"):
        join(constant(1.0), linear(1.0, 0.0, 4))


def test_join_refuses():
    with pytest.raises(InvalidArgument, match="at least one Schedule"):
        join()
    with pytest.raises(InvalidArgument, match="piece 1: expected a Schedule, got float"):
        join(linear(0.0, 1.0, 4), 1.0)
    with pytest.raises(InvalidArgument, match="piece 1: expected units 'steps' as piece 0, got 'tokens'"):
        join(linear(0.0, 1.0, 4), linear(1.0, 0.0, 4, units="tokens"))
    with pytest.raises(InvalidArgument, match=r"start \+ length < 2\*\*63"):
        join(constant(1.0, 2**62), constant(1.0, 2**62))
    assert len(join(*[constant(1.0, 1)] * MAX_SEGMENTS).segments) == 64
    with pytest.raises(InvalidArgument, match="at most 64 segments, got 65"):
        join(*[constant(1.0, 1)] * 65)


def test_immutable_hashable_equal():
    a, b = warmup_cosine(3e-4, 3e-5, 100, 1000), warmup_cosine(3e-4, 3e-5, 1e2, 1e3)
    assert a == b
    assert hash(a) == hash(b)
    assert len({a, b, warmup_cosine(3e-4, 3e-5, 100, 1000, units="tokens"), constant(-0.0), constant(0.0)}) == 3
    with pytest.raises(AttributeError):
        a.units = "tokens"
    with pytest.raises(AttributeError):
        a.segments[0].length = 5
    packed = a.pack()
    packed["from"] = 7.0
    assert a(0) == 0.0


@pytest.mark.parametrize("name", CASES)
def test_round_trips(name):
    schedule = CASES[name]
    assert Schedule.unpack(schedule.pack(), schedule.pack_knots(), units=schedule.units) == schedule
    assert Schedule.from_dict(json.loads(json.dumps(schedule.to_dict(), allow_nan=False))) == schedule
    for twin in (pickle.loads(pickle.dumps(schedule)), copy.deepcopy(schedule), copy.copy(schedule)):
        assert twin == schedule
        assert twin(1) == schedule(1)


def test_packed_layout_is_64_bytes_in_the_header_s_order():
    packed = join(linear(0.0, 1.0, 5), legacy_cosine(1.0, 0.1, 20, fraction=0.5)).pack()
    assert SEGMENT_DTYPE.itemsize == 64
    words = packed.view("<i8").reshape(2, 8)
    reals = packed.view("<f8").reshape(2, 8)
    assert words[:, [0, 1, 2, 7]].tolist() == [[1, 0, 5, 0], [3, 5, 20, 0]]
    assert reals[0, 3:7].tolist() == [0.0, 1.0, 0.0, -math.inf]
    assert reals[1, 3:7].tolist() == [1.0, 0.5 * (1 + math.cos(math.pi / 2)), 0.5, 0.1]


def test_unpack_refuses():
    good = linear(0.0, 1.0, 5).pack()
    for field, value, message in [
        ("kind", 13, "kind in"),
        ("offset", 1, "linear: takes no offset, got 1"),
        ("start", 1, "expected start 0, got 1"),
        ("length", -1, "linear: length"),
        ("to", math.nan, "linear: to_value"),
    ]:
        bad = good.copy()
        bad[field] = value
        with pytest.raises(InvalidArgument, match=message):
            Schedule.unpack(bad)
    with pytest.raises(InvalidArgument, match="SEGMENT_DTYPE"):
        Schedule.unpack(good.view("<i8"))
    with pytest.raises(InvalidArgument, match="at least one segment"):
        Schedule.unpack(good[:0])


def test_to_dict_is_plain():
    assert join(linear(0.0, 1.0, 5), constant(1.0)).floor(0.5).to_dict() == {
        "format": "rewarm.schedule",
        "version": 1,
        "units": "steps",
        "segments": [
            {"kind": "linear", "length": 5, "from": 0.0, "to": 1.0, "lo": 0.5},
            {"kind": "constant", "length": None, "from": 1.0, "lo": 0.5},
        ],
    }
    assert polynomial(1.0, 0.0, 5, power=2.0).to_dict()["segments"] == [
        {"kind": "polynomial", "length": 5, "from": 1.0, "to": 0.0, "power": 2.0, "lo": None}
    ]
    assert join(table([(0, 1.0), (5, 2.0)]), power(1.0, exponent=-0.5, until=3)).to_dict()["segments"] == [
        {"kind": "table", "knots": [[0, 1.0], [5, 2.0]], "lo": None},
        {"kind": "power", "length": None, "from": 1.0, "until": 3.0, "exponent": -0.5, "offset": 0, "lo": None},
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "expected format 'rewarm.schedule' version 1, got format 'rewarm.schedule' version 2"),
        ({"format": "other"}, "got format 'other'"),
        ({"units": "samples"}, "'steps' or 'tokens', got 'samples'"),
        ({"more": 1}, "unknown keys more"),
        ({"segments": {}}, "segments: expected a list, got dict"),
        ({"segments": []}, "at least one segment"),
        ({"segments": [3]}, "segment 0: expected a dict, got int"),
        ({"segments": [{"kind": "spline"}]}, "segment 0: expected 'kind' to be one of constant, .*, got 'spline'"),
        ({"segments": [{"kind": "constant", "length": 1, "from": 1.0, "lo": None, "to": 2.0}]}, "unknown: to"),
        ({"segments": [{"kind": "linear", "length": 1, "from": 1.0, "lo": None}]}, "missing: to; unknown: none"),
        ({"segments": [{"kind": "constant", "length": 1.5, "from": 1.0, "lo": None}]}, "segment 0: constant: length"),
        ({"segments": [{"kind": "constant", "length": 1, "from": "x", "lo": None}]}, "segment 0: constant: from_value"),
        ({"segments": [{"kind": "constant", "length": None, "from": 1.0, "lo": None}] * 2}, "only the last segment"),
    ],
)
def test_from_dict_refuses(change, message):
    with pytest.raises(InvalidArgument, match=message):
        Schedule.from_dict(constant(1.0, 5).to_dict() | change)


def test_from_dict_refuses_other_types():
    with pytest.raises(InvalidArgument, match="expected a dict, got str"):
        Schedule.from_dict("{}")


def test_scale_and_floor():
    schedule = join(warmup_cosine(1.0, 0.1, 10, 20), legacy_cosine(0.1, 0.01, 30), exponential(0.01, 0.001, 5))
    counts = probes(schedule)
    schedule = join(schedule, table([(0, 0.5), (7, 0.1)]), power(0.1, 50, exponent=-0.5, until=3))
    counts = probes(schedule)
    half = schedule.scale(0.5)
    assert half.values(counts).tolist() == (schedule.values(counts) * 0.5).tolist()  # a power of two: no rounding
    assert schedule.scale(0).values(counts).max() == 0.0
    assert schedule.scale(0).length == schedule.length
    floored = schedule.floor(0.05)
    assert floored.values(counts).tolist() == np.maximum(schedule.values(counts), 0.05).tolist()
    assert floored.floor(0.01) == floored
    assert schedule.floor(0.05).scale(0.5).values(counts).min() == 0.025
    for bad in (-1.0, math.nan, math.inf, "2", True):
        with pytest.raises(InvalidArgument, match=r"Schedule\.scale: factor"):
            schedule.scale(bad)
        with pytest.raises(InvalidArgument, match=r"Schedule\.floor: lo"):
            schedule.floor(bad)


@pytest.mark.parametrize("bad", [-1, 1.5, math.nan, math.inf, 2**63, "3", None, True, 1e19])
def test_counters_are_checked(bad):
    schedule = linear(0.0, 1.0, 10)
    with pytest.raises(InvalidArgument, match=r"Schedule: step: expected a whole number"):
        schedule(bad)
    with pytest.raises(InvalidArgument, match=r"Schedule: steps\[1\]: expected a whole number"):
        schedule.values(np.array([0, bad], dtype=object))
    with pytest.raises(InvalidArgument, match="linear: length"):
        linear(0.0, 1.0, bad)
    if isinstance(bad, float):
        with pytest.raises(InvalidArgument, match=r"steps\[1\]"):
            schedule.values([0.0, bad])


@pytest.mark.parametrize("bad", [-1e-3, math.nan, math.inf, -math.inf, "1e-3", None, True, 1j])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_values_are_checked(shape, bad):
    with pytest.raises(InvalidArgument, match=f"{shape.__name__}: from_value: expected a finite number >= 0, got"):
        shape(bad, 1.0, 10)
    with pytest.raises(InvalidArgument, match=f"{shape.__name__}: to_value: expected a finite number >= 0, got"):
        shape(1.0, bad, 10)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: constant(math.nan), "constant: from_value"),
        (lambda: exponential(0.0, 1.0, 10), "exponential: from_value: expected a finite number > 0, got 0.0"),
        (lambda: exponential(1.0, 0.0, 10), "exponential: to_value: expected a finite number > 0, got 0.0"),
        (lambda: exponential(1e-300, 1e300, 10), "to_value / from_value"),
        (lambda: polynomial(1.0, 0.0, 10, power=0.0), r"polynomial: power: expected a number in \(0, inf\), got 0.0"),
        (lambda: polynomial(1.0, 0.0, 10, power=-1.0), "polynomial: power"),
        (lambda: polynomial(1.0, 0.0, 10, power=math.inf), "polynomial: power"),
        (lambda: inverse_sqrt(1.0, 0.0, 10, tau=0.0), r"inverse_sqrt: tau: expected a number in \[0.01, inf\)"),
        (lambda: legacy_cosine(1.0, 0.1, 10, fraction=0.0), r"legacy_cosine: fraction: expected a number in \(0, 1\]"),
        (lambda: legacy_cosine(1.0, 0.1, 10, fraction=1.1), "legacy_cosine: fraction"),
        (lambda: legacy_cosine(1.0, -0.1, 10), "legacy_cosine: min_lr"),
        (lambda: harmonic(1.0, 0.0, 10), "harmonic: to_value: expected a finite number > 0, got 0.0"),
        (lambda: cosine_tail(1.0, 0.0, 2**62, offset=2**62), r"cosine_tail: expected offset \+ length < 2\*\*63"),
        (lambda: power(1.0, exponent=0.5, until=3), "power: exponent: expected a finite number < 0, got 0.5"),
        (lambda: power(1.0, exponent=math.nan, until=3), "power: exponent: expected a finite number < 0, got nan"),
        (lambda: power(math.nan, exponent=-0.5, until=3), "power: from_value"),
        (lambda: power(1.0, exponent=-0.5), "power: expected exactly one of until and coefficient"),
        (lambda: power(1.0, exponent=-0.5, until=3, coefficient=1), "power: expected exactly one of until"),
        (lambda: power(1.0, exponent=-0.5, until=0), "power: until: expected a finite number > 0, got 0"),
        (
            lambda: power(1e300, exponent=-1e-3, coefficient=1e-300),
            r"\(max_lr / coefficient\)\^\(1 / exponent\) to be a float64 > 0",
        ),
        (lambda: table([]), "table: expected from 2 to 4096 knots, got 0"),
        (lambda: table([(i, 0.0) for i in range(4097)]), "table: expected from 2 to 4096 knots, got 4097"),
        (lambda: table([(1, 0.0), (2, 0.0)]), r"table: knots\[0\]: at: expected 0, got 1"),
        (
            lambda: table([(0, 0.0), (5, 0.0), (5, 1.0)]),
            r"knots\[2\]: at: expected more than 5 \(counts rise strictly\), got 5",
        ),
        (lambda: table([(0, 0.0), (5, math.nan)]), r"table: knots\[1\]: value: expected a finite number >= 0, got nan"),
        (lambda: table([(0, 0.0), (2.5, 0.0)]), r"table: knots\[1\]: at: expected a whole number"),
        (lambda: table([(0, 0.0), 3]), r"table: knots\[1\]: expected a pair"),
        (lambda: table("knots"), "table: knots: expected a list of pairs"),
        (lambda: Segment("table", 0, 1, 0.0, 1.0), "table: expected knots, got None"),
        (lambda: Segment("linear", 0, 1, 0.0, 1.0, until=3.0), "linear: takes no until"),
        (lambda: Segment("linear", 0, 1, 0.0, 1.0, offset=3), "linear: takes no offset, got 3"),
        (lambda: linear(0.0, 1.0, 10, units="samples"), "linear: expected units 'steps' or 'tokens', got 'samples'"),
        (lambda: linear(0.0, 1.0, None), "linear: length: expected a whole number"),
        (lambda: Segment("spline", 0, 1, 0.0, 1.0), "expected kind to be one of"),
        (lambda: Segment("linear", 0, 1, 0.0, 1.0, power=2.0), "linear: takes no power"),
        (lambda: Segment("linear", 0, 1, 0.0, 1.0, lo=math.nan), "linear: lo"),
        (lambda: Schedule((Segment("linear", 3, 1, 0.0, 1.0),)), "segment 0: expected start 0, got 3"),
        (lambda: Schedule((1.0,)), "segment 0: expected a Segment, got float"),
    ],
)
def test_arguments_are_checked(build, message):
    with pytest.raises(InvalidArgument, match=message):
        build()


def test_repr_is_for_people():
    schedule = join(linear(0.0, 3e-4, 1e9, units="tokens"), polynomial(3e-4, 0.0, 5, power=2, units="tokens"))
    assert repr(schedule.floor(1e-5)).splitlines() == [
        "Schedule(units='tokens')",
        "  [0, 1_000_000_000)  linear  0 -> 0.0003, not below 1e-05",
        "  [1_000_000_000, 1_000_000_005)  polynomial  0.0003 -> 0, power 2, not below 1e-05",
        "  [1_000_000_005, ...)  holds  1e-05",
    ]
    assert repr(join(table([(0, 0.0), (9, 0.5)]), power(0.5, exponent=-0.5, until=9, offset=9))).splitlines()[1:] == [
        "  [0, 9)  table  0 -> 0.5, 2 knots",
        "  [9, ...)  power  0.5, falls as t^-0.5 from 9, 9 counts passed before",
    ]
    assert repr(constant(0.1)).splitlines()[1:] == ["  [0, ...)  constant  0.1"]


def test_plot_writes_svg_and_png(tmp_path):
    pytest.importorskip("matplotlib")
    schedule = warmup_cosine(3e-4, 3e-5, 100, 1000)
    for name, magic in [("a.svg", b"<?xml"), ("b.svg", b"<?xml"), ("c.png", b"\x89PNG"), ("d.PDF", b"%PDF")]:
        schedule.plot(tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(magic)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert len(list(tmp_path.iterdir())) == 4
    ax = schedule.plot(stop=500, points=10, label="first")
    assert constant(1e-4).plot(ax=ax, label="second") is ax
    x, y = ax.lines[0].get_data()
    assert {0, 99, 100, 500} <= set(x.tolist())
    assert y.tolist() == schedule.values(x).tolist()


def test_plot_refuses_and_leaves_nothing(tmp_path, monkeypatch):
    figure = pytest.importorskip("matplotlib.figure")
    schedule = warmup_cosine(3e-4, 3e-5, 100, 1000)
    for path, message in [("a.jpg", "ending in .svg, .png, .pdf"), ("no/a.svg", "an existing folder")]:
        with pytest.raises(InvalidArgument, match=message):
            schedule.plot(tmp_path / path)
    with pytest.raises(InvalidArgument, match="points"):
        schedule.plot(points=1)
    (tmp_path / "old.svg").write_text("old")

    def torn(self, path, **rest):
        path.write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(figure.Figure, "savefig", torn)
    with pytest.raises(OSError, match="disk full"):
        schedule.plot(tmp_path / "old.svg")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("old.svg", "old")]


def test_plot_without_matplotlib_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(BackendUnavailable, match=re.escape('pip install "rewarm[plot]"')):
        constant(1.0).plot()


def test_import_leaves_heavy_packages_out():
    code = (
        "import sys, rewarm.schedule, rewarm.schedule.cli, rewarm.schedule.plot\n"
        "rewarm.schedule.warmup_cosine(1.0, 0.1, 3, 7)(5)\n"
        "print([name for name in ('torch', 'triton', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_reference_imports_nothing_of_rewarm():
    with open(schedule_reference.__file__, encoding="utf-8") as file:
        imports = [line.split()[1] for line in file if line.startswith(("import ", "from "))]
    assert imports == ["__future__", "itertools", "math", "typing"]


rates = st.floats(0.0, 1.0, allow_subnormal=False)
positive = st.floats(1e-12, 1.0)
counts = st.one_of(st.integers(0, 5), st.integers(0, 10**6), st.integers(0, 15 * TRILLION))


@st.composite
def pieces(draw):
    n, units = draw(counts), "tokens"
    kind = draw(st.integers(0, 12))
    if kind == 8:
        until, exponent = draw(st.floats(0.5, 1e15)), draw(st.floats(-2.0, -0.1))
        return power(draw(rates), n, exponent=exponent, until=until, offset=draw(counts), units=units)
    if kind == 9:
        ats = sorted(draw(st.sets(st.integers(1, 15 * TRILLION), min_size=1, max_size=9)))
        return table([(0, draw(rates)), *[(at, draw(rates)) for at in ats]], units=units)
    if kind == 10:
        return harmonic(draw(positive), draw(positive), n, units=units)
    if kind == 11:
        return halving(draw(rates), draw(rates), n, units=units)
    if kind == 12:
        return cosine_tail(draw(rates), draw(rates), n, offset=draw(counts), units=units)
    if kind == 0:
        return constant(draw(rates), n, units=units)
    if kind == 1:
        return legacy_cosine(draw(rates), draw(rates), n, fraction=draw(st.floats(0.01, 1.0)), units=units)
    if kind == 2:
        return polynomial(draw(rates), draw(rates), n, power=draw(st.floats(0.1, 8.0)), units=units)
    if kind == 3:
        return inverse_sqrt(draw(rates), draw(rates), n, tau=draw(st.floats(0.01, 1000.0)), units=units)
    if kind == 4:
        return exponential(draw(positive), draw(positive), n, units=units)
    return (linear, cosine, one_minus_sqrt)[kind - 5](draw(rates), draw(rates), n, units=units)


schedules = st.lists(pieces(), min_size=1, max_size=6).map(lambda given: join(*given))


@settings(max_examples=150, deadline=None)
@given(schedule=schedules, further=st.lists(st.integers(0, 2**63 - 1), max_size=5))
def test_any_join_equals_reference_and_survives_round_trips(schedule, further):
    plain = schedule.to_dict()
    steps = probes(schedule) + further
    expected = [schedule_reference.value(plain, t) for t in steps]
    assert np.abs(schedule.values(steps) - expected).max() <= bound(schedule)
    assert Schedule.from_dict(json.loads(json.dumps(plain))) == schedule
    assert Schedule.unpack(schedule.pack(), schedule.pack_knots(), units="tokens") == schedule
