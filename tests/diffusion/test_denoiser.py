"""The wrapper: one `Prediction` from eps, v and x0; the loss; saving and loading."""

import copy
import json
import pickle
from dataclasses import replace

import pytest
import torch
from marks import thinned
from networks import Toy
from safetensors.torch import load_file

from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.model import main_dtype
from hqdm.diffusion.objective import P2, Eps, Levels, StepBack, Uniform
from hqdm.diffusion.schedule import CosineSchedule, LinearSchedule, MixingSchedule
from hqdm.nn.quantum_conv import Hybrid
from hqdm.nn.unet import QVUNet, UNet
from hqdm.samplers import DDIM
from hqdm.utils.errors import HQDMError
from hqdm.utils.seeds import ImageNoise

SMALL = {"channels": 1, "size": 8, "dim": 8, "mults": (1, 2, 2)}
FOUR = Hybrid(groups=1, channels_per_group=1, ansatz="HQConv", n_layers=2)


class Known(Toy):
    """A network that knows the clean images and answers with what it is asked to predict."""

    def __init__(self, x0, predict, schedule):
        super().__init__()
        self.x0, self.predict, self.schedule = x0, predict, schedule

    def forward(self, x_t, t, y=None):
        alpha, sigma = (level.view(-1, 1, 1, 1) for level in self.schedule(t))
        eps = (x_t - alpha * self.x0) / sigma
        return {"x0": self.x0, "eps": eps, "v": alpha * eps - sigma * self.x0}[self.predict]


@pytest.mark.parametrize("schedule", [CosineSchedule(), LinearSchedule()])
@pytest.mark.parametrize("predict", ["eps", "v", "x0"])
def test_every_prediction_type_gives_the_same_prediction(schedule, predict):
    x0, eps = torch.randn(2, 5, 1, 4, 4, dtype=torch.float64)
    t = torch.linspace(0.1, 1, 5, dtype=torch.float64)
    alpha, sigma = (level.view(-1, 1, 1, 1) for level in schedule(t))
    denoiser = Denoiser(Known(x0, predict, schedule), schedule, predict)
    prediction = denoiser(alpha * x0 + sigma * eps, t)
    # Dividing by alpha_1 = 0.0025 (cosine) magnifies rounding a few hundred times.
    torch.testing.assert_close(prediction.x0, x0, rtol=0, atol=1e-11)
    torch.testing.assert_close(prediction.eps, eps, rtol=0, atol=1e-11)


@pytest.mark.parametrize("predict", ["eps", "v", "x0"])
def test_a_perfect_network_has_no_loss(predict):
    schedule, x0 = CosineSchedule(), torch.randn(3, 1, 4, 4, dtype=torch.float64)
    denoiser = Denoiser(Known(x0, predict, schedule), schedule, predict)
    assert denoiser.loss(x0) < 1e-20


def test_loss_is_the_weighted_distance():
    """gamma = 1, k = 1 on a variance-preserving schedule: the weight is sigma^2."""
    schedule = CosineSchedule()
    network = UNet(**SMALL).double()
    x0, eps = torch.randn(2, 6, 1, 8, 8, dtype=torch.float64)
    t = torch.linspace(0.05, 1, 6, dtype=torch.float64)
    alpha, sigma = (level.view(-1, 1, 1, 1) for level in schedule(t))
    error = network(alpha * x0 + sigma * eps, t) - eps
    loss = Denoiser(network, schedule).loss(x0, t=t, eps=eps)
    torch.testing.assert_close(loss, (sigma**2 * error**2).mean())
    flat = Denoiser(network, schedule, Eps(loss="l1", weight=Uniform())).loss(x0, t=t, eps=eps)
    torch.testing.assert_close(flat, error.abs().mean())


def test_loss_draws_uniform_times_and_normal_noise():
    """A network of zeros with predict = eps has loss E[eps^2] = 1 at gamma = 0."""

    class Zero(Toy):
        def forward(self, x, t, y=None):
            self.t = t
            return torch.zeros_like(x)

    network = Zero()
    loss = Denoiser(network, CosineSchedule(), Eps(weight=P2(gamma=0.0))).loss(
        torch.zeros(20_000, 1, 2, 2)
    )
    # 80,000 squared normals have standard error sqrt(2 / 80,000) = 0.005.
    assert abs(loss - 1) < 0.015
    assert 0 < network.t.min() < 1e-3
    assert 1 >= network.t.max() > 1 - 1e-3
    # The mean of 20,000 uniforms has standard error 0.289 / sqrt(20,000) = 0.002.
    assert abs(network.t.mean() - 0.5) < 0.006


@pytest.mark.parametrize("predict", ["eps", "v", "x0"])
def test_no_time_is_that_of_the_data(monkeypatch, predict):
    """torch's uniform numbers are in [0, 1): times are in (0, 1], without t = 0, where no noise is.

    Its ends are drawn once in 2^24 numbers, about once in 280 epochs of MNIST.
    """
    ends = torch.tensor([0.0, 1 - 2**-24])
    monkeypatch.setattr(torch, "rand", lambda *shape, **options: ends)

    class Seeing(Toy):
        def forward(self, x, t, y=None):
            self.t = t
            return torch.zeros_like(x)

    network = Seeing()
    loss = Denoiser(network, CosineSchedule(), predict).loss(torch.ones(2, 1, 2, 2))
    assert network.t.tolist() == [1.0, 2**-24]
    assert loss.isfinite()


@pytest.fixture
def denoiser():
    return Denoiser(QVUNet(FOUR, n_classes=3, **SMALL), LinearSchedule(0.2, 15), "v").eval()


def samples_of(denoiser):
    x1 = ImageNoise(4, 3).draw((1, 8, 8))
    return DDIM(4)(denoiser, x1, torch.tensor([0, 1, 2]))


@pytest.mark.slow
def test_copies_and_saved_models_give_identical_samples(denoiser, tmp_path):
    expected = samples_of(denoiser)
    denoiser.save_pretrained(tmp_path / "model")
    loaded = Denoiser.from_pretrained(tmp_path / "model")
    rebuilt = Denoiser.from_config(json.loads(json.dumps(denoiser.config)))
    rebuilt.load_state_dict(denoiser.state_dict())
    for other in (copy.deepcopy(denoiser), pickle.loads(pickle.dumps(denoiser)), loaded, rebuilt):
        assert torch.equal(samples_of(other), expected)
        assert other.config == denoiser.config


def test_saved_model_is_plain(denoiser, tmp_path):
    denoiser.save_pretrained(tmp_path)
    assert {f.name for f in tmp_path.iterdir()} >= {"config.json", "model.safetensors"}
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["format_version"] == 3
    assert config["denoiser"]["network"]["hybrid"]["vertex"]["ansatz"] == "HQConv"


def test_damaged_foreign_and_newer_models_are_refused(denoiser, tmp_path):
    denoiser.save_pretrained(tmp_path)
    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    whole, text = weights.read_bytes(), config.read_text()

    weights.write_bytes(whole[:1000])
    with pytest.raises(HQDMError, match="is damaged"):
        Denoiser.from_pretrained(tmp_path)
    weights.write_bytes(whole)

    config.write_text(text.replace('"format_version": 3', '"format_version": 99'))
    with pytest.raises(HQDMError, match="format version 99.*reads up to 3.*upgrade"):
        Denoiser.from_pretrained(tmp_path)

    config.write_text(text.replace('"dim": 8', '"dim": 10'))
    differs = r"another architecture: network.stem.weight should be \(10, 1, 7, 7\), is \(8,"
    with pytest.raises(HQDMError, match=differs):
        Denoiser.from_pretrained(tmp_path)

    weights.unlink()
    with pytest.raises(HQDMError, match=r"holds no model.safetensors"):
        Denoiser.from_pretrained(tmp_path)


@pytest.mark.parametrize("size", [{"dim": 10**6}, {"heads": 10**9}, {"n_classes": 10**12}])
def test_shapes_of_a_file_are_compared_before_anything_is_allocated(tmp_path, monkeypatch, size):
    Denoiser(UNet(**SMALL), CosineSchedule()).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["denoiser"]["network"] |= size
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr("hqdm.diffusion.denoiser.build_network", None)  # would allocate
    with pytest.raises(HQDMError, match="is of another architecture: network"):
        Denoiser.from_folder(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: w.fill_(float("nan")), "stem.weight has values that are NaN or infinite"),
        (lambda w: w.flatten().index_fill(0, torch.tensor([3]), torch.inf).view_as(w), "infinite"),
        (torch.Tensor.bool, "stem.weight is of type torch.bool, expected torch.float32"),
        (torch.Tensor.int, "is of type torch.int32, expected torch.float32"),
        (lambda w: w.to(torch.complex64), "is of type torch.complex64"),
    ],
)
def test_weights_that_are_no_weights_are_refused(denoiser, tmp_path, change, said):
    denoiser.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["network.stem.weight"] = change(weights["network.stem.weight"]).contiguous()
    with pytest.raises(HQDMError, match=f"^a file: network.*{said}"):
        denoiser.load_tensors(weights, "a file")
    half = {name: w.half() if w.is_floating_point() else w for name, w in weights.items()}
    half["network.stem.weight"] = denoiser.state_dict()["network.stem.weight"].half()
    denoiser.load_tensors(half, "a file")


def test_a_loaded_model_is_in_evaluation_mode(denoiser, tmp_path):
    denoiser.train().save_pretrained(tmp_path)
    assert not any(module.training for module in Denoiser.from_pretrained(tmp_path).modules())


def test_bad_input(denoiser):
    with pytest.raises(HQDMError, match="unknown objective 'noise'"):
        Denoiser(denoiser.network, denoiser.schedule, predict="noise")
    with pytest.raises(HQDMError, match="unknown loss 'l2'"):
        Denoiser(denoiser.network, denoiser.schedule, Eps(loss="l2"))
    with pytest.raises(HQDMError, match="gamma >= 0"):
        Denoiser(denoiser.network, denoiser.schedule, Eps(weight=P2(gamma=-1)))
    with pytest.raises(HQDMError, match="cannot be read"):
        Denoiser.from_config({"network": {}})
    with pytest.raises(HQDMError, match="cannot be read"):
        Denoiser.from_config({"network": 3, "schedule": {"name": "cosine"}})


DAMAGE = (..., None, "text", [1], -3, 1e30, float("nan"))
"""Values in place of each value of a file; `...` takes the key out."""


def attempt(load):
    """What a function returns and None, or None and the message with which it refused."""
    try:
        return load(), None
    except HQDMError as error:
        return None, str(error)


def leaves(plain, path=()):
    """The paths of all values in nested keys."""
    for key, value in plain.items():
        if key == "provenance":  # for people, and not read
            continue
        yield (*path, key)
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder of a model, and the content of its config.json without digests."""
    folder = tmp_path_factory.mktemp("saved")
    network = QVUNet(Hybrid(channels_per_group=1, ansatz="HQConv"), **SMALL, n_classes=3)
    Denoiser(network, CosineSchedule()).save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    del config["sha256"]
    return folder, config


@pytest.mark.slow
def test_each_value_of_a_configuration_is_refused_or_loads(saved, tmp_path):
    """Without digests, as in files of earlier versions, which would notice every change."""
    folder, config = saved
    (tmp_path / "model.safetensors").symlink_to(folder / "model.safetensors")
    refused = 0
    for path in leaves(config):
        for value in DAMAGE:
            changed = copy.deepcopy(config)
            inner = changed
            for key in path[:-1]:
                inner = inner[key]
            if value is ...:
                del inner[path[-1]]
            else:
                inner[path[-1]] = value
            (tmp_path / "config.json").write_text(json.dumps(changed))
            model, said = attempt(lambda: Denoiser.from_folder(tmp_path))
            if model is None:
                assert said.startswith(str(tmp_path))
                assert "\n" not in said
                said = said.replace(str(tmp_path), "").replace("_", " ")
                named = (*path, "FQConv") if path[-1] == "ansatz" else path  # the default
                assert any(key.replace("_", " ") in said for key in named), (path, value, said)
                refused += 1
            else:  # what is missing has its default; other numbers are in range
                in_range = ("lam_min", -3), ("gamma", 1e30), ("k", 1e30), ("s", 1e30)
                assert value is ... or (path[-1], value) in in_range, (path, value)
                if value is ...:
                    assert model.config == config["denoiser"], path
    assert refused > 200


def mixed_model(dtype):
    model = Denoiser(QVUNet(FOUR, **SMALL), CosineSchedule()).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.rand_like(parameter) * 1e-3)
    return model


@pytest.mark.parametrize(
    "dtype", thinned([torch.float64, torch.float32, torch.bfloat16, torch.float16], every=3)
)
def test_a_loaded_model_has_the_dtype_and_the_bits_of_its_file(tmp_path, dtype):
    model = mixed_model(dtype)
    model.save_pretrained(tmp_path)
    loaded = Denoiser.from_pretrained(str(tmp_path))
    assert loaded.dtype == dtype
    for name, tensor in model.state_dict().items():
        assert loaded.state_dict()[name].dtype == dtype
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert all(p.requires_grad for p in loaded.parameters())


def test_a_model_of_several_dtypes_keeps_each(tmp_path):
    """Circuits in float64 in a network in float32."""
    model = mixed_model(torch.float32)
    model.network.vertex.double()
    model.save_pretrained(tmp_path)
    loaded = Denoiser.from_pretrained(str(tmp_path))
    assert loaded.dtype == model.dtype == main_dtype(model.parameters())
    for name, tensor in model.state_dict().items():
        assert loaded.state_dict()[name].dtype == tensor.dtype, name
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_tied_weights_stay_tied_in_another_dtype():
    class Tied(Toy):
        def __init__(self):
            super().__init__()
            self.a = torch.nn.Linear(2, 2)
            self.b = self.a

    stored = Denoiser(Tied(), CosineSchedule()).double()
    loaded = Denoiser(Tied(), CosineSchedule())
    loaded.load_tensors(stored.state_dict(), "a file")
    assert loaded.network.a.weight is loaded.network.b.weight
    assert torch.equal(loaded.network.a.weight, stored.network.a.weight)


def test_other_kinds_of_floating_point_numbers_are_refused():
    model = Denoiser(UNet(**SMALL), CosineSchedule())
    tensors = {name: tensor.to(torch.float8_e4m3fn) for name, tensor in model.state_dict().items()}
    with pytest.raises(HQDMError, match="float8_e4m3fn, expected torch.float32"):
        model.load_tensors(tensors, "a file")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_only_the_network_is_in_half_precision(dtype):
    """Its input is rounded, and nothing else: levels, conversion and loss are in float32."""
    seen = []

    class Recording(Toy):
        def __init__(self):
            super().__init__()
            self.gain = torch.nn.Parameter(torch.tensor(0.5))

        def forward(self, x_t, t, y=None):
            seen.append((x_t.dtype, t.dtype))
            return self.gain * x_t

    half = Denoiser(Recording(), CosineSchedule(), "v").to(dtype)
    x = ImageNoise(0, 3).draw((1, 2, 2))
    t = torch.tensor([0.001, 0.5, 0.999])
    x0, eps = half(x, t)
    assert (x0.dtype, eps.dtype) == (torch.float32, torch.float32)
    alpha, sigma = (level.view(-1, 1, 1, 1) for level in half.schedule(t))
    output = 0.5 * x.to(dtype).float()
    torch.testing.assert_close(x0, alpha * x - sigma * output, rtol=0, atol=1e-6)
    loss = half.loss(x, t=t, eps=torch.zeros_like(x))
    assert loss.dtype == torch.float32
    assert half(x.to(dtype), t).x0.dtype == dtype
    assert set(seen) == {(dtype, dtype)}


def test_float64_samples_of_a_float32_model_keep_their_digits():
    model = Denoiser(UNet(**SMALL), CosineSchedule(), "v").eval()
    x = ImageNoise(0, 2).draw((1, 8, 8)).double() / 3
    t = torch.tensor(0.4, dtype=torch.float64)
    x0, eps = model(x, t)
    alpha, sigma = model.schedule(t)
    torch.testing.assert_close(alpha * x0 + sigma * eps, x, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0, 4], "labels 0 to 4 in a batch for a network of 3 classes: expected 0 to 2"),
        ([-1, 0], "labels -1 to 0 in a batch"),
        ([1], r"labels of shape \(1,\) for 2 samples: expected \(2,\)"),
        ([[1], [1]], r"labels of shape \(2, 1\) for 2 samples"),
        ([0.0, 1.0], "labels of type torch.float32: expected whole numbers"),
        ([True, False], "labels of type torch.bool"),
    ],
    ids=str,
)
def test_labels_that_are_not_classes_are_refused(labels, said):
    """One label for a batch would be broadcast, and a wrong one is an IndexError of torch."""
    denoiser = Denoiser(UNet(size=8, dim=4, mults=(1, 2), n_classes=3), CosineSchedule())
    x, t = torch.zeros(2, 1, 8, 8), torch.tensor([0.5, 0.5])
    for call in (lambda y: denoiser(x, t, y), lambda y: denoiser.loss(x, y, t=t)):
        with pytest.raises(HQDMError, match=f"^{said}"):
            call(torch.tensor(labels))
        call(torch.tensor([3, 0]))  # 3 is "no label"


@pytest.mark.parametrize("predict", ["eps", "edm"])
def test_objectives_that_divide_by_alpha_need_signal(predict):
    with pytest.raises(HQDMError, match=f"{predict!r} divides by alpha, which is 0 at t = 1"):
        Denoiser(Toy(), MixingSchedule(), predict)
    Denoiser(Toy(), CosineSchedule(), predict)


@pytest.mark.parametrize("predict", ["x0", "v", "step"])
def test_noise_alone_has_finite_predictions_and_losses(predict):
    denoiser = Denoiser(Toy(), MixingSchedule(), predict)
    x, t = torch.rand(3, 1, 2, 2), torch.tensor([1.0, 0.5, 1e-3])
    assert all(part.isfinite().all() for part in denoiser(x, t))
    assert denoiser.loss(x, t=t).isfinite()


def test_the_loss_of_all_pairs_is_the_mean_over_the_steps():
    """The loss of a batch at t = 1 / steps, ..., 1 in turn, with the same noise."""
    network = UNet(size=8, dim=4, mults=(1,), heads=1, head_dim=4, n_classes=3).double().eval()
    x0, eps = torch.randn(2, 4, 1, 8, 8, dtype=torch.float64)
    y = torch.tensor([0, 1, 2, 3])
    single = StepBack(steps=5, weight=Uniform(), clamp=True)
    single, pairs = (
        Denoiser(network, MixingSchedule(), objective)
        for objective in (single, replace(single, pairs=True))
    )
    times = [torch.full((4,), i / 5, dtype=torch.float64) for i in range(1, 6)]
    expected = torch.stack([single.loss(x0, y, t=t, eps=eps) for t in times]).mean()
    torch.testing.assert_close(pairs.loss(x0, y, t=times[2], eps=eps), expected)


def test_complex_networks_get_and_give_states():
    """A network that turns phases: its real part is the image, its modulus the loss."""

    class Turning(Toy):
        def forward(self, x_t, t, y=None):
            self.seen = x_t.dtype, t.dtype
            return 1j * x_t

    network = Turning()
    denoiser = Denoiser(network, CosineSchedule(), StepBack(weight=Uniform()))
    x, t = torch.rand(2, 1, 2, 2), torch.tensor([0.5, 1.0])
    state = denoiser.previous(x, t)
    torch.testing.assert_close(state, 1j * x)
    torch.testing.assert_close(denoiser.previous(state, torch.tensor(0.5)), -x + 0j)
    assert network.seen == (torch.complex64, torch.float32)
    levels = Levels.at(denoiser.schedule, t, x)
    real = denoiser.objective.prediction(x, torch.zeros_like(x), levels)
    torch.testing.assert_close(denoiser(x, t), real)
    eps = torch.rand_like(x)
    x_t = levels.alpha * x + levels.sigma * eps
    error = 1j * x_t - denoiser.objective.target(x, eps, levels)
    torch.testing.assert_close(denoiser.loss(x, t=t, eps=eps), error.abs().square().mean())
