"""Actions of a Gaussian policy, squashed by tanh or not, with their log probability and the reparametrised gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from rewarm.errors import InvalidArgument
from rewarm.q import philox_reference
from rewarm.q import tanh_gaussian_reference as reference
from rewarm.q.arguments import Sizes, check_floats, number, whole
from rewarm.q.backend import choose, device_of, function
from rewarm.q.philox import checked_address

__all__ = ["gaussian_log_prob", "tanh_gaussian"]


def _check_policy(op: str, mean: Tensor, log_std: Tensor, std_min: float, std_max: float) -> tuple[Sizes, str]:
    """Sizes of a policy and the spelling of its seeds axis; bounds of std that make sense."""
    number(op, "std_min", std_min, low=0.0, open_low=True)
    number(op, "std_max", std_max, low=float(std_min))
    sizes = Sizes(op)
    s = "S " if sizes.bind("mean", mean, "B A", "S B A").startswith("S") else ""
    sizes.bind("log_std", log_std, f"{s}B A", f"{s}A")
    return sizes, s


def tanh_gaussian(
    mean: Tensor,
    log_std: Tensor,
    *,
    noise: Tensor | None = None,
    seed: Tensor | None = None,
    offset: Tensor | None = None,
    stream: int = 2,
    samples: int | None = None,
    std_min: float = 1e-5,
    std_max: float = 10.0,
    squash: bool = True,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Samples actions: sigma = clip(exp(log_std), std_min, std_max), u = mean + sigma eps, a = tanh(u).

    log pi(a) = sum over A of -eps^2 / 2 - ln sigma - ln(2 pi) / 2 - 2 (ln 2 - u - softplus(-2 u)), the change of variables of
    SAC (Haarnoja et al. 2018, arXiv 1801.01290, appendix C) in a form that does not cancel; the last term falls away with
    ``squash=False``, where a = u. Gradients flow to mean and log_std; that of log_std is 0 where std is clipped.

    Args:
        mean: [B, A] or [S, B, A]; decides whether there is a seeds axis.
        log_std: The shape of `mean`, or [*S, A]: one for all rows.
        noise: eps, [*S, B, A], or [*S, B, K, A] for K actions a row. Instead of it:
        seed: int64, 0-d or [S], with
        offset: int64, the same shape: eps is ``philox((B, A) or (B, K, A), kind="normal", ...)``.
        stream: Of that draw, 0 to 255.
        samples: K of that draw; None draws one action a row and adds no axis.
        std_min: Lower bound of std, > 0.
        std_max: Upper bound of std.
        squash: Whether tanh is applied.
        backend: "reference" (also float64), "cpu", "triton", or None: cpu for CPU tensors, triton for GPU tensors.

    Returns:
        action [*S, B, A] or [*S, B, K, A], and log_prob [*S, B] or [*S, B, K].

    Raises:
        InvalidArgument: Not exactly one of noise and (seed, offset); `samples` with noise; sizes that do not agree.
        UnsupportedTensor: A dtype, device or layout that is not accepted.
        BackendUnavailable: The named backend cannot be used here.
    """
    op = "tanh_gaussian"
    compiling = torch.compiler.is_compiling()
    name = "reference" if compiling else choose(op, device_of(op, "mean", mean), backend)
    check_floats(op, name, [("mean", mean), ("log_std", log_std), ("noise", noise)])
    sizes, s = _check_policy(op, mean, log_std, std_min, std_max)
    if (seed is None) != (offset is None) or (noise is None) == (seed is None):
        given = [k for k, v in (("noise", noise), ("seed", seed), ("offset", offset)) if v is not None]
        raise InvalidArgument(
            f"{op}: noise: expected exactly one of noise and (seed, offset), got {', '.join(given) or 'neither'}"
        )
    if noise is not None:
        if samples is not None:
            raise InvalidArgument(f"{op}: samples: expected None beside noise, whose axis K says it, got {samples!r}")
        sizes.bind("noise", noise, f"{s}B A", f"{s}B K A")
    else:
        assert seed is not None and offset is not None
        checked_address(op, seed, offset, stream, sizes.known["S"] if s else None)
        if samples is not None:
            whole(op, "samples", samples, low=1, high=2**31)
    options = {"std_min": float(std_min), "std_max": float(std_max), "squash": bool(squash)}
    if compiling or name == "reference":
        if noise is None:
            assert seed is not None and offset is not None
            b, a = mean.shape[-2:]
            shape = (b, a) if samples is None else (b, samples, a)
            noise = philox_reference.draw(shape, seed, offset, stream, "normal", mean.dtype)
        return reference.tanh_gaussian(mean, log_std, noise=noise, **options)  # type: ignore[arg-type]
    action, log_prob = function(op, name)(
        mean, log_std, noise=noise, seed=seed, offset=offset, stream=stream, samples=samples, **options
    )
    return action, log_prob


def gaussian_log_prob(
    action: Tensor,
    mean: Tensor,
    log_std: Tensor,
    *,
    std_min: float = 1e-5,
    std_max: float = 10.0,
    backend: str | None = None,
) -> Tensor:
    """Computes the log probability of given, unsquashed actions: sum over A of -z^2 / 2 - ln sigma - ln(2 pi) / 2.

    With z = (action - mean) / sigma and sigma as in `tanh_gaussian`. Gradients flow to all three; that of log_std is 0 where
    std is clipped. For advantage-weighted regression (`awr_weight`).

    Args:
        action: [*S, B, A].
        mean: [B, A] or [S, B, A].
        log_std: The shape of `mean`, or [*S, A].
        std_min: Lower bound of std, > 0.
        std_max: Upper bound of std.
        backend: As in `tanh_gaussian`.

    Returns:
        [*S, B].

    Raises:
        InvalidArgument, UnsupportedTensor, BackendUnavailable: As `tanh_gaussian`.
    """
    op = "gaussian_log_prob"
    compiling = torch.compiler.is_compiling()
    name = "reference" if compiling else choose(op, device_of(op, "mean", mean), backend)
    check_floats(op, name, [("mean", mean), ("log_std", log_std), ("action", action)])
    sizes, s = _check_policy(op, mean, log_std, std_min, std_max)
    sizes.bind("action", action, f"{s}B A")
    if compiling or name == "reference":
        return reference.gaussian_log_prob(action, mean, log_std, std_min=float(std_min), std_max=float(std_max))
    log_prob: Tensor = function("tanh_gaussian", name, op)(
        action, mean, log_std, std_min=float(std_min), std_max=float(std_max)
    )
    return log_prob
