"""``rewarm inspect CKPT``: what a checkpoint holds and what a resume will do, before a run pays for finding out."""

from __future__ import annotations

import json
import os
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from rewarm.errors import InvalidArgument, RewarmError
from rewarm.resume import formats
from rewarm.schedule import Schedule

NEXT = 10


def describe(source: str | os.PathLike[str]) -> dict[str, Any]:
    """A checkpoint as plain data: format, counters, and for every group its schedule and the next ten rates.

    Args:
        source: A file or an HF Trainer folder.

    Returns:
        A dict with format, updates, tokens, skipped_steps, world_size, parameters, weights, groups, history, resume
        and notes; counts that the checkpoint does not hold are None. Each group has ``parameters, lr, next_lr,
        schedule, origin, weight_decay, betas``.

    Raises:
        InvalidArgument: No such file.
        StateDictMismatch: A damaged file, or no layout that is known.
    """
    found = formats.read(source)
    groups = found.optimizer["param_groups"] if found.optimizer is not None else []
    state = found.optimizer["state"] if found.optimizer is not None else {}
    first = groups[0] if groups else {}
    steps = [int(entry["step"]) for entry in state.values() if isinstance(entry, dict) and "step" in entry]
    updates = first.get("updates", found.updates if found.updates is not None else max(steps, default=None))
    tokens = first.get("tokens")
    return {
        "format": found.format,
        "updates": updates,
        "tokens": tokens,
        "skipped_steps": first.get("skipped_steps"),
        "world_size": first.get("world_size"),
        "parameters": sum(len(group["params"]) for group in groups),
        "weights": found.model is not None or found.masters is not None,
        "groups": [_group(group, updates or 0, tokens or 0) for group in groups],
        "history": json.loads(first.get("history", "[]")),
        "resume": _what_a_resume_does(found, updates),
        "notes": _notes(found),
    }


def schedule_in(source: str | os.PathLike[str], group: int = 0) -> Schedule:
    """The learning-rate schedule that a checkpoint carries for one group, counting from its own start.

    Raises:
        InvalidArgument: The checkpoint carries none, or has no such group.
        StateDictMismatch: A damaged file, or no layout that is known.
    """
    found = formats.read(source)
    groups = found.optimizer["param_groups"] if found.optimizer is not None else []
    if not 0 <= group < len(groups):
        raise InvalidArgument(f"{source}: expected a group below {len(groups)}, got {group}")
    data = (groups[group].get("schedules") or {}).get("lr")
    if data is None:
        raise InvalidArgument(f"{source}: group {group} of this checkpoint ({found.format}) carries no schedule as data")
    return Schedule.from_dict(data)


def _group(group: dict[str, Any], updates: int, tokens: int) -> dict[str, Any]:
    data = (group.get("schedules") or {}).get("lr")
    origin = int(group.get("lr_origin", 0))
    scale = float(group.get("lr_scale", 1.0))
    rate = float(group.get("lr", 0.0))
    following = [rate * scale] * NEXT
    if data is not None:
        schedule = Schedule.from_dict(data)
        in_tokens = schedule.units == "tokens"
        each = tokens // updates if in_tokens and updates else 1
        now = (tokens if in_tokens else updates) - origin
        following = [schedule(max(now + k * each, 0)) * scale for k in range(NEXT)]
    return {
        "parameters": len(group["params"]),
        "lr": rate * scale,
        "next_lr": following,
        "schedule": data,
        "origin": origin,
        "lr_scale": scale,
        "weight_decay": float(group.get("weight_decay", 0.0)),
        "betas": [float(beta) for beta in group.get("betas", ())],
    }


def _what_a_resume_does(found: formats.Checkpoint, updates: int | None) -> str:
    if found.optimizer is None:
        return "rewarm.load takes policy='weights' only: there is no optimizer state"
    if found.has_schedule:
        return (
            f"rewarm.load goes on bit-identically at update {updates} with the schedule shown; a program that "
            "configures another one gets an error with both rates, unless it says on_conflict or policy='rewarm'"
        )
    return (
        f"rewarm.load asks for a policy, because no schedule is stored as data: 'resume' reads the configured schedule at "
        f"update {updates}, 'rewarm' begins it with f(0), 'weights' takes the weights alone"
    )


def _notes(found: formats.Checkpoint) -> list[str]:
    notes = list(found.notes)
    if found.scheduler is not None:
        shown = ", ".join(f"{k} {found.scheduler[k]}" for k in ("last_epoch", "last_batch_iteration") if k in found.scheduler)
        notes.append(
            f"the state of a scheduler object ({shown or 'unknown kind'}) holds no curve: its lambdas are code and not saved"
        )
    return notes


# ---- the command -----------------------------------------------------------------------------------------------------


@click.command(name="inspect")
@click.argument("checkpoint", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON and nothing else.")
def inspect(checkpoint: str, as_json: bool) -> None:
    """Show what a checkpoint holds: format, counters, schedule, the next ten rates, history, and what a resume will do.

    CHECKPOINT is a file or an HF Trainer folder, of rewarm, torch AdamW, HF Trainer, Lightning, DeepSpeed without ZeRO or apex.
    It is read with weights_only=True.
    """
    try:
        found = describe(checkpoint)
    except RewarmError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 120
    _show(console, found)


def _show(console: Console, found: dict[str, Any]) -> None:
    facts = Table(box=None, show_header=False)
    facts.add_column(no_wrap=True)
    facts.add_column()
    for key in ("format", "updates", "tokens", "skipped_steps", "world_size", "parameters"):
        value = found[key]
        facts.add_row(key, "not stored" if value is None else f"{value:_}" if isinstance(value, int) else str(value))
    facts.add_row("weights", "yes" if found["weights"] else "none here")
    console.print(facts)
    for g, group in enumerate(found["groups"]):
        title = f"group {g}: {group['parameters']} parameters, weight decay {group['weight_decay']:g}"
        if group["schedule"] is None:
            console.print(f"{title}, plain learning rate {group['lr']:.6g}", markup=False)
            continue
        schedule = Schedule.from_dict(group["schedule"])
        origin = f" from {group['origin']:_}" if group["origin"] else ""
        scale = f", times {group['lr_scale']:g}" if group["lr_scale"] != 1.0 else ""
        console.print(f"{title}, schedule in {schedule.units}{origin}{scale}", markup=False)
        for segment in schedule.segments:
            console.print(f"    {segment}", markup=False)
    if found["groups"]:
        console.print(_rates(found))
    for act in found["history"]:
        told = ", ".join(f"{k}={v}" for k, v in act["arguments"].items() if k != "schedules")
        console.print(f"at update {act['updates']:_}, token {act['tokens']:_}: {act['verb']}({told})", markup=False)
    for note in found["notes"]:
        console.print(f"note: {note}", markup=False)
    console.print(f"resume: {found['resume']}", markup=False)


def _rates(found: dict[str, Any]) -> Table:
    table = Table(title="the next learning rates", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("update", justify="right")
    for g in range(len(found["groups"])):
        table.add_column(f"group {g}", justify="right", no_wrap=True)
    for k in range(NEXT):
        table.add_row(f"{(found['updates'] or 0) + k:_}", *(f"{group['next_lr'][k]:.6g}" for group in found["groups"]))
    return table
