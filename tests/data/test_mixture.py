"""ReplayMixture and ReplaySampler: order, passes, ranks, workers, resuming at every sample, the switch, and bad input."""

import copy
from fractions import Fraction
from itertools import islice, zip_longest

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mixture_reference import dealt
from torch.utils.data import ConcatDataset, DataLoader

from rewarm.data import LrSwitch, ReplayMixture, ReplaySampler, when_lr_below
from rewarm.errors import InvalidArgument, StateDictMismatch
from rewarm.schedule import linear

NEW, OLD = list(range(100)), list(range(1000, 1030))


def mixture(ratio=0.25, **options):
    return ReplayMixture(NEW, OLD, ratio, **{"new_order": "original", **options})


def test_compute_equivalent_replay_in_the_original_order():
    read = list(mixture())
    assert len(read) == len(NEW)  # the budget of the new data alone
    old, new = [x for x in read if x >= 1000], [x for x in read if x < 1000]
    assert old == OLD[:25] and new == NEW[:75]
    assert all(sum(x >= 1000 for x in read[i : i + 8]) == 2 for i in range(0, 96, 8))


def test_otherwise_every_new_sample_is_read_and_the_old_ones_come_on_top():
    read = list(mixture(0.2, compute_equivalent=False))
    assert [x for x in read if x < 1000] == NEW and len([x for x in read if x >= 1000]) == 24
    assert read[-1] == NEW[-1]


@given(st.fractions(0, 1, max_denominator=12).filter(lambda r: r < 1), st.integers(1, 4), st.integers(0, 60))
@settings(max_examples=60)
def test_a_pass_ends_with_its_last_new_sample(ratio, world_size, at):
    switch = when_lr_below(1.0, ratio, schedule=linear(2.0, 0.0, 2 * at + 2), samples_per_update=world_size)
    parts = [mixture(0.5, compute_equivalent=False, switch=switch, rank=r, world_size=world_size) for r in range(world_size)]
    read = [x for p in parts for _ in range(3) for x in p]
    new = sorted(x for x in read if x < 1000)
    left_over = 3 * len(NEW) - len(new)  # less than one step of all ranks, and first in the next pass
    assert 0 <= left_over < world_size
    assert new == sorted((NEW * 3)[: len(new)])


def test_passes_go_on_where_the_last_ended():
    ours = mixture(0.3, samples=50)
    both = [list(ours), list(ours)]
    assert both[0] + both[1] == list(mixture(0.3, samples=100))
    shuffled = ReplayMixture(NEW, OLD, 0, seed=5)
    first, second = list(shuffled), list(shuffled)
    assert sorted(first) == sorted(second) == NEW and first != second
    assert len(shuffled) == len(NEW)


@given(st.fractions(0, 1, max_denominator=16), st.integers(1, 5))
@settings(max_examples=40)
def test_ranks_share_the_samples_of_the_reference(ratio, world_size):
    parts = [list(mixture(ratio, rank=rank, world_size=world_size)) for rank in range(world_size)]
    table = dealt([(0, ratio)], len(NEW) // world_size, world_size)
    for rank, part in enumerate(parts):
        assert part == [(OLD[c % len(OLD)] if old else NEW[c % len(NEW)]) for old, c in (row[rank] for row in table)]


def in_turn(parts: list[list], batch: int) -> list:
    """What a DataLoader makes of its workers: a batch of each in turn, until all have ended."""
    batches = [[part[i : i + batch] for i in range(0, len(part), batch)] for part in parts]
    return [x for turn in zip_longest(*batches, fillvalue=[]) for part in turn for x in part]


@given(st.integers(1, 5), st.integers(1, 9), st.integers(1, 60), st.integers(0, 59), st.integers(0, 20))
def test_workers_share_a_pass_and_go_on_with_it(workers, batch, samples, begun, stop):
    """Every worker is stopped after `stop` samples, its state put into another copy, which reads on into the next pass."""
    alone, parts = mixture(samples=samples), []
    alone.seek(begun)
    expected = list(alone), list(alone)
    for number in range(workers):
        ours, later = mixture(samples=samples), mixture(samples=samples)
        ours.seek(begun)
        held = len(list(copy.deepcopy(ours._stream).read((number, workers), batch)))
        reading = ours._stream.read((number, workers), batch)
        read = [(NEW, OLD)[old][i] for old, i in islice(reading, min(stop, held))]
        later.load_state_dict(ours.state_dict())
        read += [(NEW, OLD)[old][i] for old, i in later._stream.read((number, workers), batch)]
        parts.append((read, [(NEW, OLD)[old][i] for old, i in later._stream.read((number, workers), batch)]))
    assert tuple(in_turn([part[i] for part in parts], batch) for i in (0, 1)) == expected


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_read_the_same_batches_as_none(workers):
    alone = [x.tolist() for x in DataLoader(mixture(), batch_size=8)]
    loader = DataLoader(mixture(batch_size=8), batch_size=8, num_workers=workers)
    assert [x.tolist() for x in loader] == alone


def test_persistent_workers_go_on_with_the_next_pass():
    loader = DataLoader(mixture(batch_size=8, samples=44), batch_size=8, num_workers=2, persistent_workers=True)
    ours = mixture(samples=44)
    for _ in range(3):
        assert [x.tolist() for x in loader] == [x.tolist() for x in DataLoader(ours, batch_size=8)]


def test_resumes_at_every_sample():
    """Also behind the end of a pass; a switch lies on the way."""
    switch = when_lr_below(0.5, Fraction(2, 3), schedule=linear(1.0, 0.0, 60), samples_per_update=1)
    options = {"samples": 45, "switch": switch, "new_order": "shuffled", "order": "shuffled", "seed": 11}
    whole = mixture(**options)
    read = [list(whole) for _ in range(2)]
    for stop in range(46):
        first = mixture(**options)
        iterator = iter(first)
        begun = [next(iterator) for _ in range(stop)]
        state = copy.deepcopy(first.state_dict())
        later = mixture(**options)
        later.load_state_dict(state)
        assert later.state_dict() == state
        assert begun + list(later) == read[0]
        assert list(later) == read[1]


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")  # torchdata 0.11 with torch 2.13
@pytest.mark.parametrize("kind", ["mixture", "sampler"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_stateful_loader_resumes_in_the_middle_of_a_pass(workers, kind):
    """torchdata's protocol: the state of each worker's copy is fetched, and given back to it."""
    stateful = pytest.importorskip("torchdata.stateful_dataloader").StatefulDataLoader

    def loader():
        if kind == "mixture":
            return stateful(mixture(batch_size=8), batch_size=8, num_workers=workers)
        sampler = ReplaySampler(NEW, OLD, 0.25, new_order="original")
        return stateful(ConcatDataset([NEW, OLD]), sampler=sampler, batch_size=8, num_workers=workers)

    expected = [x.tolist() for x in loader()]
    assert expected == [x.tolist() for x in DataLoader(mixture(), batch_size=8)]
    for stop in (0, 1, 5):
        first = loader()
        iterator = iter(first)
        begun = [next(iterator).tolist() for _ in range(stop)]
        state = first.state_dict()
        later = loader()
        later.load_state_dict(state)
        assert begun + [x.tolist() for x in later] == expected


def test_the_state_of_a_worker_is_not_anothers():
    ours = mixture(batch_size=4)
    iterator = ours._stream.read((0, 2), 4)
    next(iterator)
    later = mixture(batch_size=4)
    later.load_state_dict(ours.state_dict())
    with pytest.raises(StateDictMismatch, match="position of worker 0 of 2, and a process without workers reads"):
        next(iter(later))
    other = mixture(world_size=2, rank=0)
    with pytest.raises(StateDictMismatch, match="saved with 1 ranks, cannot go on with 2"):
        other.load_state_dict(ours.state_dict())


@pytest.mark.parametrize("order", ["original", "shuffled"])
def test_goes_on_with_another_number_of_ranks(order):
    def parts(world_size):
        return [mixture(0.3, order=order, new_order=order, rank=r, world_size=world_size) for r in range(world_size)]

    state = parts(4)[0].state_dict(samples=24)
    read = []
    for part in parts(3):
        part.load_state_dict(state)
        read += list(part)
    before = [x for part in parts(4) for _, x in zip(range(6), part, strict=False)]
    whole = list(mixture(0.3, order=order, new_order=order))
    assert sorted(before + read) == sorted(whole[: 24 + len(read)]) and len(read) == 75  # 76 left, in threes


def test_state_of_what_was_trained_on_leaves_the_object_alone():
    ours = mixture(seed=3, new_order="shuffled")
    whole = list(mixture(seed=3, new_order="shuffled"))
    iterator = iter(ours)
    assert [next(iterator) for _ in range(10)] == whole[:10]
    state = ours.state_dict(samples=40)
    assert [next(iterator) for _ in range(10)] == whole[10:20]
    later = mixture(seed=3, new_order="shuffled")
    later.load_state_dict(state)
    assert list(later) == whole[40:]
    later.seek(90)
    assert list(later) == whole[90:]


def test_observed_rates_switch_the_blend_once_they_have_fallen():
    ours = mixture(0.25, samples=200, switch=when_lr_below(0.2, 0.5))
    iterator, read = iter(ours), []
    for lr in (0.0, 0.1, 1.0, 0.5, 0.2, torch.tensor([0.1, 0.19]), 1.0, 0.1):  # the warm-up is below the level too
        read += [next(iterator) for _ in range(8)]
        changed = ours.observe(lr)
        assert changed is (len(read) == 48)
    state = ours.state_dict()
    read += list(iterator)
    assert [sum(x >= 1000 for x in read[i : i + 8]) for i in (0, 40, 48, 56)] == [2, 2, 4, 4]
    assert read == list(mixture(0.25, samples=200, switch=LrSwitch(0.2, Fraction(1, 2), 48)))
    later = mixture(0.25, samples=200, switch=when_lr_below(0.2, 0.5))
    later.load_state_dict(state)
    assert list(later) == read[64:]
    assert later.observe(1.0) is False and later.observe(0.1) is False  # once only, also after a resume


def test_a_planned_switch_falls_on_its_sample_also_in_workers():
    switch = when_lr_below(0.5, 1.0, schedule=linear(1.0, 0.0, 10), samples_per_update=8)
    assert switch.at == 48
    alone = list(mixture(0, switch=switch))
    assert alone == NEW[:48] + (OLD * 2)[:52]
    loader = DataLoader(mixture(0, switch=switch, batch_size=8), batch_size=8, num_workers=2)
    assert [x for batch in loader for x in batch.tolist()] == alone


def test_reads_and_tags_say_where_samples_come_from():
    ours = mixture(0.25, names=("pod", "linux"), tagged=True)
    iterator = iter(ours)
    assert [next(iterator) for _ in range(4)] == [("pod", 0), ("pod", 1), ("pod", 2), ("linux", 1000)]
    assert ours.reads == {"pod": 3, "linux": 1}
    assert ours.state_dict()["sources"] == {"pod": {"length": 100, "read": 3}, "linux": {"length": 30, "read": 1}}


def test_sampler_gives_the_mixture_as_indices():
    sampler = ReplaySampler(len(NEW), OLD, 0.25, new_order="original")
    both = ConcatDataset([NEW, OLD])
    assert [both[i] for i in sampler] == list(mixture()) and len(sampler) == 100


def test_a_state_of_another_mixture_changes_nothing():
    ours = mixture()
    next(iter(ours))
    before = ours.state_dict()
    longer = ReplayMixture(NEW, [*OLD, 1], 0.25, new_order="original")
    with pytest.raises(StateDictMismatch, match=r"datasets \(name: samples\) {'new': 100, 'old': 31} in the state"):
        ours.load_state_dict(longer.state_dict())
    with pytest.raises(StateDictMismatch, match="ratio '1/5' in the state, '1/4' here; seed 1 in the state, 0 here"):
        ours.load_state_dict(mixture(0.2, seed=1).state_dict())
    for key in before:
        with pytest.raises(StateDictMismatch, match=f"not a state of a replay mixture: KeyError: '{key}'"):
            ours.load_state_dict({k: v for k, v in before.items() if k != key})
    with pytest.raises(StateDictMismatch, match="1 samples were read, which 2 ranks do not share"):
        mixture(rank=0, world_size=2).load_state_dict(before)
    assert ours.state_dict() == before


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ReplayMixture(iter(NEW), OLD, 0.1), "new is a list_iterator; a dataset with __getitem__ and __len__"),
        (lambda: ReplayMixture(NEW, [], 0.1), "old: no samples, but a share of 1/10"),
        (lambda: ReplayMixture([], OLD, 0.1), "new: no samples, but a share of 9/10"),
        (lambda: mixture(1, compute_equivalent=False), "a ratio of 1 never reads all new samples"),
        (lambda: mixture(order="random"), "order is 'random'; 'original' and 'shuffled'"),
        (lambda: mixture(rank=2, world_size=2), "rank is 2; with world_size 2 ranks 0 to 1"),
        (lambda: mixture(rank=1), "rank is 1 and world_size None; both or neither"),
        (lambda: mixture(samples=1, rank=0, world_size=2), "samples is 1; a whole number of at least 2"),
        (lambda: mixture(batch_size=0), "batch_size is 0"),
        (lambda: mixture(names=("a", "a")), "two different texts"),
        (lambda: mixture(switch=0.1), "switch is 0.1; what when_lr_below"),
        (lambda: mixture(seed=1.5), "seed is 1.5"),
        (lambda: mixture().observe(0.1), "observe: no switch was given"),
        (lambda: mixture(switch=when_lr_below(1, 0.5)).observe(float("nan")), "lr is nan; a finite number"),
        (lambda: mixture(rank=0, world_size=4).seek(6), "6 samples are no whole number of steps of 4 ranks"),
        (
            lambda: mixture(
                rank=0, world_size=3, switch=when_lr_below(0.5, 1, schedule=linear(1.0, 0.0, 9), samples_per_update=4)
            ),
            "the switch comes after 20 samples, which 3 ranks do not share evenly",
        ),
    ],
)
def test_what_cannot_be_mixed_is_refused(call, message):
    with pytest.raises(InvalidArgument, match=message):
        call()


@pytest.mark.parametrize(
    ("ours", "message"),
    [
        (mixture(), "needs batch_size="),
        (mixture(batch_size=4, switch=when_lr_below(1, 0.5)), "cannot reach DataLoader workers"),
    ],
    ids=["batch_size", "observe"],
)
def test_what_workers_cannot_do_is_refused(ours, message):
    with pytest.raises(InvalidArgument, match=message):
        next(iter(DataLoader(ours, batch_size=4, num_workers=1)))
