"""A training step of QuDDPM by hqdm and by TensorCircuit with JAX.

    psi -> K_z psi / |K_z psi|,    loss = MMD^2(states, targets),    Adam of learning rate 5e-4

A step takes fixed inputs and targets, draws the outcomes z, and updates the angles of one backward
step (Zhang et al., PRL 132, 100602). The kernel of the MMD is |<a|b>|^2, of all pairs in the public
code; hqdm computes the same number from average density matrices. Every contestant runs in a
separate process (see `speed.worker`) and imports its library only when it is constructed.
"""

import time
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np

LEARNING_RATE = 5e-4
SEED = 0


class Task(NamedTuple):
    """A backward step and its states.

    Attributes:
        n_qubits: Number n of data qubits.
        n_ancillas: Number of auxiliary qubits, the most significant ones.
        n_layers: Layers of RX and RY on every qubit and CZ on neighbours.
        batch: Number of states.
    """

    n_qubits: int
    n_ancillas: int
    n_layers: int
    batch: int


class Arrays(NamedTuple):
    """The numbers of a task.

    Attributes:
        angles: `(n_layers, n_qubits + n_ancillas, 2)`.
        inputs: Kets `(batch, d)`.
        targets: Kets `(batch, d)`.
        outcomes: An outcome of the auxiliary qubits for each input, `(batch,)`.
    """

    angles: np.ndarray
    inputs: np.ndarray
    targets: np.ndarray
    outcomes: np.ndarray


def random_arrays(task: Task) -> Arrays:
    """Angles from N(0, 1), random kets and outcomes."""
    draws = np.random.default_rng(SEED)
    parts = draws.normal(size=(2, 2, task.batch, 2**task.n_qubits))
    kets = parts[0] + 1j * parts[1]
    kets = (kets / np.linalg.norm(kets, axis=-1, keepdims=True)).astype(np.complex64)
    shape = task.n_layers, task.n_qubits + task.n_ancillas, 2
    angles = draws.normal(size=shape).astype(np.float32)
    return Arrays(angles, *kets, draws.integers(2**task.n_ancillas, size=task.batch))


class Contestant(ABC):
    """A library with a task.

    Args:
        task: The task.
        arrays: Its numbers.
    """

    def __init__(self, task: Task, arrays: Arrays) -> None:
        self.task, self.arrays = task, arrays

    @abstractmethod
    def gradient(self) -> tuple[float, np.ndarray]:
        """The loss for the given outcomes, and its gradient with respect to the angles."""

    @abstractmethod
    def step(self) -> None:
        """Take a training step, with outcomes that are drawn, and wait for it."""

    def turn(self, seconds: float) -> list[float]:
        """Seconds of each step, for as many as fit into `seconds`, after one that is not timed."""
        self.step()
        taken: list[float] = []
        while not taken or sum(taken) < seconds:
            started = time.perf_counter()
            self.step()
            taken.append(time.perf_counter() - started)
        return taken


class Hqdm(Contestant):
    """hqdm: one of T backward steps is trained, the last one."""

    def __init__(self, task: Task, arrays: Arrays) -> None:
        import torch

        from hqdm.states.distances import mmd
        from hqdm.states.models import MeasuredCircuit

        super().__init__(task, arrays)
        self.torch, self.mmd = torch, mmd
        self.network = MeasuredCircuit(task.n_qubits, 1, task.n_ancillas, task.n_layers)
        (self.angles,) = self.network.parameters()
        self.angles.data = torch.from_numpy(arrays.angles.copy())
        self.inputs, self.targets = map(torch.from_numpy, (arrays.inputs, arrays.targets))
        self.draws = torch.Generator().manual_seed(SEED)
        self.optimizer = torch.optim.Adam([self.angles], LEARNING_RATE)

    def gradient(self) -> tuple[float, np.ndarray]:
        """See `Contestant`."""
        ((kraus,),) = self.network.kraus([1])
        chosen = self.torch.einsum("bij,bj->bi", kraus[self.arrays.outcomes], self.inputs)
        states = chosen / self.torch.linalg.vector_norm(chosen, dim=1, keepdim=True)
        loss = self.mmd(states, self.targets)
        (gradient,) = self.torch.autograd.grad(loss, [self.angles])
        return loss.item(), gradient.numpy()

    def step(self) -> None:
        """See `Contestant`."""
        self.optimizer.zero_grad()
        self.mmd(self.network.step(self.inputs, 1, self.draws), self.targets).backward()
        self.optimizer.step()


class TensorCircuit(Contestant):
    """TensorCircuit with JAX; loss and gradient are compiled, the update of Adam is not.

    That is how the public code takes a step. Its layers are unrolled there; here they are scanned,
    since XLA's time to compile the 4-qubit task otherwise exceeds ten minutes.
    """

    def __init__(self, task: Task, arrays: Arrays) -> None:
        import jax
        import optax
        import tensorcircuit

        super().__init__(task, arrays)
        self.jax, self.np, self.tc, self.optax = jax, jax.numpy, tensorcircuit, optax
        self.backend = tensorcircuit.set_backend("jax")
        tensorcircuit.set_dtype("complex64")
        ground = np.zeros((task.batch, 2 ** (task.n_qubits + task.n_ancillas)), np.complex64)
        ground[:, : 2**task.n_qubits] = arrays.inputs
        self.angles = self.np.asarray(arrays.angles)
        self.states, self.targets = self.np.asarray(ground), self.np.asarray(arrays.targets)
        self.key = jax.random.PRNGKey(SEED)
        self.optimizer = optax.adam(LEARNING_RATE)
        self.moments = self.optimizer.init(self.angles)
        self.slope = jax.jit(jax.value_and_grad(self.loss))

    def layer(self, state: Any, angles: Any) -> tuple[Any, None]:
        """One layer on one state."""
        n_wires = self.task.n_qubits + self.task.n_ancillas
        circuit = self.tc.Circuit(n_wires, inputs=state)
        for wire in range(n_wires):
            circuit.rx(wire, theta=angles[wire, 0])
            circuit.ry(wire, theta=angles[wire, 1])
        for start in (0, 1):
            for wire in range(start, n_wires - 1, 2):
                circuit.cz(wire, wire + 1)
        return circuit.state(), None

    def loss(self, angles: Any, outcomes_or_key: Any) -> Any:
        """The loss for given outcomes `(batch,)`, or for those drawn with a key."""
        evolved = self.backend.vmap(
            lambda state, all_angles: self.jax.lax.scan(self.layer, state, all_angles)[0],
            vectorized_argnums=0,
        )(self.states, angles)
        parts = evolved.reshape(self.task.batch, 2**self.task.n_ancillas, -1)
        outcomes = outcomes_or_key
        if len(outcomes) != self.task.batch:
            weights = (self.np.abs(parts) ** 2).sum(2)
            outcomes = self.jax.random.categorical(outcomes_or_key, self.np.log(weights))
        chosen = self.np.take_along_axis(parts, outcomes[:, None, None], 1)[:, 0]
        states = chosen / self.np.linalg.norm(chosen, axis=1, keepdims=True)
        pairs = (states, self.targets), (states, states), (self.targets, self.targets)
        apart, within, of_targets = (1 - self._kernel(a, b).mean() for a, b in pairs)
        return 2 * apart - within - of_targets

    def _kernel(self, a: Any, b: Any) -> Any:
        return self.np.abs(a.conj() @ b.T) ** 2

    def gradient(self) -> tuple[float, np.ndarray]:
        """See `Contestant`."""
        loss, gradient = self.slope(self.angles, self.np.asarray(self.arrays.outcomes))
        return float(loss), np.asarray(gradient)

    def updated(self, angles: Any, moments: Any, key: Any) -> tuple[Any, Any]:
        """Angles and moments of Adam after a step."""
        _, gradient = self.slope(angles, key)
        changes, moments = self.optimizer.update(gradient, moments, angles)
        return self.optax.apply_updates(angles, changes), moments

    def step(self) -> None:
        """See `Contestant`."""
        self.key, key = self.jax.random.split(self.key)
        self.angles, self.moments = self.updated(self.angles, self.moments, key)
        self.jax.block_until_ready((self.angles, self.moments))


class TensorCircuitCompiled(TensorCircuit):
    """TensorCircuit with JAX; the whole step is compiled."""

    def __init__(self, task: Task, arrays: Arrays) -> None:
        super().__init__(task, arrays)
        self.whole = self.jax.jit(self._whole)

    def _whole(self, angles: Any, moments: Any, key: Any) -> tuple[Any, ...]:
        key, own = self.jax.random.split(key)
        return *self.updated(angles, moments, own), key

    def step(self) -> None:
        """See `Contestant`."""
        self.angles, self.moments, self.key = self.whole(self.angles, self.moments, self.key)
        self.jax.block_until_ready(self.angles)
