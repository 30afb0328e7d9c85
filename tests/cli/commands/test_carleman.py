"""`hqdm carleman fit` and `sample`, and the sampler wherever others are named."""

import json
import re

import pytest
import torch
from marks import thinned
from safetensors import safe_open
from safetensors.torch import load_file

from hqdm.carleman.lchs.solver import LCHS
from hqdm.carleman.magnus import Direct
from hqdm.carleman.qlss.solver import QLSS
from hqdm.carleman.schrodingerisation.solver import Schrodingerisation
from hqdm.cli.commands.carleman import BACKENDS, backend_named
from hqdm.data.images import load_images
from hqdm.diffusion.loading import load_denoiser
from hqdm.generation.sampling import sample_images
from hqdm.samplers.registry import build_sampler
from hqdm.surrogate.fit import CarlemanFit, fit_carleman
from hqdm.surrogate.fit_files import fit_path
from hqdm.utils.errors import HQDMError
from hqdm.utils.pixels import to_uint8

pytestmark = pytest.mark.filterwarnings("ignore:.*are few for FID")
QUICK = ("--samples", 100, "--nodes", 8)


@pytest.fixture(scope="module")
def fitted(trained, tmp_path_factory):
    """A folder with a checkpoint and the fit beside it."""
    folder = tmp_path_factory.mktemp("fitted")
    checkpoint = folder / "last.ckpt"
    checkpoint.write_bytes((trained / "last.ckpt").read_bytes())
    denoiser = load_denoiser(checkpoint)
    images = load_images("digits", "train").images
    fit_carleman(denoiser, images, 3, target="noise", samples=2000, nodes=12).save(
        fit_path(checkpoint)
    )
    return checkpoint


def test_fit_writes_beside_the_checkpoint(hqdm, trained, tmp_path):
    checkpoint = tmp_path / "a.ckpt"
    checkpoint.write_bytes((trained / "last.ckpt").read_bytes())
    code, said, _ = hqdm(
        "carleman", "fit", "--checkpoint", checkpoint, "--data", "digits", "--dim", 2, *QUICK
    )
    assert code == 0
    path = tmp_path / "a.carleman.safetensors"
    fit = CarlemanFit.load(path)
    images = load_images("digits", "train").images
    told = []
    again = fit_carleman(
        load_denoiser(checkpoint),
        images,
        2,
        samples=100,
        nodes=8,
        progress=lambda *now: told.append(now),
    )
    assert told == [("fitting nodes", done, 8) for done in range(9)]
    assert (fit.noise.values == again.noise.values).all()
    assert fit.record == again.record
    with safe_open(path, "numpy") as file:
        header = json.loads(file.metadata()["carleman"])
    assert set(header["provenance"]) == {"versions", "git", "host", "time"}
    assert f"2 latents explain {fit.latents.explained:.1%} of the variance" in said
    assert path.with_suffix(".png").stat().st_size > 0
    assert fit.record["target"] == "denoiser"


def test_fit_overwrites_nothing_unless_told(hqdm, refused, fitted):
    before = fit_path(fitted).read_bytes()
    options = ("carleman", "fit", "--checkpoint", fitted, "--data", "digits", *QUICK)
    assert "already holds last.carleman.safetensors" in refused(*options)
    assert fit_path(fitted).read_bytes() == before


def test_sample_draws_without_the_network(hqdm, fitted, tmp_path):
    out = tmp_path / "out"
    code, said, _ = hqdm(
        *("carleman", "sample", "--checkpoint", fitted, "--n", 5, "--segments", 4),
        *("--order", 3, "--out", out),
    )
    assert code == 0
    record = json.loads((out / "sample.json").read_text())
    assert (record["sampler"], record["steps"], record["evaluations"]) == ("carleman", 4, 0)
    assert (record["order"], record["dim"], record["backend"]) == (3, 3, "direct")
    assert len(load_file(out / "images.safetensors")["images"]) == 5
    assert (out / "grid.png").exists()
    assert (out / "strip.png").exists()
    assert re.search(r"5 .* 0 .* 20 .* 4 ", said)  # images, evaluations, C(6, 3), maps


def test_sample_finishes_with_the_network(hqdm, fitted, tmp_path):
    out = tmp_path / "out"
    code, _, _ = hqdm(
        *("carleman", "sample", "--checkpoint", fitted, "--n", 3, "--order", 2),
        *("--then", "unipc", "--steps", 2, "--switch", -0.5, "--out", out),
    )
    assert code == 0
    record = json.loads((out / "sample.json").read_text())
    assert record["evaluations"] == 2
    assert record["switch"] == -0.5
    assert record["then"]["sampler"] == "unipc"


@pytest.mark.slow
def test_the_sampler_has_the_same_call_everywhere(hqdm, fitted, tmp_path):
    denoiser = load_denoiser(fitted)
    fit = CarlemanFit.load(fit_path(fitted))
    for name, steps in (("carleman", 4), ("carleman+ddim", 2), ("gaussian+unipc", 3)):
        out = tmp_path / name
        options = ("--checkpoint", fitted, "--n", 3, "--out", out)
        assert hqdm("sample", *options, "--sampler", name, "--steps", steps)[0] == 0
        expected = sample_images(denoiser, build_sampler(name, steps, fit=fit), 3).images
        stored = load_file(out / "images.safetensors")["images"]
        torch.testing.assert_close(stored, to_uint8(expected))


@pytest.mark.slow
def test_carleman_stands_in_the_comparison(hqdm, fitted, tmp_path):
    out = tmp_path / "out"
    code, said, _ = hqdm(
        *("compare-samplers", "--checkpoint", fitted, "--data", "digits", "--n", 12),
        *("--samplers", "carleman,carleman+unipc:2,ddim:3", "--out", out),
    )
    assert code == 0
    results = json.loads((out / "comparison.json").read_text())["results"]
    found = [(r["sampler"], r["evaluations"]) for r in results]
    assert found == [("carleman", 0), ("carleman+unipc", 2), ("ddim", 3)]
    assert "carleman+unipc" in said
    assert (out / "comparison.png").exists()


def test_commands_explain_themselves(hqdm, capsys):
    assert "fit        Fit latents" in hqdm("carleman")[1]
    for command in ("fit", "sample", "analyse", "resources", "wave"):
        with pytest.raises(SystemExit) as left:
            hqdm("carleman", command, "--help")
        assert left.value.code == 0
        assert "--checkpoint" in capsys.readouterr().out


def test_another_model_is_refused(refused, fitted, tmp_path):
    checkpoint = torch.load(fitted, weights_only=True)
    for name, tensor in checkpoint["state_dict"].items():
        if name.startswith("ema.module.") and tensor.is_floating_point():
            tensor.add_(1e-3)
            break
    other = tmp_path / "other.ckpt"
    torch.save(checkpoint, other)
    options = ("carleman", "sample", "--checkpoint", other, "--out", tmp_path / "out")
    assert "there is no Carleman fit" in refused(*options)
    assert "another model than the checkpoint" in refused(*options, "--fit", fit_path(fitted))


def test_damaged_fits_are_refused(refused, fitted, tmp_path):
    options = ("carleman", "sample", "--checkpoint", fitted, "--out", tmp_path / "out")
    for name, content in (("text", b"nothing"), ("cut", fit_path(fitted).read_bytes()[:500])):
        file = tmp_path / name
        file.write_bytes(content)
        assert "is not a fit of `hqdm carleman fit`" in refused(*options, "--fit", file)


@pytest.mark.parametrize(
    ("options", "said"),
    thinned(
        [
            (("--order", 0), "order 1 or more, got 0"),
            (("--order", 60), "bytes, the limit is"),
            (("--segments", 0), "steps needs a whole number from 1, got 0"),
            (("--closure", "guess"), "unknown closure 'guess'"),
            (("--backend", "annealer"), "unknown backend 'annealer'"),
            (("--then", "warp"), "unknown sampler after carleman 'warp'"),
            (("--switch", 1), "--steps and --switch need the hybrid mode"),
            (("--then", "ddim", "--switch", 8), "the switch needs a lambda between -6 and 1.78"),
            (("--then", "ddim", "--switch", -9), "the switch needs a lambda between"),
            (("--then", "ddim", "--steps", 0), "steps needs a whole number from 1, got 0"),
            (("--guidance", 2), "fitted without guidance"),
            (("--n", 0), "n needs a whole number from 1"),
        ],
        every=3,
    ),
)
def test_bad_options_of_sample_are_refused(refused, fitted, tmp_path, options, said):
    out = tmp_path / "out"
    assert said in refused("carleman", "sample", "--checkpoint", fitted, "--out", out, *options)


@pytest.mark.parametrize(
    ("options", "said"),
    thinned(
        [
            (("--dim", 1), "2 to 64, got 1"),
            (("--dim", 65), "2 to 64, got 65"),
            (("--degree", 4), "1, 2 or 3, got 4"),
            (("--nodes", 1), "nodes needs a whole number from 2, got 1"),
            (("--target", "score"), "unknown target 'score'"),
            (("--samples", 10), "35 coefficients need as many samples"),
            (("--ridge", -1), "0 or more, got -1"),
        ],
        every=4,
    ),
)
def test_bad_options_of_fit_are_refused(refused, trained, tmp_path, options, said):
    base = ("carleman", "fit", "--checkpoint", trained / "last.ckpt", "--data", "digits")
    assert said in refused(*base, "--out", tmp_path / "f.safetensors", *options)


def test_unknown_commands_are_refused(refused):
    assert "unknown command of hqdm carleman 'ft'" in refused("carleman", "ft")


def test_samplers_without_a_fit_say_so(refused, trained, tmp_path):
    options = ("--checkpoint", trained / "last.ckpt", "--out", tmp_path / "out")
    assert "run `hqdm carleman fit` first" in refused("sample", *options, "--sampler", "carleman")
    assert "sampler after carleman 'x'" in refused("sample", *options, "--sampler", "carleman+x")


@pytest.mark.slow
def test_slow_backends_warn_with_an_estimate(hqdm, fitted, tmp_path):
    """At once, and after the first image; the images are those of the other backend."""
    found = {}
    for backend in ("direct", "qlss"):
        out = tmp_path / backend
        options = ("--checkpoint", fitted, "--n", 3, "--segments", 4, "--order", 2, "--out", out)
        code, _, err = hqdm("carleman", "sample", *options, "--backend", backend)
        assert code == 0
        found[backend] = load_file(out / "images.safetensors")["images"].double()
        assert (out / "strip.png").exists()
        if backend == "direct":
            assert err == ""
            continue
        first, second = err.splitlines()
        assert "the qlss backend solves 12 linear systems" in first
        assert re.search(
            r"the first image took \d+\.\d s, so that the other 2 take about 0:", second
        )
    assert (found["direct"] - found["qlss"]).abs().max() <= 2  # grey levels


def test_backends_by_name():
    kinds = (Direct, QLSS, LCHS, Schrodingerisation)
    assert [type(backend_named(name)) for name in BACKENDS] == list(kinds)
    assert tuple(kind.__name__.lower() for kind in kinds) == BACKENDS
    with pytest.raises(HQDMError, match="unknown backend 'hhl'"):
        backend_named("hhl")


@pytest.mark.slow
def test_the_strip_solves_no_system_again(hqdm, fitted, tmp_path, monkeypatch):
    solved = []
    solve = QLSS.solve

    def counted(self, generators, y0):
        solved.append(1)
        return solve(self, generators, y0)

    monkeypatch.setattr(QLSS, "solve", counted)
    options = ("--checkpoint", fitted, "--n", 2, "--segments", 3, "--order", 2)
    out = tmp_path / "out"
    assert hqdm("carleman", "sample", *options, "--backend", "qlss", "--out", out).code == 0
    assert len(solved) == 2 * 3
