"""The simulators as a PennyLane device, `qml.device("hqdm.qubit", wires=n)`."""

from hqdm.device.qubit import HqdmQubit

__all__ = ["HqdmQubit"]
