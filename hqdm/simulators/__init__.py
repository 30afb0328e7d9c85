"""Simulators: run all circuits of a layer on a batch; they know nothing of images."""

from hqdm.simulators.auto import AutoSimulator, Choice, choose
from hqdm.simulators.base import Simulator
from hqdm.simulators.costs import Work
from hqdm.simulators.cpu import CompiledSimulator
from hqdm.simulators.cuda import CudaSimulator
from hqdm.simulators.pennylane import PennyLaneSimulator
from hqdm.simulators.resolve import resolve_simulator
from hqdm.simulators.statevector import StatevectorSimulator
from hqdm.simulators.unitary import UnitarySimulator

__all__ = [
    "AutoSimulator",
    "Choice",
    "CompiledSimulator",
    "CudaSimulator",
    "PennyLaneSimulator",
    "Simulator",
    "StatevectorSimulator",
    "UnitarySimulator",
    "Work",
    "choose",
    "resolve_simulator",
]
