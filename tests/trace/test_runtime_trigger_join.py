"""The engine's join table of runtime tables says what `functions` says, or raises what it raises."""

import pickle

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_runtime_trigger import HEADER, plain_files

from rewarm import trace
from rewarm._native import core
from rewarm.errors import TraceError
from rewarm.trace.header import parse_header
from rewarm.trace.runtime_trigger import functions
from rewarm.trace.runtime_trigger_join import _word_of, join_of

ONE_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def said(table):
    return {(region, function): (runtime, group) for region, function, runtime, group in table.rows()}


def outcome(read, path):
    try:
        found = read(path)
    except TraceError as error:
        return str(error)
    return found if isinstance(found, dict) else said(found)


def taken_at_once(text):
    """Whether the engine reads the text itself."""
    data = text.encode()
    header = parse_header(data.splitlines(keepends=True)[0], "t.csv")
    return core.TraceFunctions([]).add_plain("R2", data, header.nbytes, list(header.columns), _word_of)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="")


@ONE_FOLDER
@given(st.lists(plain_files(), min_size=1, max_size=3))
def test_it_says_what_functions_says(tmp_path, files):
    for i in range(3):
        (tmp_path / f"R{i}" / "t.csv").unlink(missing_ok=True)
    for i, (text, _) in enumerate(files):
        assert taken_at_once(text)
        write(tmp_path / f"R{i}" / "t.csv", text if "runtime" in text.splitlines()[0] else HEADER)
    assert outcome(join_of, tmp_path) == functions(tmp_path)


@ONE_FOLDER
@given(st.data())
def test_of_an_odd_file_it_says_or_raises_the_same(tmp_path, data):
    text, _ = data.draw(plain_files(one_runtime=data.draw(st.booleans())))
    at = data.draw(st.integers(text.index("\n") + 1, len(text)))
    odd = data.draw(st.sampled_from([*',"\r\n\t\x0b\0\u2028 -.0A', "", '""', "\n\n", "---", "NaN"]))
    path = tmp_path / "runtime" / "t.csv"
    write(path, text[:at] + odd + text[at + data.draw(st.integers(0, 2)) :])
    assert outcome(join_of, path) == outcome(functions, path)


@pytest.mark.parametrize(
    "rows",
    [
        "1---2---p-1-2,100,Java,APIG-S\n",
        "1---2---p-1-2,100,Java,APIG-S\r\n2---2---p-1-2,,,\r\n",
        "1---2---p-1-2,100.0,NaN,APIG-S TIMER-A",
        "",
    ],
)
def test_plain_files_are_read_by_the_engine(rows):
    assert taken_at_once(HEADER + rows)


@pytest.mark.parametrize(
    "rows",
    [
        '"1---2---p-1-2",100,Java,APIG-S\n',
        "1---2---p-1-2,100,Java\n",
        "1---2---p-1-2,100,Java,APIG-S,\n",
        "1---2---p-1-2,100,Java,APIG-S\n\n",
        "1---2---p-1-2,100,Ja\rva,APIG-S\n",
        "1---2---,100,Java,APIG-S\n",
        "1--2---p-1-2,100,Java,APIG-S\n",
        "---2---p-1-2,100,Java,APIG-S\n",
        "1234567890---2---p-1-2,100,Java,APIG-S\n",
        "1---2---p-1-2,1e2,Java,APIG-S\n",
        "1---2---p-1-2,100,Java,APIG\n",
        "1---2---p-1-2,100,Java,APIG-S\n1---2---p-1-2,100,,APIG-S\n",
    ],
)
def test_odd_files_are_not(rows):
    assert not taken_at_once(HEADER + rows)


def test_two_files_of_one_region_that_differ(tmp_path):
    for name, runtime in (("a.csv", "Java"), ("b.csv", "Go1.x")):
        write(tmp_path / "R1" / name, f"{HEADER}1---2---p-1-2,100,{runtime},APIG-S\n")
    with pytest.raises(TraceError, match=r'R1/b\.csv:2 .*expected the runtime "Java" that R1/a\.csv:2 gives'):
        join_of(tmp_path)


def test_many_functions():
    """More than the table has room for at first."""
    rows = [("R1", f"{i}---{i % 7}---pool-1-2", f"r{i % 5}", None if i % 3 else "TIMER-A") for i in range(9001)]
    assert core.TraceFunctions(rows).rows() == rows


def test_the_fingerprint_is_of_what_is_said():
    rows = [("R1", "1---2---p", "Java", None), (None, "1---2---p", "Go1.x", "APIG-S"), ("R2", "3---2---p", None, "OBS-A")]
    table = core.TraceFunctions(rows)
    again = pickle.loads(pickle.dumps(table))
    assert again.rows() == table.rows()
    prints = {table.fingerprint(), again.fingerprint(), core.TraceFunctions(rows[::-1]).fingerprint()}
    assert len(prints) == 1
    for i, (region, function, runtime, group) in enumerate(rows):
        for other in (
            ("R3", function, runtime, group),
            (region, function + "-1", runtime, group),
            (region, function, "C#", group),
            (region, function, runtime, "TIMER-A"),
            (region, function, group, runtime),
        ):
            prints.add(core.TraceFunctions([*rows[:i], other, *rows[i + 1 :]]).fingerprint())
        prints.add(core.TraceFunctions(rows[:i] + rows[i + 1 :]).fingerprint())
    assert len(prints) == 1 + 6 * len(rows)


def test_a_path_and_what_functions_gives_are_one_question(tmp_path):
    write(tmp_path / "runtime" / "R1" / "t.csv", HEADER + "1---2---p-1-2,100,Java,APIG-S\n3---2---p-1-2,,,OBS-A\n")
    header = (
        "day,time,clusterName,funcName,userID,requestID,totalCost_cold_start,podAllocationCost,deployCodeCost,"
        "deployDependencyCost,schedulingCost,podID\n"
    )
    rows = "".join(f"0,{i}.5,1,{1 + i % 4},2,{'ab' * 32},1.0,0.25,0.25,0.25,0.25,p-1-2-0000000001\n" for i in range(8))
    write(tmp_path / "R1" / "day_00.csv", header + rows)
    path = tmp_path / "runtime"
    by_path = trace.aggregate(tmp_path / "R1", "runtime", runtime=path)
    assert by_path.to_bytes() == trace.aggregate(tmp_path / "R1", "runtime", runtime=functions(path)).to_bytes()
    assert dict(zip(by_path.to_numpy()["runtime"], by_path.to_numpy()["rows"].tolist(), strict=True)) == {"Java": 2, None: 6}
