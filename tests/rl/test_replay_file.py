"""save and restore: bit-identical continuation, whole-or-absent directories, refused damage, mapped records."""

import json
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from replay_cases import FIELDS, new_rows

from rewarm.errors import InvalidArgument, StateDictMismatch
from rewarm.rl import ReplayBuffer, replay_file

RETURNS = {"mc_returns": True, "gamma": 0.9, "sparse_negative_reward": -1.0}
KINDS = {
    "plain": {},
    "returns": RETURNS,
    "stack": {"seeds": (3, 4), **RETURNS},
    "shared": {"seeds": (3, 4), "shared": True},
}


def same(a, b, n=8):
    assert repr(a) == repr(b)
    assert (a.size.tolist(), a.cursor.tolist(), a.rewards, a.native.pending()) == (
        b.size.tolist(),
        b.cursor.tolist(),
        b.rewards,
        b.native.pending(),
    )
    for offset in (0, 2**40):
        x, y = a.sample(n, offset=offset), b.sample(n, offset=offset)
        for name in (*FIELDS, "mc_return"):
            u, v = getattr(x, name), getattr(y, name)
            assert (u is v is None) or torch.equal(u, v)


def filled(rng, rows=60, capacity=50, **options):
    buffer = ReplayBuffer(capacity, 3, 2, **options)
    add(buffer, rng, rows)
    return buffer


def add(buffer, rng, n):
    rows = new_rows(rng, buffer.config.blocks, n, rewards=np.float32([-1.0, 0.5]))
    for begin in range(0, n, 10):
        buffer.add(*(rows[k][:, begin : begin + 10] for k in FIELDS), order="environments" if begin % 20 else "steps")


@pytest.mark.parametrize("rows", [12, 60], ids=["part", "wrapped"])
@pytest.mark.parametrize("kind", KINDS)
def test_goes_on_as_if_nothing_had_happened(kind, rows, tmp_path):
    buffer = filled(np.random.default_rng(0), rows, **KINDS[kind])
    buffer.set_rewards(2.0, -0.5)
    buffer.save(tmp_path / "b")
    restored = ReplayBuffer.restore(tmp_path / "b")
    same(buffer, restored, 2)
    for b in (buffer, restored):
        add(b, np.random.default_rng(1), 30)
        b.set_rewards(1.5, 0.0)
    same(buffer, restored)


def test_header_says_where_everything_lies(tmp_path):
    """The file alone, read by the header's words with plain numpy, holds the rows."""
    buffer = filled(np.random.default_rng(2), rows=35, seeds=(3, 4))
    buffer.save(tmp_path)
    header = json.loads((tmp_path / "header.json").read_text())
    raw = (tmp_path / header["records_file"]).read_bytes()
    assert header["crc32"] == zlib.crc32(raw) and header["byte_order"] == "little"
    at = header["record"]
    rows = buffer.gather(range(35))
    for block, begin in enumerate(header["records_begin"]):
        for i in range(header["size"][block]):
            record = raw[begin + i * at["bytes"] :]
            assert np.frombuffer(record, "<f4", 3, at["obs"]).tolist() == rows.obs[block, i].tolist()
            assert np.frombuffer(record, "<f4", 1, at["reward"]).tolist() == [float(rows.reward[block, i])]
            assert bool(record[at["terminated"]]) == bool(rows.terminated[block, i])


def test_saving_again_replaces(tmp_path):
    rng = np.random.default_rng(3)
    buffer = filled(rng, rows=10)
    for _ in range(3):
        buffer.save(tmp_path)
        add(buffer, rng, 10)
    buffer.save(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    same(buffer, ReplayBuffer.restore(tmp_path))


class Stopped(KeyboardInterrupt):
    pass


@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_interrupted_save_leaves_the_one_before(where, tmp_path, monkeypatch):
    rng = np.random.default_rng(4)
    buffer = filled(rng)
    buffer.save(tmp_path)
    before = ReplayBuffer.restore(tmp_path)
    files = sorted(p.name for p in tmp_path.iterdir())
    add(buffer, rng, 10)

    def stop(*_):
        raise Stopped

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(os, where, stop)
        buffer.save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == files
    same(before, ReplayBuffer.restore(tmp_path))
    buffer.save(tmp_path)
    same(buffer, ReplayBuffer.restore(tmp_path))


def test_foreign_directories_are_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    buffer = filled(np.random.default_rng(5))
    with pytest.raises(
        InvalidArgument, match=r"expected a directory that is new, empty or holds a saved buffer, got .*thesis.tex"
    ):
        buffer.save(tmp_path)
    with pytest.raises(InvalidArgument, match=r"path: expected a new or empty directory"):
        ReplayBuffer(5, 1, 1, path=tmp_path)
    with pytest.raises(InvalidArgument, match=r"path: expected a directory, got None for a buffer in memory"):
        buffer.save()
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def edit(path, **changes):
    header = json.loads((path / "header.json").read_text()) | changes
    header["header_crc32"] = replay_file._header_sum(header)
    (path / "header.json").write_text(json.dumps(header))


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


DAMAGE = {
    "record": (lambda d: flip(d / "records.bin", 100), "the checksum of the records is"),
    "header": (lambda d: flip(d / "header.json", 120), "the header does not have the checksum that it states|not a header"),
    "short records": (
        lambda d: os.truncate(d / "records.bin", 90),
        r"expected at least \d+ bytes, got 90: the file was cut short",
    ),
    "short header": (lambda d: os.truncate(d / "header.json", 90), "not a header of a replay buffer"),
    "another format": (lambda d: (d / "header.json").write_text("{}"), "expected format 'rewarm.replay'"),
    "version": (lambda d: edit(d, version=2), "expected version 1, got 2"),
    "counters": (lambda d: edit(d, cursor=[3]), "cursor 3, size 50, written 60 do not fit capacity 50"),
    "capacity": (lambda d: edit(d, capacity=-1), "capacity: expected an int"),
    "another file": (lambda d: edit(d, records_file="../../etc/passwd"), "records_file"),
    "layout": (lambda d: edit(d, obs_dim=4), "records of another layout"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_refused(case, tmp_path):
    damage, message = DAMAGE[case]
    filled(np.random.default_rng(6)).save(tmp_path)
    damage(tmp_path)
    with pytest.raises(StateDictMismatch, match=message):
        ReplayBuffer.restore(tmp_path)


def test_no_directory(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"header.json"):
        ReplayBuffer.restore(tmp_path / "nothing")


@pytest.mark.parametrize("kind", ["plain", "returns", "shared"])
def test_mapped_is_the_same_buffer(kind, tmp_path):
    made = [filled(np.random.default_rng(7), rows=35, path=path, **KINDS[kind]) for path in (None, tmp_path / "a")]
    same(*made)
    made[1].save()
    for round_ in range(3):  # pending episodes change places behind the records
        reopened = tmp_path / "a"
        made[1] = None  # gives up the lock
        made[1] = ReplayBuffer.restore(reopened)
        assert made[1]._storage.directory == reopened
        same(*made)
        add(made[0], np.random.default_rng(round_), 20)
        add(made[1], np.random.default_rng(round_), 20)
        made[1].save()
    in_memory = ReplayBuffer.restore(tmp_path / "a", mapped=False)
    same(made[0], in_memory)
    made[1].save(tmp_path / "copy")
    same(made[0], ReplayBuffer.restore(tmp_path / "copy"))


def test_mapped_rows_after_the_save(tmp_path):
    """Rows behind the saved ones are forgotten; once saved rows are overwritten, the checksum says so."""
    rng = np.random.default_rng(8)
    buffer = filled(rng, rows=20, path=tmp_path)
    buffer.save()
    in_memory = ReplayBuffer.restore(tmp_path, mapped=False)
    add(buffer, rng, 20)
    same(in_memory, ReplayBuffer.restore(tmp_path, mapped=False))
    add(buffer, rng, 20)
    with pytest.raises(StateDictMismatch, match=r"or a mapped buffer went on and overwrote them without being saved"):
        ReplayBuffer.restore(tmp_path, mapped=False)


def test_mapped_by_one_only(tmp_path):
    buffer = filled(np.random.default_rng(9), path=tmp_path / "a")
    buffer.save()
    with pytest.raises(BlockingIOError, match=r"another buffer has these records mapped"):
        ReplayBuffer.restore(tmp_path / "a")
    buffer.save(tmp_path / "copy")
    with pytest.raises(InvalidArgument, match=r"mapped: .* was saved from memory"):
        ReplayBuffer.restore(tmp_path / "copy", mapped=True)


def test_full_disk_is_an_error_at_once(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"No space left on device.*records\.bin"):
        ReplayBuffer(10, 1, 1, path=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_killed_save_leaves_the_one_before(tmp_path, monkeypatch):
    """Killed between records and header: nothing is tidied up."""
    rng = np.random.default_rng(10)
    buffer = filled(rng)
    buffer.save(tmp_path)
    before = ReplayBuffer.restore(tmp_path)
    add(buffer, rng, 10)

    def stop(*_, **__):
        raise Stopped

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(os, "replace", stop)
        patch.setattr(Path, "unlink", stop)
        buffer.save(tmp_path)
    assert len(list(tmp_path.iterdir())) == 4
    same(before, ReplayBuffer.restore(tmp_path))
    buffer.save(tmp_path)
    same(buffer, ReplayBuffer.restore(tmp_path))
    assert len(list(tmp_path.iterdir())) == 2
