"""`continual_pretraining.py suite`: the smoke of C1 and C4, stopping and going on, its report, and what it refuses."""

import importlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
PROGRAM = TOP / "examples" / "continual_pretraining.py"
# 300k upstream and 150k downstream tokens an arm; two seeds of five runs in one process: 26 s on a busy core, 16 s around them.
SMOKE = {"steps-upstream": 293, "steps-downstream": 147, "eval-windows": 48, "vocab": 512, "width": 32, "layers": 1, "seeds": 2}
TINY = {
    "steps-upstream": 16,
    "steps-downstream": 12,
    "batch": 4,
    "eval-windows": 8,
    "vocab": 300,
    "width": 32,
    "layers": 1,
    "seeds": 2,
}
NEEDED = ("torch", "transformers", "tokenizers", "tqdm", "matplotlib", "scipy")
MISSING = [name for name in NEEDED if not importlib.util.find_spec(name)]

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"the suite needs {', '.join(MISSING)}: rewarm[examples]")


def command(out: Path, sizes: dict, *arguments) -> list[str]:
    named = [f"--{key}={value}" for key, value in sizes.items()]
    return [sys.executable, str(PROGRAM), "suite", *named, f"--out={out}", "--workers=2", *map(str, arguments)]


def run(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=300, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )


@pytest.fixture
def program(monkeypatch):
    monkeypatch.syspath_prepend(PROGRAM.parent)
    return importlib.import_module("continual_pretraining_suite")


def test_smoke_rewarming_adapts_and_larger_rates_forget_more(tmp_path):
    """C1 and C4 in both seeds, on text that every machine has; the t bounds of two seeds are for the full suite."""
    process = run(tmp_path, SMOKE, "--claims", "C4", "C1", "--workers=1")
    assert process.returncode == 0, process.stdout + process.stderr
    results = json.loads((tmp_path / "suite.json").read_text())
    c1, c4 = results["verdicts"]
    assert (c1["claim"], c4["claim"]) == ("C1", "C4")
    assert min(c1["rows"][0]["seeds"]) > 0.02
    assert len(c4["rows"]) == 3 and min(d for row in c4["rows"] for d in row["seeds"]) > 0
    assert set(results["runs"][1]) == {"upstream", "constant", "rewarm_half_P", "rewarm_P", "rewarm_2P"}
    assert (tmp_path / "suite.html").read_text().count("<svg") == 1  # of the other figures no two arms were trained


@pytest.fixture(scope="module")
def stopped_and_finished(tmp_path_factory):
    """All arms in a tiny setting: stopped with Ctrl-C after some runs, one of them lost, then the same command again."""
    folder = tmp_path_factory.mktemp("suite")
    for name, line in (("old", "def f{0}(x):\n    return x + {0}\n"), ("new", "Item {0} is larger than item {1}.\n")):
        text = (line.format(i, i * i % 97) for i in range(9000))
        (folder / f"{name}.txt").write_text("".join(text))
    given = (folder / "out", TINY, "--upstream", folder / "old.txt", "--downstream", folder / "new.txt")
    process = subprocess.Popen(command(*given), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stdout:
        if "constant" in line:
            break
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 130, output + errors
    lost = next(given[0].glob("seed?/constant.json"))
    before = json.loads(lost.read_text())
    lost.unlink()
    return given, errors, run(*given, "--workers=1"), (lost, before)  # the same runs in one process


def test_ctrl_c_keeps_what_is_finished_and_the_same_command_goes_on(stopped_and_finished):
    (out, *_), errors, again, _ = stopped_and_finished
    there = int(re.search(r"stopped; (\d+) of 36 runs are in", errors)[1])
    assert there >= 2 and "Traceback" not in errors
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"36 runs, {there - 1} of them there already" in again.stdout
    assert not list(out.rglob("*.unfinished"))


def test_report_holds_every_claim_arm_and_figure(stopped_and_finished, program):
    (out, *_), _, again, _ = stopped_and_finished
    results = json.loads((out / "suite.json").read_text())
    claims = [f"C{i}" for i in range(1, 11)]
    assert [verdict["claim"] for verdict in results["verdicts"]] == claims
    page_module = importlib.import_module("continual_pretraining_page")
    page, table = (out / "suite.html").read_text(), page_module.markdown_table(results)
    assert page.count("<svg") == len(page_module.FIGURES) + 1  # replay has two
    for arm in program.ARMS.values():
        assert f"<td>{arm.label}</td>" in page
    for verdict in results["verdicts"]:
        assert f"\n| {verdict['claim']} | {verdict['statement']} | {verdict['verdict']} |" in table
        assert f"{verdict['claim']:4} {verdict['verdict'].upper()}" in again.stdout
    assert results["seconds"]["all_runs_cpu"] > 0


def test_arms_differ_in_what_they_say_and_in_nothing_else(stopped_and_finished):
    (out, *_), *_ = stopped_and_finished
    runs = {path.stem: json.loads(path.read_text()) for path in (out / "seed1").glob("*.json")}
    start = {name: arm["evaluations"][0] for name, arm in runs.items()}
    end = runs["upstream"]["evaluations"][-1]
    for name, point in start.items():
        if name.startswith("scratch"):
            expected = start["upstream"]
        elif name in ("from_25", "from_50"):
            assert point["upstream"] not in (end["upstream"], start["upstream"]["upstream"])
            continue
        elif name != "upstream":
            expected = end
        else:
            continue
        assert [point[c] for c in ("upstream", "downstream")] == [expected[c] for c in ("upstream", "downstream")], name
    assert (
        runs["warmup_0"]["schedule"]
        != runs["rewarm_P"]["schedule"]
        == runs["replay_25"]["schedule"]
        == runs["reset"]["schedule"]
    )
    assert len({arm["evaluations"][-1]["downstream"] for arm in runs.values()}) >= 14  # at 12 updates two warm-ups round alike


def test_a_lost_run_comes_back_bit_for_bit(stopped_and_finished):
    lost, before = stopped_and_finished[-1]
    assert json.loads(lost.read_text())["evaluations"] == before["evaluations"]


def test_another_setting_in_the_same_folder_is_refused(program, stopped_and_finished, capsys):
    (out, _, *texts), *_ = stopped_and_finished
    sizes = [f"--{key}={value}" for key, value in (TINY | {"batch": 8}).items()]
    assert program.main([*sizes, f"--out={out}", *map(str, texts)]) == 2
    error = capsys.readouterr().err
    assert f"{out} holds a suite with batch = 4, and batch = 8 was asked for" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "1"], "--seeds 1: at least 2 are accepted"),
        (["--claims", "C11"], "invalid choice: 'C11'"),
        (["--width", "33"], "--width 33: multiples of 32"),
        (["--vocab", "256"], "--vocab 256: at least 257"),
        (["--max-lr", "nan"], "--max-lr nan: a number above 0"),
        (["--workers", "0"], "0 given, a whole number of at least 1"),
    ],
    ids=lambda value: value[0].lstrip("-") if isinstance(value, list) else "",
)
def test_arguments_are_checked(program, capsys, arguments, message):
    with pytest.raises(SystemExit):
        program.parse_arguments(arguments)
    assert message in capsys.readouterr().err


@pytest.fixture
def debian(monkeypatch, tmp_path):
    """apt-get and dpkg-deb that give a package of three files, or fail, as their names are written."""
    monkeypatch.syspath_prepend(PROGRAM.parent)
    programs = {
        "apt-get": 'case "$2" in no-*) echo "E: Unable to locate package $2" >&2; exit 100;; *) touch "$2.deb";; esac',
        "dpkg-deb": """
            mkdir -p "$3/usr/share/man/man1" "$3/usr/share/doc/x"; cd "$3/usr/share"
            printf ".TH A 1\\nwords of a page\\n" >man/man1/a.1; echo plain words >doc/x/a.txt
            echo licence >doc/x/copyright; echo no >doc/x/a.png""",
    }
    for name, script in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return importlib.import_module("local_text")


def test_a_package_gives_its_text_and_leaves_nothing(debian, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = sorted(tmp_path.iterdir())
    assert sorted(debian.given(["apt:some-doc"])) == [("apt:some-doc", "plain words\n"), ("apt:some-doc", "words of a page\n")]
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no-such", "apt:no-such: apt-get failed: E: Unable to locate package no-such"),
        ("a b; rm", "the name of a Debian package is accepted"),
    ],
)
def test_a_package_that_cannot_be_had_says_why(debian, name, message):
    with pytest.raises(debian.UsageError, match=message):
        list(debian.given([f"apt:{name}"]))


def test_without_apt_folders_are_named(debian, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(debian.UsageError, match="apt: names need a Debian or Ubuntu machine, folders work anywhere"):
        list(debian.given(["apt:some-doc"]))
