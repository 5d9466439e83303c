"""Q-value updates, one op at a time: torch tensors in and out, with autograd, on the reference, cpu and triton backends.

An optional leading axis ``*S`` holds independent seeds; ops never mix them. See docs/ensemble_mlp.md.
"""

from rewarm.q import registration as _registration  # noqa: F401 - torch.compile must find the ops
from rewarm.q.awr_weight import awr_weight
from rewarm.q.cql_penalty import cql_penalty
from rewarm.q.ensemble_min import ensemble_min
from rewarm.q.ensemble_mlp import ensemble_mlp
from rewarm.q.expectile_loss import expectile_loss
from rewarm.q.philox import draw_subset, philox
from rewarm.q.tanh_gaussian import gaussian_log_prob, tanh_gaussian
from rewarm.q.td_target import td_target

__all__ = [
    "awr_weight",
    "cql_penalty",
    "draw_subset",
    "ensemble_min",
    "ensemble_mlp",
    "expectile_loss",
    "gaussian_log_prob",
    "philox",
    "tanh_gaussian",
    "td_target",
]
