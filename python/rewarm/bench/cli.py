"""``rewarm bench``: the command line of the benchmarks. Loads torch only when it measures steps."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import click

from rewarm.bench import FAMILIES, TENSOR_FAMILIES, family_of_set
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
    help="Families of workloads: adamw, q, trace; default: all whose libraries are installed, with --quick the first.",
)
@click.option("--cases", type=Names(), default=(), help="Tables of trace: request, batches, group, hourly, exponents, gz.")
@click.option(
    "--sets",
    type=Names(),
    default=(),
    help="Parameter sets of adamw, e.g. sac,redq10,pythia70m; of q: q_64x2, q_2x256, q_antmaze, q_calql, q_3x512.",
)
@click.option("--seeds", type=Names(numbers=True), default=(), help="Of q: agents that are updated at once; default: 1 and 8.")
@click.option(
    "--dtypes",
    type=Names(),
    default=(),
    help="fp32; of adamw bf16 (bf16 moments), bf16_sr (fp32 moments); of q on a GPU tf32.",
)
@click.option(
    "--threads",
    type=Names(numbers=True),
    default=(),
    help="Thread counts, one after the other; default: torch's for adamw, 1 for q, 1 and 2 for trace.",
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="Default: a GPU that rewarm can step, else the CPU.")
@click.option("--pin/--no-pin", default=True, help="Bind to as many processors as there are threads (default) or do not.")
@click.option("--busy", is_flag=True, help="Instead: ours and a peer beside one busy loop on every processor used.")
@click.option("--cold", is_flag=True, help="Time every run after those of the other variants, in small workloads too.")
@click.option("--rounds", type=click.IntRange(min=2), help="Runs of each variant: at most 500 for adamw and q, 5 for trace.")
@click.option("--megabytes", type=click.FloatRange(min=0.1), help="Of each file of trace; default: 300, or 30 with --quick.")
@click.option("--buffer-gib", type=click.FloatRange(min=0.001), default=1.0, show_default=True, help="For the bandwidth.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write header and results.")
def bench(
    quick: bool,
    only: tuple[str, ...],
    cases: tuple[str, ...],
    sets: tuple[str, ...],
    seeds: tuple[int, ...],
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

    q: as adamw; an update on given rows with its draws, on one pinned core unless --threads says otherwise. Peers that need it
    are compiled first (torch.compile, a minute or more; its time is told apart). The floor is torch's matrix product.

    trace: every case is a process of its own, confined to the same processors; files are made first, in the temporary
    folder (about 1.5 GB at 300 MB a file), and results were found equal.

    Tables for a README: python -m rewarm.bench.table FILE.json
    """
    for name in only:
        if name not in FAMILIES:
            raise InvalidArgument(f"--only: expected some of {', '.join(FAMILIES)}, got {name!r}")
    if json_file is not None and not json_file.absolute().parent.is_dir():
        raise InvalidArgument(f"--json: expected a file in an existing folder, got {str(json_file)!r}")
    asks_for_steps = bool(sets or seeds or dtypes or device or busy or cold)
    families = only or (("trace",) if cases else _installed(asks_for_steps, quick))
    if not only and asks_for_steps:
        families = tuple(name for name in families if _wanted(name, sets, seeds, dtypes)) or families
    if cases and "trace" not in families:
        raise InvalidArgument(f"--cases: they are of trace, which --only {','.join(only)} leaves out")
    if seeds and "q" not in families:
        raise InvalidArgument("--seeds: they are of q, which these options leave out")

    named = {"--only": only, "--cases": cases, "--sets": sets, "--seeds": seeds, "--dtypes": dtypes, "--threads": threads}
    flags = {"--quick": quick, "--busy": busy, "--cold": cold, "--no-pin": not pin}
    command = ["rewarm", "bench", *(flag for flag, given in flags.items() if given)]
    command += [f"{option} {','.join(map(str, values))}" for option, values in named.items() if values]
    command += [f"--device {device}"] if device else []
    command += [f"--rounds {rounds}"] if rounds is not None else []
    command += [f"--megabytes {megabytes:g}"] if megabytes is not None else []
    command += [f"--buffer-gib {buffer_gib:g}"] if buffer_gib != 1.0 else []
    spelled = tuple(" ".join(command).split())
    reports: dict[str, dict[str, Any]] = {}
    for family in TENSOR_FAMILIES:
        if family not in families:
            continue
        if importlib.util.find_spec("torch") is None:
            raise BackendUnavailable('rewarm bench: torch is not installed: pip install "rewarm[torch]"')
        from rewarm.bench import run

        mine = tuple(name for name in sets if family_of_set(name) == family)
        if sets and not mine:
            raise InvalidArgument(f"--sets: none of {', '.join(sets)} is of {family}, which --only asks for")
        reports[family] = run.run(
            run.Options(
                family=family,
                quick=quick,
                sets=mine,
                seeds=seeds,
                dtypes=dtypes if only else tuple(name for name in dtypes if name in TENSOR_FAMILIES[family].dtypes) or dtypes,
                threads=threads,
                device=device,
                pin=pin,
                busy=busy,
                cold=cold,
                rounds=500 if rounds is None else rounds,
                buffer_bytes=int(buffer_gib * 2**30) // 64 * 64,
                command=spelled,
            )
        )
        if json_file is not None:
            _write(json_file, reports)
    if "trace" in families:
        from rewarm.bench import trace

        reports["trace"] = trace.run(
            trace.Options(
                quick=quick, cases=cases, threads=threads, rounds=rounds, megabytes=megabytes, pin=pin, command=spelled
            )
        )
        if json_file is not None:
            _write(json_file, reports)


def _write(path: Path, reports: dict[str, dict[str, Any]]) -> None:
    """One file of the families so far, so that what was measured is kept: the first one's header, and the others' beside it."""
    (_, first), *others = reports.items()
    results = [r for report in reports.values() for r in report["results"]]
    write_json(path, {"header": first["header"], "results": results} | {f"header_of_{n}": r["header"] for n, r in others})


def _wanted(family: str, sets: tuple[str, ...], seeds: tuple[int, ...], dtypes: tuple[str, ...]) -> bool:
    """Whether options that name no family can mean this one."""
    known = TENSOR_FAMILIES[family]
    if sets and not any(family_of_set(name) == family for name in sets):
        return False
    return (family == "q" or not seeds) and (not dtypes or any(name in known.dtypes for name in dtypes))


def _installed(asks_for_steps: bool, quick: bool) -> tuple[str, ...]:
    """The families that can run here; options that only mean something for optimizer steps leave the others out.

    A quick run takes the first of them, to end within its time.
    """
    families = tuple(TENSOR_FAMILIES) if importlib.util.find_spec("torch") is not None else ()
    if quick and not asks_for_steps:
        families = families[:1]
    if not asks_for_steps and not (quick and families) and importlib.util.find_spec("pyarrow") is not None:
        families += ("trace",)
    return families or tuple(TENSOR_FAMILIES)
