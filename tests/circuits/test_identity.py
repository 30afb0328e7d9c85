"""Keys of objects: equal for copies, different for whatever an object consists of."""

import copy
import pickle
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property

import numpy as np
import pennylane as qml
import pytest
import torch

from hqdm.circuits import AngleEmbedding, Ansatz, Basic, Circuit
from hqdm.circuits.identity import lasting, state_of
from hqdm.simulators import CompiledSimulator


@dataclass(frozen=True)
class Patterned(Basic):
    pattern: object = field(default=None, compare=False)

    @cached_property
    def heavy(self):
        return object()


VALUES = [
    *(1, 1.0, True, "1", b"1", None, 1j, 0.0, -0.0, (1, 2), [1, 2], (2, 1), {"a": 1}, {"a": 2}),
    *(np.arange(3), np.arange(3.0), torch.arange(3), np.arange(3).reshape(3, 1)),
    *(Basic(2), AngleEmbedding(2), print, len),
]


def test_different_values_have_different_keys():
    """Such as 1, 1.0 and True, which are equal and hash alike."""
    keys = [state_of(Patterned(2, pattern=value)) for value in VALUES]
    assert len(set(keys)) == len(VALUES)


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_copies_have_equal_keys(value):
    one = Patterned(2, pattern=value)
    for other in (copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert state_of(other) == state_of(one)
        assert hash(state_of(other)) == hash(state_of(one))


def test_computed_attributes_do_not_count():
    one = Patterned(2)
    before = state_of(one)
    assert one.heavy is one.heavy
    assert state_of(one) == before


def test_objects_without_attributes_or_hash_are_themselves():
    unhashable = bytearray(b"ab")
    assert state_of(unhashable) == state_of(unhashable)
    assert state_of(unhashable) != state_of(bytearray(b"ab"))
    assert state_of(object()) != state_of(object())


@dataclass(frozen=True, slots=True)
class Slotted(Ansatz):
    """An ansatz whose own field is in a slot, not in `__dict__`."""

    gate: str = "RX"

    @property
    def weights_shape(self):
        return (self.n_layers, self.n_wires)

    def queue(self, weights):
        for layer in weights:
            for i, angle in enumerate(layer):
                getattr(qml, self.gate)(angle, wires=i)


def test_fields_in_slots_count():
    """<Z> after RX(x) is cos(x + w) with RX(w), cos(x) cos(w) with RY(w) and cos(x) with RZ(w)."""
    assert len({state_of(Slotted(2, n, gate)) for n in (1, 2) for gate in ("RX", "RY", "RZ")}) == 6
    x, w = torch.full((1, 5, 2), 0.3).double(), torch.full((1, 1, 2), 0.5).double()
    angle, weight = x[0, 0, 0], w[0, 0, 0]
    expected = {
        "RX": (angle + weight).cos(),
        "RY": angle.cos() * weight.cos(),
        "RZ": angle.cos(),
    }
    for gate, value in expected.items():
        circuit = Circuit(AngleEmbedding(2), Slotted(2, 1, gate))
        outputs = CompiledSimulator()(circuit, x, w)
        torch.testing.assert_close(outputs, value.expand_as(outputs))


def test_equal_members_of_two_enumerations_differ():
    first, second = IntEnum("First", {"RX": 1}), IntEnum("Second", {"RZ": 1})
    assert first.RX == second.RZ
    assert state_of(first.RX) != state_of(second.RZ)
    assert state_of(frozenset({1})) != state_of(frozenset({True}))
    assert state_of({1, 2}) == state_of({2, 1})


def test_a_patched_class_has_no_lasting_key(monkeypatch):
    """Its gates would be kept on disk as those of the class in the package."""
    assert lasting(state_of(Basic(2, 3))) is not None
    monkeypatch.setattr(Basic, "queue", lambda self, weights: None)
    assert lasting(state_of(Basic(2, 3))) is None
