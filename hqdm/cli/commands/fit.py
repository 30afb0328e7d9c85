"""`hqdm fit`: LightningCLI over the module and the data of a family, with one-line errors."""

import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import Namespace
from jsonargparse.typing import NonNegativeInt, PositiveInt
from lightning import Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from hqdm.cli.configuration import (
    parse_configuration,
    read_configuration,
    value_at,
    with_presets,
)
from hqdm.cli.families import OF_IMAGES, Links, family_of
from hqdm.cli.messages import broken_class, readable
from hqdm.data.batches import BatchDataModule
from hqdm.storage.checkpoint import read_checkpoint
from hqdm.storage.requirements import write_requirements
from hqdm.training.base import TrainingModule
from hqdm.training.precision import set_precision, weights_dtype
from hqdm.training.progress import TrainingProgress
from hqdm.training.run import (
    CHECKPOINT_EVERY,
    RunFolder,
    check_labels,
    fit,
    prepare,
)
from hqdm.training.trainer import check_trainer
from hqdm.utils.errors import HQDMError, Interrupted, first_line
from hqdm.utils.plugins import load_plugin

TRAINER_DEFAULTS: dict[str, Any] = {
    "accelerator": "auto",
    "devices": 1,
    "log_every_n_steps": 10,
    "enable_model_summary": False,  # `hqdm inspect` shows more
    # The order of the samples follows from the seed and the step; see hqdm.data.batches.
    "use_distributed_sampler": False,
}

CONFIGURATIONS = (
    *("--config", "--plugins", "--data", "--model", "--model.network", "--trainer"),
    *("--optimizer", "--lr_scheduler"),
)
"""Options whose value may be a YAML file or YAML."""

Configurations = Sequence[tuple[Mapping[str, Any], Path]]
"""Contents of configurations, with the folders of their files."""

MAX_SEED = 2**32 - 1  # of numpy, which Lightning seeds as well


class OneLineParser(LightningArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the error that the command line prints.

        Raises:
            HQDMError: Always.
        """
        raise HQDMError(readable(message, self.get_defaults().keys())) from None


def _seed(value: int) -> int:
    """Check the random seed.

    Raises:
        HQDMError: If it is out of range, or `true`, which Lightning replaces by a random number.
    """
    if isinstance(value, bool) or not 0 <= value <= MAX_SEED:
        raise HQDMError(
            f"seed_everything: expected a whole number from 0 to {MAX_SEED}, got {value}"
        )
    return value


def given_configurations(args: Sequence[str]) -> Iterator[tuple[Mapping[str, Any], Path]]:
    """The configurations in the arguments, from files and inline, with the folders of the files.

    What is missing or is not YAML is left out: the parser reports it. The values of all other
    options are checked, too.

    Raises:
        HQDMError: If YAML would be read silently in another way, see `hqdm.cli.configuration`.
    """
    words = [part for arg in args for part in arg.split("=", 1)]
    for flag, value in pairwise(words):
        if not flag.startswith("--"):
            continue
        is_configuration = flag in CONFIGURATIONS
        try:
            path = Path(value)
            is_file = is_configuration and flag != "--plugins" and path.is_file()
            content = read_configuration(path) if is_file else parse_configuration(value, flag)
        except HQDMError:
            raise
        except (OSError, ValueError, yaml.YAMLError):
            continue
        for key in reversed(flag.removeprefix("--").split(".") if flag != "--config" else []):
            content = {key: content}
        if is_configuration and isinstance(content, Mapping):
            yield content, path.parent if is_file else Path()


def load_plugins_of(configurations: Configurations) -> None:
    """Load the files under `plugins` in configurations, before their names are used.

    A path is relative to the folder of the configuration, or else to the current folder.

    Raises:
        HQDMError: If a file cannot be loaded.
    """
    for config, folder in configurations:
        plugins = config.get("plugins")
        for plugin in plugins if isinstance(plugins, list) else []:
            beside = folder / str(plugin)
            load_plugin(beside if beside.is_file() else str(plugin))


def check_linked(configurations: Configurations, parsed: Namespace, links: Links) -> None:
    """Refuse a value for a key that follows another key, unless both agree.

    Args:
        configurations: The configurations in the arguments.
        parsed: The settings that follow from them.
        links: Keys that follow others.

    Raises:
        HQDMError: If a configuration sets such a key to another value; the message has the key to
            set.
    """
    for config, _ in configurations:
        for source, target in links:
            value = value_at(config, target)
            if value is not None and value != parsed[target]:
                raise HQDMError(
                    f"{target} is {value}, but it follows {source}, which is {parsed[source]}: "
                    f"set {source} only"
                )


def to_stderr(line: str) -> None:
    """Print a line to standard error."""
    print(line, file=sys.stderr)


class TrainingCLI(LightningCLI):
    """Parses a configuration and builds the module, the data and the trainer.

    Args:
        args: The arguments after the name of the command.
        say: Receives the lines about the run.
    """

    def __init__(self, args: Sequence[str], say: Callable[[str], None] = to_stderr) -> None:
        self._say = say
        # Messages of Lightning about hardware and seeds are hidden; warnings are still shown.
        for name in ("lightning.pytorch", "lightning.fabric"):
            logging.getLogger(name).setLevel(logging.WARNING)
        args = with_presets(args)
        self._configurations = list(given_configurations(args))
        load_plugins_of(self._configurations)
        self.family = family_of([config for config, _ in self._configurations], args)
        with warnings.catch_warnings():
            # LightningCLI warns if both args and sys.argv are set; here they agree.
            warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
            super().__init__(
                self.family.build,
                self.family.data,
                args=list(args),
                run=False,
                seed_everything_default=0,
                parser_class=OneLineParser,
                parser_kwargs={"prog": "hqdm fit"},
                save_config_callback=None,
                trainer_defaults=dict(TRAINER_DEFAULTS),
                auto_configure_optimizers=False,
            )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options of a run, and link image size, channels and random seed."""
        parser.add_argument("--out", type=str | None, help="folder of the run")
        parser.add_argument(
            "--init-from",
            type=str | None,
            help="a model from which weights are copied; not read with --resume",
        )
        parser.add_argument(
            "--freeze",
            type=str | None,
            help="parts that are not trained, separated by commas: encoder,decoder",
        )
        parser.add_argument("--resume", type=str | None, help="a checkpoint to continue from")
        parser.add_argument(
            "--plugins",
            type=list[str] | None,
            help="Python files with circuits, networks or data sets, as --plugin FILE",
        )
        for flag, text in (
            ("--overwrite", "replace a run in --out"),
            ("--offline", "do not access the network"),
        ):
            parser.add_argument(flag, type=bool, nargs="?", const=True, default=False, help=text)
        parser.add_argument(
            "--sample-every",
            type=NonNegativeInt,
            default=1,
            help="epochs between sample grids; 0 for none",
        )
        parser.add_argument(
            "--checkpoint-every",
            type=PositiveInt,
            default=CHECKPOINT_EVERY,
            help="optimiser steps between checkpoints",
        )
        for source, target in self.family.links:
            check = _seed if source == "seed_everything" else None
            parser.link_arguments(source, target, compute_fn=check)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, and refuse what jsonargparse accepts.

        That is null for a value, a value for keys, and a value for a key that follows another one.
        """
        super().parse_arguments(parser, args)
        check_linked(self._configurations, self.config, self.family.links)
        for key, _ in parser.get_defaults().items():
            if key not in self.config:
                raise HQDMError(f"{key.rpartition('.')[0]}: expected keys with values")
        try:
            parser.validate(self.config, False)
        except (TypeError, ValueError) as error:
            parser.error(str(error))

    def before_instantiate_classes(self) -> None:
        """Complete the options of ansaetze by those of the resumed run.

        What a configuration leaves out was a default when the run began, and another one may hold
        now: HQConv of runs in format 2 is not interleaved.
        """
        resume = self.config["resume"]
        if self.family is not OF_IMAGES:
            return
        if not resume or not Path(resume).is_file():  # `prepare` refuses a missing one
            return
        denoiser = read_checkpoint(Path(resume)).denoiser
        saved = denoiser.get("network", {}).get("hybrid") or {}
        for part, hybrid in self.config["model"]["network"]["hybrid"].items():
            before = saved.get(part, {})
            if hybrid["ansatz"] == before.get("ansatz"):
                hybrid["ansatz_options"] = {
                    **before.get("ansatz_options", {}),
                    **hybrid["ansatz_options"],
                }

    def instantiate_classes(self) -> None:
        """Build the module, the data and the trainer.

        Raises:
            HQDMError: If a class cannot be built, such as a logger whose package is missing.
        """
        try:
            super().instantiate_classes()
        except ValueError as error:
            if isinstance(error, HQDMError) or not (message := broken_class(error)):
                raise
            raise HQDMError(message) from None

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The trainer, with the callbacks and loggers of the run's folder.

        Raises:
            HQDMError: If the options of the trainer are invalid, or not available on this machine.
        """
        folder, options = self.folder, self.config_init["trainer"]
        weights_dtype(options["precision"])  # before Lightning looks for a package
        max_steps = options["max_steps"]
        own = folder.callbacks(
            max_steps, self.config_init["sample_every"], self.config_init["checkpoint_every"]
        )
        if max_steps >= 0:
            kwargs["max_steps"] = -1
            kwargs["max_epochs"] = -1 if options["max_epochs"] is None else options["max_epochs"]
        given = options["callbacks"] or []
        shown = options["enable_progress_bar"] is not False
        others = any(isinstance(callback, ProgressBar) for callback in given)
        bar = [TrainingProgress()] if shown and not others else []
        if options["logger"] is None:
            kwargs["logger"] = folder.loggers()
        try:
            return super().instantiate_trainer(callbacks=[*given, *bar, *own], **kwargs)
        except (MisconfigurationException, TypeError, ValueError) as error:
            raise HQDMError(f"trainer: {first_line(error)}") from None

    @cached_property
    def folder(self) -> RunFolder:
        """The folder of the run: `--out`, else that of `--resume`, else runs/CONFIGURATION."""
        if self.config["out"]:
            return RunFolder(Path(self.config["out"]))
        if self.config["resume"]:
            return RunFolder(Path(self.config["resume"]).parent)
        files = self.config.get("config") or []
        return RunFolder(Path("runs") / (Path(str(files[-1])).stem if files else "run"))

    def run(self) -> None:
        """Train with the configuration.

        Raises:
            HQDMError: If a setting cannot be used.
            Interrupted: If a signal stopped the training, in the main process.
        """
        with self.prepared():
            self.train()

    @property
    def _resume(self) -> Path | None:
        """The checkpoint from which the run continues, or None."""
        return Path(self.config["resume"]) if self.config["resume"] else None

    def set_up(self) -> str:
        """Load the data, set the initial weights, and check all settings; nothing is written.

        Returns:
            One line about the initial weights; empty for a new model.

        Raises:
            HQDMError: If a setting cannot be used.
        """
        module, data = self.model, self.datamodule
        assert isinstance(module, TrainingModule)
        assert isinstance(data, BatchDataModule)
        frozen = [name for name in (self.config["freeze"] or "").split(",") if name]
        data.setup()
        check_labels(module, data)
        set_precision(module, self.trainer.precision)
        note = prepare(module, data, self.config["init_from"], frozen, self._resume)
        check_trainer(module, data, self.trainer)
        return note

    @contextmanager
    def prepared(self, also: Sequence[str] = ()) -> Iterator[None]:
        """Set up the run and hold its folder.

        Args:
            also: Names of files that are written to the folder beside those of the run.

        Raises:
            HQDMError: If a setting or the folder cannot be used.
        """
        note, config, module, folder = self.set_up(), self.config, self.model, self.folder
        assert isinstance(module, TrainingModule)
        if not self.trainer.is_global_zero:
            yield
            return
        with folder.claim(self._resume, config["overwrite"], also):
            needs = [module.denoiser.config, self.datamodule.name]
            plugins = write_requirements(needs, folder.path, bool(config["overwrite"]))
            self.config["plugins"] = sorted({p["file"] for p in plugins if p["file"]}) or None
            folder.write_config(self.settings())
            folder.record_start()
            self._say(f"{note or 'training from scratch'}; into {folder.path}")
            yield

    def train(self) -> None:
        """Train the prepared run.

        Raises:
            HQDMError: If a setting cannot be used.
            Interrupted: If a signal stopped the training, in the main process.
        """
        module, data = self.model, self.datamodule
        assert isinstance(module, TrainingModule)
        assert isinstance(data, BatchDataModule)
        try:
            fit(module, data, self.trainer, self._resume)
        except Interrupted:
            # The main process reports for all, and ends if one of the others fails.
            if self.trainer.is_global_zero:
                raise
            return
        if self.trainer.is_global_zero:
            self._say(f"wrote {self.folder.last}")

    def settings(self) -> str:
        """The settings that reproduce the run, in YAML, without those of this command only."""
        assert isinstance(self.model, TrainingModule)
        config = self.config.clone()
        config["freeze"] = ",".join(self.model.frozen) or None
        config.update(Namespace(out=None, resume=None, overwrite=False))
        unset = self.parser.get_defaults()
        for key in list(config.keys()):
            if config[key] is None and unset.get(key) is None:
                del config[key]
        return str(self.parser.dump(config, "yaml", False))  # False: with nulls


def run(args: Sequence[str]) -> None:
    """Train a model."""
    TrainingCLI(args).run()
