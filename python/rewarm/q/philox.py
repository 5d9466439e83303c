"""Random numbers by address: Philox4x32-10 of (seed, offset, stream, element), the same on every backend."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rewarm.q import philox_reference as reference
from rewarm.q.arguments import Sizes, check_integers, one_of, whole
from rewarm.q.backend import choose, device_of, function

__all__ = ["draw_subset", "philox"]

KINDS = ("uint32", "uniform", "normal")
_COUNT = 2**62


def checked_address(op: str, seed: Tensor, offset: Tensor, stream: int, seeds: int | str | None = "any") -> None:
    """Refuses seeds and offsets that are not int64 tensors of one shape, [] or [S], on one device.

    Args:
        op: Name of the op, for the message.
        seed: The key.
        offset: The counter's upper half.
        stream: 0 to 255.
        seeds: The size that S must have, None for "no seeds axis", "any" for either.
    """
    device = device_of(op, "seed", seed)
    check_integers(op, "seed", seed, device)
    check_integers(op, "offset", offset, device)
    sizes = Sizes(op)
    if isinstance(seeds, int):
        sizes.known["S"] = seeds
    accepted = ("", "S") if seeds == "any" else ("",) if seeds is None else ("S",)
    sizes.bind("offset", offset, sizes.bind("seed", seed, *accepted))
    whole(op, "stream", stream, low=0, high=255)


def philox(
    shape: Sequence[int],
    *,
    seed: Tensor,
    offset: Tensor,
    stream: int,
    kind: str = "uint32",
    backend: str | None = None,
) -> Tensor:
    """Draws `shape` numbers that depend on nothing but (seed, offset, stream, position): no generator state, no order of calls.

    Philox4x32-10 (Salmon et al. 2011) with key = (seed low, seed high) and counter = (block low, block high, offset low,
    stream | (offset >> 32) << 8); element i, counted row-major, is word i & 3 of block i >> 2. A seeds axis is not counted:
    each seed is a key of its own, so row s of a stack is the single draw of seed s.

    Args:
        shape: Sizes of one seed's draw.
        seed: int64, [] or [S]; all 64 bits count.
        offset: int64 in [0, 2^56), the shape of `seed`, same device; what must differ between two draws of one stream.
        stream: 0 to 255. This package uses 0 replay, 1 target action, 2 actor, 3 alpha, 4 target subset, 5 to 7 CQL uniform,
            pi(s) and pi(s'), 8 CQL subset, 9 act, 10 dropout.
        kind: "uint32" words w; "uniform" float32 (w >> 8) 2^-24 in [0, 1); "normal" float32 by Box and Muller from the pairs
            (w0, w1), (w2, w3) with u1 = ((w0 >> 8) + 1) 2^-24, cosine first.
        backend: "reference", "cpu", "triton", or None: cpu for CPU tensors, triton for GPU tensors.

    Returns:
        [*shape], or [S, *shape]. Words and uniforms have the same bits on every backend; a normal is within 9 2^-24 r of the
        exact one, r = sqrt(-2 ln u1) <= 5.8.

    Raises:
        InvalidArgument: A shape, kind or stream that is not accepted.
        UnsupportedTensor: `seed` or `offset` is not an int64 tensor, or they are on two devices.
        BackendUnavailable: The named backend cannot run here.
    """
    op = "philox"
    sizes = tuple(whole(op, "shape", size, low=1, high=_COUNT) for size in shape)
    checked_address(op, seed, offset, stream)
    one_of(op, "kind", kind, KINDS)
    if torch.compiler.is_compiling():
        return reference.philox(sizes, seed=seed, offset=offset, stream=stream, kind=kind)
    name = choose(op, seed.device, backend)
    drawn: Tensor = function("philox", name)(sizes, seed=seed, offset=offset, stream=stream, kind=kind)
    return drawn


def draw_subset(
    E: int,
    M: int,
    *,
    seed: Tensor,
    offset: Tensor,
    stream: int,
    replacement: bool,
    backend: str | None = None,
) -> Tensor:
    """Draws M of E critics for each seed, by the words of `philox`; the same bits on every backend.

    With replacement, entry i is (w_i E) >> 32 (REDQ's code, and WSRL's: two entries may name one critic). Without, entry i is
    place i of a Fisher-Yates shuffle in which place i is swapped with place i + ((w_i (E - i)) >> 32).

    Args:
        E: Number of critics.
        M: Number to draw, at most E without replacement.
        seed: int64, [] or [S].
        offset: int64, the shape of `seed`.
        stream: 0 to 255, see `philox`.
        replacement: Whether a critic may come twice.
        backend: As in `philox`.

    Returns:
        int64 [M] or [S, M], made for `index=` of `ensemble_mlp`.

    Raises:
        InvalidArgument: E < 1, M < 1, or M > E without replacement.
        UnsupportedTensor: As in `philox`.
        BackendUnavailable: The named backend cannot run here.
    """
    op = "draw_subset"
    whole(op, "E", E, low=1, high=2**31)
    whole(op, "M", M, low=1, high=2**31 if replacement else E)
    checked_address(op, seed, offset, stream)
    if torch.compiler.is_compiling():
        return reference.draw_subset(E, M, seed=seed, offset=offset, stream=stream, replacement=bool(replacement))
    name = choose(op, seed.device, backend)
    drawn: Tensor = function("philox", name, op)(E, M, seed=seed, offset=offset, stream=stream, replacement=bool(replacement))
    return drawn
