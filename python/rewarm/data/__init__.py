"""The data side of continued pre-training: old data replayed among new, and what a re-warming does to both losses.

``docs/data.md`` says how positions, ranks, workers and resumes go together. Needs torch.
"""

from rewarm.data.mixture import ReplayMixture, ReplaySampler
from rewarm.data.monitor import StabilityMonitor
from rewarm.data.switch import LrSwitch, when_lr_below

__all__ = ["LrSwitch", "ReplayMixture", "ReplaySampler", "StabilityMonitor", "when_lr_below"]
