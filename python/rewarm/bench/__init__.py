"""Workloads, peers and floors: one file a workload family, driven by ``rewarm bench`` and by ``pytest bench/``.

This file, ``table`` and everything of the trace load no torch.
"""

#: The module of every family that steps tensors, by the name that ``rewarm bench --only`` takes.
TENSOR_FAMILIES = {"adamw": "rewarm.bench.adamw"}
#: All names that it takes.
FAMILIES = (*TENSOR_FAMILIES, "trace")
