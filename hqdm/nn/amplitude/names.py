"""Registration of the networks and convolutions of this room.

The entry point group `hqdm.plugins` imports this module when a name is not found, so that the rooms
below need not import it. PennyLane and the simulators are imported when something is built.
"""

from torch import nn

from hqdm.nn.amplitude import dense as dense  # registers the networks
from hqdm.nn.amplitude import procrustes as procrustes
from hqdm.nn.amplitude import qunet as qunet
from hqdm.nn.amplitude import unitary as unitary
from hqdm.nn.quantum_conv import register_convolution


@register_convolution("QuantumConv2d")
def same_size(
    in_channels: int, out_channels: int, kernel_size: int = 3, n_layers: int = 8
) -> nn.Module:
    """A `QuantumConv2d` whose outputs have the size of its inputs, for the blocks of a U-Net.

    Args:
        in_channels: Number of input channels.
        out_channels: Number of output channels.
        kernel_size: Height and width of a patch.
        n_layers: Layers of the circuit.
    """
    from hqdm.nn.amplitude.convolution import QuantumConv2d

    return QuantumConv2d(in_channels, out_channels, kernel_size, padding="same", n_layers=n_layers)
