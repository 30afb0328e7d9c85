import pennylane as qml
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hqdm.circuits import AmplitudeEmbedding, AngleEmbedding, Embedding
from hqdm.utils.errors import HQDMError


def state(embedding, x):
    @qml.qnode(qml.device("default.qubit", wires=embedding.n_wires))
    def node():
        embedding.apply(x)
        return qml.state()

    return node()


@pytest.mark.parametrize(("rotation", "gate"), [("X", qml.RX), ("Y", qml.RY), ("Z", qml.RZ)])
def test_angle_embedding_is_one_rotation_per_qubit(rotation, gate):
    x = torch.randn(3, dtype=torch.float64)

    @qml.qnode(qml.device("default.qubit", wires=3))
    def by_hand():
        for wire in range(3):
            gate(x[wire], wires=wire)
        return qml.state()

    embedding = AngleEmbedding(3, rotation)
    torch.testing.assert_close(state(embedding, x), by_hand(), rtol=0, atol=1e-14)
    assert embedding.n_inputs == 3


@settings(deadline=None, max_examples=30)
@given(n_wires=st.integers(1, 4), data=st.data())
def test_amplitudes_are_the_normalised_padded_features(n_wires, data):
    n_inputs = data.draw(st.integers(1, 2**n_wires))
    scale = data.draw(st.sampled_from([1e-30, 1e-3, 1.0, 1e30]))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    x = scale * torch.randn(5, n_inputs, generator=generator)
    amplitudes = AmplitudeEmbedding(n_wires, n_inputs).amplitudes(x)
    # In float64 the squares of such numbers are in range, so the definition can be used as it is.
    expected = torch.zeros(5, 2**n_wires, dtype=torch.float64)
    expected[:, :n_inputs] = x.double() / x.double().norm(dim=1, keepdim=True)
    assert amplitudes.dtype == torch.float32
    torch.testing.assert_close(amplitudes.double(), expected, rtol=0, atol=1e-6)


def test_amplitude_embedding_prepares_its_amplitudes():
    embedding = AmplitudeEmbedding(3, 6)
    x = torch.randn(6)
    prepared = state(embedding, x)
    torch.testing.assert_close(prepared.real.float(), embedding.amplitudes(x), rtol=0, atol=1e-6)


def test_gradient_of_amplitudes():
    x = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(AmplitudeEmbedding(3, 5).amplitudes, x)


def test_zeros_are_embedded_as_the_ground_state_without_gradient():
    x = torch.zeros(2, 3)
    x[1, 2] = -2.0
    x.requires_grad_()
    amplitudes = AmplitudeEmbedding(2, 3).amplitudes(x)
    assert amplitudes.tolist() == [[1, 0, 0, 0], [0, 0, -1, 0]]
    (gradient,) = torch.autograd.grad(amplitudes.sum(), x)
    # d(x/|x|) at a point on an axis: only the directions across it move the unit vector.
    assert gradient.tolist() == [[0, 0, 0], [0.5, 0.5, 0]]


def test_default_number_of_inputs_fills_the_state():
    assert AmplitudeEmbedding(5).n_inputs == 32
    assert AmplitudeEmbedding(5) == AmplitudeEmbedding(5, 32)


def test_both_satisfy_the_protocol():
    assert isinstance(AngleEmbedding(2), Embedding)
    assert isinstance(AmplitudeEmbedding(2), Embedding)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: AngleEmbedding(0), "at least one wire, got 0"),
        (lambda: AngleEmbedding(2, "W"), "unknown rotation 'W': expected one of X, Y, Z"),
        (lambda: AmplitudeEmbedding(0), "at least one wire, got 0"),
        (lambda: AmplitudeEmbedding(2, 5), "2 wires holds 1 to 4 features, got n_inputs=5"),
        (lambda: AngleEmbedding(2).apply(torch.ones(3)), r"shape \(2,\) or \(B, 2\), got \(3,\)"),
        (lambda: AmplitudeEmbedding(2).apply(torch.ones(2, 3)), r"\(B, 4\), got \(2, 3\)"),
    ],
)
def test_invalid_input_is_refused(build, message):
    with pytest.raises(HQDMError, match=message):
        build()
