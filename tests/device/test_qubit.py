"""The device against default.qubit: values and gradients by every interface."""

import numpy as np
import pennylane as qml
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from marks import thinned
from pennylane import numpy as pnp
from pennylane.exceptions import DeviceError, QuantumFunctionError, WireError

from hqdm.device import HqdmQubit
from hqdm.utils.errors import HQDMError

N = 4
# Name, number of wires, number of angles.
GATES = [
    *((name, 1, 1) for name in ("RX", "RY", "RZ", "PhaseShift", "U1", "GlobalPhase")),
    *((name, 1, 0) for name in ("Hadamard", "PauliX", "PauliY", "PauliZ", "S", "T", "SX")),
    *((name, 2, 0) for name in ("CNOT", "CY", "CZ", "CH", "SWAP", "ISWAP", "SISWAP", "ECR")),
    *((name, 2, 1) for name in ("CRX", "CRY", "CRZ", "ControlledPhaseShift", "PSWAP")),
    *((name, 2, 1) for name in ("IsingXX", "IsingYY", "IsingZZ", "SingleExcitation")),
    *((name, 2, 1) for name in ("SingleExcitationPlus", "SingleExcitationMinus", "MultiRZ")),
    *((name, 2, 1) for name in ("CPhaseShift00", "CPhaseShift10")),
    *((name, 3, 0) for name in ("Toffoli", "CSWAP", "CCZ")),
    ("U2", 1, 2),
    *((name, 1, 3) for name in ("U3", "Rot")),
    ("CRot", 2, 3),
    ("DoubleExcitation", 4, 1),
]
HERMITIAN = np.array([[1, 0.3 - 0.2j], [0.3 + 0.2j, -0.4]])
HAMILTONIAN = qml.Hamiltonian(
    [0.3, -0.7, 1.1, 0.2],
    [qml.X(0) @ qml.Y(1), qml.Z(0), qml.Z(2) @ qml.Z(3) @ qml.X(1), qml.Identity(0)],
)
MEASUREMENTS = {
    "z": lambda: qml.expval(qml.Z(1)),
    "words": lambda: qml.expval(qml.X(0) @ qml.Y(3)),
    "other basis": lambda: qml.expval(qml.Y(0)),
    "hamiltonian": lambda: qml.expval(HAMILTONIAN),
    "hermitian": lambda: qml.expval(qml.Hermitian(HERMITIAN, wires=2)),
    "product": lambda: qml.expval(qml.Hermitian(HERMITIAN, wires=2) @ qml.X(0)),
    "projector": lambda: qml.expval(qml.Projector([1, 0], wires=[3, 1])),
    "sum": lambda: qml.expval(0.3 * qml.Projector([0], wires=[3]) + qml.X(1)),
    "variance": lambda: qml.var(HAMILTONIAN),
    "variance of one": lambda: qml.var(qml.Y(2)),
    "probs": lambda: qml.probs(wires=[3, 0]),
    "all probs": lambda: qml.probs(),
    "probs of X": lambda: qml.probs(op=qml.X(1)),
    "state": lambda: qml.state(),
    "density": lambda: qml.density_matrix([2, 0]),
    "purity": lambda: qml.purity([1]),
}


@st.composite
def programs(draw):
    """A random quantum function of three angles, its measurements and its batch axis."""
    ops = []
    for _ in range(draw(st.integers(1, 10))):
        name, width, n_angles = draw(st.sampled_from(GATES))
        wires = draw(st.permutations(range(N)))[:width]
        angles = [
            (draw(st.integers(0, 2)), draw(st.sampled_from([1.0, -0.5]))) for _ in range(n_angles)
        ]
        wrap = draw(st.sampled_from(["plain", "plain", "adjoint", "controlled"]))
        ops.append((name, wires, angles, wrap if width < 3 else "plain"))
    measured = draw(st.lists(st.sampled_from(sorted(MEASUREMENTS)), min_size=1, max_size=3))
    batched = draw(st.lists(st.booleans(), min_size=3, max_size=3))
    prepared = draw(st.sampled_from([None, None, "basis", "real", "complex"]))
    return ops, measured, batched, prepared


PREPARED = {
    "basis": lambda: qml.BasisState([1, 0, 1], wires=[3, 0, 1]),
    "real": lambda: qml.StatePrep(np.array([0.6, 0, 0, -0.8]), wires=[2, 0]),
    "complex": lambda: qml.StatePrep(np.array([0.6, 0, 0.8j, 0]), wires=[1, 3]),
}


def function_of(program):
    ops, measured, _, prepared = program

    def function(*angles):
        if prepared:
            PREPARED[prepared]()
        for name, wires, terms, wrap in ops:
            values = [factor * angles[i] for i, factor in terms]
            with qml.QueuingManager.stop_recording():
                op = getattr(qml, name)(*values, wires=wires)
            if wrap == "controlled":
                rest = [wire for wire in range(N) if wire not in wires]
                qml.ctrl(op, control=rest[:2], control_values=[0, 1])
            elif wrap == "adjoint":
                qml.adjoint(op)
            else:
                qml.apply(op)
        return tuple(MEASUREMENTS[name]() for name in measured)

    return function


def outcome(device, function, angles, method="backprop"):
    """Values, and the gradients of a real function of all of them."""
    leaves = [angle.clone().requires_grad_() for angle in angles]
    values = map(torch.as_tensor, qml.QNode(function, device, diff_method=method)(*leaves))
    values = list(values)  # arrays if no gate has an angle
    loss = torch.zeros((), dtype=torch.float64)
    for value in values:
        numbers = torch.view_as_real(value) if value.is_complex() else value
        loss = loss + (numbers * torch.arange(1, numbers.numel() + 1).cos().view_as(numbers)).sum()
    gradients = [torch.zeros_like(leaf) for leaf in leaves]
    if loss.requires_grad:
        gradients = torch.autograd.grad(loss, leaves, materialize_grads=True, allow_unused=True)
    return [value.detach() for value in values], gradients


@settings(deadline=None, max_examples=25)
@given(programs())
def test_random_programs_equal_default_qubit(program):
    generator = torch.Generator().manual_seed(3)
    angles = [
        torch.randn((3,) if batched else (), generator=generator, dtype=torch.float64)
        for batched in program[2]
    ]
    function = function_of(program)
    ours = outcome(HqdmQubit(wires=N), function, angles)
    theirs = outcome(qml.device("default.qubit", wires=N), function, angles)
    for value, expected in zip(ours[0] + list(ours[1]), theirs[0] + list(theirs[1]), strict=True):
        assert value.shape == expected.shape
        # Ten gates on numbers of order one; sums over at most 3 x 256 numbers.
        torch.testing.assert_close(value, expected.to(value.dtype), rtol=0, atol=1e-11)


def circuit(x, w):
    qml.AngleEmbedding(x, wires=range(3))
    qml.StronglyEntanglingLayers(w, wires=range(3))
    return qml.expval(qml.Z(0)), qml.var(qml.X(1) @ qml.Y(2)), qml.probs(wires=[2, 0])


def numbers(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape)


@pytest.mark.parametrize(
    ("method", "shape"),
    [
        *((method, (3,)) for method in ("best", "adjoint", "parameter-shift", "finite-diff")),
        *((method, (4, 3)) for method in ("best", "adjoint", "backprop")),
    ],
)
def test_gradients_with_torch(method, shape):
    x, w = torch.tensor(numbers(*shape)), torch.tensor(numbers(2, 3, 3))
    ours = outcome(HqdmQubit(wires=3), circuit, (x, w), method)
    theirs = outcome(qml.device("default.qubit", wires=3), circuit, (x, w))
    atol = 1e-6 if method == "finite-diff" else 1e-12
    for value, expected in zip([*ours[0], *ours[1]], [*theirs[0], *theirs[1]], strict=True):
        torch.testing.assert_close(value, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("method", thinned(["best", "adjoint", "backprop"], every=3))
@pytest.mark.parametrize("shape", [(3,), (4, 3)])
def test_first_and_second_derivatives_with_autograd(method, shape):
    x, w = (pnp.array(numbers(*s), requires_grad=True) for s in (shape, (1, 3, 3)))

    def derivatives(device, method):
        node = qml.QNode(circuit, device, diff_method=method)

        def loss(x, w):
            return sum(qml.math.sum(part**2) for part in node(x, w))

        first = qml.grad(loss)(x, w)
        return [*node(x, w), *first, qml.jacobian(qml.grad(loss, argnums=1), argnums=0)(x, w)]

    ours = derivatives(HqdmQubit(wires=3), method)
    theirs = derivatives(qml.device("default.qubit", wires=3), "backprop")
    for value, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-12)


def test_sparse_matrices_are_observables_with_gradients():
    """Which default.qubit differentiates by shifts only: compared with the same sum of words."""
    sparse = qml.SparseHamiltonian(HAMILTONIAN.sparse_matrix(range(N)), wires=range(N))
    angles = [torch.tensor(0.3), torch.tensor([0.1, 0.7, -0.4]), torch.tensor(1.1)]
    results = []
    for observable in (sparse, HAMILTONIAN):

        def function(a, b, c, observable=observable):
            for wire, angle in enumerate((a, b, c)):
                qml.RX(angle, wire)
                qml.CRY(angle, [wire, wire + 1])
            return (qml.expval(observable),)

        values, gradients = outcome(HqdmQubit(N), function, [a.double() for a in angles])
        results.append([*values, *gradients])
    for value, expected in zip(*results, strict=True):
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-13)


def test_gradients_of_complex_results_with_autograd():
    """Amplitudes of an embedding, and a state and a density matrix beside real results."""
    x = pnp.array([0.1, -0.2, 0.3, 0.4], requires_grad=True)
    found = []
    for device in (HqdmQubit(3), qml.device("default.qubit", wires=3)):

        @qml.qnode(device)
        def node(x):
            qml.AmplitudeEmbedding(x, wires=[0, 2], normalize=True)
            qml.CNOT([0, 1])
            qml.RX(x[0], 2)
            return qml.expval(qml.X(0) @ qml.X(1)), qml.density_matrix([0]), qml.state()

        def loss(x, node=node):
            mean, density, state = node(x)
            return mean + qml.math.imag(density[0, 1]) + qml.math.sum(qml.math.abs(state) ** 4)

        found.append([*node(x), qml.grad(loss)(x)])
    for value, expected in zip(*found, strict=True):
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-13)


def test_jacobians_of_the_device():
    """Without PennyLane's interfaces: real and complex results, one and several parameters."""
    t, u = 0.3, 0.8
    tape = qml.tape.QuantumScript(
        [qml.RX(t, 0), qml.RY(u, 1)], [qml.expval(qml.Z(0)), qml.state()], trainable_params=[0, 1]
    )
    device = HqdmQubit(wires=2)
    ((of_z, of_state),) = device.compute_derivatives([tape])
    np.testing.assert_allclose(of_z, [-np.sin(t), 0], atol=1e-14)
    of_t = np.kron([-np.sin(t / 2), -1j * np.cos(t / 2)], [np.cos(u / 2), np.sin(u / 2)]) / 2
    np.testing.assert_allclose(of_state[0], of_t, atol=1e-14)
    vector = np.array([0.2, 1j, -0.4, 0.7])
    ((by_t, _),) = device.compute_vjp([tape], [(np.array(0.5), vector)])
    np.testing.assert_allclose(by_t, -0.5 * np.sin(t) + np.real(vector @ of_t), atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_precision_of_the_parameters_is_kept(dtype):
    x, w = (torch.tensor(numbers(*s), dtype=dtype, requires_grad=True) for s in ((5, 3), (2, 3, 3)))
    node = qml.QNode(circuit, HqdmQubit(wires=3))
    values = node(x, w)
    assert {value.dtype for value in values} == {dtype}
    gradients = torch.autograd.grad(sum(value.sum() for value in values), [x, w])
    assert {gradient.dtype for gradient in gradients} == {dtype}
    state = qml.QNode(lambda x: (qml.RX(x, 0), qml.state())[-1], HqdmQubit(wires=1))
    assert state(x[0, 0]).dtype == dtype.to_complex()


def test_samples_follow_the_probabilities():
    node = qml.QNode(lambda t: (qml.RX(t, 0), qml.counts(wires=[0]))[-1], HqdmQubit(1, seed=1))
    n = 100_000
    counts = qml.set_shots(node, n)(1.2)
    expected = np.sin(0.6) ** 2
    # Five standard deviations of a binomial distribution.
    assert abs(counts["1"] / n - expected) < 5 * np.sqrt(expected * (1 - expected) / n)
    same = [qml.set_shots(qml.QNode(node.func, HqdmQubit(1, seed=2)), 50)(1.2) for _ in range(2)]
    assert same[0] == same[1]


def test_seeded_shots_are_those_of_default_qubit():
    def function():
        qml.RX(0.7, 0)
        qml.CNOT([0, 1])
        return qml.sample(wires=[0, 1]), qml.expval(HAMILTONIAN), qml.var(qml.X(0))

    results = [
        qml.set_shots(qml.QNode(function, device), 40)()
        for device in (HqdmQubit(N, seed=5), qml.device("default.qubit", wires=N, seed=5))
    ]
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("postselect", [None, 0, 1])
@pytest.mark.parametrize("reset", [False, True])
def test_measurements_before_the_end(postselect, reset):
    """Deferred, on a device without spare wires, which default.qubit needs."""

    def function(t):
        qml.RX(t, 0)
        qml.RY(0.4, 1)
        first = qml.measure(0, postselect=postselect, reset=reset)
        qml.RX(0.3, 0)
        second = qml.measure(1)
        qml.cond(first, qml.RZ)(0.9, 1)
        qml.cond(second, qml.RY)(0.9, 2)
        qml.CNOT([2, 0])
        return qml.probs(wires=[0, 1, 2]), qml.expval(second)

    t = pnp.array(0.7)
    ours = qml.QNode(function, HqdmQubit(3))(t)
    theirs = qml.QNode(function, qml.device("default.qubit", 8))(t)
    for value, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-12)


def qnode(*parts, wires=2, **options):
    return qml.QNode(lambda: [part() for part in parts][-1], HqdmQubit(wires=wires), **options)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: qnode(lambda: qml.expval(qml.Z(5)))(), WireError, "not found on the device"),
        (lambda: qnode(lambda: qml.BitFlip(0.1, 0), qml.state)(), DeviceError, "BitFlip"),
        (lambda: qnode(lambda: qml.sample(wires=0))(), DeviceError, "not accepted for analytic"),
        (lambda: qml.set_shots(qnode(qml.state), 5)(), DeviceError, "not accepted with finite"),
        (lambda: qnode(qml.state, wires=60)(), HQDMError, "of memory, .* are available: use fewer"),
        (
            lambda: qnode(lambda: qml.expval(qml.Z(0)), mcm_method="one-shot")(),
            DeviceError,
            "defers measurements",
        ),
        (
            lambda: qnode(lambda: qml.Hermitian(2 * np.eye(2), wires=0), lambda: qml.probs())(),
            HQDMError,
            "hqdm.qubit cannot run this circuit: LinearCombination is not unitary",
        ),
        (
            lambda: qnode(lambda: qml.RX(0.1 + 0.2j, 0), lambda: qml.expval(qml.Z(0)))(),
            HQDMError,
            "an angle is complex",
        ),
        (
            lambda: qnode(lambda: qml.TRX(0.1, 0), lambda: qml.expval(qml.Z(0)))(),
            HQDMError,
            "hqdm.qubit cannot run this circuit",
        ),
        (lambda: HqdmQubit(wires=1, workers=2), TypeError, "unexpected keyword argument 'workers'"),
        (
            lambda: HqdmQubit(1).setup_execution_config(
                qml.devices.ExecutionConfig(device_options={"workers": 2})
            ),
            DeviceError,
            "no device option 'workers'",
        ),
    ],
)
def test_what_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_gradients_that_are_refused():
    matrix = torch.eye(2, dtype=torch.complex128, requires_grad=True)
    node = qml.QNode(lambda m: (qml.QubitUnitary(m, 0), qml.expval(qml.Z(0)))[-1], HqdmQubit(1))
    with pytest.raises(DeviceError, match="no gradient .* numbers of QubitUnitary"):
        node(matrix)
    adjoint = qml.QNode(lambda: qml.expval(qml.Z(0)), HqdmQubit(1), diff_method="adjoint")
    with pytest.raises(QuantumFunctionError, match="does not support adjoint"):
        qml.set_shots(adjoint, 10)()


def test_amplitudes_are_differentiated():
    """Embedded features of a hybrid network, with and without a batch."""
    for shape in ((4,), (3, 4)):
        found = []
        for device in (HqdmQubit(2), qml.device("default.qubit", wires=2)):
            x = torch.tensor(numbers(*shape), requires_grad=True)

            @qml.qnode(device, diff_method="backprop")
            def node(x):
                qml.AmplitudeEmbedding(x, wires=range(2), normalize=True)
                qml.RX(x[..., 0], wires=0)
                qml.CNOT([0, 1])
                return qml.expval(qml.Y(0) @ qml.Z(1)), qml.expval(qml.Z(0))

            values = node(x)
            (gradient,) = torch.autograd.grad(values[0].sum() + 2 * values[1].sum(), x)
            found.append([*values, gradient])
        for value, expected in zip(*found, strict=True):
            torch.testing.assert_close(value, expected, rtol=0, atol=1e-13)
