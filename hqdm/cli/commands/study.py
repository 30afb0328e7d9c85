"""`hqdm study run FILE` and `hqdm study report FILE`: models compared with intervals."""

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from lightning import Callback, LightningModule, Trainer

from hqdm.cli.commands.fit import TrainingCLI
from hqdm.cli.configuration import read_configuration
from hqdm.cli.options import Parser
from hqdm.training.length import callbacks_of
from hqdm.utils.checks import whole
from hqdm.utils.errors import HQDMError, Interrupted, unknown
from hqdm.utils.plugins import loaded_plugins

if TYPE_CHECKING:
    from hqdm.study.file import Study

ACTIONS = ("run", "report")
REPORT_SECONDS = 0.2  # between reports of steps


def run(args: Sequence[str]) -> None:
    """Train every model of a study with every random seed, and report comparisons."""
    parser = Parser("hqdm study", description=run.__doc__)
    parser.add_argument("action", help="run (train what is missing) or report (tables, plots)")
    parser.add_argument("file", help="the study, a YAML file (docs/study.md)")
    parser.add_argument("--out", help="folder of the study (runs/NAME of the file)")
    parser.add_argument("--processes", type=int, default=1, help="of this machine (1)")
    parser.add_argument(
        "--ray", metavar="ADDRESS", help="on the machines of a Ray cluster, or auto"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a report")
    options = parser.parse_args(args)
    if options.action not in ACTIONS:
        raise unknown("action of hqdm study", options.action, ACTIONS)
    whole("--processes", options.processes, 1)

    file = Path(options.file)
    study = read_study(file)
    out = Path(options.out) if options.out else Path("runs") / file.stem
    again = ["hqdm", "study", "run", str(file), "--out", str(out)]
    again += ["--processes", str(options.processes)] if options.processes > 1 else []
    again += ["--ray", options.ray] if options.ray is not None else []
    again += [word for plugin in loaded_plugins() for word in ("--plugin", plugin)]
    if options.action == "run":
        try:
            run_study(study, out, options.processes, options.ray)
        except Interrupted as stop:
            raise Interrupted(stop.signum, stop.checkpoint, shlex.join(again)) from None
        except KeyboardInterrupt:  # while processes work, which stop by themselves
            raise KeyboardInterrupt(f"stopped: continue with {shlex.join(again)}") from None
    else:
        report_study(study, out, options.overwrite)


def read_study(file: Path) -> "Study":
    """Read a study.

    Raises:
        HQDMError: If the file is missing, or no study.
    """
    from hqdm.study.file import parse_study

    try:
        return parse_study(read_configuration(file), file)
    except OSError as error:
        raise HQDMError(f"there is no study {file} ({error.strerror})") from None
    except yaml.YAMLError as error:
        raise HQDMError(f"{file} is not YAML: {' '.join(str(error).split())}") from None


def run_study(study: "Study", out: Path, n_processes: int, ray: str | None) -> None:
    """Complete a study.

    Args:
        study: The study.
        out: Its folder.
        n_processes: Number of processes; 1 is this one.
        ray: Address of a Ray cluster in place of them, or None.

    Raises:
        HQDMError: If a model cannot be trained; nothing runs if its configuration is wrong.
        Interrupted: If a signal stopped it.
    """
    from hqdm.data.sets import images_kept
    from hqdm.storage.claims import hold
    from hqdm.study.cells import Store
    from hqdm.study.chains import plan
    from hqdm.study.engine import Engine
    from hqdm.study.ray_workers import ray_cluster
    from hqdm.study.workers import InThisProcess, processes
    from hqdm.utils.progress import progress_bar

    store = Store(out.absolute())
    with images_kept():
        planned = plan(study, store, resolve, partial(check, study=study))
        with hold(out), progress_bar() as progress:
            if ray is not None:
                with ray_cluster(ray, store, train, loaded_plugins()) as machines:
                    Engine(planned, machines, progress).run()
            elif n_processes == 1:
                here = InThisProcess(store, train)
                engine = Engine(planned, here, progress)
                here.stepped = engine.steps.step
                engine.run()
            else:
                with processes(n_processes, store, train, loaded_plugins()) as workers:
                    Engine(planned, workers, progress).run()
    print(f"completed {out}: `hqdm study report` compares its models")


def report_study(study: "Study", out: Path, overwrite: bool) -> None:
    """Print and write the report of a study.

    Args:
        study: The study.
        out: Its folder.
        overwrite: Replace a report.

    Raises:
        HQDMError: If there are no results, or files would be replaced.
    """
    from hqdm.storage.claims import claim
    from hqdm.study.cells import Store
    from hqdm.study.chains import plan
    from hqdm.study.report.files import report_files, write_report
    from hqdm.utils.tables import show

    planned = plan(study, Store(out), resolve)
    folder, names = out / "report", report_files(planned)
    with claim(folder, names, overwrite):
        page = write_report(planned, folder)
    show(page)
    for name in names:
        print(f"wrote {folder / name}")


def resolve(words: Sequence[str]) -> Mapping[str, Any]:
    """The resolved configuration of arguments of `hqdm fit`.

    Raises:
        HQDMError: If they cannot be used.
    """
    return _settings(TrainingCLI(words))


def check(words: Sequence[str], study: "Study") -> Mapping[str, Any]:
    """As `resolve`, with all that is checked before training, and the data loaded.

    Args:
        words: The arguments.
        study: The study.

    Raises:
        HQDMError: If they cannot be used.
    """
    from hqdm.study.scores.models import check_scores
    from hqdm.study.scores.protocol import Protocol

    cli = TrainingCLI(words)
    cli.set_up()
    settings = _settings(cli)
    test = Protocol(settings["data"], settings["seed_everything"], study.samples)
    check_scores(cli.model.denoiser, study.asked, test)
    return settings


def _settings(cli: TrainingCLI) -> Mapping[str, Any]:
    settings: Mapping[str, Any] = yaml.safe_load(cli.settings())
    return settings


def train(words: Sequence[str], stepped: Callable[[int], None]) -> None:
    """Train with arguments of `hqdm fit`.

    Args:
        words: The arguments.
        stepped: Receives the number of steps, every `REPORT_SECONDS`.

    Raises:
        HQDMError: If they cannot be used.
        Interrupted: If a signal stopped the training.
    """
    cli = TrainingCLI(words, say=lambda line: None)
    callbacks_of(cli.trainer).insert(0, StepReport(stepped))
    cli.run()


class StepReport(Callback):
    """Reports the training steps.

    Args:
        stepped: Receives the number of steps, every `REPORT_SECONDS`.
    """

    def __init__(self, stepped: Callable[[int], None]) -> None:
        self._stepped = stepped
        self._latest = 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any
    ) -> None:
        """Report the step."""
        now = time.monotonic()
        if now - self._latest >= REPORT_SECONDS:
            self._latest = now
            self._stepped(trainer.global_step)
