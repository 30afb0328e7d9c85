"""Models of quantum states: QGDM, RE-QGDM, QuDDPM, MSQuDDPM; importing the room registers them."""

from hqdm.states.models.adversarial import Adversarial, Discriminator
from hqdm.states.models.ansatze import RotationCZ, RotationZZ
from hqdm.states.models.backward import Backward, register_backward
from hqdm.states.models.denoiser import StateDenoiser
from hqdm.states.models.measured import MeasuredCircuit
from hqdm.states.models.objectives import StateObjective, register_state_objective
from hqdm.states.models.traced import TracedCircuit

__all__ = [
    "Adversarial",
    "Backward",
    "Discriminator",
    "MeasuredCircuit",
    "RotationCZ",
    "RotationZZ",
    "StateDenoiser",
    "StateObjective",
    "TracedCircuit",
    "register_backward",
    "register_state_objective",
]
