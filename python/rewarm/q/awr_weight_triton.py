"""`awr_weight` on a GPU: plain torch. IQL runs at reference speed, and there is nothing here that a kernel would save."""

from rewarm.q.awr_weight_reference import awr_weight

__all__ = ["awr_weight"]
