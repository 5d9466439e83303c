"""``rewarm trace``: look at, check, aggregate, convert, report and generate traces without writing Python."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from rewarm.errors import BackendUnavailable, InvalidArgument, TraceError

_Command = TypeVar("_Command", bound=Callable[..., Any])
TABLES = ("cold_start", "request", "runtime", "minute")
#: Exit statuses beside 0 and 130.
FOUND, BAD_USE, UNREADABLE = 1, 2, 3


class Names(click.ParamType):  # type: ignore[type-arg]  # generic in new releases of click only
    """Comma-separated names, or numbers."""

    name = "a,b,…"

    def __init__(self, kind: type[str] | type[float] = str) -> None:
        self.kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        """The tuple that `value` spells."""
        if isinstance(value, tuple):
            return value
        try:
            found = tuple(self.kind(part.strip()) for part in value.split(",") if part.strip())
        except ValueError:
            found = ()
        if not found:
            self.fail(f"expected {'numbers' if self.kind is float else 'names'} with commas between, got {value!r}", param, ctx)
        return found


class Span(click.ParamType):  # type: ignore[type-arg]
    """START:STOP in seconds since the trace began, half open; either may be left out."""

    name = "start:stop"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, Any]:
        """The pair that `value` spells."""
        if isinstance(value, tuple):
            return value
        start, colon, stop = value.partition(":")
        try:
            pair = tuple(float(part) if part.strip() else None for part in (start, stop))
        except ValueError:
            colon = ""
        if not colon:
            self.fail(f"expected START:STOP in seconds, such as 0:86400 or 2592000:, got {value!r}", param, ctx)
        return pair[0], pair[1]


class Failure(click.ClickException):
    """An error with an exit status of its own."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.__dict__["exit_code"] = exit_code  # click declares it for the class


class TraceGroup(click.Group):
    """Turns what rewarm raises on purpose into one line and the exit status that `trace` promises."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command."""
        try:
            return super().invoke(ctx)
        except TraceError as error:
            raise Failure(str(error), UNREADABLE) from error
        except (InvalidArgument, BackendUnavailable) as error:
            raise Failure(str(error), BAD_USE) from error
        except OSError as error:
            if error.errno == errno.EPIPE:  # `| head` has seen enough
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                ctx.exit(0)
            raise Failure(f"{error.filename or 'output'}: {error.strerror or error}", UNREADABLE) from error


def _option(name: str, text: str, **settings: Any) -> Callable[[_Command], _Command]:
    return click.option(name, help=text, **settings)


def _policy(name: str, choices: list[str], text: str) -> Callable[[_Command], _Command]:
    return _option(name, text, type=click.Choice(choices), default=choices[0], show_default=True)


_OPTIONS: dict[str, Callable[[Any], Any]] = {
    "table": _option(
        "--table", "Which table, where a path holds several or its header does not say.", type=click.Choice(TABLES)
    ),
    "region": _option("--region", "Only these regions, such as R2,R3.", type=Names()),
    "time": _option("--time", "Only these seconds since the trace began, such as 0:86400 for day 0.", type=Span()),
    "columns": _option("--columns", "Only these columns; derived ones such as funcID or hour, too.", type=Names()),
    "ids": _policy("--ids", ["binary", "text"], "Ids as bytes and pods taken apart, or both as they stand."),
    "on_error": _policy(
        "--on-error", ["raise", "null", "skip"], "A field that cannot be read: stop, leave it out, or leave its row out."
    ),
    "unknown_columns": _policy("--unknown-columns", ["raise", "ignore"], "Columns that the release does not have."),
    "threads": _option("--threads", "Default: one for every processor that may be used.", type=click.IntRange(min=1)),
    "json_file": click.option("--json", "json_file", metavar="FILE", help="Write the result as JSON; - is standard output."),
    "runtime": _option("--runtime", "The runtime table to join; default: the one beside the trace.", type=click.Path()),
}


def _options(*names: str) -> Callable[[_Command], _Command]:
    """The arguments PATH... and the shared options of these names."""

    def decorate(command: _Command) -> _Command:
        for name in reversed(names):
            command = _OPTIONS[name](command)
        return click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path())(command)

    return decorate


def _one_or_list(paths: tuple[str, ...]) -> Any:
    return paths[0] if len(paths) == 1 else list(paths)


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options that were given: what was not stays with the default of the function."""
    made = {name: list(value) if name in ("region", "columns") and value else value for name, value in options.items()}
    return {name: value for name, value in made.items() if value is not None}


def _console() -> Console:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 160
    return console


def _write_json(target: str, value: Any) -> None:
    """Standard output for "-", else a file that is whole or absent."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    if target == "-":
        click.echo(text, nl=False)
        return
    from rewarm.trace.whole_file import whole_file

    with whole_file(Path(target)) as path:
        path.write_text(text, encoding="utf-8")


def _assumed(region: str | None) -> None:
    """Says that a runtime table is taken for a region's."""
    if region is not None:
        click.echo(f"note: the runtime table's path tells no region; it is taken to be that of {region}", err=True)


def _rejects_found(rejects: Any) -> None:
    """Says what could not be read, and makes that the exit status."""
    from rewarm.trace import shown

    lines = shown.reject_lines(rejects)
    for line in lines:
        click.echo(line, err=True)
    if lines:
        click.get_current_context().exit(FOUND)


@click.group(cls=TraceGroup)
def trace() -> None:
    """Read the Huawei cloud trace of 2025 and answer its paper's questions.

    PATH is a CSV file, a folder, a ZIP archive, a .gz or .zst file, or several of them; the release's own layout is
    understood as it was downloaded.

    \b
    rewarm trace generate demo --region R2 --scale 0.1
    rewarm trace check demo
    rewarm trace report demo -o report.html

    Exit status: 0 done, 1 violations or unreadable fields were found, 2 wrong usage, 3 a file that cannot be read,
    130 interrupted.
    """  # noqa: D301 - click reads a real backspace


@trace.command()
@_options("table", "region", "time", "columns", "ids", "on_error", "unknown_columns", "threads", "json_file")
@click.option("-n", "--rows", type=click.IntRange(min=0), default=10, show_default=True, help="How many rows.")
def head(paths: tuple[str, ...], rows: int, json_file: str | None, **options: Any) -> None:
    """Show the first rows of one table, read no further than that.

    \b
    rewarm trace head cold_start/R2.zip
    rewarm trace head per_request/R5 --columns funcID,size,totalCost_worker -n 3
    rewarm trace head runtime_triggerType --json -
    """  # noqa: D301
    from rewarm.trace import shown
    from rewarm.trace.one_source import record_batches
    from rewarm.trace.reader import batches

    with batches(_one_or_list(paths), **_given(options)) as stream:
        first = shown.first_rows(record_batches(stream), rows, stream.schema)
        rejects = stream.rejects
        _assumed(stream.assumed_region)
    if json_file is not None:
        _write_json(json_file, shown.json_rows(first))
    if json_file != "-":
        _console().print(shown.rows_table(first, _console().width))
    _rejects_found(rejects)


@trace.command()
@_options("table", "region", "time", "unknown_columns", "threads", "json_file")
def check(paths: tuple[str, ...], json_file: str | None, **options: Any) -> None:
    """Check identities, ranges, order and gaps of every table found.

    Lines that begin with "note" count things that are normal in the release, such as ids that come again. All others
    are rules: one violation makes the exit status 1.

    \b
    rewarm trace check datasets/cold_start_dataset
    rewarm trace check cold_start/R1.zip --json check.json
    """  # noqa: D301
    from rewarm.trace import shown
    from rewarm.trace.check import check as run_check

    found = run_check(_one_or_list(paths), progress=True, **_given(options))
    records = shown.records(found)
    if json_file is not None:
        _write_json(json_file, records)
    if json_file != "-":
        _console().print(shown.check_table(records))
    if any(record["violations"] for record in records if not record["check"].startswith("note")):
        click.get_current_context().exit(FOUND)


@trace.command()
@_options("table", "region", "time", "runtime", "on_error", "unknown_columns", "json_file")
@click.option("--by", type=Names(), default=(), help="Keys, such as region,runtime,hour.")
@click.option("--values", type=Names(), default=(), help="Columns to sum up, such as totalCost_cold_start.")
@click.option("--quantiles", type=Names(float), default=(), help="Such as .5,.99; within 1 % of the exact value.")
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Save the aggregate, to be merged with others.")
@click.option("--engine", type=click.Choice(["threads", "ray"]), default="threads", show_default=True)
@click.option("--workers", "--threads", "workers", type=click.IntRange(min=1), help="Threads, or Ray workers.")
@click.option("--max-groups", type=click.IntRange(min=1), help="Refuse keys with more values than this.")
def scan(paths: tuple[str, ...], json_file: str | None, output: str | None, **options: Any) -> None:
    """Count, mean, minimum, maximum and quantiles for every group, in one pass.

    The result does not depend on threads, machines or the order of files, and aggregates of different files merge.

    \b
    rewarm trace scan cold_start --by region,hour --values totalCost_cold_start --quantiles .5,.99
    rewarm trace scan cold_start/R1 --by funcName --values totalCost_cold_start -o R1.agg
    """  # noqa: D301
    from rewarm.trace.aggregate import aggregate
    from rewarm.trace.progress import Progress
    from rewarm.trace.source import RUNTIME_REGION, discover

    given = _given(options)
    total = sum(
        s.size for s in discover(_one_or_list(paths), **{k: given[k] for k in ("table", "region") if k in given}).sources
    )
    with Progress("scan", total) as shown:
        found = aggregate(_one_or_list(paths), progress=shown, **given)
    if "runtime" in found.by or "trigger_group" in found.by:
        joined = discover(given.get("runtime", _one_or_list(paths)), table="runtime").sources
        _assumed(RUNTIME_REGION if any(source.region is None for source in joined) else None)
    _aggregate_out(found, output, json_file)


@trace.command()
@click.argument("files", metavar="F.agg...", nargs=-1, required=True, type=click.Path(dir_okay=False))
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Save the merged aggregate.")
@_OPTIONS["json_file"]
def merge(files: tuple[str, ...], output: str | None, json_file: str | None) -> None:
    """Put aggregates of different files together.

    \b
    rewarm trace merge R1.agg R2.agg -o all.agg
    """  # noqa: D301
    from rewarm.trace.aggregate import Aggregate

    first, *others = [Aggregate.load(file) for file in files]
    _aggregate_out(first.merge(*others) if others else first, output, json_file)


def _aggregate_out(found: Any, output: str | None, json_file: str | None) -> None:
    from rewarm.trace import shown

    if output is not None:
        found.save(output)
    if json_file is not None:
        _write_json(json_file, shown.records(found))
    if json_file != "-" and output is None:
        _console().print(shown.aggregate_table(found))
    elif json_file != "-":
        click.echo(output)
    _rejects_found(found.rejects)


@trace.command()
@_options("table", "region", "columns", "ids", "on_error", "unknown_columns", "threads")
@click.option("-o", "--output", required=True, type=click.Path(), help="Folder, or FILE.parquet for a single input.")
def convert(paths: tuple[str, ...], output: str, **options: Any) -> None:
    """Write one Parquet file for every input file, rows in the same order.

    A file appears under its name only when it is whole. Sorting is claimed in the file only where it was verified.

    \b
    rewarm trace convert cold_start/R2.zip -o parquet
    rewarm trace convert per_request/R5 -o parquet --columns time_worker,funcName,totalCost_worker
    """  # noqa: D301
    from rewarm.trace.convert import convert_all

    written, rejects = convert_all(_one_or_list(paths), output, progress=True, **_given(options))
    for path in written:
        click.echo(path)
    for of_file in rejects:
        _rejects_found(of_file)


@trace.command()
@_options("region", "runtime", "json_file")
@click.option("-o", "--output", type=click.Path(dir_okay=False), default="report.html", show_default=True)
def report(paths: tuple[str, ...], output: str, json_file: str | None, **options: Any) -> None:
    """Compute every figure and table of the paper that the files allow, as one offline HTML page.

    \b
    rewarm trace report datasets/cold_start_dataset -o report.html --json report.json
    """  # noqa: D301
    from rewarm.trace.report import report as make_report

    def tell(what: str) -> None:
        click.echo(f"report: {what}", err=True)

    piped = json_file == "-"
    made = make_report(_one_or_list(paths), out=output, json=None if piped else json_file, progress=tell, **_given(options))
    if piped:
        _write_json("-", made)
    counts = made["summary"]
    click.echo(
        f"{counts['published']} published numbers: {counts['agree']} agree, {counts['differ']} differ, "
        f"{counts['ambiguous']} ambiguous, {counts['partial']} of a part of the data, {counts['not_measured']} not measured",
        err=piped,
    )
    click.echo(output, err=piped)


@trace.command()
@click.argument("out", type=click.Path(file_okay=False))
@click.option("--region", type=Names(), help="Default: all five.")
@click.option("--scale", type=click.FloatRange(min=0, min_open=True), help="Events of the release times this; default 1.")
@click.option("--rows", type=click.IntRange(min=0), help="Cold starts of each region, instead of --scale.")
@click.option("--days", type=click.IntRange(min=1, max=31), help="Default: 31.")
@click.option("--seed", type=int, help="Default: 0. The same seed makes the same bytes.")
@click.option("--tables", type=Names(), help=f"Default: {','.join(TABLES)}.")
@click.option("--oddities", type=Names(), help="Spellings and damage to build in; an unknown name lists them.")
@click.option("--overwrite", is_flag=True, help="Replace what is in OUT.")
def generate(out: str, overwrite: bool, **options: Any) -> None:
    """Write a synthetic trace with the release's layout, spelling and published statistics.

    \b
    rewarm trace generate demo --region R2 --scale 0.1
    rewarm trace generate big --rows 2000000 --tables cold_start --seed 7
    """  # noqa: D301
    sequences = {name: tuple(value) for name, value in options.items() if isinstance(value, tuple)}
    from rewarm.trace.progress import Progress
    from rewarm.trace.synthetic import generate as make

    with Progress("generate", by_rows=True) as shown:

        def note(rows: int, total: int) -> None:
            shown.total = total
            shown(0, rows)

        make(out, overwrite=overwrite, progress=note, **_given(options | sequences))
    click.echo(out)
