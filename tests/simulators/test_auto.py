import math

import numpy as np
import pennylane as qml
import pytest
import torch
from programs import sample

from hqdm.circuits import AmplitudeEmbedding, AngleEmbedding, Basic, Circuit, HQConv
from hqdm.circuits import StronglyEntangling as Strongly
from hqdm.simulators import AutoSimulator, Work, choose
from hqdm.simulators.costs import multiply_adds
from hqdm.utils.errors import HQDMError

CPU = torch.device("cpu")


def test_wide_circuits_on_a_batch_are_compiled():
    choice = choose(Work(Circuit(AngleEmbedding(12), HQConv(12, 3)), 13, 128), CPU)
    assert choice.simulator.name == "compiled"
    assert choice.seconds["compiled"] < choice.seconds["statevector"] / 3
    assert math.isinf(choice.seconds["unitary"])
    assert choice.reason.startswith("estimated compiled ")
    assert choice.reason.endswith("unitary not possible")


def test_amplitudes_of_a_large_batch_take_the_unitary_path():
    circuit = Circuit(AmplitudeEmbedding(5), Strongly(5, 8), "probs", n_outcomes=8)
    assert choose(Work(circuit, 4, 8192), CPU).simulator.name == "unitary"
    # As soon as the batch is smaller than the state, its rows are the larger work.
    circuit = Circuit(AmplitudeEmbedding(10), Strongly(10, 8), "probs")
    assert choose(Work(circuit, 1, 64), CPU).simulator.name == "compiled"


def test_other_devices_run_in_torch():
    cuda = torch.device("cuda")
    choice = choose(Work(Circuit(AngleEmbedding(4), HQConv(4)), 1, 8), cuda)
    assert choice.simulator.name == "statevector"
    assert choice.reason.startswith("inputs are on cuda; estimated with the rates of a CPU stat")
    # A batch much larger than the state, and one that is smaller.
    circuit = Circuit(AmplitudeEmbedding(5), Strongly(5, 8), "probs", n_outcomes=8)
    assert choose(Work(circuit, 4, 8192), cuda).simulator.name == "unitary"
    assert choose(Work(circuit, 4, 16), cuda).simulator.name == "statevector"
    # Rows and amplitudes of all samples: 4 circuits x 8 rows x (4 x 32 + 4 x 8192) numbers.
    limited = Work(circuit, 4, 8192, memory_limit=4 * 4 * 8 * (4 * 32 + 4 * 8192) - 1)
    assert choose(limited, cuda).simulator.name == "statevector"


def unknown_gate(x, w):
    qml.RX(x[0], wires=0)
    qml.QubitUnitary(np.eye(8)[::-1].copy(), wires=(0, 1, 2))
    qml.RX(w[0], wires=1)


def test_unknown_gates_run_in_torch():
    circuit = Circuit.from_qfunc(unknown_gate, n_wires=3, n_inputs=1, weights_shape=(1,))
    with pytest.warns(UserWarning, match="does not support the gate QubitUnitary"):
        assert choose(Work(circuit, 1, 8), CPU).simulator.name == "statevector"


def test_circuits_beyond_the_memory_limit_are_refused_by_the_state_vector():
    circuit = Circuit(AngleEmbedding(23), Basic(23, 1))
    assert choose(Work(circuit, 1, 1), CPU).simulator.name == "statevector"
    circuit = Circuit(AngleEmbedding(30), Basic(30, 1))
    with pytest.raises(
        HQDMError, match="1 x 30 qubits would take 8,589,934,592 bytes, more than memory_limit=1,07"
    ):
        AutoSimulator()(circuit, torch.zeros(1, 1, 30), torch.zeros(1, 1, 30))


def test_the_memory_limit_reaches_the_chosen_simulator():
    circuit = Circuit(AngleEmbedding(4), Basic(4, 1))
    with pytest.raises(HQDMError, match="memory_limit=100:"):
        AutoSimulator(100)(circuit, *sample(circuit))


def test_estimates_grow_with_the_work():
    def seconds(n_wires=8, n_circuits=4, n_samples=256, **options):
        circuit = Circuit(AngleEmbedding(n_wires), Strongly(n_wires, 4))
        return choose(Work(circuit, n_circuits, n_samples, **options), CPU).seconds

    base = seconds()
    for larger in (
        seconds(n_wires=10),
        seconds(n_circuits=8),
        seconds(n_samples=1024),
        seconds(itemsize=8),
    ):
        assert all(larger[name] > base[name] for name in ("compiled", "statevector"))
    cheaper = seconds(gradients=False)
    assert all(cheaper[name] < base[name] for name in ("compiled", "statevector"))


@pytest.mark.parametrize("needed", [(), ("inputs",), ("weights",), ("inputs", "weights")])
def test_gradients_of_inputs_or_weights_are_counted(monkeypatch, needed):
    """A training step needs those of the weights only, evaluation needs none."""
    works = []

    def choose_and_note(work, device):
        works.append(work)
        return choose(work, device)

    monkeypatch.setattr("hqdm.simulators.auto.choose", choose_and_note)
    circuit = Circuit(AngleEmbedding(2), Basic(2, 1))
    inputs, weights = (tensor.detach() for tensor in sample(circuit))
    inputs.requires_grad_("inputs" in needed)
    weights.requires_grad_("weights" in needed)
    AutoSimulator()(circuit, inputs, weights)
    with torch.no_grad():
        AutoSimulator()(circuit, inputs, weights)
    assert [work.gradients for work in works] == [bool(needed), False]


def test_multiply_adds_are_counted_from_the_program():
    # One RX on one qubit: a complex 2x2 matrix, 16 real multiplications; the state is written
    # directly by the embedding, and the gate joins it, so that nothing is left of a single qubit.
    assert multiply_adds(Work(Circuit(AngleEmbedding(1), Basic(1, 1)), 3, 5)) == 0
    # Two qubits: the RXs are product gates too, the ring of two CNOTs are two 2x2 matrices on half
    # of the amplitudes, 16 each.
    forward = Work(Circuit(AngleEmbedding(2), Basic(2, 1)), 3, 5, gradients=False)
    assert multiply_adds(forward) == 3 * 5 * 2 * 16
    with_gradient = Work(Circuit(AngleEmbedding(2), Basic(2, 1)), 3, 5)
    assert multiply_adds(with_gradient) == 4 * multiply_adds(forward)
