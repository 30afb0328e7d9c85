"""The Lightning module: average of the weights, gradient norms, random draws, processes."""

import os
import pickle
import subprocess
import sys
from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
from lightning import Callback, Trainer
from simulated_gpu import GPU, SimulatedGPU, on_gpu
from torch.optim.lr_scheduler import LinearLR
from torch.utils.data import DataLoader, TensorDataset

from hqdm.cli.commands.fit import TrainingCLI
from hqdm.data.images import load_images
from hqdm.data.module import ImageDataModule
from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.loading import load_denoiser
from hqdm.diffusion.schedule import CosineSchedule
from hqdm.generation.sampling import sample_images
from hqdm.nn.quantum_conv import Hybrid
from hqdm.nn.unet import QVUNet, UNet
from hqdm.samplers import DDIM
from hqdm.storage.checkpoint import read_checkpoint
from hqdm.training.module import DiffusionModule
from hqdm.utils.errors import HQDMError
from hqdm.utils.pictures import read_metric
from hqdm.utils.pixels import to_float
from hqdm.utils.seeds import generator

FOUR = Hybrid(channels_per_group=1, ansatz="HQConv", n_layers=1)


def denoiser():
    return Denoiser(UNet(size=8, dim=8, mults=(1, 2)), CosineSchedule())


class Watch(Callback):
    """Keeps weights, averages and gradients as they are during training."""

    def __init__(self):
        self.weights, self.averages, self.norms = [], [], []

    def on_before_optimizer_step(self, trainer, module, optimizer):
        squares = {"quantum": 0.0, "classical": 0.0}
        for name, p in module.denoiser.named_parameters():
            kind = "quantum" if name.endswith(".theta") else "classical"
            squares[kind] += float((p.grad.double() ** 2).sum())
        self.norms.append({kind: square**0.5 for kind, square in squares.items()})

    def on_train_batch_end(self, trainer, module, *_):
        self.weights.append(deepcopy(module.denoiser.state_dict()))
        self.averages.append(deepcopy(module.averaged.state_dict()))


@pytest.fixture
def watched(tiny, tmp_path):
    config = tiny(model__ema={"decay": 0.7, "every": 2, "start": 3}, trainer__max_epochs=3)
    cli = TrainingCLI(["--config", str(config), "--out", str(tmp_path / "run")])
    watch = Watch()
    cli.trainer.callbacks.insert(0, watch)
    cli.run()
    return watch, tmp_path / "run"


def test_average_follows_its_definition(watched):
    """A copy up to step 3; then, at steps 4, 6 and 8, 0.7 of itself and 0.3 of the weights."""
    watch, _ = watched
    assert len(watch.weights) == 9
    average = None
    for step, (weights, actual) in enumerate(zip(watch.weights, watch.averages, strict=True), 1):
        if step <= 3:
            average = {k: v.double() for k, v in weights.items()}
        elif step % 2 == 0:
            average = {k: 0.7 * average[k] + 0.3 * v.double() for k, v in weights.items()}
        for name, value in actual.items():
            # Three updates in float32, each with a relative rounding of 6e-8.
            torch.testing.assert_close(value.double(), average[name], rtol=1e-6, atol=1e-7)


@pytest.mark.slow
def test_gradient_norms_of_quantum_and_classical_parameters_are_logged_apart(watched):
    watch, out = watched
    for kind in ("quantum", "classical"):
        logged = read_metric(out / "csv", f"grad_norm/{kind}")
        expected = [norm[kind] for norm in watch.norms]
        assert min(expected) > 0
        # Sums of squares in float32 there, in float64 here.
        assert list(logged.values()) == pytest.approx(expected, rel=1e-5)


def test_gradient_norms_are_those_of_their_parameters_only(monkeypatch):
    hybrid = QVUNet(FOUR, size=8, dim=8, mults=(1, 2))
    module, logged = DiffusionModule(Denoiser(hybrid, CosineSchedule())), {}
    monkeypatch.setattr(module, "log", logged.__setitem__)
    squares = {"grad_norm/quantum": 0, "grad_norm/classical": 0}
    for name, p in module.denoiser.named_parameters():
        kind, size = ("quantum", 2.0) if name.endswith(".theta") else ("classical", 0.5)
        p.grad = torch.full_like(p, size)
        squares[f"grad_norm/{kind}"] += p.numel() * size**2
    module.on_before_optimizer_step(module.configure_optimizers())
    assert logged == pytest.approx({name: square**0.5 for name, square in squares.items()})


@pytest.mark.slow
def test_classical_network_logs_no_quantum_norm(tiny, tmp_path):
    config = tiny(model__network__hybrid={}, trainer__max_steps=1)
    TrainingCLI(["--config", str(config), "--out", str(tmp_path / "run")]).run()
    assert read_metric(tmp_path / "run" / "csv", "grad_norm/classical")
    assert not read_metric(tmp_path / "run" / "csv", "grad_norm/quantum")


@pytest.mark.slow
def test_all_labels_dropped_is_training_without_labels(tiny, tmp_path):
    """Label n_classes stands for "no label"; with a share of 1 no class is ever seen."""
    labels = {"data__labelled": True, "model__network__n_classes": 10}
    moved = {}
    for share in (0.0, 0.5, 1.0):
        config = tiny(**labels, model__label_dropout=share, trainer__max_epochs=1)
        cli = TrainingCLI(["--config", str(config), "--out", str(tmp_path / f"run_{share}")])
        table = next(
            m
            for m in cli.model.denoiser.network.embedding.modules()
            if isinstance(m, torch.nn.Embedding)
        )
        before = table.weight.detach().clone()
        cli.run()
        moved[share] = (table.weight != before).any(1)
    assert moved[0.0][:10].any()
    assert not moved[0.0][10]
    assert moved[0.5][:10].any()
    assert moved[0.5][10]
    assert not moved[1.0][:10].any()
    assert moved[1.0][10]


def test_validation_scores_the_averaged_weights(trained):
    """The last val_loss is the loss of the average, on the same noise at every validation."""
    test = load_images("digits", "test", limit=16)
    draws = generator(0, 0, 3)
    t, eps = 1 - torch.rand(16, generator=draws), torch.randn(16, 1, 8, 8, generator=draws)
    losses = {
        weights: load_denoiser(trained / "last.ckpt", weights)
        .loss(to_float(test.images), t=t, eps=eps)
        .item()
        for weights in ("averaged", "raw")
    }
    logged = list(read_metric(trained / "csv", "val_loss").values())[-1]
    assert logged == pytest.approx(losses["averaged"], rel=1e-6)
    assert logged != pytest.approx(losses["raw"], rel=1e-3)


@pytest.mark.slow
def test_a_step_does_not_wait_for_a_gpu(monkeypatch):
    """Except for the table of the time embedding, which it copies in each evaluation."""
    module = DiffusionModule(
        denoiser(), lr_scheduler=lambda o: LinearLR(o), ema_start=0, ema_every=1
    )
    optimizer = module.configure_optimizers()["optimizer"]
    one = SimpleNamespace(world_size=1, global_rank=0)
    monkeypatch.setattr(DiffusionModule, "trainer", one)
    logged = {}
    monkeypatch.setattr(module, "log", lambda name, value, **_: logged.update({name: value}))
    on_gpu(module)
    optimizer = torch.optim.Adam(module.denoiser.parameters())
    data = ImageDataModule("digits", size=8)
    with SimulatedGPU() as gpu:
        for step in (1, 2):
            batch = data.transfer_batch_to_device((torch.rand(4, 1, 8, 8), None), GPU, 0)
            loss = module.training_step(batch, step)
            loss.backward()
            module.on_before_optimizer_step(optimizer)
            optimizer.step()
            optimizer.zero_grad()
            module.ema.after_step(module.denoiser, step)
    assert gpu.waits == []
    assert {"train_loss", "grad_norm/classical", "lr"} == set(logged)
    assert all(isinstance(value, torch.Tensor) for value in logged.values())


def test_a_checkpoint_is_not_saved_after_a_loss_that_is_not_finite():
    module = DiffusionModule(denoiser())
    with SimulatedGPU():
        module._losses.add(on_gpu(torch.tensor(float("nan"))), 7, lambda: 0.1)
        with pytest.raises(HQDMError, match="the loss is nan at step 7"):
            module.on_save_checkpoint({})


@pytest.mark.slow
def test_module_copies_and_pickles():
    module = DiffusionModule(denoiser(), ema_decay=0.9)
    for other in (deepcopy(module), pickle.loads(pickle.dumps(module))):
        for name, value in module.state_dict().items():
            assert torch.equal(other.state_dict()[name], value)


def test_average_is_saved_but_not_trained():
    module = DiffusionModule(denoiser())
    trained = {
        id(p) for group in module.configure_optimizers().param_groups for p in group["params"]
    }
    assert trained == {id(p) for p in module.denoiser.parameters()}
    assert not any(p.requires_grad for p in module.ema.parameters())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lr": 0}, "lr needs a positive number, got 0"),
        ({"lr": float("nan")}, "lr needs a finite number, got nan"),
        ({"lr": "fast"}, "lr needs a finite number, got 'fast'"),
        ({"betas": (0.9, 1.0)}, r"betas needs two numbers in \[0, 1\), got \(0.9, 1.0\)"),
        ({"betas": (0.9,)}, "betas needs two numbers in"),
        ({"betas": 0.9}, "betas needs two numbers in"),
        ({"betas": ("a", "b")}, "betas needs a finite number, got 'a'"),
        ({"seed": -1}, "seed needs a whole number from 0, got -1"),
        ({"ema_decay": 1.0}, "ema_decay needs a number in"),
        ({"ema_every": 0}, "ema_every needs a whole number from 1, got 0"),
        ({"ema_start": -1}, "ema_start needs a whole number from 0, got -1"),
        ({"label_dropout": 1.5}, "label_dropout needs a fraction in"),
    ],
)
def test_numbers_out_of_range_are_named(options, said):
    with pytest.raises(HQDMError, match=said):
        DiffusionModule(denoiser(), **options)


@pytest.mark.slow  # processes
def test_two_processes_train_like_one(hqdm, tiny, tmp_path, repository):
    config = tiny(data__flip=True, data__labelled=True, model__network__n_classes=10)
    # In float32 Adam makes steps of the gradients that are nothing but rounding, such as those of a
    # bias before a normalisation.
    double = ("--trainer.precision", "64-true")
    assert hqdm("fit", "--config", config, "--out", tmp_path / "one", *double).code == 0
    process = subprocess.run(
        [
            *(sys.executable, repository / "train.py", "fit", "--config", config),
            *("--out", tmp_path / "two", "--trainer.strategy", "ddp", "--trainer.devices", "2"),
            *double,
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=240,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    # One process speaks and writes.
    assert process.stderr.splitlines() == [
        f"training from scratch; into {tmp_path / 'two'}",
        f"wrote {tmp_path / 'two' / 'last.ckpt'}",
    ]
    assert [f.name for f in (tmp_path / "two" / "csv").iterdir()] == ["version_0"]
    # The mean over two halves is the mean over the whole up to the order of a sum: 1e-16, which six
    # steps of Adam (eps = 1e-8) magnify at most 1e8 times its lr. Losses are logged in float32.
    for name in ("train_loss", "val_loss"):
        one, two = (read_metric(tmp_path / run / "csv", name) for run in ("one", "two"))
        assert one.keys() == two.keys()
        assert list(two.values()) == pytest.approx(list(one.values()), rel=1e-6)
    one, two = (read_checkpoint(tmp_path / run / "last.ckpt").contents for run in ("one", "two"))
    assert one["global_step"] == two["global_step"]
    assert one["hqdm"] == two["hqdm"]
    for name, value in one["state_dict"].items():
        torch.testing.assert_close(two["state_dict"][name], value, rtol=0, atol=1e-9)


@pytest.fixture
def quiet(tmp_path):
    """The options of a trainer that writes nothing."""
    return {
        "max_epochs": 2,
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": tmp_path,
    }


def test_a_checkpoint_gives_the_module_back(trained):
    module = DiffusionModule.load_from_checkpoint(trained / "last.ckpt", seed=3)
    state = read_checkpoint(trained / "last.ckpt").tensors
    assert module.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())
    assert (module.ema.decay, module.ema.every, module.ema.start) == (0.5, 2, 2)
    assert (module.lr, module.seed, module.batches_seen) == (1e-3, 3, 6)
    power = DiffusionModule.load_from_checkpoint(trained / "last.ckpt", ema_sigma_rel=0.1)
    assert (power.ema.decay, power.options["ema_sigma_rel"]) == (None, 0.1)
    other = DiffusionModule.load_from_checkpoint(trained / "last.ckpt", optimizer=torch.optim.SGD)
    assert type(other.configure_optimizers()) is torch.optim.SGD
    with pytest.raises(HQDMError, match="unknown option of load_from_checkpoint 'rate'"):
        DiffusionModule.load_from_checkpoint(trained / "last.ckpt", rate=1)
    with pytest.raises(HQDMError, match="device 'xx' is not available"):
        DiffusionModule.load_from_checkpoint(trained / "last.ckpt", map_location="xx")
    on = DiffusionModule.load_from_checkpoint(trained / "last.ckpt", map_location="cpu")
    assert on.denoiser.training  # ready to be trained on
    with pytest.raises(HQDMError, match="weights_only=True"):
        DiffusionModule.load_from_checkpoint(trained / "last.ckpt", weights_only=False)


@pytest.mark.slow
def test_a_trainer_tests_and_predicts(quiet):
    data = ImageDataModule("digits", batch_size=16, limit=32, val_limit=24)
    module = DiffusionModule(denoiser())
    module.sampler = DDIM(2)
    trainer = Trainer(**quiet)
    trainer.fit(module, data)
    (validated,) = trainer.validate(module, data, verbose=False)
    (tested,) = trainer.test(module, data, verbose=False)
    assert tested["test_loss"] == pytest.approx(validated["val_loss"])
    predicted = torch.cat(trainer.predict(module, data))
    assert predicted.shape == (24, 1, 8, 8)
    # Batches of 16 and 8 images: the samples 0 to 23 of `sample_images`.
    expected = sample_images(module.averaged, DDIM(2), 24).images
    # In other batches, hence other roundings, which 1 / alpha_1 = 400 magnifies.
    torch.testing.assert_close(predicted, expected, rtol=0, atol=1e-3)


@pytest.mark.slow
def test_any_loader_of_images_trains(quiet):
    """Bare tensors, labelled pairs for an unconditional network; classes need labels."""
    images = torch.rand(32, 1, 8, 8) * 2 - 1
    bare = DataLoader(images, batch_size=16)
    pairs = DataLoader(TensorDataset(images, torch.arange(32) % 10), batch_size=16)
    losses = []
    for loader in (bare, pairs):
        torch.manual_seed(0)
        module = DiffusionModule(denoiser())
        trainer = Trainer(**quiet)
        trainer.fit(module, loader, loader)
        losses.append(float(trainer.callback_metrics["val_loss"]))
    assert losses[0] == losses[1]
    conditional = Denoiser(UNet(size=8, dim=8, mults=(1, 2), n_classes=10), CosineSchedule())
    Trainer(**quiet).fit(DiffusionModule(conditional), pairs)
    with pytest.raises(HQDMError, match="takes labels .* but the batches have none"):
        Trainer(**quiet).fit(DiffusionModule(conditional), bare)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0, 3], "labels 0 to 3 in a batch for a network of 3 classes: expected 0 to 2"),
        ([-1, 2], "labels -1 to 2 in a batch"),
        ([0.0, 1.0], "labels of type torch.float32: expected whole numbers"),
    ],
)
def test_labels_that_the_network_does_not_have_are_refused(quiet, labels, said):
    """Label n_classes would silently mean "no label"."""
    network = UNet(channels=1, size=8, dim=4, mults=(1, 2), heads=1, head_dim=4, n_classes=3)
    module = DiffusionModule(Denoiser(network, CosineSchedule()))
    batches = DataLoader(TensorDataset(torch.zeros(2, 1, 8, 8), torch.tensor(labels)), batch_size=2)
    with pytest.raises(HQDMError, match=f"^{said}"):
        Trainer(**quiet).fit(module, batches)


@pytest.mark.parametrize("control", [None, "frozen"])
@pytest.mark.parametrize("schedule", [None, lambda optimizer: LinearLR(optimizer, 0.5)])
def test_angles_have_a_learning_rate_of_their_own(quiet, schedule, control):
    """The first step of Adam has the length of the learning rate for every number."""
    torch.manual_seed(0)
    hybrid = Hybrid(1, 1, "HQConv", 1, control=control)
    network = UNet(size=4, dim=4, mults=(1,), heads=1, head_dim=4, hybrid={"encoder.0": hybrid})
    denoiser = Denoiser(network, CosineSchedule())
    given = 20 if control is None else 1  # another one is refused without trained angles
    module = DiffusionModule(denoiser, lr=1e-3, angle_lr_factor=given, lr_scheduler=schedule)
    assert module.options.get("angle_lr_factor", 1) == given
    before = {name: p.detach().clone() for name, p in denoiser.named_parameters()}
    Trainer(max_steps=1, **quiet).fit(module, DataLoader(torch.randn(4, 1, 4, 4), 4))
    start = 1e-3 if schedule is None else 5e-4
    # Not of biases before a normalisation: their gradients are rounding errors.
    for name, p in denoiser.named_parameters():
        factor = 1 if not name.endswith("theta") else 20 if control is None else 0
        if name.endswith(("theta", "weight")):
            moved = (p - before[name]).abs().max().item()
            assert moved == pytest.approx(start * factor, rel=0.01), name


@pytest.mark.parametrize("hybrid", [{}, {"encoder.0": Hybrid(1, 1, "HQConv", 1, control="frozen")}])
def test_a_learning_rate_of_angles_needs_trained_angles(hybrid):
    network = UNet(size=4, dim=4, mults=(1,), heads=1, head_dim=4, hybrid=hybrid)
    module = DiffusionModule(Denoiser(network, CosineSchedule()), angle_lr_factor=10)
    with pytest.raises(HQDMError, match="angle_lr_factor is 10, but the model trains no angles of"):
        module.build_optimizer()


@pytest.mark.slow
def test_a_learning_rate_of_frozen_angles_is_refused_before_the_training(refused, tmp_path):
    """With `--freeze`; the first name of the option is not known."""
    fit = ("fit", "--config", "digits_qvunet", "--out", tmp_path / "run", "--trainer.max_steps", 1)
    line = refused(*fit, "--model.angle_lr_factor", 10, "--freeze", "encoder,vertex")
    assert "angle_lr_factor is 10, but the model trains no angles of circuits: leave it out" in line
    line = refused(*fit, "--config", '{"model": {"angle_lr": 10.0}}')
    assert "unknown key model.angle_lr: did you mean model.angle_lr_factor?" in line


def test_there_is_one_group_of_parameters_by_default():
    module = DiffusionModule(Denoiser(QVUNet(FOUR, size=8, dim=8, mults=(1, 2)), CosineSchedule()))
    assert len(module.build_optimizer()[0].param_groups) == 1
    assert "angle_lr_factor" not in module.options
    with pytest.raises(HQDMError, match="angle_lr_factor needs a positive number, got 0"):
        DiffusionModule(denoiser(), angle_lr_factor=0)


@pytest.mark.slow
def test_a_model_with_nothing_to_train_runs_through(quiet, tmp_path):
    """As some controls are: its weights stay, its steps count, its checkpoint gives it back."""
    module = DiffusionModule(denoiser().requires_grad_(False), lr=1.0)
    before = deepcopy(module.denoiser.state_dict())
    trainer = Trainer(**quiet)
    trainer.fit(module, DataLoader(torch.randn(12, 1, 8, 8), 4))
    assert trainer.global_step == module.batches_seen >= 3
    for name, tensor in module.denoiser.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    path = tmp_path / "last.ckpt"
    trainer.save_checkpoint(path)
    assert DiffusionModule.load_from_checkpoint(path).batches_seen == module.batches_seen


def test_a_loss_without_the_parameters_that_are_trained_is_an_error(quiet, monkeypatch):
    module = DiffusionModule(denoiser())
    monkeypatch.setattr(module.denoiser, "loss", lambda *_, **__: torch.tensor(1.0))
    with pytest.raises(RuntimeError, match="does not require grad"):
        Trainer(max_steps=1, **quiet).fit(module, DataLoader(torch.randn(4, 1, 8, 8), 4))
