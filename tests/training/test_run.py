"""Runs: resumed bit for bit from any checkpoint, never lost, never taken for another."""

import shutil

import pytest
import torch
from lightning import Callback

from hqdm.cli.commands.fit import TrainingCLI
from hqdm.storage.checkpoint import read_checkpoint
from hqdm.utils.errors import HQDMError
from hqdm.utils.pictures import read_metric

LABELS = {"data__labelled": True, "model__network__n_classes": 10, "model__label_dropout": 0.5}


class KeepCopies(Callback):
    """Keeps a copy of last.ckpt as it stood at each hook, named by the validations before it."""

    def __init__(self, last, folder):
        self.last, self.folder, self.validations = last, folder, 0
        folder.mkdir()

    def on_validation_end(self, trainer, *_):
        self.validations += not trainer.sanity_checking

    def copy(self, trainer, hook):
        if self.last.exists():
            name = f"{self.validations}_{hook}_{trainer.global_step}.ckpt"
            shutil.copy(self.last, self.folder / name)

    def on_train_batch_end(self, trainer, *_):
        self.copy(trainer, "batch")

    def on_train_epoch_end(self, trainer, *_):
        self.copy(trainer, "epoch")


def train(config, out, *args, keep=None):
    cli = TrainingCLI(["--config", str(config), "--out", str(out), *map(str, args)])
    if keep:
        cli.trainer.callbacks.append(KeepCopies(out / "last.ckpt", keep))
    cli.run()
    return read_checkpoint(out / "last.ckpt")


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="plain"),
        pytest.param({"data__flip": True, **LABELS}, id="flip and labels"),
        pytest.param({"trainer__check_val_every_n_epoch": 2}, id="validation every other epoch"),
        pytest.param({"trainer__accumulate_grad_batches": 2}, id="accumulated gradients"),
    ],
)
def test_every_checkpoint_resumes_the_run_bit_for_bit(tiny, same_run, tmp_path, changes):
    """Mid-epoch, at an epoch's end and at the end, with the validations that are left."""
    config, copies = tiny(checkpoint_every=1, **changes), tmp_path / "copies"
    whole = train(config, tmp_path / "whole", keep=copies)
    validated = read_metric(tmp_path / "whole" / "csv", "val_loss")
    checkpoints = sorted(copies.iterdir())
    assert len(checkpoints) >= 5
    for i, checkpoint in enumerate(checkpoints):
        out = tmp_path / f"resumed_{i}"
        resumed = train(config, out, "--resume", checkpoint)
        same_run(whole, resumed)
        left = list(validated.items())[int(checkpoint.name.split("_")[0]) :]
        assert read_metric(out / "csv", "val_loss") == dict(left)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (("--trainer.max_epochs", 1), ("--trainer.max_epochs", 3)),
        (("--trainer.max_steps", 4), ("--trainer.max_steps", 8)),
        (("--trainer.max_steps", 3), ("--trainer.max_steps", 8)),
        (("--trainer.max_steps", 4), ("--trainer.max_epochs", 3)),
    ],
    ids=["epochs", "from within an epoch", "from an epoch's end", "steps, then epochs"],
)
def test_finished_run_is_extended_bit_for_bit(tiny, same_run, tmp_path, first, then):
    config = tiny(trainer__max_epochs=9)
    whole = train(config, tmp_path / "whole", *then)
    train(config, tmp_path / "parts", *first)
    parts = train(config, tmp_path / "parts", *then, "--resume", tmp_path / "parts" / "last.ckpt")
    same_run(whole, parts)
    logs = tmp_path / "whole" / "csv", tmp_path / "parts" / "csv"
    expected, actual = (read_metric(folder, "train_loss") for folder in logs)
    assert expected == actual
    expected, actual = (read_metric(folder, "val_loss") for folder in logs)
    assert expected.items() <= actual.items()  # the first part ended with a validation, too


def test_finished_run_is_not_trained_further(tiny, same_run, tmp_path):
    state = train(tiny(), tmp_path / "run", "--trainer.max_steps", 4)
    again = ("--trainer.max_steps", 4, "--resume", tmp_path / "run" / "last.ckpt")
    same_run(train(tiny(), tmp_path / "run", *again), state)
    same_run(train(tiny(), tmp_path / "elsewhere", *again), state)


def test_best_checkpoint_survives_a_resumption(tiny, tmp_path):
    """The best loss so far is remembered: a worse one does not replace best.ckpt."""
    config, out = tiny(model__ema__decay=0.0, model__ema__every=1), tmp_path / "run"
    callbacks = train(config, out).contents["callbacks"]
    first, second = read_metric(out / "csv", "val_loss").values()
    assert second < first
    (kept,) = (state for name, state in callbacks.items() if "ModelCheckpoint" in name)
    assert kept["best_model_score"].item() == pytest.approx(second)
    best = (out / "best.ckpt").read_bytes()
    # A rate that ruins the weights, so that no later loss is lower.
    more = ("--trainer.max_epochs", 3, "--model.lr", 10.0, "--resume", out / "last.ckpt")
    train(config, out, *more)
    losses = list(read_metric(out / "csv", "val_loss").values())
    assert losses[-1] > max(losses[:-1])
    assert (out / "best.ckpt").read_bytes() == best


def test_resumed_run_takes_the_configured_learning_rate(tiny, tmp_path):
    config, out = tiny(), tmp_path / "run"
    train(config, out)
    more = ("--trainer.max_epochs", 3, "--model.lr", 1e-5, "--model.betas", "[0.5, 0.6]")
    resumed = train(config, out, *more, "--resume", out / "last.ckpt")
    (optimizer,) = resumed.contents["optimizer_states"]
    (group,) = optimizer["param_groups"]
    assert group["lr"] == 1e-5
    assert group["betas"] == (0.5, 0.6)


def test_checkpoints_hold_tensors_and_plain_values_only(trained):
    for name in ("last.ckpt", "best.ckpt"):
        checkpoint = torch.load(trained / name, weights_only=True)
        assert checkpoint["hqdm"]["format_version"] == 3


def test_run_folder_holds_what_it_promises(trained):
    expected = {"config.yaml", "last.ckpt", "best.ckpt", "csv", "tensorboard", "samples"}
    assert {file.name for file in trained.iterdir()} == expected | {"loss.png"}
    assert list((trained / "tensorboard" / "version_0").glob("events.*"))
    names = {file.name for file in (trained / "samples").iterdir()}
    assert names == {"step_0000003.png", "step_0000006.png"}
    steps = read_metric(trained / "csv", "train_loss")
    assert list(steps) == [0, 1, 2, 3, 4, 5]


def test_saved_configuration_reproduces_the_run(tiny, same_run, tmp_path):
    """Values from the command line and nulls included."""
    config = tiny(data__val_limit=None)
    first = train(config, tmp_path / "a", "--model.lr", 2e-3, "--freeze", "stem,head")
    second = train(tmp_path / "a" / "config.yaml", tmp_path / "b")
    same_run(first, second)
    text = (tmp_path / "b" / "config.yaml").read_text()
    assert text == (tmp_path / "a" / "config.yaml").read_text()
    assert "val_limit: null" in text
    assert str(tmp_path) not in text


@pytest.mark.parametrize(
    ("changes", "key", "saved", "configured"),
    [
        ({"model__network__dim": 16}, "model.network.dim", 8, 16),
        ({"model__predict": "v"}, "model.objective.name", "eps", "v"),
        ({"model__schedule": "linear"}, "model.schedule.name", "cosine", "linear"),
        ({"model__network__hybrid": {}}, "model.network.hybrid.vertex.groups", 1, None),
        ({"seed_everything": 5}, "seed_everything", 0, 5),
        ({"data__batch_size": 8}, "data.batch_size", 16, 8),
        ({"data__limit": 40}, "data.images", 48, 40),
        ({"data__flip": True}, "data.flip", False, True),
    ],
)
def test_checkpoint_of_another_run_is_not_resumed(
    trained, tiny, tmp_path, changes, key, saved, configured
):
    with pytest.raises(HQDMError, match="is of another run") as caught:
        train(tiny(**changes), tmp_path / "run", "--resume", trained / "last.ckpt")
    message = f"{key} is {saved} in the checkpoint and {configured} in the configuration"
    assert message in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_where_circuits_run_may_change(trained, tiny, tmp_path):
    config = tiny(model__network__hybrid__vertex__simulator="pennylane:default.qubit")
    state = train(config, tmp_path / "run", "--resume", trained / "last.ckpt")
    assert state.contents["global_step"] == 6


def folder_contents(folder):
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_existing_run_is_left_alone(trained, tiny, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    before = folder_contents(tmp_path / "run")
    with pytest.raises(HQDMError, match=r"already holds a run: --resume .*--overwrite .*--out"):
        train(tiny(), tmp_path / "run")
    # Going on from the best checkpoint would replace the last one.
    with pytest.raises(HQDMError, match="already holds a run"):
        train(tiny(), tmp_path / "run", "--resume", tmp_path / "run" / "best.ckpt")
    assert folder_contents(tmp_path / "run") == before


def test_overwrite_starts_anew(trained, tiny, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    state = train(tiny(trainer__max_epochs=1), tmp_path / "run", "--overwrite")
    assert state.contents["global_step"] == 3
    assert not list((tmp_path / "run" / "samples").iterdir())
    assert [f.name for f in (tmp_path / "run" / "csv").iterdir()] == ["version_0"]


def test_overwrite_does_not_delete_the_checkpoint_it_resumes(trained, tiny, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    best = tmp_path / "run" / "best.ckpt"
    config = tiny(trainer__max_epochs=3)
    state = train(config, tmp_path / "run", "--overwrite", "--resume", best)
    assert state.contents["global_step"] == 9


def test_resumed_run_stays_in_its_folder(trained, tiny, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    config = tiny(trainer__max_epochs=3)
    TrainingCLI(["--config", str(config), "--resume", str(tmp_path / "run" / "last.ckpt")]).run()
    assert read_checkpoint(tmp_path / "run" / "last.ckpt").contents["global_step"] == 9
    assert {f.name for f in (tmp_path / "run" / "csv").iterdir()} == {"version_0", "version_1"}


@pytest.mark.parametrize(("callback", "warned"), [("Stopwatch", False), ("Another", True)])
def test_states_of_callbacks_that_are_gone(trained, tiny, tmp_path, recwarn, callback, warned):
    """Of old checkpoints only what is known to be gone is passed over in silence."""
    checkpoint = torch.load(trained / "last.ckpt", weights_only=True)
    checkpoint["callbacks"][callback] = {"seconds": 1.0}
    torch.save(checkpoint, tmp_path / "old.ckpt")
    config = tiny(trainer__max_epochs=3)
    resumed = train(config, tmp_path / "run", "--resume", tmp_path / "old.ckpt")
    assert resumed.contents["global_step"] == 9
    told = [str(warning.message) for warning in recwarn]
    assert any("add the following callbacks" in line for line in told) == warned


def test_labels_and_classes_go_together(tiny, tmp_path):
    for changes, said in (
        ({"data__labelled": True}, "n_classes is null: set it to 10"),
        ({"data__labelled": True, "model__network__n_classes": 9}, "n_classes is 9: set it to 10"),
        ({"model__network__n_classes": 10}, "set data.labelled to true, or n_classes to null"),
    ):
        with pytest.raises(HQDMError) as caught:
            train(tiny(**changes), tmp_path / "run")
        assert said in str(caught.value)
        assert not (tmp_path / "run").exists()


def test_loss_that_is_not_finite_ends_the_run(hqdm, tiny, tmp_path):
    """The checkpoint before it stays, and resumes with a lower rate."""
    out = tmp_path / "run"
    train(tiny(), out)
    before = (out / "last.ckpt").read_bytes()
    more = ("--out", out, "--resume", out / "last.ckpt", "--trainer.max_epochs", 3)
    outcome = hqdm("fit", "--config", tiny(), *more, "--model.lr", 1e30)
    assert outcome.code == 2
    error = outcome.err.splitlines()[-1]
    assert error.startswith("error: the loss is nan at step 7: lower the learning rate (now 1e+30)")
    assert "Traceback" not in outcome.err
    assert (out / "last.ckpt").read_bytes() == before
    assert hqdm("fit", "--config", tiny(), *more).code == 0
