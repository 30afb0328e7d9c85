"""A QNode in a `QuantumLayer` does what it does in PennyLane's own `TorchLayer`."""

import copy
import io
import pickle

import numpy as np
import pennylane as qml
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from marks import thinned
from networks import Toy
from programs import N_INPUTS, N_WEIGHTS, gate_lists
from torch import nn

from hqdm import QuantumLayer
from hqdm.circuits import AngleEmbedding, Basic, Circuit
from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.schedule import CosineSchedule
from hqdm.evaluation.ablation import quantum_effect
from hqdm.nn import QNodeLayer
from hqdm.nn.parts import classical_parameters, quantum_parameters
from hqdm.utils.errors import HQDMError

DEVICE = qml.device("default.qubit", wires=4)


def expectations(letters="ZZZZ"):
    return [qml.expval(getattr(qml, letter)(wire)) for wire, letter in enumerate(letters)]


# QNodes as they stand in tutorials and papers: a name for the test, the weights, the number of
# features, and the function.


def classifier(inputs, weights):
    qml.AngleEmbedding(inputs, wires=range(4))
    qml.StronglyEntanglingLayers(weights, wires=range(4))
    return expectations()


def reuploading(inputs, scales, weights, bias):
    for layer in range(2):
        for wire in range(3):
            qml.RX(scales[layer, wire] * inputs[..., wire] + bias, wires=wire)
            qml.Rot(*weights[layer, wire], wires=wire)
        for wire in range(3):
            qml.CZ(wires=[wire, (wire + 1) % 3])
    return qml.expval(qml.Z(0))


def amplitudes(inputs, weights):
    qml.AmplitudeEmbedding(inputs, wires=range(3), normalize=True, pad_with=0.0)
    qml.StronglyEntanglingLayers(weights, wires=range(3))
    return expectations("ZZZ")


def padded_amplitudes_beside_other_wires(inputs, weights):
    qml.Hadamard(wires=3)
    qml.AmplitudeEmbedding(torch.tanh(inputs), wires=[2, 0], pad_with=0.3)
    qml.BasicEntanglerLayers(weights, wires=[0, 2])
    qml.CSWAP(wires=[3, 0, 2])
    return qml.probs(wires=[2, 3])


def probabilities(inputs, weights):
    qml.AngleEmbedding(inputs, wires=range(4), rotation="Y")
    qml.BasicEntanglerLayers(weights, wires=range(4), rotation=qml.RZ)
    return qml.probs(wires=[3, 1])


def all_probabilities(inputs, weights):
    qml.AngleEmbedding(inputs, wires=range(3))
    qml.BasicEntanglerLayers(weights, wires=range(4))
    return qml.probs()


def products_of_paulis(inputs, weights):
    qml.IQPEmbedding(inputs, wires=range(3), n_repeats=2)
    qml.StronglyEntanglingLayers(weights, wires=range(3))
    return [
        qml.expval(qml.X(0) @ qml.Y(2)),
        qml.expval(qml.Z(1)),
        qml.expval(qml.prod(qml.Y(2), qml.X(0), qml.Z(1))),
        qml.expval(qml.I(0)),
    ]


def hamiltonian_and_probabilities(inputs, first, weights):
    qml.AngleEmbedding(inputs, wires=range(3))
    qml.SimplifiedTwoDesign(first, weights, wires=range(3))
    energy = qml.Hamiltonian([0.5, -2.0, 1.5], [qml.X(0) @ qml.X(1), qml.X(1), qml.I(2)])
    return [qml.expval(energy), qml.probs(wires=2), qml.expval(0.5 * qml.X(0) + 0.5 * qml.I(0))]


def other_bases(inputs, weights):
    qml.QAOAEmbedding(inputs, weights, wires=range(3))
    return expectations("XYZ")


def named_wires(inputs, weights):
    wires = ["left", 7, "right"]
    qml.AngleEmbedding(inputs, wires=wires)
    qml.ctrl(qml.RX, control=["right", "left"], control_values=[0, 1])(weights[0], wires=7)
    qml.adjoint(qml.StronglyEntanglingLayers)(weights.reshape(1, 3, 1).repeat(1, 1, 3), wires=wires)
    qml.MultiControlledX(wires=["right", 7, "left"])
    return [qml.expval(qml.Z("right")), qml.expval(qml.Z(7) @ qml.Z("left"))]


def nonlinear(inputs, weights):
    for wire in range(3):
        qml.RY(torch.asin(torch.tanh(inputs[..., wire])), wires=wire)
        qml.RZ(torch.acos(torch.tanh(inputs[..., wire]) ** 2) * weights[wire], wires=wire)
        qml.CNOT(wires=[wire, (wire + 1) % 3])
    qml.evolve(qml.X(0) @ qml.Y(1), weights[1])
    return expectations("ZXY")


def scalar_weight(inputs, angle):
    qml.RX(inputs[..., 0], wires="a")
    qml.IsingXX(angle, wires=["a", "b"])
    return (qml.expval(qml.Y("b")),)


def a_tuple(inputs, weights):
    qml.AngleEmbedding(inputs, wires=range(2))
    qml.BasicEntanglerLayers(weights, wires=range(2))
    return qml.expval(qml.Z(1)), qml.expval(qml.X(0)), qml.expval(qml.Z(1))


def a_tuple_of_probabilities(inputs, weights):
    qml.AngleEmbedding(inputs, wires=range(2))
    qml.BasicEntanglerLayers(weights, wires=range(2))
    return qml.probs(wires=1), qml.probs(wires=0)


def no_weights(inputs):
    qml.IQPEmbedding(inputs, wires=range(3))
    return [qml.expval(qml.X(1))]


def only_identities(inputs, weights):
    qml.AngleEmbedding(inputs, wires=range(2))
    qml.RX(weights[0], wires=0)
    return [qml.expval(qml.I(0)), qml.expval(3 * qml.I(1))]


NO_WIRES = qml.device("default.qubit")
LABELS = qml.device("default.qubit", wires=["right", "left", "unused", 7])
QNODES = [
    (classifier, DEVICE, {"weights": (2, 4, 3)}, 4),
    (classifier, DEVICE, {"weights": (1, 4, 3)}, 2),  # fewer features than wires
    (reuploading, DEVICE, {"scales": (2, 3), "weights": (2, 3, 3), "bias": 1}, 3),
    (amplitudes, DEVICE, {"weights": (2, 3, 3)}, 7),
    (padded_amplitudes_beside_other_wires, DEVICE, {"weights": (2, 2)}, 3),
    (padded_amplitudes_beside_other_wires, NO_WIRES, {"weights": (2, 2)}, 4),
    (probabilities, DEVICE, {"weights": (3, 4)}, 4),
    (all_probabilities, DEVICE, {"weights": (1, 4)}, 3),
    (products_of_paulis, DEVICE, {"weights": [2, 3, 3]}, 3),
    (hamiltonian_and_probabilities, NO_WIRES, {"weights": (2, 2, 2), "first": 3}, 3),
    (other_bases, DEVICE, {"weights": (2, 6)}, 3),
    (named_wires, LABELS, {"weights": 3}, 3),
    (named_wires, NO_WIRES, {"weights": 3}, 3),
    (nonlinear, DEVICE, {"weights": 3}, 3),
    (scalar_weight, NO_WIRES, {"angle": 1}, 1),
    (a_tuple, DEVICE, {"weights": (1, 2)}, 2),
    (a_tuple_of_probabilities, DEVICE, {"weights": (1, 2)}, 2),
    (no_weights, DEVICE, {}, 3),
    (only_identities, DEVICE, {"weights": (1,)}, 2),
]


def both(qnode, weight_shapes, **options):
    """PennyLane's layer and ours in float64, with the same weights."""
    torch.manual_seed(0)
    theirs = qml.qnn.TorchLayer(qnode, weight_shapes).double()
    torch.manual_seed(0)
    return theirs, QuantumLayer(qnode, weight_shapes, **options).double()


def value_and_gradients(layer, inputs):
    inputs = inputs.clone().requires_grad_()
    out = layer(inputs)
    # Unequal cotangents, so that no two outputs can be exchanged unnoticed.
    cotangent = torch.arange(1, out.numel() + 1).cos().reshape(out.shape).to(out)
    leaves = [inputs, *layer.parameters()]
    loss = (out * cotangent).sum() + 0 * sum(leaf.sum() for leaf in leaves)
    return out.detach(), *torch.autograd.grad(loss, leaves)


def assert_equal(ours, theirs, atol=1e-9):
    """Both compute in float64: only rounding differs."""
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        torch.testing.assert_close(a, b, rtol=0, atol=atol)


@pytest.mark.parametrize("lead", [(), (1,), (5,), (2, 3)], ids=str)
@pytest.mark.parametrize(
    ("function", "device", "weight_shapes", "n_inputs"),
    thinned(
        [pytest.param(*qnode, id=f"{qnode[0].__name__}-{i}") for i, qnode in enumerate(QNODES)],
        every=5,
    ),
)
def test_outputs_and_gradients_are_those_of_torch_layer(
    function, device, weight_shapes, n_inputs, lead
):
    theirs, ours = both(qml.QNode(function, device), weight_shapes)
    inputs = torch.randn(*lead, n_inputs, dtype=torch.float64)
    assert_equal(value_and_gradients(ours, inputs), value_and_gradients(theirs, inputs))


def product_of_gates(inputs, weights):
    qml.AngleEmbedding(inputs, wires=range(2))
    qml.prod(qml.RX(weights[0], 1), qml.CNOT([0, 1]), qml.RY(inputs[..., 0], 0))
    return qml.probs(wires=[0, 1])


def test_a_product_of_gates_with_angles_of_a_batch():
    theirs, ours = both(qml.QNode(product_of_gates, DEVICE), {"weights": (1,)})
    inputs = torch.randn(5, 2, dtype=torch.float64)  # PennyLane fails on a batch of one
    assert_equal(value_and_gradients(ours, inputs), value_and_gradients(theirs, inputs))


@st.composite
def qnodes(draw):
    """A random QNode on wires with random labels, measured in random bases."""
    n_wires = draw(st.integers(1, 4))
    labels = draw(st.permutations(["a", 3, "b", 0]))[:n_wires]
    # PennyLane cannot differentiate IsingXY of a batch in torch.
    lists = gate_lists(n_wires).filter(lambda g: "IsingXY" not in {gate[0] for gate in g.gates})
    gates = draw(lists)
    letters = draw(st.lists(st.sampled_from("XYZ"), min_size=n_wires, max_size=n_wires))
    subsets = st.lists(st.sampled_from(range(n_wires)), unique=True, max_size=n_wires)
    kinds = st.tuples(st.sampled_from(["word", "sum", "probs"]), subsets)
    measured = draw(st.lists(kinds, min_size=1, max_size=3))

    def word(wires):
        return qml.prod(
            qml.I(labels[0]), *(getattr(qml, letters[wire])(labels[wire]) for wire in wires)
        )

    def measurement(kind, wires):
        if kind == "probs":
            computational = [labels[wire] for wire in wires if letters[wire] == "Z"]
            return qml.probs(wires=computational) if computational else qml.expval(word([]))
        if kind == "sum":
            return qml.expval(qml.dot([0.7, -1.3], [word(wires), word(wires[:1])]))
        return qml.expval(word(wires))

    def function(inputs, weights):
        with qml.queuing.AnnotatedQueue() as queue:
            gates(inputs.mT if inputs.ndim > 1 else inputs, weights)
        for operation in queue.queue:
            qml.apply(operation.map_wires(dict(enumerate(labels))))
        return [measurement(*kind) for kind in measured]

    order = draw(st.permutations(labels))
    device = qml.device("default.qubit", wires=draw(st.sampled_from([None, order])))
    return qml.QNode(function, device)


# PennyLane computes expectations of sums in complex numbers.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Casting complex values to real:UserWarning")
@settings(deadline=None, max_examples=60)
@given(qnode=qnodes(), lead=st.sampled_from([(), (1,), (4,), (2, 2)]))
def test_random_qnodes(qnode, lead):
    theirs, ours = both(qnode, {"weights": (N_WEIGHTS,)})
    inputs = torch.randn(*lead, N_INPUTS, dtype=torch.float64)
    assert_equal(value_and_gradients(ours, inputs), value_and_gradients(theirs, inputs))


@pytest.mark.parametrize("simulator", ["statevector", "compiled", "pennylane:default.qubit"])
@pytest.mark.parametrize(
    ("function", "n_inputs"), [(classifier, 4), (amplitudes, 7), (products_of_paulis, 3)]
)
def test_every_simulator(function, n_inputs, simulator):
    n_wires = 4 if function is classifier else 3
    theirs, ours = both(
        qml.QNode(function, DEVICE), {"weights": (2, n_wires, 3)}, simulator=simulator
    )
    inputs = torch.randn(5, n_inputs, dtype=torch.float64)
    assert_equal(value_and_gradients(ours, inputs), value_and_gradients(theirs, inputs))


def test_single_precision():
    theirs, ours = (layer.float() for layer in both(qml.QNode(classifier, DEVICE), SHAPES))
    inputs = torch.randn(6, 4)
    assert_equal(value_and_gradients(ours, inputs), value_and_gradients(theirs, inputs), 1e-5)


CLASSIFIER = qml.QNode(classifier, DEVICE)  # a module's name for it, so that it pickles
SHAPES = {"weights": (2, 4, 3)}


def test_weights_are_drawn_as_in_torch_layer():
    shapes = {"scales": (2, 3), "weights": (2, 3, 3), "bias": 1}
    theirs, ours = both(qml.QNode(reuploading, DEVICE), shapes)
    assert [name for name, _ in ours.named_parameters()] == ["scales", "weights", "bias"]
    for (_, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert a.shape == b.shape
        assert torch.equal(a, b)
    assert ours.qnode_weights.keys() == theirs.qnode_weights.keys()
    assert ours.qnode_weights["bias"] is ours.bias


@pytest.mark.parametrize(
    "init_method",
    [
        nn.init.normal_,
        {"scales": nn.init.ones_, "weights": nn.init.normal_, "bias": torch.tensor(0.3)},
    ],
)
def test_init_methods(init_method):
    shapes = {"scales": (2, 3), "weights": (2, 3, 3), "bias": 1}
    qnode = qml.QNode(reuploading, DEVICE)
    torch.manual_seed(1)
    theirs = qml.qnn.TorchLayer(qnode, shapes, init_method)
    torch.manual_seed(1)
    ours = QuantumLayer(qnode, shapes, init_method)
    assert all(
        torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True)
    )
    first = ours.weights.detach().clone()
    torch.manual_seed(1)
    ours.reset_parameters()
    assert torch.equal(ours.weights, first)
    ours.reset_parameters()
    assert not torch.equal(ours.weights, first)


def test_inputs_that_are_not_real_tensors_are_refused():
    """Imaginary parts would be dropped; whole numbers and truth values are numbers."""
    layer = QuantumLayer(qml.QNode(plain, DEVICE), {"w": 1}, nn.init.ones_)
    circuit = QuantumLayer(Circuit(AngleEmbedding(1), Basic(1, 1)))
    for inputs, line in (
        (torch.zeros(2, 1, 1, dtype=torch.complex64), "needs real inputs, got torch.complex64"),
        ([[[0.0]]], "needs a tensor, got list"),
        (np.zeros((2, 1, 1)), "needs a tensor, got ndarray"),
    ):
        for refusing in (layer, circuit):
            with pytest.raises(HQDMError, match=line):
                refusing(inputs)
    ones = torch.ones(2, 1)
    for dtype in (torch.int64, torch.bool, torch.float64):
        assert torch.equal(layer(ones.to(dtype)), layer(ones))


def test_a_tensor_of_init_method_stays_as_it_is():
    angles = torch.ones(2, 4, 3)
    layer = QuantumLayer(CLASSIFIER, SHAPES, {"weights": angles})
    with torch.no_grad():
        layer.weights += 1
    layer.reset_parameters()
    assert torch.equal(layer.weights, torch.ones(2, 4, 3))
    assert torch.equal(angles, torch.ones(2, 4, 3))


def test_state_dicts_are_exchanged_with_torch_layer():
    shapes = {"scales": (2, 3), "weights": (2, 3, 3), "bias": 1}
    qnode = qml.QNode(reuploading, DEVICE)
    inputs = torch.randn(4, 3)
    layers = [qml.qnn.TorchLayer(qnode, shapes), QuantumLayer(qnode, shapes)]
    for source, target in (layers, layers[::-1]):
        source.load_state_dict(
            {name: torch.randn_like(t) for name, t in source.state_dict().items()}
        )
        buffer = io.BytesIO()
        torch.save(source.state_dict(), buffer)
        buffer.seek(0)
        target.load_state_dict(torch.load(buffer, weights_only=True))
        torch.testing.assert_close(target(inputs), source(inputs), rtol=0, atol=1e-5)


@pytest.mark.parametrize("called", [False, True])
def test_copies_give_the_same_outputs(called):
    layer = QuantumLayer(CLASSIFIER, SHAPES)
    x = torch.randn(3, 4)
    if called:
        layer(x)
    buffer = io.BytesIO()
    torch.save(layer, buffer)
    buffer.seek(0)
    copies = (
        copy.deepcopy(layer),
        pickle.loads(pickle.dumps(layer)),
        torch.load(buffer, weights_only=False),
    )
    for copied in copies:
        assert type(copied) is QNodeLayer
        assert copied.weights is not layer.weights
        assert torch.equal(copied(x), layer(x))


def test_training_gives_the_losses_of_torch_layer():
    torch.manual_seed(3)
    x = torch.randn(32, 6, dtype=torch.float64)
    target = x[:, :1].sin() * x[:, 1:2]
    curves = []
    for make in (qml.qnn.TorchLayer, QuantumLayer):
        torch.manual_seed(4)
        layer = make(CLASSIFIER, SHAPES)
        network = nn.Sequential(nn.Linear(6, 4), layer, nn.Linear(4, 1)).double()
        optimiser = torch.optim.Adam(network.parameters(), lr=0.05)
        losses = []
        for _ in range(10):
            optimiser.zero_grad()
            loss = (network(x) - target).square().mean()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        curves.append(losses)
    assert curves[1][-1] < 0.8 * curves[1][0]
    assert curves[1] == pytest.approx(curves[0], rel=0, abs=1e-9)


def test_its_weights_count_as_quantum():
    layer = QuantumLayer(CLASSIFIER, SHAPES)
    network = nn.Sequential(nn.Linear(6, 4), layer)
    assert list(quantum_parameters(network)) == [layer.weights]
    assert list(classical_parameters(network)) == list(network[0].parameters())


class Reader(Toy):
    """Answers with the QNode's reading of the image plus the image itself."""

    def __init__(self):
        super().__init__()
        self.layer = QuantumLayer(CLASSIFIER, SHAPES)

    def forward(self, x, t, y=None):
        return x + self.layer(x.flatten(1)).view_as(x)


def test_the_ablation_draws_its_angles_anew():
    denoiser = Denoiser(Reader(), CosineSchedule())
    before = denoiser.network.layer.weights.clone()
    effect = quantum_effect(denoiser, torch.rand(100, 1, 2, 2))
    assert abs(effect.random_angles / effect.loss - 1) > 1e-3
    assert abs(effect.mean_output / effect.loss - 1) > 1e-3
    assert torch.equal(denoiser.network.layer.weights, before)


def test_precision_is_that_of_the_parameters():
    layer = QuantumLayer(CLASSIFIER, SHAPES)
    x = torch.randn(3, 4, dtype=torch.float64)
    assert layer(x).dtype == torch.float32
    expected = layer(x.float())
    assert torch.equal(layer(x), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer(x.float()), expected)
    assert layer.double()(x.float()).dtype == torch.float64


@pytest.mark.parametrize(
    ("function", "shape", "n_outputs"),
    [(classifier, (2, 4, 3), 4), (amplitudes, (2, 3, 3), 3), (probabilities, (2, 4), 4)],
)
def test_an_empty_batch(function, shape, n_outputs):
    layer = QuantumLayer(qml.QNode(function, DEVICE), {"weights": shape})
    out = layer(torch.zeros(2, 0, 4))
    assert out.shape == (2, 0, n_outputs)
    out.sum().backward()
    assert not layer.weights.grad.any()


def test_first_use_without_gradients_does_not_prevent_training():
    theirs, ours = both(CLASSIFIER, SHAPES)
    inputs = torch.randn(5, 4, dtype=torch.float64)
    with torch.inference_mode():
        ours(inputs)
    assert_equal(value_and_gradients(ours, inputs), value_and_gradients(theirs, inputs))


def test_first_use_in_function_transformations():
    layer = QuantumLayer(CLASSIFIER, SHAPES).double()
    x = torch.randn(4, dtype=torch.float64)
    jacobian = torch.func.jacrev(layer)(x)  # the first call
    columns = [torch.autograd.functional.jacobian(lambda y, i=i: layer(y)[i], x) for i in range(4)]
    torch.testing.assert_close(jacobian, torch.stack(columns), rtol=0, atol=1e-12)


def test_other_weights_by_a_functional_call():
    layer = QuantumLayer(CLASSIFIER, SHAPES)
    x, weights = torch.randn(3, 4), torch.randn(2, 4, 3)
    out = torch.func.functional_call(layer, {"weights": weights}, (x,))
    with torch.no_grad():
        layer.weights.copy_(weights)
    assert torch.equal(out, layer(x))


def test_a_layer_sees_what_its_function_reads_when_it_is_made():
    rotations = [qml.RX]

    def function(inputs, weights):
        rotations[0](inputs[..., 0] + weights, wires=0)
        return qml.expval(qml.Z(0))

    qnode = qml.QNode(function, DEVICE)
    x = torch.randn(3, 1)
    for rotation, expected in ((qml.RX, x[:, 0].cos()), (qml.RZ, torch.ones(3))):
        rotations[0] = rotation
        layer = QuantumLayer(qnode, {"weights": 1}, nn.init.zeros_)
        torch.testing.assert_close(layer(x), expected)


def test_it_is_made_by_the_same_calls_as_torch_layer():
    by_name = QuantumLayer(qnode=CLASSIFIER, weight_shapes=SHAPES, init_method=nn.init.ones_)
    by_place = QuantumLayer(CLASSIFIER, SHAPES, nn.init.ones_)
    x = torch.randn(2, 4)
    assert type(by_name) is type(by_place) is QNodeLayer
    assert torch.equal(by_name(x), by_place(inputs=x))
    assert by_name.qnode is CLASSIFIER
    assert "classifier, weights: weights (2, 4, 3), simulator=auto" in repr(by_name)


def first_line(error):
    line = str(error.value)
    assert "\n" not in line
    return line


def make(function, device=DEVICE, **options):
    return lambda: QuantumLayer(qml.QNode(function, device, **options), {"w": 1})


def plain(inputs, w):
    qml.RX(inputs[..., 0] * w, wires=0)
    return qml.expval(qml.Z(0))


@pytest.mark.parametrize(
    ("build", "line"),
    [
        (
            lambda: QuantumLayer(qml.set_shots(qml.QNode(plain, DEVICE), 100), {"w": 1}),
            "QuantumLayer cannot run plain: the QNode has 100 shots, expected exact values "
            "(shots=None); keep qml.qnn.TorchLayer for this layer",
        ),
        (
            make(plain, qml.device("default.mixed", wires=1)),
            "QuantumLayer cannot run plain: the QNode has the device 'default.mixed', expected one "
            "of default.qubit, reference.qubit, lightning.qubit, lightning.gpu, lightning.kokkos, "
            "lightning.amdgpu; keep qml.qnn.TorchLayer for this layer",
        ),
        (
            make(plain, interface="numpy"),
            "QuantumLayer cannot run plain: the QNode has the interface 'numpy', expected 'torch'; "
            "keep qml.qnn.TorchLayer for this layer",
        ),
        (
            lambda: QuantumLayer(qml.QNode(plain, DEVICE), {"weights": 1}),
            "weight_shapes names weights, but the QNode takes (inputs, w): give a shape to each "
            "argument but 'inputs'",
        ),
        (
            lambda: QuantumLayer(qml.QNode(plain, DEVICE), {"w": 1}, {"v": nn.init.ones_}),
            "unknown weight in init_method 'v': expected one of w",
        ),
        (
            lambda: QuantumLayer(qml.QNode(plain, DEVICE), {"w": 1}, {}),
            "init_method has no entry for the weight 'w'",
        ),
        (
            lambda: QuantumLayer(qml.QNode(plain, DEVICE), {"w": 1}, {"w": torch.ones(2)}),
            "init_method has (2,) for the weight 'w', expected a tensor of shape ()",
        ),
        *(
            (
                lambda init=init: QuantumLayer(qml.QNode(plain, DEVICE), {"w": 1}, init),
                f"init_method has {init!r} for the weight 'w', expected a function, or a mapping "
                "of functions and tensors",
            )
            for init in (0, 0.5, torch.tensor(0.0), torch.ones(2), [0.5])
        ),
        (
            lambda: QuantumLayer(qml.QNode(plain, DEVICE), {"w": 1}, ""),
            "init_method has '' for the weight 'w', expected a function, or a mapping of functions "
            "and tensors",
        ),
        (
            lambda: QuantumLayer(qml.QNode(plain, DEVICE), {"w": 1}, lambda w: None),
            "init_method has None for the weight 'w', expected a tensor of shape ()",
        ),
        (
            lambda: QuantumLayer(qml.QNode(plain, DEVICE), {"w": 3}, lambda w: w[:2]),
            "init_method has (2,) for the weight 'w', expected a tensor of shape (3,)",
        ),
        *(
            (
                lambda dtype=dtype: QuantumLayer(
                    qml.QNode(plain, DEVICE), {"w": 1}, {"w": torch.tensor(1, dtype=dtype)}
                ),
                f"init_method has {dtype} for the weight 'w', expected real numbers such as "
                "torch.float32",
            )
            for dtype in (torch.int64, torch.complex64, torch.bool)
        ),
        (
            lambda: QuantumLayer(qml.QNode(plain, DEVICE), {"w": 3}, nn.init.xavier_uniform_),
            "init_method fails for the weight 'w' of shape (3,): Fan in and fan out can not be "
            "computed for tensor with fewer than 2 dimensions",
        ),
        (
            lambda: QuantumLayer(qml.QNode(plain, DEVICE), {"w": 1}, {"w": 0.5}),
            "init_method has 0.5 for the weight 'w', expected a function, or a mapping of "
            "functions and tensors",
        ),
        (
            lambda: QuantumLayer(qml.QNode(lambda inputs, qnode: None, DEVICE), {"qnode": 1}),
            "a weight cannot have the name 'qnode', which the layer itself uses: give the argument "
            "another name",
        ),
        (
            lambda: QuantumLayer(qml.QNode(plain, DEVICE), {"w": 1}, None, "fast"),
            None,
        ),
    ],
)
def test_refusals_when_it_is_made(build, line):
    with pytest.raises(HQDMError) as error:
        build()
    assert first_line(error) == line if line else "unknown simulator 'fast'" in first_line(error)


def test_refusals_of_other_arguments():
    with pytest.raises(HQDMError, match="expected a PennyLane QNode and a mapping .* and 3$"):
        QuantumLayer(CLASSIFIER, 3)
    with pytest.raises(HQDMError, match="needs a Circuit or a PennyLane QNode, got <function"):
        QuantumLayer(classifier, SHAPES)


def depends_on_far_values(inputs, w):
    if inputs.sum() > 1e6:
        qml.X(0)
    return plain(inputs, w)


def converts_to_numbers(inputs, w):
    qml.RY(float(w), wires=0)
    return plain(inputs, w)


def a_qutrit(inputs, w):
    qml.THadamard(wires=0)
    return plain(inputs, w)


def no_gates(inputs, w):
    return qml.expval(qml.Z(0))


@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad:UserWarning")
@pytest.mark.parametrize("simulator", ["auto", "pennylane:default.qubit"])
@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (
            depends_on_far_values,
            "the statevector simulator cannot vectorise this circuit: its gates may not depend on "
            "values, and its angles need torch functions",
        ),
        (
            converts_to_numbers,
            "the angles of the QNode depend on inputs or weights in a way that torch does not "
            "differentiate, expected torch functions without detach",
        ),
        (a_qutrit, None),
        (no_gates, "the circuit queues no gates"),
    ],
)
def test_refusals_of_what_cannot_be_traced(function, reason, simulator):
    layer = QuantumLayer(qml.QNode(function, DEVICE), {"w": 1}, simulator=simulator)
    with pytest.raises(HQDMError) as error:
        layer(torch.randn(3, 2))
    line = first_line(error)
    assert line.startswith(f"QuantumLayer cannot run {function.__name__}: ")
    assert line.endswith("; keep qml.qnn.TorchLayer for this layer")
    assert reason is None or reason in line


def test_refusals_of_inputs():
    layer = QuantumLayer(CLASSIFIER, SHAPES)
    with pytest.raises(HQDMError, match="inputs of shape .*, got a scalar"):
        layer(torch.tensor(0.5))
    with pytest.raises(HQDMError) as error:
        layer(torch.zeros(2, 9))
    assert first_line(error) == (
        "the QNode fails on inputs of shape (1, 9) (ValueError: Features must be of length 4 or "
        "less; got length 9.)"
    )
    zeros = QuantumLayer(qml.QNode(amplitudes, DEVICE), {"weights": (2, 3, 3)})
    with pytest.raises(HQDMError, match="prepares a state whose norm is not 1: take normalize"):
        zeros(torch.zeros(2, 7))


def test_circuits_are_as_before():
    layer = QuantumLayer(Circuit(AngleEmbedding(4), Basic(4)), n_circuits=2)
    assert type(layer) is QuantumLayer
    assert list(layer.state_dict()) == ["theta"]
    assert layer(torch.zeros(3, 2, 4)).shape == (3, 2, 4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_float32_inside(dtype):
    node = qml.QNode(classifier, DEVICE)
    layer = QuantumLayer(node, {"weights": (2, 4, 3)}).to(dtype)
    single = copy.deepcopy(layer).float()
    x = torch.randn(3, 4).to(dtype)
    out = layer(x)
    assert out.dtype == dtype
    assert torch.equal(out, single(x.float()).to(dtype))
