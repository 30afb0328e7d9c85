"""`hqdm fit`: LightningCLI over `build_module` and `ImageDataModule`, with one-line errors."""

import logging
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from lightning import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from hqdm.config import build_module
from hqdm.data.module import ImageDataModule
from hqdm.errors import HQDMError
from hqdm.training.module import DiffusionModule
from hqdm.training.run import CHECKPOINT_EVERY, RunFolder, fit, is_main_process, prepare

TRAINER_DEFAULTS: dict[str, Any] = {
    "accelerator": "auto",
    "devices": 1,
    "log_every_n_steps": 10,
    "enable_model_summary": False,  # `hqdm inspect` shows more
    # The order of the images follows from the seed and the step; see hqdm.data.module.
    "use_distributed_sampler": False,
}


class OneLineParser(LightningArgumentParser):
    """A parser that refuses in one line."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise what the command line prints.

        Raises:
            HQDMError: Always.
        """
        raise HQDMError(_one_line(message))


def _one_line(message: str) -> str:
    """The part of a jsonargparse message that says what is wrong."""
    lines = [line.strip(" -") for line in message.splitlines() if line.strip(" -^")]
    text = " ".join(lines)
    text = re.sub(r"^Parser key \"?([\w.\[\]]+)\"?: ", r"\1: ", text)
    return f"{text} (`hqdm fit --help` lists the keys)"


class TrainingCLI(LightningCLI):
    """Parses a configuration and makes the module, the data and the trainer.

    Args:
        args: The command line after the command's name.
    """

    def __init__(self, args: Sequence[str]) -> None:
        # What Lightning says of hardware and seeds is not about this run; warnings still come.
        for name in ("lightning.pytorch", "lightning.fabric"):
            logging.getLogger(name).setLevel(logging.WARNING)
        with warnings.catch_warnings():
            # LightningCLI warns where args and sys.argv are both there; ours are the same.
            warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
            super().__init__(
                build_module,
                ImageDataModule,
                args=list(args),
                run=False,
                seed_everything_default=0,
                parser_class=OneLineParser,
                parser_kwargs={"prog": "hqdm fit"},
                save_config_callback=None,
                trainer_defaults=dict(TRAINER_DEFAULTS),
            )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options of a run, and say image size, channels and seed once."""
        parser.add_argument("--out", type=str | None, help="folder of the run")
        parser.add_argument("--init-from", type=str | None, help="a model to take weights from")
        parser.add_argument(
            "--freeze",
            type=str | None,
            help="parts not to train, with commas: encoder,decoder",
        )
        parser.add_argument("--resume", type=str | None, help="a checkpoint to go on from")
        parser.add_argument("--overwrite", type=bool, default=False, help="replace a run in --out")
        parser.add_argument(
            "--sample-every", type=int, default=1, help="epochs between sample grids"
        )
        parser.add_argument(
            "--checkpoint-every",
            type=int,
            default=CHECKPOINT_EVERY,
            help="steps between checkpoints",
        )
        parser.link_arguments("data.size", "model.network.size")
        parser.link_arguments("data.channels", "model.network.channels")
        parser.link_arguments("seed_everything", "model.seed", compute_fn=int)
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The trainer, with the callbacks and loggers of the run's folder."""
        folder = self.folder
        options = self.config_init["trainer"]
        callbacks = folder.callbacks(
            self.config_init["sample_every"], self.config_init["checkpoint_every"]
        )
        return super().instantiate_trainer(
            logger=folder.loggers(),
            callbacks=[*(options.get("callbacks") or []), *callbacks],
            **kwargs,
        )

    @property
    def folder(self) -> RunFolder:
        """Where the run is kept: `--out`, else beside `--resume`, else by the configuration."""
        if self.config["out"]:
            return RunFolder(Path(self.config["out"]))
        if self.config["resume"]:
            return RunFolder(Path(self.config["resume"]).parent)
        files = self.config.get("config") or []
        return RunFolder(Path("runs") / (Path(str(files[-1])).stem if files else "run"))

    def run(self) -> None:
        """Train as configured.

        Raises:
            HQDMError: If something in the configuration cannot be used.
        """
        config, module = self.config, self.model
        assert isinstance(module, DiffusionModule)
        assert isinstance(self.datamodule, ImageDataModule)
        if config["resume"] and config["init_from"]:
            raise HQDMError("--resume goes on with a run, --init-from starts one: give one of them")
        frozen = [name for name in (config["freeze"] or "").split(",") if name]
        said = prepare(module, config["init_from"], frozen, config["resume"])
        if is_main_process():
            resuming_here = config["resume"] and Path(config["resume"]).parent == self.folder.path
            if not resuming_here:
                self.folder.claim(config["overwrite"])
            self.parser.save(config, self.folder.path / "config.yaml", overwrite=True)
            print(said or f"training from scratch into {self.folder.path}", file=sys.stderr)
        fit(module, self.datamodule, self.trainer, config["resume"])
        if is_main_process():
            print(f"wrote {self.folder.last}", file=sys.stderr)
