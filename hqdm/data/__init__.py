"""Image data sets and the Lightning data module that serves them."""

from hqdm.data.images import canonical_name, load_images
from hqdm.data.sets import ImageSet
from hqdm.utils.pixels import to_float, to_uint8

__all__ = ["ImageSet", "canonical_name", "load_images", "to_float", "to_uint8"]
