"""`expectile_loss` on a GPU: plain torch. IQL runs at reference speed, and there is nothing here that a kernel would save."""

from rewarm.q.expectile_loss_reference import expectile_loss

__all__ = ["expectile_loss"]
