"""The Arrow interfaces as four libraries take them, and the schemas that the room promises."""

import threading

import pytest
from reader_files import columns_of, read_bytes, rows_of, table_columns, text_of

from rewarm.trace import batches, read

pa = pytest.importorskip("pyarrow")

COLD = [
    ("day", "int16", ""),
    ("time", "double", "s"),
    ("clusterName", "int16", ""),
    ("funcName", "int32", ""),
    ("userID", "int32", ""),
    ("requestID", "fixed_size_binary[32]", ""),
    ("totalCost_cold_start", "double", "s"),
    ("podAllocationCost", "double", "s"),
    ("deployCodeCost", "double", "s"),
    ("deployDependencyCost", "double", "s"),
    ("schedulingCost", "double", "s"),
    ("poolName", "dictionary<values=string, indices=int32, ordered=0>", ""),
    ("pod_serial", "int64", ""),
    ("region", "dictionary<values=string, indices=int32, ordered=0>", ""),
]


@pytest.fixture
def cold(tmp_path):
    (tmp_path / "R3").mkdir()
    return read_bytes(tmp_path / "R3", text_of(columns_of("cold_start"), rows_of("cold_start", 3000, 1)))


def test_the_schema_of_cold_starts(cold):
    schema = pa.schema(cold)
    assert [(f.name, str(f.type), (f.metadata or {}).get(b"unit", b"").decode()) for f in schema] == COLD
    assert all(f.nullable for f in schema)
    assert schema.metadata[b"rewarm.table"] == b"cold_start" and schema.metadata[b"rewarm.version"]
    assert pa.schema(cold.schema) == schema == pa.table(cold).schema
    assert cold.schema["time"].unit == "s" and cold.schema.names == [name for name, *_ in COLD]


def test_text_ids_stand_at_their_published_places(tmp_path):
    for kind, count in (("cold_start", 12), ("request", 18)):
        data = text_of(columns_of(kind), rows_of(kind, 5, 1))
        assert read_bytes(tmp_path, data, ids="text").schema.names == [*columns_of(kind), "region"]
        assert len(columns_of(kind)) == count


def test_the_types_of_derived_columns(tmp_path):
    types = {
        "podID": "string",
        "cpu_limit": "int32",
        "memory_limit": "int32",
        "day": "int16",
        "hour": "int32",
        "minute": "int32",
    }
    types |= {"hour_of_day": "int8"} | dict.fromkeys(("size", "pool_class", "funcID", "runtime", "trigger_group"), COLD[-1][1])
    table = read_bytes(tmp_path, text_of(columns_of("request"), rows_of("request", 5, 1)), columns=list(types), runtime={})
    assert {f.name: str(f.type) for f in pa.schema(table)} == types


def test_pyarrow_takes_the_memory_as_it_is(cold):
    first, second = pa.table(cold), pa.table(cold)
    first.validate(full=True)
    for column in range(first.num_columns):
        a, b = (t.column(column).chunk(0).buffers()[1].address for t in (first, second))
        assert a == b
    batch = pa.record_batch(cold_batch := next(batches_of(cold)))
    batch.validate(full=True)
    assert batch.num_rows == cold_batch.num_rows == 3000


def batches_of(table):
    return batches(table_path(table))


def table_path(table):
    return table.path


@pytest.fixture(autouse=True)
def remember_path(cold, tmp_path):
    cold.path = tmp_path / "R3"


def test_polars_pandas_and_duckdb_read_the_same(cold):
    polars, pandas, duckdb = (pytest.importorskip(name) for name in ("polars", "pandas", "duckdb"))
    expected = pa.table(cold).to_pydict()
    plain = {name: [v.hex() if isinstance(v, bytes) else v for v in values] for name, values in expected.items()}

    def compare(found):
        for name, values in plain.items():
            got = [v.hex() if isinstance(v, (bytes, bytearray)) else v for v in found[name]]
            assert [None if g is None or g != g else g for g in got] == values, name

    compare(polars.DataFrame(cold).to_dict(as_series=False))
    assert polars.from_arrow(cold).struct.unnest().equals(polars.DataFrame(cold))
    frame = pandas.DataFrame.from_arrow(cold)
    compare({name: [None if pandas.isna(v) else v for v in frame[name]] for name in frame.columns})
    for source in (cold, pa.RecordBatchReader.from_stream(batches(cold.path))):
        rows = duckdb.from_arrow(source).fetchall()
        compare(dict(zip(plain, map(list, zip(*rows, strict=True)), strict=True)))
    compare(polars.DataFrame(batches(cold.path)).to_dict(as_series=False))


def test_a_stream_may_be_drained_by_another_thread(cold):
    reader = pa.RecordBatchReader.from_stream(batches(cold.path, threads=2))
    found = []
    thread = threading.Thread(target=lambda: found.append(reader.read_all()))
    thread.start()
    thread.join()
    assert found[0].equals(pa.table(cold)) and found[0].num_rows == 3000
    reader.close()


def test_a_consumer_that_holds_the_gil_does_not_stop_python_decoders(cold, tmp_path):
    """ctypes.pythonapi calls with the GIL held; the decoder's thread needs it."""
    import ctypes
    import gzip

    path = tmp_path / "g.csv.gz"
    path.write_bytes(gzip.compress((cold.path / "f.csv").read_bytes()))
    capsule = batches(path).__arrow_c_stream__()
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    address = pointer(capsule, b"arrow_array_stream")
    get_next = ctypes.cast(address + ctypes.sizeof(ctypes.c_void_p), ctypes.POINTER(ctypes.c_void_p))[0]
    array = (ctypes.c_int64 * 10)()  # the ArrowArray struct is 80 bytes
    call = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(get_next)
    assert call(address, ctypes.addressof(array)) == 0 and array[0] == 3000
    release = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(array[8])
    release(ctypes.addressof(array))
    assert array[8] == 0


def test_nothing_but_a_header_is_a_table_without_rows(tmp_path):
    table = read_bytes(tmp_path, text_of(columns_of("request"), []))
    assert pa.table(table).num_rows == 0 and table_columns(table)["region"] == []
    assert all(len(array) == 0 for array in table.to_numpy().values())
    path = tmp_path / "f.csv"
    assert list(batches(path)) == [] and pa.RecordBatchReader.from_stream(batches(path)).read_all().num_rows == 0
    assert read(path).schema["memory_usage"].unit == "MB"
