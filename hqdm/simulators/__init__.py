"""Simulators, which run several circuits of one kind on a batch of inputs."""

from hqdm.simulators.auto import AutoSimulator, Choice, choose
from hqdm.simulators.compiled.cpu import CompiledSimulator
from hqdm.simulators.costs import Work
from hqdm.simulators.pennylane import PennyLaneSimulator
from hqdm.simulators.program.base import Simulator
from hqdm.simulators.program.statevector import StatevectorSimulator
from hqdm.simulators.resolve import resolve_simulator
from hqdm.simulators.unitary import UnitarySimulator

__all__ = [
    "AutoSimulator",
    "Choice",
    "CompiledSimulator",
    "PennyLaneSimulator",
    "Simulator",
    "StatevectorSimulator",
    "UnitarySimulator",
    "Work",
    "choose",
    "resolve_simulator",
]
