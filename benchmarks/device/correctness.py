"""Simulators, networks and samplers on the device against the CPU in float64.

Simulators and samplers in torch operations run on both. Float32 convolutions on a GPU use TF32 by
default, with 10 binary digits; here they do not.
"""

from collections.abc import Iterator
from copy import deepcopy
from functools import partial

import torch

from device.circuits import LARGE, SMALL, Task, error
from device.context import Context, checked
from device.models import NETWORKS, denoiser, use_simulator
from device.record import Row
from hqdm import CosineSchedule, Denoiser, UNet
from hqdm.guidance.clip import Clip
from hqdm.samplers.registry import SAMPLERS, build_sampler
from hqdm.simulators import Simulator, StatevectorSimulator, UnitarySimulator
from hqdm.simulators.unitary import is_applicable
from hqdm.utils.seeds import ImageNoise

DTYPES = (torch.float64, torch.float32)
LIMIT = 2**22  # bytes, so that the state vector runs in chunks
# Roundings that a gradient of a network sums up, and amplified errors of an evaluation in units of
# the spacing of numbers; a wrong operation has errors of order one.
ROUNDINGS_OF_GRADIENT = 1e4
ROUNDINGS_OF_NETWORK = 100
STEPS = 6
ADAPTIVE_STEPS = 10
OF_DERIVATIVES = 10  # of the network with respect to its input and time, which `dpm-exact` uses


def run(context: Context) -> Iterator[Row]:
    """Compare everything."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    yield from simulators(context)
    yield from networks(context)
    yield from samplers(context)


def simulators(context: Context) -> Iterator[Row]:
    """Outputs and gradients of the simulators in torch operations."""
    n_circuits, n_samples = (2, 5) if context.quick else (3, 129)
    for name, circuit in (SMALL if context.quick else LARGE).items():
        task = Task.make(circuit, n_circuits, n_samples, context.seed)
        cpu = torch.device("cpu")
        reference = task.results(StatevectorSimulator(), torch.float64, cpu)
        kinds: dict[str, Simulator] = {
            "statevector": StatevectorSimulator(),
            "statevector in chunks": StatevectorSimulator(LIMIT),
        }
        if is_applicable(circuit):
            kinds["unitary"] = UnitarySimulator()
        for words, simulator in kinds.items():
            for dtype in DTYPES:
                row = {"what": words, "of": name, "dtype": _short(dtype)}
                compare = partial(_differences, context, task, simulator, dtype, reference)
                yield context.attempt(row, compare)


def _differences(
    context: Context,
    task: Task,
    simulator: Simulator,
    dtype: torch.dtype,
    reference: tuple[torch.Tensor, ...],
) -> Row:
    ours = task.results(simulator, dtype, context.device)
    return checked(error(ours, reference), task.tolerance(dtype))


def networks(context: Context) -> Iterator[Row]:
    """Loss and gradient of the networks: the norm of the difference, relative to the gradient's."""
    size = 8 if context.quick else 28
    draws = torch.Generator().manual_seed(context.seed)
    x0 = torch.rand(4, 1, size, size, generator=draws, dtype=torch.float64) * 2 - 1
    eps = torch.randn(x0.shape, generator=draws, dtype=torch.float64)
    t = torch.tensor([0.1, 0.4, 0.7, 1.0], dtype=torch.float64)

    def gradient(model: Denoiser, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        model = deepcopy(model).to(device, dtype)
        arguments = (x.to(device, dtype) for x in (t, eps))
        loss = model.loss(x0.to(device, dtype), **dict(zip(("t", "eps"), arguments, strict=True)))
        parts = torch.autograd.grad(loss, list(model.parameters()))
        return torch.cat([loss.detach().reshape(1), *(part.flatten() for part in parts)])

    for name in NETWORKS:
        model = denoiser(name, context.seed, context.quick)
        use_simulator(model, StatevectorSimulator())
        expected = gradient(model, torch.float64, torch.device("cpu"))
        for dtype in DTYPES:

            def compare(
                model: Denoiser = model,
                dtype: torch.dtype = dtype,
                expected: torch.Tensor = expected,
            ) -> Row:
                ours = gradient(model, dtype, context.device).double().cpu()
                relative = float((ours - expected).norm() / expected.norm())
                return checked(relative, ROUNDINGS_OF_GRADIENT * torch.finfo(dtype).eps)

            row = {"what": "loss and gradient", "of": name, "dtype": _short(dtype)}
            yield context.attempt(row, compare)


def samplers(context: Context) -> Iterator[Row]:
    """Images of all samplers by a small network with random weights.

    At t = 1 an error of the network is amplified by sigma / alpha = exp(-lam_min) in x0. In float32
    an adaptive solver may take other steps, each with an error within its tolerance.
    """
    torch.manual_seed(context.seed)
    schedule = CosineSchedule()
    model = Denoiser(UNet(size=8, dim=8, mults=(1, 2)), schedule).eval()
    n = 2 if context.quick else 16
    amplified = float(torch.tensor(-schedule.lam_min).exp()) * ROUNDINGS_OF_NETWORK

    def images(name: str, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        moved = deepcopy(model).to(device, dtype)
        noise = ImageNoise(context.seed, n)
        x1 = moved.prior(noise)
        sampler = build_sampler(name) if SAMPLERS[name].adaptive else build_sampler(name, STEPS)
        return sampler(Clip(moved), x1, noise=noise).double().cpu()

    for name, entry in SAMPLERS.items():
        if not entry.network or entry.objective is not None:
            continue
        expected = images(name, torch.float64, torch.device("cpu"))
        for dtype in DTYPES:
            tolerance = amplified * torch.finfo(dtype).eps
            if name.startswith("dpm-exact"):
                tolerance *= OF_DERIVATIVES
            if SAMPLERS[name].adaptive and dtype == torch.float32:
                tolerance = ADAPTIVE_STEPS * build_sampler(name).settings["tolerance"]

            def compare(
                name: str = name,
                dtype: torch.dtype = dtype,
                expected: torch.Tensor = expected,
                tolerance: float = tolerance,
            ) -> Row:
                ours = images(name, dtype, context.device)
                return checked(float((ours - expected).abs().max()), tolerance)

            yield context.attempt({"what": "sampler", "of": name, "dtype": _short(dtype)}, compare)


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
