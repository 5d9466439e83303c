"""Small trace files for the tests of the reader, and what the slow reference makes of them."""

import contextlib
import random

from rewarm.trace import cold_start_reference, options, reader, request_reference

REFERENCES = {"cold_start": cold_start_reference, "request": request_reference}
POOLS = ("pool22-300-128", "pool38-25800-32768", "custom-300-128", "custom.image.gpu-25800-32768", "pool24-600-512", "odd")


@contextlib.contextmanager
def block_bytes(size):
    """Batches and work units of so many bytes of text."""
    before = options.BLOCK_BYTES
    options.BLOCK_BYTES = size
    try:
        yield
    finally:
        options.BLOCK_BYTES = before


def columns_of(kind):
    return list(REFERENCES[kind].PUBLISHED)


def field(kind, name, rng, digits=64):
    """A plausible field of that column, spelled in one of the ways that are accepted."""
    integers = {"day": 31, "clusterName": 5, "funcName": 3000, "userID": 1200, "requestBodySize": 10**9}
    if name in integers:
        text = str(rng.randrange(integers[name]))
        return text + ".0" if name == "requestBodySize" and rng.random() < 0.3 else text
    if name == "requestID":
        return "".join(rng.choice("0123456789abcdef") for _ in range(digits))
    if name == "podID":
        return f"{rng.choice(POOLS)}-{rng.randrange(10**7):010d}"
    value = rng.choice((rng.random(), rng.random() * 1e4, rng.random() * 1e-5, 0.0, 2592000 + rng.randrange(86400000) / 1000))
    return rng.choice((f"{value:.6f}", f"{value:.3f}", repr(value), f"{value:.3E}", f"{value:.9f}", str(int(value))))


def rows_of(kind, count, seed, columns=None, digits=64, holes=0.1):
    rng = random.Random(seed)
    names = columns or columns_of(kind)
    return [["" if rng.random() < holes else field(kind, name, rng, digits) for name in names] for _ in range(count)]


def text_of(names, rows, end="\n", last=True):
    lines = [",".join(names), *(",".join(row) for row in rows)]
    return (end.join(lines) + (end if last else "")).encode()


def plain(value):
    """Values that compare: arrays as lists, NaN and None as None."""
    if value is None or value != value:
        return None
    return value


def table_columns(read):
    """A Table or Batch as the reference writes it: lists by name, None for null."""
    import pyarrow as pa

    return {name: column.to_pylist() for name, column in zip(read.schema.names, pa.table(read).columns, strict=True)}


def read_bytes(folder, data, name="f.csv", **arguments):
    path = folder / name
    path.write_bytes(data)
    return reader.read(path, **arguments)
