"""``rewarm schedule plot|show|diff|edges``: look at a schedule before a run pays for it."""

from __future__ import annotations

import inspect
import json
import shlex
import sys
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeVar

import click
from rich import box
from rich.console import Console
from rich.table import Table

from rewarm import schedule as room
from rewarm.errors import InvalidArgument, RewarmError
from rewarm.schedule.match import edges as frameworks_edges
from rewarm.schedule.plot import default_stop, sample, text_chart
from rewarm.schedule.schedule import Schedule
from rewarm.schedule.segment import MAX_COUNT

_Command = TypeVar("_Command", bound=Callable[..., Any])

#: Every schedule that the command line can build, by the name it has in Python.
BUILDERS: dict[str, Callable[..., Schedule]] = {
    "warmup_cosine": room.warmup_cosine,
    "wsd": room.wsd,
    "infinite": room.infinite,
    "linear_to_zero": room.linear_to_zero,
    "gupta2023": room.presets.gupta2023,
    "ibrahim2024_cosine": room.presets.ibrahim2024_cosine,
    "ibrahim2024_infinite": room.presets.ibrahim2024_infinite,
    "singh2025": room.presets.singh2025,
    "wsd_s": room.presets.wsd_s,
    "path_switch": room.presets.path_switch,
    "parmar2024": room.presets.parmar2024,
    "power": room.presets.power,
    "d2z": room.presets.d2z,
    "match": room.presets.match,
    "constant": room.constant,
    "linear": room.linear,
    "cosine": room.cosine,
    "legacy_cosine": room.legacy_cosine,
    "inverse_sqrt": room.inverse_sqrt,
    "one_minus_sqrt": room.one_minus_sqrt,
    "polynomial": room.polynomial,
    "exponential": room.exponential,
    "harmonic": room.harmonic,
    "halving": room.halving,
    "cosine_tail": room.cosine_tail,
}

_EIGHTHS = " ▁▂▃▄▅▆▇█"


class Count(click.ParamType):  # type: ignore[type-arg]  # generic in new releases of click only
    """A whole number of steps or tokens: 10000, 10_000, 1e9 or 297e9, never rounded."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The int that `value` spells."""
        if isinstance(value, int):
            return value
        try:
            number = Decimal(str(value))
        except InvalidOperation:
            number = Decimal("NaN")
        if not number.is_finite() or not 0 <= number < 2**63 or number != number.to_integral_value():
            self.fail(f"expected a whole number in [0, 2**63) such as 10000 or 297e9, got {value!r}", param, ctx)
        return int(number)


class Counts(click.ParamType):  # type: ignore[type-arg]
    """Whole numbers with commas between them: 10e9,20e9."""

    name = "count,count,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        """The ints that `value` spells."""
        return [Count().convert(part, param, ctx) for part in value.split(",")] if isinstance(value, str) else list(value)


_COUNTS = ("length", "total", "anneal_start", "offset", "timescale", "num_cycles")
_WORDS = ("shape", "cooldown_shape", "form", "units", "framework", "kind")


def _option_type(name: str) -> Any:
    if name.endswith("_steps") or name in _COUNTS:
        return Count()
    if name == "literal":
        return click.BOOL
    return Counts() if name == "periods" else click.STRING if name in _WORDS else click.FLOAT


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _schedule_options(command: _Command) -> _Command:
    """The argument NAME_OR_FILE and one option for every parameter of the builders."""
    users: dict[str, list[str]] = {}
    for builder, function in BUILDERS.items():
        for name in inspect.signature(function).parameters:
            users.setdefault(name, []).append(builder)
    for name, builders in reversed(users.items()):
        everywhere = len(builders) == len(BUILDERS)
        text = "steps or tokens." if name == "units" else "For all." if everywhere else f"For {', '.join(builders)}."
        command = click.option(_option(name), name, type=_option_type(name), default=None, help=text)(command)
    return click.argument("source", metavar="NAME_OR_FILE")(command)


def _build(source: str, options: dict[str, Any]) -> Schedule:
    """The schedule that the command line names."""
    given = {name: value for name, value in options.items() if value is not None}
    if source not in BUILDERS:
        if given:
            raise click.UsageError(f"a schedule from a file takes no {', '.join(map(_option, given))}")
        return _read(source)
    parameters = inspect.signature(BUILDERS[source]).parameters
    unknown = [_option(name) for name in given if name not in parameters]
    required = [name for name, parameter in parameters.items() if parameter.default is parameter.empty]
    missing = [_option(name) for name in required if name not in given]
    if unknown or missing:
        problem = f"takes no {', '.join(unknown)}" if unknown else f"needs {', '.join(missing)}"
        raise click.UsageError(f"{source} {problem}; its options: {', '.join(map(_option, parameters))}")
    try:
        return BUILDERS[source](**given)
    except InvalidArgument as error:
        raise click.UsageError(str(error)) from error


def _is_checkpoint(path: Path) -> bool:
    """An HF Trainer folder, or a file of torch.save: a ZIP archive, or a pickle in old ones."""
    if path.is_dir():
        return True
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(2) in (b"PK", b"\x80\x02")


def _read(source: str) -> Schedule:
    """A schedule from a JSON file of `Schedule.to_dict`, or from standard input for "-"."""
    place, _, group = source.rpartition("@")
    name, index = (place, int(group)) if place and group.isdigit() else (source, 0)
    if _is_checkpoint(Path(name)):
        # Reading one takes torch: only then.
        from rewarm.resume.inspect import schedule_in

        return schedule_in(name, index)
    path = Path(source)
    if source != "-" and not path.is_file():
        raise click.UsageError(f"{source!r} is neither a file nor one of {', '.join(BUILDERS)}")
    try:
        text = sys.stdin.read() if source == "-" else path.read_text(encoding="utf-8")
        return Schedule.from_dict(json.loads(text))
    except OSError as error:
        raise click.ClickException(f"{source}: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise click.ClickException(f"{source}:{error.lineno}: column {error.colno}: not JSON: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise click.ClickException(f"{source}: byte {error.start}: not UTF-8") from error
    except InvalidArgument as error:
        raise click.ClickException(f"{source}: {error}") from error


@click.group()
def schedule() -> None:
    """Look at learning rate schedules.

    NAME_OR_FILE is the name of a schedule, built from the options below, a JSON file made by Schedule.to_dict() or
    `rewarm schedule show --json`, or - for standard input.
    """


@schedule.command()
@_schedule_options
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Picture to write: .svg, .png or .pdf.")
@click.option("--stop", type=Count(), help="Last step or token drawn; default: a little past the end.")
def plot(source: str, output: str | None, stop: int | None, **options: Any) -> None:
    """Draw a schedule into a picture (needs matplotlib).

    \b
    rewarm schedule plot warmup_cosine --max-lr 3e-4 --min-lr 3e-5 \\
        --warmup-steps 100 --decay-steps 10000 -o lr.svg
    """  # noqa: D301 - click reads a real backspace
    built = _build(source, options)
    if output is None:
        output = ("schedule" if source == "-" else Path(source).stem) + ".svg"
    try:
        built.plot(output, stop=stop)
    except InvalidArgument as error:
        raise click.UsageError(str(error)) from error
    except RewarmError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{output}: {error.strerror}") from error
    click.echo(output)


@schedule.command()
@_schedule_options
@click.option("--at", type=Count(), multiple=True, help="Further steps or tokens to evaluate; may be repeated.")
@click.option("--stop", type=Count(), help="Last step or token of the chart; default: a little past the end.")
@click.option("--json", "as_json", is_flag=True, help="Print the schedule as JSON and nothing else.")
def show(source: str, at: tuple[int, ...], stop: int | None, as_json: bool, **options: Any) -> None:
    """Print a schedule: its segments, its values around every joint, and a chart.

    \b
    rewarm schedule show wsd --max-lr 1e-3 --min-lr 0 --warmup-steps 100 \\
        --stable-steps 900 --decay-steps 200 --at 1050
    """  # noqa: D301
    built = _build(source, options)
    if as_json:
        click.echo(json.dumps(built.to_dict(), indent=2))
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 100
    console.print(_segment_table(built))
    console.print(_value_table(built, at))
    _print_chart(console, built, default_stop(built) if stop is None else max(stop, 1))


@schedule.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("--at", type=Count(), multiple=True, help="Steps or tokens to compare instead; may be repeated.")
@click.option(
    "--rtol", type=float, default=1e-12, help="Relative differences up to this do not count; default 1e-12, 0 compares bits."
)
def diff(a: str, b: str, at: tuple[int, ...], rtol: float) -> None:
    """Compare two schedules: where they first differ, with the values of both. Exit code 1 when they do.

    A and B are what `show` takes, a name with its options in quotes or a JSON file:

    \b
    rewarm schedule diff lr.json "match --framework megatron --kind cosine \\
        --max-lr 3e-4 --warmup-steps 100 --total-steps 10000"
    """  # noqa: D301
    try:
        found = room.diff(_from_words(a), _from_words(b), sorted(set(at)) or None, rtol=rtol)
    except InvalidArgument as error:
        raise click.UsageError(str(error)) from error
    if found.first is None:
        compared = f"every count up to {found.steps[-1]:_}" if found.exhaustive else f"{len(found.steps)} counts"
        click.echo(f"equal at {compared}")
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 100
    console.print(
        f"first difference at {found.first:_}" + ("" if found.exhaustive else f" of {len(found.steps)} counts compared")
    )
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("count", "A", "B", "B - A"):
        table.add_column(name, justify="right", no_wrap=True)
    for count, ours, theirs in found.rows(10):
        table.add_row(f"{count:_}", f"{ours:.9g}", f"{theirs:.9g}", f"{theirs - ours:.3g}")
    console.print(table)
    raise click.exceptions.Exit(1)


def _from_words(text: str) -> Schedule:
    """A schedule from one argument: a name with its options, a JSON file, or "-"."""
    words = [text] if Path(text).is_file() else shlex.split(text)
    own = ("at", "stop", "as_json")
    reader = click.Command("schedule", params=[parameter for parameter in show.params if parameter.name not in own])
    options = dict(reader.make_context("schedule", words).params)
    return _build(options.pop("source"), options)


@schedule.command()
@click.option("--min-lr", type=float, default=0.1, help="Minimum for a peak of 1; default 0.1.")
@click.option("--warmup-steps", type=Count(), default=10, help="Default 10.")
@click.option("--total-steps", type=Count(), default=100, help="Default 100.")
def edges(min_lr: float, warmup_steps: int, total_steps: int) -> None:
    """Print, as Markdown, what other frameworks do at the first update, at the peak, and after the end."""
    try:
        found = frameworks_edges(min_lr=min_lr, warmup_steps=warmup_steps, total_steps=total_steps)
    except InvalidArgument as error:
        raise click.UsageError(str(error)) from error
    click.echo("| framework | kind | update 0 | largest at | update T - 1 | T | 1.2 T |\n|---|---|---|---|---|---|---|")
    for row in found:
        top = " to ".join(str(k) for k in dict.fromkeys(row.peak_at))
        values = " | ".join(f"{value:.4f}" for value in (row.last, row.total, row.after))
        click.echo(f"| {row.framework} | {row.kind} | {row.first:.3f} | {top} | {values} |")


def _segment_table(built: Schedule) -> Table:
    table = Table(title=f"segments ({built.units})", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("kind", no_wrap=True)
    for name in ("start", "stop", "from", "to"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for segment in built.segments:
        table.add_row(
            segment.kind,
            f"{segment.start:_}",
            "no end" if segment.stop is None else f"{segment.stop:_}",
            f"{segment.from_value:.6g}",
            f"{segment.to_value:.6g}",
            segment.details(),
        )
    return table


def _value_table(built: Schedule, at: tuple[int, ...]) -> Table:
    joints = [segment.start for segment in built.segments[1:]]
    end = built.length
    counts = {0, 1, *at} | {count + d for count in joints for d in (-1, 0, 1)}
    notes = {0: "first update", **dict.fromkeys(joints, "joint")}
    if end is not None:
        counts |= {max(end - 1, 0), end, end + 1}
        notes[end] = "end, held"
    table = Table(title="values", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("updates applied" if built.units == "steps" else "tokens consumed", justify="right", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("")
    for count in sorted(counts):
        if count <= MAX_COUNT:
            table.add_row(f"{count:_}", f"{built(count):.9g}", notes.get(count, ""))
    return table


def _print_chart(console: Console, built: Schedule, stop: int) -> None:
    blocks = _EIGHTHS if console.encoding.lower().startswith("utf") else " #"
    width = max(min(console.width, 100) - 14, 24)
    top = max(built.values(sample(built, stop, points=1000)).tolist())
    lines = text_chart(built, stop, top=top, width=width, height=8, blocks=blocks)
    labels = [f"{top:.4g}"] + [""] * 6 + ["0"]
    for label, line in zip(labels, lines, strict=True):
        console.print(f"{label:>11} |{line}", markup=False, no_wrap=True)
    console.print(f"{'':>12} 0{f'{stop:_}':>{width - 1}}", markup=False, no_wrap=True)
