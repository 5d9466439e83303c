"""How much there is: rows, functions, users, pools, pods, requests (Fig. 1 and the counts of the authors' notebooks)."""

from __future__ import annotations

import numpy as np

from rewarm.trace.load import ColdStarts, Functions, Minutes, all_days
from rewarm.trace.measured import Measured


def cold_start_sizes(cold: ColdStarts, out: Measured) -> None:
    """Rows, pods and the runtime join of a region's cold starts."""
    region, complete = cold.region, all_days(cold.days)
    missing = sorted(set(range(31)) - cold.days)
    note = f"days without a cold start: {', '.join(map(str, missing))}" if missing else ""
    out.add("sizes", "cold starts", "count", region, len(cold.time), complete=complete, note=note)
    pods = cold.pod[cold.pod >= 0]
    out.add("sizes", "pods", "count", region, len(np.unique(pods)), complete=complete, note=note)
    if cold.dropped:
        out.remark(
            "sizes", f"{region}: {cold.dropped:,} cold starts without a time, function or pool are left out of everything."
        )
    if cold.functions.joined.any():
        unmatched = int(np.count_nonzero(~cold.functions.joined[cold.function]))
        out.add("sizes", "cold starts without a runtime row", "count", region, unmatched, complete=complete, note=note)


def function_sizes(region: str, functions: Functions, source: str, complete: bool, out: Measured) -> None:
    """Distinct functions, names, users and pools; `source` says which table listed them."""
    note = f"from {source}"
    pairs = [name.split("---", 2) for name in functions.funcID]
    counts = {
        "functions": len(functions.funcID),
        "distinct funcName": len({pair[0] for pair in pairs}),
        "distinct userID": len({pair[1] for pair in pairs if len(pair) == 3}),
        "distinct poolName": len({pair[2] for pair in pairs if len(pair) == 3}),
    }
    for quantity, count in counts.items():
        out.add("sizes", quantity, "count", region, count, complete=complete, note=note)


def request_sizes(region: str, requests: Minutes, out: Measured) -> float:
    """All requests of the minute table."""
    total = float(requests.value.sum())
    out.add(
        "sizes", "requests", "count", region, total, complete=all_days(requests.days), note="from the minute table requests"
    )
    return total
