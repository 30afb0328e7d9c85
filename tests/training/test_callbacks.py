"""Callbacks: leaving when told to, surviving when killed, sample grids, the loss curve."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from marks import slow
from networks import Toy
from PIL import Image

from hqdm.data.module import ImageDataModule
from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.schedule import CosineSchedule
from hqdm.generation.sampling import sample_images
from hqdm.samplers import DDIM
from hqdm.storage.checkpoint import read_checkpoint
from hqdm.training import callbacks
from hqdm.training.callbacks import LastCheckpoint, SampleGrid, WholeCheckpoints
from hqdm.training.module import DiffusionModule
from hqdm.utils.errors import Interrupted


def kill_self_once(monkeypatch, target, name, signum):
    """Send a signal to this process at the first call of a method."""
    original = getattr(target, name)
    sent = []

    def wrapped(*args, **kwargs):
        if not sent:
            sent.append(os.kill(os.getpid(), signum))
        return original(*args, **kwargs)

    monkeypatch.setattr(target, name, wrapped)


TERM, INT = (signal.SIGTERM, 143), (signal.SIGINT, 130)
TRAINING = (DiffusionModule, "training_step", 1)
FIRST = (DiffusionModule, "validation_step", 1)
SAMPLING = (SampleGrid, "draw", 3)
END_OF_FIRST = (DiffusionModule, "on_validation_epoch_end", 1)


@pytest.mark.parametrize(
    ("target", "name", "step", "signum", "code"),
    [
        pytest.param(*TRAINING, *TERM, id="training, SIGTERM"),
        slow(*TRAINING, *INT, id="training, SIGINT"),
        slow(*FIRST, *TERM, id="first validation, SIGTERM"),
        slow(*FIRST, *INT, id="first validation, SIGINT"),
        slow(*SAMPLING, *TERM, id="sampling, SIGTERM"),
        slow(*SAMPLING, *INT, id="sampling, SIGINT"),
        slow(*END_OF_FIRST, *TERM, id="end of first validation, SIGTERM"),
        slow(*END_OF_FIRST, *INT, id="end of first validation, SIGINT"),
    ],
)
def test_signal_saves_and_leaves(
    monkeypatch, hqdm, tiny, same_run, tmp_path, trained, target, name, step, signum, code
):
    out, handler = tmp_path / "run", signal.getsignal(signum)
    config = tiny(sample_every=1)
    with monkeypatch.context() as patch:
        kill_self_once(patch, target, name, signum)
        outcome = hqdm("fit", "--config", config, "--out", out)
    assert outcome.code == code
    last = out / "last.ckpt"
    stopped = f"stopped by {signal.Signals(signum).name}"
    expected = f"{stopped}: saved {last}; continue with --resume {last}"
    assert outcome.err.splitlines()[1:] == [expected]
    assert read_checkpoint(last).contents["global_step"] == step
    assert signal.getsignal(signum) == handler

    assert hqdm("fit", "--config", config, "--resume", last).code == 0
    same_run(read_checkpoint(last), read_checkpoint(trained / "last.ckpt"))


class Normalised(Toy):
    """Batch normalisation only."""

    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm2d(1)

    def forward(self, x, t, y=None):
        return self.norm(x)


def test_sample_grids_are_drawn_in_evaluation_mode(tmp_path):
    """The statistics of normalisations are those of training, and stay so."""
    module = DiffusionModule(Denoiser(Normalised(), CosineSchedule())).train()
    norm = module.averaged.network.norm
    norm.running_mean.fill_(0.3)
    samples = SampleGrid(tmp_path, n=4, steps=2).draw(module)
    assert norm.running_mean.tolist() == [pytest.approx(0.3)]
    assert norm.training
    expected = sample_images(module.averaged.eval(), DDIM(2), 4)
    assert torch.equal(samples.images, expected.images)


def test_interrupt_before_training_is_one_word(monkeypatch, hqdm, tiny, tmp_path):
    kill_self_once(monkeypatch, ImageDataModule, "_load", signal.SIGINT)
    # That of Python, which a shell's background processes do not have.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        outcome = hqdm("fit", "--config", tiny(), "--out", tmp_path / "run")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (outcome.code, outcome.err) == (130, "stopped\n")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_stop_after_a_validation_within_an_epoch_is_saved(hqdm, tiny, tmp_path):
    """No batch follows at whose end it would be."""
    stop = {
        "class_path": "lightning.pytorch.callbacks.EarlyStopping",
        "init_args": {"monitor": "val_loss", "stopping_threshold": 1e9, "verbose": False},
    }
    changes = {"trainer__val_check_interval": 2, "trainer__callbacks": [stop]}
    config = tiny(**changes, data__limit=160, trainer__min_epochs=0, checkpoint_every=1000)
    assert hqdm("fit", "--config", config, "--out", tmp_path / "run").code == 0
    assert read_checkpoint(tmp_path / "run" / "last.ckpt").contents["global_step"] == 2


def test_the_end_of_an_epoch_is_saved_with_its_validation(tmp_path):
    """Also if the step itself has been, before the validation."""
    saved = []

    class FakeTrainer:
        is_global_zero, loggers, global_step, is_last_batch = True, (), 7, True
        should_stop, max_epochs, max_steps = True, -1, -1
        strategy = SimpleNamespace(reduce_boolean_decision=lambda value, all: value)

        def save_checkpoint(self, path):
            saved.append(path)
            path.write_bytes(b"")

    callback = LastCheckpoint(tmp_path / "last.ckpt", 5)
    for last, expected in ((True, 1), (True, 2), (False, 2)):
        FakeTrainer.is_last_batch = last
        callback.on_train_epoch_end(FakeTrainer(), None)
        assert len(saved) == expected


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ({}, [1, 4, 6]),
        ({"max_epochs": 6}, [1, 4, 6]),
        ({"max_epochs": 5}, [1, 4, 5, 6]),
        ({"max_steps": 15}, [1, 4, 5, 6]),
        ({"should_stop": True}, [1, 2, 3, 4, 5, 6]),
    ],
)
def test_short_epochs_share_a_checkpoint(tmp_path, monkeypatch, ends, expected):
    """Of 0.8 s each; the first one, one in 2 s and the last one are saved."""
    saved, clock = [], 0.0

    class FakeTrainer:
        is_global_zero, loggers, is_last_batch = True, (), True
        should_stop, max_epochs, max_steps = False, -1, -1
        strategy = SimpleNamespace(reduce_boolean_decision=lambda value, all: value)

        def save_checkpoint(self, path):
            saved.append(self.current_epoch + 1)

    for name, value in ends.items():
        setattr(FakeTrainer, name, value)
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: clock)
    callback, trainer = LastCheckpoint(tmp_path / "last.ckpt", 100), FakeTrainer()
    for trainer.current_epoch in range(6):
        clock += 0.8
        trainer.global_step = 3 * (trainer.current_epoch + 1)
        if trainer.current_epoch == 5:
            callback._handle(signal.SIGINT, None)
            with pytest.raises(Interrupted):
                callback.on_train_epoch_end(trainer, None)
        else:
            callback.on_train_epoch_end(trainer, None)
    assert saved == expected


class Script:
    """`train.py fit` in a process of its own."""

    def __init__(self, repository, *args):
        # As many threads as here, since sums depend on it.
        env = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
        self.process = subprocess.Popen(
            [sys.executable, repository / "train.py", "fit", *map(str, args)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=env,
        )

    def wait_for(self, file):
        deadline = time.monotonic() + 120
        while not file.exists():
            assert self.process.poll() is None, self.process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def end(self, signum):
        self.process.send_signal(signum)
        _, err = self.process.communicate(timeout=60)
        return self.process.returncode, err


# Ten steps an epoch; a checkpoint at every third step and at each epoch's end.
LONG = {"data__limit": 160, "checkpoint_every": 3, "trainer__max_epochs": 1000}


@pytest.mark.slow
def test_killed_run_resumes_bit_for_bit(hqdm, tiny, same_run, tmp_path, repository):
    out = tmp_path / "run"
    script = Script(repository, "--config", tiny(**LONG), "--out", out)
    script.wait_for(out / "last.ckpt")
    time.sleep(0.3)  # any later moment, in any step
    assert script.end(signal.SIGKILL)[0] == -signal.SIGKILL
    killed_at = read_checkpoint(out / "last.ckpt").contents["global_step"]
    args = ("fit", "--config", tiny(**LONG), "--trainer.max_steps", killed_at + 2)
    assert hqdm(*args, "--resume", out / "last.ckpt").code == 0
    assert hqdm(*args, "--out", tmp_path / "whole").code == 0
    same_run(read_checkpoint(out / "last.ckpt"), read_checkpoint(tmp_path / "whole" / "last.ckpt"))


@pytest.mark.slow
def test_second_run_in_a_folder_is_refused(tiny, refused, hqdm, tmp_path, repository):
    """Two real processes; the folder is free again after a kill."""
    out = tmp_path / "run"
    script = Script(repository, "--config", tiny(**LONG), "--out", out)
    script.wait_for(out / "last.ckpt")
    for options in (("--overwrite",), ("--resume", out / "last.ckpt")):
        line = refused("fit", "--config", tiny(**LONG), "--out", out, *options)
        assert f"{out} is in use by process {script.process.pid} on " in line
    sample = ("sample", "--checkpoint", out / "last.ckpt", "--n", 1, "--steps", 1, "--out", out)
    assert "is in use by process" in refused(*sample)
    script.end(signal.SIGKILL)
    assert hqdm(*sample).code == 0


@pytest.mark.slow  # processes
def test_killed_run_that_replaces_another_one_is_undone(
    tiny, refused, trained, tmp_path, repository
):
    """Killed in its first steps, before a checkpoint; the old one can be used all the time."""
    out = shutil.copytree(trained, tmp_path / "run")
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    config = tiny(**{**LONG, "checkpoint_every": 10**6, "trainer__check_val_every_n_epoch": 10**6})
    script = Script(repository, "--config", config, "--out", out, "--overwrite")
    script.wait_for(out / ".hqdm-previous")
    script.wait_for(out / "csv" / "version_0")
    for name in ("last.ckpt", "config.yaml"):
        assert (out / name).read_bytes() == before[out / name]
    script.end(signal.SIGKILL)
    assert "already holds a run" in refused("fit", "--config", config, "--out", out)
    after = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    foreign = {file for file in after if "tensorboard" in str(file)} - set(before)
    assert {file: data for file, data in after.items() if file not in foreign} == before


@pytest.mark.slow  # processes
def test_terminated_script_says_how_to_go_on(tiny, tmp_path, repository):
    out = tmp_path / "run"
    script = Script(repository, "--config", tiny(**LONG), "--out", out)
    script.wait_for(out / "last.ckpt")
    code, err = script.end(signal.SIGTERM)
    assert code == 143
    assert err.splitlines()[-1].endswith(f"continue with --resume {out / 'last.ckpt'}")
    assert "Traceback" not in err


def test_save_leaves_no_moment_without_a_whole_checkpoint(tmp_path, monkeypatch):
    """The bytes go to another file first; a user's files beside it are left alone."""
    seen = []

    class FakeTrainer:
        is_global_zero, loggers, global_step = True, (), 7

        def save_checkpoint(self, path):
            WholeCheckpoints().save_checkpoint({"w": torch.ones(1000)}, path)

    def rename(part, target):
        seen.append((torch.load(part)["w"].sum().item(), Path(target).read_bytes()))
        os.replace(part, target)

    monkeypatch.setattr(Path, "replace", rename)
    (tmp_path / "last.ckpt").write_bytes(b"old")
    (tmp_path / "last.part").write_bytes(b"of a user")
    LastCheckpoint(tmp_path / "last.ckpt", 5)._save(FakeTrainer())
    assert seen == [(1000, b"old")]
    assert {f.name for f in tmp_path.iterdir()} == {"last.ckpt", "last.part"}
    assert (tmp_path / "last.part").read_bytes() == b"of a user"
    assert torch.load(tmp_path / "last.ckpt")["w"].sum() == 1000


def test_sample_grids_come_from_the_same_noise(trained_classes):
    """Sixteen 8x8 images of ten classes: two of the first six, in ten named rows."""
    pictures = sorted((trained_classes / "samples").iterdir())
    assert [p.name for p in pictures] == ["step_0000003.png", "step_0000006.png"]
    with Image.open(pictures[0]) as picture:
        factor = picture.height // (10 * 9)
        left = picture.width - factor * 2 * 9
        assert picture.height == factor * 10 * 9
        assert 0 < left < picture.width
        second = np.asarray(picture)[:, left + factor * 9 :]
        drawn = [bool(row.any()) for row in np.split(second, 10)]
        assert drawn == [True] * 6 + [False] * 4
