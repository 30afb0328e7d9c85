import pennylane as qml
import pytest
import torch
from simulated_gpu import GPU, SimulatedGPU, on_gpu

from hqdm.circuits import AmplitudeEmbedding, Basic, Circuit, StronglyEntangling
from hqdm.simulators import columns as module
from hqdm.simulators.columns import columns, evolved
from hqdm.simulators.program import statevector
from hqdm.simulators.program.statevector import BlockPlan
from hqdm.utils.errors import HQDMError


def circuit_and_weights(n_circuits=2, dtype=torch.float64):
    circuit = Circuit(AmplitudeEmbedding(3), StronglyEntangling(3, 2), measure="state")
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(n_circuits, *circuit.weights_shape, generator=generator, dtype=dtype)
    return circuit, weights


def unitaries(circuit, weights):
    return torch.stack(
        [qml.matrix(circuit.ansatz.queue, wire_order=range(3))(own) for own in weights]
    )


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
def test_columns_are_those_of_pennylanes_matrix(dtype, atol):
    circuit, weights = circuit_and_weights(dtype=dtype)
    found = columns(circuit, torch.tensor([5, 0]), weights)
    assert found.shape == (2, 2, 8)
    assert found.dtype == dtype.to_complex()
    expected = unitaries(circuit, weights.double())[:, :, [5, 0]].mT
    torch.testing.assert_close(found.to(expected), expected, rtol=0, atol=atol)


def test_gradients_are_those_of_pennylanes_matrix():
    circuit, weights = circuit_and_weights()
    generator = torch.Generator().manual_seed(1)
    slope = torch.randn(2, 2, 8, generator=generator, dtype=torch.complex128)
    found, expected = (weights.clone().requires_grad_() for _ in range(2))
    (columns(circuit, torch.tensor([5, 0]), found) * slope).real.sum().backward()
    (unitaries(circuit, expected)[:, :, [5, 0]].mT * slope).real.sum().backward()
    torch.testing.assert_close(found.grad, expected.grad, rtol=0, atol=1e-12)


def random_states():
    """States of norms other than one, one of them real."""
    generator = torch.Generator().manual_seed(2)
    states = torch.randn(2, 5, 8, generator=generator, dtype=torch.complex128)
    return torch.cat([states, states[:, :1].real + 0j], 1)


@pytest.mark.parametrize("compiled", [True, False])
def test_states_are_those_of_pennylanes_matrix(monkeypatch, compiled):
    """Values, and gradients in states and angles, by the kernels and by torch."""
    monkeypatch.setattr(module, "is_supported", lambda circuit: compiled)
    circuit, weights = circuit_and_weights()
    slope = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(1), dtype=torch.complex128)

    def gradients(run):
        tensors = [each.clone().requires_grad_() for each in (random_states(), weights)]
        after = run(*tensors)
        (after * slope).real.sum().backward()
        return after.detach(), *(tensor.grad for tensor in tensors)

    found = gradients(lambda states, angles: evolved(circuit, states, angles))
    expected = gradients(lambda states, angles: states @ unitaries(circuit, angles).mT)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_on_a_gpu_it_runs_in_torch_without_waiting(monkeypatch):
    circuit, weights = circuit_and_weights()
    basis = torch.tensor([5, 0])
    with SimulatedGPU():  # plans are built once, in another thread
        ready = BlockPlan(circuit, GPU, weights.dtype)
    monkeypatch.setattr(statevector, "plan", lambda *_: ready)
    with SimulatedGPU() as gpu:
        found = columns(circuit, on_gpu(basis), on_gpu(weights))
    assert gpu.waits == []
    monkeypatch.undo()
    torch.testing.assert_close(found.held, columns(circuit, basis, weights), rtol=0, atol=1e-13)


def test_derivatives_forward_and_of_second_order():
    circuit, weights = circuit_and_weights(1)
    basis = torch.tensor([0])

    def real(angles):
        return columns(circuit, basis, angles).real

    backward = torch.func.jacrev(real)(weights)
    torch.testing.assert_close(torch.func.jacfwd(real)(weights), backward)
    assert torch.autograd.gradgradcheck(real, weights.requires_grad_())


def test_states_beyond_the_memory_limit_are_refused(monkeypatch):
    monkeypatch.setattr(module, "MEMORY_LIMIT", 100)
    with pytest.raises(HQDMError, match=r"the states of 3 qubits would take"):
        columns(*circuit_and_weights()[:1], torch.arange(8), circuit_and_weights()[1])
    with pytest.raises(HQDMError, match=r"the states of 3 qubits would take"):
        evolved(circuit_and_weights()[0], random_states(), circuit_and_weights()[1])


def test_gates_of_another_ansatz():
    circuit = Circuit(AmplitudeEmbedding(3), Basic(3, 1), measure="state")
    weights = torch.zeros(1, *circuit.weights_shape, dtype=torch.float64)
    found = columns(circuit, torch.arange(8), weights)
    torch.testing.assert_close(found, unitaries(circuit, weights).mT.to(found))
