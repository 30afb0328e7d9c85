"""Grids of times fitted to a trained denoiser, by several methods, and their file."""

from hqdm.samplers.optimised.fit import METHODS, noise_pair, optimise_grid
from hqdm.samplers.optimised.grid import OptimisedGrid, read_grid

__all__ = ["METHODS", "OptimisedGrid", "noise_pair", "optimise_grid", "read_grid"]
