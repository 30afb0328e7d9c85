"""Circuits inside a network: their modules and angles, each once, and everything else."""

import pytest
import torch
from networks import Toy
from torch import nn

from hqdm.circuits import AngleEmbedding, Basic, Circuit
from hqdm.nn.parts import (
    classical_parameters,
    count,
    part,
    quantum_layers,
    quantum_modules,
    quantum_parameters,
)
from hqdm.nn.quantum_layer import QuantumLayer
from hqdm.utils.errors import HQDMError


class Squashed(nn.Module):
    """Declares one of its two parameters as that of its circuits."""

    def __init__(self):
        super().__init__()
        self.free = nn.Parameter(torch.zeros(5))
        self.gain = nn.Parameter(torch.ones(2))

    def quantum_parameters(self):
        return iter([self.free])

    def reset_parameters(self):
        nn.init.uniform_(self.free)


class Resettable(nn.Linear):
    """Has `reset_parameters`, as all linear layers, and no circuits."""


class Declaring(nn.Module):
    """Has `quantum_parameters` only."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(7))

    def quantum_parameters(self):
        return iter([self.weight])


@pytest.fixture
def network():
    layer = QuantumLayer(Circuit(AngleEmbedding(2), Basic(2, 1)))
    network = Toy()
    network.first, network.again = layer, nn.ModuleDict({"shared": layer})
    network.squashed = Squashed()
    network.linear = Resettable(3, 1)
    network.declaring = Declaring()
    network.parts = {"circuits": network.first, "rest": network.linear}
    return network


def test_modules_of_circuits_have_both_members(network):
    assert quantum_modules(network) == {"first": network.first, "squashed": network.squashed}
    assert quantum_layers(network) == {"first": network.first}


def test_angles_are_found_once_also_if_they_are_shared(network):
    class Sharing(Squashed):
        """Declares the parameter of another module, and one of its own twice."""

        def quantum_parameters(self):
            return iter([network.squashed.free, self.free, self.free])

    network.sharing = Sharing()
    found = list(quantum_parameters(network))
    expected = [network.first.theta, network.squashed.free, network.sharing.free]
    assert len(found) == len(expected)
    assert all(a is b for a, b in zip(found, expected, strict=True))


def test_all_other_parameters_are_classical(network):
    classical = list(classical_parameters(network))
    expected = [network.squashed.gain, *network.linear.parameters(), network.declaring.weight]
    assert len(classical) == len(expected)
    assert all(a is b for a, b in zip(classical, expected, strict=True))
    # The gains, the weights and the bias of the linear layer, and the declared weights.
    assert count(classical_parameters(network)) == 13
    assert count(quantum_parameters(network)) == network.first.theta.numel() + 5
    assert count(iter([])) == 0


def test_parts_are_found_by_name(network):
    assert part(network, "rest") is network.linear
    with pytest.raises(HQDMError, match="unknown part of the network 'rast': expected one of cir"):
        part(network, "rast")
