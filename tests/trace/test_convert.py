"""`rewarm.trace.convert`: one Parquet for every input, the same rows in the same order, whole or absent."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

pa = pytest.importorskip("pyarrow")
import pyarrow.parquet as pq  # noqa: E402
import trace_files as files  # noqa: E402

from rewarm import trace  # noqa: E402
from rewarm.errors import InvalidArgument, TraceError  # noqa: E402
from rewarm.trace.convert import convert, convert_all  # noqa: E402


def rows(stream):
    return pa.RecordBatchReader.from_stream(stream).read_all().to_pylist()


def sorted_by(path):
    claimed = {pq.ParquetFile(path).metadata.row_group(i).sorting_columns for i in range(pq.ParquetFile(path).num_row_groups)}
    assert len(claimed) == 1
    names = pq.ParquetFile(path).schema_arrow.names
    return [names[column.column_index] for column in claimed.pop()]


def test_every_file_becomes_one(tmp_path):
    folder = files.write_cold_start(tmp_path / "in", days=3)
    files.write_requests(tmp_path / "in")
    files.write_runtime(tmp_path / "in")
    out = tmp_path / "out"
    written = convert(tmp_path / "in", out)
    names = [str(path.relative_to(out)) for path in written]
    assert names == [
        "cold_start/R1/day_00.parquet", "cold_start/R1/day_01.parquet", "cold_start/R1/day_02.parquet",
        "per_request/R1/part-00000.parquet", "runtime_triggerType/df_funcID_runtime_triggerType.parquet",
    ]  # fmt: skip
    assert sorted(p.name for p in out.rglob("*") if p.is_file()) == sorted(Path(name).name for name in names)
    for day in range(3):
        assert pq.read_table(written[day]).to_pylist() == rows(trace.read(folder / "R1" / f"day_{day:02d}.csv", region="R1"))
    assert pq.read_table(written[3]).to_pylist() == rows(trace.read(tmp_path / "in" / "per_request"))
    assert sorted_by(written[0]) == ["time"]
    assert sorted_by(written[3]) == ["time_worker"]
    assert sorted_by(written[4]) == []
    assert pq.read_schema(written[0]).field("time").metadata[b"unit"] == b"s"
    assert convert(tmp_path / "in", out, table="request") == [written[3]]


def test_sorting_is_claimed_only_where_it_is_true(tmp_path):
    good = [files.cold_row(i, 0) for i in range(30)]
    for name, lines in (
        ("falling", [good[1], good[0]]),
        ("null", [*good, files.cold_row(30, 0, time="")]),
        ("equal", [good[0]] * 2),
    ):
        files.write(tmp_path / f"{name}.csv", files.COLD_HEADER, lines)
    written = {path.stem: path for path in convert(tmp_path, tmp_path / "out")}
    assert {name: sorted_by(path) for name, path in written.items()} == {"falling": [], "null": [], "equal": ["time"]}
    assert pq.read_table(written["falling"])["time"].to_pylist() == [30.104, 0.104]


def test_archives_and_single_files(tmp_path):
    text = "\n".join([files.COLD_HEADER, *(files.cold_row(i, 0) for i in range(5))])
    with zipfile.ZipFile(tmp_path / "R2.zip", "w") as archive:
        archive.writestr("R2/day_00.csv", text)
        archive.writestr("R2/day_01.csv", text)
    written = convert(tmp_path / "R2.zip", tmp_path / "out")
    assert [str(p.relative_to(tmp_path / "out")) for p in written] == ["R2.zip/R2/day_00.parquet", "R2.zip/R2/day_01.parquet"]
    assert set(pq.read_table(written[0])["region"].to_pylist()) == {"R2"}
    (tmp_path / "one.csv").write_text(text)
    assert convert(tmp_path / "one.csv", tmp_path / "other.parquet") == [tmp_path / "other.parquet"]
    with pytest.raises(InvalidArgument, match="expected a folder"):
        convert(tmp_path / "R2.zip", tmp_path / "one.csv")


def test_an_error_leaves_no_file_of_its_own_and_keeps_the_others(tmp_path):
    folder = files.write_cold_start(tmp_path, days=3)
    with open(folder / "R1" / "day_01.csv", "a") as out:
        out.write("1,2,3\n")
    out = tmp_path / "out"
    with pytest.raises(TraceError, match=r"R1/day_01.csv:62"):
        convert(folder, out)
    assert [p.name for p in out.rglob("*") if p.is_file()] == ["day_00.parquet"]
    written, rejects = convert_all(folder, out, on_error="skip", columns=["time", "funcID"])
    assert [pq.read_table(p).num_rows for p in written] == [60, 60, 60]
    assert [(r.count, r[0].line) for r in rejects] == [(1, 62)]
    assert pq.read_table(written[0]).column_names == ["time", "funcID"]


def test_empty_tables(tmp_path):
    files.write(tmp_path / "R1" / "day_00.csv", files.COLD_HEADER, [])
    (path,) = convert(tmp_path, tmp_path / "out")
    assert pq.read_table(path).num_rows == 0
    assert "totalCost_cold_start" in pq.read_table(path).column_names
