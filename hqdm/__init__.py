"""Hybrid quantum-classical diffusion models: build, train, sample and score them.

    from hqdm import Denoiser, QVUNet, CosineSchedule, DDIM

The names in `__all__` can be imported from here. Each is loaded when it is first asked for, so that
the command line starts without torch; type checkers see the imports below.
"""

from typing import TYPE_CHECKING

from hqdm.utils import loader
from hqdm.utils.versions import VERSION

if TYPE_CHECKING:
    from hqdm.circuits.ansatz import Ansatz, register_ansatz
    from hqdm.circuits.circuit import Circuit
    from hqdm.circuits.embeddings import AmplitudeEmbedding, AngleEmbedding
    from hqdm.data.images import load_images, register_data
    from hqdm.data.module import ImageDataModule
    from hqdm.data.sets import ImageSet
    from hqdm.diffusion.denoiser import Denoiser, Denoising
    from hqdm.diffusion.loading import load_denoiser
    from hqdm.diffusion.objective import (
        EDM,
        P2,
        X0,
        Eps,
        Levels,
        MinSNR,
        Objective,
        Prediction,
        StepBack,
        Uniform,
        V,
        Weight,
        register_objective,
    )
    from hqdm.diffusion.schedule import (
        CosineSchedule,
        LinearSchedule,
        MixingSchedule,
        Schedule,
        VarianceExplodingSchedule,
        register_schedule,
    )
    from hqdm.generation.pipeline import Pipeline
    from hqdm.generation.sampling import Samples, sample_images
    from hqdm.guidance.classifier_free import ClassifierFreeGuidance
    from hqdm.guidance.clip import Clip
    from hqdm.guidance.dynamic_threshold import DynamicThreshold
    from hqdm.guidance.posterior import PosteriorSampling
    from hqdm.guidance.replacement import Replacement
    from hqdm.metrics.features import FeatureExtractor, register_extractor
    from hqdm.nn.amplitude.convolution import QuantumConv2d
    from hqdm.nn.amplitude.dense import QDense
    from hqdm.nn.amplitude.procrustes import BestUnitary
    from hqdm.nn.amplitude.qunet import QUNet
    from hqdm.nn.amplitude.unitary import USS
    from hqdm.nn.baselines.deep_conv import DeepConv
    from hqdm.nn.baselines.fully_connected import FullyConnected
    from hqdm.nn.baselines.small_unet import SmallUNet
    from hqdm.nn.network import Network, register_network
    from hqdm.nn.parts import QuantumModule
    from hqdm.nn.quantum_conv import Hybrid, HybridConv, register_convolution
    from hqdm.nn.quantum_layer import QuantumLayer
    from hqdm.nn.unet import FullQVUNet, QuanvUNet, QVUNet, UNet
    from hqdm.samplers.adaptive import AdaptiveDPMSolver
    from hqdm.samplers.base import Result, Sampler
    from hqdm.samplers.ddim import DDIM
    from hqdm.samplers.ddpm import DDPM
    from hqdm.samplers.dpm_solver import DPMSolver, DPMSolverExact, DPMSolverPP
    from hqdm.samplers.multistep.deis import DEIS
    from hqdm.samplers.multistep.er_sde import ERSDESolver
    from hqdm.samplers.multistep.ipndm import IPNDM
    from hqdm.samplers.multistep.sa_solver import SASolver
    from hqdm.samplers.recursive.iteration import Iterate
    from hqdm.samplers.recursive.unitary import UnitarySampling
    from hqdm.samplers.registry import build_sampler, register_sampler
    from hqdm.samplers.repaint import RePaint
    from hqdm.samplers.runge_kutta import RK4, Heun
    from hqdm.samplers.stochastic.restart import Restart
    from hqdm.samplers.unipc import UniPC
    from hqdm.surrogate.fit import CarlemanFit, fit_carleman
    from hqdm.surrogate.sampler import Carleman
    from hqdm.training.module import DiffusionModule
    from hqdm.training.optim import WarmupCosine
    from hqdm.utils.errors import HQDMError
    from hqdm.utils.plugins import load_plugin
    from hqdm.utils.seeds import ImageNoise

__version__ = VERSION

_MODULES = {
    "hqdm.circuits.ansatz": ("Ansatz", "register_ansatz"),
    "hqdm.circuits.circuit": ("Circuit",),
    "hqdm.circuits.embeddings": ("AmplitudeEmbedding", "AngleEmbedding"),
    "hqdm.data.images": ("load_images", "register_data"),
    "hqdm.data.module": ("ImageDataModule",),
    "hqdm.data.sets": ("ImageSet",),
    "hqdm.diffusion.denoiser": ("Denoiser", "Denoising"),
    "hqdm.diffusion.loading": ("load_denoiser",),
    "hqdm.diffusion.objective": (
        *("EDM", "P2", "X0", "Eps", "Levels", "MinSNR", "Objective", "Prediction", "StepBack"),
        *("Uniform", "V", "Weight", "register_objective"),
    ),
    "hqdm.diffusion.schedule": (
        *("CosineSchedule", "LinearSchedule", "MixingSchedule", "Schedule"),
        *("VarianceExplodingSchedule", "register_schedule"),
    ),
    "hqdm.generation.pipeline": ("Pipeline",),
    "hqdm.generation.sampling": ("Samples", "sample_images"),
    "hqdm.guidance.classifier_free": ("ClassifierFreeGuidance",),
    "hqdm.guidance.clip": ("Clip",),
    "hqdm.guidance.dynamic_threshold": ("DynamicThreshold",),
    "hqdm.guidance.posterior": ("PosteriorSampling",),
    "hqdm.guidance.replacement": ("Replacement",),
    "hqdm.metrics.features": ("FeatureExtractor", "register_extractor"),
    "hqdm.nn.amplitude.convolution": ("QuantumConv2d",),
    "hqdm.nn.amplitude.dense": ("QDense",),
    "hqdm.nn.amplitude.procrustes": ("BestUnitary",),
    "hqdm.nn.amplitude.unitary": ("USS",),
    "hqdm.nn.amplitude.qunet": ("QUNet",),
    "hqdm.nn.baselines.deep_conv": ("DeepConv",),
    "hqdm.nn.baselines.fully_connected": ("FullyConnected",),
    "hqdm.nn.baselines.small_unet": ("SmallUNet",),
    "hqdm.nn.network": ("Network", "register_network"),
    "hqdm.nn.parts": ("QuantumModule",),
    "hqdm.nn.quantum_conv": ("Hybrid", "HybridConv", "register_convolution"),
    "hqdm.nn.quantum_layer": ("QuantumLayer",),
    "hqdm.nn.unet": ("FullQVUNet", "QVUNet", "QuanvUNet", "UNet"),
    "hqdm.samplers.adaptive": ("AdaptiveDPMSolver",),
    "hqdm.samplers.base": ("Result", "Sampler"),
    "hqdm.samplers.ddim": ("DDIM",),
    "hqdm.samplers.ddpm": ("DDPM",),
    "hqdm.samplers.dpm_solver": ("DPMSolver", "DPMSolverExact", "DPMSolverPP"),
    "hqdm.samplers.multistep.deis": ("DEIS",),
    "hqdm.samplers.multistep.er_sde": ("ERSDESolver",),
    "hqdm.samplers.multistep.ipndm": ("IPNDM",),
    "hqdm.samplers.multistep.sa_solver": ("SASolver",),
    "hqdm.samplers.recursive.iteration": ("Iterate",),
    "hqdm.samplers.recursive.unitary": ("UnitarySampling",),
    "hqdm.samplers.registry": ("build_sampler", "register_sampler"),
    "hqdm.samplers.repaint": ("RePaint",),
    "hqdm.samplers.runge_kutta": ("Heun", "RK4"),
    "hqdm.samplers.stochastic.restart": ("Restart",),
    "hqdm.samplers.unipc": ("UniPC",),
    "hqdm.surrogate.fit": ("CarlemanFit", "fit_carleman"),
    "hqdm.surrogate.sampler": ("Carleman",),
    "hqdm.training.module": ("DiffusionModule",),
    "hqdm.training.optim": ("WarmupCosine",),
    "hqdm.utils.errors": ("HQDMError",),
    "hqdm.utils.plugins": ("load_plugin",),
    "hqdm.utils.seeds": ("ImageNoise",),
}
__getattr__ = loader(__name__, _MODULES)

__all__ = [
    "DDIM",
    "DDPM",
    "DEIS",
    "EDM",
    "IPNDM",
    "P2",
    "RK4",
    "USS",
    "X0",
    "AdaptiveDPMSolver",
    "AmplitudeEmbedding",
    "AngleEmbedding",
    "Ansatz",
    "BestUnitary",
    "Carleman",
    "CarlemanFit",
    "Circuit",
    "ClassifierFreeGuidance",
    "Clip",
    "CosineSchedule",
    "DPMSolver",
    "DPMSolverExact",
    "DPMSolverPP",
    "DeepConv",
    "Denoiser",
    "Denoising",
    "DiffusionModule",
    "DynamicThreshold",
    "ERSDESolver",
    "Eps",
    "FeatureExtractor",
    "FullQVUNet",
    "FullyConnected",
    "HQDMError",
    "Heun",
    "Hybrid",
    "HybridConv",
    "ImageDataModule",
    "ImageNoise",
    "ImageSet",
    "Iterate",
    "Levels",
    "LinearSchedule",
    "MinSNR",
    "MixingSchedule",
    "Network",
    "Objective",
    "Pipeline",
    "PosteriorSampling",
    "Prediction",
    "QDense",
    "QUNet",
    "QVUNet",
    "QuantumConv2d",
    "QuantumLayer",
    "QuantumModule",
    "QuanvUNet",
    "RePaint",
    "Replacement",
    "Restart",
    "Result",
    "SASolver",
    "Sampler",
    "Samples",
    "Schedule",
    "SmallUNet",
    "StepBack",
    "UNet",
    "UniPC",
    "Uniform",
    "UnitarySampling",
    "V",
    "VarianceExplodingSchedule",
    "WarmupCosine",
    "Weight",
    "__version__",
    "build_sampler",
    "fit_carleman",
    "load_denoiser",
    "load_images",
    "load_plugin",
    "register_ansatz",
    "register_convolution",
    "register_data",
    "register_extractor",
    "register_network",
    "register_objective",
    "register_sampler",
    "register_schedule",
    "sample_images",
]


def __dir__() -> list[str]:
    """The public names, for completion."""
    return [*globals(), *__all__]
