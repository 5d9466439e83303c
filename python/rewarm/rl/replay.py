"""ReplayBuffer: transitions as contiguous records in C++, drawn by seed and offset, with Monte-Carlo returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from rewarm._native import core
from rewarm.errors import InvalidArgument
from rewarm.rl.replay_arguments import (
    ReplayConfig,
    as_array,
    checked_config,
    checked_count,
    checked_number,
    checked_offset,
    checked_order,
    checked_rows,
    shown,
)
from rewarm.rl.replay_device import DeviceRing
from rewarm.rl.rows import Rows

if TYPE_CHECKING:
    from rewarm.rl.replay_storage import Storage


@dataclass
class DrawnRows(Rows):
    """`Rows` of a ReplayBuffer: n of each seed.

    Attributes:
        truncated: bool ``[S, n]``, for whoever looks; no target reads it.
    """

    truncated: Tensor | None = None


def _addresses(rows: DrawnRows) -> tuple[int, ...]:
    """As the C++ core takes them, 0 for returns that are missing."""
    fields = (rows.obs, rows.action, rows.reward, rows.next_obs, rows.terminated, rows.mc_return, rows.truncated)
    return tuple(0 if field is None else field.data_ptr() for field in fields)


class ReplayBuffer:
    """A ring of the last `capacity` transitions of each seed, from which rows are drawn uniformly with replacement.

    Each row is one record (obs, action, reward, next_obs, mc_return as float32, terminated, truncated as bytes, padded to 16
    bytes), so that a random row costs one run of cache lines (times: docs/replay.md, by
    ``pytest bench/bench_replay.py``). Element i of a draw is row ``(word_i * size) >> 32`` of the ring,
    with the words of Philox4x32-10 at (seed, offset, stream 0): the same rows for the same seed, offset and contents, alone or
    in a stack, on every device; its bias is below size / 2**32.

    With ``mc_returns=True`` every row carries the discounted sum of its episode's rewards from there on, ``G_t = r_t + gamma
    G_{t+1}``, summed in float64 and rounded once. A row can then be drawn only after its episode ended, by either flag;
    until then it waits outside the ring. What would have come after a truncation is not estimated: the sum ends there. With
    `sparse_negative_reward`, an episode all of whose rewards (as added) equal it gets ``r / (1 - gamma)`` at every step, the
    value of failing for ever (Cal-QL, arXiv 2303.05479, and WSRL, arXiv 2412.07762, in their authors' code, for AntMaze and
    Adroit). It is given as it is added: 0 for AntMaze, whose 0 becomes -5 by ``set_rewards(10, -5)``.

    Threads may add and draw at the same time; the GIL is released meanwhile. `save` wants a buffer that nobody adds to.

    Args:
        capacity: Rows of each seed, 1 to 2**32; the oldest give way. Memory is taken as rows come.
        obs_dim: Width of an observation, at least 1.
        act_dim: Width of an action, at least 1.
        seeds: One generator key a seed, ints in [0, 2**63).
        shared: One block of rows that all seeds read (each draws its own), instead of one block a seed.
        mc_returns: Keep Monte-Carlo returns.
        gamma: Their discount in [0, 1]; needed with, and refused without, mc_returns. Below 1 with `sparse_negative_reward`.
        sparse_negative_reward: The reward of a step without success in a sparse task, as it is added; None for other tasks.
        device: Where rows are drawn. On a GPU the records lie there a second time (at most 2**31 rows a block); drawing copies
            nothing from the host and can be captured in a CUDA graph.
        path: A new or empty directory for a buffer larger than memory: the records are a file there (all of its space is taken
            at once: a full disk is an error here and not later), mapped into memory. One block only; `save` completes it.

    Raises:
        InvalidArgument: For any argument outside what is said above.
    """

    def __init__(
        self,
        capacity: int,
        obs_dim: int,
        act_dim: int,
        *,
        seeds: Sequence[int] = (0,),
        shared: bool = False,
        mc_returns: bool = False,
        gamma: float | None = None,
        sparse_negative_reward: float | None = None,
        device: str | torch.device = "cpu",
        path: str | PathLike[str] | None = None,
    ) -> None:
        from rewarm.rl.replay_storage import mapped_storage, memory_storage

        config = checked_config(capacity, obs_dim, act_dim, seeds, shared, mc_returns, gamma, sparse_negative_reward)
        target = torch.device(device)
        if path is None:
            self._begin(config, memory_storage(config), target)
        elif target.type != "cpu":
            raise InvalidArgument(f"ReplayBuffer: path: a mapped buffer draws on the CPU, got device {str(target)!r}")
        else:
            self._begin(config, mapped_storage(config, path), target)

    def _begin(self, config: ReplayConfig, storage: Storage, device: torch.device) -> None:
        self.config, self.device, self._storage = config, device, storage
        self._scale, self._bias = 1.0, 0.0
        #: The C++ side, as rewarm.rl's fused update takes it.
        self.native = core.Replay(
            config.capacity,
            config.obs_dim,
            config.act_dim,
            list(config.seeds),
            config.shared,
            config.mc_returns,
            0.0 if config.gamma is None else config.gamma,
            config.sparse_negative_reward,
            storage.records.ctypes.data,
            storage.state.ctypes.data,
            storage,
        )
        self._ring = None if device.type == "cpu" else DeviceRing(config, storage, device)
        self._state = torch.from_numpy(storage.state) if self._ring is None else self._ring.state

    # ---- what it is ----------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """Rows that every seed can draw: the fewest of any seed."""
        return int(self.native.smallest_size())

    @property
    def capacity(self) -> int:
        """Most rows of a seed."""
        return self.config.capacity

    @property
    def seeds(self) -> tuple[int, ...]:
        """The generator's keys."""
        return self.config.seeds

    @property
    def size(self) -> Tensor:
        """Drawable rows, int64 ``[blocks]`` on the device: always the same tensor's memory, updated in place."""
        return self._state[1]

    @property
    def cursor(self) -> Tensor:
        """The place of the ring that is written next, int64 ``[blocks]`` on the device, updated in place."""
        return self._state[0]

    @property
    def pending(self) -> int:
        """Rows, over all blocks, of episodes that have not ended; 0 without mc_returns."""
        return sum(rows for _, _, rows in self.native.pending())

    @property
    def rewards(self) -> tuple[float, float]:
        """(scale, bias) of `set_rewards`."""
        return self._scale, self._bias

    def __repr__(self) -> str:
        c = self.config
        rows = ", ".join(map(str, self._storage.state[1].tolist()))
        returns = f", mc_returns with gamma {c.gamma:g}" if c.gamma is not None else ""
        return (
            f"ReplayBuffer({rows} of {c.capacity} rows, obs_dim {c.obs_dim}, act_dim {c.act_dim}, {len(c.seeds)} seeds"
            f"{' sharing one block' if c.shared else ''}{returns}, {self.device})"
        )

    # ---- rows in and out -----------------------------------------------------------------------------------------------

    def add(
        self,
        obs: Any,
        action: Any,
        reward: Any,
        next_obs: Any,
        terminated: Any,
        truncated: Any,
        valid: Any = None,
        *,
        order: str | None = None,
    ) -> None:
        """Appends rows ``[S, ...]`` or ``[S, N, ...]``, in the order of N; all of them or, after an error, none.

        With one block (one seed, or shared) the first axis may be left out: ``[...]`` or ``[N, ...]``. Arrays, tensors, lists;
        numbers are stored as float32.

        Vector environments of Gymnasium 1.0 and later reset in the step *after* an episode's end: its row leads from the
        old episode's last observation to the new one's first, ignored the action, and has to be left out by ``valid=False``
        (`rewarm.rl.replay_steps.VectorSteps` makes these arguments from an environment's outputs). What such a row holds is not
        looked at.

        Args:
            obs: ``[..., obs_dim]``, finite.
            action: ``[..., act_dim]``, finite.
            reward: ``[...]``, finite; scaled and shifted, at most 1e28 in size.
            next_obs: ``[..., obs_dim]``, finite; the true final observation, not that of a reset.
            terminated: bool ``[...]``: the task ended, nothing comes after.
            truncated: bool ``[...]``: cut off, by a time limit for instance.
            valid: bool ``[...]``, False for a row to leave out; None for none.
            order: What the N rows of a block are, which matters to returns: ``"steps"``, one after the other in time, or
                ``"environments"``, one step of N environments, each with an episode of its own (row n is environment n).
                None stands for "steps" where the rows come as ``[S, N, ...]``; as ``[N, ...]`` with mc_returns, say it.

        Raises:
            InvalidArgument: A shape, a dtype (bool is asked for by name), a value that is not finite, or, with mc_returns, an
                episode longer than the capacity. The buffer is as before.
        """
        rows = checked_rows(self.config, obs, action, reward, next_obs, terminated, truncated, valid)
        environments = checked_order(self.config, order, rows)
        self.native.add(
            rows.obs.ctypes.data,
            rows.action.ctypes.data,
            rows.reward.ctypes.data,
            rows.next_obs.ctypes.data,
            rows.terminated.ctypes.data,
            rows.truncated.ctypes.data,
            0 if rows.valid is None else rows.valid.ctypes.data,
            rows.n,
            environments,
        )
        if self._ring is not None:
            self._ring.catch_up()

    def sample(self, n: int, *, offset: int | Tensor, first: int = 0) -> DrawnRows:
        """Draws n rows for every seed: elements ``first .. first + n - 1`` of the draw at `offset`.

        Args:
            n: At least 1, at most `len`: a batch larger than the data would be mostly repetitions.
            offset: Critic minibatches done, in [0, 2**56): an int, or int64 ``[]`` or ``[S]``. Equal offsets draw equal rows.
            first: Where the draw begins; two draws at one offset that do not overlap are independent (a half from each of two
                buffers, for instance).

        Raises:
            InvalidArgument: An empty buffer, n or offset outside their ranges.
        """
        n = self.check_sample(n)
        first = checked_count("ReplayBuffer.sample: first", first, 0, 2**62)
        offsets = checked_offset(self.config, offset, self.device)
        if self._ring is not None:
            return DrawnRows(*self._ring.sample(n, offsets, first))
        rows = self._new_rows(n)
        self.native.sample(offsets.data_ptr(), first, n, *_addresses(rows))
        return rows

    def check_sample(self, n: int) -> int:
        """Refuses a number of rows that `sample` cannot draw now, with its errors."""
        size = len(self)
        if size == 0:
            waiting = f"; {self.pending} rows wait for their episodes to end" if self.config.mc_returns else ""
            raise InvalidArgument(f"ReplayBuffer.sample: the buffer holds no drawable row of some seed{waiting}")
        n = checked_count("ReplayBuffer.sample: n", n, 1)
        if n > size:
            raise InvalidArgument(
                f"ReplayBuffer.sample: n: expected at most {size}, the drawable rows of the least filled seed, got {n}"
            )
        return n

    def gather(self, index: Any) -> DrawnRows:
        """The rows at given places of the ring.

        Args:
            index: Integers ``[S, n]``, or ``[n]`` for the same places of every seed, in 0 .. size - 1. Until the ring is full
                place i holds the i-th row added; afterwards the oldest row is at `cursor`.

        Raises:
            InvalidArgument: Another shape or dtype, or a place that holds no row.
        """
        seeds = len(self.config.seeds)
        array = as_array("ReplayBuffer.gather: index", index)
        if array.dtype.kind not in "iu" or array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[0] != seeds):
            raise InvalidArgument(
                f"ReplayBuffer.gather: index: expected integers of shape [{seeds}, n] or [n], got {array.dtype} of "
                f"{shown(array.shape)}"
            )
        places = np.ascontiguousarray(np.broadcast_to(array, (seeds, array.shape[-1])), dtype=np.int64)
        rows = self._new_rows(places.shape[1])
        self.native.gather(places.ctypes.data, places.shape[1], *_addresses(rows))
        if self._ring is None:
            return rows
        return DrawnRows(*self._ring.gather(torch.from_numpy(places).to(self.device)))

    def _new_rows(self, n: int) -> DrawnRows:
        c, lead = self.config, (len(self.config.seeds), n)
        return DrawnRows(
            torch.empty(*lead, c.obs_dim),
            torch.empty(*lead, c.act_dim),
            torch.empty(lead),
            torch.empty(*lead, c.obs_dim),
            torch.empty(lead, dtype=torch.bool),
            torch.empty(lead) if c.mc_returns else None,
            torch.empty(lead, dtype=torch.bool),
        )

    def set_rewards(self, scale: float = 1.0, bias: float = 0.0) -> None:
        """From now on every reward leaves as ``scale * r + bias`` (in float64, rounded once), those stored already too.

        Replaces the scale and bias before; rewards are stored as they were added, so nothing accumulates. Returns are made anew
        from the rewards as they leave, in one pass over the buffer that Ctrl-C does not cut in two.

        Raises:
            InvalidArgument: Not finite, or some stored reward would become larger than 1e28 in size. Nothing has changed then.
        """
        new = checked_number("ReplayBuffer.set_rewards: scale", scale), checked_number("ReplayBuffer.set_rewards: bias", bias)
        self.native.set_rewards(*new)
        self._scale, self._bias = new
        if self._ring is not None:
            self._ring.set_rewards(*new)

    # ---- files and data sets -------------------------------------------------------------------------------------------

    def save(self, path: str | PathLike[str] | None = None) -> None:
        """Writes ``header.json`` and the records in use to a directory; the next `restore` continues bit for bit.

        The header names the file of records and is replaced last, so an interrupted save leaves the one before. Pending
        episodes are saved too. A mapped buffer is saved in place with ``path=None``; rows that it takes afterwards are lost to
        a restore, and once they overwrite saved ones, the checksum refuses the directory until it is saved again.

        Args:
            path: A directory that is new, empty, or holds a saved buffer; None for a mapped buffer's own.

        Raises:
            InvalidArgument: The directory holds something else, or None for a buffer in memory.
            OSError: The file system refuses.
        """
        from rewarm.rl.replay_file import save

        save(self, path)

    @classmethod
    def restore(
        cls, path: str | PathLike[str], *, device: str | torch.device = "cpu", mapped: bool | None = None
    ) -> ReplayBuffer:
        """The buffer that `save` wrote.

        Args:
            path: Its directory.
            device: As for a new buffer.
            mapped: True to go on in the files, False to read them into memory; None for as it was saved.

        Raises:
            StateDictMismatch: A header or records that are damaged, cut short or of another format; says which.
            InvalidArgument: ``mapped=True`` for a buffer saved from memory, or with a GPU.
            OSError: The files cannot be opened, or another process has them mapped.
        """
        from rewarm.rl.replay_file import restore

        return restore(cls, path, device=device, mapped=mapped)

    @classmethod
    def from_arrays(
        cls,
        obs: Any,
        action: Any,
        reward: Any,
        next_obs: Any | None,
        terminated: Any,
        truncated: Any,
        *,
        capacity: int | None = None,
        clip_action: float | None = None,
        **buffer: Any,
    ) -> ReplayBuffer:
        """A buffer with rows ``[N, ...]`` (one block) or ``[S, N, ...]``, consecutive in time.

        The data end with their last row: where it is neither terminated nor truncated it counts as truncated. ``next_obs=None``
        takes the following row's observation, for terminated rows their own (a target never reads it); a row that is cut off
        without having terminated has no following one and is dropped, as D4RL's ``qlearning_dataset`` does, and the row before
        it ends the episode: its reward is in no return.

        Args:
            obs: As for `add`, as are the other five.
            action: .
            reward: .
            next_obs: .
            terminated: .
            truncated: .
            capacity: Rows; None for as many as come.
            clip_action: Limits actions to this size (0.99999 keeps them where a tanh policy has a density); None leaves them.
            **buffer: Further arguments of ReplayBuffer.
        """
        from rewarm.rl.replay_load import from_arrays

        return from_arrays(
            cls, obs, action, reward, next_obs, terminated, truncated, capacity=capacity, clip_action=clip_action, **buffer
        )

    @classmethod
    def from_minari(
        cls,
        dataset: Any,
        *,
        obs_keys: Sequence[str] | None = None,
        capacity: int | None = None,
        clip_action: float | None = None,
        **buffer: Any,
    ) -> ReplayBuffer:
        """A buffer with the episodes of a Minari data set: the set itself, or any episodes with Minari's attributes.

        An episode has ``observations [T + 1, obs_dim]``, ``actions [T, act_dim]``, ``rewards``, ``terminations`` and
        ``truncations [T]``. One that ends with neither counts as truncated. All seeds read one block (``shared=True``).

        Args:
            dataset: A ``minari.MinariDataset``, or an iterable of episodes (kept in memory until the buffer is filled).
            obs_keys: Entries of dict observations, joined in this order; needed where observations are dicts.
            capacity: Rows; None for as many as come.
            clip_action: As for `from_arrays`.
            **buffer: Further arguments of ReplayBuffer.
        """
        from rewarm.rl.replay_load import from_minari

        return from_minari(cls, dataset, obs_keys=obs_keys, capacity=capacity, clip_action=clip_action, **buffer)

    @classmethod
    def from_hdf5(
        cls,
        path: str | PathLike[str],
        *,
        capacity: int | None = None,
        clip_action: float | None = None,
        **buffer: Any,
    ) -> ReplayBuffer:
        """A buffer with an HDF5 file in D4RL's layout, read in pieces. Needs h5py.

        Data sets ``observations [T, obs_dim]``, ``actions [T, act_dim]``, ``rewards``, ``terminals`` and ``timeouts [T]``, and
        where present ``next_observations``; without it the rules of `from_arrays` for ``next_obs=None`` hold. Flags may be bool
        or integers 0 and 1. All seeds read one block (``shared=True``).

        Args:
            path: The file.
            capacity: Rows; None for as many as the file has.
            clip_action: As for `from_arrays`.
            **buffer: Further arguments of ReplayBuffer.
        """
        from rewarm.rl.replay_load import from_hdf5

        return from_hdf5(cls, path, capacity=capacity, clip_action=clip_action, **buffer)
