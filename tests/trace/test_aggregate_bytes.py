import struct

import pytest
from aggregate_cases import KEYS, columns, random_rows, scan
from hypothesis import given, settings
from hypothesis import strategies as st

from rewarm._native import core
from rewarm.errors import InvalidArgument

FILES = [("R2", "day_00.csv", 0, 4096), (None, "trace.zip!R1/day_01.csv", 0, -1)]
REJECTS = [
    ("R2", "day_00.csv", 12, 900, "time", "x", "a decimal number", "null"),
    (None, "trace.zip!R1/day_01.csv", 7, 300, None, "1,2", "12 fields, got 2", "row skipped"),
]
HEADER = 28


def sample(n=300, **options):
    aggregate = scan(random_rows(n, 11), KEYS, 2, **options)
    aggregate.set_files(FILES, 3, REJECTS)
    return aggregate


def fnv1a(data):
    h = 0xCBF29CE484222325
    for byte in data:
        h = (h ^ byte) * 0x100000001B3 % 2**64
    return h


def sealed(body, version=2):
    return b"rwagg\r\n\0" + struct.pack("<IQQ", version, len(body), fnv1a(body)) + body


def test_back_and_forth():
    aggregate = sample()
    data = aggregate.to_bytes()
    again = core.TraceAggregate.from_bytes(data)
    assert again.to_bytes() == data
    assert columns(again, [("p50", 0.5)]) == columns(aggregate, [("p50", 0.5)])
    assert again.files == sorted(FILES, key=lambda f: (f[0] or "", f[1]))
    assert again.rejected == 3
    assert again.rejects == aggregate.rejects == [row[1:] for row in REJECTS]
    assert again.text == "{}"


def test_without_histograms_and_without_rows():
    for aggregate in (sample(histograms=False), sample(0), scan([], [], 1), scan([], KEYS, 0)):
        data = aggregate.to_bytes()
        assert core.TraceAggregate.from_bytes(data).to_bytes() == data


def test_the_checksum_is_fnv1a():
    data = sample().to_bytes()
    assert data == sealed(data[HEADER:])


def test_every_prefix_is_refused():
    data = sample(40).to_bytes()
    for n in range(len(data)):
        with pytest.raises(InvalidArgument, match="not an aggregate" if n < 8 else "cut off"):
            core.TraceAggregate.from_bytes(data[:n])


def test_every_changed_byte_is_refused():
    data = sample(40).to_bytes()
    for i in range(len(data)):
        damaged = bytearray(data)
        damaged[i] ^= 0x40
        with pytest.raises(InvalidArgument, match="from_bytes"):
            core.TraceAggregate.from_bytes(bytes(damaged))


def test_errors_say_what_is_wrong():
    data = sample().to_bytes()
    with pytest.raises(InvalidArgument, match=r"something follows: expected .* bytes behind the header"):
        core.TraceAggregate.from_bytes(data + b"x")
    with pytest.raises(InvalidArgument, match="version 1 of the format; this build reads version 2"):
        core.TraceAggregate.from_bytes(sealed(data[HEADER:], version=1))
    with pytest.raises(InvalidArgument, match="damaged: the checksum does not fit"):
        core.TraceAggregate.from_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(InvalidArgument, match="expected the bytes"):
        core.TraceAggregate.from_bytes(b"day,time,clusterName,funcName")
    with pytest.raises(InvalidArgument, match=r"more bytes than belong to it at byte \d+"):
        core.TraceAggregate.from_bytes(sealed(data[HEADER:] + b"\0"))


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_a_forged_body_is_refused_or_whole(data):
    """Behind a right checksum anything may stand: what is accepted must be an aggregate, and nothing may crash."""
    body = bytearray(sample(30).to_bytes()[HEADER:])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        cut = data.draw(st.integers(0, 3))
        body[at : at + cut] = data.draw(st.binary(max_size=12))
    try:
        aggregate = core.TraceAggregate.from_bytes(sealed(bytes(body)))
    except (InvalidArgument, UnicodeDecodeError):
        return
    again = core.TraceAggregate.from_bytes(aggregate.to_bytes())
    assert again.to_bytes() == aggregate.to_bytes()
    aggregate.quantile(value=0, q=0.5)
    core.TraceAggregate.merge([aggregate], threads=1)


def test_a_count_beyond_the_end_asks_for_no_memory():
    body = b"\x02{}" + b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f"
    with pytest.raises(InvalidArgument, match="a count of more than follows"):
        core.TraceAggregate.from_bytes(sealed(body))
