"""Training checkpoints: `.ckpt` files, read with `weights_only=True`.

A checkpoint contains the averaged weights (`ema.module.*`), the raw weights (`denoiser.*`) and the
state that resumes the run; the key "hqdm" has the plain configuration,

    {"format_version": 3, "denoiser": {...}, "requires": [...], "module": {...}, "seed": ...}.
"""

import io
import pickle
import struct
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypedDict, cast, get_type_hints

import torch
from torch import Tensor

from hqdm.storage.digests import check_archive, sealed
from hqdm.storage.formats import MODEL_VERSION, check_version, migrate_model, migrate_options
from hqdm.storage.requirements import check_requirements
from hqdm.utils.checks import check_types, whole
from hqdm.utils.errors import HQDMError, check_names
from hqdm.utils.files import write_file

CHECKPOINT_KEY = "hqdm"
"""The key of the plain configuration in a training checkpoint."""

# Exceptions of torch.load for files that are truncated, of another format, or unsafe.
_UNREADABLE = (
    *(RuntimeError, EOFError, OSError, KeyError, ValueError, AttributeError, IndexError, TypeError),
    *(pickle.UnpicklingError, zipfile.BadZipFile, struct.error),
)

PREFIXES = {"averaged": "ema.module.", "raw": "denoiser."}

LAST = "last.ckpt"
"""Name of the checkpoint that resumes a run, in the folder of the run."""


class ModuleOptions(TypedDict, total=False):
    """The plain arguments of the training module; format 1 has none."""

    lr: float | None
    betas: list[float] | None
    ema_decay: float | None
    ema_every: int
    ema_start: int
    ema_sigma_rel: float | None
    label_dropout: float
    angle_lr_factor: float


class Header(TypedDict):
    """The plain configuration under the key "hqdm", beside the version and the requirements."""

    denoiser: dict[str, Any]
    seed: int
    batches_seen: int
    frozen: list[str]


@dataclass(frozen=True)
class Checkpoint:
    """A training checkpoint, with the parts that this package reads.

    Attributes:
        source: The file, for messages.
        contents: Everything in the file, including the state of Lightning's trainer.
        tensors: The tensors by name: averaged weights, raw weights, number of averaged steps.
        denoiser: The plain configuration of the denoiser, in the newest format.
        module: The plain arguments of the training module.
        seed: The random seed of the run.
        batches_seen: The number of training batches so far.
        frozen: The parts of the network that are not trained.
    """

    source: object
    contents: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    denoiser: dict[str, Any]
    module: ModuleOptions
    seed: int
    batches_seen: int
    frozen: tuple[str, ...]

    @classmethod
    def of(cls, contents: object, source: object) -> Self:
        """Read the contents of a file.

        Args:
            contents: What the file holds.
            source: The file, for messages.

        Raises:
            HQDMError: If a part is missing or of another type, or from a newer version.
        """
        whole_file = contents if isinstance(contents, Mapping) else {}
        own = whole_file.get(CHECKPOINT_KEY)
        own = own if isinstance(own, Mapping) else {}
        version = check_version(own, MODEL_VERSION, source)
        broken = f"{source} is not a whole checkpoint: "
        for key in Header.__annotations__:
            if key not in own:
                raise HQDMError(f"{broken}it holds no {key!r}")
        check_types(own, get_type_hints(Header), broken)
        for key in ("seed", "batches_seen"):
            whole(f"{broken}{key}", own[key])
        options = own.get("module", {})
        check_types({"module": options}, {"module": dict}, broken)
        options = migrate_options(options)
        check_names(f"{broken}key of module", options, ModuleOptions.__annotations__)
        check_types(options, get_type_hints(ModuleOptions), f"{broken}module.")
        return cls(
            source,
            whole_file,
            _tensors(whole_file, broken),
            migrate_model(own["denoiser"], version),
            cast(ModuleOptions, options),
            own["seed"],
            own["batches_seen"],
            tuple(own["frozen"]),
        )


def _tensors(contents: Mapping[str, Any], broken: str) -> Mapping[str, Tensor]:
    if "state_dict" not in contents:
        raise HQDMError(f"{broken}it holds no 'state_dict'")
    tensors = contents["state_dict"]
    named = isinstance(tensors, Mapping) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in tensors.items()
    )
    if not named:
        raise HQDMError(f"{broken}state_dict: expected tensors by name")
    return tensors


def write_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a training checkpoint with its digest.

    Raises:
        HQDMError: If it cannot be written; a checkpoint that was there before is unchanged.
    """
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    write_file(path, sealed(buffer.getvalue()))


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a training checkpoint without running code that it may contain.

    Raises:
        HQDMError: If the file is missing, damaged, not written by hqdm or from a newer version, or
            the model needs a user's definition that is not loaded.
    """
    if not path.is_file():
        raise HQDMError(f"there is no checkpoint {path}: expected a file that `hqdm fit` wrote")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise HQDMError(f"{path} cannot be read ({error.strerror})") from None
    check_archive(data, path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # errors in the file are reported below
            contents = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        unsafe = "unsupported global" in str(error).lower()
        reason = "it holds more than tensors" if unsafe else "it is damaged"
        raise HQDMError(
            f"{path} is not a whole checkpoint of `hqdm fit` ({reason}): use another one"
        ) from None
    checkpoint = Checkpoint.of(contents, path)
    check_requirements(contents[CHECKPOINT_KEY].get("requires", ()), path.parent, path)
    return checkpoint
