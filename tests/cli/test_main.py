"""The command line: every command, what it prints, and what it refuses."""

import errno
import json
import math
import os
import sys
import warnings
from itertools import combinations
from subprocess import run

import numpy as np
import pytest
import torch
from marks import slow, thinned
from PIL import Image
from safetensors.torch import load_file

from hqdm import __version__
from hqdm.cli import main as cli
from hqdm.diffusion.loading import SHIPPED, load_denoiser
from hqdm.storage.claims import LOCK_FILE, hold, lock_of


@pytest.fixture
def last(trained):
    return trained / "last.ckpt"


def images(folder):
    return load_file(folder / "images.safetensors")["images"]


def test_without_a_command_it_shows_the_commands(hqdm):
    for args in ((), ("--help",), ("-h",)):
        outcome = hqdm(*args)
        assert outcome.code == 0
        assert outcome.err == ""
        assert all(f"\n  {name} " in outcome.out for name in cli.COMMANDS)
    assert hqdm("--version").out == f"hqdm {__version__}\n"


def test_python_runs_the_package(tmp_path):
    called = run([sys.executable, "-m", "hqdm", "--version"], capture_output=True, text=True)
    assert (called.returncode, called.stdout) == (0, f"hqdm {__version__}\n")
    called = run([sys.executable, "-m", "hqdm", "fitt"], capture_output=True, text=True)
    assert called.returncode == 2
    assert called.stderr.startswith("error: unknown command")


def test_the_home_folder_is_expanded_in_arguments(monkeypatch, refused):
    monkeypatch.setenv("HOME", "/nowhere/home")
    assert cli.with_home("~/x") == "/nowhere/home/x"
    assert cli.with_home("--out=~/x") == "--out=/nowhere/home/x"
    for word in ("a~", "--seed=1", "x=~/y", "--out", ""):
        assert cli.with_home(word) == word
    message = refused("sample", "--checkpoint", "~/run.ckpt", "--out", "out")
    assert "there is no model /nowhere/home/run.ckpt" in message


def test_unknown_command_is_named(refused):
    assert "unknown command 'fitt'" in refused("fitt")
    assert "did you mean 'fit'?" in refused("fitt")


@pytest.mark.parametrize(
    "command", [name for name in cli.COMMANDS if name not in ("fit", "carleman")]
)
def test_commands_explain_themselves(capsys, command):
    with pytest.raises(SystemExit) as left:
        cli.main([command, "--help"])
    assert left.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert text.startswith(f"usage: hqdm {command}")
    if "--checkpoint" in text:
        assert "a .ckpt file, the folder of a run, a folder that `export` wrote, a model" in text
        assert all(name in text for name in SHIPPED)


def test_sample_writes_what_it_names(hqdm, last, tmp_path):
    out = tmp_path / "samples"
    args = ("sample", "--checkpoint", last, "--n", 5, "--steps", 2)
    outcome = hqdm(*args, "--out", out)
    assert outcome.code == 0
    assert outcome.err == ""
    assert outcome.out.startswith("5 images, 2 network evaluations each: ")
    names = {"grid.png", "strip.png", "images.safetensors", "sample.json"}
    assert {f.name for f in out.iterdir()} == names
    assert all(str(out / name) in outcome.out for name in names)
    assert images(out).shape == (5, 1, 8, 8)
    record = json.loads((out / "sample.json").read_text())
    assert (record["sampler"], record["steps"], record["seed"]) == ("ddim", 2, 0)
    single = hqdm("sample", "--checkpoint", last, "--n", 1, "--steps", 1, "--out", tmp_path / "1")
    assert single.out.startswith("1 image, 1 network evaluation each: ")
    other = hqdm(*args, "--out", tmp_path / "other", "--sampler", "ddpm", "--seed", 4)
    assert other.code == 0
    assert not torch.equal(images(tmp_path / "other"), images(out))


@pytest.mark.slow
def test_samplers_grids_and_tolerances_reach_the_images(hqdm, refused, last, tmp_path):
    args = ("sample", "--checkpoint", last, "--n", 3)
    for i, options in enumerate(
        (
            ("--sampler", "unipc2", "--steps", 4),
            ("--sampler", "unipc3", "--steps", 4),
            ("--sampler", "unipc3", "--steps", 4, "--grid", "karras"),
            ("--sampler", "dpm-adaptive", "--tolerance", 2),
            ("--sampler", "dpm-adaptive", "--tolerance", 0.5),
            ("--sampler", "dpm-adaptive", "--tolerance", 0.01),
            ("--sampler", "dpm-adaptive", "--tolerance", 0.01, "--absolute", 0.5),
        )
    ):
        assert hqdm(*args, *options, "--out", tmp_path / str(i)).code == 0
    drawn = [images(tmp_path / str(i)) for i in range(6)]
    assert all(not torch.equal(a, b) for a, b in combinations(drawn, 2))
    records = [json.loads((tmp_path / str(i) / "sample.json").read_text()) for i in range(7)]
    assert (records[2]["sampler"], records[2]["grid"], records[2]["steps"]) == (
        "unipc3",
        "karras",
        4,
    )
    assert (records[3]["tolerance"], records[4]["tolerance"]) == (2.0, 0.5)
    assert records[3]["evaluations"] < records[4]["evaluations"] < records[5]["evaluations"]
    assert records[6]["evaluations"] < records[5]["evaluations"]
    assert (records[4]["absolute"], records[6]["absolute"]) == (pytest.approx(0.078), 0.5)
    wrong = ("--sampler", "dpm-adaptive", "--tolerance", 0, "--out", tmp_path / "no")
    assert "a tolerance needs more than 0, got 0.0" in refused(*args, *wrong)


def test_exported_model_gives_identical_images(hqdm, last, tmp_path):
    model = tmp_path / "model"
    assert hqdm("export", "--checkpoint", last, "--out", model).code == 0
    for source, out in ((last, tmp_path / "a"), (model, tmp_path / "b")):
        args = ("--checkpoint", source, "--n", 4, "--steps", 3, "--seed", 7, "--out", out)
        assert hqdm("sample", *args).code == 0
    assert torch.equal(images(tmp_path / "a"), images(tmp_path / "b"))


@pytest.mark.slow
def test_export_takes_either_weights(hqdm, last, tmp_path):
    for weights in ("averaged", "raw"):
        out = tmp_path / weights
        assert hqdm("export", "--checkpoint", last, "--out", out, "--weights", weights).code == 0
        expected = load_denoiser(last, weights).state_dict()
        actual = load_file(out / "model.safetensors")
        assert all(torch.equal(actual[name], value) for name, value in expected.items())


@pytest.mark.slow
def test_labels_and_guidance(hqdm, refused, trained_classes, tmp_path):
    args = ("sample", "--checkpoint", trained_classes / "last.ckpt", "--n", 3, "--steps", 2)
    assert hqdm(*args, "--label", 3, "--guidance", 2, "--out", tmp_path / "a").code == 0
    assert hqdm(*args, "--label", 4, "--guidance", 2, "--out", tmp_path / "b").code == 0
    assert not torch.equal(images(tmp_path / "a"), images(tmp_path / "b"))
    assert "label 10 does not exist" in refused(*args, "--label", 10, "--out", tmp_path / "c")


@pytest.mark.slow
def test_sample_writes_other_files_on_request(hqdm, refused, trained_classes, tmp_path):
    args = ("sample", "--checkpoint", trained_classes / "last.ckpt", "--steps", 2)
    args = (*args, "--label", "3,0-1", "--per-class", 4, "--out", tmp_path)
    kinds = ("--save", "png", "npz", "gif", "webp")
    outcome = hqdm(*args, *kinds)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("12 images, ")
    for name in ("png", "samples.npz", "strip.gif", "strip.webp"):
        assert str(tmp_path / name) in outcome.out
    drawn = images(tmp_path)[:, 0].numpy()
    labels = [3, 0, 1] * 4
    names = [f"{i:02}_class_{label}.png" for i, label in enumerate(labels)]
    assert sorted(file.name for file in (tmp_path / "png").iterdir()) == names
    for name, expected in zip(names, drawn, strict=True):
        with Image.open(tmp_path / "png" / name) as picture:
            assert np.array_equal(np.asarray(picture), expected)
    with np.load(tmp_path / "samples.npz") as arrays:
        assert arrays["arr_0"].dtype == np.uint8
        assert np.array_equal(arrays["arr_0"], drawn[..., None])
        assert arrays["arr_1"].tolist() == labels
    for kind in ("gif", "webp"):
        with Image.open(tmp_path / f"strip.{kind}") as picture:
            assert picture.n_frames == 3  # the noise and two steps
    record = json.loads((tmp_path / "sample.json").read_text())
    assert (record["label"], record["n"]) == ([3, 0, 1], 12)

    (tmp_path / "sample.json").unlink()
    for name in ("grid.png", "strip.png", "images.safetensors"):
        (tmp_path / name).unlink()
    assert "already holds samples.npz" in refused(*args, "--save", "npz")
    assert "png/00_class_3.png" in refused(*args, "--save", "png")
    assert "samples.npz is of other images" in refused(*args, "--overwrite")
    fewer = (*args, *kinds, "--overwrite", "--per-class", 1)
    assert "png/00_class_3.png is of other images" in refused(*fewer)
    assert hqdm(*args, *kinds, "--overwrite").code == 0


@pytest.mark.slow
def test_numbers_and_classes_of_samples_that_do_not_fit(refused, last, trained_classes, tmp_path):
    plain = ("sample", "--checkpoint", last, "--out", tmp_path / "out")
    classes = ("sample", "--checkpoint", trained_classes / "last.ckpt", "--out", tmp_path / "out")
    assert "has no class labels: leave label 3 out" in refused(*plain, "--label", 3)
    assert "no class labels: give --n" in refused(*plain, "--per-class", 3)
    assert "exclude each other" in refused(*classes, "--per-class", 3, "--n", 3)
    assert "--per-class needs a whole number from 1" in refused(*classes, "--per-class", 0)
    assert "label 10 does not exist" in refused(*classes, "--label", "3,10")
    assert f"label {10**12} does not exist" in refused(*classes, "--label", f"0-{10**12}")
    assert "label 3 stands twice" in refused(*classes, "--label", "0-4,3")
    for text in ("", "a", "3,", "4-3", "1-2-3", "-1", "3.5"):
        assert "expected classes such as 3 or 3,7 or 0-9" in refused(*classes, f"--label={text}")
    assert "invalid choice: 'jpg'" in refused(*classes, "--save", "jpg")
    assert "images of shape" in refused(*classes, "--per-class", 10**12, "--save", "png")


def test_evaluate_writes_scores_beside_the_checkpoint(hqdm, refused, last, tmp_path):
    args = ("evaluate", "--checkpoint", last, "--data", "digits", "--n", 8, "--steps", 1)
    outcome = hqdm(*args, "--out", tmp_path / "scores")
    assert outcome.code == 0
    assert outcome.err.startswith("note: 8 images are few for FID")
    assert outcome.err.count("\n") == 1
    for score in ("FID", "KID", "IS", "SSIM", "PSNR", "memorised"):
        assert score in outcome.out
    report = json.loads((tmp_path / "scores" / "metrics.json").read_text())
    assert report["protocol"]["n"] == 8
    assert "already holds metrics.json" in refused(*args, "--out", tmp_path / "scores")
    assert hqdm(*args, "--out", tmp_path / "scores", "--overwrite", "--seed", 1).code == 0
    changed = json.loads((tmp_path / "scores" / "metrics.json").read_text())
    assert changed["protocol"]["seed"] == 1


@pytest.mark.slow
def test_inspect_shows_configurations_checkpoints_and_folders(hqdm, refused, tiny, last, tmp_path):
    hqdm("export", "--checkpoint", last, "--out", tmp_path / "model")
    for option in (
        ("--config", tiny()),
        ("--checkpoint", last),
        ("--checkpoint", tmp_path / "model"),
    ):
        outcome = hqdm("inspect", *option)
        assert outcome.code == 0
        assert "73,809" in outcome.out
        assert "HQConv(n_wires=4, n_layers=1, interleaved=True)" in outcome.out
    assert "needs one of --config and --checkpoint" in refused("inspect")
    both = ("--config", tiny(), "--checkpoint", last)
    assert "needs one of --config and --checkpoint" in refused("inspect", *both)


@pytest.mark.slow
def test_files_that_are_there_stay(hqdm, refused, last, tmp_path):
    for command, name in (("sample", "grid.png"), ("export", "config.json")):
        out = tmp_path / command
        out.mkdir()
        (out / name).write_text("mine")
        args = (command, "--checkpoint", last, "--out", out)
        steps = ("--n", 1, "--steps", 1) if command == "sample" else ()
        assert f"already holds {name}: --overwrite" in refused(*args, *steps)
        assert [f.name for f in out.iterdir()] == [name]
        assert (out / name).read_text() == "mine"
        assert hqdm(*args, *steps, "--overwrite").code == 0
        assert (out / name).read_bytes() != b"mine"


@pytest.mark.parametrize(
    ("options", "said"),
    thinned(
        [
            (("--n", 0), "n needs a whole number from 1, got 0"),
            (("--n", "x"), "argument --n: invalid int value: 'x'"),
            (("--steps", 0), "steps needs a whole number from 1, got 0"),
            (("--steps", -3), "steps needs a whole number from 1, got -3"),
            (("--sampler", "ddimm"), "unknown sampler 'ddimm': expected one of"),
            (("--sampler", "dpm4"), "unknown sampler 'dpm4': expected one of"),
            (("--sampler", "dpm-adaptive"), "dpm-adaptive takes no steps: it takes tolerance"),
            (("--tolerance", 0.1), "ddim takes no tolerance: it takes steps and grid"),
            (("--absolute", 0.1), "ddim takes no absolute: it takes steps and grid"),
            (("--grid", "logarithmic"), "unknown grid 'logarithmic': expected one of"),
            (("--device", "meta"), "device 'meta' is not available"),
            (("--device", "abacus"), "device 'abacus' is not available: use auto, cpu or cuda"),
            (("--seed", -1), "seed needs a whole number from 0, got -1"),
            (("--batch-size", 0), "batch_size needs a whole number from 1, got 0"),
            (("--label", 1), "the model has no class labels"),
            (("--guidance", 2), "guidance needs a model with class labels"),
            (("--bogus",), "unrecognized arguments: --bogus"),
            (("--checkpoint", "nosuch.ckpt"), "there is no model nosuch.ckpt"),
        ],
        every=3,
    ),
)
def test_wrong_options_of_sample_are_named(refused, last, tmp_path, options, said):
    out = tmp_path / "out"
    line = refused("sample", "--checkpoint", last, "--n", 1, "--steps", 1, "--out", out, *options)
    assert said in line


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--data", "nosuch"), "no data set 'nosuch'"),
        (("--extractor", "x"), "unknown extractor 'x': expected one of"),
        (("--restore-t", 2), "restore_t needs a time in (0, 1], got 2.0"),
        (("--n", 0), "got 0"),
    ],
)
def test_wrong_options_of_evaluate_are_named(refused, last, tmp_path, options, said):
    args = ("evaluate", "--checkpoint", last, "--data", "digits", "--n", 4, "--steps", 1)
    assert said in refused(*args, "--offline", "--out", tmp_path / "out", *options)


@pytest.mark.parametrize("command", ["sample", "evaluate", "export"])
def test_output_below_a_file_is_refused(refused, last, tmp_path, command):
    (tmp_path / "file").write_text("x")
    data = ("--data", "digits") if command == "evaluate" else ()
    line = refused(command, "--checkpoint", last, *data, "--out", tmp_path / "file" / "out")
    assert "cannot write to" in line


def test_missing_options_are_named(refused):
    assert "required: --checkpoint" in refused("sample")
    assert "required: --checkpoint" in refused("evaluate")
    assert "required: --checkpoint, --out" in refused("export")


def test_warnings_become_notes(hqdm, monkeypatch):
    def warn(args):
        warnings.warn("two\nlines", UserWarning, stacklevel=1)

    monkeypatch.setattr("hqdm.cli.commands.inspect.run", warn)
    assert hqdm("inspect").err == "note: two lines\n"


def test_errors_that_are_not_the_users_are_not_hidden(monkeypatch):
    def fail(args):
        raise ZeroDivisionError

    monkeypatch.setattr("hqdm.cli.commands.inspect.run", fail)
    with pytest.raises(ZeroDivisionError):
        cli.main(["inspect"])


@pytest.mark.slow
def test_interpolate_draws_a_strip_and_says_the_error(hqdm, refused, last, tmp_path):
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    for i, file in enumerate(files):
        save_png(file, 8, i)
    out = tmp_path / "between"
    args = ("interpolate", "--checkpoint", last, "--images", *files, "--steps", 3, "--n", 4)
    outcome = hqdm(*args, "--out", out)
    assert outcome.code == 0
    assert outcome.out.startswith("round trip errors (root mean square): ")
    assert {f.name for f in out.iterdir()} == {"interpolation.png", "interpolation.json"}
    assert "interpolation.png" in refused(*args, "--out", out)  # nothing is overwritten
    save_png(files[1], 9, 1)
    line = refused(*args, "--out", tmp_path / "other")
    assert "b.png is 9x9, the model makes 8x8: resize it first" in line
    files[1].write_text("no image")
    assert "b.png cannot be read as an image" in refused(*args, "--out", tmp_path / "other")
    same = ("interpolate", "--checkpoint", last, "--images", files[0], files[0])
    line = refused(*same, "--sampler", "ddpm", "--out", tmp_path / "other")
    assert "cannot run from data to noise" in line


def save_png(file, size, seed):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (size, size), generator=generator, dtype=torch.uint8)
    Image.fromarray(pixels.numpy()).save(file)


PICTURES = ("a.png", "b.png", "mask.png")
FEW, SCORED = ("--n", 2, "--steps", 2), ("--data", "digits", "--n", 8)
WRITING = {
    "sample": FEW,
    "export": (),
    "evaluate": (*SCORED, "--steps", 1),
    "interpolate": ("--images", *PICTURES[:2], *FEW),
    "inpaint": ("--image", "a.png", "--mask", "mask.png", *FEW),
    "optimise-grid": ("--n", 1, "--steps", 3, "--trials", 2),
    "compare-samplers": (*SCORED, "--samplers", "ddim", "--nfe", 1),
    "carleman fit": ("--data", "digits", "--samples", 50, "--nodes", 4, "--dim", 2),
}
"""The commands that write files, with options for a run of a second, without --out."""

SLOW = set(WRITING) - {"sample"}
ONE_FILE = {"optimise-grid": "grid.json", "carleman fit": "fit.safetensors"}


@pytest.mark.filterwarnings("ignore:.*are few for FID")
@pytest.mark.parametrize("command", [slow(name) if name in SLOW else name for name in WRITING])
def test_old_files_survive_whatever_fails(hqdm, refused, last, tmp_path, monkeypatch, command):
    """No permission given, a read-only file, a folder in use, a disk that fills at any file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hqdm.utils.progress.LINE_SECONDS", math.inf)  # on a busy machine, too
    for i, name in enumerate(PICTURES):
        save_png(tmp_path / name, 8, i)
    out = tmp_path / "out" / ONE_FILE.get(command, "")
    args = (*command.split(), "--checkpoint", last, *WRITING[command], "--out", out)
    assert hqdm(*args).code == 0

    def contents():
        files = (f for f in (tmp_path / "out").rglob("*") if f.is_file())
        return {f: f.read_bytes() for f in files if f.name != "README.md"}  # is never replaced

    before = contents()
    assert before
    assert not [f.name for f in before if f.name.startswith(".")]
    for file in before:
        others = {each: each.rename(f"{each}.away") for each in before if each != file}
        assert f"already holds {file.relative_to(tmp_path / 'out')}" in refused(*args)
        for each, away in others.items():
            away.rename(each)
        file.chmod(0o444)
        assert f"{file.name} is read-only" in refused(*args, "--overwrite")
        file.chmod(0o644)
    with hold(tmp_path / "out", lock_of(out) if command in ONE_FILE else LOCK_FILE):
        assert "is in use by process" in refused(*args, "--overwrite")
    assert contents() == before

    sync = os.fsync
    for n in range(len(before)):
        left = iter([sync] * n)

        def fill(file, left=left):
            next(left, full_disk)(file)

        monkeypatch.setattr(os, "fsync", fill)
        outcome = hqdm(*args, "--overwrite")
        lines = [line for line in outcome.err.splitlines() if not line.startswith("note: ")]
        assert outcome.code == 2, n
        assert len(lines) == 1
        assert "(No space left on device): existing files are unchanged" in lines[0]
        if command != "compare-samplers":  # it writes after each sampler
            assert contents() == before
    monkeypatch.setattr(os, "fsync", sync)
    assert hqdm(*args, "--overwrite").code == 0


def full_disk(file):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("cannot allocate 9 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"),
    ],
)
def test_full_memory_is_one_line(refused, monkeypatch, error):
    def fail(argv):
        raise error

    monkeypatch.setattr(cli, "dispatch", fail)
    assert "the memory is full" in refused("sample")


def test_other_errors_stay_as_they_are(monkeypatch):
    def fail(argv):
        raise RuntimeError("a defect")

    monkeypatch.setattr(cli, "dispatch", fail)
    with pytest.raises(RuntimeError, match="a defect"):
        cli.main(["sample"])


@pytest.mark.parametrize(
    ("given", "loaded", "seen"),
    [(None, False, "PASSIVE"), ("ACTIVE", False, "ACTIVE"), (None, True, None)],
)
def test_threads_that_wait_sleep(monkeypatch, given, loaded, seen):
    """Unless the user chose otherwise, or torch has read the variable."""
    monkeypatch.setenv("OMP_WAIT_POLICY", given or "")
    if given is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    if not loaded:
        monkeypatch.delitem(sys.modules, "torch")
    assert cli.main(["--version"]) == 0
    assert os.environ.get("OMP_WAIT_POLICY") == seen
