"""The readers that bear witness, against values that stand in the paper's material and against Python's own csv and float."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rewarm.trace import cold_start_reference, csv_reference, minute_reference, request_reference, runtime_trigger_reference
from rewarm.trace.csv_reference import Wrong

COLD_HEADER = (
    "day,time,clusterName,funcName,userID,requestID,totalCost_cold_start,podAllocationCost,deployCodeCost,"
    "deployDependencyCost,schedulingCost,podID\n"
)
ID = "5d990e04" * 8
COLD_ROW = f"0,0.104,1,332,439,{ID},0.911090,0.000590,0.001,0.000,0.909500,pool22-300-128-0006319574\n"
REQUEST_HEADER = ",".join(request_reference.PUBLISHED) + "\n"
REQUEST_ROW = (
    f"2592000.020,2592000.021,{ID},3,411,pool22-300-128-0000177166,301,0.000931,0.000103,8.29E-4,0.002367,0.000531,"
    "0.000585,2.5e-05,0.000009,0.059806,34.238280,1018.0\n"
)
HALF_ROW = f"2678398.958,,{ID},4,296,pool22-300-128-0000206093,224,0.027996,0.000100,0.027896,,,,,,0.231319,32.324220,\n"


def cold(text, columns=None, **options):
    return cold_start_reference.read(text.encode(), columns, **options)


def refused(text, columns=None, **options):
    with pytest.raises(Wrong) as found:
        cold(text, columns, **options)
    return found.value


def test_a_published_cold_start():
    found = cold(COLD_HEADER + COLD_ROW, region="R1")
    assert {name: values[0] for name, values in found.items()} == {
        "day": 0, "time": 0.104, "clusterName": 1, "funcName": 332, "userID": 439, "requestID": bytes.fromhex(ID),
        "totalCost_cold_start": 0.91109, "podAllocationCost": 0.00059, "deployCodeCost": 0.001, "deployDependencyCost": 0.0,
        "schedulingCost": 0.9095, "poolName": "pool22-300-128", "pod_serial": 6319574, "region": "R1",
    }  # fmt: skip
    assert list(found)[-3:] == ["poolName", "pod_serial", "region"]
    text = cold(COLD_HEADER + COLD_ROW, ids="text")
    assert list(text) == [*cold_start_reference.PUBLISHED, "region"]
    assert (text["requestID"], text["podID"], text["region"]) == ([ID], ["pool22-300-128-0006319574"], [None])


def test_published_requests_and_what_is_derived():
    data = (REQUEST_HEADER + REQUEST_ROW + HALF_ROW).encode()
    found = request_reference.read(data)
    assert found["requestBodySize"] == [1018, None]
    assert found["time_frontend"] == [2592000.021, None]
    assert found["runtimeCost"][0] == 0.000829
    assert found["readBodyCost"][0] == 0.000025
    function = "411---301---pool22-300-128"
    names = [
        "funcID",
        "size",
        "pool_class",
        "cpu_limit",
        "memory_limit",
        "day",
        "hour",
        "minute",
        "hour_of_day",
        "podID",
        "runtime",
    ]
    derived = request_reference.read(data, names, region="R2", runtime={("R2", function): ("Java", "APIG-S")})
    assert [derived[name][0] for name in names] == [
        function, "300-128", "small", 300, 128, 30, 720, 43200, 0, "pool22-300-128-0000177166", "Java",
    ]  # fmt: skip
    assert derived["runtime"][1] is None
    assert (
        request_reference.read(data, ["runtime"], region="R1", runtime={("R2", function): ("Java", "")})["runtime"]
        == [None] * 2
    )


@pytest.mark.parametrize(
    ("old", "new", "column", "offset", "expected"),
    [
        ("0.911090", "0.91x", "totalCost_cold_start", 0, "a finite decimal number"),
        ("0.911090", "+0.9", "totalCost_cold_start", 0, "a finite decimal number"),
        ("0.911090", "inf", "totalCost_cold_start", 0, "a finite decimal number"),
        ("0.911090", "1e999", "totalCost_cold_start", 0, "a finite decimal number"),
        ("0.911090", " 0.9", "totalCost_cold_start", 0, "a finite decimal number"),
        ("0.911090", "1_0", "totalCost_cold_start", 0, "a finite decimal number"),
        ("0.911090", ".5", "totalCost_cold_start", 0, "a finite decimal number"),
        ("0.911090", "5.", "totalCost_cold_start", 0, "a finite decimal number"),
        (",332,", ",332.5,", "funcName", 1, "a whole number of 32 bits"),
        (",332,", ",3000000000,", "funcName", 1, "a whole number of 32 bits"),
        ("0,0.104", "32768,0.104", "day", 0, "a whole number of 16 bits"),
        (ID, ID[:-1], "requestID", 0, '64 hexadecimal digits; other ids: ids="text"'),
        (ID, ID[:-1] + "g", "requestID", 0, '64 hexadecimal digits; other ids: ids="text"'),
        ("-0006319574", "-006319574", "podID", -len("pool22-300-128"), 'a pool name, "-" and 10 digits'),
    ],
)
def test_what_is_refused_and_where(old, new, column, offset, expected):
    text = COLD_HEADER + COLD_ROW
    place = text.rindex(old) + offset
    error = refused(text.replace(old, new) + COLD_ROW)
    assert (error.line, error.byte, error.column, error.expected) == (2, place, column, expected)


def test_ragged_rows_and_quotes():
    short = COLD_ROW.rpartition(",")[0] + "\n"
    error = refused(COLD_HEADER + COLD_ROW + short)
    assert (error.line, error.byte, error.column) == (3, len(COLD_HEADER + COLD_ROW), None)
    rejects = []
    found = cold(COLD_HEADER + short + COLD_ROW + COLD_ROW.replace("332", "x"), on_error="null", rejects=rejects)
    assert found["funcName"] == [332, None]
    assert [(r["line"], r["column"], r["action"]) for r in rejects] == [(2, None, "row skipped"), (4, "funcName", "null")]
    quoted = ",".join(f'"{field}"' for field in COLD_ROW.rstrip().split(","))
    assert cold(COLD_HEADER + quoted + "\r\n") == cold(COLD_HEADER + COLD_ROW)
    assert cold("\ufeff" + COLD_HEADER.replace("day", '"day"') + "\n\r\n" + COLD_ROW.rstrip()) == cold(COLD_HEADER + COLD_ROW)
    assert refused(COLD_HEADER + COLD_ROW.replace("pool22", '"pool22')).column is None
    assert refused(COLD_HEADER + COLD_ROW.replace("0.104", '"0.1"04')).column is None
    assert refused(COLD_HEADER + COLD_ROW.replace("0.104", '0.1"04')).column == "time"


def test_nulls_and_spellings():
    for empty in ("", '""', "NaN", '"NaN"', "null"):
        assert cold(COLD_HEADER + COLD_ROW.replace("0.911090", empty))["totalCost_cold_start"] == [None]
    assert cold(COLD_HEADER + COLD_ROW.replace(",332,", ",332.0,"))["funcName"] == [332]
    assert cold(COLD_HEADER + COLD_ROW.replace(ID, ID.upper()))["requestID"] == [bytes.fromhex(ID)]
    assert cold(COLD_HEADER + COLD_ROW.replace(ID, ID[:32]))["requestID"] == [bytes.fromhex(ID[:32])]
    assert str(cold(COLD_HEADER + COLD_ROW.replace("0.911090", "-0"))["totalCost_cold_start"]) == "[-0.0]"
    assert cold(COLD_HEADER + COLD_ROW.replace("0.911090", "1e-999"))["totalCost_cold_start"] == [0.0]


def test_filters():
    text = COLD_HEADER + COLD_ROW + COLD_ROW.replace("0.104", "5.0").replace(",332,", ",7,") + COLD_ROW.replace("0.104", "")
    assert cold(text, ["funcName"], time=(0.104, 5.0)) == {"funcName": [332]}
    assert cold(text, ["funcName"], time=(None, None)) == {"funcName": [332, 7]}
    assert cold(text, ["time"], funcID=["7---439---pool22-300-128"]) == {"time": [5.0]}
    assert cold(text, ["time"], clusterName=[2]) == {"time": []}
    # What a filter drops is not looked at.
    assert cold(text + COLD_ROW.replace("0.104", "9").replace("0.9095", "x"), ["schedulingCost"], time=(0, 9)) == {
        "schedulingCost": [0.9095, 0.9095]
    }


@pytest.mark.parametrize(
    ("pool", "limits", "kind"),
    [
        ("pool22-300-128", (300, 128), "small"),
        ("pool23-400-256", (400, 256), "small"),
        ("custom-300-128", (300, 128), "small"),
        ("custom.image.gpu-25800-32768", (25800, 32768), "large"),
        ("a-b-600-512", (600, 512), "large"),
        ("400-512", (400, 512), "large"),
        ("pool", (None, None), None),
        ("pool-1-x", (None, None), None),
    ],
)
def test_pools_are_read_from_the_right(pool, limits, kind):
    assert csv_reference.pool_limits(pool) == limits
    assert csv_reference.pool_class(pool) == kind
    assert csv_reference.pod(f"{pool}-0001178012".encode()) == (pool, 1178012)


@pytest.mark.parametrize(
    ("triggers", "group"),
    [
        ("TIMER-A", "TIMER-A"), ("APIG-S TIMER-A workflow-S", "TIMER-A"), ("APIG-S", "APIG-S"), ("OBS-A", "OBS-A"),
        ("workflow-S", "workflow-S"), ("unknown", "unknown"), ("unknown-unknown", "unknown"),
        ("unknown-A unknown-S", "unknown"),
        ("unknown-S", "other S"), ("KAFKA-S", "other S"), ("APIG-S workflow-S", "other S"), ("unknown-A", "other A"),
        ("DIS-A SMN-A", "other A"), ("APIG-A OBS-A", "other A"), ("APIG-A APIG-S", "other A"), ("DIS-A workflow-S", "other S"),
        ("APIG-S OBS-A", "other S"), (None, None),
    ],
)  # fmt: skip
def test_trigger_groups(triggers, group):
    assert runtime_trigger_reference.trigger_group(triggers) == group


#: The published number of functions by their trigger text.
PUBLISHED_TRIGGERS = {
    "TIMER-A": 1018, "APIG-S": 551, "APIG-S TIMER-A": 312, "unknown-S": 123, "unknown": 74, "unknown-unknown": 68,
    "unknown-A unknown-S": 60, "OBS-A": 60, "workflow-S": 54, "unknown-A": 19, "APIG-S TIMER-A workflow-S": 16, "LTS-A": 14,
    "CTS-A": 10, "APIG-A": 9, "SMN-A": 8, "KAFKA-S": 3, "DIS-A": 3, "SMN-A TIMER-A": 3, "APIG-A APIG-S": 2,
    "DIS-A OBS-A SMN-A TIMER-A": 2, "TIMER-A workflow-S": 2, "APIG-A OBS-A": 1, "APIG-S OBS-A": 1, "APIG-S workflow-S": 1,
    "DIS-A SMN-A": 1, "DIS-A SMN-A TIMER-A": 1, "DIS-A workflow-S": 1, "OBS-A TIMER-A": 1,
}  # fmt: skip


def test_the_published_triggers_fall_into_the_published_groups():
    groups = dict.fromkeys(("TIMER-A", "APIG-S", "OBS-A", "workflow-S", "unknown", "other S", "other A"), 0)
    for triggers, count in PUBLISHED_TRIGGERS.items():
        groups[runtime_trigger_reference.trigger_group(triggers)] += count
    assert groups == {
        "TIMER-A": 1355, "APIG-S": 551, "OBS-A": 60, "workflow-S": 54, "unknown": 202, "other S": 129, "other A": 67,
    }  # fmt: skip
    assert sum(groups.values()) == 2418


def test_runtime_table():
    data = b"funcID,cpu_request,runtime,triggerType-invocationType\n565---486---pool30-1800-2048,1000,http,APIG-S TIMER-A\n"
    found = runtime_trigger_reference.read(data)
    assert found == {
        "funcID": ["565---486---pool30-1800-2048"], "cpu_request": [1000], "runtime": ["http"],
        "triggerType-invocationType": ["APIG-S TIMER-A"], "region": ["R2"],
    }  # fmt: skip
    derived = runtime_trigger_reference.read(data, ["triggers", "funcName", "userID", "poolName", "cpu_limit", "size"])
    assert [v[0] for v in derived.values()] == [["APIG-S", "TIMER-A"], 565, 486, "pool30-1800-2048", 1800, "1800-2048"]


def test_minute_table():
    data = b"day,time,400---418---pool22-300-128,343---1077---custom.image.gpu-25800-32768\n0,0,1.0,\n0,60,,\n0,120,2,3.5\n"
    found, functions = minute_reference.read(data, folder="runtimeCost_quantile_050", region="R2")
    assert functions == ["400---418---pool22-300-128", "343---1077---custom.image.gpu-25800-32768"]
    assert found["time"] == [0, 120, 120]
    assert found["value"] == [1.0, 2.0, 3.5]
    assert found["funcID"] == [functions[0], functions[0], functions[1]]
    assert set(found["metric"]) == {"runtimeCost"} and set(found["stat"]) == {"quantile_050"}
    assert minute_reference.metric_and_stat("num_pods") == ("num_pods", None)
    assert minute_reference.metric_and_stat("cpu_usage_avg") == ("cpu_usage", "avg")


CELLS = st.lists(st.lists(st.text('ab1." -\r', max_size=5), min_size=2, max_size=4), min_size=1, max_size=4)


@given(CELLS, st.sampled_from(["\n", "\r\n"]), st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]))
def test_fields_are_what_python_s_csv_wrote(cells, end, quoting):
    # Python writes a bare carriage return unquoted under QUOTE_MINIMAL; before a line feed nothing tells it from CRLF.
    assume(quoting == csv.QUOTE_ALL or not any("\r" in cell for row in cells for cell in row))
    out = io.StringIO()
    csv.writer(out, lineterminator=end, quoting=quoting).writerows(cells)
    found = [[f.text.decode() for f in csv_reference.fields(line)] for line in csv_reference.lines(out.getvalue().encode())]
    assert found == cells


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_comes_back(number):
    assert csv_reference.float64(repr(number).encode()) == number
