"""Reinforcement learning that starts warm: agents over the batched Q ops, S seeds trained as one stack. Needs torch.

``docs/wsrl.md`` tells the algorithm and the small task; `rewarm.rl.presets` has the published settings.
"""

from rewarm.rl import presets
from rewarm.rl.agent import EnsembleSAC
from rewarm.rl.cal_ql import CalQL, Lagrange
from rewarm.rl.iql import IQL
from rewarm.rl.replay import ReplayBuffer
from rewarm.rl.replay_steps import VectorSteps
from rewarm.rl.wsrl import WSRL

__all__ = ["IQL", "WSRL", "CalQL", "EnsembleSAC", "Lagrange", "ReplayBuffer", "VectorSteps", "presets"]
