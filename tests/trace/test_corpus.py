"""The fuzzer's corpus against the reference readers: inputs that once told the readers apart, and what their grammar has."""

from __future__ import annotations

from pathlib import Path

import pytest

pa = pytest.importorskip("pyarrow")

from rewarm import trace  # noqa: E402
from rewarm.errors import TraceError  # noqa: E402
from rewarm.trace import cold_start_reference, minute_reference, request_reference  # noqa: E402
from rewarm.trace.csv_reference import Wrong  # noqa: E402

CORPUS = sorted(path for path in (Path(__file__).parent / "corpus").iterdir() if path.is_file())
MINUTES = [path for path in CORPUS if path.read_bytes()[0] & 12 == 12]


def decoded_minutes(data: bytes):
    """As fuzz_reader.cpp takes the first byte of a minute table."""
    choice, body = data[0], data[1:]
    functions = [f"{i}---7---pool22-300-128" for i in range(90 if choice & 1 else 3)]
    names = [*functions, "day", "time"] if choice & 16 else ["day", "time", *functions]
    text = ",".join(names).encode() + (b"\r\n" if choice & 128 else b"\n") + body
    if choice & 2 and len(body) % 8 == 0 and 0 < len(body) < 2048 and b"\n" in body:
        text += body * (70_000 // len(body))
    return text, ("raise", "null", "skip", "skip")[choice >> 5 & 3]


def decoded(data: bytes):
    """As fuzz_reader.cpp takes the first byte of an input."""
    choice = data[0]
    reference = request_reference if choice & 1 else cold_start_reference
    names = list(reference.PUBLISHED)
    header = ",".join(reversed(names) if choice & 16 else names) + ("\r\n" if choice & 128 else "\n")
    body = data[1:]
    text = header.encode() + body
    if choice & 64 and len(data) % 8 == 0 and len(body) < 4096:
        text += body * (70_000 // len(body))
    options = {"ids": "text" if choice & 2 else "binary", "on_error": ("raise", "null", "skip")[choice >> 2 & 3]}
    return reference, text, options


def place(error):
    return error.line, error.byte, error.column


@pytest.mark.parametrize("path", [path for path in CORPUS if path not in MINUTES], ids=lambda path: path.name)
def test_corpus(path, tmp_path):
    reference, text, options = decoded(path.read_bytes())
    file = tmp_path / "R1" / "fuzz.csv"
    file.parent.mkdir()
    file.write_bytes(text)
    rejects = []
    try:
        expected = reference.read(text, region="R1", rejects=rejects, **options)
    except Wrong as wrong:
        with pytest.raises(TraceError) as raised:
            trace.read(file, **options)
        assert place(raised.value) == place(wrong)
        return
    for threads in (1, 2):
        agree(trace.read(file, threads=threads, **options), expected, rejects)


@pytest.mark.parametrize("path", MINUTES, ids=lambda path: path.name)
def test_corpus_of_minutes(path, tmp_path):
    text, on_error = decoded_minutes(path.read_bytes())
    file = tmp_path / "R1" / "requests" / "fuzz.csv"
    file.parent.mkdir(parents=True)
    file.write_bytes(text)
    rejects = []
    try:
        expected, functions = minute_reference.read(text, folder="requests", region="R1", on_error=on_error, rejects=rejects)
    except Wrong as wrong:
        with pytest.raises(TraceError) as raised:
            trace.read(file, table="minute")
        assert place(raised.value) == place(wrong)
        return
    for threads in (1, 2):
        table = trace.read(file, table="minute", threads=threads, on_error=on_error)
        assert table.functions == functions
        agree(table, expected, rejects)


def agree(table, expected, rejects):
    found = pa.table(table).to_pydict()
    assert list(found) == list(expected)
    for name in expected:
        assert list(map(repr, found[name])) == list(map(repr, expected[name])), name  # repr: -0.0 is not 0.0
    assert table.rejects.count == len(rejects)
    assert [(*place(r), r.action) for r in table.rejects] == [(r["line"], r["byte"], r["column"], r["action"]) for r in rejects]
