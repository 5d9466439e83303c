"""The header of a benchmark: on what, with what and under which load its numbers were measured."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewarm import __version__, _build_info, _native
from rewarm.env import isa, overrides, processor_name, tidy, usable_cpus, version_of

if TYPE_CHECKING:
    import torch

_SYSTEM_CPUS = Path("/sys/devices/system/cpu")


def commit() -> str | None:
    """The commit of the source tree that this package runs from, "-dirty" when files differ; None outside of one."""
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "../__init__.py")  # another project's repository may surround a site-packages
        head = git("rev-parse", "--short=10", "HEAD")
        return head + ("-dirty" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def cache_bytes(device: torch.device | None) -> int:
    """Size of the last-level cache; 0 when unknown."""
    if device is not None and device.type == "cuda":
        import torch

        return int(getattr(torch.cuda.get_device_properties(device), "L2_cache_size", 0))
    sizes = [0]
    for index in _SYSTEM_CPUS.glob("cpu0/cache/index*"):
        try:
            found = re.fullmatch(r"(\d+)([KMG]?)", (index / "size").read_text().strip())
        except OSError:
            continue
        if found:
            sizes.append(int(found.group(1)) << {"": 0, "K": 10, "M": 20, "G": 30}[found.group(2)])
    return max(sizes)


def pin(threads: int) -> list[int] | None:
    """Binds the process to as many processors as it has threads, on separate cores while there are enough.

    Call before the first parallel work: threads that exist keep their own binding.

    Returns:
        The processors, or None where the system cannot bind.
    """
    chosen = choose_cpus(threads)
    if chosen is not None:
        os.sched_setaffinity(0, chosen)
    return chosen


def choose_cpus(count: int) -> list[int] | None:
    """So many of the processors that this process may use, on separate cores while there are enough; None as in `pin`."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    first_siblings: list[int] = []
    others: list[int] = []
    seen: set[str] = set()
    for cpu in usable_cpus():
        try:
            siblings = (_SYSTEM_CPUS / f"cpu{cpu}/topology/thread_siblings_list").read_text().strip()
        except OSError:
            siblings = str(cpu)
        (others if siblings in seen else first_siblings).append(cpu)
        seen.add(siblings)
    return sorted((first_siblings + others)[:count])


def load_average() -> float | None:
    """Processes that wanted to run in the last minute, on average."""
    try:
        return os.getloadavg()[0]
    except OSError:
        return None


def gpu(device: torch.device | None) -> dict[str, Any] | None:
    """The GPU that is measured."""
    if device is None or device.type != "cuda":
        return None
    import torch

    seen = torch.cuda.get_device_properties(device)
    cuda = _native.cuda()
    return {
        "name": seen.name,
        "capability": f"{seen.major}.{seen.minor}",
        "memory_bytes": seen.total_memory,
        "multiprocessors": seen.multi_processor_count,
        "driver": cuda.driver_version() if cuda is not None else None,
        "torch_cuda": torch.version.cuda,
    }


def header(device: torch.device | None, command: list[str]) -> dict[str, Any]:
    """What a reader needs in order to judge or repeat the numbers; no user names, no paths of a home directory.

    Args:
        device: Where the steps run; None for what needs no torch.
        command: The command line as the reader would type it.
    """
    packages = ("torch", "numpy", "triton", "torch-optimi", "pandas", "polars", "duckdb", "pyarrow", "isal")
    found = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "command": command,
        "versions": {"rewarm": __version__, "python": platform.python_version()} | {p: version_of(p) for p in packages},
        "platform": platform.platform(),
        "hardware": {
            "processor": processor_name(),
            "cpus": os.cpu_count(),
            "usable_cpus": len(usable_cpus()),
            "cache_bytes": cache_bytes(device),
            "gpu": gpu(device),
        },
        "isa": isa(),
        "compiler": _build_info.CXX_COMPILER,
        "cuda_architectures": _build_info.CUDA_ARCHITECTURES,
        "overrides": overrides(),
        "device": device.type if device is not None else "cpu",
        "load_average": load_average(),
        "caches": "warm results: a timed run follows an untimed one of the same variant; others follow the other variants",
    }
    return tidy(found)  # type: ignore[no-any-return]
