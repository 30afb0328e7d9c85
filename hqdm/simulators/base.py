"""The interface of a simulator, and how a name becomes one."""

from typing import Protocol, runtime_checkable

from torch import Tensor

from hqdm.circuits import Circuit
from hqdm.errors import HQDMError, unknown


@runtime_checkable
class Simulator(Protocol):
    """Runs several independent circuits of one kind on a batch each.

    Attributes:
        name: The name that `resolve_simulator` takes.
    """

    @property
    def name(self) -> str:
        """The name that `resolve_simulator` takes."""

    def __call__(self, circuit: Circuit, inputs: Tensor, weights: Tensor) -> Tensor:
        """Evaluate the circuits.

        Args:
            circuit: The circuit that all of them share.
            inputs: Features, `(n_circuits, B, n_inputs)`.
            weights: Angles in radians, `(n_circuits, *weights_shape)`.

        Returns:
            `(n_circuits, B, n_outputs)`, in the dtype and on the device of `inputs`.
        """


def check_shapes(circuit: Circuit, inputs: Tensor, weights: Tensor) -> None:
    """Refuse arrays that do not fit the circuit.

    Raises:
        HQDMError: If the shapes or the dtypes of `inputs` and `weights` do not match.
    """
    n_circuits = weights.shape[0] if weights.ndim else 0
    if tuple(weights.shape[1:]) != circuit.weights_shape or not n_circuits:
        raise HQDMError(
            f"expected weights of shape (n_circuits, {str(circuit.weights_shape)[1:-1]}), "
            f"got {tuple(weights.shape)}"
        )
    if inputs.ndim != 3 or inputs.shape[0] != n_circuits or inputs.shape[2] != circuit.n_inputs:
        raise HQDMError(
            f"expected inputs of shape ({n_circuits}, B, {circuit.n_inputs}), "
            f"got {tuple(inputs.shape)}"
        )
    if inputs.dtype != weights.dtype or not inputs.is_floating_point():
        raise HQDMError(
            f"inputs and weights must share a real dtype, got {inputs.dtype} and {weights.dtype}"
        )


def resolve_simulator(simulator: str | Simulator) -> Simulator:
    """The simulator of a name; a simulator is returned as it is.

    Args:
        simulator: "auto" (the fastest one here), "statevector", "pennylane:DEVICE" with any
            PennyLane device such as `default.qubit` or `lightning.qubit`, or a `Simulator`.

    Raises:
        HQDMError: If the name is unknown.
    """
    # Imported here, as both modules build on the interface above.
    from hqdm.simulators.pennylane import PREFIX, PennyLaneSimulator
    from hqdm.simulators.statevector import StatevectorSimulator

    if not isinstance(simulator, str):
        return simulator
    if simulator.startswith(PREFIX):
        return PennyLaneSimulator(simulator.removeprefix(PREFIX))
    if simulator == "auto":
        return StatevectorSimulator()
    if simulator == StatevectorSimulator.name:
        return StatevectorSimulator()
    known = [
        "auto",
        StatevectorSimulator.name,
        f"{PREFIX}default.qubit",
        f"{PREFIX}lightning.qubit",
    ]
    raise unknown("simulator", simulator, known)
