"""The floor of a Q update: torch's own matrix products, timed in the same rounds."""

from __future__ import annotations

from collections.abc import Callable

import torch

from rewarm.bench.q_setting import Setting

#: FLOPs of one timed run of products, so that the clock does not matter: some 10 ms of one core, 1 ms of a GPU.
_RUN = {"cpu": 1e9, "cuda": 4e10}
#: Products in one call on a GPU, which one of 256 cubed would leave idle.
_TOGETHER = 64


class Product:
    """A variant for `timing.interleave`: products of one shape, `torch.mm` on a CPU and `torch.bmm` of 64 on a GPU."""

    def __init__(self, m: int, n: int, k: int, device: torch.device) -> None:
        together = (_TOGETHER,) if device.type == "cuda" else ()
        generator = torch.Generator().manual_seed(3)
        a = torch.randn(*together, m, k, generator=generator).to(device)
        b = torch.randn(*together, k, n, generator=generator).to(device)
        out = torch.empty(*together, m, n, device=device)
        self.name = f"{m}x{n}x{k}"
        self.flops = 2 * m * n * k * (_TOGETHER if together else 1)
        self.repeats = min(1000, max(1, int(_RUN[device.type] / self.flops)))
        product = torch.bmm if together else torch.mm

        def run() -> None:
            for _ in range(self.repeats):
                product(a, b, out=out)

        self.run: Callable[[], None] = run

    def prepare(self) -> None:
        """Needs nothing."""


def products(setting: Setting, device: torch.device) -> list[Product]:
    """256 cubed, which the share of the floor is told against, and the widest product of the critics themselves."""
    inner = min(setting.hidden)
    shapes = dict.fromkeys([(256, 256, 256), (512, 512, 512) if inner == 512 else (setting.batch, inner, inner)])
    return [Product(*shape, device) for shape in shapes]
