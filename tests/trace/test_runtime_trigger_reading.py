"""Files of the runtime table: spellings, errors with their place, and the plain way against row by row."""

import gzip
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runtime_cases import HEADER, NULLS, POOLS, PUBLISHED_TRIGGERS, both_ways, plain_files, read, write

from rewarm import trace
from rewarm.errors import TraceError
from rewarm.trace import runtime_trigger as rt
from rewarm.trace.runtime_trigger_fields import pool_limits, split_funcid


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("packed", [True, False])
def test_spellings(tmp_path, ending, last, packed):
    lines = [
        '\ufefffuncID,"cpu_request",runtime,triggerType-invocationType',
        '"1---2---p-1-2",100.0,"C#",""',
        "",
        'null,NaN,"say ""hi"", Go",APIG-S',
    ]
    text = ending.join(lines) + (ending if last else "")
    data = gzip.compress(text.encode()) if packed else text
    table = read(write(tmp_path, data, "t.csv.gz" if packed else "t.csv"))
    assert table.rows == [
        ("R2", "1---2---p-1-2", 100, "C#", None),
        ("R2", None, None, 'say "hi", Go', "APIG-S"),
    ]


BAD = [
    ("1---2---p-1-2,1.5,Java,APIG-S", "cpu_request", 14, "1.5"),
    ("1---2---p-1-2,+1,Java,APIG-S", "cpu_request", 14, "+1"),
    ("1---2---p-1-2, 1,Java,APIG-S", "cpu_request", 14, " 1"),
    ("1---2---p-1-2,1_0,Java,APIG-S", "cpu_request", 14, "1_0"),
    ("1---2---p-1-2,5000000000,Java,APIG-S", "cpu_request", 14, "5000000000"),
    ("1--2--p-1-2,100,Java,APIG-S", "funcID", 0, "1--2--p-1-2"),
    ("1---2---p-1-2,100,Java,APIG", "triggerType-invocationType", 23, "APIG"),
    ("1---2---p-1-2,100,Java", None, 0, "1---2---p-1-2,100,Java"),
    ("1---2---p-1-2,100,Java,APIG-S,", None, 0, "1---2---p-1-2,100,Java,APIG-S,"),
    ('1---2---p-1-2,100,"Java,APIG-S', None, 0, '1---2---p-1-2,100,"Java,APIG-S'),
    ('1---2---p-1-2,100,"Java"x,APIG-S', None, 0, '1---2---p-1-2,100,"Java"x,APIG-S'),
]


@pytest.mark.parametrize(("row", "column", "offset", "shown"), BAD)
@pytest.mark.parametrize("on_error", ["raise", "null", "skip"])
def test_errors_have_a_place(tmp_path, row, column, offset, shown, on_error):
    good = "9---9---p-1-2,100,Java,APIG-S\n"
    path = write(tmp_path, HEADER + good + row + "\n" + good.replace("9---9", "8---8"))
    byte = len(HEADER) + len(good) + offset
    if on_error == "raise":
        with pytest.raises(TraceError) as caught:
            read(path)
        error = caught.value
        assert (error.file, error.line, error.byte, error.column, error.text) == (path.name, 3, byte, column, shown)
        assert f"{path.name}:3 (byte {byte})" in str(error)
        return
    table = read(path, on_error=on_error)
    action = "null" if on_error == "null" and column else "row skipped"
    assert [(r.file, r.line, r.byte, r.column, r.text, r.action) for r in table.rejects] == [
        (path.name, 3, byte, column, shown, action)
    ]
    assert table.rejected == 1
    assert len(table.rows) == (3 if action == "null" else 2)
    if action == "null":
        assert table.column(column)[1] is None


def test_two_runtimes_of_one_function(tmp_path):
    row = "1---2---p-1-2,100,{},APIG-S\n"
    path = write(tmp_path, HEADER + row.format("Java") + row.format("Java"))
    assert len(read(path).rows) == 2
    path = write(tmp_path, HEADER + row.format("Java") + row.format("Go1.x"))
    with pytest.raises(
        TraceError,
        match=r':3 \(byte \d+\), column runtime: expected the runtime "Java" that .*:2 gives 1---2---p-1-2, got "Go1.x"',
    ):
        rt.functions(path)
    assert read(path, on_error="null").column("runtime") == ["Java", None]
    assert read(path, on_error="skip").column("runtime") == ["Java"]


@given(st.data())
def test_the_plain_way_reads_what_row_by_row_does(data):
    """Also behind a file that stated the same runtimes."""
    text, runtimes = data.draw(plain_files())
    wanted = data.draw(st.none() | st.frozensets(st.sampled_from([function for _, function in runtimes])))
    before = {key: runtime for key, runtime in runtimes.items() if data.draw(st.booleans())}
    accepted, plain, by_row = both_ways(text, wanted, before)
    assert accepted
    assert plain == by_row
    assert wanted is not None or len(plain[0]) == text.rstrip("\r\n").count("\n")


@given(st.data())
def test_the_plain_way_reads_an_odd_file_as_row_by_row_does_or_not_at_all(data):
    """One place is overwritten, and a function may have two runtimes, in the file or in one before."""
    text, runtimes = data.draw(plain_files(one_runtime=data.draw(st.booleans())))
    at = data.draw(st.integers(text.index("\n") + 1, len(text)))
    odd = data.draw(st.sampled_from([*',"\r\n\t\x0b\0\u2028 -.0A', "", '""', "\n\n", "---", "NaN"]))
    text = text[:at] + odd + text[at + data.draw(st.integers(0, 2)) :]
    before = {
        key: data.draw(st.sampled_from([runtime, "Java", None]))
        for key, runtime in runtimes.items()
        if data.draw(st.booleans())
    }
    accepted, plain, by_row = both_ways(text, before=before)
    if accepted:
        assert plain == by_row
    else:
        assert plain[0] == []
        assert {key: runtime for key, (runtime, _) in plain[1].items()} == before


def test_both_ways_read_every_list_of_triggers_and_pool():
    cases = list(enumerate(itertools.product(POOLS, [*PUBLISHED_TRIGGERS, *NULLS])))
    accepted, plain, by_row = both_ways(HEADER + "".join(f"{i}---2---{pool},100,Java,{text}\n" for i, (pool, text) in cases))
    assert accepted
    assert plain == by_row
    assert plain[0] == [("R2", f"{i}---2---{pool}", 100, "Java", None if text in NULLS else text) for i, (pool, text) in cases]


@pytest.mark.parametrize("digits", ["2147483648", "9" * 5000, "-2147483649"])
def test_numbers_past_32_bits_are_located(tmp_path, digits):
    path = tmp_path / "runtime.csv"
    path.write_text(f"{HEADER}1---2---pool22-300-128,{digits},Java,APIG-S\n")
    with pytest.raises(TraceError, match="whole number of millicores") as caught:
        trace.read(path)
    assert (caught.value.line, caught.value.column) == (2, "cpu_request")
    assert split_funcid(f"{digits}---2---pool22-300-128") is None
    assert pool_limits(f"pool22-{digits.lstrip('-')}-128").cpu_limit is None


@pytest.mark.parametrize(
    ("digits", "value"), [("2147483647", 2**31 - 1), ("0" * 5000 + "12", 12), ("-2147483648", -(2**31)), ("-0", 0)]
)
def test_numbers_of_32_bits_are_read(tmp_path, digits, value):
    path = tmp_path / "runtime.csv"
    path.write_text(f"{HEADER}1---2---pool22-300-128,{digits},Java,APIG-S\n")
    assert trace.read(path).to_numpy()["cpu_request"].tolist() == [value]
