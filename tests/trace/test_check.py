"""`rewarm.trace.check`: a good trace is silent, every broken rule is counted and its worst row found."""

from __future__ import annotations

import gzip
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("pyarrow")

import trace_files as files

from rewarm.errors import TraceError
from rewarm.trace import check
from rewarm.trace.check_keys import Keys


def checked(path, **options):
    """{(table, check without its tolerance): record}"""
    return {(r["table"], r["check"]): r for r in check(path, **options).to_pylist()}


def broken(found):
    return {key[1] for key, r in found.items() if r["violations"] and not key[1].startswith("note")}


def test_a_good_trace_breaks_no_rule(tmp_path):
    files.write_cold_start(tmp_path)
    files.write_requests(tmp_path)
    files.write_runtime(tmp_path)
    found = checked(tmp_path)
    assert broken(found) == set()
    assert {table for table, _ in found} == {"cold_start", "request", "runtime"}
    assert found["cold_start", "every field can be read"]["rows"] == 31 * 60
    assert found["request", "totalCost_worker = workerCost + runtimeCost (1 us)"]["rows"] == 500
    assert found["cold_start", "one cluster for each pod"]["rows"] == 31 * 60
    assert found["cold_start", "note: days without a row"]["violations"] == 0
    assert found["request", "note: rows with an empty field"]["violations"] == len([i for i in range(500) if i % 9 == 4])
    assert found["runtime", "funcID comes once"]["rows"] == 7 * 3 * 4
    schema = check(tmp_path, table="runtime").schema
    assert schema.names == ["check", "table", "region", "rows", "violations", "worst", "file", "line"]


#: What is changed in row 7 of day 3, the rule that breaks, and the worst measure.
COLD = [
    ({"totalCost_cold_start": "0.911098"}, "totalCost_cold_start = its four parts (1e-9 s)", None),
    ({"day": "4"}, "day = time // 86400", 1.0),
    ({"clusterName": "5"}, "clusterName is 1 to 4", 5.0),
    ({"deployCodeCost": "-0.001"}, "durations >= 0", -0.001),
    ({"funcName": "-3"}, "funcName and userID >= 0", -3.0),
    ({"time": "-1"}, "0 <= time < 31 days", -1.0),
    ({"time": "2678400"}, "0 <= time < 31 days", 2678400.0),
    ({"podID": "pool22-0000000007"}, "poolName ends in millicores and MB", 1.0),
    ({"schedulingCost": "x"}, "every field can be read", None),
]


@pytest.mark.parametrize(("change", "rule", "worst"), COLD, ids=[rule for _, rule, _ in COLD])
def test_each_rule_of_the_cold_starts(tmp_path, change, rule, worst):
    folder = files.write_cold_start(tmp_path)
    rows = [files.cold_row(i, 3, **(change if i == 7 else {})) for i in range(60)]
    # Lines that are no rows must not shift the line that is reported.
    files.write(folder / "R1" / "day_03.csv", files.COLD_HEADER, ["", *rows])
    found = checked(folder)
    record = found["cold_start", rule]
    assert (record["violations"], record["file"], record["line"]) == (1, "R1/day_03.csv", 10)
    if worst is not None:
        assert record["worst"] == worst


REQUEST = [
    ({"totalCost_worker": "0.002"}, "totalCost_worker = workerCost + runtimeCost (1 us)"),
    ({"totalCost_frontend": "0.000002"}, "totalCost_frontend >= its five parts (1 us)"),
    ({"busCost": ""}, "the seven front-end columns are empty together"),
    ({"memory_usage": "-1"}, "cpu_usage and memory_usage >= 0"),
    ({"requestBodySize": "-1"}, "requestBodySize >= 0"),
    ({"time_worker": "2592000.001"}, "rows are in order of time within a file"),
]


@pytest.mark.parametrize(("change", "rule"), REQUEST, ids=[rule for _, rule in REQUEST])
def test_each_rule_of_the_requests(tmp_path, change, rule):
    path = files.write(
        tmp_path / "R2" / "part.csv",
        files.REQUEST_HEADER,
        [files.request_row(i, **(change if i == 7 else {})) for i in range(40)],
    )
    record = checked(tmp_path)["request", rule]
    assert (record["region"], record["violations"], record["file"], record["line"]) == ("R2", 1, f"R2/{path.name}", 9)


def test_the_hop_of_the_front_end_is_counted_and_is_no_rule(tmp_path):
    rows = [files.request_row(i, **({"frontendCost": "0.000001"} if i == 3 else {})) for i in range(20)]
    files.write(tmp_path / "part.csv", files.REQUEST_HEADER, rows)
    found = checked(tmp_path)
    assert found["request", "note: totalCost_frontend less its parts is not 0.27 to 0.32 ms"]["violations"] == 1
    assert broken(found) == set()


def test_a_pod_in_two_clusters_and_ids_that_come_again(tmp_path):
    rows = [files.cold_row(i, 0) for i in range(10)]
    rows.append(files.cold_row(9, 0, clusterName="4", time="400"))
    files.write(tmp_path / "R1" / "day_00.csv", files.COLD_HEADER, rows)
    found = checked(tmp_path)
    assert broken(found) == {"one cluster for each pod"}
    assert found["cold_start", "one cluster for each pod"]["violations"] == 1
    assert found["cold_start", "note: requestID seen before"]["violations"] == 1


def test_gaps(tmp_path):
    folder = files.write_cold_start(tmp_path, days=12, rows=2800)
    (folder / "R1" / "day_05.csv").unlink()
    rows = [files.cold_row(i, 8) for i in range(2800)]
    files.write(folder / "R1" / "day_08.csv", files.COLD_HEADER, rows[:1200])  # 10 of 24 hours
    found = checked(folder)
    assert broken(found) == set()
    missing = found["cold_start", "note: days without a row"]
    assert (missing["rows"], missing["violations"], missing["worst"]) == (31, 20, 5.0)
    holes = found["cold_start", "note: hours with less than 1% of the usual rows"]
    assert holes["worst"] == 8 * 24 + 10
    assert checked(folder, time=(0.0, 5 * 86400.0))["cold_start", "note: days without a row"]["violations"] == 0


def test_rejects_do_not_shift_lines_and_archives_are_read(tmp_path):
    rows = [files.cold_row(i, 0, **({"clusterName": "9"} if i == 30 else {})) for i in range(40)]
    text = "\r\n".join([files.COLD_HEADER, *rows[:10], "1,2,3", *rows[10:]]) + "\r\n"
    with zipfile.ZipFile(tmp_path / "R3.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("R3/day_00.csv", text)
    found = checked(tmp_path)
    assert broken(found) == {"every field can be read", "clusterName is 1 to 4"}
    record = found["cold_start", "clusterName is 1 to 4"]
    assert (record["file"], record["line"], record["region"]) == ("R3.zip!R3/day_00.csv", 33, "R3")
    assert found["cold_start", "every field can be read"]["line"] == 12
    packed = tmp_path / "packed" / "day_00.csv.gz"
    packed.parent.mkdir()
    packed.write_bytes(gzip.compress(text.encode()))
    assert checked(packed)["cold_start", "clusterName is 1 to 4"]["line"] == 33


def test_runtime_rules(tmp_path):
    rows = ["1---2---pool22-300-128,100,Java,APIG-S", "1---2---pool22,100,Java,APIG-S", "3---2---pool22-300-128,1,http,APIG S"]
    files.write(tmp_path / "runtime.csv", files.RUNTIME_HEADER, rows)
    found = checked(tmp_path)
    assert broken(found) == {"funcID is funcName---userID---poolName", "every field can be read"}
    assert found["runtime", "funcID is funcName---userID---poolName"]["line"] == 3
    assert found["runtime", "every field can be read"]["line"] == 4


def test_minute_rules(tmp_path):
    folder = files.write_minute(tmp_path)
    files.write_minute(tmp_path, metric="runtimeCost_avg", days=2)
    found = checked(folder)
    assert broken(found) == set()
    assert found["minute", "time is a whole minute"]["rows"] == found["minute", "value >= 0"]["rows"]
    path = folder / "R1" / "requests" / "day_01.csv"
    path.write_text(path.read_text().replace("1,90000,1.0,", "1,90001,1.5,"))
    found = checked(folder)
    assert broken(found) == {"time is a whole minute", "counts are whole numbers"}
    assert found["minute", "counts are whole numbers"]["file"] == "R1/requests/day_01.csv"
    assert found["minute", "counts are whole numbers"]["line"] is None  # a line is many rows of the long table


def test_what_is_no_trace_is_an_error(tmp_path):
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    with pytest.raises(TraceError):
        check(tmp_path / "notes.csv")


KEYS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3)), max_size=200)


@given(KEYS, st.integers(1, 50))
def test_keys_are_counted_exactly_while_they_fit(rows, piece):
    keys = Keys(most=64)
    for at in range(0, len(rows), piece):
        part = rows[at : at + piece]
        keys.add(np.array([k for k, _ in part], np.uint64), np.array([1 << f for _, f in part], np.uint8))
    assert keys.share == 1.0
    assert keys.different() == len({k for k, _ in rows})
    assert keys.repeats() == len(rows) - len({k for k, _ in rows})
    flags = {}
    for key, flag in rows:
        flags.setdefault(key, set()).add(flag)
    assert keys.mixed() == sum(len(found) > 1 for found in flags.values())


def test_keys_beyond_the_room_are_estimated():
    keys = Keys(most=1000)
    for start in range(0, 60_000, 500):
        keys.add(np.arange(start, start + 500, dtype=np.uint64))
    keys.add(np.arange(30_000, dtype=np.uint64))
    assert keys.share <= 1 / 32
    # About 900 keys are followed; mixing is one-to-one but not random: these bounds are 5 standard deviations of a draw.
    assert keys.different() == pytest.approx(60_000, rel=5 / 900**0.5)
    assert keys.repeats() == pytest.approx(30_000, rel=5 / 450**0.5)
