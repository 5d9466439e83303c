"""LogNormal and Weibull on counts in buckets: maximum likelihood and moments, with the Kolmogorov-Smirnov distance.

The paper (§4.1) fits a LogNormal to cold-start times and a Weibull to the times between cold starts and names neither its
method nor a goodness of fit, so both methods are computed. There is no p-value: with millions of samples every simple law is
rejected.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rewarm.errors import BackendUnavailable, InvalidArgument
from rewarm.trace.histogram import Histogram

Array = NDArray[Any]
Family = Literal["LogNormal", "Weibull"]
NAMES: dict[Family, tuple[str, str]] = {"LogNormal": ("mu", "sigma"), "Weibull": ("shape", "scale")}
# Stamps have three decimals: below this the shape of a histogram is that of the rounding.
RESOLUTION = 1e-3


@dataclass(frozen=True)
class Fit:
    """A law with its two parameters.

    Attributes:
        family: "LogNormal" or "Weibull".
        first: µ of ln x, or the shape.
        second: σ of ln x, or the scale.
    """

    family: Family
    first: float
    second: float

    @property
    def parameters(self) -> dict[str, float]:
        """The parameters by name: mu and sigma, or shape and scale."""
        return dict(zip(NAMES[self.family], (self.first, self.second), strict=True))

    @property
    def mean(self) -> float:
        """Mean of the law, in the unit of the values."""
        if self.family == "LogNormal":
            return math.exp(self.first + self.second**2 / 2)
        return self.second * math.gamma(1 + 1 / self.first)

    @property
    def sd(self) -> float:
        """Standard deviation of the law, in the unit of the values."""
        if self.family == "LogNormal":
            return self.mean * math.sqrt(math.expm1(self.second**2))
        return self.second * math.sqrt(math.gamma(1 + 2 / self.first) - math.gamma(1 + 1 / self.first) ** 2)

    def cdf(self, x: Array) -> Array:
        """P(X < x)."""
        return np.exp(_log_tails(self.family, self.first, self.second, np.asarray(x, np.float64))[0])


def maximum_likelihood(family: Family, counts: Histogram) -> Fit:
    """The law under which the counts are most likely: the sum of n ln P(lower <= X < upper) is largest.

    Args:
        family: "LogNormal" or "Weibull".
        counts: At least two buckets, or every narrow law would do.

    Raises:
        InvalidArgument: With fewer than two buckets, or when the search does not end.
    """
    optimize = _scipy("optimize")
    if len(counts.counts) < 2:
        raise InvalidArgument(f"fit: {family}: expected values in at least 2 buckets, got {len(counts.counts)}")
    edges = np.unique(np.concatenate([counts.lower, counts.upper]))
    low, high = np.searchsorted(edges, counts.lower), np.searchsorted(edges, counts.upper)
    weights = counts.counts / counts.total

    def loss(point: Array) -> float:
        # The scale of both laws is searched by its logarithm, which keeps it positive.
        below, above = _log_tails(family, *_parameters(family, point), edges)
        return -float(weights @ _log_between(below[low], below[high], above[low], above[high]))

    found = optimize.minimize(
        loss, _start(family, counts), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-13, "maxiter": 4000}
    )
    if not found.success:
        raise InvalidArgument(f"fit: {family}: the search for the maximum of the likelihood did not end: {found.message}")
    return Fit(family, *_parameters(family, found.x))


def moments(family: Family, mean: float, sd: float) -> Fit:
    """The law with this mean and standard deviation, both > 0."""
    if not (mean > 0.0 and sd > 0.0 and math.isfinite(mean) and math.isfinite(sd)):
        raise InvalidArgument(f"fit: {family}: expected a mean and a standard deviation > 0, got {mean} and {sd}")
    if family == "LogNormal":
        variance = math.log1p((sd / mean) ** 2)
        return Fit(family, math.log(mean) - variance / 2, math.sqrt(variance))
    optimize = _scipy("optimize")

    def excess(log_shape: float) -> float:
        inverse = math.exp(-log_shape)
        return math.lgamma(1 + 2 * inverse) - 2 * math.lgamma(1 + inverse) - math.log1p((sd / mean) ** 2)

    shape = math.exp(optimize.brentq(excess, math.log(0.02), math.log(500.0), xtol=1e-13))
    return Fit(family, shape, mean / math.gamma(1 + 1 / shape))


def ks_distance(fit: Fit, counts: Histogram) -> tuple[float, float]:
    """(D, uncertainty): the largest distance of the cumulative curves at bucket edges >= 1 ms, and the largest bucket's share.

    Between two edges the data's curve is not known, so the true distance lies within the uncertainty above D.
    """
    edges = np.unique(np.concatenate([counts.lower, counts.upper]))
    edges = edges[edges >= RESOLUTION]
    distance = np.abs(counts.cumulative(edges) - fit.cdf(edges))
    return (float(distance.max()) if len(edges) else float("nan")), float(counts.counts.max() / counts.total)


def _parameters(family: Family, point: Array) -> tuple[float, float]:
    if family == "LogNormal":
        return float(point[0]), math.exp(point[1])
    return math.exp(point[0]), math.exp(point[1])


def _start(family: Family, counts: Histogram) -> Array:
    """The moments of the logarithms of the buckets' middles, as the law would have them."""
    log = np.log((counts.lower + counts.upper) / 2)
    centre = float(np.average(log, weights=counts.counts))
    spread = math.sqrt(float(np.average((log - centre) ** 2, weights=counts.counts))) or 1e-3
    if family == "LogNormal":
        return np.array([centre, math.log(spread)])
    shape = math.pi / math.sqrt(6.0) / spread
    return np.array([math.log(shape), centre + np.euler_gamma / shape])


def _log_tails(family: Family, first: float, second: float, x: Array) -> tuple[Array, Array]:
    """Ln P(X < x) and ln P(X >= x): both, because the difference of two numbers near 1 would be all rounding."""
    special = _scipy("special")
    with np.errstate(divide="ignore", over="ignore"):
        if family == "LogNormal":
            z = (np.log(x) - first) / second
            return special.log_ndtr(z), special.log_ndtr(-z)
        power = (x / second) ** first
        return np.log(-np.expm1(-power)), -power


def _log_between(below_low: Array, below_high: Array, above_low: Array, above_high: Array) -> Array:
    """Ln P(low <= X < high), from the tail that is smaller at the middle of the bucket."""
    with np.errstate(divide="ignore", invalid="ignore"):
        left = below_high + np.log(-np.expm1(below_low - below_high))
        right = above_low + np.log(-np.expm1(above_high - above_low))
        log = np.where(below_high < above_low, left, right)
    # A law that gives a full bucket no chance is only as bad as float64 can say; the search walks away from it.
    return np.where(np.isfinite(log), log, -1e6)


def _scipy(name: str) -> Any:
    try:
        import scipy.optimize
        import scipy.special
    except ImportError as error:
        raise BackendUnavailable(f'fits need scipy ({error}); install it with: pip install "rewarm[trace]"') from error
    modules: dict[str, Callable[..., Any]] = {"optimize": scipy.optimize, "special": scipy.special}
    return modules[name]
