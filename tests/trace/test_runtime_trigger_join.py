"""The engine's join table of runtime tables says what `functions` says, or raises what it raises."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runtime_cases import HEADER, both_ways, plain_files

from rewarm import trace
from rewarm._native import core
from rewarm.errors import TraceError
from rewarm.trace.header import parse_header
from rewarm.trace.runtime_trigger import functions
from rewarm.trace.runtime_trigger_join import _word_of, join_of
from rewarm.trace.runtime_trigger_table import Functions


def said(table):
    return {(region, function): (runtime, group) for region, function, runtime, group in table.rows()}


def taken_at_once(text):
    """What the engine reads out of the text itself; None where it leaves that to the slow way."""
    data = text.encode()
    header = parse_header(data.splitlines(keepends=True)[0], "t.csv")
    table = core.TraceFunctions([])
    return said(table) if table.add_plain("R2", data, header.nbytes, list(header.columns), _word_of) else None


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="")


@given(plain_files())
def test_it_says_what_functions_says(file):
    text, _ = file
    _, plain, _ = both_ways(text)
    assert taken_at_once(text) == Functions(rows=plain[0]).lookup()


@given(st.data())
def test_of_an_odd_file_it_says_the_same_or_nothing(data):
    text, _ = data.draw(plain_files(one_runtime=data.draw(st.booleans())))
    at = data.draw(st.integers(text.index("\n") + 1, len(text)))
    odd = data.draw(st.sampled_from([*',"\r\n\t\x0b\0\u2028 -.0A', "", '""', "\n\n", "---", "NaN"]))
    text = text[:at] + odd + text[at + data.draw(st.integers(0, 2)) :]
    found = taken_at_once(text)
    if found is not None:
        _, _, by_row = both_ways(text)
        assert not isinstance(by_row, str)
        assert found == Functions(rows=by_row[0]).lookup()


@pytest.mark.parametrize(
    "row", ['"2---2---p-1-2",100,"Java",OBS-A', "2---2---p-1-2,100,Java,no trigger", "2---2---p-1-2,100,C#"]
)
def test_odd_files_from_the_disk(tmp_path, row):
    """The first file is plain: nothing of it may stand twice or be lost."""
    for region, rows in (("R1", "1---2---p-1-2,100,Java,APIG-S\n"), ("R2", f"1---2---p-1-2,100,C#,OBS-A\n{row}\n")):
        write(tmp_path / region / "t.csv", HEADER + rows)
    outcomes = []
    for read in (functions, lambda path: said(join_of(path))):
        try:
            outcomes.append(read(tmp_path))
        except TraceError as error:
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]


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
    assert taken_at_once(HEADER + rows) is not None


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
    assert taken_at_once(HEADER + rows) is None


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
