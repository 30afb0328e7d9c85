"""Resolution of simulator names."""

from hqdm.simulators.auto import AutoSimulator
from hqdm.simulators.compiled.cpu import CompiledSimulator
from hqdm.simulators.experimental.cuda import CudaSimulator
from hqdm.simulators.pennylane import PREFIX, PennyLaneSimulator
from hqdm.simulators.program.base import Simulator
from hqdm.simulators.program.statevector import StatevectorSimulator
from hqdm.simulators.unitary import UnitarySimulator
from hqdm.utils.errors import HQDMError, unknown

BY_NAME = {
    simulator.name: simulator
    for simulator in (
        AutoSimulator,
        CompiledSimulator,
        UnitarySimulator,
        CudaSimulator,
        StatevectorSimulator,
    )
}


def resolve_simulator(simulator: str | Simulator) -> Simulator:
    """The simulator of a name; a `Simulator` is returned unchanged.

    Args:
        simulator: "auto" (per call the fastest exact simulator), "compiled" (on the CPU), "unitary"
            (amplitude embeddings), "statevector" (in torch, on any device), "cuda"
            (experimental, see `hqdm.simulators.experimental`), "pennylane:DEVICE" with a PennyLane
            device such as `default.qubit` or `lightning.qubit`, or a `Simulator`.

    Raises:
        HQDMError: If the name is unknown.
    """
    if isinstance(simulator, Simulator):
        return simulator
    if not isinstance(simulator, str):
        raise HQDMError(f"expected a simulator or its name, got {simulator!r}")
    if simulator in BY_NAME:
        return BY_NAME[simulator]()
    if simulator.startswith(PREFIX):
        return PennyLaneSimulator(simulator.removeprefix(PREFIX))
    devices = [f"{PREFIX}default.qubit", f"{PREFIX}lightning.qubit"]
    raise unknown("simulator", simulator, [*BY_NAME, *devices])
