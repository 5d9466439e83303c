"""Sizes of one ensemble call, the tiles they are worked in, and the constants that the kernels are compiled with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import triton

from rewarm.errors import InvalidArgument
from rewarm.q.gemm_triton import PRECISIONS
from rewarm.q.launch_triton import INTERPRETED

#: Widest hidden layer: a tile is as wide as the layer, and 16 rows is the least that tensor cores multiply.
MAX_WIDTH = 1024
#: From this many rows on, a tile has twice as many: the weights are read half as often, and there are tiles enough.
MANY_ROWS = 1024
#: Rows, columns and summed rows of a program of `weight_gradients_kernel`, and tiles that it sums at once.
WEIGHT_BLOCKS = {"BLOCK_I": 64, "BLOCK_O": 64, "BLOCK_R": 32, "BLOCK_T": 16}
#: With recompute=True, backward works in chunks of rows of about so many activations (32 MB of them and as much of their
#: gradients), which stay in the second-level cache of the larger GPUs.
CHUNK_ACTIVATIONS = 1 << 23


@dataclass(frozen=True)
class EnsembleShape:
    """What is constant in a call of `ensemble_mlp` or `ensemble_min`."""

    seeds: int
    drawn: int
    critics: int
    rows: int
    repeats: int
    observation: int
    action: int
    widths: tuple[int, ...]
    norms: tuple[bool, ...]
    outputs: int
    eps: float
    precision: str
    indexed: bool

    def __post_init__(self) -> None:
        for i, width in enumerate(self.widths):
            if width > MAX_WIDTH:
                raise InvalidArgument(
                    f"ensemble: layers[{i}]: backend 'triton' knows hidden layers of up to {MAX_WIDTH} units, got {width}"
                )

    @property
    def padded(self) -> tuple[int, ...]:
        """Widths as the tiles have them."""
        return tuple(_padded(width) for width in self.widths)

    @property
    def block_r(self) -> int:
        """Rows of a tile. Independent of seeds and critics, so that their results do not depend on how many there are."""
        widest = max(self.padded)
        few = 32 if widest <= 256 else 16
        return 2 * few if self.rows >= MANY_ROWS and widest <= 512 else few

    @property
    def block_k(self) -> int:
        """Summed columns that a product takes at once: what fits into 99 KB of shared memory, the least since sm_80."""
        few = self.precision == "fp32" or max(self.padded) > 256 or self.block_r > 32
        return 16 if few else 32

    @property
    def row_options(self) -> dict[str, Any]:
        """Warps and stages of the kernels that walk over rows.

        Compiled for sm_90, 8 warps spill nothing of a tile of 8192 sums in two layers, where 4 did; in four layers, and of the
        16384 sums of many rows, backward spills 100 to 500 bytes a thread (`python -m rewarm.q.ahead_of_time --all`).
        """
        tile = self.block_r * max(self.padded)
        return {
            "num_warps": 8 if tile > 4096 else 4,
            "num_stages": 2 if max(self.padded) > 512 else 3,
            "enable_fp_fusion": True,
        }

    @property
    def weight_options(self) -> dict[str, Any]:
        """Warps of `weight_gradients_kernel`."""
        return {"num_warps": 8, "num_stages": 3, "enable_fp_fusion": True}

    @property
    def sum_offsets(self) -> tuple[int, ...]:
        """Where the sums that a tile leaves begin: of every layer dz, g n and g, of the head; and how many there are.

        The head leaves the gradient of a vector and of its bias, of a matrix that of the biases alone.
        """
        offsets = [0]
        for width in self.widths:
            offsets.append(offsets[-1] + 3 * width)
        offsets.append(offsets[-1] + (self.outputs or self.widths[-1] + 1))
        return tuple(offsets)

    @property
    def chunk_rows(self) -> int:
        """Rows of a chunk of backward with recompute=True: whole tiles."""
        per_row = max(self.seeds * self.drawn * sum(self.widths), 1)
        tiles = max(CHUNK_ACTIVATIONS // per_row // self.block_r, 1)
        return max(min(tiles * self.block_r, self.rows), 1)

    def tiles(self, rows: int) -> int:
        """Tiles of `rows` rows."""
        return -(-rows // self.block_r)

    def _shared(self, grouped: bool) -> dict[str, Any]:
        return {
            "D": self.observation,
            "A": self.action,
            "WIDTHS": self.widths,
            "PADDED": self.padded,
            "NORMS": self.norms,
            "OUTPUTS": self.outputs,
            "PADDED_OUTPUTS": _padded(max(self.outputs, 1)),
            "INDEXED": self.indexed,
            "GROUPED": grouped,
            "BLOCK_R": self.block_r,
            "BLOCK_K": self.block_k,
            "PRECISION": PRECISIONS[self.precision],
            "EMULATE": INTERPRETED,
        }

    def forward_constants(self, *, keep: bool, with_q: bool = True, grouped: bool = False) -> dict[str, Any]:
        """Constants of `forward_kernel`."""
        strides = self.widths if keep else (max(self.widths),) * len(self.widths)
        return self._shared(grouped) | {"STRIDES": strides, "EPS": self.eps, "KEEP": keep, "WITH_Q": with_q}

    def backward_constants(
        self, *, weights: bool, x: bool, actions: bool, grouped: bool = False, x_by_critic: bool = False
    ) -> dict[str, Any]:
        """Constants of `backward_kernel`."""
        columns = (self.observation if x else 0) + (self.action if actions else 0)
        return self._shared(grouped) | {
            "OFFSETS": self.sum_offsets[:-1],
            "SUMS": self.sum_offsets[-1],
            "NEED_WEIGHTS": weights,
            "NEED_X": x,
            "NEED_ACTIONS": actions,
            "X_BY_CRITIC": x_by_critic,
            "BLOCK_C": min(_padded(columns), 64),
        }

    def weight_constants(self) -> dict[str, Any]:
        """Constants of `weight_gradients_kernel`."""
        constants = self._shared(grouped=False) | WEIGHT_BLOCKS
        for unused in ("PADDED", "GROUPED", "BLOCK_K"):
            del constants[unused]
        return constants | {
            "INPUTS": (self.observation + self.action, *self.widths),
            "INPUT_NORMS": (False, *self.norms),
            "OFFSETS": self.sum_offsets[:-1],
            "SUMS": self.sum_offsets[-1],
            "STARTS": self.weight_starts[:-1],
        }

    @property
    def weight_starts(self) -> tuple[int, ...]:
        """First program of every layer, of a head of several outputs, of the sums of tiles; and how many, for one critic."""
        block_i, block_o = WEIGHT_BLOCKS["BLOCK_I"], WEIGHT_BLOCKS["BLOCK_O"]
        starts, inputs = [0], self.observation + self.action
        for width in self.widths:
            starts.append(starts[-1] + triton.cdiv(inputs, block_i) * triton.cdiv(width, block_o))
            inputs = width
        starts.append(starts[-1] + (triton.cdiv(self.widths[-1], block_i) if self.outputs else 0))
        starts.append(starts[-1] + triton.cdiv(self.sum_offsets[-1], block_o))
        return tuple(starts)


def _padded(size: int) -> int:
    """The next power of two; 16 at least, the least that tensor cores multiply."""
    return max(16, 1 << (size - 1).bit_length())
