"""The interface of a network: what is refused, and plain configurations there and back."""

import pytest
import torch
from networks import Toy
from torch import nn

from hqdm.nn.network import (
    NETWORKS,
    build_network,
    check_labels,
    check_network,
    network_config,
    option_types,
    register_network,
)
from hqdm.utils.errors import HQDMError


@pytest.fixture
def names(monkeypatch):
    """The registry, whose entries are those of before afterwards."""
    monkeypatch.setattr(NETWORKS, "_entries", dict(NETWORKS))


class Wide(Toy):
    def __init__(self, width: int, rates: list[float] | None = None):
        super().__init__()
        self.width = width
        self.inner = nn.Linear(width, 1)

    @property
    def config(self):
        return {"width": self.width}


def test_a_registered_network_is_rebuilt_from_its_configuration(names):
    assert register_network(Wide) is Wide
    config = network_config(Wide(3))
    assert config == {"name": "Wide", "width": 3}
    rebuilt = build_network(config)
    assert type(rebuilt) is Wide
    assert rebuilt.width == 3


def test_a_network_that_is_not_registered_is_not_saved(names):
    with pytest.raises(HQDMError, match="a network of type Wide cannot be saved: decorate"):
        network_config(Wide(3))
    with pytest.raises(HQDMError, match="unknown network 'Wide': expected one of"):
        build_network({"name": "Wide", "width": 3})


@pytest.mark.parametrize(
    "bases", [(nn.Module,), (object,)], ids=["without from_config", "without nn.Module"]
)
def test_only_modules_that_can_be_rebuilt_are_registered(names, bases):
    members = {} if bases == (nn.Module,) else {"from_config": classmethod(lambda cls, c: cls())}
    with pytest.raises(HQDMError, match="Odd is not a network: it needs torch.nn.Module among"):
        register_network(type("Odd", bases, members))
    assert "Odd" not in NETWORKS


@pytest.mark.parametrize("member", ["config", "from_config", "sample_shape", "parts"])
def test_a_missing_member_is_named(member):
    members = {
        name: getattr(Toy, name)
        for name in ("config", "from_config", "sample_shape", "parts")
        if name != member
    }
    check_network(Toy())
    with pytest.raises(HQDMError, match=f"^Half is not a network: it lacks {member}$"):
        check_network(type("Half", (nn.Module,), members)())


def test_all_missing_members_are_named_and_a_module_is_needed():
    with pytest.raises(HQDMError, match="lacks config, from_config, sample_shape, parts$"):
        check_network(nn.Linear(1, 1))
    with pytest.raises(HQDMError, match=r"^Half is not a network: it lacks torch.nn.Module among"):
        check_network(type("Half", (), {key: None for key in dir(Toy) if key[0] != "_"})())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"width": "x"}, "^network.width: expected a whole number, got 'x'$"),
        ({"width": 3, "rates": 3}, "^network.rates: expected a list of numbers or null, got 3$"),
        ({}, "^the options of Strict cannot be used: .*missing 1 required positional argument"),
        ({"width": -1}, "^the options of Strict cannot be used: Trying to create tensor with neg"),
        ({"width": 3, "depth": 1}, "^the options of Strict cannot be used: .*unexpected keyword"),
    ],
)
def test_options_that_fail_are_refused_in_one_line(names, options, said):
    @register_network
    class Strict(Wide):
        def __init__(self, width: int, rates: list[float] | None = None):
            super().__init__(width)
            self.rates = None if rates is None else [rate + 1 for rate in rates]

    with pytest.raises(HQDMError, match=said) as error:
        build_network({"name": "Strict", **options})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [AttributeError, KeyError, TypeError, ValueError, RuntimeError])
def test_errors_of_a_network_are_one_line(names, kind):
    @register_network
    class Failing(Toy):
        @classmethod
        def from_config(cls, config):
            raise kind("line 1\nline 2")

    with pytest.raises(HQDMError, match=r"^the options of Failing cannot be used: '?line 1"):
        build_network({"name": "Failing"})


def test_a_refusal_of_the_network_itself_stays_as_it_is(names):
    @register_network
    class Refusing(Toy):
        @classmethod
        def from_config(cls, config):
            raise HQDMError("own words")

    with pytest.raises(HQDMError, match="^own words$"):
        build_network({"name": "Refusing"})


def test_types_that_cannot_be_read_are_none():
    class Local:
        pass

    class Odd:
        def __init__(self, width: "Local"):
            pass

    assert option_types(Odd) == {}
    assert option_types(Wide)["width"] is int


SMALL = {
    "QDense": {"n_layers": 2},
    "QUNet": {"widths": [2], "n_layers": 1},
    "USS": {"n_layers": 2},
    "FullyConnected": {},
    "DeepConv": {"widths": [2, 2]},
    "SmallUNet": {"widths": [2]},
    "UNet": {"dim": 4, "mults": [1]},
}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0], r"labels of shape \(1,\) for 2 samples: expected \(2,\)"),
        ([[0], [1]], r"labels of shape \(2, 1\) for 2 samples"),
        ([0, 4], "labels 0 to 4 in a batch for a network of 3 classes: expected 0 to 2"),
        ([-1, 0], "labels -1 to 0 in a batch"),
        ([0.0, 1.0], "labels of type torch.float32: expected whole numbers"),
    ],
    ids=str,
)
def test_a_network_refuses_labels_that_it_does_not_have(name, labels, said):
    """Also one that is called without a denoiser."""
    network = build_network({"name": name, "channels": 1, "size": 4, "n_classes": 3, **SMALL[name]})
    x, t = torch.rand(2, 1, 4, 4), torch.full((2,), 0.5)
    with pytest.raises(HQDMError, match=f"^{said}"):
        network(x, t, torch.tensor(labels))
    assert network(x, t, torch.tensor([3, 0])).shape == x.shape  # 3 is "no label"


def test_labels_of_no_samples_and_none():
    check_labels(None, 2, None)
    check_labels(torch.zeros(0, dtype=torch.long), 0, 3)
    with pytest.raises(HQDMError, match="labels 0 to 3"):
        check_labels(torch.tensor([0, 3]), 2, 3, dropped=False)
