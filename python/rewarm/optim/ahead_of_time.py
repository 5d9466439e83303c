"""Compiles every Triton kernel of the optimizer without a GPU: `python -m rewarm.optim.ahead_of_time`.

Shows what Triton's interpreter cannot. Not for shipping: code compiled for newer architectures runs on those alone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import triton

from rewarm._dispatch import triton_interpreted
from rewarm.optim.adamw_kernels_triton import norm_kernel, update_kernel
from rewarm.optim.adamw_triton import BLOCK, LAUNCH, TABLE_BLOCK

#: Compute capabilities: A100, H100, B200.
ARCHITECTURES = (80, 90, 100)
#: Codes (dtype, state dtype) of the combinations that the kernels know, by name.
COMBINATIONS = {"float32": (0, 0), "bfloat16_float32": (1, 0), "bfloat16": (1, 1), "float16_float32": (2, 0)}
#: Those that are also compiled with all that may ride along: average, zeroed gradients, size of the update.
WITH_EXTRAS = ("bfloat16_float32",)
_EXTRAS = {on: {"EMA": on, "ZERO": on, "OBSERVE": on} for on in (False, True)}

_TYPES = {
    **dict.fromkeys(
        ("entries_ptr", "chunks_ptr", "gradients_ptr", "configs_i64", "rows_i64", "counters_ptr", "t_ptr", "starts_i64"), "*i64"
    ),
    **dict.fromkeys(
        ("configs_f64", "rows_f64", "starts_f64", "scalars_f64", "partials_ptr", "limit_ptr", "watch_ptr", "changes_ptr"),
        "*fp64",
    ),
    **dict.fromkeys(("grad_scale_ptr", "found_inf_ptr"), "*fp32"),
    **dict.fromkeys(("advance", "n_chunks", "n_tensors", "n_groups"), "i32"),
    "control_ptr": "*i32",
    "tokens_ptr": "*i64",
    "tokens": "i64",
}


def ahead_of_time_sources() -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """What `triton.compile` needs to build every kernel for every dtype combination.

    Yields:
        (name, ASTSource, options) of one compilation: ``triton.compile(source, target=..., options=options)``.
    """
    from triton.compiler import ASTSource

    def source(kernel: Any, **constants: Any) -> Any:
        signature = {name: _TYPES.get(name, "constexpr") for name in kernel.arg_names}
        constants |= {"BLOCK": BLOCK, "TABLE_BLOCK": TABLE_BLOCK}
        return ASTSource(kernel, signature=signature, constexprs=constants)

    for code, name in enumerate(("float32", "bfloat16", "float16")):
        yield f"norm_{name}", source(norm_kernel, DTYPES=1 << code, CLIP=True, SKIP_NONFINITE=True), LAUNCH
    for name, (dtype, state_dtype) in COMBINATIONS.items():
        combination = 1 << (3 * dtype + state_dtype)
        constants = {"COMBINATIONS": combination, "WITH_NORM": True, "COUNT_SKIPPED": False, "BY_BITS": False}
        yield f"update_{name}", source(update_kernel, **constants, **_EXTRAS[False]), LAUNCH
        if name in WITH_EXTRAS:
            yield f"update_{name}_extras", source(update_kernel, **constants, **_EXTRAS[True]), LAUNCH


def main() -> None:
    """Compiles all of them for `ARCHITECTURES` and prints what came out."""
    if triton_interpreted():
        sys.exit("unset TRITON_INTERPRET: Triton compiles nothing while it interprets")
    from triton.backends.compiler import GPUTarget

    for architecture in ARCHITECTURES:
        target = GPUTarget("cuda", architecture, 32)
        sizes = {
            name: len(triton.compile(source, target=target, options=options).asm["cubin"])
            for name, source, options in ahead_of_time_sources()
        }
        print(f"sm_{architecture}: " + ", ".join(f"{name} {size // 1024} KiB" for name, size in sizes.items()))


if __name__ == "__main__":
    main()
