"""Compiled layers and networks: the numbers and gradients of eager mode."""

import copy
import pickle
import subprocess
import sys

import pennylane as qml
import pytest
import torch
from torch import nn

from hqdm.circuits import AmplitudeEmbedding, AngleEmbedding, Basic, Circuit, HQConv
from hqdm.nn.operator import _layers
from hqdm.nn.quantum_layer import QuantumLayer
from hqdm.nn.unet import QVUNet

BACKENDS = ["eager", "aot_eager"]


def result(module, x):
    """The outputs, and the gradients of inputs and parameters."""
    x = x.clone().requires_grad_()
    out = module(x)
    (out * torch.linspace(-1, 2, out.numel()).to(out).reshape(out.shape)).sum().backward()
    grads = [p.grad.clone() for p in module.parameters()]
    module.zero_grad()
    return out.detach(), x.grad, *grads


def from_qnode(measure):
    @qml.qnode(qml.device("default.qubit", wires=2), interface="torch")
    def node(inputs, weights, last):
        qml.AngleEmbedding(inputs, wires=range(2))
        qml.BasicEntanglerLayers(weights, wires=range(2))
        qml.RX(last, wires=0)
        return measure()

    return QuantumLayer(node, {"weights": (2, 2), "last": 1})


LAYERS = {
    "angles": lambda: QuantumLayer(Circuit(AngleEmbedding(4), HQConv(4)), 2),
    "amplitudes": lambda: QuantumLayer(Circuit(AmplitudeEmbedding(2), Basic(2), "probs"), 2),
    "qnode, one": lambda: from_qnode(lambda: qml.expval(qml.Z(0))),
    "qnode, list": lambda: from_qnode(lambda: [qml.expval(qml.Z(0)), qml.probs(wires=1)]),
    "qnode, tuple": lambda: from_qnode(lambda: (qml.expval(qml.Z(0)), qml.expval(qml.X(1)))),
}


def samples(name):
    torch.manual_seed(1)
    shapes = {"angles": (5, 2, 4), "amplitudes": (5, 2, 4)}
    return torch.randn(shapes.get(name, (5, 2)))


@pytest.fixture(autouse=True)
def _fresh():
    torch._dynamo.reset()
    torch.manual_seed(0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", LAYERS)
def test_layers_compile_in_one_graph(name, backend):
    """The same code runs, so that the numbers are the same up to the sums of torch."""
    layer, x = LAYERS[name](), samples(name)
    compiled = result(torch.compile(layer, backend=backend, fullgraph=True), x)
    torch.testing.assert_close(compiled, result(layer, x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_code_is_not_taken_for_another_layer(backend):
    """Layers of one class and shape, with other circuits; and copies, with other weights."""
    x = samples("angles")
    layers = [QuantumLayer(Circuit(AngleEmbedding(4, axis), Basic(4)), 2) for axis in "XY"]
    layers += [copy.deepcopy(layers[0]), pickle.loads(pickle.dumps(layers[1]))]
    assert len({layer.operator_name for layer in layers}) == len(layers)
    for layer in layers[2:]:
        nn.init.uniform_(layer.theta)
    for layer in layers:
        compiled = result(torch.compile(layer, backend=backend), x)
        torch.testing.assert_close(compiled, result(layer, x), rtol=0, atol=1e-6)


def test_batches_of_other_sizes_and_no_gradients():
    layer = LAYERS["angles"]()
    compiled = torch.compile(layer, backend="aot_eager")
    for n in (5, 3, 4):
        x = torch.randn(n, 2, 4)
        with torch.no_grad():
            torch.testing.assert_close(compiled(x), layer(x), rtol=0, atol=1e-6)


@pytest.mark.slow  # torch.compile
def test_a_network_compiles():
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.unet = QVUNet(size=8, dim=8, mults=(1, 2))

        def forward(self, x):
            return self.unet(x, torch.full((len(x),), 0.5).to(x))

    network, x = Network().double(), torch.randn(2, 1, 8, 8, dtype=torch.float64)
    compiled = result(torch.compile(network, backend="aot_eager"), x)
    torch.testing.assert_close(compiled, result(network, x), rtol=0, atol=1e-9)


def test_layers_are_not_kept_alive():
    layer = LAYERS["angles"]()
    name = layer.operator_name
    assert name in _layers
    del layer
    assert name not in _layers


INDUCTOR = """
import torch
from hqdm import AngleEmbedding, Circuit, QuantumLayer
from hqdm.circuits import HQConv
layer, x = QuantumLayer(Circuit(AngleEmbedding(4), HQConv(4)), 2), torch.randn(5, 2, 4)
out = torch.compile(layer, fullgraph=True)(x)
out.square().sum().backward()
compiled = layer.theta.grad.clone()
layer.zero_grad()
layer(x).square().sum().backward()
print((out - layer(x)).abs().max().item() < 1e-6)
print((compiled - layer.theta.grad).abs().max().item() < 1e-6)
"""


@pytest.mark.slow
def test_the_default_backend_compiles_before_the_kernels_have_run():
    command = [sys.executable, "-c", INDUCTOR]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "True\nTrue\n"
