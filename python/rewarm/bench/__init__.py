"""Workloads, peers and floors: one file a workload family, driven by ``rewarm bench`` and by ``pytest bench/``.

This file and ``table`` load no torch.
"""

#: The module of every family, by the name that ``rewarm bench --only`` takes.
FAMILIES = {"adamw": "rewarm.bench.adamw"}
