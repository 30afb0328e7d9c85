"""The polynomial that stands for a trained model: its fit, its sampler, its studies."""

from hqdm.surrogate import names as names  # registers the samplers
