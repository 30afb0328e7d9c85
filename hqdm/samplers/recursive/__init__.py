"""Samplers that apply the network to its own output.

The entry point group `hqdm.plugins` imports this module when the name of a sampler is not found.
"""

from hqdm.samplers.recursive.iteration import Iterate, usual_sampler

__all__ = ["Iterate", "usual_sampler"]
