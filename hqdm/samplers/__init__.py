"""Samplers: solvers of the reverse-time SDE or the probability-flow ODE with a denoiser."""

from hqdm.samplers.adaptive import AdaptiveDPMSolver
from hqdm.samplers.base import Result, Sampler
from hqdm.samplers.ddim import DDIM
from hqdm.samplers.ddpm import DDPM
from hqdm.samplers.dpm_solver import DPMSolver, DPMSolverExact, DPMSolverPP
from hqdm.samplers.grids import GRIDS
from hqdm.samplers.registry import SAMPLERS, SamplerEntry, build_sampler, register_sampler
from hqdm.samplers.repaint import RePaint
from hqdm.samplers.runge_kutta import RK4, Heun
from hqdm.samplers.unipc import UniPC

__all__ = [
    "DDIM",
    "DDPM",
    "GRIDS",
    "RK4",
    "SAMPLERS",
    "AdaptiveDPMSolver",
    "DPMSolver",
    "DPMSolverExact",
    "DPMSolverPP",
    "Heun",
    "RePaint",
    "Result",
    "Sampler",
    "SamplerEntry",
    "UniPC",
    "build_sampler",
    "register_sampler",
]
