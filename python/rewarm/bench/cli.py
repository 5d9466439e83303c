"""``rewarm bench``: the command line of the benchmarks. Loads torch only when it measures steps."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import click

from rewarm.bench import FAMILIES, TENSOR_FAMILIES
from rewarm.bench.json_file import write_json
from rewarm.errors import BackendUnavailable, InvalidArgument


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
@click.option(
    "--only",
    type=Names(),
    default=(),
    help="Families of workloads: adamw, trace; default: those whose libraries are installed, with --quick the first of them.",
)
@click.option("--cases", type=Names(), default=(), help="Tables of trace: request, batches, group, hourly, exponents, gz.")
@click.option("--sets", type=Names(), default=(), help="Parameter sets, e.g. sac,redq10,pythia70m.")
@click.option("--dtypes", type=Names(), default=(), help="fp32, bf16 (bf16 moments), bf16_sr (fp32 moments).")
@click.option(
    "--threads",
    type=Names(numbers=True),
    default=(),
    help="Thread counts, one after the other; default: torch's for adamw, 1 and 2 for trace.",
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="Default: a GPU that rewarm can step, else the CPU.")
@click.option("--pin/--no-pin", default=True, help="Bind to as many processors as there are threads (default) or do not.")
@click.option("--busy", is_flag=True, help="Instead: ours and torch fused beside one busy loop on every processor used.")
@click.option("--cold", is_flag=True, help="Time every run after those of the other variants, in small workloads too.")
@click.option("--rounds", type=click.IntRange(min=2), help="Runs of each variant: at most 500 for adamw, 5 for trace.")
@click.option("--megabytes", type=click.FloatRange(min=0.1), help="Of each file of trace; default: 300, or 30 with --quick.")
@click.option("--buffer-gib", type=click.FloatRange(min=0.001), default=1.0, show_default=True, help="For the bandwidth.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write header and results.")
def bench(
    quick: bool,
    only: tuple[str, ...],
    cases: tuple[str, ...],
    sets: tuple[str, ...],
    dtypes: tuple[str, ...],
    threads: tuple[int, ...],
    device: str | None,
    pin: bool,
    busy: bool,
    cold: bool,
    rounds: int | None,
    megabytes: float | None,
    buffer_gib: float,
    json_file: Path | None,
) -> None:
    """Time what rewarm does against its peers and the memory floor.

    adamw: variants run interleaved in one process, after their results were found equal. Gradients lie at the same
    addresses in every step (stable) or at new ones (fresh). Where the working set fits into the last cache, an untimed run
    of the same variant precedes each timed one.

    trace: every case is a process of its own, confined to the same processors; files are made first, in the temporary
    folder (about 1.5 GB at 300 MB a file), and results were found equal.

    Tables for a README: python -m rewarm.bench.table FILE.json
    """
    for name in only:
        if name not in FAMILIES:
            raise InvalidArgument(f"--only: expected some of {', '.join(FAMILIES)}, got {name!r}")
    if json_file is not None and not json_file.absolute().parent.is_dir():
        raise InvalidArgument(f"--json: expected a file in an existing folder, got {str(json_file)!r}")
    asks_for_steps = bool(sets or dtypes or device or busy or cold)
    families = only or (("trace",) if cases else _installed(asks_for_steps, quick))
    if cases and "trace" not in families:
        raise InvalidArgument(f"--cases: they are of trace, which --only {','.join(only)} leaves out")

    named = {"--only": only, "--cases": cases, "--sets": sets, "--dtypes": dtypes, "--threads": threads}
    flags = {"--quick": quick, "--busy": busy, "--cold": cold, "--no-pin": not pin}
    command = ["rewarm", "bench", *(flag for flag, given in flags.items() if given)]
    command += [f"{option} {','.join(map(str, values))}" for option, values in named.items() if values]
    command += [f"--device {device}"] if device else []
    command += [f"--rounds {rounds}"] if rounds is not None else []
    command += [f"--megabytes {megabytes:g}"] if megabytes is not None else []
    command += [f"--buffer-gib {buffer_gib:g}"] if buffer_gib != 1.0 else []
    spelled = tuple(" ".join(command).split())
    reports: list[dict[str, Any]] = []
    if set(families) & set(TENSOR_FAMILIES):
        if importlib.util.find_spec("torch") is None:
            raise BackendUnavailable('rewarm bench: torch is not installed: pip install "rewarm[torch]"')
        from rewarm.bench import run

        reports.append(
            run.run(
                run.Options(
                    quick=quick,
                    only=tuple(name for name in families if name in TENSOR_FAMILIES),
                    sets=sets,
                    dtypes=dtypes,
                    threads=threads,
                    device=device,
                    pin=pin,
                    busy=busy,
                    cold=cold,
                    rounds=500 if rounds is None else rounds,
                    buffer_bytes=int(buffer_gib * 2**30) // 64 * 64,
                    json_file=json_file,
                    command=spelled,
                )
            )
        )
    if "trace" in families:
        from rewarm.bench import trace

        reports.append(
            trace.run(
                trace.Options(
                    quick=quick, cases=cases, threads=threads, rounds=rounds, megabytes=megabytes, pin=pin, command=spelled
                )
            )
        )
        if json_file is not None:
            # The steps' report is there already; a run of both ends with one file of both.
            first, *others = reports
            write_json(
                json_file,
                first
                | {"results": [r for report in reports for r in report["results"]]}
                | {f"header_of_{name}": report["header"] for name, report in zip(("trace",), others, strict=False)},
            )


def _installed(asks_for_steps: bool, quick: bool) -> tuple[str, ...]:
    """The families that can run here; options that only mean something for optimizer steps leave the others out.

    A quick run takes the first of them, to end within its time.
    """
    families = tuple(TENSOR_FAMILIES) if importlib.util.find_spec("torch") is not None else ()
    if not asks_for_steps and not (quick and families) and importlib.util.find_spec("pyarrow") is not None:
        families += ("trace",)
    return families or tuple(TENSOR_FAMILIES)
