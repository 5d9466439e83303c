"""The trace's kernels and the number law against Python's own float(), int() and bytes.fromhex().

A kernel may leave a row to the law (odd), but what it reads is exact, whatever stands around the text, wherever it lies and
however the rows are cut into sub-blocks; and all instruction sets read the same.
"""

import math
import re
import struct
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewarm import _core

OK, EMPTY, SPELLING, FRACTION, RANGE = range(5)
FLOAT = re.compile(rb"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
INT = re.compile(rb"(-?[0-9]+)(\.([0-9]+))?")
POISON = 0xA5
DTYPES = {"float64": np.float64, "int64": np.int64, "int32": np.int32, "int16": np.int16, "pod_serial": np.int64}


@pytest.fixture(params=["portable", "avx2", "avx512", "avx512_emulated"])
def level(request):
    if request.param not in _core.trace_kernel_levels():
        why = "needs a build with REWARM_SIMDE=ON" if "emulated" in request.param else "this processor does not run it"
        pytest.skip(f"{request.param}: {why}")
    return request.param


def float_of(field):
    """What the law says of a field: (status, value)."""
    if not field:
        return EMPTY, None
    if not FLOAT.fullmatch(field):
        return SPELLING, None
    value = float(field)
    return (RANGE, None) if math.isinf(value) else (OK, value)


def int_of(field, bits):
    if not field:
        return EMPTY, None
    match = INT.fullmatch(field)
    if not match:
        return SPELLING, None
    if match[3] and match[3].strip(b"0"):
        return FRACTION, None
    value = int(match[1])
    return (OK, value) if -(2 ** (bits - 1)) <= value < 2 ** (bits - 1) else (RANGE, None)


def pod_of(field):
    match = re.fullmatch(rb".+-([0-9]{10})", field, re.DOTALL)
    return (OK, int(match[1])) if match else (SPELLING if field else EMPTY, None)


def expectation(kind, fields):
    """Statuses and values of many fields by the slow obvious reference."""
    if kind == "float64":
        pairs = [float_of(f) for f in fields]
    elif kind == "pod_serial":
        pairs = [pod_of(f) for f in fields]
    else:
        pairs = [int_of(f, int(kind[3:])) for f in fields]
    status = np.array([p[0] for p in pairs], np.uint8)
    values = np.array([0 if p[1] is None else p[1] for p in pairs], DTYPES[kind])
    return status, values.view(np.uint8).reshape(len(fields), -1)


def law(kind, fields):
    return _core.trace_kernel_law(kind, b"".join(f + b"\n" for f in fields))


def run(level, kind, fields, **options):
    values, odd = _core.trace_kernel_column(level, kind, b"".join(f + b"\n" for f in fields), **options)
    assert len(odd) == len(fields)
    return values, odd


def assert_exact(level, kind, fields, most_odd=1.0, **options):
    """Kernel, law and reference agree; no more than this share of the good fields was left to the law."""
    status, expected = expectation(kind, fields)
    law_values, law_status = law(kind, fields)
    differ = np.flatnonzero(law_status != status)
    assert differ.size == 0, [(fields[i], law_status[i], status[i]) for i in differ[:5]]
    good = status == OK
    assert (law_values[good] == expected[good]).all()
    values, odd = run(level, kind, fields, **options)
    assert odd[~good].all(), [fields[i] for i in np.flatnonzero(~odd & ~good)[:5]]
    wrong = np.flatnonzero(~odd & (values != expected).any(axis=1))
    assert wrong.size == 0, [(fields[i], values[i].view(DTYPES[kind])[0]) for i in wrong[:5]]
    if good.any():
        share = odd[good].mean()
        assert share <= most_odd, (share, [fields[i] for i in np.flatnonzero(odd & good)[:5]])


# ---- the law -------------------------------------------------------------------------------------------------------------

WRONG_FLOATS = [
    *b"inf -inf nan NaN Infinity null None - . -. .5 5. -.5 5.e3 +1 +1.0 1_0 0x10 1e 1e+ 1e- 1e5.0 1.2.3 1..2 --1 1- ".split(),
    *b"1e--5 e5 -e5 1ee5 1e5e 12a a12 1.a 1d5 1;5 \xff 1/ 1: /1 :1".split(),
    *(b" 1", b"1 ", b"1\t", b"\t1", b"1\r", b"1\x00", b"\x001", b'"1"', b'""', "١".encode()),
]
EDGE_FLOATS = [
    *b"0 -0 0.0 -0.0 00 007 1 9 10 0.1 0.2 0.3 1e0 1e-0 1E+0 1e22 1e23 1e-22 1e-23 9007199254740991 9007199254740992".split(),
    *b"9007199254740993 9007199254740993.0 90071992547409.93 999999999999999 9999999999999999 0.999999999999999".split(),
    *b"4.9406564584124654e-324 2.4703282292062327e-324 2.4703282292062328e-324 2e-324 3e-324 5e-324 -5e-324".split(),
    *b"2.2250738585072014e-308 2.2250738585072011e-308 1.7976931348623157e308 1.7976931348623158e308".split(),
    *b"1.7976931348623159e308 1e308 1e309 -1e309 1e-400 -1e-400 0e999999999999999999999 -0e999999999999999999999".split(),
    *b"1e99999999999999999999 1e-99999999999999999999 123456789012345678901234567890".split(),
    *b"0.000000000000000000000000000001 8.5899345930000001e9".split(),
    *b"2592000.1 2592000.04 0.00109 9.31E-4 9.3e-05 1.6e-05 2592000.020 0.000016".split(),
    *(b"0." + b"0" * 330 + b"1e331", b"1" + b"0" * 320 + b"e-320", b"0." + b"0" * 400 + b"1", b"1" + b"0" * 400),
    b"0" * 400 + b"1",
]


def test_law_of_floats_by_example():
    for field in EDGE_FLOATS:
        assert float_of(field)[0] in (OK, RANGE)
    for field in WRONG_FLOATS:
        assert float_of(field)[0] == SPELLING, field
    fields = EDGE_FLOATS + WRONG_FLOATS + [b""]
    status, expected = expectation("float64", fields)
    values, parsed = law("float64", fields)
    assert parsed.tolist() == status.tolist()
    good = status == OK
    assert (values[good] == expected[good]).all()
    # What is not a number leaves the output alone, but for the zeros of underflow.
    assert (values[~good] == POISON).all()


@settings(max_examples=500, deadline=None)
@given(st.text(alphabet="0123456789.eE+-naif_ ", max_size=24).map(str.encode))
def test_law_of_any_text(field):
    for kind in DTYPES:
        status, expected = expectation(kind, [field])
        values, parsed = law(kind, [field])
        if field == b"":
            continue  # one empty line
        assert parsed[0] == status[0], (kind, field)
        assert status[0] != OK or (values == expected).all(), (kind, field)


@settings(max_examples=500, deadline=None)
@given(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["%r", "%.17g", "%.16e", "%.25e", "%.3f", "%.6f", "%.9f", "%E"]),
)
def test_law_of_any_float(value, style):
    field = (style % value).encode()
    values, parsed = law("float64", [field])
    assert parsed[0] == OK
    assert values.view(np.float64)[0, 0].tobytes() == np.float64(float(field)).tobytes()


def test_law_of_halfway_cases():
    """The exact decimal of a midpoint between two doubles, and its neighbours in the last place."""
    rng = np.random.default_rng(7)
    fields = []
    with localcontext() as context:
        context.prec = 1200
        for bits in rng.integers(0, 0x7FE0000000000000, 300):
            low = struct.unpack("<d", struct.pack("<q", int(bits)))[0]
            middle = (Decimal(low) + Decimal(math.nextafter(low, math.inf))) / 2
            text = format(middle, "f") if 1e-20 < low < 1e20 else format(middle, "e")
            mantissa, e, exponent = text.partition("e")
            tail = "" if "." in mantissa else "."
            fields += [(mantissa + end + e + exponent).encode() for end in ("", tail + "0", tail + "0001")]
            fields.append((mantissa[:-1] + str(max(int(mantissa[-1]) - 1, 0)) + e + exponent).encode())
    status, expected = expectation("float64", fields)
    values, parsed = law("float64", fields)
    assert (parsed == status).all() and (status == OK).all()
    assert (values == expected).all()


def test_law_of_integers_by_example():
    fields = [str(2**k + d).encode() for k in range(66) for d in (-1, 0, 1)]
    fields += [b"-" + f for f in fields]
    fields += [
        b"1018",
        b"1018.0",
        b"1018.000",
        b"1018.5",
        b"1018.",
        b"1018.0x",
        b"1018.05",
        b"-0",
        b"-0.0",
        b"007",
        b"1e3",
        b"+1",
    ]
    fields += [
        b"1_0",
        b" 1",
        b"1 ",
        b"-",
        b".0",
        b"-.0",
        b"0.0",
        b"9" * 40,
        b"9" * 40 + b".0",
        b"9" * 40 + b".5",
        b"0" * 40 + b"1",
    ]
    for kind in ("int64", "int32", "int16"):
        status, expected = expectation(kind, fields)
        values, parsed = law(kind, fields)
        assert parsed.tolist() == status.tolist()
        assert (values[status == OK] == expected[status == OK]).all()


def test_null_fields():
    assert all(_core.trace_kernel_is_null(f) for f in (b"", b'""', b"NaN", b"null"))
    not_null = (b"nan", b"NULL", b"None", b"0", b'"', b"inf", b" ", b"NaN ", b'"NaN"', b"nul")
    assert not any(_core.trace_kernel_is_null(f) for f in not_null)


# ---- find ----------------------------------------------------------------------------------------------------------------


def positions(text):
    return [i for i, c in enumerate(text) if c in b",\n"]


def assert_found(level, text, **options):
    ends, lines, quote, carriage = _core.trace_kernel_find(level, text, **options)
    assert ends.tolist() == positions(text)
    assert (lines, quote, carriage) == (text.count(b"\n"), b'"' in text, b"\r" in text)


def test_find_every_byte(level):
    for c in range(256):
        for size in (1, 63, 64, 65):
            assert_found(level, b"x" * (size - 1) + bytes([c]), around="\n")
    for around in (",", "\n", '"', "\r", "x"):
        assert_found(level, bytes(range(256)) * 3, around=around)


def test_find_every_length_and_alignment(level):
    rng = np.random.default_rng(1)
    text = rng.choice(np.frombuffer(b',\n"\r0123456789abcdef.', np.uint8), 400).tobytes()
    for n in range(300):
        assert_found(level, text[:n], shift=n % 64, around=",")
    for shift in range(64):
        assert_found(level, text, shift=shift, around="\n")


@pytest.mark.parametrize("density", [0.0, 0.02, 0.12, 0.5, 1.0])
def test_find_whole_sub_blocks(level, density):
    rng = np.random.default_rng(2)
    for n in (32768, 32767, 32704):
        text = np.where(rng.random(n) < density, rng.choice([44, 10], n), rng.integers(48, 123, n)).astype(np.uint8).tobytes()
        assert_found(level, text, around=",")


def test_find_nothing_but_delimiters(level):
    """As many line feeds as fit: counters narrower than the block would run over."""
    for c in b"\n,":
        assert_found(level, bytes([c]) * 32768, around="x")


def test_is_grid(level):
    for columns in (1, 2, 18):
        for rows in (0, 1, 7, 300):
            line = b",".join([b"12"] * columns) + b"\n"
            text = line * rows
            assert _core.trace_kernel_is_grid(level, text, rows, columns)
            if columns > 1 and rows > 1:
                # As many delimiters and lines as a grid has, but one field too many here and one too few there.
                ragged = line[:-1] + b",1\n" + line * (rows - 2) + line[3:]
                assert ragged.count(b",") == text.count(b",") and ragged.count(b"\n") == rows
                assert not _core.trace_kernel_is_grid(level, ragged, rows, columns)


# ---- reals ---------------------------------------------------------------------------------------------------------------


def java(value):
    """Double.toString's spelling: plain in [1e-3, 1e7), else d.ddE-n."""
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        return repr(value)
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    text = "".join(map(str, digits))
    return f"{'-' * sign}{text[0]}.{text[1:] or '0'}E{exponent + len(text) - 1}"


def micros(rng, n, high=10.0):
    return np.exp(rng.uniform(np.log(1e-6), np.log(high), n)).round(6)


STYLES = {
    "six decimals": lambda v: f"{v:.6f}",
    "three decimals": lambda v: f"{v + 2592000:.3f}",
    "nine decimals": lambda v: f"{v:.9f}",
    "one decimal": lambda v: f"{v * 1000:.1f}",
    "repr of seconds": lambda v: repr(round(v + 2592000, 3)),
    "repr": repr,
    "java": java,
    "e-05": lambda v: f"{v:.2e}",
    "E-05": lambda v: f"{v * 1e-4:.3E}",
    "whole": lambda v: str(int(v * 1e6)),
    "e5": lambda v: f"{int(v * 1e6)}e{int(v) % 10}",
    "e+5": lambda v: f"{v:.3f}e+{int(v) % 12}",
    "E+05": lambda v: f"{v:.3f}E+{int(v) % 20:02d}",
}


@pytest.mark.parametrize("style", STYLES)
def test_floats_of_one_style_are_read_by_the_vectors(level, style):
    rng = np.random.default_rng(3)
    fields = [STYLES[style](v).encode() for v in micros(rng, 40_000).tolist()]
    assert_exact(level, "float64", fields, most_odd=0.0)


@pytest.mark.parametrize("digits", range(1, 20))
def test_floats_of_every_digit_count(level, digits):
    """All places of the point, all exponents that a table might hold, both signs: 19 * 20 000 fields and more."""
    rng = np.random.default_rng(digits)
    fields = []
    for _ in range(20_000):
        text = "".join(map(str, rng.integers(0, 10, digits).tolist()))
        point = int(rng.integers(1, digits + 1))
        text = text[:point] + ("." + text[point:] if point < digits else "")
        kind = int(rng.integers(0, 6))
        if kind == 1:
            text += f"e-{int(rng.integers(0, 30)):02d}"
        elif kind == 2:
            text += f"E-{int(rng.integers(0, 30))}"
        elif kind == 3:
            text += f"e{int(rng.integers(-330, 310))}"
        elif kind == 4:
            text = "-" + text
        fields.append(text.encode())
    assert_exact(level, "float64", fields)


def test_a_million_floats(level):
    """Spellings in long runs, as files have them, and mixed row by row; a million fields in all."""
    rng = np.random.default_rng(11)
    n = 1_000_000 // (2 * len(STYLES)) + 1
    styles = list(STYLES.values())
    fields = []
    for write in styles:
        fields += [write(v).encode() for v in micros(rng, n).tolist()]
    values = micros(rng, n * len(styles)).tolist()
    which = rng.integers(0, len(styles), len(values)).tolist()
    fields += [styles[w](v).encode() for w, v in zip(which, values, strict=True)]
    assert len(fields) >= 1_000_000
    assert_exact(level, "float64", fields, most_odd=0.05)


def test_random_bits_in_repr(level):
    rng = np.random.default_rng(12)
    values = rng.integers(-(2**63), 2**63 - 1, 100_000).view(np.float64)
    assert_exact(level, "float64", [repr(v).encode() for v in values[np.isfinite(values)].tolist()])
    subnormal = rng.integers(1, 2**52, 20_000).view(np.float64)
    assert_exact(level, "float64", [repr(v).encode() for v in subnormal.tolist()])


GOOD = [b"0.000016", b"2592000.1", b"1.6e-05", b"9.31E-4", b"7", b"12.5"]


@pytest.mark.parametrize("good", GOOD)
def test_wrong_floats_among_good_ones(level, good):
    """Every wrong or odd field at every place of a group, in a column that the kernel has learned."""
    fields = [good] * 130
    for bad in WRONG_FLOATS + EDGE_FLOATS + [b""]:
        for place in range(8):
            fields += [good] * place + [bad] + [good] * (9 - place)
    assert_exact(level, "float64", [f for f in fields if b"\n" not in f])


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(GOOD),
    st.lists(st.text(alphabet="0123456789.eE+- ", max_size=20).map(str.encode), min_size=1, max_size=70),
    st.sampled_from([",", "\n", "9", "e", ".", "-"]),
    st.integers(0, 63),
)
def test_any_text_among_good_floats(good, texts, around, shift):
    for name in _core.trace_kernel_levels():
        assert_exact(name, "float64", [good] * 70 + texts + [good] * 3, around=around, shift=shift)


@pytest.mark.parametrize("kind", DTYPES)
def test_every_number_of_rows(level, kind):
    """Groups overlap at the end, tiny blocks go row by row, odd words are written whole."""
    rng = np.random.default_rng(4)
    make = {
        "float64": lambda i: b"%.3f" % (i / 7),
        "pod_serial": lambda i: b"pool22-300-128-%010d" % i,
    }.get(kind, lambda i: b"%d" % i)
    for rows in [*range(1, 80), 127, 128, 129, 1000]:
        fields = [make(i) for i in rng.integers(0, 30000, rows).tolist()]
        assert_exact(level, kind, fields, most_odd=0.0, shift=rows % 64, around="3")
        fields[rows - 1] = b""
        fields[rows // 2] = b"x"
        assert_exact(level, kind, fields, shift=rows % 64, around="3")


@pytest.mark.parametrize("sub_block", [40, 64, 100, 1000, 32768])
def test_any_cut_into_sub_blocks(level, sub_block):
    rng = np.random.default_rng(5)
    fields = [STYLES["repr"](v).encode() for v in micros(rng, 3000).tolist()]
    assert_exact(level, "float64", fields, sub_block=sub_block, around="7")


# ---- a table of several columns ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_columns_of_a_table(level, line_end):
    rng = np.random.default_rng(6)
    columns = {
        "float64": [STYLES["repr"](v).encode() if v > 2e-6 else b"" for v in micros(rng, 2000).tolist()],
        "int32": [b"%d" % v for v in rng.integers(0, 10**8, 2000)],
        "hex32": [rng.bytes(32).hex().encode() for _ in range(2000)],
        "int16": [b"%d" % v for v in rng.integers(0, 32768, 2000)],
        "pod_serial": [b"custom.image.gpu-25800-32768-%010d" % v for v in rng.integers(0, 10**10, 2000)],
        "int64": [b"%d.0" % v if v % 3 else b"" for v in rng.integers(0, 10**8, 2000)],
    }
    text = b"".join(b",".join(row) + line_end for row in zip(*columns.values(), strict=True))
    for which, (kind, fields) in enumerate(columns.items()):
        last = which == len(columns) - 1
        for shift in (0, 1, 17, 63):
            values, odd = _core.trace_kernel_column(
                level, kind, text, columns=len(columns), column=which, trim=len(line_end) - 1 if last else 0, shift=shift
            )
            assert odd.tolist() == [f == b"" for f in fields]
            if kind == "hex32":
                expected = np.frombuffer(b"".join(bytes.fromhex(f.decode()) for f in fields), np.uint8).reshape(-1, 32)
            else:
                expected = expectation(kind, fields)[1]
            assert (values[~odd] == expected[~odd]).all()


# ---- integers and ids ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["", ".0"])
@pytest.mark.parametrize("kind", ["int64", "int32", "int16"])
def test_integers(level, kind, suffix):
    rng = np.random.default_rng(8)
    small = [f"{v}{suffix}".encode() for v in range(32768)]
    assert_exact(level, kind, small, most_odd=0.0)
    mixed = [f"{v}{suffix}".encode() for v in (2 ** rng.uniform(0, 62, 40_000)).astype(np.int64).tolist()]
    mixed += [b"-" + f for f in mixed[:5000]]
    assert_exact(level, kind, mixed)
    assert_exact(level, kind, [f"{v}{suffix}".encode() for v in range(-33000, 33000)])
    assert_exact(level, kind, [f"{v:0{w}d}{suffix}".encode() for w in range(1, 22) for v in range(0, 3000, 7)])


@pytest.mark.parametrize("good", [b"7", b"1018.0", b"12345678", b"123456789012"])
@pytest.mark.parametrize("kind", ["int64", "int32", "int16"])
def test_wrong_integers_among_good_ones(level, kind, good):
    bad = (
        WRONG_FLOATS
        + EDGE_FLOATS
        + [b"", b"1018.5", b"1018.00", b"1018.0", b"1018", b"32768", b"-32769", b".0", b"0.0", b"-.0", b"10.1"]
    )
    bad += [bytes([c]) + rest for c in range(256) if c not in b",\n" for rest in (b"", b"1", b"34567", b".0")]
    bad += [rest + bytes([c]) for c in range(256) if c not in b",\n" for rest in (b"1", b"34567", b"1.", b"1.0")]
    fields = [good] * 16
    for i, field in enumerate(bad):
        fields += [good] * (i % 8) + [field] + [good] * 8
    assert_exact(level, kind, fields)


@pytest.mark.parametrize("size", [32, 16])
def test_hex_ids(level, size):
    rng = np.random.default_rng(9)
    ids = [rng.bytes(size) for _ in range(1000)]
    fields = [i.hex().encode() if k % 2 else i.hex().upper().encode() for k, i in enumerate(ids)]
    values, odd = run(level, f"hex{size}", fields, shift=3, around="a")
    assert not odd.any()
    assert values.tobytes() == b"".join(ids)
    law_values, parsed = law(f"hex{size}", fields)
    assert (parsed == OK).all() and law_values.tobytes() == values.tobytes()


@pytest.mark.parametrize("size", [32, 16])
def test_wrong_hex_ids(level, size):
    """Every byte at every place, and every length."""
    good = (b"0123456789abcdef" * 4)[: 2 * size]
    fields = [good[:place] + bytes([c]) + good[place + 1 :] for c in range(256) if c not in b",\n" for place in range(2 * size)]
    fields += [good[:n] for n in range(2 * size)] + [good + good[:n] for n in range(1, 40)]
    expected = [re.fullmatch(rb"[0-9a-fA-F]{%d}" % (2 * size), f) is not None for f in fields]
    _, odd = run(level, f"hex{size}", fields)
    assert (~odd).tolist() == expected
    assert ((law(f"hex{size}", fields)[1]) == OK).tolist() == expected


def test_pod_serials(level):
    rng = np.random.default_rng(10)
    names = [b"pool22-300-128", b"custom.image.gpu-25800-32768", b"p", b"custom-300-128"]
    good = [names[i % 4] + b"-%010d" % v for i, v in enumerate(rng.integers(0, 10**10, 4000).tolist())]
    good += [b"p-0000000000", b"p-9999999999"]
    assert_exact(level, "pod_serial", good, most_odd=0.0)
    tail = b"pool22-300-128-0000618412"
    bad = [tail[:i] + bytes([c]) + tail[i + 1 :] for c in range(256) if c not in b",\n" for i in range(len(tail))]
    bad += [tail[i:] for i in range(len(tail) + 1)] + [tail + b"0", b"-0000000000", b"p-000000000", b"p-00000000000"]
    fields = []
    for i, field in enumerate(bad):
        fields += [*good[: i % 4], field, *good[:4]]
    assert_exact(level, "pod_serial", fields)


def test_the_level_in_use_is_one_of_those_available():
    assert _core.trace_kernel_level() in _core.trace_kernel_levels()
