"""Samplers that apply the network to its own output, or take all of its steps at once.

The entry point group `hqdm.plugins` imports this module when the name of a sampler is not found.
"""

from hqdm.samplers.recursive.iteration import Iterate, usual_sampler
from hqdm.samplers.recursive.unitary import UnitarySampling

__all__ = ["Iterate", "UnitarySampling", "usual_sampler"]
