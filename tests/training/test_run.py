"""Runs: resumed bit for bit from any checkpoint, never lost, never taken for another."""

import errno
import json
import os
import shutil

import pytest
import torch
from lightning import Callback
from lightning.pytorch.loggers import CSVLogger
from marks import slow, thinned

from hqdm.cli.commands.fit import TrainingCLI
from hqdm.storage.checkpoint import read_checkpoint
from hqdm.storage.run_files import RunFiles
from hqdm.training import callbacks
from hqdm.training.callbacks import best_score
from hqdm.training.module import DiffusionModule
from hqdm.utils.errors import HQDMError
from hqdm.utils.pictures import read_metric

POWER = {"sigma_rel": 0.2, "every": 2, "start": 1}
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="plain"),
        slow({"data__flip": True, **LABELS}, id="flip and labels"),
        slow({"trainer__check_val_every_n_epoch": 2}, id="validation every other epoch"),
        slow({"model__ema": POWER}, id="an average that follows the run"),
        slow({"trainer__accumulate_grad_batches": 2}, id="accumulated gradients"),
    ],
)
def test_every_checkpoint_resumes_the_run_bit_for_bit(
    tiny, same_run, tmp_path, monkeypatch, changes
):
    """Mid-epoch, at an epoch's end and at the end, with the validations that are left."""
    monkeypatch.setattr(callbacks, "EPOCH_SECONDS", 0.0)  # also at the end of short epochs
    config = tiny(checkpoint_every=1, data__limit=32, **changes)
    copies = tmp_path / "copies"
    whole = train(config, tmp_path / "whole", keep=copies)
    validated = read_metric(tmp_path / "whole" / "csv", "val_loss")
    checkpoints = sorted(copies.iterdir())
    # Of two gradients a step there are half as many steps within an epoch.
    assert len(checkpoints) >= (4 if "trainer__accumulate_grad_batches" in changes else 5)
    for i, checkpoint in enumerate(checkpoints):
        out = tmp_path / f"resumed_{i}"
        resumed = train(config, out, "--resume", checkpoint)
        same_run(whole, resumed)
        left = list(validated.items())[int(checkpoint.name.split("_")[0]) :]
        assert read_metric(out / "csv", "val_loss") == dict(left)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        slow(("--trainer.max_epochs", 1), ("--trainer.max_epochs", 3)),
        (("--trainer.max_steps", 4), ("--trainer.max_steps", 8)),
        slow(("--trainer.max_steps", 3), ("--trainer.max_steps", 8)),
        slow(("--trainer.max_steps", 4), ("--trainer.max_epochs", 3)),
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


@pytest.mark.slow  # three runs
def test_an_average_that_follows_the_run_is_resumed_bit_for_bit(tiny, same_run, tmp_path):
    config, out = tiny(model__ema=POWER), tmp_path / "parts"
    whole = train(config, tmp_path / "whole", "--trainer.max_steps", 5)
    train(config, out, "--trainer.max_steps", 3)
    more = ("--trainer.max_steps", 5, "--resume", out / "last.ckpt")
    same_run(whole, train(config, out, *more))


@pytest.mark.slow
def test_finished_run_is_not_trained_further(tiny, same_run, tmp_path):
    state = train(tiny(), tmp_path / "run", "--trainer.max_steps", 4)
    again = ("--trainer.max_steps", 4, "--resume", tmp_path / "run" / "last.ckpt")
    same_run(train(tiny(), tmp_path / "run", *again), state)
    same_run(train(tiny(), tmp_path / "elsewhere", *again), state)


@pytest.mark.slow
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


def val_losses(out):
    return read_metric(out / "csv", "val_loss")


@pytest.mark.slow
def test_best_checkpoint_after_a_stop_within_an_epoch(tiny, tmp_path):
    """last.ckpt precedes the last validation; the score is that of best.ckpt."""
    config, out = tiny(model__ema__decay=0.0, model__ema__every=1), tmp_path / "run"
    train(config, out, "--trainer.max_steps", 5)
    assert best_score(out / "best.ckpt") == pytest.approx(min(val_losses(out).values()))
    best = (out / "best.ckpt").read_bytes()
    state = read_checkpoint(out / "last.ckpt").contents["callbacks"]
    (kept,) = (each for name, each in state.items() if "ModelCheckpoint" in name)
    assert kept["best_model_score"] > best_score(out / "best.ckpt")
    more = ("--trainer.max_steps", 8, "--model.lr", 10.0, "--resume", out / "last.ckpt")
    train(config, out, *more)
    assert max(val_losses(out).values()) > best_score(out / "best.ckpt")
    assert (out / "best.ckpt").read_bytes() == best


@pytest.mark.slow  # three runs
@pytest.mark.parametrize("place", [shutil.copytree, shutil.move], ids=["copied", "renamed"])
def test_best_checkpoint_in_another_place(trained, tiny, tmp_path, place):
    out = tmp_path / "other"
    place(shutil.copytree(trained, tmp_path / "run"), out)
    best, score = (out / "best.ckpt").read_bytes(), best_score(out / "best.ckpt")
    more = ("--trainer.max_epochs", 3, "--model.lr", 10.0, "--resume", out / "last.ckpt")
    train(tiny(model__ema__decay=0.0, model__ema__every=1), out, *more)
    assert max(val_losses(out).values()) > score
    assert (out / "best.ckpt").read_bytes() == best
    better = ("--trainer.max_epochs", 9, "--model.lr", 1e-2, "--resume", out / "last.ckpt")
    shutil.copy(trained / "last.ckpt", out / "last.ckpt")
    train(tiny(), out, *better)
    assert best_score(out / "best.ckpt") < score
    assert best_score(out / "best.ckpt") == pytest.approx(min(val_losses(out).values()))


@pytest.mark.slow
def test_best_checkpoint_without_a_score_is_not_replaced(trained, refused, tiny, tmp_path):
    out = shutil.copytree(trained, tmp_path / "run")
    checkpoint = torch.load(out / "best.ckpt")
    checkpoint["callbacks"] = {}
    torch.save(checkpoint, out / "best.ckpt")
    line = refused("fit", "--config", tiny(), "--out", out, "--resume", out / "last.ckpt")
    assert "best.ckpt states no validation loss: move it" in line


def emptied(checkpoint):
    checkpoint["optimizer_states"][0]["state"] = {}


def without_average(checkpoint):
    for state in checkpoint["optimizer_states"][0]["state"].values():
        del state["exp_avg_sq"]


def without_optimizer(checkpoint):
    checkpoint["optimizer_states"] = []


def of_other_parameters(checkpoint):
    checkpoint["optimizer_states"][0]["param_groups"][0]["params"].pop()


def of_other_shape(checkpoint):
    state = checkpoint["optimizer_states"][0]["state"][0]
    state["exp_avg"] = state["exp_avg"][:1]


@pytest.mark.parametrize(
    "change",
    thinned(
        [emptied, without_average, without_optimizer, of_other_parameters, of_other_shape], every=5
    ),
)
def test_state_of_the_optimiser_has_to_be_whole(trained, refused, tiny, tmp_path, change):
    checkpoint = torch.load(trained / "last.ckpt")
    change(checkpoint)
    torch.save(checkpoint, tmp_path / "changed.ckpt")
    resume = ("--out", tmp_path / "run", "--resume", tmp_path / "changed.ckpt")
    line = refused("fit", "--config", tiny(), *resume)
    assert "changed.ckpt does not hold the state of the optimiser Adam" in line
    assert not (tmp_path / "run").exists()


OPTIMIZERS = [
    {"class_path": "torch.optim.SGD", "init_args": {"lr": 1e-3}},
    {"class_path": "torch.optim.SGD", "init_args": {"lr": 1e-3, "momentum": 0.9}},
    {"class_path": "torch.optim.Adam", "init_args": {"lr": 1e-3, "amsgrad": True}},
    {"class_path": "torch.optim.Adafactor", "init_args": {"lr": 1e-3}},
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "optimizer", [slow(OPTIMIZERS[0]), OPTIMIZERS[1], *map(slow, OPTIMIZERS[2:])], ids=str
)
def test_other_optimisers_resume_with_their_own_state_only(tiny, refused, tmp_path, optimizer):
    schedule = {"class_path": "hqdm.WarmupCosine", "init_args": {"warmup": 2, "total": 20}}
    given = {"model__optimizer": optimizer, "model__lr_scheduler": schedule}
    out, config = tmp_path / "run", tiny(**given, trainer__max_epochs=1)
    train(config, out)
    assert train(tiny(**given), out, "--resume", out / "last.ckpt").contents["global_step"] == 6
    line = refused("fit", "--config", tiny(), "--out", out, "--resume", out / "last.ckpt")
    assert "last.ckpt does not hold the state of the optimiser Adam" in line


@pytest.mark.slow
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
    names = expected | {"loss.png", "provenance.json", ".hqdm-manifest.json"}
    assert {file.name for file in trained.iterdir()} == names
    files = {f.relative_to(trained).as_posix() for f in trained.rglob("*") if f.is_file()}
    listed = json.loads((trained / ".hqdm-manifest.json").read_text())
    assert set(listed["files"]) == files - {".hqdm-manifest.json"}
    assert list((trained / "tensorboard" / "version_0").glob("events.*"))
    names = {file.name for file in (trained / "samples").iterdir()}
    assert names == {"step_0000003.png", "step_0000006.png"}
    steps = read_metric(trained / "csv", "train_loss")
    assert list(steps) == [0, 1, 2, 3, 4, 5]


@pytest.mark.slow
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
    thinned(
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
        every=6,
    ),
)
def test_checkpoint_of_another_run_is_not_resumed(
    trained, tiny, tmp_path, changes, key, saved, configured
):
    with pytest.raises(HQDMError, match="is of another run") as caught:
        train(tiny(**changes), tmp_path / "run", "--resume", trained / "last.ckpt")
    message = f"{key} is {saved} in the checkpoint and {configured} in the configuration"
    assert message in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
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


@pytest.mark.slow
def test_overwrite_leaves_what_no_run_wrote(trained, tiny, tmp_path):
    out = shutil.copytree(trained, tmp_path / "run")
    names = ("mine.ckpt", "last.part", ".writable", "csv/mine.csv", "tensorboard/mine")
    for name in (*names, "samples/mine.png", "csv/version_0/notes.txt"):
        (out / name).write_text(f"of the user: {name}")
    train(tiny(), out, "--overwrite")
    for name in (*names, "samples/mine.png", "csv/version_0/notes.txt"):
        assert (out / name).read_text() == f"of the user: {name}"
    assert not (out / "samples" / "step_0000003.png").exists()
    assert not (out / "csv" / "version_0" / "metrics.csv").exists()


@pytest.mark.parametrize(
    "name", ["config.yaml", "loss.png", "best.ckpt", "samples/step_0000001.png"]
)
def test_files_that_a_run_would_write_are_left_alone(refused, tiny, tmp_path, name):
    """Also the configuration itself, in the folder of the run."""
    out = tmp_path / "own"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_bytes(tiny().read_bytes())
    config = out / name if name == "config.yaml" else tiny()
    line = refused("fit", "--config", config, "--out", out)
    assert "--overwrite replaces" in line
    assert list(folder_contents(out).values()) == [tiny().read_bytes()]


@pytest.mark.parametrize("name", ["csv", "samples", "tensorboard"])
def test_a_file_in_place_of_a_folder_is_named_at_once(refused, tiny, tmp_path, name):
    (tmp_path / name).write_text("mine")
    line = refused("fit", "--config", tiny(), "--out", tmp_path, "--overwrite")
    assert f"{tmp_path / name} is a file, not a folder: move it" in line
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.slow
def test_a_run_that_was_killed_before_its_first_checkpoint_starts_again(hqdm, tiny, tmp_path):
    """Nothing is lost with its files, which are in its manifest; others are left alone."""
    out = tmp_path / "run"
    RunFiles(out).add(["config.yaml", "samples/step_0000001.png"])
    (out / "config.yaml").write_text("old")
    (out / "loss.png").write_text("mine")
    outcome = hqdm("fit", "--config", tiny(), "--out", out)
    assert (outcome.code, (out / "config.yaml").read_text()) == (2, "old")
    assert "already holds loss.png: --overwrite replaces" in outcome.err
    (out / "loss.png").unlink()
    assert hqdm("fit", "--config", tiny(), "--out", out).code == 0
    assert (out / "last.ckpt").exists()


@pytest.mark.slow
def test_resumed_run_leaves_files_that_it_did_not_write(trained, refused, tiny, tmp_path):
    out = shutil.copytree(trained, tmp_path / "run")
    (out / "my.png").write_text("mine")
    manifest = json.loads((out / ".hqdm-manifest.json").read_text())
    manifest["files"].remove("loss.png")
    (out / ".hqdm-manifest.json").write_text(json.dumps(manifest))
    line = refused("fit", "--config", tiny(), "--out", out, "--resume", out / "last.ckpt")
    assert f"{out} already holds loss.png: --overwrite" in line


@pytest.mark.parametrize("step", thinned([0, 2], every=3), ids=["first step", "later step"])
@pytest.mark.parametrize("error", [HQDMError("too high"), ZeroDivisionError()], ids=repr)
def test_run_is_kept_until_another_one_has_saved(trained, tiny, tmp_path, monkeypatch, step, error):
    out = shutil.copytree(trained, tmp_path / "run")
    before = folder_contents(out)
    original = DiffusionModule.training_step

    def fail(module, *args):
        if module.global_step == step:
            assert (out / "last.ckpt").read_bytes() == before[out / "last.ckpt"]
            raise error
        return original(module, *args)

    monkeypatch.setattr(DiffusionModule, "training_step", fail)
    with pytest.raises(type(error)):
        train(tiny(), out, "--overwrite")
    assert folder_contents(out) == before


def test_read_only_file_is_not_replaced(trained, refused, tiny, tmp_path):
    out = shutil.copytree(trained, tmp_path / "run")
    (out / "best.ckpt").chmod(0o444)
    before = folder_contents(out)
    for option in ("--overwrite", f"--resume={out / 'last.ckpt'}"):
        line = refused("fit", "--config", tiny(), "--out", out, option)
        assert "best.ckpt is read-only: make it writable" in line
    assert folder_contents(out) == before


@pytest.mark.parametrize("n", [slow(0), slow(2), 4, slow(6), slow(8)])
def test_full_disk_stops_the_run_and_leaves_a_checkpoint(
    trained, hqdm, tiny, tmp_path, monkeypatch, n
):
    """It fills while config.yaml, the manifest, last.ckpt or best.ckpt is written."""
    out = shutil.copytree(trained, tmp_path / "run")
    before = (out / "last.ckpt").read_bytes()
    written, sync = [], os.fsync

    def fill(file):
        written.append(file)
        if len(written) > n:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(file)

    monkeypatch.setattr(os, "fsync", fill)
    more = ("--resume", out / "last.ckpt", "--trainer.max_epochs", 4, "--checkpoint-every", 1)
    outcome = hqdm("fit", "--config", tiny(), "--out", out, *more)
    assert outcome.code == 2
    assert "(No space left on device)" in outcome.err.splitlines()[-1]
    assert "Traceback" not in outcome.err
    assert read_checkpoint(out / "last.ckpt").contents["global_step"] >= 6
    assert n > 0 or (out / "last.ckpt").read_bytes() == before
    assert not list(out.rglob("*.hqdm-part"))
    monkeypatch.undo()
    assert hqdm("fit", "--config", tiny(), "--out", out, *more).code == 0


def test_full_disk_of_the_logs_is_one_line(hqdm, tiny, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "metrics.csv")

    monkeypatch.setattr(CSVLogger, "save", fail)
    outcome = hqdm("fit", "--config", tiny(), "--out", tmp_path / "run")
    assert outcome.code == 2
    expected = "error: training stopped: No space left on device (metrics.csv): free space"
    assert outcome.err.splitlines()[-1].startswith(expected)


@pytest.mark.slow
def test_overwrite_does_not_delete_the_checkpoint_it_resumes(trained, tiny, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    best = tmp_path / "run" / "best.ckpt"
    config = tiny(trainer__max_epochs=3)
    state = train(config, tmp_path / "run", "--overwrite", "--resume", best)
    assert state.contents["global_step"] == 9


@pytest.mark.slow
def test_resumed_run_stays_in_its_folder(trained, tiny, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    config = tiny(trainer__max_epochs=3)
    TrainingCLI(["--config", str(config), "--resume", str(tmp_path / "run" / "last.ckpt")]).run()
    assert read_checkpoint(tmp_path / "run" / "last.ckpt").contents["global_step"] == 9
    assert {f.name for f in (tmp_path / "run" / "csv").iterdir()} == {"version_0", "version_1"}


@pytest.mark.slow
@pytest.mark.parametrize(("callback", "warned"), [slow("Stopwatch", False), ("Another", True)])
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_every_start_records_its_provenance(tiny, tmp_path):
    """A resumption adds an entry, a new run begins anew; a damaged file is no error."""
    config, out = tiny(trainer__max_epochs=1), tmp_path / "run"
    file = out / "provenance.json"

    def starts():
        found = json.loads(file.read_text())["starts"]
        assert all(set(start) == {"versions", "git", "host", "time"} for start in found)
        return found

    train(config, out)
    first = starts()
    assert len(first) == 1
    train(config, out, "--trainer.max_epochs", 2, "--resume", out / "last.ckpt")
    assert starts()[0] == first[0]
    assert len(starts()) == 2
    file.write_text("[")
    train(config, out, "--trainer.max_epochs", 3, "--resume", out / "last.ckpt")
    assert len(starts()) == 1
    train(config, out, "--overwrite")
    assert len(starts()) == 1


def test_a_users_file_of_that_name_is_kept(tiny, refused, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    (out / "provenance.json").write_text("mine")
    line = refused("fit", "--config", tiny(), "--out", out)
    assert "already holds provenance.json" in line
    assert (out / "provenance.json").read_text() == "mine"
