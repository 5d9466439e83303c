"""``rewarm bench``: the command line of the benchmarks. Loads torch only when it runs."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import click

from rewarm.errors import BackendUnavailable


class Names(click.ParamType):  # type: ignore[type-arg]  # generic in new releases of click only
    """Comma-separated names, or whole numbers >= 1."""

    name = "a,b,…"

    def __init__(self, numbers: bool = False) -> None:
        self.numbers = numbers

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        """The tuple that `value` spells."""
        if isinstance(value, tuple):
            return value
        parts = tuple(part.strip() for part in value.split(",") if part.strip())
        if not self.numbers:
            return parts
        if not parts or not all(part.isdecimal() and int(part) > 0 for part in parts):
            self.fail(f"expected whole numbers >= 1, got {value!r}", param, ctx)
        return tuple(int(part) for part in parts)


@click.command()
@click.option("--quick", is_flag=True, help="The small workloads and one large one, in under 3 minutes on two cores.")
@click.option("--only", type=Names(), default=(), help="Families of workloads: adamw.")
@click.option("--sets", type=Names(), default=(), help="Parameter sets, e.g. sac,redq10,pythia70m.")
@click.option("--dtypes", type=Names(), default=(), help="fp32, bf16 (bf16 moments), bf16_sr (fp32 moments).")
@click.option("--threads", type=Names(numbers=True), default=(), help="Thread counts, one after the other; default: torch's.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="Default: a GPU that rewarm can step, else the CPU.")
@click.option("--pin/--no-pin", default=True, help="Bind to as many processors as there are threads (default) or do not.")
@click.option("--busy", is_flag=True, help="Instead: ours and torch fused beside one busy loop on every processor used.")
@click.option("--cold", is_flag=True, help="Time every run after those of the other variants, in small workloads too.")
@click.option("--rounds", type=click.IntRange(min=5), default=500, show_default=True, help="Runs of each variant at most.")
@click.option("--buffer-gib", type=click.FloatRange(min=0.001), default=1.0, show_default=True, help="For the bandwidth.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write header and results.")
def bench(
    quick: bool,
    only: tuple[str, ...],
    sets: tuple[str, ...],
    dtypes: tuple[str, ...],
    threads: tuple[int, ...],
    device: str | None,
    pin: bool,
    busy: bool,
    cold: bool,
    rounds: int,
    buffer_gib: float,
    json_file: Path | None,
) -> None:
    """Time the fused steps against their peers and the memory floor.

    Variants run interleaved in one process, after their results were found equal. Gradients lie at the same addresses
    in every step (stable) or at new ones (fresh). Where the working set fits into the last cache, an untimed run of the
    same variant precedes each timed one. Tables for a README: python -m rewarm.bench.table FILE.json
    """
    if importlib.util.find_spec("torch") is None:
        raise BackendUnavailable('rewarm bench: torch is not installed: pip install "rewarm[torch]"')
    from rewarm.bench import run

    named = {"--only": only, "--sets": sets, "--dtypes": dtypes, "--threads": threads}
    flags = {"--quick": quick, "--busy": busy, "--cold": cold, "--no-pin": not pin}
    command = ["rewarm", "bench", *(flag for flag, given in flags.items() if given)]
    command += [f"{option} {','.join(map(str, values))}" for option, values in named.items() if values]
    command += [f"--device {device}"] if device else []
    command += [f"--rounds {rounds}"] if rounds != 500 else []
    command += [f"--buffer-gib {buffer_gib:g}"] if buffer_gib != 1.0 else []
    run.run(
        run.Options(
            quick=quick,
            only=only,
            sets=sets,
            dtypes=dtypes,
            threads=threads,
            device=device,
            pin=pin,
            busy=busy,
            cold=cold,
            rounds=rounds,
            buffer_bytes=int(buffer_gib * 2**30) // 64 * 64,
            json_file=json_file,
            command=tuple(" ".join(command).split()),
        )
    )
