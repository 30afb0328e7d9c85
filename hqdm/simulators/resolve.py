"""How the name of a simulator becomes one."""

from hqdm.errors import HQDMError, unknown
from hqdm.simulators.base import Simulator
from hqdm.simulators.pennylane import PREFIX, PennyLaneSimulator
from hqdm.simulators.statevector import StatevectorSimulator


def fastest_simulator() -> Simulator:
    """What "auto" stands for."""
    return StatevectorSimulator()


def resolve_simulator(simulator: str | Simulator) -> Simulator:
    """The simulator of a name; a simulator is returned as it is.

    Args:
        simulator: "auto" (the fastest one here), "statevector", "pennylane:DEVICE" with any
            PennyLane device such as `default.qubit` or `lightning.qubit`, or a `Simulator`.

    Raises:
        HQDMError: If the name is unknown.
    """
    if isinstance(simulator, Simulator):
        return simulator
    if not isinstance(simulator, str):
        raise HQDMError(f"expected a simulator or the name of one, got {simulator!r}")
    if simulator == "auto":
        return fastest_simulator()
    if simulator == StatevectorSimulator.name:
        return StatevectorSimulator()
    if simulator.startswith(PREFIX):
        return PennyLaneSimulator(simulator.removeprefix(PREFIX))
    devices = [f"{PREFIX}default.qubit", f"{PREFIX}lightning.qubit"]
    raise unknown("simulator", simulator, ["auto", StatevectorSimulator.name, *devices])
