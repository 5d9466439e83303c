"""rewarm: warm starts for optimizers, reinforcement learning and serverless traces.

Rooms are imported by name (``rewarm.schedule``, ``rewarm.optim``); this file imports none, so that ``import rewarm`` loads
neither torch nor triton.
"""

__version__ = "0.1.0"
