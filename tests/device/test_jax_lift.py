"""The device with JAX, which is no requirement of the package."""

import numpy as np
import pennylane as qml
import pytest

from hqdm.device import HqdmQubit

jax = pytest.importorskip("jax", reason="JAX is no requirement; with it, these tests run")


@pytest.fixture(autouse=True)
def double_precision():
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def node(device, method):
    @qml.qnode(device, diff_method=method)
    def function(x, w):
        qml.AngleEmbedding(x, wires=range(3))
        qml.StronglyEntanglingLayers(w, wires=range(3))
        return qml.expval(qml.Z(0)), qml.var(qml.X(1) @ qml.Y(2)), qml.probs(wires=[2, 0])

    return function


def loss_of(function):
    return lambda x, w: sum((part**2).sum() for part in function(x, w))


def arguments(*shape):
    random = np.random.default_rng(0)
    return jax.numpy.array(random.normal(size=shape)), jax.numpy.array(
        random.normal(size=(1, 3, 3))
    )


def close(ours, theirs):
    leaves = jax.tree_util.tree_leaves
    for value, expected in zip(leaves(ours), leaves(theirs), strict=True):
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("method", ["best", "adjoint", "backprop"])
@pytest.mark.parametrize("shape", [(3,), (4, 3)])
def test_values_and_gradients(jit, method, shape):
    compiled = jax.jit if jit else lambda function: function
    x, w = arguments(*shape)
    ours, theirs = node(HqdmQubit(3), method), node(qml.device("default.qubit", 3), "backprop")
    close(compiled(ours)(x, w), theirs(x, w))
    gradients = compiled(jax.grad(loss_of(ours), argnums=(0, 1)))(x, w)
    close(gradients, jax.grad(loss_of(theirs), argnums=(0, 1))(x, w))


def test_second_derivatives():
    x, w = arguments(3)
    ours, theirs = node(HqdmQubit(3), "backprop"), node(qml.device("default.qubit", 3), "backprop")

    def second(function):
        return jax.jacobian(jax.grad(loss_of(function)))(x, w)

    close(second(ours), second(theirs))
    with pytest.raises(ValueError, match="do not support JVP"):
        jax.jacobian(jax.grad(loss_of(node(HqdmQubit(3), "adjoint"))))(x, w)


def test_vmap():
    x, w = arguments(4, 3)
    for method in ("adjoint", "backprop"):
        ours = jax.vmap(node(HqdmQubit(3), method), in_axes=(0, None))(x, w)
        close(ours, node(qml.device("default.qubit", 3), "backprop")(x, w))
