"""Optimizers whose learning-rate schedule, clipping and update are one fused step."""

from rewarm.optim.adamw import AdamW
from rewarm.optim.diagnostics import Diagnostics

__all__ = ["AdamW", "Diagnostics"]
