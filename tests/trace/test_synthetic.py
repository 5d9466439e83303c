"""The stand-in as a whole: bytes that depend on the seed only, counts, refusals, replacement, progress and interruption."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from synthetic_made import ROOT, digests

from rewarm.errors import InvalidArgument
from rewarm.trace.synthetic import MARKER, generate
from rewarm.trace.synthetic_regions import REGION_TABLE


def test_bytes_depend_on_the_seed_only(tmp_path):
    small = {"scale": 0.002, "tables": ("cold_start", "request", "runtime"), "seed": 3}
    generate(tmp_path / "a", region=("R2", "R5"), threads=1, **small)
    generate(tmp_path / "b", region=("R2", "R5"), threads=4, **small)
    generate(tmp_path / "alone", region="R5", **small)
    generate(tmp_path / "other", region="R5", **{**small, "seed": 4})
    first = digests(tmp_path / "a")
    assert first == digests(tmp_path / "b")
    alone = digests(tmp_path / "alone")
    assert alone == {name: value for name, value in first.items() if "/R5/" in name or "/runtime_triggerType/" in name}
    other = digests(tmp_path / "other")
    assert len(other) == len(alone)
    assert not set(other.values()) & set(alone.values())


def test_rows_sets_the_cold_starts_of_each_region(tmp_path):
    generate(tmp_path, region=("R3", "R4"), rows=10_000, days=7, tables="cold_start")
    for region in ("R3", "R4"):
        counts = [
            path.read_bytes().count(b"\n") - 1 for path in sorted((tmp_path / ROOT / "cold_start" / region).glob("*.csv"))
        ]
        assert len(counts) == 7
        assert sum(counts) == 10_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"region": "R6"}, "region: expected one or several of R1, R2"),
        ({"tables": ()}, "tables: expected one or several of cold_start"),
        ({"oddities": ("crlf", "typos")}, "oddities: unknown 'typos'; accepted are exponents"),
        ({"oddities": ("zip", "gzip")}, "exclude one another"),
        ({"scale": 0}, "scale: expected a number"),
        ({"rows": 0}, "rows: expected a whole number >= 1, got 0"),
        ({"days": 32}, r"days: expected a whole number in \[1, 31\], got 32"),
        ({"seed": 1.5}, "seed: expected a whole number, got 1.5"),
        ({"threads": 0}, "threads: expected a whole number >= 1, got 0"),
        ({"scale": 200.0}, "GB are needed"),
        ({"scale": 900.0}, "at most 2,000,000,000 cold starts"),
    ],
)
def test_bad_arguments_write_nothing(tmp_path, arguments, message):
    with pytest.raises(InvalidArgument, match=message):
        generate(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_overwrite_replaces_only_what_generate_wrote(tmp_path):
    out = tmp_path / "out"
    small = {"region": "R3", "scale": 0.01, "tables": "cold_start"}
    generate(out, days=3, **small)
    with pytest.raises(InvalidArgument, match="is not empty; overwrite=True"):
        generate(out, **small)
    generate(out, days=2, overwrite=True, **small)
    assert len(list(out.rglob("*.csv"))) == 2
    killed = next(out.rglob("day_00.csv"))  # what a killed run leaves
    killed.rename(killed.with_name(".day_00.csv.part"))
    generate(out, days=2, overwrite=True, **{**small, "region": "R4"})
    assert [path.parent.name for path in sorted(out.rglob("*.csv"))] == ["R4", "R4"]
    assert not list(out.rglob(".*.part"))
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.csv").write_text("a\n")
    with pytest.raises(InvalidArgument, match="only replaces what it wrote itself"):
        generate(other, overwrite=True, **small)
    assert (other / "mine.csv").read_text() == "a\n"


def test_progress_reaches_the_end(tmp_path):
    seen = []
    generate(tmp_path, region="R3", scale=0.5, tables="cold_start", progress=lambda done, rows: seen.append((done, rows)))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert len({rows for _, rows in seen}) == 1
    assert seen[-1][0] == seen[-1][1] == round(0.5 * sum(REGION_TABLE["R3"].cold_starts))


def test_an_error_in_a_worker_leaves_no_half_written_file(tmp_path, monkeypatch):
    from rewarm.trace import synthetic_cold_start

    made = itertools.count()
    whole = synthetic_cold_start.ColdStarts._block

    def failing(self, day, *arguments):
        if next(made) == 5:
            raise OSError("no space left")
        return whole(self, day, *arguments)

    monkeypatch.setattr(synthetic_cold_start.ColdStarts, "_block", failing)
    with pytest.raises(OSError, match="no space left"):
        generate(tmp_path, region="R3", tables="cold_start", threads=2)
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != MARKER]
    assert len(files) <= 7
    assert not [path for path in files if path.name.startswith(".")]
    assert json.loads((tmp_path / MARKER).read_text())["complete"] is False
    for path in files:
        day = int(path.stem[-2:])
        assert path.read_bytes().count(b"\n") - 1 == REGION_TABLE["R3"].cold_starts[day]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_leaves_whole_files_only(tmp_path, how):
    code = f"from rewarm.trace.synthetic import generate; generate({str(tmp_path / 'out')!r}, region='R1', tables='cold_start')"
    process = subprocess.Popen([sys.executable, "-c", code], env=os.environ, stderr=subprocess.PIPE)
    try:
        end = time.monotonic() + 60
        while not list(tmp_path.rglob("day_*.csv")) and time.monotonic() < end:
            time.sleep(0.01)
        process.send_signal(how)
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode != 0
    whole = sorted(tmp_path.rglob("day_*.csv"))
    assert whole
    for path in whole:
        assert path.read_bytes().count(b"\n") - 1 == REGION_TABLE["R1"].cold_starts[int(path.stem[-2:])]
    if how == signal.SIGINT:
        assert not list(tmp_path.rglob(".*.part"))
