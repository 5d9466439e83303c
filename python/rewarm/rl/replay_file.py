"""A buffer on disk: a directory with ``header.json`` and the file of records that it names.

The header is replaced last and in one step, so there is always a whole buffer to restore. Records are written as they lie in
memory (little-endian, fields at the header's offsets): each block's rows from place 0 to size - 1, then the pending episodes.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import zlib
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from rewarm._native import core
from rewarm.errors import InvalidArgument, StateDictMismatch
from rewarm.rl.replay_arguments import ReplayConfig, checked_config, checked_number
from rewarm.rl.replay_storage import RECORDS, Storage, map_records, memory_storage, record_bytes

if TYPE_CHECKING:
    from rewarm.rl.replay import ReplayBuffer

HEADER = "header.json"
FORMAT, VERSION = "rewarm.replay", 1
_PIECE = 1 << 24  # bytes read, written or summed between two chances to be interrupted
_CONFIG = ("capacity", "obs_dim", "act_dim", "seeds", "shared", "mc_returns", "gamma", "sparse_negative_reward")


# ---- writing -------------------------------------------------------------------------------------------------------------


def save(buffer: ReplayBuffer, path: str | PathLike[str] | None) -> None:
    """ReplayBuffer.save."""
    own = buffer._storage.directory
    if path is None:
        if own is None:
            raise InvalidArgument("ReplayBuffer.save: path: expected a directory, got None for a buffer in memory")
        _save_mapped(buffer, own)
    elif own is not None and Path(path).resolve() == own.resolve():
        _save_mapped(buffer, own)
    else:
        _save_copy(buffer, Path(path))


def _save_copy(buffer: ReplayBuffer, directory: Path) -> None:
    """All records in use, into a new file beside the one that the present header names."""
    present = _saved_here(directory)
    directory.mkdir(parents=True, exist_ok=True)
    name = RECORDS if present is None else _free_name(directory)
    storage, pending = buffer._storage, _pending_records(buffer)
    sizes = storage.state[1].tolist()
    begins = [sum(sizes[:block]) * storage.records.shape[2] for block in range(len(sizes))]
    header = _header(buffer, name, begins, sum(sizes) * storage.records.shape[2], mapped=False)
    target = directory / name
    try:
        with open(target, "xb") as out:
            crc = 0
            for piece in _pieces(*(storage.records[b, :size] for b, size in enumerate(sizes)), pending):
                crc = zlib.crc32(piece, crc)
                out.write(piece)
            out.flush()
            os.fsync(out.fileno())
        _write_header(directory, header | {"crc32": crc})
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    for leftover in directory.iterdir():
        if re.fullmatch(r"records(-\d+)?\.bin", leftover.name) and leftover.name != name:
            leftover.unlink()


def _save_mapped(buffer: ReplayBuffer, directory: Path) -> None:
    """What is mapped reaches the disk; pending episodes stand behind it, never over those of the header before."""
    storage, pending = buffer._storage, _pending_records(buffer)
    begin = storage.records.nbytes
    present = _saved_here(directory)
    if present is not None:
        old_begin, old_bytes = present["pending_begin"], sum(p[2] for p in present["pending"]) * storage.records.shape[2]
        if begin + pending.nbytes > old_begin:
            begin = old_begin + old_bytes
    storage.records.flush()  # type: ignore[attr-defined]
    storage.file.seek(begin)
    storage.file.write(pending.data)
    storage.file.flush()
    os.fsync(storage.file.fileno())
    crc = 0
    for piece in _pieces(storage.records[0, : int(storage.state[1, 0])], pending):
        crc = zlib.crc32(piece, crc)
    _write_header(directory, _header(buffer, RECORDS, [0], begin, mapped=True) | {"crc32": crc})


def _saved_here(directory: Path) -> dict[str, Any] | None:
    """The header of a buffer saved here, None for a new or empty directory (or a mapped buffer's that was never saved)."""
    if not directory.exists():
        return None
    if (directory / HEADER).exists():
        return _read_header(directory)
    names = {found.name for found in directory.iterdir()} if directory.is_dir() else {directory.name}
    if names - {RECORDS}:
        raise InvalidArgument(
            f"ReplayBuffer.save: path: expected a directory that is new, empty or holds a saved buffer, got {str(directory)!r} "
            f"with {sorted(names)[0]!r}"
        )
    return None


def _free_name(directory: Path) -> str:
    taken, i = {found.name for found in directory.iterdir()}, 1
    while f"records-{i}.bin" in taken:
        i += 1
    return f"records-{i}.bin"


def _pending_records(buffer: ReplayBuffer) -> NDArray[np.uint8]:
    records = np.zeros((buffer.pending, record_bytes(buffer.config)), dtype=np.uint8)
    buffer.native.copy_pending(records.ctypes.data)
    return records


def _pieces(*arrays: NDArray[np.uint8]) -> Iterator[memoryview]:
    for array in arrays:
        flat = array.reshape(-1)
        for begin in range(0, flat.size, _PIECE):
            yield flat[begin : begin + _PIECE].data


def _header(buffer: ReplayBuffer, name: str, begins: list[int], pending_begin: int, *, mapped: bool) -> dict[str, Any]:
    config, state = buffer.config, buffer._storage.state
    return {
        "format": FORMAT,
        "version": VERSION,
        "byte_order": "little",
        **{key: list(config.seeds) if key == "seeds" else getattr(config, key) for key in _CONFIG},
        "reward_scale": buffer.rewards[0],
        "reward_bias": buffer.rewards[1],
        "record": core.replay_record(config.obs_dim, config.act_dim),
        "cursor": state[0].tolist(),
        "size": state[1].tolist(),
        "written": state[2].tolist(),
        "pending": [list(episode) for episode in buffer.native.pending()],
        "records_file": name,
        "records_begin": begins,
        "pending_begin": pending_begin,
        "mapped": mapped,
    }


def _write_header(directory: Path, header: dict[str, Any]) -> None:
    header = header | {"header_crc32": _header_sum(header)}
    temporary = directory / f".{HEADER}.part"
    try:
        with open(temporary, "w", encoding="utf-8") as out:
            json.dump(header, out, indent=1)
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, directory / HEADER)
    finally:
        temporary.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # file systems that cannot sync a directory
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _header_sum(header: dict[str, Any]) -> int:
    kept = {key: value for key, value in header.items() if key != "header_crc32"}
    return zlib.crc32(json.dumps(kept, sort_keys=True).encode())


# ---- reading -------------------------------------------------------------------------------------------------------------


def restore(
    cls: type[ReplayBuffer], path: str | PathLike[str], *, device: str | torch.device, mapped: bool | None
) -> ReplayBuffer:
    """ReplayBuffer.restore."""
    directory, target = Path(path), torch.device(device)
    header = _read_header(directory)
    try:
        config = checked_config(*(header[key] for key in _CONFIG))
        scale, bias = (checked_number(key, header[key]) for key in ("reward_scale", "reward_bias"))
        state = _checked_state(config, header)
    except (KeyError, TypeError, ValueError) as error:
        raise StateDictMismatch(f"{directory / HEADER}: cannot be read as a buffer's: {error}") from None
    in_place = header["mapped"] if mapped is None else mapped
    if in_place and not header["mapped"]:
        raise InvalidArgument(
            f"ReplayBuffer.restore: mapped: {str(directory)!r} was saved from memory; expected False or None (only a buffer "
            "made with path= goes on in its files)"
        )
    if in_place and target.type != "cpu":
        raise InvalidArgument(f"ReplayBuffer.restore: mapped: a mapped buffer draws on the CPU, got device {str(target)!r}")
    if sys.byteorder != "little":
        raise StateDictMismatch(f"{directory}: the records are little-endian, this machine is not")
    records = directory / header["records_file"]
    if in_place:
        _check_length(records, header, record_bytes(config), config.capacity)
        storage = map_records(config, directory, header["records_file"])
        pending = _read_pending(storage.file, records, header, record_bytes(config))
    else:
        storage = memory_storage(config)
        pending = _read_records(storage, records, header)
    crc = 0
    for piece in _pieces(*(storage.records[b, : int(size)] for b, size in enumerate(state[1])), pending):
        crc = zlib.crc32(piece, crc)
    if crc != header["crc32"]:
        raise StateDictMismatch(
            f"{records}: the checksum of the records is {crc:#010x}, in the header {header['crc32']:#010x}: they are damaged, "
            "or a mapped buffer went on and overwrote them without being saved"
        )
    storage.state[:] = state
    buffer = cls.__new__(cls)
    buffer._begin(config, storage, target)
    buffer.native.restore_pending([tuple(episode) for episode in header["pending"]], pending.ctypes.data)
    buffer.set_rewards(scale, bias)
    return buffer


def _read_header(directory: Path) -> dict[str, Any]:
    file = directory / HEADER
    with open(file, encoding="utf-8") as source:
        text = source.read()
    try:
        header = json.loads(text)
    except ValueError as error:
        raise StateDictMismatch(f"{file}: not a header of a replay buffer: {error}") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise StateDictMismatch(f"{file}: not a header of a replay buffer: expected format {FORMAT!r}")
    if header.get("version") != VERSION:
        raise StateDictMismatch(f"{file}: expected version {VERSION}, got {header.get('version')!r}")
    if header.get("header_crc32") != _header_sum(header):
        raise StateDictMismatch(f"{file}: the header does not have the checksum that it states: it was edited or damaged")
    return header


def _checked_state(config: ReplayConfig, header: dict[str, Any]) -> NDArray[np.int64]:
    """Counters [3, blocks] that a ring can have."""
    state = np.array([header["cursor"], header["size"], header["written"]], dtype=np.int64)
    if state.shape != (3, config.blocks):
        raise ValueError(f"expected {config.blocks} blocks in cursor, size and written")
    for cursor, size, written in state.T.tolist():
        if size != min(written, config.capacity) or written < 0 or cursor != written % config.capacity:
            raise ValueError(f"cursor {cursor}, size {size}, written {written} do not fit capacity {config.capacity}")
    if header["record"] != core.replay_record(config.obs_dim, config.act_dim):
        raise ValueError(f"records of another layout: {header['record']}")
    if not re.fullmatch(r"records(-\d+)?\.bin", header["records_file"]):
        raise ValueError(f"records_file {header['records_file']!r}")
    return state


def _check_length(file: Path, header: dict[str, Any], record: int, least_rows: int = 0) -> None:
    expected = max(header["pending_begin"] + sum(e[2] for e in header["pending"]) * record, least_rows * record)
    found = os.stat(file).st_size
    if found < expected:
        raise StateDictMismatch(f"{file}: expected at least {expected} bytes, got {found}: the file was cut short")


def _read_pending(source: BinaryIO, file: Path, header: dict[str, Any], record: int) -> NDArray[np.uint8]:
    pending = np.zeros((sum(e[2] for e in header["pending"]), record), dtype=np.uint8)
    source.seek(header["pending_begin"])
    _read_into(source, file, pending)
    return pending


def _read_records(storage: Storage, file: Path, header: dict[str, Any]) -> NDArray[np.uint8]:
    record = storage.records.shape[2]
    _check_length(file, header, record)
    with open(file, "rb") as source:
        for block, (begin, size) in enumerate(zip(header["records_begin"], header["size"], strict=True)):
            source.seek(begin)
            _read_into(source, file, storage.records[block, :size])
        return _read_pending(source, file, header, record)


def _read_into(source: BinaryIO, file: Path, array: NDArray[np.uint8]) -> None:
    for piece in _pieces(array):
        if source.readinto(piece) != len(piece):  # type: ignore[attr-defined]
            raise StateDictMismatch(f"{file}: the file ends within the records")
