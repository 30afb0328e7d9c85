"""The device: PennyLane's interface around programs and measurements.

    torch       tensors in and out
    autograd    the same, as a function of autograd (`autograd_lift`)
    JAX         vector-Jacobian products; with diff_method="backprop" a function of JAX
                (`jax_lift`), for higher derivatives

The backward pass is the adjoint method in the compiled kernels: the state is evolved back, not
stored. Parameter-shift, finite differences and other gradients are PennyLane's own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from autograd.tracer import isbox
from pennylane import math
from pennylane.devices import Device, ExecutionConfig, MCMConfig
from pennylane.devices.default_qubit import (
    accepted_analytic_measurement,
    accepted_sample_measurement,
)
from pennylane.devices.modifiers import simulator_tracking, single_tape_support
from pennylane.devices.preprocess import (
    decompose,
    device_resolve_dynamic_wires,
    no_sampling,
    validate_device_wires,
    validate_measurements,
)
from pennylane.exceptions import DeviceError
from pennylane.measurements import ClassicalShadowMP, MeasurementProcess, ShadowExpvalMP
from pennylane.tape import QuantumScript
from pennylane.transforms import broadcast_expand, defer_measurements
from pennylane.transforms.core import CompilePipeline, transform
from torch import Tensor

from hqdm.device.arrays import as_numpy, unwrapped
from hqdm.device.autograd_lift import lifted, split
from hqdm.device.gates import ANGLES, FIXED, decomposition, has_scalars, is_supported, takes_angles
from hqdm.device.tapes import Simulation
from hqdm.simulators import AutoSimulator
from hqdm.utils.errors import HQDMError
from hqdm.utils.memory import available_bytes

TORCH = math.Interface.TORCH
JAX = (math.Interface.JAX, math.Interface.JAX_JIT)
TENSORFLOW = (math.Interface.TF, math.Interface.TF_AUTOGRAPH)
METHODS = ("best", "adjoint", "device", "backprop")
GATES = frozenset(kind.__name__ for kind in ANGLES | FIXED)
"""Names of the gates that PennyLane's decomposition ends with."""


def _first(results: Sequence[Any]) -> Any:
    return results[0]


@transform
def _expand_where_needed(tape: QuantumScript) -> tuple[Sequence[QuantumScript], Any]:
    """Split a tape into its samples if they differ in more than angles and the initial state."""
    if tape.batch_size is None:
        return (tape,), _first
    operations = tape.operations[tape.num_preps :]
    if any(o.batch_size is not None and not takes_angles(o) for o in operations) or any(
        isinstance(m, (ClassicalShadowMP, ShadowExpvalMP)) for m in tape.measurements
    ):
        return broadcast_expand(tape)
    return (tape,), _first


@simulator_tracking
@single_tape_support
class HqdmQubit(Device):
    """The simulators of hqdm as the PennyLane device `hqdm.qubit`.

    Any number of samples run at once (PennyLane's parameter broadcasting), in the precision of the
    parameters, and programs are kept: a second call of a QNode costs PennyLane's handling of its
    operations and the simulation.

    Args:
        wires: Number of wires, or their labels; None for those of each circuit.
        shots: Default number of shots, which PennyLane deprecates: use `qml.set_shots`.
        seed: Seed of the samples, as of `numpy.random.default_rng`; "global" draws one from
            NumPy's global generator.
    """

    def __init__(self, wires: Any = None, shots: Any = None, seed: Any = "global") -> None:
        super().__init__(wires=wires, shots=shots)
        seed = np.random.randint(2**31) if isinstance(seed, str) and seed == "global" else seed  # noqa: NPY002
        self._rng = np.random.default_rng(seed)
        # A state, its copies and its gradient leave room for the results.
        self._simulator = AutoSimulator(max(2**30, available_bytes() // 2))

    @property
    def name(self) -> str:
        """The name of the device."""
        return "hqdm.qubit"

    def supports_derivatives(
        self, execution_config: ExecutionConfig | None = None, circuit: QuantumScript | None = None
    ) -> bool:
        """True if the device computes the gradient of a circuit: without shots.

        All methods but those of PennyLane itself are the same backward pass.
        """
        if execution_config is None:
            return True
        method, interface = execution_config.gradient_method, execution_config.interface
        if method not in METHODS or (circuit is not None and circuit.shots):
            return False
        return interface not in TENSORFLOW

    def supports_vjp(
        self, execution_config: ExecutionConfig | None = None, circuit: QuantumScript | None = None
    ) -> bool:
        """As `supports_derivatives`."""
        return self.supports_derivatives(execution_config, circuit)

    def setup_execution_config(
        self, config: ExecutionConfig | None = None, circuit: QuantumScript | None = None
    ) -> ExecutionConfig:
        """Choose the gradient method and how measurements before the end are run.

        Raises:
            DeviceError: If an option is unknown, or measurements before the end shall not be
                deferred.
        """
        config = config or ExecutionConfig()
        for option in config.device_options:
            raise DeviceError(f"hqdm.qubit has no device option {option!r}: leave it out")
        method = config.gradient_method
        changes: dict[str, Any] = {"mcm_config": _deferred(config.mcm_config)}
        if method in METHODS:
            by_products = method != "backprop" and _interface(config, circuit) == "jax"
            changes["gradient_method"] = "adjoint" if by_products else "backprop"
            changes["use_device_gradient"] = True
            # Cheaper than a Jacobian, which is PennyLane's default (device_vjp=False).
            changes["use_device_jacobian_product"] = by_products
            changes["grad_on_execution"] = False
        return replace(config, **changes)

    def preprocess_transforms(
        self, execution_config: ExecutionConfig | None = None
    ) -> CompilePipeline:
        """The transforms of PennyLane before the device: checks, deferral, decomposition, splits.

        Wires are checked first: deferred measurements may take wires that the device has not.
        """
        config = execution_config or ExecutionConfig()
        is_jit = config.interface == math.Interface.JAX_JIT  # whose Jacobians are of scalars
        pipeline = CompilePipeline()
        pipeline.add_transform(validate_device_wires, self.wires, name=self.name)
        pipeline.add_transform(defer_measurements, allow_postselect=True)
        pipeline.add_transform(
            decompose,
            stopping_condition=has_scalars if is_jit else is_supported,
            decomposer=decomposition,
            device_wires=self.wires,
            target_gates=GATES,
            name=self.name,
        )
        pipeline.add_transform(device_resolve_dynamic_wires, wires=self.wires, allow_resets=False)
        pipeline.add_transform(
            validate_measurements,
            analytic_measurements=accepted_analytic_measurement,
            sample_measurements=accepted_sample_measurement,
            name=self.name,
        )
        pipeline.add_transform(_expand_where_needed)
        if config.gradient_method in METHODS:
            pipeline.add_transform(no_sampling, name=f"{config.gradient_method} + {self.name}")
            if is_jit and config.gradient_method != "backprop":  # without an axis of samples
                pipeline.add_transform(broadcast_expand)
        return pipeline

    def execute(
        self,
        circuits: Sequence[QuantumScript],
        execution_config: ExecutionConfig | None = None,
    ) -> Any:
        """The results of circuits: torch tensors if a parameter is one, else NumPy arrays."""
        config = execution_config or ExecutionConfig()
        return tuple(self._result(circuit, config) for circuit in circuits)

    def _result(self, circuit: QuantumScript, config: ExecutionConfig) -> Any:
        differentiates = config.gradient_method == "backprop"
        if differentiates and not circuit.shots:
            traced = self._traced(circuit, config)
            if traced is not None:
                return traced
        simulation = self._simulation(circuit, config)
        if circuit.shots:
            return simulation.samples(self._rng, config.mcm_config.postselect_mode)
        with torch.set_grad_enabled(differentiates and torch.is_grad_enabled()):
            results = simulation.results()
        torch_out = simulation.in_torch or (config.interface == TORCH and differentiates)
        found = tuple(results if torch_out else map(as_numpy, results))
        return found[0] if len(found) == 1 else found

    def _traced(self, circuit: QuantumScript, config: ExecutionConfig) -> Any:
        """The results as functions of the parameters that autograd or JAX traces, if any."""
        numbers = [unwrapped(n) for n in circuit.get_parameters(trainable_only=False)]
        if config.interface in JAX:
            from hqdm.device import jax_lift  # JAX is no requirement

            places = [i for i, number in enumerate(numbers) if jax_lift.is_traced(number)]
        else:
            places = [i for i, number in enumerate(numbers) if isbox(number)]
        if not places:
            return None

        def results_of(*tensors: Tensor) -> Tensor:
            of_places = dict(zip(places, tensors, strict=True))
            results = self._simulation(circuit, config, of_places).results()
            # Not view_as_real, whose gradient may not begin anywhere in the vector.
            real = [torch.stack([r.real, r.imag], -1) if r.is_complex() else r for r in results]
            if [tuple(r.shape) for r in real] != sizes:
                raise HQDMError(
                    f"the measurements have results of other shapes than PennyLane expects, {sizes}"
                )
            return torch.cat([r.reshape(-1) for r in real])

        forms = [self._form(measurement, circuit) for measurement in circuit.measurements]
        sizes = [(*shape, 2) if is_complex else shape for shape, is_complex in forms]
        some = [numbers[i] for i in places]
        if config.interface in JAX:
            n_numbers = sum(int(np.prod(size)) for size in sizes)
            vector = jax_lift.lifted(results_of, n_numbers, some)
        else:
            vector = lifted(results_of)(*some)
        found = tuple(
            part[..., 0] + 1j * part[..., 1] if is_complex else part
            for part, (_, is_complex) in zip(split(vector, sizes), forms, strict=True)
        )
        return found[0] if len(found) == 1 else found

    def _form(
        self, measurement: MeasurementProcess, circuit: QuantumScript
    ) -> tuple[tuple[int, ...], bool]:
        """The shape of a result, and whether it is complex."""
        n_wires = len(self.wires) if self.wires else len(circuit.wires)
        shape = measurement.shape(shots=None, num_device_wires=n_wires)
        lead = () if circuit.batch_size is None else (circuit.batch_size,)
        return (*lead, *shape), measurement.numeric_type is complex

    def _simulation(
        self,
        circuit: QuantumScript,
        config: ExecutionConfig,
        tensors: Mapping[int, Tensor] | None = None,
    ) -> Simulation:
        # JAX expects float64 wherever it is enabled, and rounds the results itself otherwise.
        dtype = torch.float64 if config.interface in JAX else None
        return Simulation(circuit, self._simulator, dtype, tensors)

    def compute_vjp(
        self,
        circuits: Sequence[QuantumScript],
        cotangents: Sequence[Any],
        execution_config: ExecutionConfig | None = None,
    ) -> tuple[tuple[np.ndarray, ...], ...]:
        """Vector-Jacobian products with the trainable parameters, of their shapes.

        Args:
            circuits: The circuits.
            cotangents: For each circuit a vector per measurement, of the shape of its result; with
                one more axis in front, several at once.
            execution_config: The configuration.
        """
        config = execution_config or ExecutionConfig()
        return tuple(
            self._vjp(circuit, cotangent, config)
            for circuit, cotangent in zip(circuits, cotangents, strict=True)
        )

    def _vjp(
        self, circuit: QuantumScript, cotangents: Any, config: ExecutionConfig
    ) -> tuple[np.ndarray, ...]:
        leaves, results = self._differentiable(circuit, config)
        vectors = [cotangents] if len(results) == 1 else list(cotangents)
        vectors = [torch.as_tensor(np.asarray(math.unwrap(vector))) for vector in vectors]
        if all(v.ndim == r.ndim for v, r in zip(vectors, results, strict=True)):
            return _pulled_back(results, vectors, leaves)
        rows = [
            _pulled_back(results, [vector[i] for vector in vectors], leaves)
            for i in range(len(vectors[0]))
        ]
        return tuple(np.stack(column) for column in zip(*rows, strict=True))

    def execute_and_compute_vjp(
        self,
        circuits: Sequence[QuantumScript],
        cotangents: Sequence[Any],
        execution_config: ExecutionConfig | None = None,
    ) -> tuple[Any, Any]:
        """The results and `compute_vjp`."""
        results = self.execute(circuits, execution_config)
        return results, self.compute_vjp(circuits, cotangents, execution_config)

    def compute_derivatives(
        self,
        circuits: Sequence[QuantumScript],
        execution_config: ExecutionConfig | None = None,
    ) -> tuple[Any, ...]:
        """The Jacobians, for each measurement an array per trainable parameter."""
        config = execution_config or ExecutionConfig()
        return tuple(self._jacobian(circuit, config) for circuit in circuits)

    def _jacobian(self, circuit: QuantumScript, config: ExecutionConfig) -> Any:
        leaves, results = self._differentiable(circuit, config)
        of_results = []
        for result in results:
            numbers = torch.view_as_real(result) if result.is_complex() else result
            rows = []
            for one in torch.eye(numbers.numel(), dtype=numbers.dtype):
                vector = one.reshape(numbers.shape)
                rows.append(_gradients([numbers], [vector], leaves))
            columns = []
            for k in range(len(leaves)):
                entries = torch.stack([row[k] for row in rows])
                shaped = entries.reshape((*numbers.shape, *leaves[k].shape))
                if result.is_complex():
                    shaped = shaped.movedim(result.ndim, -1).contiguous()
                    shaped = torch.view_as_complex(shaped)
                columns.append(as_numpy(shaped))
            of_results.append(columns[0] if len(columns) == 1 else tuple(columns))
        return of_results[0] if len(of_results) == 1 else tuple(of_results)

    def execute_and_compute_derivatives(
        self,
        circuits: Sequence[QuantumScript],
        execution_config: ExecutionConfig | None = None,
    ) -> tuple[Any, Any]:
        """The results and `compute_derivatives`."""
        results = self.execute(circuits, execution_config)
        return results, self.compute_derivatives(circuits, execution_config)

    def _differentiable(
        self, circuit: QuantumScript, config: ExecutionConfig
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The trainable parameters as torch tensors, and the results as functions of them."""
        numbers = circuit.get_parameters()
        leaves = [torch.as_tensor(np.asarray(math.unwrap(n))).clone() for n in numbers]
        leaves = [
            leaf if leaf.is_floating_point() or leaf.is_complex() else leaf.double()
            for leaf in leaves
        ]
        for leaf in leaves:
            leaf.requires_grad_()
        tensors = dict(zip(circuit.trainable_params, leaves, strict=True))
        with torch.enable_grad():
            return leaves, self._simulation(circuit, config, tensors).results()


def _interface(config: ExecutionConfig, circuit: QuantumScript | None) -> str:
    """PennyLane's name of the interface; that of the parameters where it is not given."""
    if config.interface in JAX:
        return "jax"
    if config.interface == math.Interface.AUTO and circuit is not None:
        return math.get_interface(*circuit.get_parameters(trainable_only=False))
    return config.interface.value


def _deferred(config: MCMConfig) -> MCMConfig:
    """The configuration of measurements before the end.

    Raises:
        DeviceError: If they shall not be deferred.
    """
    if config.mcm_method not in (None, "deferred", "device"):
        raise DeviceError(
            f"hqdm.qubit defers measurements to the end, got mcm_method={str(config.mcm_method)!r}:"
            " use 'deferred'"
        )
    return replace(config, mcm_method="deferred")


def _pulled_back(
    results: Sequence[Tensor], vectors: Sequence[Tensor], leaves: Sequence[Tensor]
) -> tuple[np.ndarray, ...]:
    """Vector-Jacobian products without complex conjugation, as PennyLane defines them."""
    return tuple(map(as_numpy, _gradients(results, [vector.conj() for vector in vectors], leaves)))


def _gradients(
    results: Sequence[Tensor], vectors: Sequence[Tensor], leaves: Sequence[Tensor]
) -> list[Tensor]:
    pairs = [
        (result, vector.to(result) if result.is_complex() else vector.real.to(result))
        for result, vector in zip(results, vectors, strict=True)
        if result.requires_grad
    ]
    if not pairs or not leaves:
        return [torch.zeros_like(leaf) for leaf in leaves]
    return list(
        torch.autograd.grad(
            [result for result, _ in pairs],
            list(leaves),
            [vector for _, vector in pairs],
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
    )
