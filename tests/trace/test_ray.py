"""`aggregate(engine="ray")`: the same bits as threads, also when workers die; a parse error is not tried again."""

import dataclasses
import sys
import warnings

import numpy as np
import pytest
import trace_files

from rewarm.errors import BackendUnavailable, InvalidArgument, TraceError
from rewarm.trace import aggregate
from rewarm.trace import ray as ray_room
from rewarm.trace.source import discover

ray = pytest.importorskip("ray")

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")

HEADER = "day,time,clusterName,funcName,userID,requestID,totalCost_cold_start,podAllocationCost,podID\n"
QUESTION = {"by": ("region", "funcName"), "values": ("totalCost_cold_start", "time"), "quantiles": (0.5, 0.99)}
RANGE = 20_000


@pytest.fixture(scope="module")
def cluster():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=80 * 2**20)
        yield
        ray.shutdown()


@pytest.fixture
def small_ranges(monkeypatch):
    """Tasks of 20 kB instead of 64 MB."""
    monkeypatch.setattr(ray_room.scan_on_ray, "__kwdefaults__", {**ray_room.scan_on_ray.__kwdefaults__, "range_bytes": RANGE})


def write(root, n=1500):
    r = np.random.default_rng(9)
    for region, day in (("R1", 0), ("R1", 1), ("R2", 0)):
        path = root / region / f"day_{day:02d}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w", encoding="utf-8") as out:
            out.write(HEADER)
            for i in range(n if day == 0 else 30):
                cost = round(float(np.exp(r.normal(-1, 2))), 6)
                out.write(f"{day},{day * 86400 + i * 0.5},1,{r.integers(9)},2,{i:064x},{cost},0.5,pool22-300-128-{i:010d}\n")
    return root


def break_line(path, line):
    lines = path.read_text().splitlines(keepends=True)
    lines[line - 1] = lines[line - 1].replace(",1,", ",one,", 1)
    path.write_text("".join(lines))


def test_ranges_cover_every_byte_once(tmp_path):
    sources = discover(write(tmp_path)).sources
    tasks = list(ray_room.cut(sources, RANGE))
    assert len(tasks) > 10
    covered = {}
    for task in tasks[:-1]:
        assert sum(min(r.range_end, r.size) - r.range_begin for r in task) >= RANGE
    for piece in (piece for task in tasks for piece in task):
        assert piece.range_begin == covered.get(piece.name, 0)
        covered[piece.name] = piece.range_end
    assert list(covered) == [source.name for source in sources]
    assert set(covered.values()) == {2**63 - 1}


def test_compressed_files_stay_whole(tmp_path):
    source = dataclasses.replace(discover(write(tmp_path)).sources[0], compression="gzip")
    ((piece,),) = ray_room.cut([source], 1)
    assert piece.whole


def test_same_bits_as_threads(tmp_path, cluster, small_ranges):
    write(tmp_path)
    seen = []
    found = aggregate(tmp_path, engine="ray", workers=2, progress=lambda *counts: seen.append(counts), **QUESTION)
    whole = aggregate(tmp_path, **QUESTION)
    assert found.to_bytes() == whole.to_bytes()
    assert len(seen) > 10 and seen == sorted(seen) and seen[-1][1] == 3030


MINUTE_QUESTION = {
    "table": "minute",
    "by": ("metric", "funcName", "runtime", "hour_of_day"),
    "values": "value",
    "quantiles": 0.5,
    "runtime": {("R1", "300---40---pool22-300-128"): ("Java", "APIG-S"), ("R2", "301---40---pool23-400-256"): ("http", None)},
}


@pytest.fixture(scope="module")
def minutes(tmp_path_factory):
    """Two regions, two metrics, four days of 24 minutes, 600 bytes a file: with ranges of 2000 bytes a few files a task."""
    root = tmp_path_factory.mktemp("minutes")
    for region in ("R1", "R2"):
        for metric in ("requests", "runtimeCost_avg"):
            trace_files.write_minute(root, region, metric, days=4)
    return root


@pytest.fixture
def tiny_ranges(monkeypatch):
    monkeypatch.setattr(ray_room.scan_on_ray, "__kwdefaults__", {**ray_room.scan_on_ray.__kwdefaults__, "range_bytes": 2_000})


def test_minute_tables_have_the_same_bits_as_threads(minutes, cluster, tiny_ranges):
    found = aggregate(minutes, engine="ray", **MINUTE_QUESTION)
    assert found.num_rows == 2 * 2 * 24  # metrics, runtimes (one of them null), hours
    assert found.to_bytes() == aggregate(minutes, **MINUTE_QUESTION).to_bytes()
    tasks = list(ray_room.cut(discover(minutes).sources, 2_000))
    assert 3 < len(tasks) < 16 and all(piece.whole for task in tasks for piece in task)


def test_a_worker_killed_on_a_minute_table(minutes, cluster, tiny_ranges, monkeypatch, tmp_path):
    """Its files, several to a task, are read again by another worker, once: the same bits."""

    def work(task, spec, settings, max_groups):
        import os
        import signal

        from rewarm.trace.aggregate_scan import scan

        aggregate = scan(task, spec, settings, max_groups=max_groups, workers=1)
        if any("R2/requests/day_02" in piece.name for piece in task):
            seen = len(list(tmp_path.iterdir()))
            (tmp_path / f"{seen}").touch()
            if seen < 1:
                os.kill(os.getpid(), signal.SIGKILL)
        return aggregate.to_bytes()

    monkeypatch.setattr(ray_room, "_work", work)
    found = aggregate(minutes, engine="ray", **MINUTE_QUESTION)
    assert found.to_bytes() == aggregate(minutes, **MINUTE_QUESTION).to_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_ranges_of_the_default_size(tmp_path, cluster):
    """One file of two of them and more: nothing is lost or doubled where they meet."""
    write(tmp_path, 3_000)
    path = tmp_path / "R2" / "day_00.csv"
    header, rows = path.read_bytes().split(b"\n", 1)
    copies = 2 * ray_room.RANGE_BYTES // len(rows) + 2
    with open(path, "wb") as out:
        out.write(header + b"\n")
        for copy in range(copies):
            out.write(rows.replace(b",1,", b",%d," % (copy % 4)))
    (own,) = (source for source in discover(tmp_path).sources if "R2" in source.name)
    assert [piece.whole for task in ray_room.cut([own], ray_room.RANGE_BYTES) for piece in task] == [False, False]
    question = {"by": ("region", "clusterName"), "values": "totalCost_cold_start", "quantiles": (0.5, 0.99)}
    found = aggregate(tmp_path, engine="ray", **question)
    assert found.to_numpy()["rows"].sum() == copies * 3_000 + 3_030
    assert found.to_bytes() == aggregate(tmp_path, **question).to_bytes()


def test_what_is_left_out_is_told_as_by_threads(tmp_path, cluster, small_ranges):
    root = write(tmp_path)
    for region, line in (("R1", 1200), ("R2", 40), ("R2", 900)):
        break_line(root / region / "day_00.csv", line)
    question = {**QUESTION, "by": ("clusterName",), "on_error": "skip"}
    found = aggregate(root, engine="ray", **question)
    assert found.to_bytes() == aggregate(root, **question).to_bytes()
    assert found.rejected == 3
    assert [(r.file, r.line, r.column, r.text) for r in found.rejects] == [
        ("R1/day_00.csv", 1200, "clusterName", "one"),
        ("R2/day_00.csv", 40, "clusterName", "one"),
        ("R2/day_00.csv", 900, "clusterName", "one"),
    ]


@pytest.mark.parametrize("deaths", [1, 2, 3])
def test_a_worker_killed_in_the_middle(tmp_path, cluster, small_ranges, monkeypatch, deaths):
    """Two deaths of a range change nothing, bit for bit; a third ends the scan with the range's name."""
    root = write(tmp_path / "trace")
    marker = tmp_path / "marker"
    marker.mkdir()
    (marker / "wanted").write_text(str(deaths))

    def work(task, spec, settings, max_groups):
        import os
        import signal

        from rewarm.trace.aggregate_scan import scan

        if any("R2" in r.name and r.range_begin <= 50_000 < r.range_end for r in task):
            seen = len(list(marker.glob("death-*")))
            if seen < deaths:
                (marker / f"death-{seen}").touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return scan(task, spec, settings, max_groups=max_groups, workers=1).to_bytes()

    monkeypatch.setattr(ray_room, "_work", work)
    if deaths <= 2:
        found = aggregate(root, engine="ray", **QUESTION)
        assert found.to_bytes() == aggregate(root, **QUESTION).to_bytes()
    else:
        with pytest.raises(TraceError, match=r"R2/day_00\.csv bytes \d+ to \d+: its worker died 3 times"):
            aggregate(root, engine="ray", **QUESTION)
    assert len(list(marker.glob("death-*"))) == deaths


def test_a_parse_error_is_not_tried_again_and_all_bad_ranges_are_named(tmp_path, cluster, small_ranges, monkeypatch):
    root = write(tmp_path / "trace")
    marker = tmp_path / "marker"
    marker.mkdir()
    for region, line in (("R1", 1200), ("R2", 40), ("R2", 900)):
        break_line(root / region / "day_00.csv", line)
    question = {**QUESTION, "by": ("clusterName",)}

    def work(task, spec, settings, max_groups):
        import uuid

        from rewarm.trace.aggregate_scan import scan

        (marker / f"{task[0].name.replace('/', '_')}-{task[0].range_begin}-{uuid.uuid4()}").touch()
        return scan(task, spec, settings, max_groups=max_groups, workers=1).to_bytes()

    monkeypatch.setattr(ray_room, "_work", work)
    with pytest.raises(TraceError) as caught:
        aggregate(root, engine="ray", **question)
    with pytest.raises(TraceError) as plain:
        aggregate(root, **question)
    message = str(caught.value)
    assert message.startswith("3 of ")
    assert [message.count(f"{place} (byte") for place in ("R1/day_00.csv:1200", "R2/day_00.csv:40", "R2/day_00.csv:900")] == [
        1
    ] * 3
    for name in ("file", "line", "byte", "column", "text", "expected"):
        assert getattr(caught.value, name) == getattr(plain.value, name)
    tried = [path.name.rsplit("-", 5)[0] for path in marker.iterdir()]
    assert len(tried) == len(set(tried)) == len(list(ray_room.cut(discover(root).sources, RANGE)))


def test_other_errors_come_as_they_are(tmp_path, cluster, small_ranges):
    write(tmp_path)
    with pytest.raises(InvalidArgument, match="more than max_groups=3"):
        aggregate(tmp_path, by="funcName", engine="ray", max_groups=3)
    with pytest.raises(InvalidArgument, match="workers: expected a whole number from 1, got 0"):
        aggregate(tmp_path, by="funcName", engine="ray", workers=0)


def test_without_ray(tmp_path, monkeypatch):
    write(tmp_path, 3)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BackendUnavailable, match=r'pip install "rewarm\[ray\]"'):
        aggregate(tmp_path, by="funcName", engine="ray")
