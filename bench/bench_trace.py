"""Reading and aggregating a trace: every case in a process of its own, found to agree with ours before it is timed.

What pytest-benchmark reports is the whole process, start and imports included; ``wall_s`` and ``peak_over_import`` beside it
are those of the call, which is what ``rewarm bench --only trace`` shows.
"""

from __future__ import annotations

import importlib.util
import json

import pytest

from rewarm.bench import trace
from rewarm.errors import RewarmError

CASES = sorted({(table.suite, table.ours, case) for table in trace.TABLES if table.quick for case in table.cases})


@pytest.fixture(scope="session")
def job_of(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trace")
    trace.make_files(folder, request.config.getoption("--megabytes"), [table for table in trace.TABLES if table.quick])
    return lambda suite: trace.Job(suite, folder, threads=2, processors=trace.hardware.choose_cpus(2))


@pytest.mark.parametrize(("suite", "ours", "name"), CASES, ids=[f"{s}-{n}".replace(" ", "_") for s, _, n in CASES])
def test_trace(benchmark, request, tmp_path, job_of, suite, ours, name):
    library = name.partition(",")[0]
    if library in trace.LIBRARIES and importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    job = job_of(suite)
    try:
        job.one(name, tmp_path / "outcome.json")
    except RewarmError as error:
        if library not in trace.LIBRARIES:
            raise
        pytest.skip(str(error))
    job.one(ours, tmp_path / "ours.json")
    trace.compare(name, json.loads((tmp_path / "ours.json").read_text()), json.loads((tmp_path / "outcome.json").read_text()))
    runs: list[dict[str, float]] = []
    benchmark.group = f"trace {suite}, 2 threads"
    benchmark.pedantic(lambda: runs.append(job.one(name)), rounds=min(5, request.config.getoption("--rounds")))
    benchmark.extra_info.update(
        wall_s=[run["wall"] for run in runs], peak_over_import=max(run["peak_over_import"] for run in runs)
    )
