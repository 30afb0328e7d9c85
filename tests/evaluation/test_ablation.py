"""What random and silenced circuits cost a model that uses them, and one that does not."""

import pennylane as qml
import pytest
import torch
from networks import Toy

from hqdm.circuits import AngleEmbedding, Basic, Circuit
from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.schedule import CosineSchedule
from hqdm.evaluation.ablation import RANDOM_DRAWS, batches_of, quantum_effect
from hqdm.nn.quantum_layer import QuantumLayer
from hqdm.utils.errors import HQDMError


class Reader(Toy):
    """Answers with the circuit's reading of the image, times a gain, plus the image itself."""

    def __init__(self, gain):
        super().__init__()
        self.layer = QuantumLayer(Circuit(AngleEmbedding(4), Basic(4, 1)))
        self.gain = gain

    def forward(self, x, t, y=None):
        reading = self.layer(x.reshape(-1, 1, 4)).view_as(x)
        return x + self.gain * reading


def images():
    return torch.rand(300, 1, 2, 2) * 2 - 1


def test_an_unused_circuit_has_no_effect():
    effect = quantum_effect(Denoiser(Reader(0.0), CosineSchedule()), images())
    assert effect.loss == effect.random_angles == effect.mean_output


def test_a_used_circuit_has_one_and_the_model_is_left_as_it_is():
    denoiser = Denoiser(Reader(1.0), CosineSchedule())
    before = denoiser.network.layer.theta.clone()
    effect = quantum_effect(denoiser, images())
    # The batches, the times and the noise are the same: rounding aside, only circuits differ.
    assert abs(effect.random_angles / effect.loss - 1) > 1e-3
    assert abs(effect.mean_output / effect.loss - 1) > 0.1
    assert torch.equal(denoiser.network.layer.theta, before)
    repeated = [quantum_effect(denoiser, torch.ones(10, 1, 2, 2)) for _ in range(2)]
    assert repeated[0] == repeated[1]


def test_silencing_takes_the_mean_over_the_batch():
    """By hand: the same loss as a network that adds the mean reading of each batch."""
    denoiser = Denoiser(Reader(1.0), CosineSchedule())
    x0 = images()
    effect = quantum_effect(denoiser, x0, batch_size=100)

    class Silent(Reader):
        def forward(self, x, t, y=None):
            reading = self.layer(x.reshape(-1, 1, 4)).view_as(x)
            return x + reading.mean(dim=0)

    silent = Silent(1.0)
    silent.load_state_dict(denoiser.network.state_dict())
    by_hand = quantum_effect(Denoiser(silent, CosineSchedule()), x0, batch_size=100)
    assert effect.mean_output == pytest.approx(by_hand.loss, rel=1e-6)


@pytest.mark.parametrize(
    ("n", "sizes"),
    [
        *[(1, [1]), (127, [127]), (128, [128]), (130, [130]), (191, [191]), (192, [128, 64])],
        *[(256, [128] * 2), (300, [128, 172]), (360, [128, 128, 104])],
    ],
)
def test_a_short_last_batch_belongs_to_the_one_before(n, sizes):
    batches = [list(range(n))[own] for own in batches_of(n, 128)]
    assert list(map(len, batches)) == sizes
    assert [i for batch in batches for i in batch] == list(range(n))


def test_the_images_of_a_short_last_batch_are_silenced_with_the_others():
    """102 images in batches of 100 have one mean, not one of 100 and another of 2."""
    denoiser, x0 = Denoiser(Reader(1.0), CosineSchedule()), images()[:102]
    reported = []
    effect = quantum_effect(denoiser, x0, batch_size=100, progress=lambda *a: reported.append(a))
    assert effect == quantum_effect(denoiser, x0, batch_size=102)
    done, total = reported[-1][-2:]
    assert done == total == RANDOM_DRAWS + 2


class Measuring(Toy):
    """Adds the outputs of a QNode that returns a tuple of two, `(2, B, 2)`, to the image."""

    def __init__(self):
        super().__init__()

        @qml.qnode(qml.device("default.qubit", wires=2), interface="torch")
        def measured(inputs, weights):
            qml.AngleEmbedding(inputs, wires=range(2))
            qml.StronglyEntanglingLayers(weights, wires=range(2))
            return qml.probs(wires=0), qml.probs(wires=1)

        self.layer = QuantumLayer(measured, {"weights": (1, 2, 3)})

    def forward(self, x, t, y=None):
        outputs = self.layer(x.flatten(1)[:, :2])
        return x + outputs.transpose(0, 1).reshape(x.shape)


def test_silencing_a_tuple_of_outputs_takes_the_mean_over_the_batch_too():
    denoiser = Denoiser(Measuring(), CosineSchedule())
    x0 = images()[:40]
    effect = quantum_effect(denoiser, x0)

    class Silent(Measuring):
        def forward(self, x, t, y=None):
            outputs = self.layer(x.flatten(1)[:, :2]).mean(1, keepdim=True)
            return x + outputs.transpose(0, 1).reshape(1, *x.shape[1:])

    silent = Silent()
    silent.load_state_dict(denoiser.network.state_dict())
    by_hand = quantum_effect(Denoiser(silent, CosineSchedule()), x0)
    assert effect.mean_output == pytest.approx(by_hand.loss, rel=1e-6)
    assert effect.mean_output != pytest.approx(effect.loss, rel=1e-4)


def test_outputs_without_a_batch_are_refused():
    class Odd(Reader):
        """Holds a module of circuits that returns a pair."""

        def __init__(self):
            super().__init__(1.0)
            self.pair = Pair()

        def forward(self, x, t, y=None):
            return self.pair(x)[0]

    class Pair(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.angles = torch.nn.Parameter(torch.zeros(2))

        def quantum_parameters(self):
            return iter([self.angles])

        def reset_parameters(self):
            torch.nn.init.uniform_(self.angles)

        def forward(self, x):
            return x * self.angles.sum(), None

    denoiser = Denoiser(Odd(), CosineSchedule())
    with pytest.raises(HQDMError, match="outputs of Pair have no mean over the batch: return one"):
        quantum_effect(denoiser, images()[:10])


def test_a_classical_model_has_none():
    assert quantum_effect(Denoiser(Toy(), CosineSchedule()), images()) is None
