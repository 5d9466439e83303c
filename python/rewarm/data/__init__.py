"""The data side of continued pre-training."""
