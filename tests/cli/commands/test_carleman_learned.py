"""`hqdm fit`, `carleman fit` and `sample` with an autoencoder, which `carleman` decodes."""

import json

import pytest

from hqdm.cli.main import main
from hqdm.diffusion.loading import load_denoiser
from hqdm.surrogate.fit_files import fit_path
from hqdm.surrogate.learned import ClassFits, load_fit

FIT = ("--data", "digits", "--samples", "1000", "--nodes", "8")
SMALL = """
seed_everything: 0
data: {name: digits, size: 8, channels: 1, batch_size: 64, labelled: true}
model:
  network: {name: ConvAutoencoder, n_classes: 10, options: {dim: 4, width: 4}}
  schedule: cosine
  predict: reconstruction
  weight: uniform
  lr: 0.003
trainer: {max_steps: 30}
sample_every: 0
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a trained autoencoder with its fit."""
    folder = tmp_path_factory.mktemp("autoencoder")
    (folder / "small.yaml").write_text(SMALL)
    out = folder / "run"
    assert main(["fit", "--config", str(folder / "small.yaml"), "--out", str(out)]) == 0
    assert main(["carleman", "fit", "--checkpoint", str(out), *FIT]) == 0
    return out


def test_the_fit_is_one_of_each_class(run, hqdm, tmp_path):
    given = ("carleman", "fit", "--checkpoint", run, *FIT, "--out", tmp_path / "fit.safetensors")
    code, said, _ = hqdm(*given)
    assert code == 0
    assert "4 latents of the autoencoder, whitened to variance 0.81" in said
    assert "class 9" in said
    found = load_fit(run, load_denoiser(run))
    assert isinstance(found, ClassFits)
    assert len(found.fits) == 10
    assert found.fits[0].noise.degree == 2
    assert fit_path(run).with_suffix(".png").is_file()


@pytest.mark.slow
def test_samples_have_the_labels_that_are_asked_for(run, hqdm, tmp_path):
    out = tmp_path / "samples"
    given = ("--checkpoint", run, "--sampler", "carleman", "--n", 6, "--label", "3,7")
    assert hqdm("sample", *given, "--out", out)[0] == 0
    settings = json.loads(next(out.glob("*.json")).read_text())
    assert '"carleman"' in json.dumps(settings)
    assert '"order": 3' in json.dumps(settings)
    out = tmp_path / "own"
    code, said, _ = hqdm("carleman", "sample", "--checkpoint", run, "--n", 4, "--out", out)
    assert code == 0
    assert "35" in said  # C(4 + 3, 3), the lifted dimension


@pytest.mark.slow
def test_evaluation_leaves_the_restoration_out(run, hqdm, tmp_path):
    given = ("--checkpoint", run, "--data", "digits", "--sampler", "carleman", "--n", 40)
    code, said, _ = hqdm("evaluate", *given, "--out", tmp_path)
    assert code == 0
    assert "restored from" not in said
    assert json.loads((tmp_path / "metrics.json").read_text())["restoration"] is None


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("carleman", "fit", "--data", "digits", "--dim", 3), "--dim and --target are of the"),
        (("carleman", "fit", "--data", "digits", "--latents", "pca"), "does not predict noise"),
        (("carleman", "fit", "--data", "digits", "--latents", "x"), "unknown latents 'x'"),
        (("carleman", "analyse"), "compares with the network's flow"),
        (("carleman", "sample", "--then", "unipc"), "leave unipc out"),
        (("sample", "--sampler", "unipc", "--n", 2), "does not predict noise"),
        (("sample", "--sampler", "carleman+unipc", "--n", 2), "leave unipc out"),
    ],
)
def test_what_an_autoencoder_cannot_do_is_one_line(run, refused, tmp_path, command, said):
    out = tmp_path / ("fit.safetensors" if "fit" in command else "out")
    assert said in refused(*command, "--checkpoint", run, "--out", out)
