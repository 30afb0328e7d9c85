"""Samplers that add noise: repeated intervals of deterministic ones, and a reversible SDE solver.

The entry point group `hqdm.plugins` imports this module when the name of a sampler is not found.
"""

from hqdm.samplers.stochastic.restart import Restart
from hqdm.samplers.stochastic.rex import Rex

__all__ = ["Restart", "Rex"]
