"""Draws by address: the generator's published answers, every backend against the reference, stacks and subsets."""

from __future__ import annotations

import pytest
import torch
from ensemble_cases import backends
from rounding import within

from rewarm._native import core
from rewarm.errors import InvalidArgument, UnsupportedTensor
from rewarm.q import draw_subset, philox
from rewarm.q import philox_reference as reference

BACKENDS = backends("philox")
everywhere = pytest.mark.parametrize(("backend", "device"), BACKENDS, ids=[b for b, _ in BACKENDS])
SEEDS = [0, 1, -1, 20231108, 2**62 + 12345, -(2**63)]
OFFSETS = [0, 1, 7, 2**32 - 1, 2**32, 2**56 - 1]

# The known-answer vectors of philox4x32-10 in Random123 (Salmon et al. 2011): counter, key, words.
KNOWN = [
    ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


def int64(values, device="cpu"):
    return torch.tensor(values, dtype=torch.int64, device=device)


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN, ids=["zeros", "ones", "pi"])
def test_the_reference_gives_the_published_answers(counter, key, words):
    found = reference.philox4x32_10([int64(c) for c in counter], [int64(k) for k in key])
    assert [int(w) for w in found] == words


@everywhere
def test_the_zero_vector_comes_out_of_the_public_function(backend, device):
    """Counter and key 0 are element 0 of seed 0, offset 0, stream 0; the other vectors have counters that no draw uses."""
    found = philox((4,), seed=int64(0, device), offset=int64(0, device), stream=0, backend=backend)
    assert found.tolist() == KNOWN[0][2]


@everywhere
@pytest.mark.parametrize("shape", [(1,), (2,), (3,), (5, 1, 7), (256, 8), (1031,)], ids=str)
def test_words_and_uniforms_are_the_reference_bit_for_bit(backend, device, shape):
    seed, offset = int64(SEEDS, device), int64(OFFSETS, device)
    for stream in (0, 9, 255):
        for kind in ("uint32", "uniform"):
            found = philox(shape, seed=seed, offset=offset, stream=stream, kind=kind, backend=backend)
            law = philox(shape, seed=seed.cpu(), offset=offset.cpu(), stream=stream, kind=kind, backend="reference")
            assert found.dtype is law.dtype and torch.equal(found.cpu(), law)


def radius(count, seed, offset, stream):
    """r of the pair that each normal belongs to."""
    w = reference.words(count + count % 2, seed, offset, stream)[..., ::2] >> 8
    return torch.sqrt(-2 * torch.log((w + 1).double() * 2.0**-24)).repeat_interleave(2, -1)[..., :count]


@everywhere
@pytest.mark.parametrize("count", [1, 3, 1031, 100_000])
def test_normals_are_within_the_stated_bound(backend, device, count):
    seed, offset = int64(SEEDS), int64(OFFSETS)
    found = philox((count,), seed=seed.to(device), offset=offset.to(device), stream=3, kind="normal", backend=backend)
    law = reference.draw((count,), seed, offset, 3, "normal", torch.float64)
    within(found, law, core.NORMAL_ERROR * radius(count, seed, offset, 3), "normals")


def test_normals_are_normal():
    """Moments of a million draws against their standard errors: five sigma, on fixed seeds."""
    n = 1_000_000
    z = philox((n,), seed=int64(11), offset=int64(0), stream=2, kind="normal").double()
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs(float(z.pow(power).mean()) - moment) < 5 * (variance / n) ** 0.5


@everywhere
@pytest.mark.parametrize("kind", ["uint32", "uniform", "normal"])
def test_a_seed_of_a_stack_is_the_single_draw(backend, device, kind):
    seed, offset = int64(SEEDS, device), int64(OFFSETS, device)
    stack = philox((13, 5), seed=seed, offset=offset, stream=1, kind=kind, backend=backend)
    for s in range(len(SEEDS)):
        single = philox((13, 5), seed=seed[s], offset=offset[s], stream=1, kind=kind, backend=backend)
        assert torch.equal(stack[s], single)


@everywhere
def test_a_longer_draw_begins_with_the_shorter_one(backend, device):
    seed, offset = int64(5, device), int64(9, device)
    long = philox((1000,), seed=seed, offset=offset, stream=1, kind="normal", backend=backend)
    for n in (1, 2, 3, 255, 256, 257, 513):
        assert torch.equal(philox((n,), seed=seed, offset=offset, stream=1, kind="normal", backend=backend), long[:n])


def test_every_part_of_the_address_changes_the_draw():
    base = {"seed": 5, "offset": 9, "stream": 1}
    others = [
        base,
        base | {"seed": 6},
        base | {"seed": 5 + 2**32},
        base | {"offset": 10},
        base | {"offset": 9 + 2**32},
        base | {"offset": 9 + 2**55},
        base | {"stream": 2},
    ]
    draws = [
        philox((64,), seed=int64(o["seed"]), offset=int64(o["offset"]), stream=o["stream"]).to(torch.int64) for o in others
    ]
    for i in range(len(draws)):
        for j in range(i):
            assert int((draws[i] == draws[j]).sum()) <= 1


@everywhere
@pytest.mark.parametrize("replacement", [True, False], ids=["replaced", "distinct"])
@pytest.mark.parametrize(("critics", "subset"), [(1, 1), (2, 1), (10, 2), (7, 7), (31, 13)])
def test_subsets_are_the_reference_bit_for_bit(backend, device, critics, subset, replacement):
    seed, offset = int64(SEEDS), int64(OFFSETS)
    where = {"stream": 4, "replacement": replacement}
    found = draw_subset(critics, subset, seed=seed.to(device), offset=offset.to(device), backend=backend, **where)
    law = draw_subset(critics, subset, seed=seed, offset=offset, backend="reference", **where)
    assert torch.equal(found.cpu(), law)
    assert int(found.min()) >= 0 and int(found.max()) < critics
    if not replacement:
        assert all(len(set(row)) == subset for row in found.tolist())
    single = draw_subset(critics, subset, seed=seed[2].to(device), offset=offset[2].to(device), backend=backend, **where)
    assert torch.equal(single, found[2])


@pytest.mark.parametrize("replacement", [True, False], ids=["replaced", "distinct"])
def test_subsets_are_uniform(replacement):
    """All ordered pairs of 4 come equally often: chi squared against its own deviation, five sigma, on fixed seeds."""
    n = 20_000
    pairs = draw_subset(4, 2, seed=torch.arange(n), offset=torch.zeros(n, dtype=torch.int64), stream=4, replacement=replacement)
    counts = torch.bincount(pairs[:, 0] * 4 + pairs[:, 1], minlength=16).double()
    if not replacement:
        assert counts.reshape(4, 4).diagonal().sum() == 0
        counts = counts[counts > 0]
    cells = 16 if replacement else 12
    assert len(counts) == cells
    chi2 = float(((counts - n / cells) ** 2 / (n / cells)).sum())
    assert abs(chi2 - (cells - 1)) < 5 * (2 * (cells - 1)) ** 0.5


def test_the_index_formula_is_the_written_one():
    seed, offset = int64(SEEDS), int64(OFFSETS)
    words = philox((3,), seed=seed, offset=offset, stream=0).to(torch.int64)
    found = draw_subset(1000, 3, seed=seed, offset=offset, stream=0, replacement=True)
    assert found.tolist() == [[(w * 1000) >> 32 for w in row] for row in words.tolist()]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        ({"stream": 256}, InvalidArgument, "stream: expected a whole number from 0 to 255, got 256"),
        ({"kind": "gauss"}, InvalidArgument, "kind: expected one of uint32, uniform, normal, got 'gauss'"),
        ({"seed": torch.tensor(1.0)}, UnsupportedTensor, "seed: expected a contiguous torch.int64 tensor on cpu, got"),
        ({"seed": 3}, UnsupportedTensor, "seed: expected a torch.Tensor, got int"),
        ({"offset": torch.zeros(2, dtype=torch.int64)}, InvalidArgument, "offset: expected shape"),
        ({"shape": (0,)}, InvalidArgument, "shape: expected a whole number from 1"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_what_is_refused(call, error, words):
    arguments = {"shape": (3,), "seed": int64(1), "offset": int64(0), "stream": 0} | call
    with pytest.raises(error, match=words.replace("(", r"\(")):
        philox(arguments.pop("shape"), **arguments)


def test_more_critics_than_there_are_cannot_be_distinct():
    with pytest.raises(InvalidArgument, match="M: expected a whole number from 1 to 3, got 4"):
        draw_subset(3, 4, seed=int64(1), offset=int64(0), stream=4, replacement=False)
    assert draw_subset(3, 4, seed=int64(1), offset=int64(0), stream=4, replacement=True).shape == (4,)
