"""Agents on disk: plain tensors, whole numbers and one JSON text, read back without running any code from the file."""

from __future__ import annotations

import json
import os
import pickle
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rewarm.errors import InvalidArgument, StateDictMismatch
from rewarm.schedule import Schedule

FORMAT = "rewarm.rl"
VERSION = 1
_SCHEDULE = "rewarm.schedule"


def write(path: str | os.PathLike[str], agent: str, config: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write a checkpoint beside its place, then move it there: a crash leaves the old file or the new one, never half.

    Args:
        path: The file; its folder must exist.
        agent: Name of the agent's class.
        config: Its constructor arguments: numbers, words, tuples, mappings and Schedules.
        state: Its ``state_dict()``: tensors and whole numbers by name.

    Raises:
        InvalidArgument: The folder does not exist.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise InvalidArgument(f"save: {target}: the folder {target.parent} does not exist")
    text = json.dumps(dict(config), default=_plain)
    values = {name: value.detach().cpu() if isinstance(value, Tensor) else value for name, value in state.items()}
    content = {"format": FORMAT, "version": VERSION, "agent": agent, "config": text, "state": values}
    aside = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with open(aside, "xb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, target)
    finally:
        aside.unlink(missing_ok=True)


def read(path: str | os.PathLike[str]) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Read a checkpoint written by `write`.

    Args:
        path: The file.

    Returns:
        Name of the agent's class, its constructor arguments, its state on the CPU.

    Raises:
        StateDictMismatch: Not a checkpoint of this kind and version, or a damaged one.
        FileNotFoundError: No such file.
    """
    with open(path, "rb") as file:
        try:
            content = torch.load(file, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
            raise StateDictMismatch(f"load: {os.fspath(path)}: expected an agent saved by rewarm.rl: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT or content.get("version") != VERSION:
        found = f"format {content.get('format')!r}, version {content.get('version')!r}" if isinstance(content, dict) else "none"
        raise StateDictMismatch(f"load: {os.fspath(path)}: expected format {FORMAT!r}, version {VERSION}, got {found}")
    config = {name: _rebuilt(value) for name, value in json.loads(content["config"]).items()}
    return content["agent"], config, content["state"]


def _plain(value: Any) -> Any:
    """What JSON has no word for."""
    if isinstance(value, Schedule):
        return {_SCHEDULE: value.to_dict()}
    raise TypeError(f"cannot be saved: {type(value).__name__}")


def _rebuilt(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {_SCHEDULE}:
            return Schedule.from_dict(value[_SCHEDULE])
        return {name: _rebuilt(item) for name, item in value.items()}
    return value
