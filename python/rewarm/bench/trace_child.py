"""``python -m rewarm.bench.trace_child SUITE CASE THREADS FOLDER [RESULT]``: one case of the trace benchmarks in this process.

Prints one line of JSON: wall seconds around the call, imports excluded, and peak memory over what the imports took. With
RESULT the outcome is also written there, in the form in which all cases must agree. The parent confines this process to as many
processors as the case is told threads, because telling alone does not bind every library.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path

from rewarm.bench import trace_peers  # noqa: F401 - registers its cases
from rewarm.bench.trace_cases import CASES


def peak_bytes() -> int:
    """The most memory that this program has held. ru_maxrss would start from what the parent held at the fork."""
    with contextlib.suppress(OSError), open("/proc/self/status", encoding="ascii") as lines:
        for line in lines:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(arguments: list[str]) -> int:
    """Runs one case."""
    workload, name, threads, folder, *result = arguments
    run, comparable = CASES[workload, name](Path(folder), int(threads))
    imported = peak_bytes()
    begin = time.perf_counter()
    outcome = run()
    wall = time.perf_counter() - begin
    peak = peak_bytes()
    if result:
        Path(result[0]).write_text(json.dumps(comparable(outcome)), encoding="utf-8")
    print(json.dumps({"wall": wall, "peak_over_import": peak - imported}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
