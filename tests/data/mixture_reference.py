"""The blend without a thought for speed: every rank counts in fractions, every sample is dealt out in turn."""

from fractions import Fraction
from math import floor


def dealt(stages: list[tuple[int, Fraction]], steps: int, world_size: int) -> list[list[tuple[bool, int]]]:
    """[step][rank] = (is it old, how many of that dataset were dealt out before it); stages are (first step, share)."""
    table, counts = [], [0, 0]
    for step in range(steps):
        begin, share = next((begin, share) for begin, share in reversed(stages) if begin <= step)
        row = []
        for rank in range(world_size):
            phase = Fraction(rank, world_size)
            is_old = floor((step + 1 - begin) * share + phase) > floor((step - begin) * share + phase)
            row.append((is_old, counts[is_old]))
            counts[is_old] += 1
        table.append(row)
    return table
