"""Evaluation of circuits and gradients by each library, with its fastest settings.

Every contestant computes, for inputs `(n_circuits, B, n_inputs)` and weights
`(n_circuits, n_weights)`, the outputs y and the gradients of sum(c y) with respect to both.
Each contestant runs in a separate process (see `speed.worker`) and imports its library only when
it is constructed.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, ClassVar

import numpy as np

from speed.gates import Angle, Gate, GateList


class Contestant(ABC):
    """One library with one setting.

    Attributes:
        packages: The distributions that it needs.
        setting: A short description of the settings.
        installed: True if its packages are installed with hqdm, not into `.venv-bench`.
        one_by_one: True if circuits run sequentially.
        n_circuits: Number of circuits that are run, if not all; a sequential contestant may run
            fewer, and its time is scaled.
    """

    packages: ClassVar[tuple[str, ...]]
    setting: ClassVar[str]
    installed: ClassVar[bool] = True
    one_by_one: ClassVar[bool] = True
    n_circuits: ClassVar[int | None] = None

    @abstractmethod
    def step(self) -> Any:
        """Compute outputs and gradients, and wait for them."""

    @abstractmethod
    def arrays(self, results: Any) -> list[np.ndarray]:
        """Outputs, gradient of the inputs and gradient of the weights from the result of `step`."""

    def first(self) -> tuple[float, list[np.ndarray]]:
        """Seconds of the first step, and its outputs and gradients."""
        seconds, results = self._timed_step()
        return seconds, self.arrays(results)

    def turn(self, seconds: float) -> list[float]:
        """Seconds of each step, for as many as fit into `seconds`, at least one."""
        taken = [self._timed_step()[0]]
        while sum(taken) + taken[-1] < seconds:
            taken.append(self._timed_step()[0])
        return taken

    def _timed_step(self) -> tuple[float, Any]:
        started = time.perf_counter()
        results = self.step()
        return time.perf_counter() - started, results

    def versions(self) -> dict[str, str]:
        """Versions of the packages."""
        return {package: version(package) for package in self.packages}


class TorchContestant(Contestant):
    """A library that torch differentiates.

    Args:
        inputs: Features, `(n_circuits, B, n_inputs)`.
        weights: Angles, `(n_circuits, ...)`.
        cotangent: The factors c of the outputs, `(n_circuits, B, n_outputs)`.
    """

    def __init__(self, inputs: np.ndarray, weights: np.ndarray, cotangent: np.ndarray) -> None:
        import torch

        self.torch = torch
        operands = [torch.from_numpy(array) for array in (inputs, weights, cotangent)]
        circuits = zip(*operands, strict=True) if self.one_by_one else [operands]
        self.circuits = [
            (x.clone().requires_grad_(), w.clone().requires_grad_(), c) for x, w, c in circuits
        ]

    @abstractmethod
    def outputs(self, x: Any, w: Any) -> Any:
        """The outputs of one circuit, `(B, n_outputs)`, or of all, `(n_circuits, B, n_outputs)`."""

    def step(self) -> Any:
        """Forward and backward passes; the graph of a circuit is freed before the next."""
        results = []
        for x, w, c in self.circuits:
            y = self.outputs(x, w)
            results.append((y.detach(), *self.torch.autograd.grad(y, (x, w), c.to(y))))
        return results

    def arrays(self, results: Any) -> list[np.ndarray]:
        """The tensors of all circuits as arrays."""
        parts = zip(*results, strict=True)
        return [np.stack(part) if self.one_by_one else part[0].numpy() for part in parts]


class HQDM(TorchContestant):
    """The simulators of hqdm.

    Args:
        circuit: The circuit.
        arrays: As in `TorchContestant`.
    """

    packages = ("torch", "numba")
    one_by_one = False
    simulator: ClassVar[str]

    def __init__(self, circuit: Any, *arrays: np.ndarray) -> None:
        from hqdm.simulators import resolve_simulator

        inputs, weights, cotangent = arrays
        super().__init__(inputs, weights.reshape(-1, *circuit.weights_shape), cotangent)
        self.circuit = circuit
        self.run = resolve_simulator(self.simulator)

    def outputs(self, x: Any, w: Any) -> Any:
        """All circuits together."""
        return self.run(self.circuit, x, w)


class Compiled(HQDM):
    """The compiled simulator."""

    setting = "all circuits and samples in one call, float32"
    simulator = "compiled"


class Statevector(HQDM):
    """The torch path."""

    setting = "all circuits and samples as one tensor, complex64"
    simulator = "statevector"


class Auto(HQDM):
    """The default simulator of models."""

    setting = "the simulator that the cost model chooses"
    simulator = "auto"


def queue_pennylane(gates: GateList, x: Any, w: Any) -> Any:
    """Queue a circuit for PennyLane; return its measurements.

    Args:
        gates: The circuit.
        x: Features, `(n_inputs,)` or `(B, n_inputs)`.
        w: Weights, `(n_weights,)`.
    """
    import pennylane as qml

    wires = range(gates.n_wires)
    if gates.amplitudes:
        qml.AmplitudeEmbedding(x, wires=wires, normalize=True)
    for gate in gates.gates:
        angles = [x[..., i] if of_inputs else w[i] for of_inputs, i in gate.angles]
        getattr(qml, gate.name)(*angles, wires=gate.wires)
    if gates.measure == "probs":
        return qml.probs(wires=wires)
    return [qml.expval(qml.Z(wire)) for wire in wires]


class PennyLane(TorchContestant):
    """A PennyLane device with the torch interface.

    Args:
        gates: The circuit.
        arrays: As in `TorchContestant`.
    """

    packages: ClassVar[tuple[str, ...]] = ("pennylane", "torch")
    device: ClassVar[str]
    diff_method: ClassVar[str]
    options: ClassVar[dict[str, Any]] = {}

    def __init__(self, gates: GateList, *arrays: np.ndarray) -> None:
        import pennylane as qml

        super().__init__(*arrays)
        device = qml.device(self.device, wires=gates.n_wires, **self.options)
        self.node = qml.QNode(
            lambda x, w: queue_pennylane(gates, x, w), device, "torch", self.diff_method
        )

    def outputs(self, x: Any, w: Any) -> Any:
        """The node's outputs for the whole batch."""
        y = self.node(x, w)
        return self.torch.stack(y, -1) if isinstance(y, list) else y


class DefaultQubit(PennyLane):
    """PennyLane's simulator in Python."""

    setting = "backprop, parameter broadcasting, torch; complex128"
    device = "default.qubit"
    diff_method = "backprop"


class LightningQubit(PennyLane):
    """PennyLane's simulator in C++."""

    packages = ("pennylane-lightning", "pennylane", "torch")
    setting = "adjoint, observables in parallel, torch; complex64"
    n_circuits = 1
    device = "lightning.qubit"
    diff_method = "adjoint"
    options: ClassVar = {"c_dtype": np.complex64, "batch_obs": True}

    def __init__(self, gates: GateList, *arrays: np.ndarray) -> None:
        if gates.measure == "probs":
            raise NotImplementedError("the adjoint method takes expectation values only")
        super().__init__(gates, *arrays)


class JaxContestant(Contestant):
    """A library that JAX compiles and differentiates.

    Args:
        gates: The circuit.
        inputs: Features, `(n_circuits, B, n_inputs)`.
        weights: Angles, `(n_circuits, n_weights)`.
        cotangent: The factors c of the outputs, `(n_circuits, B, n_outputs)`.
    """

    installed = False

    def __init__(
        self, gates: GateList, inputs: np.ndarray, weights: np.ndarray, cotangent: np.ndarray
    ) -> None:
        import jax

        self.gates = gates
        self.wait = jax.block_until_ready
        operands = [jax.numpy.asarray(array) for array in (inputs, weights, cotangent)]
        self.calls = list(zip(*operands, strict=True)) if self.one_by_one else [operands]
        batched = jax.vmap(self.circuit, (0, None))

        def loss(x: Any, w: Any, c: Any) -> tuple[Any, Any]:
            y = batched(x, w)
            return (c * y).sum(), y

        gradient = jax.grad(loss, (0, 1), has_aux=True)
        self.gradient = jax.jit(gradient if self.one_by_one else jax.vmap(gradient))

    @abstractmethod
    def circuit(self, x: Any, w: Any) -> Any:
        """The outputs for one sample, `(n_outputs,)`."""

    def step(self) -> Any:
        """Run the compiled function."""
        return self.wait([self.gradient(*operands) for operands in self.calls])

    def arrays(self, results: Any) -> list[np.ndarray]:
        """The arrays of all circuits."""
        parts = zip(*((y, of_x, of_w) for (of_x, of_w), y in results), strict=True)
        return [np.stack(part) if self.one_by_one else np.asarray(part[0]) for part in parts]


class PennyLaneJax(JaxContestant):
    """PennyLane under JAX.

    Mapping over the circuits, too, takes 1.6 times as long: the states leave the cache.
    """

    packages = ("pennylane", "jax", "jaxlib")
    setting = "default.qubit, jit + vmap over samples, circuit after circuit; complex64"

    def __init__(self, gates: GateList, *arrays: np.ndarray) -> None:
        import pennylane as qml

        device = qml.device("default.qubit", wires=gates.n_wires)
        self.node = qml.QNode(lambda x, w: queue_pennylane(gates, x, w), device, "jax", "backprop")
        super().__init__(gates, *arrays)

    def circuit(self, x: Any, w: Any) -> Any:
        """The node's outputs."""
        from jax import numpy as jnp

        outputs = self.node(x, w)
        return jnp.stack(outputs) if isinstance(outputs, list) else outputs


class TensorCircuit(JaxContestant):
    """tensorcircuit-ng on JAX; the final state is computed, and the outputs from it.

    Layers that repeat are scanned: XLA's time to compile grows with the square of the gates.
    """

    packages = ("tensorcircuit-ng", "jax", "jaxlib")
    one_by_one = False
    setting = "JAX, jit + vmap, outputs from the state, repeated layers scanned; complex64"

    def __init__(self, gates: GateList, *arrays: np.ndarray) -> None:
        import tensorcircuit

        tensorcircuit.set_backend("jax")
        tensorcircuit.set_dtype("complex64")
        self.library = tensorcircuit
        self.block = gates.repeated_block()
        super().__init__(gates, *arrays)

    def circuit(self, x: Any, w: Any) -> Any:
        """Apply the gates and measure."""
        from jax import lax

        block, n_weights = self.block
        n_blocks = len(self.gates.gates) // len(block)
        state = x / (x @ x) ** 0.5 + 0j if self.gates.amplitudes else None
        if n_blocks > 1 and self.gates.amplitudes:
            of_blocks = w[: n_blocks * n_weights].reshape(n_blocks, n_weights)
            state, _ = lax.scan(
                lambda state, part: (self._queue(block, state, x, part).state(), None),
                state,
                of_blocks,
            )
            w = w[n_blocks * n_weights :]
            block = block[: len(self.gates.gates) % len(block)]
        circuit = self._queue(block, state, x, w)
        return circuit.probability() if self.gates.measure == "probs" else self.z(circuit)

    def _queue(self, gates: Sequence[Gate], state: Any, x: Any, w: Any) -> Any:
        """A circuit of some gates from a state, None for |0...0>."""
        circuit = self.library.Circuit(self.gates.n_wires, inputs=state)
        for gate in gates:
            angles = [x[i] if of_inputs else w[i] for of_inputs, i in gate.angles]
            if gate.name == "Rot":  # equal up to a global phase
                lambda_, theta, phi = angles
                circuit.u(*gate.wires, theta=theta, phi=phi, lbd=lambda_)
            elif angles:
                getattr(circuit, gate.name.lower())(*gate.wires, theta=angles[0])
            else:
                getattr(circuit, gate.name.lower())(*gate.wires)
        return circuit

    def z(self, circuit: Any) -> Any:
        """Expectations from the marginals of the probabilities."""
        from jax import numpy as jnp

        n = self.gates.n_wires
        joint = circuit.probability().reshape((2,) * n)
        marginals = [joint.sum([axis for axis in range(n) if axis != wire]) for wire in range(n)]
        return jnp.stack([p0 - p1 for p0, p1 in marginals])


class LightCone(TensorCircuit):
    """tensorcircuit-ng, contracting for each output only the gates that it depends on."""

    setting = "JAX, jit + vmap, light cone of each output; complex64"

    def __init__(self, gates: GateList, *arrays: np.ndarray) -> None:
        if gates.measure == "probs":
            raise NotImplementedError("joint probabilities depend on all gates")
        super().__init__(gates, *arrays)

    def z(self, circuit: Any) -> Any:
        """One tensor network for each expectation."""
        from jax import numpy as jnp

        wires = range(self.gates.n_wires)
        values = [circuit.expectation_ps(z=[wire], enable_lightcone=True) for wire in wires]
        return jnp.stack(values).real


class DeepQuantum(TorchContestant):
    """deepquantum: samples and weights are encoded as data, one row per sample.

    With weights as shared parameters, the gradients of FQConv are too inaccurate in float32.
    Amplitude-embedded circuits have no features to encode; their weights are shared.

    Args:
        gates: The circuit.
        arrays: As in `TorchContestant`.
    """

    packages = ("deepquantum", "torch")
    setting = "encoded batch, torch, circuit after circuit; complex64"
    installed = False

    def __init__(self, gates: GateList, *arrays: np.ndarray) -> None:
        import deepquantum

        super().__init__(*arrays)
        self.gates = gates
        self.circuit = deepquantum.QubitCircuit(gates.n_wires)
        for gate in gates.gates:
            self._add(gate)
        if gates.measure == "expval_z":
            for wire in range(gates.n_wires):
                self.circuit.observable(wire)

    def _add(self, gate: Gate) -> None:
        """Append a gate without its angles."""
        add = getattr(self.circuit, "u3" if gate.name == "Rot" else gate.name.lower())
        if not gate.angles:
            add(*gate.wires)
        elif self.gates.amplitudes:
            add(*gate.wires, inputs=[0.0] * len(gate.angles))
        else:
            add(*gate.wires, encode=True)

    def outputs(self, x: Any, w: Any) -> Any:
        """The outputs for the whole batch."""
        if self.gates.amplitudes:
            for operator, gate in zip(self.circuit.operators, self.gates.gates, strict=True):
                if gate.angles:
                    operator.init_para([w[angle.place] for angle in _reordered(gate)])
            state = self.circuit(state=(x / x.norm(dim=-1, keepdim=True)).unsqueeze(-1) + 0j)
        else:
            angles = [angle for gate in self.gates.gates for angle in _reordered(gate)]
            columns = [x[:, i] if of_inputs else w[i].expand(len(x)) for of_inputs, i in angles]
            state = self.circuit(self.torch.stack(columns, 1))
        if self.gates.measure == "probs":
            return state.squeeze(-1).abs().square()
        return self.circuit.expectation()


def _reordered(gate: Gate) -> tuple[Angle, ...]:
    """The angles in deepquantum's order; its U3 is Rot up to a global phase."""
    if gate.name != "Rot":
        return gate.angles
    lambda_, theta, phi = gate.angles
    return theta, phi, lambda_


CONTESTANTS: dict[str, type[Contestant]] = {
    "hqdm auto": Auto,
    "hqdm compiled": Compiled,
    "hqdm statevector": Statevector,
    "default.qubit": DefaultQubit,
    "lightning.qubit": LightningQubit,
    "PennyLane + JAX": PennyLaneJax,
    "deepquantum": DeepQuantum,
    "tensorcircuit-ng": TensorCircuit,
    "tensorcircuit-ng light cone": LightCone,
}
