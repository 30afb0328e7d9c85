r"""The denoiser: a network with its noise schedule and objective.

From x_t = alpha x_0 + sigma eps the network predicts the quantity that the objective defines
(`hqdm.diffusion.objective`). A `Denoiser` converts this output into `Prediction(x0, eps)`, which is
independent of the objective, and computes the training loss.

The network is evaluated in the dtype of its parameters. Everything else, such as noise levels and
the loss, is computed in float32 at least, and in float64 if the samples or the parameters are.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, Protocol, Self, TypeVar, cast

import torch
from torch import Tensor, nn

from hqdm.diffusion.model import (
    IMAGES,
    Model,
    check_shapes,
    main_dtype,
    parts_of,
    register_model,
)
from hqdm.diffusion.objective import (
    OBJECTIVES,
    Levels,
    Objective,
    Prediction,
    as_times,
    build_objective,
    objective_config,
)
from hqdm.diffusion.schedule import Schedule, build_schedule, schedule_config
from hqdm.nn.network import (
    Network,
    build_network,
    check_labels,
    check_network,
    network_config,
    network_outline,
)
from hqdm.utils.checks import whole
from hqdm.utils.errors import HQDMError, about
from hqdm.utils.memory import to_device
from hqdm.utils.seeds import ImageNoise

PARTS = ("network", "schedule", "objective")
"""The parts of the configuration of a denoiser."""


class Denoising(Protocol):
    """The interface for samplers: a denoiser, or one that wraps another (see `hqdm.guidance`)."""

    schedule: Schedule

    def __call__(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Prediction:
        """The clean samples and the noise in `x_t` `(B, C, H, W)` at times `t` `(B,)` or `()`."""
        ...


DenoisingType = TypeVar("DenoisingType", bound=Denoising)


@register_model(IMAGES)
class Denoiser(Model):
    """A network, a schedule and an objective.

    Args:
        network: Called as `network(x_t, t, y)`, see `hqdm.nn.network`.
        schedule: The noise schedule.
        predict: The objective, or its name: `"eps"`, `"v"`, `"x0"`, `"edm"` or `"step"`.

    Raises:
        HQDMError: If the network lacks a member of `Network`, the objective is unknown, or it
            divides by an alpha that is 0 at t = 1.
    """

    noun = "a model of images"
    usage = """from hqdm import Pipeline

images = Pipeline.from_pretrained(".")(n=16).images"""
    network: Network

    def __init__(
        self, network: Network, schedule: Schedule, predict: str | Objective = "eps"
    ) -> None:
        super().__init__()
        check_network(network)
        self.network = network
        self.schedule = schedule
        self.objective = OBJECTIVES[predict]() if isinstance(predict, str) else predict
        if self.objective.divides_by_alpha and schedule.pure_noise:
            raise HQDMError(
                f"the objective {self.predict!r} divides by alpha, which is 0 at t = 1 of "
                f"{schedule}: use step, x0 or v, or another schedule"
            )

    @property
    def predict(self) -> str:
        """The name of the objective."""
        return self.objective.name

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Prediction:
        """Predict the clean samples and the noise.

        Args:
            x_t: Noisy samples `(B, C, H, W)`.
            t: Times in (0, 1], `(B,)` or `()`.
            y: Class labels `(B,)`, or None.

        Returns:
            The prediction, in the dtype of `x_t`; both parts reproduce `x_t = alpha x0 + sigma
            eps`.

        Raises:
            HQDMError: If the labels are not one per sample, or not classes of the network.
        """
        x, levels = self._at(x_t, t)
        output = self._output(x, levels, y)
        image = output.real if output.is_complex() else output
        parts = self.objective.prediction(x, image, levels)
        return Prediction(*(part.to(x_t.dtype) for part in parts))

    def previous(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """Predict the samples one step back, for the objective `step`.

        Args:
            x_t: Noisy samples `(B, C, H, W)`, real or complex.
            t: Times in (0, 1], `(B,)` or `()`, for networks that use them.
            y: Class labels `(B,)`, or None.

        Returns:
            Samples in the precision of `x_t`, complex if it or the output of the network is.

        Raises:
            HQDMError: If the objective is another one, or as in `forward`.
        """
        x, levels = self._at(x_t, t)
        x_s = self.objective.previous(x, self._output(x, levels, y))
        return x_s.to(x_t.dtype.to_complex() if x_s.is_complex() else x_t.dtype)

    def _at(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Levels]:
        """Samples in the working precision, and the levels at their times."""
        x = x_t.to(self._working_dtype(x_t))
        real = x.real if x.is_complex() else x
        return x, Levels.at(self.schedule, as_times(t, real).expand(len(x)), real)

    def loss(
        self,
        x0: Tensor,
        y: Tensor | None = None,
        *,
        t: Tensor | None = None,
        eps: Tensor | None = None,
    ) -> Tensor:
        """The training loss of a batch.

        Args:
            x0: Clean samples `(B, C, H, W)`, images in [-1, 1].
            y: Class labels `(B,)`, or None.
            t: Times `(B,)`; if None, drawn uniformly from (0, 1].
            eps: Noise `(B, C, H, W)`; if None, drawn from N(0, I).

        Returns:
            The weighted loss, a scalar.

        Raises:
            HQDMError: If the labels are not one per sample, or not classes of the network.
        """
        x0 = x0.to(self._working_dtype(x0))
        if t is None:
            t = 1 - torch.rand(x0.shape[0], device=x0.device, dtype=x0.dtype)
        eps = torch.randn_like(x0) if eps is None else eps.to(x0)
        x0, y, t, eps = self.objective.batch(x0, y, t, eps)
        levels = Levels.at(self.schedule, t, x0)
        x_t = levels.alpha * x0 + levels.sigma * eps
        return self.objective.loss_of(self._output(x_t, levels, y), x0, eps, levels)

    def _output(self, x_t: Tensor, levels: Levels, y: Tensor | None) -> Tensor:
        """The output of the network, in the dtype of `x_t`; complex if the network's is."""
        if self.n_classes is not None:
            check_labels(y, len(x_t), self.n_classes)
        x, t = self.objective.network_input(x_t, levels), levels.t
        dtype = main_dtype(self.parameters()) or levels.t.dtype
        precise = getattr(self.network, "precise_times", False)
        taken = x.to(dtype.to_complex() if x.is_complex() else dtype)
        output = self.network(taken, t if precise else t.to(dtype), y)
        return output.to(x_t.dtype.to_complex() if output.is_complex() else x_t.dtype)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of most parameters; float32 without any."""
        return main_dtype(self.parameters()) or torch.float32

    @property
    def working_dtype(self) -> torch.dtype:
        """The dtype of images that are not rounded further than necessary: float32 or float64."""
        return torch.promote_types(self.dtype, torch.float32)

    def _working_dtype(self, samples: Tensor) -> torch.dtype:
        """The dtype of what is computed from samples outside of the network."""
        return torch.promote_types(self.working_dtype, samples.dtype)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of one sample, `(C, H, W)` for images."""
        return tuple(self.network.sample_shape)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape `(C, H, W)` of the images.

        Raises:
            HQDMError: If the samples are not images.
        """
        shape = self.sample_shape
        if len(shape) != 3:
            raise HQDMError(
                f"the model generates samples of shape {shape}, expected images (C, H, W)"
            )
        return shape[0], shape[1], shape[2]

    def prior(self, noise: ImageNoise) -> Tensor:
        """Samples at t = 1 from which sampling starts, on the device and in the dtype of the model.

        Args:
            noise: The noise of n samples.

        Returns:
            Normal samples `(n, *sample_shape)` of standard deviation `schedule.prior_std`.
        """
        device = next(self.parameters()).device
        x1 = to_device(noise.draw(self.sample_shape), device, self.dtype)
        return x1 * self.schedule.prior_std

    @property
    def n_classes(self) -> int | None:
        """The number of class labels, or None."""
        return getattr(self.network, "n_classes", None)

    @property
    def config(self) -> dict[str, Any]:
        """The plain configuration from which `Denoiser.from_config` rebuilds the object.

        Raises:
            HQDMError: If the network, the schedule or the objective is not registered.
        """
        return {
            "network": network_config(self.network),
            "schedule": schedule_config(self.schedule),
            "objective": objective_config(self.objective),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the denoiser that `config` describes, with newly initialised weights.

        Raises:
            HQDMError: If the configuration cannot be read, a name or option is unknown, or the
                network does not fit into memory.
        """
        network, schedule, objective = parts_of(config, PARTS)
        return cls(build_network(network), build_schedule(**schedule), build_objective(objective))

    @classmethod
    def from_tensors(
        cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor], source: object
    ) -> Self:
        """The denoiser in a file, in evaluation mode.

        Its shapes are compared with those of the configuration before anything is allocated.

        Args:
            config: The plain configuration.
            tensors: Every parameter and buffer by name.
            source: The file, for messages.

        Raises:
            HQDMError: As for `from_config` and `load_tensors`.
        """
        with about(source):
            network, schedule, objective = parts_of(config, PARTS)
            others = build_schedule(**schedule), build_objective(objective)
            shapes = network_outline(network)
            if shapes is not None:
                check_shapes(cls(shapes, *others), tensors, source)
            denoiser = cls(build_network(network, copies=int(shapes is None)), *others)
            for key in ("channels", "size"):  # which the shapes of convolutions do not reveal
                if key in denoiser.network.config and key not in network:
                    raise HQDMError(f"the network has no {key}: use another copy")
        denoiser.load_tensors(tensors, source)
        return denoiser.eval()


def step_back(denoiser: Denoising, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
    """The samples one step back, see `Denoiser.previous`.

    Args:
        denoiser: A denoiser, or one that wraps another and has a method `previous`, too.
        x_t: Noisy samples `(B, C, H, W)`.
        t: Times, `(B,)` or `()`.
        y: Class labels `(B,)`, or None.

    Raises:
        HQDMError: If the denoiser has no such method, as with guidance.
    """
    previous = getattr(denoiser, "previous", None)
    if previous is None:
        raise HQDMError(
            f"{type(denoiser).__name__} predicts clean samples and noise, not the samples one "
            "step back: leave guidance out, or use another sampler, such as ddim"
        )
    return cast(Tensor, previous(x_t, t, y))


def differentiable(denoiser: DenoisingType) -> DenoisingType:
    """A denoiser whose derivatives with respect to images and times can be computed.

    Derivatives of a network in half precision overflow, or vanish in rounding.

    Returns:
        A copy in float32 if the denoiser is a module in half precision; else the denoiser itself.
    """
    if not isinstance(denoiser, nn.Module):
        return denoiser
    dtype = main_dtype(denoiser.parameters()) or torch.float32
    if dtype == torch.promote_types(dtype, torch.float32):
        return denoiser
    return cast(DenoisingType, deepcopy(denoiser).float())


def class_labels(
    denoiser: Denoiser, n: int, label: int | Sequence[int] | None = None
) -> Tensor | None:
    """Labels for n images: the given classes in turn, else all of them; None without classes.

    Image i has the label `label[i % len(label)]`. If n is no multiple of the number of classes, the
    first ones have one image more.

    Args:
        denoiser: The model.
        n: Number of images.
        label: A class, several different classes, or None for all.

    Raises:
        HQDMError: If a label does not exist or stands twice, or there are none.
    """
    if denoiser.n_classes is None:
        if label is not None:
            raise HQDMError(f"the model has no class labels: leave label {label} out")
        return None
    if label is None:
        return torch.arange(n) % denoiser.n_classes
    named = label if isinstance(label, Sequence) else [label]
    labels: list[int] = []
    for one in named:
        if not whole("label", one) < denoiser.n_classes:
            raise HQDMError(f"label {one} does not exist: expected 0 to {denoiser.n_classes - 1}")
        if one in labels:
            raise HQDMError(f"label {one} stands twice: name every class once")
        labels.append(int(one))
    if not labels:
        raise HQDMError("label needs one class or more, got none")
    return torch.tensor(labels)[torch.arange(n) % len(labels)]
