"""What the tests of the runtime and trigger table share: the published counts, and a table written and read in both ways."""

from __future__ import annotations

from hypothesis import strategies as st

from rewarm.errors import TraceError
from rewarm.trace import runtime_trigger as rt
from rewarm.trace.header import parse_header
from rewarm.trace.runtime_trigger_reading import RowByRow, Stated, read_plain
from rewarm.trace.runtime_trigger_table import Functions
from rewarm.trace.source import Source, discover

HEADER = "funcID,cpu_request,runtime,triggerType-invocationType\n"


# The published number of functions by triggerType-invocationType (2,418 in all).
PUBLISHED_TRIGGERS = {
    "TIMER-A": 1018,
    "APIG-S": 551,
    "APIG-S TIMER-A": 312,
    "unknown-S": 123,
    "unknown": 74,
    "unknown-unknown": 68,
    "unknown-A unknown-S": 60,
    "OBS-A": 60,
    "workflow-S": 54,
    "unknown-A": 19,
    "APIG-S TIMER-A workflow-S": 16,
    "LTS-A": 14,
    "CTS-A": 10,
    "APIG-A": 9,
    "SMN-A": 8,
    "KAFKA-S": 3,
    "DIS-A": 3,
    "SMN-A TIMER-A": 3,
    "APIG-A APIG-S": 2,
    "DIS-A OBS-A SMN-A TIMER-A": 2,
    "TIMER-A workflow-S": 2,
    "APIG-A OBS-A": 1,
    "APIG-S OBS-A": 1,
    "APIG-S workflow-S": 1,
    "DIS-A SMN-A": 1,
    "DIS-A SMN-A TIMER-A": 1,
    "DIS-A workflow-S": 1,
    "OBS-A TIMER-A": 1,
}


PUBLISHED_RUNTIMES = {
    "Python3": 1493,
    "Java": 450,
    "Node.js": 159,
    "Python2": 93,
    "http": 72,
    "Custom": 57,
    "PHP7.3": 38,
    "unknown": 31,
    "Go1.x": 21,
    "C#": 4,
}


def write(folder, text, name="df_funcID_runtime_triggerType.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(path, region=None, **options):
    return rt.read_functions(discover(path, table="runtime", region=region).sources, **options)


POOLS = ["pool22-300-128", "custom-1000-1024", "custom.image.gpu-25800-32768", "a---b-400-256", "custom", "é-1-2"]


NULLS = ["", "NaN", "null"]


CELLS = {
    "cpu_request": st.sampled_from([*NULLS, "0", "100", "-7", "25800.0", "2147483647", "-2147483648"]),
    "triggerType-invocationType": st.sampled_from([*NULLS, *PUBLISHED_TRIGGERS]),
    "owner": st.text(st.characters(codec="utf-8", exclude_characters=',"\r\n'), max_size=4),
}


@st.composite
def plain_files(draw, one_runtime=True):
    """A file without oddities, and the runtimes of its functions: one each, as the plain way asks, or a new one every row."""
    number = st.integers(0, 999_999_999)
    functions = draw(st.lists(st.builds("{}---{}---{}".format, number, number, st.sampled_from(POOLS)), min_size=1, max_size=5))
    runtime = st.sampled_from([*NULLS, *PUBLISHED_RUNTIMES])
    runtimes = {function: draw(runtime) for function in functions}
    others = draw(st.lists(st.sampled_from(["runtime", *CELLS]), unique=True))
    header = draw(st.permutations(["funcID", *others]))
    lines = [",".join(header)]
    for function in draw(st.lists(st.sampled_from(functions), min_size=1, max_size=12)):
        own = {"funcID": function, "runtime": runtimes[function] if one_runtime else draw(runtime)}
        lines.append(",".join(own[name] if name in own else draw(CELLS[name]) for name in header))
    ending = draw(st.sampled_from(["\n", "\r\n"]))
    return ending.join(lines) + draw(st.sampled_from([ending, ""])), {
        ("R2", function): None if text in NULLS else text for function, text in runtimes.items()
    }


def both_ways(text, wanted=None, before=None):
    """Whether the plain way reads the text; rows and stated places by it and row by row (its error, if it raises one)."""
    data = text.encode()
    header = parse_header(data.splitlines(keepends=True)[0], "t.csv")
    source = Source("t.csv", "t.csv", None, None, "runtime", None, len(data), header.columns, header.nbytes, header.crlf)
    accepted, outcomes = False, []
    for plain in (True, False):
        result, seen = Functions(), Stated()
        if before:
            seen.runtimes |= before
            seen.rows.append(("before.csv", list(before), range(2, len(before) + 2)))
        try:
            if plain:
                accepted = read_plain(source, data, result, wanted, seen)
            else:
                RowByRow(source, data, result, "raise", wanted, seen).run()
        except TraceError as error:
            outcomes.append(str(error))
        else:
            places = {key: (runtime, seen.place(key)) for key, runtime in seen.runtimes.items()}
            outcomes.append((result.rows, places, result.rejects, result.rejected))
    return accepted, *outcomes
