"""The sampler of unitary single sampling."""

import copy
import pickle

import pytest
import torch

from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.objective import StepBack
from hqdm.diffusion.schedule import MixingSchedule
from hqdm.generation.sampling import sample_images
from hqdm.guidance.classifier_free import ClassifierFreeGuidance
from hqdm.guidance.clip import Clip
from hqdm.nn.amplitude.procrustes import BestUnitary, Pairs
from hqdm.nn.amplitude.unitary import USS
from hqdm.nn.unet import UNet
from hqdm.samplers.recursive import UnitarySampling
from hqdm.samplers.recursive.circuit import depolarising
from hqdm.samplers.recursive.known_start import KnownStart
from hqdm.samplers.registry import build_sampler
from hqdm.utils.errors import HQDMError
from hqdm.utils.seeds import ImageNoise


def model(objective=None, **options):
    net = USS(**{"channels": 2, "size": 2, "n_layers": 3, **options}).double()
    return Denoiser(net, MixingSchedule(), objective or StepBack())


def start(denoiser, n=6):
    return denoiser.prior(ImageNoise(3, n))


def moduli(denoiser, x, n, y=None):
    """|U^n p| by n calls of the network on complex images."""
    for _ in range(n):
        x = denoiser.previous(x, torch.tensor(0.5), y)
    return ((x + 1) / 2).abs()


@pytest.mark.parametrize("steps", [1, 5, 10])
def test_all_steps_at_once_are_single_steps(steps):
    denoiser = model()
    x = start(denoiser)
    expected = moduli(denoiser, x, steps)
    kept = UnitarySampling(steps, scale="norm").run(Clip(denoiser), x)
    torch.testing.assert_close(kept.x0, 2 * expected - 1, rtol=0, atol=1e-12)
    largest = expected.flatten(1).amax(1)[:, None, None, None]
    scaled = UnitarySampling(steps).run(Clip(denoiser), x)
    torch.testing.assert_close(scaled.x0, 2 * expected / largest - 1, rtol=0, atol=1e-12)
    assert (scaled.evaluations, scaled.times.tolist()) == (0, [1.0, 0.0])


def test_from_a_later_time_a_share_of_the_steps_is_taken():
    """As the restoration of `hqdm evaluate` does."""
    denoiser, sampler = model(), UnitarySampling(10, scale="norm")
    x = start(denoiser)
    found = sampler.run(denoiser, x, t_start=0.4).x0
    torch.testing.assert_close((found + 1) / 2, moduli(denoiser, x, 4), rtol=0, atol=1e-12)


def test_noise_is_clamped_as_in_training():
    denoiser, x = model(StepBack(clamp=True)), torch.full((1, 2, 2, 2), -3.0).double()
    x[0, 0, 0, 0] = 2
    clamped = UnitarySampling().run(denoiser, x.clamp(-1, 1)).x0
    assert torch.equal(UnitarySampling().run(denoiser, x).x0, clamped)


def test_every_image_has_the_channel_of_its_label():
    denoiser, sampler = model(n_classes=2), UnitarySampling(4)
    x, y = start(denoiser), torch.tensor([1, 0, 2, 1, 0, 0])  # 2 is no label
    together = sampler.run(denoiser, x, y).x0
    for label in (0, 1, 2):
        rows = (y == label).nonzero().flatten()
        alone = sampler.run(denoiser, x[rows], y[rows]).x0
        torch.testing.assert_close(together[rows], alone, rtol=0, atol=1e-12)
    assert (sampler.run(denoiser, x, 1 - y.clamp_max(1)).x0 - together).abs().max() > 0.01
    network = denoiser.network
    p = network.pixels(x[:1])[0].to(torch.complex128)
    rho = torch.outer(p, p.conj()) / p.norm() ** 2
    for _ in range(4):
        rho = sum(k @ rho @ k.mH for k in network.kraus(1).detach())
    expected = rho.diagonal().real.sqrt()
    expected = 2 * expected / expected.max() - 1
    torch.testing.assert_close(together[0].flatten(), expected, rtol=0, atol=1e-10)


def test_methods_agree():
    """Of 4,000 trajectories and 100,000 shots: five standard deviations of a probability."""
    denoiser = model(n_classes=2)
    x, y = start(denoiser, 3), torch.tensor([1, 0, 1])
    exact = UnitarySampling(3, scale="norm").run(denoiser, x, y).x0
    by_device = UnitarySampling(3, scale="norm", device="lightning.qubit").run(denoiser, x, y).x0
    torch.testing.assert_close(by_device, exact, rtol=0, atol=1e-10)
    norms = denoiser.network.pixels(x).norm(dim=1)[:, None]
    p = (((exact + 1) / 2).flatten(1) / norms).square()
    for options, n in (
        ({"method": "trajectories", "trajectories": 4_000}, 4_000),
        ({"device": "default.qubit", "shots": 100_000}, 100_000),
    ):
        sampler = UnitarySampling(3, scale="norm", **options)
        found = sampler.run(denoiser, x, y, noise=ImageNoise(0, 3)).x0
        assert torch.equal(found, sampler.run(denoiser, x, y, noise=ImageNoise(0, 3)).x0)
        q = (((found + 1) / 2).flatten(1) / norms).square()
        assert 0 < (q - p).abs().max() < 2.5 / n**0.5
        one = sampler.run(denoiser, x[1:2], y[1:2], noise=ImageNoise(0, 1, 1)).x0
        torch.testing.assert_close(one, found[1:2], rtol=0, atol=1e-12)  # no matter the batch


def test_many_qubits_are_sampled_by_trajectories(monkeypatch):
    monkeypatch.setattr("hqdm.samplers.recursive.unitary.MAX_CHANNEL_QUBITS", 2)
    denoiser = model(ancilla=True)
    x = start(denoiser)
    by_default, named = (
        UnitarySampling(3, method=method).run(denoiser, x).x0 for method in (None, "trajectories")
    )
    assert torch.equal(by_default, named)
    assert not torch.equal(by_default, UnitarySampling(3, method="matrix").run(denoiser, x).x0)


def test_noise_of_a_device_moves_images():
    denoiser = model()
    x = start(denoiser, 1)
    noisy = UnitarySampling(2, device="default.mixed", noise=depolarising(0.75))
    torch.testing.assert_close(noisy.run(denoiser, x).x0, torch.ones_like(x), rtol=0, atol=1e-9)


def test_images_come_back_from_their_starting_noise():
    denoiser, sampler = model(), UnitarySampling(10, scale="norm")
    images = 2 * torch.rand(4, 2, 2, 2, dtype=torch.float64) - 1
    noise = sampler.starting_noise(denoiser, images)
    assert noise.dtype == torch.complex128
    assert noise.imag.abs().max() > 0.1
    norms = [denoiser.network.pixels(z).norm(dim=1) for z in (noise, images)]
    torch.testing.assert_close(*norms, rtol=1e-12, atol=0)
    found = sampler.run(denoiser, noise)
    assert found.x0.dtype == torch.float64
    torch.testing.assert_close(found.x0, images, rtol=0, atol=1e-12)


def test_the_best_unitary_samples_as_uss_does():
    net = BestUnitary(channels=1, size=2)
    pairs = Pairs(4)
    pairs.add(*torch.rand(2, 20, 4))
    net.fit(pairs)
    samples = sample_images(Denoiser(net, MixingSchedule(), "step"), build_sampler("uss"), 5)
    assert samples.images.shape == (5, 1, 2, 2)
    torch.testing.assert_close(samples.images.amax((1, 2, 3)), torch.ones(5))
    assert samples.evaluations == 0


def test_the_cost_in_words():
    """There is no evaluation of the network to be counted."""
    assert UnitarySampling(1).work == "1 step at once"
    many = UnitarySampling(5, method="trajectories", trajectories=9)
    assert many.work == "5 steps at once, trajectories of an image: 9"
    counted = UnitarySampling(5, device="default.qubit", shots=7)
    assert counted.work == "5 steps at once, shots of an image: 7"
    start = KnownStart(counted, torch.zeros(1, 2, 2), torch.ones(1, 2, 2) > 0)
    assert start.work == counted.work


def test_copies_keep_the_settings():
    sampler = build_sampler("uss", 7)
    for other in (sampler, copy.deepcopy(sampler), pickle.loads(pickle.dumps(sampler))):
        expected = {"sampler": "uss", "steps": 7, "scale": "max", "method": None}
        assert other.settings == expected
    shots = UnitarySampling(device="default.qubit", shots=9).settings
    assert (shots["device"], shots["shots"], shots["noise"]) == ("default.qubit", 9, None)
    noisy = UnitarySampling(device="default.mixed", noise=depolarising(0.1)).settings
    assert "DepolarizingChannel(0.1)" in noisy["noise"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"scale": "mean"}, "unknown scale 'mean'"),
        ({"method": "power"}, "unknown method 'power'"),
        ({"shots": 10}, "shots and noise are those of a device"),
        ({"method": "device"}, "method='device' needs a device, such as"),
        ({"method": "matrix", "device": "default.qubit"}, "runs on no device"),
        ({"device": "default.qubit", "shots": 0}, "shots needs a whole number from 1"),
        ({"trajectories": 0}, "trajectories needs a whole number from 1"),
        ({"steps": 0}, "steps needs a whole number from 1"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, said):
    with pytest.raises(HQDMError, match=said):
        UnitarySampling(**options)


def test_models_that_it_does_not_take_are_refused():
    labelled = model(n_classes=2)
    x, sampler = start(labelled), UnitarySampling()
    with pytest.raises(HQDMError, match="powers of the network itself, got ClassifierFreeGuidance"):
        sampler.run(Clip(ClassifierFreeGuidance(labelled, 2.0)), x)
    with pytest.raises(HQDMError, match="this one predicts x0"):
        sampler.run(Denoiser(model().network, MixingSchedule(), "x0"), x)
    with pytest.raises(HQDMError, match="output: data"):
        sampler.run(model(StepBack(output="noise")), x)
    unet = Denoiser(UNet(size=8, dim=4, mults=(1,)), MixingSchedule(), "step")
    with pytest.raises(HQDMError, match=r"network of amplitudes \(USS, BestUnitary\), got UNet"):
        sampler.run(unet, torch.zeros(1, 1, 8, 8))
    with pytest.raises(HQDMError, match="outcomes of an ancilla, which this network has not"):
        UnitarySampling(2, method="trajectories").run(model(), x)
    for denoiser in (labelled, model(channels=1, size=3)):
        with pytest.raises(HQDMError, match="starting noise needs a unitary step"):
            sampler.starting_noise(denoiser, torch.zeros(1, *denoiser.sample_shape))
    for labels in ([1], [0, 1, 2, 3, 0, 1], [-1] * 6):
        with pytest.raises(HQDMError, match="labels"):
            sampler.run(labelled, x, torch.tensor(labels))
    with pytest.raises(HQDMError, match="uss cannot run from data to noise"):
        sampler.encode(model(), x)


def test_padding_is_not_shown():
    """Nine pixels in sixteen amplitudes: the largest pixel is white."""
    denoiser = model(channels=1, size=3)
    x = start(denoiser, 40)
    whole = (denoiser.network.pixels(x) + 0j) @ denoiser.network.kraus()[0].mT
    assert (whole[:, 9:].abs().amax(1) > whole[:, :9].abs().amax(1) + 1e-3).any()
    largest = UnitarySampling(1).run(denoiser, x).x0.amax((1, 2, 3))
    torch.testing.assert_close(largest, torch.ones_like(largest))


def test_shares_of_the_steps_are_rounded():
    """0.29 of 100 steps are 28.999999999999996 in float64."""
    denoiser = model()
    x, sampler = start(denoiser), UnitarySampling(100, scale="norm")
    found = sampler.run(denoiser, x, t_start=0.29).x0
    torch.testing.assert_close((found + 1) / 2, moduli(denoiser, x, 29), rtol=0, atol=1e-10)
