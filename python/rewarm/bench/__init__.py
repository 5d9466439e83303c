"""Workloads, peers and floors: one file a workload family, driven by ``rewarm bench`` and by ``pytest bench/``.

This file, ``table`` and everything of the trace load no torch.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """What the command line knows of a family before torch is loaded.

    Attributes:
        module: Whose ``workloads`` makes them.
        dtypes: Names that ``--dtypes`` may have for it.
        threads: Of a run that names none; None for torch's own number.
        sets: How the names of its sets begin; "" for those that begin like no other family's.
    """

    module: str
    dtypes: tuple[str, ...]
    threads: int | None = None
    sets: str = ""


#: Every family that steps tensors, by the name that ``rewarm bench --only`` takes.
TENSOR_FAMILIES = {
    "adamw": Family("rewarm.bench.adamw", ("fp32", "bf16", "bf16_sr")),
    "q": Family("rewarm.bench.q", ("fp32", "tf32"), threads=1, sets="q_"),
}
#: All names that it takes.
FAMILIES = (*TENSOR_FAMILIES, "trace")


def family_of_set(name: str) -> str:
    """The family of a set's name, whether or not there is such a set."""
    return next((family for family, known in TENSOR_FAMILIES.items() if known.sets and name.startswith(known.sets)), "adamw")
