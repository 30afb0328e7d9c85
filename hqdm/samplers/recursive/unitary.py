r"""Unitary single sampling: all steps at once, p = |U^tau x|^2, or those of a channel.

A `StateNetwork` maps the amplitudes of images linearly, so that tau steps are one matrix, or with
an ancilla one channel (`hqdm.samplers.recursive.powers`), and tau need not be the number of steps
in training. On a device the circuits of all steps are concatenated
(`hqdm.samplers.recursive.circuit`). The pixels of an image are the moduli of its amplitudes, which
are what a device measures,

    sqrt(p_i) / max_j sqrt(p_j)     ("max"),      or      |x_1| sqrt(p_i)     ("norm"),

with x_1 the noise from which sampling starts, in pixels. Source: Koelle et al., arXiv 2401.07049.
"""

from typing import Any, Literal

import torch
from torch import Tensor

from hqdm.diffusion.denoiser import Denoiser, Denoising
from hqdm.diffusion.objective import Levels, StepBack
from hqdm.diffusion.schedule import Schedule
from hqdm.guidance.clip import Clip
from hqdm.nn.amplitude.states import StateNetwork, normalised, norms_of, rows_by_label
from hqdm.nn.network import check_labels
from hqdm.samplers.base import Evaluator, Sampler
from hqdm.samplers.recursive.powers import (
    MAX_CHANNEL_QUBITS,
    Powers,
    channel_probabilities,
    trajectory_probabilities,
)
from hqdm.samplers.registry import SAMPLERS, STEPS, SamplerEntry
from hqdm.utils.checks import whole
from hqdm.utils.errors import HQDMError, unknown
from hqdm.utils.seeds import ImageNoise
from hqdm.utils.tables import counted

SCALES = ("max", "norm")
METHODS = ("matrix", "trajectories", "device")
OWN = ("scale", "method", "trajectories", "device", "shots", "depolarising", "readout")
"""Arguments of `unitary_sampling` beside the number of steps."""


class UnitarySampling(Sampler):
    """Unitary single sampling with a `StateNetwork` that is trained with the objective `step`.

    Args:
        steps: Number tau of steps, all taken at once.
        scale: "max" divides an image by its maximum, "norm" gives it the norm of the noise.
        method: "matrix" (a power of U, or the exact channel), "trajectories" (of channels), or
            "device"; None is "device" if one is given, "trajectories" for an ancilla with more than
            `hqdm.samplers.recursive.powers.MAX_CHANNEL_QUBITS` qubits of the image, else "matrix".
        trajectories: Number of trajectories per image.
        device: PennyLane's name of a device, or a device.
        shots: Shots per image on the device; None for exact probabilities.
        noise: A `qml.NoiseModel` for the device "default.mixed", see
            `hqdm.samplers.recursive.circuit.depolarising`.

    Raises:
        HQDMError: If an option is unknown or out of range, or is one of another method, there is no
            such device, or it does not simulate noise. In sampling, if trajectories are asked for
            and the network has no ancilla.
    """

    name = "uss"
    default_steps = 10
    evaluations_per_step = 0
    reversible = False
    recursive = True
    at_once = True

    def __init__(
        self,
        steps: int | None = None,
        *,
        scale: Literal["max", "norm"] = "max",
        method: Literal["matrix", "trajectories", "device"] | None = None,
        trajectories: int = 128,
        device: Any = None,
        shots: int | None = None,
        noise: Any = None,
    ) -> None:
        super().__init__(steps)
        if scale not in SCALES:
            raise unknown("scale", scale, SCALES)
        if method is not None and method not in METHODS:
            raise unknown("method", method, METHODS)
        if device is not None and method not in (None, "device"):
            raise HQDMError(f"method={method!r} runs on no device: leave device or method out")
        if device is None and method == "device":
            raise HQDMError("method='device' needs a device, such as device='lightning.qubit'")
        if device is None and (shots is not None or noise is not None):
            raise HQDMError("shots and noise are those of a device: give a device, too")
        whole("trajectories", trajectories, 1)
        if shots is not None:
            whole("shots", shots, 1)
        if device is not None:
            from hqdm.samplers.recursive.circuit import check_device  # imports PennyLane

            check_device(device, noise)
        self.scale, self.trajectories = scale, trajectories
        self.method = "device" if device is not None else method
        self.device, self.shots, self.noise = device, shots, noise
        self._powers = Powers()

    @property
    def settings(self) -> dict[str, Any]:
        """See `Sampler.settings`."""
        own: dict[str, Any] = {"scale": self.scale, "method": self.method}
        if self.method == "trajectories":
            own["trajectories"] = self.trajectories
        if self.device is not None:
            own |= {"device": str(getattr(self.device, "name", self.device)), "shots": self.shots}
            own["noise"] = None if self.noise is None else str(self.noise)
        return {"sampler": self.name, "steps": self.steps, **own}

    @property
    def work(self) -> str:
        """See `Sampler.work`."""
        text = f"{counted(self.steps, 'step')} at once"
        if self.method == "trajectories":
            return f"{text}, trajectories of an image: {self.trajectories}"
        if self.shots is not None:
            return f"{text}, shots of an image: {self.shots}"
        return text

    def grid(self, schedule: Schedule, t_start: float, t_end: float) -> Tensor:
        """A single step, `(2,)` in float64."""
        return torch.tensor([t_start, t_end], dtype=torch.float64)

    def step(
        self, denoise: Evaluator, x: Tensor, t: Tensor, s: Tensor, state: None, noise: ImageNoise
    ) -> tuple[Tensor, None]:
        """See `Sampler.step`; the share t - s of all steps, at least one."""
        denoiser, network = state_network(denoise.denoiser)
        if network.n_classes is not None:
            check_labels(denoise.y, len(x), network.n_classes)
        n = max(1, round(self.steps * float(t - s)))
        levels = Levels.at(denoiser.schedule, t, x.real)
        pixels = network.pixels(denoiser.objective.network_input(x, levels))
        pixels = pixels.to(pixels.dtype.to_complex())
        states = normalised(pixels)
        method = self._method_of(network)
        numbers = noise.draw(self._numbers(method, n))
        probabilities = torch.empty_like(pixels.real)
        labels = None if network.n_classes is None else denoise.y
        for y, rows in rows_by_label(labels, len(x)):
            probabilities[rows] = self._probabilities(
                method, network, states[rows], y, n, numbers[rows]
            )
        moduli = probabilities.sqrt()
        if self.scale == "norm":
            return network.images(norms_of(pixels) * moduli), None
        shown = moduli[:, : network.n_pixels]
        largest = shown.amax(1, keepdim=True)
        return network.images(moduli / torch.where(largest == 0, 1, largest)), None

    def _method_of(self, network: StateNetwork) -> str:
        """The method for a network."""
        if self.method == "trajectories" and not network.has_ancilla:
            raise HQDMError(
                "trajectories are drawn by the outcomes of an ancilla, which this network has not: "
                "leave method and trajectories out"
            )
        many = network.has_ancilla and network.n_qubits > MAX_CHANNEL_QUBITS
        return self.method or ("trajectories" if many else "matrix")

    def _numbers(self, method: str, n: int) -> tuple[int, ...]:
        """The shape of the random numbers per image for n steps."""
        return {"matrix": (0,), "trajectories": (n, self.trajectories), "device": (1,)}[method]

    def _probabilities(
        self,
        method: str,
        network: StateNetwork,
        states: Tensor,
        y: int | None,
        n: int,
        numbers: Tensor,
    ) -> Tensor:
        """The probabilities of the amplitudes after n steps.

        Args:
            method: One of `METHODS`.
            network: The network.
            states: Complex states of norm one, `(B, d)`.
            y: The class label, or None.
            n: Number of steps.
            numbers: Normal numbers of the images, see `_numbers`.

        Returns:
            `(B, d)`.
        """
        if method == "device":
            return self._measured(network, states, y, n, numbers).to(states.real)
        if method == "trajectories":
            uniform = torch.special.ndtr(numbers.double()).to(states.real)
            return trajectory_probabilities(network.kraus(y).detach().to(states), states, uniform)
        power, is_unitary = self._powers.get(network, y, n, states.dtype)
        if is_unitary:
            return (states @ power.mT).abs().square()
        return channel_probabilities(power, states)

    def _measured(
        self, network: StateNetwork, states: Tensor, y: int | None, n: int, numbers: Tensor
    ) -> Tensor:
        """The probabilities on the device, image by image."""
        from hqdm.samplers.recursive.circuit import ConcatenatedCircuit  # imports PennyLane

        circuit = ConcatenatedCircuit(network, n, y)
        seeds = numbers[:, 0].contiguous().view(torch.int32).abs().tolist()
        rows = [
            circuit.probabilities(state, self.device, self.shots, self.noise, seed)
            for state, seed in zip(states, seeds, strict=True)
        ]
        return torch.stack(rows)

    @torch.no_grad()
    def starting_noise(self, denoiser: Denoising, images: Tensor) -> Tensor:
        """The complex noise from which sampling gives images back, 2 U^-tau p - 1.

        With `scale="norm"`, or "max" if the largest pixel of each image is white, `run` from it
        returns the images.

        Args:
            denoiser: The denoiser.
            images: Images `(B, C, H, W)` in [-1, 1].

        Returns:
            Complex, `(B, C, H, W)`.

        Raises:
            HQDMError: If a step is no unitary matrix of the image: a channel has no inverse, and
                padding is lost.
        """
        _, network = state_network(denoiser)
        if network.has_ancilla or network.dim > network.n_pixels:
            raise HQDMError(
                "starting noise needs a unitary step: a network without an ancilla, for images of "
                "2^n pixels"
            )
        pixels = network.pixels(images)
        power, _ = self._powers.get(network, None, self.steps, pixels.dtype.to_complex())
        return network.images(pixels.to(power) @ power.conj())


def state_network(denoising: Denoising) -> tuple[Denoiser, StateNetwork]:
    """The denoiser that `uss` samples, and its network.

    Raises:
        HQDMError: If it is guided or corrected, has no `StateNetwork` or a control in place of its
            circuit, or does not predict the images one step back.
    """
    while isinstance(denoising, Clip):
        denoising = denoising.denoiser
    if not isinstance(denoising, Denoiser):
        raise HQDMError(
            f"uss takes powers of the network itself, got {type(denoising).__name__}: leave "
            "guidance out, or use another sampler"
        )
    network, objective = denoising.network, denoising.objective
    if not isinstance(network, StateNetwork):
        raise HQDMError(
            f"uss needs a network of amplitudes (USS, BestUnitary), got {type(network).__name__}: "
            "use another sampler"
        )
    if not network.is_quantum:
        raise HQDMError(
            f"uss takes powers of a circuit, and the control {network.config['control']} stands in "
            "its place: use the sampler iterate"
        )
    if not isinstance(objective, StepBack) or objective.output != "data":
        raise HQDMError(
            "uss needs a model that predicts the images one step back (predict: step, output: "
            f"data), this one predicts {denoising.predict}: use another sampler"
        )
    return denoising, network


def unitary_sampling(
    steps: int | None = None,
    *,
    scale: str = "max",
    method: str | None = None,
    trajectories: int | None = None,
    device: str | None = None,
    shots: int | None = None,
    depolarising: float | None = None,
    readout: float | None = None,
) -> UnitarySampling:
    """A `UnitarySampling` from plain values, such as those of the command line.

    Args:
        steps: Number of steps.
        scale: See `UnitarySampling`.
        method: See `UnitarySampling`; None is "trajectories" if their number is given.
        trajectories: Number of trajectories per image.
        device: PennyLane's name of a device; "default.mixed" if there is noise.
        shots: Shots per image on the device.
        depolarising: Probability of an error per wire of a gate, see
            `hqdm.samplers.recursive.circuit.depolarising`.
        readout: Probability that the outcome of a wire is flipped.

    Raises:
        HQDMError: As `UnitarySampling` and `depolarising`, or if there is no such device.
    """
    given: dict[str, Any] = {"scale": scale, "method": method, "device": device, "shots": shots}
    if trajectories is not None:
        given |= {"trajectories": trajectories, "method": method or "trajectories"}
    if depolarising is not None or readout is not None:
        from hqdm.samplers.recursive import circuit  # imports PennyLane

        given["noise"] = circuit.depolarising(depolarising or 0.0, readout or 0.0)
        given["device"] = device or circuit.DENSITY_MATRICES[0]
    return UnitarySampling(steps, **given)


SAMPLERS.register(
    UnitarySampling.name,
    SamplerEntry(
        unitary_sampling,
        (STEPS,),
        network=False,
        objective=StepBack.name,
        own=OWN,
    ),
)
