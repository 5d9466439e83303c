"""Compiles the Triton kernels of the Q ops without a GPU: `python -m rewarm.q.ahead_of_time [--all] [ARCHITECTURE ...]`.

Shows what Triton's interpreter cannot: that they compile, that their shared memory and registers fit, and what spills. Not for
shipping: code compiled for newer architectures runs on those alone.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import triton

from rewarm.q.ensemble_mlp_kernels_triton import backward_kernel, forward_kernel
from rewarm.q.ensemble_shape_triton import EnsembleShape
from rewarm.q.ensemble_weights_triton import weight_gradients_kernel

ARCHITECTURES = (80, 90, 100)


def shape(widths, precision, rows=256, outputs=0, repeats=1):
    return EnsembleShape(1, 10, 10, rows, repeats, 29, 8, tuple(widths), (True,) * len(widths), outputs, 1e-6, precision, True)


def source(kernel, layers, **constants):
    from triton.compiler import ASTSource

    TUPLES = {
        "inputs",
        "weights",
        "biases",
        "gammas",
        "betas",
        "normalised",
        "rstds",
        "dz_ptrs",
        "d_weights",
        "d_biases",
        "d_gammas",
        "d_betas",
    }
    INTS = {
        "x_seed",
        "x_critic",
        "actions_seed",
        "first",
        "n_rows",
        "all_rows",
        "repeats",
        "n_drawn",
        "n_critics",
        "n_tiles",
        "accumulate",
    }
    TYPES = {"index_ptr": "*i64", "rows_ptr": "*i32", "counts_ptr": "*i32"}
    sig = {}
    attrs = {}
    for n, name in enumerate(kernel.arg_names):
        if name in constants:
            sig[name] = "constexpr"
        elif name in TUPLES:
            n_ = layers + (kernel is weight_gradients_kernel and name in ("inputs", "gammas", "betas"))
            sig[name] = ("*fp32",) * n_
            for k in range(n_):
                attrs[(n, k)] = [["tt.divisibility", 16]]
        elif name in INTS:
            sig[name] = "i32"
        else:
            sig[name] = TYPES.get(name, "*fp32")
            attrs[(n,)] = [["tt.divisibility", 16]]
    return ASTSource(kernel, signature=sig, constexprs=constants, attrs=attrs)


if __name__ == "__main__":
    import time, os, resource
    from triton.backends.compiler import GPUTarget

    arch = int(sys.argv[1])
    widths = tuple(map(int, sys.argv[2].split(",")))
    prec = sys.argv[3]
    rows = int(sys.argv[4])
    outputs = int(sys.argv[5]) if len(sys.argv) > 5 else 0
    sh = shape(widths, prec, rows, outputs)
    which = os.environ.get("WHICH", "fbw")
    L = len(widths)
    bk = os.environ.get("BK")
    for name, k, c, o in (
        ("f", forward_kernel, sh.forward_constants(keep=True), sh.row_options),
        ("b", backward_kernel, sh.backward_constants(weights=True, x=False, actions=False), sh.row_options),
        ("w", weight_gradients_kernel, sh.weight_constants(), sh.weight_options),
    ):
        if name not in which:
            continue
        if bk and "BLOCK_K" in c:
            c["BLOCK_K"] = int(bk)
        if os.environ.get("BR"):
            c["BLOCK_R"] = int(os.environ["BR"])
        o = dict(o)
        if os.environ.get("WARPS"):
            o["num_warps"] = int(os.environ["WARPS"])
        if os.environ.get("STAGES"):
            o["num_stages"] = int(os.environ["STAGES"])
        t = time.process_time()
        try:
            b = triton.compile(source(k, L, **c), target=GPUTarget("cuda", arch, 32), options=o)
        except Exception as e:
            print(name, "FAILED", type(e), str(e)[:300])
            continue
        t = time.process_time() - t
        f = "/tmp/qtriton/a.cubin"
        open(f, "wb").write(b.asm["cubin"])
        u = subprocess.run(
            ["/work/venv-t/lib/python3.11/site-packages/triton/backends/nvidia/bin/cuobjdump", "-res-usage", f],
            capture_output=True,
            text=True,
        )
        print(
            name,
            f"{t:.1f}s BR{c.get('BLOCK_R')} BK{c.get('BLOCK_K')} warps{o['num_warps']}",
            "shared",
            b.metadata.shared,
            re.findall(r"REG:\d+ STACK:\d+", u.stdout),
            "mma",
            len(re.findall(r"wgmma.mma_async", b.asm["ptx"])),
            len(re.findall(r"\bmma.sync", b.asm["ptx"])),
            "fma",
            b.asm["ptx"].count("fma.rn.f32"),
            "cp.async",
            b.asm["ptx"].count("cp.async.c"),
            len(b.asm["cubin"]) // 1024,
            "KiB",
        )
