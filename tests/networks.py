"""A base of small networks for tests: the members of `hqdm.nn.network.Network`, and no layers."""

from torch import nn


class Toy(nn.Module):
    """A network for samples of a shape; subclasses have a `forward(x_t, t, y)`."""

    sample_shape = (1, 2, 2)
    config: dict = {}  # noqa: RUF012 - never changed
    parts: dict = {}  # noqa: RUF012

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def forward(self, x_t, t, y=None):
        return x_t
