"""Options of a trainer: obeyed, or refused in one line before anything is written."""

import pytest
from lightning import Callback
from marks import slow, thinned

from hqdm.cli.commands.fit import TrainingCLI
from hqdm.storage.checkpoint import read_checkpoint
from hqdm.training.module import DiffusionModule


def train(config, out, *args, also=()):
    cli = TrainingCLI(["--config", str(config), "--out", str(out), *map(str, args)])
    cli.trainer.callbacks.extend(also)
    cli.run()
    return read_checkpoint(out / "last.ckpt")


def callback(name, **options):
    return [{"class_path": name, "init_args": options}]


REFUSED = [
    ({"accumulate_grad_batches": 0}, "accumulate_grad_batches needs a whole number from 1, got 0"),
    ({"check_val_every_n_epoch": 0}, "check_val_every_n_epoch needs a whole number from 1, got 0"),
    ({"val_check_interval": 0}, "val_check_interval is 0: set limit_val_batches to 0"),
    ({"val_check_interval": 4}, "val_check_interval is 4, and an epoch has 3 batches"),
    (
        {"val_check_interval": 3, "limit_train_batches": 2},
        "val_check_interval is 3, and an epoch has 2 batches",
    ),
    ({"val_check_interval": 1.5}, "invalid value 1.5 for val_check_interval"),
    ({"devices": 1_000_000}, "1,000,000 processes would take"),
    ({"devices": 3}, "batch_size 16 cannot be split over 3 processes: use a multiple of 3"),
    ({"strategy": "ddp_spawn"}, "multiprocessing are not supported: set ddp"),
    ({"max_steps": 5, "min_steps": 6}, "min_steps needs 6 steps, and trainer.max_steps is 5"),
    ({"max_steps": 5, "min_epochs": 2}, "min_epochs needs 6 steps, and trainer.max_steps is 5"),
    ({"overfit_batches": 0.2}, "overfit_batches 0.2 of 3 training batches is less than one"),
    ({"limit_train_batches": 0.2}, "limit_train_batches 0.2 of 3 training batches"),
    ({"limit_val_batches": 0.9}, "limit_val_batches 0.9 of 1 validation batches"),
    ({"gradient_clip_val": -1.0}, "gradient_clip_val needs a number from 0, got -1.0"),
    ({"profiler": "quick"}, "only be one of ['simple', 'advanced'"),
    (
        {"logger": {"class_path": "CometLogger"}},
        "lightning.pytorch.loggers.CometLogger: Requirement 'comet-ml",
    ),
    (
        {"logger": [{"class_path": "WandbLogger"}]},
        "lightning.pytorch.loggers.WandbLogger: Requirement 'wandb",
    ),
    ({"callbacks": callback("Timer", duration="soon")}, "`Timer(duration='soon')` is not a valid"),
    ({"callbacks": callback("BatchSizeFinder")}, "BatchSizeFinder trains before the run"),
    ({"callbacks": callback("LearningRateFinder")}, "not supported: set model.lr yourself"),
    *(
        (
            {"callbacks": callback(name, monitor="val_los")},
            f"unknown metric of {name} 'val_los': expected one of epoch, grad_norm/classical, "
            "grad_norm/quantum, step, train_loss, val_loss (did you mean 'val_loss'?)",
        )
        for name in ("EarlyStopping", "ModelCheckpoint")
    ),
    ({"callbacks": callback("EarlyStopping", monitor="lr")}, "unknown metric of EarlyStopping"),
]


@pytest.mark.parametrize(
    ("options", "said"), thinned(REFUSED, every=6), ids=[said[:60] for _, said in REFUSED]
)
def test_options_that_lightning_refuses_late_are_one_line(refused, tiny, tmp_path, options, said):
    config = tiny(**{f"trainer__{key}": value for key, value in options.items()})
    assert said in refused("fit", "--config", config, "--out", tmp_path / "run")


@pytest.mark.parametrize(
    "options",
    [
        slow({"val_check_interval": 3}),
        slow({"val_check_interval": 0.5}),
        slow({"val_check_interval": 4, "check_val_every_n_epoch": None}),
        slow({"val_check_interval": 4, "limit_val_batches": 0}),
        {"max_steps": 6, "min_epochs": 2, "min_steps": 6},
        slow({"callbacks": callback("EarlyStopping", monitor="grad_norm/quantum")}),
    ],
    ids=str,
)
def test_the_nearest_right_values_train(hqdm, tiny, tmp_path, options):
    config = tiny(**{f"trainer__{key}": value for key, value in options.items()})
    outcome = hqdm("fit", "--config", config, "--out", tmp_path / "run")
    assert outcome.code == 0, outcome.err


@pytest.mark.slow
def test_a_scheduled_learning_rate_is_a_metric(hqdm, tiny, tmp_path):
    config = tiny(
        trainer__callbacks=callback("EarlyStopping", monitor="lr"),
        model__lr_scheduler={
            "class_path": "hqdm.training.WarmupCosine",
            "init_args": {"warmup": 1, "total": 9},
        },
    )
    assert hqdm("fit", "--config", config, "--out", tmp_path / "run").code == 0


class Logs(Callback):
    """A callback of a user, which logs a metric."""

    def on_train_batch_end(self, trainer, pl_module, *_):
        pl_module.log("mine", 1.0)


@pytest.mark.slow
def test_metrics_of_a_user_s_callback_may_be_read(tiny, tmp_path):
    config = tiny(trainer__callbacks=callback("EarlyStopping", monitor="mine"))
    cli = TrainingCLI(["--config", str(config), "--out", str(tmp_path / "run")])
    cli.trainer.callbacks.insert(0, Logs())
    cli.run()


def test_an_error_of_other_code_keeps_its_traceback(tiny, tmp_path, monkeypatch):
    def broken(self, *_):
        raise RuntimeError("a fault of the network")

    monkeypatch.setattr(DiffusionModule, "training_step", broken)
    with pytest.raises(RuntimeError, match="a fault of the network"):
        train(tiny(), tmp_path / "run")


class Sums(Callback):
    """Keeps the sum of each training batch."""

    def __init__(self):
        self.sums = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.sums.append(batch[0].double().sum().item())


def sums(config, out):
    train(config, out, also=[kept := Sums()])
    return kept.sums


@pytest.mark.slow
@pytest.mark.parametrize(("share", "repeated"), [slow(1, 1), (0.67, 2), slow(9, 3)])
def test_overfit_batches_trains_on_the_first_batches_in_every_epoch(
    tiny, tmp_path, share, repeated
):
    options = {"data__val_limit": 48, "trainer__max_epochs": 3}
    every = sums(tiny(**options), tmp_path / "all")
    assert len(set(every)) == 9  # else equal sums would say nothing
    some = sums(tiny(**options, trainer__overfit_batches=share), tmp_path / "some")
    assert some == 3 * every[:repeated]


@pytest.mark.slow
@pytest.mark.parametrize("stop", [3, slow(4)])
def test_overfitting_resumes_with_the_same_batches(tiny, same_run, tmp_path, stop):
    config = tiny(trainer__overfit_batches=2, trainer__max_epochs=3, data__val_limit=32)
    whole = train(config, tmp_path / "whole")
    train(config, tmp_path / "part", "--trainer.max_steps", stop)
    last = tmp_path / "part" / "last.ckpt"
    same_run(whole, train(config, tmp_path / "rest", "--resume", last))
