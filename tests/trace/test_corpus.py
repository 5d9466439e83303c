"""The fuzzer's corpus against the reference readers: inputs that once told the readers apart, and what their grammar has."""

from __future__ import annotations

from pathlib import Path

import pytest

pa = pytest.importorskip("pyarrow")

from rewarm import trace  # noqa: E402
from rewarm.errors import TraceError  # noqa: E402
from rewarm.trace import cold_start_reference, request_reference  # noqa: E402
from rewarm.trace.csv_reference import Wrong  # noqa: E402

CORPUS = sorted(path for path in (Path(__file__).parent / "corpus").iterdir() if path.is_file())


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
    options = {"ids": "text" if choice & 2 else "binary", "on_error": ("raise", "null", "skip", "skip")[choice >> 2 & 3]}
    return reference, text, options


def place(error):
    return error.line, error.byte, error.column


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
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
        table = trace.read(file, threads=threads, **options)
        found = pa.table(table).to_pydict()
        assert list(found) == list(expected)
        for name in expected:
            assert list(map(repr, found[name])) == list(map(repr, expected[name])), name  # repr: -0.0 is not 0.0
        assert table.rejects.count == len(rejects)
        assert [(*place(r), r.action) for r in table.rejects] == [
            (r["line"], r["byte"], r["column"], r["action"]) for r in rejects
        ]
