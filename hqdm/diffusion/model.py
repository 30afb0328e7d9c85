r"""A trained model of any kind: its plain configuration and its tensors, in files and on the hub.

A model is rebuilt from a plain configuration and a dictionary of tensors. The configuration of a
`Denoiser`, a model of images, has no key `kind`; that of another kind names its class there, which
`register_model` makes available.
"""

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Self, TypeVar

import torch
from torch import Tensor, nn

from hqdm.storage.folder import check_config, read_folder, write_folder
from hqdm.storage.hub import (
    CARD_FILE,
    HUB_NAME,
    check_source,
    download_folder,
    model_card,
    upload_folder,
)
from hqdm.utils.checks import device_named
from hqdm.utils.errors import HQDMError, about
from hqdm.utils.files import together, write_file
from hqdm.utils.registry import Registry

KIND = "kind"
"""The key that names the kind of a model in its configuration."""

IMAGES = "images"
"""The kind of a model whose configuration names none."""

PRECISIONS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""The dtypes of parameters."""


class Model(nn.Module):
    """The part that all kinds of models have in common.

    Attributes:
        noun: The kind in words, for messages.
        usage: Python code that loads a model from the current folder and samples it, for its card.
        network: The part that is trained, with its named `parts`.
    """

    noun: ClassVar[str]
    usage: ClassVar[str]
    network: Any

    @property
    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The plain configuration from which `from_config` rebuilds the object."""

    @classmethod
    @abstractmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the model that `config` describes, with newly initialised weights.

        Raises:
            HQDMError: If the configuration cannot be read, or a name or option is unknown.
        """

    @property
    def n_classes(self) -> int | None:
        """The number of class labels, or None."""
        return None

    @classmethod
    def from_tensors(
        cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor], source: object
    ) -> Self:
        """The model in a file, in evaluation mode.

        Args:
            config: The plain configuration.
            tensors: Every parameter and buffer by name.
            source: The file, for messages.

        Raises:
            HQDMError: As for `from_config` and `load_tensors`.
        """
        with about(source):
            model = cls.from_config(config)
        model.load_tensors(tensors, source)
        return model.eval()

    def load_tensors(self, tensors: Mapping[str, Tensor], source: object) -> None:
        """Load every parameter and buffer, and take over their dtypes.

        Raises:
            HQDMError: If names, shapes or kinds of numbers differ, or values are not finite; the
                message gives the first difference.
        """
        check_shapes(self, tensors, source)
        for name, own in self.state_dict().items():
            check_values(tensors[name], own.dtype, f"{source}: {name}")
        if main := main_dtype(tensors.values()):
            self.to(main)  # also buffers that are not stored
        for name, value in self.state_dict(keep_vars=True).items():
            value.data = value.data.to(tensors[name].dtype)
        self.load_state_dict(dict(tensors))

    @classmethod
    def from_folder(cls, folder: Path) -> Self:
        """Load a folder that `save_pretrained` or `hqdm export` wrote.

        Raises:
            HQDMError: If a file is missing, damaged or from a newer version.
        """
        config, tensors = read_folder(folder)
        model = cls.of(config, folder).from_tensors(config, tensors, folder)
        check_config(folder)
        return model

    def save_pretrained(self, save_directory: str | Path) -> None:
        """Write a model folder, with a model card unless there is one.

        The files of another model are replaced together, and none is removed before that.

        Args:
            save_directory: The folder.

        Raises:
            HQDMError: If a file cannot be written; the old files are unchanged.
        """
        check_source(save_directory)
        folder = Path(save_directory)
        with together():
            write_folder(folder, self.config, self.state_dict())
            if not (folder / CARD_FILE).exists():
                write_file(folder / CARD_FILE, model_card(self.usage))

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload the files of `save_pretrained` to the Hugging Face hub.

        Args:
            repo_id: `owner/name`; a repository that does not exist is created.
            **options: Options of `hqdm.storage.hub.upload_folder`.

        Returns:
            The address of the commit.

        Raises:
            HQDMError, OSError, ValueError: As `upload_folder`.
        """
        with TemporaryDirectory() as scratch:
            folder = Path(scratch)
            self.save_pretrained(folder)
            return upload_folder(folder, repo_id, **options)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        map_location: str = "cpu",
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
    ) -> Self:
        """Load a folder that `save_pretrained` wrote, or a model on the Hugging Face hub.

        Args:
            source: The folder, or `owner/name`.
            map_location: The device of the model.
            revision: Branch, tag or commit of a model on the hub.
            cache_dir: The cache of downloads.
            force_download: Whether to download what is in the cache.
            local_files_only: Whether to take what is in the cache without asking the hub.
            token: The token of the hub, by default that of `hf auth login`.

        Raises:
            HQDMError: If the device is not available, there is neither such a folder nor such a
                model on the hub, a revision is given for a folder, or a file is missing, damaged
                or from a newer version.
        """
        device = device_named(map_location)
        check_source(source)
        folder = Path(source).expanduser()
        if not folder.is_dir():
            if folder.exists() or not HUB_NAME.fullmatch(str(source)):
                raise HQDMError(
                    f"there is no folder {source}: expected one that `hqdm export` or "
                    "save_pretrained wrote, or the name of a model on the hub (owner/name)"
                )
            with about(f"there is no folder {source}"):
                folder = download_folder(
                    str(source),
                    revision=revision,
                    cache_dir=cache_dir,
                    force_download=force_download,
                    local_files_only=local_files_only,
                    token=token,
                )
        elif revision is not None:
            raise HQDMError(
                f"revision is that of a model on the hub, and {source} is a folder here"
            )
        return cls.from_folder(folder).to(device)

    @classmethod
    def of(cls, config: Mapping[str, Any], source: object) -> type[Self]:
        """The class of the model that a configuration describes, this one or derived from it.

        Args:
            config: The plain configuration.
            source: The file, for messages.

        Raises:
            HQDMError: If it is of another kind, or the kind is unknown.
        """
        with about(source):
            found = MODELS[config.get(KIND, IMAGES)]
        if issubclass(cls, found):
            return cls
        if not issubclass(found, cls):
            raise HQDMError(f"{source} is {found.noun}: expected {cls.noun}")
        return found


MODELS: Registry[type[Model]] = Registry("kind of model")
"""The kinds of models by name."""

ModelType = TypeVar("ModelType", bound=type[Model])


def register_model(kind: str) -> Callable[[ModelType], ModelType]:
    """Class decorator: make a kind of models available by a name."""
    return MODELS.decorator(kind)


def parts_of(config: Mapping[str, Any], keys: Sequence[str]) -> list[Mapping[str, Any]]:
    """The parts of the configuration of a model, which each have a name.

    Args:
        config: The configuration.
        keys: The keys of the parts.

    Returns:
        The configurations of the parts, in the order of the keys.

    Raises:
        HQDMError: If one of them is missing or has no name.
    """
    parts = []
    for key in keys:
        part = config.get(key)
        if not isinstance(part, Mapping) or not isinstance(part.get("name"), str):
            raise HQDMError(
                f"the model configuration cannot be read: {key}: expected keys with a name, "
                f"got {part!r}"
            )
        parts.append(part)
    return parts


def check_shapes(module: nn.Module, tensors: Mapping[str, Tensor], source: object) -> None:
    """Refuse tensors of other names or shapes than those of a module.

    Raises:
        HQDMError: The message gives the first difference.
    """
    own = module.state_dict()
    for name in dict.fromkeys([*own, *tensors]):
        if name not in tensors or name not in own or own[name].shape != tensors[name].shape:
            expected = tuple(own[name].shape) if name in own else "nothing"
            came = tuple(tensors[name].shape) if name in tensors else "nothing"
            raise HQDMError(
                f"{source} is of another architecture: {name} should be {expected}, is {came}"
            )


def main_dtype(tensors: Iterable[Tensor]) -> torch.dtype | None:
    """The floating-point dtype of most numbers in tensors; None without any."""
    sizes: Counter[torch.dtype] = Counter()
    for tensor in tensors:
        if tensor.is_floating_point():
            sizes[tensor.dtype] += tensor.numel()
    return max(sizes, key=sizes.__getitem__, default=None)


def check_values(tensor: Tensor, dtype: torch.dtype, what: str) -> None:
    """Refuse a stored tensor of another kind of numbers, or with values that are not finite.

    Args:
        tensor: The tensor.
        dtype: The dtype of the parameter or buffer that it is for.
        what: The subject of the message.

    Raises:
        HQDMError: If one of the two is in `PRECISIONS` and the other is not, or both are of other
            kinds that differ, or a value is NaN or infinite.
    """
    if tensor.dtype != dtype and not {tensor.dtype, dtype} <= set(PRECISIONS):
        raise HQDMError(f"{what} is of type {tensor.dtype}, expected {dtype}: use another file")
    if not tensor.isfinite().all():
        raise HQDMError(
            f"{what} has values that are NaN or infinite: training diverged or the file is "
            "damaged; use an earlier checkpoint"
        )
