"""Sizes of networks before they are built."""

import pytest
import torch
from torch import nn

from hqdm.nn.network import build_network, network_outline
from hqdm.nn.outline import check_batch, forward_bytes, outline
from hqdm.utils import memory
from hqdm.utils.errors import HQDMError

SMALL = {"name": "UNet", "dim": 4, "mults": [1, 2], "size": 8}


@pytest.mark.parametrize("extra", [{}, {"n_classes": 3}, {"hybrid": {"vertex": {"groups": "all"}}}])
def test_the_outline_has_the_shapes_of_the_network_and_draws_nothing(extra):
    before = torch.get_rng_state()
    shapes = network_outline({**SMALL, **extra})
    assert torch.equal(torch.get_rng_state(), before)
    assert {tensor.device.type for tensor in shapes.state_dict().values()} == {"meta"}
    real = build_network({**SMALL, **extra})
    assert {name: (t.shape, t.dtype) for name, t in shapes.state_dict().items()} == {
        name: (t.shape, t.dtype) for name, t in real.state_dict().items()
    }


@pytest.mark.parametrize("copies", [1, 5])
def test_a_network_is_refused_from_its_first_byte_too_many(monkeypatch, copies):
    needed = 4 * copies * sum(p.numel() for p in build_network(SMALL).parameters())
    monkeypatch.setattr(memory, "available_bytes", lambda: needed)
    build_network(SMALL, copies)
    monkeypatch.setattr(memory, "available_bytes", lambda: needed - 1)
    with pytest.raises(HQDMError, match=r"^the network UNet with [\d,]+ parameters.* would take"):
        build_network(SMALL, copies)
    build_network(SMALL, 0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dim": 10**6}, "PiB"),
        ({"dim": 10**12}, "beyond 64 bits"),
        ({"heads": 10**7}, "TiB|GiB"),
        ({"head_dim": 10**12}, "PiB"),
        ({"n_classes": 10**12}, "TiB"),
        ({"mults": [1, 10**6]}, "PiB"),
        ({"hybrid": {"vertex": {"n_layers": 10**6}}, "dim": 12}, "24,000,000 angles"),
        ({"hybrid": {"vertex": {"n_layers": 10**12}}, "dim": 12}, "angles"),
    ],
)
def test_sizes_without_sense_are_refused_before_allocation(options, said):
    with pytest.raises(HQDMError, match=said) as error:
        build_network({**SMALL, **options})
    assert "\n" not in str(error.value)


def test_a_class_that_needs_numbers_has_no_outline():
    assert outline(lambda: nn.Linear(int(torch.ones(1).sum().item()), 2)) is None


def test_ranges_of_the_outline_have_their_length_and_type():
    made = outline(lambda: (torch.arange(2, 9, 3), torch.arange(5, dtype=torch.float64)))
    assert [(t.shape, t.dtype) for t in made] == [((3,), torch.int64), ((5,), torch.float64)]


def test_the_bytes_of_a_forward_pass_are_those_of_its_tensors():
    """y = W2 relu(W1 x): x, relu(...) and W2 are kept for the gradients of W1 and W2."""
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    x = torch.empty(100, 4, device="meta")
    assert forward_bytes(model, (x,), training=False) == 4 * 100 * 8
    assert forward_bytes(model, (x,), training=True) == 4 * (100 * 4 + 100 * 8 + 8 * 2)
    assert all(parameter.device.type == "cpu" for parameter in model.parameters())
    frozen = model.requires_grad_(False)
    assert forward_bytes(frozen, (x,), training=True) == 4 * 100 * 8  # nothing is kept


def test_attention_among_all_pixels_is_quadratic():
    """The vertex of a U-Net without downsampling: heads x pixels^2 weights per sample."""
    network = build_network({**SMALL, "mults": [1], "size": 24, "heads": 2})
    inputs = torch.empty(3, 1, 24, 24, device="meta"), torch.empty(3, device="meta")
    assert forward_bytes(network, inputs, training=False) == 4 * 3 * 2 * (24 * 24) ** 2


@pytest.mark.parametrize("training", [False, True])
def test_a_batch_is_refused_from_its_first_byte_too_many(monkeypatch, training):
    network = build_network({**SMALL, "hybrid": {"vertex": {"channels_per_group": 2}}})
    inputs = torch.empty(4096, 1, 8, 8, device="meta"), torch.empty(4096, device="meta")
    needed = forward_bytes(network, inputs, training)
    monkeypatch.setattr(memory, "available_bytes", lambda: needed)
    check_batch(network, 4096, training)
    monkeypatch.setattr(memory, "available_bytes", lambda: needed - 1)
    with pytest.raises(HQDMError, match="^a batch of 4096 samples would take .* smaller"):
        check_batch(network, 4096, training)
    check_batch(network, 100, training)  # too small to be worth a check


def test_a_network_that_needs_numbers_is_not_checked(monkeypatch):
    class Numbers(nn.Linear):
        def forward(self, x):
            return super().forward(x) * x.sum().item()

    x = torch.empty(2, 3, device="meta")
    assert forward_bytes(Numbers(3, 3), (x,), training=False) is None
