"""Samplers that combine the evaluations of several steps linearly.

The entry point group `hqdm.plugins` imports this module when the name of a sampler is not found.
"""

from hqdm.samplers.multistep.deis import DEIS
from hqdm.samplers.multistep.er_sde import ERSDESolver
from hqdm.samplers.multistep.ipndm import IPNDM
from hqdm.samplers.multistep.sa_solver import SASolver

__all__ = ["DEIS", "IPNDM", "ERSDESolver", "SASolver"]
