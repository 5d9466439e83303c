"""The command line: ``rewarm env``, ``rewarm bench``, ``rewarm inspect``, ``rewarm schedule``, ``rewarm trace``.

A command's module is imported when the command runs, so that ``rewarm --help`` loads neither torch nor triton nor matplotlib.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any

import click

from rewarm import __version__
from rewarm.errors import RewarmError

#: Where every command lives, and the line that ``rewarm --help`` says about it without looking there.
COMMANDS = {
    "bench": ("rewarm.bench.cli:bench", "Time the fused steps against their peers and the memory floor."),
    "env": ("rewarm.env:env", "Show what was built and found here, and check one step of every backend."),
    "inspect": ("rewarm.resume.inspect:inspect", "Show what a checkpoint holds and what a resume will do."),
    "schedule": ("rewarm.schedule.cli:schedule", "Plot or print learning rate schedules."),
    "trace": ("rewarm.trace.cli:trace", "Read, check, aggregate and report the Huawei cold-start trace."),
}


class LazyGroup(click.Group):
    """A group that imports a command when it is run, and shows errors of rewarm as one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports the command of that name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the help lines of `COMMANDS`; click itself would import every command for them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command; what rewarm raises on purpose needs no traceback."""
        try:
            return super().invoke(ctx)
        except RewarmError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="rewarm")
def rewarm() -> None:
    """Warm starts: a fused, schedule-aware AdamW, and cold starts in the Huawei trace."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and ends the process: 0 done, 1 an error, 2 wrong usage, 130 interrupted."""
    try:
        code = rewarm.main(None if arguments is None else list(arguments), prog_name="rewarm", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)
