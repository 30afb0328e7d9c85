"""Generation of images: many of them, over devices, with known pixels, between two images."""
