"""Configurations: what is wrong is named in one line, before anything is written."""

import pytest
from marks import thinned

from hqdm.cli.commands.fit import TrainingCLI
from hqdm.cli.main import main

WRONG = [
    ({"model__network__dimm": 8}, "unknown key model.network.dimm: did you mean model.network.dim"),
    ({"modell": 1}, "unknown key modell: did you mean model?"),
    ({"lr": 1}, "unknown key lr: did you mean model.lr?"),
    ({"trainer__max_epoch": 1}, "unknown key trainer.max_epoch: did you mean trainer.max_epochs"),
    (
        {"model__network__hybrid__vertex__ansatzz": "HQConv"},
        "model.network.hybrid: unknown key ansatzz: did you mean ansatz?",
    ),
    ({"model__network__hybrid__vertexx": {}}, "no part 'vertexx' can be hybrid: expected one of"),
    ({"model__network__dim": "wide"}, "model.network.dim: expected a whole number, got wide"),
    ({"model__lr": "fast"}, "model.lr: expected a number or null, got fast"),
    ({"model__lr": -1.0}, "lr needs a positive number, got -1.0"),
    (
        {"model__optimizer": {"class_path": "torch.optim.Nope"}},
        "model.optimizer: module 'torch.optim' has no attribute 'Nope'",
    ),
    (
        {"model__lr_scheduler": {"class_path": "hqdm.WarmupCosine"}},
        "model.lr_scheduler: the following arguments are required: warmup, total: expected class_p",
    ),
    ({"data__batch_size": 2.5}, "data.batch_size: expected a whole number, got 2.5"),
    ({"data__flip": 3}, "data.flip: expected true or false, got 3"),
    ({"model__network__mults": 3}, "model.network.mults: expected a list, got 3"),
    ({"model__network": 3}, "model.network: expected keys with values"),
    ({"model__network__hybrid": [1]}, "model.network.hybrid: expected keys with values, got [1]"),
    (
        {"model__network__hybrid": {"vertex": 3}},
        "model.network.hybrid: expected the keys of a hybrid part, such as groups and ansatz",
    ),
    (
        {"model__network__hybrid__vertex__shift": float("inf")},
        "shift needs a finite number, got inf",
    ),
    ({"data": None}, "data: expected keys with values"),
    ({"model__predict": "noise"}, "unknown objective 'noise': expected one of edm, eps"),
    ({"trainer__max_epochs": "x"}, "trainer.max_epochs: expected a whole number or null, got x"),
    ({"trainer__devices": 0}, "trainer: `Trainer(devices=0)` value is not a valid input"),
    ({"trainer__accelerator": "abacus"}, "trainer: You selected an invalid accelerator name"),
    ({"trainer__max_epochs": -5}, "trainer: `max_epochs` must be a non-negative integer or -1"),
    ({"seed_everything": -1}, "expected a whole number from 0 to 4294967295, got -1"),
    ({"seed_everything": True}, "expected a whole number from 0 to 4294967295, got True"),
    ({"seed_everything": 2**32}, "expected a whole number from 0 to 4294967295, got 4294967296"),
    ({"overwrite": "maybe"}, "overwrite: expected true or false, got maybe"),
    ({"checkpoint_every": 0}, "checkpoint_every: expected a whole number from 1, got 0"),
    ({"sample_every": -1}, "sample_every: expected a whole number from 0, got -1"),
    (
        {"model__network__hybrid__vertex__ansatz": "HQCon"},
        "unknown ansatz 'HQCon': expected one of",
    ),
    (
        {"model__network__hybrid__vertex__simulator": "nosuch"},
        "unknown simulator 'nosuch': expected one of",
    ),
    ({"model__schedule": "cosin"}, "unknown schedule 'cosin': expected one of cosine, linear"),
    ({"data__name": "nosuch", "offline": True}, "the cache of the hub (offline)"),
    (
        {"model__network__hybrid__vertex": {"groups": 6, "channels_per_group": 3}},
        "groups=6 take 18 channels in and out, got 16 -> 16",
    ),
    ({"model__network__mults": [1] * 6}, "images of size 8 cannot be downsampled 5 times"),
    ({"data__batch_size": 100}, "48 training images, fewer than batch_size 100"),
    ({"data__channels": 2}, "channels=2: expected 1 (grey), 3 (RGB)"),
    ({"model__ema__decay": 2}, "ema_decay needs a number in [0, 1), got 2"),
    (
        {"model__weight": "min_snr", "model__p2_gamma": 0.5},
        "model.p2_gamma is an option of the weight p2, got weight: min_snr: leave it out",
    ),
    ({"model__weight": "uniform", "model__p2_k": 2.0}, "model.p2_k is an option of the weight p2"),
    ({"model__min_snr_gamma": 3.0}, "model.min_snr_gamma is an option of the weight min_snr"),
    (
        {"data__offline": True},
        "data.offline is True, but it follows offline, which is False: set offline only",
    ),
    ({"model__seed": 3}, "model.seed is 3, but it follows seed_everything, which is 0: set seed_"),
    ({"data__seed": 3}, "data.seed is 3, but it follows seed_everything, which is 0: set seed_"),
    (
        {"model__network__size": 16},
        "model.network.size is 16, but it follows data.size, which is 8: set data.size only",
    ),
    (
        {"model__network__channels": 3},
        "model.network.channels is 3, but it follows data.channels, which is 1: set data.channels",
    ),
    ({"model__predict": "edm", "model__predict_options": {"sigma": 1.0}}, "unknown option of the"),
]


@pytest.mark.parametrize(
    ("changes", "said"), thinned(WRONG, every=6), ids=[said[:50] for _, said in WRONG]
)
def test_mistakes_in_the_configuration_are_named(refused, tiny, tmp_path, changes, said):
    line = refused("fit", "--config", tiny(**changes), "--out", tmp_path / "run")
    assert line.startswith("error: ")
    assert said in line
    assert len(line) < 400
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model: {network: [\n", "Problems parsing config"),
        ("model:\n\tlr: 3\n", "line 2, column 1"),
        ("", "holds no keys"),
        ("- 1\n- 2\n", "holds no keys"),
        ("\x00\x01", "Problems parsing config"),
    ],
    ids=["unclosed", "tab", "empty", "list", "binary"],
)
def test_broken_files_are_named(refused, tmp_path, text, said):
    (tmp_path / "broken.yaml").write_text(text)
    assert said in refused("fit", "--config", tmp_path / "broken.yaml", "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_missing_file_and_mistyped_options_are_named(refused, tiny, tmp_path):
    assert "File does not exist" in refused("fit", "--config", tmp_path / "nosuch.yaml")
    assert "did you mean --trainer.max_epochs" in refused("fit", "--trainr.max_epochs", 3)
    config = tiny()
    assert "unknown option 3" in refused("fit", "--config", config, 3)
    line = refused("fit", "--config", config, "--freeze", "nosuch", "--out", tmp_path / "run")
    assert "unknown part of the network 'nosuch'" in line
    assert not (tmp_path / "run").exists()


def test_followers_that_agree_are_accepted(tiny):
    """Also where a part of the configuration is a file of its own."""
    config = tiny(model__network__size=8, data__offline=False, data__size=8, model__seed=0)
    assert TrainingCLI(["--config", str(config)]).model.denoiser.image_shape == (1, 8, 8)


@pytest.mark.parametrize("flag", ["--data={seed: 3}", "--data", "--model", "--model.network"])
def test_followers_in_parts_of_the_configuration_are_found(refused, tiny, tmp_path, flag):
    part = tmp_path / "part.yaml"
    part.write_text({"--data": "offline: true", "--model.network": "size: 9"}.get(flag, "seed: 3"))
    given = (flag,) if "=" in flag else (flag, part)
    line = refused("fit", "--config", tiny(), *given, "--out", tmp_path / "run")
    assert ", but it follows " in line


@pytest.mark.slow
def test_the_defaults_of_other_weights_are_those_of_a_saved_configuration(hqdm, tiny, tmp_path):
    out = tmp_path / "run"
    config = tiny(model__weight="min_snr", trainer__max_epochs=1)
    assert hqdm("fit", "--config", config, "--out", out).code == 0
    assert "p2_gamma: 1.0" in (out / "config.yaml").read_text()
    more = ("--resume", out / "last.ckpt", "--trainer.max_epochs", 2)
    assert hqdm("fit", "--config", out / "config.yaml", "--out", out, *more).code == 0


def test_output_below_a_file_is_refused(refused, tiny, tmp_path):
    line = refused("fit", "--config", tiny(), "--out", tiny() / "run")
    assert "cannot write to" in line
    assert "--out" in line


def test_help_lists_the_keys(capsys):
    with pytest.raises(SystemExit) as left:
        main(["fit", "--help"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    for key in ("--model.network.dim", "--data.batch_size", "--resume", "--freeze", "--overwrite"):
        assert key in text
    assert "--optimizer" not in text


@pytest.mark.slow
def test_folder_follows_the_configuration(hqdm, tiny, tmp_path, monkeypatch):
    """Without --out, a run goes to runs/ under the name of its configuration."""
    monkeypatch.chdir(tmp_path)
    assert hqdm("fit", "--config", tiny(), "--trainer.max_steps", 1).code == 0
    assert (tmp_path / "runs" / "tiny" / "last.ckpt").exists()


@pytest.mark.parametrize(
    "changes",
    thinned(
        [
            {"trainer__logger": False},
            {"trainer__limit_val_batches": 0},
            {"trainer__max_steps": 0},
            {"trainer__max_time": "00:00:00:00"},
        ],
        every=4,
    ),
    ids=["no logs", "no validation", "no steps", "no time"],
)
def test_unusual_runs_leave_a_checkpoint_and_say_nothing_more(hqdm, tiny, tmp_path, changes):
    outcome = hqdm("fit", "--config", tiny(**changes), "--out", tmp_path / "run")
    assert outcome.code == 0
    assert outcome.err.splitlines() == [
        f"training from scratch; into {tmp_path / 'run'}",
        f"wrote {tmp_path / 'run' / 'last.ckpt'}",
    ]
    assert (tmp_path / "run" / "last.ckpt").exists()


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--model.ema", "{decay: 0.5, decay: 0.9}"),
        ("--model.network.hybrid", "{vertex: {groups: 1, groups: 2}}"),
        ("--trainer.callbacks", "[{class_path: a.B, class_path: c.D}]"),
        ("--model.schedule_options", '{"s": 0.1, "s": 0.2}'),
    ],
)
def test_a_key_that_stands_twice_in_any_option_is_refused(refused, tiny, tmp_path, flag, value):
    for words in ((flag, value), (f"{flag}={value}",)):
        line = refused("fit", "--config", tiny(), "--out", tmp_path / "out", *words)
        assert f"{flag} has the key" in line
        assert "twice" in line
