"""The convolution in closed form against its circuit, gate by gate, on every patch."""

import copy
import math
import pickle

import pennylane as qml
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import forward_ad

from hqdm.nn.amplitude.convolution import QuantumConv2d, _Shares
from hqdm.nn.parts import classical_parameters, count, quantum_layers, quantum_modules
from hqdm.simulators.unitary import UnitarySimulator
from hqdm.utils.errors import HQDMError


def gate_by_gate(conv, x, theta):
    """The paper's rules, step by step: patches, embedding, circuit, scale, clamp, outcomes."""
    n = max(math.ceil(math.log2(conv.patch_size)), math.ceil(math.log2(conv.out_channels)) + 1)

    @qml.qnode(qml.device("default.qubit", wires=n))
    def probabilities(features, weights):
        qml.AmplitudeEmbedding(features, wires=range(n), pad_with=0.5, normalize=True)
        qml.StronglyEntanglingLayers(math.pi * torch.tanh(weights), wires=range(n))
        return qml.probs(wires=range(n))

    padding = 0 if conv.padding == "valid" else conv.padding
    if padding == "same":  # of odd kernels
        padding = [d * (k - 1) // 2 for k, d in zip(conv.kernel_size, conv.dilation, strict=True)]
    patches = F.unfold(x, conv.kernel_size, conv.dilation, padding, conv.stride)
    found = probabilities(patches.transpose(1, 2).reshape(-1, conv.patch_size) + 0.1, theta[0])
    kept = (found * 2**n * 0.5).clamp(0, 1)[:, ::2][:, : conv.out_channels]
    shape = conv.output_shape(tuple(x.shape))
    return kept.reshape(shape[0], *shape[2:], shape[1]).permute(0, 3, 1, 2)


def assert_is_its_circuit(conv, x):
    """Compare values, and gradients with respect to inputs and parameters, which are returned.

    Rounding, 1e-16, is multiplied by up to 2^n / 2 = 64 and by sums of some hundred terms.
    """
    x = x.detach().requires_grad_()
    theirs, ours = gate_by_gate(conv, x, conv.theta), conv(x)
    assert ours.shape == theirs.shape
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
    grad = torch.randn_like(ours)
    of_ours, of_theirs = (torch.autograd.grad(o, [x, conv.theta], grad) for o in (ours, theirs))
    for a, b in zip(of_ours, of_theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)
    return of_theirs


def images(*shape):
    return torch.rand(*shape, dtype=torch.float64)


@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        ((1, 3, 3, 1, 1), (2, 1, 5, 4)),  # 9 numbers on 4 qubits
        ((4, 4, 2), (2, 4, 3, 4)),  # 16 numbers: no further amplitudes
        ((2, 8, 1), (3, 2, 2, 3)),  # 2 numbers, but 8 channels take 4 qubits
        ((1, 1, 1), (2, 1, 2, 2)),  # one qubit, no CNOT
        ((8, 8, 3, 1, 1), (1, 8, 4, 4)),  # 72 numbers on 7 qubits
        ((1, 2, 7, 3, 3), (1, 1, 9, 9)),  # 49 numbers on 6 qubits
        ((2, 3, (3, 5), (2, 1), (1, 4), (1, 2)), (2, 2, 6, 7)),
        ((2, 2, 3, 1, "same", 2), (1, 2, 5, 5)),
        ((3, 2, (1, 3), 1, "valid"), (1, 3, 2, 4)),
    ],
)
def test_every_patch_is_the_circuit(arguments, shape):
    conv = QuantumConv2d(*arguments, n_layers=2).double()
    grads = assert_is_its_circuit(conv, images(*shape))
    assert min(grad.abs().max() for grad in grads) > 1e-3


PAIRS = st.tuples(st.integers(1, 3), st.integers(1, 3))


@given(
    channels=st.tuples(st.integers(1, 3), st.integers(1, 5)),
    size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    kernel=PAIRS,
    stride=PAIRS,
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    dilation=PAIRS,
    n_layers=st.integers(1, 3),
    signs=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_random_shapes(channels, size, kernel, stride, padding, dilation, n_layers, signs, seed):
    torch.manual_seed(seed)
    conv = QuantumConv2d(*channels, kernel, stride, padding, dilation, n_layers).double()
    reach = [d * (k - 1) + 1 - 2 * p for d, k, p in zip(dilation, kernel, padding, strict=True)]
    x = images(2, channels[0], *map(max, size, reach))
    assert_is_its_circuit(conv, 4 * x - 2 if signs else x)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("padding", ["same", "valid", (1, 2)])
@pytest.mark.parametrize(("kernel", "dilation"), [(2, 1), ((4, 3), (1, 2)), (5, 1)])
def test_windows_are_those_of_the_classical_convolution(padding, kernel, dilation):
    """The same places, also with "same" and even kernels: a change of a pixel reaches the same."""
    conv = QuantumConv2d(1, 4, kernel, 1, padding, dilation, n_layers=2).double()
    classical = torch.nn.Conv2d(1, 4, kernel, 1, padding, dilation).double()
    x = images(1, 1, 11, 12)
    changed = x.clone()
    changed[0, 0, 5, 6] += 1
    # In any channel: some probabilities are cut off at one.
    ours, theirs = ((module(changed) != module(x)).any(1) for module in (conv, classical))
    assert 0 < theirs.sum() < theirs.numel()
    assert torch.equal(ours, theirs)


def test_outputs_move_with_the_image():
    """Numbers of both, in float64, from the same products in another order."""
    conv = QuantumConv2d(2, 3, 3, n_layers=2).double()
    x = images(1, 2, 9, 9)
    moved = torch.roll(x, (2, 1), (2, 3))
    expected = conv(x)[..., :-2, :-1]
    torch.testing.assert_close(conv(moved)[..., 2:, 1:], expected, rtol=0, atol=1e-12)


def test_exactly_the_last_rotations_about_z_have_no_gradient():
    """Only CNOTs follow them, which map outcomes to outcomes."""
    conv = QuantumConv2d(2, 4, 3, padding=1, n_layers=3).double()
    (grad,) = torch.autograd.grad(conv(images(2, 2, 4, 4)).square().sum(), conv.theta)
    dead = grad.abs() < 1e-12
    expected = torch.zeros_like(dead)
    expected[:, -1, :, 2] = True
    assert torch.equal(dead, expected)
    assert grad[~expected].abs().min() > 1e-6


@pytest.mark.parametrize(
    ("arguments", "n_wires"),
    [
        ((1, 2, 3), 4),
        ((1, 8, 3), 4),
        ((1, 9, 3), 5),  # 9 channels are 9 even outcomes: 18 states
        ((8, 8, 3), 7),
        ((4, 2, 1), 2),
        ((1, 1, 1), 1),
        ((1, 4, 1), 3),
        ((16, 4, 2), 6),
    ],
)
def test_qubits(arguments, n_wires):
    conv = QuantumConv2d(*arguments, n_layers=2)
    assert conv.theta.shape == (1, 2, n_wires, 3)
    assert conv(torch.rand(1, arguments[0], 3, 3)).shape[1] == arguments[1]


def test_second_and_forward_derivatives():
    conv = QuantumConv2d(1, 2, 2, n_layers=1).double()
    x = images(1, 1, 3, 2).requires_grad_()

    def outputs(x, theta):
        return conv.evaluate(x, [theta])

    assert torch.autograd.gradgradcheck(outputs, (x, conv.theta))
    point, tangents = (x.detach(), conv.theta.detach()), (torch.randn_like(x), conv.theta.detach())
    with forward_ad.dual_level():
        dual = outputs(*map(forward_ad.make_dual, point, tangents))
        by_dual_numbers = forward_ad.unpack_dual(dual).tangent
    grad = torch.randn_like(by_dual_numbers)
    backward = torch.autograd.grad(outputs(x, conv.theta), (x, conv.theta), grad)
    expected = sum((g * t).sum() for g, t in zip(backward, tangents, strict=True))
    for forward in (by_dual_numbers, torch.func.jvp(outputs, point, tangents)[1]):
        torch.testing.assert_close((forward * grad).sum(), expected, rtol=1e-10, atol=0)


def test_shares_are_those_of_automatic_differentiation():
    """Also where an output is more than 1, and by second, forward and vectorised derivatives."""

    def plain(amplitudes, highest):
        real, imag = amplitudes.chunk(2, dim=1)
        return ((real.square() + imag.square()) / highest).clamp(max=1)

    draws = torch.Generator().manual_seed(0)
    amplitudes = torch.randn(2, 6, 2, 2, generator=draws, dtype=torch.float64)
    highest = torch.rand(2, 1, 2, 2, generator=draws, dtype=torch.float64) * 4 + 0.5
    tensors = amplitudes.requires_grad_(), highest.requires_grad_()
    outputs, expected = _Shares.apply(*tensors), plain(*tensors)
    clamped = int((expected == 1).sum())
    assert 0 < clamped < expected.numel()
    torch.testing.assert_close(outputs, expected, rtol=0, atol=0)
    grad = torch.randn(outputs.shape, generator=draws, dtype=torch.float64)
    both = (torch.autograd.grad(y, tensors, grad) for y in (outputs, expected))
    torch.testing.assert_close(*both, rtol=1e-14, atol=1e-14)
    assert torch.autograd.gradgradcheck(_Shares.apply, tensors)
    point = tuple(tensor.detach() for tensor in tensors)
    changes = torch.ones_like(point[0]), torch.ones_like(point[1])
    tangents = (torch.func.jvp(f, point, changes)[1] for f in (_Shares.apply, plain))
    torch.testing.assert_close(*tangents, rtol=1e-13, atol=1e-13)
    stacked = tuple(torch.stack([tensor, 2 * tensor]) for tensor in point)
    ours, theirs = (
        torch.func.grad(lambda a, h, f=f: f(a, h).sum()) for f in (_Shares.apply, plain)
    )
    found = torch.func.vmap(ours)(*stacked)
    each = [theirs(a, h) for a, h in zip(*stacked, strict=True)]
    torch.testing.assert_close(found, torch.stack(each), rtol=1e-13, atol=1e-13)


def test_rows_of_other_devices(monkeypatch):
    """The same rows from the torch state vector, up to rounding."""
    conv = QuantumConv2d(2, 3, 3, n_layers=2).double()
    expected = conv.rows(conv.theta)
    monkeypatch.setattr(UnitarySimulator, "rows", UnitarySimulator.rows_in_torch)
    rows = conv.rows(conv.theta)
    assert not torch.equal(rows, expected)
    torch.testing.assert_close(rows, expected, rtol=0, atol=1e-14)


def test_precisions():
    """Float32 and half precision round: the error of sums of 72 products, times 2^6."""
    conv = QuantumConv2d(8, 4, 3, padding=1, n_layers=2).double()
    x = images(2, 8, 5, 5)
    expected = conv(x)
    for dtype, error in ((torch.float32, 1e-4), (torch.bfloat16, 2e-2)):
        other = copy.deepcopy(conv).to(dtype)
        exact = copy.deepcopy(other).double()(x.to(dtype).double())
        out = other(x.to(dtype))
        assert out.dtype == dtype
        torch.testing.assert_close(out.double(), exact, rtol=0, atol=error)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(other(x.to(dtype)), out)
    assert conv(x.float()).dtype == torch.float64
    assert torch.equal(conv(x), expected)


def test_amplitudes_that_are_all_zero_give_zero():
    conv = QuantumConv2d(4, 2, 1, n_layers=1)
    x = torch.full((1, 4, 1, 1), -0.1, requires_grad=True)
    out = conv(x)
    assert torch.equal(out, torch.zeros(1, 2, 1, 1))
    out.sum().backward()
    assert not x.grad.any()
    assert not conv.theta.grad.any()


def test_initial_parameters():
    """The standard deviation of n = 4,200 numbers has the relative error 1 / sqrt(2n) = 1 %."""
    theta = QuantumConv2d(8, 2, 3, n_layers=200).theta.detach()
    assert float(theta.std()) == pytest.approx(math.pi / math.sqrt(12), rel=0.05)
    assert float(theta.abs().max()) <= math.pi / 2


def test_it_is_a_quantum_module():
    network = torch.nn.Sequential(QuantumConv2d(1, 2, 3, n_layers=1), torch.nn.BatchNorm2d(2))
    assert list(quantum_modules(network)) == list(quantum_layers(network)) == ["0"]
    assert count(network[0].quantum_parameters()) == 12
    assert count(classical_parameters(network)) == 4
    assert network[0].n_samples((5, 1, 4, 6)) == 5 * 2 * 4


@pytest.mark.slow
def test_copies_and_compiled_code_give_the_same():
    conv, x = QuantumConv2d(2, 3, 3, 2, 1, n_layers=1), torch.rand(2, 2, 5, 5, requires_grad=True)
    out = conv(x)
    grads = torch.autograd.grad(out.square().sum(), [x, conv.theta])
    for other in (copy.deepcopy(conv), pickle.loads(pickle.dumps(conv))):
        assert torch.equal(other(x), out)
    torch._dynamo.reset()
    compiled = torch.compile(conv, backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(x), out)
    again = torch.autograd.grad(compiled(x).square().sum(), [x, conv.theta])
    for a, b in zip(again, grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
    assert conv(x.to("meta")).shape == out.shape


def test_no_images():
    conv = QuantumConv2d(1, 2, 3, n_layers=1)
    assert conv(torch.rand(0, 1, 4, 4)).shape == (0, 2, 2, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1, 3), "in_channels needs a whole number from 1, got 0"),
        ((1, 0, 3), "out_channels needs a whole number from 1, got 0"),
        ((1, 1, 0), "kernel_size needs a whole number from 1, got 0"),
        ((1, 1, (3, 3, 3)), r"kernel_size needs one whole number or two, got \(3, 3, 3\)"),
        ((1, 1, (3, 1.5)), "kernel_size needs a whole number from 1, got 1.5"),
        ((1, 1, 3, 0), "stride needs a whole number from 1, got 0"),
        ((1, 1, 3, 1, -1), "padding needs a whole number from 0, got -1"),
        ((1, 1, 3, 1, "sam"), "unknown padding 'sam': expected one of same, valid"),
        ((1, 1, 3, 2, "same"), r"padding 'same' needs the stride 1, got \(2, 2\)"),
        ((1, 1, 3, 1, 0, 0), "dilation needs a whole number from 1, got 0"),
        ((1, 1, 3, 1, 0, 1, 0), "n_layers needs a whole number from 1, got 0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(HQDMError, match=message):
        QuantumConv2d(*arguments)


def test_bad_inputs():
    conv = QuantumConv2d(2, 1, 3, n_layers=1)
    with pytest.raises(HQDMError, match=r"\(B, 2, H, W\), got \(1, 3, 4, 4\)"):
        conv(torch.rand(1, 3, 4, 4))
    with pytest.raises(HQDMError, match=r"got \(2, 4, 4\)"):
        conv(torch.rand(2, 4, 4))
    with pytest.raises(HQDMError, match="images of size 2 x 4 are smaller than a patch"):
        conv(torch.rand(1, 2, 2, 4))
    with pytest.raises(HQDMError, match="real inputs"):
        conv(torch.rand(1, 2, 4, 4) + 1j)


@pytest.mark.parametrize("arguments", [(2, 3, 3, 1, 1), (4, 4, 2)])
@pytest.mark.parametrize("size", [1e10, 1e20, 1e26])
def test_large_numbers_in_float32(arguments, size):
    """The circuit depends on the direction of a patch only; small patches stand beside large ones.

    Rounding is 6e-8 in some ten terms, times 2^n / 2 = 16; the gradient has the inverse size of the
    numbers.
    """
    conv = QuantumConv2d(*arguments, n_layers=2)
    signs = torch.tensor([-1.0, 0.5])[torch.arange(8) % 2]
    x = torch.rand(1, conv.in_channels, 8, 8) * signs
    large = torch.cat([size * x[..., :4], x[..., 4:]], dim=-1).requires_grad_()
    exact = copy.deepcopy(conv).double()
    scaled = large.detach().double().requires_grad_()
    ours, theirs = conv(large), gate_by_gate(exact, scaled, exact.theta)
    torch.testing.assert_close(ours.double(), theirs, rtol=0, atol=1e-5)
    assert ours.detach().amin() < 0.9
    weights = torch.rand_like(ours)
    of_ours = torch.autograd.grad(ours, [large, conv.theta], weights)
    of_theirs = torch.autograd.grad(theirs, [scaled, exact.theta], weights.double())
    for a, b, unit in zip(of_ours, of_theirs, (size, 1), strict=True):
        far = a[..., :3].double() * unit, b[..., :3] * unit
        torch.testing.assert_close(*far, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(a.double(), b, rtol=1e-3, atol=1e-4)
