"""Simulators: run all circuits of a layer on a batch; they know nothing of images."""

from hqdm.simulators.base import Simulator
from hqdm.simulators.pennylane import PennyLaneSimulator
from hqdm.simulators.resolve import resolve_simulator
from hqdm.simulators.statevector import StatevectorSimulator

__all__ = ["PennyLaneSimulator", "Simulator", "StatevectorSimulator", "resolve_simulator"]
