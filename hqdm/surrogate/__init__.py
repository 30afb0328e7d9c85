"""Polynomial surrogate of a trained model: its fit, its sampler, and its errors and costs."""

from hqdm.surrogate import names as names  # registers the samplers
