"""rewarm: warm starts for optimizers, reinforcement learning and serverless traces.

Rooms are imported by name (``rewarm.schedule``, ``rewarm.optim``); this file imports none, so that ``import rewarm`` loads
neither torch nor triton.
"""

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """``rewarm.load`` brings torch with it, so it is imported when it is used."""
    if name == "load":
        from rewarm.resume import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
