"""Keys of objects: equal for copies, different for whatever an object consists of."""

import copy
import pickle
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pytest
import torch

from hqdm.circuits import AngleEmbedding, Basic
from hqdm.circuits.identity import state_of


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
    unhashable = {1, 2}
    assert state_of(unhashable) == state_of(unhashable)
    assert state_of(unhashable) != state_of({1, 2})
    assert state_of(object()) != state_of(object())
