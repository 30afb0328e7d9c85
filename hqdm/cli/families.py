"""Families of models: what `hqdm fit` builds from a configuration, of images or of quantum states.

A configuration with `data.ensemble` is of quantum states, every other one of images.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hqdm.cli.configuration import value_at
from hqdm.cli.schema import build_module
from hqdm.data.batches import BatchDataModule
from hqdm.data.module import ImageDataModule
from hqdm.training.base import TrainingModule

ENSEMBLE = "data.ensemble"

Links = tuple[tuple[str, str], ...]
"""Keys, and the keys that follow them."""

SEEDS: Links = (("seed_everything", "model.seed"), ("seed_everything", "data.seed"))


@dataclass(frozen=True)
class Family:
    """A family of models.

    Attributes:
        build: Builds the module from the keys under `model`.
        data: The class of the data, built from the keys under `data`.
        links: Keys of a configuration that follow others.
    """

    build: Callable[..., TrainingModule]
    data: type[BatchDataModule]
    links: Links


OF_IMAGES = Family(
    build_module,
    ImageDataModule,
    (
        ("data.size", "model.network.size"),
        ("data.channels", "model.network.channels"),
        ("offline", "data.offline"),
        *SEEDS,
    ),
)


def of_states() -> Family:
    """The family of models of quantum states, imported on demand."""
    from hqdm.states.runs.data import StateDataModule
    from hqdm.states.runs.module import build_state_module

    links = (("data.n_qubits", "model.network.n_qubits"), *SEEDS)
    return Family(build_state_module, StateDataModule, links)


def family_of(configurations: Iterable[Mapping[str, Any]], args: Sequence[str]) -> Family:
    """The family of a run.

    Args:
        configurations: The contents of its configurations.
        args: The arguments of the command.
    """
    named = any(word.partition("=")[0] == f"--{ENSEMBLE}" for word in args)
    given = any(value_at(config, ENSEMBLE) is not None for config in configurations)
    return of_states() if named or given else OF_IMAGES
