"""Optimizers whose learning-rate schedule, clipping and update are one fused step."""

from rewarm.optim.adamw import AdamW

__all__ = ["AdamW"]
