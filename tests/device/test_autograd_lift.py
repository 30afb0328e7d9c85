"""Torch functions under autograd."""

import numpy as np
import pytest
import torch
from autograd import grad, hessian, jacobian
from autograd import numpy as anp

from hqdm.device.autograd_lift import lifted, split
from hqdm.utils.errors import HQDMError


def function(x, y):
    return torch.cat([torch.sin(x) * y.sum(), (x * y[0]).square().reshape(-1)[:1]])


def theirs(x, y):
    return anp.concatenate([anp.sin(x) * anp.sum(y), anp.ravel((x * y[0]) ** 2)[:1]])


X, Y = np.array([0.3, -0.8]), np.array([0.5, 1.2, 0.1])


@pytest.mark.parametrize("place", [0, 1])
def test_derivatives_to_third_order(place):
    def loss(function):
        return lambda *arrays: anp.sum(function(*arrays) ** 2)

    def third(function):
        return jacobian(hessian(loss(function), place), place)

    ours = lifted(function)
    np.testing.assert_allclose(ours(X, Y), theirs(X, Y), atol=1e-15)
    for derivative in (lambda f: grad(loss(f), place), lambda f: hessian(loss(f), place), third):
        np.testing.assert_allclose(
            derivative(lifted(function))(X, Y), derivative(theirs)(X, Y), atol=1e-12
        )


def test_mixed_second_derivatives():
    def mixed(function):
        return jacobian(grad(lambda x, y: anp.sum(function(x, y) ** 3), 0), 1)(X, Y)

    np.testing.assert_allclose(mixed(lifted(function)), mixed(theirs), atol=1e-12)


def test_arguments_that_do_not_matter():
    constant = lifted(lambda x, y: torch.ones(2).double() + 0 * y[:1])
    assert not grad(lambda x: anp.sum(constant(x, Y)))(X).any()


def test_complex_arguments_are_refused():
    with pytest.raises(HQDMError, match="complex parameters"):
        lifted(lambda x: x.real)(X + 1j)


def test_split():
    parts = split(torch.arange(7), [(), (2, 3)])
    assert [part.tolist() for part in parts] == [0, [[1, 2, 3], [4, 5, 6]]]
