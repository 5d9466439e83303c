"""A permutation as a function of (seed, epoch, index): nothing to store, nothing to replay after a resume."""

from __future__ import annotations

_MASK = (1 << 64) - 1


def _mix(value: int) -> int:
    """The 64-bit finalizer of splitmix64 (Steele, Lea and Flood 2014): every input bit reaches every output bit."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def shuffled(index: int, length: int, seed: int, epoch: int) -> int:
    """Where a permutation of range(length), one of its own for each seed and epoch, sends an index.

    A Feistel network over the next even power of two permutes without a table; a result outside the range is sent
    through again until it falls inside (cycle walking: at most four rounds on average, since the domain is at most
    four times the range). Its order depends on nothing but the arguments, so it is the same on every machine and in
    every version of every library.

    Args:
        index: 0 <= index < length.
        length: Number of samples, at least 1.
        seed: Any int.
        epoch: Number of the pass, from 0.
    """
    half = max(1, ((length - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    key = _mix((seed & _MASK) ^ _mix(epoch))
    while True:
        left, right = index >> half, index & mask
        for turn in range(6):
            left, right = right, left ^ (_mix(key ^ (right << 8 | turn)) & mask)
        index = left << half | right
        if index < length:
            return index
