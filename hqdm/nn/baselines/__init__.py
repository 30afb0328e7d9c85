"""Classical baselines of the amplitude-embedded denoisers; importing the room registers them."""

from hqdm.nn.baselines.baseline import Baseline, matched
from hqdm.nn.baselines.deep_conv import DeepConv
from hqdm.nn.baselines.fully_connected import FullyConnected
from hqdm.nn.baselines.small_unet import SmallUNet

__all__ = ["Baseline", "DeepConv", "FullyConnected", "SmallUNet", "matched"]
