import os
import subprocess
import sys

import numpy as np
import pytest
from schedule_cases import CASES, bound, probes, same_bits

from rewarm.errors import InvalidArgument
from rewarm.schedule import Schedule, constant, infinite, join, schedule_reference, table, warmup_cosine

torch = pytest.importorskip("torch")
triton = pytest.importorskip("triton")
tl = pytest.importorskip("triton.language")

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
needs_triton = pytest.mark.skipif(
    not (INTERPRETED or torch.cuda.is_available()), reason="needs a GPU, or TRITON_INTERPRET=1 before the first import"
)
DEVICE = "cpu" if INTERPRETED else "cuda"

from rewarm.schedule import schedule_triton  # noqa: E402


@triton.jit
def many_schedules_kernel(
    table_i64_ptr, table_f64_ptr, knots_i64_ptr, knots_f64_ptr, counts_ptr, steps_ptr, values_ptr, row_words
):
    """As an optimizer calls it: one row of segments a group, its count and its counter read on the device."""
    group = tl.program_id(0)
    count = tl.load(counts_ptr + group)
    t = tl.load(steps_ptr + group)
    value = schedule_triton.value_at(table_i64_ptr, table_f64_ptr, group * row_words, count, knots_i64_ptr, knots_f64_ptr, t)
    tl.store(values_ptr + group, value)


@needs_triton
@pytest.mark.parametrize("name", CASES)
def test_triton_equals_core_and_reference(name):
    schedule = CASES[name]
    counts = probes(schedule)
    steps = torch.tensor(counts, dtype=torch.int64, device=DEVICE)
    got = schedule_triton.values(schedule, steps).cpu().numpy()
    plain = schedule.to_dict()
    expected = [schedule_reference.value(plain, t) for t in counts]
    if same_bits(schedule):
        assert got.tolist() == schedule.values(counts).tolist() == expected
    else:
        assert np.abs(got - schedule.values(counts)).max() <= bound(schedule)
        assert np.abs(got - expected).max() <= bound(schedule)


@needs_triton
def test_triton_returns_the_ends_themselves():
    schedule = infinite(3e-4, 1.65e-4, 3e-5, 100, 600, 250, 150, cooldown_shape="inverse_sqrt")
    steps = torch.tensor([0, 100, 700, 950, 1100, 2**62], device=DEVICE)
    assert schedule_triton.values(schedule, steps).tolist() == [0.0, 3e-4, 1.65e-4, 1.65e-4, 3e-5, 3e-5]


@needs_triton
@pytest.mark.parametrize("count_dtype", [torch.int32, torch.int64], ids=["count_int32", "count_int64"])
def test_value_at_inside_another_kernel(count_dtype):
    schedules = [warmup_cosine(3e-4, 3e-5, 10, 90), table([(0, 0.1), (9, 0.5)]), infinite(1.0, 0.5, 0.1, 3, 5, 7, 11)]
    schedules.append(join(constant(0.2, 3), table([(0, 0.5), (1, 0.3), (23, 0.7)])))
    capacity = 6
    rows = torch.full((len(schedules), capacity, 8), -1, dtype=torch.int64)
    points = np.concatenate([schedule.pack_knots() for schedule in schedules])  # one array for all, as in an optimizer
    first_knot = 0
    for row, schedule in zip(rows, schedules, strict=True):
        packed = schedule.pack(first_knot=first_knot)
        first_knot += schedule.n_knots
        row[: len(packed)] = torch.from_numpy(packed.view("<i8").reshape(-1, 8))
    rows = rows.to(DEVICE)
    knots = torch.from_numpy(points.view("<i8")).to(DEVICE)
    counts = torch.tensor([len(schedule.segments) for schedule in schedules], dtype=count_dtype, device=DEVICE)
    for t in (0, 1, 3, 9, 10, 25, 26, 100):
        steps = torch.full((4,), t, dtype=torch.int64, device=DEVICE)
        values = torch.full((4,), float("nan"), dtype=torch.float64, device=DEVICE)
        many_schedules_kernel[(4,)](
            rows,
            rows.view(torch.float64),
            knots,
            knots.view(torch.float64),
            counts,
            steps,
            values,
            capacity * 8,
            enable_fp_fusion=False,
        )
        for schedule, value in zip(schedules, values.tolist(), strict=True):
            assert abs(value - schedule(t)) <= bound(schedule)


@needs_triton
def test_values_checks_its_counters():
    assert schedule_triton.values(constant(1.0), torch.zeros(0, dtype=torch.int64, device=DEVICE)).shape == (0,)
    with pytest.raises(InvalidArgument, match=r"steps: expected int64 of shape \[n\], got torch.int32 of shape \[2\]"):
        schedule_triton.values(constant(1.0), torch.zeros(2, dtype=torch.int32, device=DEVICE))


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from rewarm.schedule.schedule_triton import values_kernel

names = ("segments_i64_ptr", "segments_f64_ptr", "count", "knots_i64_ptr", "knots_f64_ptr", "steps_ptr", "values_ptr")
signature = dict(zip(names, ("*i64", "*fp64", "i32", "*i64", "*fp64", "*i64", "*fp64"), strict=True))
for architecture in (80, 90, 100):
    target = GPUTarget("cuda", architecture, 32)
    source = ASTSource(values_kernel, signature=signature)
    built = triton.compile(source, target=target, options={"enable_fp_fusion": False})
    ptx = built.asm["ptx"]
    facts = [ptx.count(name) for name in ("div.rn.f64", "sqrt.rn.f64", "400921FB54442D18", "div.full", "sqrt.approx")]
    print(architecture, len(built.asm["cubin"]) > 0, *facts)
"""


def test_compiles_ahead_of_time_with_float64_rounding(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    done = subprocess.run([sys.executable, "-c", COMPILE], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    for architecture, line in zip((80, 90, 100), done.stdout.splitlines(), strict=True):
        name, has_cubin, divisions, roots, pi, *approximate = line.split()
        assert (int(name), has_cubin, approximate) == (architecture, "True", ["0", "0"])
        # x / length, 1 / sqrt twice, g(r) / g(1) and b / a; a compiler may share but not approximate them.
        assert int(divisions) >= 5
        assert int(roots) >= 3
        assert int(pi) >= 1, "pi must stay a float64 constant"


def test_packed_table_is_what_the_twin_reads():
    table = Schedule.unpack(warmup_cosine(1.0, 0.1, 3, 7).pack()).pack()
    assert table.view("<i8").shape == (16,)
    assert table.flags.c_contiguous
