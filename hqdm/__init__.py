"""Hybrid quantum-classical diffusion models: build, train, sample and score them.

    from hqdm import Denoiser, QVUNet, CosineSchedule, DDIM

What is listed in `EXPORTS` can be imported from here; each name is loaded when it is first asked
for, so that the command line starts without torch.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

EXPORTS = {
    "AmplitudeEmbedding": "hqdm.circuits",
    "AngleEmbedding": "hqdm.circuits",
    "Ansatz": "hqdm.circuits",
    "Carleman": "hqdm.surrogate.sampler",
    "CarlemanFit": "hqdm.surrogate.fit",
    "Circuit": "hqdm.circuits",
    "ClassifierFreeGuidance": "hqdm.guidance.classifier_free",
    "Clip": "hqdm.guidance.clip",
    "CosineSchedule": "hqdm.diffusion.schedule",
    "DDIM": "hqdm.samplers",
    "DDPM": "hqdm.samplers",
    "DPMSolver": "hqdm.samplers",
    "DPMSolverExact": "hqdm.samplers",
    "DPMSolverPP": "hqdm.samplers",
    "Denoiser": "hqdm.diffusion.denoiser",
    "DiffusionModule": "hqdm.training",
    "FullQVUNet": "hqdm.nn",
    "HQDMError": "hqdm.utils.errors",
    "Hybrid": "hqdm.nn",
    "HybridConv": "hqdm.nn",
    "ImageDataModule": "hqdm.data.module",
    "ImageNoise": "hqdm.utils.seeds",
    "LinearSchedule": "hqdm.diffusion.schedule",
    "QVUNet": "hqdm.nn",
    "QuantumLayer": "hqdm.nn",
    "QuanvUNet": "hqdm.nn",
    "RePaint": "hqdm.samplers",
    "Replacement": "hqdm.guidance.replacement",
    "UNet": "hqdm.nn",
    "UniPC": "hqdm.samplers",
    "fit_carleman": "hqdm.surrogate.fit",
    "load_denoiser": "hqdm.diffusion.loading",
    "load_images": "hqdm.data",
    "register_ansatz": "hqdm.circuits",
}
"""Public names and the modules that define them."""


def __getattr__(name: str) -> Any:
    """Load a public name."""
    if name not in EXPORTS:
        raise AttributeError(f"module 'hqdm' has no attribute {name!r}")
    return getattr(import_module(EXPORTS[name]), name)


def __dir__() -> list[str]:
    """The public names, for completion."""
    return [*globals(), *EXPORTS]
