"""The error of one step of a network, of no change, and of the best unitary."""

import pytest
import torch

from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.objective import StepBack, Uniform
from hqdm.diffusion.schedule import MixingSchedule
from hqdm.evaluation.unitary_bound import best_unitary, bound_rows, step_pairs, unitary_bound
from hqdm.nn.amplitude.procrustes import fit_circuit
from hqdm.nn.amplitude.unitary import USS
from hqdm.nn.unet import UNet
from hqdm.utils.errors import HQDMError
from hqdm.utils.seeds import ImageNoise

STEP = StepBack(clamp=True, pairs=True, weight=Uniform())


def images(n=30):
    return 2 * torch.rand(n, 1, 2, 2) - 1


def denoiser(**options):
    return Denoiser(USS(size=2, n_layers=3, **options), MixingSchedule(), STEP)


def test_the_errors_are_quarters_of_the_training_loss():
    """The loss is of x = 2 p - 1. Labels: the mean over all images, each with its own circuit."""
    for model in (denoiser(), denoiser(n_classes=2)):
        x0, y = images(), torch.arange(30) % 2
        labels = None if model.n_classes is None else y
        eps = ImageNoise(5, 30).draw((1, 2, 2))
        loss = model.loss(x0, labels, t=torch.ones(30), eps=eps)
        found = unitary_bound(model, x0, y, seed=5)
        assert 4 * found.network == pytest.approx(loss.item(), rel=1e-5)


def test_training_does_not_go_below_the_bound():
    """It begins at the best unitary of other pairs, which two qubits and six layers reach."""
    model, x0 = Denoiser(USS(size=2, n_layers=6), MixingSchedule(), STEP), images()
    eps = ImageNoise(0, 30).draw((1, 2, 2))
    other, _ = best_unitary(STEP, MixingSchedule(), x0, seed=1)
    random = unitary_bound(model, x0).network
    fit_circuit(model.network, other.matrix, steps=300, lr=0.1)
    before = unitary_bound(model, x0)
    assert before.network < 1.2 * before.best_unitary < random
    optimizer = torch.optim.Adam(model.parameters(), 0.003)
    for step in range(300):
        optimizer.param_groups[0]["lr"] = 0.003 * 0.985**step
        optimizer.zero_grad()
        model.loss(x0, t=torch.ones(30), eps=eps).backward()
        optimizer.step()
    after = unitary_bound(model, x0)
    assert after.best_unitary == before.best_unitary < after.identity
    assert after.best_unitary - 1e-9 <= after.network < before.network
    assert after.network < 1.001 * after.best_unitary


def test_the_best_unitary_attains_the_bound():
    x0 = images()
    network, bound = best_unitary(STEP, MixingSchedule(), x0)
    found = unitary_bound(Denoiser(network, MixingSchedule(), STEP), x0)
    assert found.network == pytest.approx(bound, rel=1e-5)
    assert found.best_unitary == pytest.approx(bound, rel=1e-12)


def test_pairs_are_those_of_the_process():
    """By hand: weights (i / tau)^3, pixels clamped."""
    x0, objective = images(3), StepBack(steps=4, clamp=True)
    eps = ImageNoise(2, 3).draw((1, 2, 2)).double()
    ((x_t, x_s),) = step_pairs(objective, MixingSchedule(), x0, torch.tensor([2, 0]), seed=2)
    assert x_t.shape == x_s.shape == (8, 1, 2, 2)
    for row, image in enumerate((2, 0)):
        for i in range(1, 5):
            for k, found in ((i, x_t), (i - 1, x_s)):
                w = (k / 4) ** 3
                expected = ((1 - w) * x0[image].double() + 0.4 * w * eps[image]).clamp(-1, 1)
                torch.testing.assert_close(found[4 * row + i - 1], expected, rtol=0, atol=1e-12)


def test_other_models_have_none():
    unet = UNet(size=8, dim=4, mults=(1,))
    assert unitary_bound(Denoiser(unet, MixingSchedule(), STEP), torch.zeros(2, 1, 8, 8)) is None
    noise = Denoiser(USS(size=2, n_layers=1), MixingSchedule(), StepBack(output="noise"))
    assert unitary_bound(noise, images()) is None
    assert bound_rows(None) == []
    with pytest.raises(HQDMError, match="one of the objective 'step' with output 'data'"):
        best_unitary(noise.objective, MixingSchedule(), images())
    with pytest.raises(HQDMError, match="labels 0 to 4"):
        unitary_bound(denoiser(n_classes=2), images(5), torch.arange(5))
