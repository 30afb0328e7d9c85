"""Samplers that add noise to the steps of deterministic ones."""

from hqdm.samplers.stochastic.restart import Restart

__all__ = ["Restart"]
