"""Images drawn in several processes: the same noise in the same order, and the same bits."""

import json
import os
import subprocess
import sys
from itertools import pairwise

import pytest
import torch
from safetensors.torch import load_file

from hqdm.cli.main import main
from hqdm.diffusion.loading import load_denoiser
from hqdm.generation.sampling import image_batches, sample_images
from hqdm.generation.sharding import sample_sharded
from hqdm.samplers import DDIM, DDPM
from hqdm.utils.errors import HQDMError

# The command, which also keeps what it draws before that becomes grey levels.
SCRIPT = """
import sys
from safetensors.torch import save_file
from hqdm.cli.main import main
from hqdm.generation import sampling

write = sampling.write_samples

def keep(sampler, samples, out, *rest):
    save_file({"images": samples.images, "labels": samples.labels}, out / "exact.safetensors")
    return write(sampler, samples, out, *rest)

sampling.write_samples = keep
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def one_thread():
    """Sums over other numbers of threads round otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(*args):
    process = subprocess.run(
        [sys.executable, *map(str, args)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=240,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    # The simulators say so where they have to compile their kernels first; a line of progress
    # follows after 20 seconds.
    expected = ("compiling ", "images ")
    said = [line for line in process.stderr.splitlines() if not line.startswith(expected)]
    assert said == []
    return process.stdout


@pytest.mark.slow  # processes
def test_two_processes_draw_the_bits_of_one(hqdm, trained_classes, tmp_path, one_thread):
    """Stochastic, with labels and guidance, the last batch smaller: batches 0, 2 and 1, 3."""
    (tmp_path / "draw.py").write_text(SCRIPT)
    last = trained_classes / "last.ckpt"
    args = ("sample", "--checkpoint", last, "--sampler", "ddpm", "--steps", 3, "--n", 7)
    args = (*args, "--seed", 5, "--guidance", 2.0, "--batch-size", 2, "--device", "cpu")
    args = (*args, "--label", "7,2-3", "--save", "png", "npz")
    several = ("--processes", 2, "--strategy", "ddp", "--out", tmp_path / "two")
    out = run(tmp_path / "draw.py", *args, *several)
    assert out.count("7 images, 3 network evaluations each: ") == 1  # one process speaks
    drawn = load_file(tmp_path / "two" / "exact.safetensors")
    options = {"seed": 5, "guidance": 2.0, "label": [7, 2, 3]}
    same = sample_images(load_denoiser(last), DDPM(3), 7, **options, batch_size=2)
    assert torch.equal(drawn["images"], same.images)
    assert torch.equal(drawn["labels"], same.labels)
    # In other batches only the order of sums differs; a grey level is 8e-3.
    other = sample_images(load_denoiser(last), DDPM(3), 7, **options, batch_size=7)
    torch.testing.assert_close(drawn["images"], other.images, rtol=0, atol=1e-4)

    assert hqdm(*args, "--out", tmp_path / "one").code == 0
    one, two = (load_file(tmp_path / name / "images.safetensors") for name in ("one", "two"))
    assert torch.equal(one["images"], two["images"])
    files = [file for file in (tmp_path / "one").rglob("*") if file.suffix in (".png", ".npz")]
    assert len(files) == 2 + 7 + 1  # the grid and the strip, seven images, the array
    for file in files:
        twin = tmp_path / "two" / file.relative_to(tmp_path / "one")
        assert twin.read_bytes() == file.read_bytes()
    record = json.loads((tmp_path / "two" / "sample.json").read_text())
    assert (record["processes"], record["evaluations"]) == (2, 3)


def test_one_process_needs_no_group(trained, one_thread):
    denoiser = load_denoiser(trained / "last.ckpt")
    sharded = sample_sharded(denoiser, DDIM(2), 5, processes=1, accelerator="cpu", batch_size=2)
    plain = sample_images(denoiser, DDIM(2), 5, batch_size=2)
    assert torch.equal(sharded.images, plain.images)
    assert sharded.labels is None
    assert not torch.distributed.is_initialized()


def test_batches_are_runs_of_indices():
    """What lets a batch draw its noise from its first index on."""
    for n, size in ((7, 2), (1, 5), (6, 3)):
        batches = image_batches((1, 8, 8), n, size, 0)
        assert torch.cat(batches).tolist() == list(range(n))
        assert all(len(batch) == size for batch in batches[:-1])
        assert all(b[0] == a[-1] + 1 for a, b in pairwise(batches))


@pytest.mark.slow
def test_bad_input_is_named(trained, refused, tmp_path):
    denoiser = load_denoiser(trained / "last.ckpt")
    with pytest.raises(HQDMError, match="unknown strategy 'fsdp': expected one of auto, ddp"):
        sample_sharded(denoiser, DDIM(1), 4, processes=2, strategy="fsdp")
    args = (
        "sample",
        "--checkpoint",
        trained / "last.ckpt",
        "--steps",
        1,
        "--n",
        3,
        "--out",
        tmp_path,
    )
    assert "processes needs 1 or more, got 0" in refused(*args, "--processes", 0)
    assert "3 images cannot be distributed over 4 processes" in refused(*args, "--processes", 4)
    assert "seed needs a whole number from 0, got -1" in refused(
        *args, "--processes", 2, "--seed", -1
    )


def test_the_former_name_is_taken_and_not_shown(refused, capsys, trained, tmp_path):
    args = ("sample", "--checkpoint", trained / "last.ckpt", "--n", 3, "--out", tmp_path)
    assert "processes needs 1 or more, got 0" in refused(*args, "--devices", 0)
    with pytest.raises(SystemExit):
        main(["sample", "--help"])
    shown = capsys.readouterr().out
    assert "--processes" in shown
    assert "--devices" not in shown
