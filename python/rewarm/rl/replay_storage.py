"""Where the records lie: memory that is taken as it is touched, or a file mapped into it."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewarm._native import core
from rewarm.errors import InvalidArgument
from rewarm.rl.replay_arguments import ReplayConfig

RECORDS = "records.bin"


@dataclass
class Storage:
    """Records and counters of a buffer, and for a mapped one its directory and the open file that holds its lock."""

    records: NDArray[np.uint8]  # [blocks, capacity, record bytes]
    state: NDArray[np.int64]  # [3, blocks]: cursor, size, rows ever written
    directory: Path | None = None
    file: Any = None

    def __del__(self) -> None:
        if self.file is not None:
            self.file.close()


def record_bytes(config: ReplayConfig) -> int:
    """Bytes of one record."""
    return core.replay_record(config.obs_dim, config.act_dim)["bytes"]


def new_state(config: ReplayConfig) -> NDArray[np.int64]:
    """Counters of an empty buffer."""
    return np.zeros((3, config.blocks), dtype=np.int64)


def memory_storage(config: ReplayConfig) -> Storage:
    """Zeroed memory that the system hands out page by page."""
    shape = (config.blocks, config.capacity, record_bytes(config))
    try:
        records = np.zeros(shape, dtype=np.uint8)
    except (MemoryError, ValueError):
        raise InvalidArgument(
            f"ReplayBuffer: capacity: {config.blocks} x {config.capacity} rows of {shape[2]} bytes are more than this machine "
            "can address: pass a smaller capacity, or path= to keep them in a file"
        ) from None
    # Random rows of a large buffer otherwise miss the table of pages as often as the caches: 1,024 rows of 288 bytes out of
    # 288 MB took 135 us, with 2 MiB pages 65 (AMD EPYC Zen 3, one core, medians of 3,000 draws, several rounds).
    core.advise_huge_pages(records.ctypes.data, records.nbytes)
    return Storage(records, new_state(config))


def mapped_storage(config: ReplayConfig, path: str | PathLike[str]) -> Storage:
    """A new file of records in a new or empty directory, its space taken at once: a full disk under a mapping kills."""
    directory = Path(path)
    if config.blocks > 1:
        raise InvalidArgument(
            f"ReplayBuffer: path: a mapped buffer holds one block, got {config.blocks} seeds: use shared=True, or one a seed"
        )
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise InvalidArgument(
            f"ReplayBuffer: path: expected a new or empty directory, got {str(directory)!r}: ReplayBuffer.restore goes on with "
            "a saved buffer"
        )
    directory.mkdir(parents=True, exist_ok=True)
    bytes_ = config.capacity * record_bytes(config)
    with open(directory / RECORDS, "xb") as new:
        try:
            os.posix_fallocate(new.fileno(), 0, bytes_)
        except OSError as error:
            (directory / RECORDS).unlink()
            error.filename = os.fspath(directory / RECORDS)
            raise
    return map_records(config, directory, RECORDS)


def map_records(config: ReplayConfig, directory: Path, name: str) -> Storage:
    """Maps an existing file of records, under a lock: two processes would overwrite each other's rows."""
    file = open(directory / name, "r+b")  # noqa: SIM115 - stays open with the buffer, for its lock
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shape = (config.blocks, config.capacity, record_bytes(config))
        records = np.memmap(file, dtype=np.uint8, mode="r+", shape=shape)
    except BlockingIOError:
        file.close()
        raise BlockingIOError(f"{directory / name}: another buffer has these records mapped") from None
    except BaseException:
        file.close()
        raise
    return Storage(records, new_state(config), directory, file)
