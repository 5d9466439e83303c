"""``rewarm env``: what was built, what was found on this machine, and whether one step of every backend is right."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import itertools
import json
import os
import platform
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from rewarm import __version__, _build_info, _dispatch, _native
from rewarm.errors import RewarmError

PACKAGES = ("numpy", "torch", "triton", "click", "rich", "torch-optimi")
#: What is listed and checked, with the backends that it has: the optimizer, and the ops of rewarm.q together.
OPS = {"AdamW": _dispatch.BACKENDS, "rewarm.q": ("reference", "cpu", "triton")}
#: What reading, reports and Ray need beyond these: the extras trace and ray.
TRACE_PACKAGES = ("pyarrow", "isal", "zstandard", "scipy", "matplotlib", "jinja2", "ray")


def tidy(value: Any) -> Any:
    """`value` without home directories: a report is pasted into public issues."""
    if isinstance(value, dict):
        return {key: tidy(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [tidy(item) for item in value]
    if not isinstance(value, str):
        return value
    home = os.path.expanduser("~")
    if len(home) > 1:
        value = re.sub(re.escape(home) + r"(?=/|$|\W)", "~", value)
    return re.sub(r"/(?:home|Users)/[^/\s:;,]+", "~", value)


def version_of(package: str) -> str | None:
    """The installed version of a distribution, without importing it; None when it is missing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def processor_name() -> str:
    """What the processor calls itself."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^(?:model name|Processor|cpu model)\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else platform.processor() or platform.machine()


def usable_cpus() -> list[int]:
    """The processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def isa() -> dict[str, Any]:
    """The instruction set that the CPU kernels run with, the best one possible here, and what each room makes of it."""

    def of(level: Callable[[], str]) -> str:
        try:
            return level()
        except RewarmError as error:
            return f"none: {error}"

    core = _native.core
    used = of(core.isa)
    rooms = {"optim": used, "trace": of(core.trace_kernel_level), "trace, minute tables": of(core.trace_minute_isa)}
    return {"used": used, "best": core.best_isa(), "rooms": rooms}


def overrides() -> dict[str, str]:
    """Environment variables that change what rewarm does."""
    names = [name for name in os.environ if name.startswith("REWARM_") or name == "TRITON_INTERPRET"]
    return {name: os.environ[name] for name in sorted(names)}


def compiled_as(capability: tuple[int, int], architectures: str) -> str | None:
    """How code for a GPU is present in `architectures` ("80-real,90-real,90-virtual").

    Returns:
        "machine code" (of its own or an older minor version), "PTX" (compiled by the driver at first use), or None.
    """
    entries = re.findall(r"(\d+)[af]?(?:-(real|virtual))?", architectures)
    real = [divmod(int(number), 10) for number, kind in entries if kind != "virtual"]
    virtual = [divmod(int(number), 10) for number, kind in entries if kind != "real"]
    if any(major == capability[0] and minor <= capability[1] for major, minor in real):
        return "machine code"
    return "PTX" if any(found <= capability for found in virtual) else None


def _gpus(module: Any) -> list[dict[str, Any]]:
    """The GPUs that the CUDA module sees or, where it was not built, torch."""
    if module is not None:
        properties = [module.device_properties(index) for index in range(module.device_count()[0])]
        found = [{key: p[key] for key in ("name", "compute_capability", "memory_bytes")} for p in properties]
    elif version_of("torch") is not None:
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        seen = [torch.cuda.get_device_properties(index) for index in range(count)]
        found = [{"name": p.name, "compute_capability": f"{p.major}.{p.minor}", "memory_bytes": p.total_memory} for p in seen]
    else:
        found = []
    for gpu in found:
        major, minor = map(int, gpu["compute_capability"].split("."))
        gpu["compiled"] = compiled_as((major, minor), _build_info.CUDA_ARCHITECTURES) if _build_info.CUDA_BUILT else None
    return found


def cuda() -> dict[str, Any]:
    """What is known about CUDA: the build, the driver, the GPUs."""
    report: dict[str, Any] = {
        "built": _build_info.CUDA_BUILT,
        "reason": _build_info.CUDA_REASON,
        "compiler": _build_info.CUDA_COMPILER or None,
        "architectures": [a for a in _build_info.CUDA_ARCHITECTURES.split(",") if a] if _build_info.CUDA_BUILT else [],
        "usable": _native.cuda() is not None,
        "unusable_because": _native.cuda_unavailable_reason() or None,
        "driver_version": None,
        "runtime_version": None,
    }
    module: Any = None
    if _build_info.CUDA_BUILT:
        try:
            module = importlib.import_module("rewarm._cuda")
        except ImportError:
            pass  # cuda_unavailable_reason() has said so
        else:
            report["driver_version"] = module.driver_version()
            report["runtime_version"] = module.runtime_version()
    report["gpus"] = _gpus(module)
    return report


def backends(op: str, spelled: tuple[str, ...], device_types: list[str]) -> dict[str, Any]:
    """The backend that an op takes on each kind of device, and why others cannot be used."""
    report: dict[str, Any] = {}
    for device_type in device_types:
        reasons = {name: _dispatch.unavailable(name, device_type) or None for name in spelled}
        try:
            chosen: str | None = _dispatch.choose(op, device_type, spelled=spelled)
        except RewarmError:
            chosen = None
        report[device_type] = {"chosen": chosen, "unusable_because": reasons}
    return report


def self_checks(ops: dict[str, Any], has_gpu: bool) -> list[dict[str, Any]]:
    """One update, and every Q op, by every usable backend on every device present, held against the float64 reference."""
    if version_of("torch") is None:
        return []
    from rewarm.bench import equality
    from rewarm.q import self_check

    checks: dict[str, Callable[[str, str], float]] = {"AdamW": equality.one_step, "rewarm.q": self_check.every_op}
    results = []
    for op, device_type in itertools.product(ops, ("cpu", "cuda") if has_gpu else ("cpu",)):
        for name, reason in ops[op][device_type]["unusable_because"].items():
            if reason is not None:
                continue
            result: dict[str, Any] = {"op": op, "device": device_type, "backend": name}
            try:
                result["error_over_bound"] = checks[op](device_type, name)
                result["ok"] = result["error_over_bound"] <= 1.0
                result["detail"] = "" if result["ok"] else "differs from the float64 reference"
            except Exception as error:  # a diagnosis reports whatever went wrong
                result |= {"ok": False, "error_over_bound": None, "detail": f"{type(error).__name__}: {error}"}
            results.append(result)
    return results


def collect() -> dict[str, Any]:
    """The whole report, as plain values."""
    from_torch: dict[str, Any] = {"installed": version_of("torch") is not None}
    has_gpu = False
    if from_torch["installed"]:
        import torch

        has_gpu = torch.cuda.is_available()
        from_torch |= {"threads": torch.get_num_threads(), "cuda": torch.version.cuda, "sees_gpu": has_gpu}
    ops = {op: backends(op, spelled, ["cpu", "cuda"]) for op, spelled in OPS.items()}
    report = {
        "versions": {"rewarm": __version__, "python": platform.python_version()} | {p: version_of(p) for p in PACKAGES},
        "trace_versions": {p: version_of(p) for p in TRACE_PACKAGES},
        "platform": platform.platform(),
        "processor": {
            "name": processor_name(),
            "cpus": os.cpu_count(),
            "usable_cpus": len(usable_cpus()),
            "isa": isa(),
        },
        "build": {
            "compiler": _build_info.CXX_COMPILER,
            "cmake": _build_info.CMAKE_VERSION,
            "processor": _build_info.SYSTEM_PROCESSOR,
        },
        "overrides": overrides(),
        "torch": from_torch,
        "cuda": cuda(),
        "backends": ops,
        "self_check": self_checks(ops, has_gpu),
        "self_check_note": None if from_torch["installed"] else "torch not installed: no optimizer step was checked",
    }
    return tidy(report)  # type: ignore[no-any-return]


def _rows(report: dict[str, Any]) -> list[tuple[str, str]]:
    """The report as lines for people."""
    cuda_report, processor = report["cuda"], report["processor"]
    rows = [(name, version or "not installed") for name, version in report["versions"].items()]
    rows.append(
        ("trace", ", ".join(f"{name} {version or 'not installed'}" for name, version in report["trace_versions"].items()))
    )
    rows.append(("platform", report["platform"]))
    rows.append(("processor", f"{processor['name']}, {processor['usable_cpus']} of {processor['cpus']} cpus usable"))
    rows.append(("ISA", f"{processor['isa']['used']} (best here: {processor['isa']['best']})"))
    if not processor["isa"]["used"].startswith("none"):
        rows.append(("ISA by room", "; ".join(f"{room}: {level}" for room, level in processor["isa"]["rooms"].items())))
    rows.append(
        ("built by", f"{report['build']['compiler']}, CMake {report['build']['cmake']}, {report['build']['processor']}")
    )
    rows.append(("overrides", ", ".join(f"{k}={v}" for k, v in report["overrides"].items()) or "none"))
    if report["torch"]["installed"]:
        rows.append(("torch threads", str(report["torch"]["threads"])))
    rows.append(("CUDA module", ("built: " if cuda_report["built"] else "not built: ") + cuda_report["reason"]))
    if cuda_report["built"]:
        rows.append(("CUDA compiler", cuda_report["compiler"] or "unknown"))
        rows.append(("compiled for", ", ".join(cuda_report["architectures"])))
        rows.append(("CUDA driver", str(cuda_report["driver_version"])))
        rows.append(("CUDA runtime", str(cuda_report["runtime_version"])))
    for gpu in cuda_report["gpus"]:
        memory = f", {gpu['memory_bytes'] / 2**30:.0f} GiB" if gpu["memory_bytes"] else ""
        present = f"compiled in as {gpu['compiled']}" if gpu["compiled"] else "not among the compiled architectures"
        rows.append(("GPU", f"{gpu['name']} (sm_{gpu['compute_capability'].replace('.', '')}{memory}): {present}"))
    if not cuda_report["gpus"]:
        rows.append(("GPU", "none found"))
    return rows


def show(report: dict[str, Any]) -> None:
    """Prints the report for people."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 120
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for row in _rows(report):
        table.add_row(*map(Text, row))
    console.print(table)

    table = Table(title="\nbackends", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("op", "tensors on", "backend", "", "one step against float64"):
        table.add_column(name, overflow="fold")
    checked = {(c["op"], c["device"], c["backend"]): c for c in report["self_check"]}
    for op, devices in report["backends"].items():
        for device_type, found in devices.items():
            for name, reason in found["unusable_because"].items():
                state = f"not usable: {reason}" if reason else "chosen" if name == found["chosen"] else "on request"
                check = checked.get((op, device_type, name))
                result = ""
                if check is not None:
                    ok = check["ok"]
                    result = f"ok, error {check['error_over_bound']:.2f} of the bound" if ok else f"FAILED: {check['detail']}"
                table.add_row(*map(Text, (op, device_type, name, state, result)))
    console.print(table)
    if report["self_check_note"]:
        console.print(Text(report["self_check_note"]))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON and nothing else.")
def env(as_json: bool) -> None:
    """Show what was built and found here, and check one step of every usable backend.

    Ends with 1 when a backend that counts as usable fails its check.
    """
    report = collect()
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        show(report)
    if not all(check["ok"] for check in report["self_check"]):
        sys.exit(1)
