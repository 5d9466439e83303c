"""What a path holds: listing, order, regions, headers, tables, and a message of its own for everything that can be wrong."""

import gzip
import io
import os
import pathlib
import pickle
import zipfile

import pytest

from rewarm.errors import InvalidArgument, TraceError
from rewarm.trace.header import detect_table, parse_header
from rewarm.trace.source import discover

COLD = (
    "day,time,clusterName,funcName,userID,requestID,totalCost_cold_start,podAllocationCost,deployCodeCost,"
    "deployDependencyCost,schedulingCost,podID\n"
)
REQUEST = (
    "time_worker,time_frontend,requestID,clusterName,funcName,podID,userID,totalCost_worker,workerCost,runtimeCost,totalCost_frontend,"
    "frontendCost,busCost,readBodyCost,writeRspCost,cpu_usage,memory_usage,requestBodySize\n"
)
RUNTIME = "funcID,cpu_request,runtime,triggerType-invocationType\n"
MINUTE = "day,time,400---418---pool22-300-128,944---173---custom.image.gpu-25800-32768\n"


def put(root, files):
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    return root


def names(path, **options):
    return [source.name for source in discover(path, **options).sources]


def zipped(members):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return packed.getvalue()


# ---- headers ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "table"),
    [
        (COLD, "cold_start"),
        (REQUEST, "request"),
        (RUNTIME, "runtime"),
        (MINUTE, "minute"),
        ("schedulingCost", "cold_start"),
        ("funcName,deployCodeCost", "cold_start"),
        ("runtimeCost,podID", "request"),
        ("time_worker", "request"),
        ("runtime,funcID", "runtime"),
        ("1---2---p-1-2,time,day", "minute"),
        (",day,time,1---2---p-1-2", "minute"),
        ("Unnamed: 0,day,time,1---2---p-1-2", "minute"),
        (",funcID,runtime", "runtime"),
        ("day,time", None),
        ("day,time,1---2", None),
        ("day,time,1---2---p-1-2,owner", None),
        ("time,1---2---p-1-2", None),
        ("day,time,,1---2---p-1-2", None),
        ("funcID", None),
        ("podID,userID", None),
        ("totalCost_cold_start,totalCost_worker", None),
    ],
)
def test_the_header_decides_the_table(header, table):
    assert detect_table(tuple(header.strip().split(","))) == table


@pytest.mark.parametrize(
    ("line", "columns", "crlf"),
    [
        (b"a,b\n", ("a", "b"), False),
        (b"a,b\r\n", ("a", "b"), True),
        (b"a,b", ("a", "b"), False),
        (b"\xef\xbb\xbfa,b\n", ("a", "b"), False),
        (b'\xef\xbb\xbf"a","b"\r\n', ("a", "b"), True),
        (b'"a,1",b\n', ("a,1", "b"), False),
        (b'"a""1",b\n', ('a"1', "b"), False),
        (b",a\n", ("", "a"), False),
        ("é,b\n".encode(), ("é", "b"), False),
    ],
)
def test_headers_are_taken_apart(line, columns, crlf):
    header = parse_header(line, "f")
    assert (header.columns, header.nbytes, header.crlf) == (columns, len(line), crlf)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"a,b,a\n", r"f:1 \(byte 0\): .*the column 'a' twice"),
        (b'a,"b\n', "a quote that is not closed"),
        (b'a,"b"c\n', "quote"),
        (b"\n", "a blank line"),
        (b"\r\n", "a blank line"),
        (b"a,\xff\n", r"byte 2\): .*not UTF-8"),
        ("a,b\n".encode("utf-16"), "UTF-16"),
        (b"a\rb\n", r"byte 1\): .*lone carriage return"),
        (b"a\0b\n", r"byte 1\): .*zero byte"),
    ],
)
def test_what_is_no_header(tmp_path, line, says):
    with pytest.raises(TraceError, match=says) as caught:
        parse_header(line, "f")
    assert caught.value.line == 1
    with pytest.raises(TraceError, match=r"f\.csv:1"):
        discover(put(tmp_path, {"f.csv": line}))


def test_long_headers_and_files_without_a_line(tmp_path):
    wide = "day,time," + ",".join(f"{i}---{i}---pool22-300-128" for i in range(20_000)) + "\n"
    (source,) = discover(put(tmp_path / "a", {"f.csv": wide, "g.csv.gz": b""})).sources
    assert len(source.header) == 20_002
    assert source.header_bytes == len(wide)
    with pytest.raises(TraceError, match="without a line feed"):
        discover(put(tmp_path / "b", {"f.csv": "x" * (17 << 20)}))


def test_equal_headers_are_one_object(tmp_path):
    first, second = discover(put(tmp_path, {"a.csv": MINUTE, "b.csv": MINUTE})).sources
    assert first.header is second.header


@pytest.mark.parametrize(
    "row", ["0,0.104,1,332,439,ab,0.91,0.0,0.0,0.0,0.9,pool22-300-128-0006319574\n", "2592000.02,,ab,3,411\n"]
)
def test_spark_parts_without_a_header(tmp_path, row):
    for name in ("part-00000-ab.c000.csv", "part-00000", "part-00000-ab.c000"):
        with pytest.raises(TraceError, match="written without a header") as caught:
            discover(put(tmp_path / name, {name: row * 3}))
        assert caught.value.file == name


# ---- listing ---------------------------------------------------------------------------------------------------------------


def test_a_folder_is_read_in_the_order_of_bytes(tmp_path):
    files = dict.fromkeys(["b/x.csv", "a/y.csv", "a-1/z.csv", "B.csv", "a/é.csv", "a/b/c.csv", "a/z.csv"], COLD)
    put(tmp_path, files)
    expected = sorted(files, key=os.fsencode)
    assert names(tmp_path) == expected
    assert names(str(tmp_path)) == expected
    assert names([tmp_path / name for name in sorted(files, reverse=True)]) == expected
    assert names([tmp_path / "b", tmp_path / "a"]) == [name for name in expected if name[:2] in ("a/", "b/")]


def test_members_come_after_their_path_and_in_order(tmp_path):
    put(tmp_path, {"R1.csv": COLD, "R1.zip": zipped({"z.csv": COLD, "a/b.csv": COLD, "B.csv": COLD}), "R1 .csv": COLD})
    assert names(tmp_path) == ["R1 .csv", "R1.csv", "R1.zip!B.csv", "R1.zip!a/b.csv", "R1.zip!z.csv"]


def test_what_is_passed_over_is_listed(tmp_path):
    files = {
        "day_00.csv": COLD,
        "_SUCCESS": "",
        "._day_00.csv": COLD,
        ".hidden/a.csv": COLD,
        "_temporary/a.csv": COLD,
        "__MACOSX/a.csv": COLD,
        "empty.csv": "",
        "empty.csv.gz": gzip.compress(b""),
        "README.md": "# read me",
        "LICENSE": "Apache License, Version 2.0, January 2004",
        "R1.zip": zipped(
            {
                "R1/": "",
                "R1/day_01.csv": COLD,
                "__MACOSX/R1/._day_01.csv": "x",
                "R1/_SUCCESS": "",
                "R1/no.csv": "",
                "notes.txt": "x",
            }
        ),
    }
    found = discover(put(tmp_path, files))
    assert [source.name for source in found.sources] == ["R1.zip!R1/day_01.csv", "day_00.csv"]
    members = ["R1.zip!R1/_SUCCESS", "R1.zip!R1/no.csv", "R1.zip!__MACOSX/R1/._day_01.csv", "R1.zip!notes.txt"]
    others = [
        "._day_00.csv",
        ".hidden/",
        "LICENSE",
        "README.md",
        "_SUCCESS",
        "__MACOSX/",
        "_temporary/",
        "empty.csv",
        "empty.csv.gz",
    ]
    assert found.ignored == sorted(members + others)


def test_globs(tmp_path):
    put(
        tmp_path,
        {"R1/day_00.csv": COLD, "R1/day_01.csv": COLD, "R2/day_00.csv": COLD, "R2/_day_09.csv": COLD, "R2/[x].csv": COLD},
    )
    assert names(str(tmp_path / "*" / "day_00.csv")) == ["R1/day_00.csv", "R2/day_00.csv"]
    assert names(str(tmp_path / "R1" / "*.csv")) == ["day_00.csv", "day_01.csv"]
    assert names(str(tmp_path / "R?")) == ["R1/day_00.csv", "R1/day_01.csv", "R2/[x].csv", "R2/day_00.csv"]
    assert names(str(tmp_path / "**")) == ["R1/day_00.csv", "R1/day_01.csv", "R2/[x].csv", "R2/day_00.csv"]
    assert names(str(tmp_path / "R2" / "[x].csv")) == ["[x].csv"]  # a file of that name comes before the pattern
    with pytest.raises(TraceError, match="no file matches this pattern"):
        discover(str(tmp_path / "R9" / "*.csv"))


def test_a_file_is_read_once(tmp_path):
    put(tmp_path, {"R1/day_00.csv": COLD})
    assert names([tmp_path, tmp_path / "R1", tmp_path / "R1" / "day_00.csv", str(tmp_path / "*" / "*.csv")]) == [
        "R1/day_00.csv"
    ]
    (tmp_path / "R1" / "loop").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to(tmp_path / "R1")
    assert names(tmp_path) == ["R1/day_00.csv"]


def test_what_the_caller_names_is_read(tmp_path):
    put(tmp_path, {"_part.txt": COLD, "data": RUNTIME, "day.CSV": COLD})
    assert names(tmp_path / "_part.txt") == ["_part.txt"]
    assert names(tmp_path, mixed=True) == ["data", "day.CSV"]


def test_relative_paths(tmp_path, monkeypatch):
    put(tmp_path, {"R3/day_00.csv": COLD})
    monkeypatch.chdir(tmp_path / "R3")
    for path in ("day_00.csv", "./day_00.csv", ".", pathlib.Path("day_00.csv"), "*.csv"):
        (source,) = discover(path).sources
        assert (source.name, source.region, source.path) == ("day_00.csv", "R3", str(tmp_path / "R3" / "day_00.csv"))


def test_packed_beside_unpacked_is_refused(tmp_path):
    put(tmp_path / "a", {"day_00.csv": COLD, "day_00.csv.gz": gzip.compress(COLD.encode())})
    put(tmp_path / "b", {"R1.zip": zipped({"R1/day_00.csv": COLD}), "R1/day_00.csv": COLD})
    put(tmp_path / "c", {"R1.zip": zipped({"day_00.csv": COLD}), "R1/day_00.csv": COLD})
    for folder in "abc":
        with pytest.raises(TraceError, match="rows would be read twice"):
            discover(tmp_path / folder)
    assert names(tmp_path / "b" / "R1.zip") == ["R1.zip!R1/day_00.csv"]


# ---- regions, metrics ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("root", ["", "datasets/cold_start_dataset/"])
def test_the_published_layout(tmp_path, root):
    files = {
        "cold_start/R1/day_00.csv": COLD,
        "cold_start/R5/day_30.csv": COLD,
        "cold_start/R3.zip": zipped({"R3/day_28.csv": COLD}),
        "per_request/R2/part-00000-1f2e-c000.csv": REQUEST,
        "per_request/R4_00000_00099.zip": zipped({"part-00000-1f2e-c000.csv": REQUEST}),
        "runtime_triggerType/df_funcID_runtime_triggerType.csv": RUNTIME,
        "quantiles/R2/requests/day_00.csv": MINUTE,
        "quantiles/R2/cpu_usage_quantile_095/day_00.csv": MINUTE,
    }
    found = discover(put(tmp_path, {root + name: data for name, data in files.items()}), mixed=True)
    assert found.tables == {"cold_start": 3, "request": 2, "runtime": 1, "minute": 2}
    assert {(s.table, s.region) for s in found.sources} == {
        *(("cold_start", r) for r in ("R1", "R3", "R5")),
        *(("request", r) for r in ("R2", "R4")),
        ("runtime", None),
        ("minute", "R2"),
    }
    assert {(s.metric, s.stat) for s in found.of("minute")} == {("requests", None), ("cpu_usage", "quantile_095")}
    with pytest.raises(
        TraceError, match=r"cold_start \(3 files\), request \(2 files\), runtime \(1 file\), minute \(2 files\)"
    ):
        discover(tmp_path)
    assert len(discover(tmp_path, table="request").sources) == 2
    # The runtime table is Region 2's, and stays so when another region is asked for among all tables.
    assert "runtime" not in discover(tmp_path, mixed=True, region="R1").tables
    assert discover(tmp_path, mixed=True, region="R2").tables == {"request": 1, "runtime": 1, "minute": 2}


def test_the_region_is_the_nearest_name(tmp_path):
    put(
        tmp_path,
        {
            "R1/x/day.csv": COLD,
            "R1/R2_copy/day.csv": COLD,
            "R1/R3.zip": zipped({"R4/a/day.csv": COLD, "b/day.csv": COLD, "R5.csv": COLD}),
            "R1/other.zip": zipped({"day.csv": COLD}),
            "R0/day.csv": COLD,
            "xR7/day.csv": COLD,
        },
    )
    regions = {source.name: source.region for source in discover(tmp_path).sources}
    assert regions == {
        "R1/x/day.csv": "R1",
        "R1/R2_copy/day.csv": "R2",
        "R1/R3.zip!R4/a/day.csv": "R4",
        "R1/R3.zip!b/day.csv": "R3",
        "R1/R3.zip!R5.csv": "R3",
        "R1/other.zip!day.csv": "R1",
        "R0/day.csv": None,
        "xR7/day.csv": None,
    }
    assert names(tmp_path, region=["R2", "R4"]) == ["R1/R2_copy/day.csv", "R1/R3.zip!R4/a/day.csv"]
    named = discover(tmp_path, region="R9").sources
    assert {(source.name, source.region) for source in named} == {("R0/day.csv", "R9"), ("xR7/day.csv", "R9")}
    with pytest.raises(TraceError, match=r"no file is of region=\['R8'\]; there are region: R1 \(1 file\)"):
        discover(tmp_path / "R1" / "x", region="R8")
    with pytest.raises(InvalidArgument, match="region: expected R1"):
        discover(tmp_path, region="Region 1")


# ---- what can be wrong -----------------------------------------------------------------------------------------------------


def test_each_failure_has_its_own_message(tmp_path):
    def says(path, match, **options):
        with pytest.raises(TraceError, match=match) as caught:
            discover(path, **options)
        assert pickle.loads(pickle.dumps(caught.value)).__dict__ == caught.value.__dict__

    says(tmp_path / "none.csv", "there is no such file or folder")
    says(tmp_path, "the folder is empty")
    put(tmp_path, {"a/README.md": "x", "a/_SUCCESS": ""})
    says(tmp_path / "a", "no CSV file is in there; passed over: README.md, _SUCCESS")
    put(tmp_path, {"b/empty.csv": ""})
    says(tmp_path / "b" / "empty.csv", "the file is empty")
    put(tmp_path, {"c/x.csv": "colour,size\nred,1\n"})
    says(tmp_path / "c", r"x.csv:1: the header fits none of the tables .*'colour,size'; say which with table=")
    put(tmp_path, {"d/a.csv": COLD})
    says(tmp_path / "d", r"expected files of the request table, got cold_start \(1 file\)", table="request")
    put(tmp_path, {"e/a.zip": zipped({"b.zip": zipped({"c.csv": COLD})})})
    says(tmp_path / "e", "an archive within an archive")
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "gone.csv").symlink_to(tmp_path / "nowhere.csv")
    says(tmp_path / "f", "gone.csv: cannot be read: No such file")
    says("/dev/null", "expected a regular file")
    assert names(tmp_path / "c", table="cold_start") == ["x.csv"]
    for bad in ([], 7, [7], b"x", None):
        with pytest.raises(InvalidArgument, match="path: expected"):
            discover(bad)
    with pytest.raises(InvalidArgument, match="table: expected cold_start"):
        discover(tmp_path, table="colds")


def test_unreadable_files_and_folders(tmp_path, monkeypatch):
    """Root reads everything, so the system's refusal is played."""
    put(tmp_path, {"locked/a.csv": COLD, "b.csv": COLD})
    real = os.scandir

    def refuse(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(TraceError, match="locked: the folder cannot be read: Permission denied"):
        discover(tmp_path)
    with pytest.raises(TraceError, match=r"mem: (cannot be read|the file is empty)"):
        discover("/proc/self/mem")


def test_names_that_are_not_utf8(tmp_path):
    with open(os.fsencode(tmp_path) + b"/day_\xff.csv", "w") as opened:
        opened.write(COLD)
    (source,) = discover(tmp_path).sources
    assert source.name == "day_�.csv"
    assert os.path.exists(source.path)
