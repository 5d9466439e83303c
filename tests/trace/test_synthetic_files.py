"""The release's layout and spelling in every column, the text formatter, and each oddity of the files on request."""

import gzip
import json
import re
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_made import ROOT

from rewarm._native import core
from rewarm.errors import InvalidArgument
from rewarm.trace.synthetic import MARKER, generate
from rewarm.trace.synthetic_files import ODDITIES

POD = r"(pool\d\d|custom|custom\.image\.gpu)-\d+-\d+-\d{10}"
JAVA = r"(0\.0|0\.(00|0|)[1-9]\d*|[1-9]\d*\.\d+|[1-9]\.\d+E-\d)"
COLD_START_SPELLING = {
    "day": r"\d{1,2}",
    "time": r"\d+\.\d{1,3}",
    "clusterName": r"[1-4]",
    "funcName": r"\d+",
    "userID": r"\d+",
    "requestID": r"[0-9a-f]{64}",
    "totalCost_cold_start": r"\d+\.\d{1,6}",
    "podAllocationCost": r"\d+\.\d{1,9}",
    "deployCodeCost": r"\d+\.\d{1,3}",
    "deployDependencyCost": r"\d+\.\d{1,3}",
    "schedulingCost": r"\d+\.\d{1,9}",
    "podID": POD,
}
REQUEST_SPELLING = {
    "time_worker": r"2\d{6}\.\d{1,3}",
    "time_frontend": r"(2\d{6}\.\d{1,3})?",
    "requestID": r"[0-9a-f]{64}",
    "clusterName": r"[1-4]",
    "funcName": r"\d+",
    "podID": POD,
    "userID": r"\d+",
    "totalCost_worker": JAVA,
    "workerCost": JAVA,
    "runtimeCost": JAVA,
    "totalCost_frontend": f"({JAVA})?",
    "frontendCost": f"({JAVA})?",
    "busCost": f"({JAVA})?",
    "readBodyCost": f"({JAVA})?",
    "writeRspCost": f"({JAVA})?",
    "cpu_usage": JAVA,
    "memory_usage": JAVA,
    "requestBodySize": r"(\d+\.0)?",
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    generate(folder, region="R2", scale=0.002, seed=1, tables=("cold_start", "request", "runtime"))
    return folder


@pytest.mark.parametrize(
    ("pattern", "spelling"),
    [("cold_start/R2/day_*.csv", COLD_START_SPELLING), ("per_request/R2/part-*.csv", REQUEST_SPELLING)],
    ids=["cold_start", "request"],
)
def test_spelling_of_every_column(small, pattern, spelling):
    checks = [(name, re.compile(expression)) for name, expression in spelling.items()]
    paths = sorted(small.glob(f"{ROOT}/{pattern}"))
    assert paths
    for path in paths:
        text = path.read_text()
        assert text.endswith("\n")
        assert "\r" not in text
        header, *lines = text.splitlines()
        assert header == ",".join(spelling)
        assert len(lines) > 1
        for line in lines[:500]:
            fields = line.split(",")
            assert len(fields) == len(checks)
            for field, (name, expression) in zip(fields, checks, strict=True):
                assert expression.fullmatch(field), (name, field)


def test_small_costs_of_requests_are_in_javas_spelling(small):
    text = "".join(path.read_text() for path in small.glob(f"{ROOT}/per_request/R2/*.csv"))
    assert re.search(r",[1-9]\.\d+E-[456],", text)
    assert not re.search(r",0\.000\d*[1-9]", text)


def test_layout_and_marker(small):
    names = {str(path.relative_to(small / ROOT)) for path in small.rglob("*.csv")}
    assert {f"cold_start/R2/day_{day:02d}.csv" for day in range(31)} <= names
    assert "runtime_triggerType/df_funcID_runtime_triggerType.csv" in names
    parts = sorted(name for name in names if name.startswith("per_request"))
    uuid = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    for nth, name in enumerate(parts):
        assert re.fullmatch(rf"per_request/R2/part-{nth:05d}-{uuid}-c000\.csv", name)
    marker = json.loads((small / MARKER).read_text())
    assert marker["synthetic"] is True
    assert marker["complete"] is True
    assert marker["seed"] == 1
    assert sorted(f"{ROOT}/{name}" for name in names) == marker["files"]


@given(st.integers(0, 10**15 - 1), st.integers(0, 12))
def test_numbers_read_back_and_follow_their_language(value, scale):
    def spelled(spelling):
        column = (spelling, None, np.array([value], np.int64), scale, 1)
        return core.format_rows([column], 1).decode().rstrip("\n")

    exact = float(f"{value}e-{scale}")
    assert float(spelled("decimal")) == float(spelled("java")) == exact
    if 1e-4 <= exact < 1e15 or exact == 0.0:
        assert "e" not in spelled("python")
    if exact < 1e15:
        assert spelled("python") == repr(exact)
    # Double.toString: plain digits in [1e-3, 1e7), else one digit, a point, digits, E and the exponent.
    assert ("E" in spelled("java")) == (not 1e-3 <= exact < 1e7 and exact != 0.0)
    assert re.fullmatch(r"\d+\.\d+|[1-9]\.\d+E-?[1-9]\d*", spelled("java"))


def test_integers_words_ids_and_missing_values():
    ids = np.frombuffer(bytes(range(32)) * 2, np.uint8).reshape(2, 32)
    text = core.format_rows(
        [
            ("integer", None, np.array([0, -(2**63)], np.int64)),
            ("decimal", np.array([False, True]), np.array([1018, 1], np.int64), 0, 1),
            ("float64", None, np.array([1e22, 0.1 + 0.2])),
            ("hex", None, ids),
            ("word", None, np.array([1, 0], np.int32), ["a", "bc"]),
            ("pod", None, np.array([0, 0], np.int32), ["pool22-300-128"], np.array([7, 1234567890], np.int64)),
        ],
        2,
        quoted=True,
        crlf=True,
        first_index=9,
        missing="NaN",
    )
    hexes = bytes(range(32)).hex()
    assert text.decode() == (
        f'9,"0","1018.0","1e+22","{hexes}","bc","pool22-300-128-0000000007"\r\n'
        f'10,"-9223372036854775808","NaN","0.30000000000000004","{hexes}","a","pool22-300-128-1234567890"\r\n'
    )


def test_minutes_leave_empty_what_did_not_happen():
    text = core.format_minutes(
        1, 86_400, 4, np.array([0, 2, 2, 3]), np.array([0, 3, 1], np.int32), np.array([1.0, 2.5, 3.0])
    ).decode()
    assert text == "1,86400,1.0,,,2.5\n1,86460,,,,\n1,86520,,3.0,,\n"


def test_the_formatter_refuses_what_does_not_fit():
    with pytest.raises(InvalidArgument, match="code 2 has no word"):
        core.format_rows([("word", None, np.array([2], np.int32), ["a", "b"])], 1)
    with pytest.raises(InvalidArgument, match="expected 2 elements, got 1"):
        core.format_rows([("integer", None, np.array([2], np.int64))], 2)
    with pytest.raises(InvalidArgument, match="must ascend"):
        core.format_minutes(0, 0, 4, np.array([0, 2]), np.array([1, 1], np.int32), np.array([1.0, 2.0]))


# ---- oddities ---------------------------------------------------------------------------------------------------------------


def oddity(tmp_path, *names, **more):
    options = {"region": "R5", "scale": 0.003, "tables": ("cold_start", "request"), **more}
    generate(tmp_path, oddities=names, **options)
    return tmp_path / ROOT


def lines(path):
    return path.read_bytes().split(b"\n")


def first_part(root):
    return next(iter(sorted(root.glob("per_request/R5/part-*"))))


ODDITY_CHECKS = {
    "exponents": lambda root: b"E-4," in (root / "cold_start/R5/day_00.csv").read_bytes(),
    "python_exponents": lambda root: re.search(rb",[1-9](\.\d+)?e-0[56],", first_part(root).read_bytes()),
    "plain_decimals": lambda root: (
        re.search(rb",0\.0000\d+,", first_part(root).read_bytes()) and not re.search(rb"\dE-", first_part(root).read_bytes())
    ),
    "int_vs_float": lambda root: (
        re.fullmatch(rb"\d+", lines(first_part(root))[1].split(b",")[-1])
        and re.fullmatch(rb"\d+\.0", lines(first_part(root))[1].split(b",")[3])
    ),
    "nan": lambda root: b",NaN,NaN,NaN,NaN," in first_part(root).read_bytes() and b",," not in first_part(root).read_bytes(),
    "quoted": lambda root: (
        lines(first_part(root))[0].startswith(b'"time_worker","') and lines(first_part(root))[1].endswith(b'"')
    ),
    "crlf": lambda root: all(line.endswith(b"\r") for line in lines(first_part(root))[:-1]),
    "bom": lambda root: first_part(root).read_bytes().startswith(b"\xef\xbb\xbftime_worker"),
    "no_final_newline": lambda root: all(not path.read_bytes().endswith(b"\n") for path in root.rglob("*.csv")),
    "index_column": lambda root: (
        lines(first_part(root))[0].startswith(b",time_worker") and lines(first_part(root))[2].startswith(b"1,")
    ),
    "column_order": lambda root: (
        lines(first_part(root))[0].startswith(b"busCost,clusterName,cpu_usage")
        and re.match(rb"[^,]*,[1-4],", lines(first_part(root))[1])
    ),
    "short_ids": lambda root: re.fullmatch(rb"[0-9a-f]{32}", lines(first_part(root))[1].split(b",")[2]),
    "unsorted": lambda root: (
        [float(line.split(b",")[1]) for line in lines(root / "cold_start/R5/day_00.csv")[1:4]]
        != sorted(float(line.split(b",")[1]) for line in lines(root / "cold_start/R5/day_00.csv")[1:4])
    ),
    "missing_days": lambda root: (
        len(list(root.glob("cold_start/R5/*"))) == 29 and not (root / "cold_start/R5/day_05.csv").exists()
    ),
    "day_hole": lambda root: {
        int(float(line.split(b",")[1]) - 172_800) // 3600 for line in lines(root / "cold_start/R5/day_02.csv")[1:-1]
    }.isdisjoint(range(3, 7)),
    "spark_success": lambda root: (root / "per_request/R5/_SUCCESS").stat().st_size == 0,
    "zip": lambda root: (
        zipfile.ZipFile(root / "cold_start/R5.zip").testzip() is None
        and zipfile.ZipFile(root / "cold_start/R5.zip").namelist() == [f"R5/day_{day:02d}.csv" for day in range(31)]
    ),
    "gzip": lambda root: gzip.decompress((root / "cold_start/R5/day_30.csv.gz").read_bytes()).startswith(b"day,time,"),
    "zstd": lambda root: first_part(root).suffix == ".zst" and first_part(root).read_bytes()[:4] == b"\x28\xb5\x2f\xfd",
}


def test_every_oddity_is_checked():
    assert set(ODDITY_CHECKS) == set(ODDITIES)


@pytest.mark.parametrize("name", ODDITIES)
def test_oddity(tmp_path, name):
    root = oddity(tmp_path, name)
    assert ODDITY_CHECKS[name](root)
    marker = json.loads((tmp_path / MARKER).read_text())
    assert marker["oddities"] == [name]
    assert all((tmp_path / file).exists() for file in marker["files"])


def test_the_plain_files_have_none_of_them(tmp_path):
    root = oddity(tmp_path)
    odd = [name for name in ODDITIES if name not in ("spark_success", "zip", "gzip") and ODDITY_CHECKS[name](root)]
    assert odd == []


def test_compressed_text_is_the_plain_text(tmp_path):
    plain = oddity(tmp_path / "plain") / "cold_start/R5/day_03.csv"
    packed = oddity(tmp_path / "gzip", "gzip") / "cold_start/R5/day_03.csv.gz"
    archive = oddity(tmp_path / "zip", "zip") / "cold_start/R5.zip"
    assert gzip.decompress(packed.read_bytes()) == plain.read_bytes()
    assert zipfile.ZipFile(archive).read("R5/day_03.csv") == plain.read_bytes()
