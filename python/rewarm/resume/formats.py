"""Checkpoints as their makers write them, brought into one form: torch's AdamW state, weights, and what is known of the run.

Files are read with ``weights_only=True``; nothing that needs code from a pickle is opened. Layouts are after the
documentation of torch, transformers, Lightning, DeepSpeed and apex.
"""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rewarm.errors import InvalidArgument, StateDictMismatch

_MOMENTS = ("step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq")


@dataclass
class Checkpoint:
    """What was found.

    Attributes:
        format: The maker, in words.
        optimizer: ``{"state", "param_groups"}`` as torch writes it, keyed by position or by parameter name; None without.
        model: The model's state dict; None without.
        updates: Optimizer steps of the run, where the checkpoint says so beside the optimizer.
        masters: float32 copies of 16-bit weights, by group, in the order of its parameters; or flat, one a group.
        scheduler: The state of a torch scheduler that was saved beside it.
        notes: What a reader should know.
    """

    format: str
    optimizer: dict[str, Any] | None = None
    model: dict[str, Any] | None = None
    updates: int | None = None
    masters: list[Any] | None = None
    scheduler: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def has_schedule(self) -> bool:
        """Whether some group carries a schedule as data."""
        return self.optimizer is not None and any(group.get("schedules") for group in self.optimizer["param_groups"])

    @property
    def is_ours(self) -> bool:
        """Whether rewarm wrote the optimizer's part."""
        return self.optimizer is not None and any("updates" in group for group in self.optimizer["param_groups"])

    @property
    def flat(self) -> bool:
        """Whether moments are one flat tensor a group."""
        return self.masters is not None and all(isinstance(master, Tensor) for master in self.masters)


def read(source: str | os.PathLike[str] | dict[str, Any]) -> Checkpoint:
    """Recognises a checkpoint.

    Args:
        source: A file, an HF Trainer folder, or a dict that was read already.

    Returns:
        What is in it.

    Raises:
        InvalidArgument: No such file, or a folder of a kind that is not read.
        StateDictMismatch: A file that is damaged, needs code to be read, or holds no layout that is known.
    """
    if isinstance(source, dict):
        return _recognise(source, "the dict given")
    path = Path(source)
    if path.is_dir():
        return _read_folder(path)
    if not path.is_file():
        raise InvalidArgument(f"load: {path}: no such file or folder")
    if path.name == "optimizer.pt" and (path.parent / "trainer_state.json").is_file():
        found = _read_folder(path.parent)
        found.model = None
        return found
    return _recognise(read_file(path), str(path))


def read_file(path: Path) -> Any:
    """torch.load with weights_only=True, on the CPU; every failure named."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        first = str(error).strip().splitlines()[0]
        raise StateDictMismatch(
            f"load: {path}: cannot be read as plain data (weights_only=True): {first}; what needs code is not opened: "
            "torch.load it where it is trusted and pass the dict"
        ) from error
    except (RuntimeError, EOFError, zipfile.BadZipFile, ValueError, OSError, KeyError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise StateDictMismatch(f"load: {path}: truncated or not a torch checkpoint: {first}") from error


# ---- layouts ---------------------------------------------------------------------------------------------------------


def _recognise(data: Any, where: str) -> Checkpoint:
    if not isinstance(data, dict):
        raise StateDictMismatch(f"load: {where}: expected a dict, got {type(data).__name__}")
    for layout in (_rewarm, _lightning, _deepspeed, _apex, _plain, _flattened, _bundle):
        found = layout(data)
        if found is not None:
            return found
    keys = ", ".join(map(repr, list(data)[:8]))
    if data.get("zero_stage") is not None or "base_optimizer_state" in data.get("optimizer_state_dict", {}):
        raise StateDictMismatch(
            f"load: {where}: one rank's part of a DeepSpeed ZeRO optimizer; consolidate it first (ds_to_universal, or "
            "zero_to_fp32 for the weights)"
        )
    raise StateDictMismatch(
        f"load: {where}: no layout that is known (its keys: {keys}); accepted: rewarm, torch AdamW (also by parameter "
        "name, full or flattened), HF Trainer, Lightning, DeepSpeed without ZeRO, apex; or a dict with 'optimizer' and 'model'"
    )


def _is_optimizer(data: Any) -> bool:
    return isinstance(data, dict) and isinstance(data.get("state"), dict) and isinstance(data.get("param_groups"), list)


def _named(groups: list[dict[str, Any]]) -> bool:
    return any(isinstance(name, str) for group in groups for name in group["params"])


def _plain(data: dict[str, Any]) -> Checkpoint | None:
    if not _is_optimizer(data):
        return None
    if any("updates" in group for group in data["param_groups"]):
        return Checkpoint("rewarm", data)
    named = ", by parameter name" if _named(data["param_groups"]) else ""
    return Checkpoint(f"torch AdamW{named}", data)


def _rewarm(data: dict[str, Any]) -> Checkpoint | None:
    if data.get("format") != "rewarm.checkpoint" or not _is_optimizer(data.get("optimizer")):
        return None
    return Checkpoint("rewarm", data["optimizer"], data.get("model"))


def _bundle(data: dict[str, Any]) -> Checkpoint | None:
    """The dict of torch's tutorials: weights and optimizer under names of their own, and what else the script kept."""
    optimizer = next((data[k] for k in ("optimizer", "optimizer_state_dict", "optim", "optim_state_dict") if k in data), None)
    inner = None
    if isinstance(optimizer, dict):
        inner = next((found for layout in (_apex, _plain, _flattened) if (found := layout(optimizer)) is not None), None)
    model = next(
        (data[k] for k in ("model", "model_state_dict", "state_dict", "module") if isinstance(data.get(k), dict)), None
    )
    if inner is None:
        return None
    steps = next((data[k] for k in ("updates", "global_step", "step", "iteration") if isinstance(data.get(k), int)), None)
    scheduler = next((data[k] for k in ("scheduler", "lr_scheduler") if isinstance(data.get(k), dict)), None)
    inner.model, inner.scheduler = model, scheduler
    inner.updates = steps if inner.updates is None and not inner.is_ours else inner.updates
    return inner


def _lightning(data: dict[str, Any]) -> Checkpoint | None:
    if "pytorch-lightning_version" not in data or "state_dict" not in data:
        return None
    states = data.get("optimizer_states") or []
    if len(states) > 1:
        raise StateDictMismatch(f"load: a Lightning checkpoint of {len(states)} optimizers: pass one of its 'optimizer_states'")
    schedulers = data.get("lr_schedulers") or []
    return Checkpoint(
        f"Lightning {data['pytorch-lightning_version']}",
        states[0] if states else None,
        data["state_dict"],
        updates=int(data["global_step"]) if "global_step" in data else None,
        scheduler=schedulers[0] if schedulers else None,
        notes=[] if states else ["saved with save_weights_only: no optimizer state"],
    )


def _deepspeed(data: dict[str, Any]) -> Checkpoint | None:
    """``mp_rank_00_model_states.pt`` of an engine without ZeRO; its FP16_Optimizer keeps one flat float32 tensor a group."""
    if "module" not in data or "global_steps" not in data:
        return None
    optimizer = data.get("optimizer")
    scheduler = data.get("lr_scheduler")
    found = Checkpoint("DeepSpeed", None, data["module"], updates=int(data["global_steps"]))
    found.scheduler = scheduler if isinstance(scheduler, dict) else None
    if isinstance(optimizer, dict) and "fp32_groups_flat" in optimizer and _is_optimizer(optimizer.get("optimizer_state_dict")):
        found.optimizer, found.masters = optimizer["optimizer_state_dict"], list(optimizer["fp32_groups_flat"])
    elif _is_optimizer(optimizer):
        found.optimizer = optimizer
    else:
        found.notes.append("no optimizer state here: ZeRO keeps it in *_optim_states.pt, one file a rank")
    skipped = int(data.get("skipped_steps", 0) or 0)
    if found.updates is not None and skipped:
        found.updates -= skipped
        found.notes.append(f"{skipped} steps were skipped by the loss scaler and are not counted")
    return found


def _apex(data: dict[str, Any]) -> Checkpoint | None:
    """``apex.fp16_utils.FP16_Optimizer.state_dict()``, and DeepSpeed's when it is saved alone."""
    inner = data.get("optimizer_state_dict")
    if not _is_optimizer(inner):
        return None
    for key, maker in (("fp32_from_fp16", "apex FP16_Optimizer"), ("fp32_groups_flat", "DeepSpeed FP16_Optimizer")):
        if key in data:
            return Checkpoint(maker, inner, masters=list(data[key]))
    return None


def _flattened(data: dict[str, Any]) -> Checkpoint | None:
    """``flatten_optimizer_state_dict`` of torch.distributed.checkpoint: "state.<name>.exp_avg", "param_groups.<name>.lr"."""
    if not data or not all(isinstance(k, str) and k.startswith(("state.", "param_groups.")) for k in data):
        return None
    state: dict[str, dict[str, Any]] = {}
    options: dict[str, dict[str, Any]] = {}
    for key, value in data.items():
        place, _, rest = key.partition(".")
        name, _, last = rest.rpartition(".")
        (state if place == "state" else options).setdefault(name, {})[last] = value
    groups: list[dict[str, Any]] = []
    for name in options or state:
        ours = options.get(name, {})
        same = next((group for group in groups if all(group.get(k) == v for k, v in ours.items())), None)
        if same is None:
            groups.append({**ours, "params": [name]})
        else:
            same["params"].append(name)
    return Checkpoint("torch AdamW, by parameter name, flattened", {"state": state, "param_groups": groups})


# ---- folders ---------------------------------------------------------------------------------------------------------


def _read_folder(path: Path) -> Checkpoint:
    if (path / ".metadata").is_file():
        raise InvalidArgument(
            f"load: {path}: a torch.distributed.checkpoint folder: its index is a pickle; torch.distributed.checkpoint.load "
            "reads it into opt.state_dict(), and load takes the result"
        )
    if not (path / "optimizer.pt").is_file():
        raise InvalidArgument(f"load: {path}: expected an HF Trainer folder with optimizer.pt, got {_listing(path)}")
    found = _recognise(read_file(path / "optimizer.pt"), str(path / "optimizer.pt"))
    found.format = f"HF Trainer ({found.format})"
    state = path / "trainer_state.json"
    if state.is_file():
        try:
            steps = json.loads(state.read_text(encoding="utf-8"))["global_step"]
        except (ValueError, KeyError, TypeError) as error:
            raise StateDictMismatch(f"load: {state}: expected JSON with 'global_step': {error}") from error
        found.updates = None if found.is_ours else int(steps)
    scheduler = path / "scheduler.pt"
    if scheduler.is_file():
        try:
            found.scheduler = read_file(scheduler)
        except StateDictMismatch as error:
            found.notes.append(f"scheduler.pt was not read: {error}")
    found.model = _weights(path, found)
    return found


def _weights(path: Path, found: Checkpoint) -> dict[str, Any] | None:
    """Weights of an HF folder, whole or in shards."""
    readers: list[tuple[str, Callable[[Path], dict[str, Any]]]] = [
        ("model.safetensors", _safetensors),
        ("pytorch_model.bin", read_file),
    ]
    for name, reader in readers:
        if (path / name).is_file():
            return reader(path / name)
        index = path / f"{name}.index.json"
        if index.is_file():
            weights: dict[str, Any] = {}
            for part in sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())):
                weights |= reader(path / part)
            return weights
    found.notes.append("no weights in the folder")
    return None


def _safetensors(path: Path) -> dict[str, Any]:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise InvalidArgument(f"load: {path}: reading it needs `pip install safetensors`") from error
    try:
        weights: dict[str, Any] = load_file(path)
    except Exception as error:  # its errors are a class of its own, made in Rust
        raise StateDictMismatch(f"load: {path}: truncated or not safetensors: {error}") from error
    return weights


def _listing(path: Path) -> str:
    names = sorted(p.name for p in path.iterdir())
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") if names else "an empty folder"
