import copy
import math
import pickle

import pennylane as qml
import pytest
import torch
from torch.nn import functional as F

from hqdm.circuits import Basic
from hqdm.nn.quantum_conv import LATER, Hybrid, HybridConv
from hqdm.utils.errors import HQDMError


def count(module):
    return sum(p.numel() for p in module.parameters())


# 40 -> 40 channels: one group leaves 37 -> 37; "all" is 13 groups of 24 x 3 angles and one channel.
@pytest.mark.parametrize(
    ("options", "n_parameters"),
    [
        ({"groups": 1}, 37 * 37 * 9 + 37 + 72),
        ({"groups": 2}, 34 * 34 * 9 + 34 + 2 * 72),
        ({"groups": "all"}, 13 * 72 + 16),
        ({"groups": 1, "ansatz": "HQConv"}, 37 * 37 * 9 + 37 + 84),
        ({"groups": "all", "channels_per_group": 2, "n_layers": 1}, 20 * 16),
        (
            {"groups": 3, "channels_per_group": 1, "ansatz": "Basic", "n_layers": 2},
            37 * 37 * 9 + 37 + 3 * 8,
        ),
    ],
)
def test_parameter_counts(options, n_parameters):
    assert count(HybridConv(40, 40, **options)) == n_parameters


def circuit_on_patch(patch, weights):
    """An HQConv layer on the wires of a 2x2 patch, written out: row by row, from the top left."""

    @qml.qnode(qml.device("default.qubit", wires=4))
    def node():
        for wire, (row, column) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
            qml.RX(patch[row, column], wires=wire)
        pairs = [(0, 3), (3, 2), (2, 1), (1, 0)]
        for (z, x), pair in zip(weights.reshape(4, 2), pairs, strict=True):
            qml.CRZ(z, wires=pair)
            qml.CRX(x, wires=pair)
        return [qml.expval(qml.Z(wire)) for wire in range(4)]

    return torch.stack(node()).reshape(2, 2)


def test_every_patch_is_the_circuit_on_its_pixels():
    conv = HybridConv(3, 3, 2, channels_per_group=1, ansatz="HQConv", n_layers=1).double()
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    out = conv(x)
    weights = 2 * math.pi * conv.quantum.layer.theta[:, 0].detach()
    for b, group, row, column in torch.cartesian_prod(*(torch.arange(n) for n in (2, 2, 2, 3))):
        rows, columns = (slice(2 * int(i), 2 * int(i) + 2) for i in (row, column))
        expected = circuit_on_patch(x[b, group, rows, columns], weights[group])
        torch.testing.assert_close(out[b, group, rows, columns], expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(out[:, 2:], conv.rest(x[:, 2:]), rtol=0, atol=1e-12)


def test_wires_of_a_group_are_channel_then_row_then_column():
    conv = HybridConv(4, 4, 1, channels_per_group=3, n_layers=2).double()
    x = torch.randn(1, 4, 2, 2, dtype=torch.float64)
    layer = conv.quantum.layer
    wires = [
        x[0, channel, row, column] for channel in range(3) for row in (0, 1) for column in (0, 1)
    ]
    expected = layer(torch.stack(wires)[None])[0]
    for channel in range(3):
        for row in (0, 1):
            for column in (0, 1):
                value = conv(x)[0, channel, row, column]
                torch.testing.assert_close(value, expected[4 * channel + 2 * row + column])


@pytest.mark.parametrize("size", [(5, 3), (4, 7), (1, 1)])
def test_odd_sizes_are_padded_with_zeros_and_cropped(size):
    conv = HybridConv(3, 3, "all", n_layers=1).double()
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    padded = torch.zeros(2, 3, size[0] + size[0] % 2, size[1] + size[1] % 2, dtype=torch.float64)
    padded[..., : size[0], : size[1]] = x
    out = conv(x)
    assert out.shape == x.shape
    torch.testing.assert_close(out, conv(padded)[..., : size[0], : size[1]], rtol=0, atol=1e-12)


# FQConv only links qubits of one place in the patch; three layers of HQConv reach all of it.
@pytest.mark.parametrize(
    ("ansatz", "rows", "columns"),
    [("FQConv", [3], [2]), ("HQConv", [2, 3], [2, 3])],
)
def test_a_pixel_changes_its_patch_and_group_only(ansatz, rows, columns):
    conv = HybridConv(7, 7, 2, ansatz=ansatz, n_layers=3).double()
    x = torch.randn(2, 7, 6, 6, dtype=torch.float64)
    out = conv(x)
    x[1, 4, 3, 2] += 1  # second group, rows 2-3, columns 2-3
    changed = (conv(x) - out).abs() > 1e-12
    expected = torch.zeros_like(changed)
    expected[1, 3:6, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    assert torch.equal(changed, expected)


def test_classical_kernels_have_the_variance_of_one_over_their_fan_in():
    conv = HybridConv(13, 16, 1, n_layers=1)
    kernel = torch.eye(10).reshape(10, 10, 1, 1)  # one impulse a channel reads the kernels out
    with torch.no_grad():
        conv.rest.bias.zero_()
        response = conv.rest(F.pad(kernel, (2, 2, 2, 2)))[..., 1:-1, 1:-1]
    variance = response.transpose(0, 1).flatten(1).var(1, unbiased=False)
    # The 1e-5 beside the variance of the raw weights, 1 / (3 * 90), takes off a quarter percent.
    torch.testing.assert_close(variance, torch.full((13,), 1 / 90), rtol=1e-2, atol=0)


def test_classical_channels_do_not_see_quantum_ones():
    conv = HybridConv(5, 6, 1, n_layers=1)
    x = torch.randn(2, 5, 4, 4)
    out = conv(x)
    assert out.shape == (2, 6, 4, 4)
    x[:, :3] += 1
    assert torch.equal(conv(x)[:, 3:], out[:, 3:])
    assert not torch.equal(conv(x)[:, :3], out[:, :3])


def test_channels_that_are_left_have_circuits_of_their_own():
    conv = HybridConv(8, 8, "all", n_layers=1)
    x = torch.randn(2, 8, 4, 4)
    out = conv(x)
    x[:, 7] += 1
    changed = (conv(x) != out).any(0).any(1).any(1)
    assert changed.tolist() == [False] * 7 + [True]
    assert conv.rest.layer.theta.shape == (2, 4, 4)


def test_channels_beyond_those_of_the_output_are_embedded_by_the_same_circuits():
    """Three inputs of each angle: RX of one after the other, by PennyLane; seven to three."""
    conv = HybridConv(7, 3, "all", channels_per_group=1, ansatz="Basic", n_layers=1).double()
    theta = 2 * math.pi * conv.quantum.layer.theta[:, 0].detach()
    assert theta.shape == (3, 4)

    @qml.qnode(qml.device("default.qubit", wires=4))
    def node(patches, weights):
        for patch in patches:
            for wire in range(4):
                qml.RX(patch[wire], wires=wire)
        for wire in range(4):
            qml.RX(weights[wire], wires=wire)
        for wire in range(4):
            qml.CNOT(wires=[wire, (wire + 1) % 4])
        return [qml.expval(qml.Z(wire)) for wire in range(4)]

    x = torch.randn(1, 7, 2, 2, dtype=torch.float64)
    patches = x.reshape(7, 4)
    of_circuits = ([0, 3, 6], [1, 4], [2, 5])
    expected = [
        torch.stack(node(patches[ids], w)) for ids, w in zip(of_circuits, theta, strict=True)
    ]
    torch.testing.assert_close(conv(x).reshape(3, 4), torch.stack(expected), rtol=0, atol=1e-12)


@pytest.mark.parametrize("groups", [1, "all"])
def test_every_parameter_trains(groups):
    conv = HybridConv(7, 7, groups)
    conv(torch.randn(2, 7, 4, 4)).square().sum().backward()
    for parameter in conv.parameters():
        assert (parameter.grad != 0).all()


def test_the_channels_order_the_same_on_other_memory_layouts():
    conv = HybridConv(4, 4, 1, n_layers=1)
    x = torch.randn(2, 4, 4, 6)
    strided = x.to(memory_format=torch.channels_last)
    torch.testing.assert_close(conv(strided), conv(x), rtol=0, atol=1e-6)


def test_copies_give_the_same_outputs():
    conv = HybridConv(7, 7, "all", n_layers=1)
    x = torch.randn(2, 7, 2, 2)
    other = HybridConv(7, 7, "all", n_layers=1)
    other.load_state_dict(conv.state_dict())
    for copied in (copy.deepcopy(conv), pickle.loads(pickle.dumps(conv)), other):
        assert torch.equal(copied(x), conv(x))


def test_configuration_round_trip():
    hybrid = Hybrid("all", 2, "HQConv", 1, "statevector")
    options = hybrid.to_dict()
    assert options == {
        "groups": "all",
        "channels_per_group": 2,
        "ansatz": "HQConv",
        "n_layers": 1,
        "simulator": "statevector",
        "ansatz_options": {},
    }
    assert Hybrid.from_dict(options) == hybrid
    assert Hybrid.from_dict({}) == Hybrid()


def test_a_configuration_makes_its_convolution():
    conv = Hybrid(2, 2, "HQConv", 1).conv(6, 5)
    assert conv(torch.randn(1, 6, 2, 2)).shape == (1, 5, 2, 2)
    assert conv.quantum.layer.theta.shape == (2, 1, 18)


def test_another_convolution():
    """Its own options only are saved; those of `HybridConv` as in earlier versions."""
    hybrid = Hybrid(convolution="QuantumConv2d", options={"kernel_size": 2, "n_layers": 1})
    options = {"convolution": "QuantumConv2d", "options": {"kernel_size": 2, "n_layers": 1}}
    assert hybrid.to_dict() == options
    assert Hybrid.from_dict(options) == hybrid
    conv = hybrid.conv(3, 5)
    assert type(conv).__name__ == "QuantumConv2d"
    assert conv.theta.shape == (1, 1, 4, 3)
    assert conv(torch.rand(2, 3, 5, 4)).shape == (2, 5, 5, 4)
    assert Hybrid(convolution="QuantumConv2d").conv(3, 5).kernel_size == (3, 3)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Hybrid(convolution="QuantumConv"), "unknown convolution .*'QuantumConv2d'\\?"),
        (lambda: Hybrid(2, convolution="QuantumConv2d"), "groups is an option of HybridConv"),
        (
            lambda: Hybrid(convolution="QuantumConv2d", options={"layers": 2}),
            "'layers'.*did you mean 'n_layers'",
        ),
        (
            lambda: Hybrid(convolution="QuantumConv2d", options={"n_layers": "2"}),
            "options.n_layers: expected a whole number, got '2'",
        ),
        (
            lambda: Hybrid(convolution="QuantumConv2d", options={"in_channels": 2}),
            "'in_channels'",
        ),
        (lambda: Hybrid(options={"n_layers": 2}), "options are for convolutions other than Hyb"),
        (lambda: Hybrid(groups=0), "groups must be a positive number or 'all', got 0"),
        (lambda: Hybrid(groups="most"), "groups must be a positive number or 'all', got 'most'"),
        (lambda: Hybrid(channels_per_group=4), "channels_per_group must be 1 to 3, got 4"),
        (lambda: Hybrid(channels_per_group=1), "got n_wires=4: use HQConv or Basic"),
        (lambda: Hybrid(ansatz="HQconv"), "unknown ansatz 'HQconv'"),
        (lambda: Hybrid(n_layers=0), "n_layers=0"),
        (lambda: Hybrid(simulator="gpu"), "unknown simulator 'gpu'"),
        (lambda: Hybrid.from_dict({"group": 1}), "'group'.*did you mean 'groups'"),
        (lambda: Hybrid(groups=3).conv(8, 9), "take 9 channels in and out, got 8 -> 9 channels"),
        (lambda: Hybrid(groups=3).conv(9, 8), "take 9 channels in and out, got 9 -> 8 channels"),
        (lambda: Hybrid(groups=1).conv(3, 5), "take 3 channels and leave 0 -> 2"),
        (lambda: Hybrid("all").conv(6, 9), "'all' needs as many channels in as out.*got 6 -> 9"),
        (lambda: Hybrid("all").conv(2, 2), "enough for one group: got 2 -> 2"),
    ],
)
def test_invalid_input_is_refused(build, message):
    with pytest.raises(HQDMError, match=message) as error:
        build()
    assert "\n" not in str(error.value)


OPTIONS = {
    "groups": 1,
    "channels_per_group": 1,
    "ansatz": "HQConv",
    "n_layers": 3,
    "shift": math.pi / 2,
    "repeats": 2,
    "input_scale": True,
    "observable": 2,
}
WINDOWS = {"groups": 2, "channels_per_group": 1, "ansatz": "StronglyEntangling", "kernel_size": 3}


def hermitian(coefficients):
    """A matrix on two qubits from its coefficients of II, IX, ..., ZZ."""
    paulis = [torch.from_numpy(p(0).matrix()) + 0j for p in (qml.I, qml.X, qml.Y, qml.Z)]
    words = torch.stack([torch.kron(a, b) for a in paulis for b in paulis])
    return torch.einsum("c,cab->ab", coefficients + 0j, words)


@pytest.mark.parametrize("simulator", ["compiled", "statevector"])
def test_all_options_are_those_of_the_circuit_written_out(simulator):
    """Values and gradients on default.qubit, float64, a few hundred roundings of 1e-16."""
    torch.manual_seed(0)
    conv = HybridConv(1, 1, **OPTIONS, simulator=simulator).double()
    layer = conv.quantum.layer
    with torch.no_grad():
        layer.scale.normal_()
        layer.observables.normal_()

    matrices = [hermitian(coefficients) for coefficients in layer.observables[0]]

    @qml.qnode(qml.device("default.qubit", wires=4))
    def node(patch, weights):
        for k, layer_weights in enumerate(weights):
            for wire in range(4 if k in (0, 2) else 0):
                qml.RX(layer.scale[0, wire] * patch[wire] + math.pi / 2, wires=wire)
            for (z, x), control, wire in zip(
                layer_weights.reshape(4, 2), (0, 3, 2, 1), (3, 2, 1, 0), strict=True
            ):
                qml.CRZ(z, wires=(control, wire))
                qml.CRX(x, wires=(control, wire))
        return [
            qml.expval(qml.Hermitian(matrix, wires=(wire, (wire + 1) % 4)))
            for wire, matrix in enumerate(matrices)
        ]

    x = torch.randn(1, 1, 2, 4, dtype=torch.float64, requires_grad=True)
    patches = x.reshape(2, 2, 2).transpose(0, 1).reshape(2, 4)
    outs = [torch.stack(node(patch, 2 * math.pi * layer.theta[0])) for patch in patches]
    expected = torch.cat([out.reshape(2, 2) for out in outs], 1)[None, None]
    found = conv(x)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    tensors = [x, layer.theta, layer.scale, layer.observables]
    factors = torch.randn_like(expected)
    own, other = (torch.autograd.grad((v * factors).sum(), tensors) for v in (found, expected))
    for gradient, reference in zip(own, other, strict=True):
        assert reference.abs().max() > 0.01
        torch.testing.assert_close(gradient, reference, rtol=0, atol=1e-10)


@pytest.mark.parametrize("simulator", ["compiled", "statevector"])
def test_overlapping_patches_are_windows_with_a_circuit_each(simulator):
    """Each number is the expectation in the middle of its 3x3 neighbourhood, with zeros around."""
    torch.manual_seed(0)
    conv = HybridConv(3, 4, **WINDOWS, n_layers=2, simulator=simulator).double()
    layer = conv.quantum.layer
    x = torch.randn(1, 3, 2, 3, dtype=torch.float64, requires_grad=True)

    @qml.qnode(qml.device("default.qubit", wires=9))
    def node(window, weights):
        qml.AngleEmbedding(window, wires=range(9))
        qml.StronglyEntanglingLayers(weights, wires=range(9))
        return qml.expval(qml.Z(4))

    padded = F.pad(x, (1, 1, 1, 1))
    expected = torch.stack(
        [
            node(
                padded[0, channel, row : row + 3, column : column + 3].flatten(),
                2 * math.pi * layer.theta[channel],
            )
            for channel in range(2)
            for row in range(2)
            for column in range(3)
        ]
    ).reshape(1, 2, 2, 3)
    out = conv(x)
    assert out.shape == (1, 4, 2, 3)
    torch.testing.assert_close(out[:, :2], expected, rtol=0, atol=1e-10)
    own, other = (
        torch.autograd.grad(v.square().sum(), [x, layer.theta]) for v in (out[:, :2], expected)
    )
    for gradient, reference in zip(own, other, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=0, atol=1e-10)


def test_later_options_are_saved_if_they_are_set():
    for options in (OPTIONS, {**WINDOWS, "angle_std": 0.1}):
        hybrid = Hybrid.from_dict(options)
        assert {key: hybrid.to_dict()[key] for key in options} == options
        assert Hybrid.from_dict(hybrid.to_dict()) == hybrid
        assert hybrid.conv(5, 6)(torch.randn(1, 5, 3, 4)).shape == (1, 6, 3, 4)
    assert set(LATER).isdisjoint(Hybrid().to_dict())


def test_an_ansatz_object_on_overlapping_patches():
    hybrid = Hybrid("all", ansatz=Basic(9, 2), kernel_size=3)
    assert (hybrid.ansatz, hybrid.channels_per_group) == ("Basic", 1)
    assert hybrid.conv(2, 2).quantum.layer.theta.shape == (2, 2, 9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel_size": 4}, "kernel_size must be 2 or 3, got 4"),
        ({"kernel_size": 3}, "channels_per_group must be 1 with kernel_size 3, got 3"),
        ({"kernel_size": 3, "channels_per_group": 1}, "got n_wires=9"),
        ({"repeats": 4}, "repeats=4 needs as many layers or more, got 3"),
        ({"observable": 5}, "observable needs a whole number up to 4, got 5"),
        ({"observable": 0}, "observable needs a whole number from 1, got 0"),
        ({"angle_std": -1.0}, "angle_std needs a positive number, got -1"),
        ({"shift": float("inf")}, "shift needs a finite number"),
        ({"shift": 1.0, "convolution": "QuantumConv2d"}, "shift is an option of HybridConv"),
        ({"input_scale": 1}, "input_scale: expected true or false, got 1"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(HQDMError, match=message) as error:
        Hybrid.from_dict(options)
    assert "\n" not in str(error.value)
