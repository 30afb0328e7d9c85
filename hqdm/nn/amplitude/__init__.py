"""Denoisers that hold images in the amplitudes of a state (Koelle et al., arXiv 2401.07049).

The entry point group `hqdm.plugins` imports this module when the name of a network is not found.
PennyLane and the simulators are imported when a network is built.
"""

from hqdm.nn.amplitude.dense import QDense
from hqdm.nn.amplitude.procrustes import BestUnitary
from hqdm.nn.amplitude.unitary import USS

__all__ = ["USS", "BestUnitary", "QDense"]
