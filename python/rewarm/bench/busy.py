"""Contention on purpose: processes that keep one processor each busy, started and ended by this program."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

# Ends on its own when its parent is gone, so that a killed benchmark leaves nothing behind.
_LOOP = """
import os, sys
cpu, parent = int(sys.argv[1]), int(sys.argv[2])
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, [cpu])
while os.getppid() == parent:
    for _ in range(100_000):
        pass
"""


@contextmanager
def busy_loops(cpus: Sequence[int]) -> Iterator[list[int]]:
    """Keeps every processor of `cpus` busy with one loop while the block runs; yields their process ids."""
    loops: list[subprocess.Popen[bytes]] = []
    try:
        for cpu in cpus:
            loops.append(subprocess.Popen([sys.executable, "-I", "-S", "-c", _LOOP, str(cpu), str(os.getpid())]))
        time.sleep(0.3)  # interpreters start, and the scheduler settles
        yield [loop.pid for loop in loops]
    finally:
        for loop in loops:
            loop.kill()
        for loop in loops:
            loop.wait()
