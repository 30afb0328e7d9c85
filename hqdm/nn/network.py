r"""The interface of a network of any architecture.

    network(x_t, t, y)        x_t: (B, *sample_shape), t: (B,) in [0, 1], y: (B,) or None

Denoisers, checkpoints and the command line access a network through these members only. The
decorator `register_network` makes a class available to configurations and files.
"""

from collections.abc import Mapping
from typing import Any, Protocol, Self, TypeVar, cast, get_type_hints

import torch
from torch import Tensor, nn

from hqdm.nn.outline import check_size, outline
from hqdm.utils.checks import check_types
from hqdm.utils.errors import HQDMError, check_names, first_line
from hqdm.utils.registry import Registry


class Network(Protocol):
    """A `torch.nn.Module` that predicts from noisy samples.

    A network with class labels also has an attribute `n_classes`; label `n_classes` means
    "no label". Samples and times come in the dtype of the parameters. A network whose attribute
    `precise_times` is true gets times in float32 at least, also if its parameters are in half
    precision, in which neighbouring times are equal. A network that some options make unfit for
    training has a method `check_training()`, which raises the error; it is called before a run
    writes anything.
    """

    @property
    def config(self) -> dict[str, Any]:
        """The plain configuration from which `from_config` rebuilds the network."""
        ...

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the network that `config` describes, with fresh weights."""
        ...

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of one sample, `(C, H, W)` for images."""
        ...

    @property
    def parts(self) -> Mapping[str, nn.Module]:
        """The parts by name, for `hqdm inspect` and `--freeze`."""
        ...

    def __call__(self, x: Tensor, t: Tensor, y: Tensor | None = None, /) -> Tensor:
        """The prediction `(B, *sample_shape)`."""
        ...


MEMBERS = ("config", "from_config", "sample_shape", "parts")

NETWORKS: Registry[type[Network]] = Registry("network")
"""Networks by class name."""

NetworkType = TypeVar("NetworkType", bound=type)


def register_network(cls: NetworkType) -> NetworkType:
    """Class decorator: make a network available by the name of its class.

    Raises:
        HQDMError: If the class is not a module or lacks `from_config`, or another class has its
            name. The other members are checked when a denoiser is built.
    """
    if not (issubclass(cls, nn.Module) and hasattr(cls, "from_config")):
        raise HQDMError(
            f"{cls.__name__} is not a network: it needs torch.nn.Module among its bases and a "
            "class method from_config"
        )
    NETWORKS.register(cls.__name__, cast(type[Network], cls))
    return cls


def check_network(network: object) -> None:
    """Refuse an object that is not a network.

    Raises:
        HQDMError: If it lacks a member of `Network`.
    """
    missing = [name for name in MEMBERS if not hasattr(network, name)]
    if missing or not isinstance(network, nn.Module):
        lacks = ", ".join(missing) or "torch.nn.Module among its bases"
        raise HQDMError(f"{type(network).__name__} is not a network: it lacks {lacks}")


def check_images(x: Tensor, sample_shape: tuple[int, ...]) -> None:
    """Refuse images of another shape than a network was built for.

    Raises:
        HQDMError: If `x` is not of shape `(B, *sample_shape)`.
    """
    if tuple(x.shape[1:]) != sample_shape:
        expected = ", ".join(map(str, sample_shape))
        raise HQDMError(f"the network needs images of shape (B, {expected}), got {tuple(x.shape)}")


def check_labels(y: Tensor | None, n: int, n_classes: int | None, dropped: bool = True) -> None:
    """Refuse labels that are not classes of a network.

    The values of labels on a GPU are not read, since that would wait for it, nor are they while the
    network is compiled.

    Args:
        y: Labels, or None.
        n: Number of samples.
        n_classes: Number of classes, or None.
        dropped: Allow the label `n_classes`, which means "no label".

    Raises:
        HQDMError: If there are labels and no classes, not one label per sample, or one is not a
            whole number of a class.
    """
    if y is None:
        return
    if n_classes is None:
        raise HQDMError("the network has no class labels (n_classes is null): leave y out")
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise HQDMError(f"labels of type {y.dtype}: expected whole numbers, such as int64")
    if y.shape != (n,):
        raise HQDMError(f"labels of shape {tuple(y.shape)} for {n} samples: expected ({n},)")
    if not n or y.device.type != "cpu" or torch.compiler.is_compiling():
        return
    least, most = int(y.min()), int(y.max())
    if not 0 <= least <= most < n_classes + dropped:
        raise HQDMError(
            f"labels {least} to {most} in a batch for a network of {n_classes} classes: expected "
            f"0 to {n_classes - 1}"
        )


def check_options(cls: type, config: Mapping[str, Any]) -> None:
    """Refuse options that a network does not have, or of another type than its argument.

    Raises:
        HQDMError: If there is one.
    """
    hints = option_types(cls)
    check_names(f"option of the network {cls.__name__!r}", config, set(hints) - {"return"})
    check_types(config, hints, "network.")


def build_network(config: Mapping[str, Any], copies: int = 1) -> Network:
    """Build a network from a configuration with a `name`.

    Args:
        config: The configuration.
        copies: Number of copies of its tensors that have to fit into memory; 0 omits the check.

    Raises:
        HQDMError: If there is no network of that name, its configuration is invalid, or it does not
            fit into memory.
    """
    if copies:
        shapes = network_outline(config)
        if isinstance(shapes, nn.Module):
            check_size(config["name"], shapes, copies)
    options, cls = _options(config), NETWORKS[config["name"]]
    try:
        return cls.from_config(options)
    except HQDMError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        check_types(options, option_types(cls), "network.")
        raise HQDMError(
            f"the options of {config['name']} cannot be used: {first_line(error)}"
        ) from None


def network_outline(config: Mapping[str, Any]) -> Network | None:
    """The outline of a network; None if it cannot be built without numbers.

    Raises:
        HQDMError: As `build_network`.
    """
    cls = NETWORKS[config["name"]]
    return outline(lambda: cls.from_config(_options(config)))


def _options(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration without the name."""
    return {key: value for key, value in config.items() if key != "name"}


def option_types(cls: type) -> dict[str, Any]:
    """The declared types of the arguments of a class; none if they cannot be read."""
    try:
        return get_type_hints(vars(cls).get("__init__"))
    except (NameError, TypeError):  # a type that is defined inside a function
        return {}


def network_config(network: Network) -> dict[str, Any]:
    """The plain configuration from which `build_network` rebuilds a network.

    Raises:
        HQDMError: If its class is not registered.
    """
    return {"name": NETWORKS.saved_name(network), **network.config}
