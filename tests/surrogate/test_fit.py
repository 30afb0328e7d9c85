"""Fits to a trained model: against closed forms of Gaussian data, and their file."""

import json

import numpy as np
import pytest
import torch
from marks import thinned
from networks import Toy
from safetensors import safe_open
from safetensors.numpy import save_file

from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.schedule import CosineSchedule, VarianceExplodingSchedule
from hqdm.samplers.grids import T_CUT
from hqdm.surrogate import fit as module
from hqdm.surrogate.fit import (
    TENSORS,
    CarlemanFit,
    fingerprint,
    fit_carleman,
)
from hqdm.surrogate.learned import load_fit
from hqdm.surrogate.noise_polynomial import gaussian_noise, levels
from hqdm.utils.errors import HQDMError
from hqdm.utils.pixels import to_float

SCHEDULE = CosineSchedule()
VARIANCE = 0.04  # of every pixel, as the network below assumes


class Isotropic(Toy):
    """The exact noise prediction for Gaussian data of equal variances, plus `shift` times y."""

    sample_shape = (1, 3, 3)

    def __init__(self, mean, n_classes=None, shift=0.0):
        super().__init__()
        self.mean = torch.nn.Parameter(mean.reshape(self.sample_shape).float())
        self.n_classes = n_classes
        self.shift = shift

    def forward(self, x, t, y=None):
        alpha, sigma = (level.reshape(-1, 1, 1, 1) for level in SCHEDULE(t))
        eps = sigma * (x - alpha * self.mean) / (alpha**2 * VARIANCE + sigma**2)
        return eps if y is None else eps + self.shift * y.reshape(-1, 1, 1, 1)


@pytest.fixture(scope="module")
def images():
    """400 images of 3 x 3 pixels, uint8."""
    pixels = np.random.default_rng(0).normal(120, 30, (400, 1, 3, 3))
    return torch.from_numpy(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def denoiser(images):
    return Denoiser(Isotropic(to_float(images).double().mean(0)), SCHEDULE)


@pytest.fixture(scope="module")
def fit(images, denoiser):
    return fit_carleman(denoiser, images, 2, 1, samples=300, nodes=5, ridge=0.0, seed=3)


def test_a_linear_denoiser_is_recovered_exactly(fit):
    """Noise is predicted in each latent by sigma z / (alpha^2 v + sigma^2), at every node."""
    exact = gaussian_noise(fit.noise.nodes, np.full(2, VARIANCE) / fit.latents.scale**2)
    # Images and network are in float32, whose rounding 1 / sigma at t = 0.01 magnifies tenfold.
    np.testing.assert_allclose(fit.noise.values, exact.values, atol=1e-5)
    np.testing.assert_allclose(fit.r2, 1, atol=1e-9)


def test_nodes_reach_from_noise_to_the_cut(fit):
    first, last = SCHEDULE.lam(torch.tensor([1.0, T_CUT], dtype=torch.float64)).tolist()
    times = np.linspace(first, last, 5) + np.log(fit.latents.scale)
    np.testing.assert_allclose(fit.noise.nodes, times, rtol=1e-12)


def test_the_gaussian_fit_has_the_variances_of_the_data(fit, images):
    pixels = to_float(images).flatten(1).double().numpy()
    variances = np.linalg.eigvalsh(np.cov(pixels.T, bias=True))[::-1][:2]
    exact = gaussian_noise(fit.noise.nodes, variances / fit.latents.scale**2)
    np.testing.assert_allclose(fit.gaussian().noise.values, exact.values, rtol=1e-6)
    assert fit.gaussian().latents is fit.latents


def test_noise_is_fitted_without_the_network(images, denoiser):
    noisy = Denoiser(Isotropic(denoiser.network.mean.detach()), SCHEDULE)
    noisy.network.forward = lambda *_: pytest.fail("the network was evaluated")
    found = fit_carleman(noisy, images, 2, 1, target="noise", nodes=2)
    assert (found.record["target"], found.record["samples"]) == ("noise", 20_000)
    # At t = 1 the image is noise: its coordinates are those of the latent, with R^2 near 1.
    np.testing.assert_allclose(found.noise.values[0][:, 1:], np.eye(2), atol=0.02)
    assert found.r2[0] > 0.99
    # At the cut sigma is 0.015, the data have a deviation of 0.2: almost nothing is explained.
    assert found.r2[-1] < 0.05


def test_predictions_are_of_each_image_with_its_own_label(images, monkeypatch):
    """In several batches, by hand: the network adds the label."""
    labels = torch.arange(400) % 7
    model = Denoiser(Isotropic(torch.zeros(9), n_classes=7, shift=1.0), SCHEDULE)
    monkeypatch.setattr(module, "BATCH", 64)
    seen = []
    original = module.fit_noise

    def spy(times, noiser, *rest):
        seen.append((times, noiser))
        return original(times, noiser, *rest)

    monkeypatch.setattr(module, "fit_noise", spy)
    found = fit_carleman(model, images, 3, 1, labels=labels, samples=300, nodes=2, seed=5)
    times, noiser = seen[0]
    x, eps = noiser(times[1])

    rng = np.random.default_rng(5)
    chosen = rng.choice(400, size=300, replace=False)
    noise = torch.as_tensor(rng.normal(size=(300, 9)), dtype=torch.float32)
    t = torch.tensor(T_CUT, dtype=torch.float64)
    alpha, sigma = (float(level) for level in SCHEDULE(t))
    noised = alpha * to_float(images).flatten(1)[chosen] + sigma * noise
    expected = sigma * noised / (alpha**2 * VARIANCE + sigma**2) + labels[chosen][:, None]
    basis = found.latents.components[:3].T
    np.testing.assert_allclose(eps, expected.double().numpy() @ basis, atol=1e-4)
    coordinates = (noised.double().numpy() - alpha * found.latents.mean) @ basis
    scale = found.latents.scale
    primed = levels(np.log(alpha / sigma * scale))[0]
    np.testing.assert_allclose(x, coordinates * primed / (alpha * scale), rtol=1e-6, atol=1e-6)


def test_points_are_clean_latents_of_the_chosen_images(fit, images):
    chosen = np.random.default_rng(3).choice(400, size=300, replace=False)
    flat = to_float(images).flatten(1).double().numpy()[chosen]
    expected = (flat - fit.latents.mean) @ fit.latents.components[:2].T / fit.latents.scale
    np.testing.assert_allclose(fit.points, expected, atol=1e-6)


def test_samples_are_noised_points_with_the_same_noise(fit):
    for lam in (-2.0, 0.0, 3.0):
        alpha, sigma = levels(lam)
        noise = (fit.samples(lam) - alpha * fit.points) / sigma
        np.testing.assert_allclose(noise, fit.samples(-30.0), atol=1e-9)  # alpha is 1e-13 there
    # 600 numbers: the deviation's standard error is 0.03, the mean's 0.04.
    assert fit.samples(-30.0).std() == pytest.approx(1, abs=0.1)
    assert fit.samples(-30.0).mean() == pytest.approx(0, abs=0.15)


def test_latents_of_images_are_those_of_the_components(fit, images):
    x = to_float(images[:5])
    expected = fit.latents.of(x.flatten(1).double().numpy(), 0.5)
    np.testing.assert_array_equal(fit.latents_of(x, 0.5), expected)


def test_more_samples_than_images_are_drawn_with_replacement(images, denoiser):
    found = fit_carleman(denoiser, images[:50], 2, 1, samples=200, nodes=2)
    assert len(found.points) == 200
    assert len(np.unique(found.points, axis=0)) <= 50


def test_a_file_holds_everything(fit, denoiser, tmp_path):
    fit.save(tmp_path / "fit.safetensors")
    loaded = CarlemanFit.load(tmp_path / "fit.safetensors")
    for own, other in ((fit.latents, loaded.latents), (fit.noise, loaded.noise)):
        for name, value in vars(own).items():
            if not name.startswith("_"):
                np.testing.assert_array_equal(getattr(other, name), value)
    np.testing.assert_array_equal(loaded.r2, fit.r2)
    np.testing.assert_array_equal(loaded.points, fit.points)
    assert loaded.record == fit.record
    assert fit.record["schedule"] == {"name": "cosine", "s": 0.008, "lam_min": -6.0}
    loaded.check(denoiser)
    assert load_fit(tmp_path / "x.ckpt", denoiser, str(tmp_path / "fit.safetensors")).r2.shape == (
        5,
    )


def test_a_fit_of_another_model_is_refused(fit, denoiser):
    other = Denoiser(Isotropic(denoiser.network.mean.detach() + 1e-6), SCHEDULE)
    with pytest.raises(HQDMError, match="belongs to another model than the checkpoint"):
        fit.check(other)


def test_the_fingerprint_is_of_names_and_values():
    one, same = (torch.nn.Linear(2, 3) for _ in range(2))
    same.load_state_dict(one.state_dict())
    assert fingerprint(one) == fingerprint(same)
    same.weight.data = one.weight.data.T.contiguous().T  # another order in memory
    assert fingerprint(one) == fingerprint(same)
    renamed = torch.nn.Module()
    renamed.w, renamed.bias = one.weight, one.bias
    assert fingerprint(renamed) != fingerprint(one)


def test_a_plot_is_drawn_over_lambda_of_the_images(fit, tmp_path, monkeypatch):
    import matplotlib.axes

    drawn = []
    monkeypatch.setattr(matplotlib.axes.Axes, "plot", lambda self, *a, **k: drawn.append(a))
    fit.save_plot(tmp_path / "r2.png")
    assert (tmp_path / "r2.png").stat().st_size > 0
    first = float(SCHEDULE.lam(torch.tensor(1.0, dtype=torch.float64)))
    assert drawn[0][0][0] == pytest.approx(first)
    np.testing.assert_array_equal(drawn[0][1], fit.r2)


def rewritten(fit, folder, drop=(), changed=None, **header):
    """The file of a fit without some tensors, others changed, and other keys in its header."""
    fit.save(folder / "whole.safetensors")
    with safe_open(folder / "whole.safetensors", framework="numpy") as file:
        plain = json.loads(file.metadata()["carleman"])
        tensors = {name: file.get_tensor(name) for name in TENSORS if name not in drop}
    for name, change in (changed or {}).items():
        tensors[name] = np.ascontiguousarray(change(tensors[name]))
    changes = {"sha256": ..., **header}  # without the digest, as in the first files of the format
    plain = {k: v for k, v in (plain | changes).items() if v is not ...}
    save_file(tensors, folder / "other.safetensors", metadata={"carleman": json.dumps(plain)})
    return folder / "other.safetensors"


DAMAGE = (..., None, "text", [1], -3, 1e30, float("nan"))
"""Values in place of each value of a file; `...` takes the key out."""


@pytest.mark.parametrize("value", thinned(DAMAGE, every=5))
@pytest.mark.parametrize("key", ["format_version", "dim", "scale", "degree", "record", "sha256"])
def test_each_value_of_the_header_is_checked(fit, tmp_path, key, value):
    path = rewritten(fit, tmp_path, **{key: value})
    if (key, value) == ("scale", 1e30) or (key == "sha256" and value in (..., None)):
        assert CarlemanFit.load(path).latents.scale in (1e30, fit.latents.scale)
        return
    with pytest.raises(HQDMError) as error:
        CarlemanFit.load(path)
    assert str(path) in str(error.value)
    said = str(error.value).replace(str(tmp_path), "")
    assert key in said.replace("format version", "format_version") or key == "sha256"
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", thinned(DAMAGE, every=3))
@pytest.mark.parametrize("key", ["model", "schedule", "target", "samples", "ridge", "seed"])
def test_each_value_of_the_record_is_checked(fit, tmp_path, key, value):
    changed = {k: v for k, v in {**fit.record, key: value}.items() if v is not ...}
    path = rewritten(fit, tmp_path, record=changed)
    if (key, value) in (("model", "text"), ("target", "text"), ("ridge", 1e30)):  # of their types
        assert CarlemanFit.load(path).record == changed
        return
    with pytest.raises(HQDMError, match=rf"record\.{key}") as error:
        CarlemanFit.load(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("name", thinned(TENSORS, every=4))
@pytest.mark.parametrize(
    "change",
    [
        lambda a: a[..., None],
        lambda a: a[:-1],
        lambda a: a[:0],
        lambda a: a.sum(),
        lambda a: a.astype(np.int64),
        lambda a: a.astype(bool),
        lambda a: a * np.nan,
        lambda a: a * np.inf,
    ],
)
def test_each_tensor_is_checked(fit, tmp_path, name, change):
    path = rewritten(fit, tmp_path, changed={name: change})
    loaded, said = None, ""
    try:
        loaded = CarlemanFit.load(path)
    except HQDMError as error:
        said = str(error)
    if loaded is None:
        assert str(path) in said
        assert any(tensor in said.replace(str(path), "") for tensor in TENSORS)
    else:  # fewer points are a smaller set; R^2 may be undefined
        assert name in ("points", "r2")
        assert loaded.points.shape[1] == fit.points.shape[1]
        np.testing.assert_array_equal(loaded.noise.values, fit.noise.values)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"drop": ["points"]}, "is not a fit of `hqdm carleman fit`"),
        ({"degree": ...}, "is not a fit of `hqdm carleman fit`"),
        ({"record": ...}, "is not a fit of `hqdm carleman fit`"),
        ({"format_version": 3}, "has format version 3, this hqdm reads up to 2: upgrade hqdm"),
        ({"format_version": 0}, "has format version 0, expected 1 to 2"),
        ({"format_version": ...}, "it states no format_version"),
    ],
)
def test_incomplete_and_newer_files_are_refused(fit, tmp_path, changes, said):
    with pytest.raises(HQDMError, match=said):
        CarlemanFit.load(rewritten(fit, tmp_path, **changes))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"target": "score"}, "unknown target 'score': expected one of denoiser, noise"),
        ({"nodes": 1}, "nodes needs a whole number from 2, got 1"),
        ({"samples": 2}, "use more samples"),
    ],
)
def test_bad_options_are_refused(images, denoiser, options, said):
    with pytest.raises(HQDMError, match=said):
        fit_carleman(denoiser, images, 2, 1, **options)


def test_other_images_and_processes_are_refused(images, denoiser):
    with pytest.raises(HQDMError, match=r"images of shape \(1, 3, 3\), got \(1, 2, 3\)"):
        fit_carleman(denoiser, images[:, :, :2], 2, 1)
    exploding = Denoiser(denoiser.network, VarianceExplodingSchedule())
    with pytest.raises(HQDMError, match="needs a variance-preserving process"):
        fit_carleman(exploding, images, 2, 1)


def test_a_fit_to_models_of_other_precisions(images):
    """The same polynomial up to the rounding of the model's weights and outputs."""
    found = {}
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        model = Denoiser(Isotropic(to_float(images).mean(0)), SCHEDULE).to(dtype)
        found[dtype] = fit_carleman(model, images, 2, 1, samples=64, nodes=3)
        found[dtype].check(model)
    assert len({fit.record["model"] for fit in found.values()}) == 3
    exact = found[torch.float64].noise.values
    scale = np.abs(exact).max()
    assert np.abs(found[torch.float32].noise.values - exact).max() < 1e-4 * scale
    assert np.abs(found[torch.bfloat16].noise.values - exact).max() < 0.1 * scale
