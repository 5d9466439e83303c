"""`aggregate(engine="ray")`: the same bits as threads, also when workers die; a parse error is not tried again."""

import dataclasses
import sys
import warnings

import numpy as np
import pytest

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
        return scan(task, spec, settings, max_groups=max_groups, workers=1)[0].to_bytes()

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
        return scan(task, spec, settings, max_groups=max_groups, workers=1)[0].to_bytes()

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


def test_the_room_loads_without_ray():
    import subprocess

    code = "import sys, rewarm.trace; assert 'ray' not in sys.modules and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
