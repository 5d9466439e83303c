import json

import pytest
from click.testing import CliRunner

from rewarm.schedule import Schedule, infinite, presets, warmup_cosine, wsd
from rewarm.schedule.cli import BUILDERS, schedule

WARMUP_COSINE = "warmup_cosine --max-lr 3e-4 --min-lr 3e-5 --warmup-steps 100 --decay-steps 10000"


def run(line, **rest):
    return CliRunner().invoke(schedule, line.split(), **rest)


def built(line):
    result = run(f"show {line} --json")
    assert result.exit_code == 0, result.output
    return Schedule.from_dict(json.loads(result.output))


def test_every_option_reaches_its_builder():
    assert built(WARMUP_COSINE) == warmup_cosine(3e-4, 3e-5, 100, 10000)
    assert built(
        "infinite --max-lr 3e-4 --constant-lr 1.65e-4 --min-lr 3e-5 --warmup-steps 1e9 --cooldown-steps 57_000_000_000"
        " --constant-steps 25e9 --anneal-steps 15e9 --cooldown-shape inverse_sqrt --units tokens"
    ) == infinite(3e-4, 1.65e-4, 3e-5, 1e9, 57e9, 25e9, 15e9, cooldown_shape="inverse_sqrt", units="tokens")
    assert built("wsd --max-lr 1 --min-lr 0 --warmup-steps 1 --stable-steps 2 --decay-steps 3 --shape linear") == wsd(
        1.0, 0.0, 1, 2, 3, shape="linear"
    )
    assert built(
        "gupta2023 --max-lr 3e-4 --total 297e9 --warmup-frac 0.02 --form modern --decay-frac 1 --units steps"
    ) == presets.gupta2023(3e-4, 297e9, 0.02, "modern", "steps", decay_frac=1.0)


def test_show_prints_segments_values_and_a_chart():
    result = run(f"show {WARMUP_COSINE} --at 50 --at 5100")
    assert result.exit_code == 0, result.output
    for text in (
        "linear",
        "cosine",
        "10_100",
        "0.00015",
        "first update",
        "joint",
        "end, held",
        "5_100",
        "0.000165",
        "█",
    ):
        assert text in result.output


def test_show_prints_long_token_counts_whole():
    result = run("show gupta2023 --max-lr 3e-4 --total 15e12")
    assert result.exit_code == 0, result.output
    for text in ("legacy_cosine", "14_850_000_000_000", "14_849_999_999_999", "fraction 0.98, not below 3e-05"):
        assert text in " ".join(result.output.split())


@pytest.mark.parametrize(
    "arguments",
    [
        "constant --value 0",
        "constant --value 1 --length 0",
        "linear --from-value 0 --to-value 1 --length 9223372036854775807",
    ],
)
def test_show_at_the_edges(arguments):
    result = run(f"show {arguments}")
    assert result.exit_code == 0, result.output


def test_show_reads_its_own_json(tmp_path):
    text = run(f"show {WARMUP_COSINE} --json").output
    (tmp_path / "lr.json").write_text(text)
    assert run(f"show {tmp_path / 'lr.json'} --json").output == text
    assert run("show - --json", input=text).output == text


def test_plot_writes_a_picture(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    result = run(f"plot {WARMUP_COSINE} -o {tmp_path / 'lr.svg'}")
    assert (result.exit_code, result.output) == (0, f"{tmp_path / 'lr.svg'}\n")
    assert (tmp_path / "lr.svg").read_text().startswith("<?xml")
    (tmp_path / "mine.json").write_text(json.dumps(warmup_cosine(1.0, 0.1, 3, 7).to_dict()))
    monkeypatch.chdir(tmp_path)
    assert run("plot mine.json --stop 1e3").output == "mine.svg\n"
    assert (tmp_path / "mine.svg").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("show cosin", 2, "'cosin' is neither a file nor one of warmup_cosine, wsd"),
        ("show wsd --max-lr 1", 2, "wsd needs --min-lr, --warmup-steps, --stable-steps, --decay-steps"),
        (f"show {WARMUP_COSINE} --total 5", 2, "warmup_cosine takes no --total; its options: --max-lr"),
        (f"show {WARMUP_COSINE} --units epochs", 2, "expected units 'steps' or 'tokens', got 'epochs'"),
        (f"show {WARMUP_COSINE} --decay-steps 1.5", 2, "expected a whole number in [0, 2**63)"),
        (f"show {WARMUP_COSINE} --decay-steps 1e999999999", 2, "expected a whole number"),
        (f"show {WARMUP_COSINE} --decay-steps nan", 2, "expected a whole number"),
        (
            f"show {WARMUP_COSINE} --max-lr nan",
            2,
            "warmup_cosine: max_lr: expected a finite number >= 0, got nan",
        ),
        (f"plot {WARMUP_COSINE} -o lr.gif", 2, "expected a name ending in .svg, .png, .pdf, got 'lr.gif'"),
        (f"plot {WARMUP_COSINE} -o no/lr.svg", 2, "expected an existing folder, got 'no'"),
        ("show bad.json", 1, "bad.json:2: column 1: not JSON"),
        ("show old.json", 1, "old.json: Schedule.from_dict: expected format 'rewarm.schedule' version 1"),
        ("show old.json --max-lr 1", 2, "a schedule from a file takes no --max-lr"),
        ("show latin.json", 1, "latin.json: byte 0: not UTF-8"),
    ],
)
def test_errors_name_the_place(arguments, code, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.json").write_text("{\n")
    (tmp_path / "old.json").write_text('{"version": 0}')
    (tmp_path / "latin.json").write_bytes(b"\xff\xfe")
    result = run(arguments)
    assert result.exit_code == code
    assert message in result.output
    assert "Traceback" not in result.output


def test_help_lists_what_each_option_is_for():
    result = run("plot --help")
    assert result.exit_code == 0
    assert "For warmup_cosine, wsd, infinite" in " ".join(result.output.split())
    assert "-o lr.svg" in result.output
    assert set(BUILDERS) >= {"warmup_cosine", "wsd", "infinite", "linear_to_zero", "gupta2023"}
