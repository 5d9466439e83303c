"""Compiles Triton kernels of the Q ops without a GPU: `python -m rewarm.q.ahead_of_time [--all]`.

Shows what Triton's interpreter cannot: that they compile, and that shared memory and registers fit. Every architecture gets
a part of the sizes, all of them with --all (minutes). Not for shipping: code compiled for newer architectures runs on those
alone.
"""

from __future__ import annotations

import multiprocessing
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triton

from rewarm._dispatch import triton_interpreted
from rewarm.q.cql_penalty_triton import penalty_backward_kernel, penalty_kernel
from rewarm.q.ensemble_min_triton import BLOCK as GROUP_BLOCK
from rewarm.q.ensemble_min_triton import group_kernel
from rewarm.q.ensemble_mlp_kernels_triton import backward_kernel, forward_kernel
from rewarm.q.ensemble_shape_triton import MANY_ROWS, EnsembleShape
from rewarm.q.ensemble_weights_triton import weight_gradients_kernel
from rewarm.q.philox_triton import KINDS, draw_kernel, subset_kernel
from rewarm.q.tanh_gaussian_kernels_triton import log_prob_kernel, sample_backward_kernel, sample_kernel
from rewarm.q.td_target_triton import td_target_kernel

#: Compute capabilities: A100, H100, B200.
ARCHITECTURES = (80, 90, 100)
#: Bytes of shared memory that a program may have on every GPU since sm_80; 8.6 and 8.9 have least.
SHARED_LIMIT = 99 * 1024
_SMALL = {"num_warps": 4, "enable_fp_fusion": True}


@dataclass(frozen=True)
class Size:
    """Networks that the papers have, by the fields that change the compiled code."""

    widths: tuple[int, ...]
    precision: str
    rows: int = 256
    outputs: int = 0


#: What each architecture compiles by default, so that every precision, tile and head is seen somewhere.
SIZES = {
    80: (Size((64, 64), "tf32"),),
    90: (Size((256, 256), "fp32"), Size((512, 64), "tf32", outputs=24)),
    100: (Size((256, 256), "bf16", MANY_ROWS),),
}
ALL = tuple(
    Size(widths, precision, rows, outputs)
    for widths, outputs in (((256, 256), 0), ((64, 64), 16), ((256,) * 4, 0), ((512,) * 3, 48), ((1000,), 0))
    for precision in ("fp32", "tf32", "bf16")
    for rows in (256, MANY_ROWS)
)


@dataclass(frozen=True)
class Source:
    """One compilation."""

    name: str
    kernel: Any
    options: dict[str, Any]
    constants: dict[str, Any]
    tuples: dict[str, int]  # of how many pointers each tuple is

    def build(self, architecture: int) -> Any:
        """Compiles it, as for tensors of torch: addresses are multiples of 16."""
        from triton.backends.compiler import GPUTarget
        from triton.compiler import ASTSource

        signature: dict[str, Any] = {}
        attributes: dict[tuple[int, ...], Any] = {}
        for i, name in enumerate(self.kernel.arg_names):
            if name in self.constants:
                signature[name] = "constexpr"
            elif name in self.tuples:
                signature[name] = ("*fp32",) * self.tuples[name]
                attributes |= {(i, k): [["tt.divisibility", 16]] for k in range(self.tuples[name])}
            elif name in _SCALARS:
                signature[name] = _SCALARS[name]
            else:
                signature[name] = _POINTERS.get(name, "*fp32")
                attributes[(i,)] = [["tt.divisibility", 16]]
        source = ASTSource(self.kernel, signature=signature, constexprs=self.constants, attrs=attributes)
        return triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=self.options)


_SCALARS = {
    **dict.fromkeys(("x_seed", "x_critic", "actions_seed", "first", "n_rows", "all_rows", "repeats", "n_drawn"), "i32"),
    **dict.fromkeys(("n_critics", "n_tiles", "accumulate", "rows", "n_actions", "first_bounded", "samples"), "i32"),
    **dict.fromkeys(("stream", "batch", "count"), "i32"),
    **dict.fromkeys(("gamma", "temperature", "shift"), "fp32"),
}
_POINTERS = {
    **dict.fromkeys(("index_ptr", "critic_ptr", "seed_ptr", "offset_ptr"), "*i64"),
    **dict.fromkeys(("rows_ptr", "counts_ptr"), "*i32"),
    "terminated_ptr": "*u8",
}


def ensemble_sources(size: Size) -> Iterator[Source]:
    """The kernels of `ensemble_mlp` with a drawn subset, and those of `ensemble_min` that differ."""
    layers = len(size.widths)
    shape = EnsembleShape(
        seeds=1,
        drawn=2,
        critics=10,
        rows=size.rows,
        repeats=1,
        observation=29,
        action=8,
        widths=size.widths,
        norms=(True,) * layers,
        outputs=size.outputs,
        eps=1e-6,
        precision=size.precision,
        indexed=True,
    )
    name = f"{'x'.join(map(str, size.widths))} {size.precision} {shape.block_r} rows"
    each = dict.fromkeys(("weights", "biases", "gammas", "betas", "normalised", "rstds", "dz_ptrs"), layers)
    forward = shape.forward_constants(keep=True)
    yield Source(f"forward {name}", forward_kernel, shape.row_options, forward, each)
    backward = shape.backward_constants(weights=True, x=False, actions=False)
    yield Source(f"backward {name}", backward_kernel, shape.row_options, backward, each)
    of_weights = dict.fromkeys(("d_weights", "d_biases", "d_gammas", "d_betas", "dz_ptrs"), layers)
    of_weights |= dict.fromkeys(("inputs", "gammas", "betas"), layers + 1)
    yield Source(f"weights {name}", weight_gradients_kernel, shape.weight_options, shape.weight_constants(), of_weights)


def grouped_sources() -> Iterator[Source]:
    """The grouped launches of `ensemble_min`, at a size that compiles quickly."""
    shape = EnsembleShape(1, 10, 10, 256, 1, 29, 8, (64,), (True,), 0, 1e-6, "tf32", False)
    each = dict.fromkeys(("weights", "biases", "gammas", "betas", "normalised", "rstds", "dz_ptrs"), 1)
    forward = shape.forward_constants(keep=True, with_q=False, grouped=True)
    yield Source("grouped forward", forward_kernel, shape.row_options, forward, each)
    backward = shape.backward_constants(weights=False, x=True, actions=True, grouped=True)
    yield Source("grouped backward", backward_kernel, shape.row_options, backward, each)
    yield Source("group", group_kernel, _SMALL, {"BLOCK": GROUP_BLOCK}, {})


def small_sources() -> Iterator[Source]:
    """The other ops, with all that may ride along."""
    entropy = {"ENTROPY": True, "ALPHA_BY_SEED": True, "GAMMA_ON_DEVICE": False, "BLOCK_B": 32, "BLOCK_K": 16}
    yield Source("td_target", td_target_kernel, _SMALL, entropy, {})
    penalty = {"BOUNDED": True, "WEIGHTED": True, "BLOCK_B": 16, "BLOCK_N": 32}
    yield Source("penalty", penalty_kernel, _SMALL, penalty, {})
    needed = {"NEED_SAMPLED": True, "NEED_DATA": True}
    yield Source("penalty backward", penalty_backward_kernel, _SMALL, penalty | {"WEIGHTED": False} | needed, {})
    policy: dict[str, Any] = {"A": 8, "PADDED": 8, "SHARED_STD": True, "BLOCK_B": 64}
    policy |= {"STD_MIN": 1e-5, "STD_MAX": 10.0, "LOG_MIN": -11.512925464970229, "LOG_MAX": 2.302585092994046}
    yield Source("sample", sample_kernel, _SMALL, policy | {"SQUASH": True, "DRAW": True}, {})
    of_policy = {"NEED_MEAN": True, "NEED_LOG_STD": True}
    given = {"SQUASH": True, "OF_ACTION": True, "OF_LOG_PROB": True}
    yield Source("sample backward", sample_backward_kernel, _SMALL, policy | of_policy | given, {})
    yield Source("log_prob backward", log_prob_kernel, _SMALL, policy | of_policy | {"BACKWARD": True}, {})
    yield Source("normals", draw_kernel, _SMALL, {"KIND": KINDS["normal"], "BLOCK": 256}, {})
    yield Source("subset", subset_kernel, _SMALL | {"num_warps": 1}, {"REPLACEMENT": False, "PADDED": 16}, {})


def used_registers(cubin: bytes) -> str:
    """Registers and bytes of stack of a thread, as the cuobjdump that comes with Triton reads them; empty without it."""
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    if not tool.exists():
        return ""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        shown = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", shown)
    return f", {found[1]} registers, {found[2]} B of stack" if found else ""


def compiled(source: Source, architecture: int) -> str:
    """Compiles one and says what it takes.

    Raises:
        RuntimeError: More shared memory than every GPU has, or an atomic sum, whose order no two runs share.
    """
    built = source.build(architecture)
    if atomics := re.findall(r"\b(?:atom|red)\.\S+", built.asm["ptx"]):
        raise RuntimeError(f"sm_{architecture}, {source.name}: {', '.join(sorted(set(atomics)))}")
    if built.metadata.shared > SHARED_LIMIT:
        raise RuntimeError(
            f"sm_{architecture}, {source.name}: {built.metadata.shared} bytes of shared memory, not {SHARED_LIMIT}"
        )
    cubin = built.asm["cubin"]
    return (
        f"sm_{architecture}: {source.name}: {len(cubin) // 1024} KiB, {built.metadata.shared // 1024} KiB shared"
        f"{used_registers(cubin)}"
    )


def compile_all(jobs: list[tuple[Source, int]]) -> Iterator[str]:
    """What `compiled` says of every job, in their order, by two processes."""
    global _jobs
    _jobs = jobs
    # Threads would wait for one another. A forked process finds the kernels, which no pickle carries, where they are.
    with multiprocessing.get_context("fork").Pool(2) as pool:
        yield from pool.imap(_compiled_job, range(len(jobs)))


_jobs: list[tuple[Source, int]] = []


def _compiled_job(i: int) -> str:
    return compiled(*_jobs[i])


def main() -> None:
    """Compiles them and prints what came out."""
    if triton_interpreted():
        sys.exit("unset TRITON_INTERPRET: Triton compiles nothing while it interprets")
    jobs = []
    for architecture in ARCHITECTURES:
        sizes = ALL if "--all" in sys.argv[1:] else SIZES[architecture]
        jobs += [(source, architecture) for size in sizes for source in ensemble_sources(size)]
        if architecture == 90:
            jobs += [(source, architecture) for source in (*grouped_sources(), *small_sources())]
    for line in compile_all(jobs):
        print(line, flush=True)


if __name__ == "__main__":
    main()
