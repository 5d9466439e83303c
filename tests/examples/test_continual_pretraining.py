"""The continual pre-training example in a tiny setting: files, numbers, what it says about bad input, Ctrl-C."""

import importlib.util
import json
import math
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "examples" / "continual_pretraining.py"
ARMS = ["constant", "rewarm_P", "rewarm_2P", "scratch"]
TINY = {"steps-upstream": 20, "steps-downstream": 12, "steps-compare": 6, "batch": 4, "eval-windows": 8, "vocab": 300}
TINY |= {"width": 32, "layers": 1, "threads": 1, "seed": 3}
MISSING = [name for name in ("torch", "transformers", "tokenizers", "tqdm", "matplotlib") if not importlib.util.find_spec(name)]

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"the example needs {', '.join(MISSING)}: rewarm[examples]")


def command(out: Path, *arguments) -> list[str]:
    return [
        sys.executable,
        str(PROGRAM),
        *(f"--{key}={value}" for key, value in TINY.items()),
        f"--out={out}",
        *map(str, arguments),
    ]


def run(out: Path, *arguments) -> subprocess.CompletedProcess:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command(out, *arguments), capture_output=True, text=True, env=environment, timeout=120)


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> tuple[Path, Path]:
    """Two folders of unlike text, large enough to be cut and split."""
    folder = tmp_path_factory.mktemp("text")
    for name, line in (("old", "def f{0}(x):\n    return x + {0}\n"), ("new", "Item {0} is larger than item {1}.\n")):
        (folder / name).mkdir()
        for part in range(6):
            lines = (line.format(part * 700 + i, i * i % 97) for i in range(700))
            (folder / name / f"part{part}.txt").write_text("".join(lines))
    return folder / "old", folder / "new"


@pytest.fixture(scope="module")
def finished(text, tmp_path_factory):
    """One complete run: process, results, folder."""
    out = tmp_path_factory.mktemp("out") / "results"
    process = run(out, "--upstream", text[0], "--downstream", text[1])
    assert process.returncode == 0, process.stdout + process.stderr
    return process, json.loads((out / "continual_pretraining.json").read_text()), out


def test_writes_three_whole_files(finished):
    _, _, out = finished
    assert sorted(path.name for path in out.iterdir()) == [
        "continual_pretraining.json",
        "continual_pretraining.svg",
        "upstream.pt",
    ]
    assert ElementTree.parse(out / "continual_pretraining.svg").getroot().tag.endswith("svg")


def test_json_holds_every_evaluation(finished):
    _, results, _ = finished
    assert list(results["arms"]) == ARMS
    for arm in results["arms"].values():
        assert [arm["evaluations"][i]["step"] for i in (0, -1)] == [0, 12]
        assert len(arm["lr"]) == 12
        for point in arm["evaluations"]:
            assert math.isfinite(point["upstream"]) and math.isfinite(point["downstream"])
            assert point["tokens"] == point["step"] * 4 * 64
        downstream = [point["downstream"] for point in arm["evaluations"]]
        assert arm["summary"]["downstream"] == {"start": downstream[0], "peak": max(downstream), "end": downstream[-1]}
    assert results["upstream_run"]["evaluations"][-1]["step"] == 20
    assert results["corpora"]["upstream"]["texts"] == 6


def test_continued_arms_start_from_one_checkpoint(finished):
    _, results, _ = finished
    starts = {name: results["arms"][name]["evaluations"][0] for name in ARMS}
    end = results["upstream_run"]["evaluations"][-1]
    for name in ARMS[:3]:
        assert [starts[name][key] for key in ("upstream", "downstream")] == [end["upstream"], end["downstream"]]
    assert starts["scratch"]["upstream"] == results["upstream_run"]["evaluations"][0]["upstream"]


def test_applied_rates_are_those_of_the_schedules(finished):
    _, results, _ = finished
    P = results["arguments"]["max_lr"]
    rates = {name: arm["lr"] for name, arm in results["arms"].items()}
    assert rates["constant"] == [0.1 * P] * 12
    assert rates["rewarm_P"][:2] == [0.0, P] and rates["rewarm_2P"][:2] == [0.0, 2 * P]
    assert rates["scratch"] == rates["rewarm_P"]
    assert all(later < earlier for earlier, later in zip(rates["rewarm_P"][1:], rates["rewarm_P"][2:], strict=False))


def test_training_agrees_with_torch(finished):
    process, results, _ = finished
    found = results["agreement"]
    assert found["holds"] and found["rewarm_fused_first5"] <= 1e-5
    assert [len(losses) for losses in found["losses"].values()] == [6, 6, 6]
    assert "holds" in process.stdout


def test_ctrl_c_leaves_nothing(text, tmp_path):
    out = tmp_path / "results"
    arguments = ["--upstream", text[0], "--downstream", text[1], "--steps-upstream", 100_000]
    process = subprocess.Popen(command(out, *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("training with"):
            break
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "nothing was written" in errors and "Traceback" not in errors
    assert not out.exists()


def test_a_model_that_cannot_be_had_says_what_is_accepted(tmp_path):
    process = run(tmp_path / "out", "--model", "no/such-model")
    assert process.returncode == 2
    assert "--model no/such-model: " in process.stderr and "Traceback" not in process.stderr
    assert "Without --model a small one is trained" in process.stderr
    assert not (tmp_path / "out").exists()


@pytest.fixture
def program(monkeypatch):
    monkeypatch.syspath_prepend(PROGRAM.parent)
    return importlib.import_module("continual_pretraining")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--width", "33"], "--width 33: multiples of 32"),
        (["--vocab", "256"], "--vocab 256: at least 257"),
        (["--steps-upstream", "0"], "--steps-upstream 0: at least 1"),
        (["--max-lr", "0"], "--max-lr 0.0: a number above 0"),
        (["--batch", "0"], "0 given, a whole number of at least 1"),
    ],
    ids=lambda value: value[0].lstrip("-") if isinstance(value, list) else "",
)
def test_arguments_are_checked(program, capsys, arguments, message):
    with pytest.raises(SystemExit):
        program.parse_arguments(arguments)
    assert message in capsys.readouterr().err


def test_missing_or_too_little_text_is_refused(program, tmp_path):
    with pytest.raises(program.UsageError, match="no such file or folder: '/no/such/folder'"):
        program.load_corpus("upstream", ["/no/such/folder"], None, 10**6)
    with pytest.raises(program.UsageError, match="upstream corpus: 0 texts with 0 bytes"):
        program.load_corpus("upstream", [str(tmp_path)], None, 10**6)
    for name in "ab":
        (tmp_path / name).write_text(f"a short text {name}\n" * 10)
    corpus = program.load_corpus("upstream", [str(tmp_path)], None, 10**6)
    tokenizer, end_of_text = program.fit_tokenizer(corpus["training"], 300)
    with pytest.raises(program.UsageError, match="at least 8 are needed"):
        program.tokenize(corpus, tokenizer, end_of_text, context=64, eval_windows=8, device="cpu")


def test_default_text_is_there_and_split(program):
    upstream = program.load_corpus("upstream", None, program.standard_library, 300_000)
    downstream = program.load_corpus("downstream", None, program.prose, 300_000)
    assert upstream["facts"]["origins"].keys() == {"standard library"}
    assert "help topics" in downstream["facts"]["origins"]
    for corpus in (upstream, downstream):
        assert 300_000 <= corpus["facts"]["bytes"] < 310_000
        assert not set(corpus["training"]) & set(corpus["validation"])
    assert upstream["facts"] == program.load_corpus("upstream", None, program.standard_library, 300_000)["facts"]
