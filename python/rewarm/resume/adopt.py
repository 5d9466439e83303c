"""Fits the state of a checkpoint to a model and an optimizer: by name, by position, out of flat groups. Changes nothing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rewarm.errors import StateDictMismatch
from rewarm.optim import AdamW
from rewarm.optim.arguments import each_param
from rewarm.resume.formats import Checkpoint

#: What wrappers put into the names of parameters.
_WRAPPERS = ("_fsdp_wrapped_module.", "_orig_mod.", "module.")


def optimizer_state(found: Checkpoint, model: torch.nn.Module | None, opt: AdamW) -> dict[str, Any]:
    """The checkpoint's optimizer state with the positions of `opt`, as its load_state_dict takes it.

    Raises:
        StateDictMismatch: Parameters that only one side has, by name where there are names.
    """
    saved = found.optimizer
    assert saved is not None
    if any(isinstance(name, str) for group in saved["param_groups"] for name in group["params"]):
        placed = _by_name(saved, names_of(opt, model), opt)
    else:
        placed = _by_position(saved, found, opt)
    if found.updates is not None:
        for group in placed["param_groups"]:
            group["updates"] = found.updates
    return placed


def names_of(opt: AdamW, model: torch.nn.Module | None) -> list[str | None]:
    """The name of every parameter of `opt`, from its groups or from the model."""
    of_model = {id(p): _clean(name) for name, p in model.named_parameters(remove_duplicate=False)} if model is not None else {}
    names = []
    for g, i, p in each_param(opt.param_groups):
        given = opt.param_groups[g].get("param_names")
        names.append(_clean(given[i]) if given else of_model.get(id(p)))
    return names


def _clean(name: str) -> str:
    for part in _WRAPPERS:
        name = name.replace(part, "")
    return name


def _by_name(saved: dict[str, Any], names: list[str | None], opt: AdamW) -> dict[str, Any]:
    group_of = {_clean(str(name)): group for group in saved["param_groups"] for name in group["params"]}
    states = {_clean(str(name)): entry for name, entry in saved["state"].items()}
    unnamed = names.count(None)
    if unnamed:
        raise StateDictMismatch(
            f"load: the checkpoint goes by parameter names, and {unnamed} parameters of the optimizer have none: pass the "
            "model, or give AdamW (name, parameter) pairs"
        )
    missing = [str(name) for name in names if name not in group_of]
    extra = [name for name in group_of if name not in set(names)]
    if missing or extra:
        raise StateDictMismatch(f"load: the checkpoint is of other parameters: {_differ(missing, extra)}")
    groups: list[dict[str, Any]] = []
    state: dict[int, Any] = {}
    position = 0
    for group in opt.param_groups:
        of_group = [str(names[position + i]) for i in range(len(group["params"]))]
        chosen = group_of[of_group[0]] if of_group else dict(group)
        for name in of_group:
            if float(group_of[name].get("lr", 0.0)) != float(chosen.get("lr", 0.0)):
                raise StateDictMismatch(
                    f"load: parameters {of_group[0]!r} and {name!r} are in one group here and had the rates "
                    f"{chosen.get('lr')} and {group_of[name].get('lr')} in the checkpoint: make the groups of its run"
                )
        groups.append({**chosen, "params": [position + i for i in range(len(of_group))]})
        for i, name in enumerate(of_group):
            if states.get(name):
                state[position + i] = {key: _whole(value) for key, value in states[name].items()}
        position += len(of_group)
    return {"state": state, "param_groups": groups}


def _by_position(saved: dict[str, Any], found: Checkpoint, opt: AdamW) -> dict[str, Any]:
    groups = [dict(group) for group in saved["param_groups"]]
    if found.flat:
        return _unflattened(saved, groups, opt)
    state = {key: {k: _whole(v) for k, v in entry.items()} for key, entry in saved["state"].items()}
    return {"state": state, "param_groups": groups}


def _unflattened(saved: dict[str, Any], groups: list[dict[str, Any]], opt: AdamW) -> dict[str, Any]:
    """One flat tensor a group, in the order of its parameters, becomes one a parameter."""
    if len(groups) != len(opt.param_groups):
        raise StateDictMismatch(f"load: expected {len(opt.param_groups)} flat groups, got {len(groups)}")
    state: dict[int, Any] = {}
    position = 0
    for g, group in enumerate(opt.param_groups):
        params = group["params"]
        entry = saved["state"].get(groups[g]["params"][0], {}) if groups[g]["params"] else {}
        pieces = {key: split_flat(f"group {g}: {key!r}", value, params) for key, value in entry.items() if _is_flat(value)}
        for i in range(len(params)):
            if entry:
                state[position + i] = {key: pieces[key][i] if key in pieces else value for key, value in entry.items()}
        groups[g]["params"] = [position + i for i in range(len(params))]
        position += len(params)
    return {"state": state, "param_groups": groups}


def _is_flat(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() == 1


def split_flat(where: str, flat: Tensor, params: list[Tensor]) -> list[Tensor]:
    """Views of a flat tensor in the shapes of `params`; padding at its end is allowed, as DeepSpeed aligns it."""
    wanted = sum(p.numel() for p in params)
    if flat.numel() < wanted:
        raise StateDictMismatch(
            f"load: {where}: expected at least {wanted} elements for {len(params)} parameters, got {flat.numel()}"
        )
    sizes = [p.numel() for p in params]
    return [piece.view(p.shape) for piece, p in zip(torch.split(flat[:wanted], sizes), params, strict=True)] if sizes else []


def _whole(value: Any) -> Any:
    """A DTensor shard as the whole tensor; every rank takes part."""
    gather = getattr(value, "full_tensor", None)
    return gather() if gather is not None else value


def model_state(found: Checkpoint, model: torch.nn.Module) -> dict[str, Any]:
    """The checkpoint's weights under the model's names.

    Raises:
        StateDictMismatch: Entries that only one side has, or of another shape, by name.
    """
    assert found.model is not None
    ours = model.state_dict(keep_vars=True)
    theirs = found.model
    for prefix in ("module.", "_orig_mod.", "model."):
        stripped = {name.removeprefix(prefix): value for name, value in theirs.items()}
        if not theirs.keys() <= ours.keys() and len(stripped) == len(theirs) and stripped.keys() <= ours.keys():
            theirs = stripped
    # Weights that are tied are often saved once.
    present = {id(ours[name]) for name in theirs if name in ours}
    missing = [name for name in ours if name not in theirs and id(ours[name]) not in present]
    extra = [name for name in theirs if name not in ours]
    if missing or extra:
        raise StateDictMismatch(f"load: the checkpoint is of another model: {_differ(missing, extra)}")
    for name, value in theirs.items():
        here = ours[name]
        if isinstance(value, Tensor) and isinstance(here, Tensor) and value.shape != here.shape:
            raise StateDictMismatch(
                f"load: weight {name!r}: expected shape {tuple(here.shape)}, got {tuple(value.shape)}: another model"
            )
    return dict(theirs)


def _differ(missing: list[str], extra: list[str]) -> str:
    parts = []
    for what, names in (("missing in it", missing), ("not in this model", extra)):
        if names:
            shown = ", ".join(map(repr, names[:6])) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
            parts.append(f"{what}: {shown}")
    return "; ".join(parts)
