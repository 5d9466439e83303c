"""``rewarm trace``: what every command prints, its exit statuses, and what an interruption leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

pytest.importorskip("pyarrow")

import trace_files as files

from rewarm import cli
from rewarm.trace import Aggregate, progress, shown


def run(*arguments):
    return CliRunner().invoke(cli.rewarm, ["trace", *map(str, arguments)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("trace")
    files.write_cold_start(made, days=3)
    files.write_requests(made)
    files.write_runtime(made)
    return made


# ---- commands ------------------------------------------------------------------------------------------------------------


def test_every_command_has_help_with_an_example():
    for command in ("head", "check", "scan", "merge", "convert", "report", "generate"):
        result = run(command, "--help")
        assert result.exit_code == 0
        assert f"rewarm trace {command} " in result.output
    assert "3 a file that cannot be read" in run("--help").output.replace("\n  ", " ")


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom rewarm.cli import rewarm\n"
        "try: rewarm(['trace', 'scan', '--help'])\nexcept SystemExit: pass\n"
        "print([m for m in ('torch', 'pyarrow', 'pandas', 'scipy', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_head(folder):
    result = run("head", folder / "cold_start", "-n", 2)
    assert result.exit_code == 0, result.output
    assert "cold_start: the first 2 rows" in result.output
    assert "totalCost_cold_start" in result.output
    assert "custom-300-128" not in result.output  # of the third row
    few = run("head", folder / "per_request", "-n", 1, "--columns", "funcID,totalCost_worker", "--json", "-")
    assert json.loads(few.output) == [{"funcID": "300---40---pool22-300-128", "totalCost_worker": 0.000932}]
    assert "APIG-S TIMER-A" in run("head", folder / "runtime_triggerType").output
    later = run("head", folder / "cold_start", "--time", "172800:", "--json", "-", "-n", 1)
    assert json.loads(later.output)[0]["day"] == 2
    assert json.loads(run("head", folder / "cold_start", "-n", 0, "--json", "-").output) == []


def test_head_says_what_it_left_out(tmp_path):
    path = files.write(tmp_path / "day_00.csv", files.COLD_HEADER, [files.cold_row(0, 0), files.cold_row(1, 0, time="1x")])
    result = run("head", path, "--on-error", "null")
    assert result.exit_code == 1
    assert "day_00.csv:3 (byte " in result.output and "column time: expected " in result.output
    assert run("head", path).exit_code == 3
    assert "Traceback" not in run("head", path).output


def test_rows_stand_beside_one_another_where_they_do_not_fit():
    import pyarrow as pa
    from rich.console import Console

    table = pa.table({f"column_{i}": [f"value {i} {r}" for r in range(5)] for i in range(12)})
    console = Console(width=60, file=open(os.devnull, "w"), record=True)  # noqa: SIM115
    with console.file:
        console.print(shown.rows_table(table, 60))
    text = console.export_text()
    assert "column_11" in text and "value 11 0" in text and "2 more rows do not fit" in " ".join(text.split())


def test_check(folder, tmp_path):
    result = run("check", folder, "--json", tmp_path / "check.json")
    assert result.exit_code == 0, result.output
    assert "totalCost_worker = workerCost + runtimeCost" in result.output
    records = json.loads((tmp_path / "check.json").read_text())
    assert {r["table"] for r in records} == {"cold_start", "request", "runtime"}
    bad = files.write(tmp_path / "bad.csv", files.COLD_HEADER, [files.cold_row(0, 0, day="7")])
    broken = run("check", bad)
    assert broken.exit_code == 1
    assert "bad.csv:2" in broken.output


def test_merge_tells_what_the_scans_left_out(tmp_path):
    for region in ("R1", "R2"):
        rows = [files.cold_row(0, 0), files.cold_row(1, 0, deployCodeCost=f"soon {region}")]
        path = files.write(tmp_path / region / "day_00.csv", files.COLD_HEADER, rows)
        scanned = run("scan", path, "--by", "region", "--values", "deployCodeCost", "--on-error", "null", "-o", f"{path}.agg")
        assert scanned.exit_code == 1
        (line,) = (line for line in scanned.output.splitlines() if "soon" in line)
        assert line.startswith("day_00.csv:3 (byte ")
        assert line.endswith(f'column deployCodeCost: expected a finite decimal number, got "soon {region}": null')
    merged = run("merge", tmp_path / "R2" / "day_00.csv.agg", tmp_path / "R1" / "day_00.csv.agg")
    assert merged.exit_code == 1
    assert [line[-12:] for line in merged.output.splitlines() if "soon" in line] == ['on R1": null', 'on R2": null']


def test_a_region_that_was_assumed_is_told(folder, tmp_path):
    note = "note: the runtime table's path tells no region; it is taken to be that of R2"
    table = folder / "runtime_triggerType"
    assert note in run("head", table).output
    assert note not in run("head", table, "--region", "R1").output
    question = ("scan", folder / "cold_start", "--runtime", table, "-o", tmp_path / "x.agg", "--by")
    joined = run(*question, "region,runtime")
    assert joined.exit_code == 0 and note in joined.output
    assert note not in run(*question, "region").output


def test_scan_and_merge(folder, tmp_path):
    for day in range(3):
        path = folder / "cold_start" / "R1" / f"day_{day:02d}.csv"
        result = run(
            "scan",
            path,
            "--by",
            "funcName",
            "--values",
            "totalCost_cold_start",
            "--quantiles",
            ".5",
            "-o",
            tmp_path / f"{day}.agg",
        )
        assert result.exit_code == 0, result.output
    merged = run("merge", *(tmp_path / f"{day}.agg" for day in range(3)), "--json", tmp_path / "merged.json")
    assert merged.exit_code == 0, merged.output
    whole = run(
        "scan",
        folder / "cold_start",
        "--by",
        "funcName",
        "--values",
        "totalCost_cold_start",
        "--quantiles",
        ".5",
        "--json",
        "-",
    )
    records = json.loads(whole.output)
    assert records == json.loads((tmp_path / "merged.json").read_text())
    assert [r["funcName"] for r in records] == list(range(300, 307))
    assert sum(r["rows"] for r in records) == 180


def test_convert(folder, tmp_path):
    result = run("convert", folder / "cold_start", "-o", tmp_path / "out", "--columns", "time,size")
    assert result.exit_code == 0, result.output
    assert len(result.output.splitlines()) == 3
    assert len(list((tmp_path / "out").rglob("*.parquet"))) == 3


# ---- wrong use and unreadable files --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["head"],
        ["head", "x.csv", "--time", "7"],
        ["head", "x.csv", "--time", "a:b"],
        ["head", "x.csv", "--table", "hot_start"],
        ["scan", "x.csv", "--quantiles", "a"],
        ["convert", "x.csv"],
        ["nothing"],
    ],
)
def test_wrong_use_is_two(arguments):
    assert run(*arguments).exit_code == 2


def test_arguments_that_only_the_room_knows_to_be_wrong(folder):
    assert run("head", folder / "cold_start", "--columns", "nothing").exit_code in (2, 3)
    assert run("head", folder / "cold_start", "--region", "Q").exit_code == 2


def test_unreadable_is_three(tmp_path, folder):
    assert run("head", tmp_path / "missing.csv").exit_code == 3
    several = run("head", folder)
    assert several.exit_code == 3
    assert "cold_start (3 files)" in several.output
    junk = tmp_path / "x.agg"
    junk.write_bytes(b"junk")
    assert run("merge", junk).exit_code in (2, 3)
    assert run("convert", folder / "cold_start", "-o", "/proc/nothing/out").exit_code == 3


# ---- interruptions ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """Cold starts that no command is done with before it is interrupted: one file of 30 MB under a thousand names."""
    folder = tmp_path_factory.mktemp("long")
    rows = "\n".join(files.cold_row(i, 0) for i in range(2000))
    (folder / "R1").mkdir()
    first = folder / "R1" / "day_000.csv"
    first.write_text("\n".join([files.COLD_HEADER, *[rows] * 60]) + "\n")
    for copy in range(1, 1000):
        os.link(first, folder / "R1" / f"day_{copy:03d}.csv")
    return folder


def bytes_read(process):
    """Those of all read calls so far; libraries that are imported count too."""
    with open(f"/proc/{process.pid}/io") as lines:
        return int(dict(line.split(": ") for line in lines)["rchar"])


def left(out):
    """What a killed command left under final names."""
    return sorted(p for p in out.rglob("*") if p.is_file() and not p.name.startswith("."))


GENERATED = ("--region", "R2", "--rows", "1000000", "--tables", "cold_start", "--seed", "3")


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """What `generate` writes when nothing interrupts it."""
    folder = tmp_path_factory.mktemp("generated")
    assert run("generate", folder / "made", *GENERATED).exit_code == 0
    return folder


COMMANDS = {
    "convert": lambda source, out: ["convert", source, "-o", out],
    "scan": lambda source, out: [
        "scan",
        source,
        "--by",
        "funcName,minute",
        "--values",
        "totalCost_cold_start",
        "--threads",
        1,
        "-o",
        out / "x.agg",
    ],
    "report": lambda source, out: ["report", source, "-o", out / "x.html", "--json", out / "x.json"],
    "generate": lambda source, out: ["generate", out / "made", *GENERATED],
}


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGKILL], ids=lambda s: s.name)  # SIGTERM has no handler
@pytest.mark.parametrize("command", COMMANDS)
def test_an_interruption_leaves_no_half_file(command, signal_number, long, tmp_path, request):
    import pyarrow.parquet as pq

    out = tmp_path / "out"
    out.mkdir()
    arguments = [sys.executable, "-m", "rewarm", "trace", *map(str, COMMANDS[command](long, out))]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        started = time.monotonic()
        # As soon as something is being written; where nothing shows before the end, when a few of the thousand files are read.
        while process.poll() is None and time.monotonic() < started + 60:
            if bytes_read(process) > 400_000_000 if command in ("scan", "report") else any(out.rglob("*")):
                break
            time.sleep(0.02)
        process.send_signal(signal_number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode != 0, "it was done before the signal came"
    if signal_number == signal.SIGINT:
        assert process.returncode == 130, errors
        assert "Traceback" not in errors
        assert list(out.rglob(".*")) == []
    for path in left(out):
        if command == "convert":  # what is there is whole
            assert pq.read_table(path).num_rows == 120_000
        elif command == "scan":  # the signal came after the rename
            assert len(Aggregate.load(path)) > 0
        elif path.suffix == ".html":
            assert path.read_text().rstrip().endswith("</html>")
        elif path.suffix == ".json" and command == "report":
            json.loads(path.read_text())
        else:
            whole = request.getfixturevalue("generated") / path.relative_to(out)
            if path.suffix == ".csv":
                assert path.read_bytes() == whole.read_bytes()


# ---- progress ----------------------------------------------------------------------------------------------------------------


def test_progress_lines(capsys):
    with progress.Progress("check", 10_000_000_000, interval=0.0) as meter:
        meter(0, 0)
        meter(2_500_000_000, 1_234_567)
    lines = capsys.readouterr().err.splitlines()
    assert lines[1].startswith("check: 25 %, 1.23 M rows, ")
    assert lines[1].endswith(" left")
    assert "GB/s" in lines[2] and "left" not in lines[2]


def test_progress_by_rows_shows_no_bytes(capsys):
    with progress.Progress("generate", 4000, by_rows=True, interval=0.0) as meter:
        meter(0, 1000)
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("generate: 25 %, 1.00 k rows, ") and first.endswith(" left")
    assert "GB/s" not in first + last


def test_short_work_stays_silent(capsys):
    with progress.Progress("check", 10) as meter:
        meter(10, 1)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (999, "999"), (1000, "1.00 k"), (12_345, "12.3 k"), (999_999, "1.00 M"), (2.5e9, "2.50 G")]
)
def test_counts(number, text):
    assert progress.count(number) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 00 s"), (125, "2 min 05 s"), (4200, "1 h 10 min")])
def test_durations(seconds, text):
    assert progress.duration(seconds) == text
