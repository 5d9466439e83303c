"""Values in float64 beside a bound of what float32 arithmetic may make of them: error analysis while computing.

Every operation adds its own roundings, counted, to what the errors of its inputs do to the result (Higham 2002, chapters 2
and 3). A sum of n terms may be taken in any order: each term then meets at most n - 1 additions.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

import tolerance

U = tolerance.ROUNDOFF[torch.float32]


def gamma(n: float) -> float:
    """What n roundings in a row may do, relatively."""
    return n * U / (1 - n * U)


#: Relative error of each input of a matrix product beyond its own: see `rounded_products`.
INPUTS = 0.0


@contextmanager
def rounded_products(unit: float):
    """Within it, every matrix product rounds its inputs first, each to `unit` relatively, as tensor cores do."""
    global INPUTS
    INPUTS = unit
    try:
        yield
    finally:
        INPUTS = 0.0


@dataclass
class Rounded:
    """The exact value and the largest |error| of the computed one."""

    v: Tensor
    e: Tensor

    @staticmethod
    def exact(value: Tensor) -> Rounded:
        value = value.detach().double()
        return Rounded(value, torch.zeros_like(value))

    @staticmethod
    def constant(value: float) -> Rounded:
        """A number that is not known to be one of float32."""
        value = torch.tensor(value, dtype=torch.float64)
        return Rounded(value, U * value.abs())

    def __getitem__(self, where) -> Rounded:
        return Rounded(self.v[where], self.e[where])

    @property
    def most(self) -> Tensor:
        return self.v.abs() + self.e

    def __add__(self, other: Rounded) -> Rounded:
        v, e = self.v + other.v, self.e + other.e
        return Rounded(v, e + U * (v.abs() + e))

    def __sub__(self, other: Rounded) -> Rounded:
        return self + Rounded(-other.v, other.e)

    def __mul__(self, other: Rounded) -> Rounded:
        v = self.v * other.v
        e = self.most * other.e + other.v.abs() * self.e
        return Rounded(v, e + U * (v.abs() + e))

    def times(self, factor: float) -> Rounded:
        """With a factor that is stored in float32: two roundings."""
        return self * Rounded.constant(factor)

    def __matmul__(self, other: Rounded) -> Rounded:
        n = self.v.shape[-1]
        if INPUTS:
            self, other = (Rounded(t.v, t.e + INPUTS * t.most) for t in (self, other))
        e = self.e @ other.most + self.v.abs() @ other.e + gamma(n) * (self.most @ other.most)
        return Rounded(self.v @ other.v, e)

    def sum(self, axis: int, keepdim: bool = False) -> Rounded:
        n = self.v.shape[axis]
        return Rounded(self.v.sum(axis, keepdim), (self.e + gamma(n) * self.most).sum(axis, keepdim))

    def mean(self) -> Rounded:
        return self.sum(-1, keepdim=True).times(1.0 / self.v.shape[-1])

    def rsqrt(self) -> Rounded:
        """1 / sqrt: the derivative at the smallest value that the computed one may have, and three roundings."""
        low = (self.v - self.e).clamp_min(torch.finfo(torch.float64).tiny)
        v = self.v.rsqrt()
        return Rounded(v, 0.5 * low.pow(-1.5) * self.e + 3 * U * v)

    def where(self, mask: Tensor) -> Rounded:
        return Rounded(self.v * mask, self.e * mask)

    @property
    def mT(self) -> Rounded:
        return Rounded(self.v.mT, self.e.mT)

    def unsqueeze(self, axis: int) -> Rounded:
        return Rounded(self.v.unsqueeze(axis), self.e.unsqueeze(axis))


def check(computed: Tensor, exact: Rounded, what: str = "") -> None:
    """Fails, with the worst ratio, where the computed value is further from the exact one than its bound."""
    within(computed, exact.v, exact.e, what)


def within(computed: Tensor, exact: Tensor, bound: Tensor, what: str = "") -> None:
    """|computed - exact| <= bound everywhere; 1 % and a few subnormals stand for the second-order terms that it left out."""
    assert computed.shape == exact.shape, (what, computed.shape, exact.shape)
    error = (computed.detach().cpu().double() - exact).abs()
    limit = 1.01 * bound + 8 * tolerance.SUBNORMAL[torch.float32]
    ok = error <= limit
    worst = float((error / limit).nan_to_num(torch.inf).max())
    assert bool(ok.all()), f"{what}: {int((~ok).sum())} of {ok.numel()} off, worst {worst:.3g} of the bound"
