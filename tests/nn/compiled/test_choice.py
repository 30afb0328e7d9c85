"""When a network is computed by kernels."""

import pytest
import torch
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.flop_counter import FlopCounterMode

from hqdm.nn import UNet
from hqdm.nn.compiled.choice import MAX_WIDTH, NARROW, VARIABLE, backend, uses_kernels
from hqdm.simulators.compiled.lanes import n_lanes
from hqdm.utils.errors import HQDMError

LANES = n_lanes(4)


@pytest.fixture
def network():
    return UNet(1, 8, 4, (1, 2))


def batch(n=LANES, dtype=torch.float32):
    return torch.zeros(n, 1, 8, 8, dtype=dtype), torch.zeros(n, dtype=dtype)


@pytest.fixture
def compiled(monkeypatch):
    monkeypatch.setenv(VARIABLE, "compiled")


def test_the_variable(monkeypatch, network):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert backend() == "auto"
    for value, expected in (("torch", False), ("compiled", True), ("auto", True)):
        monkeypatch.setenv(VARIABLE, value)
        assert uses_kernels(network, 4, *batch()) is expected
    monkeypatch.setenv(VARIABLE, "numba")
    with pytest.raises(HQDMError, match="HQDM_BACKEND is 'numba': expected one of auto, torch"):
        backend()


def test_auto_takes_what_is_faster(monkeypatch, network):
    monkeypatch.setenv(VARIABLE, "auto")
    assert uses_kernels(network, NARROW, *batch(1))
    assert uses_kernels(network, MAX_WIDTH, *batch())
    assert not uses_kernels(network, NARROW + 1, *batch(LANES - 1))
    assert not uses_kernels(network, MAX_WIDTH + 1, *batch())
    monkeypatch.setenv(VARIABLE, "compiled")
    assert uses_kernels(network, MAX_WIDTH + 1, *batch(1))


@pytest.mark.usefixtures("compiled")
def test_dtypes(network):
    assert uses_kernels(network, 4, *batch())
    assert uses_kernels(network.double(), 4, *batch(dtype=torch.float64))
    assert not uses_kernels(network.double(), 4, *batch())
    assert not uses_kernels(network.bfloat16(), 4, *batch(dtype=torch.bfloat16))


@pytest.mark.usefixtures("compiled")
def test_other_devices_and_empty_batches(network):
    assert not uses_kernels(network, 4, *batch(0))
    x, t = (tensor.to("meta") for tensor in batch())
    assert not uses_kernels(network.to("meta"), 4, x, t)


@pytest.mark.usefixtures("compiled")
def test_what_torch_transforms(network):
    """Forward mode, functorch, modes of tensors, traces."""
    x, t = batch()
    with forward_ad.dual_level():
        assert not uses_kernels(network, 4, forward_ad.make_dual(x, x), t)
    seen = []
    torch.func.vmap(lambda x: seen.append(uses_kernels(network, 4, x[None], t)) or x)(x)
    with FlopCounterMode(display=False):
        seen.append(uses_kernels(network, 4, x, t))
    make_fx(lambda x: seen.append(uses_kernels(network, 4, x, t)) or x)(x)
    assert seen == [False] * 3


@pytest.mark.usefixtures("compiled")
def test_forward_mode_and_transforms_give_the_derivative(network):
    """The network chooses torch in them, with the same result as a difference quotient."""
    network = network.double()
    x, t = torch.randn(2, 1, 8, 8, dtype=torch.float64), torch.rand(2, dtype=torch.float64)
    v = torch.randn_like(x)
    _, ours = torch.func.jvp(lambda x: network(x, t), (x,), (v,))
    h = 1e-5
    theirs = (network(x + h * v, t) - network(x - h * v, t)) / (2 * h)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)
